//! Regular expressions, for the Python of `re` beside this file.
//!
//! Input: a pattern, flags and a text. Output: the groups of the pattern, and where a match lies, in characters.
//! Matching takes time linear in the text whatever the pattern (crate `regex`), and a compiled pattern is limited in
//! size. Limit: looking around and references back are refused, as is what `regex` reads otherwise than Python.

use regex::{Regex, RegexBuilder};

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::value::{Builtin, Value};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Bytes of a compiled pattern.
const MAX_COMPILED: usize = 1 << 20;
/// What compiling costs, in steps of the interpreter.
const COMPILING: usize = 200;

const IGNORE_CASE: i64 = 2;
const MULTI_LINE: i64 = 8;
const DOT_ALL: i64 = 16;
const UNICODE: i64 = 32;
const VERBOSE: i64 = 64;

static FUNCTIONS: &[Builtin] = &[
    Builtin {
        name: "_names",
        signature: "pattern, flags",
        run: |this, args| {
            let regex = compiled(this, &args, "")?;
            let mut names = Vec::new();
            for name in regex.capture_names().skip(1) {
                names.push(name.map_or(Value::None, Value::str));
            }
            this.list(names)
        },
    },
    Builtin { name: "_find", signature: "pattern, flags, text, start, where", run: find_from },
];

/// A function of this file.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The first match from a character on: for each group where it starts and ends, -1 where it takes no part.
fn find_from(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let (text, start) = (args.text("text")?, args.count("start")?);
    let place = args.text("where")?;
    let regex = compiled(this, &args, &place)?;
    this.tick(text.len() / 4)?;
    let Some(from) = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(start) else {
        return Ok(Value::None);
    };
    if text.contains('\n') && args.text("pattern")?.contains('$') {
        return Err(Raise::unsupported("'$' in a regular expression over several lines is not supported"));
    }
    // What is anchored starts where the search starts.
    let (text, from, before) =
        if &*place == "search" { (&*text, from, 0) } else { (&text[from..], 0, start) };
    let Some(found) = regex.captures_at(text, from) else { return Ok(Value::None) };
    let mut spans = Vec::new();
    for group in found.iter() {
        let (start, end) = match group {
            Some(group) => {
                let characters =
                    |end: usize| i64::try_from(before + text[..end].chars().count()).unwrap_or(i64::MAX);
                (characters(group.start()), characters(group.end()))
            }
            None => (-1, -1),
        };
        spans.push(this.tuple(vec![Value::Int(start), Value::Int(end)])?);
    }
    this.list(spans)
}

/// The compiled pattern of a call; `place` says where a match must lie.
fn compiled(this: &mut Interp<'_>, args: &Bound, place: &str) -> R<Regex> {
    let (pattern, flags) = (args.text("pattern")?, args.int("flags")?);
    this.tick(COMPILING + 8 * pattern.len())?;
    if pattern.len() > MAX_PATTERN {
        return Err(Raise::limit(format!(
            "bytes of a regular expression: {} exceeds the limit of {MAX_PATTERN}",
            pattern.len()
        )));
    }
    let refused = |reason: &str| {
        Raise::unsupported(format!("the regular expression '{pattern}' is not supported: {reason}"))
    };
    if flags & !(IGNORE_CASE | MULTI_LINE | DOT_ALL | UNICODE | VERBOSE) != 0 {
        return Err(refused("of the flags only IGNORECASE, MULTILINE, DOTALL and VERBOSE are"));
    }
    // Operations on sets, which Python does not have.
    if ["[[", "&&", "--", "~~"].iter().any(|set| pattern.contains(set)) {
        return Err(refused("it may mean a nested set"));
    }
    let pattern = pattern.replace("\\Z", "\\z");
    let whole = match place {
        "match" => format!("\\A(?:{pattern})"),
        "full" => format!("\\A(?:{pattern})\\z"),
        _ => pattern,
    };
    RegexBuilder::new(&whole)
        .case_insensitive(flags & IGNORE_CASE != 0)
        .multi_line(flags & MULTI_LINE != 0)
        .dot_matches_new_line(flags & DOT_ALL != 0)
        .ignore_whitespace(flags & VERBOSE != 0)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                Raise::limit(format!("bytes of a compiled regular expression: exceeds the limit of {limit}"))
            }
            other => refused(other.to_string().lines().last().unwrap_or("it cannot be read").trim()),
        })
}
