//! Indexing of tensors, and assignment to elements.
//!
//! Input: a tensor and what stands in brackets: integers, slices, `None`, `...`, index tensors and lists, masks.
//! Output: a chain of `Select`, `Slice`, `Unsqueeze` and `IndexSelect`; for an assignment, of `SliceScatter` or
//! `Where`. Limit: several index tensors must stand side by side; a mask that is computed can only be assigned to.

use std::rc::Rc;

use crate::graph::{DType, Dim, Init, NOMINAL_BATCH, Op, Shape, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Interp, Mode};
use crate::lower::torch::constant::{self, Constant};
use crate::lower::torch::{creation, rebind, saved};
use crate::lower::value::{Part, Tensor, TensorState, Value};

/// `tensor[index]`, which shares the tensor's memory unless index tensors or lists pick its elements.
pub(crate) fn part(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value) -> R<Value> {
    let value = get(this, tensor, index)?;
    let basic =
        |part: &Value| matches!(part, Value::Int(_) | Value::Slice(_) | Value::None | Value::Ellipsis);
    let shares = match index {
        Value::Tuple(tuple) => tuple.items.iter().all(basic),
        other => basic(other),
    };
    if let (Value::Tensor(view), true) = (&value, shares) {
        let seen = tensor.version.get();
        *view.part.borrow_mut() = Some(Part { base: Rc::clone(tensor), index: index.clone(), seen });
    }
    Ok(value)
}

/// Show what the base of a part holds now.
pub(crate) fn follow(this: &mut Interp<'_>, tensor: &Tensor) -> R<()> {
    let Some(mut part) = tensor.part.borrow().clone() else { return Ok(()) };
    if matches!(&*tensor.state.borrow(), TensorState::Node { body, .. } if *body != this.body) {
        return Ok(());
    }
    this.deeper(|this| follow(this, &part.base))?;
    if part.seen != part.base.version.get() {
        if let Value::Tensor(now) = get(this, &part.base, &part.index)? {
            let state = now.state.borrow().clone();
            *tensor.state.borrow_mut() = state;
        }
        tensor.version.set(tensor.version.get() + 1);
        part.seen = part.base.version.get();
        *tensor.part.borrow_mut() = Some(part);
    }
    Ok(())
}

/// Write a part's new contents into what it is a part of.
pub(crate) fn write_back(
    this: &mut Interp<'_>,
    target: &Rc<Tensor>,
    mut part: Part,
    new: &Rc<Tensor>,
) -> R<()> {
    let old = target.state.borrow().clone();
    set(this, &part.base, &part.index, &Value::Tensor(Rc::clone(new)))?;
    saved::written_into(this, &part.base, &old, new);
    let state = new.state.borrow().clone();
    *target.state.borrow_mut() = state;
    part.seen = part.base.version.get();
    *target.part.borrow_mut() = Some(part);
    Ok(())
}

/// `tensor[index]`, on its own.
pub(crate) fn get(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value) -> R<Value> {
    let rank = this.fact(tensor)?.shape.rank();
    let parts = parts(this, index, rank)?;
    let mut result = this.tensor_ref(tensor)?;
    let mut dim = 0;
    // Index tensors, the dimensions they stand for, and where single indices stood.
    let mut tensors: Vec<(usize, Rc<Tensor>)> = Vec::new();
    let (mut numbers, mut between) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        let shape = this.builder.fact(result).shape.clone();
        match part {
            Value::None => {
                result = this.append(Op::Unsqueeze { dim }, &[result])?;
                dim += 1;
            }
            Value::Int(number) => {
                let index = within(&shape, dim, *number)?;
                result = this.append(Op::Select { dim, index }, &[result])?;
                numbers.push(at);
            }
            Value::Slice(bounds) => {
                if let Some((start, end, step)) = bounds_of(bounds, shape.0[dim])? {
                    result = this.append(Op::Slice { dim, start, end, step }, &[result])?;
                }
                dim += 1;
            }
            Value::Tensor(index) => {
                let fact = this.fact(index)?;
                if fact.dtype == DType::Bool && fact.shape.rank() != 1 && parts.len() > 1 {
                    return Err(Raise::unsupported("a mask of several dimensions among other indices"));
                }
                if let Some((last, _)) = tensors.last() {
                    between += dim - last - 1;
                }
                tensors.push((dim, Rc::clone(index)));
                dim += 1;
                if numbers.last().is_some_and(|&number| number + 1 != at) {
                    between += 1;
                }
            }
            other => return Err(not_an_index(other)),
        }
    }
    if between > 0 {
        return Err(Raise::unsupported("index tensors that do not stand side by side are not supported"));
    }
    if let Some((dim, index)) = tensors.first().cloned() {
        result = if tensors.len() == 1 {
            take(this, result, dim, &index)?
        } else {
            let list: Vec<Rc<Tensor>> = tensors.into_iter().map(|(_, index)| index).collect();
            take_many(this, result, dim, &list)?
        };
    }
    this.wrap(result)
}

/// What stands in brackets, one part for each dimension of the tensor and each `None`.
pub(super) fn parts(this: &mut Interp<'_>, index: &Value, rank: usize) -> R<Vec<Value>> {
    let given = match index {
        Value::Tuple(tuple) => tuple.items.clone(),
        other => vec![other.clone()],
    };
    let mut parts = Vec::new();
    for part in given {
        parts.push(match part {
            Value::List(_) => creation::literal(this, &part, None)?,
            Value::Tensor(tensor) if this.fact(&tensor)?.shape.rank() == 0 => {
                match constant::of(this, &tensor)? {
                    Some(value) if value.dtype == DType::I64 => super::whole(value.values[0])?,
                    _ => Value::Tensor(tensor),
                }
            }
            part => part,
        });
    }
    let mut consuming = 0;
    for part in &parts {
        consuming += match part {
            Value::None | Value::Ellipsis => 0,
            Value::Tensor(mask) => {
                let fact = this.fact(mask)?;
                if fact.dtype == DType::Bool { fact.shape.rank() } else { 1 }
            }
            _ => 1,
        };
    }
    if consuming > rank {
        return Err(Raise::python("IndexError", format!("too many indices for tensor of dimension {rank}")));
    }
    let whole = || Value::Slice(Rc::new([Value::None, Value::None, Value::None]));
    let missing = rank - consuming;
    match parts.iter().position(|part| matches!(part, Value::Ellipsis)) {
        Some(at) => {
            parts.splice(at..=at, (0..missing).map(|_| whole()));
        }
        None => parts.extend((0..missing).map(|_| whole())),
    }
    Ok(parts)
}

fn not_an_index(part: &Value) -> Box<Raise> {
    match part {
        Value::Opaque(name) => Raise::unsupported(format!("'{name}' is not supported")),
        Value::Dim(_) => Raise::unsupported("an index that depends on the batch is not supported"),
        Value::Bool(_) => Raise::unsupported("indexing with a bool is not supported"),
        Value::Ellipsis => Raise::python("IndexError", "an index can only have a single ellipsis ('...')"),
        other => Raise::python(
            "IndexError",
            format!(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices \
                 (got {})",
                other.type_name()
            ),
        ),
    }
}

/// One index tensor, of any rank, in dimension `dim`.
fn take(this: &mut Interp<'_>, input: TensorRef, dim: usize, index: &Rc<Tensor>) -> R<TensorRef> {
    let shape = this.builder.fact(input).shape.clone();
    let known = constant::of(this, index)?;
    let fact = this.fact(index)?;
    let flat = match (&known, fact.dtype) {
        (Some(mask), DType::Bool) => return take_under_mask(this, input, dim, mask),
        (Some(index), DType::I64) => {
            let size = creation::fixed(shape.0[dim], "indexing of a dimension")?;
            literal(this, constant::whole(index, size).ok_or_else(|| out_of_bounds(dim, size))?)?
        }
        (None, DType::I64) => {
            let index = this.tensor_ref(index)?;
            let count =
                fact.shape.numel().ok_or_else(|| Raise::unsupported("an index quadratic in the batch"))?;
            if fact.shape.rank() == 1 { index } else { reshape(this, index, vec![count])? }
        }
        _ => return Err(Raise::unsupported("indexing with a computed mask is not supported")),
    };
    let result = this.append(Op::IndexSelect { dim }, &[input, flat])?;
    if fact.shape.rank() == 1 {
        return Ok(result);
    }
    let mut dims = shape.0[..dim].to_vec();
    dims.extend(&fact.shape.0);
    dims.extend_from_slice(&shape.0[dim + 1..]);
    reshape(this, result, dims)
}

/// What lies under a mask of the dimensions from `dim` on, side by side.
fn take_under_mask(this: &mut Interp<'_>, input: TensorRef, dim: usize, mask: &Constant) -> R<TensorRef> {
    let shape = this.builder.fact(input).shape.clone();
    let behind = dim + mask.sizes.len();
    let fits = shape
        .0
        .get(dim..behind)
        .is_some_and(|dims| dims.iter().zip(&mask.sizes).all(|(dim, &size)| dim.known() == Some(size)));
    if !fits {
        return Err(Raise::python("IndexError", "The shape of the mask does not match the tensor"));
    }
    let merged = if mask.sizes.len() == 1 {
        input
    } else {
        let together = Dim::fixed(i64::try_from(mask.values.len()).unwrap_or(i64::MAX));
        reshape(this, input, [&shape.0[..dim], &[together], &shape.0[behind..]].concat())?
    };
    let places = mask.values.iter().enumerate().filter(|(_, value)| **value != 0.0);
    let places = literal(this, places.map(|(at, _)| at).collect())?;
    this.append(Op::IndexSelect { dim }, &[merged, places])
}

/// Index tensors in consecutive dimensions from `dim` on.
fn take_many(this: &mut Interp<'_>, input: TensorRef, dim: usize, index: &[Rc<Tensor>]) -> R<TensorRef> {
    let shape = this.builder.fact(input).shape.clone();
    let mut joint: Option<Value> = None;
    let mut total = Dim::fixed(1);
    for (offset, index) in index.iter().enumerate() {
        let size = shape.0[dim + offset];
        if this.fact(index)?.dtype != DType::I64 {
            return Err(Raise::unsupported("masks among several index tensors are not supported"));
        }
        // Where values are not known they are taken to count from the start.
        let next = match (constant::of(this, index)?, size.known()) {
            (Some(known), Some(size)) => {
                let places =
                    constant::whole(&known, size).ok_or_else(|| out_of_bounds(dim + offset, size))?;
                #[expect(clippy::cast_precision_loss, reason = "indices are small")]
                let values = places.into_iter().map(|at| at as f64).collect();
                creation::known(this, known.sizes.clone(), DType::I64, Init::Values(values))?
            }
            _ => Value::Tensor(Rc::clone(index)),
        };
        joint = Some(match joint {
            None => next,
            Some(joint) => {
                let size = creation::fixed(size, "indexing of a dimension")?;
                let size = Value::Int(i64::try_from(size).unwrap_or(i64::MAX));
                let scaled = super::call(this, "mul", vec![joint, size])?;
                super::call(this, "add", vec![scaled, next])?
            }
        });
        total = total.times(size).ok_or_else(|| Raise::unsupported("indexing of two batch dimensions"))?;
    }
    let Some(Value::Tensor(joint)) = joint else { return Ok(input) };
    let mut dims = shape.0[..dim].to_vec();
    dims.push(total);
    dims.extend_from_slice(&shape.0[dim + index.len()..]);
    let merged = reshape(this, input, dims)?;
    take(this, merged, dim, &joint)
}

fn literal(this: &mut Interp<'_>, places: Vec<usize>) -> R<TensorRef> {
    #[expect(clippy::cast_precision_loss, reason = "indices are small")]
    let values: Vec<f64> = places.into_iter().map(|at| at as f64).collect();
    creation::count_literals(this, values.len())?;
    this.append(Op::Literal { sizes: vec![values.len()], values, dtype: DType::I64 }, &[])
}

fn reshape(this: &mut Interp<'_>, input: TensorRef, dims: Vec<Dim>) -> R<TensorRef> {
    this.append(Op::Reshape { shape: Shape(dims) }, &[input])
}

fn out_of_bounds(dim: usize, size: usize) -> Box<Raise> {
    let message = format!("index is out of bounds for dimension {dim} with size {size}");
    Raise::python("IndexError", message)
}

/// Refuse index tensors of known values that reach outside.
pub(crate) fn check_bounds(this: &mut Interp<'_>, shape: &Shape, dim: usize, index: &Rc<Tensor>) -> R<()> {
    if let (Some(index), Some(size)) = (constant::of(this, index)?, shape.0[dim].known()) {
        let inside =
            index.values.iter().all(|&value| value >= 0.0) && constant::whole(&index, size).is_some();
        return if inside { Ok(()) } else { Err(out_of_bounds(dim, size)) };
    }
    Ok(())
}

/// `tensor[index] = value`.
pub(crate) fn set(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value, value: &Value) -> R<()> {
    if this.mode == Mode::Building {
        if super::first_values::set(this, tensor, index, value)? {
            return Ok(());
        }
        let state = tensor.state.borrow().clone();
        if let TensorState::Param(id) = state {
            // Values that are all known are written out.
            let param = this.builder.param(id).clone();
            let Value::Tensor(start) = creation::known(this, param.sizes, param.dtype, param.init)? else {
                return Ok(());
            };
            set(this, &start, index, value)?;
            let TensorState::Known { init, .. } = &*start.state.borrow() else {
                return Err(Raise::unsupported(
                    "assignment of computed values to elements of a parameter is not supported",
                ));
            };
            this.builder.set_init(id, init.clone());
            tensor.version.set(tensor.version.get() + 1);
            return Ok(());
        }
    }
    let fact = this.fact(tensor)?;
    let parts = parts(this, index, fact.shape.rank())?;
    super::overlap::check(this, tensor, &parts, value)?;
    let masks = |part: &Value| matches!(part, Value::Tensor(_));
    let result = match parts.iter().position(masks) {
        None => {
            let target = this.tensor_ref(tensor)?;
            assign(this, target, &parts, value)?
        }
        Some(at) => {
            let Value::Tensor(index) = &parts[at] else { return Ok(()) };
            match (this.fact(index)?.dtype, constant::of(this, index)?) {
                (DType::I64, Some(places)) if parts.iter().filter(|part| masks(part)).count() == 1 => {
                    each(this, tensor, &parts, at, &places, value)?
                }
                (DType::Bool, _) if at == 0 => where_mask(this, tensor, index, value)?,
                _ => return Err(Raise::unsupported("assignment at these indices is not supported")),
            }
        }
    };
    let Value::Tensor(result) = this.wrap(result)? else { return Ok(()) };
    rebind(this, tensor, &result)
}

/// `tensor` with the region at `index` replaced by `value`, itself unchanged.
pub(crate) fn replaced(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value, value: &Value) -> R<Value> {
    let rank = this.fact(tensor)?.shape.rank();
    let parts = parts(this, index, rank)?;
    let target = this.tensor_ref(tensor)?;
    let result = assign(this, target, &parts, value)?;
    this.wrap(result)
}

/// The indices of an assignment to several places of one dimension, one by one; else the index itself.
pub(crate) fn each_place(
    this: &mut Interp<'_>,
    tensor: &Rc<Tensor>,
    index: &Value,
    value: &Value,
) -> R<Vec<Value>> {
    let rank = this.fact(tensor)?.shape.rank();
    let parts = parts(this, index, rank)?;
    let lists = parts.iter().enumerate().filter_map(|(at, part)| match part {
        Value::Tensor(list) => Some((at, Rc::clone(list))),
        _ => None,
    });
    let lists: Vec<(usize, Rc<Tensor>)> = lists.collect();
    let one = match value {
        Value::Tensor(value) => this.fact(value)?.shape.rank() == 0,
        _ => true,
    };
    let [(at, list)] = &lists[..] else { return Ok(vec![index.clone()]) };
    match constant::of(this, list)? {
        Some(places) if one && places.dtype == DType::I64 => {
            let mut indices = Vec::new();
            for &place in &places.values {
                let mut parts = parts.clone();
                parts[*at] = super::whole(place)?;
                indices.push(this.tuple(parts)?);
            }
            Ok(indices)
        }
        _ => Ok(vec![index.clone()]),
    }
}

/// Make `view` the part of `base` at a place of dimension `dim`, as if it had been made by an index.
pub(crate) fn mark(
    this: &mut Interp<'_>,
    view: &Value,
    base: &Rc<Tensor>,
    dim: usize,
    place: Value,
) -> R<()> {
    if let (Value::Tensor(view), Mode::Building) = (view, this.mode) {
        let mut places = vec![Value::Slice(Rc::new([Value::None, Value::None, Value::None])); dim];
        places.push(place);
        let (index, seen) = (this.tuple(places)?, base.version.get());
        *view.part.borrow_mut() = Some(Part { base: Rc::clone(base), index, seen });
    }
    Ok(())
}

/// Assignment at several places of one dimension: one after the other, each the same value.
fn each(
    this: &mut Interp<'_>,
    tensor: &Rc<Tensor>,
    parts: &[Value],
    at: usize,
    places: &constant::Constant,
    value: &Value,
) -> R<TensorRef> {
    if let Value::Tensor(value) = value
        && this.fact(value)?.shape.rank() > 0
    {
        return Err(Raise::unsupported("assignment of a tensor at a list of indices is not supported"));
    }
    let mut result = this.tensor_ref(tensor)?;
    for &place in &places.values {
        let mut parts = parts.to_vec();
        parts[at] = super::whole(place)?;
        result = assign(this, result, &parts, value)?;
    }
    Ok(result)
}

fn where_mask(this: &mut Interp<'_>, tensor: &Rc<Tensor>, mask: &Rc<Tensor>, value: &Value) -> R<TensorRef> {
    if let Value::Tensor(value) = value
        && this.fact(value)?.shape.numel() != Some(Dim::fixed(1))
    {
        return Err(Raise::unsupported("assignment of several values under a mask is not supported"));
    }
    let fact = this.fact(tensor)?;
    let mut mask = this.tensor_ref(mask)?;
    let mut shape = this.builder.fact(mask).shape.clone();
    if !fact.shape.0.starts_with(&shape.0) {
        let message = format!(
            "The shape of the mask {shape} does not match the shape of the indexed tensor {}",
            fact.shape
        );
        return Err(Raise::python("IndexError", message));
    }
    while shape.rank() < fact.shape.rank() {
        mask = this.append(Op::Unsqueeze { dim: shape.rank() }, &[mask])?;
        shape = this.builder.fact(mask).shape.clone();
    }
    let new = filler(this, value, fact.dtype, &fact.shape)?;
    let target = this.tensor_ref(tensor)?;
    this.append(Op::Where, &[mask, new, target])
}

/// A number or a tensor of the target's type, expanded to these sizes.
pub(crate) fn filler(this: &mut Interp<'_>, value: &Value, dtype: DType, shape: &Shape) -> R<TensorRef> {
    let mut new = match value {
        Value::Tensor(value) => this.tensor_ref(value)?,
        other => {
            let Some(value) = super::signature::number(other) else {
                let message = format!("can't assign a {} to a torch.FloatTensor", other.type_name());
                return Err(Raise::type_error(message));
            };
            return this.append(Op::Full { shape: shape.clone(), value, dtype }, &[]);
        }
    };
    if this.builder.fact(new).dtype != dtype {
        new = this.append(Op::Cast(dtype), &[new])?;
    }
    let mut sizes = this.builder.fact(new).shape.clone();
    while sizes.rank() > shape.rank() && sizes.0[0] == Dim::fixed(1) {
        new = this.append(Op::Squeeze { dims: vec![0] }, &[new])?;
        sizes = this.builder.fact(new).shape.clone();
    }
    if sizes == *shape { Ok(new) } else { this.append(Op::Expand { shape: shape.clone() }, &[new]) }
}

/// The target with a region of it replaced; single indices count as slices of one.
fn assign(this: &mut Interp<'_>, target: TensorRef, parts: &[Value], value: &Value) -> R<TensorRef> {
    let dtype = this.builder.fact(target).dtype;
    // The target, and the part of it that each slice leaves.
    let mut views = vec![target];
    let mut slices = Vec::new();
    // Sizes of the region as it is indexed, without single indices and with `None`.
    let mut indexed = Vec::new();
    let mut dim = 0;
    for part in parts {
        let view = *views.last().unwrap_or(&target);
        let shape = this.builder.fact(view).shape.clone();
        let slice = match part {
            Value::None => {
                indexed.push(Dim::fixed(1));
                continue;
            }
            Value::Int(at) => {
                let at = within(&shape, dim, *at)?;
                Some((Dim::from(at), Dim::from(at + 1), 1))
            }
            Value::Slice(bounds) => bounds_of(bounds, shape.0[dim])?,
            other => return Err(not_an_index(other)),
        };
        if let Some((start, end, step)) = slice {
            views.push(this.append(Op::Slice { dim, start, end, step }, &[view])?);
            slices.push((dim, start, end, step));
        }
        if !matches!(part, Value::Int(_)) {
            indexed.push(this.builder.fact(*views.last().unwrap_or(&target)).shape.0[dim]);
        }
        dim += 1;
    }
    let region = this.builder.fact(*views.last().unwrap_or(&target)).shape.clone();
    let mut result = filler(this, value, dtype, &Shape(indexed))?;
    if this.builder.fact(result).shape != region {
        result = reshape(this, result, region.0)?;
    }
    for (&(dim, start, end, step), &view) in slices.iter().zip(&views).rev() {
        result = this.append(Op::SliceScatter { dim, start, end, step }, &[view, result])?;
    }
    Ok(result)
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
pub(super) fn bounds_of(parts: &[Value; 3], size: Dim) -> R<Option<(Dim, Dim, usize)>> {
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
