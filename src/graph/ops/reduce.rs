//! Reductions over dimensions: `sum`, `mean`, `max`, `argmax`, `var`, norms and the like.

use super::{shape_error, take};
use crate::graph::op::Reduction;
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

/// Fact of the result; all dimensions go where `dims` is empty.
pub(super) fn reduce(
    op: Reduction,
    dims: &[usize],
    keepdim: bool,
    inputs: &[Fact],
) -> Result<Fact, BuildError> {
    let [input] = take("reduction", inputs)?;
    let rank = input.shape.rank();
    if let Some(dim) = dims.iter().find(|&&dim| dim >= rank) {
        return Err(shape_error(format!("Dimension out of range (got {dim} for a tensor of {rank})")));
    }
    let mean_like = matches!(op, Reduction::Mean | Reduction::Var { .. } | Reduction::Std { .. });
    if mean_like && !input.dtype.is_floating() {
        return Err(shape_error("mean(): could not infer output dtype. Input dtype must be floating point"));
    }
    let gone = |dim: usize| dims.is_empty() || dims.contains(&dim);
    let shape = input.shape.0.iter().enumerate().filter_map(|(index, &dim)| match (gone(index), keepdim) {
        (true, true) => Some(Dim::fixed(1)),
        (true, false) => None,
        (false, _) => Some(dim),
    });
    let dtype = match op {
        Reduction::ArgMax | Reduction::ArgMin => DType::I64,
        Reduction::All | Reduction::Any => DType::Bool,
        Reduction::Sum | Reduction::Prod if input.dtype == DType::Bool => DType::I64,
        _ => input.dtype,
    };
    Ok(Fact { shape: Shape(shape.collect()), dtype })
}
