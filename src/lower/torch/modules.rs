//! `nn.Module`: registration, traversal, containers, calls.
//!
//! Input: instances of classes derived from `nn.Module`. Output: parameters, buffers and submodules in PyTorch's order,
//! with the paths of its `state_dict`. Limit: hooks are refused.
//! Longer than 600 lines because the methods of `nn.Module` share one walk over its members.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::{Dim, ParamId, ParamKind};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::{creation, signature};
use crate::lower::value::{Class, ModuleState, Native, Object, TensorState, Value};

const MODULE: &[&str] = &[
    "__init__",
    "__call__",
    "__setattr__",
    "__getattr__",
    "__delattr__",
    "parameters",
    "named_parameters",
    "buffers",
    "named_buffers",
    "children",
    "named_children",
    "modules",
    "named_modules",
    "add_module",
    "register_module",
    "register_parameter",
    "register_buffer",
    "apply",
    "train",
    "eval",
    "requires_grad_",
    "to",
    "cuda",
    "cpu",
    "float",
    "double",
    "half",
    "type",
    "zero_grad",
    "state_dict",
    "load_state_dict",
    "get_submodule",
    "get_parameter",
    "get_buffer",
    "extra_repr",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_backward_hook",
    "share_memory",
    "_get_name",
    "compile",
    "to_empty",
    "xpu",
    "bfloat16",
];
const SEQUENCE: &[&str] = &[
    "__len__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__iter__",
    "append",
    "extend",
    "insert",
    "pop",
    "__add__",
    "__contains__",
];
const MAPPING: &[&str] = &[
    "__len__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__iter__",
    "__contains__",
    "keys",
    "values",
    "items",
    "update",
    "pop",
    "get",
    "clear",
];

/// A method that a built-in class has.
pub(crate) fn native_method(class: &Class, name: &str) -> Option<&'static str> {
    let find = |names: &'static [&'static str]| names.iter().find(|known| **known == name).copied();
    match class.native {
        Native::Module => find(MODULE),
        Native::Layer(layer) => match name {
            "__init__" => Some("__init__"),
            "forward" if layer.has_forward() || layer.name == "Sequential" => Some("forward"),
            "reset_parameters" | "flatten_parameters" | "_reset_parameters" => Some("reset_parameters"),
            _ => match layer.name {
                "Sequential" | "ModuleList" | "ParameterList" => find(SEQUENCE),
                "ModuleDict" | "ParameterDict" => find(MAPPING),
                _ => None,
            },
        },
        Native::Exception if name == "__init__" => Some("__init__"),
        Native::Source if name == "__init__" && !class.fields.borrow().is_empty() => {
            let tuple = class.ancestors.iter().any(|ancestor| &*ancestor.name == "NamedTuple");
            (!tuple).then_some("__init__")
        }
        _ => None,
    }
}

impl Interp<'_> {
    /// Call a method of a built-in class; the first argument is the instance.
    pub(crate) fn call_native(&mut self, class: &Rc<Class>, method: &'static str, args: Args) -> R<Value> {
        match class.native {
            Native::Exception => return self.init_exception(args),
            Native::Source => return self.init_dataclass(class, args),
            Native::Object => return Ok(Value::None),
            _ => {}
        }
        let Some((first, args)) = args.split_first() else {
            return Err(Raise::type_error(format!("{}.{method}() needs an argument", class.name)));
        };
        let Value::Object(object) = first else {
            return Err(Raise::type_error(format!(
                "descriptor '{method}' for '{}' objects doesn't apply to a '{}' object",
                class.name,
                first.type_name()
            )));
        };
        if let Native::Layer(layer) = class.native {
            return match method {
                "__init__" => {
                    layer.init(self, &object, args)?;
                    Ok(Value::None)
                }
                "forward" if layer.name == "Sequential" => run_sequential(self, &object, args),
                "forward" => layer.forward(self, &object, args),
                "reset_parameters" => Ok(Value::None),
                _ if matches!(layer.name, "ModuleDict" | "ParameterDict") => {
                    mapping(self, &object, method, args)
                }
                _ => sequence(self, &object, layer.name, method, args),
            };
        }
        if method == "__init__" {
            if let Some((name, _)) = args.named.first() {
                let class = &object.class.name;
                return Err(Raise::type_error(format!(
                    "{class}.__init__() got an unexpected keyword argument '{name}'"
                )));
            }
            if !args.positional.is_empty() {
                let given = args.positional.len() + 1;
                let class = &object.class.name;
                let message =
                    format!("{class}.__init__() takes 1 positional argument but {given} were given");
                return Err(Raise::type_error(message));
            }
            *object.module.borrow_mut() = Some(ModuleState::default());
            return Ok(Value::None);
        }
        module_method(self, &object, method, args)
    }

    /// Call a module: its `forward`, with its path noted for every operation.
    pub(crate) fn call_module(&mut self, object: &Rc<Object>, args: Args) -> R<Value> {
        if object.module.borrow().is_none() {
            let name = &object.class.name;
            return Err(Raise::attribute(format!("'{name}' object has no attribute '_forward_hooks'")));
        }
        let Some(forward) = self.class_attr(&object.class, "forward", None) else {
            return Err(no_forward(object));
        };
        let path = match self.paths.get(&(Rc::as_ptr(object) as usize)) {
            Some(path) => path.clone(),
            None => self.path.last().map(|(path, _)| path.clone()).unwrap_or_default(),
        };
        let own = object.attrs.borrow().get("forward").cloned();
        let class = if path.is_empty() { String::new() } else { object.class.name.to_string() };
        self.path.push((path, class));
        let result = match own {
            Some(forward) => self.call(&forward, args),
            None => self.call(&forward, args.prepend(Value::Object(Rc::clone(object)))),
        };
        self.path.pop();
        result
    }
}

pub(crate) fn no_forward(object: &Rc<Object>) -> Box<Raise> {
    let name = &object.class.name;
    Raise::python(
        "NotImplementedError",
        format!("Module [{name}] is missing the required \"forward\" function"),
    )
}

/// Name of a registered parameter, buffer or submodule to its value.
pub(crate) fn registered(object: &Rc<Object>, name: &str) -> Option<Value> {
    let state = object.module.borrow();
    let state = state.as_ref()?;
    let params = state.params.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
    let buffers = || state.buffers.iter().find(|(known, _, _)| &**known == name).map(|(_, value, _)| value);
    let modules = || state.modules.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
    params.or_else(buffers).or_else(modules).cloned()
}

/// `_modules`, `_parameters` and `_buffers`, as copies.
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
    this.dict(entries)
}

/// Remove a registered name.
pub(crate) fn unregister(object: &Rc<Object>, name: &str) -> bool {
    let mut state = object.module.borrow_mut();
    let Some(state) = state.as_mut() else { return false };
    let before = state.params.len() + state.buffers.len() + state.modules.len();
    state.params.retain(|(known, _)| &**known != name);
    state.buffers.retain(|(known, _, _)| &**known != name);
    state.modules.retain(|(known, _)| &**known != name);
    before != state.params.len() + state.buffers.len() + state.modules.len()
}

fn put(list: &mut Vec<(Rc<str>, Value)>, name: &str, value: Value) {
    match list.iter_mut().find(|(known, _)| &**known == name) {
        Some(entry) => entry.1 = value,
        None => list.push((Rc::from(name), value)),
    }
}

/// Register a parameter or `None`.
pub(crate) fn put_parameter(object: &Rc<Object>, name: &str, value: Value) {
    if let Some(state) = object.module.borrow_mut().as_mut() {
        put(&mut state.params, name, value);
    }
}

/// Register a buffer or `None`.
pub(crate) fn put_buffer(object: &Rc<Object>, name: &str, value: Value, persistent: bool) {
    if let Some(state) = object.module.borrow_mut().as_mut() {
        match state.buffers.iter_mut().find(|(known, _, _)| &**known == name) {
            Some(entry) => (entry.1, entry.2) = (value, persistent),
            None => state.buffers.push((Rc::from(name), value, persistent)),
        }
    }
}

fn put_module(object: &Rc<Object>, name: &str, value: Value) {
    if let Some(state) = object.module.borrow_mut().as_mut() {
        put(&mut state.modules, name, value);
    }
}

/// `Module.__setattr__`; whether the value was registered.
pub(crate) fn assign(this: &mut Interp<'_>, object: &Rc<Object>, name: &str, value: &Value) -> R<bool> {
    let parameter = matches!(value, Value::Tensor(tensor) if tensor.parameter.get());
    let module = matches!(value, Value::Object(child) if child.class.is_module());
    if object.module.borrow().is_none() {
        if parameter {
            return Err(Raise::attribute("cannot assign parameters before Module.__init__() call"));
        }
        if module {
            return Err(Raise::attribute("cannot assign module before Module.__init__() call"));
        }
        return Ok(false);
    }
    this.tick(2)?;
    let known = |list: &[(Rc<str>, Value)]| list.iter().any(|(known, _)| &**known == name);
    let (in_params, in_modules, in_buffers) = {
        let state = object.module.borrow();
        match state.as_ref() {
            Some(state) => (
                known(&state.params),
                known(&state.modules),
                state.buffers.iter().any(|(known, _, _)| &**known == name),
            ),
            None => (false, false, false),
        }
    };
    if parameter {
        object.attrs.borrow_mut().remove(name);
        if !in_params {
            unregister(object, name);
        }
        put_parameter(object, name, value.clone());
        return Ok(true);
    }
    let wrong = |kind: &str, wanted: &str| {
        let got = value.type_name();
        Raise::type_error(format!("cannot assign '{got}' as {kind} '{name}' ({wanted} or None expected)"))
    };
    if in_params {
        if !value.is_none() {
            return Err(wrong("parameter", "torch.nn.Parameter"));
        }
        put_parameter(object, name, Value::None);
        return Ok(true);
    }
    if module {
        object.attrs.borrow_mut().remove(name);
        if !in_modules {
            unregister(object, name);
        }
        put_module(object, name, value.clone());
        return Ok(true);
    }
    if in_modules {
        if !value.is_none() {
            return Err(wrong("child module", "torch.nn.Module"));
        }
        put_module(object, name, Value::None);
        return Ok(true);
    }
    if in_buffers {
        let value = match value {
            Value::Tensor(tensor) => buffer_of(this, tensor)?,
            Value::None => Value::None,
            _ => return Err(wrong("buffer", "torch.Tensor")),
        };
        let persistent = object.module.borrow().as_ref().is_none_or(|state| {
            state.buffers.iter().any(|(known, _, persistent)| &**known == name && *persistent)
        });
        put_buffer(object, name, value, persistent);
        return Ok(true);
    }
    Ok(false)
}

/// A tensor as a buffer: declared, unless it is one or is computed in a forward pass.
fn buffer_of(this: &mut Interp<'_>, tensor: &Rc<crate::lower::value::Tensor>) -> R<Value> {
    let state = tensor.state.borrow().clone();
    match state {
        TensorState::Param(_) => Ok(Value::Tensor(Rc::clone(tensor))),
        TensorState::Known { sizes, dtype, init } => {
            creation::new_parameter(this, sizes, dtype, ParamKind::Buffer, init)
        }
        TensorState::Node { .. } => {
            Err(Raise::unsupported("a buffer whose initial value is computed is not supported"))
        }
    }
}

/// Direct submodules, without those that are `None`.
pub(crate) fn children(object: &Rc<Object>) -> Vec<(Rc<str>, Value)> {
    let state = object.module.borrow();
    state.as_ref().map_or_else(Vec::new, |state| {
        state.modules.iter().filter(|(_, value)| !value.is_none()).cloned().collect()
    })
}

/// Direct parameters, without those that are `None`.
pub(crate) fn own_parameters(object: &Rc<Object>) -> Vec<(Rc<str>, Value)> {
    let state = object.module.borrow();
    state.as_ref().map_or_else(Vec::new, |state| {
        state.params.iter().filter(|(_, value)| !value.is_none()).cloned().collect()
    })
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// All modules of a tree with their paths, each once, parents first.
pub(crate) fn named_modules(
    this: &mut Interp<'_>,
    root: &Rc<Object>,
    prefix: &str,
) -> R<Vec<(String, Rc<Object>)>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    walk_modules(this, root, prefix, true, &mut |_, path, object| {
        let new = seen.insert(Rc::as_ptr(object) as usize);
        if new {
            found.push((path.to_owned(), Rc::clone(object)));
        }
        new
    })?;
    Ok(found)
}

fn walk_modules(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    path: &str,
    _root: bool,
    visit: &mut dyn FnMut(&mut Interp<'_>, &str, &Rc<Object>) -> bool,
) -> R<()> {
    this.tick(1 + path.len() / 16)?;
    if path.len() > this.limits.string_length {
        return Err(Raise::limit("path of a module: too long"));
    }
    if !visit(this, path, object) {
        return Ok(());
    }
    for (name, child) in children(object) {
        if let Value::Object(child) = child {
            let path = joined(path, &name);
            this.deeper(|this| walk_modules(this, &child, &path, false, visit))?;
        }
    }
    Ok(())
}

/// Keys of the `state_dict` with their parameters and buffers, and then the buffers that are not saved.
pub(crate) fn state_names(this: &mut Interp<'_>, root: &Rc<Object>) -> R<Vec<(String, ParamId)>> {
    let mut names = Vec::new();
    let mut on_path: Vec<usize> = Vec::new();
    state_of(this, root, "", &mut names, &mut on_path)?;
    Ok(names)
}

fn state_of(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    path: &str,
    names: &mut Vec<(String, ParamId)>,
    on_path: &mut Vec<usize>,
) -> R<()> {
    let identity = Rc::as_ptr(object) as usize;
    if on_path.contains(&identity) {
        return Err(Raise::python("RecursionError", "maximum recursion depth exceeded"));
    }
    on_path.push(identity);
    this.tick(1)?;
    {
        let state = object.module.borrow();
        if let Some(state) = state.as_ref() {
            let persistent = state.buffers.iter().filter(|(_, _, persistent)| *persistent);
            let entries = state.params.iter().map(|(name, value)| (name, value));
            for (name, value) in entries.chain(persistent.map(|(name, value, _)| (name, value))) {
                if let Value::Tensor(tensor) = value
                    && let TensorState::Param(id) = *tensor.state.borrow()
                {
                    names.push((joined(path, name), id));
                }
            }
        }
    }
    for (name, child) in children(object) {
        if let Value::Object(child) = child {
            let path = joined(path, &name);
            this.deeper(|this| state_of(this, &child, &path, names, on_path))?;
        }
    }
    on_path.pop();
    Ok(())
}

/// Add to an error what a constructor's argument should have been.
pub(crate) fn argument_hint(
    this: &Interp<'_>,
    raise: Box<Raise>,
    object: &Rc<Object>,
    parameter: &'static str,
    needed: Dim,
    rank: usize,
) -> Box<Raise> {
    let site = object.site.borrow();
    let (Some((call, spans)), Some(needed)) = (site.as_ref(), needed.known()) else { return raise };
    let Some(&(_, span)) = spans.iter().find(|(name, _)| *name == parameter) else { return raise };
    let uses = this.uses.get(&(*call, span)).copied().unwrap_or(1);
    let needed = i64::try_from(needed).unwrap_or(i64::MAX);
    raise.with_hint(Hint::Argument { parameter, span, needed, uses, rank, call: Some(*call) })
}

fn module_method(this: &mut Interp<'_>, object: &Rc<Object>, method: &'static str, args: Args) -> R<Value> {
    let value = Value::Object(Rc::clone(object));
    match method {
        "__call__" => this.call_module(object, args),
        "train" => {
            let args = signature::bind("train", "mode=True", args)?;
            set_training(this, object, &args.get("mode"))?;
            Ok(value)
        }
        // As in PyTorch, so that a `train` written in the source is called.
        "eval" => {
            let train = this.get_attr(&value, "train")?;
            this.call(&train, Args::of(vec![Value::Bool(false)]))
        }
        "to" | "cuda" | "cpu" | "float" | "type" | "share_memory" | "compile" | "to_empty" | "xpu" => {
            Ok(value)
        }
        "zero_grad" | "extra_repr" | "load_state_dict" => Ok(Value::None),
        "_get_name" => Ok(Value::Str(Rc::clone(&object.class.name))),
        "add_module" | "register_module" => {
            let args = signature::bind("add_module", "name, module", args)?;
            let name = args.text("name")?;
            match args.get("module") {
                Value::Object(child) if child.class.is_module() => {
                    put_module(object, &name, Value::Object(child));
                    Ok(Value::None)
                }
                Value::None => {
                    put_module(object, &name, Value::None);
                    Ok(Value::None)
                }
                Value::Opaque(unknown) => Err(Raise::unsupported(format!("'{unknown}' is not supported"))),
                other => Err(Raise::type_error(format!("{} is not a Module subclass", other.type_name()))),
            }
        }
        "register_parameter" => {
            let args = signature::bind("register_parameter", "name, param", args)?;
            let name = args.text("name")?;
            put_parameter(object, &name, args.get("param"));
            Ok(Value::None)
        }
        "register_buffer" => {
            let args = signature::bind("register_buffer", "name, tensor, persistent=True", args)?;
            let name = args.text("name")?;
            let buffer = match args.get("tensor") {
                Value::Tensor(tensor) => buffer_of(this, &tensor)?,
                Value::None => Value::None,
                other => {
                    let got = other.type_name();
                    let message = format!(
                        "cannot assign '{got}' object to buffer '{name}' (torch Tensor or None required)"
                    );
                    return Err(Raise::type_error(message));
                }
            };
            put_buffer(object, &name, buffer, args.bool("persistent")?);
            Ok(Value::None)
        }
        "__setattr__" => {
            let args = signature::bind("__setattr__", "name, value", args)?;
            let name = args.text("name")?;
            this.set_attr(&value, &name, args.get("value"))?;
            Ok(Value::None)
        }
        "__getattr__" => {
            let args = signature::bind("__getattr__", "name", args)?;
            let name = args.text("name")?;
            registered(object, &name).ok_or_else(|| {
                Raise::attribute(format!("'{}' object has no attribute '{name}'", object.class.name))
            })
        }
        "apply" => {
            let args = signature::bind("apply", "fn", args)?;
            let function = args.get("fn");
            for child in children(object) {
                if let Value::Object(child) = child.1 {
                    let call = Args::of(vec![Value::Object(child), function.clone()]);
                    let (first, rest) =
                        (call.positional[0].clone(), Args::of(vec![call.positional[1].clone()]));
                    if let Value::Object(child) = first {
                        this.deeper(|this| module_method(this, &child, "apply", rest))?;
                    }
                }
            }
            this.call(&function, Args::of(vec![value.clone()]))?;
            Ok(value)
        }
        "requires_grad_" => {
            let args = signature::bind("requires_grad_", "requires_grad=True", args)?;
            let trained = args.bool("requires_grad")?;
            for (_, module) in named_modules(this, object, "")? {
                for (_, param) in own_parameters(&module) {
                    if let Value::Tensor(tensor) = param {
                        super::set_trained(this, &tensor, trained);
                    }
                }
            }
            Ok(value)
        }
        "get_submodule" => {
            let args = signature::bind("get_submodule", "target", args)?;
            let mut current = value;
            for name in args.text("target")?.split('.').filter(|name| !name.is_empty()) {
                current = this.get_attr(&current, name)?;
            }
            Ok(current)
        }
        "children" | "named_children" | "modules" | "named_modules" | "parameters" | "named_parameters"
        | "buffers" | "named_buffers" | "state_dict" => listing(this, object, method, args),
        "__init__" => Ok(Value::None),
        _ => Err(Raise::unsupported(format!("Module.{method} is not supported"))),
    }
}

/// `Module.train(mode)`. Without an attribute of its own a module is in the mode of the pass.
fn set_training(this: &mut Interp<'_>, object: &Rc<Object>, mode: &Value) -> R<()> {
    this.tick(1)?;
    match mode {
        Value::Training { negated: false } => {
            object.attrs.borrow_mut().remove("training");
        }
        Value::Training { .. } | Value::Bool(_) => {
            object.attrs.borrow_mut().insert(Rc::from("training"), mode.clone());
        }
        _ => return Err(Raise::value_error("training mode is expected to be boolean")),
    }
    for (_, child) in children(object) {
        let Value::Object(inner) = &child else { continue };
        match this.class_attr(&inner.class, "train", None) {
            Some(Value::ClassMethod(_)) | None => this.deeper(|this| set_training(this, inner, mode))?,
            Some(_) => {
                let train = this.get_attr(&child, "train")?;
                this.deeper(|this| this.call(&train, Args::of(vec![mode.clone()])))?;
            }
        }
    }
    Ok(())
}

/// What a trainer does before each pass: `net.train()` or `net.eval()`, for the mode of the pass.
pub(crate) fn enter_mode(this: &mut Interp<'_>, network: &Rc<Object>) -> R<()> {
    let train = this.get_attr(&Value::Object(Rc::clone(network)), "train")?;
    this.call(&train, Args::of(vec![Value::Training { negated: false }]))?;
    Ok(())
}

fn listing(this: &mut Interp<'_>, object: &Rc<Object>, method: &str, args: Args) -> R<Value> {
    let args = signature::bind(
        "listing",
        "prefix='', recurse=True, remove_duplicate=True, memo=None, **kwargs",
        args,
    )?;
    let recurse = match args.get("prefix") {
        Value::Bool(false) => false,
        _ => this.truth(&args.get("recurse"))?,
    };
    let prefix = match args.get("prefix") {
        Value::Str(prefix) => prefix.to_string(),
        _ => String::new(),
    };
    let mut entries: Vec<(String, Value)> = Vec::new();
    match method {
        "children" | "named_children" => {
            let mut seen = BTreeSet::new();
            for (name, child) in children(object) {
                if child.identity().is_none_or(|identity| seen.insert(identity)) {
                    entries.push((name.to_string(), child));
                }
            }
        }
        "modules" | "named_modules" => {
            for (path, module) in named_modules(this, object, &prefix)? {
                entries.push((path, Value::Object(module)));
            }
        }
        _ => {
            let modules = if recurse {
                named_modules(this, object, &prefix)?
            } else {
                vec![(prefix, Rc::clone(object))]
            };
            let mut seen = BTreeSet::new();
            for (path, module) in modules {
                let state = module.module.borrow();
                let Some(state) = state.as_ref() else { continue };
                let mut list: Vec<(Rc<str>, Value)> = Vec::new();
                if method != "buffers" && method != "named_buffers" {
                    list.extend(state.params.iter().cloned());
                }
                if method != "parameters" && method != "named_parameters" {
                    list.extend(
                        state.buffers.iter().map(|(name, value, _)| (Rc::clone(name), value.clone())),
                    );
                }
                for (name, value) in list {
                    if !value.is_none() && value.identity().is_none_or(|identity| seen.insert(identity)) {
                        entries.push((joined(&path, &name), value));
                    }
                }
            }
        }
    }
    this.tick(entries.len())?;
    if method == "state_dict" {
        return this.dict(entries.into_iter().map(|(name, value)| (Value::str(name), value)).collect());
    }
    let mut items = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        items.push(if method.starts_with("named_") {
            this.tuple(vec![Value::str(name), value])?
        } else {
            value
        });
    }
    this.iterator(items)
}

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
    if let [dict @ Value::Dict(_)] = &args.rest[..] {
        for (name, module) in this.pairs(dict)? {
            check_module(&module)?;
            let Value::Str(name) = name else {
                return Err(Raise::type_error("module name should be a string"));
            };
            put_module(object, &name, module);
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
        put_module(object, &name, module);
    }
    Ok(())
}

pub(crate) fn init_parameter_list(this: &mut Interp<'_>, object: &Rc<Object>, args: &Bound) -> R<()> {
    let values = args.get("values");
    if values.is_none() {
        return Ok(());
    }
    for (index, value) in this.iterate(&values)?.into_iter().enumerate() {
        let value = to_parameter(this, value)?;
        put_parameter(object, &index.to_string(), value);
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
        let value = to_parameter(this, value)?;
        put_parameter(object, &name, value);
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

fn run_sequential(this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<Value> {
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
        if parameters { state.params = list } else { state.modules = list }
    }
}

fn sequence(this: &mut Interp<'_>, object: &Rc<Object>, kind: &str, method: &str, args: Args) -> R<Value> {
    let value = Value::Object(Rc::clone(object));
    let parameters = kind == "ParameterList";
    let mut list = items(object);
    this.tick(list.len())?;
    let first = args.positional.first().cloned().unwrap_or(Value::None);
    match method {
        "__len__" => Ok(Value::Int(i64::try_from(list.len()).unwrap_or(i64::MAX))),
        "__iter__" => this.iterator(list),
        "__contains__" => Ok(Value::Bool(list.iter().any(|item| item.identity() == first.identity()))),
        "__getitem__" => {
            if let Value::Slice(_) = first {
                let names: Vec<Value> = child_names(object);
                let all = this.list(names)?;
                let picked = this.get_item(&all, &first)?;
                let picked = this.iterate(&picked)?;
                let copy = Rc::new(Object {
                    class: this.class(if parameters {
                        "ParameterList"
                    } else if kind == "Sequential" {
                        "Sequential"
                    } else {
                        "ModuleList"
                    })?,
                    attrs: RefCell::default(),
                    module: RefCell::new(Some(ModuleState::default())),
                    site: RefCell::default(),
                });
                this.own(Value::Object(Rc::clone(&copy)))?;
                for (at, name) in picked.iter().enumerate() {
                    let Value::Str(name) = name else { continue };
                    let Some(item) = registered(object, name) else { continue };
                    // Sequential keeps the names in a slice, ModuleList numbers them anew.
                    let name = if kind == "Sequential" { name.to_string() } else { at.to_string() };
                    if parameters {
                        put_parameter(&copy, &name, item)
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
                put_parameter(object, &name, new)
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
                let item = to_parameter(this, first)?;
                put_parameter(object, &list.len().to_string(), item);
            } else {
                check_module(&first)?;
                put_module(object, &list.len().to_string(), first);
            }
            Ok(value)
        }
        "extend" | "__add__" => {
            for item in this.iterate(&first)? {
                let at = items(object).len().to_string();
                if parameters {
                    let item = to_parameter(this, item)?;
                    put_parameter(object, &at, item);
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

fn mapping(this: &mut Interp<'_>, object: &Rc<Object>, method: &str, args: Args) -> R<Value> {
    let names = child_names(object);
    let values = items(object);
    let first = args.positional.first().cloned().unwrap_or(Value::None);
    let is_parameters = object.class.lineage().any(|class| &*class.name == "ParameterDict");
    match method {
        "__len__" => Ok(Value::Int(i64::try_from(names.len()).unwrap_or(i64::MAX))),
        "__iter__" | "keys" => this.iterator(names),
        "values" => this.iterator(values),
        "items" => {
            let mut pairs = Vec::new();
            for (name, value) in names.into_iter().zip(values) {
                pairs.push(this.tuple(vec![name, value])?);
            }
            this.iterator(pairs)
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
                let value = to_parameter(this, value)?;
                put_parameter(object, name, value);
            } else {
                check_module(&value)?;
                put_module(object, name, value);
            }
            Ok(Value::None)
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
