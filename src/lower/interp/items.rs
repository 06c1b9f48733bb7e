//! Iteration, length and items of values.
//!
//! Input: containers, text, ranges, tensors and objects with special methods. Output: their elements, by index or
//! slice too, and changed elements. Limit: an index that depends on the batch is refused.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp, Iter};
use crate::lower::torch;
use crate::lower::value::{DictClass, Object, Value};

impl Interp<'_> {
    /// All elements of an iterable.
    pub(crate) fn iterate(&mut self, value: &Value) -> R<Vec<Value>> {
        let items = match value {
            Value::List(items) => items.borrow().clone(),
            Value::Tuple(tuple) => tuple.items.clone(),
            Value::Dict(dict) | Value::Set(dict) => dict.borrow().keys(),
            Value::Iter(iter) => self.rest_of(iter)?,
            Value::View(view) => self.shown(view)?,
            Value::Range(start, stop, step) => {
                let length = usize::try_from(range_len(*start, *stop, *step)).unwrap_or(usize::MAX);
                self.check_length("range", length, self.limits.list_length)?;
                let mut items = Vec::with_capacity(length);
                let mut at = *start;
                for _ in 0..length {
                    items.push(Value::Int(at));
                    at = at.saturating_add(*step);
                }
                items
            }
            Value::Str(text) => text.chars().map(|char| Value::str(char.to_string())).collect(),
            Value::Tensor(_) => torch::parts::unbind(self, value, 0)?,
            Value::Class(class) if class.is_enum() => self.enum_members(class),
            Value::Dim(_) => return Err(Raise::unsupported("a loop over the batch is not supported")),
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            Value::Object(object) => {
                if self.class_attr(&object.class, "__iter__", None).is_some() {
                    let iter = self.iter(value)?;
                    return self.rest_of(&iter);
                }
                if self.class_attr(&object.class, "__getitem__", None).is_some() {
                    return self.walk_items(value);
                }
                return Err(Raise::type_error(format!("'{}' object is not iterable", object.class.name)));
            }
            other => {
                return Err(Raise::type_error(format!("'{}' object is not iterable", other.type_name())));
            }
        };
        self.tick(items.len())?;
        Ok(items)
    }

    /// What an iterator gives, to its end.
    fn rest_of(&mut self, iter: &Rc<Iter>) -> R<Vec<Value>> {
        let mut items = Vec::new();
        while let Some(item) = self.next_of(iter)? {
            items.push(item);
            if items.len() > self.limits.list_length {
                self.check_length("iterator", items.len(), self.limits.list_length)?;
            }
        }
        Ok(items)
    }

    /// What `__getitem__` gives for 0, 1, 2, ... until it raises `IndexError`.
    fn walk_items(&mut self, value: &Value) -> R<Vec<Value>> {
        let mut items = Vec::new();
        loop {
            let at = Value::Int(i64::try_from(items.len()).unwrap_or(i64::MAX));
            match self.get_item(value, &at) {
                Ok(item) => items.push(item),
                Err(raise) if raise.class() == Some("IndexError") => return Ok(items),
                Err(raise) => return Err(raise),
            }
            self.check_length("iterator", items.len(), self.limits.list_length)?;
        }
    }

    /// Python's `len`, where it does not depend on the batch.
    pub(crate) fn length(&mut self, value: &Value) -> R<i64> {
        let length = match value {
            Value::List(items) => items.borrow().len(),
            Value::Tuple(tuple) => tuple.items.len(),
            Value::Dict(dict) | Value::Set(dict) => dict.borrow().len(),
            Value::View(view) => view.len(),
            Value::Str(text) => text.chars().count(),
            Value::Class(class) if class.is_enum() => class.fields.borrow().len(),
            Value::Range(start, stop, step) => return Ok(range_len(*start, *stop, *step)),
            Value::Object(object) => match self.class_attr(&object.class, "__len__", None) {
                Some(method) => {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return match result {
                        Value::Int(length) => Ok(length),
                        other => {
                            let name = other.type_name();
                            Err(Raise::type_error(format!(
                                "'{name}' object cannot be interpreted as an integer"
                            )))
                        }
                    };
                }
                None => return Err(no_len(value)),
            },
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => return Err(no_len(other)),
        };
        Ok(i64::try_from(length).unwrap_or(i64::MAX))
    }

    pub(crate) fn get_item(&mut self, value: &Value, index: &Value) -> R<Value> {
        match value {
            Value::Tensor(tensor) => torch::index::part(self, tensor, index),
            Value::Dict(dict) => {
                let key = self.key(index)?;
                let found = dict.borrow().get(&key).cloned();
                if let Some(found) = found {
                    return Ok(found);
                }
                let class = dict.borrow().class.clone();
                if let DictClass::Defaulting(Some(factory)) = class {
                    let made = self.call(&factory, Args::default())?;
                    dict.borrow_mut().insert(key, index.clone(), made.clone());
                    return Ok(made);
                }
                Err(Raise::python("KeyError", self.repr(index)?))
            }
            Value::List(items) => {
                let items = items.borrow().clone();
                match self.select(&items, index, "list")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => self.list(values),
                }
            }
            Value::Tuple(tuple) => match self.select(&tuple.items, index, "tuple")? {
                Selected::One(value) => Ok(value),
                Selected::Many(values) if tuple.size => self.size(values),
                Selected::Many(values) => self.tuple(values),
            },
            Value::Str(text) => {
                let chars: Vec<Value> = text.chars().map(|char| Value::str(char.to_string())).collect();
                self.tick(chars.len() / 8)?;
                match self.select(&chars, index, "string")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => {
                        let mut text = String::new();
                        for value in &values {
                            if let Value::Str(part) = value {
                                text.push_str(part);
                            }
                        }
                        self.text(text)
                    }
                }
            }
            Value::Range(..) => {
                let items = self.iterate(value)?;
                match self.select(&items, index, "range object")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => self.list(values),
                }
            }
            Value::Object(object) => match self.class_attr(&object.class, "__getitem__", None) {
                Some(method) => self.call(&method, Args::of(vec![value.clone(), index.clone()])),
                None => Err(not_subscriptable(value)),
            },
            Value::Opaque(_) => Ok(value.clone()),
            Value::Class(class) if class.is_enum() => {
                let found = match index {
                    Value::Str(name) => class.attrs.borrow().get(name).cloned(),
                    _ => None,
                };
                match found {
                    Some(member @ Value::Object(_)) => Ok(member),
                    _ => Err(Raise::python("KeyError", self.repr(index)?)),
                }
            }
            Value::Class(_) => Ok(value.clone()),
            other => Err(not_subscriptable(other)),
        }
    }

    fn select(&mut self, items: &[Value], index: &Value, what: &str) -> R<Selected> {
        match index {
            Value::Int(_) | Value::Bool(_) => {
                let at = position(index, items.len());
                match at.and_then(|at| items.get(at)) {
                    Some(value) => Ok(Selected::One(value.clone())),
                    None => Err(Raise::python("IndexError", format!("{what} index out of range"))),
                }
            }
            Value::Slice(parts) => {
                let positions = slice_positions(parts, items.len())?;
                self.tick(positions.len())?;
                Ok(Selected::Many(positions.into_iter().map(|at| items[at].clone()).collect()))
            }
            Value::Dim(_) => Err(Raise::unsupported("an index that depends on the batch is not supported")),
            Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => {
                let message = format!("{what} indices must be integers or slices, not {}", other.type_name());
                Err(Raise::type_error(message))
            }
        }
    }

    pub(crate) fn set_item(&mut self, object: &Value, index: &Value, value: Value) -> R<()> {
        match object {
            Value::List(items) => {
                let length = items.borrow().len();
                if let Value::Slice(parts) = index {
                    let new = self.iterate(&value)?;
                    let positions = slice_positions(parts, length)?;
                    self.check_length("list", length + new.len(), self.limits.list_length)?;
                    let step = parts[2].is_none() || matches!(parts[2], Value::Int(1));
                    if step {
                        let start = positions.first().copied().unwrap_or_else(|| slice_start(parts, length));
                        items.borrow_mut().splice(start..start + positions.len(), new);
                    } else if positions.len() == new.len() {
                        for (at, value) in positions.into_iter().zip(new) {
                            items.borrow_mut()[at] = value;
                        }
                    } else {
                        return Err(Raise::value_error(
                            "attempt to assign sequence to extended slice of another size",
                        ));
                    }
                    return Ok(());
                }
                match position(index, length) {
                    Some(at) => {
                        items.borrow_mut()[at] = value;
                        Ok(())
                    }
                    None => Err(Raise::python("IndexError", "list assignment index out of range")),
                }
            }
            Value::Dict(dict) => {
                if let Some((module, kind)) = self.registry_behind(object) {
                    torch::registries::register(self, &module, kind, index, &value)?;
                }
                let key = self.key(index)?;
                self.check_length("dict", dict.borrow().len(), self.limits.list_length)?;
                dict.borrow_mut().insert(key, index.clone(), value);
                Ok(())
            }
            Value::Tensor(tensor) => torch::index::set(self, tensor, index, &value),
            Value::Object(target) => match self.class_attr(&target.class, "__setitem__", None) {
                Some(method) => {
                    self.call(&method, Args::of(vec![object.clone(), index.clone(), value]))?;
                    Ok(())
                }
                None => Err(no_item_assignment(object)),
            },
            Value::Opaque(_) => Ok(()),
            other => Err(no_item_assignment(other)),
        }
    }

    /// The module of whose `_modules`, `_parameters` or `_buffers` a dictionary is a copy.
    pub(crate) fn registry_behind(&self, dict: &Value) -> Option<(Rc<Object>, &'static str)> {
        self.registries.get(&dict.identity()?).cloned()
    }

    pub(crate) fn delete_item(&mut self, object: &Value, index: &Value) -> R<()> {
        match object {
            Value::List(items) => {
                let length = items.borrow().len();
                let mut positions = match index {
                    Value::Slice(parts) => slice_positions(parts, length)?,
                    index => position(index, length).into_iter().collect(),
                };
                if positions.is_empty() && !matches!(index, Value::Slice(_)) {
                    return Err(Raise::python("IndexError", "list assignment index out of range"));
                }
                positions.sort_unstable();
                self.tick(length.saturating_mul(positions.len()) / 16)?;
                for at in positions.into_iter().rev() {
                    items.borrow_mut().remove(at);
                }
                Ok(())
            }
            Value::Dict(dict) => {
                let key = self.key(index)?;
                self.tick(dict.borrow().len() / 16)?;
                if let (Some((module, _)), Value::Str(name)) = (self.registry_behind(object), index) {
                    torch::modules::unregister(&module, name);
                }
                match dict.borrow_mut().remove(&key) {
                    Some(_) => Ok(()),
                    None => Err(Raise::python("KeyError", "key not found")),
                }
            }
            Value::Object(target) => match self.class_attr(&target.class, "__delitem__", None) {
                Some(method) => {
                    self.call(&method, Args::of(vec![object.clone(), index.clone()]))?;
                    Ok(())
                }
                None => Err(Raise::type_error(format!(
                    "'{}' object doesn't support item deletion",
                    object.type_name()
                ))),
            },
            other => Err(Raise::type_error(format!(
                "'{}' object doesn't support item deletion",
                other.type_name()
            ))),
        }
    }
}

enum Selected {
    One(Value),
    Many(Vec<Value>),
}

pub(crate) fn range_len(start: i64, stop: i64, step: i64) -> i64 {
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let length = match step {
        0 => 0,
        1.. => (stop - start + step - 1).max(0) / step,
        _ => (start - stop - step - 1).max(0) / -step,
    };
    i64::try_from(length.max(0)).unwrap_or(i64::MAX)
}

fn position(index: &Value, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = match index {
        Value::Int(index) => *index,
        Value::Bool(flag) => i64::from(*flag),
        _ => return None,
    };
    let at = if index < 0 { index.checked_add(length)? } else { index };
    (0..length).contains(&at).then(|| usize::try_from(at).ok())?
}

fn slice_start(parts: &[Value; 3], length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let start = match parts[0] {
        Value::Int(start) if start < 0 => start.saturating_add(length).max(0),
        Value::Int(start) => start.min(length),
        _ => 0,
    };
    usize::try_from(start).unwrap_or(0)
}

/// Positions of a slice in a sequence, in order.
pub(crate) fn slice_positions(parts: &[Value; 3], length: usize) -> R<Vec<usize>> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let part = |value: &Value| match value {
        Value::None => Ok(None),
        Value::Int(int) => Ok(Some(*int)),
        Value::Bool(flag) => Ok(Some(i64::from(*flag))),
        Value::Dim(_) => Err(Raise::unsupported("a slice that depends on the batch is not supported")),
        _ => Err(Raise::type_error("slice indices must be integers or None or have an __index__ method")),
    };
    let step = part(&parts[2])?.unwrap_or(1);
    if step == 0 {
        return Err(Raise::value_error("slice step cannot be zero"));
    }
    let clamp = |value: Option<i64>, default: i64| {
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        match value {
            None => default,
            Some(value) if value < 0 => value.saturating_add(length).clamp(low, high),
            Some(value) => value.clamp(low, high),
        }
    };
    let (start, stop) = if step > 0 {
        (clamp(part(&parts[0])?, 0), clamp(part(&parts[1])?, length))
    } else {
        (clamp(part(&parts[0])?, length - 1), clamp(part(&parts[1])?, -1))
    };
    let mut positions = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        positions.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(positions)
}

fn no_len(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("object of type '{}' has no len()", value.type_name()))
}

fn not_subscriptable(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("'{}' object is not subscriptable", value.type_name()))
}

fn no_item_assignment(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("'{}' object does not support item assignment", value.type_name()))
}
