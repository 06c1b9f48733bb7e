//! A message about a place in a source text, printed with its line and carets.
//!
//! Input: message, byte range, source, file name. Output: text in the form compilers use. Limit: of a range over
//! several lines the first is shown.

/// A byte range of a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A range from byte offsets.
    pub fn new(start: usize, end: usize) -> Span {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { start: clamp(start), end: clamp(end) }
    }
}

impl From<ruff_text_size::TextRange> for Span {
    fn from(range: ruff_text_size::TextRange) -> Span {
        Span { start: range.start().to_u32(), end: range.end().to_u32() }
    }
}

/// A message and where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic<'a> {
    message: &'a str,
    span: Option<Span>,
}

impl<'a> Diagnostic<'a> {
    /// A message about a range, or about the whole text.
    pub fn new(message: &'a str, span: Option<Span>) -> Diagnostic<'a> {
        Diagnostic { message, span }
    }

    /// `error: ...`, then the place, the line and carets below it.
    pub fn render(&self, source: &str, name: &str) -> String {
        let Some(span) = self.span else {
            return format!("error: {}\n --> {name}", self.message);
        };
        let start = floor_char(source, span.start as usize);
        let end = floor_char(source, span.end as usize).max(start);
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let line_number = before.matches('\n').count() + 1;
        let column = source[line_start..start].chars().count() + 1;
        let line: String = source[line_start..line_end].trim_end_matches('\r').replace('\t', " ");
        let carets = source[start..end.min(line_end)].chars().count().max(1);
        let gutter = line_number.to_string();
        let blank = " ".repeat(gutter.len());
        format!(
            "error: {}\n{blank}--> {name}:{line_number}:{column}\n{blank} |\n{gutter} | {line}\n{blank} | {}{}",
            self.message,
            " ".repeat(column - 1),
            "^".repeat(carets),
        )
    }
}

fn floor_char(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_the_range() {
        let source = "a = 1\nb = foo(2)\n";
        let text = Diagnostic::new("unknown name", Some(Span::new(10, 13))).render(source, "x.py");
        assert_eq!(text, "error: unknown name\n --> x.py:2:5\n  |\n2 | b = foo(2)\n  |     ^^^");
    }

    #[test]
    fn a_range_past_the_end_or_inside_a_character_does_not_panic() {
        for (start, end) in [(0, 900), (1, 2), (800, 900), (2, 1)] {
            let text = Diagnostic::new("m", Some(Span::new(start, end))).render("é = 1", "x.py");
            assert!(text.contains('^'));
        }
    }
}
