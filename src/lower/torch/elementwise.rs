//! Element by element: operators, activations, comparisons, softmax, dropout.
//!
//! Input: tensors and numbers. Output: one node per operation, more where the batch size is a number. Limit: a size
//! that depends on the batch and may be negative cannot be an operand.

use std::rc::Rc;

use ruff_python_ast::{CmpOp, Operator};

use crate::graph::op::{Binary, Dropout, Reduction, Unary};
use crate::graph::{DType, Dim, Init, Op, Shape, TensorRef, When};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Bound, Interp, Mode};
use crate::lower::torch::constant::single;
use crate::lower::torch::folding::fold;
use crate::lower::torch::{Function, axis, choice, creation, rebind, row, signature};
use crate::lower::value::{TensorState, Value};

macro_rules! unary {
    ($spaces:literal, $name:literal, $op:expr) => {
        row($spaces, $name, "input, inplace=False", |this, args| apply(this, &args, $op))
    };
}

/// One whose function in `torch.nn.functional` takes no `inplace`.
macro_rules! outside {
    ($spaces:literal, $name:literal, $op:expr) => {
        row($spaces, $name, "input", |this, args| apply(this, &args, $op))
    };
}

macro_rules! binary {
    ($spaces:literal, $name:literal, $op:expr) => {
        row($spaces, $name, "input, other", |this, args| {
            operands(this, $op, &args.get("input"), &args.get("other"))
        })
    };
}

pub(crate) const FUNCTIONS: &[Function] = &[
    unary!("tfm", "relu", Unary::Relu),
    unary!("f", "relu6", Unary::Relu6),
    unary!("tfm", "selu", Unary::Selu),
    unary!("f", "silu", Unary::Silu),
    unary!("f", "mish", Unary::Mish),
    unary!("f", "hardswish", Unary::Hardswish),
    unary!("f", "hardsigmoid", Unary::Hardsigmoid),
    outside!("tfm", "sigmoid", Unary::Sigmoid),
    outside!("f", "logsigmoid", Unary::LogSigmoid),
    outside!("tfm", "tanh", Unary::Tanh),
    outside!("f", "tanhshrink", Unary::Tanhshrink),
    outside!("f", "softsign", Unary::Softsign),
    unary!("tm", "neg", Unary::Neg),
    unary!("tm", "abs", Unary::Abs),
    unary!("tm", "sign", Unary::Sign),
    unary!("tm", "exp", Unary::Exp),
    unary!("tm", "expm1", Unary::Expm1),
    unary!("tm", "log", Unary::Log),
    unary!("tm", "log1p", Unary::Log1p),
    unary!("tm", "log2", Unary::Log2),
    unary!("tm", "log10", Unary::Log10),
    unary!("tm", "sqrt", Unary::Sqrt),
    unary!("tm", "rsqrt", Unary::Rsqrt),
    unary!("tm", "square", Unary::Square),
    unary!("tm", "reciprocal", Unary::Reciprocal),
    unary!("tm", "sin", Unary::Sin),
    unary!("tm", "cos", Unary::Cos),
    unary!("tm", "tan", Unary::Tan),
    unary!("tm", "sinh", Unary::Sinh),
    unary!("tm", "cosh", Unary::Cosh),
    unary!("tm", "asin", Unary::Asin),
    unary!("tm", "acos", Unary::Acos),
    unary!("tm", "atan", Unary::Atan),
    unary!("tm", "erf", Unary::Erf),
    unary!("tm", "erfc", Unary::Erfc),
    unary!("tm", "asinh", Unary::Asinh),
    unary!("tm", "acosh", Unary::Acosh),
    unary!("tm", "atanh", Unary::Atanh),
    unary!("tm", "arcsinh", Unary::Asinh),
    unary!("tm", "arccosh", Unary::Acosh),
    unary!("tm", "arctanh", Unary::Atanh),
    unary!("tm", "floor", Unary::Floor),
    unary!("tm", "ceil", Unary::Ceil),
    unary!("tm", "round", Unary::Round),
    unary!("tm", "trunc", Unary::Trunc),
    unary!("tm", "logical_not", Unary::LogicalNot),
    row("f", "leaky_relu", "input, negative_slope=0.01, inplace=False", |this, args| {
        let slope = args.float("negative_slope")?;
        apply(this, &args, Unary::LeakyRelu { slope })
    }),
    row(
        "tf",
        "rrelu",
        "input, lower=0.125, upper=0.3333333333333333, training=False, inplace=False",
        |this, args| {
            let when = when(this, &args.get("training"))?;
            let op = Unary::Rrelu { lower: args.float("lower")?, upper: args.float("upper")?, when };
            apply(this, &args, op)
        },
    ),
    row("f", "elu", "input, alpha=1.0, inplace=False", |this, args| {
        let alpha = args.float("alpha")?;
        apply(this, &args, Unary::Elu { alpha })
    }),
    row("tf", "celu", "input, alpha=1.0, inplace=False", |this, args| {
        let alpha = args.float("alpha")?;
        apply(this, &args, Unary::Celu { alpha })
    }),
    row("f", "gelu", "input, *, approximate='none'", |this, args| {
        let tanh = match &*args.text("approximate")? {
            "none" => false,
            "tanh" => true,
            other => {
                return Err(Raise::runtime(format!(
                    "approximate argument must be either none or tanh, got {other}"
                )));
            }
        };
        apply(this, &args, Unary::Gelu { tanh })
    }),
    row("f", "softplus", "input, beta=1.0, threshold=20.0", |this, args| {
        let op = Unary::Softplus { beta: args.float("beta")?, threshold: args.float("threshold")? };
        apply(this, &args, op)
    }),
    row("f", "softshrink", "input, lambd=0.5", |this, args| {
        let lambda = args.float("lambd")?;
        apply(this, &args, Unary::Softshrink { lambda })
    }),
    row("tfm", "hardshrink", "input, lambd=0.5", |this, args| {
        let lambda = args.float("lambd")?;
        apply(this, &args, Unary::Hardshrink { lambda })
    }),
    row("tf", "threshold", "input, threshold, value, inplace=False", |this, args| {
        let op = Unary::Threshold { threshold: args.float("threshold")?, value: args.float("value")? };
        apply(this, &args, op)
    }),
    row("f", "hardtanh", "input, min_val=-1.0, max_val=1.0, inplace=False", |this, args| {
        let op = Unary::Clamp { min: args.float("min_val")?, max: args.float("max_val")? };
        apply(this, &args, op)
    }),
    row("tm", "clamp", "input, min=None, max=None", clamp),
    row("tm", "clip", "input, min=None, max=None", clamp),
    row("tm", "clamp_min", "input, min", clamp),
    row("tm", "clamp_max", "input, max", clamp),
    row("tm", "add", "input, other, *, alpha=1", |this, args| with_alpha(this, &args, Operator::Add)),
    row("tm", "sub", "input, other, *, alpha=1", |this, args| with_alpha(this, &args, Operator::Sub)),
    row("tm", "subtract", "input, other, *, alpha=1", |this, args| with_alpha(this, &args, Operator::Sub)),
    binary!("tm", "mul", Binary::Mul),
    binary!("tm", "multiply", Binary::Mul),
    row("tm", "div", "input, other, *, rounding_mode=None", |this, args| {
        let mode = args.get("rounding_mode");
        let result = operands(this, Binary::Div, &args.get("input"), &args.get("other"))?;
        match mode {
            Value::None => Ok(result),
            Value::Str(mode) if &*mode == "floor" => super::call(this, "floor", vec![result]),
            _ => super::call(this, "trunc", vec![result]),
        }
    }),
    binary!("tm", "divide", Binary::Div),
    binary!("tm", "true_divide", Binary::Div),
    binary!("tm", "floor_divide", Binary::FloorDiv),
    binary!("tm", "remainder", Binary::Remainder),
    row("tm", "pow", "input, exponent", |this, args| {
        operands(this, Binary::Pow, &args.get("input"), &args.get("exponent"))
    }),
    binary!("tm", "maximum", Binary::Maximum),
    binary!("tm", "minimum", Binary::Minimum),
    binary!("tm", "atan2", Binary::Atan2),
    binary!("tm", "eq", Binary::Eq),
    binary!("tm", "ne", Binary::Ne),
    binary!("tm", "lt", Binary::Lt),
    binary!("tm", "le", Binary::Le),
    binary!("tm", "gt", Binary::Gt),
    binary!("tm", "ge", Binary::Ge),
    row("tm", "logical_and", "input, other", |this, args| logical(this, &args, Binary::And)),
    row("tm", "logical_or", "input, other", |this, args| logical(this, &args, Binary::Or)),
    row("tm", "logical_xor", "input, other", |this, args| logical(this, &args, Binary::Ne)),
    row("t", "where", "condition, *branches, input=None, other=None", |this, args| {
        let named = ["input", "other"].map(|name| args.get(name));
        let branches: Vec<Value> =
            args.rest.iter().cloned().chain(named.into_iter().filter(|value| !value.is_none())).collect();
        match &branches[..] {
            [] => Err(Raise::unsupported("where() of a condition only is not supported")),
            [input, other] => choice::choose(this, &args.get("condition"), input, other),
            _ => Err(Raise::type_error("where(): expected a condition and two branches")),
        }
    }),
    row("m", "where", "input, condition, other", |this, args| {
        choice::choose(this, &args.get("condition"), &args.get("input"), &args.get("other"))
    }),
    row("tm", "masked_fill", "input, mask, value", |this, args| choice::masked_fill(this, &args)),
    row("tfm", "prelu", "input, weight", |this, args| {
        let tensors = [operand(this, &args, "input")?, operand(this, &args, "weight")?];
        this.op(Op::Prelu, &tensors)
    }),
    row("f", "glu", "input, dim=-1", |this, args| {
        let (input, dim) = along(this, &args)?;
        this.op(Op::Glu { dim }, &[input])
    }),
    row("f", "softmax", "input, dim=None, _stacklevel=3, dtype=None", |this, args| {
        let (input, dim) = soft_dim(this, &args)?;
        this.op(Op::Softmax { dim }, &[input])
    }),
    row("tm", "softmax", "input, dim, dtype=None", |this, args| {
        let (input, dim) = soft_dim(this, &args)?;
        this.op(Op::Softmax { dim }, &[input])
    }),
    row("f", "softmin", "input, dim=None, _stacklevel=3, dtype=None", |this, args| {
        let (input, dim) = soft_dim(this, &args)?;
        let negative = this.append(Op::Unary(Unary::Neg), &[input])?;
        this.op(Op::Softmax { dim }, &[negative])
    }),
    row("f", "log_softmax", "input, dim=None, _stacklevel=3, dtype=None", |this, args| {
        let (input, dim) = soft_dim(this, &args)?;
        this.op(Op::LogSoftmax { dim }, &[input])
    }),
    row("tm", "log_softmax", "input, dim, dtype=None", |this, args| {
        let (input, dim) = soft_dim(this, &args)?;
        this.op(Op::LogSoftmax { dim }, &[input])
    }),
    row("f", "normalize", "input, p=2.0, dim=1, eps=1e-12, out=None", |this, args| {
        if let dims @ (Value::Tuple(_) | Value::List(_)) = args.get("dim") {
            let norm = vec![args.get("input"), args.get("p"), dims, Value::Bool(true)];
            let norm = super::call(this, "norm", norm)?;
            let norm = super::call(this, "clamp_min", vec![norm, args.get("eps")])?;
            return operator(this, Operator::Div, &args.get("input"), &norm);
        }
        let (input, dim) = along(this, &args)?;
        this.op(Op::Normalize { p: args.float("p")?, dim, eps: args.float("eps")? }, &[input])
    }),
    row("tf", "dropout", "input, p=0.5, training=True, inplace=False", |this, args| {
        dropout(this, &args, Dropout::Element)
    }),
    row("f", "dropout1d", "input, p=0.5, training=True, inplace=False", |this, args| {
        channels(this, &args, 3)
    }),
    row("f", "dropout2d", "input, p=0.5, training=True, inplace=False", |this, args| {
        channels(this, &args, 4)
    }),
    row("f", "dropout3d", "input, p=0.5, training=True, inplace=False", |this, args| {
        channels(this, &args, 5)
    }),
    row("tf", "feature_dropout", "input, p=0.5, training=True, inplace=False", |this, args| {
        channels(this, &args, 0)
    }),
    row("tf", "alpha_dropout", "input, p=0.5, training=False, inplace=False", |this, args| {
        dropout(this, &args, Dropout::Alpha)
    }),
    row("f", "feature_alpha_dropout", "input, p=0.5, training=False, inplace=False", |this, args| {
        dropout(this, &args, Dropout::FeatureAlpha)
    }),
    row("m", "detach", "input", |this, args| {
        let input = operand(this, &args, "input")?;
        this.op(Op::Detach, &[input])
    }),
    row("m", "float", "input, *, memory_format=None", |this, args| cast(this, &args, DType::F32)),
    row("m", "double", "input, *, memory_format=None", |this, args| cast(this, &args, DType::F64)),
    row("m", "long", "input, *, memory_format=None", |this, args| cast(this, &args, DType::I64)),
    row("m", "int", "input, *, memory_format=None", |this, args| cast(this, &args, DType::I64)),
    row("m", "bool", "input, *, memory_format=None", |this, args| cast(this, &args, DType::Bool)),
    row("m", "type_as", "input, other", |this, args| {
        let dtype = super::facts(this, &Rc::clone(&args.tensor("other")?))?.dtype;
        cast(this, &args, dtype)
    }),
    row(
        "m",
        "to",
        "input, *targets, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None",
        to,
    ),
    row("m", "type", "input, dtype=None, non_blocking=False", |this, args| match args.get("dtype") {
        Value::DType(dtype) => cast(this, &args, dtype),
        _ => Err(Raise::unsupported("Tensor.type is not supported")),
    }),
];

/// The tensor of a parameter as an operand.
pub(crate) fn operand(this: &mut Interp<'_>, args: &Bound, name: &str) -> R<TensorRef> {
    let tensor = args.tensor(name)?;
    this.tensor_ref(&tensor)
}

/// A tensor or a number as an operand.
pub(crate) fn tensor_of(this: &mut Interp<'_>, value: &Value) -> R<TensorRef> {
    match value {
        Value::Tensor(tensor) => this.tensor_ref(tensor),
        value => match signature::number(value) {
            Some(number) => {
                let shape = crate::graph::Shape::default();
                this.append(Op::Full { shape, value: number, dtype: DType::F32 }, &[])
            }
            None => {
                Err(Raise::type_error(format!("expected Tensor as argument, but got {}", value.type_name())))
            }
        },
    }
}

/// `training=` as a mode.
pub(crate) fn when(this: &mut Interp<'_>, value: &Value) -> R<When> {
    match value {
        Value::Training { negated: false } => Ok(When::Training),
        Value::Bool(true) => Ok(When::Always),
        Value::Bool(false) | Value::None => Ok(When::Never),
        other => Ok(if this.truth(other)? { When::Always } else { When::Never }),
    }
}

/// Result of an activation, in place where asked.
pub(crate) fn finish(this: &mut Interp<'_>, args: &Bound, result: TensorRef) -> R<Value> {
    let value = this.wrap(result)?;
    // These are Python functions: anything may stand for `inplace`.
    if this.truth(&args.get("inplace"))?
        && let (Value::Tensor(source), Value::Tensor(target)) = (&value, args.get("input"))
    {
        super::saved::own(this, result);
        super::saved::changing(this, result.node, |this| rebind(this, &target, source))?;
        return Ok(Value::Tensor(target));
    }
    Ok(value)
}

fn apply(this: &mut Interp<'_>, args: &Bound, op: Unary) -> R<Value> {
    if let Value::Int(_) | Value::Float(_) | Value::Dim(_) = args.get("input") {
        let got = args.get("input").type_name();
        return Err(Raise::type_error(format!(
            "{}(): argument 'input' must be Tensor, not {got}",
            args.function
        )));
    }
    let input = operand(this, args, "input")?;
    let result = this.append(Op::Unary(op), &[input])?;
    finish(this, args, result)
}

/// What `where` takes from two branches.
/// A logical operation: numbers are true where they are not 0.
fn logical(this: &mut Interp<'_>, args: &Bound, op: Binary) -> R<Value> {
    let mut truths = Vec::with_capacity(2);
    for name in ["input", "other"] {
        let tensor = args.tensor(name)?;
        let value = Value::Tensor(Rc::clone(&tensor));
        truths.push(match super::facts(this, &tensor)?.dtype {
            DType::Bool => value,
            _ => operands(this, Binary::Ne, &value, &Value::Int(0))?,
        });
    }
    operands(this, op, &truths[0], &truths[1])
}

fn clamp(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let bounds = [("min", "maximum"), ("max", "minimum")];
    if bounds.iter().any(|(name, _)| matches!(args.get(name), Value::Tensor(_))) {
        let mut result = args.get("input");
        for (name, function) in bounds {
            result = match args.get(name) {
                Value::None => result,
                bound @ Value::Tensor(_) => super::call(this, function, vec![result, bound])?,
                bound => {
                    // PyTorch takes two tensors or two numbers.
                    let got = bound.type_name();
                    return Err(Raise::type_error(format!(
                        "clamp(): argument '{name}' must be Tensor, not {got}"
                    )));
                }
            };
        }
        return Ok(result);
    }
    let min = args.optional_float("min")?;
    let max = args.optional_float("max")?;
    if min.is_none() && max.is_none() {
        return Err(Raise::runtime("torch.clamp: At least one of 'min' or 'max' must not be None"));
    }
    let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
    match super::truncated::clamp(this, &args, min, max)? {
        Some(cut) => Ok(cut),
        None => apply(this, &args, Unary::Clamp { min, max }),
    }
}

fn with_alpha(this: &mut Interp<'_>, args: &Bound, op: Operator) -> R<Value> {
    let mut other = args.get("other");
    if args.given("alpha") {
        other = operator(this, Operator::Mult, &other, &args.get("alpha"))?;
    }
    operator(this, op, &args.get("input"), &other)
}

/// The input, and which of its dimensions the function goes along.
pub(crate) fn along(this: &mut Interp<'_>, args: &Bound) -> R<(TensorRef, usize)> {
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    let dim = axis(&shape, args.int("dim")?)?;
    Ok((this.tensor_ref(&tensor)?, dim))
}

/// PyTorch's choice where `dim` is not given.
fn soft_dim(this: &mut Interp<'_>, args: &Bound) -> R<(TensorRef, usize)> {
    let input = operand(this, args, "input")?;
    let shape = this.builder.fact(input).shape.clone();
    let dim = match args.get("dim") {
        Value::None => usize::from(!matches!(shape.rank(), 0 | 1 | 3)),
        _ => axis(&shape, args.int("dim")?)?,
    };
    Ok((super::reduce::cast_first(this, args, input)?, dim))
}

fn dropout(this: &mut Interp<'_>, args: &Bound, kind: Dropout) -> R<Value> {
    let op = dropout_op(this, args, kind)?;
    let input = operand(this, args, "input")?;
    let result = this.append(op, &[input])?;
    finish(this, args, result)
}

fn dropout_op(this: &mut Interp<'_>, args: &Bound, kind: Dropout) -> R<Op> {
    let p = args.float("p")?;
    if !(0.0..=1.0).contains(&p) {
        let message = format!("dropout probability has to be between 0 and 1, but got {p}");
        return Err(Raise::value_error(message));
    }
    Ok(Op::Dropout { p, kind, when: when(this, &args.get("training"))? })
}

/// Dropout of whole channels. `dropout1d` and `dropout3d` take a tensor that lacks a dimension for one sample, whatever
/// its first dimension is.
fn channels(this: &mut Interp<'_>, args: &Bound, batched_rank: usize) -> R<Value> {
    let tensor = args.tensor("input")?;
    let rank = this.fact(&tensor)?.shape.rank();
    if batched_rank > 0 && rank == batched_rank - 1 && batched_rank != 4 {
        let op = dropout_op(this, args, Dropout::Channel)?;
        let wider = super::call(this, "unsqueeze", vec![Value::Tensor(tensor), Value::Int(0)])?;
        let Value::Tensor(wider) = wider else { return Ok(wider) };
        let wider = this.tensor_ref(&wider)?;
        let dropped = this.append(op, &[wider])?;
        let dropped = this.wrap(dropped)?;
        let Value::Tensor(result) = super::call(this, "squeeze", vec![dropped.clone(), Value::Int(0)])?
        else {
            return Ok(dropped);
        };
        let result = this.tensor_ref(&result)?;
        return finish(this, args, result);
    }
    dropout(this, args, Dropout::Channel)
}

fn cast(this: &mut Interp<'_>, args: &Bound, dtype: DType) -> R<Value> {
    let tensor = args.tensor("input")?;
    let state = tensor.state.borrow().clone();
    if let TensorState::Known { sizes, dtype: before, init, draw } = state {
        let each = |values: Vec<f64>, change: fn(f64) -> f64| values.into_iter().map(change).collect();
        let init = match (init, before, dtype) {
            (Init::Values(values), _, DType::I64) => Init::Values(each(values, f64::trunc)),
            // What single precision lost is not found again.
            (Init::Values(values), DType::F32, DType::F64) => Init::Values(each(values, single)),
            (init, ..) => init,
        };
        return creation::known_of(this, sizes, dtype, init, draw);
    }
    if this.fact(&tensor)?.dtype == dtype {
        return Ok(Value::Tensor(tensor));
    }
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Cast(dtype), &[input])
}

fn to(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let targets: Vec<Value> = args.rest.iter().cloned().chain([args.get("dtype")]).collect();
    for target in targets {
        match target {
            Value::DType(dtype) => return cast(this, &args, dtype),
            Value::Tensor(other) => {
                let dtype = super::facts(this, &other)?.dtype;
                return cast(this, &args, dtype);
            }
            // As `.int()`: narrower whole numbers are read as the wide ones.
            Value::Opaque(name)
                if matches!(
                    &*name,
                    "torch.int32" | "torch.int16" | "torch.int8" | "torch.uint8" | "torch.int"
                ) =>
            {
                return cast(this, &args, DType::I64);
            }
            Value::Opaque(name) if matches!(&*name, "torch.float16" | "torch.bfloat16" | "torch.half") => {
                return Err(Raise::unsupported(format!("a tensor of {name} is not supported")));
            }
            _ => {}
        }
    }
    Ok(args.get("input"))
}

fn is_truth(this: &mut Interp<'_>, value: &Value) -> R<bool> {
    match value {
        Value::Tensor(tensor) => Ok(super::facts(this, tensor)?.dtype == DType::Bool),
        other => Ok(matches!(other, Value::Bool(_))),
    }
}

/// `left op right` where one is a tensor.
pub(crate) fn operator(this: &mut Interp<'_>, op: Operator, left: &Value, right: &Value) -> R<Value> {
    let binary = match op {
        Operator::Add => Binary::Add,
        Operator::Sub => Binary::Sub,
        Operator::Mult => Binary::Mul,
        Operator::Div => Binary::Div,
        Operator::FloorDiv => Binary::FloorDiv,
        Operator::Mod => Binary::Remainder,
        Operator::Pow => Binary::Pow,
        Operator::BitAnd => Binary::And,
        Operator::BitOr => Binary::Or,
        Operator::BitXor if is_truth(this, left)? && is_truth(this, right)? => Binary::Ne,
        Operator::MatMult => return super::call(this, "matmul", vec![left.clone(), right.clone()]),
        _ => return Err(Raise::unsupported(format!("operator {} on tensors is not supported", op.as_str()))),
    };
    operands(this, binary, left, right)
}

/// `left op right` as a truth per element.
pub(crate) fn comparison(this: &mut Interp<'_>, op: CmpOp, left: &Value, right: &Value) -> R<Value> {
    let binary = match op {
        CmpOp::Eq => Binary::Eq,
        CmpOp::NotEq => Binary::Ne,
        CmpOp::Lt => Binary::Lt,
        CmpOp::LtE => Binary::Le,
        CmpOp::Gt => Binary::Gt,
        _ => Binary::Ge,
    };
    if left.is_none() || right.is_none() {
        return Ok(Value::Bool(op == CmpOp::NotEq));
    }
    operands(this, binary, left, right)
}

/// A size that depends on the batch as a tensor without dimensions: so many ones, counted.
fn size_tensor(this: &mut Interp<'_>, dim: Dim, beside: DType) -> R<Value> {
    if dim.per_sample <= 0 || dim.at(1) < 0 {
        return Err(Raise::unsupported("arithmetic of a tensor with a size that may be negative"));
    }
    let dtype = if beside == DType::Bool { DType::I64 } else { beside };
    let ones = this.append(Op::Full { shape: Shape(vec![dim]), value: 1.0, dtype }, &[])?;
    this.op(Op::Reduce { op: Reduction::Sum, dims: vec![0], keepdim: false }, &[ones])
}

fn operands(this: &mut Interp<'_>, op: Binary, left: &Value, right: &Value) -> R<Value> {
    match (left, right) {
        (Value::Tensor(tensor), Value::Dim(dim)) => {
            let dtype = super::facts(this, tensor)?.dtype;
            let size = size_tensor(this, *dim, dtype)?;
            return operands(this, op, left, &size);
        }
        (Value::Dim(dim), Value::Tensor(tensor)) => {
            let dtype = super::facts(this, tensor)?.dtype;
            let size = size_tensor(this, *dim, dtype)?;
            return operands(this, op, &size, right);
        }
        _ => {}
    }
    let number = |value: &Value| match value {
        Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
        value => signature::number(value).ok_or_else(|| {
            Raise::type_error(format!(
                "unsupported operand type(s): '{}' and '{}'",
                left.type_name(),
                right.type_name()
            ))
        }),
    };
    if let (Mode::Building, Some(folded)) = (this.mode, fold(this, op, left, right)?) {
        return Ok(folded);
    }
    match (left, right) {
        (Value::Tensor(a), Value::Tensor(b)) => {
            let (a, b) = (this.tensor_ref(a)?, this.tensor_ref(b)?);
            this.op(Op::Binary(op), &[a, b]).map_err(|raise| {
                let sizes = |tensor: TensorRef| {
                    this.builder.fact(tensor).shape.0.iter().skip(1).map(|dim| dim.fixed).collect()
                };
                raise.with_hint(Hint::Broadcast { left: sizes(a), right: sizes(b) })
            })
        }
        (Value::Tensor(a), other) => {
            let value = number(other)?;
            let a = this.tensor_ref(a)?;
            this.op(Op::Scalar { op, value, reversed: false }, &[a])
        }
        (other, Value::Tensor(b)) => {
            let value = number(other)?;
            let b = this.tensor_ref(b)?;
            this.op(Op::Scalar { op, value, reversed: true }, &[b])
        }
        _ => Err(Raise::type_error(format!("argument 'input' must be Tensor, not {}", left.type_name()))),
    }
}
