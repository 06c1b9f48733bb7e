//! Parts of a tensor that are written over other parts of it, as by `x[:, 1:] = x[:, :-1]`.
//!
//! Input: a tensor, basic indices of it and what is assigned there. Output: PyTorch's error. Limit: parts of the tensor
//! itself, not of another view of it.

use std::rc::Rc;

use crate::graph::{NOMINAL_BATCH, Shape};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::index::{bounds_of, parts, within};
use crate::lower::value::{Part, Tensor, TensorState, Value};

/// Refuse to assign to a part of a tensor another part of it that shares elements with it. PyTorch refuses that where
/// both lie dense in memory, and else reads some elements after they were written.
pub(super) fn check(this: &mut Interp<'_>, tensor: &Rc<Tensor>, written: &[Value], value: &Value) -> R<()> {
    if !overlaps(this, tensor, written, value)? {
        return Ok(());
    }
    let raise = Raise::runtime(
        "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single \
         memory location. Please clone() the tensor before performing the operation.",
    );
    Err(raise.with_hint(Hint::InPlace))
}

/// [`check`] of `tensor[index] op= value`.
pub(crate) fn check_item(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value, value: &Value) -> R<()> {
    if part_of(this, tensor, value).is_none() {
        return Ok(());
    }
    let rank = this.fact(tensor)?.shape.rank();
    let written = parts(this, index, rank)?;
    check(this, tensor, &written, value)
}

/// What `value` shows of a tensor.
fn part_of(this: &Interp<'_>, tensor: &Rc<Tensor>, value: &Value) -> Option<Part> {
    let Value::Tensor(value) = value else { return None };
    // `contiguous` gave a copy under the same name.
    if matches!(&*value.state.borrow(), TensorState::Node { tensor, .. } if this.contiguous.contains(tensor))
    {
        return None;
    }
    value.part.borrow().clone().filter(|part| Rc::ptr_eq(&part.base, tensor))
}

/// Whether a tensor would be assigned a part of itself that lies partly where it is written.
fn overlaps(this: &mut Interp<'_>, tensor: &Rc<Tensor>, written: &[Value], value: &Value) -> R<bool> {
    let Some(part) = part_of(this, tensor, value) else { return Ok(false) };
    let shape = this.fact(tensor)?.shape;
    let read = parts(this, &part.index, shape.rank())?;
    let (written, read) = (region(written, &shape)?, region(&read, &shape)?);
    let apart = |(a, b): (&[i64; 3], &[i64; 3])| {
        a[1] <= b[0] || b[1] <= a[0] || (a[2] == b[2] && (a[0] - b[0]) % a[2] != 0)
    };
    Ok(written != read && !written.iter().zip(&read).any(apart))
}

/// Start, end and step in each dimension of what basic indices pick, at a nominal batch.
fn region(parts: &[Value], shape: &Shape) -> R<Vec<[i64; 3]>> {
    let mut region: Vec<[i64; 3]> = Vec::new();
    for part in parts.iter().filter(|part| !part.is_none()) {
        let dim = region.len();
        region.push(match part {
            Value::Int(at) => {
                let at = i64::try_from(within(shape, dim, *at)?).unwrap_or(i64::MAX);
                [at, at + 1, 1]
            }
            Value::Slice(bounds) => match bounds_of(bounds, shape.0[dim])? {
                Some((start, end, step)) => {
                    let step = i64::try_from(step).unwrap_or(i64::MAX);
                    [start.at(NOMINAL_BATCH), end.at(NOMINAL_BATCH), step]
                }
                None => [0, shape.0[dim].at(NOMINAL_BATCH), 1],
            },
            _ => [0, shape.0[dim].at(NOMINAL_BATCH), 1],
        });
    }
    Ok(region)
}
