//! Reductions over dimensions: sum, mean, max, var, norm, ...
//!
//! Input: tensors and dimensions. Output: nodes; `max` and `min` over a dimension give values and indices. Limit:
//! ties may be ordered otherwise than PyTorch orders them.

use crate::graph::op::{Binary, Reduction};
use crate::graph::{Op, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::creation::{dtype, named};
use crate::lower::torch::elementwise::{along, operand};
use crate::lower::torch::{Function, axis, row};
use crate::lower::value::Value;

const DIMS: &str = "input, dim=None, keepdim=False, *, dtype=None, out=None, axis=None";

pub(crate) const FUNCTIONS: &[Function] = &[
    row("tm", "sum", DIMS, |this, args| reduce(this, &args, Reduction::Sum)),
    row("tm", "mean", DIMS, |this, args| reduce(this, &args, Reduction::Mean)),
    row("tm", "prod", DIMS, |this, args| reduce(this, &args, Reduction::Prod)),
    row("tm", "amax", DIMS, |this, args| reduce(this, &args, Reduction::Max)),
    row("tm", "amin", DIMS, |this, args| reduce(this, &args, Reduction::Min)),
    row("tm", "argmax", DIMS, |this, args| reduce(this, &args, Reduction::ArgMax)),
    row("tm", "argmin", DIMS, |this, args| reduce(this, &args, Reduction::ArgMin)),
    row("tm", "logsumexp", "input, dim, keepdim=False, *, out=None", |this, args| {
        reduce(this, &args, Reduction::LogSumExp)
    }),
    row("tm", "all", DIMS, |this, args| reduce(this, &args, Reduction::All)),
    row("tm", "any", DIMS, |this, args| reduce(this, &args, Reduction::Any)),
    row("tm", "max", "input, dim=None, keepdim=False", |this, args| extreme(this, &args, true)),
    row("tm", "min", "input, dim=None, keepdim=False", |this, args| extreme(this, &args, false)),
    row("tm", "var", "input, dim=None, unbiased=True, keepdim=False, *, correction=None", |this, args| {
        let correction = correction(&args)?;
        reduce(this, &args, Reduction::Var { correction })
    }),
    row("tm", "std", "input, dim=None, unbiased=True, keepdim=False, *, correction=None", |this, args| {
        let correction = correction(&args)?;
        reduce(this, &args, Reduction::Std { correction })
    }),
    row("tm", "norm", "input, p=2.0, dim=None, keepdim=False, dtype=None", |this, args| {
        let p = match args.get("p") {
            Value::Str(name) if &*name == "fro" => 2.0,
            _ => args.float("p")?,
        };
        reduce(this, &args, Reduction::Norm { p })
    }),
    row("tm", "cumsum", "input, dim, *, dtype=None", |this, args| {
        let (input, dim) = along(this, &args)?;
        let input = cast_first(this, &args, input)?;
        this.op(Op::CumSum { dim }, &[input])
    }),
    row("tm", "cumprod", "input, dim, *, dtype=None", |this, args| {
        let (input, dim) = along(this, &args)?;
        let input = cast_first(this, &args, input)?;
        this.op(Op::CumProd { dim }, &[input])
    }),
    row("tm", "sort", "input, dim=-1, descending=False, stable=None, *, out=None", |this, args| {
        let (input, dim) = along(this, &args)?;
        let outputs = this.append_all(Op::Sort { dim, descending: args.bool("descending")? }, &[input], 2)?;
        let items = vec![this.wrap(outputs[0])?, this.wrap(outputs[1])?];
        pair(this, "sort", items)
    }),
];

/// Values and indices, as PyTorch names them.
pub(crate) fn pair(this: &mut Interp<'_>, function: &str, items: Vec<Value>) -> R<Value> {
    named(this, &format!("torch.return_types.{function}"), &["values", "indices"], items)
}

fn correction(args: &Bound) -> R<f64> {
    match args.optional_float("correction")? {
        Some(correction) => Ok(correction),
        None => {
            let unbiased = match args.get("dim") {
                Value::Bool(flag) => flag,
                _ => args.bool("unbiased")?,
            };
            Ok(if unbiased { 1.0 } else { 0.0 })
        }
    }
}

/// The operand in the type that it is to be computed in.
pub(crate) fn cast_first(this: &mut Interp<'_>, args: &Bound, input: TensorRef) -> R<TensorRef> {
    let own = this.builder.fact(input).dtype;
    let dtype = dtype(args, own)?;
    if dtype == own { Ok(input) } else { this.append(Op::Cast(dtype), &[input]) }
}

fn reduce(this: &mut Interp<'_>, args: &Bound, op: Reduction) -> R<Value> {
    let input = operand(this, args, "input")?;
    let input = cast_first(this, args, input)?;
    let shape = this.builder.fact(input).shape.clone();
    let name = if args.given("axis") { "axis" } else { "dim" };
    let mut dims = match args.get(name) {
        Value::None => Vec::new(),
        // `x.std(False)`
        Value::Bool(_) if matches!(op, Reduction::Var { .. } | Reduction::Std { .. }) => Vec::new(),
        _ => args.ints(name)?.iter().map(|&dim| axis(&shape, dim)).collect::<R<Vec<usize>>>()?,
    };
    dims.sort_unstable();
    if let Some(pair) = dims.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Raise::runtime(format!("dim {} appears multiple times in the list of dims", pair[0])));
    }
    let keepdim = match args.get("keepdim") {
        Value::Bool(flag) => flag,
        Value::None => false,
        // A second dimension that was given on its own.
        other => {
            let (function, got) = (args.function, other.type_name());
            return Err(Raise::type_error(format!(
                "{function}(): argument 'keepdim' must be bool, not {got}"
            )));
        }
    };
    this.op(Op::Reduce { op, dims, keepdim }, &[input])
}

fn extreme(this: &mut Interp<'_>, args: &Bound, max: bool) -> R<Value> {
    let (value, index) =
        if max { (Reduction::Max, Reduction::ArgMax) } else { (Reduction::Min, Reduction::ArgMin) };
    match args.get("dim") {
        Value::None => reduce(this, args, value),
        Value::Tensor(other) => {
            let inputs = [operand(this, args, "input")?, this.tensor_ref(&other)?];
            this.op(Op::Binary(if max { Binary::Maximum } else { Binary::Minimum }), &inputs)
        }
        Value::Int(_) => {
            let items = vec![reduce(this, args, value)?, reduce(this, args, index)?];
            pair(this, args.function, items)
        }
        other => Err(Raise::type_error(format!(
            "{}(): argument 'dim' must be int, not {}",
            args.function,
            other.type_name()
        ))),
    }
}
