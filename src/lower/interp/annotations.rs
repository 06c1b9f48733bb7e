//! Annotations, as far as they can fail: Python evaluates those of functions and of names in modules and classes.
//!
//! Input: the expression behind `:` or `->`. Output: `NameError` or `AttributeError` where a name in it does not exist.
//! Limit: the main source only; what the names are and what is made of them (`List[int]`) is not looked at. With
//! `from __future__ import annotations` nothing is evaluated.

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

use crate::lower::error::R;
use crate::lower::interp::Interp;

impl Interp<'_> {
    /// The annotations of a definition, in Python's order.
    pub(crate) fn annotations_of(&mut self, def: &StmtFunctionDef) -> R<()> {
        let parameters = def.parameters.iter().filter_map(|parameter| parameter.annotation());
        parameters.chain(def.returns.as_deref()).try_for_each(|annotation| self.annotation(annotation))
    }

    /// An annotation that Python evaluates.
    pub(crate) fn annotation(&mut self, annotation: &Expr) -> R<()> {
        if self.deferred_annotations || !self.frame().module.main {
            return Ok(());
        }
        let mut names = Names { found: Vec::new() };
        names.visit_expr(annotation);
        for name in names.found {
            self.tick(1)?;
            match self.eval(name) {
                Err(raise) if matches!(raise.class(), Some("NameError" | "AttributeError")) => {
                    return Err(self.locate(raise, name.range().into()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a module asks that its annotations are not evaluated.
pub(crate) fn are_deferred(suite: &[Stmt]) -> bool {
    suite.iter().any(|stmt| match stmt {
        Stmt::ImportFrom(import) => {
            import.module.as_ref().is_some_and(|module| module.as_str() == "__future__")
                && import.names.iter().any(|alias| alias.name.as_str() == "annotations")
        }
        _ => false,
    })
}

/// The last part of the name that an annotation begins with, as `ClassVar` of `"typing.ClassVar[int]"`.
pub(super) fn outermost(annotation: &Expr) -> Option<String> {
    match annotation {
        Expr::Name(name) => Some(name.id.to_string()),
        Expr::Attribute(attribute) => Some(attribute.attr.to_string()),
        Expr::Subscript(subscript) => outermost(&subscript.value),
        Expr::StringLiteral(literal) => {
            let name = literal.value.to_str().split('[').next().unwrap_or_default().trim();
            name.rsplit('.').next().map(str::to_owned)
        }
        _ => None,
    }
}

/// Names, with the attributes that are asked of them.
struct Names<'a> {
    found: Vec<&'a Expr>,
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(_) => self.found.push(expr),
            Expr::Attribute(attribute) if is_dotted(&attribute.value) => self.found.push(expr),
            // They bind names of their own.
            Expr::Lambda(_)
            | Expr::ListComp(_)
            | Expr::SetComp(_)
            | Expr::DictComp(_)
            | Expr::Generator(_) => {}
            _ => walk_expr(self, expr),
        }
    }
}

fn is_dotted(expr: &Expr) -> bool {
    match expr {
        Expr::Name(_) => true,
        Expr::Attribute(attribute) => is_dotted(&attribute.value),
        _ => false,
    }
}
