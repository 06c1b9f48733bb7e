//! Statements of the Python subset.
//!
//! Input: syntax trees of statements. Output: changed names, and how control flow goes on. Limit: `async` and
//! `del` of anything but names, items and attributes are refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{Expr, Stmt, StmtFor, StmtIf};
use ruff_text_size::Ranged;

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::annotations::{are_deferred, outermost};
use crate::lower::interp::exceptions::gradients;
use crate::lower::interp::generators::{Part, block_of};
use crate::lower::interp::{Frame, Interp};
use crate::lower::value::{Module, Value};
use crate::python::Span;

/// How control flow goes on after a statement.
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

impl Interp<'_> {
    /// Run a module's statements.
    pub(crate) fn run_module(&mut self, module: &Rc<Module>, suite: &[Stmt]) -> R<()> {
        if module.main {
            self.deferred_annotations = are_deferred(suite);
        }
        self.frames.push(Frame {
            scope: Rc::clone(&module.scope),
            module: Rc::clone(module),
            method: None,
            argument_spans: BTreeMap::new(),
            yields: None,
            manages: None,
            handling: Vec::new(),
        });
        let result = self.run_top_level(suite);
        self.frames.pop();
        result
    }

    /// Statements at module level: what is outside the subset only matters once it is used.
    fn run_top_level(&mut self, suite: &[Stmt]) -> R<()> {
        // What stands behind the last definition uses the network, or trains it.
        let last = suite.iter().rposition(|stmt| matches!(stmt, Stmt::ClassDef(_) | Stmt::FunctionDef(_)));
        for (at, stmt) in suite.iter().enumerate() {
            match self.exec(stmt) {
                Ok(_) => {}
                Err(raise)
                    if matches!(raise.kind, RaiseKind::Unsupported(_))
                        && (binds_names_only(stmt) || last.is_none_or(|last| at > last)) =>
                {
                    for name in assigned_names(stmt) {
                        let value = Value::Opaque(Rc::clone(&name));
                        self.frame().scope.names.borrow_mut().insert(name, value);
                    }
                }
                Err(raise) => return Err(raise),
            }
        }
        Ok(())
    }

    pub(crate) fn exec_block(&mut self, suite: &[Stmt]) -> R<Flow> {
        for stmt in suite {
            match self.exec(stmt)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn exec(&mut self, stmt: &Stmt) -> R<Flow> {
        self.tick(1)?;
        self.deeper(|this| this.exec_inner(stmt)).map_err(|raise| self.locate(raise, stmt.range().into()))
    }

    fn exec_inner(&mut self, stmt: &Stmt) -> R<Flow> {
        match stmt {
            Stmt::FunctionDef(def) => {
                let function = self.function(def)?;
                let value = self.decorate(function, &def.decorator_list)?;
                self.set_name(def.name.as_str(), value)?;
            }
            Stmt::ClassDef(def) => self.class_def(def)?,
            Stmt::Return(stmt) => {
                let value = match &stmt.value {
                    Some(value) => self.eval(value)?,
                    None => Value::None,
                };
                return Ok(Flow::Return(value));
            }
            Stmt::Delete(stmt) => {
                for target in &stmt.targets {
                    self.delete(target)?;
                }
            }
            Stmt::Assign(stmt) => {
                let value = self.eval(&stmt.value)?;
                for target in &stmt.targets {
                    self.assign(target, value.clone())?;
                }
            }
            Stmt::AugAssign(stmt) => self.augmented(stmt)?,
            Stmt::AnnAssign(stmt) => {
                if let Expr::Name(name) = &*stmt.target {
                    match outermost(&stmt.annotation).as_deref() {
                        // No field of a data class.
                        Some("ClassVar") => {}
                        Some("KW_ONLY") => self.note_annotation(Value::None)?,
                        Some("InitVar") if self.frame().scope.class_body => {
                            return Err(Raise::unsupported("dataclasses.InitVar is not supported"));
                        }
                        _ => self.note_annotation(Value::str(name.id.as_str()))?,
                    }
                }
                if let Some(value) = &stmt.value {
                    let value = self.eval(value)?;
                    self.assign(&stmt.target, value)?;
                }
                // Not evaluated in functions.
                let scope = Rc::clone(&self.frame().scope);
                if scope.class_body || Rc::ptr_eq(&scope, &self.frame().module.scope) {
                    self.annotation(&stmt.annotation)?;
                }
            }
            Stmt::For(stmt) => return self.for_loop(stmt),
            Stmt::While(stmt) => {
                loop {
                    self.tick(1)?;
                    let test = self.eval(&stmt.test)?;
                    if !self.truth(&test)? {
                        break;
                    }
                    match self.exec_block(&stmt.body)? {
                        Flow::Break => return Ok(Flow::Next),
                        Flow::Return(value) => return Ok(Flow::Return(value)),
                        Flow::Next | Flow::Continue => {}
                    }
                }
                return self.exec_block(&stmt.orelse);
            }
            Stmt::If(inner) => {
                if let Some(part) = self.branch(inner)? {
                    return self.exec_block(block_of(stmt, part));
                }
            }
            Stmt::With(stmt) => {
                return self.with_items(&stmt.items, &stmt.body);
            }
            Stmt::Raise(stmt) => return Err(self.raise(stmt.exc.as_deref())?),
            Stmt::Try(stmt) => return self.try_stmt(stmt),
            Stmt::Assert(stmt) => {
                let holds = match self.test(&stmt.test) {
                    // A check of what a pass computes; a network is one whose checks hold.
                    Err(raise) if raise.asks_values() => true,
                    holds => holds?,
                };
                if !holds {
                    let message = match &stmt.msg {
                        Some(message) => {
                            let message = self.eval(message)?;
                            self.str_of(&message)?
                        }
                        None => String::new(),
                    };
                    return Err(Raise::python("AssertionError", message));
                }
            }
            Stmt::Import(stmt) => {
                for alias in &stmt.names {
                    self.import_alias(alias.name.as_str(), alias.asname.as_ref().map(|name| name.as_str()))?;
                }
            }
            Stmt::ImportFrom(stmt) => self.import_from(stmt)?,
            Stmt::Global(stmt) => {
                for name in &stmt.names {
                    self.frame().scope.declared.borrow_mut().insert(Rc::from(name.as_str()), true);
                }
            }
            Stmt::Nonlocal(stmt) => {
                for name in &stmt.names {
                    self.frame().scope.declared.borrow_mut().insert(Rc::from(name.as_str()), false);
                }
            }
            Stmt::Expr(stmt) => match self.eval(&stmt.value) {
                Err(raise) if raise.asks_values() && self.prints(&stmt.value) => {}
                Ok(manager @ Value::Opaque(_)) if gradients(&manager) == Some(false) => {
                    let name = manager.type_name();
                    return Err(Raise::unsupported(format!("{name} outside a 'with' is not supported")));
                }
                result => {
                    result?;
                }
            },
            Stmt::Pass(_) | Stmt::TypeAlias(_) => {}
            Stmt::Break(_) => return Ok(Flow::Break),
            Stmt::Continue(_) => return Ok(Flow::Continue),
            Stmt::Match(stmt) => return self.match_stmt(stmt),
            Stmt::IpyEscapeCommand(_) => {
                return Err(Raise::unsupported("IPython commands are not supported"));
            }
        }
        Ok(Flow::Next)
    }

    /// The block of an `if` that is run, if one is.
    pub(super) fn branch(&mut self, stmt: &StmtIf) -> R<Option<Part>> {
        if self.checked(&stmt.test, &stmt.body)? {
            return Ok(Some(Part::Body));
        }
        for (at, clause) in stmt.elif_else_clauses.iter().enumerate() {
            let taken = match &clause.test {
                Some(test) => self.checked(test, &clause.body)?,
                None => true,
            };
            if taken {
                return Ok(Some(Part::Clause(at)));
            }
        }
        Ok(None)
    }

    pub(super) fn test(&mut self, test: &Expr) -> R<bool> {
        let test = self.eval(test)?;
        self.truth(&test)
    }

    /// The test of a branch. One on the values of a tensor whose body only raises or prints is a check, which holds.
    fn checked(&mut self, test: &Expr, body: &[Stmt]) -> R<bool> {
        match self.test(test) {
            Err(raise) if raise.asks_values() && self.only_checks(body) => Ok(false),
            taken => taken,
        }
    }

    fn only_checks(&mut self, body: &[Stmt]) -> bool {
        body.iter().all(|stmt| match stmt {
            Stmt::Raise(_) | Stmt::Pass(_) => true,
            Stmt::Expr(stmt) => self.prints(&stmt.value),
            _ => false,
        })
    }

    /// Whether an expression is a call of the built-in `print` or of `warnings.warn`.
    fn prints(&mut self, expr: &Expr) -> bool {
        let Expr::Call(call) = expr else { return false };
        let callee = match &*call.func {
            Expr::Name(name) => self.name(name.id.as_str()),
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(module) => match self.name(module.id.as_str()) {
                    Ok(module @ Value::Namespace(_)) => self.get_attr(&module, attribute.attr.as_str()),
                    other => other,
                },
                _ => return false,
            },
            _ => return false,
        };
        matches!(callee, Ok(Value::Builtin(builtin)) if matches!(builtin.name, "print" | "warn"))
    }

    fn for_loop(&mut self, stmt: &StmtFor) -> R<Flow> {
        let iterable = self.eval(&stmt.iter)?;
        let walk = self.iter(&iterable)?;
        while let Some(item) = self.next_of(&walk)? {
            if let Some(flow) = self.for_step(stmt, item)? {
                return Ok(flow);
            }
        }
        self.exec_block(&stmt.orelse)
    }

    /// One turn of a loop; `Some` where it ends the loop.
    fn for_step(&mut self, stmt: &StmtFor, item: Value) -> R<Option<Flow>> {
        self.assign(&stmt.target, item)?;
        Ok(match self.exec_block(&stmt.body)? {
            Flow::Break => Some(Flow::Next),
            Flow::Return(value) => Some(Flow::Return(value)),
            Flow::Next | Flow::Continue => None,
        })
    }

    /// Note the place in the main source that is being run.
    pub(crate) fn stand_at(&mut self, span: Span) {
        if self.frames.last().is_some_and(|frame| frame.module.main) {
            self.in_place.here = Some(span);
        }
    }

    /// Give an error its place, unless it has one.
    pub(crate) fn locate(&mut self, mut raise: Box<Raise>, span: Span) -> Box<Raise> {
        let Some(module) = self.frames.last().map(|frame| &frame.module) else { return raise };
        if raise.span.is_none() && module.main {
            raise.span = Some(span);
        }
        if raise.span.is_none()
            && raise.within.is_none()
            && let Some(text) = &module.text
        {
            raise.within = Some((Rc::clone(&module.name), Rc::clone(text), span.start));
        }
        raise
    }
}

/// Whether all that a statement does is to bind names, which stand for what is not supported where it fails. Any other
/// may change what the network is made of.
fn binds_names_only(stmt: &Stmt) -> bool {
    let is_name = |target: &Expr| matches!(target, Expr::Name(_));
    match stmt {
        Stmt::Import(_) | Stmt::ImportFrom(_) | Stmt::FunctionDef(_) | Stmt::ClassDef(_) | Stmt::Try(_) => {
            true
        }
        Stmt::Assign(stmt) => stmt.targets.iter().all(|target| match target {
            Expr::Tuple(tuple) => tuple.elts.iter().all(is_name),
            target => is_name(target),
        }),
        Stmt::AnnAssign(stmt) => is_name(&stmt.target),
        // `if torch.cuda.is_available():`, `if __name__ == "__main__":`
        Stmt::If(stmt) => {
            let clauses = stmt.elif_else_clauses.iter().map(|clause| &clause.body);
            std::iter::once(&stmt.body).chain(clauses).flatten().all(binds_names_only)
        }
        _ => false,
    }
}

/// Names that a statement would have bound.
fn assigned_names(stmt: &Stmt) -> Vec<Rc<str>> {
    fn targets(expr: &Expr, names: &mut Vec<Rc<str>>) {
        match expr {
            Expr::Name(name) => names.push(Rc::from(name.id.as_str())),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|item| targets(item, names)),
            Expr::List(list) => list.elts.iter().for_each(|item| targets(item, names)),
            Expr::Starred(starred) => targets(&starred.value, names),
            _ => {}
        }
    }
    let within = |suite: &[Stmt], names: &mut Vec<Rc<str>>| {
        suite.iter().for_each(|stmt| names.extend(assigned_names(stmt)));
    };
    let mut names = Vec::new();
    match stmt {
        Stmt::Assign(stmt) => stmt.targets.iter().for_each(|target| targets(target, &mut names)),
        Stmt::AnnAssign(stmt) => targets(&stmt.target, &mut names),
        Stmt::AugAssign(stmt) => targets(&stmt.target, &mut names),
        Stmt::ClassDef(def) => names.push(Rc::from(def.name.as_str())),
        Stmt::FunctionDef(def) => names.push(Rc::from(def.name.as_str())),
        Stmt::For(stmt) => {
            targets(&stmt.target, &mut names);
            within(&stmt.body, &mut names);
        }
        Stmt::With(stmt) => within(&stmt.body, &mut names),
        Stmt::Try(stmt) => within(&stmt.body, &mut names),
        Stmt::If(stmt) => {
            within(&stmt.body, &mut names);
            stmt.elif_else_clauses.iter().for_each(|clause| within(&clause.body, &mut names));
        }
        _ => {}
    }
    names
}
