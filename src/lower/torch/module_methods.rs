//! The methods of `nn.Module`: registration, traversal, modes.
//!
//! Input: an instance and the call of a method. Output: what PyTorch's returns. Limit: hooks on gradients,
//! copies of weights and other element types are refused.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::DType;
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp, known};
use crate::lower::torch::modules::{
    buffer_of, children, joined, named_modules, own_parameters, put_buffer, put_module, put_parameter,
    registered,
};
use crate::lower::torch::{hooks, signature};
use crate::lower::value::{Class, ModuleState, Object, TensorState, Value};

/// What a module has under names of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    Module,
    Parameter,
    Buffer,
}

/// Register a submodule or `None` under a name that may be one.
pub(crate) fn add_module(this: &mut Interp<'_>, object: &Rc<Object>, name: &str, module: Value) -> R<Value> {
    check_name(this, object, Member::Module, name)?;
    put_module(object, name, module);
    Ok(Value::None)
}

/// Modules whose methods take names away from their members.
const CONTAINERS: &[&str] = &["Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"];

fn inherits(class: &Rc<Class>, name: &str) -> bool {
    class.lineage().any(|class| &*class.name == name)
}

/// Whether a member may be registered under this name: `KeyError` as in PyTorch, where attributes and methods have it.
pub(crate) fn check_name(this: &mut Interp<'_>, object: &Rc<Object>, member: Member, name: &str) -> R<()> {
    let (kind, registered_so) = {
        let state = object.module.borrow();
        let known = |list: &[(Rc<str>, Value)]| list.iter().any(|(known, _)| &**known == name);
        match member {
            Member::Module => ("module", state.as_ref().is_some_and(|state| known(&state.modules))),
            Member::Parameter => ("parameter", state.as_ref().is_some_and(|state| known(&state.params))),
            Member::Buffer => {
                let of = |state: &ModuleState| state.buffers.iter().any(|(known, _, _)| &**known == name);
                ("buffer", state.as_ref().is_some_and(of))
            }
        }
    };
    let has = registered(object, name).is_some()
        || object.attrs.borrow().contains_key(name)
        || known::has("Module", name)
        || CONTAINERS.iter().any(|kind| inherits(&object.class, kind) && known::has(kind, name))
        || this.class_attr(&object.class, name, None).is_some_and(|it| !matches!(it, Value::ClassMethod(_)));
    let message = if has && !registered_so {
        format!("attribute '{name}' already exists")
    } else if name.contains('.') {
        let got = if member == Member::Module { format!(", got: {name}") } else { String::new() };
        format!("{kind} name can't contain \".\"{got}")
    } else if name.is_empty() {
        format!("{kind} name can't be empty string \"\"")
    } else {
        return Ok(());
    };
    Err(Raise::python("KeyError", message))
}

pub(crate) fn module_method(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    method: &'static str,
    args: Args,
) -> R<Value> {
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
        "to" | "type" if values(&args).any(other_type) => Err(other_precision(method)),
        "half" | "bfloat16" => Err(other_precision(method)),
        "double" => set_precision(this, object, DType::F64),
        "float" => set_precision(this, object, DType::F32),
        "to" | "type" if let Some(dtype) = asked_type(&args) => set_precision(this, object, dtype),
        "to" | "cuda" | "cpu" | "type" | "share_memory" | "compile" | "to_empty" | "xpu" => Ok(value),
        "register_forward_hook" => hooks::register(this, object, false, args),
        "register_forward_pre_hook" => hooks::register(this, object, true, args),
        "_remove_hook" => {
            hooks::remove(object, &args);
            Ok(Value::None)
        }
        "_register_load_state_dict_pre_hook"
        | "register_load_state_dict_pre_hook"
        | "register_load_state_dict_post_hook"
        | "_register_state_dict_hook"
        | "register_state_dict_pre_hook"
        | "register_state_dict_post_hook" => {
            Ok(Value::Opaque(Rc::from("torch.utils.hooks.RemovableHandle()")))
        }
        "zero_grad" | "extra_repr" | "load_state_dict" => Ok(Value::None),
        "_get_name" => Ok(Value::Str(Rc::clone(&object.class.name))),
        "add_module" | "register_module" => {
            let args = signature::bind("add_module", "name, module", args)?;
            let name = args.text("name")?;
            match args.get("module") {
                Value::Object(child) if child.class.is_module() => {
                    add_module(this, object, &name, Value::Object(child))
                }
                Value::None => add_module(this, object, &name, Value::None),
                Value::Opaque(unknown) => Err(Raise::unsupported(format!("'{unknown}' is not supported"))),
                other => Err(Raise::type_error(format!("{} is not a Module subclass", other.type_name()))),
            }
        }
        "register_parameter" => {
            let args = signature::bind("register_parameter", "name, param", args)?;
            let (name, param) = (args.text("name")?, args.get("param"));
            check_name(this, object, Member::Parameter, &name)?;
            if !param.is_none() && !matches!(&param, Value::Tensor(tensor) if tensor.parameter.get()) {
                let got = param.type_name();
                let message = format!(
                    "cannot assign '{got}' object to parameter '{name}' (torch.nn.Parameter or None required)"
                );
                return Err(Raise::type_error(message));
            }
            put_parameter(object, &name, param);
            Ok(Value::None)
        }
        "register_buffer" => {
            let args = signature::bind("register_buffer", "name, tensor, persistent=True", args)?;
            let name = args.text("name")?;
            check_name(this, object, Member::Buffer, &name)?;
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
            this.set_attr_plainly(&value, &name, args.get("value"))?;
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
            let mut seen = BTreeSet::new();
            for (_, child) in children(object) {
                // A child under two names is one.
                if let Value::Object(child) = child
                    && seen.insert(Rc::as_ptr(&child))
                {
                    let args = Args::of(vec![function.clone()]);
                    this.deeper(|this| module_method(this, &child, "apply", args))?;
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
        "get_submodule" | "get_parameter" | "get_buffer" => {
            let args = signature::bind(method, "target", args)?;
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

/// All arguments, named or not.
fn values(args: &Args) -> impl Iterator<Item = &Value> {
    args.positional.iter().chain(args.named.iter().map(|(_, value)| value))
}

/// The precision that the arguments name.
fn asked_type(args: &Args) -> Option<DType> {
    values(args).find_map(|value| match value {
        Value::DType(dtype) if dtype.is_floating() => Some(*dtype),
        _ => None,
    })
}

/// `Module.double()` and the like: parameters and buffers that are floating point, of the module and all below.
fn set_precision(this: &mut Interp<'_>, object: &Rc<Object>, dtype: DType) -> R<Value> {
    for (_, module) in named_modules(this, object, "")? {
        let own = own_parameters(&module).into_iter().map(|(_, value)| value);
        let buffers: Vec<Value> =
            module.module.borrow().as_ref().map_or_else(Vec::new, |state| {
                state.buffers.iter().map(|(_, value, _)| value.clone()).collect()
            });
        for value in own.chain(buffers) {
            let Value::Tensor(tensor) = value else { continue };
            let TensorState::Param(id) = *tensor.state.borrow() else { continue };
            let before = this.builder.param(id).dtype;
            if before.is_floating() && before != dtype {
                this.builder.set_precision(id, dtype);
            }
        }
    }
    Ok(Value::Object(Rc::clone(object)))
}

/// What `dtype=` in a layer's constructor makes of its parameters and buffers.
pub(crate) fn of_type(this: &mut Interp<'_>, object: &Rc<Object>, dtype: &Value) -> R<()> {
    match dtype {
        Value::None | Value::DType(DType::F32) => Ok(()),
        Value::DType(DType::F64) => set_precision(this, object, DType::F64).map(|_| ()),
        Value::DType(_) => {
            Err(Raise::runtime("Only Tensors of floating point and complex dtype can require gradients"))
        }
        _ => Err(Raise::unsupported(format!(
            "{} of another dtype: expected float32 or float64 parameters, as the input is float32",
            object.class.name
        ))),
    }
}

/// Whether a value is an element type that parameters cannot have here.
fn other_type(value: &Value) -> bool {
    let Value::Opaque(name) = value else { return false };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.starts_with("torch.") && matches!(last, "float16" | "bfloat16" | "half")
}

fn other_precision(method: &str) -> Box<Raise> {
    Raise::unsupported(format!(
        "Module.{method} to another precision: expected float32 or float64 parameters, as the input is float32"
    ))
}

/// `Module.train(mode)`. Without an attribute of its own a module is in the mode of the pass.
fn set_training(this: &mut Interp<'_>, object: &Rc<Object>, mode: &Value) -> R<()> {
    this.tick(1)?;
    match mode {
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
    this.iterator("generator", items)
}
