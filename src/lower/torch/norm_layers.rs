//! The batch and instance norms of `torch.nn`: constructors and forward passes.
//!
//! Input: constructor arguments, kept as attributes; then tensors. Output: parameters, buffers and one node a call.
//! Limit: none.

use std::rc::Rc;

use crate::graph::{DType, Init, ParamKind, Shape, When};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::attributes::{attr, attr_bool, attr_usize, registered};
use crate::lower::torch::layers::{optional, rank_hint};
use crate::lower::torch::{composed, creation, functional, modules, signature};
use crate::lower::value::{Object, Value};

pub(crate) fn batch_norm_init(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let features = args.count("num_features")?;
    let (affine, running) = (args.bool("affine")?, args.bool("track_running_stats")?);
    optional(this, object, "weight", affine, vec![features], Init::Constant(1.0))?;
    optional(this, object, "bias", affine, vec![features], Init::Constant(0.0))?;
    let buffers: [(&str, Vec<usize>, DType, f64); 3] = [
        ("running_mean", vec![features], DType::F32, 0.0),
        ("running_var", vec![features], DType::F32, 1.0),
        ("num_batches_tracked", Vec::new(), DType::I64, 0.0),
    ];
    for (name, sizes, dtype, value) in buffers {
        let buffer = if running {
            creation::new_parameter(this, sizes, dtype, ParamKind::Buffer, Init::Constant(value))?
        } else {
            Value::None
        };
        modules::put_buffer(object, name, buffer, true);
    }
    Ok(())
}

/// The check of the input's rank that PyTorch makes in Python.
fn norm_rank(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound, spatial: usize) -> R<Shape> {
    let tensor = args.tensor("input").map_err(|raise| match args.get("input") {
        Value::Opaque(_) => raise,
        other => Raise::attribute(format!("'{}' object has no attribute 'dim'", other.type_name())),
    })?;
    let shape = this.fact(&tensor)?.shape;
    let rank = shape.rank();
    let (fits, wanted) = match spatial {
        0 => (rank >= 2, "at least 2D"),
        1 => (rank == 2 || rank == 3, "2D or 3D"),
        2 => (rank == 4, "4D"),
        _ => (rank == 5, "5D"),
    };
    if fits {
        return Ok(shape);
    }
    Err(Raise::value_error(format!("expected {wanted} input (got {rank}D input)"))
        .with_hint(rank_hint(object, &shape)))
}

pub(crate) fn batch_norm(this: &mut Interp<'_>, object: &Rc<Object>, args: Args, spatial: usize) -> R<Value> {
    let args = signature::bind("forward", "input", args)?;
    let shape = norm_rank(this, object, &args, spatial)?;
    let training = this.get_attr(&Value::Object(Rc::clone(object)), "training")?;
    let batch_statistics = match training {
        Value::Bool(false) => When::Never,
        Value::Bool(true) => When::Always,
        _ => When::Training,
    };
    let counter = match registered(object, "num_batches_tracked") {
        Value::Tensor(tensor) => Some(tensor),
        _ => None,
    };
    let mut call = Args::of(vec![args.get("input")]);
    for name in ["running_mean", "running_var", "weight", "bias"] {
        call.named.push((Rc::from(name), registered(object, name)));
    }
    call.named.push((Rc::from("momentum"), attr(object, "momentum")));
    call.named.push((Rc::from("eps"), attr(object, "eps")));
    let bound = signature::bind(
        "batch_norm",
        "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05",
        call,
    )?;
    functional::batch_norm(this, &bound, batch_statistics, counter).map_err(|raise| {
        if shape.0[1].known() == attr_usize(object, "num_features").ok() {
            raise
        } else {
            modules::argument_hint(this, raise, object, "num_features", shape.0[1], shape.rank())
        }
    })
}

pub(crate) fn instance_norm(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    args: Args,
    spatial: usize,
) -> R<Value> {
    let args = signature::bind("forward", "input", args)?;
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    if shape.rank() != spatial + 2 {
        if shape.rank() == spatial + 1 {
            return Err(Raise::unsupported("instance norm of a sample without a batch is not supported"));
        }
        let message =
            format!("expected {}D or {}D input (got {}D input)", spatial + 1, spatial + 2, shape.rank());
        return Err(Raise::value_error(message).with_hint(rank_hint(object, &shape)));
    }
    let affine = attr_bool(object, "affine");
    if affine && shape.0[1].known() != Some(attr_usize(object, "num_features")?) {
        let expected = attr_usize(object, "num_features")?;
        let message = format!(
            "expected input's size at dim=1 to match num_features ({expected}), but got: {}.",
            shape.0[1]
        );
        return Err(modules::argument_hint(
            this,
            Raise::value_error(message),
            object,
            "num_features",
            shape.0[1],
            shape.rank(),
        ));
    }
    if attr_bool(object, "track_running_stats") {
        let norm = composed::hidden_layer(this, "running_instance_norm")?;
        return this.call(&norm, Args::of(vec![Value::Object(Rc::clone(object)), args.get("input")]));
    }
    let mut call = Args::of(vec![args.get("input")]);
    call.named.push((Rc::from("weight"), registered(object, "weight")));
    call.named.push((Rc::from("bias"), registered(object, "bias")));
    call.named.push((Rc::from("eps"), attr(object, "eps")));
    super::call_with(this, "instance_norm", call)
}

/// `_check_input_dim`, which norms with a forward pass of their own call.
pub(crate) fn check_input_dim(this: &mut Interp<'_>, args: Args, spatial: usize) -> R<Value> {
    let args = signature::bind("_check_input_dim", "input", args)?;
    let tensor = args.tensor("input")?;
    let rank = this.fact(&tensor)?.shape.rank();
    let (fits, wanted) = match spatial {
        1 => (matches!(rank, 2 | 3), "2D or 3D".to_owned()),
        _ => (rank == spatial + 2, format!("{}D", spatial + 2)),
    };
    if !fits {
        return Err(Raise::value_error(format!("expected {wanted} input (got {rank}D input)")));
    }
    Ok(Value::None)
}
