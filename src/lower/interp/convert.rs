//! Calls of built-in types: `int(x)`, `list(x)`, `dict(a=1)`, `type(name, bases, names)`, ...
//!
//! Input: a type and arguments. Output: a value of it. Limit: integers in text are read in bases 2 to 36 without a
//! guess of the base.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::enums::plain;
use crate::lower::interp::items::range_len;
use crate::lower::interp::{Args, Interp};
use crate::lower::torch;
use crate::lower::value::{Class, Descriptor, DictClass, Value};

impl Interp<'_> {
    /// Call a built-in type.
    pub(crate) fn convert(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        let name = Rc::clone(&class.name);
        let mut first = args.positional.first().cloned();
        if matches!(&*name, "int" | "float")
            && let Some(member) = first.as_ref().and_then(plain)
        {
            first = Some(member);
        }
        if let (Some(mode @ Value::Training { .. }), "int" | "float" | "str") = (&first, &*name) {
            first = Some(Value::Bool(self.truth(mode)?));
        }
        let takes_keywords = matches!(
            &*name,
            "dict" | "OrderedDict" | "defaultdict" | "property" | "Parameter" | "Tensor" | "type" | "int"
        );
        if let Some((keyword, _)) = args
            .named
            .first()
            .filter(|(keyword, _)| !takes_keywords || (&*name == "int" && &**keyword != "base"))
        {
            return Err(match (&*name, &**keyword) {
                ("str", "object") => Raise::unsupported("str(object=...) is not supported"),
                _ => Raise::type_error(format!("{name}() takes no keyword argument '{keyword}'")),
            });
        }
        match &*name {
            "int" => {
                let named = args.named.iter().find(|(name, _)| &**name == "base").map(|(_, base)| base);
                match (first, args.positional.get(1).or(named)) {
                    (Some(Value::Str(text)), Some(Value::Int(base))) => based(&text, *base),
                    (Some(Value::Str(_)), Some(base)) => {
                        let got = base.type_name();
                        Err(Raise::type_error(format!("'{got}' object cannot be interpreted as an integer")))
                    }
                    (_, Some(_)) => {
                        Err(Raise::type_error("int() can't convert non-string with explicit base"))
                    }
                    (first, None) => self.int_of(first.unwrap_or(Value::Int(0))),
                }
            }
            "float" => match first {
                None => Ok(Value::Float(0.0)),
                Some(Value::Str(text)) => match text.trim().to_lowercase().as_str() {
                    "inf" | "+inf" | "infinity" => Ok(Value::Float(f64::INFINITY)),
                    "-inf" | "-infinity" => Ok(Value::Float(f64::NEG_INFINITY)),
                    "nan" => Ok(Value::Float(f64::NAN)),
                    other => match other.parse() {
                        Ok(number) => Ok(Value::Float(number)),
                        Err(_) => {
                            Err(Raise::value_error(format!("could not convert string to float: '{text}'")))
                        }
                    },
                },
                Some(value) => self.real_of(&value).map(Value::Float),
            },
            "bool" => match first {
                Some(value @ Value::Training { .. }) => Ok(value),
                Some(value) => self.truth(&value).map(Value::Bool),
                None => Ok(Value::Bool(false)),
            },
            "str" => match first {
                Some(value) => {
                    let text = self.str_of(&value)?;
                    self.text(text)
                }
                None => Ok(Value::str("")),
            },
            "list" => {
                let items = first.map_or(Ok(Vec::new()), |value| self.iterate(&value))?;
                self.list(items)
            }
            "tuple" => {
                let items = first.map_or(Ok(Vec::new()), |value| self.iterate(&value))?;
                self.tuple(items)
            }
            "Size" => {
                let items = first.map_or(Ok(Vec::new()), |value| self.iterate(&value))?;
                self.size(items)
            }
            "set" | "frozenset" => {
                let items = first.map_or(Ok(Vec::new()), |value| self.iterate(&value))?;
                self.set(items)
            }
            "dict" | "OrderedDict" | "defaultdict" => {
                let (class, source) = match &*name {
                    "defaultdict" => {
                        let factory = first.filter(|value| !value.is_none());
                        (DictClass::Defaulting(factory), args.positional.get(1).cloned())
                    }
                    "OrderedDict" => (DictClass::Ordered, first),
                    _ => (DictClass::Plain, first),
                };
                let mut entries = source.map_or(Ok(Vec::new()), |value| self.pairs(&value))?;
                entries.extend(args.named.into_iter().map(|(name, value)| (Value::Str(name), value)));
                self.dict_like(class, entries)
            }
            "range" => {
                let mut parts = Vec::new();
                for value in &args.positional {
                    match value {
                        Value::Int(int) => parts.push(*int),
                        Value::Bool(flag) => parts.push(i64::from(*flag)),
                        Value::Dim(_) => {
                            return Err(Raise::unsupported("a loop over the batch is not supported"));
                        }
                        Value::Opaque(name) => {
                            return Err(Raise::unsupported(format!("'{name}' is not supported")));
                        }
                        other => {
                            let name = other.type_name();
                            let message = format!("'{name}' object cannot be interpreted as an integer");
                            return Err(Raise::type_error(message));
                        }
                    }
                }
                let range = match parts[..] {
                    [stop] => Value::Range(0, stop, 1),
                    [start, stop] => Value::Range(start, stop, 1),
                    [_, _, 0] => return Err(Raise::value_error("range() arg 3 must not be zero")),
                    [start, stop, step] => Value::Range(start, stop, step),
                    _ => return Err(Raise::type_error("range expected at least 1 argument, got 0")),
                };
                if let Value::Range(start, stop, step) = range {
                    // Python would walk it lazily; no network needs a walk that the step limit would end.
                    let length = range_len(start, stop, step);
                    if u64::try_from(length).unwrap_or(0) > self.limits.steps {
                        return Err(Raise::limit(format!(
                            "range of {length} elements: exceeds the limit of steps"
                        )));
                    }
                }
                Ok(range)
            }
            "slice" => {
                let mut parts = args.positional;
                if parts.len() == 1 {
                    parts.insert(0, Value::None);
                }
                parts.resize(3, Value::None);
                let valid = |value: &Value| {
                    matches!(value, Value::None | Value::Int(_) | Value::Dim(_) | Value::Bool(_))
                };
                match <[Value; 3]>::try_from(parts) {
                    Ok(parts) if parts.iter().all(valid) => self.own(Value::Slice(Rc::new(parts))),
                    _ => Err(Raise::unsupported("slice() of other than integers is not supported")),
                }
            }
            "type" => match first {
                Some(value) if args.positional.len() == 1 => self.type_of(&value),
                _ => {
                    let [Value::Str(name), bases, Value::Dict(attrs)] = &args.positional[..] else {
                        return Err(Raise::type_error("type() takes 1 or 3 arguments"));
                    };
                    let mut classes = Vec::new();
                    for base in self.iterate(bases)? {
                        match base {
                            Value::Class(class) => classes.push(class),
                            _ => return Err(Raise::unsupported("type() with these bases is not supported")),
                        }
                    }
                    let mut map = BTreeMap::new();
                    for (name, value) in attrs.borrow().entries() {
                        if let Value::Str(name) = name {
                            map.insert(Rc::clone(name), value.clone());
                        }
                    }
                    Ok(Value::Class(self.make_class(name, classes, map)?))
                }
            },
            "property" | "staticmethod" | "classmethod" => {
                let Some(value) = first else {
                    return Err(Raise::type_error(format!("{name} expected 1 argument")));
                };
                let kind = match &*name {
                    "property" => {
                        let part = |at: usize| args.positional.get(at).cloned().unwrap_or(Value::None);
                        return self.property([value, part(1), part(2)]);
                    }
                    "staticmethod" => Descriptor::Static,
                    _ => Descriptor::Class,
                };
                self.own(Value::Descriptor(kind, Rc::new(value)))
            }
            "Parameter" => torch::creation::parameter(self, args),
            "Tensor" => torch::call_with(self, "Tensor", args),
            "object" => Ok(Value::None),
            _ => Err(Raise::unsupported(format!("{name}() is not supported"))),
        }
    }

    /// A real number: one, an object that says which it is, or a tensor of one element that is known.
    pub(crate) fn real_of(&mut self, value: &Value) -> R<f64> {
        if let Some(number) = torch::signature::number(value) {
            return Ok(number);
        }
        if let Some(member) = plain(value) {
            return self.real_of(&member);
        }
        if let Value::Tensor(_) = value {
            let item = torch::call_tensor_method(self, value, "item", Args::default())?;
            return torch::signature::number(&item).ok_or_else(|| self.no_conversion("float", value));
        }
        for name in ["__float__", "__index__"] {
            if let Some(number) = self.special(value, name, Vec::new())? {
                return torch::signature::number(&number).ok_or_else(|| {
                    Raise::type_error(format!("{name} returned non-float (type {})", number.type_name()))
                });
            }
        }
        Err(match value {
            Value::Str(_) => Raise::type_error("must be real number, not str"),
            _ => self.no_conversion("float", value),
        })
    }

    fn int_of(&mut self, value: Value) -> R<Value> {
        match value {
            Value::Int(_) | Value::Dim(_) => Ok(value),
            Value::Bool(flag) => Ok(Value::Int(i64::from(flag))),
            Value::Float(float) => torch::whole(float.trunc()),
            Value::Str(text) => match text.trim().replace('_', "").parse() {
                Ok(int) => Ok(Value::Int(int)),
                Err(_) => {
                    let shown = self.repr(&Value::Str(text))?;
                    Err(Raise::value_error(format!("invalid literal for int() with base 10: {shown}")))
                }
            },
            Value::Tensor(_) => {
                let item = torch::call_tensor_method(self, &value, "item", Args::default())?;
                self.int_of(item)
            }
            other => {
                for name in ["__int__", "__index__"] {
                    if let Some(number) = self.special(&other, name, Vec::new())? {
                        return Ok(number);
                    }
                }
                Err(self.no_conversion("int", &other))
            }
        }
    }

    fn no_conversion(&self, name: &str, value: &Value) -> Box<Raise> {
        if let Value::Opaque(unknown) = value {
            return Raise::unsupported(format!("'{unknown}' is not supported"));
        }
        if matches!(value, Value::Tensor(_) | Value::Dim(_)) {
            return Raise::unsupported(format!("{name}() of a {} is not supported", value.type_name()));
        }
        let got = value.type_name();
        Raise::type_error(format!("{name}() argument must be a string or a real number, not '{got}'"))
    }

    /// `Exception.__init__`.
    pub(crate) fn init_exception(&mut self, args: Args) -> R<Value> {
        let mut positional = args.positional.into_iter();
        if let Some(Value::Object(object)) = positional.next() {
            let args = self.tuple(positional.collect())?;
            object.attrs.borrow_mut().insert(Rc::from("args"), args);
        }
        Ok(Value::None)
    }

    /// A class of named tuples.
    pub(crate) fn named_tuple_class(&mut self, name: &str, fields: Vec<Rc<str>>) -> R<Value> {
        let base = self.class("NamedTuple")?;
        let class = self.make_class(name, vec![base], BTreeMap::new())?;
        *class.fields.borrow_mut() = fields;
        Ok(Value::Class(class))
    }
}

/// `int(text, base)`.
fn based(text: &str, base: i64) -> R<Value> {
    let wrong = || Raise::value_error(format!("invalid literal for int() with base {base}: '{text}'"));
    let trimmed = text.trim().to_lowercase().replace('_', "");
    let (prefix, given) = match base {
        2 => ("0b", 2),
        8 => ("0o", 8),
        16 => ("0x", 16),
        base => ("", u32::try_from(base).unwrap_or(0)),
    };
    if !(2..=36).contains(&given) {
        return Err(Raise::unsupported(format!("int() with base {base} is not supported")));
    }
    let digits = trimmed.strip_prefix(prefix).unwrap_or(&trimmed);
    i64::from_str_radix(digits, given).map(Value::Int).map_err(|_| wrong())
}
