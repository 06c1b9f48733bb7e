//! `functools.lru_cache` and `cache`: what a function gave for these arguments is given again, the same layer.
//!
//! Input: a function of the source and calls of it. Output: its results, each made once; beyond `maxsize` those that
//! were not asked for longest are forgotten. Limit: functions of the source; `typed` is not looked at, so 1 and 1.0 are
//! the same argument.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp};
use crate::lower::value::{Builtin, Function, Value};

/// Attributes of a function that keeps its results: these by its arguments, and how many.
const RESULTS: &str = "<results>";
const MOST: &str = "<most>";

static KEEPS: Builtin = Builtin {
    name: "lru_cache",
    signature: "most, function",
    run: |this, args| keep(this, &args.get("function"), args.get("most")),
};

/// `lru_cache(maxsize)`, which waits for its function.
pub(crate) fn decorator(this: &mut Interp<'_>, most: Value) -> R<Value> {
    this.own(Value::Partial(Rc::new((Value::Builtin(&KEEPS), vec![most], Vec::new()))))
}

/// Make a function keep its results, at most so many; `None`: all.
pub(crate) fn keep(this: &mut Interp<'_>, function: &Value, most: Value) -> R<Value> {
    let Value::Function(inner) = function else {
        let message = format!("functools.lru_cache of a '{}' is not supported", function.type_name());
        return Err(Raise::unsupported(message));
    };
    if !matches!(most, Value::None | Value::Int(_)) {
        return Err(Raise::type_error("Expected first argument to be an integer, a callable, or None"));
    }
    let results = this.dict(Vec::new())?;
    let clear = this.own(Value::Method(Rc::new((results.clone(), Rc::from("clear")))))?;
    // The function itself keeps nothing.
    let kept = Function::clone(inner);
    let attributes =
        [(RESULTS, results), (MOST, most), ("cache_clear", clear), ("__wrapped__", function.clone())];
    kept.attrs.borrow_mut().extend(attributes.map(|(name, value)| (Rc::from(name), value)));
    this.own(Value::Function(Rc::new(kept)))
}

impl Interp<'_> {
    /// Calls a function of the source, unless it keeps what it gave for these arguments.
    pub(super) fn call_or_recall(&mut self, function: &Rc<Function>, args: Args) -> R<Value> {
        let Some(Value::Dict(results)) = function.attrs.borrow().get(RESULTS).cloned() else {
            return self.deeper(|this| this.call_function(function, args));
        };
        let mut asked = args.positional.clone();
        for (name, value) in &args.named {
            asked.extend([Value::Ellipsis, Value::Str(Rc::clone(name)), value.clone()]);
        }
        let asked = self.tuple(asked)?;
        let key = self.key(&asked)?;
        let known = results.borrow_mut().remove(&key);
        self.tick(results.borrow().len() / 16)?;
        let result = match known {
            Some(result) => result,
            None => self.deeper(|this| this.call_function(function, args))?,
        };
        results.borrow_mut().insert(key, asked, result.clone());
        if let Some(Value::Int(most)) = function.attrs.borrow().get(MOST)
            && i64::try_from(results.borrow().len()).is_ok_and(|length| length > (*most).max(0))
        {
            let oldest = results.borrow().entries().first().map(|(asked, _)| self.key(asked)).transpose()?;
            oldest.and_then(|oldest| results.borrow_mut().remove(&oldest));
        }
        Ok(result)
    }
}
