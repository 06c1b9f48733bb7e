//! What every class inherits from `object`, and classes derived from `dict` and `list`.
//!
//! Input: a class, an object, the name of a special method. Output: that method. A class derived from `dict` or `list`
//! inherits the methods of `python/builtins.py`, which work on the attribute `__items__`, made with each object.
//! Limit: other built-in types cannot be derived from.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::builtins::entry;
use crate::lower::interp::{Args, Interp};
use crate::lower::torch::composed;
use crate::lower::value::{Builtin, Class, Native, Object, Value};

/// The attribute that holds the dictionary or the list.
pub(crate) const ITEMS: &str = "__items__";
/// The attribute of the classes in `python/builtins.py`.
const STANDS_FOR: &str = "__stands_for__";

static OBJECT: &[Builtin] = &[
    entry("__setattr__", "self, name, value", |this, args| {
        let name = args.text("name")?;
        let (object, value) = (args.get("self"), args.get("value"));
        let registers = match &value {
            Value::Object(value) => value.class.is_module(),
            Value::Tensor(tensor) => tensor.parameter.get(),
            _ => false,
        };
        if registers && matches!(&object, Value::Object(object) if object.class.is_module()) {
            // It would not be in `state_dict`.
            return Err(Raise::unsupported(
                "a module or parameter that is hidden from its module is not supported",
            ));
        }
        this.set_attr_plainly(&object, &name, value)?;
        Ok(Value::None)
    }),
    entry("__getattribute__", "self, name", |this, args| {
        let name = args.text("name")?;
        match args.get("self") {
            Value::Object(object) => match this.object_attr_plainly(&object, &name)? {
                Some(found) => Ok(found),
                None => Err(this.lacks(&object, &name)),
            },
            other => this.get_attr(&other, &name),
        }
    }),
    entry("__delattr__", "self, name", |this, args| {
        let name = args.text("name")?;
        this.delete_attr(&args.get("self"), &name)?;
        Ok(Value::None)
    }),
    entry("__new__", "cls, *x, **options", |this, args| match args.get("cls") {
        Value::Class(class) => this.blank(&class),
        other => Err(Raise::type_error(format!(
            "object.__new__(X): X is not a type object ({})",
            other.type_name()
        ))),
    }),
    entry("__hash__", "self", |_, _| Err(Raise::unsupported("hash() is not supported"))),
    entry("__init_subclass__", "*x, **options", |_, _| Ok(Value::None)),
];

/// Special methods of dictionaries and lists that can be called by name.
const SPECIAL: &[&str] = &[
    "__init__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__contains__",
    "__iter__",
    "__eq__",
    "__repr__",
];

/// A method that every class inherits.
pub(crate) fn of_object(name: &str) -> Option<Value> {
    OBJECT.iter().find(|method| method.name == name).map(Value::Builtin)
}

/// A special method of `dict` or `list`.
pub(crate) fn special_of(class: &str, name: &str) -> Option<&'static str> {
    let derivable = matches!(class, "dict" | "list" | "OrderedDict");
    SPECIAL.iter().find(|known| derivable && **known == name).copied()
}

fn stands_for(class: &Class) -> Option<Rc<str>> {
    match class.attrs.borrow().get(STANDS_FOR) {
        Some(Value::Str(name)) => Some(Rc::clone(name)),
        _ => None,
    }
}

/// The built-in type that a class derives from, `dict` or `list`.
pub(crate) fn base_of(class: &Rc<Class>) -> Option<Rc<str>> {
    class.lineage().find_map(|class| stands_for(class))
}

impl Interp<'_> {
    /// The bases with what stands for built-in types before those.
    pub(crate) fn with_stand_ins(&mut self, bases: Vec<Rc<Class>>) -> R<Vec<Rc<Class>>> {
        let mut all = Vec::new();
        for base in bases {
            let stand_in = match &*base.name {
                _ if !matches!(base.native, Native::Type) => None,
                "dict" | "OrderedDict" => Some("dict_"),
                "list" => Some("list_"),
                _ => None,
            };
            if let Some(name) = stand_in
                && let Value::Class(class) = composed::derived(self, name)?
            {
                all.push(class);
            }
            all.push(base);
        }
        Ok(all)
    }

    /// What a new object of a class derived from a built-in type holds.
    pub(crate) fn new_items(&mut self, class: &Rc<Class>) -> R<Option<Value>> {
        match base_of(class).as_deref() {
            Some("dict") => self.dict(Vec::new()).map(Some),
            Some(_) => self.list(Vec::new()).map(Some),
            None if class.lineage().any(|class| matches!(class.native, Native::Type)) => {
                Err(Raise::unsupported(format!(
                    "{}: classes derived from built-in types but dict and list are not supported",
                    class.name
                )))
            }
            None => Ok(None),
        }
    }

    /// `dict.update(object, ...)` where the object's class derives from `dict`: the inherited method.
    pub(crate) fn inherited(&self, object: &Object, name: &str) -> Option<Value> {
        let stand_in = object.class.lineage().find(|class| stands_for(class).is_some())?;
        stand_in.lineage().find_map(|class| class.attrs.borrow().get(name).cloned())
    }

    /// A special method of a dictionary or a list, called by name; `None` where it is none.
    pub(crate) fn special_method(&mut self, value: &Value, name: &str, args: &Args) -> R<Option<Value>> {
        if !SPECIAL.contains(&name) {
            return Ok(None);
        }
        let result = match (name, &args.positional[..]) {
            ("__getitem__", [index]) => self.get_item(value, index)?,
            ("__setitem__", [index, item]) => {
                self.set_item(value, index, item.clone())?;
                Value::None
            }
            ("__delitem__", [index]) => {
                self.delete_item(value, index)?;
                Value::None
            }
            ("__contains__", [item]) => Value::Bool(self.contains(value, item)?),
            ("__iter__", []) => self.builtin_call("iter", Args::of(vec![value.clone()]))?,
            ("__eq__", [other]) => Value::Bool(self.equal(value, other)?),
            ("__repr__", []) => self.builtin_call("repr", Args::of(vec![value.clone()]))?,
            _ => return Err(Raise::unsupported(format!("{}.{name} is not supported", value.type_name()))),
        };
        Ok(Some(result))
    }
}
