//! A finite search space: points by index, typed edits between them, and what a model may know of a point.
//!
//! A point is a string of choices, one per position; an edit replaces one choice by another of the same type. The
//! methods of `bench::search` see a benchmark through this trait alone. Limit: every position offers the same
//! number of choices.

/// What a surrogate sees of a point. Points with equal features are one and the same network to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Features {
    /// The choice at each position, with choices that cannot reach the output replaced by one fixed symbol.
    pub symbols: Vec<u8>,
    /// (word, how often): each path from input to output spelt as one word, words ascending and below
    /// [`Features::WORDS`].
    pub words: Vec<(u8, u8)>,
}

impl Features {
    /// Upper bound (exclusive) of a word.
    pub const WORDS: usize = 256;

    /// Positions at which the two points differ.
    pub fn mismatches(&self, other: &Self) -> usize {
        self.symbols.iter().zip(&other.symbols).filter(|(a, b)| a != b).count()
    }

    /// Measures from this point to others.
    pub fn word_distances(&self) -> WordDistances {
        let mut counts = [0; Self::WORDS];
        for &(word, count) in &self.words {
            counts[usize::from(word)] = i32::from(count);
        }
        WordDistances { counts, square: counts.iter().map(|count| count * count).sum() }
    }
}

/// One point's word counts, spread out so that distances from it are cheap.
#[derive(Debug, Clone)]
pub struct WordDistances {
    counts: [i32; Features::WORDS],
    square: i32,
}

impl WordDistances {
    /// Squared Euclidean distance between the vectors of word counts of this point and of `other`.
    pub fn to(&self, other: &Features) -> u32 {
        // |a - b|^2 = |a|^2 + sum of b (b - 2 a) over the words of b.
        let change = |&(word, count): &(u8, u8)| {
            let count = i32::from(count);
            count * (count - 2 * self.counts[usize::from(word)])
        };
        (self.square + other.words.iter().map(change).sum::<i32>()).unsigned_abs()
    }
}

/// A finite space of points `0..len()`.
pub trait Space: Sync {
    /// Positions of a point.
    fn positions(&self) -> usize;

    /// Choices at every position.
    fn choices(&self) -> usize;

    /// The point with these choices, one below [`Space::choices`] per position.
    fn point(&self, choices: &[u8]) -> usize;

    /// The choices of a point, the inverse of [`Space::point`].
    fn spell(&self, point: usize) -> Vec<u8>;

    /// What a surrogate sees of a point.
    fn features(&self, point: usize) -> Features;

    /// A point's place in the unit square, for an archive.
    fn descriptor(&self, point: usize) -> [f64; 2];

    /// Number of points.
    fn len(&self) -> usize {
        self.choices().pow(self.positions() as u32)
    }

    /// Whether the space has no point.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All points one edit away, by position, then by choice.
    fn neighbours(&self, point: usize) -> Vec<usize> {
        let mut choices = self.spell(point);
        let mut found = Vec::with_capacity(self.positions() * (self.choices() - 1));
        for position in 0..choices.len() {
            let kept = choices[position];
            for choice in (0..self.choices() as u8).filter(|&choice| choice != kept) {
                choices[position] = choice;
                found.push(self.point(&choices));
            }
            choices[position] = kept;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::space::Features;

    #[test]
    fn word_distance_counts_each_word_of_either_point_once() {
        let a = Features { symbols: vec![0, 1], words: vec![(1, 2), (3, 1)] };
        let b = Features { symbols: vec![0, 2], words: vec![(1, 1), (7, 3)] };
        assert_eq!(a.word_distances().to(&b), 1 + 1 + 9);
        assert_eq!(b.word_distances().to(&a), 11);
        assert_eq!(a.word_distances().to(&a), 0);
        assert_eq!(a.mismatches(&b), 1);
    }
}
