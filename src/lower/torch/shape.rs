//! Functions that move elements: views, permutations, joining, splitting, padding, resizing.
//!
//! Input: tensors and sizes, -1 included. Output: nodes with exact sizes. Limit: results are never views, so a change
//! in place of one is not seen in the other. Longer than 600 lines because each function checks its own arguments.

use std::rc::Rc;

use crate::graph::op::{Interpolation, PadMode};
use crate::graph::{DType, Dim, Init, NOMINAL_BATCH, Op, Shape, TensorRef};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Bound, Interp, Mode};
use crate::lower::torch::creation::{fixed, known};
use crate::lower::torch::elementwise::operand;
use crate::lower::torch::{Function, axis, facts, row, signature};
use crate::lower::value::{Tensor, TensorState, Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    row("m", "view", "input, *shape", reshape),
    row("m", "reshape", "input, *shape", reshape),
    row("t", "reshape", "input, shape", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = args.get("shape");
        to_shape(this, &tensor, &[shape], &args)
    }),
    row("m", "view_as", "input, other", |this, args| {
        let other = args.tensor("other")?;
        let shape = this.fact(&other)?.shape;
        let input = operand(this, &args, "input")?;
        this.op(Op::Reshape { shape }, &[input])
    }),
    row("tm", "flatten", "input, start_dim=0, end_dim=-1", |this, args| {
        let tensor = args.tensor("input")?;
        let (start, end) = (args.int("start_dim")?, args.int("end_dim")?);
        flatten(this, &tensor, start, end)
    }),
    row("tm", "ravel", "input", |this, args| {
        let tensor = args.tensor("input")?;
        flatten(this, &tensor, 0, -1)
    }),
    row("tm", "unflatten", "input, dim, *sizes", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let sizes =
            signature::dims(&args.rest).ok_or_else(|| Raise::type_error("unflatten: sizes must be ints"))?;
        let inner = infer(&sizes, Some(shape.0[dim])).ok_or_else(|| {
            Raise::runtime(format!(
                "unflatten: Provided sizes don't multiply up to the size of dim {dim} ({})",
                shape.0[dim]
            ))
        })?;
        let mut dims = shape.0[..dim].to_vec();
        dims.extend(inner);
        dims.extend_from_slice(&shape.0[dim + 1..]);
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Reshape { shape: Shape(dims) }, &[input])
    }),
    row("tm", "permute", "input, *dims", |this, args| {
        let tensor = args.tensor("input")?;
        let dims = numbers(&args)?;
        let shape = this.fact(&tensor)?.shape;
        if dims.len() != shape.rank() {
            return Err(Raise::runtime(format!(
                "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the \
                 desired ordering of dimensions i.e. input.dim() = {} is not equal to len(dims) = {}",
                shape.rank(),
                dims.len()
            )));
        }
        let dims: R<Vec<usize>> = dims.iter().map(|&dim| axis(&shape, dim)).collect();
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Permute { dims: dims? }, &[input])
    }),
    row("tm", "transpose", "input, dim0, dim1", |this, args| {
        let (a, b) = (args.int("dim0")?, args.int("dim1")?);
        let tensor = args.tensor("input")?;
        swap(this, &tensor, a, b)
    }),
    row("tm", "swapaxes", "input, axis0, axis1", |this, args| {
        let (a, b) = (args.int("axis0")?, args.int("axis1")?);
        let tensor = args.tensor("input")?;
        swap(this, &tensor, a, b)
    }),
    row("tm", "swapdims", "input, dim0, dim1", |this, args| {
        let (a, b) = (args.int("dim0")?, args.int("dim1")?);
        let tensor = args.tensor("input")?;
        swap(this, &tensor, a, b)
    }),
    row("m", "mT", "input", |this, args| {
        let tensor = args.tensor("input")?;
        swap(this, &tensor, -2, -1)
    }),
    row("tm", "t", "input", |this, args| {
        let tensor = args.tensor("input")?;
        match this.fact(&tensor)?.shape.rank() {
            0 | 1 => Ok(Value::Tensor(tensor)),
            2 => swap(this, &tensor, 0, 1),
            rank => {
                Err(Raise::runtime(format!("t() expects a tensor with <= 2 dimensions, but self is {rank}D")))
            }
        }
    }),
    row("tm", "movedim", "input, source, destination", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let (sources, targets) = (args.ints("source")?, args.ints("destination")?);
        let sources: R<Vec<usize>> = sources.iter().map(|&dim| axis(&shape, dim)).collect();
        let targets: R<Vec<usize>> = targets.iter().map(|&dim| axis(&shape, dim)).collect();
        let (sources, targets) = (sources?, targets?);
        if sources.len() != targets.len() {
            return Err(Raise::runtime("movedim: source and destination must have as many dimensions"));
        }
        let mut dims: Vec<Option<usize>> = vec![None; shape.rank()];
        for (&source, &target) in sources.iter().zip(&targets) {
            dims[target] = Some(source);
        }
        let mut rest = (0..shape.rank()).filter(|dim| !sources.contains(dim));
        let dims = dims.into_iter().map(|dim| dim.or_else(|| rest.next()).unwrap_or(0)).collect();
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Permute { dims }, &[input])
    }),
    row("tm", "unsqueeze", "input, dim", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = facts(this, &tensor)?.shape;
        let rank = i64::try_from(shape.rank()).unwrap_or(0);
        let dim = args.int("dim")?;
        let at = if dim < 0 { dim + rank + 1 } else { dim };
        if !(0..=rank).contains(&at) {
            let message = format!(
                "Dimension out of range (expected to be in range of [{}, {rank}], but got {dim})",
                -rank - 1
            );
            return Err(Raise::python("IndexError", message));
        }
        let at = usize::try_from(at).unwrap_or(0);
        let state = tensor.state.borrow().clone();
        if let (Mode::Building, TensorState::Known { mut sizes, dtype, init }) = (this.mode, state) {
            sizes.insert(at, 1);
            return known(this, sizes, dtype, init);
        }
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Unsqueeze { dim: at }, &[input])
    }),
    row("tm", "squeeze", "input, *dim", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let wanted = if args.rest.is_empty() {
            (0..shape.rank()).collect()
        } else {
            numbers(&args)?.iter().map(|&dim| axis(&shape, dim)).collect::<R<Vec<usize>>>()?
        };
        let mut dims: Vec<usize> = wanted.into_iter().filter(|&dim| shape.0[dim] == Dim::fixed(1)).collect();
        dims.sort_unstable();
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Squeeze { dims }, &[input])
    }),
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
        let size = fixed(shape.0[dim], "chunk of a dimension")?;
        let chunks = args.count("chunks")?;
        if chunks == 0 {
            return Err(Raise::runtime("chunk expects `chunks` to be greater than 0, got: 0"));
        }
        let each = size.div_ceil(chunks).max(1);
        let sizes = (0..size).step_by(each).map(|start| each.min(size - start)).collect();
        pieces(this, &tensor, dim, sizes)
    }),
    row("tm", "split", "tensor, split_size_or_sections, dim=0", |this, args| {
        let tensor = args.tensor("tensor")?;
        let shape = this.fact(&tensor)?.shape;
        let dim = axis(&shape, args.int("dim")?)?;
        let size = fixed(shape.0[dim], "split of a dimension")?;
        let sizes = match args.get("split_size_or_sections") {
            Value::Int(each) => {
                let each = usize::try_from(each)
                    .ok()
                    .filter(|&each| each > 0)
                    .ok_or_else(|| Raise::runtime("split expects split_size be non-negative"))?;
                (0..size).step_by(each).map(|start| each.min(size - start)).collect()
            }
            _ => args.spatial_list("split_size_or_sections")?,
        };
        if sizes.iter().sum::<usize>() != size {
            return Err(Raise::runtime(format!(
                "split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension \
                 {dim}), but got split_sizes={sizes:?}"
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
        this.op(Op::Select { dim, index }, &[input])
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
        this.op(
            Op::Slice { dim, start: Dim::fixed(start), end: Dim::fixed(start + length), step: 1 },
            &[input],
        )
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
    row("m", "expand", "input, *size", |this, args| {
        let tensor = args.tensor("input")?;
        let sizes = size_list(&args)?;
        expand(this, &tensor, &sizes)
    }),
    row("m", "expand_as", "input, other", |this, args| {
        let (tensor, other) = (args.tensor("input")?, args.tensor("other")?);
        let sizes = this.fact(&other)?.shape.0;
        expand(this, &tensor, &sizes)
    }),
    row("tm", "broadcast_to", "input, *size", |this, args| {
        let tensor = args.tensor("input")?;
        let sizes = size_list(&args)?;
        expand(this, &tensor, &sizes)
    }),
    row("m", "repeat", "input, *repeats", |this, args| {
        let counts = size_list(&args)?;
        let input = operand(this, &args, "input")?;
        this.op(Op::Repeat { counts }, &[input])
    }),
    row("tm", "tile", "input, *dims", |this, args| {
        let mut counts = size_list(&args)?;
        let input = operand(this, &args, "input")?;
        while counts.len() < this.builder.fact(input).shape.rank() {
            counts.insert(0, Dim::fixed(1));
        }
        this.op(Op::Repeat { counts }, &[input])
    }),
    row("tm", "flip", "input, *dims", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        let mut dims = numbers(&args)?.iter().map(|&dim| axis(&shape, dim)).collect::<R<Vec<usize>>>()?;
        dims.sort_unstable();
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Flip { dims }, &[input])
    }),
    row("tm", "roll", "input, shifts, dims=None", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = this.fact(&tensor)?.shape;
        if args.get("dims").is_none() {
            let flat = flatten(this, &tensor, 0, -1)?;
            let rolled = super::call(this, "roll", vec![flat, args.get("shifts"), Value::Int(0)])?;
            return super::call(this, "view_as", vec![rolled, args.get("input")]);
        }
        let dims = args.ints("dims")?.iter().map(|&dim| axis(&shape, dim)).collect::<R<Vec<usize>>>()?;
        let shifts = args.ints("shifts")?;
        if dims.len() != shifts.len() {
            return Err(Raise::runtime(format!(
                "shifts and dimensions must align. shifts: {}, dims:{}",
                shifts.len(),
                dims.len()
            )));
        }
        let input = this.tensor_ref(&tensor)?;
        this.op(Op::Roll { shifts, dims }, &[input])
    }),
    row("f", "pad", "input, pad, mode='constant', value=None", pad),
    row("tf", "pixel_shuffle", "input, upscale_factor", |this, args| {
        let factor = args.count("upscale_factor")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::PixelShuffle { factor }, &[input])
    }),
    row("tf", "pixel_unshuffle", "input, downscale_factor", |this, args| {
        let factor = args.count("downscale_factor")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::PixelUnshuffle { factor }, &[input])
    }),
    row("tf", "channel_shuffle", "input, groups", |this, args| {
        let groups = args.count("groups")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::ChannelShuffle { groups }, &[input])
    }),
    row(
        "f",
        "interpolate",
        "input, size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None, \
         antialias=False",
        interpolate,
    ),
    row(
        "f",
        "upsample",
        "input, size=None, scale_factor=None, mode='nearest', align_corners=None",
        interpolate,
    ),
    row("tm", "tril", "input, diagonal=0", |this, args| {
        let input = operand(this, &args, "input")?;
        this.op(Op::Triangle { upper: false, diagonal: args.int("diagonal")? }, &[input])
    }),
    row("tm", "triu", "input, diagonal=0", |this, args| {
        let input = operand(this, &args, "input")?;
        this.op(Op::Triangle { upper: true, diagonal: args.int("diagonal")? }, &[input])
    }),
    row("m", "size", "input, dim=None", |this, args| {
        let tensor = args.tensor("input")?;
        let shape = facts(this, &tensor)?.shape;
        if args.get("dim").is_none() {
            let dims = shape.0.iter().map(|&dim| Value::from_dim(dim)).collect();
            return this.size(dims);
        }
        Ok(Value::from_dim(shape.0[axis(&shape, args.int("dim")?)?]))
    }),
    row("m", "dim", "input", |this, args| {
        let tensor = args.tensor("input")?;
        Ok(Value::Int(i64::try_from(facts(this, &tensor)?.shape.rank()).unwrap_or(0)))
    }),
    row("m", "ndimension", "input", |this, args| {
        let tensor = args.tensor("input")?;
        Ok(Value::Int(i64::try_from(facts(this, &tensor)?.shape.rank()).unwrap_or(0)))
    }),
    row("tm", "numel", "input", numel),
    row("m", "nelement", "input", numel),
    row("m", "tolist", "input", |this, args| {
        let tensor = args.tensor("input")?;
        let Some(known) = super::constant::of(this, &tensor)? else {
            return Err(Raise::unsupported("the values of a computed tensor as a list"));
        };
        let mut items = Vec::with_capacity(known.values.len());
        for &value in &known.values {
            items.push(match known.dtype {
                DType::F32 => Value::Float(value),
                DType::I64 => super::whole(value)?,
                DType::Bool => Value::Bool(value != 0.0),
            });
        }
        for &size in known.sizes.iter().skip(1).rev() {
            let rows: Vec<Vec<Value>> = items.chunks(size.max(1)).map(<[Value]>::to_vec).collect();
            items = rows.into_iter().map(|row| this.list(row)).collect::<R<_>>()?;
        }
        if known.sizes.is_empty() { Ok(items.remove(0)) } else { this.list(items) }
    }),
    row("m", "item", "input", |this, args| {
        let tensor = args.tensor("input")?;
        if let Some(known) = super::constant::of(this, &tensor)?
            && known.values.len() == 1
        {
            return match known.dtype {
                DType::F32 => Ok(Value::Float(known.values[0])),
                DType::I64 => super::whole(known.values[0]),
                DType::Bool => Ok(Value::Bool(known.values[0] != 0.0)),
            };
        }
        Err(Raise::unsupported("control flow on the values of a tensor"))
    }),
    row("m", "contiguous", "input, *, memory_format=None", |_, args| Ok(args.get("input"))),
    row("m", "clone", "input, *, memory_format=None", copy),
    row("t", "clone", "input, *, memory_format=None", copy),
    row("m", "requires_grad_", "input, requires_grad=True", |this, args| {
        let tensor = args.tensor("input")?;
        let trained = args.bool("requires_grad")?;
        super::set_trained(this, &tensor, trained);
        Ok(Value::Tensor(tensor))
    }),
    row("m", "cuda", "input, device=None", |_, args| Ok(args.get("input"))),
    row("m", "cpu", "input", |_, args| Ok(args.get("input"))),
    row("m", "is_contiguous", "input", |_, _| Ok(Value::Bool(true))),
    row("m", "is_floating_point", "input", |this, args| {
        let tensor = args.tensor("input")?;
        Ok(Value::Bool(facts(this, &tensor)?.dtype == DType::F32))
    }),
    row("m", "__len__", "input", |this, args| {
        let tensor = args.tensor("input")?;
        match facts(this, &tensor)?.shape.0.first() {
            Some(&dim) => Ok(Value::from_dim(dim)),
            None => Err(Raise::type_error("len() of a 0-d tensor")),
        }
    }),
];

/// A new tensor object of the same values.
fn copy(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    let state = tensor.state.borrow().clone();
    if let TensorState::Known { sizes, dtype, init } = state {
        return known(this, sizes, dtype, init);
    }
    let input = this.tensor_ref(&tensor)?;
    let value = this.wrap(input)?;
    if let Value::Tensor(tensor) = &value {
        tensor.copied.set(true);
    }
    Ok(value)
}

fn numel(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    match facts(this, &tensor)?.shape.numel() {
        Some(dim) => Ok(Value::from_dim(dim)),
        None => Err(Raise::unsupported("a number of elements that is quadratic in the batch")),
    }
}

fn numbers(args: &Bound) -> R<Vec<i64>> {
    let list = match &args.rest[..] {
        [single] => signature::ints(single),
        many => {
            many.iter().map(|value| signature::ints(value).and_then(|list| list.first().copied())).collect()
        }
    };
    list.ok_or_else(|| {
        Raise::type_error(format!("{}(): argument 'dims' must be tuple of ints", args.function))
    })
}

fn size_list(args: &Bound) -> R<Vec<Dim>> {
    signature::dims(&args.rest).ok_or_else(|| {
        for value in &args.rest {
            if let Value::Opaque(name) = value {
                return Raise::unsupported(format!("'{name}' is not supported"));
            }
        }
        let got: Vec<String> = args.rest.iter().map(Value::type_name).collect();
        Raise::type_error(format!(
            "{}(): argument 'size' must be tuple of ints, not {}",
            args.function,
            got.join(", ")
        ))
    })
}

fn reshape(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    if let [Value::DType(dtype)] = args.rest[..] {
        return Err(Raise::unsupported(format!("view as {} is not supported", super::dtype_name(dtype))));
    }
    to_shape(this, &tensor, &args.rest.clone(), &args)
}

fn to_shape(this: &mut Interp<'_>, tensor: &Rc<Tensor>, sizes: &[Value], args: &Bound) -> R<Value> {
    let Some(sizes) = signature::dims(sizes) else {
        return Err(size_list(args)
            .err()
            .unwrap_or_else(|| Raise::type_error("shape must be tuple of ints")));
    };
    let old = facts(this, tensor)?.shape;
    let shape = match infer(&sizes, old.numel()) {
        Some(dims) => Shape(dims),
        None => return Err(invalid_view(&old, &sizes, args)),
    };
    let state = tensor.state.borrow().clone();
    if let (Mode::Building, TensorState::Known { dtype, init, .. }, Some(sizes)) =
        (this.mode, state, shape.known())
    {
        return known(this, sizes, dtype, init);
    }
    let input = this.tensor_ref(tensor)?;
    this.op(Op::Reshape { shape }, &[input])
}

/// The error of `view(-1, K)` and the like, with what K should be.
fn invalid_view(old: &Shape, sizes: &[Dim], args: &Bound) -> Box<Raise> {
    let shown: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let elements = old.numel().map_or_else(|| old.to_string(), |dim| dim.to_string());
    let raise =
        Raise::runtime(format!("shape '[{}]' is invalid for input of size {elements}", shown.join(", ")));
    // (N or -1, K): K is what one sample holds.
    let leading_batch = sizes.len() == 2 && (sizes[0] == Dim::BATCH || sizes[0] == Dim::fixed(-1));
    let per_sample = old.numel().filter(|numel| numel.fixed == 0).map(|numel| numel.per_sample);
    let span = args.site.as_ref().and_then(|site| site.positional.last().copied().flatten());
    match (leading_batch, per_sample, span) {
        (true, Some(needed), Some(span)) => {
            raise.with_hint(Hint::Argument { parameter: "shape", span, needed, uses: 1, rank: 0, call: None })
        }
        _ => raise.with_hint(Hint::Rank { layer: "view".to_owned(), got: old.rank(), call: None }),
    }
}

/// Sizes with -1 replaced, if they hold `numel` elements.
pub(crate) fn infer(sizes: &[Dim], numel: Option<Dim>) -> Option<Vec<Dim>> {
    let numel = numel?;
    let unknown = Dim::fixed(-1);
    let product =
        sizes.iter().filter(|&&dim| dim != unknown).try_fold(Dim::fixed(1), |all, &dim| all.times(dim))?;
    match sizes.iter().filter(|&&dim| dim == unknown).count() {
        0 => (product == numel && sizes.iter().all(|dim| dim.at(NOMINAL_BATCH) >= 0)).then(|| sizes.to_vec()),
        1 => {
            let missing = numel.divided_by(product)?;
            Some(sizes.iter().map(|&dim| if dim == unknown { missing } else { dim }).collect())
        }
        _ => None,
    }
}

/// `torch.flatten`.
pub(crate) fn flatten(this: &mut Interp<'_>, tensor: &Rc<Tensor>, start: i64, end: i64) -> R<Value> {
    let shape = this.fact(tensor)?.shape;
    let input = this.tensor_ref(tensor)?;
    if shape.rank() == 0 {
        return this.op(Op::Reshape { shape: Shape::fixed(&[1]) }, &[input]);
    }
    let (start, end) = (axis(&shape, start)?, axis(&shape, end)?);
    if start > end {
        return Err(Raise::runtime("flatten() has invalid args: start_dim cannot come after end_dim"));
    }
    let merged = Shape(shape.0[start..=end].to_vec())
        .numel()
        .ok_or_else(|| Raise::unsupported("flattening two dimensions that depend on the batch"))?;
    let mut dims = shape.0[..start].to_vec();
    dims.push(merged);
    dims.extend_from_slice(&shape.0[end + 1..]);
    this.op(Op::Reshape { shape: Shape(dims) }, &[input])
}

fn swap(this: &mut Interp<'_>, tensor: &Rc<Tensor>, a: i64, b: i64) -> R<Value> {
    let shape = this.fact(tensor)?.shape;
    let (a, b) = (axis(&shape, a)?, axis(&shape, b)?);
    let mut dims: Vec<usize> = (0..shape.rank()).collect();
    dims.swap(a, b);
    let input = this.tensor_ref(tensor)?;
    this.op(Op::Permute { dims }, &[input])
}

/// The tensors of a list or tuple.
pub(crate) fn tensors(this: &mut Interp<'_>, value: &Value) -> R<Vec<TensorRef>> {
    if let Value::Tensor(_) = value {
        return Err(Raise::type_error(
            "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor",
        ));
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

fn pieces(this: &mut Interp<'_>, tensor: &Rc<Tensor>, dim: usize, sizes: Vec<usize>) -> R<Value> {
    let input = this.tensor_ref(tensor)?;
    let mut parts = Vec::new();
    let mut start = 0;
    for size in sizes {
        let op = Op::Slice { dim, start: Dim::from(start), end: Dim::from(start + size), step: 1 };
        parts.push(this.op(op, &[input])?);
        start += size;
    }
    this.tuple(parts)
}

/// The slices along a dimension.
pub(crate) fn unbind(this: &mut Interp<'_>, value: &Value, dim: i64) -> R<Vec<Value>> {
    let Value::Tensor(tensor) = value else {
        return Err(Raise::type_error("unbind(): argument 'input' must be Tensor"));
    };
    let state = tensor.state.borrow().clone();
    if let TensorState::Known { sizes, dtype, init: Init::Values(values) } = &state
        && sizes.len() == 1
    {
        let mut items = Vec::new();
        for value in values {
            items.push(known(this, Vec::new(), *dtype, Init::Values(vec![*value]))?);
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
    (0..size).map(|index| this.op(Op::Select { dim, index }, &[input])).collect()
}

fn expand(this: &mut Interp<'_>, tensor: &Rc<Tensor>, sizes: &[Dim]) -> R<Value> {
    let old = this.fact(tensor)?.shape;
    if sizes.len() < old.rank() {
        return Err(Raise::runtime(format!(
            "expand(): the number of sizes provided ({}) must be greater or equal to the number of dimensions in the \
             tensor ({})",
            sizes.len(),
            old.rank()
        )));
    }
    let lead = sizes.len() - old.rank();
    let mut dims = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        let keep = size == Dim::fixed(-1);
        match (keep, index.checked_sub(lead)) {
            (true, Some(at)) => dims.push(old.0[at]),
            (true, None) => {
                return Err(Raise::runtime(
                    "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension",
                ));
            }
            _ => dims.push(size),
        }
    }
    let input = this.tensor_ref(tensor)?;
    this.op(Op::Expand { shape: Shape(dims) }, &[input])
}

fn pad(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    let rank = this.fact(&tensor)?.shape.rank();
    let list = args.ints("pad")?;
    if list.len() % 2 != 0 {
        return Err(Raise::runtime("Padding length must be divisible by 2"));
    }
    if list.len() / 2 > rank {
        return Err(Raise::runtime(format!(
            "Padding length should be less than or equal to two times the input dimension but got padding length {} \
             and input of dimension {rank}",
            list.len()
        )));
    }
    let mode = match &*args.text("mode")? {
        "constant" => PadMode::Constant(args.optional_float("value")?.unwrap_or(0.0)),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        other => {
            return Err(Raise::python("NotImplementedError", format!("Unrecognised padding mode {other}")));
        }
    };
    if !matches!(mode, PadMode::Constant(_)) && !(list.len() / 2 + 1..=list.len() / 2 + 2).contains(&rank) {
        return Err(Raise::python(
            "NotImplementedError",
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now",
        ));
    }
    let mut pads = vec![(0, 0); rank];
    for (index, pair) in list.chunks_exact(2).enumerate() {
        pads[rank - 1 - index] = (pair[0], pair[1]);
    }
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Pad { pads, mode }, &[input])
}

fn interpolate(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    let spatial = shape.rank().saturating_sub(2);
    if !(1..=3).contains(&spatial) {
        return Err(Raise::python(
            "NotImplementedError",
            format!("Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D)", shape.rank()),
        ));
    }
    let mode_name = args.text("mode")?;
    let (mode, ranks): (Interpolation, &[usize]) = match &*mode_name {
        "nearest" => (Interpolation::Nearest, &[1, 2, 3]),
        "nearest-exact" => (Interpolation::NearestExact, &[1, 2, 3]),
        "linear" => (Interpolation::Linear, &[1]),
        "bilinear" => (Interpolation::Linear, &[2]),
        "trilinear" => (Interpolation::Linear, &[3]),
        "bicubic" => (Interpolation::Cubic, &[2]),
        "area" => (Interpolation::Area, &[1, 2, 3]),
        other => {
            return Err(Raise::python("NotImplementedError", format!("unknown interpolation mode {other}")));
        }
    };
    if !ranks.contains(&spatial) {
        let message = format!("Got {}D input, but {mode_name} mode needs another rank", shape.rank());
        return Err(Raise::python("NotImplementedError", message));
    }
    let given = args.get("align_corners");
    let interpolating = matches!(mode, Interpolation::Linear | Interpolation::Cubic);
    if !given.is_none() && !interpolating {
        return Err(Raise::value_error(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | \
             trilinear",
        ));
    }
    let align_corners = this.truth(&given)?;
    if this.truth(&args.get("antialias"))? {
        return Err(Raise::unsupported("interpolate with antialias is not supported"));
    }
    let mut scales = None;
    let (size, scale) = (args.get("size"), args.get("scale_factor"));
    let sizes = match (size.is_none(), scale.is_none()) {
        (false, true) => args.spatial("size", spatial)?,
        (true, false) => {
            let factors: Option<Vec<f64>> = match &scale {
                Value::Tuple(_) | Value::List(_) => {
                    this.iterate(&scale)?.iter().map(signature::number).collect()
                }
                value => signature::number(value).map(|factor| vec![factor; spatial]),
            };
            let factors = factors
                .filter(|factors| factors.len() == spatial)
                .ok_or_else(|| Raise::value_error("scale_factor shape must match input shape"))?;
            let whole = factors.iter().all(|factor| factor.fract() == 0.0);
            if !whole && !this.truth(&args.get("recompute_scale_factor"))? && mode != Interpolation::Area {
                scales = Some(factors.clone());
            }
            let mut sizes = Vec::new();
            for (&dim, factor) in shape.0[2..].iter().zip(factors) {
                #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
                let size = (fixed(dim, "interpolation of a dimension")? as f64 * factor).floor();
                match super::whole(size)? {
                    Value::Int(size) if size > 0 && size <= 1 << 24 => {
                        sizes.push(usize::try_from(size).unwrap_or(0))
                    }
                    _ => {
                        return Err(Raise::runtime("Input and output sizes should be greater than 0"));
                    }
                }
            }
            sizes
        }
        (true, true) => return Err(Raise::value_error("either size or scale_factor should be defined")),
        (false, false) => {
            return Err(Raise::value_error("only one of size or scale_factor should be defined"));
        }
    };
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Interpolate { sizes, mode, align_corners, scales }, &[input])
}
