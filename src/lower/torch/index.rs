//! Indexing of tensors: integers, slices, `None`, `...`, and index tensors in one dimension.
//!
//! Input: a tensor and what stands in brackets. Output: a chain of `Select`, `Slice`, `Unsqueeze` and `IndexSelect`.
//! Limit: masks and index tensors in more than one dimension are refused.

use std::rc::Rc;

use crate::graph::{DType, Dim, NOMINAL_BATCH, Op, Shape};
use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::value::{Tensor, Value};

/// `tensor[index]`.
pub(crate) fn get(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value) -> R<Value> {
    let parts = match index {
        Value::Tuple(tuple) => tuple.items.clone(),
        other => vec![other.clone()],
    };
    let rank = this.fact(tensor)?.shape.rank();
    let consuming = parts.iter().filter(|part| !matches!(part, Value::None | Value::Ellipsis)).count();
    if consuming > rank {
        return Err(Raise::python("IndexError", format!("too many indices for tensor of dimension {rank}")));
    }
    let mut result = this.tensor_ref(tensor)?;
    let mut dim = 0;
    for part in &parts {
        let shape = this.builder.fact(result).shape.clone();
        match part {
            Value::None => {
                result = this.append(Op::Unsqueeze { dim }, &[result])?;
                dim += 1;
            }
            Value::Ellipsis => dim += rank - consuming,
            Value::Int(at) => {
                let index = within(&shape, dim, *at)?;
                result = this.append(Op::Select { dim, index }, &[result])?;
            }
            Value::Slice(bounds) => {
                if let Some((start, end, step)) = bounds_of(bounds, shape.0[dim])? {
                    result = this.append(Op::Slice { dim, start, end, step }, &[result])?;
                }
                dim += 1;
            }
            Value::Tensor(index) => {
                let fact = this.fact(index)?;
                if fact.dtype != DType::I64 || fact.shape.rank() != 1 {
                    return Err(Raise::unsupported(
                        "indexing with a mask or a matrix of indices is not supported",
                    ));
                }
                let index = this.tensor_ref(index)?;
                result = this.append(Op::IndexSelect { dim }, &[result, index])?;
                dim += 1;
            }
            Value::List(items) => {
                let mut values = Vec::new();
                for item in items.borrow().iter() {
                    let Value::Int(at) = item else {
                        return Err(Raise::unsupported("indexing with this list is not supported"));
                    };
                    #[expect(clippy::cast_precision_loss, reason = "an index of a dimension")]
                    values.push(within(&shape, dim, *at)? as f64);
                }
                let literal = Op::Literal { sizes: vec![values.len()], values, dtype: DType::I64 };
                let index = this.append(literal, &[])?;
                result = this.append(Op::IndexSelect { dim }, &[result, index])?;
                dim += 1;
            }
            Value::Dim(_) => {
                return Err(Raise::unsupported("an index that depends on the batch is not supported"));
            }
            Value::Bool(_) => return Err(Raise::unsupported("indexing with a bool is not supported")),
            other => {
                return Err(Raise::type_error(format!(
                    "only integers, slices (`:`), ellipsis (`...`), None and long or \
                     byte Variables are valid indices (got {})",
                    other.type_name()
                )));
            }
        }
    }
    this.wrap(result)
}

/// A position in a dimension, counted from its start.
pub(crate) fn within(shape: &Shape, dim: usize, index: i64) -> R<usize> {
    let size = shape.0[dim];
    let out = || {
        let message = format!("index {index} is out of bounds for dimension {dim} with size {size}");
        Raise::python("IndexError", message)
    };
    if let Some(known) = size.known() {
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        let at = if index < 0 { index.checked_add(known).ok_or_else(out)? } else { index };
        if !(0..known).contains(&at) {
            return Err(out());
        }
        return usize::try_from(at).map_err(|_| out());
    }
    if index < 0 {
        return Err(Raise::unsupported("an index from the end of the batch is not supported"));
    }
    if index >= size.at(NOMINAL_BATCH) {
        return Err(out());
    }
    usize::try_from(index).map_err(|_| out())
}

/// Exact bounds of a slice of a dimension; `None` where it takes everything.
fn bounds_of(parts: &[Value; 3], size: Dim) -> R<Option<(Dim, Dim, usize)>> {
    let bound = |value: &Value, default: Dim| -> R<Dim> {
        let dim = match value {
            Value::None => return Ok(default),
            value => super::signature::dim(value).ok_or_else(|| {
                Raise::type_error("slice indices must be integers or None or have an __index__ method")
            })?,
        };
        let zero = Dim::fixed(0);
        let dim = if dim.at(NOMINAL_BATCH) < 0 { size.plus(dim) } else { dim };
        if dim.at(NOMINAL_BATCH) <= 0 && !dim.depends_on_batch() {
            return Ok(zero);
        }
        Ok(if dim.at(NOMINAL_BATCH) > size.at(NOMINAL_BATCH) { size } else { dim })
    };
    let (start, end) = (bound(&parts[0], Dim::fixed(0))?, bound(&parts[1], size)?);
    let step = match &parts[2] {
        Value::None => 1,
        Value::Int(step) if *step > 0 => usize::try_from(*step).unwrap_or(1),
        Value::Int(_) => return Err(Raise::value_error("step must be greater than zero")),
        _ => {
            return Err(Raise::type_error(
                "slice indices must be integers or None or have an __index__ method",
            ));
        }
    };
    if start == Dim::fixed(0) && end == size && step == 1 {
        return Ok(None);
    }
    let end = if end.at(NOMINAL_BATCH) < start.at(NOMINAL_BATCH) { start } else { end };
    Ok(Some((start, end, step)))
}
