//! Repair: a convolution on vectors, or on a feature map smaller than its kernel.
//!
//! Input: a convolution that gets a tensor without spatial dimensions, or whose kernel does not fit. Output: the source
//! with the vector seen as a feature map of one place, with padding, or without the layer; tried in this order. Limit:
//! only two-dimensional convolutions are reshaped.

use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, flatten, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let Some(Hint::Rank { layer, got, call }) = context.hint() else { return Vec::new() };
    if !layer.starts_with("Conv") {
        return Vec::new();
    }
    let mut proposals = Vec::new();
    if *got == 2 && layer == "Conv2d" {
        proposals.extend(as_map(context));
    }
    if *got == 4 {
        proposals.extend(pad(context, *call));
    }
    proposals.extend(flatten::drop_layer(context, *call));
    proposals
}

/// `x` of shape (N, C) becomes (N, C, 1, 1).
fn as_map(context: &Context<'_>) -> Option<Proposal> {
    let (start, end) = context.failure.refusal.span?;
    let call = tree::call_at(context.suite, Span { start, end })?;
    let arg = Span::from(call.arguments.args.first()?.range());
    let text = context.source.get(arg.start as usize..arg.end as usize)?;
    let new = format!("({text})[:, :, None, None]");
    let source = edit::apply(context.source, vec![Edit::replace(arg, new)])?;
    let line = edit::line_of(context.source, start);
    Some(Proposal { source, detail: format!("vector seen as a feature map (line {line})") })
}

/// Padding that keeps the size.
fn pad(context: &Context<'_>, call: Option<Span>) -> Option<Proposal> {
    let call = tree::call_at(context.suite, call?)?;
    if call.arguments.find_argument_value("padding", 4).is_some() {
        return None;
    }
    if call.arguments.find_argument_value("stride", 3).is_some() {
        return None;
    }
    let at = Span::from(call.range()).end - 1;
    let source = edit::apply(context.source, vec![Edit::insert(at, ", padding='same'")])?;
    let line = edit::line_of(context.source, at);
    Some(Proposal { source, detail: format!("padding='same' (line {line})") })
}
