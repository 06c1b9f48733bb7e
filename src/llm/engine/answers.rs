//! What the model said before: the tokens up to a choice of a search space in, the logits of that choice out.
//!
//! A search in a small space asks for the same text over and over, often its parent's own; where the logits of a choice
//! are known the model is not asked. They are the same numbers, so nothing that is written depends on it. The tokens
//! are kept as their SHA-256, so an answer takes about a hundred bytes. Limit: when it is full, all are dropped.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// Answers kept: some 10 MB.
const MOST: usize = 100_000;

/// The answers.
#[derive(Default)]
pub(super) struct Answers {
    known: HashMap<[u8; 32], Box<[f32]>>,
}

impl Answers {
    /// The logits of what may follow `tokens`, in the order of the choices' ids.
    pub(super) fn get(&self, tokens: &[u32]) -> Option<&[f32]> {
        self.known.get(&key(tokens)).map(Box::as_ref)
    }

    /// Keeps the logits of what may follow `tokens`.
    pub(super) fn keep(&mut self, tokens: &[u32], logits: &[f32]) {
        if self.known.len() >= MOST {
            self.clear();
        }
        self.known.insert(key(tokens), logits.into());
    }

    /// Drops them all.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

fn key(tokens: &[u32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for token in tokens {
        hash.update(token.to_le_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{Answers, MOST};

    #[test]
    fn an_answer_is_that_of_all_the_tokens_before_it() {
        let mut answers = Answers::default();
        answers.keep(&[1, 2], &[0.5, -1.0]);
        assert_eq!(answers.get(&[1, 2]), Some(&[0.5, -1.0][..]));
        assert_eq!((answers.get(&[1]), answers.get(&[2, 1]), answers.get(&[1, 2, 3])), (None, None, None));
        answers.clear();
        assert_eq!(answers.get(&[1, 2]), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stays() {
        let mut answers = Answers::default();
        for number in 0..MOST as u32 + 5 {
            answers.keep(&[number], &[number as f32]);
        }
        assert!(answers.known.len() <= MOST);
        assert_eq!(answers.get(&[MOST as u32 + 4]), Some(&[(MOST + 4) as f32][..]));
    }
}
