//! Python's built-in types and exceptions, `type`, `isinstance` and `issubclass`.
//!
//! Input: names and values. Output: classes, and whether a value is of one. Limit: the abstract classes of `typing` and
//! `collections.abc` are known by their last name.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::derived::base_of;
use crate::lower::interp::enums;
use crate::lower::interp::{Args, Interp};
use crate::lower::torch;
use crate::lower::value::{Class, Native, Value};

pub(crate) const TYPES: &[(&str, &str)] = &[
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
    ("generator", "object"),
    ("enumerate", "object"),
    ("filter", "object"),
    ("map", "object"),
    ("reversed", "object"),
    ("zip", "object"),
    ("dict_keys", "object"),
    ("dict_values", "object"),
    ("dict_items", "object"),
    ("module", "object"),
    ("NoneType", "object"),
    ("Tensor", "object"),
    ("Parameter", "Tensor"),
    ("dtype", "object"),
    ("Size", "tuple"),
    ("OrderedDict", "dict"),
    ("defaultdict", "dict"),
    ("NamedTuple", "tuple"),
    ("Enum", "object"),
    ("IntEnum", "Enum"),
    ("StrEnum", "Enum"),
];

pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[
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
    ("FrozenInstanceError", "AttributeError"),
    ("IndexError", "LookupError"),
    ("KeyError", "LookupError"),
    ("NameError", "Exception"),
    ("UnboundLocalError", "NameError"),
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

impl Interp<'_> {
    /// `type(value)`.
    pub(crate) fn type_of(&mut self, value: &Value) -> R<Value> {
        let name = match value {
            Value::Object(object) => return Ok(Value::Class(Rc::clone(&object.class))),
            Value::Opaque(name) => return Ok(Value::Opaque(Rc::from(format!("type({name})")))),
            Value::Tuple(tuple) if tuple.size => "Size",
            Value::Tuple(tuple) if tuple.named.is_some() => {
                let class = tuple.named.as_ref().and_then(|named| named.class.clone());
                return Ok(Value::Class(class.map_or_else(|| self.class("tuple"), Ok)?));
            }
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

    pub(crate) fn is_instance(&mut self, value: &Value, types: &Value) -> R<bool> {
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
                Value::Class(class) if class.lineage().any(|class| Rc::ptr_eq(class, wanted)) => Ok(true),
                // A member of an `IntEnum` is an `int`.
                Value::Class(_) => match enums::plain(value) {
                    Some(plain) => self.is_instance(&plain, types),
                    None => Ok(false),
                },
                _ => Err(Raise::unsupported(format!("isinstance of '{}'", value.type_name()))),
            },
            Value::None => Ok(value.is_none()),
            Value::Builtin(builtin) if builtin.name == "partial" => Ok(matches!(value, Value::Partial(_))),
            Value::Builtin(builtin) if builtin.name == "MethodType" => Ok(matches!(value, Value::Bound(_))),
            Value::Builtin(builtin)
                if matches!(builtin.name, "enumerate" | "filter" | "map" | "reversed" | "zip") =>
            {
                Ok(matches!(value, Value::Iter(iter) if iter.kind == builtin.name))
            }
            Value::Opaque(name) => {
                let base = match value {
                    Value::Object(object) => base_of(&object.class),
                    _ => None,
                };
                let derived = |name: &str| base.as_deref() == Some(name);
                let sequence =
                    matches!(value, Value::List(_) | Value::Tuple(_) | Value::Str(_) | Value::Range(..))
                        || derived("list");
                let mapping = matches!(value, Value::Dict(_)) || derived("dict");
                // No class of another package made it. A name without a dot is a class that was not understood.
                let strange = match value {
                    Value::Opaque(_) => false,
                    Value::Object(object) => {
                        !object.class.lineage().any(|class| matches!(class.native, Native::Opaque))
                    }
                    _ => name.contains('.'),
                };
                let last = name.rsplit('.').next().unwrap_or(name);
                match last {
                    "Iterable" | "Collection" | "Sized" => Ok(sequence
                        || mapping
                        || matches!(value, Value::Set(_) | Value::View(_))
                        || (last == "Iterable" && matches!(value, Value::Iter(_)))),
                    "Hashable" => {
                        let changes = matches!(
                            value,
                            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Opaque(_)
                        );
                        Ok(!changes && !derived("dict") && !derived("list"))
                    }
                    "Iterator" => Ok(matches!(value, Value::Iter(_))),
                    "Generator" | "GeneratorType" => {
                        Ok(matches!(value, Value::Iter(iter) if iter.kind == "generator"))
                    }
                    "EnumMeta" | "EnumType" => Ok(matches!(value, Value::Class(class) if class.is_enum())),
                    "FunctionType" | "LambdaType" => Ok(matches!(value, Value::Function(_))),
                    "Sequence" | "List" | "Tuple" => Ok(sequence),
                    "Mapping" | "MutableMapping" | "Dict" => Ok(mapping),
                    "Number" | "Integral" | "Real" => {
                        Ok(matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)))
                    }
                    "Callable" => {
                        let callable = self.builtin_call("callable", Args::of(vec![value.clone()]))?;
                        self.truth(&callable)
                    }
                    "bytes" | "bytearray" | "memoryview" | "complex"
                        if !matches!(value, Value::Opaque(_)) =>
                    {
                        Ok(false)
                    }
                    _ if name.starts_with("torch") => Ok(false),
                    _ if strange && !is_abstract(name) => Ok(false),
                    _ => Err(Raise::unsupported(format!("isinstance with '{name}'"))),
                }
            }
            Value::Object(_) => match self.special(types, "__instancecheck__", vec![value.clone()])? {
                Some(result) => self.truth(&result),
                None => {
                    Err(Raise::type_error("isinstance() arg 2 must be a type, a tuple of types, or a union"))
                }
            },
            other => Err(Raise::type_error(format!(
                "isinstance() arg 2 must be a type, a tuple of types, or a union, not {}",
                other.type_name()
            ))),
        }
    }

    pub(crate) fn is_subclass(&mut self, class: &Rc<Class>, types: &Value) -> R<bool> {
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
}

/// Whether a stand-in is of a module whose classes count others as their instances.
fn is_abstract(stand_in: &str) -> bool {
    let modules = [
        "collections.",
        "typing.",
        "typing_extensions.",
        "abc.",
        "numbers.",
        "types.",
        "contextlib.",
        "inspect.",
    ];
    modules.iter().any(|module| stand_in.starts_with(module))
}

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
        Some(layer) if layer.base == "Module" => (Native::Layer(layer), Some(private_base(name))),
        Some(layer) => (Native::Layer(layer), Some(layer.base)),
        None if name == "_ConvTransposeNd" => (Native::Source, Some("_ConvNd")),
        None if matches!(name, "_BatchNorm" | "_InstanceNorm") => (Native::Source, Some("_NormBase")),
        None => (Native::Source, Some("Module")),
    }
}

/// The private classes of PyTorch from which layers without weights are derived, by how the layers' names begin.
const PRIVATE_BASES: &[(&str, &str)] = &[
    ("MaxPool", "_MaxPoolNd"),
    ("MaxUnpool", "_MaxUnpoolNd"),
    ("AvgPool", "_AvgPoolNd"),
    ("LPPool", "_LPPoolNd"),
    ("AdaptiveAvgPool", "_AdaptiveAvgPoolNd"),
    ("AdaptiveMaxPool", "_AdaptiveMaxPoolNd"),
    ("Dropout", "_DropoutNd"),
    ("AlphaDropout", "_DropoutNd"),
    ("FeatureAlphaDropout", "_DropoutNd"),
];

/// The private class of PyTorch from which a layer is derived, or `Module`.
fn private_base(layer: &str) -> &'static str {
    PRIVATE_BASES.iter().find(|(start, _)| layer.starts_with(start)).map_or("Module", |(_, base)| base)
}

/// The private class of PyTorch of this name, from which layers are derived.
pub(crate) fn private_class(name: &str) -> Option<&'static str> {
    let known = ["_ConvNd", "_ConvTransposeNd", "_BatchNorm", "_InstanceNorm", "_NormBase", "RNNBase"];
    PRIVATE_BASES.iter().map(|(_, base)| *base).chain(known).find(|known| *known == name)
}

/// The built-in exception of this name.
pub(crate) fn exception(name: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known)
}
