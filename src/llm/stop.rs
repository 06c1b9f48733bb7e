//! When a completion is complete: text as it grows in, the length to keep out.
//!
//! The prompt of `ClassComplete` ends with `class Net(nn.Module):` and a line end, so the text starts at a
//! line start. Limit: a line in column 0 ends the class even inside brackets or a triple-quoted string.

use crate::llm::Stop;

/// How a growing text stands.
pub(crate) struct StopRule {
    stop: Stop,
    /// How much of the text has been searched for the model's own stop texts.
    searched: usize,
    /// Start of the first line that has not been judged; of [`Stop::Lines`], of the first character.
    judged: usize,
    lines: Lines,
}

/// Where [`Stop::Lines`] stands in the text.
#[derive(Default)]
struct Lines {
    complete: usize,
    depth: usize,
    /// The quote that is open, and whether the next character is escaped.
    quote: Option<char>,
    escaped: bool,
    comment: bool,
    /// Whether the line has anything but white space.
    visible: bool,
}

impl StopRule {
    pub(crate) fn new(stop: Stop) -> StopRule {
        StopRule { stop, searched: 0, judged: 0, lines: Lines::default() }
    }

    /// The length to keep, once `text` is complete or has one of `texts` in it. `text` only ever grows between calls.
    pub(crate) fn complete_at(&mut self, text: &str, texts: &[String]) -> Option<usize> {
        let rule = self.by_rule(text);
        let found = self.first_of(text, texts);
        rule.into_iter().chain(found).min()
    }

    /// Where the first of `texts` starts.
    fn first_of(&mut self, text: &str, texts: &[String]) -> Option<usize> {
        let searched = std::mem::replace(&mut self.searched, text.len());
        let places = texts.iter().filter_map(|wanted| {
            // It may have begun in what was searched before.
            let mut from = searched.saturating_sub(wanted.len());
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            text[from..].find(wanted.as_str()).map(|at| from + at)
        });
        places.min()
    }

    fn by_rule(&mut self, text: &str) -> Option<usize> {
        match self.stop {
            Stop::EndOfText => None,
            Stop::ClassComplete => self.class_complete(text),
            Stop::Lines(count) => {
                let start = std::mem::replace(&mut self.judged, text.len());
                let lines = &mut self.lines;
                text[start..]
                    .char_indices()
                    .find(|&(_, c)| lines.ends_with(c, count))
                    .map(|(at, _)| start + at)
            }
        }
    }

    fn class_complete(&mut self, text: &str) -> Option<usize> {
        loop {
            let line = &text[self.judged..];
            let end = line.find('\n');
            let visible = &line[..end.unwrap_or(line.len())];
            // The first character decides what kind of line it is, so there is no need to wait for the rest.
            if visible.chars().next().is_some_and(|first| !first.is_whitespace() && first != '#') {
                return Some(self.judged);
            }
            if let Some(fence) = visible.find("```") {
                return Some(self.judged + fence);
            }
            self.judged += end? + 1;
        }
    }
}

impl Lines {
    /// Whether the text ends before `c`.
    fn ends_with(&mut self, c: char, count: usize) -> bool {
        let escaped = std::mem::take(&mut self.escaped);
        match (self.quote, c) {
            (Some(_), '\\') => self.escaped = !escaped,
            (Some(quote), _) if c == quote && !escaped => self.quote = None,
            // A plain string does not go over a line end; a docstring has no place in a hole.
            (Some(_), '\n') if !escaped => {
                self.quote = None;
                return self.line_end(count);
            }
            (Some(_), _) => {}
            (None, '\n') => return self.line_end(count),
            (None, _) if self.comment => {}
            (None, '#') => self.comment = true,
            (None, '"' | '\'') => (self.quote, self.visible) = (Some(c), true),
            (None, '(' | '[' | '{') => (self.depth, self.visible) = (self.depth + 1, true),
            (None, ')' | ']' | '}') if self.depth == 0 => return true,
            (None, ')' | ']' | '}') => self.depth -= 1,
            (None, _) => self.visible |= !c.is_whitespace(),
        }
        false
    }

    fn line_end(&mut self, count: usize) -> bool {
        self.comment = false;
        if self.depth == 0 && std::mem::take(&mut self.visible) {
            self.complete += 1;
        }
        self.complete >= count
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
            .find_map(|end| rule.complete_at(&text[..end], &[]))
            .map(|length| text[..length].to_owned())
    }

    #[test]
    fn a_models_own_stop_text_ends_a_completion_also_where_it_comes_in_pieces() {
        let stops = ["<|end|>".to_owned(), "§".to_owned()];
        let text = "    x = 1  # é\n    y = 2<|end|>\n";
        let mut rule = StopRule::new(Stop::ClassComplete);
        let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
        let kept = ends.iter().find_map(|&end| rule.complete_at(&text[..end], &stops));
        assert_eq!(kept, text.find("<|end|>"));
        // The class ends before the stop text does.
        let text = "    x = 1\nnet = '§'";
        assert_eq!(StopRule::new(Stop::ClassComplete).complete_at(text, &stops), Some(10));
        assert_eq!(StopRule::new(Stop::EndOfText).complete_at(text, &stops), text.find('§'));
        assert_eq!(StopRule::new(Stop::EndOfText).complete_at(text, &[]), None);
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
        assert_eq!(StopRule::new(Stop::ClassComplete).complete_at(text, &[]), Some(12));
        assert_eq!(kept(Stop::ClassComplete, text).map(|kept| kept.len()), Some(12));
    }

    #[test]
    fn end_of_text_never_stops_by_itself() {
        assert_eq!(kept(Stop::EndOfText, "x\ny\n```"), None);
    }

    #[test]
    fn a_line_ends_where_its_brackets_are_closed() {
        let kept = |text: &str| kept(Stop::Lines(1), text);
        assert_eq!(kept(" nn.Conv2d(1, 8,\n   3)\n  x").as_deref(), Some(" nn.Conv2d(1, 8,\n   3)"));
        assert_eq!(
            kept("\n  \n a = 1  # (\n").as_deref(),
            Some("\n  \n a = 1  # ("),
            "blank lines do not count"
        );
        assert_eq!(kept("ReLU())\n").as_deref(), Some("ReLU()"), "a bracket of the text before the hole");
        assert_eq!(kept("f(')\\'', \"(\")\n").as_deref(), Some("f(')\\'', \"(\")"), "quotes hide brackets");
        assert_eq!(kept("a = ("), None);
    }

    #[test]
    fn two_lines_are_two_lines_however_they_arrive() {
        let text = "\n    a = 1\n    b = [\n1]\n    c = 2\n";
        let expected = "\n    a = 1\n    b = [\n1]";
        assert_eq!(kept(Stop::Lines(2), text).as_deref(), Some(expected));
        assert_eq!(StopRule::new(Stop::Lines(2)).complete_at(text, &[]), Some(expected.len()));
    }
}
