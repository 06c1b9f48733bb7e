//! Operations element by element: activations, arithmetic, softmax, dropout.
//!
//! Input: an operation of [`crate::graph::Op`] and its tensors. Output: one tensor. One limit: numbers in the
//! source are 64-bit floats here; whole ones stay whole where the tensor is of integers.

use tch::{Kind, Scalar, TchError, Tensor};

use super::{Context, arg, broken, kind};
use crate::graph::Op;
use crate::graph::op::{Binary, Dropout, Unary};
use crate::train::shim::Activation;

/// Minus SELU's value at minus infinity: what alpha dropout sets elements to (Klambauer et al. 2017).
const SELU_FLOOR: f64 = 1.758_099_340_847_376_6;

pub(super) fn run(op: &Op, inputs: &[&Tensor], context: &mut Context<'_>) -> Result<Tensor, TchError> {
    let x = arg(inputs, 0)?;
    match op {
        Op::Unary(unary) => activation(*unary, x, context),
        Op::Binary(binary) => two(*binary, x, arg(inputs, 1)?),
        Op::Scalar { op, value, reversed } => with_number(*op, x, *value, *reversed),
        Op::Where => arg(inputs, 1)?.f_where_self(x, arg(inputs, 2)?),
        Op::Prelu => x.f_prelu(arg(inputs, 1)?),
        Op::Glu { dim } => x.f_glu(*dim as i64),
        Op::Softmax { dim } => x.f_softmax(*dim as i64, None::<Kind>),
        Op::LogSoftmax { dim } => x.f_log_softmax(*dim as i64, None::<Kind>),
        Op::Normalize { p, dim, eps } => {
            x.f_div(&x.f_norm_scalaropt_dim(*p, *dim as i64, true)?.f_clamp_min(*eps)?)
        }
        Op::Dropout { p, kind, when } if context.applies(*when) => dropout(x, *p, *kind, context),
        Op::Dropout { .. } => Ok(x.shallow_clone()),
        Op::Cast(dtype) => x.f_to_kind(kind(*dtype)),
        Op::Detach => x.f_detach(),
        Op::Keep => {
            if context.training {
                let value = arg(inputs, 1)?;
                let _no_gradients = tch::no_grad_guard();
                x.shallow_clone().f_copy_(value)?;
            }
            Ok(arg(inputs, 2)?.shallow_clone())
        }
        other => Err(broken(format!("no kernel for {other:?}"))),
    }
}

/// Element dropout with the job's own random numbers.
pub(super) fn drop_elements(x: &Tensor, p: f64, context: &mut Context<'_>) -> Result<Tensor, TchError> {
    dropout(x, p, Dropout::Element, context)
}

fn dropout(x: &Tensor, p: f64, kind: Dropout, context: &mut Context<'_>) -> Result<Tensor, TchError> {
    if p <= 0.0 {
        return Ok(x.shallow_clone());
    }
    let whole_channels = matches!(kind, Dropout::Channel | Dropout::FeatureAlpha);
    let sizes = x.size().into_iter().enumerate();
    let sizes: Vec<i64> =
        sizes.map(|(dim, size)| if whole_channels && dim >= 2 { 1 } else { size }).collect();
    let mut keep = Tensor::f_empty(sizes, (x.kind(), context.device))?;
    context.generator.bernoulli_(&mut keep, 1.0 - p)?;
    if p >= 1.0 {
        return x.f_mul(&keep);
    }
    if matches!(kind, Dropout::Element | Dropout::Channel) {
        return x.f_mul(&keep.f_div_scalar_(1.0 - p)?);
    }
    // Keeps mean 0 and variance 1: x a keep + (keep - 1) floor a + floor a p.
    let a = 1.0 / ((SELU_FLOOR * SELU_FLOOR * p + 1.0) * (1.0 - p)).sqrt();
    let shift = keep.f_sub_scalar(1)?.f_mul_scalar(SELU_FLOOR * a)?.f_add_scalar(SELU_FLOOR * a * p)?;
    x.f_mul(&keep.f_mul_scalar(a)?)?.f_add(&shift)
}

fn activation(op: Unary, x: &Tensor, context: &mut Context<'_>) -> Result<Tensor, TchError> {
    match op {
        Unary::Relu => x.f_relu(),
        Unary::Relu6 => x.f_relu6(),
        Unary::LeakyRelu { slope } => Activation::LeakyRelu(slope).apply(x),
        Unary::Rrelu { lower, upper, when } => {
            if !context.applies(when) {
                return Activation::LeakyRelu(f64::midpoint(lower, upper)).apply(x);
            }
            let mut slope = x.f_detach()?.f_empty_like()?;
            context.generator.uniform_(&mut slope, lower, upper)?;
            x.f_where_self(&x.f_gt(0.0)?, &x.f_mul(&slope)?)
        }
        Unary::Elu { alpha } => Activation::Elu(alpha).apply(x),
        Unary::Celu { alpha } => Activation::Celu(alpha).apply(x),
        Unary::Selu => x.f_selu(),
        Unary::Gelu { tanh } => x.f_gelu(if tanh { "tanh" } else { "none" }),
        Unary::Silu => x.f_silu(),
        Unary::Mish => x.f_mish(),
        Unary::Hardswish => x.f_hardswish(),
        Unary::Hardsigmoid => x.f_hardsigmoid(),
        Unary::Sigmoid => x.f_sigmoid(),
        Unary::LogSigmoid => x.f_log_sigmoid(),
        Unary::Tanh => x.f_tanh(),
        Unary::Tanhshrink => x.f_sub(&x.f_tanh()?),
        Unary::Softplus { beta, threshold } => Activation::Softplus(beta, threshold).apply(x),
        Unary::Softsign => x.f_div(&x.f_abs()?.f_add_scalar(1)?),
        Unary::Softshrink { lambda } => Activation::Softshrink(lambda).apply(x),
        Unary::Hardshrink { lambda } => Activation::Hardshrink(lambda).apply(x),
        Unary::Threshold { threshold, value } => x.f_threshold(threshold, value),
        Unary::Clamp { min, max } => clamp(x, min, max),
        other => function(other, x),
    }
}

fn function(op: Unary, x: &Tensor) -> Result<Tensor, TchError> {
    match op {
        Unary::Neg => x.f_neg(),
        Unary::Abs => x.f_abs(),
        Unary::Sign => x.f_sign(),
        Unary::Exp => x.f_exp(),
        Unary::Expm1 => x.f_expm1(),
        Unary::Log => x.f_log(),
        Unary::Log1p => x.f_log1p(),
        Unary::Log2 => x.f_log2(),
        Unary::Log10 => x.f_log10(),
        Unary::Sqrt => x.f_sqrt(),
        Unary::Rsqrt => x.f_rsqrt(),
        Unary::Square => x.f_square(),
        Unary::Reciprocal => x.f_reciprocal(),
        Unary::Sin => x.f_sin(),
        Unary::Cos => x.f_cos(),
        Unary::Tan => x.f_tan(),
        Unary::Sinh => x.f_sinh(),
        Unary::Cosh => x.f_cosh(),
        Unary::Asin => x.f_asin(),
        Unary::Acos => x.f_acos(),
        Unary::Atan => x.f_atan(),
        Unary::Asinh => x.f_asinh(),
        Unary::Acosh => x.f_acosh(),
        Unary::Atanh => x.f_atanh(),
        Unary::Erf => x.f_erf(),
        Unary::Erfc => x.f_erfc(),
        Unary::Floor => x.f_floor(),
        Unary::Ceil => x.f_ceil(),
        Unary::Round => x.f_round(),
        Unary::Trunc => x.f_trunc(),
        Unary::LogicalNot => x.f_logical_not(),
        other => Err(broken(format!("no kernel for {other:?}"))),
    }
}

fn clamp(x: &Tensor, min: f64, max: f64) -> Result<Tensor, TchError> {
    let (below, above) = (min != f64::NEG_INFINITY, max != f64::INFINITY);
    // Beside a bound with a fraction, or an infinite one, whole numbers become fractions.
    let floating = matches!(x.kind(), Kind::Float | Kind::Double)
        || (below && min.fract() != 0.0)
        || (above && max.fract() != 0.0);
    match (below, above) {
        (true, true) => x.f_clamp(number(min, floating), number(max, floating)),
        (true, false) => x.f_clamp_min(number(min, floating)),
        (false, true) => x.f_clamp_max(number(max, floating)),
        (false, false) => Ok(x.shallow_clone()),
    }
}

fn two(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    match op {
        Binary::Add => a.f_add(b),
        Binary::Sub => a.f_sub(b),
        Binary::Mul => a.f_mul(b),
        Binary::Div => a.f_div(b),
        Binary::FloorDiv => a.f_floor_divide(b),
        Binary::Remainder => a.f_remainder_tensor(b),
        Binary::Pow => a.f_pow(b),
        Binary::Maximum => a.f_maximum(b),
        Binary::Minimum => a.f_minimum(b),
        Binary::Atan2 => a.f_atan2(b),
        Binary::Eq => a.f_eq_tensor(b),
        Binary::Ne => a.f_ne_tensor(b),
        Binary::Lt => a.f_lt_tensor(b),
        Binary::Le => a.f_le_tensor(b),
        Binary::Gt => a.f_gt_tensor(b),
        Binary::Ge => a.f_ge_tensor(b),
        Binary::And => a.f_bitwise_and_tensor(b),
        Binary::Or => a.f_bitwise_or_tensor(b),
    }
}

/// `x op value`, or `value op x` if `reversed`. A whole number keeps integers whole, as in PyTorch.
fn with_number(op: Binary, x: &Tensor, value: f64, reversed: bool) -> Result<Tensor, TchError> {
    let floating = matches!(x.kind(), Kind::Float | Kind::Double) || value.fract() != 0.0;
    let scalar = || number(value, floating);
    match (op, reversed) {
        (Binary::Add, _) => x.f_add_scalar(scalar()),
        (Binary::Mul, _) => x.f_mul_scalar(scalar()),
        (Binary::Sub, false) => x.f_sub_scalar(scalar()),
        (Binary::Sub, true) => x.f_neg()?.f_add_scalar(scalar()),
        (Binary::Div, false) => x.f_div_scalar(scalar()),
        (Binary::FloorDiv, false) => x.f_floor_divide_scalar(scalar()),
        (Binary::Remainder, false) => x.f_remainder(scalar()),
        (Binary::Pow, false) => x.f_pow_tensor_scalar(scalar()),
        (Binary::Pow, true) => Tensor::f_pow_scalar(scalar(), x),
        (Binary::Eq, _) => x.f_eq(scalar()),
        (Binary::Ne, _) => x.f_ne(scalar()),
        (Binary::Lt, false) | (Binary::Gt, true) => x.f_lt(scalar()),
        (Binary::Le, false) | (Binary::Ge, true) => x.f_le(scalar()),
        (Binary::Gt, false) | (Binary::Lt, true) => x.f_gt(scalar()),
        (Binary::Ge, false) | (Binary::Le, true) => x.f_ge(scalar()),
        _ => {
            let kind = match (floating, x.kind()) {
                (true, _) => Kind::Float,
                // `mask & True`: a number would widen the mask to integers.
                (false, Kind::Bool) if matches!(op, Binary::And | Binary::Or) => Kind::Bool,
                (false, _) => Kind::Int64,
            };
            // No dimension, so that it takes part in broadcasting and type promotion as a number does.
            let other = Tensor::f_full([0i64; 0], scalar(), (kind, x.device()))?;
            if reversed { two(op, &other, x) } else { two(op, x, &other) }
        }
    }
}

fn number(value: f64, floating: bool) -> Scalar {
    if floating { Scalar::from(value) } else { Scalar::from(value as i64) }
}
