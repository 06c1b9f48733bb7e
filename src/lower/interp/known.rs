//! Attributes that Python's built-in types and PyTorch's modules have and this program may not support: asking for one
//! is `UnsupportedSyntax`, not Python's `AttributeError`, which a repair takes for a mistake of the source.
//!
//! Input: a value or class and a name. Output: whether Python has the attribute. The list is what
//! `tests/python/known_names.py` found. Limit: of modules, the layers that are written in Rust only.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::LazyLock;

use crate::lower::error::{Hint, Raise};
use crate::lower::value::{Class, Native, Value};

static NAMES: LazyLock<BTreeMap<&str, BTreeSet<&str>>> = LazyLock::new(|| {
    let lines = include_str!("known_names.txt").lines();
    lines
        .map(|line| {
            let mut names = line.split(' ');
            (names.next().unwrap_or_default(), names.collect())
        })
        .collect()
});

/// Whether a type of this name has the attribute itself; `builtins` has Python's built-in names.
pub(crate) fn has(kind: &str, name: &str) -> bool {
    NAMES.get(kind).is_some_and(|names| names.contains(name))
}

/// Whether a built-in value has the attribute in Python.
pub(crate) fn of_value(value: &Value, name: &str) -> bool {
    let kinds: &[&str] = match value {
        Value::Str(_) => &["str"],
        Value::List(_) => &["list"],
        Value::Tuple(_) => &["tuple"],
        Value::Dict(_) => &["dict"],
        Value::Set(_) => &["set"],
        Value::Bool(_) | Value::Training { .. } => &["bool"],
        Value::Int(_) | Value::Dim(_) => &["int"],
        Value::Float(_) => &["float"],
        Value::Range(..) => &["range"],
        Value::Slice(_) => &["slice"],
        Value::Iter(iter) if iter.kind == "generator" => &["generator"],
        Value::Function(_) => &["function"],
        Value::Bound(_) => &["method", "function"],
        Value::Partial(_) => &["partial"],
        Value::Builtin(_) | Value::Method(_) | Value::ClassMethod(_) => {
            &["builtin_function_or_method", "function"]
        }
        Value::Descriptor(..) => &["property"],
        Value::Tensor(_) => &["Tensor"],
        _ => &[],
    };
    kinds.iter().chain(&["object"]).any(|kind| has(kind, name))
}

/// Whether instances of a class have the attribute in Python, by what they inherit.
pub(crate) fn of_instance(class: &Rc<Class>, name: &str) -> bool {
    // Every module has one that says that there is none.
    name != "forward"
        && class.lineage().any(|class| match class.native {
            Native::Layer(layer) => has(layer.name, name),
            Native::Module => has("Module", name),
            Native::Object => has("object", name),
            Native::Type => has(&class.name, name),
            _ => false,
        })
}

/// The refusal of such an attribute; the hint lets `hasattr` tell that it is there.
pub(crate) fn refusal(owner: &str, name: &str) -> Box<Raise> {
    Raise::unsupported(format!("'{owner}.{name}' is not supported"))
        .with_hint(Hint::Attribute { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_layers_have_attributes_that_are_not_supported_here_and_lack_others() {
        for (kind, name) in [
            ("str", "casefold"),
            ("Conv2d", "_conv_forward"),
            ("Module", "register_load_state_dict_pre_hook"),
            ("object", "__hash__"),
            ("builtins", "UserWarning"),
        ] {
            assert!(has(kind, name), "{kind}.{name}");
        }
        assert!(!has("str", "push") && !has("Conv2d", "conv") && !has("nothing", "casefold"));
        assert!(of_value(&Value::Int(1), "to_bytes") && of_value(&Value::Int(1), "__hash__"));
        assert!(!of_value(&Value::Int(1), "shape"));
    }
}
