//! Where tensors live, in tch's terms, and libtorch's CUDA half, which is loaded only when it is asked for.
//!
//! The binary is linked to libtorch's CPU half; `dlopen` of `libtorch_cuda.so` adds the other (not yet run on
//! a GPU). One limit: it must come before the first use of libtorch in the process.

use std::ffi::{CStr, CString};

use tch::{TchError, Tensor};

use crate::config::Device;

/// The device in tch's terms.
pub(crate) fn place(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(index),
    }
}

/// A tensor on a device, without waiting for what the device has to do first.
pub(crate) fn uploaded(tensor: &Tensor, device: tch::Device) -> Result<Tensor, TchError> {
    match device {
        tch::Device::Cpu => Ok(tensor.shallow_clone()),
        // Memory that is not pinned is copied before the call returns, so it may go.
        _ => tensor.f_to_device_(device, tensor.kind(), true, false),
    }
}

/// Make sure that the device can be used.
///
/// # Errors
/// Why a CUDA device cannot.
pub(crate) fn prepare(device: Device) -> Result<(), String> {
    let Device::Cuda(index) = device else { return Ok(()) };
    load_cuda()?;
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if index < count {
        Ok(())
    } else {
        Err(format!("expected an index below {count}, the number of CUDA devices"))
    }
}

/// `libtorch_cuda.so` by the binary's rpath, or beside the libtorch that it was built with.
fn load_cuda() -> Result<(), String> {
    // Without it cuBLAS may add up in another order from call to call; read when the library is first used.
    // SAFETY: terminated strings; nothing else reads the environment meanwhile.
    unsafe { libc::setenv(c"CUBLAS_WORKSPACE_CONFIG".as_ptr(), c":4096:8".as_ptr(), 0) };
    let beside = format!("{}/libtorch_cuda.so", env!("LLMATIC_LIBTORCH_LIB"));
    let mut message = String::new();
    for name in ["libtorch_cuda.so", &beside] {
        let Ok(name) = CString::new(name) else { continue };
        // SAFETY: a null-terminated name; the library stays loaded for the life of the process.
        if !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null() {
            return Ok(());
        }
        // SAFETY: dlerror returns null or a string that lives until the next dl call.
        let text = unsafe { libc::dlerror() };
        if !text.is_null() {
            // SAFETY: not null, terminated.
            message = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        }
    }
    Err(message)
}
