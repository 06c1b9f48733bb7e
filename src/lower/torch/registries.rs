//! `_modules`, `_parameters` and `_buffers` of a module.
//!
//! Input: a module and the name of one of them. Output: its entries as a dictionary; what is put into it or deleted
//! from it goes to the module. Limit: a dictionary that was kept does not show what the module got since.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp, Mode};
use crate::lower::torch::module_methods;
use crate::lower::torch::modules::{assign, put_module, put_parameter};
use crate::lower::value::{Object, Value};

/// `_modules`, `_parameters` and `_buffers`, as copies; what is put into one or deleted from it goes to the module.
pub(crate) fn registry(this: &mut Interp<'_>, object: &Rc<Object>, name: &str) -> R<Value> {
    let entries: Vec<(Value, Value)> = {
        let state = object.module.borrow();
        let Some(state) = state.as_ref() else {
            return Err(Raise::attribute(format!(
                "'{}' object has no attribute '{name}'",
                object.class.name
            )));
        };
        let pair = |name: &Rc<str>, value: &Value| (Value::Str(Rc::clone(name)), value.clone());
        match name {
            "_modules" => state.modules.iter().map(|(name, value)| pair(name, value)).collect(),
            "_parameters" => state.params.iter().map(|(name, value)| pair(name, value)).collect(),
            _ => state.buffers.iter().map(|(name, value, _)| pair(name, value)).collect(),
        }
    };
    let dict = this.dict(entries)?;
    let kind = match name {
        "_modules" => "_modules",
        "_parameters" => "_parameters",
        _ => "_buffers",
    };
    if let Some(identity) = dict.identity() {
        this.registries.insert(identity, (Rc::clone(object), kind));
    }
    Ok(dict)
}

/// `module._modules[name] = value` and the like.
pub(crate) fn register(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    kind: &str,
    name: &Value,
    value: &Value,
) -> R<()> {
    let refused = || {
        Raise::unsupported(format!(
            "setting an element of {kind} to a {} is not supported",
            value.type_name()
        ))
    };
    let Value::Str(name) = name else { return Err(refused()) };
    this.members(object, 1)?;
    let building = this.mode == Mode::Building;
    match (kind, value) {
        ("_modules", Value::None) if building => put_module(object, name, Value::None),
        ("_modules", Value::Object(child)) if building && child.class.is_module() => {
            put_module(object, name, value.clone());
        }
        ("_parameters", Value::None) if building => put_parameter(object, name, Value::None),
        ("_parameters", Value::Tensor(tensor)) if building && tensor.parameter.get() => {
            put_parameter(object, name, value.clone());
        }
        ("_buffers", Value::None | Value::Tensor(_)) => {
            let known = object
                .module
                .borrow()
                .as_ref()
                .is_some_and(|state| state.buffers.iter().any(|(known, _, _)| known == name));
            if known {
                assign(this, object, name, value)?;
            } else if building {
                let args = Args::of(vec![Value::Str(Rc::clone(name)), value.clone()]);
                module_methods::module_method(this, object, "register_buffer", args)?;
            } else {
                return Err(refused());
            }
        }
        _ => return Err(refused()),
    }
    Ok(())
}
