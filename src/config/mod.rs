//! What a run is told to do: TOML as written (`file`), then a validated [`SearchConfig`] without holes.
//!
//! Nothing else in the library reads TOML run files, and nothing but [`home`] reads the environment. One
//! limit: a key that a file leaves out takes its value from the built-in quickstart, so the resolved config
//! is saved with each run.

mod check;
mod file;
mod prompts;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use file::{ConfigError, Origin, Override, QUICKSTART, resolve, resolve_saved};
pub use prompts::{Instruction, PROMPTS, PromptBook, PromptKind};

/// The folder that holds models, data sets and libtorch: `$LLMATIC_HOME`, else `llmatic-offline` in the
/// user's data folder (`$XDG_DATA_HOME` or `~/.local/share`).
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
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let expected = || format!("expected \"auto\", \"cpu\" or \"cuda:N\", got \"{text}\"");
        match text {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(expected),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Device, String> {
        text.parse()
    }
}

/// Everything a search is told: complete, validated, saved as `config.toml` in the run directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// The root seed; every random number of the run derives from it.
    pub seed: u64,
    /// Threads of the LLM and candidates trained side by side. Results do not depend on it.
    pub threads: usize,
    /// Where tensors live.
    pub device: Device,
    /// The LLM.
    pub model: ModelConfig,
    /// How the LLM is sampled.
    pub sampling: SamplingConfig,
    /// The data set.
    pub data: DataConfig,
    /// How a candidate is trained.
    pub train: TrainConfig,
    /// What a candidate may cost at most.
    pub limits: LimitsConfig,
    /// The network archive.
    pub archive: ArchiveConfig,
    /// The prompts and their archive.
    pub prompts: PromptConfig,
    /// The loop.
    pub search: LoopConfig,
    /// How children are made.
    pub operators: OperatorConfig,
    /// What chooses among them before they are trained.
    pub surrogate: SurrogateConfig,
    /// What happens after the last generation.
    pub r#final: FinalConfig,
}

/// Which LLM, and how much memory it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A manifest's name, an alias, a path to a GGUF file, or `scripted:FILE.jsonl`.
    pub name: String,
    /// Memory for weights, KV cache and what is computed in, in MB (10^6 bytes).
    pub memory_mb: usize,
    /// Longest prompt and completion together, in tokens.
    pub context: usize,
    /// Completions decoded together.
    pub rows: usize,
    /// Sample only tokens that keep a class body within the grammar.
    pub grammar: bool,
    /// The tokens that are sampled from.
    pub vocabulary: Vocabulary,
}

/// Which tokens an LLM writes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vocabulary {
    /// All of the model's.
    Whole,
    /// Those that a network's source is likely to need, and those of the prompt: a smaller output head.
    Working,
}

/// What a candidate may cost at most; going over is a verdict, not an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Operations in one forward pass.
    pub operations: usize,
    /// Elements of all parameters and buffers.
    pub parameters: u64,
    /// Multiply-accumulate operations of one sample.
    pub macs: u64,
    /// MiB of all intermediate results of one sample.
    pub activation_mb: u64,
}

/// How the archive of networks divides the unit square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveKind {
    /// Into the cells of centroids fitted to random points (the paper's way).
    Cvt,
    /// Into rectangles.
    Grid,
}

/// What can be an axis of the archive of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorKind {
    /// Largest layer width over the number of weighted layers.
    WidthToDepth,
    /// Number of weighted layers.
    Depth,
    /// log10 of the FLOPs of one sample.
    LogFlops,
    /// log10 of the number of parameters.
    LogParameters,
    /// log10 of the bytes of the largest intermediate result of one sample.
    LogActivation,
    /// log10 of the milliseconds that one sample takes, measured; the only one that a machine decides.
    LogLatency,
}

impl DescriptorKind {
    /// Its word in run files.
    pub fn name(self) -> &'static str {
        match self {
            DescriptorKind::WidthToDepth => "width_to_depth",
            DescriptorKind::Depth => "depth",
            DescriptorKind::LogFlops => "log_flops",
            DescriptorKind::LogParameters => "log_parameters",
            DescriptorKind::LogActivation => "log_activation",
            DescriptorKind::LogLatency => "log_latency",
        }
    }

    /// What an axis of a chart is called.
    pub fn title(self) -> &'static str {
        match self {
            DescriptorKind::WidthToDepth => "width-to-depth ratio",
            DescriptorKind::Depth => "depth",
            DescriptorKind::LogFlops => "log10 FLOPs",
            DescriptorKind::LogParameters => "log10 parameters",
            DescriptorKind::LogActivation => "log10 bytes of the largest activation",
            DescriptorKind::LogLatency => "log10 milliseconds of one sample",
        }
    }
}

/// The network archive: MAP-Elites over two descriptors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// How the unit square is divided.
    pub kind: ArchiveKind,
    /// Number of niches of a CVT.
    pub niches: usize,
    /// Samples of the unit square that a CVT's centroids are fitted to.
    pub samples: usize,
    /// Columns of a grid.
    pub columns: usize,
    /// Rows of a grid.
    pub rows: usize,
    /// The descriptor along the first axis.
    pub x: DescriptorKind,
    /// The descriptor along the second axis.
    pub y: DescriptorKind,
    /// The width-to-depth ratios that are mapped to 0 and 1.
    pub width_to_depth: [f64; 2],
    /// The numbers of weighted layers that are mapped to 0 and 1.
    pub depth: [f64; 2],
    /// The base-10 logarithms of FLOPs that are mapped to 0 and 1.
    pub log_flops: [f64; 2],
    /// The base-10 logarithms of parameters that are mapped to 0 and 1.
    pub log_parameters: [f64; 2],
    /// The base-10 logarithms of the largest activation's bytes that are mapped to 0 and 1.
    pub log_activation: [f64; 2],
    /// The base-10 logarithms of measured milliseconds that are mapped to 0 and 1.
    pub log_latency: [f64; 2],
}

impl ArchiveConfig {
    /// What is mapped to 0 and 1 of a descriptor.
    pub fn range(&self, descriptor: DescriptorKind) -> [f64; 2] {
        match descriptor {
            DescriptorKind::WidthToDepth => self.width_to_depth,
            DescriptorKind::Depth => self.depth,
            DescriptorKind::LogFlops => self.log_flops,
            DescriptorKind::LogParameters => self.log_parameters,
            DescriptorKind::LogActivation => self.log_activation,
            DescriptorKind::LogLatency => self.log_latency,
        }
    }

    /// Whether an axis is the measured latency.
    pub fn needs_latency(&self) -> bool {
        [self.x, self.y].contains(&DescriptorKind::LogLatency)
    }
}

/// The prompts and the archive that evolves them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// A file of instructions in the form of `configs/prompts.toml`; default: that file, built in.
    pub file: Option<PathBuf>,
    /// How whole classes are asked for.
    pub style: Style,
    /// The coolest temperature.
    pub temperature_min: f64,
    /// The hottest temperature.
    pub temperature_max: f64,
    /// The temperature that every instruction starts with.
    pub temperature_start: f64,
    /// How far a temperature moves after each candidate.
    pub temperature_step: f64,
    /// Niches per instruction over the range of temperatures.
    pub temperature_bins: usize,
    /// Random prompts of which the most curious one is taken.
    pub tournament: usize,
}

/// How whole classes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As the model's manifest says.
    Model,
    /// The prompt is the start of a source file.
    Completion,
    /// The prompt is a conversation; a model without a template for one gets the start of a file.
    Chat,
}

/// How parents are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parents {
    /// Any elite, uniformly over the filled niches.
    Random,
    /// One of the `fittest` fittest elites (the public code's way).
    Fittest,
    /// The most curious of `tournament` random elites: its children were archived more than others' (paper's scores).
    Curious,
    /// Always the network that everything starts from: generation without evolution.
    Seed,
    /// Any network of the latest generation that had one: evolution without an archive of networks.
    Latest,
    /// The fittest of `tournament` random ones of the latest `population` trained networks: regularised evolution
    /// (Real et al. 2019).
    Ageing,
}

/// How the operator of a slot is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorChoice {
    /// In proportion to the rates.
    Rates,
    /// By Thompson sampling over pairs of operator and instruction: archived networks per cost.
    Bandit,
}

/// How children are made: rates of the operators, or a bandit over those whose rate is above 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// How the operator of a slot is chosen.
    pub choice: OperatorChoice,
    /// The LLM writes the whole class from an instruction.
    pub rewrite: f64,
    /// The LLM combines two parents.
    pub crossover: f64,
    /// The LLM fills a hole of the parent's source; an LLM that cannot makes it `typed`.
    pub infill: f64,
    /// The typed edit that the LLM finds most likely and that was not tried; an LLM that cannot tell makes it `typed`.
    pub rank: f64,
    /// The source is edited at random, without an LLM.
    pub typed: f64,
    /// What decides in the LLM's place: its controls.
    pub prior: Prior,
    /// Whether options stand in another order in each prompt.
    pub shuffle: bool,
    /// What training a candidate costs the bandit, in tokens.
    pub candidate_tokens: usize,
    /// Longest text of an infill, in tokens.
    pub infill_tokens: usize,
    /// Edits of a parent that are scored together.
    pub rank_options: usize,
}

/// What decides where an operator would ask the LLM. All but [`Prior::Llm`] are its controls: what an LLM is worth is
/// what it adds to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// The LLM.
    Llm,
    /// The LLM, asked for a low accuracy in the same words.
    Opposite,
    /// Nothing: a typed edit of the same kind, drawn evenly.
    None,
    /// A fixed random order of typed edits, the same for the whole run.
    Random,
}

impl Prior {
    /// All of them.
    pub const ALL: [Prior; 4] = [Prior::Llm, Prior::Opposite, Prior::None, Prior::Random];

    /// Its word in run files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Prior::Llm => "llm",
            Prior::Opposite => "opposite",
            Prior::None => "none",
            Prior::Random => "random",
        }
    }

    /// Whether an LLM is asked.
    pub fn asks(self) -> bool {
        matches!(self, Prior::Llm | Prior::Opposite)
    }
}

/// A model of fitness that chooses which of several proposals are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurrogateConfig {
    /// Which model.
    pub kind: SurrogateKind,
    /// Texts per network that is trained.
    pub proposals: usize,
    /// Penalty of squared weights, features having deviation 1.
    pub penalty: f64,
    /// Trained networks before it is asked.
    pub start: usize,
}

/// A model of fitness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SurrogateKind {
    /// Everything is trained.
    None,
    /// Ridge regression over graph statistics, descriptors, operator, parent's fitness and the LLM's log-probability.
    Ridge,
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopConfig {
    /// Generations after the seed network's.
    pub generations: usize,
    /// Candidates per generation.
    pub children: usize,
    /// The search ends with the generation that has trained so many networks; 0 is no limit.
    pub evaluations: usize,
    /// Until so many niches are filled, the parent is the seed network.
    pub initial_networks: usize,
    /// How parents are chosen.
    pub parents: Parents,
    /// How many elites `parents = "fittest"` chooses among.
    pub fittest: usize,
    /// Random elites of which `parents = "curious"` takes the most curious; networks of which `parents = "ageing"`
    /// takes the fittest.
    pub tournament: usize,
    /// How many of the latest trained networks `parents = "ageing"` chooses among.
    pub population: usize,
    /// A typed child is 1 to so many random edits away from its parent.
    pub walk: usize,
    /// How often a copy is asked again.
    pub copy_attempts: usize,
    /// How much hotter each time.
    pub copy_temperature_step: f64,
    /// Repair input widths and output heads.
    pub repair: bool,
}

/// What the final training starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinalStart {
    /// The weights of the search.
    Elite,
    /// Fresh weights.
    Scratch,
}

/// What happens after the last generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalConfig {
    /// Further optimiser steps for the best network; 0 leaves it as the search trained it.
    pub steps: usize,
    /// What they start from.
    pub from: FinalStart,
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
    /// `fashion-mnist`, `mnist`, `cifar10` or `surrogate`.
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
