//! Truncated normal starts that a source makes itself, step by step as `torch.nn.init.trunc_normal_` does: uniform
//! numbers, the inverse error function, a factor, a shift, and a clamp.
//!
//! Input: tensors whose first values are a distribution. Output: the distribution behind `erfinv` and `clamp`. Limit:
//! `erfinv` of other tensors is refused, but for known values.

use std::rc::Rc;

use crate::graph::{DType, Init};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::{Function, constant, creation, row};
use crate::lower::value::{Tensor, TensorState, Value};

pub(crate) const FUNCTIONS: &[Function] = &[row("tm", "erfinv", "input", erfinv)];

/// Beyond this many deviations a bound cuts nothing off that a generator of single-precision numbers would give.
const FAR: f64 = 5.0;

/// The distribution that a tensor just made starts with.
fn start(tensor: &Rc<Tensor>) -> Option<(Vec<usize>, DType, Init)> {
    match &*tensor.state.borrow() {
        TensorState::Known { sizes, dtype, init, .. } => Some((sizes.clone(), *dtype, init.clone())),
        _ => None,
    }
}

fn erfinv(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    if let Some((sizes, dtype, Init::Uniform { low, high })) = start(&tensor) {
        // The inverse error function of uniform numbers in (-1, 1) is normal, with a variance of one half.
        let std = std::f64::consts::FRAC_1_SQRT_2;
        let init = Init::TruncatedNormal { mean: 0.0, std, low: inverse_erf(low), high: inverse_erf(high) };
        return creation::known(this, sizes, dtype, init);
    }
    match constant::of(this, &tensor)? {
        Some(known) if known.dtype.is_floating() => {
            let values = known.values.iter().map(|&value| inverse_erf(value)).collect();
            creation::known(this, known.sizes.clone(), known.dtype, Init::Values(values))
        }
        _ => Err(Raise::unsupported("erfinv of this tensor is not supported")),
    }
}

/// `clamp` of a tensor whose first values are normal, where the bounds cut off next to nothing but what was cut off
/// before.
pub(crate) fn clamp(this: &mut Interp<'_>, args: &Bound, min: f64, max: f64) -> R<Option<Value>> {
    let Value::Tensor(tensor) = args.get("input") else { return Ok(None) };
    let Some((sizes, dtype, init)) = start(&tensor) else { return Ok(None) };
    let (mean, std, low, high) = match init {
        Init::Normal { mean, std } => (mean, std, f64::NEG_INFINITY, f64::INFINITY),
        Init::TruncatedNormal { mean, std, low, high } => (mean, std, low, high),
        _ => return Ok(None),
    };
    let near = |bound: f64, known: f64| (bound - known).abs() <= 1e-6 * std;
    let below = min <= low || near(min, low) || min <= mean - FAR * std;
    let above = max >= high || near(max, high) || max >= mean + FAR * std;
    if !below || !above {
        return Ok(None);
    }
    let (low, high) = (low.max(min), high.min(max));
    let init = if low.is_finite() && high.is_finite() {
        Init::TruncatedNormal { mean, std, low, high }
    } else {
        init
    };
    creation::known(this, sizes, dtype, init).map(Some)
}

/// The number whose error function is `y`, at most 6 in size (where the error function is 1 in double precision).
/// Winitzki's approximation, then Newton's steps.
fn inverse_erf(y: f64) -> f64 {
    const MOST: f64 = 6.0;
    if y.is_nan() || y.abs() > 1.0 {
        return f64::NAN;
    }
    if y.abs() >= libm::erf(MOST) {
        return MOST.copysign(y);
    }
    let a = 0.147;
    let log = (1.0 - y * y).ln();
    let half = 2.0 / (std::f64::consts::PI * a) + log / 2.0;
    let mut x = (half.mul_add(half, -log / a).sqrt() - half).sqrt().copysign(y);
    for _ in 0..4 {
        let slope = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
        x -= (libm::erf(x) - y) / slope;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_error_function_undoes_the_error_function() {
        for step in -500..=500 {
            let x = f64::from(step) / 100.0;
            let back = inverse_erf(libm::erf(x));
            // Near 1 the error function is too flat to give more digits.
            let slope = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
            assert!((back - x).abs() < 1e-12 + 4.0 * f64::EPSILON / slope, "{x}: {back}");
        }
        assert_eq!((inverse_erf(1.0), inverse_erf(-1.0)), (6.0, -6.0));
        assert!(inverse_erf(1.5).is_nan());
    }
}
