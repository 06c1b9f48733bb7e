//! What a run is told to do: TOML as written (`file`), then a validated [`SearchConfig`] without holes.
//!
//! Nothing else in the library reads TOML run files, and nothing but [`home`] reads the environment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The folder that holds models, data sets and libtorch: `$LLMATIC_HOME`, else `llmatic-offline` in the user's data
/// folder (`$XDG_DATA_HOME` or `~/.local/share`).
pub fn home() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("LLMATIC_HOME").unwrap_or_else(|| {
        from("XDG_DATA_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(|| PathBuf::from("."))
            .join("llmatic-offline")
    })
}

/// Where tensors live: for the LLM and for the trainer alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

/// How the LLM is sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingConfig {
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keep the most likely tokens only; 0 keeps all.
    pub top_k: usize,
    /// Longest completion, in tokens.
    pub max_tokens: usize,
}

/// Which data set, and how it is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `fashion-mnist` or `cifar10`.
    pub name: String,
    /// The folder with its files; default: `$LLMATIC_HOME/data/NAME`.
    pub path: Option<PathBuf>,
    /// Images of the training data held out for selection.
    pub validation: usize,
}

/// How a candidate is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps per candidate.
    pub steps: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Peak learning rate of SGD.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Nesterov's form of the momentum.
    pub nesterov: bool,
    /// L2 penalty on every parameter (SGD's `weight_decay`).
    pub weight_decay: f64,
    /// The learning rate's course over the steps.
    pub schedule: Schedule,
    /// Share of the steps in which a triangular schedule climbs.
    pub warmup: f64,
    /// Cross-entropy's label smoothing.
    pub label_smoothing: f64,
    /// Largest gradient norm; 0 does not clip.
    pub clip_grad_norm: f64,
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Pad by this many pixels and crop at random.
    pub crop_padding: usize,
    /// Start from the parent's weights where name and shape agree (the paper's way).
    pub inherit: bool,
}

/// The learning rate's course over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the peak.
    Constant,
    /// Linear climb over `warmup`, then linear fall to zero.
    Triangular,
}
