//! How likely a model finds given continuations of a prompt: texts in, sums of log-probabilities out.
//!
//! The prompt is prefilled once and its cache copied to every slot; the continuations then run side by side in
//! alphabetical order, a few tokens each at a time so that their logits stay small. What a continuation shares with the
//! one before it is taken from there. A score depends on its own texts alone. Limit: texts share only within a group
//! of as many as there are slots.

use std::ops::Range;

use super::{Llm, PREFILL_CHUNK};
use crate::llm::decoder::Span;
use crate::llm::kernels::math::{largest, sum, weights_of};
use crate::llm::{LlmError, Score};

/// Rows of logits that one step may hold: each is as long as the vocabulary.
pub(super) const LOGIT_ROWS: usize = 64;

/// A continuation being scored.
struct Scored {
    index: usize,
    slot: usize,
    /// Its tokens, from the last one on that all texts share.
    tokens: Vec<u32>,
    /// How many of them begin the row before it as well.
    shared: usize,
    /// Tokens in the slot: none until `shared` can be taken from the row before it.
    done: usize,
    sum: f64,
}

impl Scored {
    /// Places of the tokens to feed next, at most so many: each gives the probability of the one behind it.
    fn next(&self, most: usize) -> Range<usize> {
        let most = if self.done < self.shared { 0 } else { most };
        self.done..(self.done + most).min(self.tokens.len() - 1)
    }
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
        // Every group leaves its slots as it found them: the prefix alone.
        let mut places = vec![home];
        while places.len() < self.rows.min(texts.len()) {
            let (slot, held) = self.claim(prefix, &places)?;
            if held < prefix.len() {
                // Prompts that share nothing claim an empty slot; the texts of one call share theirs all the same.
                self.decoder.copy_prefix(home, slot, prefix.len()).map_err(|error| self.compute(&error))?;
                self.slots.replace(slot, prefix);
            }
            places.push(slot);
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|a, b| texts[*a].cmp(&texts[*b]));
        for group in order.chunks(places.len()) {
            let mut rows: Vec<Scored> = Vec::with_capacity(group.len());
            for (&slot, &index) in places.iter().zip(group) {
                let tokens = texts[index][shared - 1..].to_vec();
                let before = rows.last().map_or(&[][..], |row| &row.tokens);
                let shared = before.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
                // A row's last token is never fed.
                let shared = shared.min(tokens.len() - 1).min(before.len().saturating_sub(1));
                rows.push(Scored { index, slot, tokens, shared, done: 0, sum: 0.0 });
            }
            self.score_side_by_side(&mut rows, prefix.len())?;
            for row in rows {
                scores[row.index] = Score { log_probability: row.sum, tokens: row.tokens.len() - 1 };
                self.decoder.truncate(row.slot, prefix.len());
            }
        }
        for &slot in &places[1..] {
            self.slots.clear(slot);
            self.decoder.truncate(slot, 0);
        }
        Ok(scores)
    }

    /// Feeds all rows to their ends; their slots hold `prefix` tokens.
    fn score_side_by_side(&mut self, rows: &mut [Scored], prefix: usize) -> Result<(), LlmError> {
        let (mut logits, mut weights) = (Vec::new(), Vec::new());
        loop {
            self.start_rows(rows, prefix)?;
            let running = rows.iter().filter(|row| !row.next(1).is_empty()).count();
            if running == 0 {
                return Ok(());
            }
            let together = (LOGIT_ROWS / running).clamp(1, PREFILL_CHUNK);
            let fed: Vec<Range<usize>> = rows.iter().map(|row| row.next(together)).collect();
            let spans: Vec<Span<'_>> = rows
                .iter()
                .zip(&fed)
                .filter(|(_, next)| !next.is_empty())
                .map(|(row, next)| Span {
                    slot: row.slot,
                    logits: next.len(),
                    tokens: &row.tokens[next.clone()],
                })
                .collect();
            self.decoder.forward(&spans, &mut logits).map_err(|error| self.compute(&error))?;
            let width = logits.len() / fed.iter().map(ExactSizeIterator::len).sum::<usize>();
            let mut logits = logits.chunks_exact(width);
            for (first, next) in fed.into_iter().enumerate() {
                rows[first].done = next.end;
                // The places come first: where there are none left, no logits are taken.
                for (place, logits) in next.zip(&mut logits) {
                    for row in sharing(&mut rows[first..], place) {
                        row.sum += self.log_probability(logits, row.tokens[place + 1], &mut weights)?;
                    }
                }
            }
        }
    }

    /// Starts the rows whose share of the row before them has been computed.
    fn start_rows(&mut self, rows: &mut [Scored], prefix: usize) -> Result<(), LlmError> {
        for index in 1..rows.len() {
            let Scored { slot, done, .. } = rows[index - 1];
            let row = &mut rows[index];
            if row.done < row.shared && row.shared <= done {
                let copied = self.decoder.copy_prefix(slot, row.slot, prefix + row.shared);
                copied.map_err(|error| self.compute(&error))?;
                row.done = row.shared;
            }
        }
        Ok(())
    }

    /// ln softmax(logits)[token]; `weights` is scratch.
    fn log_probability(&self, logits: &[f32], token: u32, weights: &mut Vec<f32>) -> Result<f64, LlmError> {
        let most = largest(self.isa, logits);
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
        weights.resize(logits.len(), 0.0);
        weights_of(self.isa, logits, most, 1.0, weights);
        let log = f64::from(logit) - f64::from(most) - sum(self.isa, weights).ln();
        if log.is_finite() { Ok(log) } else { Err(LlmError::NotFinite { name: self.identity.name.clone() }) }
    }
}

/// The first row and those behind it that begin with the same tokens, up to the one in `place`, which none of these
/// feeds itself.
fn sharing(rows: &mut [Scored], place: usize) -> impl Iterator<Item = &mut Scored> {
    let count = 1 + rows.iter().skip(1).take_while(|row| row.shared > place).count();
    rows[..count].iter_mut()
}
