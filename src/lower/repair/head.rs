//! Repair: the output becomes `(N, classes)`.
//!
//! Input: a network that runs but whose output has other sizes. Output: the source with a new width of the last linear
//! layer, or with a pooling, flattening and linear layer after the last one. Limit: of an output whose first dimension
//! is not the batch nothing is known.

use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let Some(Hint::Output { sizes, width, nothing }) = context.hint() else { return Vec::new() };
    let Some(classes) = context.request.classes else { return Vec::new() };
    let mut proposals = Vec::new();
    if *nothing {
        proposals.extend(return_last(context));
    }
    if let (Some([_]), Some((span, 1))) = (sizes.as_deref(), width) {
        proposals.extend(set_width(context, *span, classes));
    }
    if let Some(sizes) = sizes {
        proposals.extend(add_head(context, sizes, classes));
    }
    proposals
}

fn set_width(context: &Context<'_>, span: Span, classes: usize) -> Option<Proposal> {
    let old = context.source.get(span.start as usize..span.end as usize)?;
    let line = edit::line_of(context.source, span.start);
    let source = edit::apply(context.source, vec![Edit::replace(span, classes.to_string())])?;
    Some(Proposal { source, detail: format!("out_features: {old} -> {classes} (line {line})") })
}

/// `return` of what the last statement of `forward` assigned.
fn return_last(context: &Context<'_>) -> Option<Proposal> {
    let class = tree::class_named(context.suite, context.failure.class_name.as_deref()?)?;
    let forward = tree::method(class, "forward")?;
    let Some(Stmt::Assign(last)) = forward.body.last() else { return None };
    let [Expr::Name(name)] = &last.targets[..] else { return None };
    let (at, indent) = tree::end_of_body(context.source, forward)?;
    let source =
        edit::apply(context.source, vec![Edit::insert(at, format!("\n{indent}return {}", name.id))])?;
    Some(Proposal { source, detail: format!("added `return {}`", name.id) })
}

/// A new last layer: features are pooled to one vector per sample, then mapped to the classes.
fn add_head(context: &Context<'_>, sizes: &[i64], classes: usize) -> Option<Proposal> {
    let class = tree::class_named(context.suite, context.failure.class_name.as_deref()?)?;
    let (init, forward) = (tree::method(class, "__init__")?, tree::method(class, "forward")?);
    let (width, before, after) = match sizes {
        [width] => (*width, "", ""),
        // (N, L, F): the mean over the sequence.
        [_, width] => (*width, "torch.mean(", ", dim=1)"),
        [channels, _, _] => (*channels, "torch.flatten(torch.nn.functional.adaptive_avg_pool2d(", ", 1), 1)"),
        _ => return None,
    };
    if width <= 0 {
        return None;
    }
    let name = tree::fresh(context.source, "output_head");
    let (at, indent) = tree::end_of_body(context.source, init)?;
    let mut edits =
        vec![Edit::insert(at, format!("\n{indent}self.{name} = torch.nn.Linear({width}, {classes})"))];
    let returns = tree::returns(forward);
    if returns.is_empty() {
        return None;
    }
    for value in returns {
        let span = Span::from(value.range());
        let text = context.source.get(span.start as usize..span.end as usize)?;
        edits.push(Edit::replace(span, format!("self.{name}({before}{text}{after})")));
    }
    super::need_torch(context, &mut edits);
    let source = edit::apply(context.source, edits)?;
    Some(Proposal { source, detail: format!("added Linear({width}, {classes}) after the output") })
}
