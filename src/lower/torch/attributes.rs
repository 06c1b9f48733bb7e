//! Attributes of layers: what constructors keep of their arguments, and forward passes read again.
//!
//! Input: an instance and a name. Output: the value, converted and checked. Limit: none.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::{modules, signature};
use crate::lower::value::{Object, Value};

pub(crate) fn set(object: &Rc<Object>, name: &str, value: Value) {
    object.attrs.borrow_mut().insert(Rc::from(name), value);
}

pub(crate) fn set_sizes(this: &mut Interp<'_>, object: &Rc<Object>, name: &str, sizes: &[usize]) -> R<()> {
    let items = sizes.iter().map(|&size| Value::Int(i64::try_from(size).unwrap_or(i64::MAX))).collect();
    let tuple = this.tuple(items)?;
    set(object, name, tuple);
    Ok(())
}

/// An attribute, or `None`.
pub(crate) fn attr(object: &Rc<Object>, name: &str) -> Value {
    object.attrs.borrow().get(name).cloned().unwrap_or(Value::None)
}

/// A registered parameter or buffer (or whatever replaced it), or `None`.
pub(crate) fn registered(object: &Rc<Object>, name: &str) -> Value {
    modules::registered(object, name).unwrap_or_else(|| attr(object, name))
}

pub(crate) fn attr_int(object: &Rc<Object>, name: &str) -> R<i64> {
    match attr(object, name) {
        Value::Int(int) => Ok(int),
        other => Err(Raise::type_error(format!("{name} must be int, not {}", other.type_name()))),
    }
}

pub(crate) fn attr_usize(object: &Rc<Object>, name: &str) -> R<usize> {
    let int = attr_int(object, name)?;
    usize::try_from(int).map_err(|_| Raise::value_error(format!("{name} must not be negative, got {int}")))
}

pub(crate) fn attr_float(object: &Rc<Object>, name: &str) -> R<f64> {
    let value = attr(object, name);
    signature::number(&value)
        .ok_or_else(|| Raise::type_error(format!("{name} must be float, not {}", value.type_name())))
}

/// A flag; a parameter called `bias` counts as one.
pub(crate) fn attr_bool(object: &Rc<Object>, name: &str) -> bool {
    matches!(attr(object, name), Value::Bool(true))
}

pub(crate) fn attr_text(object: &Rc<Object>, name: &str) -> R<Rc<str>> {
    match attr(object, name) {
        Value::Str(text) => Ok(text),
        other => Err(Raise::type_error(format!("{name} must be str, not {}", other.type_name()))),
    }
}
