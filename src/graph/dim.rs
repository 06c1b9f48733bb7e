//! Sizes that may depend on the batch: `per_sample * N + fixed`, and shapes made of them.
//!
//! A network is traced once for every batch size. `x.size(0)` is the dimension `N`, `x.view(x.size(0) * 4, -1)` has
//! the leading dimension `4N`. One limit: at most one dimension of a shape may depend on `N`.

use std::fmt;

/// The batch size at which shapes are judged where a concrete number is needed (two samples, so that a lost or
/// merged batch dimension shows).
pub const NOMINAL_BATCH: i64 = 2;

/// A size: `per_sample * N + fixed`, `N` being the number of samples in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim {
    /// How many the size grows by for each sample.
    pub per_sample: i64,
    /// The part that does not depend on the batch.
    pub fixed: i64,
}

impl Dim {
    /// The batch size itself.
    pub const BATCH: Dim = Dim { per_sample: 1, fixed: 0 };

    /// A size that does not depend on the batch.
    pub const fn fixed(size: i64) -> Dim {
        Dim { per_sample: 0, fixed: size }
    }

    /// The size as a plain number, unless it depends on the batch.
    pub fn known(self) -> Option<usize> {
        if self.per_sample == 0 { usize::try_from(self.fixed).ok() } else { None }
    }

    /// Whether it depends on the batch.
    pub fn depends_on_batch(self) -> bool {
        self.per_sample != 0
    }

    /// The size for a batch of `batch` samples.
    pub fn at(self, batch: i64) -> i64 {
        self.per_sample.saturating_mul(batch).saturating_add(self.fixed)
    }

    /// Sum.
    pub fn plus(self, other: Dim) -> Dim {
        Dim {
            per_sample: self.per_sample.saturating_add(other.per_sample),
            fixed: self.fixed.saturating_add(other.fixed),
        }
    }

    /// Difference.
    pub fn minus(self, other: Dim) -> Dim {
        Dim {
            per_sample: self.per_sample.saturating_sub(other.per_sample),
            fixed: self.fixed.saturating_sub(other.fixed),
        }
    }

    /// Product; `None` where it would be quadratic in the batch.
    pub fn times(self, other: Dim) -> Option<Dim> {
        let (factor, dim) = match (self.per_sample, other.per_sample) {
            (0, _) => (self.fixed, other),
            (_, 0) => (other.fixed, self),
            _ => return None,
        };
        Some(Dim {
            per_sample: dim.per_sample.saturating_mul(factor),
            fixed: dim.fixed.saturating_mul(factor),
        })
    }

    /// Quotient where the division is exact for every batch size.
    pub fn divided_by(self, other: Dim) -> Option<Dim> {
        if other.per_sample != 0 {
            // kN / mN, such as x.numel() // x.size(0)
            let exact = self.fixed == 0 && other.fixed == 0 && self.per_sample % other.per_sample == 0;
            return exact.then(|| Dim::fixed(self.per_sample / other.per_sample));
        }
        let exact = other.fixed != 0 && self.per_sample % other.fixed == 0 && self.fixed % other.fixed == 0;
        exact.then(|| Dim { per_sample: self.per_sample / other.fixed, fixed: self.fixed / other.fixed })
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Dim {
        Dim::fixed(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per_sample, self.fixed) {
            (0, fixed) => write!(f, "{fixed}"),
            (1, 0) => write!(f, "N"),
            (per_sample, 0) => write!(f, "{per_sample}N"),
            (1, fixed) => write!(f, "N{fixed:+}"),
            (per_sample, fixed) => write!(f, "{per_sample}N{fixed:+}"),
        }
    }
}

/// The shape of a tensor, outermost dimension first. Scalars have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape that does not depend on the batch.
    pub fn fixed(sizes: &[usize]) -> Shape {
        Shape(sizes.iter().map(|&size| Dim::from(size)).collect())
    }

    /// `(N, sizes...)`.
    pub fn batched(sizes: &[usize]) -> Shape {
        Shape(std::iter::once(Dim::BATCH).chain(sizes.iter().map(|&size| Dim::from(size))).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements; `None` where two dimensions depend on the batch.
    pub fn numel(&self) -> Option<Dim> {
        self.0.iter().try_fold(Dim::fixed(1), |product, &dim| product.times(dim))
    }

    /// Number of elements for a batch of `batch` samples, saturating.
    pub fn numel_at(&self, batch: i64) -> u64 {
        self.0
            .iter()
            .fold(1u64, |product, dim| product.saturating_mul(u64::try_from(dim.at(batch)).unwrap_or(0)))
    }

    /// The sizes for a batch of `batch` samples.
    pub fn at(&self, batch: i64) -> Vec<i64> {
        self.0.iter().map(|dim| dim.at(batch)).collect()
    }

    /// The sizes as plain numbers, unless one depends on the batch.
    pub fn known(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|dim| dim.known()).collect()
    }

    /// A dimension index as Python writes it (negative counts from the end), or `None` if out of range.
    pub fn axis(&self, index: i64) -> Option<usize> {
        let rank = i64::try_from(self.rank()).ok()?;
        let index = if index < 0 { index.checked_add(rank)? } else { index };
        (0..rank).contains(&index).then(|| usize::try_from(index).ok())?
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "({})", dims.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_batch_times_groups_stays_affine_in_the_batch() {
        let n4 = Dim::BATCH.times(Dim::fixed(4)).unwrap();
        assert_eq!(n4.at(3), 12);
        assert_eq!(n4.divided_by(Dim::fixed(2)), Some(Dim { per_sample: 2, fixed: 0 }));
        assert_eq!(n4.divided_by(Dim::BATCH), Some(Dim::fixed(4)));
        assert_eq!(n4.divided_by(Dim::fixed(3)), None);
        assert_eq!(Dim::BATCH.times(Dim::BATCH), None);
    }

    #[test]
    fn shapes_print_the_batch_as_n() {
        assert_eq!(Shape::batched(&[3, 32, 32]).to_string(), "(N, 3, 32, 32)");
        assert_eq!(Shape(vec![Dim { per_sample: 2, fixed: 1 }]).to_string(), "(2N+1)");
    }

    #[test]
    fn negative_axes_count_from_the_end() {
        let shape = Shape::batched(&[3, 8, 8]);
        assert_eq!(shape.axis(-1), Some(3));
        assert_eq!(shape.axis(-5), None);
        assert_eq!(shape.axis(4), None);
        assert_eq!(shape.axis(i64::MIN), None);
    }
}
