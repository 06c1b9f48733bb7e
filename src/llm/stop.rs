//! When a completion is complete: text as it grows in, the length to keep out.
//!
//! The prompt of `ClassComplete` ends with `class Net(nn.Module):` and a line end, so the text starts at a
//! line start. Limit: a line in column 0 ends the class even inside brackets or a triple-quoted string.

use crate::llm::Stop;

/// How a growing text stands.
pub(crate) struct StopRule {
    stop: Stop,
    /// Start of the first line that has not been judged.
    line_start: usize,
}

impl StopRule {
    pub(crate) fn new(stop: Stop) -> StopRule {
        StopRule { stop, line_start: 0 }
    }

    /// The length to keep, once `text` is complete. `text` only ever grows between calls.
    pub(crate) fn complete_at(&mut self, text: &str) -> Option<usize> {
        if self.stop == Stop::EndOfText {
            return None;
        }
        loop {
            let line = &text[self.line_start..];
            let end = line.find('\n');
            let visible = &line[..end.unwrap_or(line.len())];
            // The first character decides what kind of line it is, so there is no need to wait for the rest.
            if visible.chars().next().is_some_and(|first| !first.is_whitespace() && first != '#') {
                return Some(self.line_start);
            }
            if let Some(fence) = visible.find("```") {
                return Some(self.line_start + fence);
            }
            self.line_start += end? + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StopRule;
    use crate::llm::Stop;

    /// Feeds `text` character by character, as tokens arrive.
    fn kept(stop: Stop, text: &str) -> Option<String> {
        let mut rule = StopRule::new(stop);
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.into_iter()
            .find_map(|end| rule.complete_at(&text[..end]))
            .map(|length| text[..length].to_owned())
    }

    #[test]
    fn the_first_line_in_column_zero_ends_the_class() {
        let body = "    def f(self):\n        return 1\n\n# a note\n\t\n";
        assert_eq!(kept(Stop::ClassComplete, &format!("{body}net = Net()\n")).as_deref(), Some(body));
        assert_eq!(kept(Stop::ClassComplete, &format!("{body}class B:\n")).as_deref(), Some(body));
        assert_eq!(kept(Stop::ClassComplete, body), None);
    }

    #[test]
    fn a_fence_ends_the_class_wherever_it_stands() {
        assert_eq!(kept(Stop::ClassComplete, "    x = 1\n```\n").as_deref(), Some("    x = 1\n"));
        assert_eq!(kept(Stop::ClassComplete, "    x = 1  ```").as_deref(), Some("    x = 1  "));
    }

    #[test]
    fn text_that_arrives_at_once_is_judged_like_text_that_trickles() {
        let text = "    a\n    b\ndef c():\n    d\n";
        assert_eq!(StopRule::new(Stop::ClassComplete).complete_at(text), Some(12));
        assert_eq!(kept(Stop::ClassComplete, text).map(|kept| kept.len()), Some(12));
    }

    #[test]
    fn end_of_text_never_stops_by_itself() {
        assert_eq!(kept(Stop::EndOfText, "x\ny\n```"), None);
    }
}
