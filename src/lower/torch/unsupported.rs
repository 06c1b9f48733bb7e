//! Names that PyTorch has and this program may not support: using one is `UnsupportedSyntax`, not PyTorch's
//! `AttributeError`.
//!
//! Input: a namespace and a name. Output: whether PyTorch 2.13 has it. The list is what
//! `scripts/record_pytorch_names.py` found. Limit: names that begin with an underscore are not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Names by namespace: a source may ask for one it lacks as often as its steps allow.
static NAMES: LazyLock<BTreeMap<&str, BTreeSet<&str>>> = LazyLock::new(|| {
    let lines = include_str!("pytorch_names.txt").lines();
    let split = |line: &'static str| {
        let (namespace, names) = line.split_once(' ').unwrap_or((line, ""));
        (namespace, names.split(' ').collect())
    };
    lines.map(split).collect()
});

/// The public names of a namespace, such as `torch.nn` or `torch.Tensor`.
pub(crate) fn names(namespace: &str) -> impl Iterator<Item = &'static str> + use<> {
    NAMES.get(namespace).into_iter().flatten().copied()
}

/// A name of the namespace in PyTorch.
pub(crate) fn find(namespace: &str, name: &str) -> Option<&'static str> {
    NAMES.get(namespace)?.get(name).copied()
}

/// Whether a stand-in is a type of elements, such as `torch.float16`.
pub(crate) fn is_type(stand_in: &str) -> bool {
    let Some(name) = stand_in.strip_prefix("torch.") else { return false };
    let bits = name.trim_start_matches(|char: char| char.is_ascii_alphabetic());
    let numbered = bits.starts_with(|char: char| char.is_ascii_digit())
        && ["float", "bfloat", "int", "uint", "complex", "qint", "quint"]
            .contains(&&name[..name.len() - bits.len()]);
    numbered || matches!(name, "half" | "int" | "short" | "cfloat" | "cdouble" | "chalf")
}

/// Whether a call of a stand-in may change what its result does not show: it cannot be left out.
pub(crate) fn acts(stand_in: &str) -> bool {
    let last = stand_in.rsplit('.').next().unwrap_or(stand_in);
    // PyTorch's functions that end in `_` work in place; gradients are no part of a network.
    let in_place = last.ends_with('_') && !last.ends_with("__") && !last.starts_with("clip_grad");
    (in_place && stand_in.starts_with("torch."))
        || ["bisect.insort", "contextlib.ExitStack", "heapq.", "torch.nn.utils.prune."]
            .iter()
            .any(|start| stand_in.starts_with(start))
        || matches!(stand_in, "operator.setitem" | "operator.delitem" | "torch.nn.utils.vector_to_parameters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytorch_has_names_that_are_not_supported_here_and_lacks_others() {
        for (namespace, name) in [("torch", "compile"), ("torch.nn", "CTCLoss"), ("torch.Tensor", "backward")]
        {
            assert_eq!(find(namespace, name), Some(name));
        }
        assert_eq!(find("torch", "relu_does_not_exist"), None);
        assert_eq!(find("torch.nn.functional", "add"), None);
        assert_eq!(names("torch.nothing").count(), 0);
        for (name, is) in
            [("torch.float16", true), ("torch.uint8", true), ("torch.int", true), ("torch.fx", false)]
        {
            assert_eq!(is_type(name), is, "{name}");
        }
    }
}
