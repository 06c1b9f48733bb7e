//! The engine: requests in, completions out; rows decoded together, prompts prefilled once per distinct prefix.
//!
//! Each running request has a slot of the KV cache. A new prompt takes over the longest prefix that any slot already
//! holds (of this call or an earlier one), prefills the rest, and joins the common step of one token per row; a
//! finished row leaves at once and a waiting request takes its slot. None of this changes a completion.
//! Limit: a prompt is prefilled before the running rows go on.

use super::decoder::{AcceleratorDecoder, Config, CpuDecoder, Decoder, Span};
use super::gguf::{Gguf, first_line};
use super::kernels::Isa;
use super::sampling::{Settings, sample};
use super::stop::StopRule;
use super::tokenizer::{Pieces, Text};
use crate::config::Device;
use crate::llm::{
    Completion, Control, Finish, Generator, GeneratorIdentity, LlmError, LlmOptions, MemoryPlan, Progress,
    Request, Selection,
};
use crate::rng::Stream;

/// Prompt tokens that are computed in one step.
const PREFILL_CHUNK: usize = 128;

/// A loaded model.
pub struct Llm {
    identity: GeneratorIdentity,
    text: Text,
    decoder: Box<dyn Decoder>,
    isa: Isa,
    context: usize,
    /// Tokens whose keys and values each slot holds.
    cached: Vec<Vec<u32>>,
    plan: MemoryPlan,
}

/// A request being written.
struct Row {
    /// Position in the call.
    request: usize,
    slot: usize,
    prompt_tokens: usize,
    cached_prompt_tokens: usize,
    sampled: usize,
    /// The token to feed next.
    next: u32,
    pieces: Pieces,
    stop: StopRule,
    stream: Stream,
}

/// How the steps of a call end for one row.
enum Verdict {
    Goes,
    Ends(Finish, usize),
}

impl Llm {
    /// Loads a selected model; the CPU path packs its weights, which takes a second or so.
    ///
    /// # Errors
    /// A file that is damaged, truncated or of an unsupported architecture; a context beyond the model's; a device that
    /// cannot be used.
    pub fn load(selection: &Selection, options: &LlmOptions) -> Result<Llm, LlmError> {
        let (gguf, config, context) = open(selection, options)?;
        let text = Text::load(&gguf)?;
        let rows = options.rows.max(1);
        let mut plan = plan(&gguf, &config, options, context);
        let decoder: Box<dyn Decoder> = match options.device {
            Device::Cpu => Box::new(CpuDecoder::load(&gguf, config, options.threads, rows)?),
            Device::Cuda(index) => {
                Box::new(AcceleratorDecoder::load(&gguf, config, &cuda(index)?, context, rows)?)
            }
        };
        plan.weights_bytes = decoder.weights_bytes() as u64;
        let name = selection.manifest.name.clone();
        Ok(Llm {
            identity: GeneratorIdentity { name, sha256: selection.sha256.clone() },
            text,
            decoder,
            isa: Isa::detect(),
            context,
            cached: vec![Vec::new(); rows],
            plan,
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

    /// Answers every request, in order; see [`Generator::generate`].
    ///
    /// # Errors
    /// A request that does not fit the context or has a setting out of range is refused before anything is computed.
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

    /// Drops everything cached. Completions do not depend on it; timings do.
    pub fn forget(&mut self) {
        for (slot, cached) in self.cached.iter_mut().enumerate() {
            cached.clear();
            self.decoder.truncate(slot, 0);
        }
    }

    /// The logits after `tokens`, computed afresh.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, or more of them than the context.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, LlmError> {
        self.forget();
        let (prompt_tokens, context) = (tokens.len(), self.context);
        if !(1..=context).contains(&prompt_tokens) {
            return Err(LlmError::TooLong { index: 0, prompt_tokens, max_tokens: 0, context });
        }
        let mut logits = Vec::new();
        let done = self.decoder.forward(&[Span { slot: 0, tokens, logits: true }], &mut logits);
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

    fn run(
        &mut self,
        requests: &[Request],
        prompts: &[Vec<u32>],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        let mut done: Vec<Option<Completion>> = vec![None; requests.len()];
        let mut rows: Vec<Row> = Vec::new();
        let mut logits = Vec::new();
        let (mut waiting, mut tokens, mut cancelled) = (0, 0, false);
        loop {
            while !cancelled && rows.len() < self.cached.len() && waiting < requests.len() {
                let mut row = self.admit(waiting, &requests[waiting], &prompts[waiting], &rows)?;
                waiting += 1;
                let prompt = &prompts[row.request];
                if requests[row.request].max_tokens == 0 {
                    done[row.request] = Some(self.finish(&mut row, Finish::Length, 0)?);
                    continue;
                }
                let running = rows.len() + 1;
                let mut watch = || on_progress(Progress { tokens, rows_running: running });
                cancelled = self.prefill(row.slot, &prompt[..prompt.len() - 1], &mut watch)?;
                rows.push(row);
            }
            if cancelled || rows.is_empty() {
                break;
            }
            self.step(&rows, &mut logits)?;
            tokens += rows.len();
            let mut going = Vec::with_capacity(rows.len());
            let width = logits.len() / rows.len();
            for (mut row, logits) in rows.into_iter().zip(logits.chunks_exact(width)) {
                let request = &requests[row.request];
                match self.advance(&mut row, request, logits)? {
                    Verdict::Goes => going.push(row),
                    Verdict::Ends(finish, keep) => {
                        done[row.request] = Some(self.finish(&mut row, finish, keep)?)
                    }
                }
            }
            rows = going;
            cancelled = on_progress(Progress { tokens, rows_running: rows.len() }) == Control::Cancel;
        }
        for mut row in rows {
            self.text.flush(&mut row.pieces)?;
            let keep = row.pieces.text.len();
            done[row.request] = Some(self.finish(&mut row, Finish::Cancelled, keep)?);
        }
        let never_started = |index: usize| Completion {
            text: String::new(),
            finish: Finish::Cancelled,
            prompt_tokens: prompts[index].len(),
            completion_tokens: 0,
            cached_prompt_tokens: 0,
        };
        Ok(done
            .into_iter()
            .enumerate()
            .map(|(index, done)| done.unwrap_or_else(|| never_started(index)))
            .collect())
    }

    /// Finds a slot for a request and fills it with the longest prefix that any slot holds.
    fn admit(
        &mut self,
        index: usize,
        request: &Request,
        prompt: &[u32],
        rows: &[Row],
    ) -> Result<Row, LlmError> {
        let shared = |cached: &[u32]| cached.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is always computed: its logits are needed.
        let most = prompt.len() - 1;
        let free = |slot: &usize| rows.iter().all(|row| row.slot != *slot);
        let mut source = (0, 0);
        for (slot, cached) in self.cached.iter().enumerate() {
            let len = shared(cached).min(most);
            if len > source.1 || (len == source.1 && free(&slot) && !free(&source.0)) {
                source = (slot, len);
            }
        }
        let (from, len) = source;
        let slot = if free(&from) && 2 * len >= self.cached[from].len() {
            from
        } else {
            // The least is lost in the slot that holds the fewest tokens.
            let free = (0..self.cached.len()).filter(free);
            free.min_by_key(|slot| (self.cached[*slot].len(), *slot)).unwrap_or(from)
        };
        self.decoder.copy_prefix(from, slot, len).map_err(|error| self.compute(&error))?;
        self.cached[slot] = prompt[..len].to_vec();
        Ok(Row {
            request: index,
            slot,
            prompt_tokens: prompt.len(),
            cached_prompt_tokens: len,
            sampled: 0,
            next: prompt[most],
            pieces: Pieces::default(),
            stop: StopRule::new(request.stop),
            stream: request.stream.clone(),
        })
    }

    /// Computes what is missing of `prompt`; returns whether the caller cancelled.
    fn prefill(
        &mut self,
        slot: usize,
        prompt: &[u32],
        watch: &mut dyn FnMut() -> Control,
    ) -> Result<bool, LlmError> {
        let held = self.cached[slot].len();
        for tokens in prompt[held..].chunks(PREFILL_CHUNK) {
            let done = self.decoder.forward(&[Span { slot, tokens, logits: false }], &mut Vec::new());
            done.map_err(|error| self.compute(&error))?;
            self.cached[slot].extend_from_slice(tokens);
            if watch() == Control::Cancel {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Feeds every row its next token; `logits` (rows, vocabulary).
    fn step(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), LlmError> {
        let spans: Vec<Span<'_>> = rows
            .iter()
            .map(|row| Span { slot: row.slot, tokens: std::slice::from_ref(&row.next), logits: true })
            .collect();
        self.decoder.forward(&spans, logits).map_err(|error| self.compute(&error))?;
        for row in rows {
            self.cached[row.slot].push(row.next);
        }
        Ok(())
    }

    /// Samples a row's next token and judges the text.
    fn advance(&self, row: &mut Row, request: &Request, logits: &[f32]) -> Result<Verdict, LlmError> {
        let settings =
            Settings { temperature: request.temperature, top_p: request.top_p, top_k: request.top_k };
        let token = sample(self.isa, logits, settings, &mut row.stream);
        let token = token.ok_or_else(|| LlmError::NotFinite { name: self.identity.name.clone() })?;
        row.sampled += 1;
        row.next = token;
        let ended = self.text.is_end(token);
        if ended {
            self.text.flush(&mut row.pieces)?;
        } else {
            self.text.push(&mut row.pieces, token)?;
        }
        if let Some(keep) = row.stop.complete_at(&row.pieces.text) {
            return Ok(Verdict::Ends(Finish::Stopped, keep));
        }
        if ended {
            return Ok(Verdict::Ends(Finish::EndOfText, row.pieces.text.len()));
        }
        if row.sampled >= request.max_tokens {
            self.text.flush(&mut row.pieces)?;
            return Ok(Verdict::Ends(Finish::Length, row.pieces.text.len()));
        }
        Ok(Verdict::Goes)
    }

    fn finish(&self, row: &mut Row, finish: Finish, keep: usize) -> Result<Completion, LlmError> {
        let mut text = std::mem::take(&mut row.pieces.text);
        text.truncate(keep);
        Ok(Completion {
            text,
            finish,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.sampled,
            cached_prompt_tokens: row.cached_prompt_tokens,
        })
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
    MemoryPlan {
        weights_bytes: gguf.weights_bytes(options.device == Device::Cpu) as u64,
        kv_cache_bytes: (rows as u64).saturating_mul(context as u64 * config.cache_bytes_per_token() as u64),
        scratch_bytes: (4 * (2 * rows * config.vocabulary + PREFILL_CHUNK.max(rows) * widest)) as u64,
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
