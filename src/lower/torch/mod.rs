//! What the interpreter knows of PyTorch: functions, tensor methods, layers, initialisers.
//!
//! Input: calls with values. Output: operations appended to the graph, or PyTorch's exceptions. Every function is a row
//! of a table (name, signature, code); methods are the functions whose first argument is the tensor. Limit: results are
//! real and dense; values of tensors are not computed.

pub(crate) mod attributes;
mod autograd;
mod choice;
pub(crate) mod composed;
pub(crate) mod computed;
pub(crate) mod constant;
mod containers;
mod conv_layers;
pub(crate) mod creation;
pub(crate) mod elementwise;
pub(crate) mod first_values;
mod folding;
pub(crate) mod functional;
mod hooks;
pub(crate) mod index;
mod initialisers;
mod layer_parameters;
pub(crate) mod layers;
mod math;
pub(crate) mod module_methods;
pub(crate) mod modules;
pub(crate) mod namespaces;
mod norm_layers;
mod numeric;
pub(crate) mod overlap;
pub(crate) mod parts;
mod places;
mod pooling;
pub(crate) mod random;
mod recurrent;
mod reduce;
pub(crate) mod registries;
mod regular;
mod resize;
pub(crate) mod saved;
pub(crate) mod shape;
pub(crate) mod signature;
mod stdlib;
pub(crate) mod strides;
mod truncated;
pub(crate) mod unsupported;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use ruff_python_ast::Operator;

use crate::graph::{DType, Fact, Op};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp, Mode, Run};
use crate::lower::value::{Builtin, Tensor, TensorState, Value};

/// A function of PyTorch and where it is found.
pub(crate) struct Function {
    /// `t` in `torch`, `f` in `torch.nn.functional`, `m` as a method of tensors.
    spaces: &'static str,
    builtin: Builtin,
}

/// A row of a function table.
const fn row(spaces: &'static str, name: &'static str, signature: &'static str, run: Run) -> Function {
    Function { spaces, builtin: Builtin { name, signature, run } }
}

/// The end of a signature whose function may overwrite its input.
const IN_PLACE: &str = ", inplace=False";

static TABLE: LazyLock<BTreeMap<(char, &'static str), &'static Builtin>> = LazyLock::new(|| {
    let tables = [
        creation::FUNCTIONS,
        elementwise::FUNCTIONS,
        functional::FUNCTIONS,
        parts::FUNCTIONS,
        places::FUNCTIONS,
        pooling::FUNCTIONS,
        reduce::FUNCTIONS,
        resize::FUNCTIONS,
        shape::FUNCTIONS,
        truncated::FUNCTIONS,
    ];
    let mut table = BTreeMap::new();
    for function in tables.into_iter().flatten() {
        for space in function.spaces.chars() {
            let builtin = match function.builtin.signature.strip_suffix(IN_PLACE) {
                // Only the functions of `torch.nn.functional` ask.
                Some(signature) if space != 'f' => {
                    let Builtin { name, run, .. } = function.builtin;
                    Box::leak(Box::new(Builtin { name, signature, run }))
                }
                _ => &function.builtin,
            };
            table.insert((space, function.builtin.name), builtin);
        }
    }
    table
});

/// The function of this name in a space (`t`, `f` or `m`).
pub(crate) fn find(space: char, name: &str) -> Option<&'static Builtin> {
    // The lifetime of the key is shortened for the look-up only.
    let table: &BTreeMap<(char, &str), &'static Builtin> = &TABLE;
    table.get(&(space, name)).copied()
}

/// `itertools.chain.from_iterable`.
pub(crate) fn chain_from_iterable() -> Option<Value> {
    stdlib::find("itertools", "chain.from_iterable").map(Value::Builtin)
}

/// The functions of a space.
pub(crate) fn names(space: char) -> impl Iterator<Item = &'static str> {
    TABLE.keys().filter(move |(known, _)| *known == space).map(|(_, name)| *name)
}

/// The names that functions of `torch` and methods of tensors take for numpy's sake, as PyTorch's own.
pub(crate) fn aliases(builtin: &'static Builtin, mut args: Args) -> Args {
    const ALIASES: &[(&str, &str)] =
        &[("axis", "dim"), ("keepdims", "keepdim"), ("x", "input"), ("x1", "input"), ("x2", "other")];
    let has = |name: &str| signature::parameters(builtin.signature).any(|known| known.name == name);
    for (name, _) in &mut args.named {
        let Some((_, own)) = ALIASES.iter().find(|(alias, _)| *alias == &**name) else { continue };
        let here = ['t', 'm']
            .iter()
            .any(|&space| find(space, builtin.name).is_some_and(|known| std::ptr::eq(known, builtin)));
        if here && has(own) && !has(name) {
            *name = Rc::from(*own);
        }
    }
    args
}

/// Whether `torch.nn` has a layer of this name.
pub(crate) fn is_layer(name: &str) -> bool {
    layers::find(name).is_some() || composed::LAYERS.contains(&name)
}

/// Call a function by name, wherever it is found.
pub(crate) fn call(this: &mut Interp<'_>, name: &str, args: Vec<Value>) -> R<Value> {
    call_with(this, name, Args::of(args))
}

/// As [`call`], with keyword arguments.
pub(crate) fn call_with(this: &mut Interp<'_>, name: &str, args: Args) -> R<Value> {
    match find('f', name).or_else(|| find('t', name)).or_else(|| find('m', name)) {
        Some(builtin) => this.call(&Value::Builtin(builtin), args),
        None => Err(Raise::unsupported(format!("torch function '{name}' is not supported"))),
    }
}

/// An unbound method, such as `torch.Tensor.relu`.
pub(crate) fn tensor_function(name: &str) -> Option<Value> {
    find('m', name).map(Value::Builtin)
}

/// Make `target` the tensor that `source` is: the meaning of an operation in place.
pub(crate) fn rebind(this: &mut Interp<'_>, target: &Rc<Tensor>, source: &Rc<Tensor>) -> R<()> {
    let (old, new) = (this.fact(target)?, this.fact(source)?);
    if old.shape != new.shape {
        return Err(Raise::runtime(format!(
            "output with shape {} doesn't match the broadcast shape {}",
            old.shape, new.shape
        )));
    }
    if target.parameter.get() && matches!(this.mode, Mode::Tracing { .. }) {
        return Err(Raise::runtime(
            "a leaf Variable that requires grad is being used in an in-place operation.",
        ));
    }
    if this.mode == Mode::Building && first_values::written(this, target, source)? {
        return Ok(());
    }
    if saved::gives_back(this, target, source) {
        return Ok(());
    }
    target.version.set(target.version.get() + 1);
    let part = target.part.borrow().clone();
    if let Some(part) = part {
        return index::write_back(this, target, part, source);
    }
    if let (TensorState::Param(id), Mode::Tracing { .. }) = (target.state.borrow().clone(), this.mode)
        && this.builder.param(id).kind == crate::graph::ParamKind::Buffer
    {
        this.kept.push((Rc::clone(target), id));
    }
    saved::change(this, target, source)?;
    overwrite(this, target)?;
    let state = source.state.borrow().clone();
    *target.state.borrow_mut() = state;
    target.copied.set(source.copied.get());
    Ok(())
}

/// Note that the memory of `target` gets new contents: the names that share its value follow it, views of it and what
/// it is a view of do not, and count as out of date.
fn overwrite(this: &mut Interp<'_>, target: &Rc<Tensor>) -> R<()> {
    let computed = !matches!(&*target.state.borrow(), TensorState::Known { .. });
    if computed && !target.copied.get() && matches!(this.mode, Mode::Tracing { .. }) {
        let old = this.tensor_ref(target)?;
        let memory = this.memory(old);
        this.overwritten.insert(memory);
        if memory != old {
            this.viewed.insert(memory);
        }
    }
    Ok(())
}

/// An attribute of a tensor.
pub(crate) fn tensor_attr(this: &mut Interp<'_>, tensor: &Rc<Tensor>, name: &str) -> R<Value> {
    let value = Value::Tensor(Rc::clone(tensor));
    match name {
        "shape" => {
            let fact = facts(this, tensor)?;
            let dims = fact.shape.0.iter().map(|&dim| Value::from_dim(dim)).collect();
            return this.size(dims);
        }
        "ndim" => return Ok(Value::Int(i64::try_from(facts(this, tensor)?.shape.rank()).unwrap_or(0))),
        "dtype" => return Ok(Value::DType(facts(this, tensor)?.dtype)),
        "device" => return Ok(Value::Opaque(Rc::from("torch.device"))),
        "data" if matches!(this.mode, Mode::Tracing { .. }) => {
            let tensor = this.tensor_ref(tensor)?;
            return this.op(Op::Detach, &[tensor]);
        }
        "data" => return Ok(value),
        "requires_grad" => {
            let state = tensor.state.borrow().clone();
            return Ok(Value::Bool(match state {
                TensorState::Param(id) => this.builder.param(id).kind == crate::graph::ParamKind::Trained,
                TensorState::Node { .. } => true,
                TensorState::Known { .. } => false,
            }));
        }
        "is_cuda" | "is_quantized" | "is_sparse" | "is_mps" => return Ok(Value::Bool(false)),
        "grad" => return Ok(Value::None),
        "T" => return call(this, "t", vec![value]),
        "mT" => return call(this, "mT", vec![value]),
        "__class__" => return this.type_of(&value),
        _ => {}
    }
    let base = name.strip_suffix('_').unwrap_or(name);
    let exists = |name: &str| find('m', name).is_some() || composed::has('m', name);
    if exists(name) || (base != name && exists(base)) || initialisers::is_method(name) {
        return this.own(Value::Method(Rc::new((value, Rc::from(name)))));
    }
    if unsupported::find("torch.Tensor", name).is_some() {
        return Err(Raise::unsupported(format!("Tensor.{name} is not supported")));
    }
    Err(crate::lower::interp::no_attribute(&value, name))
}

/// Call a method of a tensor.
pub(crate) fn call_tensor_method(this: &mut Interp<'_>, value: &Value, name: &str, args: Args) -> R<Value> {
    if initialisers::is_method(name) {
        return initialisers::method(this, value, name, args);
    }
    if let Some(function) = method(this, name)? {
        return this.call(&function, args.prepend(value.clone()));
    }
    let base = name.strip_suffix('_').unwrap_or(name);
    let Some(function) = method(this, base)? else {
        return Err(Raise::unsupported(format!("Tensor.{name} is not supported")));
    };
    if let (Mode::Building, Value::Tensor(target)) = (this.mode, value)
        && initialisers::rescale(this, target, &function, &args)?
    {
        return Ok(value.clone());
    }
    let since = this.builder.node_count();
    let result = this.call(&function, args.prepend(value.clone()))?;
    if let (Value::Tensor(target), Value::Tensor(source)) = (value, &result) {
        if matches!(base, "squeeze" | "unsqueeze" | "transpose" | "t") {
            saved::reshaped(this, target);
            *target.state.borrow_mut() = source.state.borrow().clone();
        } else {
            saved::changing(this, since, |this| rebind(this, target, source))?;
        }
        return Ok(value.clone());
    }
    Ok(result)
}

/// `target op= value` on first values. Whether it was that.
pub(crate) fn augmented(this: &mut Interp<'_>, target: &Rc<Tensor>, op: Operator, value: &Value) -> R<bool> {
    let name = match op {
        Operator::Add => "add",
        Operator::Sub => "sub",
        Operator::Mult => "mul",
        Operator::Div => "div",
        _ => return Ok(false),
    };
    match find('m', name).map(Value::Builtin) {
        Some(function) if this.mode == Mode::Building => {
            initialisers::rescale(this, target, &function, &Args::of(vec![value.clone()]))
        }
        _ => Ok(false),
    }
}

/// What an operation in place computed, as elements of the tensor that it is for.
pub(crate) fn cast_back(this: &mut Interp<'_>, target: &Rc<Tensor>, source: &Rc<Tensor>) -> R<Rc<Tensor>> {
    let (own, new) = (facts(this, target)?.dtype, facts(this, source)?.dtype);
    if own == new {
        return Ok(Rc::clone(source));
    }
    if !own.is_floating() && (new.is_floating() || own == DType::Bool) {
        let name = |dtype| match dtype {
            DType::F32 => "Float",
            DType::F64 => "Double",
            DType::I64 => "Long",
            DType::Bool => "Bool",
        };
        let (new, own) = (name(new), name(own));
        let message = format!("result type {new} can't be cast to the desired output type {own}");
        return Err(Raise::runtime(message));
    }
    let input = this.tensor_ref(source)?;
    match this.op(Op::Cast(own), &[input])? {
        Value::Tensor(cast) => Ok(cast),
        _ => Ok(Rc::clone(source)),
    }
}

/// A method that is no operation in place.
fn method(this: &mut Interp<'_>, name: &str) -> R<Option<Value>> {
    match find('m', name) {
        Some(builtin) => Ok(Some(Value::Builtin(builtin))),
        None if composed::has('m', name) => composed::function(this, name).map(Some),
        None => Ok(None),
    }
}

/// Assign an attribute of a tensor.
pub(crate) fn set_tensor_attr(
    this: &mut Interp<'_>,
    tensor: &Rc<Tensor>,
    name: &str,
    value: &Value,
) -> R<()> {
    match (name, value) {
        ("requires_grad", _) => {
            let trained = this.truth(value)?;
            set_trained(this, tensor, trained);
            Ok(())
        }
        ("data", Value::Tensor(source)) => initialisers::assign_data(this, tensor, source),
        _ => Ok(()),
    }
}

/// Whether the optimiser changes a parameter.
pub(crate) fn set_trained(this: &mut Interp<'_>, tensor: &Tensor, trained: bool) {
    use crate::graph::ParamKind;
    if let TensorState::Param(id) = *tensor.state.borrow() {
        let param = this.builder.param_mut(id);
        if matches!(param.kind, ParamKind::Trained | ParamKind::Frozen) {
            param.kind = if trained { ParamKind::Trained } else { ParamKind::Frozen };
        }
    }
}

/// What is known of a tensor, without making it an operand.
pub(crate) fn facts(this: &mut Interp<'_>, tensor: &Tensor) -> R<Fact> {
    match &*tensor.state.borrow() {
        TensorState::Known { sizes, dtype, .. } => {
            return Ok(Fact { shape: crate::graph::Shape::fixed(sizes), dtype: *dtype });
        }
        TensorState::Param(id) => {
            let param = this.builder.param(*id);
            return Ok(Fact { shape: crate::graph::Shape::fixed(&param.sizes), dtype: param.dtype });
        }
        TensorState::Node { .. } => {}
    }
    this.fact(tensor)
}

/// The truth of a tensor of one element, where its value is known.
pub(crate) fn truth(this: &mut Interp<'_>, tensor: &Rc<Tensor>) -> R<bool> {
    let fact = facts(this, tensor)?;
    if fact.shape.numel().and_then(crate::graph::Dim::known).is_some_and(|count| count != 1) {
        return Err(Raise::runtime("Boolean value of Tensor with more than one value is ambiguous"));
    }
    match constant::of(this, tensor)? {
        Some(known) if known.values.len() == 1 => Ok(known.values[0] != 0.0),
        _ => Err(Raise::values_asked()),
    }
}

/// A whole float as an integer value.
pub(crate) fn whole(number: f64) -> R<Value> {
    if number.is_nan() {
        return Err(Raise::value_error("cannot convert float NaN to integer"));
    }
    if number.abs() >= 9e18 {
        return Err(Raise::overflow());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked above")]
    Ok(Value::Int(number as i64))
}

/// An axis given as Python gives it.
pub(crate) fn axis(shape: &crate::graph::Shape, dim: i64) -> R<usize> {
    shape.axis(dim).ok_or_else(|| {
        let rank = i64::try_from(shape.rank()).unwrap_or(0).max(1);
        let message = format!(
            "Dimension out of range (expected to be in range of [{}, {}], but got {dim})",
            -rank,
            rank - 1
        );
        Raise::python("IndexError", message)
    })
}
