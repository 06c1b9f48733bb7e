//! Iterators, which run as far as they are asked: generator expressions and what `iter`, `map` and their like give.
//!
//! Input: what is walked over, and the functions and expressions on the way. Output: one item at a time. Limit:
//! dictionaries and sets are walked as they were when the walk began.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{Comprehension, Expr, ExprGenerator};

use crate::lower::error::{R, Raise};
use crate::lower::interp::generators::Suspended;
use crate::lower::interp::{Args, Frame, Interp};
use crate::lower::value::{Class, Module, Scope, Value};
use crate::python::Span;

/// An iterator: the name that `type()` shows, and what it gives.
pub(crate) struct Iter {
    pub(crate) kind: &'static str,
    source: RefCell<Source>,
}

/// Where the items of an iterator come from.
pub(crate) enum Source {
    Ended,
    /// It is being asked for its next item.
    Running,
    Items(std::vec::IntoIter<Value>),
    /// A list, which may grow while it is walked, and the next place in it.
    List(Rc<RefCell<Vec<Value>>>, usize),
    /// The next number, the end, and the step.
    Range(i64, i64, i64),
    /// The `__next__` of an object.
    Next(Value),
    Expression(Box<Expression>),
    Function(Box<Suspended>),
    Map(Value, Vec<Rc<Iter>>),
    /// `itertools.starmap`.
    StarMap(Value, Rc<Iter>),
    Filter(Value, Rc<Iter>),
    Enumerate(i64, Rc<Iter>),
    Zip {
        columns: Vec<Rc<Iter>>,
        strict: bool,
    },
    /// What is walked one after the other, and that which is walked now.
    Chain(Rc<Iter>, Option<Rc<Iter>>),
    /// `itertools.islice`: how many are passed over first, at which place it ends, the step, and what it takes from.
    Part {
        skip: u64,
        left: Option<u64>,
        step: u64,
        from: Rc<Iter>,
    },
    /// What a function gives, up to a value.
    Until(Value, Value),
    /// `itertools.repeat` without an end.
    Repeat(Value),
}

/// A generator expression on its way.
pub(crate) struct Expression {
    code: Rc<ExprGenerator>,
    scope: Rc<Scope>,
    /// The names of the function that it stands in.
    function: Rc<Scope>,
    module: Rc<Module>,
    method: Option<(Rc<Class>, Value)>,
    argument_spans: BTreeMap<Rc<str>, Span>,
    walks: Vec<Rc<Iter>>,
}

impl Iter {
    pub(crate) fn new(kind: &'static str, source: Source) -> Iter {
        Iter { kind, source: RefCell::new(source) }
    }

    /// Forget what is left.
    pub(crate) fn end(&self) {
        self.source.replace(Source::Ended);
    }
}

impl Interp<'_> {
    /// An iterator as a value.
    pub(crate) fn iterator_of(&mut self, kind: &'static str, source: Source) -> R<Value> {
        self.tick(1)?;
        self.own(Value::Iter(Rc::new(Iter::new(kind, source))))
    }

    /// Python's `iter`.
    pub(crate) fn iter(&mut self, value: &Value) -> R<Rc<Iter>> {
        let (kind, source) = match value {
            Value::Iter(iter) => return Ok(Rc::clone(iter)),
            Value::List(items) => ("list_iterator", Source::List(Rc::clone(items), 0)),
            Value::Range(start, stop, step) => ("range_iterator", Source::Range(*start, *stop, *step)),
            Value::Object(object) => match self.class_attr(&object.class, "__iter__", None) {
                Some(method) => match self.call(&method, Args::of(vec![value.clone()]))? {
                    walker @ Value::Object(_) => {
                        ("iterator", Source::Next(self.get_attr(&walker, "__next__")?))
                    }
                    Value::Iter(iter) => return Ok(iter),
                    Value::Opaque(name) => {
                        return Err(Raise::unsupported(format!("'{name}' is not supported")));
                    }
                    other => {
                        let name = other.type_name();
                        let message = format!("iter() returned non-iterator of type '{name}'");
                        return Err(Raise::type_error(message));
                    }
                },
                None => ("iterator", Source::Items(self.iterate(value)?.into_iter())),
            },
            other => {
                let kind = match other {
                    Value::Tuple(_) => "tuple_iterator",
                    Value::Str(_) => "str_iterator",
                    Value::Dict(_) => "dict_keyiterator",
                    Value::Set(_) => "set_iterator",
                    _ => "iterator",
                };
                (kind, Source::Items(self.iterate(other)?.into_iter()))
            }
        };
        Ok(Rc::new(Iter::new(kind, source)))
    }

    /// The iterators over several values.
    pub(crate) fn iters(&mut self, values: &[Value]) -> R<Vec<Rc<Iter>>> {
        values.iter().map(|value| self.iter(value)).collect()
    }

    /// The next item, for which it pays; `None` at the end.
    pub(crate) fn next_of(&mut self, iter: &Rc<Iter>) -> R<Option<Value>> {
        self.tick(1)?;
        match &mut *iter.source.borrow_mut() {
            Source::Ended => return Ok(None),
            Source::Items(items) => return Ok(items.next()),
            Source::List(items, at) => {
                let item = items.borrow().get(*at).cloned();
                if item.is_some() {
                    *at += 1;
                    return Ok(item);
                }
            }
            Source::Range(at, stop, step) if (*step > 0 && *at < *stop) || (*step < 0 && *at > *stop) => {
                let item = Value::Int(*at);
                *at = at.saturating_add(*step);
                return Ok(Some(item));
            }
            _ => {}
        }
        let mut source = iter.source.replace(Source::Running);
        if let Source::Running = source {
            return Err(Raise::value_error(format!("{} already executing", iter.kind)));
        }
        let result = self.deeper(|this| this.advance(&mut source));
        let over = match &result {
            Ok(item) => item.is_none(),
            // After an error a generator has ended, and what is made of functions goes on.
            Err(_) => matches!(source, Source::Expression(_) | Source::Function(_)),
        };
        if !over {
            iter.source.replace(source);
        } else {
            iter.end();
        }
        result
    }

    fn advance(&mut self, source: &mut Source) -> R<Option<Value>> {
        match source {
            Source::Ended | Source::Running | Source::Items(_) | Source::List(..) | Source::Range(..) => {
                Ok(None)
            }
            Source::Next(method) => ends(self.call(method, Args::default())),
            Source::Expression(expression) => self.resume(expression).map_err(stopped),
            Source::Function(suspended) => self.go_on(suspended).map_err(stopped),
            Source::Map(function, columns) => match self.row(columns, false)? {
                Some(row) => ends(self.call(function, Args::of(row))),
                None => Ok(None),
            },
            Source::StarMap(function, rows) => match self.next_of(rows)? {
                Some(row) => {
                    let row = self.iterate(&row)?;
                    ends(self.call(function, Args::of(row)))
                }
                None => Ok(None),
            },
            Source::Filter(test, items) => {
                while let Some(item) = self.next_of(items)? {
                    let kept = match &*test {
                        Value::None => item.clone(),
                        test => match ends(self.call(test, Args::of(vec![item.clone()])))? {
                            Some(kept) => kept,
                            None => return Ok(None),
                        },
                    };
                    if self.truth(&kept)? {
                        return Ok(Some(item));
                    }
                }
                Ok(None)
            }
            Source::Enumerate(number, items) => {
                let Some(item) = self.next_of(items)? else { return Ok(None) };
                let pair = vec![Value::Int(*number), item];
                *number = number.saturating_add(1);
                self.tuple(pair).map(Some)
            }
            Source::Zip { columns, strict } => match self.row(columns, *strict)? {
                Some(row) => self.tuple(row).map(Some),
                None => Ok(None),
            },
            Source::Chain(parts, part) => loop {
                if let Some(part) = part
                    && let Some(item) = self.next_of(part)?
                {
                    return Ok(Some(item));
                }
                let Some(next) = self.next_of(parts)? else { return Ok(None) };
                *part = Some(self.iter(&next)?);
            },
            Source::Part { skip, left, step, from } => {
                if *left == Some(0) {
                    return Ok(None);
                }
                for _ in 0..*skip {
                    if self.next_of(from)?.is_none() {
                        return Ok(None);
                    }
                }
                *left = left.map(|left| left.saturating_sub(*step));
                *skip = *step - 1;
                self.next_of(from)
            }
            Source::Until(function, end) => {
                let Some(item) = ends(self.call(function, Args::default()))? else { return Ok(None) };
                Ok((!self.equal(&item, end)?).then_some(item))
            }
            Source::Repeat(value) => Ok(Some(value.clone())),
        }
    }

    /// The next item of each column; `None` where one has ended. With `strict` all must end together.
    fn row(&mut self, columns: &[Rc<Iter>], strict: bool) -> R<Option<Vec<Value>>> {
        let mut row = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            match self.next_of(column)? {
                Some(item) => row.push(item),
                None if strict && at > 0 => return Err(uneven(at, "shorter")),
                None if strict => {
                    for (at, column) in columns.iter().enumerate().skip(1) {
                        if self.next_of(column)?.is_some() {
                            return Err(uneven(at, "longer"));
                        }
                    }
                    return Ok(None);
                }
                None => return Ok(None),
            }
        }
        Ok((!columns.is_empty()).then_some(row))
    }

    /// A generator expression, of which the outermost iterable is looked at where it stands.
    pub(crate) fn generator(&mut self, expr: &ExprGenerator) -> R<Value> {
        let Some(first) = expr.generators.first() else { return Ok(Value::None) };
        let iterable = self.eval(&first.iter)?;
        let walk = self.iter(&iterable)?;
        let scope = self.comprehension_scope()?;
        let key = (self.frame().module.file, Span::from(expr.range));
        let code = Rc::clone(self.generators.entry(key).or_insert_with(|| Rc::new(expr.clone())));
        let frame = self.frame();
        let expression = Expression {
            code,
            scope,
            function: function_of(&frame.scope),
            module: Rc::clone(&frame.module),
            method: frame.method.clone(),
            argument_spans: frame.argument_spans.clone(),
            walks: vec![walk],
        };
        self.iterator_of("generator", Source::Expression(Box::new(expression)))
    }

    /// What a generator expression gives next. Where its function is the one that is running, it runs there.
    fn resume(&mut self, expression: &mut Expression) -> R<Option<Value>> {
        let scope = Rc::clone(&expression.scope);
        let at_home = self
            .frames
            .last()
            .is_some_and(|frame| Rc::ptr_eq(&function_of(&frame.scope), &expression.function));
        if at_home {
            let around = std::mem::replace(&mut self.frame().scope, scope);
            let result = self.step(expression);
            self.frame().scope = around;
            result
        } else {
            self.frames.push(Frame {
                scope,
                module: Rc::clone(&expression.module),
                method: expression.method.clone(),
                argument_spans: expression.argument_spans.clone(),
                yields: None,
                manages: None,
                handling: Vec::new(),
            });
            let result = self.step(expression);
            self.frames.pop();
            result
        }
    }

    fn step(&mut self, expression: &mut Expression) -> R<Option<Value>> {
        let code = Rc::clone(&expression.code);
        if self.walk_on(&code.generators, &mut expression.walks)? {
            return self.eval(&code.elt).map(Some);
        }
        Ok(None)
    }

    /// A list, set or dictionary display with `for`: `element` is called for each of its items.
    pub(crate) fn comprehension(
        &mut self,
        generators: &[Comprehension],
        element: &mut dyn FnMut(&mut Self) -> R<Value>,
    ) -> R<Vec<Value>> {
        let Some(first) = generators.first() else { return Ok(Vec::new()) };
        // The outermost iterable is evaluated in the scope around the comprehension.
        let iterable = self.eval(&first.iter)?;
        let mut walks = vec![self.iter(&iterable)?];
        let scope = self.comprehension_scope()?;
        let around = std::mem::replace(&mut self.frame().scope, scope);
        let mut items = Vec::new();
        let result = self.collect(generators, &mut walks, element, &mut items);
        self.frame().scope = around;
        result.map(|()| items)
    }

    fn collect(
        &mut self,
        generators: &[Comprehension],
        walks: &mut Vec<Rc<Iter>>,
        element: &mut dyn FnMut(&mut Self) -> R<Value>,
        items: &mut Vec<Value>,
    ) -> R<()> {
        while self.walk_on(generators, walks)? {
            items.push(element(self)?);
            if items.len() > self.limits.list_length {
                let limit = self.limits.list_length;
                return Err(Raise::limit(format!("length of a list: exceeds the limit of {limit}")));
            }
        }
        Ok(())
    }

    fn comprehension_scope(&mut self) -> R<Rc<Scope>> {
        let parent = Some(Rc::clone(&self.frame().scope));
        self.scope(Scope { parent, comprehension: true, ..Scope::default() })
    }

    /// Give the names of `for ... if ... for ... if ...` their next values; `false` at the end. `walks` are those of
    /// the loops that have begun, outermost first.
    fn walk_on(&mut self, generators: &[Comprehension], walks: &mut Vec<Rc<Iter>>) -> R<bool> {
        while let Some((walk, generator)) = walks.last().zip(generators.get(walks.len().wrapping_sub(1))) {
            let Some(item) = self.next_of(walk)? else {
                walks.pop();
                continue;
            };
            self.assign(&generator.target, item)?;
            if !self.all_hold(&generator.ifs)? {
                continue;
            }
            let Some(inner) = generators.get(walks.len()) else { return Ok(true) };
            let iterable = self.eval(&inner.iter)?;
            walks.push(self.iter(&iterable)?);
        }
        Ok(false)
    }

    fn all_hold(&mut self, tests: &[Expr]) -> R<bool> {
        for test in tests {
            let test = self.eval(test)?;
            if !self.truth(&test)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The names of the function around comprehensions.
fn function_of(scope: &Rc<Scope>) -> Rc<Scope> {
    let mut scope = Rc::clone(scope);
    while let (true, Some(around)) = (scope.comprehension, scope.parent.clone()) {
        scope = around;
    }
    scope
}

/// The result of a call, `None` where it says that there is nothing more.
fn ends(result: R<Value>) -> R<Option<Value>> {
    match result {
        Ok(item) => Ok(Some(item)),
        Err(raise) if raise.class() == Some("StopIteration") => Ok(None),
        Err(raise) => Err(raise),
    }
}

/// The error of a generator: one of `StopIteration` does not end it.
fn stopped(raise: Box<Raise>) -> Box<Raise> {
    match raise.class() {
        Some("StopIteration") => Raise::python("RuntimeError", "generator raised StopIteration"),
        _ => raise,
    }
}

fn uneven(at: usize, than: &str) -> Box<Raise> {
    let before = if at == 1 { "argument 1".to_owned() } else { format!("arguments 1-{at}") };
    Raise::value_error(format!("zip() argument {} is {than} than {before}", at + 1))
}
