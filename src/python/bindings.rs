//! What a block of the program binds and declares, without the blocks in it.
//!
//! Input: a body. Output: names, its parameters left out. As in
//! <https://docs.python.org/3/reference/executionmodel.html#binding-of-names>; what comprehensions bind is theirs, but
//! for `:=`.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_except_handler, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{Comprehension, ExceptHandler, Expr, Pattern, Stmt};
use ruff_text_size::TextRange;

/// The names that a function with this body has for itself, whether they have a value or not.
pub fn local_names(body: &[Stmt]) -> BTreeSet<String> {
    let Bindings { mut bound, globals, nonlocals } = Bindings::of(body);
    bound.retain(|name| !globals.contains_key(name) && !nonlocals.contains(name));
    bound
}

/// What a block binds, and what it declares to be bound elsewhere.
#[derive(Default)]
pub(super) struct Bindings {
    pub(super) bound: BTreeSet<String>,
    /// Names declared `global`, and where.
    pub(super) globals: BTreeMap<String, TextRange>,
    nonlocals: BTreeSet<String>,
}

impl Bindings {
    pub(super) fn of(body: &[Stmt]) -> Bindings {
        let mut bindings = Bindings::default();
        bindings.visit_body(body);
        bindings
    }

    fn bind(&mut self, name: &str) {
        self.bound.insert(name.to_owned());
    }
}

impl<'a> Visitor<'a> for Bindings {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => self.bind(&def.name),
            Stmt::ClassDef(def) => self.bind(&def.name),
            Stmt::Global(stmt) => {
                self.globals.extend(stmt.names.iter().map(|name| (name.to_string(), stmt.range)));
            }
            Stmt::Nonlocal(stmt) => self.nonlocals.extend(stmt.names.iter().map(ToString::to_string)),
            Stmt::Import(stmt) => {
                for alias in &stmt.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    // `import a.b` binds `a`.
                    self.bind(name.split('.').next().unwrap_or(name));
                }
            }
            Stmt::ImportFrom(stmt) => {
                stmt.names.iter().for_each(|alias| self.bind(alias.asname.as_ref().unwrap_or(&alias.name)));
            }
            _ => walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if !name.ctx.is_load() => self.bind(&name.id),
            Expr::Lambda(_) => {}
            _ => walk_expr(self, expr),
        }
    }

    fn visit_comprehension(&mut self, comprehension: &'a Comprehension) {
        // Without its target.
        self.visit_expr(&comprehension.iter);
        comprehension.ifs.iter().for_each(|test| self.visit_expr(test));
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(clause) = handler;
        if let Some(name) = &clause.name {
            self.bind(name);
        }
        walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(pattern) => pattern.name.as_ref(),
            Pattern::MatchStar(pattern) => pattern.name.as_ref(),
            Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name);
        }
        walk_pattern(self, pattern);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    /// The names, in alphabetical order.
    fn names(body: &str) -> String {
        let suite = crate::python::parse_module(body).unwrap();
        Vec::from_iter(local_names(&suite)).join(" ")
    }

    #[test]
    fn what_a_body_binds_is_local_unless_it_is_declared_otherwise() {
        for (body, expected) in [
            ("a = b\nc, (d, *e) = f\ng += 1\nh: int\nx.y = z[0] = 1", "a c d e g h"),
            ("for i in r:\n    with o as w: del q", "i q w"),
            ("try:\n    import a.b, c as d\nexcept E as e:\n    from f import g, h as k", "a d e g k"),
            ("def f(p=1):\n    inner = 1\nclass C:\n    field = 2", "C f"),
            ("global a\na = b = 1\ndef f():\n    nonlocal b", "b f"),
            ("x = [y for y in z if (w := y)]\ng = lambda p: p", "g w x"),
            ("y = 1\nx = {y: v for y, v in z}", "x y"),
            ("match a:\n    case [b, *c]: pass\n    case {'k': d, **e} | (Z() as f): pass", "b c d e f"),
        ] {
            assert_eq!(names(body), expected, "{body}");
        }
    }
}
