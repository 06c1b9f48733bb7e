//! Methods of lists, tuples, dictionaries, sets and iterators.
//!
//! Input: a built-in value, a method's name, arguments. Output: what the method returns. Limit: those listed here.

use std::cell::RefCell;
use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::derived::ITEMS;
use crate::lower::interp::{Args, Interp, Part};
use crate::lower::torch::signature;
use crate::lower::value::{DictClass, Tuple, Value};

const STR: &[&str] = &[
    "lower",
    "upper",
    "capitalize",
    "title",
    "strip",
    "lstrip",
    "rstrip",
    "startswith",
    "endswith",
    "replace",
    "split",
    "rsplit",
    "join",
    "format",
    "find",
    "count",
    "isdigit",
    "isnumeric",
    "isalpha",
    "partition",
    "encode",
    "zfill",
    "splitlines",
    "swapcase",
    "removeprefix",
    "removesuffix",
    "center",
    "ljust",
    "rjust",
    "index",
    "islower",
    "isupper",
    "isidentifier",
    "isspace",
    "isalnum",
    "casefold",
    "rfind",
    "rindex",
    "rpartition",
    "isascii",
    "isdecimal",
];
const LIST: &[&str] = &[
    "append", "extend", "insert", "pop", "remove", "index", "count", "reverse", "sort", "copy", "clear",
    "__len__",
];
const TUPLE: &[&str] = &["index", "count", "numel", "_asdict", "_replace", "__len__"];
const DICT: &[&str] =
    &["keys", "values", "items", "get", "pop", "update", "setdefault", "copy", "clear", "popitem", "__len__"];
const SET: &[&str] = &[
    "add",
    "update",
    "remove",
    "discard",
    "union",
    "intersection",
    "difference",
    "copy",
    "issubset",
    "clear",
    "issuperset",
    "isdisjoint",
    "symmetric_difference",
    "intersection_update",
    "difference_update",
];

/// Whether a built-in value has a method.
pub(crate) fn has_method(value: &Value, name: &str) -> bool {
    let names = match value {
        Value::Str(_) => STR,
        Value::List(_) => LIST,
        Value::Tuple(_) => TUPLE,
        Value::Dict(dict) => {
            let ordered = matches!(dict.borrow().class, DictClass::Ordered);
            return DICT.contains(&name) || (ordered && name == "move_to_end");
        }
        Value::Set(_) => SET,
        Value::Int(_) | Value::Bool(_) => &["bit_length", "item"][..1],
        Value::Float(_) => &["is_integer"],
        Value::Iter(_) => &["__next__", "__iter__"],
        Value::View(_) => &["isdisjoint"],
        _ => return false,
    };
    names.contains(&name)
}

/// A method of a built-in type, such as `str.upper`.
pub(crate) fn method_of(class: &str, name: &str) -> Option<&'static str> {
    let names = match class {
        "str" => STR,
        "list" => LIST,
        "tuple" => TUPLE,
        "dict" | "OrderedDict" if name == "fromkeys" => return Some("fromkeys"),
        "OrderedDict" if name == "move_to_end" => return Some("move_to_end"),
        "dict" | "OrderedDict" => DICT,
        "set" => SET,
        _ => return None,
    };
    names.iter().find(|known| **known == name).copied()
}

impl Interp<'_> {
    /// Call a method of a built-in value.
    pub(crate) fn call_method(&mut self, value: &Value, name: &str, args: Args) -> R<Value> {
        match value {
            Value::Str(text) => self.str_method(&Rc::clone(text), name, args),
            Value::Dict(_) => self.dict_method(value, name, args),
            Value::Set(_) => self.set_method(value, name, args),
            Value::List(_) => self.list_method(value, name, args),
            Value::Tensor(_) => crate::lower::torch::call_tensor_method(self, value, name, args),
            Value::Iter(_) if name == "__iter__" => Ok(value.clone()),
            Value::Iter(_) => self.builtin_call("next", Args::of(vec![value.clone()])),
            Value::View(_) => {
                let items = self.iterate(value)?;
                let items = self.set(items)?;
                self.set_method(&items, name, args)
            }
            Value::Int(int) => Ok(Value::Int(64 - i64::from(int.unsigned_abs().leading_zeros()))),
            Value::Float(float) => Ok(Value::Bool(float.fract() == 0.0)),
            Value::Tuple(tuple) => match name {
                "numel" => {
                    let mut product = Value::Int(1);
                    for item in &tuple.items {
                        product = self.binary(ruff_python_ast::Operator::Mult, &product, item)?;
                    }
                    Ok(product)
                }
                "_asdict" => {
                    let names = tuple.named.as_ref().map(|named| named.fields.clone()).unwrap_or_default();
                    let entries = names.iter().map(Value::str).zip(tuple.items.iter().cloned()).collect();
                    self.dict(entries)
                }
                "_replace" => replaced(tuple, &args),
                "__len__" => self.length(value).map(Value::Int),
                _ => self.search(value, name, &args),
            },
            other => Err(super::attr::no_attribute(other, name)),
        }
    }

    /// `index` and `count`.
    fn search(&mut self, value: &Value, name: &str, args: &Args) -> R<Value> {
        let Some(wanted) = args.positional.first() else {
            return Err(Raise::type_error(format!("{name}() takes exactly one argument (0 given)")));
        };
        let mut count = 0;
        for (index, item) in self.iterate(value)?.iter().enumerate() {
            if self.equal(item, wanted)? {
                if name == "index" {
                    return Ok(Value::Int(i64::try_from(index).unwrap_or(i64::MAX)));
                }
                count += 1;
            }
        }
        if name == "count" {
            return Ok(Value::Int(count));
        }
        Err(Raise::value_error(format!("{} is not in {}", self.repr(wanted)?, value.type_name())))
    }

    /// Append what a value gives to a list; an iterator sees what it has given so far, as `y.extend(m(y[-1]) for m in
    /// layers)` does.
    pub(crate) fn extend(&mut self, items: &RefCell<Vec<Value>>, more: &Value) -> R<()> {
        if let Value::Iter(iter) = more {
            while let Some(item) = self.next_of(iter)? {
                let length = items.borrow().len() + 1;
                self.check_length("list", length, self.limits.list_length)?;
                items.borrow_mut().push(item);
            }
            return Ok(());
        }
        let more = self.iterate(more)?;
        let length = items.borrow().len() + more.len();
        self.check_length("list", length, self.limits.list_length)?;
        items.borrow_mut().extend(more);
        Ok(())
    }

    fn list_method(&mut self, value: &Value, name: &str, args: Args) -> R<Value> {
        let Value::List(items) = value else { return Ok(Value::None) };
        let length = items.borrow().len();
        let first = args.positional.first().cloned();
        let missing = || Raise::type_error(format!("list.{name}() takes exactly one argument (0 given)"));
        match name {
            "append" => {
                self.check_length("list", length + 1, self.limits.list_length)?;
                let item = first.ok_or_else(missing)?;
                items.borrow_mut().push(item);
                return Ok(Value::None);
            }
            "extend" => {
                self.extend(items, &first.ok_or_else(missing)?)?;
                return Ok(Value::None);
            }
            "insert" => {
                self.check_length("list", length + 1, self.limits.list_length)?;
                self.tick(length / 16)?;
                let (Some(Value::Int(at)), Some(item)) = (first, args.positional.get(1)) else {
                    return Err(Raise::type_error("list.insert() expected 2 arguments"));
                };
                let count = i64::try_from(length).unwrap_or(i64::MAX);
                let at = if at < 0 { (at.saturating_add(count)).max(0) } else { at.min(count) };
                items.borrow_mut().insert(usize::try_from(at).unwrap_or(0), item.clone());
                return Ok(Value::None);
            }
            "pop" => {
                self.tick(length / 16)?;
                let index = first.unwrap_or(Value::Int(-1));
                if length == 0 {
                    return Err(Raise::python("IndexError", "pop from empty list"));
                }
                let popped = self.get_item(value, &index)?;
                self.delete_item(value, &index)?;
                return Ok(popped);
            }
            "remove" => {
                let at = self.search(value, "index", &args)?;
                self.delete_item(value, &at)?;
                return Ok(Value::None);
            }
            "reverse" => {
                self.tick(length)?;
                items.borrow_mut().reverse();
                return Ok(Value::None);
            }
            "sort" => {
                let sorted = self.builtin_call("sorted", args.prepend(value.clone()))?;
                let sorted = self.iterate(&sorted)?;
                *items.borrow_mut() = sorted;
                return Ok(Value::None);
            }
            "clear" => {
                items.borrow_mut().clear();
                return Ok(Value::None);
            }
            _ => {}
        }
        match name {
            "copy" => {
                let copy = items.borrow().clone();
                self.tick(copy.len())?;
                self.list(copy)
            }
            "__len__" => self.length(value).map(Value::Int),
            _ => self.search(value, name, &args),
        }
    }

    fn dict_method(&mut self, value: &Value, name: &str, args: Args) -> R<Value> {
        let Value::Dict(dict) = value else { return Ok(Value::None) };
        self.tick(dict.borrow().len() / 4)?;
        let first = args.positional.first().cloned();
        let second = args.positional.get(1).cloned();
        let missing = || Raise::type_error(format!("{name} expected at least 1 argument, got 0"));
        let registry = self.registry_behind(value);
        if registry.is_some() && matches!(name, "setdefault" | "popitem" | "clear" | "move_to_end") {
            return Err(Raise::unsupported(format!("{name} of a module's registry is not supported")));
        }
        match name {
            "keys" => self.view(dict, Part::Keys),
            "values" => self.view(dict, Part::Values),
            "items" => self.view(dict, Part::Items),
            "get" => {
                let key = self.key(&first.ok_or_else(missing)?)?;
                let found = dict.borrow().get(&key).cloned();
                Ok(found.or(second).unwrap_or(Value::None))
            }
            "setdefault" => {
                let index = first.ok_or_else(missing)?;
                let key = self.key(&index)?;
                let found = dict.borrow().get(&key).cloned();
                if let Some(found) = found {
                    return Ok(found);
                }
                let default = second.unwrap_or(Value::None);
                dict.borrow_mut().insert(key, index, default.clone());
                Ok(default)
            }
            "pop" => {
                let index = first.ok_or_else(missing)?;
                let key = self.key(&index)?;
                let removed = dict.borrow_mut().remove(&key);
                if let (Some((module, _)), Value::Str(name)) = (&registry, &index) {
                    crate::lower::torch::modules::unregister(module, name);
                }
                match removed.or(second) {
                    Some(value) => Ok(value),
                    None => Err(Raise::python("KeyError", self.repr(&index)?)),
                }
            }
            "popitem" => {
                let named =
                    args.named.iter().find(|(name, _)| &**name == "last").map(|(_, value)| value.clone());
                let last = match first.or(named) {
                    Some(last) => self.truth(&last)?,
                    None => true,
                };
                let entry = {
                    let dict = dict.borrow();
                    if last { dict.entries().last().cloned() } else { dict.entries().first().cloned() }
                };
                let Some((index, value)) = entry else {
                    return Err(Raise::python("KeyError", "popitem(): dictionary is empty"));
                };
                let key = self.key(&index)?;
                dict.borrow_mut().remove(&key);
                self.tuple(vec![index, value])
            }
            "update" => {
                if let Some(other) = first {
                    let entries = self.pairs(&other)?;
                    for (name, value) in entries {
                        self.set_item(&Value::Dict(Rc::clone(dict)), &name, value)?;
                    }
                }
                for (name, value) in args.named {
                    self.set_item(&Value::Dict(Rc::clone(dict)), &Value::Str(name), value)?;
                }
                Ok(Value::None)
            }
            "copy" => {
                let (entries, class) = {
                    let dict = dict.borrow();
                    (dict.entries().to_vec(), dict.class.clone())
                };
                self.dict_like(class, entries)
            }
            "clear" => {
                dict.borrow_mut().clear();
                Ok(Value::None)
            }
            "move_to_end" => {
                let bound = signature::bind("move_to_end", "key, last=True", args)?;
                let (index, last) = (bound.get("key"), bound.bool("last")?);
                let key = self.key(&index)?;
                let Some(value) = dict.borrow_mut().remove(&key) else {
                    return Err(Raise::python("KeyError", self.repr(&index)?));
                };
                let rest = if last { Vec::new() } else { dict.borrow().entries().to_vec() };
                let mut dict = dict.borrow_mut();
                if !last {
                    dict.clear();
                }
                dict.insert(key, index, value);
                for (index, value) in rest {
                    dict.insert(self.key(&index)?, index, value);
                }
                Ok(Value::None)
            }
            "__len__" => self.length(value).map(Value::Int),
            _ => Err(Raise::unsupported(format!("dict.{name} is not supported"))),
        }
    }

    /// Entries of a mapping or of a sequence of pairs.
    pub(crate) fn pairs(&mut self, value: &Value) -> R<Vec<(Value, Value)>> {
        if let Value::Dict(dict) = value {
            let entries = dict.borrow().entries().to_vec();
            self.tick(entries.len())?;
            return Ok(entries);
        }
        if let Value::Object(object) = value
            && object.class.is_module()
        {
            return Ok(crate::lower::torch::modules::children(object)
                .into_iter()
                .map(|(name, child)| (Value::Str(name), child))
                .collect());
        }
        let mut entries = Vec::new();
        if let Value::Object(object) = value
            && let Some(items @ Value::Dict(_)) = object.attrs.borrow().get(ITEMS).cloned()
        {
            return self.pairs(&items);
        }
        if let Value::Object(object) = value
            && self.class_attr(&object.class, "keys", None).is_some()
        {
            let keys = self.get_attr(value, "keys")?;
            let keys = self.call(&keys, Args::default())?;
            for key in self.iterate(&keys)? {
                let item = self.get_item(value, &key)?;
                entries.push((key, item));
            }
            return Ok(entries);
        }
        for item in self.iterate(value)? {
            let pair = self.iterate(&item)?;
            let [name, value] = &pair[..] else {
                return Err(Raise::value_error(format!(
                    "dictionary update sequence element has length {}; 2 is required",
                    pair.len()
                )));
            };
            entries.push((name.clone(), value.clone()));
        }
        Ok(entries)
    }

    fn set_method(&mut self, value: &Value, name: &str, args: Args) -> R<Value> {
        let Value::Set(set) = value else { return Ok(Value::None) };
        self.tick(set.borrow().len() / 4)?;
        let Some(first) = args.positional.first() else {
            return match name {
                "copy" => {
                    let items = set.borrow().keys();
                    self.set(items)
                }
                "clear" => {
                    set.borrow_mut().clear();
                    Ok(Value::None)
                }
                _ => Err(Raise::type_error(format!("set.{name}() takes exactly one argument (0 given)"))),
            };
        };
        match name {
            "add" => {
                self.check_length("set", set.borrow().len() + 1, self.limits.list_length)?;
                let key = self.key(first)?;
                set.borrow_mut().insert(key, first.clone(), Value::None);
                Ok(Value::None)
            }
            "discard" | "remove" => {
                let key = self.key(first)?;
                let removed = set.borrow_mut().remove(&key);
                if removed.is_none() && name == "remove" {
                    return Err(Raise::python("KeyError", self.repr(first)?));
                }
                Ok(Value::None)
            }
            "update" => {
                for item in self.iterate(first)? {
                    let key = self.key(&item)?;
                    set.borrow_mut().insert(key, item, Value::None);
                }
                Ok(Value::None)
            }
            "intersection_update" | "difference_update" => {
                let kept = self.set_method(value, name.trim_end_matches("_update"), args.clone())?;
                if let Value::Set(kept) = kept {
                    let kept = std::mem::take(&mut *kept.borrow_mut());
                    *set.borrow_mut() = kept;
                }
                Ok(Value::None)
            }
            "issuperset" | "isdisjoint" => {
                let items = self.iterate(first)?;
                let length = items.len();
                let mut known = 0;
                for item in &items {
                    known += usize::from(set.borrow().contains(&self.key(item)?));
                }
                Ok(Value::Bool(if name == "issuperset" { known == length } else { known == 0 }))
            }
            "union" | "intersection" | "difference" | "issubset" | "symmetric_difference" => {
                let items = self.iterate(first)?;
                let other = self.set(items)?;
                let op = match name {
                    "union" => ruff_python_ast::Operator::BitOr,
                    "intersection" => ruff_python_ast::Operator::BitAnd,
                    "symmetric_difference" => ruff_python_ast::Operator::BitXor,
                    _ => ruff_python_ast::Operator::Sub,
                };
                let result = self.binary(op, value, &other)?;
                if name == "issubset" {
                    return Ok(Value::Bool(self.length(&result)? == 0));
                }
                Ok(result)
            }
            _ => Err(Raise::unsupported(format!("set.{name} is not supported"))),
        }
    }
}

/// `_replace` of a named tuple.
fn replaced(tuple: &Tuple, args: &Args) -> R<Value> {
    let mut new = Tuple { items: tuple.items.clone(), size: tuple.size, named: tuple.named.clone() };
    for (name, value) in &args.named {
        let fields = tuple.named.iter().flat_map(|named| &named.fields);
        match fields.zip(&mut new.items).find(|(field, _)| field.as_str() == &**name) {
            Some((_, item)) => *item = value.clone(),
            None => return Err(Raise::value_error(format!("Got unexpected field names: ['{name}']"))),
        }
    }
    Ok(Value::Tuple(Rc::new(new)))
}
