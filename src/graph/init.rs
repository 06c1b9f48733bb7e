//! How parameters start: distributions, values, and blocks of a tensor that start otherwise than the rest.
//!
//! Input: a start and blocks that are given another one, in order. Output: an [`Init`] in a form that does not depend
//! on how it came about: what was written over is gone, known values are written out. Distributions are those of
//! `torch.nn.init`. Limit: a block takes every n-th index of each dimension; other sets of elements have no form.

use std::sync::Arc;

use super::Graph;

/// Most elements of a start whose values are written out.
const MAX_VALUES: usize = 1 << 20;

/// How a parameter or buffer starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// One number everywhere.
    Constant(f64),
    /// Uniform between the bounds.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Normal, cut to the bounds.
    TruncatedNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation before cutting.
        std: f64,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// (Semi-)orthogonal rows, times a gain.
    Orthogonal {
        /// The gain.
        gain: f64,
    },
    /// Ones on the diagonal of a matrix.
    Eye,
    /// A convolution that passes its input through.
    Dirac {
        /// Groups.
        groups: usize,
    },
    /// These values, row-major.
    Values(Vec<f64>),
    /// What a graph without an input computes; its parameters are what that is computed from, and start anew each
    /// time.
    Computed(Arc<Graph>),
    /// One start for all, then others for parts of it, each over those before it.
    Parts {
        /// How all of it starts.
        base: Box<Init>,
        /// The parts, none of them within a later one.
        parts: Vec<(Region, Init)>,
    },
}

impl Init {
    /// Whether chance has a part in it.
    pub fn is_drawn(&self) -> bool {
        match self {
            Init::Uniform { .. }
            | Init::Normal { .. }
            | Init::TruncatedNormal { .. }
            | Init::Orthogonal { .. } => true,
            Init::Constant(_) | Init::Eye | Init::Dirac { .. } | Init::Values(_) => false,
            Init::Computed(graph) => graph.params.iter().any(|param| param.init.is_drawn()),
            Init::Parts { base, parts } => base.is_drawn() || parts.iter().any(|(_, init)| init.is_drawn()),
        }
    }

    /// Whether all or a part of it is computed.
    pub fn is_computed(&self) -> bool {
        match self {
            Init::Computed(_) => true,
            Init::Parts { base, parts } => {
                base.is_computed() || parts.iter().any(|(_, init)| init.is_computed())
            }
            _ => false,
        }
    }
}

/// Where a block lies along one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At one index; the block does not have this dimension.
    At(usize),
    /// At `count` indices from `start` on, `step` apart.
    Every {
        /// The first index.
        start: usize,
        /// How many.
        count: usize,
        /// How far apart.
        step: usize,
    },
}

/// A block of a tensor: a place for each of its dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region(pub Vec<Place>);

impl Place {
    /// The indices as start, count and step.
    pub fn range(self) -> (usize, usize, usize) {
        match self {
            Place::At(at) => (at, 1, 1),
            Place::Every { start, count, step } => (start, count, if count > 1 { step } else { 1 }),
        }
    }

    /// A place among the indices of this one.
    pub fn within(self, inner: Place) -> Place {
        let (start, _, step) = self.range();
        match inner {
            Place::At(at) => Place::At(start + at * step),
            Place::Every { start: first, count, step: apart } => {
                let step = if count > 1 { step * apart } else { 1 };
                Place::Every { start: start + first * self.range().2, count, step }
            }
        }
    }

    fn last(self) -> usize {
        let (start, count, step) = self.range();
        start + count.saturating_sub(1) * step
    }

    fn contains(self, other: Place) -> bool {
        let ((start, _, step), (first, count, apart)) = (self.range(), other.range());
        let has = |at: usize| at >= start && at <= self.last() && (at - start).is_multiple_of(step);
        count == 0 || (has(first) && has(other.last()) && (count == 1 || apart.is_multiple_of(step)))
    }

    /// The indices that two places have in common, as a place among those of each; `Some(None)` where there are none,
    /// and `None` where they are not evenly apart.
    fn shared(self, other: Place) -> Option<Option<(Place, Place)>> {
        let ((start, count, step), (first, total, apart)) = (self.range(), other.range());
        let mut pairs = Vec::new();
        for at in 0..count {
            let index = start + at * step;
            if total > 0 && index >= first && index <= other.last() && (index - first).is_multiple_of(apart) {
                pairs.push((at, (index - first) / apart));
            }
        }
        let Some(&(ours, theirs)) = pairs.first() else { return Some(None) };
        let (by, along) = pairs.get(1).map_or((1, 1), |&(a, b)| (a - ours, b - theirs));
        let even = pairs.windows(2).all(|pair| pair[1].0 - pair[0].0 == by && pair[1].1 - pair[0].1 == along);
        let place = |start: usize, step: usize| Place::Every { start, count: pairs.len(), step };
        even.then(|| Some((place(ours, by), place(theirs, along))))
    }
}

impl Region {
    /// All of a tensor.
    pub fn whole(sizes: &[usize]) -> Region {
        Region(sizes.iter().map(|&count| Place::Every { start: 0, count, step: 1 }).collect())
    }

    /// Sizes of the block.
    pub fn sizes(&self) -> Vec<usize> {
        let counts = self.0.iter().filter_map(|place| match place {
            Place::At(_) => None,
            Place::Every { count, .. } => Some(*count),
        });
        counts.collect()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.sizes().iter().product()
    }

    /// A block of this block, as one of the tensor.
    pub fn within(&self, inner: &Region) -> Region {
        let mut inner = inner.0.iter();
        let places = self.0.iter().map(|&place| match place {
            Place::At(_) => place,
            Place::Every { .. } => inner.next().map_or(place, |&inner| place.within(inner)),
        });
        Region(places.collect())
    }

    /// Row-major places of the block's elements in a tensor of these sizes.
    pub fn offsets(&self, sizes: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        for (place, &size) in self.0.iter().zip(sizes) {
            let (start, count, step) = place.range();
            offsets = offsets
                .into_iter()
                .flat_map(|offset| (0..count).map(move |at| offset * size + start + at * step))
                .collect();
        }
        offsets
    }

    fn contains(&self, other: &Region) -> bool {
        self.0.iter().zip(&other.0).all(|(place, other)| place.contains(*other))
    }

    /// What two blocks have in common, as a block of each; see [`Place::shared`].
    fn shared(&self, other: &Region) -> Option<Option<(Region, Region)>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (&place, &beside) in self.0.iter().zip(&other.0) {
            let Some((mine, its)) = place.shared(beside)? else { return Some(None) };
            // A dimension that one of them does not have is one index of the other's.
            let single = |place: Place| Place::At(place.range().0);
            match (place, beside) {
                (Place::At(_), Place::At(_)) => {}
                (Place::At(_), Place::Every { .. }) => theirs.push(single(its)),
                (Place::Every { .. }, Place::At(_)) => ours.push(single(mine)),
                (Place::Every { .. }, Place::Every { .. }) => {
                    ours.push(mine);
                    theirs.push(its);
                }
            }
        }
        Some(Some((Region(ours), Region(theirs))))
    }

    /// The same elements with every dimension kept.
    fn as_ranges(&self) -> Region {
        let places = self.0.iter().map(|place| {
            let (start, count, step) = place.range();
            Place::Every { start, count, step }
        });
        Region(places.collect())
    }
}

impl Init {
    /// Whether every element is drawn by itself, or is the same number.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Init::Constant(_) | Init::Uniform { .. } | Init::Normal { .. } | Init::TruncatedNormal { .. }
        )
    }

    /// Whether the values are known one by one.
    pub fn is_known(&self) -> bool {
        matches!(self, Init::Constant(_) | Init::Values(_))
    }

    /// This start of a tensor of these sizes, with another one for a block of it.
    pub fn with_part(self, sizes: &[usize], region: &Region, init: Init) -> Init {
        let (mut base, mut parts) = match self {
            Init::Parts { base, parts } => (base, parts),
            base => (Box::new(base), Vec::new()),
        };
        let added = match init {
            Init::Parts { base, parts } => {
                let inner = parts.into_iter().map(|(inner, init)| (region.within(&inner), init));
                std::iter::once((region.clone(), *base)).chain(inner).collect()
            }
            init => vec![(region.clone(), init)],
        };
        let whole = Region::whole(sizes);
        for (region, init) in added {
            if region.numel() == 0 {
                continue;
            }
            let loose = init.is_elementwise() || init.is_known();
            let region = if loose { region.as_ranges() } else { region };
            parts.retain(|(old, _)| !region.contains(old));
            if region == whole {
                base = Box::new(init);
            } else {
                parts.push((region, init));
            }
        }
        let known =
            if base.is_known() { parts.iter().take_while(|(_, init)| init.is_known()).count() } else { 0 };
        let numel: usize = sizes.iter().product();
        if known > 0 && numel <= MAX_VALUES {
            let mut values = base.values(numel);
            for (region, init) in parts.drain(..known) {
                let offsets = region.offsets(sizes);
                for (offset, value) in offsets.iter().zip(init.values(offsets.len())) {
                    values[*offset] = value;
                }
            }
            base = Box::new(Init::Values(values));
        }
        if parts.is_empty() { *base } else { Init::Parts { base, parts } }
    }

    /// How a block of a tensor of these sizes starts, where that can be told.
    pub fn part(&self, sizes: &[usize], region: &Region) -> Option<Init> {
        match self {
            init if init.is_elementwise() => Some(init.clone()),
            init if *region == Region::whole(sizes) => Some(init.clone()),
            Init::Values(values) => {
                let picked = region.offsets(sizes).into_iter().map(|at| values.get(at).copied());
                picked.collect::<Option<_>>().map(Init::Values)
            }
            Init::Parts { base, parts } => {
                let (mut start, sizes_within) = (base.part(sizes, region)?, region.sizes());
                for (part, init) in parts {
                    if let Some((ours, theirs)) = region.shared(part)? {
                        let init = init.part(&part.sizes(), &theirs)?;
                        start = start.with_part(&sizes_within, &ours, init);
                    }
                }
                Some(start)
            }
            _ => None,
        }
    }

    /// Known values of so many elements.
    fn values(&self, count: usize) -> Vec<f64> {
        match self {
            Init::Values(values) => values.clone(),
            // As the element type holds it.
            #[expect(clippy::cast_possible_truncation, reason = "what float32 does")]
            Init::Constant(value) => vec![f64::from(*value as f32); count],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Init = Init::Normal { mean: 0.0, std: 1.0 };

    fn rows(start: usize, count: usize) -> Region {
        Region(vec![Place::Every { start, count, step: 1 }, Place::Every { start: 0, count: 2, step: 1 }])
    }

    #[test]
    fn a_later_part_takes_the_place_of_those_within_it() {
        let sizes = [4, 2];
        let row = Region(vec![Place::At(1), Place::Every { start: 0, count: 2, step: 1 }]);
        let start = NORMAL.with_part(&sizes, &row, Init::Constant(0.0));
        let start = start.with_part(&sizes, &rows(0, 3), Init::Constant(1.0));
        let only = Init::Parts { base: Box::new(NORMAL), parts: vec![(rows(0, 3), Init::Constant(1.0))] };
        assert_eq!(start, only);
        assert_eq!(start.with_part(&sizes, &rows(0, 4), Init::Constant(2.0)), Init::Constant(2.0));
    }

    #[test]
    fn known_values_are_written_out() {
        let start = Init::Constant(0.0).with_part(&[2, 2], &rows(1, 1), Init::Constant(3.0));
        assert_eq!(start, Init::Values(vec![0.0, 0.0, 3.0, 3.0]));
        let mixed = start.with_part(&[2, 2], &rows(0, 1), NORMAL);
        assert_eq!(mixed.part(&[2, 2], &rows(0, 1)), Some(NORMAL));
        assert_eq!(mixed.part(&[2, 2], &rows(1, 1)), Some(Init::Values(vec![3.0, 3.0])));
        assert_eq!(mixed.part(&[2, 2], &rows(0, 2)), Some(mixed.clone()));
    }

    #[test]
    fn a_block_across_parts_starts_in_parts() {
        let sizes = [4, 2];
        let start = NORMAL.with_part(&sizes, &rows(0, 2), Init::Constant(1.0));
        let column = Region(vec![Place::Every { start: 1, count: 3, step: 1 }, Place::At(0)]);
        let top = Region(vec![Place::Every { start: 0, count: 1, step: 1 }]);
        let expected = Init::Parts { base: Box::new(NORMAL), parts: vec![(top, Init::Constant(1.0))] };
        assert_eq!(start.part(&sizes, &column), Some(expected));
        let row = Region(vec![Place::At(3), Place::Every { start: 0, count: 2, step: 1 }]);
        assert_eq!(start.part(&sizes, &row), Some(NORMAL));
    }

    #[test]
    fn a_block_of_a_block_is_a_block_of_the_tensor() {
        let every_other = Region(vec![Place::Every { start: 1, count: 4, step: 2 }]);
        let inner = Region(vec![Place::Every { start: 1, count: 2, step: 2 }]);
        assert_eq!(every_other.within(&inner).offsets(&[9]), [3, 7]);
        assert_eq!(every_other.within(&Region(vec![Place::At(2)])).offsets(&[9]), [5]);
        let block = Region(vec![Place::At(1), Place::Every { start: 1, count: 2, step: 1 }]);
        assert_eq!(block.offsets(&[2, 3]), [4, 5]);
    }
}
