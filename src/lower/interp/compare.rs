//! Truth, identity, equality, order and membership.
//!
//! Input: values. Output: whether they are true, the same, equal, in order, or contained. Sizes that depend on the
//! batch are compared at [`NOMINAL_BATCH`]. Limit: what depends on the values of a tensor is refused.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::CmpOp;

use crate::graph::NOMINAL_BATCH;
use crate::lower::error::{R, Raise};
use crate::lower::interp::items::range_len;
use crate::lower::interp::{Args, Interp, Mode};
use crate::lower::torch::{self, signature};
use crate::lower::value::{Dict, Value};

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
            Value::View(view) => view.len() > 0,
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

    pub(crate) fn compare(&mut self, op: CmpOp, left: &Value, right: &Value) -> R<Value> {
        if let (Value::Training { .. }, other) | (other, Value::Training { .. }) = (left, right)
            && matches!(op, CmpOp::Is | CmpOp::IsNot)
            && matches!(other, Value::Bool(_) | Value::Training { .. })
        {
            let same = self.truth(left)? == self.truth(right)?;
            return Ok(Value::Bool(same == (op == CmpOp::Is)));
        }
        let result = match op {
            CmpOp::Is => is(left, right),
            CmpOp::IsNot => !is(left, right),
            CmpOp::In => self.contains(right, left)?,
            CmpOp::NotIn => !self.contains(right, left)?,
            _ => {
                if let (Value::Object(_), _) | (_, Value::Object(_)) = (left, right)
                    && let Some(result) = self.compared(op, left, right)?
                {
                    return Ok(result);
                }
                if let (Value::Tensor(_), _) | (_, Value::Tensor(_)) = (left, right) {
                    return torch::elementwise::comparison(self, op, left, right);
                }
                match op {
                    CmpOp::Eq => self.equal(left, right)?,
                    CmpOp::NotEq => !self.equal(left, right)?,
                    _ => match self.in_order(left, right)? {
                        Some((left, right)) => self.ordered(op, &left, &right)?,
                        None => self.ordered(op, left, right)?,
                    },
                }
            }
        };
        Ok(Value::Bool(result))
    }

    /// What the special methods of objects make of a comparison.
    fn compared(&mut self, op: CmpOp, left: &Value, right: &Value) -> R<Option<Value>> {
        let (name, reflected) = match op {
            CmpOp::Eq => ("__eq__", "__eq__"),
            CmpOp::NotEq => ("__ne__", "__ne__"),
            CmpOp::Lt => ("__lt__", "__gt__"),
            CmpOp::LtE => ("__le__", "__ge__"),
            CmpOp::Gt => ("__gt__", "__lt__"),
            _ => ("__ge__", "__le__"),
        };
        if let Some(result) = self.special(left, name, vec![right.clone()])? {
            return Ok(Some(result));
        }
        if let Some(result) = self.special(right, reflected, vec![left.clone()])? {
            return Ok(Some(result));
        }
        // `!=` is the opposite of `==` where a class says nothing else.
        if op == CmpOp::NotEq
            && let Some(result) = self.special(left, "__eq__", vec![right.clone()])?
        {
            return Ok(Some(Value::Bool(!self.truth(&result)?)));
        }
        Ok(None)
    }

    fn ordered(&mut self, op: CmpOp, left: &Value, right: &Value) -> R<bool> {
        use std::cmp::Ordering;
        let ordering = match (left, right) {
            (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
            (Value::Set(a), Value::Set(b)) => {
                // Sets are ordered by inclusion.
                let (a, b) = if matches!(op, CmpOp::Lt | CmpOp::LtE) { (a, b) } else { (b, a) };
                let within = self.includes(b, a)?;
                let longer = a.borrow().len() < b.borrow().len();
                return Ok(within && (longer || matches!(op, CmpOp::LtE | CmpOp::GtE)));
            }
            (Value::Set(_) | Value::View(_), Value::Set(_) | Value::View(_))
                if let Some((left, right)) = self.as_sets(left, right)? =>
            {
                return self.ordered(op, &left, &right);
            }
            (Value::List(_), Value::List(_)) | (Value::Tuple(_), Value::Tuple(_)) => {
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
        let (plain_left, plain_right) = (super::enums::plain(left), super::enums::plain(right));
        let (left, right) = (plain_left.as_ref().unwrap_or(left), plain_right.as_ref().unwrap_or(right));
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
            (Value::Set(a), Value::Set(b)) => a.borrow().len() == b.borrow().len() && self.includes(b, a)?,
            (Value::Set(_) | Value::View(_), Value::Set(_) | Value::View(_))
                if let Some((left, right)) = self.as_sets(left, right)? =>
            {
                self.equal(&left, &right)?
            }
            (Value::Range(start, stop, step), Value::Range(other, end, stride)) => {
                let length = range_len(*start, *stop, *step);
                length == range_len(*other, *end, *stride)
                    && (length == 0 || (start == other && (length == 1 || step == stride)))
            }
            (Value::Object(_), _) | (_, Value::Object(_)) => match self.compared(CmpOp::Eq, left, right)? {
                Some(result) => self.truth(&result)?,
                None => match self.compared_fields(left, right)? {
                    Some(equal) => equal,
                    None => is(left, right),
                },
            },
            (Value::Opaque(a), Value::Opaque(b)) => a == b,
            // The types that are not supported are none of those that are.
            (Value::Opaque(name), Value::DType(_)) | (Value::DType(_), Value::Opaque(name))
                if crate::lower::torch::unsupported::is_type(name) =>
            {
                false
            }
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

    /// Whether a set has all elements of another.
    fn includes(&mut self, set: &RefCell<Dict>, other: &RefCell<Dict>) -> R<bool> {
        let items = other.borrow().keys();
        self.tick(items.len())?;
        for item in items {
            if !set.borrow().contains(&self.key(&item)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the `__eq__` that `@dataclass` writes says of two objects, where there is one.
    fn compared_fields(&mut self, left: &Value, right: &Value) -> R<Option<bool>> {
        let (Value::Object(a), Value::Object(b)) = (left, right) else { return Ok(None) };
        if !Rc::ptr_eq(&a.class, &b.class) || self.dataclass_option(&a.class, "eq", true)? != Some(true) {
            return Ok(None);
        }
        for field in self.dataclass_fields(&a.class, "compare")? {
            let (a, b) = (self.get_attr(left, &field)?, self.get_attr(right, &field)?);
            if !self.deeper(|this| this.equal(&a, &b))? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    pub(crate) fn contains(&mut self, container: &Value, item: &Value) -> R<bool> {
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
        let walk = self.iter(container)?;
        while let Some(other) = self.next_of(&walk)? {
            if is(&other, item) || self.equal(&other, item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
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
        Value::Object(_) => signature::number(&super::enums::plain(value)?),
        other => signature::number(other),
    }
}
