//! Prompt lookup: what was written before the same last tokens is proposed as what comes next.
//!
//! In: all tokens of a row so far. Out: a few tokens that followed the longest repeated ending. A proposal
//! is only a guess at the samples: the engine computes all of it in one step and keeps what sampling
//! confirms, so the text is the one that it would have written token by token. Idea: Saxena, "Prompt Lookup
//! Decoding", 2023. Limit: endings of 2 to 16 tokens; the newest of equally long ones wins.

/// Shortest ending that is looked up.
const SHORTEST: usize = 2;
/// Longest ending that is compared.
const LONGEST: usize = 16;
/// Most tokens proposed at once: beyond it a wrong guess costs more than a right one saves.
const MOST: usize = 8;

/// How far one row's proposals have been trusted lately.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust(usize);

impl Trust {
    pub(super) fn new() -> Trust {
        Trust(3)
    }

    /// Tokens to propose next.
    pub(super) fn length(self) -> usize {
        self.0
    }

    /// Learns that `accepted` of `proposed` tokens were right.
    pub(super) fn update(&mut self, proposed: usize, accepted: usize) {
        if proposed > 0 {
            self.0 = if accepted == proposed { (self.0 + 2).min(MOST) } else { (accepted + 1).min(self.0) };
        }
    }
}

/// Up to `most` tokens that may follow `history`.
pub(super) fn propose(history: &[u32], most: usize) -> &[u32] {
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
    if matched < SHORTEST { &[] } else { &history[end..(end + most).min(len)] }
}

#[cfg(test)]
mod tests {
    use super::{Trust, propose};

    #[test]
    fn the_continuation_of_the_longest_earlier_copy_is_proposed() {
        //             a copy of [2, 3] and a longer one of [1, 2, 3]
        let history = [1, 2, 3, 7, 8, 9, 2, 3, 5, 6, 1, 2, 3];
        assert_eq!(propose(&history, 3), [7, 8, 9]);
        assert_eq!(propose(&history, 1), [7]);
        assert!(propose(&history, 0).is_empty());
    }

    #[test]
    fn of_equally_long_copies_the_newest_wins() {
        assert_eq!(propose(&[9, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 1), [4]);
    }

    #[test]
    fn a_proposal_ends_with_the_history_and_nothing_repeated_gives_none() {
        assert_eq!(propose(&[5, 5, 5, 5], 8), [5]);
        for history in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4], &[1, 2, 1]] {
            assert!(propose(history, 4).is_empty(), "{history:?}");
        }
    }

    #[test]
    fn trust_grows_with_success_and_shrinks_with_failure() {
        let mut trust = Trust::new();
        (0..5).for_each(|_| trust.update(trust.length(), trust.length()));
        assert_eq!(trust.length(), 8);
        trust.update(8, 2);
        assert_eq!(trust.length(), 3);
        trust.update(3, 0);
        assert_eq!(trust.length(), 1);
        trust.update(0, 0);
        assert_eq!(trust.length(), 1);
    }
}
