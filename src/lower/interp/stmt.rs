//! Statements of the Python subset.
//!
//! Input: syntax trees of statements. Output: changed names, and how control flow goes on. Limit: `match`, `async` and
//! `del` of anything but names, items and attributes are refused.
//! Longer than 600 lines because every statement of the subset is here, each a short function.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{
    ExceptHandler, Expr, Stmt, StmtClassDef, StmtFor, StmtFunctionDef, StmtImportFrom, StmtTry,
};
use ruff_text_size::Ranged;

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::{Args, Frame, Interp};
use crate::lower::value::{Class, Code, Descriptor, Function, Module, Native, Value};
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
        self.frames.push(Frame {
            scope: Rc::clone(&module.scope),
            module: Rc::clone(module),
            method: None,
            argument_spans: BTreeMap::new(),
            yields: None,
            handling: Vec::new(),
        });
        let result = self.run_top_level(suite);
        self.frames.pop();
        result
    }

    /// Statements at module level: what is outside the subset only matters once it is used.
    fn run_top_level(&mut self, suite: &[Stmt]) -> R<()> {
        for stmt in suite {
            match self.exec(stmt) {
                Ok(_) => {}
                Err(raise) if matches!(raise.kind, RaiseKind::Unsupported(_)) => {
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
            Stmt::AugAssign(stmt) => self.augmented(&stmt.target, stmt.op, &stmt.value)?,
            Stmt::AnnAssign(stmt) => {
                if let Expr::Name(name) = &*stmt.target {
                    self.note_annotation(name.id.as_str())?;
                }
                if let Some(value) = &stmt.value {
                    let value = self.eval(value)?;
                    self.assign(&stmt.target, value)?;
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
            Stmt::If(stmt) => {
                let test = self.eval(&stmt.test)?;
                if self.truth(&test)? {
                    return self.exec_block(&stmt.body);
                }
                for clause in &stmt.elif_else_clauses {
                    let taken = match &clause.test {
                        Some(test) => {
                            let test = self.eval(test)?;
                            self.truth(&test)?
                        }
                        None => true,
                    };
                    if taken {
                        return self.exec_block(&clause.body);
                    }
                }
            }
            Stmt::With(stmt) => {
                let mut no_grad = 0;
                for item in &stmt.items {
                    let value = self.eval(&item.context_expr)?;
                    if matches!(&value, Value::Opaque(name) if name.ends_with("no_grad()")) {
                        no_grad += 1;
                    }
                    if let Some(target) = &item.optional_vars {
                        self.assign(target, value)?;
                    }
                }
                self.no_grad += no_grad;
                let result = self.exec_block(&stmt.body);
                self.no_grad -= no_grad;
                return result;
            }
            Stmt::Raise(stmt) => return Err(self.raise(stmt.exc.as_deref())?),
            Stmt::Try(stmt) => return self.try_stmt(stmt),
            Stmt::Assert(stmt) => {
                let test = self.eval(&stmt.test)?;
                if !self.truth(&test)? {
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
            Stmt::Expr(stmt) => {
                self.eval(&stmt.value)?;
            }
            Stmt::Pass(_) | Stmt::TypeAlias(_) => {}
            Stmt::Break(_) => return Ok(Flow::Break),
            Stmt::Continue(_) => return Ok(Flow::Continue),
            Stmt::Match(_) => return Err(Raise::unsupported("match statements are not supported")),
            Stmt::IpyEscapeCommand(_) => {
                return Err(Raise::unsupported("IPython commands are not supported"));
            }
        }
        Ok(Flow::Next)
    }

    fn for_loop(&mut self, stmt: &StmtFor) -> R<Flow> {
        let iterable = self.eval(&stmt.iter)?;
        if let Value::List(items) = &iterable {
            // A list may grow while it is walked.
            let items = Rc::clone(items);
            let mut at = 0;
            loop {
                let Some(item) = items.borrow().get(at).cloned() else { break };
                at += 1;
                if let Some(flow) = self.for_step(stmt, item)? {
                    return Ok(flow);
                }
            }
            return self.exec_block(&stmt.orelse);
        }
        if let Value::Range(start, stop, step) = iterable {
            let mut at = start;
            while (step > 0 && at < stop) || (step < 0 && at > stop) {
                if let Some(flow) = self.for_step(stmt, Value::Int(at))? {
                    return Ok(flow);
                }
                at = at.saturating_add(step);
            }
            return self.exec_block(&stmt.orelse);
        }
        for item in self.iterate(&iterable)? {
            if let Some(flow) = self.for_step(stmt, item)? {
                return Ok(flow);
            }
        }
        self.exec_block(&stmt.orelse)
    }

    /// One turn of a loop; `Some` where it ends the loop.
    fn for_step(&mut self, stmt: &StmtFor, item: Value) -> R<Option<Flow>> {
        self.tick(1)?;
        self.assign(&stmt.target, item)?;
        Ok(match self.exec_block(&stmt.body)? {
            Flow::Break => Some(Flow::Next),
            Flow::Return(value) => Some(Flow::Return(value)),
            Flow::Next | Flow::Continue => None,
        })
    }

    /// Give an error its place, unless it has one.
    pub(crate) fn locate(&mut self, mut raise: Box<Raise>, span: Span) -> Box<Raise> {
        if raise.span.is_none() && self.frames.last().is_some_and(|frame| frame.module.main) {
            raise.span = Some(span);
        }
        raise
    }

    fn raise(&mut self, exc: Option<&Expr>) -> R<Box<Raise>> {
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
                Ok(Box::new(Raise { kind, span: None, hint: None }))
            }
            Value::Opaque(name) => Ok(Raise::python(name, "")),
            _ => Err(Raise::type_error("exceptions must derive from BaseException")),
        }
    }

    fn try_stmt(&mut self, stmt: &StmtTry) -> R<Flow> {
        let (frames, depth, path) = (self.frames.len(), self.depth, self.path.len());
        let result = match self.exec_block(&stmt.body) {
            Ok(Flow::Next) => self.exec_block(&stmt.orelse),
            Ok(flow) => Ok(flow),
            Err(raise) if raise.class().is_some() => {
                self.frames.truncate(frames);
                self.depth = depth;
                self.path.truncate(path);
                self.handle(stmt, raise)
            }
            Err(raise) => return Err(raise),
        };
        match self.exec_block(&stmt.finalbody)? {
            Flow::Next => result,
            flow => Ok(flow),
        }
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
                let raised = match super::builtins::exception(class) {
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
                let class = self.class(super::builtins::exception(class).unwrap_or("Exception"))?;
                self.call(&Value::Class(class), Args::of(vec![Value::str(message)]))
            }
            _ => Ok(Value::None),
        }
    }

    fn import_alias(&mut self, name: &str, asname: Option<&str>) -> R<()> {
        let value = self.import(name)?;
        match asname {
            Some(asname) => self.set_name(asname, value),
            None => {
                let first = name.split('.').next().unwrap_or(name);
                let value = if first == name { value } else { self.import(first)? };
                self.set_name(first, value)
            }
        }
    }

    fn import_from(&mut self, stmt: &StmtImportFrom) -> R<()> {
        let module = stmt.module.as_ref().map_or("", |name| name.as_str());
        let mut base = String::new();
        if stmt.level > 0 {
            base = self.frame().module.package.clone();
            for _ in 1..stmt.level {
                base = base.rsplit_once('.').map_or(String::new(), |(package, _)| package.to_owned());
            }
        }
        let full = match (base.is_empty(), module.is_empty()) {
            (true, _) => module.to_owned(),
            (false, true) => base,
            (false, false) => format!("{base}.{module}"),
        };
        let source = self.import(&full)?;
        for alias in &stmt.names {
            let name = alias.name.as_str();
            if name == "*" {
                self.import_star(&source)?;
                continue;
            }
            let value = match &source {
                Value::Module(found) => {
                    let value = found.scope.names.borrow().get(name).cloned();
                    match value {
                        Some(value) => value,
                        None => self.import(&format!("{full}.{name}"))?,
                    }
                }
                Value::Opaque(_) => self.import(&format!("{full}.{name}"))?,
                _ => self.get_attr(&source, name).map_err(|raise| match raise.class() {
                    Some("AttributeError") => {
                        Raise::python("ImportError", format!("cannot import name '{name}' from '{full}'"))
                    }
                    _ => raise,
                })?,
            };
            self.set_name(alias.asname.as_ref().map_or(name, |name| name.as_str()), value)?;
        }
        Ok(())
    }

    fn import_star(&mut self, source: &Value) -> R<()> {
        let names: Vec<(Rc<str>, Value)> = match source {
            Value::Module(module) => {
                let names = module.scope.names.borrow();
                names
                    .iter()
                    .filter(|(name, _)| !name.starts_with('_'))
                    .map(|(n, v)| (Rc::clone(n), v.clone()))
                    .collect()
            }
            Value::Namespace(namespace) => {
                let mut found = Vec::new();
                for name in crate::lower::torch::namespaces::public_names(namespace) {
                    found.push((Rc::from(name), self.get_attr(source, name)?));
                }
                found
            }
            _ => Vec::new(),
        };
        for (name, value) in names {
            self.set_name(&name, value)?;
        }
        Ok(())
    }

    /// A function object of a definition.
    fn function(&mut self, def: &StmtFunctionDef) -> R<Value> {
        if def.is_async {
            return Err(Raise::unsupported("async functions are not supported"));
        }
        let mut defaults = BTreeMap::new();
        for parameter in def.parameters.iter_non_variadic_params() {
            if let Some(default) = &parameter.default {
                defaults.insert(Rc::from(parameter.parameter.name.as_str()), self.eval(default)?);
            }
        }
        let module = Rc::clone(&self.frame().module);
        let key = (module.file, Span::from(def.range));
        let code = Rc::clone(self.functions.entry(key).or_insert_with(|| Rc::new(def.clone())));
        let scope = Rc::clone(&self.frame().scope);
        let qualname = self.qualified(def.name.as_str());
        let is_generator = super::call::yields(&def.body);
        self.own(Value::Function(Rc::new(Function {
            name: Rc::from(def.name.as_str()),
            code: Code::Def(code),
            defaults,
            scope,
            module,
            class: RefCell::default(),
            qualname,
            is_generator,
        })))
    }

    fn qualified(&mut self, name: &str) -> Rc<str> {
        let names = self.frame().scope.names.borrow();
        match names.get("__qualname__") {
            Some(Value::Str(class)) => Rc::from(format!("{class}.{name}")),
            _ => Rc::from(name),
        }
    }

    fn decorate(&mut self, mut value: Value, decorators: &[ruff_python_ast::Decorator]) -> R<Value> {
        for decorator in decorators.iter().rev() {
            if let Expr::Attribute(attribute) = &decorator.expression
                && matches!(attribute.attr.as_str(), "setter" | "deleter")
                && let Expr::Name(name) = &*attribute.value
            {
                value = self.name(name.id.as_str())?;
                continue;
            }
            let decorator = match self.eval(&decorator.expression) {
                Ok(decorator) => decorator,
                Err(raise) if matches!(raise.kind, RaiseKind::Unsupported(_)) => continue,
                Err(raise) => return Err(raise),
            };
            value = match &decorator {
                Value::Opaque(_) => value,
                Value::Class(class) if matches!(class.native, Native::Type) => {
                    let kind = match &*class.name {
                        "staticmethod" => Descriptor::Static,
                        "classmethod" => Descriptor::Class,
                        "property" => Descriptor::Property,
                        _ => return self.call(&decorator, Args::of(vec![value])),
                    };
                    self.own(Value::Descriptor(kind, Rc::new(value)))?
                }
                // A decorator outside the subset is taken to leave the function as it is.
                _ => match self.call(&decorator, Args::of(vec![value.clone()])) {
                    Ok(Value::Opaque(_)) => value,
                    Ok(decorated) => decorated,
                    Err(raise) if matches!(raise.kind, RaiseKind::Unsupported(_)) => value,
                    Err(raise) => return Err(raise),
                },
            };
        }
        Ok(value)
    }

    fn class_def(&mut self, def: &StmtClassDef) -> R<()> {
        let mut bases = Vec::new();
        if let Some(arguments) = &def.arguments {
            for base in &arguments.args {
                match self.eval(base)? {
                    Value::Class(class) => bases.push(class),
                    Value::Opaque(name) => bases.push(self.opaque_class(&name)?),
                    other => {
                        return Err(Raise::type_error(format!(
                            "{} is not an acceptable base type",
                            other.type_name()
                        )));
                    }
                }
            }
        }
        let parent = Rc::clone(&self.frame().scope);
        let scope = self.scope(Some(Rc::clone(&parent)), true)?;
        let qualname = self.qualified(def.name.as_str());
        scope.names.borrow_mut().insert(Rc::from("__qualname__"), Value::Str(qualname));
        self.frame().scope = Rc::clone(&scope);
        let result = self.exec_block(&def.body);
        self.frame().scope = parent;
        result?;
        let attrs = scope.names.borrow().clone();
        let class = self.make_class(def.name.as_str(), bases, attrs)?;
        let value = self.decorate(Value::Class(class), &def.decorator_list)?;
        self.set_name(def.name.as_str(), value)
    }

    fn opaque_class(&mut self, name: &str) -> R<Rc<Class>> {
        let class = Rc::new(Class {
            name: Rc::from(name),
            ancestors: Vec::new(),
            attrs: RefCell::default(),
            native: Native::Opaque,
            fields: RefCell::default(),
        });
        self.own(Value::Class(Rc::clone(&class)))?;
        Ok(class)
    }

    /// A class of these bases and attributes.
    pub(crate) fn make_class(
        &mut self,
        name: &str,
        bases: Vec<Rc<Class>>,
        attrs: BTreeMap<Rc<str>, Value>,
    ) -> R<Rc<Class>> {
        let mut ancestors = linearise(&bases).ok_or_else(|| {
            Raise::type_error("Cannot create a consistent method resolution order (MRO) for bases")
        })?;
        if ancestors.is_empty() {
            ancestors.push(self.class("object")?);
        }
        let named_tuple = ancestors.iter().any(|class| &*class.name == "NamedTuple");
        let fields = if named_tuple { annotations(&attrs) } else { Vec::new() };
        let class = Rc::new(Class {
            name: Rc::from(name),
            ancestors,
            attrs: RefCell::new(attrs),
            native: Native::Source,
            fields: RefCell::new(fields),
        });
        self.own(Value::Class(Rc::clone(&class)))?;
        for value in class.attrs.borrow().values() {
            let function = match value {
                Value::Function(function) => function,
                Value::Descriptor(_, inner) => match &**inner {
                    Value::Function(function) => function,
                    _ => continue,
                },
                _ => continue,
            };
            if function.class.borrow().is_none() {
                *function.class.borrow_mut() = Some(Rc::clone(&class));
            }
        }
        Ok(class)
    }

    fn note_annotation(&mut self, name: &str) -> R<()> {
        let scope = Rc::clone(&self.frame().scope);
        if !scope.class_body {
            return Ok(());
        }
        let known = scope.names.borrow().get("__annotations__").cloned();
        let list = match known {
            Some(list) => list,
            None => {
                let list = self.list(Vec::new())?;
                scope.names.borrow_mut().insert(Rc::from("__annotations__"), list.clone());
                list
            }
        };
        if let Value::List(items) = list {
            items.borrow_mut().push(Value::str(name));
        }
        Ok(())
    }
}

/// Names annotated in a class body, in order.
pub(crate) fn annotations(attrs: &BTreeMap<Rc<str>, Value>) -> Vec<Rc<str>> {
    match attrs.get("__annotations__") {
        Some(Value::List(items)) => {
            let name = |value: &Value| match value {
                Value::Str(name) => Some(Rc::clone(name)),
                _ => None,
            };
            items.borrow().iter().filter_map(name).collect()
        }
        _ => Vec::new(),
    }
}

/// C3 linearisation of the bases.
fn linearise(bases: &[Rc<Class>]) -> Option<Vec<Rc<Class>>> {
    let mut lists: Vec<Vec<Rc<Class>>> = bases.iter().map(|base| base.lineage().cloned().collect()).collect();
    lists.push(bases.to_vec());
    let mut order = Vec::new();
    loop {
        lists.retain(|list| !list.is_empty());
        if lists.is_empty() {
            return Some(order);
        }
        let in_a_tail =
            |class: &Rc<Class>| lists.iter().any(|list| list[1..].iter().any(|c| Rc::ptr_eq(c, class)));
        let next = lists.iter().map(|list| &list[0]).find(|class| !in_a_tail(class))?.clone();
        for list in &mut lists {
            list.retain(|class| !Rc::ptr_eq(class, &next));
        }
        order.push(next);
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
    let mut names = Vec::new();
    match stmt {
        Stmt::Assign(stmt) => stmt.targets.iter().for_each(|target| targets(target, &mut names)),
        Stmt::AnnAssign(stmt) => targets(&stmt.target, &mut names),
        Stmt::AugAssign(stmt) => targets(&stmt.target, &mut names),
        Stmt::ClassDef(def) => names.push(Rc::from(def.name.as_str())),
        Stmt::FunctionDef(def) => names.push(Rc::from(def.name.as_str())),
        Stmt::For(stmt) => {
            targets(&stmt.target, &mut names);
            stmt.body.iter().for_each(|stmt| names.extend(assigned_names(stmt)));
        }
        Stmt::If(stmt) => stmt.body.iter().for_each(|stmt| names.extend(assigned_names(stmt))),
        Stmt::With(stmt) => stmt.body.iter().for_each(|stmt| names.extend(assigned_names(stmt))),
        Stmt::Try(stmt) => stmt.body.iter().for_each(|stmt| names.extend(assigned_names(stmt))),
        _ => {}
    }
    names
}
