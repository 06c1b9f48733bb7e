//! Text: `repr`, `str`, f-string and `%` formatting, and the methods of strings.
//!
//! Input: values and format specifications. Output: text as Python prints it, for what constructors and error messages
//! need. Limit: format specifications beyond fill, align, sign, width, grouping, precision and the types d, f, e, g,
//! s, x, b, %, are refused.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp};
use crate::lower::value::Value;

impl Interp<'_> {
    pub(crate) fn str_of(&mut self, value: &Value) -> R<String> {
        match value {
            Value::Str(text) => Ok(text.to_string()),
            Value::Object(object) => {
                if let Some(method) = self.class_attr(&object.class, "__str__", None) {
                    let result = self.call(&method, Args::of(vec![value.clone()]))?;
                    return self.str_of(&result);
                }
                if object.class.is_exception() {
                    let args = object.attrs.borrow().get("args").cloned();
                    return match args {
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
                for item in self.items_of(value) {
                    let part = self.repr(&item)?;
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
                    _ if parts.len() == 1 => format!("({inner},)"),
                    _ => format!("({inner})"),
                }
            }
            Value::Dict(dict) => {
                let entries = dict.borrow().entries().to_vec();
                let mut parts = Vec::new();
                let mut length = 0;
                for (name, value) in entries {
                    let part = format!("{}: {}", self.repr(&name)?, self.repr(&value)?);
                    length += part.len() + 2;
                    self.check_length("string", length, limit)?;
                    parts.push(part);
                }
                format!("{{{}}}", parts.join(", "))
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

    /// `format(value, spec)`.
    pub(crate) fn format(&mut self, value: &Value, spec: &str) -> R<String> {
        if spec.is_empty() {
            return self.str_of(value);
        }
        let chars: Vec<char> = spec.chars().collect();
        let mut at = 0;
        let (mut fill, mut align) = (' ', None);
        if chars.len() > 1 && matches!(chars[1], '<' | '>' | '^' | '=') {
            (fill, align, at) = (chars[0], Some(chars[1]), 2);
        } else if matches!(chars[0], '<' | '>' | '^' | '=') {
            (align, at) = (Some(chars[0]), 1);
        }
        let mut sign = '-';
        if at < chars.len() && matches!(chars[at], '+' | '-' | ' ') {
            sign = chars[at];
            at += 1;
        }
        if at < chars.len() && chars[at] == '0' && align.is_none() {
            (fill, align, at) = ('0', Some('='), at + 1);
        }
        let width = digits(&chars, &mut at).unwrap_or(0);
        let mut grouping = None;
        if at < chars.len() && matches!(chars[at], ',' | '_') {
            grouping = Some(chars[at]);
            at += 1;
        }
        let mut precision = None;
        if at < chars.len() && chars[at] == '.' {
            at += 1;
            precision = Some(digits(&chars, &mut at).unwrap_or(0));
        }
        let kind = chars.get(at).copied();
        if at + usize::from(kind.is_some()) != chars.len() {
            return Err(Raise::unsupported(format!("format specification '{spec}'")));
        }
        self.check_length("string", width.max(precision.unwrap_or(0)), self.limits.string_length.min(1000))?;
        let mut body = self.format_body(value, kind, precision, spec)?;
        let numeric = !matches!(value, Value::Str(_));
        if let Some(separator) = grouping {
            body = grouped(&body, separator);
        }
        if numeric && sign != '-' && !body.starts_with('-') {
            body.insert(0, sign);
        }
        let length = body.chars().count();
        if length >= width {
            return Ok(body);
        }
        let gap = width - length;
        let pad = |count: usize| fill.to_string().repeat(count);
        Ok(match align.unwrap_or(if numeric { '>' } else { '<' }) {
            '<' => body + &pad(gap),
            '^' => pad(gap / 2) + &body + &pad(gap - gap / 2),
            '=' if body.starts_with(['-', '+']) => format!("{}{}{}", &body[..1], pad(gap), &body[1..]),
            _ => pad(gap) + &body,
        })
    }

    fn format_body(
        &mut self,
        value: &Value,
        kind: Option<char>,
        precision: Option<usize>,
        spec: &str,
    ) -> R<String> {
        let number = crate::lower::torch::signature::number(value);
        Ok(match (kind, number) {
            (Some('f' | 'F'), Some(number)) => format!("{number:.*}", precision.unwrap_or(6)),
            (Some('%'), Some(number)) => format!("{:.*}%", precision.unwrap_or(6), number * 100.0),
            (Some('e'), Some(number)) => exponent(number, precision.unwrap_or(6)),
            (Some('d'), _) | (None, _) if precision.is_none() => self.str_of(value)?,
            (Some('x'), _) => match value {
                Value::Int(int) => format!("{int:x}"),
                _ => {
                    return Err(Raise::value_error(format!(
                        "Unknown format code 'x' for '{}'",
                        value.type_name()
                    )));
                }
            },
            (Some('b'), _) => match value {
                Value::Int(int) => format!("{int:b}"),
                _ => {
                    return Err(Raise::value_error(format!(
                        "Unknown format code 'b' for '{}'",
                        value.type_name()
                    )));
                }
            },
            (Some('s') | None, None) => {
                let text = self.str_of(value)?;
                match precision {
                    Some(precision) => text.chars().take(precision).collect(),
                    None => text,
                }
            }
            (Some('g') | None, Some(number)) => general(number, precision.unwrap_or(6).max(1)),
            _ => return Err(Raise::unsupported(format!("format specification '{spec}'"))),
        })
    }

    /// `format % values`.
    pub(crate) fn percent(&mut self, format: &str, values: &Value) -> R<String> {
        let mut values = match values {
            Value::Tuple(tuple) => tuple.items.clone(),
            other => vec![other.clone()],
        }
        .into_iter();
        let mut text = String::new();
        let mut chars = format.chars().peekable();
        while let Some(char) = chars.next() {
            if char != '%' {
                text.push(char);
                continue;
            }
            let mut spec = String::new();
            let kind = loop {
                match chars.next() {
                    Some(kind) if kind.is_ascii_alphabetic() || kind == '%' => break kind,
                    Some(part) => spec.push(part),
                    None => return Err(Raise::value_error("incomplete format")),
                }
            };
            if kind == '%' {
                text.push('%');
                continue;
            }
            let Some(value) = values.next() else {
                return Err(Raise::type_error("not enough arguments for format string"));
            };
            let part = match kind {
                'd' | 'i' => self.format(&value, &spec)?,
                's' => self.str_of(&value)?,
                'r' => self.repr(&value)?,
                kind => self.format(&value, &format!("{spec}{kind}"))?,
            };
            text.push_str(&part);
            self.check_length("string", text.len(), self.limits.string_length)?;
        }
        if values.next().is_some() {
            return Err(Raise::type_error("not all arguments converted during string formatting"));
        }
        Ok(text)
    }

    /// `text.format(...)`.
    fn format_method(&mut self, format: &str, args: &Args) -> R<String> {
        let mut text = String::new();
        let mut chars = format.chars().peekable();
        let mut next = 0;
        while let Some(char) = chars.next() {
            match char {
                '{' if chars.peek() == Some(&'{') => {
                    chars.next();
                    text.push('{');
                }
                '}' if chars.peek() == Some(&'}') => {
                    chars.next();
                    text.push('}');
                }
                '{' => {
                    let field: String = chars.by_ref().take_while(|&char| char != '}').collect();
                    let (name, spec) = field.split_once(':').unwrap_or((&field, ""));
                    let name = name.split('!').next().unwrap_or(name);
                    let value = if name.is_empty() {
                        next += 1;
                        args.positional.get(next - 1).cloned()
                    } else if let Ok(index) = name.parse::<usize>() {
                        args.positional.get(index).cloned()
                    } else {
                        args.named.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.clone())
                    };
                    let Some(value) = value else {
                        let message = "Replacement index out of range for positional args tuple";
                        return Err(Raise::python("IndexError", message));
                    };
                    let part = self.format(&value, spec)?;
                    text.push_str(&part);
                }
                char => text.push(char),
            }
            self.check_length("string", text.len(), self.limits.string_length)?;
        }
        Ok(text)
    }

    /// A method of a string.
    pub(crate) fn str_method(&mut self, text: &Rc<str>, name: &str, args: Args) -> R<Value> {
        self.tick(text.len() / 8 + 1)?;
        let arg = |index: usize| match args.positional.get(index) {
            Some(Value::Str(text)) => Some(Rc::clone(text)),
            _ => None,
        };
        let need = |index: usize| {
            arg(index)
                .ok_or_else(|| Raise::type_error(format!("str.{name}() argument {} must be str", index + 1)))
        };
        let set = |trimmed: Option<Rc<str>>| -> Vec<char> {
            trimmed.map_or_else(|| vec![' ', '\t', '\n', '\r'], |chars| chars.chars().collect())
        };
        match name {
            "lower" => self.text(text.to_lowercase()),
            "upper" => self.text(text.to_uppercase()),
            "capitalize" | "title" => {
                let mut chars = text.chars();
                let first =
                    chars.next().map(|char| char.to_uppercase().collect::<String>()).unwrap_or_default();
                self.text(first + &chars.as_str().to_lowercase())
            }
            "strip" => self.text(text.trim_matches(&set(arg(0))[..])),
            "lstrip" => self.text(text.trim_start_matches(&set(arg(0))[..])),
            "rstrip" => self.text(text.trim_end_matches(&set(arg(0))[..])),
            "startswith" | "endswith" => {
                let options = match args.positional.first() {
                    Some(Value::Tuple(tuple)) => tuple.items.clone(),
                    Some(value) => vec![value.clone()],
                    None => Vec::new(),
                };
                let matches = options.iter().any(|option| match option {
                    Value::Str(part) if name == "startswith" => text.starts_with(&**part),
                    Value::Str(part) => text.ends_with(&**part),
                    _ => false,
                });
                Ok(Value::Bool(matches))
            }
            "replace" => {
                let (from, to) = (need(0)?, need(1)?);
                let count = text.matches(&*from).count();
                self.check_length("string", text.len() + count * to.len(), self.limits.string_length)?;
                self.text(text.replace(&*from, &to))
            }
            "split" | "rsplit" => {
                let parts: Vec<Value> = match (arg(0), args.positional.get(1)) {
                    (None, _) => text.split_whitespace().map(Value::str).collect(),
                    (Some(separator), _) if separator.is_empty() => {
                        return Err(Raise::value_error("empty separator"));
                    }
                    (Some(separator), Some(Value::Int(limit))) if *limit >= 0 => {
                        let count = usize::try_from(*limit).unwrap_or(0) + 1;
                        if name == "split" {
                            text.splitn(count, &*separator).map(Value::str).collect()
                        } else {
                            let mut parts: Vec<Value> =
                                text.rsplitn(count, &*separator).map(Value::str).collect();
                            parts.reverse();
                            parts
                        }
                    }
                    (Some(separator), _) => text.split(&*separator).map(Value::str).collect(),
                };
                self.list(parts)
            }
            "join" => {
                let items = match args.positional.first() {
                    Some(value) => self.iterate(value)?,
                    None => return Err(Raise::type_error("str.join() takes exactly one argument (0 given)")),
                };
                let mut result = String::new();
                for (index, item) in items.iter().enumerate() {
                    let Value::Str(part) = item else {
                        let got = item.type_name();
                        let message = format!("sequence item {index}: expected str instance, {got} found");
                        return Err(Raise::type_error(message));
                    };
                    if index > 0 {
                        result.push_str(text);
                    }
                    result.push_str(part);
                    self.check_length("string", result.len(), self.limits.string_length)?;
                }
                self.text(result)
            }
            "format" => {
                let result = self.format_method(text, &args)?;
                self.text(result)
            }
            "splitlines" => {
                let lines = text.lines().map(Value::str).collect();
                self.list(lines)
            }
            "swapcase" => {
                let swapped = text.chars().map(|char| match char.is_uppercase() {
                    true => char.to_lowercase().collect::<String>(),
                    false => char.to_uppercase().collect(),
                });
                let swapped: String = swapped.collect();
                self.text(swapped)
            }
            "removeprefix" => self.text(text.strip_prefix(&*need(0)?).unwrap_or(text)),
            "removesuffix" => self.text(text.strip_suffix(&*need(0)?).unwrap_or(text)),
            "center" | "ljust" | "rjust" | "zfill" => {
                let Some(Value::Int(width)) = args.positional.first() else {
                    return Err(Raise::type_error(format!("str.{name}() argument 1 must be an integer")));
                };
                let align = match name {
                    "center" => "^",
                    "ljust" => "<",
                    _ => ">",
                };
                let fill = if name == "zfill" {
                    "0".to_owned()
                } else {
                    arg(1).map_or(" ".to_owned(), |c| c.to_string())
                };
                let padded =
                    self.format(&Value::Str(Rc::clone(text)), &format!("{fill}{align}{}", (*width).max(0)))?;
                self.text(padded)
            }
            "islower" => {
                Ok(Value::Bool(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)))
            }
            "isupper" => {
                Ok(Value::Bool(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)))
            }
            "isspace" => Ok(Value::Bool(!text.is_empty() && text.chars().all(char::is_whitespace))),
            "isalnum" => Ok(Value::Bool(!text.is_empty() && text.chars().all(char::is_alphanumeric))),
            "isidentifier" => {
                let first = text.chars().next().is_some_and(|char| char.is_alphabetic() || char == '_');
                Ok(Value::Bool(first && text.chars().all(|char| char.is_alphanumeric() || char == '_')))
            }
            "index" => {
                let at = self.str_method(text, "find", args.clone())?;
                match at {
                    Value::Int(-1) => Err(Raise::value_error("substring not found")),
                    at => Ok(at),
                }
            }
            "find" => {
                let at = text
                    .find(&*need(0)?)
                    .map_or(-1, |at| i64::try_from(text[..at].chars().count()).unwrap_or(-1));
                Ok(Value::Int(at))
            }
            "count" => {
                let part = need(0)?;
                let count =
                    if part.is_empty() { text.chars().count() + 1 } else { text.matches(&*part).count() };
                Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            "isdigit" | "isnumeric" => {
                Ok(Value::Bool(!text.is_empty() && text.chars().all(|char| char.is_ascii_digit())))
            }
            "isalpha" => Ok(Value::Bool(!text.is_empty() && text.chars().all(char::is_alphabetic))),
            "partition" => {
                let separator = need(0)?;
                let parts = match text.split_once(&*separator) {
                    Some((a, b)) => vec![Value::str(a), Value::Str(separator), Value::str(b)],
                    None => vec![Value::Str(Rc::clone(text)), Value::str(""), Value::str("")],
                };
                self.tuple(parts)
            }
            _ => Err(Raise::unsupported(format!("str.{name} is not supported"))),
        }
    }
}

fn digits(chars: &[char], at: &mut usize) -> Option<usize> {
    let start = *at;
    while *at < chars.len() && chars[*at].is_ascii_digit() {
        *at += 1;
    }
    chars[start..*at].iter().collect::<String>().parse().ok()
}

fn grouped(body: &str, separator: char) -> String {
    let (whole, rest) = body.split_at(body.find('.').unwrap_or(body.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut text = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(separator);
        }
        text.push(digit);
    }
    text + rest
}

fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, power)) => {
            let (sign, digits) = match power.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', power),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

fn general(number: f64, precision: usize) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of a float is small")]
    let power = if number == 0.0 { 0 } else { number.abs().log10().floor() as i64 };
    let trim = |text: String| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    if power < -4 || power >= i64::try_from(precision).unwrap_or(i64::MAX) {
        let text = exponent(number, precision - 1);
        return match text.split_once('e') {
            Some((mantissa, power)) => format!("{}e{power}", trim(mantissa.to_owned())),
            None => text,
        };
    }
    let decimals = usize::try_from(i64::try_from(precision).unwrap_or(0) - 1 - power).unwrap_or(0);
    trim(format!("{number:.decimals$}"))
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
