//! Private names of classes: `__name` in the body of `class Net` becomes `_Net__name`, as Python compiles it.
//!
//! Input: a syntax tree. Output: the same tree with the names that Python gives them; the places in the text stay those
//! of what is written. Reference: "Private name mangling", Python language reference, 6.2.1. Limit: an import
//! without `as`, names that patterns bind and type parameters stay as they are.

use std::cell::RefCell;

use ruff_python_ast::name::Name;
use ruff_python_ast::visitor::transformer::{
    Transformer, walk_body, walk_except_handler, walk_expr, walk_parameter, walk_stmt,
};
use ruff_python_ast::{Alias, ExceptHandler, Expr, Identifier, Parameter, Stmt};

/// Gives private names in class bodies their compiled form.
pub(super) fn mangle(suite: &mut [Stmt]) {
    walk_body(&Mangler::default(), suite);
}

/// The names of the classes around, the innermost last, without their leading underscores.
#[derive(Default)]
struct Mangler {
    classes: RefCell<Vec<String>>,
}

impl Mangler {
    fn mangled(&self, name: &str) -> Option<Name> {
        if !name.starts_with("__") || name.ends_with("__") {
            return None;
        }
        let classes = self.classes.borrow();
        let class = classes.last().filter(|class| !class.is_empty())?;
        Some(Name::from(format!("_{class}{name}")))
    }

    fn identifier(&self, identifier: &mut Identifier) {
        if let Some(mangled) = self.mangled(&identifier.id) {
            identifier.id = mangled;
        }
    }
}

impl Transformer for Mangler {
    fn visit_stmt(&self, stmt: &mut Stmt) {
        match stmt {
            Stmt::ClassDef(def) => {
                let class = def.name.trim_start_matches('_').to_owned();
                self.identifier(&mut def.name);
                let body = std::mem::take(&mut def.body);
                // Bases and decorators are outside the class.
                walk_stmt(self, stmt);
                let Stmt::ClassDef(def) = stmt else { return };
                def.body = body;
                self.classes.borrow_mut().push(class);
                walk_body(self, &mut def.body);
                self.classes.borrow_mut().pop();
                return;
            }
            Stmt::FunctionDef(def) => self.identifier(&mut def.name),
            Stmt::Global(global) => global.names.iter_mut().for_each(|name| self.identifier(name)),
            Stmt::Nonlocal(nonlocal) => nonlocal.names.iter_mut().for_each(|name| self.identifier(name)),
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&self, expr: &mut Expr) {
        match expr {
            Expr::Name(name) => {
                if let Some(mangled) = self.mangled(&name.id) {
                    name.id = mangled;
                }
            }
            Expr::Attribute(attribute) => self.identifier(&mut attribute.attr),
            _ => {}
        }
        walk_expr(self, expr);
    }

    fn visit_alias(&self, alias: &mut Alias) {
        if let Some(name) = &mut alias.asname {
            self.identifier(name);
        }
    }

    fn visit_except_handler(&self, handler: &mut ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &mut inner.name {
            self.identifier(name);
        }
        walk_except_handler(self, handler);
    }

    fn visit_parameter(&self, parameter: &mut Parameter) {
        self.identifier(&mut parameter.name);
        walk_parameter(self, parameter);
    }
}
