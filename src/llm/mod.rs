//! Prompt to completion: model manifests, GGUF, tokenizer, decoder with a KV cache per row, sampling.
//!
//! ```text
//! name ─select─▶ Selection ─Llm::load─▶ Llm ─generate(requests)─▶ completions
//! ```
//!
//! The only module that names candle, tokenizers and hf-hub; none of them appears in a public signature. A
//! request's completion depends on the request alone: not on the rows decoded beside it, the cache, or the
//! number of threads. Limit: the architectures in `decoder`; the CUDA path has not been run on a device yet.

mod api;
mod constrain;
mod continuing;
mod convert;
mod decoder;
mod engine;
mod error;
mod gguf;
mod import;
mod kernels;
mod machine;
mod manifest;
mod pull;
mod sampling;
mod sentencepiece;
mod stop;
mod store;
mod tokenizer;
mod unpack;
mod vocabulary;
mod working;

pub use api::{
    ChatTokens, Completion, Control, Finish, Generator, GeneratorIdentity, InfillOrder, InfillTokens,
    LlmOptions, MemoryPlan, Progress, Request, Score, Stop, Work,
};
pub use convert::{ConvertProgress, ConvertReport, convert, write_random};
pub use engine::Llm;
pub use error::LlmError;
pub use import::{Verified, import, verify};
pub use machine::Probe;
pub use manifest::{Alias, HuggingFaceFile, Manifest, PromptStyle, aliases, manifests};
pub use pull::{PullProgress, pull};
pub use store::{Selection, installed_path, model_folder, select, select_within};
