//! Repair: names that are not defined.
//!
//! Input: a `NameError` or `AttributeError` with its place. Output: the source with an import, with `torch.name` for a
//! function that `torch.nn.functional` lacks, or without the layer that is missing. Limit: a missing value is only
//! invented where it can be nothing but the number of classes.

use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

const IMPORTS: &[(&str, &str)] = &[
    ("F", "import torch.nn.functional as F"),
    ("nn", "import torch.nn as nn"),
    ("torch", "import torch"),
    ("math", "import math"),
    ("np", "import numpy as np"),
    ("OrderedDict", "from collections import OrderedDict"),
    ("partial", "from functools import partial"),
    ("Tensor", "from torch import Tensor"),
    ("Any", "from typing import Any"),
    ("Callable", "from typing import Callable"),
    ("Dict", "from typing import Dict"),
    ("List", "from typing import List"),
    ("Optional", "from typing import Optional"),
    ("Sequence", "from typing import Sequence"),
    ("Tuple", "from typing import Tuple"),
    ("Type", "from typing import Type"),
    ("Union", "from typing import Union"),
];

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let Some((start, end)) = context.failure.refusal.span else { return Vec::new() };
    let span = Span { start, end };
    let proposal = match context.hint() {
        Some(Hint::Name { name }) => missing_name(context, span, name),
        Some(Hint::Attribute { name }) => missing_attribute(context, span, name),
        _ => None,
    };
    proposal.into_iter().collect()
}

fn missing_name(context: &Context<'_>, span: Span, name: &str) -> Option<Proposal> {
    if let Some((_, line)) = IMPORTS.iter().find(|(known, _)| *known == name) {
        let at = tree::import_place(context.suite);
        let source = edit::apply(context.source, vec![Edit::insert(at, format!("{line}\n"))])?;
        return Some(Proposal { source, detail: format!("added `{line}`") });
    }
    if crate::lower::torch::is_layer(name) {
        let mut edits = vec![Edit::replace(span, format!("torch.nn.{name}"))];
        super::need_torch(context, &mut edits);
        let source = edit::apply(context.source, edits)?;
        return Some(Proposal { source, detail: format!("{name} -> torch.nn.{name}") });
    }
    without_layer(context, span, name)
}

fn missing_attribute(context: &Context<'_>, span: Span, name: &str) -> Option<Proposal> {
    let text = context.source.get(span.start as usize..span.end as usize)?;
    if context.failure.refusal.message.contains("module 'torch") {
        if crate::lower::torch::find('t', name).is_some() || crate::lower::torch::find('f', name).is_some() {
            let place =
                if crate::lower::torch::find('t', name).is_some() { "torch" } else { "torch.nn.functional" };
            let mut edits = vec![Edit::replace(span, format!("{place}.{name}"))];
            super::need_torch(context, &mut edits);
            let source = edit::apply(context.source, edits)?;
            return Some(Proposal { source, detail: format!("{text} -> {place}.{name}") });
        }
        return without_layer(context, span, name);
    }
    if name.contains("class") || name == "output_dim" || name == "output_size" {
        let classes = context.request.classes?;
        let source = edit::apply(context.source, vec![Edit::replace(span, classes.to_string())])?;
        return Some(Proposal { source, detail: format!("{text} -> {classes}") });
    }
    without_layer(context, span, name)
}

/// A call of something undefined: in `forward` its argument stands for it, in `__init__` an identity.
fn without_layer(context: &Context<'_>, span: Span, name: &str) -> Option<Proposal> {
    let call = tree::call_of(context.suite, span)?;
    let whole = Span::from(call.range());
    let class = tree::class_around(context.suite, whole)?;
    let init = tree::method(class, "__init__")?;
    let building = init.range().start() <= call.range().start() && call.range().end() <= init.range().end();
    let mut edits = Vec::new();
    let new = if building {
        super::need_torch(context, &mut edits);
        "torch.nn.Identity()".to_owned()
    } else {
        let arg = Span::from(call.arguments.args.first()?.range());
        context.source.get(arg.start as usize..arg.end as usize)?.to_owned()
    };
    edits.push(Edit::replace(whole, new.clone()));
    let line = edit::line_of(context.source, whole.start);
    let source = edit::apply(context.source, edits)?;
    Some(Proposal { source, detail: format!("undefined {name}: {new} in its place (line {line})") })
}
