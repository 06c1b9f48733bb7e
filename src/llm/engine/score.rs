//! How likely a model finds given continuations of a prompt: texts in, sums of log-probabilities out.
//!
//! The prompt is prefilled once and its cache copied to every slot; the continuations then run side by side, a
//! few tokens each at a time so that their logits stay small. A score depends on its own texts alone. Limit: what
//! two continuations share beyond the prompt is computed for each.

use super::{Llm, PREFILL_CHUNK};
use crate::llm::decoder::Span;
use crate::llm::kernels::math::{largest, sum, weights_of};
use crate::llm::{LlmError, Score};

/// Rows of logits that one step may hold: each is as long as the vocabulary.
const LOGIT_ROWS: usize = 64;

/// A continuation being scored.
struct Scored {
    index: usize,
    slot: usize,
    /// Its tokens, behind the last one that all texts share.
    tokens: Vec<u32>,
    done: usize,
    sum: f64,
}

impl Llm {
    /// The log-probability of each of `continuations` after `prompt`, at temperature 1 over the whole
    /// vocabulary. Prompt and continuation are tokenized as one text, and everything after the tokens that
    /// all of these texts share with the prompt counts, so that scores of one call compare.
    ///
    /// # Errors
    /// A text that the tokenizer refuses or that does not fit the context; a prompt without a token that all
    /// texts share.
    pub fn score(&mut self, prompt: &str, continuations: &[&str]) -> Result<Vec<Score>, LlmError> {
        let prompt_tokens = self.text.encode(prompt)?;
        let mut texts = Vec::with_capacity(continuations.len());
        let mut shared = prompt_tokens.len();
        for (index, continuation) in continuations.iter().enumerate() {
            let text = self.text.encode(&format!("{prompt}{continuation}"))?;
            if text.len() > self.context {
                let max_tokens = text.len().saturating_sub(prompt_tokens.len());
                let (prompt_tokens, context) = (prompt_tokens.len(), self.context);
                return Err(LlmError::TooLong { index, prompt_tokens, max_tokens, context });
            }
            shared = shared.min(text.iter().zip(&prompt_tokens).take_while(|(a, b)| a == b).count());
            texts.push(text);
        }
        if shared == 0 && !texts.is_empty() {
            let (value, expected) = ("empty".into(), "a token before the continuation");
            return Err(LlmError::BadRequest { index: 0, field: "prompt", value, expected });
        }
        let result = self.score_tokens(&texts, shared);
        if result.is_err() {
            // A step may have ended half way.
            self.forget();
        }
        result
    }

    /// Scores what follows the first `shared` tokens of each text.
    fn score_tokens(&mut self, texts: &[Vec<u32>], shared: usize) -> Result<Vec<Score>, LlmError> {
        let mut scores = vec![Score { log_probability: 0.0, tokens: 0 }; texts.len()];
        let Some(first) = texts.first() else { return Ok(scores) };
        // The last shared token is fed with the continuation: its logits are needed.
        let prefix = &first[..shared - 1];
        let home = self.claim(prefix, &[])?.0;
        self.prefill(home, prefix, &mut || crate::llm::Control::Continue)?;
        let slots = self.cached.len();
        let order: Vec<usize> = (0..texts.len()).collect();
        for group in order.chunks(slots) {
            let mut rows = Vec::with_capacity(group.len());
            for (offset, &index) in group.iter().enumerate() {
                let slot = (home + offset) % slots;
                self.decoder.copy_prefix(home, slot, prefix.len()).map_err(|error| self.compute(&error))?;
                self.cached[slot] = prefix.to_vec();
                let tokens = texts[index][shared - 1..].to_vec();
                rows.push(Scored { index, slot, tokens, done: 0, sum: 0.0 });
            }
            self.score_side_by_side(&mut rows)?;
            for row in rows {
                scores[row.index] = Score { log_probability: row.sum, tokens: row.done };
                self.cached[row.slot].truncate(prefix.len());
                self.decoder.truncate(row.slot, prefix.len());
            }
        }
        Ok(scores)
    }

    /// Feeds all rows to their ends.
    fn score_side_by_side(&mut self, rows: &mut [Scored]) -> Result<(), LlmError> {
        let mut logits = Vec::new();
        let together = (LOGIT_ROWS / rows.len()).clamp(1, PREFILL_CHUNK);
        loop {
            let spans: Vec<Span<'_>> = rows
                .iter()
                .filter(|row| row.done + 1 < row.tokens.len())
                .map(|row| {
                    let end = (row.done + together).min(row.tokens.len() - 1);
                    let tokens = &row.tokens[row.done..end];
                    Span { slot: row.slot, tokens, logits: tokens.len() }
                })
                .collect();
            let fed: usize = spans.iter().map(|span| span.tokens.len()).sum();
            if fed == 0 {
                return Ok(());
            }
            self.decoder.forward(&spans, &mut logits).map_err(|error| self.compute(&error))?;
            let width = logits.len() / fed;
            let mut logits = logits.chunks_exact(width);
            for row in rows.iter_mut().filter(|row| row.done + 1 < row.tokens.len()) {
                let end = (row.done + together).min(row.tokens.len() - 1);
                for (place, logits) in (row.done..end).zip(&mut logits) {
                    row.sum += self.log_probability(logits, row.tokens[place + 1])?;
                }
                row.done = end;
            }
        }
    }

    /// ln softmax(logits)[token]
    fn log_probability(&self, logits: &[f32], token: u32) -> Result<f64, LlmError> {
        let most = largest(self.isa, logits);
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
        let mut weights = vec![0.0; logits.len()];
        weights_of(self.isa, logits, most, 1.0, &mut weights);
        let log = f64::from(logit) - f64::from(most) - sum(self.isa, &weights).ln();
        if log.is_finite() { Ok(log) } else { Err(LlmError::NotFinite { name: self.identity.name.clone() }) }
    }
}
