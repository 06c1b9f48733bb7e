//! Prompt lookup: what was written before the same last tokens is proposed as what comes next.
//!
//! In: all tokens of a row so far. Out: a few tokens that followed the longest repeated ending. A proposal
//! is only a guess at the samples: the engine computes all of it in one step and keeps what sampling
//! confirms, so the text is the one that it would have written token by token. How many are computed follows from how
//! often proposals were right and from what a token costs in a step (measured, see [`Decoder::overhead`]); no clock is
//! read, so a run computes the same twice. Idea: Saxena, "Prompt Lookup Decoding", 2023. Limit: endings of 2 to 16
//! tokens; the newest of equally long ones wins.
//!
//! [`Decoder::overhead`]: crate::llm::decoder::Decoder::overhead

/// Shortest ending that is looked up.
const SHORTEST: usize = 2;
/// Longest ending that is compared.
const LONGEST: usize = 16;
/// Most tokens proposed at once.
pub(super) const MOST: usize = 16;
/// Endings of a class are about equally good: up to 3 tokens, 7, 15, and more.
const CLASSES: usize = 4;
/// What an observation still counts for after the next one of its class.
const MEMORY: f64 = 0.98;

/// A proposal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guess {
    /// What may come next.
    pub(super) tokens: Vec<u32>,
    /// Length of the ending that it followed before.
    matched: usize,
    /// How many of its tokens are computed.
    pub(super) fed: usize,
}

/// How often proposals were right lately, by the length of what they followed.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    right: [f64; CLASSES],
    wrong: [f64; CLASSES],
}

impl Trust {
    /// Before anything was seen: what mutations of networks gave on average.
    pub(super) fn new() -> Trust {
        Trust { right: [5.0, 7.0, 8.0, 9.0], wrong: [5.0, 3.0, 2.0, 1.0] }
    }

    /// How many of a proposal's tokens are worth computing in a step of `rows` rows that costs `overhead` tokens
    /// more than its tokens.
    ///
    /// A row's token without a guess costs `1 + overhead / rows`, a guessed one costs 1 and is worth as much as that
    /// where all up to it are right.
    pub(super) fn worth(&self, guess: &Guess, rows: usize, overhead: f64) -> usize {
        let least = 1.0 / (1.0 + overhead / rows.max(1) as f64);
        let mut right = 1.0;
        let worth = (0..guess.tokens.len()).take_while(|place| {
            let class = class(guess.matched + place);
            right *= self.right[class] / (self.right[class] + self.wrong[class]);
            right > least
        });
        worth.count()
    }

    /// Learns from the tokens that came, whether the guess was computed or not.
    pub(super) fn update(&mut self, guess: &Guess, came: &[u32]) {
        for (place, (guessed, came)) in guess.tokens.iter().zip(came).enumerate() {
            let class = class(guess.matched + place);
            self.right[class] *= MEMORY;
            self.wrong[class] *= MEMORY;
            if guessed != came {
                self.wrong[class] += 1.0;
                break;
            }
            self.right[class] += 1.0;
        }
    }
}

/// The class of an ending of so many tokens.
fn class(matched: usize) -> usize {
    match matched {
        0..4 => 0,
        4..8 => 1,
        8..16 => 2,
        _ => 3,
    }
}

/// What may follow `history`: nothing where its ending is new, else up to `most` tokens.
pub(super) fn propose(history: &[u32], most: usize) -> Guess {
    let len = history.len();
    let mut best = (0, 0);
    // `end` is where an earlier copy of the ending would end.
    for end in (SHORTEST..len).rev() {
        let longest = LONGEST.min(end);
        let matched = (1..=longest).take_while(|i| history[end - i] == history[len - i]).count();
        if matched > best.0 {
            best = (matched, end);
            if matched == LONGEST {
                break;
            }
        }
    }
    let (matched, end) = best;
    if matched < SHORTEST {
        return Guess::default();
    }
    Guess { tokens: history[end..(end + most.min(MOST)).min(len)].to_vec(), matched, fed: 0 }
}

#[cfg(test)]
mod tests {
    use super::{Guess, MOST, Trust, propose};

    #[test]
    fn the_continuation_of_the_longest_earlier_copy_is_proposed() {
        //             a copy of [2, 3] and a longer one of [1, 2, 3]
        let history = [1, 2, 3, 7, 8, 9, 2, 3, 5, 6, 1, 2, 3];
        assert_eq!(propose(&history, 3), Guess { tokens: vec![7, 8, 9], matched: 3, fed: 0 });
        assert_eq!(propose(&history, 1).tokens, [7]);
        assert!(propose(&history, 0).tokens.is_empty());
    }

    #[test]
    fn of_equally_long_copies_the_newest_wins() {
        assert_eq!(propose(&[9, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 1).tokens, [4]);
    }

    #[test]
    fn a_proposal_ends_with_the_history_and_nothing_repeated_gives_none() {
        assert_eq!(propose(&[5, 5, 5, 5], 8).tokens, [5]);
        for history in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4], &[1, 2, 1]] {
            assert_eq!(propose(history, 4), Guess::default(), "{history:?}");
        }
    }

    #[test]
    fn more_is_computed_after_long_copies_and_less_in_a_step_of_many_rows() {
        let trust = Trust::new();
        let worth = |matched, rows, overhead| {
            trust.worth(&Guess { tokens: vec![1; MOST], matched, fed: 0 }, rows, overhead)
        };
        assert!(worth(16, 1, 4.0) > worth(2, 1, 4.0));
        assert!(worth(16, 1, 4.0) > worth(16, 8, 4.0));
        assert!(worth(16, 8, 4.0) > 0);
        // Where a step costs no more than its tokens, no guess that may be wrong pays.
        assert_eq!(worth(16, 1, 0.0), 0);
        assert_eq!(worth(2, 1, 1e9), MOST);
    }

    #[test]
    fn trust_follows_what_came_even_when_nothing_was_computed_ahead() {
        let guess = Guess { tokens: vec![1, 2, 3], matched: 2, fed: 0 };
        let mut trust = Trust::new();
        (0..200).for_each(|_| trust.update(&guess, &[9]));
        assert_eq!(trust.worth(&guess, 1, 4.0), 0);
        (0..200).for_each(|_| trust.update(&guess, &[1]));
        assert_eq!(trust.worth(&guess, 1, 4.0), 3);
        let before = format!("{trust:?}");
        trust.update(&guess, &[]);
        trust.update(&Guess::default(), &[1]);
        assert_eq!(format!("{trust:?}"), before);
    }
}
