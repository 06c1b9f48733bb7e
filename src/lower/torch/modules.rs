//! `nn.Module`: registration, traversal, containers, calls.
//!
//! Input: instances of classes derived from `nn.Module`. Output: parameters, buffers and submodules in PyTorch's order,
//! with the paths of its `state_dict`. Limit: hooks on gradients are refused.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::{Dim, ParamId, ParamKind};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Args, Interp, Mode};
use crate::lower::torch::{containers, conv_layers, creation, module_methods, norm_layers};
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
    "_remove_hook",
    "_register_load_state_dict_pre_hook",
    "register_load_state_dict_pre_hook",
    "register_load_state_dict_post_hook",
    "_register_state_dict_hook",
    "register_state_dict_pre_hook",
    "register_state_dict_post_hook",
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
            "_conv_forward" if layer.base == "_ConvNd" => Some("_conv_forward"),
            "_check_input_dim" if layer.base == "_BatchNorm" && layer.name != "SyncBatchNorm" => {
                Some("_check_input_dim")
            }
            _ => match layer.name {
                "Sequential" if name == "__mul__" => Some("__mul__"),
                "Sequential" | "ModuleList" | "ParameterList" => find(SEQUENCE),
                "ParameterDict" if name == "get" => Some("get"),
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
                "forward" if layer.name == "Sequential" => containers::run_sequential(self, &object, args),
                "forward" => layer.forward(self, &object, args),
                "reset_parameters" => Ok(Value::None),
                "_conv_forward" => conv_layers::conv_forward(self, &object, args, spatial_of(layer.name)),
                "_check_input_dim" => norm_layers::check_input_dim(self, args, spatial_of(layer.name)),
                _ if matches!(layer.name, "ModuleDict" | "ParameterDict") => {
                    containers::mapping(self, &object, method, args)
                }
                _ => containers::sequence(self, &object, layer.name, method, args),
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
        module_methods::module_method(self, &object, method, args)
    }

    /// Call a module: its `forward`, with its path noted for every operation.
    pub(crate) fn call_module(&mut self, object: &Rc<Object>, args: Args) -> R<Value> {
        if object.module.borrow().is_none() {
            let name = &object.class.name;
            return Err(Raise::attribute(format!("'{name}' object has no attribute '_forward_hooks'")));
        }
        // One that was set on the instance is called as it is.
        let own = object.attrs.borrow().get("forward").cloned();
        let method = self.class_attr(&object.class, "forward", None);
        let forward = match (own, method) {
            (Some(forward), _) => forward,
            (None, Some(method)) => {
                self.own(Value::Bound(Rc::new((Value::Object(Rc::clone(object)), method))))?
            }
            (None, None) => return Err(no_forward(object)),
        };
        let path = match self.paths.get(&(Rc::as_ptr(object) as usize)) {
            Some(path) => path.clone(),
            None => self.path.last().map(|(path, _)| path.clone()).unwrap_or_default(),
        };
        let class = if path.is_empty() { String::new() } else { object.class.name.to_string() };
        self.path.push((path, class));
        let hooks = object.module.borrow().as_ref().map_or_else(Vec::new, |state| state.hooks.clone());
        let result = if hooks.is_empty() {
            self.call(&forward, args)
        } else {
            self.call_hooked(object, &hooks, args, |this, args| this.call(&forward, args))
        };
        self.path.pop();
        result
    }
}

/// The dimensions in space that a layer's name ends in.
fn spatial_of(name: &str) -> usize {
    name.trim_end_matches('d')
        .chars()
        .next_back()
        .and_then(|digit| digit.to_digit(10))
        .map_or(2, |n| n as usize)
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

/// What computes the parametrized tensor `name` of a module.
pub(crate) fn parametrization(object: &Rc<Object>, name: &str) -> Option<Value> {
    match registered(object, "parametrizations")? {
        Value::Object(list) => registered(&list, name),
        _ => None,
    }
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

/// Register a submodule or `None`.
pub(crate) fn put_module(object: &Rc<Object>, name: &str, value: Value) {
    if let Some(state) = object.module.borrow_mut().as_mut() {
        put(&mut state.modules, name, value);
    }
}

/// Tensor and persistence of an `nn.Buffer`.
fn buffer_in(value: &Value) -> Option<(Value, Value)> {
    let Value::Object(object) = value else { return None };
    if &*object.class.name != "Buffer" || !object.class.attrs.borrow().contains_key("_registers") {
        return None;
    }
    let attrs = object.attrs.borrow();
    Some((attrs.get("data")?.clone(), attrs.get("persistent")?.clone()))
}

/// `Module.__setattr__`; whether the value was registered.
pub(crate) fn assign(this: &mut Interp<'_>, object: &Rc<Object>, name: &str, value: &Value) -> R<bool> {
    if matches!(name, "_modules" | "_parameters" | "_buffers") {
        return Err(Raise::unsupported(format!("setting {name} is not supported")));
    }
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
        module_methods::check_name(this, object, module_methods::Member::Parameter, name)?;
        put_parameter(object, name, value.clone());
        return Ok(true);
    }
    if let Some((data, persistent)) = buffer_in(value) {
        object.attrs.borrow_mut().remove(name);
        if !in_buffers {
            unregister(object, name);
        }
        let mut args = Args::of(vec![Value::str(name), data]);
        args.named.push((Rc::from("persistent"), persistent));
        module_methods::module_method(this, object, "register_buffer", args)?;
        return Ok(true);
    }
    let wrong = |kind: &str, wanted: &str| {
        let got = value.type_name();
        if let Value::Opaque(_) = value {
            return Raise::unsupported(format!("'{got}' is not supported"));
        }
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
        let persistent = object.module.borrow().as_ref().is_none_or(|state| {
            state.buffers.iter().any(|(known, _, persistent)| &**known == name && *persistent)
        });
        let value = match value {
            Value::Tensor(tensor) if matches!(this.mode, Mode::Tracing { .. }) => {
                // The buffer keeps its name and gets another value.
                if let Some(Value::Tensor(buffer)) = registered(object, name) {
                    if Rc::ptr_eq(&buffer, tensor) {
                        return Ok(true);
                    }
                    if !persistent && this.fact(&buffer)?.shape != this.fact(tensor)?.shape {
                        // One of another size, in no `state_dict`: what the pass has computed, as in an attribute.
                        unregister(object, name);
                        return Ok(false);
                    }
                    super::rebind(this, &buffer, tensor)?;
                    return Ok(true);
                }
                return Err(Raise::unsupported(format!(
                    "setting the buffer '{name}' in forward is not supported"
                )));
            }
            Value::Tensor(tensor) => buffer_of(this, tensor)?,
            Value::None => Value::None,
            _ => return Err(wrong("buffer", "torch.Tensor")),
        };
        put_buffer(object, name, value, persistent);
        return Ok(true);
    }
    Ok(false)
}

/// A tensor as a buffer: declared, unless it is one or is computed in a forward pass.
pub(crate) fn buffer_of(this: &mut Interp<'_>, tensor: &Rc<crate::lower::value::Tensor>) -> R<Value> {
    let state = tensor.state.borrow().clone();
    match state {
        TensorState::Param(_) => Ok(Value::Tensor(Rc::clone(tensor))),
        TensorState::Known { .. } | TensorState::Node { .. } => {
            let (sizes, dtype, init) = creation::initial(this, tensor)?;
            creation::new_parameter(this, sizes, dtype, ParamKind::Buffer, init)
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

pub(crate) fn joined(prefix: &str, name: &str) -> String {
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
