//! Element by element: activations, arithmetic with broadcasting, softmax, dropout.

use super::{broadcast, float, known, shape_error, take};
use crate::graph::op::{Binary, Dropout, Op, Unary};
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

/// Fact of the result.
pub(super) fn infer(op: &Op, inputs: &[Fact]) -> Result<Fact, BuildError> {
    match op {
        Op::Unary(unary) => {
            let [input] = take("function", inputs)?;
            Ok(Fact { dtype: unary_dtype(*unary, input.dtype)?, ..input.clone() })
        }
        Op::Binary(binary) => {
            let [left, right] = take("operator", inputs)?;
            check_subtraction(*binary, &[left.dtype, right.dtype])?;
            let dtype = binary_dtype(*binary, left.dtype, wider(left, right));
            Ok(Fact { shape: broadcast(&left.shape, &right.shape)?, dtype })
        }
        Op::Scalar { op, value, .. } => {
            let [input] = take("operator", inputs)?;
            check_subtraction(*op, &[input.dtype])?;
            let dtype = if value.fract() == 0.0 { DType::I64 } else { DType::F32 };
            let number = Fact { shape: Shape::default(), dtype };
            Ok(Fact {
                shape: input.shape.clone(),
                dtype: binary_dtype(*op, input.dtype, wider(input, &number)),
            })
        }
        Op::Where => {
            let [condition, then, other] = take("where", inputs)?;
            if condition.dtype != DType::Bool {
                return Err(shape_error("where expected condition to be a boolean tensor"));
            }
            let shape = broadcast(&broadcast(&condition.shape, &then.shape)?, &other.shape)?;
            Ok(Fact { shape, dtype: wider(then, other) })
        }
        Op::Prelu => prelu(inputs),
        Op::Glu { dim } => glu(*dim, inputs),
        Op::Softmax { dim } | Op::LogSoftmax { dim } | Op::Normalize { dim, .. } => {
            let [input] = take("softmax", inputs)?;
            float("softmax_kernel_impl", input)?;
            axis(*dim, &input.shape)?;
            Ok(input.clone())
        }
        Op::Dropout { p, kind, .. } => dropout(*p, *kind, inputs),
        Op::CumSum { dim } | Op::CumProd { dim } => {
            let [input] = take("cumsum", inputs)?;
            axis(*dim, &input.shape)?;
            Ok(input.clone())
        }
        Op::Triangle { .. } => {
            let [input] = take("tril", inputs)?;
            if input.shape.rank() < 2 {
                return Err(shape_error("tril: input tensor must have at least 2 dimensions"));
            }
            Ok(input.clone())
        }
        Op::Cast(dtype) => {
            let [input] = take("cast", inputs)?;
            Ok(Fact { dtype: *dtype, ..input.clone() })
        }
        Op::Detach => {
            let [input] = take("detach", inputs)?;
            Ok(input.clone())
        }
        Op::Keep => {
            let [buffer, value, carried] = take("copy_", inputs)?;
            if buffer.shape != value.shape {
                return Err(shape_error(format!(
                    "copy_: expected a tensor of shape {}, got {}",
                    buffer.shape, value.shape
                )));
            }
            Ok(carried.clone())
        }
        _ => Err(shape_error("not an elementwise operation")),
    }
}

fn prelu(inputs: &[Fact]) -> Result<Fact, BuildError> {
    let [input, weight] = take("prelu", inputs)?;
    float("prelu", input)?;
    let channels = input.shape.0.get(1).copied().unwrap_or(Dim::fixed(1));
    let count = weight.shape.numel();
    if count != Some(Dim::fixed(1)) && count != Some(channels) {
        return Err(shape_error(format!(
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = {} and channel size = \
             {channels}",
            weight.shape
        )));
    }
    Ok(input.clone())
}

fn glu(dim: usize, inputs: &[Fact]) -> Result<Fact, BuildError> {
    let [input] = take("glu", inputs)?;
    float("glu", input)?;
    axis(dim, &input.shape)?;
    let size = known("glu", input.shape.0[dim])?;
    if size % 2 != 0 {
        return Err(shape_error(format!(
            "Halving dimension must be even, but dimension {dim} is size {size}"
        )));
    }
    let mut shape = input.shape.clone();
    shape.0[dim] = Dim::from(size / 2);
    Ok(Fact { shape, dtype: input.dtype })
}

fn dropout(p: f64, kind: Dropout, inputs: &[Fact]) -> Result<Fact, BuildError> {
    let [input] = take("dropout", inputs)?;
    if !(0.0..=1.0).contains(&p) {
        return Err(shape_error(format!("dropout probability has to be between 0 and 1, but got {p}")));
    }
    float("dropout", input)?;
    if matches!(kind, Dropout::Channel | Dropout::FeatureAlpha) && input.shape.rank() < 2 {
        return Err(shape_error("Feature dropout requires at least 2 dimensions in the input"));
    }
    Ok(input.clone())
}

fn axis(dim: usize, shape: &Shape) -> Result<(), BuildError> {
    // PyTorch lets a scalar be softmaxed over dimension 0.
    if dim < shape.rank().max(1) {
        return Ok(());
    }
    Err(shape_error(format!(
        "Dimension out of range (expected to be in range of [-{rank}, {last}], but got {dim})",
        rank = shape.rank(),
        last = shape.rank() - 1
    )))
}

fn unary_dtype(op: Unary, input: DType) -> Result<DType, BuildError> {
    use Unary as U;
    match op {
        U::LogicalNot => Ok(DType::Bool),
        U::Neg if input == DType::Bool => Err(shape_error(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use \
             the `~` or `logical_not()` operator instead.",
        )),
        U::Clamp { min, max } => Ok(clamped(min, max, input)),
        U::Neg | U::Abs | U::Sign | U::Square | U::Relu | U::Floor | U::Ceil | U::Round | U::Trunc => {
            Ok(input)
        }
        U::Exp
        | U::Expm1
        | U::Log
        | U::Log1p
        | U::Log2
        | U::Log10
        | U::Sqrt
        | U::Rsqrt
        | U::Reciprocal
        | U::Sin
        | U::Cos
        | U::Tan
        | U::Sinh
        | U::Cosh
        | U::Asin
        | U::Acos
        | U::Atan
        | U::Asinh
        | U::Acosh
        | U::Atanh
        | U::Erf
        | U::Erfc
        | U::Tanh
        | U::Sigmoid => Ok(fractions(input)),
        _ if input.is_floating() => Ok(input),
        _ => Err(shape_error(format!("\"{op:?}\" not implemented for integers"))),
    }
}

/// Truths cannot be subtracted.
fn check_subtraction(op: Binary, inputs: &[DType]) -> Result<(), BuildError> {
    if op != Binary::Sub || !inputs.contains(&DType::Bool) {
        return Ok(());
    }
    Err(shape_error(
        "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use \
         the `~` or `logical_not()` operator instead.",
    ))
}

/// A bound with a fraction, and an infinite one that is not an open side, is a float beside whole numbers.
fn clamped(min: f64, max: f64, input: DType) -> DType {
    let (below, above) = (min != f64::NEG_INFINITY, max != f64::INFINITY);
    if (below && min.fract() != 0.0) || (above && max.fract() != 0.0) {
        fractions(input)
    } else if input == DType::Bool && (below || above) {
        DType::I64
    } else {
        input
    }
}

/// The type of results that have fractions: the input's, or PyTorch's default.
fn fractions(input: DType) -> DType {
    if input.is_floating() { input } else { DType::F32 }
}

/// `common` is the type that both operands are brought to.
fn binary_dtype(op: Binary, left: DType, common: DType) -> DType {
    use Binary as B;
    match op {
        B::Eq | B::Ne | B::Lt | B::Le | B::Gt | B::Ge => DType::Bool,
        B::And | B::Or if left == DType::Bool => DType::Bool,
        B::Div | B::Atan2 => fractions(common),
        _ => common,
    }
}

/// PyTorch's promotion: fractions before whole numbers before truths; of two precisions the wider one, but a tensor
/// without dimensions widens none that has some (<https://docs.pytorch.org/docs/stable/tensor_attributes.html>).
fn wider(left: &Fact, right: &Fact) -> DType {
    match (left.dtype, right.dtype) {
        (a, b) if a.is_floating() && b.is_floating() => {
            match (left.shape.rank() == 0, right.shape.rank() == 0) {
                (false, true) => a,
                (true, false) => b,
                _ if a == DType::F64 || b == DType::F64 => DType::F64,
                _ => DType::F32,
            }
        }
        (a, _) if a.is_floating() => a,
        (_, b) if b.is_floating() => b,
        (DType::I64, _) | (_, DType::I64) => DType::I64,
        _ => DType::Bool,
    }
}

/// The type that all inputs are brought to.
pub(super) fn widest(inputs: &[Fact]) -> DType {
    let mut inputs = inputs.iter();
    let Some(first) = inputs.next() else { return DType::F32 };
    let together = |sum: Fact, next: &Fact| Fact { dtype: wider(&sum, next), ..sum };
    inputs.fold(first.clone(), together).dtype
}
