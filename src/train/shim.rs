//! Safe calls of the C++ shim (`src/shim/shim.cpp`): what libtorch offers and tch does not.
//!
//! Input: tensors and numbers. Output: tensors, or libtorch's error text as a [`TchError`]. One limit: on
//! CUDA a
//! [`Generator`] is the device's own, so only one job at a time may draw from it.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::config::Device;

#[repr(C)]
struct RawGenerator {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn llmatic_free(text: *mut c_char);
    fn llmatic_deterministic() -> *mut c_char;
    fn llmatic_single_thread() -> *mut c_char;
    fn llmatic_empty_cache() -> *mut c_char;
    fn llmatic_synchronize(cuda: c_int) -> *mut c_char;
    fn llmatic_generator_new(seed: u64, cuda: c_int, out: *mut *mut RawGenerator) -> *mut c_char;
    fn llmatic_generator_free(generator: *mut RawGenerator);
    fn llmatic_bernoulli_(tensor: *mut C_tensor, p: f64, generator: *mut RawGenerator) -> *mut c_char;
    fn llmatic_uniform_(
        tensor: *mut C_tensor,
        low: f64,
        high: f64,
        generator: *mut RawGenerator,
    ) -> *mut c_char;
    fn llmatic_normal_(
        tensor: *mut C_tensor,
        mean: f64,
        std: f64,
        generator: *mut RawGenerator,
    ) -> *mut c_char;
    fn llmatic_channels_last(tensor: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    fn llmatic_activation(
        which: c_int,
        input: *const C_tensor,
        a: f64,
        b: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn llmatic_sgd_step(
        params: *const *const C_tensor,
        buffers: *const *const C_tensor,
        count: usize,
        rate: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: c_int,
        max_norm: f64,
    ) -> *mut c_char;
}

/// A source of random numbers that belongs to one job.
#[derive(Debug)]
pub(crate) struct Generator(*mut RawGenerator);

// SAFETY: an at::Generator is a reference-counted pointer; it may move to another thread, and is not shared.
unsafe impl Send for Generator {}

impl Generator {
    /// A generator for tensors of `device`, starting at `seed`.
    pub(crate) fn new(seed: u64, device: Device) -> Result<Generator, TchError> {
        let cuda = match device {
            Device::Cpu => -1,
            Device::Cuda(index) => c_int::try_from(index).unwrap_or(c_int::MAX),
        };
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is written only on success.
        checked(unsafe { llmatic_generator_new(seed, cuda, &raw mut raw) })?;
        Ok(Generator(raw))
    }

    /// Ones with probability `p`, else zeros.
    pub(crate) fn bernoulli_(&mut self, tensor: &mut Tensor, p: f64) -> Result<(), TchError> {
        // SAFETY: both pointers are live for the call.
        checked(unsafe { llmatic_bernoulli_(tensor.as_mut_ptr(), p, self.0) })
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn uniform_(&mut self, tensor: &mut Tensor, low: f64, high: f64) -> Result<(), TchError> {
        // SAFETY: both pointers are live for the call.
        checked(unsafe { llmatic_uniform_(tensor.as_mut_ptr(), low, high, self.0) })
    }

    /// Normal.
    pub(crate) fn normal_(&mut self, tensor: &mut Tensor, mean: f64, std: f64) -> Result<(), TchError> {
        // SAFETY: both pointers are live for the call.
        checked(unsafe { llmatic_normal_(tensor.as_mut_ptr(), mean, std, self.0) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: made by llmatic_generator_new, freed once.
        unsafe { llmatic_generator_free(self.0) }
    }
}

/// Activations whose settings tch leaves out; the numbers are the shim's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activation {
    LeakyRelu(f64),
    Elu(f64),
    Celu(f64),
    Softplus(f64, f64),
    Softshrink(f64),
    Hardshrink(f64),
}

impl Activation {
    /// Apply it, element by element.
    pub(crate) fn apply(self, input: &Tensor) -> Result<Tensor, TchError> {
        let (which, a, b) = match self {
            Activation::LeakyRelu(slope) => (0, slope, 0.0),
            Activation::Elu(alpha) => (1, alpha, 0.0),
            Activation::Celu(alpha) => (2, alpha, 0.0),
            Activation::Softplus(beta, threshold) => (3, beta, threshold),
            Activation::Softshrink(lambda) => (4, lambda, 0.0),
            Activation::Hardshrink(lambda) => (5, lambda, 0.0),
        };
        // SAFETY: the input is live for the call.
        made(|out| unsafe { llmatic_activation(which, input.as_ptr(), a, b, out) })
    }
}

/// The same tensor with the channels of a rank-4 tensor innermost in memory; other ranks as they are.
pub(crate) fn channels_last(tensor: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: the tensor is live for the call.
    made(|out| unsafe { llmatic_channels_last(tensor.as_ptr(), out) })
}

/// Settings of one optimiser step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    pub(crate) rate: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    pub(crate) nesterov: bool,
    /// 0 does not clip.
    pub(crate) max_norm: f64,
}

/// One step over the parameters that have a gradient; clears the gradients. `buffers` are the momenta, like
/// `params`.
pub(crate) fn sgd_step(params: &[Tensor], buffers: &[Tensor], step: SgdStep) -> Result<(), TchError> {
    let pointers = |tensors: &[Tensor]| tensors.iter().map(Tensor::as_ptr).collect::<Vec<_>>();
    let (weights, momenta) = (pointers(params), pointers(buffers));
    // SAFETY: both lists hold as many live tensors as there are parameters.
    checked(unsafe {
        llmatic_sgd_step(
            weights.as_ptr(),
            momenta.as_ptr(),
            weights.len().min(momenta.len()),
            step.rate,
            step.momentum,
            step.weight_decay,
            c_int::from(step.nesterov),
            step.max_norm,
        )
    })
}

/// Choose libtorch's deterministic kernels for the whole process.
pub(crate) fn deterministic() -> Result<(), TchError> {
    // SAFETY: no arguments.
    checked(unsafe { llmatic_deterministic() })
}

/// Make the calling thread compute with one thread, and keep libtorch's warnings off the terminal.
pub(crate) fn single_thread() -> Result<(), TchError> {
    // SAFETY: no arguments.
    checked(unsafe { llmatic_single_thread() })
}

/// Give the device's cached memory back.
pub(crate) fn empty_cache() -> Result<(), TchError> {
    // SAFETY: no arguments.
    checked(unsafe { llmatic_empty_cache() })
}

/// Wait for a CUDA device; an error says that it can compute no more.
pub(crate) fn synchronize(index: usize) -> Result<(), TchError> {
    // SAFETY: a number.
    checked(unsafe { llmatic_synchronize(c_int::try_from(index).unwrap_or(c_int::MAX)) })
}

fn made(call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor, TchError> {
    let mut raw = ptr::null_mut();
    checked(call(&raw mut raw))?;
    // SAFETY: on success the shim made a new tensor, which this one now owns.
    Ok(unsafe { Tensor::from_ptr(raw) })
}

fn checked(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a terminated string of the shim, freed once.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    unsafe { llmatic_free(error) };
    Err(TchError::Torch(text))
}
