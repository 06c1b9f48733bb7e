//! `torch.nn.init` and the methods of tensors that set all values.
//!
//! Input: a parameter (or a tensor just created) and numbers. Output: a changed [`Init`]; nothing is drawn here. The
//! formulas are those of `torch/nn/init.py`. Limit: `sparse_` is refused.

use std::rc::Rc;

use crate::graph::op::Distribution;
use crate::graph::{Init, Op, ParamKind};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp, Mode, Run};
use crate::lower::torch::{creation, facts, first_values, signature};
use crate::lower::value::{Builtin, Tensor, TensorState, Value};

static FUNCTIONS: &[Builtin] = &[
    entry("uniform_", "tensor, a=0.0, b=1.0, generator=None", |this, args| {
        let init = Init::Uniform { low: args.float("a")?, high: args.float("b")? };
        set(this, &args, init)
    }),
    entry("normal_", "tensor, mean=0.0, std=1.0, generator=None", |this, args| {
        let init = Init::Normal { mean: args.float("mean")?, std: args.float("std")? };
        set(this, &args, init)
    }),
    entry("trunc_normal_", "tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None", |this, args| {
        let init = Init::TruncatedNormal {
            mean: args.float("mean")?,
            std: args.float("std")?,
            low: args.float("a")?,
            high: args.float("b")?,
        };
        set(this, &args, init)
    }),
    entry("constant_", "tensor, val", |this, args| {
        let init = Init::Constant(args.float("val")?);
        set(this, &args, init)
    }),
    entry("ones_", "tensor", |this, args| set(this, &args, Init::Constant(1.0))),
    entry("zeros_", "tensor", |this, args| set(this, &args, Init::Constant(0.0))),
    entry("eye_", "tensor", |this, args| set(this, &args, Init::Eye)),
    entry("dirac_", "tensor, groups=1", |this, args| {
        let init = Init::Dirac { groups: args.count("groups")? };
        set(this, &args, init)
    }),
    entry("xavier_uniform_", "tensor, gain=1.0, generator=None", |this, args| {
        let (fan_in, fan_out) = fans(this, &args)?;
        let bound = args.float("gain")? * (6.0 / (fan_in + fan_out)).sqrt();
        set(this, &args, Init::Uniform { low: -bound, high: bound })
    }),
    entry("xavier_normal_", "tensor, gain=1.0, generator=None", |this, args| {
        let (fan_in, fan_out) = fans(this, &args)?;
        let std = args.float("gain")? * (2.0 / (fan_in + fan_out)).sqrt();
        set(this, &args, Init::Normal { mean: 0.0, std })
    }),
    entry(
        "kaiming_uniform_",
        "tensor, a=0, mode='fan_in', nonlinearity='leaky_relu', generator=None",
        |this, args| {
            let bound = 3f64.sqrt() * kaiming(this, &args)?;
            set(this, &args, Init::Uniform { low: -bound, high: bound })
        },
    ),
    entry(
        "kaiming_normal_",
        "tensor, a=0, mode='fan_in', nonlinearity='leaky_relu', generator=None",
        |this, args| {
            let std = kaiming(this, &args)?;
            set(this, &args, Init::Normal { mean: 0.0, std })
        },
    ),
    entry("orthogonal_", "tensor, gain=1.0, generator=None", |this, args| {
        let tensor = args.tensor("tensor")?;
        if facts(this, &tensor)?.shape.rank() < 2 {
            return Err(Raise::value_error("Only tensors with 2 or more dimensions are supported"));
        }
        let init = Init::Orthogonal { gain: args.float("gain")? };
        set(this, &args, init)
    }),
    entry("calculate_gain", "nonlinearity, param=None", |_, args| {
        let slope = args.optional_float("param")?;
        Ok(Value::Float(gain(&args.text("nonlinearity")?, slope)?))
    }),
    entry("_calculate_fan_in_and_fan_out", "tensor", |this, args| {
        let (fan_in, fan_out) = fans(this, &args)?;
        let items = vec![super::whole(fan_in)?, super::whole(fan_out)?];
        this.tuple(items)
    }),
];

const fn entry(name: &'static str, signature: &'static str, run: Run) -> Builtin {
    Builtin { name, signature, run }
}

/// A function of `torch.nn.init`; the names without underscore are its deprecated ones.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    let with = format!("{name}_");
    FUNCTIONS.iter().find(|function| function.name == name || function.name == with)
}

/// Whether a tensor has this initialising method.
pub(crate) fn is_method(name: &str) -> bool {
    matches!(name, "uniform_" | "normal_" | "fill_" | "zero_" | "copy_" | "bernoulli_")
}

/// Whether a tensor has no first values of its own, but those that the forward pass computes.
fn computed(this: &Interp<'_>, tensor: &Tensor) -> bool {
    matches!(&*tensor.state.borrow(), TensorState::Node { .. })
        || (matches!(this.mode, Mode::Tracing { .. })
            && matches!(&*tensor.state.borrow(), TensorState::Known { .. }))
}

/// Whether a tensor is a buffer, in a forward pass.
fn traced_buffer(this: &Interp<'_>, tensor: &Tensor) -> bool {
    match (&*tensor.state.borrow(), this.mode) {
        (TensorState::Param(id), Mode::Tracing { .. }) => this.builder.param(*id).kind == ParamKind::Buffer,
        _ => false,
    }
}

fn replace(this: &mut Interp<'_>, target: &Rc<Tensor>, new: Value) -> R<Value> {
    if let Value::Tensor(new) = new {
        super::rebind(this, target, &new)?;
    }
    Ok(Value::Tensor(Rc::clone(target)))
}

/// Call an initialising method.
pub(crate) fn method(this: &mut Interp<'_>, value: &Value, name: &str, args: Args) -> R<Value> {
    let part = match value {
        Value::Tensor(target) => first_values::part(this, target)?,
        _ => None,
    };
    let computed_tensor = part.is_none() && matches!(value, Value::Tensor(target) if computed(this, target));
    let function = match name {
        "uniform_" | "normal_" if computed_tensor => {
            let uniform = name == "uniform_";
            let signature = if uniform {
                "input, a=0.0, b=1.0, generator=None"
            } else {
                "input, a=0.0, b=1.0, *, generator=None"
            };
            let args = signature::bind("uniform_", signature, args.prepend(value.clone()))?;
            let (tensor, low, high) = (args.tensor("input")?, args.float("a")?, args.float("b")?);
            let distribution = if uniform { Distribution::Uniform } else { Distribution::Normal };
            let shape = facts(this, &tensor)?.shape;
            let drawn = this.op(Op::Random { shape, distribution }, &[])?;
            let width = if uniform { high - low } else { high };
            let wide = super::call(this, "mul", vec![drawn, Value::Float(width)])?;
            let new = super::call(this, "add", vec![wide, Value::Float(low)])?;
            return replace(this, &tensor, new);
        }
        "fill_" | "zero_" if computed_tensor => {
            let number = match args.positional.into_iter().next() {
                _ if name == "zero_" => Value::Int(0),
                Some(number) => number,
                None => {
                    return Err(Raise::type_error("fill_() missing 1 required positional argument: 'value'"));
                }
            };
            let new = super::call(this, "full_like", vec![value.clone(), number])?;
            let Value::Tensor(target) = value else { return Ok(new) };
            return replace(this, target, new);
        }
        "fill_" => "constant_",
        "zero_" => "zeros_",
        "bernoulli_" => {
            let args =
                signature::bind("bernoulli_", "input, p=0.5, generator=None", args.prepend(value.clone()))?;
            let tensor = args.tensor("input")?;
            let param = matches!(&*tensor.state.borrow(), TensorState::Param(_));
            if part.is_some() || (param && this.mode == Mode::Building) {
                return Err(Raise::unsupported("bernoulli_ on first values is not supported"));
            }
            let shape = facts(this, &tensor)?.shape;
            let distribution = Distribution::Bernoulli(args.float("p")?);
            if let Value::Tensor(drawn) = this.op(Op::Random { shape, distribution }, &[])? {
                *tensor.state.borrow_mut() = drawn.state.borrow().clone();
            }
            return Ok(Value::Tensor(tensor));
        }
        "copy_" => {
            if let (Value::Tensor(target), Some(source), Some(view)) = (value, args.positional.first(), part)
            {
                first_values::assign(this, &view, source)?;
                first_values::touch(target);
                return Ok(value.clone());
            }
            if let (Value::Tensor(target), Some(Value::Tensor(source))) = (value, args.positional.first()) {
                if computed(this, target) || traced_buffer(this, target) {
                    let (old, new) = (this.fact(target)?, this.fact(source)?);
                    if (&old.shape, old.dtype) == (&new.shape, new.dtype) {
                        replace(this, target, Value::Tensor(Rc::clone(source)))?;
                        target.copied.set(true);
                        super::saved::cloned(this, target);
                        return Ok(value.clone());
                    }
                    let new = super::call(
                        this,
                        "expand_as",
                        vec![Value::Tensor(Rc::clone(source)), value.clone()],
                    )?;
                    return replace(this, target, new);
                }
                let computed = matches!(&*source.state.borrow(), TensorState::Node { .. });
                let moved = match *target.state.borrow() {
                    TensorState::Param(id) => first_values::is_moved(this, id),
                    _ => false,
                };
                if !(computed && moved) {
                    assign_data(this, target, source)?;
                }
            }
            return Ok(value.clone());
        }
        other => other,
    };
    match find(function) {
        Some(builtin) => this.call(&Value::Builtin(builtin), args.prepend(value.clone())),
        None => Err(Raise::unsupported(format!("Tensor.{name} is not supported"))),
    }
}

/// An operation in place on a parameter or a part of one, such as `weight.data.mul_(2)`: of its first values. Whether
/// it was one.
pub(crate) fn rescale(this: &mut Interp<'_>, target: &Rc<Tensor>, function: &Value, args: &Args) -> R<bool> {
    let whole = matches!(&*target.state.borrow(), TensorState::Param(_));
    let view = if whole { first_values::view(this, target)? } else { first_values::part(this, target)? };
    let Some(view) = view else { return Ok(false) };
    if let Some((sizes, dtype, init)) = first_values::start(this, &view) {
        let start = creation::known(this, sizes.clone(), dtype, init)?;
        if let (true, Value::Tensor(start)) = (whole, &start) {
            // An argument may be computed of the same first values: `w.div_(w.norm())`.
            let operand = this.tensor_ref(target)?;
            start.operand.set(Some((operand.node, start.version.get())));
        }
        let call = Args { positional: args.positional.clone(), named: args.named.clone(), site: None };
        if let Value::Tensor(result) = this.call(function, call.prepend(start))? {
            let computed = matches!(&*result.state.borrow(), TensorState::Node { .. });
            if !computed || view.is_of_param() {
                let (known, _, init) = creation::initial(this, &result)?;
                if known == sizes {
                    first_values::place(this, &view, init)?;
                    first_values::touch(target);
                    return Ok(true);
                }
            }
        }
    }
    if view.is_of_param() {
        return Err(Raise::unsupported(
            "this operation in place on the first values of a parameter is not supported",
        ));
    }
    Ok(false)
}

/// `target.data = source`.
pub(crate) fn assign_data(this: &mut Interp<'_>, target: &Rc<Tensor>, source: &Rc<Tensor>) -> R<()> {
    let computed = matches!(&*target.state.borrow(), TensorState::Node { .. });
    if computed || matches!(this.mode, Mode::Tracing { .. }) {
        return Err(Raise::unsupported("copying values into a tensor in the forward pass is not supported"));
    }
    let (sizes, _, init) = creation::initial(this, source)?;
    first_values::alone(this, target)?;
    if let TensorState::Known { sizes: known, init: old, draw, .. } = &mut *target.state.borrow_mut() {
        if *known != sizes {
            return Err(Raise::unsupported("copying values of another shape is not supported"));
        }
        (*old, *draw) = (init, None);
        target.version.set(target.version.get() + 1);
        return Ok(());
    }
    if let TensorState::Param(id) = *target.state.borrow() {
        if this.builder.param(id).sizes != sizes {
            return Err(Raise::unsupported("assignment of data of another shape is not supported"));
        }
        this.builder.set_init(id, init);
    }
    Ok(())
}

fn set(this: &mut Interp<'_>, args: &Bound, init: Init) -> R<Value> {
    let tensor = args.tensor("tensor")?;
    if let Some(view) = first_values::part(this, &tensor)? {
        first_values::place(this, &view, init)?;
        first_values::touch(&tensor);
        return Ok(Value::Tensor(tensor));
    }
    first_values::alone(this, &tensor)?;
    let state = tensor.state.borrow().clone();
    tensor.version.set(tensor.version.get() + 1);
    match state {
        TensorState::Param(_) if matches!(this.mode, Mode::Tracing { .. }) => {
            return Err(Raise::unsupported(format!(
                "{} in the forward pass is not supported",
                args.function
            )));
        }
        TensorState::Param(id) => this.builder.set_init(id, init),
        TensorState::Known { sizes, dtype, .. } => {
            let draw = Some(Rc::default());
            *tensor.state.borrow_mut() = TensorState::Known { sizes, dtype, init, draw };
        }
        TensorState::Node { .. } => {
            return Err(Raise::unsupported(format!(
                "{} on a computed tensor is not supported",
                args.function
            )));
        }
    }
    Ok(Value::Tensor(tensor))
}

/// Fan-in and fan-out of a weight.
fn fans(this: &mut Interp<'_>, args: &Bound) -> R<(f64, f64)> {
    let tensor = args.tensor("tensor")?;
    let shape = facts(this, &tensor)?.shape;
    let Some(sizes) = shape.known() else {
        return Err(Raise::unsupported("initialisation of a tensor that depends on the batch"));
    };
    let [outer, inner, kernel @ ..] = &sizes[..] else {
        return Err(Raise::value_error(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions",
        ));
    };
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let (outer, inner, kernel) = (*outer as f64, *inner as f64, kernel.iter().product::<usize>() as f64);
    Ok((inner * kernel, outer * kernel))
}

fn kaiming(this: &mut Interp<'_>, args: &Bound) -> R<f64> {
    let (fan_in, fan_out) = fans(this, args)?;
    let fan = match args.text("mode")?.to_lowercase().as_str() {
        "fan_in" => fan_in,
        "fan_out" => fan_out,
        other => {
            return Err(Raise::value_error(format!(
                "Mode {other} not supported, please use one of ['fan_in', 'fan_out']"
            )));
        }
    };
    Ok(gain(&args.text("nonlinearity")?, Some(args.float("a")?))? / fan.max(1.0).sqrt())
}

/// `nn.init.calculate_gain`.
fn gain(nonlinearity: &str, slope: Option<f64>) -> R<f64> {
    Ok(match nonlinearity {
        "linear" | "conv1d" | "conv2d" | "conv3d" | "conv_transpose1d" | "conv_transpose2d"
        | "conv_transpose3d" | "sigmoid" => 1.0,
        "tanh" => 5.0 / 3.0,
        "relu" => 2f64.sqrt(),
        "leaky_relu" => (2.0 / (1.0 + slope.unwrap_or(0.01).powi(2))).sqrt(),
        "selu" => 0.75,
        other => return Err(Raise::value_error(format!("Unsupported nonlinearity {other}"))),
    })
}
