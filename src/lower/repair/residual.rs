//! Repair: a residual sum whose sides do not fit gets a projection.
//!
//! Input: an addition of two tensors of different shapes, with its place. Output: the source with the right side pooled
//! to the left one's size and mapped to its channels by a 1x1 convolution (or a linear layer) made in `__init__`.
//! Limit: the addition must stand in a method of a class at module level.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Operator, Stmt};
use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let Some(Hint::Broadcast { left, right }) = context.hint() else { return Vec::new() };
    let Some((start, end)) = context.failure.refusal.span else { return Vec::new() };
    let Some((a, b)) = sides(context.suite, Span { start, end }) else { return Vec::new() };
    // Project the right side to the left; an augmented assignment has no other choice.
    let mut proposals = Vec::new();
    proposals.extend(project(context, b, left, right));
    if let Some(a) = a {
        proposals.extend(project(context, a, right, left));
    }
    proposals
}

/// Operands of the addition at this place.
fn sides(suite: &[Stmt], span: Span) -> Option<(Option<Span>, Span)> {
    struct Finder(Span, Option<(Option<Span>, Span)>);
    impl<'a> Visitor<'a> for Finder {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            if let Stmt::AugAssign(stmt) = stmt
                && Span::from(stmt.range) == self.0
                && matches!(stmt.op, Operator::Add | Operator::Mult | Operator::Sub)
            {
                self.1 = Some((None, stmt.value.range().into()));
            }
            walk_stmt(self, stmt);
        }
        fn visit_expr(&mut self, expr: &'a Expr) {
            if Span::from(expr.range()) == self.0 {
                match expr {
                    Expr::BinOp(binary)
                        if matches!(binary.op, Operator::Add | Operator::Mult | Operator::Sub) =>
                    {
                        self.1 = Some((Some(binary.left.range().into()), binary.right.range().into()));
                    }
                    Expr::Call(call)
                        if tree::last_name(&call.func) == Some("add") && call.arguments.args.len() == 2 =>
                    {
                        let [a, b] = &call.arguments.args[..] else { return };
                        self.1 = Some((Some(a.range().into()), b.range().into()));
                    }
                    _ => {}
                }
            }
            walk_expr(self, expr);
        }
    }
    let mut finder = Finder(span, None);
    suite.iter().for_each(|stmt| finder.visit_stmt(stmt));
    finder.1
}

fn project(context: &Context<'_>, side: Span, target: &[i64], from: &[i64]) -> Option<Proposal> {
    let class = tree::class_around(context.suite, side)?;
    let init = tree::method(class, "__init__")?;
    let (at, indent) = tree::end_of_body(context.source, init)?;
    let text = context.source.get(side.start as usize..side.end as usize)?;
    let name = tree::fresh(context.source, "projection");
    let (layer, call) = match (target, from) {
        ([c, h, w], [k, i, j]) => {
            let pooled = if (h, w) == (i, j) {
                text.to_owned()
            } else {
                format!("torch.nn.functional.adaptive_avg_pool2d({text}, ({h}, {w}))")
            };
            if c == k {
                (None, pooled)
            } else {
                (Some(format!("torch.nn.Conv2d({k}, {c}, 1)")), format!("self.{name}({pooled})"))
            }
        }
        ([c], [k]) => (Some(format!("torch.nn.Linear({k}, {c})")), format!("self.{name}({text})")),
        ([c], [k, _, _]) => {
            let pooled = format!("torch.flatten(torch.nn.functional.adaptive_avg_pool2d({text}, 1), 1)");
            (Some(format!("torch.nn.Linear({k}, {c})")), format!("self.{name}({pooled})"))
        }
        _ => return None,
    };
    let mut edits = vec![Edit::replace(side, call)];
    let detail = match &layer {
        Some(layer) => format!("projection {layer} (line {})", edit::line_of(context.source, side.start)),
        None => {
            format!("pooled to the other side's size (line {})", edit::line_of(context.source, side.start))
        }
    };
    if let Some(layer) = layer {
        edits.push(Edit::insert(at, format!("\n{indent}self.{name} = {layer}")));
    }
    super::need_torch(context, &mut edits);
    Some(Proposal { source: edit::apply(context.source, edits)?, detail })
}
