//! Replacements in a source text.
//!
//! Input: byte ranges and new texts. Output: the edited text. Limit: ranges must not overlap; those that do are
//! dropped.

use crate::python::Span;

/// A replacement; an empty range inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) span: Span,
    pub(crate) text: String,
}

impl Edit {
    pub(crate) fn replace(span: Span, text: impl Into<String>) -> Edit {
        Edit { span, text: text.into() }
    }

    pub(crate) fn insert(at: u32, text: impl Into<String>) -> Edit {
        Edit { span: Span { start: at, end: at }, text: text.into() }
    }
}

/// The text with all edits made; `None` where a range does not lie in it.
pub(crate) fn apply(source: &str, mut edits: Vec<Edit>) -> Option<String> {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut result = String::with_capacity(source.len() + 256);
    let mut at = 0;
    for edit in edits {
        let (start, end) = (edit.span.start as usize, edit.span.end as usize);
        if start < at || end < start {
            continue;
        }
        result.push_str(source.get(at..start)?);
        result.push_str(&edit.text);
        at = end;
    }
    result.push_str(source.get(at..)?);
    Some(result)
}

/// Line number of a byte offset, from 1.
pub(crate) fn line_of(source: &str, offset: u32) -> usize {
    source.get(..offset as usize).map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_made_in_order_of_place() {
        let edits = vec![Edit::insert(6, "!"), Edit::replace(Span { start: 0, end: 1 }, "xy")];
        assert_eq!(apply("a = 12", edits), Some("xy = 12!".to_owned()));
    }

    #[test]
    fn an_edit_outside_the_text_is_refused() {
        assert_eq!(apply("a", vec![Edit::insert(9, "b")]), None);
    }
}
