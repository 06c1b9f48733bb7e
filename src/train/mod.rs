//! Trains networks: graphs and a data set in; weights, validation accuracy and loss curves out.
//!
//! Graphs run on libtorch (`exec`), candidates side by side, one thread each, so that a result depends on the
//! seed and the job, never on the number of threads. No type of libtorch leaves this module. One limit:
//! classification only (cross-entropy, accuracy by argmax).

mod exec;
mod init;
mod latency;
mod session;
mod sgd;
mod shim;
mod trainer;
mod weights;
mod workers;

use tch::TchError;

use crate::graph::Graph;

pub use latency::latency;
pub use trainer::{Trainer, first_weights, gradients, predict, training_pass};
pub use weights::{Weights, WeightsError};

/// One candidate to train.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Its network.
    pub graph: &'a Graph,
    /// Its place in the search, such as generation and slot: the key of its random streams.
    pub indices: [u64; 2],
    /// Weights of its parent, taken over where name, sizes and type agree. Buffers and frozen parameters whose values
    /// its source sets keep those.
    pub inherit: Option<&'a Weights>,
    /// Optimiser steps, where they are not the configured number.
    pub steps: Option<usize>,
}

/// How good a network is on a part of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Share of images whose largest logit is the label's, in [0, 1].
    pub accuracy: f64,
    /// Mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// Images looked at.
    pub images: usize,
}

/// A trained candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its weights after the last step.
    pub weights: Weights,
    /// On the validation part, which was not trained on.
    pub validation: Evaluation,
    /// (steps made, mean training loss since the point before), about 20 points.
    pub curve: Vec<(usize, f32)>,
    /// Optimiser steps made.
    pub steps: usize,
    /// Tensors taken over from the parent.
    pub inherited: usize,
    /// Wall-clock seconds, for information: nothing depends on them.
    pub seconds: f64,
}

/// Why a candidate has no outcome. A verdict, not an error of the search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The loss is infinite or not a number.
    #[error("the loss is not finite at step {step}: a smaller learning rate or clip_grad_norm may help")]
    NonFinite {
        /// Steps made before.
        step: usize,
    },
    /// The device has not enough memory for this network at this batch size.
    #[error("not enough memory on the device: {message}")]
    OutOfMemory {
        /// libtorch's text.
        message: String,
    },
    /// libtorch refused an operation, or the weights do not fit the graph.
    #[error("{message}")]
    Libtorch {
        /// The text.
        message: String,
    },
    /// A fault on the device, after which it computes nothing more for this process: what fails next fails for this
    /// reason, whatever the network is.
    #[error("the CUDA device has failed and is of no more use to this process: {message}")]
    Device {
        /// libtorch's text.
        message: String,
    },
    /// The search was told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl From<TchError> for Failure {
    fn from(error: TchError) -> Failure {
        Failure::of_text(match &error {
            TchError::Torch(text) => text,
            _ => return Failure::of_text(&error.to_string()),
        })
    }
}

impl Failure {
    /// The failure that libtorch's text tells, without its call stack, which has addresses and paths of the
    /// machine.
    fn of_text(text: &str) -> Failure {
        let marks = ["\nException raised from", "\nframe #", "\\nException raised from", "\\nframe #"];
        let end = marks.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
        let message = text[..end].trim_end().to_owned();
        let says = |signs: &[&str]| signs.iter().any(|sign| message.contains(sign));
        if says(&["out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED"]) {
            Failure::OutOfMemory { message }
        } else if says(&["invalid configuration argument", "CUDA error: invalid argument"]) {
            // A kernel that was not launched: the device goes on.
            Failure::Libtorch { message }
        } else if says(&["device-side assert", "illegal memory access", "CUDA error"]) {
            Failure::Device { message }
        } else {
            Failure::Libtorch { message }
        }
    }
}

/// What happens while candidates train. Events of one job are in order; jobs mix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainEvent {
    /// A worker took the job of this index.
    Started {
        /// Index among the jobs.
        job: usize,
    },
    /// A point of the loss curve.
    Step {
        /// Index among the jobs.
        job: usize,
        /// Steps made.
        step: usize,
        /// Mean training loss since the point before.
        loss: f32,
    },
    /// The job has its outcome or failure.
    Finished {
        /// Index among the jobs.
        job: usize,
    },
}

/// Why there is no trainer.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting is out of range.
    #[error("training setting `{field}`: expected {expected}, got {got}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// The device cannot be used.
    #[error(
        "device cuda:{index}: {reason}; install the CUDA libtorch (scripts/setup.sh --cuda) or use --device cpu"
    )]
    Device {
        /// The CUDA device.
        index: usize,
        /// Why not.
        reason: String,
    },
    /// libtorch failed at the start.
    #[error("libtorch: {0}")]
    Libtorch(#[from] TchError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_spoils_the_device_is_told_from_one_that_does_not() {
        let device = |text: &str| matches!(Failure::of_text(text), Failure::Device { .. });
        assert!(device(
            "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"
        ));
        assert!(device("CUDA error: an illegal memory access was encountered"));
        assert!(device("CUDA error: unspecified launch failure"));
        assert!(!device("CUDA error: invalid configuration argument"));
        assert!(!device("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"));
        for text in [
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ] {
            assert!(matches!(Failure::of_text(text), Failure::OutOfMemory { .. }), "{text}");
        }
    }
}
