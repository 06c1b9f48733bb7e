//! Repair: a change in place that gradients do not allow makes a new tensor instead.
//!
//! Input: the statement or call that changes a tensor. Output: the source with `x = x + y` for `x += y`, `x = x.relu()`
//! for `x.relu_()`, `x = F.relu(x)` for `F.relu_(x)`, `x = x.clone()` before `x[0] = y`, and without `inplace=True`.
//! Limit: other names of the tensor keep its old values.

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtAugAssign};
use ruff_text_size::Ranged;

use super::edit::{self, Edit};
use super::{Context, Proposal, tree};
use crate::lower::error::Hint;
use crate::python::Span;

pub(crate) fn propose(context: &Context<'_>) -> Vec<Proposal> {
    let (Some(Hint::InPlace), Some((start, end))) = (context.hint(), context.failure.refusal.span) else {
        return Vec::new();
    };
    let at = Span { start, end };
    let edits = match statement(context.suite, at) {
        Some(Place::Augmented(stmt)) => augmented(context, stmt),
        Some(Place::Part(stmt, target)) => copied(context, stmt, target),
        Some(Place::Statement(call)) => method_or_function(context, call, true),
        None => tree::call_at(context.suite, at).and_then(|call| method_or_function(context, call, false)),
    };
    let edits = edits.or_else(|| flags(context));
    let line = edit::line_of(context.source, start);
    let proposal = edits.and_then(|edits| {
        let detail = format!("a new tensor instead of a change in place (line {line})");
        Some(Proposal { source: edit::apply(context.source, edits)?, detail })
    });
    proposal.into_iter().collect()
}

/// The statement at a place.
enum Place<'a> {
    Augmented(&'a StmtAugAssign),
    /// An assignment to a part of a tensor.
    Part(&'a Stmt, &'a Expr),
    Statement(&'a ExprCall),
}

fn statement(suite: &[Stmt], at: Span) -> Option<Place<'_>> {
    struct Finder<'a>(Span, Option<Place<'a>>);
    impl<'a> Visitor<'a> for Finder<'a> {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            match stmt {
                Stmt::AugAssign(change) if Span::from(change.range) == self.0 => {
                    self.1 = Some(match &*change.target {
                        Expr::Subscript(_) => Place::Part(stmt, &change.target),
                        _ => Place::Augmented(change),
                    });
                }
                Stmt::Assign(assign) => {
                    let target = assign.targets.iter().find(|target| Span::from(target.range()) == self.0);
                    if let Some(target) = target {
                        self.1 = Some(Place::Part(stmt, target));
                    }
                }
                Stmt::Expr(stmt) if Span::from(stmt.value.range()) == self.0 => {
                    if let Expr::Call(call) = &*stmt.value {
                        self.1 = Some(Place::Statement(call));
                    }
                }
                _ => {}
            }
            walk_stmt(self, stmt);
        }
    }
    let mut finder = Finder(at, None);
    suite.iter().for_each(|stmt| finder.visit_stmt(stmt));
    finder.1
}

fn text<'a>(context: &Context<'a>, node: &impl Ranged) -> Option<&'a str> {
    context.source.get(node.range().start().to_usize()..node.range().end().to_usize())
}

/// `x += y` as `x = x + y`.
fn augmented(context: &Context<'_>, stmt: &StmtAugAssign) -> Option<Vec<Edit>> {
    if !matches!(&*stmt.target, Expr::Name(_) | Expr::Attribute(_)) {
        return None;
    }
    let (target, value) = (text(context, &*stmt.target)?, text(context, &*stmt.value)?);
    let alone = matches!(
        &*stmt.value,
        Expr::Name(_) | Expr::Attribute(_) | Expr::Call(_) | Expr::Subscript(_) | Expr::NumberLiteral(_)
    );
    let value = if alone { value.to_owned() } else { format!("({value})") };
    let new = format!("{target} = {target} {} {value}", stmt.op.as_str());
    Some(vec![Edit::replace(stmt.range.into(), new)])
}

/// `x = x.clone()` before a statement that changes a part of `x`.
fn copied(context: &Context<'_>, stmt: &Stmt, target: &Expr) -> Option<Vec<Edit>> {
    let mut whole = target;
    while let Expr::Subscript(part) = whole {
        whole = &part.value;
    }
    if !matches!(whole, Expr::Name(_) | Expr::Attribute(_)) {
        return None;
    }
    let name = text(context, whole)?;
    let start = stmt.range().start().to_usize();
    let line = context.source.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let indent = context.source.get(line..start).filter(|indent| indent.trim().is_empty())?;
    Some(vec![Edit::insert(Span::from(stmt.range()).start, format!("{name} = {name}.clone()\n{indent}"))])
}

/// `x.relu_()` and `F.relu_(x)` without the underscore; what was a statement assigns the result.
fn method_or_function(context: &Context<'_>, call: &ExprCall, statement: bool) -> Option<Vec<Edit>> {
    let name = tree::last_name(&call.func)?;
    if !name.ends_with('_') || name.ends_with("__") {
        return None;
    }
    let end = Span::from(call.func.range()).end;
    let mut edits = vec![Edit::replace(Span { start: end - 1, end }, "")];
    if statement {
        let of_module =
            |value: &Expr| matches!(value, Expr::Name(name) if matches!(name.id.as_str(), "F" | "torch"));
        let target = match &*call.func {
            Expr::Attribute(method) if !of_module(&method.value) => &*method.value,
            _ => call.arguments.args.first()?,
        };
        if !matches!(target, Expr::Name(_) | Expr::Attribute(_)) {
            return None;
        }
        edits.push(Edit::insert(Span::from(call.range()).start, format!("{} = ", text(context, target)?)));
    }
    Some(edits)
}

/// No `inplace=True` anywhere: which layer it was that a container called is not known.
fn flags(context: &Context<'_>) -> Option<Vec<Edit>> {
    let mut edits = Vec::new();
    for call in tree::calls(context.suite) {
        for keyword in &call.arguments.keywords {
            if keyword.arg.as_ref().is_some_and(|name| name.as_str() == "inplace")
                && matches!(&keyword.value, Expr::BooleanLiteral(literal) if literal.value)
            {
                edits.push(Edit::replace(keyword.value.range().into(), "False"));
            }
        }
        // Those whose only argument it is.
        if let (Some("ReLU" | "ReLU6" | "SELU" | "SiLU" | "Mish" | "Hardswish" | "Hardsigmoid"), [only]) =
            (tree::last_name(&call.func), &*call.arguments.args)
            && matches!(only, Expr::BooleanLiteral(literal) if literal.value)
        {
            edits.push(Edit::replace(only.range().into(), "False"));
        }
    }
    (!edits.is_empty()).then_some(edits)
}
