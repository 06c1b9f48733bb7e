//! Network to fitness: the trainer behind a trait, and a surrogate that needs no data and no libtorch.
//!
//! Input: graphs. Output: a score each, in order, or the reason why there is none. One limit of the
//! surrogate: it knows an architecture's size and id, nothing about images; it is for dry runs and tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::graph::Graph;

use super::error::EvaluatorError;
use super::record::Score;

/// The data that fitness is measured on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataIdentity {
    /// The data set's name.
    pub name: String,
    /// SHA-256 of its files.
    pub sha256: String,
    /// Sizes of one input, such as (channels, height, width).
    pub input_sizes: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

/// A network to measure.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// Names the random streams of initialisation and batches: generation and slot.
    pub indices: [u64; 2],
    /// Weights to start from where name and shape agree.
    pub inherit: Option<PathBuf>,
    /// Optimiser steps.
    pub steps: usize,
}

/// Trained weights that can be kept.
pub trait Weights: Send {
    /// Write them as safetensors under PyTorch's `state_dict` names; the file is there whole or not at all.
    ///
    /// # Errors
    /// The system's words.
    fn save(&self, path: &Path) -> Result<(), String>;
}

/// What an evaluator found.
pub struct Measured {
    /// The score.
    pub score: Score,
    /// The trained weights, if the evaluator has any.
    pub weights: Option<Box<dyn Weights>>,
    /// How long it took.
    pub seconds: f64,
}

/// Where a call to [`Evaluator::evaluate`] stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainProgress {
    /// Networks done.
    pub done: usize,
    /// Optimiser steps done over all networks.
    pub steps: usize,
}

/// Measures networks.
pub trait Evaluator {
    /// What it measures on.
    fn data(&self) -> DataIdentity;

    /// Whether trained weights exist, to inherit and to keep.
    fn has_weights(&self) -> bool;

    /// Mean and standard deviation per channel that inputs are normalised by, if they are.
    fn normalisation(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        None
    }

    /// Measure every network; a failure of one is its own. When `cancelled` is set it may return early.
    ///
    /// # Errors
    /// The evaluator itself cannot work.
    fn evaluate(
        &mut self,
        tasks: &[Task<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        cancelled: &AtomicBool,
    ) -> Result<Vec<Result<Measured, String>>, EvaluatorError>;

    /// Accuracy on the test split, of the weights in `weights`. `None` if the evaluator has no test split.
    ///
    /// # Errors
    /// The weights cannot be read, or do not fit.
    fn test(&mut self, graph: &Graph, weights: &Path) -> Result<Option<f64>, EvaluatorError>;
}

/// Fitness as a fixed function of the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surrogate;

impl Surrogate {
    /// The data set's name that stands for it.
    pub const NAME: &'static str = "surrogate";

    /// Larger is better up to about 2^20 parameters, with a little that only the architecture id decides.
    fn fitness(graph: &Graph) -> f64 {
        let size = (graph.parameter_count().max(1) as f64).log2() / 20.0;
        let id = graph.architecture_id();
        let luck = u32::from_str_radix(&id[..id.len().min(7)], 16).unwrap_or(0);
        0.8 * (1.0 - (1.0 - size).abs()).clamp(0.0, 1.0) + 0.2 * f64::from(luck) / f64::from(1 << 28)
    }
}

impl Evaluator for Surrogate {
    fn data(&self) -> DataIdentity {
        DataIdentity {
            name: Surrogate::NAME.into(),
            sha256: "none".into(),
            input_sizes: vec![1, 28, 28],
            classes: 10,
        }
    }

    fn has_weights(&self) -> bool {
        false
    }

    fn evaluate(
        &mut self,
        tasks: &[Task<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        _cancelled: &AtomicBool,
    ) -> Result<Vec<Result<Measured, String>>, EvaluatorError> {
        on_progress(TrainProgress { done: tasks.len(), steps: 0 });
        let measured = tasks.iter().map(|task| {
            let fitness = Surrogate::fitness(task.graph);
            // A stand-in too: a nanosecond per multiply-add.
            let latency = (task.graph.macs().max(1) as f64) * 1e-6;
            let score = Score {
                fitness,
                loss: 1.0 - fitness,
                curve: Vec::new(),
                inherited: 0,
                latency: Some(latency),
            };
            Ok(Measured { score, weights: None, seconds: 0.0 })
        });
        Ok(measured.collect())
    }

    fn test(&mut self, _graph: &Graph, _weights: &Path) -> Result<Option<f64>, EvaluatorError> {
        Ok(None)
    }
}
