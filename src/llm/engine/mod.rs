//! The engine: a loaded model, its checks of requests, and what it takes in memory.
//!
//! In: a selection, then requests. Out: completions, which `batch` writes.
//! Limit: one model, one call at a time.

mod answers;
mod batch;
mod lookup;
mod score;
mod slots;
#[cfg(test)]
mod tests;

use self::answers::Answers;
use self::lookup::{MOST, Trust};
use self::score::LOGIT_ROWS;
use self::slots::Slots;
use super::constrain::Grammar;
use super::decoder::{AcceleratorDecoder, Config, CpuDecoder, Decoder, Span};
use super::gguf::{Gguf, first_line};
use super::kernels::Isa;
use super::tokenizer::Text;
use super::working::{FREQUENT, Working};
use crate::config::{Device, Vocabulary};
use crate::llm::{
    ChatTokens, Completion, Control, Generator, GeneratorIdentity, InfillTokens, LlmError, LlmOptions,
    MemoryPlan, Progress, PromptStyle, Request, Score, Selection, Work,
};

/// Prompt tokens that are computed in one step.
const PREFILL_CHUNK: usize = 128;

/// A loaded model.
pub struct Llm {
    identity: GeneratorIdentity,
    infill: Option<InfillTokens>,
    chat: Option<ChatTokens>,
    style: PromptStyle,
    text: Text,
    decoder: Box<dyn Decoder>,
    isa: Isa,
    context: usize,
    /// Completions that are decoded together.
    rows: usize,
    /// Tokens whose keys and values each slot holds: as many as rows, and those of earlier prompts.
    slots: Slots,
    plan: MemoryPlan,
    /// Texts that end a completion, by the manifest.
    stops: Vec<String>,
    /// Whether rows guess ahead (`lookup`).
    guesses: bool,
    trust: Trust,
    /// What the completions of a class's header follow.
    grammar: Option<Grammar>,
    vocabulary: usize,
    /// The tokens that completions are written with; `None`: all.
    working: Option<Working>,
    /// Tokens that were a choice of the search space so far; sorted.
    choices: Vec<u32>,
    answers: Answers,
    /// Whether prompts share prefixes.
    shares: bool,
    on_cpu: bool,
}

impl Llm {
    /// Loads a selected model; the CPU path packs its weights, which takes a second or so.
    ///
    /// # Errors
    /// A file that is damaged, truncated or of an unsupported architecture; a context beyond the model's; a
    /// device that cannot be used.
    pub fn load(selection: &Selection, options: &LlmOptions) -> Result<Llm, LlmError> {
        let (gguf, config, context) = open(selection, options)?;
        let text = Text::load(&gguf)?;
        let rows = options.rows.max(1);
        let mut plan = plan(&gguf, &config, options, context);
        let vocabulary = config.vocabulary;
        let decoder: Box<dyn Decoder> = match options.device {
            Device::Cpu => Box::new(CpuDecoder::load(&gguf, config, options.threads, context, rows)?),
            Device::Cuda(index) => {
                Box::new(AcceleratorDecoder::load(&gguf, config, &cuda(index)?, context, rows)?)
            }
        };
        plan.weights_bytes = decoder.weights_bytes() as u64;
        let name = selection.manifest.name.clone();
        Ok(Llm {
            identity: GeneratorIdentity { name, sha256: selection.sha256.clone() },
            infill: selection.manifest.infill.clone(),
            chat: selection.manifest.chat.clone(),
            style: selection.manifest.prompt_style,
            stops: selection.manifest.stop.clone(),
            text,
            decoder,
            isa: Isa::detect(),
            context,
            rows,
            slots: Slots::new(rows),
            plan,
            guesses: true,
            trust: Trust::new(),
            grammar: None,
            vocabulary,
            working: None,
            choices: Vec::new(),
            answers: Answers::default(),
            shares: true,
            on_cpu: options.device == Device::Cpu,
        })
    }

    /// What [`Llm::load`] would take in memory, from the file's header alone.
    ///
    /// # Errors
    /// As [`Llm::load`], as far as the header shows.
    pub fn estimate(selection: &Selection, options: &LlmOptions) -> Result<MemoryPlan, LlmError> {
        let (gguf, config, context) = open(selection, options)?;
        Ok(plan(&gguf, &config, options, context))
    }

    /// What [`Llm::load`] would take, if that is not more than `budget_mb`.
    ///
    /// # Errors
    /// As [`Llm::estimate`]; a plan over the budget, with its numbers.
    pub fn plan_within(
        selection: &Selection,
        options: &LlmOptions,
        budget_mb: u64,
    ) -> Result<MemoryPlan, LlmError> {
        let (gguf, config, context) = open(selection, options)?;
        let plan = plan(&gguf, &config, options, context);
        let [weights_mb, cache_mb, scratch_mb] =
            [plan.weights_bytes, plan.kv_cache_bytes, plan.scratch_bytes]
                .map(|bytes| bytes.div_ceil(1_000_000));
        if weights_mb + cache_mb + scratch_mb > budget_mb {
            let (name, rows) = (selection.manifest.name.clone(), options.rows.max(1));
            return Err(LlmError::PlanOverBudget {
                name,
                weights_mb,
                cache_mb,
                scratch_mb,
                rows,
                context,
                budget_mb,
            });
        }
        Ok(plan)
    }

    /// Answers every request, in order; see [`Generator::generate`].
    ///
    /// # Errors
    /// A request that does not fit the context or has a setting out of range is refused before anything is
    /// computed.
    pub fn generate(
        &mut self,
        requests: &[Request],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        let prompts = self.prompts(requests)?;
        let result = self.run(requests, &prompts, on_progress);
        if result.is_err() {
            // A step may have ended half way.
            self.forget();
        }
        result
    }

    /// Number of tokens of `text`; 0 for a text that the tokenizer refuses.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.text.encode(text).map_or(0, |tokens| tokens.len())
    }

    /// What the model takes in memory.
    pub fn memory_plan(&self) -> MemoryPlan {
        self.plan
    }

    /// Longest prompt plus completion, in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Whether completions of a class's header follow the grammar of class bodies; compiles it.
    ///
    /// # Errors
    /// A model whose tokens or end token are not known.
    pub fn set_grammar(&mut self, on: bool) -> Result<(), LlmError> {
        self.answers.clear();
        self.grammar = if on { Some(self.text.grammar(self.vocabulary, None)?) } else { None };
        Ok(())
    }

    /// Which tokens completions are written with. Scores are those of the whole vocabulary.
    ///
    /// # Errors
    /// A tokenizer that cannot tell its tokens' texts.
    pub fn set_vocabulary(&mut self, vocabulary: Vocabulary) -> Result<(), LlmError> {
        self.choices.clear();
        self.answers.clear();
        self.working = match vocabulary {
            Vocabulary::Whole => None,
            Vocabulary::Working => {
                let working = Working::new(&self.text, self.vocabulary, FREQUENT)?;
                self.narrow(&working)?;
                Some(working)
            }
        };
        self.plan.weights_bytes = self.decoder.weights_bytes() as u64;
        Ok(())
    }

    /// How many tokens get logits when completions are written.
    pub fn vocabulary(&self) -> usize {
        self.working.as_ref().map_or(self.vocabulary, |working| working.tokens().len())
    }

    fn narrow(&mut self, working: &Working) -> Result<(), LlmError> {
        self.decoder.narrow(working.tokens()).map_err(|error| self.compute(&error))
    }

    /// What one token costs.
    pub fn work(&self) -> Work {
        self.decoder.work()
    }

    /// Whether rows guess ahead; completions do not depend on it, timings do.
    pub fn set_lookup(&mut self, lookup: bool) {
        self.guesses = lookup;
    }

    /// Whether a prompt takes over what other rows or earlier calls computed of it; completions do not depend
    /// on it, timings do.
    pub fn set_sharing(&mut self, sharing: bool) {
        self.shares = sharing;
    }

    /// Drops everything cached. Completions do not depend on it; timings do.
    pub fn forget(&mut self) {
        self.answers.clear();
        for slot in 0..self.slots.len() {
            self.slots.clear(slot);
            self.decoder.truncate(slot, 0);
        }
    }

    /// Keeps what was computed of up to `most` earlier prompts beside the rows, as far as all that the model takes
    /// stays within `budget_mb`; prompts that begin alike then cost what they differ in. Completions do not depend on
    /// it. Returns how many; none on an accelerator, where a prompt is computed quickly and every slot is allocated
    /// whole.
    pub fn keep_prompts(&mut self, most: usize, budget_mb: u64) -> usize {
        let slot_bytes = (self.plan.kv_cache_bytes / self.slots.len() as u64).max(1);
        let room = (budget_mb * 1_000_000).saturating_sub(self.plan.total_bytes()) / slot_bytes;
        let more = if self.on_cpu { most.min(room as usize) } else { 0 };
        self.slots.grow(self.slots.len() + more);
        self.decoder.grow(self.slots.len());
        self.plan.kv_cache_bytes += more as u64 * slot_bytes;
        more
    }

    /// The logits after `tokens`, computed afresh.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, or more of them than the context.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, LlmError> {
        self.afresh(tokens, 1)
    }

    /// What would be written greedily after each of the last `count` prefixes of `tokens`, the last of which is all
    /// of them, and by how much its logit leads the second best.
    ///
    /// # Errors
    /// As [`Llm::logits`].
    pub fn leaders(&mut self, tokens: &[u32], count: usize) -> Result<Vec<(u32, f32)>, LlmError> {
        let logits = self.afresh(tokens, count)?;
        Ok(logits.chunks_exact(logits.len() / count.max(1)).map(leader).collect())
    }

    /// The logits after each of the last `count` prefixes of `tokens`: (count, vocabulary).
    fn afresh(&mut self, tokens: &[u32], count: usize) -> Result<Vec<f32>, LlmError> {
        self.forget();
        let (prompt_tokens, context) = (tokens.len(), self.context);
        if !(count.max(1)..=context).contains(&prompt_tokens) {
            return Err(LlmError::TooLong { index: 0, prompt_tokens, max_tokens: 0, context });
        }
        let mut logits = Vec::new();
        let done = self.decoder.forward(&[Span { slot: 0, tokens, logits: count }], &mut logits);
        self.decoder.truncate(0, 0);
        done.map_err(|error| self.compute(&error))?;
        Ok(logits)
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        self.text.encode(text)
    }

    fn compute(&self, error: &candle_core::Error) -> LlmError {
        LlmError::Compute { name: self.identity.name.clone(), reason: first_line(error) }
    }

    /// Tokenizes and checks the requests.
    fn prompts(&self, requests: &[Request]) -> Result<Vec<Vec<u32>>, LlmError> {
        let mut prompts = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let bad = |field, value: String, expected| LlmError::BadRequest { index, field, value, expected };
            if !(request.temperature >= 0.0 && request.temperature.is_finite()) {
                return Err(bad(
                    "temperature",
                    request.temperature.to_string(),
                    "a finite number of at least 0",
                ));
            }
            if !(request.top_p > 0.0 && request.top_p <= 1.0) {
                return Err(bad("top_p", request.top_p.to_string(), "a number above 0 and up to 1"));
            }
            let prompt = self.text.encode(&request.prompt)?;
            if prompt.is_empty() {
                return Err(bad("prompt", "empty".into(), "at least one token"));
            }
            let (prompt_tokens, max_tokens, context) = (prompt.len(), request.max_tokens, self.context);
            if prompt_tokens.checked_add(max_tokens).is_none_or(|sum| sum > context) {
                return Err(LlmError::TooLong { index, prompt_tokens, max_tokens, context });
            }
            prompts.push(prompt);
        }
        Ok(prompts)
    }
}

impl Generator for Llm {
    fn generate(
        &mut self,
        requests: &[Request],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        Llm::generate(self, requests, on_progress)
    }

    fn describe(&self) -> GeneratorIdentity {
        self.identity.clone()
    }

    fn score(&mut self, prompt: &str, continuations: &[&str]) -> Result<Vec<Score>, LlmError> {
        Llm::score(self, prompt, continuations)
    }

    fn can_score(&self) -> bool {
        true
    }

    fn count_tokens(&self, text: &str) -> usize {
        Llm::count_tokens(self, text)
    }

    fn keep_to(&mut self, space: Option<&str>) -> Result<(), LlmError> {
        self.grammar = space.map(|lark| self.text.grammar(self.vocabulary, Some(lark))).transpose()?;
        self.choices.clear();
        self.answers.clear();
        Ok(())
    }

    fn infill(&self) -> Option<&InfillTokens> {
        self.infill.as_ref()
    }

    fn chat(&self) -> Option<&ChatTokens> {
        self.chat.as_ref()
    }

    fn style(&self) -> PromptStyle {
        self.style
    }
}

/// The first of the largest logits, and its lead over every other one.
fn leader(logits: &[f32]) -> (u32, f32) {
    let (mut best, mut second) = ((0, f32::NEG_INFINITY), f32::NEG_INFINITY);
    for (token, logit) in (0u32..).zip(logits.iter().copied()) {
        if logit > best.1 {
            second = best.1;
            best = (token, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best.0, best.1 - second)
}

/// Opens the file and settles the context.
fn open(selection: &Selection, options: &LlmOptions) -> Result<(Gguf, Config, usize), LlmError> {
    let gguf = Gguf::open(&selection.path)?;
    let config = Config::read(&gguf)?;
    let context = if options.context == 0 { config.context } else { options.context };
    if context > config.context {
        let name = selection.manifest.name.clone();
        return Err(LlmError::ContextLimit { name, asked: context, limit: config.context });
    }
    Ok((gguf, config, context))
}

fn plan(gguf: &Gguf, config: &Config, options: &LlmOptions, context: usize) -> MemoryPlan {
    let rows = options.rows.max(1);
    let widest = 3 * config.feed_forward + 8 * config.hidden;
    // Of a step in which every row guesses as much as it can, or of one that scores.
    let logits = LOGIT_ROWS.max(rows * (1 + MOST));
    let single = options.device != Device::Cpu || config.caches_single(gguf);
    let per_token = config.cache_bytes_per_token(if single { 4 } else { 2 });
    // A device holds the scores of a chunk's attention three times: as products, masked, as weights.
    let scores = match options.device {
        Device::Cpu => 0,
        Device::Cuda(_) => 3 * config.heads * PREFILL_CHUNK * context,
    };
    MemoryPlan {
        weights_bytes: gguf.weights_bytes(options.device == Device::Cpu) as u64,
        kv_cache_bytes: (rows as u64).saturating_mul(context as u64).saturating_mul(per_token as u64),
        scratch_bytes: (4 * (logits * config.vocabulary + PREFILL_CHUNK.max(rows) * widest + scores)) as u64,
    }
}

/// The CUDA device `index`.
fn cuda(index: usize) -> Result<candle_core::Device, LlmError> {
    let fault = |reason: String| LlmError::Device { device: format!("cuda:{index}"), reason };
    if !cfg!(feature = "cuda") {
        return Err(fault("this binary was built without the feature `cuda`; use device cpu".into()));
    }
    candle_core::Device::new_cuda(index).map_err(|error| fault(first_line(&error)))
}
