// What the trainer needs of libtorch and tch does not offer: explicit generators, deterministic mode, an
// optimiser step over all parameters at once, activations with their settings, channels-last, emptying the
// device's cache.
//
// Tensors cross as torch-sys passes them (`at::Tensor *`). Every function returns NULL, or an error as a
// string that the caller frees with `llmatic_free`. No exception leaves this file.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace {

char *copied(const char *text) { return strdup(text); }

template <typename Body> char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return copied(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return copied(error.what());
  } catch (...) {
    return copied("unknown C++ exception");
  }
}

// A library does not write to the terminal.
struct Silent : c10::WarningHandler {
  void process(const c10::Warning &) override {}
};

Silent silent;

std::vector<at::Tensor> list(at::Tensor **tensors, size_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) out.push_back(*tensors[i]);
  return out;
}

} // namespace

extern "C" {

void llmatic_free(char *text) { free(text); }

char *llmatic_deterministic() {
  return guarded([] {
    auto &context = at::globalContext();
    context.setDeterministicAlgorithms(true, /*warn_only=*/true);
    // Only reads of uninitialised memory would show a difference, and filling it costs time.
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
    try {
      at::set_num_interop_threads(1);
    } catch (...) {
      // Already in use, with the number set before: no operation here goes to that pool.
    }
  });
}

char *llmatic_single_thread() {
  return guarded([] {
    c10::WarningUtils::set_warning_handler(&silent);
    at::set_num_threads(1);
  });
}

char *llmatic_empty_cache() {
  return guarded([] {
    if (at::hasCUDA()) at::accelerator::emptyCache();
  });
}

char *llmatic_synchronize(int cuda) {
  return guarded([&] { at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(cuda)); });
}

// cuda < 0: a CPU generator of its own; else the default generator of that CUDA device, seeded.
char *llmatic_generator_new(uint64_t seed, int cuda, at::Generator **out) {
  return guarded([&] {
    if (cuda < 0) {
      *out = new at::Generator(at::make_generator<at::CPUGeneratorImpl>(seed));
      return;
    }
    at::Generator generator =
        at::globalContext().defaultGenerator(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(cuda)));
    {
      std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_current_seed(seed);
    }
    *out = new at::Generator(generator);
  });
}

void llmatic_generator_free(at::Generator *generator) { delete generator; }

char *llmatic_bernoulli_(at::Tensor *tensor, double p, at::Generator *generator) {
  return guarded([&] { tensor->bernoulli_(p, *generator); });
}

char *llmatic_uniform_(at::Tensor *tensor, double low, double high, at::Generator *generator) {
  return guarded([&] { tensor->uniform_(low, high, *generator); });
}

char *llmatic_normal_(at::Tensor *tensor, double mean, double std, at::Generator *generator) {
  return guarded([&] { tensor->normal_(mean, std, *generator); });
}

// Rank-4 tensors in channels-last order. With one channel both orders are the same bytes and libtorch would
// take the tensor for a channels-first one; strides of their own say what is wanted, and the next convolution
// follows.
char *llmatic_channels_last(at::Tensor *tensor, at::Tensor **out) {
  return guarded([&] {
    at::Tensor result = *tensor;
    if (tensor->dim() == 4) {
      result = tensor->contiguous(at::MemoryFormat::ChannelsLast);
      if (tensor->size(1) == 1) {
        int64_t h = tensor->size(2), w = tensor->size(3);
        result = result.as_strided(result.sizes(), {h * w, 1, w, 1});
      }
    }
    *out = new at::Tensor(std::move(result));
  });
}

// Activations whose settings tch's generated functions leave out.
char *llmatic_activation(int which, at::Tensor *input, double a, double b, at::Tensor **out) {
  return guarded([&] {
    at::Tensor result;
    switch (which) {
    case 0: result = at::leaky_relu(*input, a); break;
    case 1: result = at::elu(*input, a); break;
    case 2: result = at::celu(*input, a); break;
    case 3: result = at::softplus(*input, a, b); break;
    case 4: result = at::softshrink(*input, a); break;
    case 5: result = at::hardshrink(*input, a); break;
    default: TORCH_CHECK(false, "no activation of number ", which);
    }
    *out = new at::Tensor(std::move(result));
  });
}

// One step of SGD as torch.optim.SGD (dampening 0) over the parameters that have a gradient; the gradients
// go. max_norm > 0 first scales them as torch.nn.utils.clip_grad_norm_ does.
char *llmatic_sgd_step(at::Tensor **params, at::Tensor **buffers, size_t count, double rate, double momentum,
                       double weight_decay, int nesterov, double max_norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> grads;
    // Parameters, gradients and momenta by type: CUDA's kernel takes tensors of one type at a time.
    std::map<at::ScalarType, std::array<std::vector<at::Tensor>, 3>> groups;
    for (size_t i = 0; i < count; ++i) {
      const at::Tensor &grad = params[i]->grad();
      if (!grad.defined()) continue;
      grads.push_back(grad);
      auto &group = groups[params[i]->scalar_type()];
      group[0].push_back(*params[i]);
      group[1].push_back(grad);
      if (momentum != 0) group[2].push_back(*buffers[i]);
    }
    if (grads.empty()) return;
    if (max_norm > 0) {
      at::Tensor total = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2)), 2);
      at::Tensor factor = at::clamp_max(max_norm / (total + 1e-6), 1.0);
      at::_foreach_mul_(grads, factor);
    }
    for (auto &[type, group] : groups)
      at::_fused_sgd_(group[0], group[1], group[2], weight_decay, momentum, rate, /*dampening=*/0.0, nesterov != 0,
                      /*maximize=*/false, /*is_first_step=*/false);
    for (size_t i = 0; i < count; ++i) params[i]->mutable_grad().reset();
  });
}

} // extern "C"
