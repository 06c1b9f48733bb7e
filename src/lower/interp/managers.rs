//! Generators as context managers: what `contextlib.contextmanager` makes of a function that yields once.
//!
//! Input: such a manager and the body of its `with`. Output: how the body ended. A generator runs to its end when it is
//! called, so the body runs where the generator yields, in the frame of the `with`: an exception of the body arises at
//! the `yield`, as in Python. Limit: the body is copied, which counts as steps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ruff_python_ast::{Expr, Stmt, WithItem};

use crate::lower::error::{R, Raise};
use crate::lower::interp::stmt::Flow;
use crate::lower::interp::{Args, Interp};
use crate::lower::value::Value;

/// The class of `contextlib`'s managers, in `python/library.py` as in CPython.
const CLASS: &str = "_GeneratorContextManager";

/// A `with` whose body waits for its generator to yield.
pub(crate) struct Managed {
    /// Frames of the `with`; those above are the generator's.
    frames: usize,
    target: Option<Expr>,
    rest: Vec<WithItem>,
    body: Vec<Stmt>,
    yielded: Cell<bool>,
    /// How the body ended, where it did without an exception.
    flow: RefCell<Option<Flow>>,
}

/// Whether a value is a generator's manager.
pub(crate) fn is_managed(value: &Value) -> bool {
    matches!(value, Value::Object(object) if &*object.class.name == CLASS)
}

impl Interp<'_> {
    /// `with manager as target:` with the items and the body that follow.
    pub(crate) fn with_generator(
        &mut self,
        manager: &Value,
        item: &WithItem,
        rest: &[WithItem],
        body: &[Stmt],
    ) -> R<Flow> {
        self.tick(16 * (1 + rest.len() + body.len()))?;
        let managed = Rc::new(Managed {
            frames: self.frames.len(),
            target: item.optional_vars.as_deref().cloned(),
            rest: rest.to_vec(),
            body: body.to_vec(),
            yielded: Cell::new(false),
            flow: RefCell::new(None),
        });
        let start = self.get_attr(manager, "_start")?;
        let before = self.starting.replace(Rc::clone(&managed));
        let result = self.call(&start, Args::default());
        self.starting = before;
        result?;
        if !managed.yielded.get() {
            return Err(Raise::runtime("generator didn't yield"));
        }
        // A body that raised what its generator caught is done.
        Ok(managed.flow.take().unwrap_or(Flow::Next))
    }

    /// The body of a `with`, where its generator yields `value`.
    pub(crate) fn yield_to(&mut self, managed: &Rc<Managed>, value: Value) -> R<Value> {
        if managed.yielded.replace(true) {
            return Err(Raise::runtime("generator didn't stop"));
        }
        let generators = self.frames.split_off(managed.frames.min(self.frames.len()));
        let standing = self.standing();
        let assigned = managed.target.as_ref().map_or(Ok(()), |target| self.assign(target, value));
        let body = |this: &mut Self| this.with_items(&managed.rest, &managed.body);
        let result = assigned.and_then(|()| self.deeper(body));
        if matches!(&result, Err(raise) if raise.class().is_none()) {
            return result.map(|_| Value::None);
        }
        self.unwind(&standing);
        self.frames.extend(generators);
        *managed.flow.borrow_mut() = Some(result?);
        Ok(Value::None)
    }
}
