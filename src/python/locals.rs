//! The names that are local to a function: those that its body binds anywhere and does not declare otherwise.
//!
//! Input: a body. Output: names, its parameters left out. As in
//! <https://docs.python.org/3/reference/executionmodel.html#binding-of-names>; what comprehensions bind is theirs, but
//! for `:=`.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_except_handler, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{Comprehension, ExceptHandler, Expr, Identifier, Pattern, Stmt};

/// The names that a function with this body has for itself.
pub fn local_names(body: &[Stmt]) -> BTreeSet<String> {
    let mut names = Names::default();
    names.visit_body(body);
    names.bound.retain(|name| !names.declared.contains(name));
    names.bound
}

#[derive(Default)]
struct Names {
    bound: BTreeSet<String>,
    /// Declared `global` or `nonlocal`.
    declared: BTreeSet<String>,
}

impl Names {
    fn bind(&mut self, name: &Identifier) {
        self.bound.insert(name.to_string());
    }
}

impl<'a> Visitor<'a> for Names {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            // Their bodies have names of their own.
            Stmt::FunctionDef(def) => self.bind(&def.name),
            Stmt::ClassDef(def) => self.bind(&def.name),
            Stmt::Global(stmt) => self.declared.extend(stmt.names.iter().map(ToString::to_string)),
            Stmt::Nonlocal(stmt) => self.declared.extend(stmt.names.iter().map(ToString::to_string)),
            Stmt::Import(stmt) => {
                for alias in &stmt.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    // `import a.b` binds `a`.
                    self.bound.extend(name.split('.').next().map(ToOwned::to_owned));
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
            Expr::Name(name) if !name.ctx.is_load() => _ = self.bound.insert(name.id.to_string()),
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
