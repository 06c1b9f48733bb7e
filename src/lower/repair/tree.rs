//! Finds things in a syntax tree by their place.
//!
//! Input: a module's statements and byte ranges. Output: the calls, classes and methods there. Limit: classes inside
//! functions are not looked into.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_text_size::Ranged;

use crate::python::Span;

/// All calls of a module, outer ones first.
pub(crate) fn calls(suite: &[Stmt]) -> Vec<&ExprCall> {
    struct Finder<'a>(Vec<&'a ExprCall>);
    impl<'a> Visitor<'a> for Finder<'a> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Call(call) = expr {
                self.0.push(call);
            }
            walk_expr(self, expr);
        }
    }
    let mut finder = Finder(Vec::new());
    suite.iter().for_each(|stmt| finder.visit_stmt(stmt));
    finder.0
}

/// The call at exactly this place.
pub(crate) fn call_at(suite: &[Stmt], span: Span) -> Option<&ExprCall> {
    calls(suite).into_iter().find(|call| Span::from(call.range()) == span)
}

/// The call of the function expression at exactly this place.
pub(crate) fn call_of(suite: &[Stmt], function: Span) -> Option<&ExprCall> {
    calls(suite).into_iter().find(|call| Span::from(call.func.range()) == function)
}

/// Whether the expression at this place is an argument of `Sequential(...)`.
pub(crate) fn in_sequential(suite: &[Stmt], span: Span) -> bool {
    calls(suite).into_iter().any(|call| {
        last_name(&call.func) == Some("Sequential")
            && call.arguments.args.iter().any(|arg| Span::from(arg.range()) == span)
    })
}

/// `Conv2d` of `nn.Conv2d`.
pub(crate) fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

/// The class at module level that contains this place.
pub(crate) fn class_around(suite: &[Stmt], span: Span) -> Option<&StmtClassDef> {
    suite.iter().find_map(|stmt| match stmt {
        Stmt::ClassDef(class) => {
            let range = Span::from(class.range);
            (range.start <= span.start && span.end <= range.end).then_some(class)
        }
        _ => None,
    })
}

/// The class at module level of this name.
pub(crate) fn class_named<'a>(suite: &'a [Stmt], name: &str) -> Option<&'a StmtClassDef> {
    suite.iter().rev().find_map(|stmt| match stmt {
        Stmt::ClassDef(class) if class.name.as_str() == name => Some(class),
        _ => None,
    })
}

/// A method of a class.
pub(crate) fn method<'a>(class: &'a StmtClassDef, name: &str) -> Option<&'a StmtFunctionDef> {
    class.body.iter().rev().find_map(|stmt| match stmt {
        Stmt::FunctionDef(def) if def.name.as_str() == name => Some(def),
        _ => None,
    })
}

/// Values of the `return` statements of a function, leaving out functions inside it.
pub(crate) fn returns(def: &StmtFunctionDef) -> Vec<&Expr> {
    struct Finder<'a>(Vec<&'a Expr>);
    impl<'a> Visitor<'a> for Finder<'a> {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            match stmt {
                Stmt::Return(stmt) => self.0.extend(stmt.value.as_deref()),
                Stmt::FunctionDef(_) | Stmt::ClassDef(_) => {}
                _ => walk_stmt(self, stmt),
            }
        }
    }
    let mut finder = Finder(Vec::new());
    def.body.iter().for_each(|stmt| finder.visit_stmt(stmt));
    finder.0
}

/// Where a line can be appended to a function's body, and the indentation it needs.
pub(crate) fn end_of_body(source: &str, def: &StmtFunctionDef) -> Option<(u32, String)> {
    let last = def.body.last()?;
    let start = Span::from(last.range()).start as usize;
    let line = source.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let indent = source.get(line..start)?;
    if !indent.chars().all(char::is_whitespace) {
        return None;
    }
    Some((Span::from(last.range()).end, indent.to_owned()))
}

/// Where `import` lines can be put: after a docstring and `from __future__` lines.
pub(crate) fn import_place(suite: &[Stmt]) -> u32 {
    suite
        .iter()
        .find(|stmt| match stmt {
            Stmt::Expr(stmt) => !matches!(&*stmt.value, Expr::StringLiteral(_)),
            Stmt::ImportFrom(stmt) => stmt.module.as_ref().is_none_or(|name| name.as_str() != "__future__"),
            _ => true,
        })
        .map_or(0, |stmt| Span::from(stmt.range()).start)
}

/// Whether `import torch` stands at module level.
pub(crate) fn imports_torch(suite: &[Stmt]) -> bool {
    suite.iter().any(|stmt| match stmt {
        Stmt::Import(stmt) => {
            stmt.names.iter().any(|alias| alias.name.as_str() == "torch" && alias.asname.is_none())
        }
        _ => false,
    })
}

/// A name of the form `stem`, `stem_2`, ... that the source does not contain.
pub(crate) fn fresh(source: &str, stem: &str) -> String {
    let mut name = stem.to_owned();
    let mut number = 2;
    while source.contains(&name) {
        name = format!("{stem}_{number}");
        number += 1;
    }
    name
}
