//! Formatting: f-strings, `format`, `str.format` and `%`.
//!
//! Input: values and format specifications. Output: text as Python prints it. Limit: specifications beyond fill, align,
//! sign, width, grouping, precision and the types b, c, d, e, f, g, n, o, s, x, % are refused.

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp};
use crate::lower::torch;
use crate::lower::value::Value;

/// Fields within a field's specification: Python's limit.
const NESTED: usize = 2;

impl Interp<'_> {
    /// `format(value, spec)`.
    pub(crate) fn format(&mut self, value: &Value, spec: &str) -> R<String> {
        if let Value::Object(_) = value
            && let Some(result) = self.special(value, "__format__", vec![Value::str(spec)])?
        {
            return self.str_of(&result);
        }
        if spec.is_empty() {
            return self.str_of(value);
        }
        let plain = match value {
            Value::Object(object) if object.class.is_enum() => {
                // As `str`, but those that are numbers or text first.
                let first = object.class.lineage().any(|class| matches!(&*class.name, "IntEnum" | "StrEnum"));
                match super::enums::plain(value).filter(|_| first) {
                    Some(member) => member,
                    None => Value::str(self.str_of(value)?),
                }
            }
            Value::Tensor(_) => torch::call_tensor_method(self, value, "item", Args::default())?,
            value => value.clone(),
        };
        match &plain {
            Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Dim(_) => {
                self.format_plain(&plain, spec)
            }
            Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => Err(Raise::type_error(format!(
                "unsupported format string passed to {}.__format__",
                other.type_name()
            ))),
        }
    }

    fn format_plain(&mut self, value: &Value, spec: &str) -> R<String> {
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
        let mut alternate = false;
        if at < chars.len() && chars[at] == '#' {
            (alternate, at) = (true, at + 1);
        }
        if at < chars.len() && chars[at] == '0' {
            if align.is_none() {
                (fill, align) = ('0', Some('='));
            }
            at += 1;
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
            match digits(&chars, &mut at) {
                Some(digits) => precision = Some(digits),
                None => return Err(Raise::value_error("Format specifier missing precision")),
            }
        }
        let kind = chars.get(at).copied();
        if at + usize::from(kind.is_some()) != chars.len() {
            return Err(Raise::value_error(format!("Invalid format specifier '{spec}'")));
        }
        self.check_length("string", width.max(precision.unwrap_or(0)), self.limits.string_length.min(1000))?;
        let numeric = !matches!(value, Value::Str(_));
        if alternate && (!numeric || !matches!(kind, Some('x' | 'X' | 'o' | 'b'))) {
            return Err(Raise::unsupported(format!("format specification '{spec}'")));
        }
        let mut body = self.format_body(value, kind, precision, spec)?;
        if let (true, Some(kind)) = (alternate, kind) {
            let sign = usize::from(body.starts_with('-'));
            body.insert_str(sign, &format!("0{kind}"));
        }
        if let Some(separator) = grouping {
            if fill == '0' && align == Some('=') && body.len() < width {
                return Err(Raise::unsupported(format!("format specification '{spec}'")));
            }
            body = grouped(&body, separator);
        }
        if numeric && sign != '-' && !body.starts_with('-') {
            body.insert(0, sign);
        }
        let length = body.chars().count();
        if length >= width {
            return Ok(body);
        }
        if !numeric && align == Some('=') && fill != '0' {
            return Err(Raise::value_error("'=' alignment not allowed in string format specifier"));
        }
        let gap = width - length;
        let pad = |count: usize| fill.to_string().repeat(count);
        Ok(match align.unwrap_or(if numeric { '>' } else { '<' }) {
            '<' => body + &pad(gap),
            '=' if !numeric => body + &pad(gap),
            '^' => pad(gap / 2) + &body + &pad(gap - gap / 2),
            '=' if body.starts_with(['-', '+', ' ']) => format!("{}{}{}", &body[..1], pad(gap), &body[1..]),
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
        let unknown = |kind: char| {
            let got = value.type_name();
            Raise::value_error(format!("Unknown format code '{kind}' for object of type '{got}'"))
        };
        let whole = match value {
            Value::Int(int) => Some(*int),
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        };
        if let Value::Str(text) = value {
            return match (kind, precision) {
                (Some('s') | None, Some(precision)) => Ok(text.chars().take(precision).collect()),
                (Some('s') | None, None) => Ok(text.to_string()),
                (Some(kind), _) => Err(unknown(kind)),
            };
        }
        if let Value::Dim(_) = value {
            return match kind {
                None | Some('d') => self.str_of(value),
                _ => Err(Raise::unsupported(format!("format specification '{spec}' of the batch size"))),
            };
        }
        if let (Some(int), None | Some('d' | 'n' | 'x' | 'X' | 'o' | 'b' | 'c')) = (whole, kind) {
            if precision.is_some() {
                return Err(Raise::value_error("Precision not allowed in integer format specifier"));
            }
            let sign = if int < 0 { "-" } else { "" };
            let size = int.unsigned_abs();
            return Ok(match kind {
                Some('x') => format!("{sign}{size:x}"),
                Some('X') => format!("{sign}{size:X}"),
                Some('o') => format!("{sign}{size:o}"),
                Some('b') => format!("{sign}{size:b}"),
                Some('c') => u32::try_from(int)
                    .ok()
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or_else(|| Raise::python("OverflowError", "%c arg not in range(0x110000)"))?,
                _ => int.to_string(),
            });
        }
        let Some(number) = torch::signature::number(value) else {
            return Err(Raise::unsupported(format!("format specification '{spec}'")));
        };
        if !number.is_finite() && matches!(kind, None | Some('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%' | 'n')) {
            let text = super::text::float_repr(number);
            return Ok(match kind {
                Some('F' | 'E' | 'G') => text.to_uppercase(),
                Some('%') => text + "%",
                _ => text,
            });
        }
        Ok(match kind {
            Some('f' | 'F') => format!("{number:.*}", precision.unwrap_or(6)),
            Some('%') => format!("{:.*}%", precision.unwrap_or(6), number * 100.0),
            Some('e') => exponent(number, precision.unwrap_or(6)),
            Some('E') => exponent(number, precision.unwrap_or(6)).to_uppercase(),
            Some('g' | 'n') => general(number, precision.unwrap_or(6), false),
            Some('G') => general(number, precision.unwrap_or(6), false).to_uppercase(),
            None => match precision {
                Some(precision) => general(number, precision, true),
                None => super::text::float_repr(number),
            },
            Some(kind) => return Err(unknown(kind)),
        })
    }

    /// `format % values`.
    pub(crate) fn percent(&mut self, format: &str, values: &Value) -> R<String> {
        let mut rest = match values {
            Value::Tuple(tuple) => tuple.items.clone(),
            other => vec![other.clone()],
        }
        .into_iter();
        let mut by_name = false;
        let mut text = String::new();
        let mut chars = format.chars().peekable();
        while let Some(char) = chars.next() {
            if char != '%' {
                text.push(char);
                continue;
            }
            let mut key = None;
            if chars.next_if_eq(&'(').is_some() {
                key = Some(chars.by_ref().take_while(|&char| char != ')').collect::<String>());
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
            let value = match key {
                Some(key) => {
                    if !matches!(values, Value::Dict(_)) {
                        return Err(Raise::type_error("format requires a mapping"));
                    }
                    by_name = true;
                    self.get_item(values, &Value::str(key))?
                }
                None => {
                    rest.next().ok_or_else(|| Raise::type_error("not enough arguments for format string"))?
                }
            };
            let part = self.percent_field(&value, &spec, kind)?;
            text.push_str(&part);
            self.check_length("string", text.len(), self.limits.string_length)?;
        }
        if rest.next().is_some() && !by_name && !matches!(values, Value::Dict(_)) {
            return Err(Raise::type_error("not all arguments converted during string formatting"));
        }
        Ok(text)
    }

    /// One `%` field: flags, width and precision in `spec`.
    fn percent_field(&mut self, value: &Value, spec: &str, kind: char) -> R<String> {
        let flags_end = spec.find(|char| !matches!(char, '-' | '+' | ' ' | '0' | '#')).unwrap_or(spec.len());
        let (flags, size) = spec.split_at(flags_end);
        let (width, precision) = match size.split_once('.') {
            Some((width, precision)) => (width, Some(if precision.is_empty() { "0" } else { precision })),
            None => (size, None),
        };
        let number = |text: &str| text.chars().all(|char| char.is_ascii_digit());
        if flags.contains('#') || !number(width) || !precision.is_none_or(number) {
            return Err(Raise::unsupported(format!("format '%{spec}{kind}'")));
        }
        let left = flags.contains('-');
        let precision = precision.map(|digits| format!(".{digits}")).unwrap_or_default();
        if matches!(kind, 's' | 'r' | 'a') {
            let text = if kind == 's' { self.str_of(value)? } else { self.repr(value)? };
            let align = if left { '<' } else { '>' };
            return self.format(&Value::str(text), &format!("{align}{width}{precision}"));
        }
        let sign =
            ['+', ' '].into_iter().find(|&sign| flags.contains(sign)).map(String::from).unwrap_or_default();
        let align = if left { "<" } else { "" };
        let zero = if flags.contains('0') && !left { "0" } else { "" };
        let (value, kind) = match kind {
            'd' | 'i' | 'u' => {
                if !precision.is_empty() {
                    return Err(Raise::unsupported(format!("format '%{spec}{kind}'")));
                }
                let whole = match value {
                    Value::Int(_) | Value::Dim(_) => value.clone(),
                    Value::Str(_) | Value::None | Value::List(_) | Value::Tuple(_) | Value::Dict(_) => {
                        let got = value.type_name();
                        let message = format!("%{kind} format: a real number is required, not {got}");
                        return Err(Raise::type_error(message));
                    }
                    other => torch::whole(self.real_of(other)?.trunc())?,
                };
                (whole, 'd')
            }
            'c' => {
                return match value {
                    Value::Str(text) if text.chars().count() == 1 => {
                        self.format(value, &format!("{}{width}", if left { '<' } else { '>' }))
                    }
                    Value::Int(_) => {
                        let char = self.format(value, "c")?;
                        self.format(&Value::str(char), &format!("{}{width}", if left { '<' } else { '>' }))
                    }
                    _ => Err(Raise::type_error("%c requires int or char")),
                };
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' => (Value::Float(self.real_of(value)?), kind),
            'x' | 'X' | 'o' => match value {
                Value::Int(_) | Value::Bool(_) => (value.clone(), kind),
                other => {
                    let got = other.type_name();
                    let message = format!("%{kind} format: an integer is required, not {got}");
                    return Err(Raise::type_error(message));
                }
            },
            other => return Err(Raise::value_error(format!("unsupported format character '{other}'"))),
        };
        self.format(&value, &format!("{align}{sign}{zero}{width}{precision}{kind}"))
    }

    /// `text.format(...)`.
    pub(crate) fn format_method(&mut self, format: &str, args: &Args) -> R<String> {
        self.format_fields(format, args, &mut 0, NESTED)
    }

    fn format_fields(&mut self, format: &str, args: &Args, next: &mut usize, depth: usize) -> R<String> {
        if depth == 0 {
            return Err(Raise::value_error("Max string recursion exceeded"));
        }
        let mut text = String::new();
        let mut chars = format.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '{' if chars.next_if_eq(&'{').is_some() => text.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => text.push('}'),
                '}' => return Err(Raise::value_error("Single '}' encountered in format string")),
                '{' => {
                    let mut field = String::new();
                    let mut open = 1;
                    for char in chars.by_ref() {
                        match char {
                            '{' => open += 1,
                            '}' => open -= 1,
                            _ => {}
                        }
                        if open == 0 {
                            break;
                        }
                        field.push(char);
                    }
                    if open > 0 {
                        return Err(Raise::value_error("expected '}' before end of string"));
                    }
                    let (name, spec) = field.split_once(':').unwrap_or((&field, ""));
                    let (name, conversion) = match name.split_once('!') {
                        Some((name, conversion)) => (name, Some(conversion)),
                        None => (name, None),
                    };
                    let mut value = self.field_value(name, args, next)?;
                    match conversion {
                        None => {}
                        Some("s") => value = Value::str(self.str_of(&value)?),
                        Some("r" | "a") => value = Value::str(self.repr(&value)?),
                        Some(other) => {
                            let message = format!("Unknown conversion specifier {other}");
                            return Err(Raise::value_error(message));
                        }
                    }
                    let spec = match spec.contains(['{', '}']) {
                        true => self.format_fields(spec, args, next, depth - 1)?,
                        false => spec.to_owned(),
                    };
                    let part = self.format(&value, &spec)?;
                    text.push_str(&part);
                }
                char => text.push(char),
            }
            self.check_length("string", text.len(), self.limits.string_length)?;
        }
        Ok(text)
    }

    /// What a field of `str.format` names: an argument, its attributes and its items.
    fn field_value(&mut self, name: &str, args: &Args, next: &mut usize) -> R<Value> {
        let first_end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut path) = name.split_at(first_end);
        let found = if first.is_empty() {
            *next += 1;
            args.positional.get(*next - 1).cloned()
        } else if let Ok(index) = first.parse::<usize>() {
            args.positional.get(index).cloned()
        } else {
            let named = args.named.iter().find(|(known, _)| &**known == first);
            return match named {
                Some((_, value)) => {
                    let value = value.clone();
                    self.follow_field(value, path)
                }
                None => Err(Raise::python("KeyError", format!("'{first}'"))),
            };
        };
        match found {
            Some(value) => self.follow_field(value, std::mem::take(&mut path)),
            None => {
                let index = first.parse().unwrap_or(next.saturating_sub(1));
                let message = format!("Replacement index {index} out of range for positional args tuple");
                Err(Raise::python("IndexError", message))
            }
        }
    }

    /// `.name` and `[key]` behind the name of a field.
    fn follow_field(&mut self, mut value: Value, mut path: &str) -> R<Value> {
        while !path.is_empty() {
            self.tick(1)?;
            if let Some(rest) = path.strip_prefix('.') {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                value = self.get_attr(&value, &rest[..end])?;
                path = &rest[end..];
            } else if let Some((key, rest)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let key = key.parse().map_or_else(|_| Value::str(key), Value::Int);
                value = self.get_item(&value, &key)?;
                path = rest;
            } else {
                return Err(Raise::value_error("Only '.' or '[' may follow ']' in format field specifier"));
            }
        }
        Ok(value)
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

/// A number with so many digits, as `g` writes it. `pointed` is what `format` does without a type: a whole number
/// keeps a digit behind its point.
fn general(number: f64, precision: usize, pointed: bool) -> String {
    let precision = precision.max(1);
    let scientific = exponent(number, precision - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    // Of the rounded number: 9.99 with two digits is 10.
    let power: i64 = power.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let most = i64::try_from(precision).unwrap_or(i64::MAX) - i64::from(pointed);
    if power < -4 || power >= most {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), power.abs());
    }
    let decimals = usize::try_from(i64::try_from(precision).unwrap_or(0) - 1 - power).unwrap_or(0);
    let text = trim(&format!("{number:.decimals$}"));
    if pointed && !text.contains('.') { text + ".0" } else { text }
}
