//! Expressions of the Python subset, and assignment to them.
//!
//! Input: syntax trees of expressions. Output: values. Limit: complex numbers, bytes and `await` are refused.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::{
    BoolOp, ConversionFlag, Expr, ExprFString, FStringPart, InterpolatedStringElement, Number, StmtAugAssign,
    UnaryOp,
};
use ruff_text_size::Ranged;

use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::{overlap, saved};
use crate::lower::value::{Code, Function, Scope, Value, Yields};
use crate::python::Span;

impl Interp<'_> {
    pub(crate) fn eval(&mut self, expr: &Expr) -> R<Value> {
        self.tick(1)?;
        match expr {
            Expr::Name(name) => {
                return self.name(name.id.as_str()).map_err(|raise| self.locate(raise, name.range.into()));
            }
            Expr::NumberLiteral(literal) => return number(&literal.value),
            Expr::NoneLiteral(_) => return Ok(Value::None),
            Expr::BooleanLiteral(literal) => return Ok(Value::Bool(literal.value)),
            _ => {}
        }
        if let Expr::Call(_) | Expr::BinOp(_) | Expr::Subscript(_) = expr
            && self.frames.len() == self.outermost
        {
            let result = self.deeper(|this| this.eval_inner(expr, true));
            return result.map_err(|raise| self.locate(raise, expr.range().into()));
        }
        self.deeper(|this| this.eval_inner(expr, false))
            .map_err(|raise| self.locate(raise, expr.range().into()))
    }

    fn eval_inner(&mut self, expr: &Expr, outermost: bool) -> R<Value> {
        match expr {
            Expr::BoolOp(expr) => {
                let mut value = Value::None;
                for (index, operand) in expr.values.iter().enumerate() {
                    value = self.eval(operand)?;
                    if index + 1 < expr.values.len() && self.truth(&value)? == (expr.op == BoolOp::Or) {
                        break;
                    }
                }
                Ok(value)
            }
            Expr::Named(expr) => {
                let value = self.eval(&expr.value)?;
                let inner = Rc::clone(&self.frame().scope);
                while let (true, Some(around)) =
                    (self.frame().scope.comprehension, self.frame().scope.parent.clone())
                {
                    self.frame().scope = around;
                }
                let assigned = self.assign(&expr.target, value.clone());
                self.frame().scope = inner;
                assigned.map(|()| value)
            }
            Expr::BinOp(binary) => {
                let left = self.eval(&binary.left)?;
                let right = self.eval(&binary.right)?;
                if outermost {
                    self.outer_span = Some(binary.range.into());
                }
                self.binary(binary.op, &left, &right)
            }
            Expr::UnaryOp(unary) => {
                let value = self.eval(&unary.operand)?;
                if unary.op == UnaryOp::Not {
                    if let Value::Training { negated } = value {
                        return Ok(Value::Training { negated: !negated });
                    }
                    return Ok(Value::Bool(!self.truth(&value)?));
                }
                self.unary(unary.op, &value)
            }
            Expr::Lambda(lambda) => self.lambda(lambda),
            Expr::If(expr) => {
                let test = self.eval(&expr.test)?;
                if self.truth(&test)? { self.eval(&expr.body) } else { self.eval(&expr.orelse) }
            }
            Expr::Dict(expr) => {
                let mut entries = Vec::new();
                for item in &expr.items {
                    let value = self.eval(&item.value)?;
                    match &item.key {
                        Some(key) => entries.push((self.eval(key)?, value)),
                        None => match &value {
                            Value::Dict(_) | Value::Object(_) => entries.extend(self.pairs(&value)?),
                            other => {
                                let message = format!("'{}' object is not a mapping", other.type_name());
                                return Err(Raise::type_error(message));
                            }
                        },
                    }
                }
                self.dict(entries)
            }
            Expr::Set(expr) => {
                let items = self.eval_items(&expr.elts)?;
                self.set(items)
            }
            Expr::ListComp(expr) => {
                let items = self.comprehension(&expr.generators, &mut |this| this.eval(&expr.elt))?;
                self.list(items)
            }
            Expr::SetComp(expr) => {
                let items = self.comprehension(&expr.generators, &mut |this| this.eval(&expr.elt))?;
                self.set(items)
            }
            Expr::Generator(expr) => self.generator(expr),
            Expr::DictComp(expr) => {
                let Some(key) = &expr.key else {
                    return Err(Raise::unsupported("unpacking in a dict comprehension is not supported"));
                };
                let mut entries = Vec::new();
                self.comprehension(&expr.generators, &mut |this| {
                    entries.push((this.eval(key)?, this.eval(&expr.value)?));
                    Ok(Value::None)
                })?;
                self.dict(entries)
            }
            Expr::Await(_) => Err(Raise::unsupported("await is not supported")),
            Expr::Yield(expr) => {
                let value = match &expr.value {
                    Some(value) => self.eval(value)?,
                    None => Value::None,
                };
                if let Some(managed) = self.frame().manages.clone() {
                    return self.yield_to(&managed, value);
                }
                self.yield_values(vec![value])
            }
            Expr::YieldFrom(expr) => {
                let value = self.eval(&expr.value)?;
                let items = self.iterate(&value)?;
                self.yield_values(items)
            }
            Expr::Compare(expr) => {
                let mut left = self.eval(&expr.left)?;
                let mut value = Value::Bool(true);
                for (index, (op, right)) in expr.ops.iter().zip(&expr.comparators).enumerate() {
                    let right = self.eval(right)?;
                    value = self.compare(*op, &left, &right)?;
                    if index + 1 < expr.ops.len() && !self.truth(&value)? {
                        break;
                    }
                    left = right;
                }
                Ok(value)
            }
            Expr::Call(call) => self.eval_call(call, outermost),
            Expr::FString(expr) => self.fstring(expr),
            Expr::TString(_) => Err(Raise::unsupported("template strings are not supported")),
            Expr::StringLiteral(literal) => self.text(literal.value.to_str()),
            Expr::BytesLiteral(_) => Err(Raise::unsupported("bytes are not supported")),
            Expr::EllipsisLiteral(_) => Ok(Value::Ellipsis),
            Expr::Attribute(attribute) => {
                let value = self.eval(&attribute.value)?;
                self.get_attr(&value, attribute.attr.as_str())
            }
            Expr::Subscript(subscript) => {
                let value = self.eval(&subscript.value)?;
                let index = self.eval(&subscript.slice)?;
                if outermost {
                    self.outer_span = Some(subscript.range.into());
                }
                self.get_item(&value, &index)
            }
            Expr::Starred(_) => Err(Raise::python("SyntaxError", "can't use starred expression here")),
            Expr::List(expr) => {
                let items = self.eval_items(&expr.elts)?;
                self.list(items)
            }
            Expr::Tuple(expr) => {
                let items = self.eval_items(&expr.elts)?;
                self.tuple(items)
            }
            Expr::Slice(expr) => {
                let part = |this: &mut Self, part: &Option<Box<Expr>>| match part {
                    Some(part) => this.eval(part),
                    None => Ok(Value::None),
                };
                let parts = [part(self, &expr.lower)?, part(self, &expr.upper)?, part(self, &expr.step)?];
                self.own(Value::Slice(Rc::new(parts)))
            }
            Expr::IpyEscapeCommand(_) => Err(Raise::unsupported("IPython commands are not supported")),
            Expr::Name(_) | Expr::NumberLiteral(_) | Expr::NoneLiteral(_) | Expr::BooleanLiteral(_) => {
                self.eval(expr)
            }
        }
    }

    fn yield_values(&mut self, values: Vec<Value>) -> R<Value> {
        let length = self.frame().yields.as_ref().map_or(0, Vec::len) + values.len();
        let limit = self.limits.list_length;
        self.check_length("generator", length, limit)?;
        match &mut self.frame().yields {
            Some(yields) => yields.extend(values),
            None => return Err(Raise::python("SyntaxError", "'yield' outside function")),
        }
        Ok(Value::None)
    }

    /// Elements of a list, tuple or set display, starred ones unpacked.
    fn eval_items(&mut self, exprs: &[Expr]) -> R<Vec<Value>> {
        let mut items = Vec::with_capacity(exprs.len());
        for expr in exprs {
            if let Expr::Starred(starred) = expr {
                let value = self.eval(&starred.value)?;
                items.extend(self.iterate(&value)?);
            } else {
                items.push(self.eval(expr)?);
            }
        }
        Ok(items)
    }

    fn lambda(&mut self, lambda: &ruff_python_ast::ExprLambda) -> R<Value> {
        let mut defaults = std::collections::BTreeMap::new();
        if let Some(parameters) = &lambda.parameters {
            for parameter in parameters.iter_non_variadic_params() {
                if let Some(default) = &parameter.default {
                    defaults.insert(Rc::from(parameter.parameter.name.as_str()), self.eval(default)?);
                }
            }
        }
        let module = Rc::clone(&self.frame().module);
        let key = (module.file, Span::from(lambda.range));
        let code = Rc::clone(self.lambdas.entry(key).or_insert_with(|| Rc::new(lambda.clone())));
        let scope = Rc::clone(&self.frame().scope);
        let name: Rc<str> = Rc::from("<lambda>");
        self.own(Value::Function(Rc::new(Function {
            name: Rc::clone(&name),
            code: Code::Lambda(code),
            defaults,
            scope,
            module,
            class: Default::default(),
            qualname: name,
            yields: Yields::Never,
            attrs: RefCell::default(),
        })))
    }

    fn fstring(&mut self, expr: &ExprFString) -> R<Value> {
        let mut text = String::new();
        for part in expr.value.iter() {
            match part {
                FStringPart::Literal(literal) => text.push_str(&literal.value),
                FStringPart::FString(fstring) => {
                    for element in &fstring.elements {
                        self.fstring_element(element, &mut text)?;
                    }
                }
            }
            self.check_length("string", text.len(), self.limits.string_length)?;
        }
        self.text(text)
    }

    fn fstring_element(&mut self, element: &InterpolatedStringElement, text: &mut String) -> R<()> {
        match element {
            InterpolatedStringElement::Literal(literal) => text.push_str(&literal.value),
            InterpolatedStringElement::Interpolation(part) => {
                let mut value = self.eval(&part.expression)?;
                // `f'{x=}'` shows how the value is written.
                let mut written = false;
                if let Some(debug) = &part.debug_text {
                    text.push_str(debug.as_str());
                    written = part.format_spec.is_none() && part.conversion == ConversionFlag::None;
                }
                if written || matches!(part.conversion, ConversionFlag::Repr | ConversionFlag::Ascii) {
                    value = Value::str(self.repr(&value)?);
                } else if part.conversion == ConversionFlag::Str {
                    value = Value::str(self.str_of(&value)?);
                }
                let mut spec = String::new();
                if let Some(format) = &part.format_spec {
                    for element in &format.elements {
                        self.fstring_element(element, &mut spec)?;
                    }
                }
                let formatted = self.format(&value, &spec)?;
                text.push_str(&formatted);
            }
        }
        Ok(())
    }

    /// The value of a name: local, enclosing, module, built-in.
    pub(crate) fn name(&mut self, name: &str) -> R<Value> {
        let mut scope = Some(Rc::clone(&self.frame().scope));
        // Whether this is the innermost scope, and whether it is another function's.
        let (mut own, mut nested) = (true, false);
        while let Some(current) = scope {
            if (own || !current.class_body)
                && let Some(value) = current.names.borrow().get(name)
            {
                return Ok(self.loaded(value));
            }
            if current.own.as_ref().is_some_and(|own| own.contains(name)) {
                return Err(unbound(name, nested));
            }
            own = false;
            nested |= !current.comprehension;
            scope = current.parent.clone();
        }
        let global = self.frame().module.scope.names.borrow().get(name).cloned();
        if let Some(value) = global {
            return Ok(self.loaded(&value));
        }
        if let Some(value) = self.starred(name)? {
            return Ok(value);
        }
        if let Some(value) = self.builtin(name)? {
            return Ok(value);
        }
        if let Some(star) = self.star_of_any_name() {
            return Err(Raise::unsupported(format!("'{name}', which '{star}' may have, is not supported")));
        }
        let hint = Hint::Name { name: name.to_owned() };
        Err(Raise::python("NameError", format!("name '{name}' is not defined")).with_hint(hint))
    }

    pub(crate) fn set_name(&mut self, name: &str, value: Value) -> R<()> {
        self.tick(1)?;
        let scope = Rc::clone(&self.frame().scope);
        self.frame().argument_spans.remove(name);
        let declared = scope.declared.borrow().get(name).copied();
        let target = match declared {
            Some(true) => Rc::clone(&self.frame().module.scope),
            Some(false) => enclosing(&scope, name).ok_or_else(|| {
                Raise::python("SyntaxError", format!("no binding for nonlocal '{name}' found"))
            })?,
            None => scope,
        };
        target.names.borrow_mut().insert(Rc::from(name), value);
        Ok(())
    }

    pub(crate) fn assign(&mut self, target: &Expr, value: Value) -> R<()> {
        match target {
            Expr::Name(name) => self.set_name(name.id.as_str(), value),
            Expr::Attribute(attribute) => {
                let object = self.eval(&attribute.value)?;
                self.set_attr(&object, attribute.attr.as_str(), value)
            }
            Expr::Subscript(subscript) => {
                let object = self.eval(&subscript.value)?;
                let index = self.eval(&subscript.slice)?;
                self.stand_at(subscript.range.into());
                self.set_item(&object, &index, value)
            }
            Expr::Tuple(tuple) => self.unpack(&tuple.elts, &value),
            Expr::List(list) => self.unpack(&list.elts, &value),
            Expr::Starred(starred) => self.assign(&starred.value, value),
            _ => Err(Raise::unsupported("assignment to this expression is not supported")),
        }
    }

    fn unpack(&mut self, targets: &[Expr], value: &Value) -> R<()> {
        let items = self.iterate(value).map_err(|raise| match raise.class() {
            Some("TypeError") => {
                Raise::type_error(format!("cannot unpack non-iterable {} object", value.type_name()))
            }
            _ => raise,
        })?;
        let star = targets.iter().position(|target| matches!(target, Expr::Starred(_)));
        let fixed = targets.len() - usize::from(star.is_some());
        if items.len() < fixed {
            let message = format!("not enough values to unpack (expected {fixed}, got {})", items.len());
            return Err(Raise::value_error(message));
        }
        if star.is_none() && items.len() > fixed {
            return Err(Raise::value_error(format!("too many values to unpack (expected {fixed})")));
        }
        let extra = items.len() - fixed;
        let mut items = items.into_iter();
        for (index, target) in targets.iter().enumerate() {
            if star == Some(index) {
                let middle: Vec<Value> = items.by_ref().take(extra).collect();
                let list = self.list(middle)?;
                self.assign(target, list)?;
            } else if let Some(item) = items.next() {
                self.assign(target, item)?;
            }
        }
        Ok(())
    }

    pub(crate) fn augmented(&mut self, stmt: &StmtAugAssign) -> R<()> {
        let (target, op, value) = (&*stmt.target, stmt.op, &*stmt.value);
        match target {
            Expr::Name(name) => {
                let left = self.eval(target)?;
                let right = self.eval(value)?;
                self.stand_at(stmt.range.into());
                let result = self.in_place(op, &left, &right)?;
                self.set_name(name.id.as_str(), result)
            }
            Expr::Attribute(attribute) => {
                let object = self.eval(&attribute.value)?;
                let left = self.get_attr(&object, attribute.attr.as_str())?;
                let right = self.eval(value)?;
                self.stand_at(stmt.range.into());
                let result = self.in_place(op, &left, &right)?;
                self.set_attr(&object, attribute.attr.as_str(), result)
            }
            Expr::Subscript(subscript) => {
                let object = self.eval(&subscript.value)?;
                let index = self.eval(&subscript.slice)?;
                let left = self.get_item(&object, &index)?;
                let right = self.eval(value)?;
                if let Value::Tensor(tensor) = &object {
                    overlap::check_item(self, tensor, &index, &right)?;
                }
                if let (Value::Tensor(_), Value::Tensor(part)) = (&object, &left)
                    && crate::lower::torch::augmented(self, part, op, &right)?
                {
                    return Ok(());
                }
                self.stand_at(stmt.range.into());
                // Elements of a tensor are replaced: a view of them is not kept.
                let since = self.builder.node_count();
                let result = match object {
                    Value::Tensor(_) => self.binary(op, &left, &right)?,
                    _ => self.in_place(op, &left, &right)?,
                };
                saved::changing(self, since, |this| this.set_item(&object, &index, result))
            }
            _ => Err(Raise::unsupported("augmented assignment to this expression is not supported")),
        }
    }

    pub(crate) fn delete(&mut self, target: &Expr) -> R<()> {
        match target {
            Expr::Name(name) => {
                let scope = Rc::clone(&self.frame().scope);
                match scope.names.borrow_mut().remove(name.id.as_str()) {
                    Some(_) => Ok(()),
                    None => Err(Raise::python("NameError", format!("name '{}' is not defined", name.id))),
                }
            }
            Expr::Attribute(attribute) => {
                let object = self.eval(&attribute.value)?;
                self.delete_attr(&object, attribute.attr.as_str())
            }
            Expr::Subscript(subscript) => {
                let object = self.eval(&subscript.value)?;
                let index = self.eval(&subscript.slice)?;
                self.delete_item(&object, &index)
            }
            Expr::Tuple(tuple) => tuple.elts.iter().try_for_each(|item| self.delete(item)),
            _ => Err(Raise::unsupported("deleting this expression is not supported")),
        }
    }
}

fn enclosing(scope: &Rc<Scope>, name: &str) -> Option<Rc<Scope>> {
    let mut current = scope.parent.clone();
    while let Some(scope) = current {
        if !scope.class_body && scope.names.borrow().contains_key(name) {
            return Some(scope);
        }
        current = scope.parent.clone();
    }
    None
}

fn number(number: &Number) -> R<Value> {
    match number {
        Number::Int(int) => match int.as_i64() {
            Some(int) => Ok(Value::Int(int)),
            None => Err(Raise::overflow()),
        },
        Number::Float(float) => Ok(Value::Float(*float)),
        Number::Complex { .. } => Err(Raise::unsupported("complex numbers are not supported")),
    }
}

/// The error of a name that a function has for itself but that has no value yet.
fn unbound(name: &str, nested: bool) -> Box<Raise> {
    let (class, kind, end) = if nested {
        ("NameError", "free", " in enclosing scope")
    } else {
        ("UnboundLocalError", "local", "")
    };
    let message =
        format!("cannot access {kind} variable '{name}' where it is not associated with a value{end}");
    Raise::python(class, message)
}
