//! Replacements in a source text, and what lines look like around a place.
//!
//! Input: byte ranges and texts. Output: the new text, or `None` where ranges overlap or do not lie in it.

use crate::python::Span;

/// A replacement; an empty range inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::search) struct Patch {
    pub(in crate::search) start: usize,
    pub(in crate::search) end: usize,
    pub(in crate::search) text: String,
}

impl Patch {
    pub(in crate::search) fn replace(span: Span, text: impl Into<String>) -> Patch {
        Patch { start: span.start as usize, end: span.end as usize, text: text.into() }
    }

    pub(in crate::search) fn insert(at: usize, text: impl Into<String>) -> Patch {
        Patch { start: at, end: at, text: text.into() }
    }
}

/// The text with all replacements made.
pub(in crate::search) fn apply(source: &str, mut patches: Vec<Patch>) -> Option<String> {
    patches.sort_by_key(|patch| (patch.start, patch.end));
    let (mut result, mut at) = (String::with_capacity(source.len() + 128), 0);
    for patch in patches {
        result.push_str(source.get(at..patch.start)?);
        result.push_str(&patch.text);
        at = patch.end;
    }
    result.push_str(source.get(at..)?);
    Some(result)
}

/// Where the line of byte `at` ends, before its `\n`.
pub(in crate::search) fn end_of_line(source: &str, at: usize) -> usize {
    source.get(at..).and_then(|rest| rest.find('\n')).map_or(source.len(), |offset| at + offset)
}

/// Where the line of byte `at` starts.
pub(super) fn start_of_line(source: &str, at: usize) -> usize {
    source.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |offset| offset + 1)
}

/// The indentation before byte `at`, if nothing else is before it on its line.
pub(in crate::search) fn indentation(source: &str, at: usize) -> Option<&str> {
    let indent = source.get(start_of_line(source, at)..at)?;
    indent.chars().all(|c| c == ' ' || c == '\t').then_some(indent)
}

/// The removal of whole lines, from the one of `span`'s start to that of its end.
pub(super) fn lines(source: &str, span: Span) -> Patch {
    let end = end_of_line(source, span.end as usize);
    Patch {
        start: start_of_line(source, span.start as usize),
        end: (end + 1).min(source.len()),
        text: String::new(),
    }
}

/// How often `name` stands in `source` as a whole name.
pub(in crate::search) fn count(source: &str, name: &str) -> usize {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    source
        .match_indices(name)
        .filter(|(at, _)| {
            !part(source[..*at].chars().next_back()) && !part(source[at + name.len()..].chars().next())
        })
        .count()
}

/// `stem1`, `stem2`, ...: the first that the source does not have.
pub(in crate::search) fn fresh(source: &str, stem: &str) -> String {
    let mut number = 1;
    loop {
        let name = format!("{stem}{number}");
        if count(source, &name) == 0 {
            return name;
        }
        number += 1;
    }
}

/// Line number of a byte, from 1.
pub(super) fn line_of(source: &str, at: usize) -> usize {
    source.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}
