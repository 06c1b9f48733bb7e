//! Functions that move elements: views, permutations, copies, sizes.
//!
//! Input: tensors and sizes, -1 included. Output: nodes with exact sizes. Limit: results are never views, so a change
//! in place of one is not seen in the other.

use std::rc::Rc;

use crate::graph::op::Distribution;
use crate::graph::{Dim, Init, NOMINAL_BATCH, Op, Shape};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Bound, Interp, Mode};
use crate::lower::torch::creation::{known, known_of};
use crate::lower::torch::elementwise::operand;
use crate::lower::torch::{Function, axis, constant, facts, row, signature, strides};
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
        if this.builder.fact(input).shape.numel() == shape.numel() {
            strides::check_view(this, input, &shape)?;
        }
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
        if let TensorState::Known { mut sizes, .. } = state {
            sizes.insert(at, 1);
            if let Some(view) = known_view(this, &tensor, sizes)? {
                return Ok(view);
            }
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
            return Err(Raise::values_asked());
        };
        let mut items = (0..known.values.len()).map(|at| known.element(at)).collect::<R<Vec<Value>>>()?;
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
            return known.element(0);
        }
        Err(Raise::values_asked())
    }),
    row("m", "contiguous", "input, *, memory_format=None", |this, args| {
        let tensor = args.tensor("input")?;
        if matches!(&*tensor.state.borrow(), TensorState::Node { .. }) {
            let input = this.tensor_ref(&tensor)?;
            this.contiguous.insert(input);
        }
        Ok(Value::Tensor(tensor))
    }),
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
    row("m", "is_contiguous", "input, *, memory_format=None", |this, args| {
        let input = operand(this, &args, "input")?;
        Ok(Value::Bool(!strides::scattered(this, input)))
    }),
    row("m", "is_floating_point", "input", |this, args| {
        let tensor = args.tensor("input")?;
        Ok(Value::Bool(facts(this, &tensor)?.dtype.is_floating()))
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
    if let TensorState::Known { sizes, dtype, init, draw } = state {
        return known_of(this, sizes, dtype, init, draw);
    }
    let mut input = this.tensor_ref(&tensor)?;
    let mut whole = input;
    while matches!(this.builder.node(whole).op, Op::Detach) {
        whole = this.builder.node(whole).inputs[0];
    }
    // A copy of random first values is drawn for itself.
    if let (Mode::Building, &Op::Param(id)) = (this.mode, &this.builder.node(whole).op) {
        let param = this.builder.param(id);
        let (sizes, dtype, init) = (param.sizes.clone(), param.dtype, param.init.clone());
        return known(this, sizes, dtype, init);
    }
    if this.mode == Mode::Building && matches!(this.builder.node(this.memory(input)).op, Op::Param(_)) {
        if let Some(values) = constant::of_result(this, input)? {
            return known(this, values.sizes.clone(), values.dtype, Init::Values(values.values.clone()));
        }
        // It shares no memory with the parameter; only its shape matters.
        let shape = this.builder.fact(input).shape.clone();
        input = this.append(Op::Random { shape, distribution: Distribution::Uniform }, &[])?;
    }
    if args.given("memory_format") || strides::clones_packed(this, input) {
        this.contiguous.insert(input);
    }
    let value = this.wrap(input)?;
    if let Value::Tensor(tensor) = &value {
        tensor.copied.set(true);
        super::saved::cloned(this, tensor);
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
        return Err(Raise::unsupported(format!("view as {} is not supported", dtype.name())));
    }
    to_shape(this, &tensor, &args.rest.clone(), &args)
}

/// A tensor just made in another shape, where its first values are told by their order alone.
fn known_view(this: &mut Interp<'_>, base: &Rc<Tensor>, sizes: Vec<usize>) -> R<Option<Value>> {
    let state = base.state.borrow().clone();
    let (Mode::Building, TensorState::Known { sizes: old, dtype, init, draw }) = (this.mode, state) else {
        return Ok(None);
    };
    let by_rows = matches!(init, Init::Orthogonal { .. }) && sizes.first() == old.first();
    if !init.is_elementwise() && !init.is_known() && !by_rows {
        return Ok(None);
    }
    let value = known_of(this, sizes, dtype, init, draw)?;
    if let Value::Tensor(view) = &value {
        super::first_values::link(base, view);
    }
    Ok(Some(value))
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
    if let Some(sizes) = shape.known()
        && let Some(view) = known_view(this, tensor, sizes)?
    {
        return Ok(view);
    }
    let input = this.tensor_ref(tensor)?;
    if args.function == "view" {
        strides::check_view(this, input, &shape)?;
    }
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
