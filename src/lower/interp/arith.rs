//! Operators, comparison, truth, iteration and indexing of values.
//!
//! Input: values. Output: values, or Python's exceptions. Sizes that depend on the batch are compared at
//! [`NOMINAL_BATCH`]. Limit: integers have 64 bits; going over is a limit, not a wrong number.
//! Longer than 600 lines because every operator needs a rule for each kind of number.

use std::rc::Rc;

use ruff_python_ast::{CmpOp, Operator, UnaryOp};

use crate::graph::{Dim, NOMINAL_BATCH};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp, Mode};
use crate::lower::torch::{self, signature};
use crate::lower::value::Value;

impl Interp<'_> {
    /// Python's truth of a value.
    pub(crate) fn truth(&mut self, value: &Value) -> R<bool> {
        Ok(match value {
            Value::None => false,
            Value::Bool(flag) => *flag,
            Value::Int(int) => *int != 0,
            Value::Float(float) => *float != 0.0,
            Value::Dim(dim) => dim.at(NOMINAL_BATCH) != 0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) => !items.borrow().is_empty(),
            Value::Tuple(tuple) => !tuple.items.is_empty(),
            Value::Dict(dict) | Value::Set(dict) => dict.borrow().len() > 0,
            Value::Range(start, stop, step) => range_len(*start, *stop, *step) > 0,
            Value::Training { negated } => {
                let training = match self.mode {
                    Mode::Building => true,
                    Mode::Tracing { training } => {
                        self.asks_training = true;
                        training
                    }
                };
                training != *negated
            }
            Value::Tensor(tensor) => torch::truth(self, tensor)?,
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__bool__", None) {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return self.truth(&result);
                }
                if self.class_attr(&object.class, "__len__", None).is_some() {
                    return Ok(self.length(value)? != 0);
                }
                true
            }
            _ => true,
        })
    }

    pub(crate) fn unary(&mut self, op: UnaryOp, value: &Value) -> R<Value> {
        match (op, value) {
            (UnaryOp::USub, Value::Int(int)) => int.checked_neg().map(Value::Int).ok_or_else(overflow),
            (UnaryOp::USub, Value::Float(float)) => Ok(Value::Float(-float)),
            (UnaryOp::USub, Value::Bool(flag)) => Ok(Value::Int(-i64::from(*flag))),
            (UnaryOp::USub, Value::Dim(dim)) => Ok(Value::from_dim(Dim::fixed(0).minus(*dim))),
            (UnaryOp::UAdd, Value::Int(_) | Value::Float(_) | Value::Dim(_) | Value::Tensor(_)) => {
                Ok(value.clone())
            }
            (UnaryOp::UAdd, Value::Bool(flag)) => Ok(Value::Int(i64::from(*flag))),
            (UnaryOp::Invert, Value::Int(int)) => Ok(Value::Int(!int)),
            (UnaryOp::Invert, Value::Bool(flag)) => Ok(Value::Int(!i64::from(*flag))),
            (UnaryOp::USub, Value::Tensor(_)) => torch::call(self, "neg", vec![value.clone()]),
            (UnaryOp::Invert, Value::Tensor(_)) => torch::call(self, "logical_not", vec![value.clone()]),
            (_, Value::Opaque(name)) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            _ => {
                let message = format!("bad operand type for unary {}: '{}'", op.as_str(), value.type_name());
                Err(Raise::type_error(message))
            }
        }
    }

    /// `left op= right`: lists and tensors change in place.
    pub(crate) fn in_place(&mut self, op: Operator, left: &Value, right: &Value) -> R<Value> {
        if let (Value::List(items), Operator::Add) = (left, op) {
            let more = self.iterate(right)?;
            let length = items.borrow().len() + more.len();
            self.check_length("list", length, self.limits.list_length)?;
            items.borrow_mut().extend(more);
            return Ok(left.clone());
        }
        let result = self.binary(op, left, right)?;
        if let (Value::Tensor(target), Value::Tensor(source)) = (left, &result) {
            torch::rebind(self, target, source)?;
            return Ok(left.clone());
        }
        Ok(result)
    }

    pub(crate) fn binary(&mut self, op: Operator, left: &Value, right: &Value) -> R<Value> {
        if let (Value::Tensor(_), _) | (_, Value::Tensor(_)) = (left, right) {
            return torch::elementwise::operator(self, op, left, right);
        }
        for (value, other, prefix) in [(left, right, ""), (right, left, "r")] {
            if let Value::Object(object) = value {
                let name = format!("__{prefix}{}__", dunder(op));
                if let Some(method) = self.class_attr(&object.class, &name, None) {
                    return self.call(&method, Args::of(vec![value.clone(), other.clone()]));
                }
            }
        }
        if let Some(value) = self.numbers(op, left, right)? {
            return Ok(value);
        }
        if let Some(value) = self.sequences(op, left, right)? {
            return Ok(value);
        }
        for value in [left, right] {
            if let Value::Opaque(name) = value {
                if op == Operator::BitOr {
                    return Ok(value.clone());
                }
                return Err(Raise::unsupported(format!("'{name}' is not supported")));
            }
        }
        if op == Operator::BitOr
            && let (Value::Class(_) | Value::None, Value::Class(_) | Value::None) = (left, right)
        {
            return self.tuple(vec![left.clone(), right.clone()]);
        }
        let symbol = op.as_str();
        Err(Raise::type_error(format!(
            "unsupported operand type(s) for {symbol}: '{}' and '{}'",
            left.type_name(),
            right.type_name()
        )))
    }

    fn numbers(&mut self, op: Operator, left: &Value, right: &Value) -> R<Option<Value>> {
        if let (Value::Dim(_), _) | (_, Value::Dim(_)) = (left, right) {
            // `int(n / 4.0)` is how a batch is often found again behind windows: a whole float counts as its integer.
            let size = |value: &Value| match value {
                #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
                Value::Float(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
                    Some(Dim::fixed(*float as i64))
                }
                other => signature::dim(other),
            };
            return match (size(left), size(right)) {
                (Some(a), Some(b)) => dim_arithmetic(op, a, b).map(Some),
                _ if matches!((left, right), (Value::Float(_), _) | (_, Value::Float(_))) => {
                    Err(Raise::unsupported("arithmetic on the batch size that is not linear in it"))
                }
                _ => Ok(None),
            };
        }
        let int = |value: &Value| match value {
            Value::Int(int) => Some(*int),
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        };
        if let (Value::Bool(a), Value::Bool(b)) = (left, right) {
            match op {
                Operator::BitAnd => return Ok(Some(Value::Bool(a & b))),
                Operator::BitOr => return Ok(Some(Value::Bool(a | b))),
                Operator::BitXor => return Ok(Some(Value::Bool(a ^ b))),
                _ => {}
            }
        }
        if let (Some(a), Some(b)) = (int(left), int(right)) {
            return int_arithmetic(op, a, b).map(Some);
        }
        if let (Some(a), Some(b)) = (signature::number(left), signature::number(right)) {
            return float_arithmetic(op, a, b);
        }
        Ok(None)
    }

    fn sequences(&mut self, op: Operator, left: &Value, right: &Value) -> R<Option<Value>> {
        let (list, text) = (self.limits.list_length, self.limits.string_length);
        Ok(Some(match (op, left, right) {
            (Operator::Add, Value::Str(a), Value::Str(b)) => {
                self.check_length("string", a.len() + b.len(), text)?;
                self.text(format!("{a}{b}"))?
            }
            (Operator::Add, Value::List(a), Value::List(b)) => {
                self.check_length("list", a.borrow().len() + b.borrow().len(), list)?;
                let items = a.borrow().iter().chain(b.borrow().iter()).cloned().collect();
                self.list(items)?
            }
            (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
                self.check_length("tuple", a.items.len() + b.items.len(), list)?;
                let items = a.items.iter().chain(&b.items).cloned().collect();
                if a.size && b.size { self.size(items)? } else { self.tuple(items)? }
            }
            (Operator::Mult, Value::Int(count), sequence) | (Operator::Mult, sequence, Value::Int(count)) => {
                let count = usize::try_from(*count).unwrap_or(0);
                match sequence {
                    Value::Str(value) => {
                        self.check_length("string", value.len().saturating_mul(count), text)?;
                        self.text(value.repeat(count))?
                    }
                    Value::List(items) => {
                        let items = items.borrow().clone();
                        self.check_length("list", items.len().saturating_mul(count), list)?;
                        self.list(repeat(&items, count))?
                    }
                    Value::Tuple(tuple) => {
                        self.check_length("tuple", tuple.items.len().saturating_mul(count), list)?;
                        self.tuple(repeat(&tuple.items, count))?
                    }
                    _ => return Ok(None),
                }
            }
            (Operator::Mod, Value::Str(format), _) => {
                let result = self.percent(format, right)?;
                self.text(result)?
            }
            (Operator::BitOr, Value::Dict(a), Value::Dict(b)) => {
                let entries = a.borrow().entries().iter().chain(b.borrow().entries()).cloned().collect();
                self.dict(entries)?
            }
            (Operator::BitOr | Operator::BitAnd | Operator::Sub, Value::Set(a), Value::Set(b)) => {
                let (a, b) = (a.borrow(), b.borrow());
                let mut items = Vec::new();
                for item in a.keys() {
                    let shared = b.contains(&self.key(&item)?);
                    if op == Operator::BitOr || shared == (op == Operator::BitAnd) {
                        items.push(item);
                    }
                }
                if op == Operator::BitOr {
                    items.extend(b.keys());
                }
                self.set(items)?
            }
            _ => return Ok(None),
        }))
    }

    pub(crate) fn compare(&mut self, op: CmpOp, left: &Value, right: &Value) -> R<Value> {
        let result = match op {
            CmpOp::Is => is(left, right),
            CmpOp::IsNot => !is(left, right),
            CmpOp::In => self.contains(right, left)?,
            CmpOp::NotIn => !self.contains(right, left)?,
            _ => {
                if let (Value::Tensor(_), _) | (_, Value::Tensor(_)) = (left, right) {
                    return torch::elementwise::comparison(self, op, left, right);
                }
                match op {
                    CmpOp::Eq => self.equal(left, right)?,
                    CmpOp::NotEq => !self.equal(left, right)?,
                    _ => self.ordered(op, left, right)?,
                }
            }
        };
        Ok(Value::Bool(result))
    }

    fn ordered(&mut self, op: CmpOp, left: &Value, right: &Value) -> R<bool> {
        use std::cmp::Ordering;
        let ordering = match (left, right) {
            (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
            (Value::List(_) | Value::Tuple(_), Value::List(_) | Value::Tuple(_)) => {
                let (a, b) = (self.iterate(left)?, self.iterate(right)?);
                let mut ordering = a.len().cmp(&b.len());
                for (a, b) in a.iter().zip(&b) {
                    if !self.equal(a, b)? {
                        ordering =
                            if self.ordered(CmpOp::Lt, a, b)? { Ordering::Less } else { Ordering::Greater };
                        break;
                    }
                }
                Some(ordering)
            }
            _ => match (nominal(left), nominal(right)) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => {
                    for value in [left, right] {
                        if let Value::Opaque(name) = value {
                            return Err(Raise::unsupported(format!("'{name}' is not supported")));
                        }
                    }
                    let (a, b) = (left.type_name(), right.type_name());
                    let symbol = op.as_str();
                    let message = format!("'{symbol}' not supported between instances of '{a}' and '{b}'");
                    return Err(Raise::type_error(message));
                }
            },
        };
        let Some(ordering) = ordering else { return Ok(false) };
        Ok(match op {
            CmpOp::Lt => ordering.is_lt(),
            CmpOp::LtE => ordering.is_le(),
            CmpOp::Gt => ordering.is_gt(),
            _ => ordering.is_ge(),
        })
    }

    /// Python's `==`.
    pub(crate) fn equal(&mut self, left: &Value, right: &Value) -> R<bool> {
        self.tick(1)?;
        if let (Some(a), Some(b)) = (nominal(left), nominal(right)) {
            return Ok(a == b);
        }
        Ok(match (left, right) {
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::List(_), Value::List(_)) | (Value::Tuple(_), Value::Tuple(_)) => {
                let (a, b) = (self.iterate(left)?, self.iterate(right)?);
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(&b) {
                    if !self.deeper(|this| this.equal(a, b))? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(a), Value::Dict(b)) => {
                let (a, b) = (a.borrow().entries().to_vec(), Rc::clone(b));
                if a.len() != b.borrow().len() {
                    return Ok(false);
                }
                for (name, value) in &a {
                    let other = b.borrow().get(&self.key(name)?).cloned();
                    match other {
                        Some(other) if self.deeper(|this| this.equal(value, &other))? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Object(object), _) => match self.class_attr(&object.class, "__eq__", None) {
                Some(method) => {
                    let result = self.call(&method, Args::of(vec![left.clone(), right.clone()]))?;
                    self.truth(&result)?
                }
                None => is(left, right),
            },
            (Value::Opaque(a), Value::Opaque(b)) => a == b,
            (Value::Opaque(name), other) | (other, Value::Opaque(name)) if !other.is_none() => {
                return Err(Raise::unsupported(format!("'{name}' is not supported")));
            }
            (Value::Training { .. }, _) | (_, Value::Training { .. }) => {
                let (a, b) = (self.truth(left)?, self.truth(right)?);
                a == b
            }
            _ => is(left, right),
        })
    }

    fn contains(&mut self, container: &Value, item: &Value) -> R<bool> {
        match container {
            Value::Dict(dict) | Value::Set(dict) => Ok(dict.borrow().contains(&self.key(item)?)),
            Value::Str(text) => match item {
                Value::Str(part) => Ok(text.contains(&**part)),
                other => Err(Raise::type_error(format!(
                    "'in <string>' requires string as left operand, not {}",
                    other.type_name()
                ))),
            },
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__contains__", None) {
                    let result = self.call(&method, Args::of(vec![container.clone(), item.clone()]))?;
                    return self.truth(&result);
                }
                self.contained(container, item)
            }
            _ => self.contained(container, item),
        }
    }

    fn contained(&mut self, container: &Value, item: &Value) -> R<bool> {
        for other in self.iterate(container)? {
            if is(&other, item) || self.equal(&other, item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All elements of an iterable.
    pub(crate) fn iterate(&mut self, value: &Value) -> R<Vec<Value>> {
        let items = match value {
            Value::List(items) => items.borrow().clone(),
            Value::Tuple(tuple) => tuple.items.clone(),
            Value::Dict(dict) | Value::Set(dict) => dict.borrow().keys(),
            Value::Iter(items) => {
                let mut items: Vec<Value> = items.borrow_mut().drain(..).collect();
                items.reverse();
                items
            }
            Value::Range(start, stop, step) => {
                let length = usize::try_from(range_len(*start, *stop, *step)).unwrap_or(usize::MAX);
                self.check_length("range", length, self.limits.list_length)?;
                let mut items = Vec::with_capacity(length);
                let mut at = *start;
                for _ in 0..length {
                    items.push(Value::Int(at));
                    at = at.saturating_add(*step);
                }
                items
            }
            Value::Str(text) => text.chars().map(|char| Value::str(char.to_string())).collect(),
            Value::Tensor(_) => torch::parts::unbind(self, value, 0)?,
            Value::Dim(_) => return Err(Raise::unsupported("a loop over the batch is not supported")),
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__iter__", None) {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    if let Value::Object(_) = result {
                        return Err(Raise::unsupported("iterators written as classes are not supported"));
                    }
                    return self.iterate(&result);
                }
                if self.class_attr(&object.class, "__getitem__", None).is_some() {
                    return Err(Raise::unsupported("iteration by __getitem__ is not supported"));
                }
                return Err(Raise::type_error(format!("'{}' object is not iterable", object.class.name)));
            }
            other => {
                return Err(Raise::type_error(format!("'{}' object is not iterable", other.type_name())));
            }
        };
        self.tick(items.len())?;
        Ok(items)
    }

    /// Python's `len`, where it does not depend on the batch.
    pub(crate) fn length(&mut self, value: &Value) -> R<i64> {
        let length = match value {
            Value::List(items) | Value::Iter(items) => items.borrow().len(),
            Value::Tuple(tuple) => tuple.items.len(),
            Value::Dict(dict) | Value::Set(dict) => dict.borrow().len(),
            Value::Str(text) => text.chars().count(),
            Value::Range(start, stop, step) => return Ok(range_len(*start, *stop, *step)),
            Value::Object(object) => match self.class_attr(&object.class, "__len__", None) {
                Some(method) => {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return match result {
                        Value::Int(length) => Ok(length),
                        other => {
                            let name = other.type_name();
                            Err(Raise::type_error(format!(
                                "'{name}' object cannot be interpreted as an integer"
                            )))
                        }
                    };
                }
                None => return Err(no_len(value)),
            },
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => return Err(no_len(other)),
        };
        Ok(i64::try_from(length).unwrap_or(i64::MAX))
    }

    pub(crate) fn get_item(&mut self, value: &Value, index: &Value) -> R<Value> {
        match value {
            Value::Tensor(tensor) => torch::index::get(self, tensor, index),
            Value::Dict(dict) => {
                let key = self.key(index)?;
                let found = dict.borrow().get(&key).cloned();
                if let Some(found) = found {
                    return Ok(found);
                }
                let factory = dict.borrow().default_factory.clone();
                if let Some(factory) = factory {
                    let made = self.call(&factory, Args::default())?;
                    dict.borrow_mut().insert(key, index.clone(), made.clone());
                    return Ok(made);
                }
                Err(Raise::python("KeyError", self.repr(index)?))
            }
            Value::List(items) => {
                let items = items.borrow().clone();
                match self.select(&items, index, "list")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => self.list(values),
                }
            }
            Value::Tuple(tuple) => match self.select(&tuple.items, index, "tuple")? {
                Selected::One(value) => Ok(value),
                Selected::Many(values) if tuple.size => self.size(values),
                Selected::Many(values) => self.tuple(values),
            },
            Value::Str(text) => {
                let chars: Vec<Value> = text.chars().map(|char| Value::str(char.to_string())).collect();
                self.tick(chars.len() / 8)?;
                match self.select(&chars, index, "string")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => {
                        let mut text = String::new();
                        for value in &values {
                            if let Value::Str(part) = value {
                                text.push_str(part);
                            }
                        }
                        self.text(text)
                    }
                }
            }
            Value::Range(..) => {
                let items = self.iterate(value)?;
                match self.select(&items, index, "range object")? {
                    Selected::One(value) => Ok(value),
                    Selected::Many(values) => self.list(values),
                }
            }
            Value::Object(object) => match self.class_attr(&object.class, "__getitem__", None) {
                Some(method) => self.call(&method, Args::of(vec![value.clone(), index.clone()])),
                None => Err(not_subscriptable(value)),
            },
            Value::Opaque(_) => Ok(value.clone()),
            Value::Class(_) => Ok(value.clone()),
            other => Err(not_subscriptable(other)),
        }
    }

    fn select(&mut self, items: &[Value], index: &Value, what: &str) -> R<Selected> {
        match index {
            Value::Int(_) | Value::Bool(_) => {
                let at = position(index, items.len());
                match at.and_then(|at| items.get(at)) {
                    Some(value) => Ok(Selected::One(value.clone())),
                    None => Err(Raise::python("IndexError", format!("{what} index out of range"))),
                }
            }
            Value::Slice(parts) => {
                let positions = slice_positions(parts, items.len())?;
                self.tick(positions.len())?;
                Ok(Selected::Many(positions.into_iter().map(|at| items[at].clone()).collect()))
            }
            Value::Dim(_) => Err(Raise::unsupported("an index that depends on the batch is not supported")),
            Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => {
                let message = format!("{what} indices must be integers or slices, not {}", other.type_name());
                Err(Raise::type_error(message))
            }
        }
    }

    pub(crate) fn set_item(&mut self, object: &Value, index: &Value, value: Value) -> R<()> {
        match object {
            Value::List(items) => {
                let length = items.borrow().len();
                if let Value::Slice(parts) = index {
                    let new = self.iterate(&value)?;
                    let positions = slice_positions(parts, length)?;
                    self.check_length("list", length + new.len(), self.limits.list_length)?;
                    let step = parts[2].is_none() || matches!(parts[2], Value::Int(1));
                    if step {
                        let start = positions.first().copied().unwrap_or_else(|| slice_start(parts, length));
                        items.borrow_mut().splice(start..start + positions.len(), new);
                    } else if positions.len() == new.len() {
                        for (at, value) in positions.into_iter().zip(new) {
                            items.borrow_mut()[at] = value;
                        }
                    } else {
                        return Err(Raise::value_error(
                            "attempt to assign sequence to extended slice of another size",
                        ));
                    }
                    return Ok(());
                }
                match position(index, length) {
                    Some(at) => {
                        items.borrow_mut()[at] = value;
                        Ok(())
                    }
                    None => Err(Raise::python("IndexError", "list assignment index out of range")),
                }
            }
            Value::Dict(dict) => {
                let key = self.key(index)?;
                self.check_length("dict", dict.borrow().len(), self.limits.list_length)?;
                dict.borrow_mut().insert(key, index.clone(), value);
                Ok(())
            }
            Value::Tensor(tensor) => torch::index::set(self, tensor, index, &value),
            Value::Object(target) => match self.class_attr(&target.class, "__setitem__", None) {
                Some(method) => {
                    self.call(&method, Args::of(vec![object.clone(), index.clone(), value]))?;
                    Ok(())
                }
                None => Err(no_item_assignment(object)),
            },
            Value::Opaque(_) => Ok(()),
            other => Err(no_item_assignment(other)),
        }
    }

    pub(crate) fn delete_item(&mut self, object: &Value, index: &Value) -> R<()> {
        match object {
            Value::List(items) => {
                let length = items.borrow().len();
                let mut positions = match index {
                    Value::Slice(parts) => slice_positions(parts, length)?,
                    index => position(index, length).into_iter().collect(),
                };
                if positions.is_empty() && !matches!(index, Value::Slice(_)) {
                    return Err(Raise::python("IndexError", "list assignment index out of range"));
                }
                positions.sort_unstable();
                self.tick(length.saturating_mul(positions.len()) / 16)?;
                for at in positions.into_iter().rev() {
                    items.borrow_mut().remove(at);
                }
                Ok(())
            }
            Value::Dict(dict) => {
                let key = self.key(index)?;
                self.tick(dict.borrow().len() / 16)?;
                match dict.borrow_mut().remove(&key) {
                    Some(_) => Ok(()),
                    None => Err(Raise::python("KeyError", "key not found")),
                }
            }
            Value::Object(target) => match self.class_attr(&target.class, "__delitem__", None) {
                Some(method) => {
                    self.call(&method, Args::of(vec![object.clone(), index.clone()]))?;
                    Ok(())
                }
                None => Err(Raise::type_error(format!(
                    "'{}' object doesn't support item deletion",
                    object.type_name()
                ))),
            },
            other => Err(Raise::type_error(format!(
                "'{}' object doesn't support item deletion",
                other.type_name()
            ))),
        }
    }
}

enum Selected {
    One(Value),
    Many(Vec<Value>),
}

/// Python's `is`.
pub(crate) fn is(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::None, Value::None) | (Value::Ellipsis, Value::Ellipsis) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::DType(a), Value::DType(b)) => a == b,
        (Value::Namespace(a), Value::Namespace(b)) => a == b,
        (Value::Opaque(a), Value::Opaque(b)) => a == b,
        (Value::Bound(a), Value::Bound(b)) => is(&a.0, &b.0) && is(&a.1, &b.1),
        _ => left.identity().is_some() && left.identity() == right.identity(),
    }
}

/// A number at the nominal batch size.
fn nominal(value: &Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        Value::Dim(dim) => Some(dim.at(NOMINAL_BATCH) as f64),
        other => signature::number(other),
    }
}

pub(crate) fn range_len(start: i64, stop: i64, step: i64) -> i64 {
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let length = match step {
        0 => 0,
        1.. => (stop - start + step - 1).max(0) / step,
        _ => (start - stop - step - 1).max(0) / -step,
    };
    i64::try_from(length.max(0)).unwrap_or(i64::MAX)
}

fn position(index: &Value, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = match index {
        Value::Int(index) => *index,
        Value::Bool(flag) => i64::from(*flag),
        _ => return None,
    };
    let at = if index < 0 { index.checked_add(length)? } else { index };
    (0..length).contains(&at).then(|| usize::try_from(at).ok())?
}

fn slice_start(parts: &[Value; 3], length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let start = match parts[0] {
        Value::Int(start) if start < 0 => start.saturating_add(length).max(0),
        Value::Int(start) => start.min(length),
        _ => 0,
    };
    usize::try_from(start).unwrap_or(0)
}

/// Positions of a slice in a sequence, in order.
pub(crate) fn slice_positions(parts: &[Value; 3], length: usize) -> R<Vec<usize>> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let part = |value: &Value| match value {
        Value::None => Ok(None),
        Value::Int(int) => Ok(Some(*int)),
        Value::Bool(flag) => Ok(Some(i64::from(*flag))),
        Value::Dim(_) => Err(Raise::unsupported("a slice that depends on the batch is not supported")),
        _ => Err(Raise::type_error("slice indices must be integers or None or have an __index__ method")),
    };
    let step = part(&parts[2])?.unwrap_or(1);
    if step == 0 {
        return Err(Raise::value_error("slice step cannot be zero"));
    }
    let clamp = |value: Option<i64>, default: i64| {
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        match value {
            None => default,
            Some(value) if value < 0 => value.saturating_add(length).clamp(low, high),
            Some(value) => value.clamp(low, high),
        }
    };
    let (start, stop) = if step > 0 {
        (clamp(part(&parts[0])?, 0), clamp(part(&parts[1])?, length))
    } else {
        (clamp(part(&parts[0])?, length - 1), clamp(part(&parts[1])?, -1))
    };
    let mut positions = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        positions.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(positions)
}

fn overflow() -> Box<Raise> {
    Raise::limit("integers: expected at most 64 bits, got more")
}

fn zero_division(message: &str) -> Box<Raise> {
    Raise::python("ZeroDivisionError", message)
}

fn int_arithmetic(op: Operator, a: i64, b: i64) -> R<Value> {
    let checked = |value: Option<i64>| value.map(Value::Int).ok_or_else(overflow);
    match op {
        Operator::Add => checked(a.checked_add(b)),
        Operator::Sub => checked(a.checked_sub(b)),
        Operator::Mult => checked(a.checked_mul(b)),
        #[expect(clippy::cast_precision_loss, reason = "Python converts the same way")]
        Operator::Div if b != 0 => Ok(Value::Float(a as f64 / b as f64)),
        Operator::Div => Err(zero_division("division by zero")),
        Operator::FloorDiv | Operator::Mod if b == 0 => {
            Err(zero_division("integer division or modulo by zero"))
        }
        Operator::FloorDiv => {
            let quotient = a.checked_div(b).ok_or_else(overflow)?;
            Ok(Value::Int(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }))
        }
        Operator::Mod => {
            let rest = a.checked_rem(b).ok_or_else(overflow)?;
            Ok(Value::Int(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }))
        }
        Operator::Pow if b >= 0 => checked(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        #[expect(clippy::cast_precision_loss, reason = "Python converts the same way")]
        Operator::Pow => Ok(Value::Float((a as f64).powf(b as f64))),
        Operator::LShift => {
            let shift = u32::try_from(b).map_err(|_| Raise::value_error("negative shift count"))?;
            checked(1i64.checked_shl(shift).filter(|_| shift < 63).and_then(|factor| a.checked_mul(factor)))
        }
        Operator::RShift => Ok(Value::Int(a >> b.clamp(0, 63))),
        Operator::BitOr => Ok(Value::Int(a | b)),
        Operator::BitXor => Ok(Value::Int(a ^ b)),
        Operator::BitAnd => Ok(Value::Int(a & b)),
        Operator::MatMult => Err(Raise::type_error("unsupported operand type(s) for @: 'int' and 'int'")),
    }
}

fn float_arithmetic(op: Operator, a: f64, b: f64) -> R<Option<Value>> {
    let value = match op {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mult => a * b,
        Operator::Div | Operator::FloorDiv | Operator::Mod if b == 0.0 => {
            return Err(zero_division("float division by zero"));
        }
        Operator::Div => a / b,
        Operator::FloorDiv => (a / b).floor(),
        Operator::Mod => a - b * (a / b).floor(),
        Operator::Pow => a.powf(b),
        _ => return Ok(None),
    };
    Ok(Some(Value::Float(value)))
}

fn dim_arithmetic(op: Operator, a: Dim, b: Dim) -> R<Value> {
    let inexact = || Raise::unsupported("arithmetic on the batch size that is not linear in it");
    match op {
        Operator::Add => Ok(Value::from_dim(a.plus(b))),
        Operator::Sub => Ok(Value::from_dim(a.minus(b))),
        Operator::Mult => a.times(b).map(Value::from_dim).ok_or_else(inexact),
        Operator::FloorDiv | Operator::Div | Operator::Mod if b == Dim::fixed(0) => {
            Err(zero_division("integer division or modulo by zero"))
        }
        Operator::FloorDiv | Operator::Div => a.divided_by(b).map(Value::from_dim).ok_or_else(inexact),
        Operator::Mod => match b.known().and_then(|b| i64::try_from(b).ok()) {
            Some(b) if a.per_sample % b == 0 => Ok(Value::Int(a.fixed.rem_euclid(b))),
            _ => Err(inexact()),
        },
        _ => Err(inexact()),
    }
}

fn repeat(items: &[Value], count: usize) -> Vec<Value> {
    let mut all = Vec::with_capacity(items.len() * count);
    for _ in 0..count {
        all.extend_from_slice(items);
    }
    all
}

fn dunder(op: Operator) -> &'static str {
    match op {
        Operator::Add => "add",
        Operator::Sub => "sub",
        Operator::Mult => "mul",
        Operator::MatMult => "matmul",
        Operator::Div => "truediv",
        Operator::Mod => "mod",
        Operator::Pow => "pow",
        Operator::LShift => "lshift",
        Operator::RShift => "rshift",
        Operator::BitOr => "or",
        Operator::BitXor => "xor",
        Operator::BitAnd => "and",
        Operator::FloorDiv => "floordiv",
    }
}

fn no_len(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("object of type '{}' has no len()", value.type_name()))
}

fn not_subscriptable(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("'{}' object is not subscriptable", value.type_name()))
}

fn no_item_assignment(value: &Value) -> Box<Raise> {
    Raise::type_error(format!("'{}' object does not support item assignment", value.type_name()))
}
