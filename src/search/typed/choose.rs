//! One procedure, drawn from or listed: who makes the choices of a typed edit.
//!
//! Input: the number of alternatives, choice by choice. Output: which one. A random stream draws each evenly; [`Every`]
//! takes all combinations one after another, like the digits of a counter whose bases depend on the digits before.
//! Limit: the procedure must ask the same way whenever it was answered the same way.

use crate::rng::Stream;

/// Makes choices.
pub(super) trait Choose {
    /// One of `0..n`; 0 for `n = 0`.
    fn below(&mut self, n: usize) -> usize;
}

impl Choose for Stream {
    fn below(&mut self, n: usize) -> usize {
        Stream::below(self, n)
    }
}

/// Every combination of choices in turn; the first is all zeros.
#[derive(Debug, Default)]
pub(super) struct Every {
    /// (choice, alternatives) so far.
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Every {
    /// Go on to the next combination, if there is one.
    pub(super) fn advance(&mut self) -> bool {
        // A choice that was not asked for this time has no alternatives.
        self.path.truncate(self.at);
        self.at = 0;
        while let Some((choice, of)) = self.path.pop() {
            if choice + 1 < of {
                self.path.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

impl Choose for Every {
    fn below(&mut self, n: usize) -> usize {
        if self.at == self.path.len() {
            self.path.push((0, n));
        }
        let (choice, _) = self.path[self.at];
        self.at += 1;
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once_even_where_later_choices_depend_on_earlier_ones() {
        let mut every = Every::default();
        let mut found = Vec::new();
        loop {
            let first = every.below(3);
            // 0 has no second choice, 1 has two, 2 has a choice of none.
            let second = match first {
                1 => every.below(2),
                2 => every.below(0),
                _ => 9,
            };
            found.push((first, second));
            if !every.advance() {
                break;
            }
        }
        assert_eq!(found, [(0, 9), (1, 0), (1, 1), (2, 0)]);
    }
}
