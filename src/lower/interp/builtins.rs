//! Python's built-in functions, types and exceptions.
//!
//! Input: names, and arguments. Output: values. Limit: what touches files, frames or code (`open`, `eval`, `locals`)
//! is refused. Longer than 600 lines because it is one table of Python's built-in functions.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{CmpOp, Operator};

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::arith::range_len;
use crate::lower::interp::{Args, Bound, Interp, Run};
use crate::lower::torch;
use crate::lower::value::{Builtin, Class, Descriptor, Native, Value};

const TYPES: &[(&str, &str)] = &[
    ("int", "object"),
    ("bool", "int"),
    ("float", "object"),
    ("str", "object"),
    ("list", "object"),
    ("tuple", "object"),
    ("dict", "object"),
    ("set", "object"),
    ("frozenset", "set"),
    ("range", "object"),
    ("slice", "object"),
    ("type", "object"),
    ("property", "object"),
    ("staticmethod", "object"),
    ("classmethod", "object"),
    ("function", "object"),
    ("module", "object"),
    ("NoneType", "object"),
    ("Tensor", "object"),
    ("Parameter", "Tensor"),
    ("dtype", "object"),
    ("Size", "tuple"),
    ("OrderedDict", "dict"),
    ("defaultdict", "dict"),
    ("NamedTuple", "tuple"),
];

const EXCEPTIONS: &[(&str, &str)] = &[
    ("BaseException", "object"),
    ("Exception", "BaseException"),
    ("ArithmeticError", "Exception"),
    ("ZeroDivisionError", "ArithmeticError"),
    ("OverflowError", "ArithmeticError"),
    ("AssertionError", "Exception"),
    ("AttributeError", "Exception"),
    ("ImportError", "Exception"),
    ("ModuleNotFoundError", "ImportError"),
    ("LookupError", "Exception"),
    ("IndexError", "LookupError"),
    ("KeyError", "LookupError"),
    ("NameError", "Exception"),
    ("RuntimeError", "Exception"),
    ("NotImplementedError", "RuntimeError"),
    ("RecursionError", "RuntimeError"),
    ("StopIteration", "Exception"),
    ("SyntaxError", "Exception"),
    ("TypeError", "Exception"),
    ("ValueError", "Exception"),
    ("Warning", "Exception"),
    ("UserWarning", "Warning"),
    ("DeprecationWarning", "Warning"),
    ("FutureWarning", "Warning"),
];

/// What a built-in class is, and its base.
pub(crate) fn native_class(name: &'static str) -> (Native, Option<&'static str>) {
    if name == "object" {
        return (Native::Object, None);
    }
    if name == "Module" {
        return (Native::Module, Some("object"));
    }
    if let Some((_, base)) = TYPES.iter().find(|(known, _)| *known == name) {
        return (Native::Type, Some(base));
    }
    if let Some((_, base)) = EXCEPTIONS.iter().find(|(known, _)| *known == name) {
        return (Native::Exception, Some(base));
    }
    match torch::layers::find(name) {
        Some(layer) => (Native::Layer(layer), Some(layer.base)),
        None => (Native::Source, Some("Module")),
    }
}

/// The built-in exception of this name.
pub(crate) fn exception(name: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known)
}

static BUILTINS: &[Builtin] = &[
    entry("abs", "x", |this, args| {
        let value = args.get("x");
        match &value {
            Value::Int(int) => Ok(Value::Int(int.saturating_abs())),
            Value::Float(float) => Ok(Value::Float(float.abs())),
            Value::Bool(flag) => Ok(Value::Int(i64::from(*flag))),
            Value::Tensor(_) => torch::call(this, "abs", vec![value]),
            other => Err(Raise::type_error(format!("bad operand type for abs(): '{}'", other.type_name()))),
        }
    }),
    entry("all", "x", |this, args| {
        for item in this.iterate(&args.get("x"))? {
            if !this.truth(&item)? {
                return Ok(Value::Bool(false));
            }
        }
        Ok(Value::Bool(true))
    }),
    entry("any", "x", |this, args| {
        for item in this.iterate(&args.get("x"))? {
            if this.truth(&item)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    entry("callable", "x", |this, args| {
        let callable = match args.get("x") {
            Value::Object(object) => {
                object.class.is_module() || this.class_attr(&object.class, "__call__", None).is_some()
            }
            Value::Function(_)
            | Value::Builtin(_)
            | Value::Method(_)
            | Value::Bound(_)
            | Value::Partial(_) => true,
            Value::Class(_) | Value::ClassMethod(_) => true,
            _ => false,
        };
        Ok(Value::Bool(callable))
    }),
    entry("divmod", "a, b", |this, args| {
        let (a, b) = (args.get("a"), args.get("b"));
        let parts = vec![this.binary(Operator::FloorDiv, &a, &b)?, this.binary(Operator::Mod, &a, &b)?];
        this.tuple(parts)
    }),
    entry("enumerate", "x, start=0", |this, args| {
        let mut number = args.int("start")?;
        let mut pairs = Vec::new();
        for item in this.iterate(&args.get("x"))? {
            pairs.push(this.tuple(vec![Value::Int(number), item])?);
            number = number.saturating_add(1);
        }
        this.iterator(pairs)
    }),
    entry("filter", "f, x", |this, args| {
        let function = args.get("f");
        let mut kept = Vec::new();
        for item in this.iterate(&args.get("x"))? {
            let test = if function.is_none() {
                item.clone()
            } else {
                this.call(&function, Args::of(vec![item.clone()]))?
            };
            if this.truth(&test)? {
                kept.push(item);
            }
        }
        this.iterator(kept)
    }),
    entry("getattr", "x, name, *default", |this, args| {
        let name = args.text("name")?;
        match this.get_attr(&args.get("x"), &name) {
            Err(raise) if raise.class() == Some("AttributeError") => match args.rest.first() {
                Some(default) => Ok(default.clone()),
                None => Err(raise),
            },
            result => result,
        }
    }),
    entry("hasattr", "x, name", |this, args| {
        let name = args.text("name")?;
        match this.get_attr(&args.get("x"), &name) {
            Ok(_) => Ok(Value::Bool(true)),
            Err(raise) if raise.class() == Some("AttributeError") => Ok(Value::Bool(false)),
            Err(raise) => Err(raise),
        }
    }),
    entry("setattr", "x, name, value", |this, args| {
        let name = args.text("name")?;
        this.set_attr(&args.get("x"), &name, args.get("value"))?;
        Ok(Value::None)
    }),
    entry("delattr", "x, name", |this, args| {
        let name = args.text("name")?;
        this.delete_attr(&args.get("x"), &name)?;
        Ok(Value::None)
    }),
    entry("id", "x", |_, _| Err(Raise::unsupported("id() is not supported"))),
    entry("hash", "x", |_, _| Err(Raise::unsupported("hash() is not supported"))),
    entry("isinstance", "x, types", |this, args| {
        this.is_instance(&args.get("x"), &args.get("types")).map(Value::Bool)
    }),
    entry("issubclass", "x, types", |this, args| {
        let Value::Class(class) = args.get("x") else {
            return Err(Raise::type_error("issubclass() arg 1 must be a class"));
        };
        this.is_subclass(&class, &args.get("types")).map(Value::Bool)
    }),
    entry("iter", "x", |this, args| match args.get("x") {
        value @ Value::Iter(_) => Ok(value),
        value => {
            let items = this.iterate(&value)?;
            this.iterator(items)
        }
    }),
    entry("len", "x", |this, args| match args.get("x") {
        Value::Tensor(tensor) => {
            let fact = this.fact(&tensor)?;
            match fact.shape.0.first() {
                Some(&dim) => Ok(Value::from_dim(dim)),
                None => Err(Raise::type_error("len() of a 0-d tensor")),
            }
        }
        value => this.length(&value).map(Value::Int),
    }),
    entry("map", "f, *xs", |this, args| {
        let function = args.get("f");
        let mut columns = Vec::new();
        for values in &args.rest {
            columns.push(this.iterate(values)?);
        }
        let length = columns.iter().map(Vec::len).min().unwrap_or(0);
        let mut results = Vec::new();
        for row in 0..length {
            let row = columns.iter().map(|column| column[row].clone()).collect();
            results.push(this.call(&function, Args::of(row))?);
        }
        this.iterator(results)
    }),
    entry("max", "*xs, **options", |this, args| extreme(this, args, CmpOp::Gt)),
    entry("min", "*xs, **options", |this, args| extreme(this, args, CmpOp::Lt)),
    entry("next", "x, *default", |this, args| {
        let next = match args.get("x") {
            Value::Iter(items) => items.borrow_mut().pop(),
            value @ Value::Object(_) => {
                let method = this.get_attr(&value, "__next__")?;
                return this.call(&method, Args::default());
            }
            other => {
                return Err(Raise::type_error(format!("'{}' object is not an iterator", other.type_name())));
            }
        };
        match next.or_else(|| args.rest.first().cloned()) {
            Some(value) => Ok(value),
            None => Err(Raise::python("StopIteration", "")),
        }
    }),
    entry("pow", "a, b", |this, args| this.binary(Operator::Pow, &args.get("a"), &args.get("b"))),
    entry("print", "*xs, **options", |_, _| Ok(Value::None)),
    entry("repr", "x", |this, args| {
        let text = this.repr(&args.get("x"))?;
        this.text(text)
    }),
    entry("format", "x, spec=''", |this, args| {
        let text = this.format(&args.get("x"), &args.text("spec")?)?;
        this.text(text)
    }),
    entry("reversed", "x", |this, args| {
        let mut items = this.iterate(&args.get("x"))?;
        items.reverse();
        this.iterator(items)
    }),
    entry("round", "x, digits=None", |_, args| {
        let number = args.float("x")?;
        match args.optional_int("digits")? {
            None => {
                if let Value::Int(int) = args.get("x") {
                    return Ok(Value::Int(int));
                }
                torch::whole(number.round_ties_even())
            }
            Some(digits) => {
                let factor = 10f64.powi(i32::try_from(digits).unwrap_or(0).clamp(-300, 300));
                Ok(Value::Float((number * factor).round_ties_even() / factor))
            }
        }
    }),
    entry("sorted", "x, key=None, reverse=False", |this, args| {
        let items = this.iterate(&args.get("x"))?;
        let key = args.get("key");
        let mut keyed = Vec::with_capacity(items.len());
        for item in items {
            let rank =
                if key.is_none() { item.clone() } else { this.call(&key, Args::of(vec![item.clone()]))? };
            keyed.push((rank, item));
        }
        let reverse = args.bool("reverse")?;
        let sorted = merge_sort(this, keyed, reverse)?;
        this.list(sorted.into_iter().map(|(_, item)| item).collect())
    }),
    entry("sum", "x, start=0", |this, args| {
        let mut total = args.get("start");
        for item in this.iterate(&args.get("x"))? {
            total = this.binary(Operator::Add, &total, &item)?;
        }
        Ok(total)
    }),
    entry("super", "after, x", |this, args| match args.get("after") {
        Value::Class(class) => this.own(Value::Super(Rc::new((class, args.get("x"))))),
        other => {
            Err(Raise::type_error(format!("super() argument 1 must be a type, not {}", other.type_name())))
        }
    }),
    entry("zip", "*xs, **options", |this, args| {
        let mut columns = Vec::new();
        for values in &args.rest {
            columns.push(this.iterate(values)?);
        }
        let length = columns.iter().map(Vec::len).min().unwrap_or(0);
        let mut rows = Vec::new();
        for row in 0..length {
            let row = columns.iter().map(|column| column[row].clone()).collect();
            rows.push(this.tuple(row)?);
        }
        this.iterator(rows)
    }),
    entry("chr", "x", |this, args| match u32::try_from(args.int("x")?).ok().and_then(char::from_u32) {
        Some(char) => this.text(char.to_string()),
        None => Err(Raise::value_error("chr() arg not in range(0x110000)")),
    }),
    entry("ord", "x", |_, args| match args.text("x")?.chars().next() {
        Some(char) => Ok(Value::Int(i64::from(u32::from(char)))),
        None => Err(Raise::type_error("ord() expected a character")),
    }),
    entry("locals", "", refused),
    entry("globals", "", refused),
    entry("vars", "*x", refused),
    entry("dir", "*x", refused),
    entry("eval", "*x", refused),
    entry("exec", "*x", refused),
    entry("compile", "*x, **options", refused),
    entry("open", "*x, **options", refused),
    entry("input", "*x", refused),
    entry("__import__", "*x", refused),
];

const fn entry(name: &'static str, signature: &'static str, run: Run) -> Builtin {
    Builtin { name, signature, run }
}

fn refused(_: &mut Interp<'_>, args: Bound) -> R<Value> {
    Err(Raise::unsupported(format!("{}() is not supported", args.function)))
}

impl Interp<'_> {
    /// The value of a built-in name.
    pub(crate) fn builtin(&mut self, name: &str) -> R<Option<Value>> {
        if let Some(builtin) = BUILTINS.iter().find(|builtin| builtin.name == name) {
            return Ok(Some(Value::Builtin(builtin)));
        }
        let named = |entry: &&(&'static str, &str)| entry.0 == name;
        if matches!(name, "object") {
            return Ok(Some(Value::Class(self.class("object")?)));
        }
        let hidden = matches!(
            name,
            "function"
                | "module"
                | "NoneType"
                | "Tensor"
                | "Parameter"
                | "dtype"
                | "Size"
                | "OrderedDict"
                | "defaultdict"
                | "NamedTuple"
        );
        if let Some((known, _)) = TYPES.iter().find(named).filter(|_| !hidden) {
            return Ok(Some(Value::Class(self.class(known)?)));
        }
        if let Some((known, _)) = EXCEPTIONS.iter().find(named) {
            return Ok(Some(Value::Class(self.class(known)?)));
        }
        Ok(match name {
            "NotImplemented" => Some(Value::NotImplemented),
            "Ellipsis" => Some(Value::Ellipsis),
            "__debug__" => Some(Value::Bool(true)),
            "__build_class__" | "memoryview" | "bytes" | "bytearray" | "complex" | "help" | "exit"
            | "quit" | "StopAsyncIteration" | "OSError" | "IOError" | "FileNotFoundError" | "ascii"
            | "bin" | "hex" | "oct" | "aiter" | "anext" | "EnvironmentError" | "KeyboardInterrupt"
            | "SystemExit" | "UnicodeError" => Some(Value::Opaque(Rc::from(name))),
            _ => None,
        })
    }

    /// Call a built-in function by name.
    pub(crate) fn builtin_call(&mut self, name: &str, args: Args) -> R<Value> {
        match self.builtin(name)? {
            Some(function) => self.call(&function, args),
            None => Err(Raise::python("NameError", format!("name '{name}' is not defined"))),
        }
    }

    /// `type(value)`.
    pub(crate) fn type_of(&mut self, value: &Value) -> R<Value> {
        let name = match value {
            Value::Object(object) => return Ok(Value::Class(Rc::clone(&object.class))),
            Value::Opaque(name) => return Ok(Value::Opaque(Rc::from(format!("type({name})")))),
            Value::Tuple(tuple) if tuple.size => "Size",
            other => {
                let name = other.type_name();
                match TYPES.iter().find(|(known, _)| *known == name) {
                    Some((known, _)) => known,
                    None => "object",
                }
            }
        };
        Ok(Value::Class(self.class(name)?))
    }

    fn is_instance(&mut self, value: &Value, types: &Value) -> R<bool> {
        match types {
            Value::Tuple(tuple) => {
                for item in &tuple.items {
                    if self.is_instance(value, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Class(wanted) => match self.type_of(value)? {
                Value::Class(class) => Ok(class.lineage().any(|class| Rc::ptr_eq(class, wanted))),
                _ => Err(Raise::unsupported(format!("isinstance of '{}'", value.type_name()))),
            },
            Value::None => Ok(value.is_none()),
            Value::Opaque(name) => {
                let sequence =
                    matches!(value, Value::List(_) | Value::Tuple(_) | Value::Str(_) | Value::Range(..));
                let mapping = matches!(value, Value::Dict(_));
                let last = name.rsplit('.').next().unwrap_or(name);
                match last {
                    "Iterable" | "Collection" | "Sized" => {
                        Ok(sequence || mapping || matches!(value, Value::Set(_) | Value::Iter(_)))
                    }
                    "FunctionType" | "MethodType" => Ok(matches!(value, Value::Function(_))),
                    "Enum" => Ok(false),
                    "Sequence" | "List" | "Tuple" => Ok(sequence),
                    "Mapping" | "MutableMapping" | "Dict" => Ok(mapping),
                    "Number" | "Integral" | "Real" => {
                        Ok(matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)))
                    }
                    "Callable" => {
                        let callable = self.builtin_call("callable", Args::of(vec![value.clone()]))?;
                        self.truth(&callable)
                    }
                    _ if name.starts_with("torch") => Ok(false),
                    _ => Err(Raise::unsupported(format!("isinstance with '{name}'"))),
                }
            }
            other => Err(Raise::type_error(format!(
                "isinstance() arg 2 must be a type, a tuple of types, or a union, not {}",
                other.type_name()
            ))),
        }
    }

    fn is_subclass(&mut self, class: &Rc<Class>, types: &Value) -> R<bool> {
        match types {
            Value::Tuple(tuple) => {
                for item in &tuple.items {
                    if self.is_subclass(class, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Class(wanted) => Ok(class.lineage().any(|class| Rc::ptr_eq(class, wanted))),
            other => Err(Raise::unsupported(format!("issubclass with '{}'", other.type_name()))),
        }
    }

    /// Call a built-in type.
    pub(crate) fn convert(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        let name = Rc::clone(&class.name);
        let first = args.positional.first().cloned();
        match &*name {
            "int" => self.int_of(first.unwrap_or(Value::Int(0))),
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
                Some(value) => match torch::signature::number(&value) {
                    Some(number) => Ok(Value::Float(number)),
                    None => Err(self.no_conversion("float", &value)),
                },
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
                let (factory, source) = if &*name == "defaultdict" {
                    (first.filter(|value| !value.is_none()), args.positional.get(1).cloned())
                } else {
                    (None, first)
                };
                let mut entries = source.map_or(Ok(Vec::new()), |value| self.pairs(&value))?;
                entries.extend(args.named.into_iter().map(|(name, value)| (Value::Str(name), value)));
                let dict = self.dict(entries)?;
                if let Value::Dict(inner) = &dict {
                    inner.borrow_mut().default_factory = factory;
                }
                Ok(dict)
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
                    "property" => Descriptor::Property,
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
            other => Err(self.no_conversion("int", &other)),
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

    /// The `__init__` that `@dataclass` writes.
    pub(crate) fn init_dataclass(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        let mut positional = args.positional.into_iter();
        let Some(target @ Value::Object(_)) = positional.next() else { return Ok(Value::None) };
        let fields: Vec<Rc<str>> = class.fields.borrow().clone();
        for field in fields {
            let named = args.named.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone());
            let default = class.lineage().find_map(|class| class.attrs.borrow().get(&field).cloned());
            match positional.next().or(named).or(default) {
                Some(value) => self.set_attr(&target, &field, value)?,
                None => {
                    let message = format!(
                        "{}.__init__() missing 1 required positional argument: '{field}'",
                        class.name
                    );
                    return Err(Raise::type_error(message));
                }
            }
        }
        match self.get_attr(&target, "__post_init__") {
            Ok(method) => self.call(&method, Args::default()),
            Err(raise) if matches!(raise.kind, RaiseKind::Python { .. }) => Ok(Value::None),
            Err(raise) => Err(raise),
        }
    }

    /// A class of named tuples.
    pub(crate) fn named_tuple_class(&mut self, name: &str, fields: Vec<Rc<str>>) -> R<Value> {
        let base = self.class("NamedTuple")?;
        let class = self.make_class(name, vec![base], BTreeMap::new())?;
        *class.fields.borrow_mut() = fields;
        Ok(Value::Class(class))
    }
}

fn extreme(this: &mut Interp<'_>, args: Bound, op: CmpOp) -> R<Value> {
    let name = args.function;
    let option = |wanted: &str| {
        args.keywords.iter().find(|(name, _)| &**name == wanted).map(|(_, value)| value.clone())
    };
    let items = match &args.rest[..] {
        [single] => this.iterate(single)?,
        items => items.to_vec(),
    };
    let key = option("key").filter(|key| !key.is_none());
    let mut best: Option<(Value, Value)> = None;
    for item in items {
        let rank = match &key {
            Some(key) => this.call(key, Args::of(vec![item.clone()]))?,
            None => item.clone(),
        };
        let better = match &best {
            None => true,
            Some((known, _)) => {
                let result = this.compare(op, &rank, known)?;
                this.truth(&result)?
            }
        };
        if better {
            best = Some((rank, item));
        }
    }
    match best {
        Some((_, item)) => Ok(item),
        None => option("default")
            .ok_or_else(|| Raise::value_error(format!("{name}() iterable argument is empty"))),
    }
}

/// Python's stable sort.
fn merge_sort(
    this: &mut Interp<'_>,
    mut items: Vec<(Value, Value)>,
    reverse: bool,
) -> R<Vec<(Value, Value)>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let left = merge_sort(this, items, reverse)?;
    let right = merge_sort(this, right, reverse)?;
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
        this.tick(1)?;
        let result = if reverse { this.compare(CmpOp::Gt, b, a)? } else { this.compare(CmpOp::Lt, b, a)? };
        let take = if this.truth(&result)? { right.next() } else { left.next() };
        merged.extend(take);
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}
