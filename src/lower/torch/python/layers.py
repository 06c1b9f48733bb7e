"""Layers of torch.nn that are made of other layers and functions, in the Python that the front-end reads.

Input: as in PyTorch 2.13. Output: parameters under PyTorch's names and in its order, and PyTorch's numbers. The layers
follow the documentation of torch.nn. Limit: settings that only change how sparse gradients are kept are left out.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class _Cell(nn.Module):
    def __init__(self, input_size, hidden_size, bias, gates):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        bound = 1.0 / math.sqrt(hidden_size) if hidden_size > 0 else 0
        shapes = {"weight_ih": (gates * hidden_size, input_size), "weight_hh": (gates * hidden_size, hidden_size)}
        if bias:
            shapes["bias_ih"] = shapes["bias_hh"] = (gates * hidden_size,)
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.empty(shape))
            nn.init.uniform_(parameter, -bound, bound)
            self.register_parameter(name, parameter)
        if not bias:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)

    def _check(self, input, name):
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.size(-1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.size(-1)} expected {self.input_size}")

    def _zeros(self, input):
        return torch.zeros(*input.shape[:-1], self.hidden_size)

    def _gates(self, input, hidden):
        return F.linear(input, self.weight_ih, self.bias_ih), F.linear(hidden, self.weight_hh, self.bias_hh)


class RNNCell(_Cell):
    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        self._check(input, "RNNCell")
        from_input, from_hidden = self._gates(input, self._zeros(input) if hx is None else hx)
        if self.nonlinearity == "tanh":
            return torch.tanh(from_input + from_hidden)
        if self.nonlinearity == "relu":
            return torch.relu(from_input + from_hidden)
        raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")


class LSTMCell(_Cell):
    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4)

    def forward(self, input, hx=None):
        self._check(input, "LSTMCell")
        hidden, state = (self._zeros(input), self._zeros(input)) if hx is None else hx
        from_input, from_hidden = self._gates(input, hidden)
        enter, forget, new, out = (from_input + from_hidden).chunk(4, dim=-1)
        state = torch.sigmoid(forget) * state + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(state), state


class GRUCell(_Cell):
    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3)

    def forward(self, input, hx=None):
        self._check(input, "GRUCell")
        hidden = self._zeros(input) if hx is None else hx
        from_input, from_hidden = self._gates(input, hidden)
        reset_input, update_input, new_input = from_input.chunk(3, dim=-1)
        reset_hidden, update_hidden, new_hidden = from_hidden.chunk(3, dim=-1)
        reset = torch.sigmoid(reset_input + reset_hidden)
        update = torch.sigmoid(update_input + update_hidden)
        new = torch.tanh(new_input + reset * new_hidden)
        return new + update * (hidden - new)


def running_instance_norm(module, input):
    """The forward pass of an instance norm with running statistics."""
    weight, bias = module.weight, module.bias
    if not module.training:
        return F.batch_norm(input, module.running_mean, module.running_var, weight, bias, False, 0.0, module.eps)
    if module.momentum is None:
        raise NotImplementedError("an instance norm with running statistics and no momentum")
    with torch.no_grad():
        dims = list(range(2, input.dim()))
        mean, var = input.mean(dims).mean(0), input.var(dims, unbiased=True).mean(0)
        module.running_mean.copy_((1 - module.momentum) * module.running_mean + module.momentum * mean)
        module.running_var.copy_((1 - module.momentum) * module.running_var + module.momentum * var)
    return F.instance_norm(input, weight=weight, bias=bias, eps=module.eps)


class Softmax2d(nn.Module):
    def forward(self, input):
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)


class CosineSimilarity(nn.Module):
    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1, x2):
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(nn.Module):
    def __init__(self, p=2.0, eps=1e-6, keepdim=False):
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1, x2):
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class Unfold(nn.Module):
    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(nn.Module):
    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class EmbeddingBag(nn.Module):
    def __init__(self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, sparse=False, mode="mean"):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.mode = mode
        self.weight = nn.Parameter(torch.randn(num_embeddings, embedding_dim))

    def forward(self, input, offsets=None, per_sample_weights=None):
        if per_sample_weights is not None:
            raise NotImplementedError("EmbeddingBag with per_sample_weights")
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, mode=self.mode)


class _MaxUnpool(nn.Module):
    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding


class MaxUnpool1d(_MaxUnpool):
    def forward(self, input, indices, output_size=None):
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    def forward(self, input, indices, output_size=None):
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    def forward(self, input, indices, output_size=None):
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _FractionalMaxPool(nn.Module):
    def __init__(
        self, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
    ):
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError("a fractional max pool requires either an output size or an output ratio")
        if output_ratio is not None and not isinstance(output_ratio, (tuple, list)):
            output_ratio = (output_ratio,) * self._rank
        if output_ratio is not None and not all(0 < ratio < 1 for ratio in output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")
        self.kernel_size = kernel_size
        self.output_size = output_size
        self.output_ratio = output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def _settings(self):
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples


class FractionalMaxPool2d(_FractionalMaxPool):
    _rank = 2

    def forward(self, input):
        return F.fractional_max_pool2d(input, *self._settings())


class FractionalMaxPool3d(_FractionalMaxPool):
    _rank = 3

    def forward(self, input):
        return F.fractional_max_pool3d(input, *self._settings())


def _sum_of_channels(input, before, after):
    """Each channel's sum with its neighbours: `before` of them on its left, `after` on its right."""
    window = before + after + 1
    padded = F.pad(input, (0, 0, 0, 0, before, after)).unsqueeze(1)
    return F.avg_pool3d(padded, (window, 1, 1), stride=1).squeeze(1) * window


class CrossMapLRN2d(nn.Module):
    """PyTorch's forward pass adds the first channel to every window, and its backward pass sums other windows; both
    are kept: the numbers are the forward pass's, the gradient that of the windows of the backward pass."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1):
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input):
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        squares = input**2
        reach = int((self.size - 1) / 2 + 1) - 1
        first = squares[:, :1]
        numbers = first + _sum_of_channels(torch.cat([torch.zeros_like(first), squares[:, 1:]], 1), reach, reach)
        before = int(self.size - (self.size - 1) / 2)
        gradients = _sum_of_channels(squares, self.size - 1 - before, before)
        sums = gradients + (numbers - gradients).detach()
        return input * (self.k + self.alpha / self.size * sums) ** -self.beta


class DataParallel(nn.Module):
    """As on a machine without several devices: the module's own result."""

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module = module
        self.dim = dim
        self.device_ids = []

    def forward(self, *inputs, **kwargs):
        return self.module(*inputs, **kwargs)


class Buffer:
    """A tensor on its way to becoming a module's buffer, which it is once it is assigned."""

    _registers = True

    def __init__(self, data=None, persistent=True):
        self.data = torch.empty(0) if data is None else data
        self.persistent = persistent


class _Lazy:
    """Before a layer, which it makes when the first input tells how many channels there are."""

    _channels = 1

    def _wait(self, *args, **kwargs):
        nn.Module.__init__(self)
        self._settings = (args, kwargs)

    def forward(self, input, *args, **kwargs):
        if self._settings is not None:
            (settings, named), self._settings = self._settings, None
            self._layer.__init__(self, input.shape[self._channels], *settings, **named)
        return self._layer.forward(self, input, *args, **kwargs)


class _LazyConv(_Lazy):
    def __init__(self, out_channels, *args, **kwargs):
        self._wait(out_channels, *args, **kwargs)


class _LazyNorm(_Lazy):
    def __init__(self, *args, **kwargs):
        self._wait(*args, **kwargs)


class LazyLinear(_Lazy, nn.Linear):
    _layer = nn.Linear
    _channels = -1

    def __init__(self, out_features, bias=True, device=None, dtype=None):
        self._wait(out_features, bias)


class LazyConv1d(_LazyConv, nn.Conv1d):
    _layer = nn.Conv1d


class LazyConv2d(_LazyConv, nn.Conv2d):
    _layer = nn.Conv2d


class LazyConv3d(_LazyConv, nn.Conv3d):
    _layer = nn.Conv3d


class LazyConvTranspose1d(_LazyConv, nn.ConvTranspose1d):
    _layer = nn.ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, nn.ConvTranspose2d):
    _layer = nn.ConvTranspose2d


class LazyBatchNorm1d(_LazyNorm, nn.BatchNorm1d):
    _layer = nn.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, nn.BatchNorm2d):
    _layer = nn.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, nn.BatchNorm3d):
    _layer = nn.BatchNorm3d


class _LazyInstanceNorm(_Lazy):
    def __init__(self, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None):
        self._wait(eps, momentum, affine, track_running_stats)


class LazyInstanceNorm1d(_LazyInstanceNorm, nn.InstanceNorm1d):
    _layer = nn.InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, nn.InstanceNorm2d):
    _layer = nn.InstanceNorm2d


def embedding_from_pretrained(cls, embeddings, freeze=True, padding_idx=None, max_norm=None, **options):
    """`nn.Embedding.from_pretrained`."""
    if embeddings.dim() != 2:
        raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
    rows, cols = embeddings.shape
    embedding = cls(rows, cols, padding_idx=padding_idx, max_norm=max_norm, **options)
    embedding.weight = nn.Parameter(embeddings, requires_grad=not freeze)
    return embedding
