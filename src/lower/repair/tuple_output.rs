//! Repair: a tensor is taken out of a tuple, such as the sequence out of a recurrent layer's result.
//!
//! Input: a tuple used as a tensor, with the place. Output: the source with `[0]` after it. Limit: the first element is
//! taken, whatever the others are.

use ruff_python_ast::Expr;
use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    first_element(context).into_iter().collect()
}

fn first_element(context: &Context<'_>) -> Option<Proposal> {
    let (start, end) = context.failure.refusal.span?;
    let span = Span { start, end };
    let message = &context.failure.refusal.message;
    let place = match context.hint() {
        Some(Hint::Attribute { .. }) if message.contains("'tuple' object has no attribute") => {
            let call = tree::call_of(context.suite, span)?;
            let Expr::Attribute(attribute) = &*call.func else { return None };
            Span::from(attribute.value.range())
        }
        _ if message.contains("must be Tensor, not tuple") => {
            let call = tree::call_at(context.suite, span)?;
            Span::from(call.arguments.args.first()?.range())
        }
        _ => return None,
    };
    let source = edit::apply(context.source, vec![Edit::insert(place.end, "[0]")])?;
    Some(Proposal {
        source,
        detail: format!("first element of a tuple (line {})", edit::line_of(context.source, start)),
    })
}
