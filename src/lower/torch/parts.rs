//! Functions that join tensors and take parts of them: `cat`, `stack`, `split`, `chunk`, `unbind`, `narrow`, ...
//!
//! Input: tensors and sizes. Output: nodes with exact bounds. Limit: a dimension that depends
//! on the batch is split into pieces that are known or equal only.

use std::rc::Rc;

use crate::graph::{Dim, Init, NOMINAL_BATCH, Op, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::creation::{fixed, known};
use crate::lower::torch::{Function, axis, row};
use crate::lower::value::{Tensor, TensorState, Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    row("t", "cat", "tensors, dim=0, *, axis=0, out=None", |this, args| cat(this, &args)),
    row("t", "concat", "tensors, dim=0, *, axis=0", |this, args| cat(this, &args)),
    row("t", "concatenate", "tensors, dim=0, *, axis=0", |this, args| cat(this, &args)),
    row("t", "stack", "tensors, dim=0, *, out=None", |this, args| {
        let inputs = tensors(this, &args.get("tensors"))?;
        let Some(&first) = inputs.first() else {
            return Err(Raise::runtime("stack expects a non-empty TensorList"));
        };
        let rank = i64::try_from(this.builder.fact(first).shape.rank()).unwrap_or(0);
        let dim = args.int("dim")?;
        let at = if dim < 0 { dim + rank + 1 } else { dim };
        let Some(dim) = usize::try_from(at).ok().filter(|_| at <= rank) else {
            return Err(Raise::python("IndexError", format!("Dimension out of range (got {dim})")));
        };
        this.op(Op::Stack { dim }, &inputs)
    }),
    row("tm", "chunk", "input, chunks, dim=0", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let chunks = args.count("chunks")?;
        if let (true, Some(each)) = (shape.0[dim].depends_on_batch(), shape.0[dim].divided_by(chunks.into()))
        {
            return pieces(this, &tensor, dim, vec![each; chunks]);
        }
        let size = fixed(shape.0[dim], "chunk of a dimension")?;
        if chunks == 0 {
            return Err(Raise::runtime("chunk expects `chunks` to be greater than 0, got: 0"));
        }
        let each = size.div_ceil(chunks).max(1);
        pieces(this, &tensor, dim, steps(size, each))
    }),
    row("tm", "split", "tensor, split_size_or_sections=None, dim=0, *, split_size=None", |this, args| {
        let tensor = args.tensor("tensor")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let size = shape.0[dim];
        // The method calls it `split_size`.
        let name = if args.given("split_size") { "split_size" } else { "split_size_or_sections" };
        let sizes = match args.get(name) {
            Value::Int(each) => {
                let each = usize::try_from(each)
                    .ok()
                    .filter(|&each| each > 0)
                    .ok_or_else(|| Raise::runtime("split expects split_size be non-negative"))?;
                steps(fixed(size, "split of a dimension")?, each)
            }
            Value::Dim(each) => {
                let count = size.divided_by(each).and_then(Dim::known);
                let unequal =
                    || Raise::unsupported("a split into pieces that depend on the batch and are not equal");
                vec![each; count.ok_or_else(unequal)?]
            }
            Value::List(_) | Value::Tuple(_) if size.depends_on_batch() => {
                super::signature::dims(&[args.get(name)])
                    .ok_or_else(|| Raise::type_error("split sizes must be ints"))?
            }
            _ => args.spatial_list(name)?.into_iter().map(Dim::from).collect(),
        };
        let sum = sizes.iter().fold(Dim::fixed(0), |sum, &each| sum.plus(each));
        if sum != size {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            return Err(Raise::runtime(format!(
                "split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension \
                 {dim}), but got split_sizes=[{}]",
                sizes.join(", ")
            )));
        }
        pieces(this, &tensor, dim, sizes)
    }),
    row("tm", "unbind", "input, dim=0", |this, args| {
        let items = unbind(this, &args.get("input"), args.int("dim")?)?;
        this.tuple(items)
    }),
    row("tm", "select", "input, dim, index", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let index = super::index::within(&shape, dim, args.int("index")?)?;
        let input = this.tensor_ref(&tensor)?;
        let view = this.op(Op::Select { dim, index }, &[input])?;
        super::index::mark(this, &view, &tensor, dim, whole(index))?;
        Ok(view)
    }),
    row("tm", "narrow", "input, dim, start, length", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let (start, length) = (args.int("start")?, args.int("length")?);
        if start < 0 || length < 0 || start + length > shape.0[dim].at(NOMINAL_BATCH) {
            return Err(Raise::runtime(format!(
                "start ({start}) + length ({length}) exceeds dimension size ({}).",
                shape.0[dim]
            )));
        }
        let input = this.tensor_ref(&tensor)?;
        let op = Op::Slice { dim, start: Dim::fixed(start), end: Dim::fixed(start + length), step: 1 };
        let view = this.op(op, &[input])?;
        let place = Value::Slice(Rc::new([Value::Int(start), Value::Int(start + length), Value::None]));
        super::index::mark(this, &view, &tensor, dim, place)?;
        Ok(view)
    }),
    row("tm", "index_select", "input, dim, index", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let index = args.tensor("index")?;
        super::index::check_bounds(this, &shape, dim, &index)?;
        let inputs = [this.tensor_ref(&tensor)?, this.tensor_ref(&index)?];
        this.op(Op::IndexSelect { dim }, &inputs)
    }),
];

/// The tensors of a list or tuple.
pub(crate) fn tensors(this: &mut Interp<'_>, value: &Value) -> R<Vec<TensorRef>> {
    if let Value::Tensor(_) | Value::Iter(_) | Value::View(_) = value {
        return Err(Raise::type_error(format!(
            "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not {}",
            value.type_name()
        )));
    }
    let mut inputs = Vec::new();
    for item in this.iterate(value)? {
        match item {
            Value::Tensor(tensor) => inputs.push(this.tensor_ref(&tensor)?),
            other => {
                return Err(Raise::type_error(format!(
                    "expected Tensor as element {} in argument 0, but got {}",
                    inputs.len(),
                    other.type_name()
                )));
            }
        }
    }
    Ok(inputs)
}

fn cat(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    let inputs = tensors(this, &args.get("tensors"))?;
    let Some(&first) = inputs.first() else {
        return Err(Raise::runtime("torch.cat(): expected a non-empty list of Tensors"));
    };
    let name = if args.given("axis") { "axis" } else { "dim" };
    let shape = this.builder.fact(first).shape.clone();
    if shape.rank() == 0 {
        return Err(Raise::runtime("zero-dimensional tensor (at position 0) cannot be concatenated"));
    }
    let dim = axis(&shape, args.int(name)?)?;
    this.op(Op::Cat { dim }, &inputs)
}

fn pieces(this: &mut Interp<'_>, tensor: &Rc<Tensor>, dim: usize, sizes: Vec<Dim>) -> R<Value> {
    let input = this.tensor_ref(tensor)?;
    let mut parts = Vec::new();
    let mut start = Dim::fixed(0);
    for size in sizes {
        let end = start.plus(size);
        let piece = this.op(Op::Slice { dim, start, end, step: 1 }, &[input])?;
        super::index::mark(this, &piece, tensor, dim, bounds(start, end))?;
        super::saved::one_more(this, &piece);
        parts.push(piece);
        start = end;
    }
    this.tuple(parts)
}

/// Sizes of pieces of `each`, the last one smaller where it has to be.
fn steps(size: usize, each: usize) -> Vec<Dim> {
    (0..size).step_by(each).map(|start| Dim::from(each.min(size - start))).collect()
}

fn whole(at: usize) -> Value {
    Value::from_dim(Dim::from(at))
}

/// `start:end` in brackets.
fn bounds(start: Dim, end: Dim) -> Value {
    Value::Slice(Rc::new([Value::from_dim(start), Value::from_dim(end), Value::None]))
}

/// The slices along a dimension.
pub(crate) fn unbind(this: &mut Interp<'_>, value: &Value, dim: i64) -> R<Vec<Value>> {
    let Value::Tensor(tensor) = value else {
        return Err(Raise::type_error("unbind(): argument 'input' must be Tensor"));
    };
    let state = tensor.state.borrow().clone();
    if let TensorState::Known { sizes, dtype, init: Init::Values(values), .. } = &state
        && sizes.len() == 1
    {
        let mut items = Vec::new();
        for (at, value) in (0..).zip(values) {
            let item = known(this, Vec::new(), *dtype, Init::Values(vec![*value]))?;
            super::index::mark(this, &item, tensor, 0, Value::Int(at))?;
            items.push(item);
        }
        return Ok(items);
    }
    let shape = this.fact(tensor)?.shape;
    if shape.rank() == 0 {
        return Err(Raise::type_error("iteration over a 0-d tensor"));
    }
    let dim = axis(&shape, dim)?;
    let size = fixed(shape.0[dim], "a loop over a dimension")?;
    let input = this.tensor_ref(tensor)?;
    let mut items = Vec::new();
    for index in 0..size {
        let item = this.op(Op::Select { dim, index }, &[input])?;
        super::index::mark(this, &item, tensor, dim, whole(index))?;
        super::saved::one_more(this, &item);
        items.push(item);
    }
    Ok(items)
}
