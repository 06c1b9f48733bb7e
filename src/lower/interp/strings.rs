//! The methods of strings.
//!
//! Input: a text, a method's name, arguments. Output: what the method returns. Limit: `encode` and `translate` are
//! refused; digits are those of ASCII.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::items::slice_positions;
use crate::lower::interp::{Args, Interp};
use crate::lower::value::Value;

/// Keywords that methods of strings take, in the order of their parameters.
const KEYWORDS: &[(&str, &[&str])] =
    &[("split", &["sep", "maxsplit"]), ("rsplit", &["sep", "maxsplit"]), ("splitlines", &["keepends"])];
/// Most arguments that a method takes; two where it is not listed.
const MOST: &[(&str, usize)] = &[
    ("replace", 3),
    ("startswith", 3),
    ("endswith", 3),
    ("find", 3),
    ("rfind", 3),
    ("index", 3),
    ("rindex", 3),
    ("count", 3),
];

impl Interp<'_> {
    /// A method of a string.
    pub(crate) fn str_method(&mut self, text: &Rc<str>, name: &str, args: Args) -> R<Value> {
        self.tick(text.len() / 8 + 1)?;
        let args = positional(name, args)?;
        let arg = |index: usize| match args.positional.get(index) {
            Some(Value::Str(text)) => Some(Rc::clone(text)),
            _ => None,
        };
        let need = |index: usize| {
            arg(index)
                .ok_or_else(|| Raise::type_error(format!("str.{name}() argument {} must be str", index + 1)))
        };
        let set = |trimmed: Option<Rc<str>>| -> Vec<char> {
            trimmed.map_or_else(|| " \t\n\r\x0b\x0c".chars().collect(), |chars| chars.chars().collect())
        };
        match name {
            "lower" | "casefold" => self.text(text.to_lowercase()),
            "upper" => self.text(text.to_uppercase()),
            "title" => {
                let mut titled = String::with_capacity(text.len());
                let mut inside = false;
                for char in text.chars() {
                    match inside {
                        true => titled.extend(char.to_lowercase()),
                        false => titled.extend(char.to_uppercase()),
                    }
                    inside = char.is_alphabetic();
                }
                self.text(titled)
            }
            "capitalize" => {
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
                let Some((_, within)) = within(text, &args.positional)? else {
                    return Ok(Value::Bool(false));
                };
                let mut matches = false;
                for option in &options {
                    let Value::Str(part) = option else {
                        let got = option.type_name();
                        return Err(Raise::type_error(format!(
                            "{name} first arg must be str or a tuple of str, not {got}"
                        )));
                    };
                    matches |= match name {
                        "startswith" => within.starts_with(&**part),
                        _ => within.ends_with(&**part),
                    };
                }
                Ok(Value::Bool(matches))
            }
            "replace" => {
                let (from, to) = (need(0)?, need(1)?);
                let most = match limit_of(name, args.positional.get(2))? {
                    Some(most) => most,
                    None => usize::MAX,
                };
                let count = text.matches(&*from).count().min(most);
                self.check_length("string", text.len() + count * to.len(), self.limits.string_length)?;
                self.text(text.replacen(&*from, &to, most))
            }
            "split" | "rsplit" => {
                let most = limit_of(name, args.positional.get(1))?;
                let separator = match args.positional.first() {
                    None | Some(Value::None) => None,
                    Some(_) => Some(need(0)?),
                };
                let parts: Vec<&str> = match (&separator, most) {
                    (None, most) => by_space(text, most.unwrap_or(usize::MAX), name == "rsplit"),
                    (Some(separator), _) if separator.is_empty() => {
                        return Err(Raise::value_error("empty separator"));
                    }
                    (Some(separator), Some(most)) if name == "split" => {
                        text.splitn(most.saturating_add(1), &**separator).collect()
                    }
                    (Some(separator), Some(most)) => {
                        let mut parts: Vec<&str> =
                            text.rsplitn(most.saturating_add(1), &**separator).collect();
                        parts.reverse();
                        parts
                    }
                    (Some(separator), None) => text.split(&**separator).collect(),
                };
                self.list(parts.into_iter().map(Value::str).collect())
            }
            "join" => {
                let items = match args.positional.first() {
                    Some(value) => self.iterate(value)?,
                    None => return Err(Raise::type_error("str.join() takes exactly one argument (0 given)")),
                };
                let mut result = String::new();
                for (index, item) in items.iter().enumerate() {
                    let member = super::enums::plain(item);
                    let Value::Str(part) = member.as_ref().unwrap_or(item) else {
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
                let keep = match args.positional.first() {
                    Some(keep) => self.truth(keep)?,
                    None => false,
                };
                let mut lines = Vec::new();
                for line in text.split_inclusive('\n') {
                    let bare = line.strip_suffix('\n').unwrap_or(line);
                    let bare = bare.strip_suffix('\r').unwrap_or(bare);
                    if bare.contains([
                        '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}',
                    ]) {
                        return Err(Raise::unsupported("str.splitlines at other than line feeds"));
                    }
                    lines.push(Value::str(if keep { line } else { bare }));
                }
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
            "zfill" => {
                let Some(Value::Int(width)) = args.positional.first() else {
                    return Err(Raise::type_error("str.zfill() argument 1 must be an integer"));
                };
                let width = usize::try_from(*width).unwrap_or(0);
                self.check_length("string", width, self.limits.string_length)?;
                let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
                let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
                self.text(format!("{sign}{zeros}{digits}"))
            }
            "center" | "ljust" | "rjust" => {
                let Some(Value::Int(width)) = args.positional.first() else {
                    return Err(Raise::type_error(format!("str.{name}() argument 1 must be an integer")));
                };
                let fill = match args.positional.get(1) {
                    None => " ".to_owned(),
                    Some(Value::Str(fill)) if fill.chars().count() == 1 => fill.to_string(),
                    Some(_) => {
                        let message = "The fill character must be exactly one character long";
                        return Err(Raise::type_error(message));
                    }
                };
                let width = usize::try_from(*width).unwrap_or(0);
                self.check_length("string", width, self.limits.string_length)?;
                let length = text.chars().count();
                let gap = width.saturating_sub(length);
                let before = match name {
                    // The odd one goes where Python puts it.
                    "center" => gap / 2 + (gap & width & 1),
                    "ljust" => 0,
                    _ => gap,
                };
                self.text(format!("{}{text}{}", fill.repeat(before), fill.repeat(gap - before)))
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
            "find" | "rfind" | "index" | "rindex" => {
                let part = need(0)?;
                let at = within(text, &args.positional)?.and_then(|(start, within)| {
                    let at = if name.starts_with('r') { within.rfind(&*part) } else { within.find(&*part) };
                    at.map(|at| start + within[..at].chars().count())
                });
                match at {
                    Some(at) => Ok(Value::Int(i64::try_from(at).unwrap_or(i64::MAX))),
                    None if name.ends_with("find") => Ok(Value::Int(-1)),
                    None => Err(Raise::value_error("substring not found")),
                }
            }
            "count" => {
                let part = need(0)?;
                let count = within(text, &args.positional)?.map_or(0, |(_, within)| match part.is_empty() {
                    true => within.chars().count() + 1,
                    false => within.matches(&*part).count(),
                });
                Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            "isascii" => Ok(Value::Bool(text.is_ascii())),
            "isdigit" | "isnumeric" | "isdecimal" => {
                Ok(Value::Bool(!text.is_empty() && text.chars().all(|char| char.is_ascii_digit())))
            }
            "isalpha" => Ok(Value::Bool(!text.is_empty() && text.chars().all(char::is_alphabetic))),
            "partition" | "rpartition" => {
                let separator = need(0)?;
                if separator.is_empty() {
                    return Err(Raise::value_error("empty separator"));
                }
                let last = name == "rpartition";
                let parts =
                    match if last { text.rsplit_once(&*separator) } else { text.split_once(&*separator) } {
                        Some((a, b)) => vec![Value::str(a), Value::Str(separator), Value::str(b)],
                        None if last => vec![Value::str(""), Value::str(""), Value::Str(Rc::clone(text))],
                        None => vec![Value::Str(Rc::clone(text)), Value::str(""), Value::str("")],
                    };
                self.tuple(parts)
            }
            _ => Err(Raise::unsupported(format!("str.{name} is not supported"))),
        }
    }
}

/// The arguments by position; those by keyword put where they belong.
fn positional(name: &str, mut args: Args) -> R<Args> {
    if name == "format" {
        return Ok(args);
    }
    let most = MOST.iter().find(|(known, _)| *known == name).map_or(2, |(_, most)| *most);
    if args.positional.len() > most {
        let given = args.positional.len();
        return Err(Raise::type_error(format!("{name} expected at most {most} arguments, got {given}")));
    }
    for (keyword, value) in std::mem::take(&mut args.named) {
        let keywords =
            KEYWORDS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, keywords)| keywords);
        let Some(at) = keywords.iter().position(|known| *known == &*keyword) else {
            return Err(Raise::type_error(format!("str.{name}() takes no keyword argument '{keyword}'")));
        };
        while args.positional.len() <= at {
            // What stands for an argument that was not given.
            args.positional.push(if args.positional.is_empty() { Value::None } else { Value::Int(-1) });
        }
        args.positional[at] = value;
    }
    Ok(args)
}

/// How many times at most; `None` where there is no limit.
fn limit_of(name: &str, value: Option<&Value>) -> R<Option<usize>> {
    match value {
        None => Ok(None),
        Some(Value::Int(limit)) => Ok(usize::try_from(*limit).ok()),
        Some(Value::Bool(flag)) => Ok(Some(usize::from(*flag))),
        Some(other) => {
            let got = other.type_name();
            Err(Raise::type_error(format!(
                "str.{name}(): '{got}' object cannot be interpreted as an integer"
            )))
        }
    }
}

/// The words of a text, the rest of it after so many.
fn by_space(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_end { text.trim_end() } else { text.trim_start() };
    while !rest.is_empty() && parts.len() < most {
        let (part, next) = match from_end {
            true => match rest.rsplit_once(char::is_whitespace) {
                Some((next, part)) => (part, next.trim_end()),
                None => (rest, ""),
            },
            false => match rest.split_once(char::is_whitespace) {
                Some((part, next)) => (part, next.trim_start()),
                None => (rest, ""),
            },
        };
        parts.push(part);
        rest = next;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// The part of a text between the second and the third argument, and where it starts; `None` past its end.
fn within<'t>(text: &'t str, args: &[Value]) -> R<Option<(usize, &'t str)>> {
    let bound = |at: usize| args.get(at).cloned().unwrap_or(Value::None);
    let (start, stop) = (bound(1), bound(2));
    if start.is_none() && stop.is_none() {
        return Ok(Some((0, text)));
    }
    let length = text.chars().count();
    if matches!(start, Value::Int(start) if usize::try_from(start).is_ok_and(|start| start > length)) {
        return Ok(None);
    }
    let first = match start {
        Value::Int(start) if start < 0 => {
            length.saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(length))
        }
        Value::Int(start) => usize::try_from(start).unwrap_or(0),
        _ => 0,
    };
    let positions = slice_positions(&[start, stop, Value::None], length)?;
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((first, &text[byte(first)..byte(first + positions.len())])))
}
