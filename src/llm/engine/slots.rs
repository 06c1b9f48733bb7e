//! Which tokens' keys and values lie in which slot of the cache: a prompt in, the slot to compute it in and what it can
//! take over out.
//!
//! A prompt starts from the longest prefix of it that any slot holds. It is computed in that slot where this loses
//! nothing but what was written behind an older prompt, else in the one that was not of use for longest. So a search's
//! elites, whose sources begin many prompts, stay. Limit: slots are compared one by one.

/// The slots.
pub(super) struct Slots {
    held: Vec<Held>,
    /// Counts claims.
    clock: u64,
}

/// What a slot holds.
#[derive(Clone, Default)]
struct Held {
    tokens: Vec<u32>,
    /// How many of them, those not yet computed included, are worth keeping: a prompt; what follows was written.
    prompt: usize,
    /// When it was last of use; 0 for nothing worth keeping.
    used: u64,
}

/// Where a prompt is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// The slot that holds its beginning.
    pub(super) from: usize,
    /// The slot to compute it in.
    pub(super) slot: usize,
    /// Tokens to take over.
    pub(super) len: usize,
}

impl Slots {
    /// So many empty ones.
    pub(super) fn new(count: usize) -> Slots {
        Slots { held: vec![Held::default(); count], clock: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Makes it so many, but not fewer than there are.
    pub(super) fn grow(&mut self, count: usize) {
        self.held.resize(self.held.len().max(count), Held::default());
    }

    /// What a slot holds.
    pub(super) fn tokens(&self, slot: usize) -> &[u32] {
        &self.held[slot].tokens
    }

    /// More that a slot holds.
    pub(super) fn extend(&mut self, slot: usize, tokens: &[u32]) {
        self.held[slot].tokens.extend_from_slice(tokens);
    }

    /// All that a slot holds.
    pub(super) fn replace(&mut self, slot: usize, tokens: &[u32]) {
        self.held[slot].tokens.clear();
        self.extend(slot, tokens);
    }

    /// What was written in this slot is worth keeping too.
    pub(super) fn keep(&mut self, slot: usize) {
        let held = &mut self.held[slot];
        held.prompt = held.prompt.max(held.tokens.len());
    }

    /// The slot that holds the most of the beginning of `tokens`, and how much: of several one that is not `taken`.
    pub(super) fn longest(&self, tokens: &[u32], taken: &[usize]) -> (usize, usize) {
        let (mut from, mut len) = (0, 0);
        for (slot, held) in self.held.iter().enumerate() {
            let shared = held.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            if shared > len || (shared == len && !taken.contains(&slot) && taken.contains(&from)) {
                (from, len) = (slot, shared);
            }
        }
        (from, len)
    }

    /// Nothing in this slot is worth keeping.
    pub(super) fn clear(&mut self, slot: usize) {
        self.held[slot] = Held::default();
    }

    /// Chooses a slot that is not among the `taken`, of which there are fewer than slots, for `prompt`. The slot then
    /// holds what it can take over.
    pub(super) fn claim(&mut self, prompt: &[u32], taken: &[usize]) -> Claim {
        self.clock += 1;
        let free = |slot: &usize| !taken.contains(slot);
        let (from, len) = self.longest(prompt, taken);
        let slot = if free(&from) && len >= self.held[from].prompt {
            from
        } else {
            let oldest = (0..self.held.len()).filter(free).min_by_key(|&slot| (self.held[slot].used, slot));
            oldest.unwrap_or(from)
        };
        if len > 0 {
            self.held[from].used = self.clock;
        }
        self.held[slot] = Held { tokens: prompt[..len].to_vec(), prompt: prompt.len(), used: self.clock };
        Claim { from, slot, len }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Slots};

    /// Claims a slot for the prompt and computes it there.
    fn compute(slots: &mut Slots, prompt: &[u32]) -> Claim {
        let claim = slots.claim(prompt, &[]);
        slots.extend(claim.slot, &prompt[claim.len..]);
        claim
    }

    #[test]
    fn a_prompt_goes_on_in_place_where_only_what_was_written_is_lost() {
        let mut slots = Slots::new(3);
        assert_eq!(compute(&mut slots, &[1, 2, 3]), Claim { from: 0, slot: 0, len: 0 });
        slots.extend(0, &[8, 9]);
        assert_eq!(compute(&mut slots, &[1, 2, 3, 4]), Claim { from: 0, slot: 0, len: 3 });
        assert_eq!(slots.tokens(0), [1, 2, 3, 4]);
        assert_eq!(compute(&mut slots, &[1, 2, 5]), Claim { from: 0, slot: 1, len: 2 });
        assert_eq!((slots.tokens(0), slots.tokens(1)), (&[1, 2, 3, 4][..], &[1, 2, 5][..]));
    }

    #[test]
    fn the_prompt_that_was_not_of_use_for_longest_is_lost() {
        let mut slots = Slots::new(2);
        compute(&mut slots, &[1, 1]);
        compute(&mut slots, &[2, 2]);
        compute(&mut slots, &[1, 1]);
        assert_eq!(compute(&mut slots, &[3, 3]).slot, 1);
        assert_eq!(compute(&mut slots, &[1, 1]), Claim { from: 0, slot: 0, len: 2 });
        slots.clear(0);
        assert_eq!(compute(&mut slots, &[4]).slot, 0);
    }

    #[test]
    fn what_was_written_is_lost_unless_it_is_kept() {
        let mut slots = Slots::new(2);
        compute(&mut slots, &[1, 2]);
        slots.extend(0, &[7, 8]);
        assert_eq!(slots.longest(&[1, 2, 7, 9], &[]), (0, 3));
        slots.keep(0);
        assert_eq!(compute(&mut slots, &[1, 2]), Claim { from: 0, slot: 1, len: 2 });
        assert_eq!(slots.longest(&[1, 2], &[0]), (1, 2));
        assert_eq!(slots.longest(&[1, 2, 7, 9], &[0]), (0, 3));
    }

    #[test]
    fn a_slot_that_is_taken_is_copied_from_and_left_as_it_is() {
        let mut slots = Slots::new(2);
        compute(&mut slots, &[1, 2, 3]);
        assert_eq!(slots.claim(&[1, 2, 3], &[0]), Claim { from: 0, slot: 1, len: 3 });
        slots.grow(3);
        assert_eq!(slots.claim(&[1, 2], &[0, 1]), Claim { from: 0, slot: 2, len: 2 });
        assert_eq!((slots.len(), slots.tokens(0).len()), (3, 3));
    }
}
