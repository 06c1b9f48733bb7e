//! `raise`, `try` and `with`.
//!
//! Input: the statements. Output: Python exceptions raised and caught. Limit: what this program does not support and
//! what passes a limit is not an exception of Python's, and no `except` catches it; of context managers outside the
//! subset only `torch.no_grad()` has a meaning.

use std::rc::Rc;

use ruff_python_ast::{ExceptHandler, Expr, Stmt, StmtTry, WithItem};

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::builtins::CAUGHT;
use crate::lower::interp::imports::expects_failed_import;
use crate::lower::interp::managers::is_managed;
use crate::lower::interp::stmt::Flow;
use crate::lower::interp::{Args, Interp};
use crate::lower::value::Value;

/// Where an exception is caught.
pub(crate) struct Standing {
    frames: usize,
    depth: usize,
    path: usize,
}

impl Interp<'_> {
    pub(crate) fn standing(&self) -> Standing {
        Standing { frames: self.frames.len(), depth: self.depth, path: self.path.len() }
    }

    /// Leaves the calls that were running when an exception arose.
    pub(crate) fn unwind(&mut self, standing: &Standing) {
        self.frames.truncate(standing.frames);
        self.depth = standing.depth;
        self.path.truncate(standing.path);
    }

    pub(crate) fn raise(&mut self, exc: Option<&Expr>) -> R<Box<Raise>> {
        let Some(exc) = exc else {
            return match self.frame().handling.last() {
                Some(raise) => Ok(raise.clone()),
                None => Err(Raise::runtime("No active exception to reraise")),
            };
        };
        let mut value = self.eval(exc)?;
        if matches!(&value, Value::Class(class) if class.is_exception()) {
            value = self.call(&value, Args::default())?;
        }
        match &value {
            Value::Object(object) if object.class.is_exception() => {
                let message = self.str_of(&value)?;
                let kind = RaiseKind::Python {
                    class: object.class.name.to_string(),
                    message,
                    value: Some(value.clone()),
                };
                Ok(Raise::of(kind))
            }
            Value::Opaque(name) => Ok(Raise::python(name, "")),
            _ => Err(Raise::type_error("exceptions must derive from BaseException")),
        }
    }

    pub(crate) fn try_stmt(&mut self, stmt: &StmtTry) -> R<Flow> {
        let standing = self.standing();
        let expects = usize::from(expects_failed_import(stmt));
        self.expected_failures += expects;
        let body = self.exec_block(&stmt.body);
        self.expected_failures -= expects;
        let result = match body {
            Ok(Flow::Next) => self.exec_block(&stmt.orelse),
            Ok(flow) => Ok(flow),
            Err(raise) if raise.class().is_some() => {
                self.unwind(&standing);
                self.tick(CAUGHT)?;
                self.handle(stmt, raise)
            }
            Err(raise) => return Err(raise),
        };
        match self.exec_block(&stmt.finalbody)? {
            Flow::Next => result,
            flow => Ok(flow),
        }
    }

    /// `with` these context managers, from the first on.
    pub(crate) fn with_items(&mut self, items: &[WithItem], body: &[Stmt]) -> R<Flow> {
        let Some((item, rest)) = items.split_first() else { return self.exec_block(body) };
        let manager = self.eval(&item.context_expr)?;
        if is_managed(&manager) {
            return self.with_generator(&manager, item, rest, body);
        }
        let without_grad = self.no_grad;
        self.no_grad = gradients(&manager).map_or(without_grad, |grads| !grads);
        let result = self.with_manager(&manager, item, rest, body);
        self.no_grad = without_grad;
        result
    }

    fn with_manager(
        &mut self,
        manager: &Value,
        item: &WithItem,
        rest: &[WithItem],
        body: &[Stmt],
    ) -> R<Flow> {
        let exit = match manager {
            Value::Object(object) => {
                let (enter, exit) = (
                    self.class_attr(&object.class, "__enter__", None),
                    self.class_attr(&object.class, "__exit__", None),
                );
                let (Some(enter), Some(exit)) = (enter, exit) else {
                    return Err(Raise::type_error(format!(
                        "'{}' object does not support the context manager protocol",
                        object.class.name
                    )));
                };
                let entered = self.call(&enter, Args::of(vec![manager.clone()]))?;
                if let Some(target) = &item.optional_vars {
                    self.assign(target, entered)?;
                }
                Some(exit)
            }
            Value::Opaque(_) => {
                if let Some(target) = &item.optional_vars {
                    self.assign(target, manager.clone())?;
                }
                None
            }
            other => {
                return Err(Raise::type_error(format!(
                    "'{}' object does not support the context manager protocol",
                    other.type_name()
                )));
            }
        };
        let standing = self.standing();
        let result = self.with_items(rest, body);
        let Some(exit) = exit else { return result };
        let raised = match &result {
            Err(raise) if raise.class().is_none() => return result,
            Err(raise) => {
                self.unwind(&standing);
                let value = self.exception_value(raise)?;
                vec![self.type_of(&value)?, value, Value::None]
            }
            Ok(_) => vec![Value::None; 3],
        };
        let failed = result.is_err();
        let swallowed = self.call(&exit, Args::of(raised).prepend(manager.clone()))?;
        if failed && self.truth(&swallowed)? {
            return Ok(Flow::Next);
        }
        result
    }

    fn handle(&mut self, stmt: &StmtTry, raise: Box<Raise>) -> R<Flow> {
        for handler in &stmt.handlers {
            let ExceptHandler::ExceptHandler(handler) = handler;
            let caught = match &handler.type_ {
                None => true,
                Some(types) => {
                    let types = self.eval(types)?;
                    self.catches(&types, &raise)?
                }
            };
            if !caught {
                continue;
            }
            if let Some(name) = &handler.name {
                let value = self.exception_value(&raise)?;
                self.set_name(name.as_str(), value)?;
            }
            self.frame().handling.push(raise);
            let result = self.exec_block(&handler.body);
            self.frame().handling.pop();
            return result;
        }
        Err(raise)
    }

    fn catches(&mut self, types: &Value, raise: &Raise) -> R<bool> {
        let Some(class) = raise.class() else { return Ok(false) };
        match types {
            Value::Tuple(tuple) => {
                for item in &tuple.items {
                    if self.catches(item, raise)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Class(wanted) => {
                if let RaiseKind::Python { value: Some(Value::Object(object)), .. } = &raise.kind {
                    return Ok(object.class.lineage().any(|class| Rc::ptr_eq(class, wanted)));
                }
                let raised = match crate::lower::interp::types::exception(class) {
                    Some(name) => self.class(name)?,
                    None => self.class("Exception")?,
                };
                Ok(raised.lineage().any(|class| Rc::ptr_eq(class, wanted)))
            }
            _ => Ok(false),
        }
    }

    fn exception_value(&mut self, raise: &Raise) -> R<Value> {
        match &raise.kind {
            RaiseKind::Python { value: Some(value), .. } => Ok(value.clone()),
            RaiseKind::Python { class, message, .. } => {
                let class =
                    self.class(crate::lower::interp::types::exception(class).unwrap_or("Exception"))?;
                self.call(&Value::Class(class), Args::of(vec![Value::str(message)]))
            }
            _ => Ok(Value::None),
        }
    }
}

/// Whether there are gradients within a context, where it says so.
pub(crate) fn gradients(manager: &Value) -> Option<bool> {
    let Value::Opaque(name) = manager else { return None };
    match &**name {
        "torch.enable_grad()" | "torch.set_grad_enabled(True)" => Some(true),
        "torch.no_grad()" | "torch.inference_mode()" | "torch.set_grad_enabled(False)" => Some(false),
        _ => None,
    }
}
