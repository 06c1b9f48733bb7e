//! Definitions: functions, their decorators, and classes.
//!
//! Input: syntax trees of `def` and `class`. Output: function and class values, with Python's method resolution
//! order. Limit: metaclasses and class keywords are not looked at; a decorator outside the subset leaves its function
//! as it is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{Expr, Stmt, StmtClassDef, StmtFunctionDef};

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::descriptors::{count_abstract, is_abc, mark_abstract};
use crate::lower::interp::exceptions::gradients;
use crate::lower::interp::generators::yields_of;
use crate::lower::interp::{Args, Interp};
use crate::lower::torch::composed;
use crate::lower::value::{Class, Code, Descriptor, Function, Native, Scope, Value};
use crate::python::Span;

impl Interp<'_> {
    /// A function object of a definition.
    pub(crate) fn function(&mut self, def: &StmtFunctionDef) -> R<Value> {
        if def.is_async {
            return Err(Raise::unsupported("async functions are not supported"));
        }
        let mut defaults = BTreeMap::new();
        for parameter in def.parameters.iter_non_variadic_params() {
            if let Some(default) = &parameter.default {
                defaults.insert(Rc::from(parameter.parameter.name.as_str()), self.eval(default)?);
            }
        }
        self.annotations_of(def)?;
        let module = Rc::clone(&self.frame().module);
        let key = (module.file, Span::from(def.range));
        let code = Rc::clone(self.functions.entry(key).or_insert_with(|| Rc::new(def.clone())));
        // A loop may define it again and again.
        let yields = *self.yields.entry(key).or_insert_with(|| yields_of(&code.body));
        let scope = Rc::clone(&self.frame().scope);
        let qualname = self.qualified(def.name.as_str());
        let function = Rc::new(Function {
            name: Rc::from(def.name.as_str()),
            code: Code::Def(code),
            defaults,
            scope: Rc::clone(&scope),
            module,
            class: RefCell::default(),
            qualname,
            yields,
            attrs: RefCell::default(),
        });
        if scope.class_body {
            scope.functions.borrow_mut().push(Rc::clone(&function));
        }
        self.own(Value::Function(function))
    }

    fn qualified(&mut self, name: &str) -> Rc<str> {
        let names = self.frame().scope.names.borrow();
        match names.get("__qualname__") {
            Some(Value::Str(class)) => Rc::from(format!("{class}.{name}")),
            _ => Rc::from(name),
        }
    }

    /// A function under a decorator outside the subset, which leaves it as it is, but for those of gradients.
    fn managed(&mut self, decorator: &str, function: Value) -> R<Value> {
        // `@torch.no_grad` is `@torch.no_grad()`.
        let call = if decorator.ends_with(')') { "" } else { "()" };
        let manager = Value::Opaque(Rc::from(format!("{decorator}{call}")));
        if gradients(&manager).is_none() || !matches!(function, Value::Function(_)) {
            return Ok(function);
        }
        let managed = composed::autograd(self, "managed")?;
        self.call(&managed, Args::of(vec![manager, function]))
    }

    pub(crate) fn decorate(
        &mut self,
        mut value: Value,
        decorators: &[ruff_python_ast::Decorator],
    ) -> R<Value> {
        for decorator in decorators.iter().rev() {
            if let Expr::Attribute(attribute) = &decorator.expression
                && matches!(attribute.attr.as_str(), "setter" | "deleter")
                && matches!(&*attribute.value, Expr::Name(_) | Expr::Attribute(_))
            {
                let property = self.eval(&attribute.value)?;
                value = match &property {
                    Value::Descriptor(Descriptor::Property, inner) => {
                        let slot = if attribute.attr.as_str() == "setter" { Slot::Set } else { Slot::Delete };
                        let mut parts = [Slot::Get, Slot::Set, Slot::Delete].map(|slot| slot.of(inner));
                        parts[slot as usize] = value;
                        self.property(parts)?
                    }
                    _ => property,
                };
                continue;
            }
            let decorator = match self.eval(&decorator.expression) {
                Ok(decorator) => decorator,
                Err(raise) if matches!(raise.kind, RaiseKind::Unsupported(_)) => continue,
                Err(raise) => return Err(raise),
            };
            value = match &decorator {
                Value::Opaque(name) => {
                    mark_abstract(name, &value);
                    self.managed(name, value)?
                }
                Value::Class(class) if matches!(class.native, Native::Type) => {
                    let kind = match &*class.name {
                        "staticmethod" => Descriptor::Static,
                        "classmethod" => Descriptor::Class,
                        "property" => {
                            value = self.property([value, Value::None, Value::None])?;
                            continue;
                        }
                        _ => return self.call(&decorator, Args::of(vec![value])),
                    };
                    self.own(Value::Descriptor(kind, Rc::new(value)))?
                }
                // What one of the source makes of the function is not known where it fails.
                Value::Function(_) => self.call(&decorator, Args::of(vec![value.clone()]))?,
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

    pub(crate) fn class_def(&mut self, def: &StmtClassDef) -> R<()> {
        let mut bases = Vec::new();
        let mut abstract_ = self.counts_abstract(def)?;
        if let Some(arguments) = &def.arguments {
            for base in &arguments.args {
                match self.eval(base)? {
                    Value::Class(class) => bases.push(class),
                    Value::Opaque(name) if is_abc(&name) => abstract_ = true,
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
        let scope =
            self.scope(Scope { parent: Some(Rc::clone(&parent)), class_body: true, ..Scope::default() })?;
        let qualname = self.qualified(def.name.as_str());
        scope.names.borrow_mut().insert(Rc::from("__qualname__"), Value::Str(qualname));
        let doc = self.docstring(&def.body)?;
        scope.names.borrow_mut().insert(Rc::from("__doc__"), doc);
        self.frame().scope = Rc::clone(&scope);
        let result = self.exec_block(&def.body);
        self.frame().scope = parent;
        let functions = scope.functions.take();
        result?;
        let attrs = scope.names.borrow().clone();
        let class = self.make_class(def.name.as_str(), bases, attrs)?;
        if abstract_ {
            count_abstract(&class);
        }
        // A decorator may have put another function in the place of one: `super()` in it means this class all the same.
        for function in functions {
            function.class.borrow_mut().get_or_insert_with(|| Rc::clone(&class));
        }
        if class.is_enum() {
            self.make_members(&class, &def.body)?;
        }
        self.name_attributes(&class)?;
        self.init_subclass(&class, def)?;
        let value = self.decorate(Value::Class(class), &def.decorator_list)?;
        self.set_name(def.name.as_str(), value)
    }

    /// `__init_subclass__` of the nearest base that has one, with the keywords of the class.
    fn init_subclass(&mut self, class: &Rc<Class>, def: &StmtClassDef) -> R<()> {
        let method = match self.class_attr(class, "__init_subclass__", Some(class)) {
            Some(method @ Value::Function(_)) => method,
            Some(Value::Descriptor(Descriptor::Class, inner)) => Value::clone(&inner),
            _ => return Ok(()),
        };
        let mut args = Args::of(vec![Value::Class(Rc::clone(class))]);
        for keyword in def.arguments.iter().flat_map(|arguments| &arguments.keywords) {
            if let Some(name) = keyword.arg.as_ref().filter(|name| name.as_str() != "metaclass") {
                args.named.push((Rc::from(name.as_str()), self.eval(&keyword.value)?));
            }
        }
        self.call(&method, args).map(|_| ())
    }

    /// A property of its functions: getter, setter, deleter.
    pub(crate) fn property(&mut self, parts: [Value; 3]) -> R<Value> {
        let parts = self.tuple(parts.to_vec())?;
        self.own(Value::Descriptor(Descriptor::Property, Rc::new(parts)))
    }

    /// The text at the start of a body.
    pub(crate) fn docstring(&mut self, body: &[Stmt]) -> R<Value> {
        match body.first() {
            Some(Stmt::Expr(stmt)) => match &*stmt.value {
                Expr::StringLiteral(literal) => self.text(literal.value.to_str()),
                _ => Ok(Value::None),
            },
            _ => Ok(Value::None),
        }
    }

    fn opaque_class(&mut self, name: &str) -> R<Rc<Class>> {
        let class = Rc::new(Class {
            name: Rc::from(name),
            ancestors: vec![self.class("object")?],
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
        let bases = self.with_stand_ins(bases)?;
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

    /// Note a name that a class body annotates; `None` where the fields of a data class go by keyword from here on.
    pub(crate) fn note_annotation(&mut self, name: Value) -> R<()> {
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
            items.borrow_mut().push(name);
        }
        Ok(())
    }
}

/// A function of a property.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    Get,
    Set,
    Delete,
}

impl Slot {
    /// This function of a property as [`Interp::property`] makes it; `None` where it has none.
    pub(crate) fn of(self, property: &Value) -> Value {
        match property {
            Value::Tuple(parts) => parts.items.get(self as usize).cloned().unwrap_or(Value::None),
            _ => Value::None,
        }
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
