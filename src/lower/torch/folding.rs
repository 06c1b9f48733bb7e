//! Arithmetic on tensors that a constructor has just made.
//!
//! Input: an operator, a tensor and a number. Output: a tensor just made whose first values are the result. Limit: of
//! two tensors, and of random values what is not linear, nothing is kept here.

use crate::graph::op::Binary;
use crate::graph::{DType, Init};
use crate::lower::error::R;
use crate::lower::interp::Interp;
use crate::lower::torch::constant::single;
use crate::lower::torch::{creation, signature};
use crate::lower::value::{TensorState, Value};

/// Arithmetic of a tensor just made with a number, kept as initial values.
pub(super) fn fold(this: &mut Interp<'_>, op: Binary, left: &Value, right: &Value) -> R<Option<Value>> {
    let known = |value: &Value| match value {
        Value::Tensor(tensor) => match &*tensor.state.borrow() {
            TensorState::Known { sizes, dtype, init, draw } => {
                Some((sizes.clone(), *dtype, init.clone(), draw.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    let (tensor, number, reversed) = match (known(left), known(right)) {
        (Some(tensor), None) => (tensor, signature::number(right), false),
        (None, Some(tensor)) => (tensor, signature::number(left), true),
        _ => return Ok(None),
    };
    let ((sizes, dtype, init, draw), Some(number)) = (tensor, number) else { return Ok(None) };
    // Truths cannot be subtracted, which the graph says.
    if dtype == DType::Bool && op == Binary::Sub {
        return Ok(None);
    }
    let whole = dtype == DType::I64
        && number.fract() == 0.0
        && matches!((left, right), (Value::Int(_), _) | (_, Value::Int(_)))
        && match (op, &init) {
            (Binary::Mul | Binary::Add | Binary::Sub | Binary::FloorDiv, _) => true,
            (Binary::Pow, Init::Values(values)) => {
                number >= 0.0 && (!reversed || values.iter().all(|value| (0.0..63.0).contains(value)))
            }
            _ => false,
        };
    let folded = match (op, reversed, &init) {
        (Binary::Mul, _, _) => creation::affine(&init, number, 0.0),
        (Binary::Add, _, _) => creation::affine(&init, 1.0, number),
        (Binary::Sub, false, _) => creation::affine(&init, 1.0, -number),
        (Binary::Sub, true, _) => creation::affine(&init, -1.0, number),
        (Binary::Div, _, Init::Values(values)) => {
            let divide = |value: &f64| if reversed { number / value } else { value / number };
            Some(Init::Values(values.iter().map(divide).collect()))
        }
        (Binary::Div, false, _) if number != 0.0 => creation::affine(&init, 1.0 / number, 0.0),
        (Binary::Pow, _, Init::Values(values)) => {
            let power = |value: &f64| if reversed { number.powf(*value) } else { value.powf(number) };
            Some(Init::Values(values.iter().map(power).collect()))
        }
        _ => None,
    };
    let folded = match folded {
        Some(Init::Values(values)) if !whole && dtype != DType::F64 => {
            Some(Init::Values(values.into_iter().map(single).collect()))
        }
        folded => folded,
    };
    let dtype = if whole || dtype == DType::F64 { dtype } else { DType::F32 };
    match folded {
        Some(init) => creation::known_of(this, sizes, dtype, init, draw).map(Some),
        None => Ok(None),
    }
}
