//! Values as text: `repr` and `str`.
//!
//! Input: values. Output: text as Python prints it, for what constructors and error messages need. Limit: what has no
//! text of its own is shown by its type.

use std::rc::Rc;

use crate::lower::error::R;
use crate::lower::interp::{Args, Interp};
use crate::lower::value::{DictClass, Object, Value};

impl Interp<'_> {
    pub(crate) fn str_of(&mut self, value: &Value) -> R<String> {
        match value {
            Value::Str(text) => Ok(text.to_string()),
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__str__", None) {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return self.str_of(&result);
                }
                if object.class.is_enum() {
                    let plain =
                        object.class.lineage().any(|class| matches!(&*class.name, "IntEnum" | "StrEnum"));
                    let part = |name: &str| object.attrs.borrow().get(name).cloned().unwrap_or(Value::None);
                    return match plain {
                        true => self.str_of(&part("value")),
                        false => Ok(format!("{}.{}", object.class.name, self.str_of(&part("name"))?)),
                    };
                }
                if object.class.is_exception() {
                    let args = object.attrs.borrow().get("args").cloned();
                    return match args {
                        // So that an empty key is seen.
                        Some(Value::Tuple(tuple)) if tuple.items.len() == 1 && is_key_error(object) => {
                            self.repr(&tuple.items[0])
                        }
                        Some(Value::Tuple(tuple)) if tuple.items.len() == 1 => self.str_of(&tuple.items[0]),
                        Some(Value::Tuple(tuple)) if tuple.items.is_empty() => Ok(String::new()),
                        Some(args) => self.repr(&args),
                        None => Ok(String::new()),
                    };
                }
                self.repr(value)
            }
            other => self.repr(other),
        }
    }

    pub(crate) fn repr(&mut self, value: &Value) -> R<String> {
        self.tick(1)?;
        self.deeper(|this| this.repr_inner(value))
    }

    fn repr_inner(&mut self, value: &Value) -> R<String> {
        let limit = self.limits.string_length;
        let text = match value {
            Value::None => "None".to_owned(),
            Value::Ellipsis => "Ellipsis".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(int) => int.to_string(),
            Value::Dim(dim) => dim.to_string(),
            Value::Float(float) => float_repr(*float),
            Value::Str(text) => quoted(text),
            Value::List(_) | Value::Tuple(_) | Value::Set(_) => {
                let mut parts = Vec::new();
                let mut length = 0;
                let named = match value {
                    Value::Tuple(tuple) => tuple.named.clone().filter(|named| named.class.is_some()),
                    _ => None,
                };
                for (at, item) in self.items_of(value).into_iter().enumerate() {
                    let mut part = self.repr(&item)?;
                    if let Some(field) = named.as_ref().and_then(|named| named.fields.get(at)) {
                        part = format!("{field}={part}");
                    }
                    length += part.len() + 2;
                    self.check_length("string", length, limit)?;
                    parts.push(part);
                }
                let inner = parts.join(", ");
                match value {
                    Value::List(_) => format!("[{inner}]"),
                    Value::Set(_) if parts.is_empty() => "set()".to_owned(),
                    Value::Set(_) => format!("{{{inner}}}"),
                    Value::Tuple(tuple) if tuple.size => format!("torch.Size([{inner}])"),
                    Value::Tuple(_) if let Some(named) = &named => format!("{}({inner})", named.name),
                    _ if parts.len() == 1 => format!("({inner},)"),
                    _ => format!("({inner})"),
                }
            }
            Value::View(view) => {
                let items = self.shown(view)?;
                let items = self.list(items)?;
                format!("{}({})", view.type_name(), self.repr(&items)?)
            }
            Value::Dict(dict) => {
                let (entries, class) = (dict.borrow().entries().to_vec(), dict.borrow().class.clone());
                let mut parts = Vec::new();
                let mut length = 0;
                for (name, value) in entries {
                    let (name, value) = (self.repr(&name)?, self.repr(&value)?);
                    let part = match class {
                        DictClass::Ordered => format!("({name}, {value})"),
                        _ => format!("{name}: {value}"),
                    };
                    length += part.len() + 2;
                    self.check_length("string", length, limit)?;
                    parts.push(part);
                }
                let text = format!("{{{}}}", parts.join(", "));
                match class {
                    DictClass::Plain => text,
                    DictClass::Ordered if parts.is_empty() => "OrderedDict()".to_owned(),
                    DictClass::Ordered => format!("OrderedDict([{}])", parts.join(", ")),
                    DictClass::Defaulting(factory) => {
                        let factory = self.repr(&factory.unwrap_or(Value::None))?;
                        format!("defaultdict({factory}, {text})")
                    }
                }
            }
            Value::Range(start, stop, 1) => format!("range({start}, {stop})"),
            Value::Range(start, stop, step) => format!("range({start}, {stop}, {step})"),
            Value::Class(class) => format!("<class '{}'>", class.name),
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__repr__", None) {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return self.str_of(&result);
                }
                if object.class.is_exception() {
                    let args = object.attrs.borrow().get("args").cloned().unwrap_or(Value::None);
                    return Ok(format!("{}{}", object.class.name, self.repr(&args)?));
                }
                if object.class.is_enum() {
                    let part = |name: &str| object.attrs.borrow().get(name).cloned().unwrap_or(Value::None);
                    let (name, value) = (self.str_of(&part("name"))?, self.repr(&part("value"))?);
                    return Ok(format!("<{}.{name}: {value}>", object.class.name));
                }
                let class = Rc::clone(&object.class);
                if self.dataclass_option(&class, "repr", true)? == Some(true) {
                    let mut parts = Vec::new();
                    for field in self.dataclass_fields(&class, "repr")? {
                        let shown = self.get_attr(value, &field)?;
                        parts.push(format!("{field}={}", self.repr(&shown)?));
                    }
                    return Ok(format!("{}({})", class.name, parts.join(", ")));
                }
                format!("<{} object>", object.class.name)
            }
            Value::DType(dtype) => format!("torch.{}", dtype.name()),
            other => format!("<{}>", other.type_name()),
        };
        self.check_length("string", text.len(), limit)?;
        Ok(text)
    }

    fn items_of(&self, value: &Value) -> Vec<Value> {
        match value {
            Value::List(items) => items.borrow().clone(),
            Value::Tuple(tuple) => tuple.items.clone(),
            Value::Set(set) => set.borrow().keys(),
            _ => Vec::new(),
        }
    }
}

fn is_key_error(object: &Object) -> bool {
    object.class.lineage().any(|class| &*class.name == "KeyError")
}

/// A float as `repr` prints it.
pub(crate) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number != 0.0 && (number.abs() >= 1e16 || number.abs() < 1e-4) {
        let text = format!("{number:e}");
        return match text.split_once('e') {
            Some((mantissa, power)) => match power.strip_prefix('-') {
                Some(digits) => format!("{mantissa}e-{digits:0>2}"),
                None => format!("{mantissa}e+{power:0>2}"),
            },
            None => text,
        };
    }
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut result = String::from(quote);
    for char in text.chars() {
        match char {
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            '\r' => result.push_str("\\r"),
            '\\' => result.push_str("\\\\"),
            char if char == quote => {
                result.push('\\');
                result.push(char);
            }
            char => result.push(char),
        }
    }
    result.push(quote);
    result
}
