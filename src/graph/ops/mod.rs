//! Shape inference: an operation and the facts of its inputs to the facts of its outputs, or why PyTorch would
//! refuse it. One file per family; the messages follow PyTorch's.

mod conv;
mod elementwise;
mod index;
mod layout;
mod linear;
mod norm;
mod pool;
mod recurrent;
mod reduce;

use super::op::{DType, Op};
use super::{BuildError, Dim, Fact, Shape};

pub use layout::{broadcast, sliced_size};
pub use linear::einsum_dims;
pub use pool::pooled_size;

/// The facts of an operation's outputs.
///
/// # Errors
/// [`BuildError::Shape`] where PyTorch would raise; [`BuildError::Unsupported`] where a size depends on the batch in
/// a way that cannot be represented.
pub fn infer(op: &Op, inputs: &[Fact]) -> Result<Vec<Fact>, BuildError> {
    let single = |shape: Shape| Ok(vec![Fact { shape, dtype: precision(op.name(), inputs)? }]);
    match op {
        Op::Input | Op::Param(_) => Err(shape_error("an input or a parameter cannot be appended")),
        Op::Full { shape, dtype, .. } => Ok(vec![Fact { shape: shape.clone(), dtype: *dtype }]),
        Op::Literal { sizes, dtype, .. } => Ok(vec![Fact { shape: Shape::fixed(sizes), dtype: *dtype }]),
        Op::Random { shape, .. } => Ok(vec![Fact { shape: shape.clone(), dtype: DType::F32 }]),
        Op::Conv(conv) => single(conv::conv(conv, inputs)?),
        Op::ConvTranspose(conv) => single(conv::conv_transpose(conv, inputs)?),
        Op::Linear { bias } => single(linear::linear(*bias, inputs)?),
        Op::Bilinear { bias } => single(linear::bilinear(*bias, inputs)?),
        Op::Embedding { .. } => single(linear::embedding(inputs)?),
        Op::MatMul => single(linear::matmul(inputs)?),
        Op::Einsum { equation } => single(linear::einsum(equation, inputs)?),
        Op::Attention { mask, .. } => {
            let shape = linear::attention(*mask, inputs)?;
            // A mask may be single beside double.
            Ok(vec![Fact { shape, dtype: precision(op.name(), &inputs[..3])? }])
        }
        Op::BatchNorm(norm) => single(norm::batch_norm(norm, inputs)?),
        Op::InstanceNorm { affine, .. } => single(norm::instance_norm(*affine, inputs)?),
        Op::LayerNorm { sizes, weight, bias, .. } => {
            single(norm::over_last("layer_norm", sizes, usize::from(*weight) + usize::from(*bias), inputs)?)
        }
        Op::RmsNorm { sizes, weight, .. } => {
            single(norm::over_last("rms_norm", sizes, usize::from(*weight), inputs)?)
        }
        Op::GroupNorm { groups, affine, .. } => single(norm::group_norm(*groups, *affine, inputs)?),
        Op::LocalResponseNorm { size, .. } => single(norm::local_response_norm(*size, inputs)?),
        Op::Recurrent(settings) => recurrent::recurrent(settings, inputs),
        Op::MaxPool(window) => single(pool::max_pool(window, inputs)?),
        Op::MaxPoolIndices(window) => {
            Ok(vec![Fact { shape: pool::max_pool(window, inputs)?, dtype: DType::I64 }])
        }
        Op::AvgPool { pool: window, .. } | Op::LpPool { pool: window, .. } => {
            single(pool::avg_pool(window, inputs)?)
        }
        Op::AdaptiveAvgPool { sizes } => single(pool::adaptive("adaptive_avg_pool", sizes, inputs)?),
        Op::AdaptiveMaxPool { sizes } => single(pool::adaptive("adaptive_max_pool", sizes, inputs)?),
        Op::AdaptiveMaxPoolIndices { sizes } => {
            Ok(vec![Fact { shape: pool::adaptive("adaptive_max_pool", sizes, inputs)?, dtype: DType::I64 }])
        }
        Op::FractionalMaxPool { kernel, sizes } => pool::fractional(kernel, sizes, inputs),
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Scalar { .. }
        | Op::Where
        | Op::Prelu
        | Op::Glu { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Normalize { .. }
        | Op::Dropout { .. }
        | Op::CumSum { .. }
        | Op::CumProd { .. }
        | Op::Triangle { .. }
        | Op::Cast(_)
        | Op::Detach
        | Op::Keep => Ok(vec![elementwise::infer(op, inputs)?]),
        Op::Sort { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::SliceScatter { .. }
        | Op::Unfold(_)
        | Op::Fold { .. }
        | Op::GridSample { .. } => index::infer(op, inputs),
        Op::Reduce { op, dims, keepdim } => Ok(vec![reduce::reduce(*op, dims, *keepdim, inputs)?]),
        _ => Ok(vec![layout::infer(op, inputs)?]),
    }
}

fn shape_error(message: impl Into<String>) -> BuildError {
    BuildError::Shape(message.into())
}

/// The inputs as an array, or an error that names the operation.
fn take<'a, const COUNT: usize>(name: &str, inputs: &'a [Fact]) -> Result<&'a [Fact; COUNT], BuildError> {
    inputs
        .try_into()
        .map_err(|_| shape_error(format!("{name} expected {COUNT} inputs, got {}", inputs.len())))
}

/// The first input, where the others are checked elsewhere.
fn first<'a>(name: &str, inputs: &'a [Fact]) -> Result<&'a Fact, BuildError> {
    inputs.first().ok_or_else(|| shape_error(format!("{name} expected an input, got none")))
}

/// A size that must not depend on the batch.
fn known(name: &str, dim: Dim) -> Result<usize, BuildError> {
    dim.known().ok_or_else(|| {
        BuildError::Unsupported(format!("{name} over a dimension of size {dim}, which depends on the batch"))
    })
}

/// Refuse anything but floating point, as most layers do.
fn float(name: &str, fact: &Fact) -> Result<(), BuildError> {
    if fact.dtype.is_floating() {
        return Ok(());
    }
    let got = if fact.dtype == DType::I64 { "Long" } else { "Bool" };
    Err(shape_error(format!("\"{name}\" not implemented for '{got}'")))
}

/// The one precision of the inputs that are floating point, single where none is: layers do not mix precisions.
fn precision(name: &str, inputs: &[Fact]) -> Result<DType, BuildError> {
    let mut floating = inputs.iter().map(|fact| fact.dtype).filter(|dtype| dtype.is_floating());
    let first = floating.next().unwrap_or(DType::F32);
    match floating.find(|&dtype| dtype != first) {
        None => Ok(first),
        Some(other) => Err(shape_error(format!(
            "{name}: expected tensors of one dtype, but got {} and {}",
            first.name(),
            other.name()
        ))),
    }
}
