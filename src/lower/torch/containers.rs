//! The containers of `torch.nn`: `Sequential`, `ModuleList`, `ModuleDict`, `ParameterList`, `ParameterDict`.
//!
//! Input: instances and the calls of their methods. Output: members registered under PyTorch's names. Limit: a
//! container of parameters holds either tensors or modules.

use std::cell::RefCell;
use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::module_methods::{Member, add_module, check_name};
use crate::lower::torch::modules::{put_module, put_parameter, registered, unregister};
use crate::lower::torch::{creation, signature};
use crate::lower::value::{DictClass, ModuleState, Native, Object, Value};

fn check_module(value: &Value) -> R<()> {
    match value {
        Value::Object(object) if object.class.is_module() => Ok(()),
        Value::None => Ok(()),
        Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
        Value::Class(class) => {
            Err(Raise::type_error(format!("<class '{}'> is not a Module subclass", class.name)))
        }
        other => Err(Raise::type_error(format!("{} is not a Module subclass", other.type_name()))),
    }
}

pub(crate) fn init_sequential(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    object.attrs.borrow_mut().remove("args");
    if let [dict @ Value::Dict(inner)] = &args.rest[..]
        && matches!(inner.borrow().class, DictClass::Ordered)
    {
        for (name, module) in this.pairs(dict)? {
            check_module(&module)?;
            let Value::Str(name) = name else {
                return Err(Raise::type_error("module name should be a string"));
            };
            add_module(this, object, &name, module)?;
        }
        return Ok(());
    }
    for (index, module) in args.rest.iter().enumerate() {
        check_module(module)?;
        put_module(object, &index.to_string(), module.clone());
    }
    Ok(())
}

pub(crate) fn init_list(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let modules = args.get("modules");
    if modules.is_none() {
        return Ok(());
    }
    for (index, module) in this.iterate(&modules)?.into_iter().enumerate() {
        check_module(&module)?;
        put_module(object, &index.to_string(), module);
    }
    Ok(())
}

pub(crate) fn init_dict(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let modules = args.get("modules");
    if modules.is_none() {
        return Ok(());
    }
    for (name, module) in this.pairs(&modules)? {
        check_module(&module)?;
        let Value::Str(name) = name else { return Err(Raise::type_error("module name should be a string")) };
        add_module(this, object, &name, module)?;
    }
    Ok(())
}

pub(crate) fn init_parameter_list(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let values = args.get("values");
    if values.is_none() {
        return Ok(());
    }
    for (index, value) in this.iterate(&values)?.into_iter().enumerate() {
        put_item(this, object, &index.to_string(), value)?;
    }
    Ok(())
}

/// A parameter, or a module such as another list of parameters.
fn put_item(this: &mut Interp<'_>, object: &Rc<Object>, name: &str, value: Value) -> R<()> {
    let module = matches!(&value, Value::Object(module) if module.class.is_module());
    let mixed = object
        .module
        .borrow()
        .as_ref()
        .is_some_and(|state| if module { !state.params.is_empty() } else { !state.modules.is_empty() });
    if mixed {
        return Err(Raise::unsupported("a ParameterList of both tensors and modules is not supported"));
    }
    if module {
        put_module(object, name, value);
    } else {
        let value = to_parameter(this, value)?;
        put_parameter(object, name, value);
    }
    Ok(())
}

pub(crate) fn init_parameter_dict(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let values = args.get("parameters");
    if values.is_none() {
        return Ok(());
    }
    for (name, value) in this.pairs(&values)? {
        let Value::Str(name) = name else {
            return Err(Raise::type_error("parameter name should be a string"));
        };
        check_name(this, object, Member::Parameter, &name)?;
        put_item(this, object, &name, value)?;
    }
    Ok(())
}

fn to_parameter(this: &mut Interp<'_>, value: Value) -> R<Value> {
    match &value {
        Value::Tensor(tensor) if tensor.parameter.get() => Ok(value),
        Value::Tensor(_) => creation::parameter(this, Args::of(vec![value])),
        _ => Err(Raise::unsupported("a ParameterList of other than tensors is not supported")),
    }
}

pub(crate) fn run_sequential(this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<Value> {
    let args = signature::bind("Sequential.forward", "input", args)?;
    let mut value = args.get("input");
    for module in items(object) {
        value = this.call(&module, Args::of(vec![value]))?;
    }
    Ok(value)
}

/// Items of a list container in order, whether they are modules or parameters.
fn items(object: &Rc<Object>) -> Vec<Value> {
    let state = object.module.borrow();
    state.as_ref().map_or_else(Vec::new, |state| {
        let list = if state.modules.is_empty() { &state.params } else { &state.modules };
        list.iter().map(|(_, value)| value.clone()).collect()
    })
}

/// Replace the items of a list container, numbered anew.
fn replace(object: &Rc<Object>, parameters: bool, values: Vec<Value>) {
    if let Some(state) = object.module.borrow_mut().as_mut() {
        let list =
            values.into_iter().enumerate().map(|(at, value)| (Rc::from(at.to_string()), value)).collect();
        if parameters && state.modules.is_empty() { state.params = list } else { state.modules = list }
    }
}

pub(crate) fn sequence(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    kind: &str,
    method: &str,
    args: Args,
) -> R<Value> {
    let value = Value::Object(Rc::clone(object));
    let parameters = kind == "ParameterList";
    let mut list = items(object);
    this.tick(list.len())?;
    let first = args.positional.first().cloned().unwrap_or(Value::None);
    match method {
        "__len__" => Ok(Value::Int(i64::try_from(list.len()).unwrap_or(i64::MAX))),
        "__iter__" => this.iterator("list_iterator", list),
        "__contains__" => Ok(Value::Bool(list.iter().any(|item| item.identity() == first.identity()))),
        "__getitem__" => {
            if let Value::Slice(_) = first {
                let names: Vec<Value> = child_names(object);
                let all = this.list(names)?;
                let picked = this.get_item(&all, &first)?;
                let mut entries = Vec::new();
                for name in this.iterate(&picked)? {
                    let Value::Str(name) = name else { continue };
                    entries.extend(registered(object, &name).map(|item| (name, item)));
                }
                if let (Native::Source, false) = (&object.class.native, parameters) {
                    return part_of_own(this, object, kind, entries);
                }
                let copy = empty(this, kind)?;
                for (at, (name, item)) in entries.into_iter().enumerate() {
                    // Sequential keeps the names in a slice, ModuleList numbers them anew.
                    let name = if kind == "Sequential" { name.to_string() } else { at.to_string() };
                    if parameters {
                        put_item(this, &copy, &name, item)?;
                    } else {
                        put_module(&copy, &name, item)
                    }
                }
                return Ok(Value::Object(copy));
            }
            if let Value::Str(name) = &first {
                return Err(Raise::type_error(format!(
                    "'{name}' object cannot be interpreted as an integer"
                )));
            }
            let all = this.list(list)?;
            this.get_item(&all, &first).map_err(|raise| match raise.class() {
                Some("IndexError") => {
                    Raise::python("IndexError", format!("index {} is out of range", number_of(&first)))
                }
                _ => raise,
            })
        }
        "__setitem__" => {
            let Value::Int(at) = first else {
                return Err(Raise::unsupported("assignment to a slice of modules"));
            };
            let new = args.positional.get(1).cloned().unwrap_or(Value::None);
            let length = i64::try_from(list.len()).unwrap_or(0);
            let at = if at < 0 { at + length } else { at };
            let Some(at) = usize::try_from(at).ok().filter(|&at| at < list.len()) else {
                return Err(Raise::python("IndexError", format!("index {at} is out of range")));
            };
            let name = match child_names(object).get(at) {
                Some(Value::Str(name)) => name.to_string(),
                _ => at.to_string(),
            };
            if parameters {
                let new = to_parameter(this, new)?;
                put_parameter(object, &name, new);
            } else {
                check_module(&new)?;
                put_module(object, &name, new);
            }
            Ok(Value::None)
        }
        "__delitem__" | "pop" => {
            let first = if args.positional.is_empty() { Value::Int(-1) } else { first };
            let all = this.list(list)?;
            let removed =
                if let Value::Slice(_) = first { Value::None } else { this.get_item(&all, &first)? };
            this.delete_item(&all, &first)?;
            let rest = this.iterate(&all)?;
            replace(object, parameters, rest);
            Ok(removed)
        }
        "append" => {
            if parameters {
                put_item(this, object, &list.len().to_string(), first)?;
            } else {
                check_module(&first)?;
                put_module(object, &list.len().to_string(), first);
            }
            Ok(value)
        }
        "__mul__" => {
            let Value::Int(times) = first else {
                let got = first.type_name();
                let message =
                    format!("unsupported operand type(s) for *: <class 'Sequential'> and <class '{got}'>");
                return Err(Raise::type_error(message));
            };
            if times <= 0 {
                return Err(Raise::value_error(format!(
                    "Non-positive multiplication factor {times} for <class 'Sequential'>"
                )));
            }
            let times = usize::try_from(times).unwrap_or(usize::MAX);
            this.check_length("list", list.len().saturating_mul(times), this.limits.list_length)?;
            let repeated = std::iter::repeat_n(list, times).flatten().collect();
            let repeated = this.list(repeated)?;
            let product = empty(this, kind)?;
            sequence(this, &product, kind, "extend", Args::of(vec![repeated]))?;
            Ok(Value::Object(product))
        }
        "__add__" => {
            let sum = empty(this, kind)?;
            for part in [&value, &first] {
                sequence(this, &sum, kind, "extend", Args::of(vec![part.clone()]))?;
            }
            Ok(Value::Object(sum))
        }
        "extend" => {
            for item in this.iterate(&first)? {
                let at = items(object).len().to_string();
                if parameters {
                    put_item(this, object, &at, item)?;
                } else {
                    check_module(&item)?;
                    put_module(object, &at, item);
                }
            }
            Ok(value)
        }
        _ => {
            let (Value::Int(at), Some(item)) = (&first, args.positional.get(1)) else {
                return Err(Raise::type_error("insert() needs an index and a module"));
            };
            check_module(item)?;
            let length = i64::try_from(list.len()).unwrap_or(0);
            let at = if *at < 0 { (*at + length).max(0) } else { (*at).min(length) };
            list.insert(usize::try_from(at).unwrap_or(0), item.clone());
            replace(object, parameters, list);
            Ok(value)
        }
    }
}

/// A slice of a container whose class the source defines: that class, called with the items.
fn part_of_own(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    kind: &str,
    entries: Vec<(Rc<str>, Value)>,
) -> R<Value> {
    let items = match kind {
        "Sequential" => {
            let entries = entries.into_iter().map(|(name, item)| (Value::Str(name), item)).collect();
            this.dict_like(DictClass::Ordered, entries)?
        }
        _ => this.list(entries.into_iter().map(|(_, item)| item).collect())?,
    };
    this.instantiate(&object.class, Args::of(vec![items]))
}

/// An empty container of this kind.
fn empty(this: &mut Interp<'_>, kind: &str) -> R<Rc<Object>> {
    let name = match kind {
        "ParameterList" => "ParameterList",
        "Sequential" => "Sequential",
        _ => "ModuleList",
    };
    let object = Rc::new(Object {
        class: this.class(name)?,
        attrs: RefCell::default(),
        module: RefCell::new(Some(ModuleState::default())),
        site: RefCell::default(),
    });
    this.own(Value::Object(Rc::clone(&object)))?;
    Ok(object)
}

fn number_of(value: &Value) -> String {
    match value {
        Value::Int(int) => int.to_string(),
        other => other.type_name(),
    }
}

fn child_names(object: &Rc<Object>) -> Vec<Value> {
    let state = object.module.borrow();
    state.as_ref().map_or_else(Vec::new, |state| {
        let list = if state.modules.is_empty() { &state.params } else { &state.modules };
        list.iter().map(|(name, _)| Value::Str(Rc::clone(name))).collect()
    })
}

pub(crate) fn mapping(this: &mut Interp<'_>, object: &Rc<Object>, method: &str, args: Args) -> R<Value> {
    let names = child_names(object);
    let values = items(object);
    let first = args.positional.first().cloned().unwrap_or(Value::None);
    let is_parameters = object.class.lineage().any(|class| &*class.name == "ParameterDict");
    match method {
        "__len__" => Ok(Value::Int(i64::try_from(names.len()).unwrap_or(i64::MAX))),
        "__iter__" => this.iterator("dict_keyiterator", names),
        "keys" | "values" | "items" => {
            let members = this.dict(names.into_iter().zip(values).collect())?;
            this.call_method(&members, method, args)
        }
        "__contains__" => {
            Ok(Value::Bool(matches!(&first, Value::Str(name) if registered(object, name).is_some())))
        }
        "__getitem__" | "get" | "pop" => match &first {
            Value::Str(name) => match registered(object, name) {
                Some(value) => {
                    if method == "pop" {
                        unregister(object, name);
                    }
                    Ok(value)
                }
                None if method == "get" => Ok(args.positional.get(1).cloned().unwrap_or(Value::None)),
                None => Err(Raise::python("KeyError", format!("'{name}'"))),
            },
            other => Err(Raise::python("KeyError", number_of(other))),
        },
        "__setitem__" => {
            let Value::Str(name) = &first else {
                return Err(Raise::type_error("module name should be a string"));
            };
            let value = args.positional.get(1).cloned().unwrap_or(Value::None);
            if is_parameters {
                check_name(this, object, Member::Parameter, name)?;
                put_item(this, object, name, value)?;
                return Ok(Value::None);
            }
            check_module(&value)?;
            add_module(this, object, name, value)
        }
        "__delitem__" => {
            if let Value::Str(name) = &first {
                unregister(object, name);
            }
            Ok(Value::None)
        }
        "update" => {
            for (name, value) in this.pairs(&first)? {
                let call = Args::of(vec![name, value]);
                mapping(this, object, "__setitem__", call)?;
            }
            Ok(Value::None)
        }
        _ => {
            replace(object, is_parameters, Vec::new());
            Ok(Value::None)
        }
    }
}
