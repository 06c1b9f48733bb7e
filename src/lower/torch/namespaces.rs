//! Modules that the interpreter knows by name: `torch` and its parts, `math`, `functools`, ...
//!
//! Input: a module's dotted name and an attribute. Output: a value; `AttributeError` where PyTorch has no such name; a
//! stand-in that is refused when it is used, where PyTorch has it and this program does not. Limit: of Python's own
//! modules those parts that networks use.

use std::rc::Rc;

use crate::graph::DType;
use crate::lower::error::{Hint, R, Raise, RaiseKind};
use crate::lower::interp::{Interp, known, types};
use crate::lower::torch::{
    autograd, composed, creation, find as function, hooks, initialisers, layers, math, random, regular,
    stdlib, unsupported,
};
use crate::lower::value::Value;

/// The PyTorch whose behaviour this is.
const VERSION: &str = "2.13.0";

const NAMES: &[&str] = &[
    "torch",
    "torch.nn",
    "torch.functional",
    "torch.nn.functional",
    "torch.nn.init",
    "torch.nn.modules",
    "torch.nn.modules.conv",
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.utils",
    "torch.nn.parameter",
    "torch.nn.utils",
    "torch.nn.utils.parametrizations",
    "torch.nn.utils.parametrize",
    "torch.jit",
    "torch.compiler",
    "torch.cuda",
    "torch.autograd",
    "torch.autograd.function",
    "torch.utils",
    "torch.utils.checkpoint",
    "torch.cuda.amp",
    "torch.amp",
    "torch.linalg",
    "torch.fft",
    "einops",
    "einops.layers.torch",
    "math",
    "numpy",
    "numpy.random",
    "random",
    "re",
    "functools",
    "importlib",
    "importlib.util",
    "inspect",
    "operator",
    "itertools",
    "collections",
    "contextlib",
    "os",
    "sys",
    "copy",
    "warnings",
    "typing",
    "types",
    "argparse",
    "dataclasses",
    "enum",
];

/// The module of this name.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let name = match name {
        "np" => "numpy",
        name => name,
    };
    if name.starts_with("torch.nn.modules.") {
        return Some("torch.nn");
    }
    NAMES.iter().find(|known| **known == name).copied()
}

/// Names that `from module import *` brings at once; the others are looked up when they are asked for.
pub(crate) fn public_names(namespace: &str) -> Vec<&'static str> {
    match namespace {
        "torch.nn" => layers::names()
            .chain(composed::LAYERS.iter().copied())
            .chain(["Module", "Parameter", "functional", "init"])
            .collect(),
        "typing" => vec!["List", "Tuple", "Optional", "Union", "Dict", "Any", "Callable", "Type", "Sequence"],
        _ => Vec::new(),
    }
}

/// Whether `from module import *` brings a name.
pub(crate) fn exports(namespace: &str, name: &str) -> bool {
    let in_space = |space| function(space, name).is_some() || composed::has(space, name);
    !name.starts_with('_')
        && match namespace {
            "torch" => known::has(namespace, name),
            "torch.nn.functional" => in_space('f') || unsupported::find(namespace, name).is_some(),
            "torch.nn" => {
                public_names(namespace).contains(&name) || unsupported::find(namespace, name).is_some()
            }
            "torch.nn.init" => {
                initialisers::find(name).is_some() || unsupported::find(namespace, name).is_some()
            }
            "math" => stdlib::names(namespace)
                .chain(math::CONSTANTS)
                .chain(math::MISSING)
                .any(|known| known == name),
            "collections" => matches!(
                name,
                "OrderedDict"
                    | "defaultdict"
                    | "deque"
                    | "namedtuple"
                    | "Counter"
                    | "ChainMap"
                    | "UserDict"
                    | "UserList"
                    | "UserString"
            ),
            "typing" => TYPING.split(' ').any(|known| known == name),
            _ => stdlib::names(namespace).any(|known| known == name),
        }
}

const TYPING: &str = "AbstractSet Annotated Any AnyStr Awaitable BinaryIO Callable ChainMap ClassVar Collection \
    Concatenate Container ContextManager Counter DefaultDict Deque Dict Final ForwardRef FrozenSet Generator Generic \
    Hashable IO ItemsView Iterable Iterator KeysView List Literal LiteralString Mapping MappingView Match \
    MutableMapping MutableSequence MutableSet NamedTuple Never NewType NoReturn Optional OrderedDict ParamSpec \
    Pattern Protocol Required Reversible Self Sequence Set Sized SupportsFloat SupportsInt Text TextIO Tuple Type \
    TypeAlias TypeGuard TypeVar TypeVarTuple TypedDict Union Unpack ValuesView cast final overload no_type_check";

/// What `dir()` lists of a module; names that only PyTorch has, too.
pub(crate) fn names(namespace: &str) -> Vec<&'static str> {
    match namespace {
        "torch" => super::names('t')
            .chain(composed::names('t'))
            .chain(unsupported::names(namespace))
            .chain([
                "nn", "amp", "autograd", "cuda", "fft", "jit", "linalg", "utils", "Tensor", "Size", "dtype",
                "bool",
            ])
            .chain(["float", "float32", "double", "float64", "long", "int64", "pi", "inf"])
            .collect(),
        "torch.nn.functional" => {
            super::names('f').chain(composed::names('f')).chain(unsupported::names(namespace)).collect()
        }
        "torch.nn" => public_names(namespace).into_iter().chain(unsupported::names(namespace)).collect(),
        "math" => stdlib::names(namespace).chain(math::CONSTANTS).chain(math::MISSING).collect(),
        _ => public_names(namespace),
    }
}

fn stand_in(namespace: &str, name: &str) -> Value {
    Value::Opaque(Rc::from(format!("{namespace}.{name}")))
}

/// What was found, or a stand-in where this program lacks the name.
fn or_stand_in(found: R<Value>, namespace: &str, name: &str) -> R<Value> {
    match found {
        Err(raise) if matches!(raise.kind, RaiseKind::Unsupported(_)) => Ok(stand_in(namespace, name)),
        found => found,
    }
}

/// `module.name`.
pub(crate) fn attribute(this: &mut Interp<'_>, namespace: &'static str, name: &str) -> R<Value> {
    if matches!(name, "__name__" | "__file__") {
        return Ok(Value::str(namespace));
    }
    if name == "__dict__" {
        // `nn.__dict__['ReLU']`: what this program has.
        let mut entries = Vec::new();
        for known in names(namespace) {
            this.tick(4)?;
            if let Ok(value) = attribute(this, namespace, known) {
                entries.push((Value::str(known), value));
            }
        }
        return this.dict(entries);
    }
    if let Some(builtin) = stdlib::find(namespace, name) {
        return Ok(Value::Builtin(builtin));
    }
    let found = match namespace {
        "torch" => torch(this, name)?,
        "torch.nn"
        | "torch.nn.modules"
        | "torch.nn.modules.conv"
        | "torch.nn.modules.batchnorm"
        | "torch.nn.parameter" => nn(this, name)?,
        "torch.nn.utils" => Some(match name {
            "parametrizations" => Value::Namespace("torch.nn.utils.parametrizations"),
            name if hooks::find(name).is_some() => hooks::find(name).map_or(Value::None, Value::Builtin),
            "parametrize" => Value::Namespace("torch.nn.utils.parametrize"),
            _ => or_stand_in(composed::utils(this, name), namespace, name)?,
        }),
        "torch.nn.utils.parametrizations" => Some(composed::utils(this, &format!("parametrized_{name}"))?),
        "torch.nn.utils.parametrize" => Some(composed::utils(this, name)?),
        "torch.autograd" if name == "function" => Some(Value::Namespace("torch.autograd.function")),
        "torch.utils" if name == "checkpoint" => Some(Value::Namespace("torch.utils.checkpoint")),
        "torch.cuda" if name == "amp" => Some(Value::Namespace("torch.cuda.amp")),
        "torch.autograd" if autograd::find(name).is_some() => autograd::find(name).map(Value::Builtin),
        "torch.autograd"
        | "torch.autograd.function"
        | "torch.utils.checkpoint"
        | "torch.cuda.amp"
        | "torch.amp" => Some(or_stand_in(composed::autograd(this, name), namespace, name)?),
        "torch.functional" if name == "F" => Some(Value::Namespace("torch.nn.functional")),
        "torch.functional" => torch(this, name)?,
        "torch.linalg" => Some(composed::linalg(this, name)?),
        "torch.fft" => Some(composed::fourier(this, name)?),
        "einops" | "einops.layers.torch" => Some(match name {
            "layers" => Value::Namespace("einops"),
            "torch" => Value::Namespace("einops.layers.torch"),
            _ => composed::einops(this, name)?,
        }),
        "torch.nn.functional" => match function('f', name) {
            Some(builtin) => Some(Value::Builtin(builtin)),
            None if composed::has('f', name) => Some(composed::function(this, name)?),
            None if name.starts_with('_') || unsupported::find(namespace, name).is_some() => {
                Some(stand_in(namespace, name))
            }
            None => None,
        },
        "torch.nn.init" => initialisers::find(name)
            .map(Value::Builtin)
            .or_else(|| unsupported::find(namespace, name).map(|name| stand_in(namespace, name))),
        "math" => match math::constant(name) {
            Some(constant) => Some(Value::Float(constant)),
            None => math::MISSING.contains(&name).then(|| stand_in(namespace, name)),
        },
        "numpy" if name == "random" => Some(Value::Namespace("numpy.random")),
        "numpy" => Some(or_stand_in(composed::numpy(this, name), namespace, name)?),
        "numpy.random" => Some(or_stand_in(composed::numpy_random(this, name), namespace, name)?),
        "random" => match random::find(name) {
            Some(builtin) => Some(Value::Builtin(builtin)),
            None => Some(or_stand_in(composed::random(this, name), namespace, name)?),
        },
        "re" => match regular::find(name) {
            Some(builtin) => Some(Value::Builtin(builtin)),
            None => Some(or_stand_in(composed::re(this, name), namespace, name)?),
        },
        "collections" => match name {
            "OrderedDict" => Some(Value::Class(this.class("OrderedDict")?)),
            "defaultdict" => Some(Value::Class(this.class("defaultdict")?)),
            _ => Some(or_stand_in(composed::library(this, namespace, name), namespace, name)?),
        },
        "sys" => Some(match name {
            "version_info" => {
                let numbers = [3, 11, 0].into_iter().map(Value::Int);
                let items = numbers.chain([Value::str("final"), Value::Int(0)]).collect();
                let names = ["major", "minor", "micro", "releaselevel", "serial"];
                creation::named(this, "sys.version_info", &names, items)?
            }
            "maxsize" => Value::Int(i64::MAX),
            _ => or_stand_in(composed::library(this, namespace, name), namespace, name)?,
        }),
        "dataclasses" if name == "FrozenInstanceError" => {
            Some(Value::Class(this.class("FrozenInstanceError")?))
        }
        "argparse" | "contextlib" | "dataclasses" | "functools" | "itertools" | "operator" | "os"
        | "types" => Some(or_stand_in(composed::library(this, namespace, name), namespace, name)?),
        "enum" => match name {
            "Enum" => Some(Value::Class(this.class("Enum")?)),
            "IntEnum" => Some(Value::Class(this.class("IntEnum")?)),
            "StrEnum" => Some(Value::Class(this.class("StrEnum")?)),
            _ => Some(stand_in(namespace, name)),
        },
        "torch.jit" if name == "isinstance" => this.builtin(name)?,
        "inspect" if name == "_empty" => {
            let parameter = composed::inspect(this, "Parameter")?;
            Some(this.get_attr(&parameter, "empty")?)
        }
        "inspect" => Some(or_stand_in(composed::inspect(this, name), namespace, name)?),
        "importlib" if name == "util" => Some(Value::Namespace("importlib.util")),
        "typing" => match name {
            "NamedTuple" => Some(Value::Class(this.class("NamedTuple")?)),
            "OrderedDict" => Some(Value::Class(this.class("OrderedDict")?)),
            "TYPE_CHECKING" => Some(Value::Bool(false)),
            _ => Some(stand_in(namespace, name)),
        },
        _ => Some(stand_in(namespace, name)),
    };
    match found {
        Some(value) => Ok(value),
        None => {
            let message = format!("module '{namespace}' has no attribute '{name}'");
            Err(Raise::attribute(message).with_hint(Hint::Attribute { name: name.to_owned() }))
        }
    }
}

fn torch(this: &mut Interp<'_>, name: &str) -> R<Option<Value>> {
    if let Some(builtin) = function('t', name).filter(|_| name != "Tensor") {
        return Ok(Some(Value::Builtin(builtin)));
    }
    if composed::has('t', name) {
        return composed::function(this, name).map(Some);
    }
    Ok(Some(match name {
        "amp" => Value::Namespace("torch.amp"),
        "autograd" => Value::Namespace("torch.autograd"),
        "utils" => Value::Namespace("torch.utils"),
        "linalg" => Value::Namespace("torch.linalg"),
        "fft" => Value::Namespace("torch.fft"),
        "nn" => Value::Namespace("torch.nn"),
        "compiler" => Value::Namespace("torch.compiler"),
        "jit" => Value::Namespace("torch.jit"),
        "cuda" => Value::Namespace("torch.cuda"),
        "Tensor" => Value::Class(this.class("Tensor")?),
        "Size" => Value::Class(this.class("Size")?),
        "dtype" => Value::Class(this.class("dtype")?),
        "float" | "float32" => Value::DType(DType::F32),
        "double" | "float64" => Value::DType(DType::F64),
        "long" | "int64" => Value::DType(DType::I64),
        "bool" => Value::DType(DType::Bool),
        "pi" => Value::Float(std::f64::consts::PI),
        "e" => Value::Float(std::f64::consts::E),
        "inf" => Value::Float(f64::INFINITY),
        "nan" => Value::Float(f64::NAN),
        "newaxis" => Value::None,
        "__version__" => Value::str(VERSION),
        "functional" => Value::Namespace("torch.functional"),
        // `torch.relu_(x)` is `x.relu_()`.
        name if name.ends_with('_') && !name.starts_with('_') => {
            let Some(known) = unsupported::find("torch", name) else { return Ok(None) };
            let class = this.class("Tensor")?;
            this.own(Value::ClassMethod(Rc::new((class, known))))?
        }
        name if name.starts_with('_') || unsupported::find("torch", name).is_some() => {
            stand_in("torch", name)
        }
        _ => return Ok(None),
    }))
}

fn nn(this: &mut Interp<'_>, name: &str) -> R<Option<Value>> {
    if let Some(layer) = layers::find(name) {
        return Ok(Some(Value::Class(this.class(layer.name)?)));
    }
    if composed::LAYERS.contains(&name) {
        return composed::layer(this, name).map(Some);
    }
    if let Some(name) = types::private_class(name) {
        return Ok(Some(Value::Class(this.class(name)?)));
    }
    Ok(Some(match name {
        "Module" => Value::Class(this.class("Module")?),
        "Parameter" => Value::Class(this.class("Parameter")?),
        "functional" => Value::Namespace("torch.nn.functional"),
        "init" => Value::Namespace("torch.nn.init"),
        "modules" | "batchnorm" | "conv" | "linear" | "activation" | "pooling" | "normalization"
        | "module" | "container" => Value::Namespace("torch.nn"),
        "parameter" => Value::Namespace("torch.nn.parameter"),
        "utils" => Value::Namespace("torch.nn.utils"),
        name if name.starts_with('_') || unsupported::find("torch.nn", name).is_some() => {
            stand_in("torch.nn", name)
        }
        _ => return Ok(None),
    }))
}
