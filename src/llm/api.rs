//! What goes into a generator and what comes out: plain values without a candle type.
//!
//! In: [`Request`]s. Out: [`Completion`]s, in the same order. Limit: text only.

use crate::config::Device;
use crate::llm::{LlmError, PromptStyle};
use crate::rng::Stream;

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlmOptions {
    /// Where it computes.
    pub device: Device,
    /// Threads on the CPU; the result does not depend on it.
    pub threads: usize,
    /// Longest prompt plus completion, in tokens; 0 takes the model's own limit.
    pub context: usize,
    /// Rows that are decoded together; further requests wait for a free row.
    pub rows: usize,
}

/// One completion to write.
#[derive(Debug, Clone)]
pub struct Request {
    /// Text that the model continues.
    pub prompt: String,
    /// 0 is greedy.
    pub temperature: f64,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Longest completion, in tokens.
    pub max_tokens: usize,
    /// Source of the draws; one is taken per sampled token, none when greedy.
    pub stream: Stream,
    /// When the text is complete.
    pub stop: Stop,
}

/// When a completion is complete, besides the model's own end-of-text tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nothing else ends it.
    EndOfText,
    /// The prompt ended inside a class body: a line that starts in column 0 and is neither blank nor a
    /// comment ends it, and so does a Markdown fence; neither is part of the text.
    ClassComplete,
    /// The prompt asks for so many lines: the last one's end ends it, and so does a bracket that closes more
    /// than the text opened; neither is part of the text. Blank lines do not count, and a line end inside
    /// brackets or quotes is none.
    Lines(usize),
}

/// The texts that a model knows around the parts of a fill-in-the-middle prompt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfillTokens {
    /// Before the text that comes before the hole.
    pub prefix: String,
    /// Before the text that comes after the hole.
    pub suffix: String,
    /// After both: the hole.
    pub middle: String,
    /// Which of both comes first.
    pub order: InfillOrder,
}

/// The order of a fill-in-the-middle prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum InfillOrder {
    /// Prefix, suffix, middle.
    #[serde(rename = "PSM")]
    PrefixFirst,
    /// Suffix, prefix, middle: the text before the hole ends the prompt, so the hole directly follows it
    /// (Bavarian et al. 2022).
    #[serde(rename = "SPM")]
    SuffixFirst,
}

impl InfillTokens {
    /// The prompt that asks for what stands between `before` and `after`.
    pub fn prompt(&self, before: &str, after: &str) -> String {
        let InfillTokens { prefix, suffix, middle, .. } = self;
        match self.order {
            InfillOrder::PrefixFirst => format!("{prefix}{before}{suffix}{after}{middle}"),
            InfillOrder::SuffixFirst => format!("{prefix}{suffix}{after}{middle}{before}"),
        }
    }
}

/// The texts that a model knows around the parts of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTokens {
    /// Before what the user says; a system message, if there is one, included.
    pub before: String,
    /// Between it and the answer.
    pub after: String,
}

impl ChatTokens {
    /// The prompt in which the user said `question` and the answer begins with `answer`.
    pub fn prompt(&self, question: &str, answer: &str) -> String {
        format!("{}{question}{}{answer}", self.before, self.after)
    }
}

/// A written completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text after the prompt.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens sampled, an end-of-text token included.
    pub completion_tokens: usize,
    /// Tokens of the prompt that came from another row's or an earlier call's cache.
    pub cached_prompt_tokens: usize,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By the request's [`Stop`].
    Stopped,
    /// The model ended it.
    EndOfText,
    /// `max_tokens` were sampled.
    Length,
    /// The caller cancelled.
    Cancelled,
    /// Its text could not become a class any more (of [`Stop::ClassComplete`] after a class's header).
    Abandoned,
}

/// How likely a text is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum over its tokens of the natural logarithm of their probability.
    pub log_probability: f64,
    /// Number of those tokens.
    pub tokens: usize,
}

impl Score {
    /// The mean over its tokens; 0 of none.
    pub fn per_token(&self) -> f64 {
        self.log_probability / self.tokens.max(1) as f64
    }
}

/// Where a call to [`Generator::generate`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens sampled so far in this call.
    pub tokens: usize,
    /// Rows being written now.
    pub rows_running: usize,
}

/// What the caller of [`Generator::generate`] wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop soon and return what there is, with [`Finish::Cancelled`] where it is incomplete.
    Cancel,
}

/// Who wrote a text, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorIdentity {
    /// The manifest's name, or the file's.
    pub name: String,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
}

/// Writes completions: a model, or a scripted stand-in.
pub trait Generator {
    /// Answers every request, in order. `on_progress` is called at least once per token step.
    ///
    /// # Errors
    /// A request that does not fit the context is refused before anything is computed.
    fn generate(
        &mut self,
        requests: &[Request],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError>;

    /// Name and hash, for the record.
    fn describe(&self) -> GeneratorIdentity;

    /// The log-probability of each continuation after `prompt`.
    ///
    /// # Errors
    /// A generator that cannot tell ([`LlmError::NoScores`]), or texts that do not fit the context.
    fn score(&mut self, prompt: &str, continuations: &[&str]) -> Result<Vec<Score>, LlmError> {
        let _ = (prompt, continuations);
        Err(LlmError::NoScores { name: self.describe().name })
    }

    /// Whether [`Generator::score`] has an answer.
    fn can_score(&self) -> bool {
        false
    }

    /// About how many tokens `text` has, for the record of costs.
    fn count_tokens(&self, text: &str) -> usize {
        text.len().div_ceil(4)
    }

    /// Keep the completions of a class's header to a search space: a grammar (Lark, as the crate `llguidance` reads it)
    /// of all that may stand behind the header; `None` lifts it. Where the grammar leaves no choice the model is not
    /// asked, and a completion ends with its grammar. A scripted stand-in says what it says.
    ///
    /// # Errors
    /// A model whose tokens are not known; a text that is no grammar.
    fn keep_to(&mut self, space: Option<&str>) -> Result<(), LlmError> {
        let _ = space;
        Ok(())
    }

    /// How it is asked to fill a hole; `None` where it was not taught to.
    fn infill(&self) -> Option<&InfillTokens> {
        None
    }

    /// How it is talked to; `None` where it was not taught to.
    fn chat(&self) -> Option<&ChatTokens> {
        None
    }

    /// How it is prompted best.
    fn style(&self) -> PromptStyle {
        PromptStyle::Completion
    }
}

/// What one token costs beyond its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Bytes of weights that are read, once per step however many tokens it has.
    pub bytes: u64,
    /// Products of weights and activations without those of the output head.
    pub products: u64,
    /// Products of the output head.
    pub head_products: u64,
}

/// What a loaded model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights as they are held in memory.
    pub weights_bytes: u64,
    /// KV cache when every row is full; it grows as rows do.
    pub kv_cache_bytes: u64,
    /// Logits and intermediate values of the largest step.
    pub scratch_bytes: u64,
}

impl MemoryPlan {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.kv_cache_bytes + self.scratch_bytes
    }
}
