//! Repair: the width a layer expects becomes the width that arrives.
//!
//! Input: a failed layer whose constructor argument is known to be wrong, with its place. Output: the source with a
//! literal there. Limit: an argument that built several layers (in a loop) is left alone.

use super::edit::{self, Edit};
use super::{Context, Proposal};
use crate::lower::error::Hint;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    width(context).into_iter().collect()
}

fn width(context: &Context<'_>) -> Option<Proposal> {
    let Some(Hint::Argument { parameter, span, needed, uses, .. }) = context.hint() else { return None };
    if *uses != 1 || *needed <= 0 {
        return None;
    }
    let old = context.source.get(span.start as usize..span.end as usize)?;
    let new = needed.to_string();
    if old == new {
        return None;
    }
    let line = edit::line_of(context.source, span.start);
    let source = edit::apply(context.source, vec![Edit::replace(*span, new.clone())])?;
    Some(Proposal { source, detail: format!("{parameter}: {old} -> {new} (line {line})") })
}
