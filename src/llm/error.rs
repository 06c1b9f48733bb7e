//! Everything that can go wrong between a model's name and its text.
//!
//! Each variant names the thing (file, model, field) and, in its message, the way out. Limit: candle's own
//! errors are carried as text.

use std::path::PathBuf;

/// Why a model cannot be chosen, loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// No manifest or alias of this name.
    #[error("unknown model `{name}`, expected one of: {known}; or the path of a .gguf file")]
    UnknownModel {
        /// As asked.
        name: String,
        /// Names that exist, separated by commas.
        known: String,
    },
    /// The manifest exists, its weights are not on this machine.
    #[error(
        "model `{name}` is not installed: bring `{file}`{size} ({source_words}) and put it at {}",
        destination.display()
    )]
    NotInstalled {
        /// The manifest's name.
        name: String,
        /// The file to bring.
        file: String,
        /// ` (N bytes)` where known, else empty.
        size: String,
        /// Where it comes from, in words.
        source_words: String,
        /// Where to put it.
        destination: PathBuf,
    },
    /// No entry of an alias can be used.
    #[error("no model of alias `{alias}` can be used: {reasons}")]
    NothingForAlias {
        /// The alias.
        alias: String,
        /// Each entry and its reason.
        reasons: String,
    },
    /// The model needs more memory than it may take.
    #[error(
        "model `{name}` needs about {needed_mb} MB, the budget is {budget_mb} MB; choose a smaller model or \
         raise it"
    )]
    OverBudget {
        /// The model.
        name: String,
        /// What it needs.
        needed_mb: u64,
        /// What it may take.
        budget_mb: u64,
    },
    /// Weights, cache and intermediate values together are more than the budget.
    #[error(
        "model `{name}` needs {weights_mb} MB for weights, {cache_mb} MB for the KV cache ({rows} rows of {context} \
         tokens) and {scratch_mb} MB to compute in, together {} MB; the budget is {budget_mb} MB: lower model.rows or \
         model.context, or raise model.memory_mb",
        weights_mb + cache_mb + scratch_mb
    )]
    PlanOverBudget {
        /// The model.
        name: String,
        /// Its weights.
        weights_mb: u64,
        /// The cache when every row is full.
        cache_mb: u64,
        /// Intermediate values and logits.
        scratch_mb: u64,
        /// Rows decoded together.
        rows: usize,
        /// Tokens of each.
        context: usize,
        /// What it may take.
        budget_mb: u64,
    },
    /// A manifest that cannot be read.
    #[error("model manifest {origin}: {reason}")]
    Manifest {
        /// File, or `built-in NAME`.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The file is not the one that the manifest describes.
    #[error(
        "{} is not the file of model `{name}`: expected sha256 {expected}, got {found}; bring it again",
        path.display()
    )]
    WrongHash {
        /// The model.
        name: String,
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// The file is shorter or longer than the manifest says.
    #[error(
        "{} is not the file of model `{name}`: expected {expected} bytes, got {found}; it may be truncated, \
         bring it again",
        path.display()
    )]
    WrongSize {
        /// The model.
        name: String,
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: u64,
        /// Of the file.
        found: u64,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A GGUF file that cannot be used.
    #[error("{}: {reason}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A Hugging Face file that cannot be converted.
    #[error("{}: {reason}", path.display())]
    Convert {
        /// The file, or its folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that cannot be brought into the store.
    #[error("{}: {reason}", path.display())]
    Import {
        /// Where it was to come from.
        path: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// A model that was to be pulled without the network.
    #[error(
        "model `{name}` cannot be pulled: `--offline` or HF_HUB_OFFLINE forbids the network; bring `{file}` \
         ({source_words}) and use `models import`"
    )]
    Offline {
        /// The model.
        name: String,
        /// The file to bring.
        file: String,
        /// Where it comes from, in words.
        source_words: String,
    },
    /// A model that cannot be fetched from the hub.
    #[error("pulling model `{name}`: {reason}")]
    Pull {
        /// The model.
        name: String,
        /// What happened.
        reason: String,
    },
    /// No way of quantizing has this name.
    #[error("unknown quantization `{asked}`, expected one of: {known}")]
    Quantization {
        /// As asked.
        asked: String,
        /// What there is.
        known: String,
    },
    /// No shape of a model has this name.
    #[error("unknown shape `{asked}`, expected one of: {known}")]
    Shape {
        /// As asked.
        asked: String,
        /// What there is.
        known: String,
    },
    /// An architecture without a decoder here.
    #[error(
        "{}: architecture `{architecture}` is not supported yet, expected one of: {supported}",
        path.display()
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What its metadata says.
        architecture: String,
        /// What there is.
        supported: String,
    },
    /// A tokenizer that cannot be built or that fails on a text.
    #[error("tokenizer of {}: {reason}", path.display())]
    Tokenizer {
        /// The model, or its `tokenizer.json`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More context asked for than the model has.
    #[error("a context of {asked} tokens was asked for, model `{name}` has {limit}")]
    ContextLimit {
        /// The model.
        name: String,
        /// As asked.
        asked: usize,
        /// The model's own.
        limit: usize,
    },
    /// Prompt and completion do not fit together.
    #[error(
        "request {index}: a prompt of {prompt_tokens} tokens and {max_tokens} new ones exceed the context of \
         {context}; shorten the prompt, lower max_tokens or raise the context"
    )]
    TooLong {
        /// Position of the request in the call.
        index: usize,
        /// Its prompt.
        prompt_tokens: usize,
        /// Its limit.
        max_tokens: usize,
        /// Of the loaded model.
        context: usize,
    },
    /// A request with a setting outside its range.
    #[error("request {index}: {field} is {value}, expected {expected}")]
    BadRequest {
        /// Position of the request in the call.
        index: usize,
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The device cannot be used.
    #[error("device {device}: {reason}")]
    Device {
        /// As asked.
        device: String,
        /// Why not.
        reason: String,
    },
    /// No threads.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// As asked.
        threads: usize,
        /// The system's words.
        reason: String,
    },
    /// The model computed something that is not a number.
    #[error("model `{name}` gave logits that are not finite; its file is damaged or unsuitable")]
    NotFinite {
        /// The model.
        name: String,
    },
    /// A generator that writes but cannot score.
    #[error("generator `{name}` gives no probabilities; use a model that is loaded from a file")]
    NoScores {
        /// The generator.
        name: String,
    },
    /// candle failed.
    #[error("computing with model `{name}`: {reason}")]
    Compute {
        /// The model.
        name: String,
        /// candle's words.
        reason: String,
    },
}
