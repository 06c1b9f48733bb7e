//! `torch.where` and `masked_fill`: one of two values, element by element.
//!
//! Input: a condition and two branches, tensors or numbers. Output: an [`Op::Where`]. Limit: elements of 32-bit floats,
//! 64-bit integers or truths; a number beside a tensor is one of its type, or a float.

use crate::graph::{DType, Op, Shape, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::elementwise::tensor_of;
use crate::lower::torch::facts;
use crate::lower::value::Value;

/// `where(condition, input, other)`.
pub(crate) fn choose(this: &mut Interp<'_>, condition: &Value, input: &Value, other: &Value) -> R<Value> {
    let whole = is_whole(this, input)? && is_whole(this, other)?;
    let tensors = [tensor_of(this, condition)?, branch(this, input, whole)?, branch(this, other, whole)?];
    this.op(Op::Where, &tensors)
}

/// `input.masked_fill(mask, value)`.
pub(crate) fn masked_fill(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    if let Value::Tensor(tensor) = &args.get("value")
        && let rank @ 1.. = this.fact(tensor)?.shape.0.len()
    {
        let message = "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with";
        return Err(Raise::runtime(format!("{message} {rank} dimension(s).")));
    }
    choose(this, &args.get("mask"), &args.get("value"), &args.get("input"))
}

fn branch(this: &mut Interp<'_>, value: &Value, whole: bool) -> R<TensorRef> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "graphs hold numbers as floats")]
        Value::Int(number) if whole => {
            this.append(Op::Full { shape: Shape::default(), value: *number as f64, dtype: DType::I64 }, &[])
        }
        value => tensor_of(this, value),
    }
}

fn is_whole(this: &mut Interp<'_>, value: &Value) -> R<bool> {
    match value {
        Value::Int(_) => Ok(true),
        Value::Tensor(tensor) => Ok(facts(this, tensor)?.dtype == DType::I64),
        _ => Ok(false),
    }
}
