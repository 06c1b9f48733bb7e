//! Operators on numbers, text, containers and objects with special methods.
//!
//! Input: values. Output: values, or Python's exceptions. Limit: integers have 64 bits; going over is a limit, not a
//! wrong number.

use ruff_python_ast::{Operator, UnaryOp};

use crate::graph::{DType, Dim};
use crate::lower::error::{R, Raise};
use crate::lower::interp::enums::plain;
use crate::lower::interp::{Args, Interp};
use crate::lower::torch::{self, signature};
use crate::lower::value::Value;

impl Interp<'_> {
    pub(crate) fn unary(&mut self, op: UnaryOp, value: &Value) -> R<Value> {
        match (op, value) {
            (UnaryOp::USub, Value::Int(int)) => int.checked_neg().map(Value::Int).ok_or_else(Raise::overflow),
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
            (UnaryOp::Invert, Value::Tensor(tensor)) => match torch::facts(self, tensor)?.dtype {
                DType::Bool => torch::call(self, "logical_not", vec![value.clone()]),
                DType::I64 => {
                    Err(Raise::unsupported("the bits of whole numbers in a tensor are not supported"))
                }
                _ => Err(Raise::type_error(
                    "~ (operator.invert) is only implemented on integer and Boolean-type tensors",
                )),
            },
            (_, Value::Opaque(name)) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            _ => {
                let special = match op {
                    UnaryOp::USub => "__neg__",
                    UnaryOp::UAdd => "__pos__",
                    _ => "__invert__",
                };
                if let Some(result) = self.special(value, special, Vec::new())? {
                    return Ok(result);
                }
                let message = format!("bad operand type for unary {}: '{}'", op.as_str(), value.type_name());
                Err(Raise::type_error(message))
            }
        }
    }

    /// `left op= right`: lists and tensors change in place.
    pub(crate) fn in_place(&mut self, op: Operator, left: &Value, right: &Value) -> R<Value> {
        if let (Value::List(items), Operator::Add) = (left, op) {
            self.extend(items, right)?;
            return Ok(left.clone());
        }
        if let (Value::Dict(_) | Value::Set(_), Operator::BitOr) = (left, op) {
            self.call_method(left, "update", Args::of(vec![right.clone()]))?;
            return Ok(left.clone());
        }
        if let (Value::List(items), Operator::Mult, Value::Int(_)) = (left, op, right) {
            if let Value::List(repeated) = self.binary(op, left, right)? {
                let repeated = repeated.borrow().clone();
                *items.borrow_mut() = repeated;
            }
            return Ok(left.clone());
        }
        if let Value::Object(_) = left
            && let Some(result) = self.special(left, &format!("__i{}__", dunder(op)), vec![right.clone()])?
        {
            return Ok(result);
        }
        if let Value::Tensor(target) = left
            && torch::augmented(self, target, op, right)?
        {
            return Ok(left.clone());
        }
        let since = self.builder.node_count();
        let result = self.binary(op, left, right)?;
        if let (Value::Tensor(target), Value::Tensor(source)) = (left, &result) {
            let source = &torch::cast_back(self, target, source)?;
            torch::saved::changing(self, since, |this| torch::rebind(this, target, source))?;
            return Ok(left.clone());
        }
        Ok(result)
    }

    pub(crate) fn binary(&mut self, op: Operator, left: &Value, right: &Value) -> R<Value> {
        // An array of numpy leaves a tensor's operators to the tensor.
        let array =
            |value: &Value| matches!(value, Value::Object(object) if &*object.class.name == "ndarray");
        let tensors = matches!((left, right), (Value::Tensor(_), _) | (_, Value::Tensor(_)));
        for (value, other, prefix) in [(left, right, ""), (right, left, "r")] {
            if let Value::Object(_) = value
                && !(tensors && array(value))
                && let Some(result) =
                    self.special(value, &format!("__{prefix}{}__", dunder(op)), vec![other.clone()])?
            {
                return Ok(result);
            }
        }
        let (plain_left, plain_right) = (plain(left), plain(right));
        let (left, right) = (plain_left.as_ref().unwrap_or(left), plain_right.as_ref().unwrap_or(right));
        if tensors {
            return torch::elementwise::operator(self, op, left, right);
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
        // `A | B` is a tuple of the classes, and one more makes it longer.
        let is_class = |value: &Value| matches!(value, Value::Class(_) | Value::None);
        let known = match left {
            Value::Tuple(union) => &union.items[..],
            _ => std::slice::from_ref(left),
        };
        if op == Operator::BitOr && known.iter().chain([right]).all(is_class) {
            return self.tuple(known.iter().chain([right]).cloned().collect());
        }
        let symbol = op.as_str();
        Err(Raise::type_error(format!(
            "unsupported operand type(s) for {symbol}: '{}' and '{}'",
            left.type_name(),
            right.type_name()
        )))
    }

    /// What a special method of an object gives; `None` where its class lacks it, or it gives `NotImplemented`.
    pub(crate) fn special(&mut self, value: &Value, name: &str, more: Vec<Value>) -> R<Option<Value>> {
        let Value::Object(object) = value else { return Ok(None) };
        match self.class_attr(&object.class, name, None) {
            Some(method) => {
                let result = self.call(&method, Args::of(more).prepend(value.clone()))?;
                Ok((!matches!(result, Value::NotImplemented)).then_some(result))
            }
            None => Ok(None),
        }
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
            (_, Value::View(_), _) | (_, _, Value::View(_)) => return self.binary_of_views(op, left, right),
            (Operator::BitOr, Value::Dict(a), Value::Dict(b)) => {
                let entries = a.borrow().entries().iter().chain(b.borrow().entries()).cloned().collect();
                let class = a.borrow().class.clone();
                self.dict_like(class, entries)?
            }
            (Operator::BitXor, Value::Set(_), Value::Set(_)) => {
                let (a, b) =
                    (self.binary(Operator::Sub, left, right)?, self.binary(Operator::Sub, right, left)?);
                self.binary(Operator::BitOr, &a, &b)?
            }
            (Operator::BitOr | Operator::BitAnd | Operator::Sub, Value::Set(a), Value::Set(b)) => {
                let (a, b) = (a.borrow(), b.borrow());
                self.tick(a.len() + b.len())?;
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
}

fn zero_division(message: &str) -> Box<Raise> {
    Raise::python("ZeroDivisionError", message)
}

fn int_arithmetic(op: Operator, a: i64, b: i64) -> R<Value> {
    let checked = |value: Option<i64>| value.map(Value::Int).ok_or_else(Raise::overflow);
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
            let quotient = a.checked_div(b).ok_or_else(Raise::overflow)?;
            Ok(Value::Int(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }))
        }
        Operator::Mod => {
            let rest = a.checked_rem(b).ok_or_else(Raise::overflow)?;
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
        Operator::FloorDiv => divided(a, b).0,
        Operator::Mod => divided(a, b).1,
        Operator::Pow if a == 0.0 && b < 0.0 => {
            return Err(zero_division("0.0 cannot be raised to a negative power"));
        }
        Operator::Pow => a.powf(b),
        _ => return Ok(None),
    };
    Ok(Some(Value::Float(value)))
}

/// Quotient and rest as Python computes them: the rest is exact and has the sign of the divisor.
fn divided(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    let mut whole = quotient.floor();
    if quotient - whole > 0.5 {
        whole += 1.0;
    }
    (if quotient == 0.0 { 0f64.copysign(a / b) } else { whole }, rest)
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
            // kN by mN, such as the sequences of a batch, told apart again.
            None if a.divided_by(b).is_some() => Ok(Value::Int(0)),
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
