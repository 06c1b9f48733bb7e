//! Python's built-in functions.
//!
//! Input: names, and arguments. Output: values. Limit: what touches files or statements (`open`, `exec`) is refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{CmpOp, Operator};

use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::types::{EXCEPTIONS, TYPES};
use crate::lower::interp::{Args, Bound, Frame, Interp, Run, Source, known};
use crate::lower::torch;
use crate::lower::value::{Builtin, Class, Module, Scope, Value};
use crate::python;

/// Steps of an exception that is made and caught: its message is put together, unseen.
pub(super) const CAUGHT: usize = 16;

static BUILTINS: &[Builtin] = &[
    entry("abs", "x", |this, args| {
        let value = args.get("x");
        match &value {
            Value::Int(int) => Ok(Value::Int(int.saturating_abs())),
            Value::Float(float) => Ok(Value::Float(float.abs())),
            Value::Bool(flag) => Ok(Value::Int(i64::from(*flag))),
            Value::Tensor(_) => torch::call(this, "abs", vec![value]),
            Value::Object(_) => this.required(&value, "__abs__", "bad operand type for abs()"),
            other => Err(Raise::type_error(format!("bad operand type for abs(): '{}'", other.type_name()))),
        }
    }),
    entry("all", "x", |this, args| {
        let items = this.iter(&args.get("x"))?;
        while let Some(item) = this.next_of(&items)? {
            if !this.truth(&item)? {
                return Ok(Value::Bool(false));
            }
        }
        Ok(Value::Bool(true))
    }),
    entry("any", "x", |this, args| {
        let items = this.iter(&args.get("x"))?;
        while let Some(item) = this.next_of(&items)? {
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
        let (start, items) = (args.int("start")?, this.iter(&args.get("x"))?);
        this.iterator_of("enumerate", Source::Enumerate(start, items))
    }),
    entry("filter", "f, x", |this, args| {
        let items = this.iter(&args.get("x"))?;
        this.iterator_of("filter", Source::Filter(args.get("f"), items))
    }),
    entry("getattr", "x, name, *default", |this, args| {
        let name = args.text("name")?;
        match this.get_attr(&args.get("x"), &name) {
            Err(raise) if raise.class() == Some("AttributeError") => {
                this.tick(CAUGHT)?;
                args.rest.first().cloned().ok_or(raise)
            }
            result => result,
        }
    }),
    entry("hasattr", "x, name", |this, args| {
        let name = args.text("name")?;
        match this.get_attr(&args.get("x"), &name) {
            Ok(_) => Ok(Value::Bool(true)),
            // Python has it, this program does not.
            Err(raise)
                if raise.class().is_none()
                    && matches!(raise.hint.as_deref(), Some(Hint::Attribute { .. })) =>
            {
                Ok(Value::Bool(true))
            }
            Err(raise) if raise.class() == Some("AttributeError") => {
                this.tick(CAUGHT)?;
                Ok(Value::Bool(false))
            }
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
    entry("iter", "x, *sentinel", |this, args| {
        if let [sentinel] = &args.rest[..] {
            let source = Source::Until(args.get("x"), sentinel.clone());
            return this.iterator_of("callable_iterator", source);
        }
        let iter = this.iter(&args.get("x"))?;
        this.own(Value::Iter(iter))
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
        let columns = this.iters(&args.rest)?;
        this.iterator_of("map", Source::Map(args.get("f"), columns))
    }),
    entry("max", "*xs, **options", |this, args| extreme(this, args, CmpOp::Gt)),
    entry("min", "*xs, **options", |this, args| extreme(this, args, CmpOp::Lt)),
    entry("next", "x, *default", |this, args| {
        let next = match args.get("x") {
            Value::Iter(iter) => this.next_of(&iter)?,
            value @ Value::Object(_) => {
                let method = this.get_attr(&value, "__next__")?;
                match (this.call(&method, Args::default()), args.rest.first()) {
                    (Err(raise), Some(_)) if raise.class() == Some("StopIteration") => None,
                    (result, _) => return result,
                }
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
    entry("pow", "base, exp, mod=None", |this, args| {
        let power = this.binary(Operator::Pow, &args.get("base"), &args.get("exp"))?;
        match args.get("mod") {
            Value::None => Ok(power),
            modulus => this.binary(Operator::Mod, &power, &modulus),
        }
    }),
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
        this.iterator("reversed", items)
    }),
    entry("round", "x, digits=None", |this, args| {
        if let value @ Value::Object(_) = args.get("x") {
            return this.required(&value, "__round__", "type has no __round__");
        }
        let number = args.float("x")?;
        match args.optional_int("digits")? {
            None => {
                if let Value::Int(int) = args.get("x") {
                    return Ok(Value::Int(int));
                }
                torch::whole(number.round_ties_even())
            }
            Some(digits) => match args.get("x") {
                whole @ Value::Int(_) if digits >= 0 => Ok(whole),
                Value::Int(whole) => Ok(Value::Int(round_whole(whole, digits.unsigned_abs()))),
                _ => Ok(Value::Float(round_places(number, digits))),
            },
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
        let items = this.iter(&args.get("x"))?;
        while let Some(item) = this.next_of(&items)? {
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
        let strict = match args.keywords.iter().find(|(name, _)| &**name == "strict") {
            Some((_, strict)) => this.truth(strict)?,
            None => false,
        };
        let columns = this.iters(&args.rest)?;
        this.iterator_of("zip", Source::Zip { columns, strict })
    }),
    entry("chr", "x", |this, args| match u32::try_from(args.int("x")?).ok().and_then(char::from_u32) {
        Some(char) => this.text(char.to_string()),
        None => Err(Raise::value_error("chr() arg not in range(0x110000)")),
    }),
    entry("bin", "x", |this, args| in_base(this, &args, "0b", |number| format!("{number:b}"))),
    entry("oct", "x", |this, args| in_base(this, &args, "0o", |number| format!("{number:o}"))),
    entry("hex", "x", |this, args| in_base(this, &args, "0x", |number| format!("{number:x}"))),
    entry("ord", "x", |_, args| match args.text("x")?.chars().next() {
        Some(char) => Ok(Value::Int(i64::from(u32::from(char)))),
        None => Err(Raise::type_error("ord() expected a character")),
    }),
    entry("locals", "", |this, _| {
        let scope = Rc::clone(&this.frame().scope);
        this.names_of(&scope)
    }),
    entry("globals", "", |this, _| {
        let scope = Rc::clone(&this.frame().module.scope);
        this.names_of(&scope)
    }),
    entry("vars", "x", |this, args| this.get_attr(&args.get("x"), "__dict__")),
    entry("dir", "x", |this, args| {
        let mut names: Vec<Rc<str>> = match args.get("x") {
            Value::Namespace(space) => torch::namespaces::names(space).into_iter().map(Rc::from).collect(),
            Value::Module(module) => module.scope.names.borrow().keys().cloned().collect(),
            Value::Class(class) => attributes_of(&class),
            Value::Object(object) => {
                let own = this.get_attr(&Value::Object(Rc::clone(&object)), "__dict__")?;
                let own = this.iterate(&own)?.into_iter().filter_map(|name| match name {
                    Value::Str(name) => Some(name),
                    _ => None,
                });
                let own: Vec<_> = own.collect();
                attributes_of(&object.class).into_iter().chain(own).collect()
            }
            other => {
                return Err(Raise::unsupported(format!("dir() of a {} is not supported", other.type_name())));
            }
        };
        names.sort();
        names.dedup();
        this.list(names.into_iter().map(Value::Str).collect())
    }),
    entry("eval", "text, globals=None, locals=None", |this, args| {
        if !args.get("globals").is_none() || !args.get("locals").is_none() {
            return Err(Raise::unsupported("eval() with names of its own is not supported"));
        }
        let text = args.text("text")?;
        this.eval_text(&text)
    }),
    entry("exec", "*x", refused),
    entry("compile", "*x, **options", refused),
    entry("open", "*x, **options", refused),
    entry("input", "*x", refused),
    entry("__import__", "name, globals=None, locals=None, fromlist=(), level=0", |this, args| {
        let name = args.text("name")?;
        let module = this.import(&name)?;
        let fromlist = args.get("fromlist");
        match name.split_once('.') {
            Some((first, _)) if !this.truth(&fromlist)? => this.import(first),
            _ => Ok(module),
        }
    }),
];

/// Names of a class's attributes and of those it inherits.
fn attributes_of(class: &Rc<Class>) -> Vec<Rc<str>> {
    class.lineage().flat_map(|class| class.attrs.borrow().keys().cloned().collect::<Vec<_>>()).collect()
}

pub(super) const fn entry(name: &'static str, signature: &'static str, run: Run) -> Builtin {
    Builtin { name, signature, run }
}

fn refused(_: &mut Interp<'_>, args: Bound) -> R<Value> {
    Err(Raise::unsupported(format!("{}() is not supported", args.function)))
}

impl Interp<'_> {
    /// What a special method without further arguments gives, or a `TypeError` of this message.
    pub(crate) fn required(&mut self, value: &Value, name: &str, message: &str) -> R<Value> {
        match self.special(value, name, Vec::new())? {
            Some(result) => Ok(result),
            None => Err(Raise::type_error(format!("{message}: '{}'", value.type_name()))),
        }
    }

    /// The names of a scope as a dictionary, which changes nothing.
    fn names_of(&mut self, scope: &Scope) -> R<Value> {
        let names = scope.names.borrow();
        let entries =
            names.iter().map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone())).collect();
        drop(names);
        self.dict(entries)
    }

    /// An expression in text, evaluated among the names of the caller. Its places are not places of the source.
    fn eval_text(&mut self, text: &str) -> R<Value> {
        let expr = python::parse_expression(text.trim())
            .map_err(|error| Raise::python("SyntaxError", error.message))?;
        self.tick(text.len())?;
        let file = self.next_file();
        let (scope, module, method) = {
            let frame = self.frame();
            let module = &frame.module;
            let module = Module {
                name: Rc::clone(&module.name),
                package: module.package.clone(),
                scope: Rc::clone(&module.scope),
                main: false,
                file,
                text: None,
                stars: module.stars.clone(),
            };
            (Rc::clone(&frame.scope), Rc::new(module), frame.method.clone())
        };
        let (argument_spans, handling) = (BTreeMap::new(), Vec::new());
        let (yields, manages) = (None, None);
        self.frames.push(Frame { scope, module, method, argument_spans, yields, manages, handling });
        let result = self.deeper(|this| this.eval(&expr));
        self.frames.pop();
        result
    }

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
                | "generator"
                | "dict_keys"
                | "dict_values"
                | "dict_items"
                | "module"
                | "NoneType"
                | "Tensor"
                | "Parameter"
                | "dtype"
                | "Size"
                | "OrderedDict"
                | "defaultdict"
                | "NamedTuple"
                | "Enum"
                | "IntEnum"
                | "StrEnum"
        );
        if let Some((known, _)) = TYPES.iter().find(named).filter(|_| !hidden) {
            return Ok(Some(Value::Class(self.class(known)?)));
        }
        if let Some((known, _)) = EXCEPTIONS.iter().find(named).filter(|_| name != "FrozenInstanceError") {
            return Ok(Some(Value::Class(self.class(known)?)));
        }
        Ok(match name {
            "NotImplemented" => Some(Value::NotImplemented),
            "Ellipsis" => Some(Value::Ellipsis),
            "__debug__" => Some(Value::Bool(true)),
            "__build_class__" | "memoryview" | "bytes" | "bytearray" | "complex" | "help" | "exit"
            | "quit" | "StopAsyncIteration" | "OSError" | "IOError" | "FileNotFoundError" | "ascii"
            | "aiter" | "anext" | "EnvironmentError" | "KeyboardInterrupt" | "SystemExit"
            | "UnicodeError" => Some(Value::Opaque(Rc::from(name))),
            _ if known::has("builtins", name) => Some(Value::Opaque(Rc::from(name))),
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
}

/// A whole number in text, with the prefix of its base.
fn in_base(this: &mut Interp<'_>, args: &Bound, prefix: &str, digits: fn(u64) -> String) -> R<Value> {
    let number = args.int("x")?;
    let sign = if number < 0 { "-" } else { "" };
    this.text(format!("{sign}{prefix}{}", digits(number.unsigned_abs())))
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

/// A number rounded to so many decimal places, from its exact value, as Python does (ties go to the even digit).
fn round_places(number: f64, places: i64) -> f64 {
    if !number.is_finite() || places > 323 {
        return number;
    }
    if places >= 0 {
        let places = usize::try_from(places).unwrap_or(0);
        return format!("{number:.places$}").parse().unwrap_or(number);
    }
    let places = usize::try_from(places.unsigned_abs()).unwrap_or(usize::MAX);
    // Digits before the point: those of the whole number, with what is cut off behind the point.
    let text = format!("{:.0}", number.abs().trunc());
    if text.len() < places {
        return 0.0f64.copysign(number);
    }
    let (kept, cut) = text.split_at(text.len() - places);
    let half = format!("5{}", "0".repeat(places - 1));
    let odd = kept.chars().last().is_some_and(|digit| matches!(digit, '1' | '3' | '5' | '7' | '9'));
    let more = number.fract() != 0.0;
    let up = cut > half.as_str() || (cut == half && (more || odd));
    let kept: f64 = if kept.is_empty() { 0.0 } else { kept.parse().unwrap_or(0.0) };
    let exponent = i32::try_from(places).unwrap_or(i32::MAX);
    ((kept + f64::from(u8::from(up))) * 10f64.powi(exponent)).copysign(number)
}

/// A whole number rounded to a multiple of a power of ten; ties go to the even multiple.
fn round_whole(number: i64, power: u64) -> i64 {
    let Some(unit) = u32::try_from(power).ok().and_then(|power| 10i64.checked_pow(power)) else { return 0 };
    let (quotient, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = rest > unit - rest || (rest == unit - rest && quotient % 2 != 0);
    quotient.saturating_add(i64::from(up)).saturating_mul(unit)
}
