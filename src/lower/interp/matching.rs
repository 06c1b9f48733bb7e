//! `match` statements.
//!
//! Input: the statement. Output: the block of the first case whose pattern fits, with its names bound. Limit: a class
//! pattern with positional parts is read for built-in types, named tuples and dataclasses, not through
//! `__match_args__`.

use std::rc::Rc;

use ruff_python_ast::{Pattern, Singleton, StmtMatch};

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::interp::compare::is;
use crate::lower::interp::stmt::Flow;
use crate::lower::value::{Native, Value};

impl Interp<'_> {
    pub(crate) fn match_stmt(&mut self, stmt: &StmtMatch) -> R<Flow> {
        let subject = self.eval(&stmt.subject)?;
        for case in &stmt.cases {
            if !self.fits(&case.pattern, &subject)? {
                continue;
            }
            if let Some(guard) = &case.guard {
                let guard = self.eval(guard)?;
                if !self.truth(&guard)? {
                    continue;
                }
            }
            return self.exec_block(&case.body);
        }
        Ok(Flow::Next)
    }

    fn fits(&mut self, pattern: &Pattern, value: &Value) -> R<bool> {
        self.tick(1)?;
        self.deeper(|this| this.fits_inner(pattern, value))
    }

    fn fits_inner(&mut self, pattern: &Pattern, value: &Value) -> R<bool> {
        match pattern {
            Pattern::MatchValue(pattern) => {
                let wanted = self.eval(&pattern.value)?;
                self.equal(value, &wanted)
            }
            Pattern::MatchSingleton(pattern) => Ok(match pattern.value {
                Singleton::None => value.is_none(),
                Singleton::True => is(value, &Value::Bool(true)),
                Singleton::False => is(value, &Value::Bool(false)),
            }),
            Pattern::MatchSequence(pattern) => {
                if !matches!(value, Value::List(_) | Value::Tuple(_) | Value::Range(..)) {
                    return Ok(false);
                }
                let items = self.iterate(value)?;
                self.fits_sequence(&pattern.patterns, &items)
            }
            Pattern::MatchMapping(pattern) => {
                let Value::Dict(dict) = value else { return Ok(false) };
                let mut rest = dict.borrow().entries().to_vec();
                self.tick(rest.len())?;
                for (key, part) in pattern.keys.iter().zip(&pattern.patterns) {
                    let key = self.eval(key)?;
                    let key = self.key(&key)?;
                    let Some(found) = dict.borrow().get(&key).cloned() else { return Ok(false) };
                    if !self.fits(part, &found)? {
                        return Ok(false);
                    }
                    let mut kept = Vec::with_capacity(rest.len());
                    for entry in rest {
                        if self.key(&entry.0)? != key {
                            kept.push(entry);
                        }
                    }
                    rest = kept;
                }
                if let Some(name) = &pattern.rest {
                    let rest = self.dict(rest)?;
                    self.set_name(name.as_str(), rest)?;
                }
                Ok(true)
            }
            Pattern::MatchClass(pattern) => {
                let class = self.eval(&pattern.cls)?;
                if !self.is_instance(value, &class)? {
                    return Ok(false);
                }
                let Value::Class(class) = class else { return Ok(false) };
                let positional = &pattern.arguments.patterns;
                if let (Native::Type, [part]) = (class.native, &positional[..]) {
                    return self.fits(part, value);
                }
                let fields: Vec<Rc<str>> = class.fields.borrow().clone();
                if positional.len() > fields.len() {
                    return Err(Raise::unsupported("a class pattern with these parts is not supported"));
                }
                let named = pattern.arguments.keywords.iter().map(|part| (part.attr.as_str(), &part.pattern));
                let parts = fields.iter().map(|name| &**name).zip(positional).chain(named);
                for (name, part) in parts {
                    let found = match self.get_attr(value, name) {
                        Ok(found) => found,
                        Err(raise) if raise.class() == Some("AttributeError") => return Ok(false),
                        Err(raise) => return Err(raise),
                    };
                    if !self.fits(part, &found)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Pattern::MatchStar(_) => Err(Raise::python("SyntaxError", "star pattern outside a sequence")),
            Pattern::MatchAs(pattern) => {
                if let Some(inner) = &pattern.pattern
                    && !self.fits(inner, value)?
                {
                    return Ok(false);
                }
                if let Some(name) = &pattern.name {
                    self.set_name(name.as_str(), value.clone())?;
                }
                Ok(true)
            }
            Pattern::MatchOr(pattern) => {
                for option in &pattern.patterns {
                    if self.fits(option, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn fits_sequence(&mut self, patterns: &[Pattern], items: &[Value]) -> R<bool> {
        let star = patterns.iter().position(|pattern| matches!(pattern, Pattern::MatchStar(_)));
        let fixed = patterns.len() - usize::from(star.is_some());
        if items.len() < fixed || (star.is_none() && items.len() > fixed) {
            return Ok(false);
        }
        let extra = items.len() - fixed;
        let mut at = 0;
        for pattern in patterns {
            if let Pattern::MatchStar(star) = pattern {
                if let Some(name) = &star.name {
                    let middle = self.list(items[at..at + extra].to_vec())?;
                    self.set_name(name.as_str(), middle)?;
                }
                at += extra;
                continue;
            }
            if !self.fits(pattern, &items[at])? {
                return Ok(false);
            }
            at += 1;
        }
        Ok(true)
    }
}
