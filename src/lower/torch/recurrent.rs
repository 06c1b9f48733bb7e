//! The layers RNN, LSTM and GRU.
//!
//! Input: constructor arguments, then a sequence and perhaps initial states. Output: parameters named and ordered as in
//! PyTorch, and one `Recurrent` node. Limit: packed sequences are refused.

use std::rc::Rc;

use crate::graph::op::{Cell, Recurrent};
use crate::graph::{Init, Op, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::attributes::{attr_bool, attr_float, attr_text, attr_usize};
use crate::lower::torch::layers::{parameter, rank_hint};
use crate::lower::torch::{modules, signature};
use crate::lower::value::{Object, Value};

/// `nn.LSTM(...)` and the like, after the arguments became attributes.
pub(crate) fn init(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let hidden = args.count("hidden_size")?;
    let input = args.count("input_size")?;
    if hidden == 0 {
        return Err(Raise::value_error("hidden_size must be greater than zero"));
    }
    let layers = args.count("num_layers")?;
    if layers == 0 {
        return Err(Raise::value_error("num_layers must be greater than zero"));
    }
    let directions = if args.bool("bidirectional")? { 2 } else { 1 };
    let projection = args.count("proj_size")?;
    let gates = match &*object_kind(object) {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let dropout = args.float("dropout")?;
    if !(0.0..=1.0).contains(&dropout) {
        return Err(Raise::value_error(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed",
        ));
    }
    if projection > 0 && gates != 4 {
        return Err(Raise::value_error("proj_size argument is only supported for LSTM, not RNN or GRU"));
    }
    if projection >= hidden {
        return Err(Raise::value_error("proj_size has to be smaller than hidden_size"));
    }
    if let Value::Str(name) = args.get("nonlinearity")
        && !matches!(&*name, "tanh" | "relu")
    {
        let message = format!("Unknown nonlinearity '{name}'. Select from 'tanh' or 'relu'.");
        return Err(Raise::value_error(message));
    }
    let output = if projection > 0 { projection } else { hidden };
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let bound = 1.0 / (hidden as f64).sqrt();
    let uniform = Init::Uniform { low: -bound, high: bound };
    for layer in 0..layers {
        for direction in 0..directions {
            let suffix = if direction == 1 { "_reverse" } else { "" };
            let width = if layer == 0 { input } else { output * directions };
            let mut shapes = vec![
                (format!("weight_ih_l{layer}{suffix}"), vec![gates * hidden, width]),
                (format!("weight_hh_l{layer}{suffix}"), vec![gates * hidden, output]),
            ];
            if args.bool("bias")? {
                shapes.push((format!("bias_ih_l{layer}{suffix}"), vec![gates * hidden]));
                shapes.push((format!("bias_hh_l{layer}{suffix}"), vec![gates * hidden]));
            }
            if projection > 0 {
                shapes.push((format!("weight_hr_l{layer}{suffix}"), vec![projection, hidden]));
            }
            // Each is looked for among those before it.
            this.members(object, shapes.len())?;
            for (name, sizes) in shapes {
                parameter(this, object, &name, sizes, uniform.clone())?;
            }
        }
    }
    Ok(())
}

fn object_kind(object: &Rc<Object>) -> String {
    object
        .class
        .lineage()
        .find(|class| matches!(&*class.name, "LSTM" | "GRU" | "RNN"))
        .map_or_else(String::new, |class| class.name.to_string())
}

/// The call of a recurrent layer.
pub(crate) fn forward(this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<Value> {
    let args = signature::bind("forward", "input, hx=None", args)?;
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    let kind = object_kind(object);
    if shape.rank() != 2 && shape.rank() != 3 {
        let message = format!("{kind}: Expected input to be 2D or 3D, got {}D instead", shape.rank());
        return Err(Raise::value_error(message).with_hint(rank_hint(object, &shape)));
    }
    let expected = attr_usize(object, "input_size")?;
    let width = shape.0[shape.rank() - 1];
    if width.known() != Some(expected) {
        let message = format!("input.size(-1) must be equal to input_size. Expected {expected}, got {width}");
        return Err(modules::argument_hint(
            this,
            Raise::runtime(message),
            object,
            "input_size",
            width,
            shape.rank(),
        ));
    }
    let cell = match (&*kind, &*attr_text(object, "nonlinearity").unwrap_or_else(|_| Rc::from("tanh"))) {
        ("LSTM", _) => Cell::Lstm,
        ("GRU", _) => Cell::Gru,
        (_, "relu") => Cell::RnnRelu,
        _ => Cell::RnnTanh,
    };
    let batch_first = attr_bool(object, "batch_first");
    let mut sequence = this.tensor_ref(&tensor)?;
    let batch_dim = usize::from(!batch_first);
    let unbatched = shape.rank() == 2;
    if unbatched {
        sequence = this.append(Op::Unsqueeze { dim: batch_dim }, &[sequence])?;
        if !args.get("hx").is_none() {
            return Err(Raise::unsupported(format!(
                "{kind} with initial states and no batch is not supported"
            )));
        }
    }
    let mut inputs = vec![sequence];
    let initial_state = initial(this, &args, cell, &mut inputs)?;
    let dropout = match this.get_attr(&Value::Object(Rc::clone(object)), "training")? {
        Value::Bool(false) => 0.0,
        Value::Bool(true) if attr_float(object, "dropout")? > 0.0 => {
            let message = format!("{kind} with dropout that stays in training mode is not supported");
            return Err(Raise::unsupported(message));
        }
        _ => attr_float(object, "dropout")?,
    };
    let settings = Recurrent {
        cell,
        hidden: attr_usize(object, "hidden_size")?,
        layers: attr_usize(object, "num_layers")?,
        bias: modules::own_parameters(object).iter().any(|(name, _)| name.starts_with("bias_ih")),
        batch_first,
        bidirectional: attr_bool(object, "bidirectional"),
        dropout,
        projection: attr_usize(object, "proj_size")?,
        initial_state,
    };
    for (_, param) in modules::own_parameters(object) {
        if let Value::Tensor(param) = param {
            inputs.push(this.tensor_ref(&param)?);
        }
    }
    let count = if cell == Cell::Lstm { 3 } else { 2 };
    let results = this.append_all(Op::Recurrent(settings), &inputs, count)?;
    let mut outputs = Vec::new();
    for (index, mut tensor) in results.into_iter().enumerate() {
        if unbatched {
            let dim = if index == 0 { batch_dim } else { 1 };
            tensor = this.append(Op::Squeeze { dims: vec![dim] }, &[tensor])?;
        }
        outputs.push(this.wrap(tensor)?);
    }
    let states = outputs.split_off(1);
    let state = match <[Value; 1]>::try_from(states) {
        Ok([hidden]) => hidden,
        Err(states) => this.tuple(states)?,
    };
    outputs.push(state);
    this.tuple(outputs)
}

fn initial(this: &mut Interp<'_>, args: &Bound, cell: Cell, inputs: &mut Vec<TensorRef>) -> R<bool> {
    let states = match (args.get("hx"), cell) {
        (Value::None, _) => return Ok(false),
        (value @ (Value::Tuple(_) | Value::List(_)), Cell::Lstm) => this.iterate(&value)?,
        (value @ Value::Tensor(_), cell) if cell != Cell::Lstm => vec![value],
        (other, _) => {
            return Err(Raise::type_error(format!("initial state: unexpected {}", other.type_name())));
        }
    };
    for state in states {
        match state {
            Value::Tensor(tensor) => inputs.push(this.tensor_ref(&tensor)?),
            other => {
                return Err(Raise::type_error(format!("initial state: unexpected {}", other.type_name())));
            }
        }
    }
    Ok(true)
}
