//! The convolution layers of `torch.nn`: constructors and forward passes.
//!
//! Input: constructor arguments, kept as attributes; then tensors. Output: parameters and calls of the functions of the
//! same names. Limit: hints for repairs cover a wrong number of channels and a wrong rank only.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::attributes::{attr, attr_text, attr_usize, registered, set_sizes};
use crate::lower::torch::layers::{bias, fan_in, parameter, rank_hint};
use crate::lower::torch::{creation, modules, signature};
use crate::lower::value::{Object, Value};

pub(crate) fn conv_init(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    args: &Bound,
    spatial: usize,
    transposed: bool,
) -> R<()> {
    let (input, output, groups) =
        (args.count("in_channels")?, args.count("out_channels")?, args.count("groups")?);
    if groups == 0 {
        return Err(Raise::value_error("groups must be a positive integer"));
    }
    if input % groups != 0 {
        return Err(Raise::value_error("in_channels must be divisible by groups"));
    }
    if output % groups != 0 {
        return Err(Raise::value_error("out_channels must be divisible by groups"));
    }
    let kernel = args.spatial("kernel_size", spatial)?;
    set_sizes(this, object, "kernel_size", &kernel)?;
    let stride = args.spatial("stride", spatial)?;
    let dilation = args.spatial("dilation", spatial)?;
    set_sizes(this, object, "stride", &stride)?;
    set_sizes(this, object, "dilation", &dilation)?;
    if let Value::Str(name) = args.get("padding") {
        if !matches!(&*name, "same" | "valid") {
            return Err(Raise::value_error(format!(
                "Invalid padding string '{name}', should be one of {{'valid', 'same'}}"
            )));
        }
        if &*name == "same" && stride.iter().any(|&stride| stride != 1) {
            return Err(Raise::value_error("padding='same' is not supported for strided convolutions"));
        }
    } else {
        let padding = args.spatial("padding", spatial)?;
        set_sizes(this, object, "padding", &padding)?;
    }
    if transposed {
        let padding = args.spatial("output_padding", spatial)?;
        set_sizes(this, object, "output_padding", &padding)?;
    }
    if !matches!(&*args.text("padding_mode")?, "zeros" | "reflect" | "replicate" | "circular") {
        return Err(Raise::value_error(
            "padding_mode must be one of {'zeros', 'reflect', 'replicate', 'circular'}",
        ));
    }
    let (outer, inner) = if transposed { (input, output / groups) } else { (output, input / groups) };
    let mut sizes = vec![outer, inner];
    sizes.extend(&kernel);
    // PyTorch takes the second dimension of the weight as its fan-in, for transposed convolutions too.
    let fan = kernel.iter().fold(inner, |product, &size| product.saturating_mul(size));
    let init = fan_in(fan);
    parameter(this, object, "weight", sizes, init.clone())?;
    bias(this, object, args.bool("bias")?, output, init)
}

pub(crate) fn conv(this: &mut Interp<'_>, object: &Rc<Object>, args: Args, spatial: usize) -> R<Value> {
    let args = signature::bind("forward", "input", args)?;
    let (weight, bias) = (registered(object, "weight"), registered(object, "bias"));
    let operands = [args.get("input"), weight, bias];
    // A derived class may compute its weight before the convolution.
    let set = object.attrs.borrow().get("_conv_forward").cloned();
    if let Some(own) = set {
        return this.call(&own, Args::of(operands.to_vec()));
    }
    if let Some(own @ Value::Function(_)) = this.class_attr(&object.class, "_conv_forward", None) {
        let operands = Args::of(operands.to_vec()).prepend(Value::Object(Rc::clone(object)));
        return this.call(&own, operands);
    }
    let result = with_weight(this, object, operands, spatial);
    result.map_err(|raise| conv_hint(this, raise, object, &args, spatial))
}

/// `_conv_forward`, which convolutions whose weight is computed call.
pub(crate) fn conv_forward(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    args: Args,
    spatial: usize,
) -> R<Value> {
    let args = signature::bind("_conv_forward", "input, weight, bias", args)?;
    with_weight(this, object, ["input", "weight", "bias"].map(|name| args.get(name)), spatial)
}

/// The convolution of an input with a weight and a bias.
fn with_weight(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    [mut input, weight, bias]: [Value; 3],
    spatial: usize,
) -> R<Value> {
    let name = ["conv1d", "conv2d", "conv3d"][spatial - 1];
    let mut padding = attr(object, "padding");
    let mode = attr_text(object, "padding_mode")?;
    if &*mode != "zeros" {
        input = padded(this, object, &input, spatial, &mode)?;
        padding = Value::Int(0);
    }
    let mut call = Args::of(vec![input, weight, bias]);
    for key in ["stride", "dilation", "groups"] {
        call.named.push((Rc::from(key), attr(object, key)));
    }
    call.named.push((Rc::from("padding"), padding));
    super::call_with(this, name, call)
}

fn conv_hint(
    this: &mut Interp<'_>,
    raise: Box<Raise>,
    object: &Rc<Object>,
    args: &Bound,
    spatial: usize,
) -> Box<Raise> {
    let Ok(tensor) = args.tensor("input") else { return raise };
    let Ok(fact) = this.fact(&tensor) else { return raise };
    if fact.shape.rank() == spatial + 2 {
        let channels = fact.shape.0[1];
        if channels.known() != attr_usize(object, "in_channels").ok() {
            return modules::argument_hint(this, raise, object, "in_channels", channels, 0);
        }
    }
    raise.with_hint(rank_hint(object, &fact.shape))
}

/// The input padded as `padding_mode` asks.
fn padded(this: &mut Interp<'_>, object: &Rc<Object>, input: &Value, spatial: usize, mode: &str) -> R<Value> {
    let sizes = |name: &str| signature::ints(&attr(object, name)).unwrap_or_default();
    let padding: Vec<(i64, i64)> = match attr(object, "padding") {
        // What `same` adds, the odd one at the end.
        Value::Str(name) if &*name == "same" => {
            let reach = sizes("dilation").into_iter().zip(sizes("kernel_size"));
            reach
                .map(|(dilation, kernel)| dilation.saturating_mul(kernel.saturating_sub(1)))
                .map(|all| (all / 2, all - all / 2))
                .collect()
        }
        Value::Str(_) => vec![(0, 0); spatial],
        _ => sizes("padding").into_iter().map(|both| (both, both)).collect(),
    };
    let mut list = Vec::new();
    for &(before, after) in padding.iter().rev() {
        list.push(Value::Int(before));
        list.push(Value::Int(after));
    }
    let list = this.list(list)?;
    let mut call = Args::of(vec![input.clone(), list]);
    call.named.push((Rc::from("mode"), Value::str(mode)));
    super::call_with(this, "pad", call)
}

pub(crate) fn conv_transpose(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    args: Args,
    spatial: usize,
) -> R<Value> {
    let args = signature::bind("forward", "input, output_size=None", args)?;
    if &*attr_text(object, "padding_mode")? != "zeros" {
        return Err(Raise::value_error("Only `zeros` padding mode is supported for ConvTranspose"));
    }
    let name = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"][spatial - 1];
    let mut call =
        Args::of(vec![args.get("input"), registered(object, "weight"), registered(object, "bias")]);
    for key in ["stride", "padding", "groups", "dilation"] {
        call.named.push((Rc::from(key), attr(object, key)));
    }
    let output_padding = match args.get("output_size") {
        Value::None => attr(object, "output_padding"),
        _ => output_padding(this, object, &args, spatial)?,
    };
    call.named.push((Rc::from("output_padding"), output_padding));
    let result = super::call_with(this, name, call);
    result.map_err(|raise| conv_hint(this, raise, object, &args, spatial))
}

/// The padding at the end that makes a transposed convolution's output as large as was asked for.
fn output_padding(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound, spatial: usize) -> R<Value> {
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    let Some(wanted) = signature::dims(&[args.get("output_size")]).filter(|list| list.len() >= spatial)
    else {
        return Err(Raise::value_error(format!("output_size must have {spatial} or more elements")));
    };
    let sizes = |name: &str| signature::ints(&attr(object, name)).unwrap_or_default();
    let (stride, padding) = (sizes("stride"), sizes("padding"));
    let (dilation, kernel) = (sizes("dilation"), sizes("kernel_size"));
    let mut list = Vec::new();
    for at in 0..spatial {
        let size = creation::fixed(shape.0[shape.rank() - spatial + at], "output_size of a dimension")?;
        let wanted = creation::fixed(wanted[wanted.len() - spatial + at], "an output_size")?;
        let (size, wanted) = (i64::try_from(size).unwrap_or(0), i64::try_from(wanted).unwrap_or(0));
        let least = (size - 1) * stride[at] - 2 * padding[at] + dilation[at] * (kernel[at] - 1) + 1;
        if !(least..least + stride[at]).contains(&wanted) {
            return Err(Raise::value_error(format!(
                "requested an output size of {wanted}, but valid sizes range from {least} to {}",
                least + stride[at] - 1
            )));
        }
        list.push(Value::Int(wanted - least));
    }
    this.list(list)
}
