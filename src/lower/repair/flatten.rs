//! Repair: the rank a layer expects becomes the rank that arrives.
//!
//! Input: a linear layer that gets a feature map, or a layer for images that gets vectors. Output: the source with a
//! `flatten` before it, a norm of the right rank, or without a pooling that has nothing to pool. Limit: calls whose
//! argument is starred are left alone.

use ruff_python_ast::Expr;
use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    match context.hint() {
        Some(Hint::Argument { parameter: "in_features", rank, call, .. }) if *rank > 2 => {
            proposals.extend(flatten(context, *call));
        }
        Some(Hint::Argument { parameter: "num_features", rank: 4, call, .. }) => {
            proposals.extend(rename(context, *call, "BatchNorm1d", "BatchNorm2d"));
        }
        Some(Hint::Rank { layer, got, call }) => match (layer.as_str(), got) {
            ("BatchNorm2d", 2 | 3) => proposals.extend(rename(context, *call, "BatchNorm2d", "BatchNorm1d")),
            ("BatchNorm1d", 4) => proposals.extend(rename(context, *call, "BatchNorm1d", "BatchNorm2d")),
            ("LSTM" | "GRU" | "RNN", 4) => proposals.extend(sequence(context)),
            ("strided view", _) => proposals.extend(reshaped(context)),
            ("view", _) => proposals.extend(without_view(context)),
            (name, _) if name.contains("Pool") => proposals.extend(drop_layer(context, *call)),
            _ => {}
        },
        _ => {}
    }
    proposals
}

fn failing(context: &Context<'_>) -> Option<Span> {
    let (start, end) = context.failure.refusal.span?;
    Some(Span { start, end })
}

fn text<'a>(context: &Context<'a>, span: Span) -> Option<&'a str> {
    context.source.get(span.start as usize..span.end as usize)
}

/// `nn.Flatten()` before a layer of a `Sequential`, else `torch.flatten` around the argument of the failing call.
fn flatten(context: &Context<'_>, call: Option<Span>) -> Option<Proposal> {
    let line = edit::line_of(context.source, failing(context)?.start);
    let mut edits = Vec::new();
    match call.filter(|&call| tree::in_sequential(context.suite, call)) {
        Some(call) => edits.push(Edit::insert(call.start, "torch.nn.Flatten(), ")),
        None => {
            let call = tree::call_at(context.suite, failing(context)?)?;
            let arg = Span::from(call.arguments.args.first()?.range());
            edits.push(Edit::replace(arg, format!("torch.flatten({}, 1)", text(context, arg)?)));
        }
    }
    super::need_torch(context, &mut edits);
    let source = edit::apply(context.source, edits)?;
    Some(Proposal { source, detail: format!("flattened the input of the linear layer (line {line})") })
}

/// Another class for the layer made by a call.
fn rename(context: &Context<'_>, call: Option<Span>, from: &str, to: &str) -> Option<Proposal> {
    let call = call?;
    let function = Span::from(tree::call_at(context.suite, call)?.func.range());
    let old = text(context, function)?;
    if !old.ends_with(from) {
        return None;
    }
    let line = edit::line_of(context.source, call.start);
    let source = edit::apply(context.source, vec![Edit::replace(function, old.replace(from, to))])?;
    Some(Proposal { source, detail: format!("{from} -> {to} (line {line})") })
}

/// A feature map as a sequence of its places.
fn sequence(context: &Context<'_>) -> Option<Proposal> {
    let call = tree::call_at(context.suite, failing(context)?)?;
    let arg = Span::from(call.arguments.args.first()?.range());
    let new = format!("torch.flatten({}, 2).transpose(1, 2)", text(context, arg)?);
    let mut edits = vec![Edit::replace(arg, new)];
    super::need_torch(context, &mut edits);
    let source = edit::apply(context.source, edits)?;
    let line = edit::line_of(context.source, arg.start);
    Some(Proposal { source, detail: format!("feature map read as a sequence (line {line})") })
}

/// `reshape` for a `view` of a tensor that lies otherwise in memory.
fn reshaped(context: &Context<'_>) -> Option<Proposal> {
    let span = failing(context)?;
    let Expr::Attribute(method) = &*tree::call_at(context.suite, span)?.func else { return None };
    let name = Span::from(method.attr.range());
    let new = text(context, name)?.replace("view", "reshape");
    let line = edit::line_of(context.source, span.start);
    let source = edit::apply(context.source, vec![Edit::replace(name, new)])?;
    Some(Proposal { source, detail: format!("view -> reshape (line {line})") })
}

/// The network without a `view` whose sizes do not fit.
fn without_view(context: &Context<'_>) -> Option<Proposal> {
    let span = failing(context)?;
    let Expr::Attribute(method) = &*tree::call_at(context.suite, span)?.func else { return None };
    let receiver = text(context, Span::from(method.value.range()))?;
    let line = edit::line_of(context.source, span.start);
    let source = edit::apply(context.source, vec![Edit::replace(span, receiver)])?;
    Some(Proposal { source, detail: format!("{} -> {receiver} (line {line})", text(context, span)?) })
}

/// The network without this use of a layer.
pub(super) fn drop_layer(context: &Context<'_>, call: Option<Span>) -> Option<Proposal> {
    let (span, new) = match call.filter(|&call| tree::in_sequential(context.suite, call)) {
        Some(call) => (call, "torch.nn.Identity()".to_owned()),
        None => {
            let span = failing(context)?;
            let call = tree::call_at(context.suite, span)?;
            (span, text(context, Span::from(call.arguments.args.first()?.range()))?.to_owned())
        }
    };
    let line = edit::line_of(context.source, span.start);
    let old = text(context, span)?.to_owned();
    let mut edits = vec![Edit::replace(span, new.clone())];
    if new.starts_with("torch.") {
        super::need_torch(context, &mut edits);
    }
    let source = edit::apply(context.source, edits)?;
    Some(Proposal { source, detail: format!("{old} -> {new} (line {line})") })
}
