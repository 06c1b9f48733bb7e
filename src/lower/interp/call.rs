//! Calls: arguments, parameters, functions, methods and the making of instances.
//!
//! Input: a callable value and arguments. Output: what it returns. Each argument's place in the main source is kept,
//! through helper functions and classes, so that a repair can find the literal a layer's width came from. Limit: a
//! generator function runs to its end when called.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ruff_python_ast::{Expr, ExprCall, Parameters, StmtFunctionDef};
use ruff_text_size::Ranged;

use crate::lower::error::{R, Raise};
use crate::lower::interp::generators::Suspended;
use crate::lower::interp::stmt::Flow;
use crate::lower::interp::{Args, Frame, Interp, Source};
use crate::lower::torch::{signature, unsupported};
use crate::lower::value::{
    Class, Code, DictClass, Function, Named, Native, Object, Scope, Site, Tuple, Value, Yields,
};
use crate::python::{self, Span};

impl Interp<'_> {
    pub(crate) fn eval_call(&mut self, call: &ExprCall, outermost: bool) -> R<Value> {
        if let Expr::Name(name) = &*call.func
            && name.id.as_str() == "super"
            && call.arguments.args.is_empty()
        {
            return self.bare_super();
        }
        let callee = self.eval(&call.func)?;
        let args = self.eval_args(call)?;
        if outermost {
            self.outer_span = Some(call.range().into());
        }
        self.stand_at(call.range().into());
        self.call(&callee, args)
    }

    fn eval_args(&mut self, call: &ExprCall) -> R<Args> {
        let mut args = Args::default();
        let main = self.frame().module.main;
        let mut site = Site { call: call.range().into(), ..Site::default() };
        for arg in &call.arguments.args {
            if let Expr::Starred(starred) = arg {
                let value = self.eval(&starred.value)?;
                let items = self.iterate(&value)?;
                site.positional.extend(items.iter().map(|_| None));
                args.positional.extend(items);
            } else {
                args.positional.push(self.eval(arg)?);
                let span = self.argument_span(arg);
                site.positional.push(span);
            }
        }
        for keyword in &call.arguments.keywords {
            let value = self.eval(&keyword.value)?;
            match &keyword.arg {
                Some(name) => {
                    let name: Rc<str> = Rc::from(name.as_str());
                    let span = self.argument_span(&keyword.value);
                    site.named.push((Rc::clone(&name), span));
                    args.named.push((name, value));
                }
                None => {
                    if !matches!(value, Value::Dict(_) | Value::Object(_)) {
                        return Err(Raise::type_error("argument after ** must be a mapping"));
                    }
                    for (name, value) in self.pairs(&value)? {
                        let Value::Str(name) = name else {
                            return Err(Raise::type_error("keywords must be strings"));
                        };
                        if args.named.iter().any(|(known, _)| *known == name) {
                            let function = self.called(&call.func);
                            let message =
                                format!("{function} got multiple values for keyword argument '{name}'");
                            return Err(Raise::type_error(message));
                        }
                        args.named.push((name, value));
                    }
                }
            }
        }
        if main {
            args.site = Some(Rc::new(site));
        }
        Ok(args)
    }

    /// How a function is called in messages.
    fn called(&self, function: &Expr) -> String {
        match function {
            Expr::Name(name) => format!("{}()", name.id),
            Expr::Attribute(attribute) => format!("{}()", attribute.attr),
            _ => "the function".to_owned(),
        }
    }

    /// Where a repair may write another value for this argument: its own place, or where the parameter it names was
    /// given.
    fn argument_span(&mut self, expr: &Expr) -> Option<Span> {
        if !self.frame().module.main {
            return None;
        }
        if let Expr::Name(name) = expr
            && let Some(&span) = self.frame().argument_spans.get(name.id.as_str())
        {
            return Some(span);
        }
        Some(expr.range().into())
    }

    fn bare_super(&mut self) -> R<Value> {
        match self.frame().method.clone() {
            Some((class, object)) => self.own(Value::Super(Rc::new((class, object)))),
            None => Err(Raise::runtime("super(): no arguments")),
        }
    }

    /// Call a value.
    pub(crate) fn call(&mut self, callee: &Value, args: Args) -> R<Value> {
        self.tick(2)?;
        match callee {
            Value::Function(function) => self.call_or_recall(function, args),
            Value::Bound(bound) => {
                let args = args.prepend(bound.0.clone());
                self.call(&bound.1, args)
            }
            Value::Builtin(builtin) => {
                let building = self.mode == super::Mode::Building;
                let first = args.positional.first().filter(|_| building).cloned();
                let args =
                    if args.named.is_empty() { args } else { crate::lower::torch::aliases(builtin, args) };
                let bound = signature::bind(builtin.name, builtin.signature, args)?;
                let result = (builtin.run)(self, bound)?;
                if let (Some(Value::Tensor(base)), Value::Tensor(view)) = (&first, &result) {
                    crate::lower::torch::first_values::share(self, builtin.name, base, view);
                }
                Ok(result)
            }
            Value::Method(method) => self.call_method(&method.0, &method.1, args),
            Value::Partial(partial) => {
                let mut all = Args { positional: partial.1.clone(), named: partial.2.clone(), site: None };
                all.positional.extend(args.positional);
                for (name, value) in args.named {
                    all.named.retain(|(known, _)| *known != name);
                    all.named.push((name, value));
                }
                self.call(&partial.0, all)
            }
            Value::Class(class) => self.instantiate(class, args),
            Value::ClassMethod(method) => {
                let args = self.pay_for_members(method.1, args)?;
                if let Native::Type = method.0.native {
                    let name = &method.0.name;
                    let Some((first, rest)) = args.split_first() else {
                        return Err(Raise::type_error(format!(
                            "unbound method {name}.{}() needs an argument",
                            method.1
                        )));
                    };
                    if let Value::Object(object) = &first
                        && let Some(inherited) = self.inherited(object, method.1)
                    {
                        return self.call(&inherited, rest.prepend(first));
                    }
                    if method.1 == "fromkeys" {
                        let value = rest.positional.first().cloned().unwrap_or(Value::None);
                        let keys = self.iterate(&first)?;
                        let class =
                            if &**name == "OrderedDict" { DictClass::Ordered } else { DictClass::Plain };
                        let entries = keys.into_iter().map(|key| (key, value.clone())).collect();
                        return self.dict_like(class, entries);
                    }
                    let fits = first.type_name() == **name
                        || (matches!(first, Value::Tensor(_)) && &**name == "Tensor")
                        || (matches!(first, Value::Dict(_)) && &**name == "dict");
                    if !fits {
                        let got = first.type_name();
                        let message = format!(
                            "descriptor '{}' for '{name}' objects doesn't apply to a '{got}' object",
                            method.1
                        );
                        return Err(Raise::type_error(message));
                    }
                    return match self.special_method(&first, method.1, &rest)? {
                        Some(result) => Ok(result),
                        None => self.call_method(&first, method.1, rest),
                    };
                }
                self.call_native(&method.0, method.1, args)
            }
            Value::Object(object) => self.call_object(object, args),
            Value::Descriptor(crate::lower::value::Descriptor::Static, inner) => self.call(inner, args),
            Value::Opaque(name) if unsupported::acts(name) => {
                Err(Raise::unsupported(format!("'{name}' is not supported")))
            }
            Value::Opaque(name) => {
                self.check_length("name", name.len(), 300)?;
                Ok(Value::Opaque(Rc::from(format!("{name}()"))))
            }
            other => Err(Raise::type_error(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    /// Pay for what a call of a built-in method may add to its object. How many members a module gets of an iterator is
    /// known once it has run.
    fn pay_for_members(&mut self, method: &str, mut args: Args) -> R<Args> {
        let Some(Value::Object(object)) = args.positional.first().cloned() else { return Ok(args) };
        let adds = object.class.is_module() && matches!(method, "__init__" | "extend" | "update");
        let mut new = 0;
        for value in args.positional.iter_mut().skip(1) {
            new += match value {
                Value::Iter(iter) if adds => {
                    let (kind, items) = (iter.kind, self.iterate(value)?);
                    let count = items.len();
                    *value = self.iterator(kind, items)?;
                    count
                }
                Value::List(items) => items.borrow().len(),
                Value::Tuple(tuple) => tuple.items.len(),
                Value::Dict(dict) => dict.borrow().len(),
                Value::View(view) => view.len(),
                _ => 1,
            };
        }
        self.members(&object, new)?;
        Ok(args)
    }

    fn call_object(&mut self, object: &Rc<Object>, args: Args) -> R<Value> {
        let value = Value::Object(Rc::clone(object));
        if let Some(call) = self.class_attr(&object.class, "__call__", None)
            && !matches!(&call, Value::ClassMethod(_))
        {
            return self.call(&call, args.prepend(value));
        }
        if object.class.is_module() {
            return self.call_module(object, args);
        }
        Err(Raise::type_error(format!("'{}' object is not callable", object.class.name)))
    }

    pub(super) fn call_function(&mut self, function: &Rc<Function>, args: Args) -> R<Value> {
        if self.calls >= self.limits.recursion {
            return Err(Raise::limit(format!(
                "recursion: exceeds the limit of {} calls",
                self.limits.recursion
            )));
        }
        let own = match &function.code {
            Code::Def(def) => Some(self.own_names(def)?),
            Code::Lambda(_) => None,
        };
        let scope = Scope { parent: Some(Rc::clone(&function.scope)), own, ..Scope::default() };
        let scope = self.scope(scope)?;
        let first = args.positional.first().cloned();
        let parameters = match &function.code {
            Code::Def(def) => Some(&*def.parameters),
            Code::Lambda(lambda) => lambda.parameters.as_deref(),
        };
        let mut argument_spans = BTreeMap::new();
        if let Some(parameters) = parameters {
            argument_spans = self.bind_parameters(function, parameters, args, &scope)?;
        } else if !args.positional.is_empty() || !args.named.is_empty() {
            let given = args.positional.len() + args.named.len();
            let message =
                format!("{}() takes 0 positional arguments but {given} was given", function.qualname);
            return Err(Raise::type_error(message));
        }
        let method = match (&*function.class.borrow(), first) {
            (Some(class), Some(first)) => Some((Rc::clone(class), first)),
            _ => None,
        };
        let is_generator = function.yields != Yields::Never;
        let frame = Frame {
            scope,
            module: Rc::clone(&function.module),
            method,
            argument_spans,
            yields: is_generator.then(Vec::new),
            manages: if is_generator { self.starting.take() } else { None },
            handling: Vec::new(),
        };
        if let (Code::Def(def), Yields::Stepwise, None) = (&function.code, function.yields, &frame.manages) {
            // Its frame stays until the end.
            self.tick(16)?;
            let suspended = Suspended::new(Rc::clone(def), frame);
            return self.iterator_of("generator", Source::Function(Box::new(suspended)));
        }
        self.calls += 1;
        self.frames.push(frame);
        let result = match &function.code {
            Code::Def(def) => self.exec_block(&def.body),
            Code::Lambda(lambda) => self.eval(&lambda.body).map(Flow::Return),
        };
        self.calls -= 1;
        let frame = self.frames.pop();
        let flow = result?;
        if let Some(yields) = frame.and_then(|frame| frame.yields) {
            return self.iterator("generator", yields);
        }
        Ok(match flow {
            Flow::Return(value) => value,
            _ => Value::None,
        })
    }

    /// The names that a function's body binds.
    fn own_names(&mut self, def: &Rc<StmtFunctionDef>) -> R<Rc<BTreeSet<String>>> {
        let identity = Rc::as_ptr(def) as usize;
        if let Some(known) = self.own_names.get(&identity) {
            return Ok(Rc::clone(known));
        }
        self.tick(def.body.len())?;
        let own = Rc::new(python::local_names(&def.body));
        self.own_names.insert(identity, Rc::clone(&own));
        Ok(own)
    }

    /// Bind arguments to the parameters of a function of the source.
    fn bind_parameters(
        &mut self,
        function: &Function,
        parameters: &Parameters,
        args: Args,
        scope: &Rc<crate::lower::value::Scope>,
    ) -> R<BTreeMap<Rc<str>, Span>> {
        let mut spans = BTreeMap::new();
        let name = &function.qualname;
        let site = args.site;
        let positional: Vec<_> = parameters.posonlyargs.iter().chain(&parameters.args).collect();
        let mut names = scope.names.borrow_mut();
        let given = args.positional.len();
        let mut extra = Vec::new();
        for (index, value) in args.positional.into_iter().enumerate() {
            match positional.get(index) {
                Some(parameter) => {
                    let key: Rc<str> = Rc::from(parameter.parameter.name.as_str());
                    if let Some(span) =
                        site.as_ref().and_then(|site| site.positional.get(index).copied().flatten())
                    {
                        spans.insert(Rc::clone(&key), span);
                    }
                    names.insert(key, value);
                }
                None => extra.push(value),
            }
        }
        if let Some(vararg) = &parameters.vararg {
            let tuple = self.tuple(extra)?;
            names.insert(Rc::from(vararg.name.as_str()), tuple);
        } else if !extra.is_empty() {
            let (most, were) = (positional.len(), if given == 1 { "was" } else { "were" });
            let least = most - positional.iter().filter(|parameter| parameter.default.is_some()).count();
            let takes = if least == most { most.to_string() } else { format!("from {least} to {most}") };
            let plural = if most == 1 { "" } else { "s" };
            let message =
                format!("{name}() takes {takes} positional argument{plural} but {given} {were} given");
            return Err(Raise::type_error(message));
        }
        let mut keywords = Vec::new();
        for (key, value) in args.named {
            let known = parameters.args.iter().chain(&parameters.kwonlyargs);
            if known.into_iter().any(|parameter| parameter.parameter.name.as_str() == &*key) {
                if names.contains_key(&key) {
                    let message = format!("{name}() got multiple values for argument '{key}'");
                    return Err(Raise::type_error(message));
                }
                let span = site.as_ref().and_then(|site| site.named.iter().find(|(known, _)| *known == key));
                if let Some((_, Some(span))) = span {
                    spans.insert(Rc::clone(&key), *span);
                }
                names.insert(key, value);
            } else if parameters.kwarg.is_some() {
                keywords.push((Value::Str(key), value));
            } else {
                let message = format!("{name}() got an unexpected keyword argument '{key}'");
                return Err(Raise::type_error(message));
            }
        }
        if let Some(kwarg) = &parameters.kwarg {
            let dict = self.dict(keywords)?;
            names.insert(Rc::from(kwarg.name.as_str()), dict);
        }
        let mut missing = Vec::new();
        for parameter in parameters.iter_non_variadic_params() {
            let key = parameter.parameter.name.as_str();
            if names.contains_key(key) {
                continue;
            }
            match function.defaults.get(key) {
                Some(value) => {
                    names.insert(Rc::from(key), value.clone());
                    if let Some(default) = &parameter.default
                        && function.module.main
                    {
                        spans.insert(Rc::from(key), default.range().into());
                    }
                }
                None => missing.push(format!("'{key}'")),
            }
        }
        if !missing.is_empty() {
            let plural = if missing.len() == 1 { "" } else { "s" };
            let last = missing.pop().unwrap_or_default();
            let list = if missing.is_empty() { last } else { format!("{} and {last}", missing.join(", ")) };
            let count = list.matches('\'').count() / 2;
            return Err(Raise::type_error(format!(
                "{name}() missing {count} required positional argument{plural}: {list}"
            )));
        }
        Ok(spans)
    }

    /// Make an instance of a class.
    pub(crate) fn instantiate(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        if let Native::Type = class.native {
            return self.convert(class, args);
        }
        if class.is_named_tuple() {
            return self.named_tuple(class, args);
        }
        if class.lineage().any(|class| matches!(class.native, Native::Opaque)) && !class.is_module() {
            let name: Rc<str> = Rc::from(format!("{}()", class.name));
            if self.class_attr(class, "__init__", None).is_none() {
                return Ok(Value::Opaque(name));
            }
        }
        if class.is_enum() {
            return self.enum_member(class, &args);
        }
        let (value, own) = self.made(class, &args)?;
        if !own {
            return Ok(value);
        }
        match self.class_attr(class, "__init__", None) {
            Some(init) => {
                self.call(&init, args.prepend(value.clone()))?;
            }
            // Its `__new__` has taken the arguments.
            None if self.class_attr(class, "__new__", None).is_some() => {}
            None if args.positional.is_empty() && args.named.is_empty() => {}
            None => return Err(Raise::type_error(format!("{}() takes no arguments", class.name))),
        }
        // PyTorch collects the modules of a network in sets.
        if class.is_module() && self.is_unhashable(class)? {
            return Err(Raise::type_error(format!("unhashable type: '{}'", class.name)));
        }
        Ok(value)
    }

    fn named_tuple(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        let fields: Vec<Rc<str>> = class.fields.borrow().clone();
        let mut items = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let named = args.named.iter().find(|(name, _)| name == field).map(|(_, value)| value.clone());
            let default = class.attrs.borrow().get(field).cloned();
            match args.positional.get(index).cloned().or(named).or(default) {
                Some(value) => items.push(value),
                None => {
                    let message =
                        format!("{}.__new__() missing 1 required positional argument: '{field}'", class.name);
                    return Err(Raise::type_error(message));
                }
            }
        }
        if args.positional.len() > fields.len() {
            return Err(Raise::type_error(format!("{}.__new__() takes too many arguments", class.name)));
        }
        if let Some((name, _)) = args.named.iter().find(|(name, _)| !fields.contains(name)) {
            let message = format!("{}.__new__() got an unexpected keyword argument '{name}'", class.name);
            return Err(Raise::type_error(message));
        }
        let fields = fields.iter().map(ToString::to_string).collect();
        let named = Named { name: class.name.to_string(), fields, class: Some(Rc::clone(class)) };
        self.own(Value::Tuple(Rc::new(Tuple { items, size: false, named: Some(Rc::new(named)) })))
    }
}
