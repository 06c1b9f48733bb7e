//! The working vocabulary: the tokens that a network's source is likely to be written with, some 5 to 10 % of all.
//!
//! In: a tokenizer, prompts. Out: which tokens get logits; the output head is computed for these alone. A row's
//! tokens are: those that end a text; the first [`FREQUENT`] ids, which byte-pair encoding learnt first; the ASCII ones
//! whose letters are parts of known words (`words.txt`) or that have no letters; and those of the row's own prompt. So
//! what a row may write does not depend on who shares its batch. Limit: anything else is spelled in smaller tokens,
//! and characters beyond ASCII only come from prompts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::LlmError;
use super::tokenizer::Text;

const WORDS: &str = include_str!("words.txt");

/// Ids that are in every working vocabulary.
pub(crate) const FREQUENT: usize = 4096;

/// The tokens that get logits.
pub(crate) struct Working {
    /// Those of every row; sorted.
    base: Vec<u32>,
    /// `base` and what prompts have had beyond it so far; sorted.
    tokens: Vec<u32>,
    /// Places in `tokens` of what is beyond `base`.
    added: Vec<usize>,
}

impl Working {
    /// Of a model with `vocabulary` logits; ids below `frequent` are taken whatever their text.
    ///
    /// # Errors
    /// A tokenizer that cannot tell a token's text.
    pub(crate) fn new(text: &Text, vocabulary: usize, frequent: usize) -> Result<Working, LlmError> {
        let parts = parts();
        let mut base = Vec::new();
        for id in 0..u32::try_from(vocabulary).unwrap_or(u32::MAX) {
            if (id as usize) < frequent || text.is_end(id) || is_known(&text.piece(id)?, &parts) {
                base.push(id);
            }
        }
        Ok(Working { tokens: base.clone(), base, added: Vec::new() })
    }

    /// Sorted.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What a prompt's row may write beyond `base`; sorted.
    pub(crate) fn beyond(&self, prompt: &[u32]) -> Vec<u32> {
        let mut own: Vec<u32> =
            prompt.iter().copied().filter(|token| self.base.binary_search(token).is_err()).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// With the tokens of more prompts, if they have any that are new.
    pub(crate) fn grown(&self, prompts: &[Vec<u32>]) -> Option<Working> {
        let prompts = prompts.iter().flatten();
        let new: BTreeSet<u32> =
            prompts.copied().filter(|token| self.tokens.binary_search(token).is_err()).collect();
        if new.is_empty() {
            return None;
        }
        let mut tokens = self.tokens.clone();
        tokens.extend(new);
        tokens.sort_unstable();
        let is_added = |place: &usize| self.base.binary_search(&tokens[*place]).is_err();
        let added = (0..tokens.len()).filter(is_added).collect();
        Some(Working { base: self.base.clone(), tokens, added })
    }

    /// One row's logits: what other rows' prompts brought is out of the question.
    pub(crate) fn of_row<'a>(&self, logits: &'a [f32], beyond: &[u32]) -> Cow<'a, [f32]> {
        if self.added.len() == beyond.len() {
            return Cow::Borrowed(logits);
        }
        let mut own = logits.to_vec();
        for &place in &self.added {
            if beyond.binary_search(&self.tokens[place]).is_err() {
                own[place] = f32::NEG_INFINITY;
            }
        }
        Cow::Owned(own)
    }

    /// Logits by token id, minus infinity where there is none.
    pub(crate) fn spread(&self, logits: &[f32], vocabulary: usize) -> Vec<f32> {
        let mut all = vec![f32::NEG_INFINITY; vocabulary];
        for (logit, token) in logits.iter().zip(&self.tokens) {
            if let Some(place) = all.get_mut(*token as usize) {
                *place = *logit;
            }
        }
        all
    }
}

/// Every part of every word.
fn parts() -> BTreeSet<&'static str> {
    let mut parts = BTreeSet::new();
    for word in WORDS.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
        for start in 0..word.len() {
            parts.extend((start + 1..=word.len()).map(|end| &word[start..end]));
        }
    }
    parts
}

fn is_known(piece: &str, parts: &BTreeSet<&str>) -> bool {
    let mut letters = piece.split(|c: char| !c.is_ascii_alphabetic()).filter(|run| !run.is_empty());
    !piece.is_empty() && piece.is_ascii() && letters.all(|run| parts.contains(run))
}

#[cfg(test)]
mod tests {
    use super::{Working, is_known, parts};

    #[test]
    fn networks_can_be_written_and_other_languages_are_left_out() {
        let parts = parts();
        for piece in
            [".Conv", "(nn", "__()\n", " stride", "Batch", "        ", ")))\n", "128", "_channels", "z"]
        {
            assert!(is_known(piece, &parts), "{piece:?}");
        }
        for piece in ["", " Zeitung", "é", "\u{fffd}", "public", "XMLHttpRequest", "!important"] {
            assert!(!is_known(piece, &parts), "{piece:?}");
        }
    }

    #[test]
    fn a_row_has_its_own_prompts_tokens_and_no_others() {
        let working = Working { base: vec![1, 4], tokens: vec![1, 4], added: Vec::new() };
        assert!(working.grown(&[vec![4, 1]]).is_none());
        let working = working.grown(&[vec![4, 9], vec![2, 9]]).unwrap();
        assert_eq!(working.tokens(), [1, 2, 4, 9]);
        assert_eq!(working.beyond(&[9, 4, 9]), [9]);
        let logits = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(*working.of_row(&logits, &[9]), [0.1, f32::NEG_INFINITY, 0.3, 0.4]);
        assert_eq!(*working.of_row(&logits, &[2, 9]), logits);
        let all = working.spread(&logits, 6);
        assert_eq!(all[1..=2], [0.1, 0.2]);
        assert!(all[0] == f32::NEG_INFINITY && all[3] == f32::NEG_INFINITY && all[5] == f32::NEG_INFINITY);
        assert_eq!(all[4], 0.3);
    }
}
