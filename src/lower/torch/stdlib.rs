//! The parts of Python's library that constructors use: `functools`, `collections`, `copy`, ...
//!
//! Input: plain values. Output: plain values. Limit: functions that touch files, time or threads are missing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::Operator;

use crate::graph::DType;
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp, Iter, Run, Source, memo};
use crate::lower::torch::{creation, math};
use crate::lower::value::{Builtin, Function, Hook, Object, TensorState, Value};

pub(super) struct Entry {
    module: &'static str,
    builtin: Builtin,
}

pub(super) const fn entry(
    module: &'static str,
    name: &'static str,
    signature: &'static str,
    run: Run,
) -> Entry {
    Entry { module, builtin: Builtin { name, signature, run } }
}

static FUNCTIONS: &[Entry] = &[
    entry("numpy", "_single", "x", |_, args| {
        #[expect(clippy::cast_possible_truncation, reason = "what float32 does")]
        Ok(Value::Float(f64::from(args.float("x")? as f32)))
    }),
    // What tensors were wrapped in before PyTorch 0.4.
    entry("torch.autograd", "Variable", "data, requires_grad=False, volatile=False", |_, args| {
        Ok(args.get("data"))
    }),
    entry("importlib", "import_module", "name, package=None", |this, args| {
        let name = absolute(&args)?;
        this.import(&name)
    }),
    entry("importlib.util", "find_spec", "name, package=None", |this, args| {
        let name = absolute(&args)?;
        let found = this.can_import(&name)?;
        Ok(if found { Value::Opaque(Rc::from("importlib.machinery.ModuleSpec")) } else { Value::None })
    }),
    entry("inspect", "isfunction", "object", |_, args| {
        let object = args.get("object");
        // The functions of torch.nn.functional are written in Python, most of torch's are not.
        let python = match &object {
            Value::Function(_) => true,
            Value::Builtin(builtin) => {
                super::find('f', builtin.name).is_some_and(|found| std::ptr::eq(found, *builtin))
            }
            _ => false,
        };
        Ok(Value::Bool(python))
    }),
    entry("inspect", "_parameters", "callable, plainly=False", |this, args| {
        let mut all = Vec::new();
        for (name, kind, default) in this.parameters_of(&args.get("callable"), args.bool("plainly")?)? {
            let default = this.tuple(default.into_iter().collect())?;
            all.push(this.tuple(vec![Value::str(&name), Value::Int(kind), default])?);
        }
        this.list(all)
    }),
    entry("inspect", "isclass", "object", |_, args| {
        Ok(Value::Bool(matches!(args.get("object"), Value::Class(_))))
    }),
    entry("functools", "partial", "function, *args, **keywords", |this, args| {
        let mut partial = (args.get("function"), args.rest.clone(), args.keywords.clone());
        // One of another is one of what that calls.
        if let Value::Partial(inner) = &args.get("function")
            && !matches!(&inner.0, Value::Opaque(_))
        {
            partial.0 = inner.0.clone();
            partial.1.splice(0..0, inner.1.iter().cloned());
            let kept = inner.2.iter().filter(|(name, _)| !args.keywords.iter().any(|(new, _)| new == name));
            partial.2.splice(0..0, kept.cloned());
        }
        this.own(Value::Partial(Rc::new(partial)))
    }),
    entry("functools", "reduce", "function, x, *start", |this, args| {
        let function = args.get("function");
        let mut items = this.iterate(&args.get("x"))?.into_iter();
        let mut total = match args.rest.first().cloned().or_else(|| items.next()) {
            Some(total) => total,
            None => return Err(Raise::type_error("reduce() of empty iterable with no initial value")),
        };
        for item in items {
            total = this.call(&function, Args::of(vec![total, item]))?;
        }
        Ok(total)
    }),
    entry("functools", "wraps", "wrapped, **options", |this, args| {
        let rename = Value::Builtin(&RENAMED);
        this.own(Value::Partial(Rc::new((rename, vec![args.get("wrapped")], Vec::new()))))
    }),
    entry("functools", "lru_cache", "maxsize=128, typed=False", |this, args| match args.get("maxsize") {
        function @ Value::Function(_) => memo::keep(this, &function, Value::Int(128)),
        most => memo::decorator(this, most),
    }),
    entry("functools", "cached_property", "func", |this, args| {
        let getter = memo::keep(this, &args.get("func"), Value::None)?;
        this.property([getter, Value::None, Value::None])
    }),
    entry("functools", "cache", "x", |this, args| memo::keep(this, &args.get("x"), Value::None)),
    entry("operator", "mul", "a, b", |this, args| {
        this.binary(Operator::Mult, &args.get("a"), &args.get("b"))
    }),
    entry("operator", "add", "a, b", |this, args| this.binary(Operator::Add, &args.get("a"), &args.get("b"))),
    entry("itertools", "chain", "*xs", |this, args| {
        let parts = Rc::new(Iter::new("tuple_iterator", Source::Items(args.rest.into_iter())));
        this.iterator_of("itertools.chain", Source::Chain(parts, None))
    }),
    entry("itertools", "chain.from_iterable", "iterable", |this, args| {
        let parts = this.iter(&args.get("iterable"))?;
        this.iterator_of("itertools.chain", Source::Chain(parts, None))
    }),
    entry("itertools", "combinations", "x, r", |this, args| {
        choices(this, &args, |row, at| row.last().is_none_or(|&last| at > last))
    }),
    entry("itertools", "permutations", "x, r", |this, args| {
        choices(this, &args, |row, at| !row.contains(&at))
    }),
    entry("itertools", "combinations_with_replacement", "x, r", |this, args| {
        choices(this, &args, |row, at| row.last().is_none_or(|&last| at >= last))
    }),
    entry("itertools", "islice", "x, *bounds", |this, args| {
        let mut bounds = Vec::new();
        for bound in &args.rest {
            bounds.push(match bound {
                Value::None => None,
                Value::Int(bound) => Some(u64::try_from(*bound).map_err(|_| not_a_place())?),
                _ => return Err(not_a_place()),
            });
        }
        let (start, stop, step) = match bounds[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start.unwrap_or(0), stop, 1),
            [start, stop, step] => (start.unwrap_or(0), stop, step.unwrap_or(1)),
            _ => return Err(Raise::type_error("islice expected 2 to 4 arguments")),
        };
        if step == 0 {
            return Err(Raise::value_error("Step for islice() must be a positive integer or None."));
        }
        let left = stop.map(|stop| stop.saturating_sub(start));
        let from = this.iter(&args.get("x"))?;
        this.iterator_of("itertools.islice", Source::Part { skip: start, left, step, from })
    }),
    entry("itertools", "starmap", "function, x", |this, args| {
        let rows = this.iter(&args.get("x"))?;
        this.iterator_of("itertools.starmap", Source::StarMap(args.get("function"), rows))
    }),
    entry("itertools", "zip_longest", "*xs, **options", |this, args| {
        let fill = args.keywords.iter().find(|(name, _)| &**name == "fillvalue");
        let fill = fill.map_or(Value::None, |(_, value)| value.clone());
        let mut columns = Vec::new();
        for values in &args.rest {
            columns.push(this.iterate(values)?);
        }
        let mut rows = Vec::new();
        for at in 0..columns.iter().map(Vec::len).max().unwrap_or(0) {
            let row = columns.iter().map(|column| column.get(at).unwrap_or(&fill).clone()).collect();
            rows.push(this.tuple(row)?);
        }
        this.iterator("itertools.zip_longest", rows)
    }),
    entry("itertools", "repeat", "object, times=None", |this, args| {
        if args.get("times").is_none() {
            return this.iterator_of("itertools.repeat", Source::Repeat(args.get("object")));
        }
        let count = usize::try_from(args.int("times")?).unwrap_or(0);
        this.check_length("list", count, this.limits.list_length)?;
        this.iterator("itertools.repeat", vec![args.get("object"); count])
    }),
    entry("itertools", "product", "*xs, **options", |this, args| {
        let times = match args.keywords.iter().find(|(name, _)| &**name == "repeat") {
            Some((_, Value::Int(times))) => usize::try_from(*times).unwrap_or(0).min(64),
            _ => 1,
        };
        let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
        for value in std::iter::repeat_n(&args.rest, times).flatten() {
            let items = this.iterate(value)?;
            this.check_length("list", rows.len().saturating_mul(items.len()), this.limits.list_length)?;
            rows = rows
                .iter()
                .flat_map(|row| items.iter().map(|item| [&row[..], std::slice::from_ref(item)].concat()))
                .collect();
        }
        let mut tuples = Vec::new();
        for row in rows {
            tuples.push(this.tuple(row)?);
        }
        this.iterator("itertools.product", tuples)
    }),
    entry("collections", "namedtuple", "name, fields, defaults=None, **options", |this, args| {
        let name = args.text("name")?;
        let mut fields = Vec::new();
        match args.get("fields") {
            Value::Str(text) => {
                fields.extend(text.split([',', ' ']).filter(|part| !part.is_empty()).map(Rc::from));
            }
            list => {
                for item in this.iterate(&list)? {
                    if let Value::Str(field) = item {
                        fields.push(field);
                    }
                }
            }
        }
        let class = this.named_tuple_class(&name, fields)?;
        let defaults = args.get("defaults");
        if let (Value::Class(class), false) = (&class, defaults.is_none()) {
            class.set_defaults(this.iterate(&defaults)?);
        }
        Ok(class)
    }),
    // Of `torch.nn.modules.utils`, whose names are those of `torch.nn` here.
    entry("torch.nn", "_single", "x", |this, args| ntuple(this, &args, 1)),
    entry("torch.nn", "_pair", "x", |this, args| ntuple(this, &args, 2)),
    entry("torch.nn", "_triple", "x", |this, args| ntuple(this, &args, 3)),
    entry("torch.nn", "_quadruple", "x", |this, args| ntuple(this, &args, 4)),
    entry("copy", "copy", "x", |this, args| copy_of(this, &args.get("x"), false, &mut BTreeMap::new())),
    entry("copy", "deepcopy", "x, memo=None", |this, args| {
        copy_of(this, &args.get("x"), true, &mut BTreeMap::new())
    }),
    entry("warnings", "warn", "*xs, **options", |_, _| Ok(Value::None)),
    entry("warnings", "filterwarnings", "*xs, **options", |_, _| Ok(Value::None)),
    entry("warnings", "simplefilter", "*xs, **options", |_, _| Ok(Value::None)),
    entry("typing", "cast", "type, x", |_, args| Ok(args.get("x"))),
    entry("dataclasses", "dataclass", "*xs, **options", |this, args| match args.rest.first() {
        Some(class @ Value::Class(inner)) => {
            this.dataclass(inner, &args.keywords)?;
            Ok(class.clone())
        }
        _ => {
            let decorator = find("dataclasses", "dataclass").ok_or_else(|| this.unknown("dataclass"))?;
            let partial = (Value::Builtin(decorator), Vec::new(), args.keywords.clone());
            this.own(Value::Partial(Rc::new(partial)))
        }
    }),
    entry("dataclasses", "is_dataclass", "x", |_, args| Ok(Value::Bool(fields(&args.get("x")).is_some()))),
    entry("dataclasses", "_names", "x", |this, args| match fields(&args.get("x")) {
        Some(names) => this.tuple(names.into_iter().map(Value::Str).collect()),
        None => Err(Raise::type_error("must be called with a dataclass type or instance")),
    }),
    entry("dataclasses", "field", "**options", |this, args| {
        let marker = Value::Opaque(Rc::from(crate::lower::interp::FIELD));
        this.own(Value::Partial(Rc::new((marker, Vec::new(), args.keywords.clone()))))
    }),
    entry("sys", "_module", "name", |this, args| {
        let name = args.text("name")?;
        Ok(this.module(&name).map_or(Value::None, Value::Module))
    }),
    entry("enum", "auto", "", |_, _| Ok(Value::Opaque(Rc::from(crate::lower::interp::AUTO)))),
    entry("torch.compiler", "is_compiling", "", |_, _| Ok(Value::Bool(false))),
    entry("torch.compiler", "is_dynamo_compiling", "", |_, _| Ok(Value::Bool(false))),
    entry("torch.jit", "is_scripting", "", |_, _| Ok(Value::Bool(false))),
    entry("torch.jit", "is_tracing", "", |_, _| Ok(Value::Bool(false))),
    entry("torch.jit", "annotate", "type, x", |_, args| Ok(args.get("x"))),
    entry("torch", "get_default_dtype", "", |_, _| Ok(Value::DType(DType::F32))),
    entry("torch", "set_default_dtype", "d", |_, args| match args.get("d") {
        Value::DType(DType::F32) => Ok(Value::None),
        _ => Err(Raise::unsupported("a default type other than torch.float32 is not supported")),
    }),
    entry("torch", "set_default_tensor_type", "t", |_, args| match args.get("t") {
        Value::Str(name) if matches!(&*name, "torch.FloatTensor" | "torch.cuda.FloatTensor") => {
            Ok(Value::None)
        }
        Value::Builtin(builtin) if builtin.name == "FloatTensor" => Ok(Value::None),
        _ => Err(Raise::unsupported("a default type other than torch.float32 is not supported")),
    }),
    entry("types", "MethodType", "function, instance", |this, args| {
        this.own(Value::Bound(Rc::new((args.get("instance"), args.get("function")))))
    }),
    entry("torch", "is_grad_enabled", "", |this, _| Ok(Value::Bool(!this.no_grad))),
    entry("torch", "manual_seed", "seed", |_, _| Ok(Value::None)),
    entry("torch", "set_grad_enabled", "flag", |this, args| {
        let name = if this.truth(&args.get("flag"))? { "True" } else { "False" };
        Ok(Value::Opaque(Rc::from(format!("torch.set_grad_enabled({name})"))))
    }),
    entry("torch", "device", "*xs", |_, _| Ok(Value::Opaque(Rc::from("torch.device")))),
    entry("torch.cuda", "is_available", "", |_, _| Ok(Value::Bool(false))),
];

/// Names of a dataclass's fields, or of an instance's class.
fn fields(value: &Value) -> Option<Vec<Rc<str>>> {
    let class = match value {
        Value::Class(class) => class,
        Value::Object(object) => &object.class,
        _ => return None,
    };
    class.lineage().map(|class| class.fields.borrow().clone()).find(|fields| !fields.is_empty())
}

/// As many of a number, or the tuple that was given.
fn ntuple(this: &mut Interp<'_>, args: &Bound, count: usize) -> R<Value> {
    let items = match args.get("x") {
        list @ (Value::Tuple(_) | Value::List(_)) => this.iterate(&list)?,
        one => vec![one; count],
    };
    this.tuple(items)
}

/// What `functools.wraps(wrapped)` does with the wrapper.
static RENAMED: Builtin = Builtin {
    name: "wraps",
    signature: "wrapped, wrapper",
    run: |this, args| {
        let (Value::Function(wrapped), Value::Function(wrapper)) = (args.get("wrapped"), args.get("wrapper"))
        else {
            return Ok(args.get("wrapper"));
        };
        let mut renamed = Function { name: Rc::clone(&wrapped.name), ..Function::clone(&wrapper) };
        let attrs = renamed.attrs.get_mut();
        this.tick(attrs.len() + wrapped.attrs.borrow().len())?;
        attrs.extend(wrapped.attrs.borrow().clone());
        attrs.insert(Rc::from("__doc__"), this.get_attr(&args.get("wrapped"), "__doc__")?);
        attrs.insert(Rc::from("__wrapped__"), args.get("wrapped"));
        this.own(Value::Function(Rc::new(renamed)))
    },
};

impl Interp<'_> {
    pub(crate) fn unknown(&self, name: &str) -> Box<Raise> {
        Raise::unsupported(format!("{name} is not supported"))
    }
}

/// A function of a library module.
pub(crate) fn find(module: &str, name: &str) -> Option<&'static Builtin> {
    let mut tables = FUNCTIONS.iter().chain(math::FUNCTIONS);
    tables.find(|entry| entry.module == module && entry.builtin.name == name).map(|entry| &entry.builtin)
}

/// The names of a library module that have an entry here.
pub(crate) fn names(module: &str) -> impl Iterator<Item = &'static str> {
    let tables = FUNCTIONS.iter().chain(math::FUNCTIONS);
    tables
        .filter(move |entry| entry.module == module && !entry.builtin.name.contains('.'))
        .map(|entry| entry.builtin.name)
        .filter(|name| !name.starts_with('_'))
}

/// Rows of `r` elements of `x`, each position allowed by those before it.
fn choices(this: &mut Interp<'_>, args: &Bound, allowed: fn(&[usize], usize) -> bool) -> R<Value> {
    let items = this.iterate(&args.get("x"))?;
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..args.count("r")?.min(64) {
        let mut longer = Vec::new();
        for row in rows {
            this.tick(items.len())?;
            for at in (0..items.len()).filter(|&at| allowed(&row, at)) {
                longer.push([&row[..], &[at]].concat());
            }
            this.check_length("list", longer.len(), this.limits.list_length)?;
        }
        rows = longer;
    }
    let mut tuples = Vec::new();
    for row in rows {
        tuples.push(this.tuple(row.into_iter().map(|at| items[at].clone()).collect())?);
    }
    this.iterator("itertools.combinations", tuples)
}

fn not_a_place() -> Box<Raise> {
    Raise::value_error(
        "Indices for islice() must be None or an integer: 0 <= x <= sys.maxsize, and its step at least 1.",
    )
}

/// `copy.copy` and `copy.deepcopy`; `made` keeps shared parts shared.
fn copy_of(this: &mut Interp<'_>, value: &Value, deep: bool, made: &mut BTreeMap<usize, Value>) -> R<Value> {
    this.tick(8)?;
    if let Some(known) = value.identity().and_then(|identity| made.get(&identity)) {
        return Ok(known.clone());
    }
    let copy = match value {
        Value::List(items) => {
            let items = items.borrow().clone();
            let items = parts(this, items, deep, made)?;
            this.list(items)?
        }
        Value::Tuple(tuple) if deep && !tuple.size && tuple.named.is_none() => {
            let items = parts(this, tuple.items.clone(), deep, made)?;
            this.tuple(items)?
        }
        Value::Dict(dict) => {
            let (entries, class) = (dict.borrow().entries().to_vec(), dict.borrow().class.clone());
            let mut copies = Vec::with_capacity(entries.len());
            for (name, value) in entries {
                copies.push((name, part(this, value, deep, made)?));
            }
            this.dict_like(class, copies)?
        }
        Value::Set(set) => {
            let items = set.borrow().keys();
            this.set(items)?
        }
        Value::Tensor(tensor) if deep => {
            let state = tensor.state.borrow().clone();
            match state {
                TensorState::Param(id) => {
                    let param = this.builder.param(id).clone();
                    creation::new_parameter(this, param.sizes, param.dtype, param.kind, param.init)?
                }
                _ => value.clone(),
            }
        }
        Value::Object(object) => {
            let copy = Rc::new(Object {
                class: Rc::clone(&object.class),
                attrs: RefCell::default(),
                module: RefCell::default(),
                site: RefCell::new(object.site.borrow().clone()),
            });
            let new = this.own(Value::Object(Rc::clone(&copy)))?;
            if let Some(identity) = value.identity() {
                made.insert(identity, new.clone());
            }
            if let (Some((call, spans)), true) = (object.site.borrow().as_ref(), deep) {
                for (_, span) in spans {
                    *this.uses.entry((*call, *span)).or_insert(0) += 1;
                }
            }
            let attrs = object.attrs.borrow().clone();
            for (name, value) in attrs {
                // Both hold what the object itself holds.
                let own = matches!(&*name, "__items__" | "__dict__") && !matches!(value, Value::Object(_));
                let value = if own && !deep {
                    copy_of(this, &value, false, made)?
                } else {
                    part(this, value, deep, made)?
                };
                copy.attrs.borrow_mut().insert(name, value);
            }
            let state = object.module.borrow();
            if let Some(state) = state.as_ref() {
                let mut new = crate::lower::value::ModuleState::default();
                for (name, value) in &state.params {
                    new.params.push((Rc::clone(name), part(this, value.clone(), deep, made)?));
                }
                for (name, value, persistent) in &state.buffers {
                    new.buffers.push((Rc::clone(name), part(this, value.clone(), deep, made)?, *persistent));
                }
                for (name, value) in &state.modules {
                    new.modules.push((Rc::clone(name), part(this, value.clone(), deep, made)?));
                }
                for hook in &state.hooks {
                    let function = part(this, hook.function.clone(), deep, made)?;
                    new.hooks.push(Hook { function, ..hook.clone() });
                }
                *copy.module.borrow_mut() = Some(new);
            }
            return Ok(new);
        }
        other => other.clone(),
    };
    if let Some(identity) = value.identity() {
        made.insert(identity, copy.clone());
    }
    Ok(copy)
}

fn part(this: &mut Interp<'_>, value: Value, deep: bool, made: &mut BTreeMap<usize, Value>) -> R<Value> {
    if deep { this.deeper(|this| copy_of(this, &value, deep, made)) } else { Ok(value) }
}

fn parts(
    this: &mut Interp<'_>,
    values: Vec<Value>,
    deep: bool,
    made: &mut BTreeMap<usize, Value>,
) -> R<Vec<Value>> {
    values.into_iter().map(|value| part(this, value, deep, made)).collect()
}

/// The absolute name of a module: a dot at its front is the package, each further one a package above.
fn absolute(args: &Bound) -> R<String> {
    let name = args.text("name")?;
    let relative = name.trim_start_matches('.');
    let level = name.len() - relative.len();
    if level == 0 {
        return Ok(name.to_string());
    }
    let package = args.text("package")?;
    let base: Vec<&str> = package.split('.').collect();
    match base.get(..(base.len() + 1).saturating_sub(level)) {
        Some(base @ [_, ..]) => Ok(format!("{}.{relative}", base.join("."))),
        _ => Err(Raise::python("ImportError", "attempted relative import beyond top-level package")),
    }
}
