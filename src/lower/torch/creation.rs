//! Functions that make tensors: `zeros`, `randn`, `arange`, `tensor`, `nn.Parameter`, ...
//!
//! Input: sizes and numbers. Output: outside a forward pass a known tensor (sizes and initial values), inside one a
//! node. Limit: random numbers are drawn by the trainer, so only their distribution is known.

use std::rc::Rc;

use crate::graph::op::{Binary, Distribution};
use crate::graph::{DType, Dim, Init, Op, ParamKind, Shape, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp, Mode};
use crate::lower::torch::computed::{self, Start};
use crate::lower::torch::{Function, row, signature};
use crate::lower::value::{Draw, Named, Object, Tensor, TensorState, Tuple, Value};

/// Most elements of a tensor whose values are written out.
pub(crate) const MAX_VALUES: usize = 1 << 20;
/// Most elements of written-out tensors in all operations that use one: 128 MiB.
const MAX_LITERALS: usize = 1 << 24;

const OPTIONS: &str = "*size, out=None, dtype=None, device=None, requires_grad=False, generator=None, names=None, \
    layout=None, pin_memory=False, memory_format=None";
const ARANGE: &str = "*bounds, start=None, end=None, step=None, dtype=None, device=None, requires_grad=False, \
    out=None, layout=None, pin_memory=False";
const LIKE: &str =
    "input, *, dtype=None, device=None, requires_grad=False, memory_format=None, layout=None, generator=None";

pub(crate) const FUNCTIONS: &[Function] = &[
    row("t", "zeros", OPTIONS, |this, args| filled(this, &args, Fill::Number(0.0))),
    row("t", "ones", OPTIONS, |this, args| filled(this, &args, Fill::Number(1.0))),
    row("t", "empty", OPTIONS, |this, args| filled(this, &args, Fill::Number(0.0))),
    row("t", "rand", OPTIONS, |this, args| filled(this, &args, Fill::Uniform)),
    row("t", "randn", OPTIONS, |this, args| filled(this, &args, Fill::Normal)),
    row(
        "t",
        "full",
        "size, fill_value, *, out=None, dtype=None, device=None, requires_grad=False",
        |this, args| {
            let shape = sizes(&[args.get("size")])?;
            let value = args.float("fill_value")?;
            let default =
                if matches!(args.get("fill_value"), Value::Int(_)) { DType::I64 } else { DType::F32 };
            make(this, shape, dtype(&args, default)?, Fill::Number(value))
        },
    ),
    row("t", "zeros_like", LIKE, |this, args| like(this, &args, Fill::Number(0.0))),
    row("t", "ones_like", LIKE, |this, args| like(this, &args, Fill::Number(1.0))),
    row("t", "empty_like", LIKE, |this, args| like(this, &args, Fill::Number(0.0))),
    row("t", "rand_like", LIKE, |this, args| like(this, &args, Fill::Uniform)),
    row("t", "randn_like", LIKE, |this, args| like(this, &args, Fill::Normal)),
    row(
        "t",
        "full_like",
        "input, fill_value, *, dtype=None, device=None, requires_grad=False",
        |this, args| {
            let value = args.float("fill_value")?;
            like(this, &args, Fill::Number(value))
        },
    ),
    row("m", "new_zeros", "input, *size, dtype=None, device=None, requires_grad=False", |this, args| {
        new_filled(this, &args, Fill::Number(0.0))
    }),
    row("m", "new_ones", "input, *size, dtype=None, device=None, requires_grad=False", |this, args| {
        new_filled(this, &args, Fill::Number(1.0))
    }),
    row("m", "new_empty", "input, *size, dtype=None, device=None, requires_grad=False", |this, args| {
        new_filled(this, &args, Fill::Number(0.0))
    }),
    row("t", "tensor", "data, *, dtype=None, device=None, requires_grad=False", tensor),
    row("t", "as_tensor", "data, dtype=None, device=None", tensor),
    row("t", "asarray", "data, dtype=None, device=None, copy=None, requires_grad=False", tensor),
    row("t", "from_numpy", "data", tensor),
    row("t", "Tensor", "*data", |this, args| of_type(this, &args, DType::F32)),
    row("t", "FloatTensor", "*data", |this, args| of_type(this, &args, DType::F32)),
    row("t", "DoubleTensor", "*data", |this, args| of_type(this, &args, DType::F64)),
    row("t", "LongTensor", "*data", |this, args| of_type(this, &args, DType::I64)),
    row("t", "BoolTensor", "*data", |this, args| of_type(this, &args, DType::Bool)),
    row("t", "finfo", "type=None", |this, args| {
        let names = ["max", "min", "eps", "tiny", "smallest_normal", "resolution", "bits"];
        let (numbers, bits) = match args.get("type") {
            Value::DType(DType::F64) => {
                ([f64::MAX, f64::MIN, f64::EPSILON, f64::MIN_POSITIVE, f64::MIN_POSITIVE, 1e-15], 64)
            }
            Value::None | Value::DType(DType::F32) => {
                let single = [f32::MAX, f32::MIN, f32::EPSILON, f32::MIN_POSITIVE, f32::MIN_POSITIVE, 1e-6];
                (single.map(f64::from), 32)
            }
            Value::DType(other) => {
                let message =
                    format!("torch.finfo() requires a floating point input type, got {}", other.name());
                return Err(Raise::type_error(message));
            }
            other => {
                return Err(Raise::unsupported(format!(
                    "torch.finfo of {} is not supported",
                    other.type_name()
                )));
            }
        };
        let mut items: Vec<Value> = numbers.into_iter().map(Value::Float).collect();
        items.push(Value::Int(bits));
        named(this, "torch.finfo", &names, items)
    }),
    row("t", "iinfo", "type=None", |this, _| {
        let items = vec![Value::Int(i64::MAX), Value::Int(i64::MIN), Value::Int(64)];
        named(this, "torch.iinfo", &["max", "min", "bits"], items)
    }),
    row("t", "arange", ARANGE, |this, args| {
        let bounds: Vec<Value> = match (args.get("start"), args.get("end"), args.get("step")) {
            (Value::None, Value::None, Value::None) => args.rest.clone(),
            (start, end, step) => {
                let given = [start, end].into_iter().filter(|value| !value.is_none());
                let mut bounds: Vec<Value> = args.rest.iter().cloned().chain(given).collect();
                if !step.is_none() {
                    if bounds.len() == 1 {
                        bounds.insert(0, Value::Int(0));
                    }
                    bounds.push(step);
                }
                bounds
            }
        };
        if bounds.iter().any(|bound| matches!(bound, Value::Dim(_))) {
            return counted(this, &args, &bounds);
        }
        let numbers: Option<Vec<f64>> = bounds.iter().map(signature::number).collect();
        let Some(numbers) = numbers else {
            return Err(Raise::unsupported("arange of other than numbers is not supported"));
        };
        let (start, stop, step) = match numbers[..] {
            [stop] => (0.0, stop, 1.0),
            [start, stop] => (start, stop, 1.0),
            [start, stop, step] if step != 0.0 => (start, stop, step),
            _ => return Err(Raise::runtime("step must be nonzero")),
        };
        let length = count(((stop - start) / step).ceil())?;
        let whole = bounds.iter().all(|value| matches!(value, Value::Int(_) | Value::Bool(_)));
        let dtype = dtype(&args, if whole { DType::I64 } else { DType::F32 })?;
        #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
        let values = (0..length).map(|index| start + step * index as f64).collect();
        known(this, vec![length], dtype, Init::Values(values))
    }),
    row(
        "t",
        "linspace",
        "start, end, steps, *, dtype=None, device=None, requires_grad=False",
        |this, args| {
            let (start, end) = (args.float("start")?, args.float("end")?);
            let length = args.count("steps")?;
            count(signature::number(&args.get("steps")).unwrap_or(0.0))?;
            #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
            let step = if length > 1 { (end - start) / (length - 1) as f64 } else { 0.0 };
            #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
            let values = (0..length).map(|index| start + step * index as f64).collect();
            let dtype = dtype(&args, DType::F32)?;
            known(this, vec![length], dtype, Init::Values(values))
        },
    ),
    row("t", "eye", "n, m=None, *, dtype=None, device=None, requires_grad=False", |this, args| {
        let rows = args.count("n")?;
        let columns = if args.get("m").is_none() { rows } else { args.count("m")? };
        #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
        count(rows.saturating_mul(columns) as f64)?;
        let mut values = vec![0.0; rows * columns];
        for at in 0..rows.min(columns) {
            values[at * columns + at] = 1.0;
        }
        let dtype = dtype(&args, DType::F32)?;
        known(this, vec![rows, columns], dtype, Init::Values(values))
    }),
    row("t", "is_tensor", "obj", |_, args| Ok(Value::Bool(matches!(args.get("obj"), Value::Tensor(_))))),
];

/// `arange` to a size that depends on the batch: as many numbers as there are samples.
fn counted(this: &mut Interp<'_>, args: &Bound, bounds: &[Value]) -> R<Value> {
    let (start, end) = match bounds {
        [end] => (0, end),
        [Value::Int(start), end] | [Value::Int(start), end, Value::Int(1)] => (*start, end),
        _ => return Err(Raise::unsupported("arange from or by a number that depends on the batch")),
    };
    let Value::Dim(end) = end else {
        return Err(Raise::unsupported("arange by a number that depends on the batch"));
    };
    let shape = Shape(vec![end.minus(Dim::fixed(start))]);
    let ones = this.append(Op::Full { shape, value: 1.0, dtype: DType::I64 }, &[])?;
    let counted = this.append(Op::CumSum { dim: 0 }, &[ones])?;
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let before = 1.0 - start as f64;
    let counted = this.append(Op::Scalar { op: Binary::Sub, value: before, reversed: false }, &[counted])?;
    match dtype(args, DType::I64)? {
        DType::I64 => this.wrap(counted),
        other => this.op(Op::Cast(other), &[counted]),
    }
}

/// A named tuple.
pub(crate) fn named(this: &mut Interp<'_>, name: &str, names: &[&str], items: Vec<Value>) -> R<Value> {
    let fields = names.iter().map(|name| (*name).to_owned()).collect();
    let named = Some(Rc::new(Named { name: name.to_owned(), fields, class: None }));
    this.own(Value::Tuple(Rc::new(Tuple { items, size: false, named })))
}

/// `torch.FloatTensor(2, 3)` or `torch.FloatTensor([1, 2])`.
fn of_type(this: &mut Interp<'_>, args: &Bound, dtype: DType) -> R<Value> {
    if args.rest.iter().all(|value| matches!(value, Value::Int(_) | Value::Dim(_))) && !args.rest.is_empty() {
        let shape = sizes(&args.rest)?;
        return make(this, shape, dtype, Fill::Number(0.0));
    }
    match args.rest.first() {
        Some(Value::Tuple(size)) if size.size => {
            let shape = sizes(&args.rest)?;
            make(this, shape, dtype, Fill::Number(0.0))
        }
        Some(Value::Tensor(tensor)) => Ok(Value::Tensor(Rc::clone(tensor))),
        Some(Value::Object(array)) => {
            let list = array_list(this, array)?;
            literal(this, &list, Some(dtype))
        }
        Some(data) => literal(this, data, Some(dtype)),
        None => known(this, vec![0], dtype, Init::Values(Vec::new())),
    }
}

/// What a new tensor is filled with.
#[derive(Clone, Copy)]
enum Fill {
    Number(f64),
    Uniform,
    Normal,
}

fn count(number: f64) -> R<usize> {
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    if number > MAX_VALUES as f64 {
        return Err(Raise::limit(format!(
            "elements of a written-out tensor: {number} exceeds the limit of {MAX_VALUES}"
        )));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    Ok(number.max(0.0) as usize)
}

/// Element type asked for, or the default.
pub(crate) fn dtype(args: &Bound, default: DType) -> R<DType> {
    match args.get("dtype") {
        Value::None => Ok(default),
        Value::DType(dtype) => Ok(dtype),
        other => Err(Raise::unsupported(format!("dtype {} is not supported", other.type_name()))),
    }
}

fn sizes(values: &[Value]) -> R<Shape> {
    match signature::dims(values) {
        Some(dims) => {
            if let Some(dim) = dims.iter().find(|dim| dim.at(crate::graph::NOMINAL_BATCH) < 0) {
                return Err(Raise::runtime(format!("Trying to create tensor with negative dimension {dim}")));
            }
            Ok(Shape(dims))
        }
        None => {
            for value in values {
                if let Value::Opaque(name) = value {
                    return Err(Raise::unsupported(format!("'{name}' is not supported")));
                }
            }
            Err(Raise::type_error("argument 'size' must be tuple of ints"))
        }
    }
}

fn filled(this: &mut Interp<'_>, args: &Bound, fill: Fill) -> R<Value> {
    let shape = sizes(&args.rest)?;
    let dtype = dtype(args, DType::F32)?;
    make(this, shape, dtype, fill)
}

/// `tensor.new_zeros(size)` and its like: of the tensor's type.
fn new_filled(this: &mut Interp<'_>, args: &Bound, fill: Fill) -> R<Value> {
    let tensor = args.tensor("input")?;
    let (shape, own) = (sizes(&args.rest)?, super::facts(this, &tensor)?.dtype);
    let dtype = dtype(args, own)?;
    make(this, shape, dtype, fill)
}

fn like(this: &mut Interp<'_>, args: &Bound, fill: Fill) -> R<Value> {
    let tensor = args.tensor("input")?;
    let fact = super::facts(this, &tensor)?;
    let dtype = dtype(args, fact.dtype)?;
    make(this, fact.shape, dtype, fill)
}

fn make(this: &mut Interp<'_>, shape: Shape, dtype: DType, fill: Fill) -> R<Value> {
    if let (Mode::Building, Some(sizes)) = (this.mode, shape.known()) {
        let init = match fill {
            Fill::Number(value) => Init::Constant(value),
            Fill::Uniform => Init::Uniform { low: 0.0, high: 1.0 },
            Fill::Normal => Init::Normal { mean: 0.0, std: 1.0 },
        };
        let draw = init.is_drawn().then(Rc::default);
        return known_of(this, sizes, dtype, init, draw);
    }
    let made = match fill {
        Fill::Number(value) => this.append(Op::Full { shape, value, dtype }, &[])?,
        Fill::Uniform => drawn(this, shape, Distribution::Uniform, dtype)?,
        Fill::Normal => drawn(this, shape, Distribution::Normal, dtype)?,
    };
    this.wrap(made)
}

/// Random numbers; those of double precision are drawn in single.
fn drawn(this: &mut Interp<'_>, shape: Shape, distribution: Distribution, dtype: DType) -> R<TensorRef> {
    let drawn = this.append(Op::Random { shape, distribution }, &[])?;
    if dtype == DType::F64 { this.append(Op::Cast(dtype), &[drawn]) } else { Ok(drawn) }
}

/// A tensor of known sizes and initial values; random ones may be those of another tensor.
pub(crate) fn known(this: &mut Interp<'_>, sizes: Vec<usize>, dtype: DType, init: Init) -> R<Value> {
    known_of(this, sizes, dtype, init, None)
}

/// The same, where it is told which draw random ones are.
pub(crate) fn known_of(
    this: &mut Interp<'_>,
    sizes: Vec<usize>,
    dtype: DType,
    init: Init,
    draw: Draw,
) -> R<Value> {
    if sizes.len() > this.limits.graph.rank {
        return Err(Raise::limit(format!(
            "rank of a tensor: exceeds the limit of {}",
            this.limits.graph.rank
        )));
    }
    if let Init::Values(values) = &init {
        this.tick(values.len() / 8)?;
    }
    let state = TensorState::Known { sizes, dtype, init, draw };
    this.own(Value::Tensor(Rc::new(Tensor::new(state, false))))
}

fn tensor(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let data = args.get("data");
    let dtype = match args.get("dtype") {
        Value::DType(dtype) => Some(dtype),
        _ => None,
    };
    if let Value::Tensor(_) = data {
        // `torch.tensor` copies, `torch.as_tensor` gives the same one where it can.
        let mut method = |value: &Value, name, args| {
            let method = this.get_attr(value, name)?;
            this.call(&method, Args::of(args))
        };
        let data = if args.function == "tensor" {
            let alone = method(&data, "detach", Vec::new())?;
            method(&alone, "clone", Vec::new())?
        } else {
            data
        };
        return match dtype {
            Some(dtype) => method(&data, "to", vec![Value::DType(dtype)]),
            None => Ok(data),
        };
    }
    if let Value::Object(array) = &data {
        if dtype.is_none() {
            return super::composed::numpy_call(this, "_tensor", vec![data.clone()]);
        }
        let list = array_list(this, array)?;
        return literal(this, &list, dtype);
    }
    literal(this, &data, dtype)
}

/// The nested lists of an array of numpy.
fn array_list(this: &mut Interp<'_>, array: &Rc<Object>) -> R<Value> {
    let method = this.get_attr(&Value::Object(Rc::clone(array)), "tolist")?;
    this.call(&method, Args::default())
}

/// A tensor of nested lists of numbers.
pub(crate) fn literal(this: &mut Interp<'_>, data: &Value, dtype: Option<DType>) -> R<Value> {
    let (mut sizes, mut values) = (Vec::new(), Vec::new());
    let mut narrowest = DType::Bool;
    flatten(this, data, 0, &mut sizes, &mut values, &mut narrowest)?;
    let dtype = dtype.unwrap_or(if values.is_empty() { DType::F32 } else { narrowest });
    if dtype == DType::I64 {
        values.iter_mut().for_each(|value| *value = value.trunc());
    }
    known(this, sizes, dtype, Init::Values(values))
}

fn flatten(
    this: &mut Interp<'_>,
    data: &Value,
    depth: usize,
    sizes: &mut Vec<usize>,
    values: &mut Vec<f64>,
    narrowest: &mut DType,
) -> R<()> {
    this.tick(1)?;
    if let Some(number) = signature::number(data) {
        if depth != sizes.len() {
            return Err(Raise::value_error("expected sequence of equal length in nested lists"));
        }
        *narrowest = match (data, *narrowest) {
            (Value::Bool(_), narrowest) => narrowest,
            (Value::Int(_), DType::Bool | DType::I64) => DType::I64,
            _ => DType::F32,
        };
        values.push(number);
        return Ok(());
    }
    match data {
        Value::List(_) | Value::Tuple(_) | Value::Range(..) => {
            let items = this.iterate(data)?;
            if depth > this.limits.graph.rank {
                return Err(Raise::limit("rank of a tensor: too deeply nested"));
            }
            if sizes.len() == depth && values.is_empty() {
                sizes.push(items.len());
            } else if sizes.get(depth) != Some(&items.len()) {
                return Err(Raise::value_error("expected sequence of equal length in nested lists"));
            }
            items.iter().try_for_each(|item| flatten(this, item, depth + 1, sizes, values, narrowest))
        }
        other => Err(Raise::unsupported(format!("a tensor of {} is not supported", other.type_name()))),
    }
}

/// Counts elements that a graph holds written out.
pub(crate) fn count_literals(this: &mut Interp<'_>, count: usize) -> R<()> {
    this.literals += count;
    if this.literals > MAX_LITERALS {
        return Err(Raise::limit(format!(
            "elements of all written-out tensors: {} exceeds the limit of {MAX_LITERALS}",
            this.literals
        )));
    }
    Ok(())
}

/// A known tensor as an operand of the current pass.
pub(crate) fn materialise(this: &mut Interp<'_>, tensor: &Tensor, start: Start) -> R<TensorRef> {
    let Start { sizes, dtype, init, draw } = start;
    if let Init::Values(values) = &init {
        count_literals(this, values.len())?;
    }
    let op = match init {
        Init::Constant(value) => Op::Full { shape: Shape::fixed(&sizes), value, dtype },
        Init::Values(values) => Op::Literal { sizes, values, dtype },
        init if this.mode == Mode::Building => {
            return computed::operand(this, tensor, Start { sizes, dtype, init, draw });
        }
        init => {
            let id = this.builder.declare(sizes, dtype, ParamKind::Unsaved, init)?;
            *tensor.state.borrow_mut() = TensorState::Param(id);
            return Ok(this.builder.tensor(id));
        }
    };
    this.append(op, &[])
}

/// `nn.Parameter(data, requires_grad=True)`.
pub(crate) fn parameter(this: &mut Interp<'_>, args: Args) -> R<Value> {
    let args = signature::bind("Parameter", "data=None, requires_grad=True", args)?;
    let data = args.get("data");
    let kind = if args.bool("requires_grad")? { ParamKind::Trained } else { ParamKind::Frozen };
    let (sizes, dtype, init) = match &data {
        Value::None => (vec![0], DType::F32, Init::Constant(0.0)),
        Value::Tensor(tensor) => initial(this, tensor)?,
        other => {
            return Err(Raise::type_error(format!(
                "Parameter data must be a Tensor, not {}",
                other.type_name()
            )));
        }
    };
    if !dtype.is_floating() && kind == ParamKind::Trained {
        return Err(Raise::runtime("Only Tensors of floating point and complex dtype can require gradients"));
    }
    new_parameter(this, sizes, dtype, kind, init)
}

/// A parameter tensor.
pub(crate) fn new_parameter(
    this: &mut Interp<'_>,
    sizes: Vec<usize>,
    dtype: DType,
    kind: ParamKind,
    init: Init,
) -> R<Value> {
    this.tick(8)?;
    if this.mode != Mode::Building && kind == ParamKind::Trained {
        return Err(Raise::unsupported("parameters made during the forward pass are not supported"));
    }
    let id = this.builder.declare(sizes, dtype, kind, init)?;
    let parameter = matches!(kind, ParamKind::Trained | ParamKind::Frozen);
    this.own(Value::Tensor(Rc::new(Tensor::new(TensorState::Param(id), parameter))))
}

/// Sizes, type and initial values of a tensor made outside a forward pass.
pub(crate) fn initial(this: &mut Interp<'_>, tensor: &Rc<Tensor>) -> R<(Vec<usize>, DType, Init)> {
    let state = tensor.state.borrow().clone();
    match state {
        TensorState::Known { sizes, dtype, init, .. } => Ok((sizes, dtype, init)),
        TensorState::Param(id) => {
            let param = this.builder.param(id);
            Ok((param.sizes.clone(), param.dtype, param.init.clone()))
        }
        TensorState::Node { .. } if this.mode == Mode::Building => {
            let computed = this.tensor_ref(tensor)?;
            computed::initial(this, computed)
        }
        TensorState::Node { .. } => {
            Err(Raise::unsupported("an initial value that a forward pass computes is not supported"))
        }
    }
}

/// Initial values under `scale * x + shift`, where that is known.
pub(crate) fn affine(init: &Init, scale: f64, shift: f64) -> Option<Init> {
    Some(match init {
        Init::Constant(value) => Init::Constant(value * scale + shift),
        Init::Values(values) => Init::Values(values.iter().map(|value| value * scale + shift).collect()),
        Init::Normal { mean, std } => Init::Normal { mean: mean * scale + shift, std: std * scale.abs() },
        Init::Uniform { low, high } => {
            let (a, b) = (low * scale + shift, high * scale + shift);
            Init::Uniform { low: a.min(b), high: a.max(b) }
        }
        Init::TruncatedNormal { mean, std, low, high } => {
            let (a, b) = (low * scale + shift, high * scale + shift);
            Init::TruncatedNormal {
                mean: mean * scale + shift,
                std: std * scale.abs(),
                low: a.min(b),
                high: a.max(b),
            }
        }
        Init::Orthogonal { gain } if shift == 0.0 => Init::Orthogonal { gain: gain * scale },
        Init::Parts { base, parts } => {
            let scaled =
                parts.iter().map(|(region, init)| Some((region.clone(), affine(init, scale, shift)?)));
            Init::Parts { base: Box::new(affine(base, scale, shift)?), parts: scaled.collect::<Option<_>>()? }
        }
        _ => return None,
    })
}

/// A size as a number of the graph.
pub(crate) fn fixed(dim: Dim, what: &str) -> R<usize> {
    dim.known()
        .ok_or_else(|| Raise::unsupported(format!("{what} that depends on the batch is not supported")))
}
