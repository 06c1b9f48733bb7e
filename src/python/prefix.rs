//! Whether a class body that is still being written can become Python: text as it grows in, the first fault out.
//!
//! Judged at each line end, with this module's own tokenizer and parser: the text so far is completed in the shortest
//! way (a body for an open block, a handler for an open `try`, a function under a decorator, closing brackets) and
//! parsed; what is then refused would be refused whatever follows. Beside Python's grammar there are the front-end's
//! limits, statements that it never reads, and texts that go round in circles. Limit: a line that breaks off inside
//! brackets is judged only where it ends with a comma or an opening bracket.

use ruff_python_ast::{Stmt, StmtClassDef};

use super::{Span, SyntaxError, parse_module};

/// Longest line.
pub const MAX_LINE: usize = 2_000;
/// How often a group of lines may follow itself.
pub const MAX_REPEATS: usize = 12;
/// Most lines in such a group.
const MAX_CYCLE: usize = 4;

/// The line that the text continues.
const HEADER: &str = "class Net(nn.Module):\n";

/// Where a growing class body stands.
#[derive(Debug, Clone, Default)]
pub struct ClassPrefix {
    /// End of the lines that were judged.
    judged: usize,
    scan: Scan,
    /// Start of the statement that is being written.
    statement: usize,
    /// `try` blocks without a handler yet: their indentation.
    tries: Vec<usize>,
    /// Complete lines that are not blank, without their indentation.
    lines: Vec<String>,
    /// Blank lines since the last of them.
    blank: usize,
}

/// What is open at a place in the text.
#[derive(Debug, Clone, Default)]
struct Scan {
    brackets: Vec<char>,
    /// The quote that is open, three times if it is a long string's.
    quote: Option<&'static str>,
    /// The last character that is neither white space nor comment.
    last: Option<char>,
}

impl ClassPrefix {
    /// A body without a line yet.
    pub fn new() -> ClassPrefix {
        ClassPrefix::default()
    }

    /// Why `text`, a class body from its first line on, cannot become an accepted class; `None` as long as it can.
    /// `text` only ever grows between calls; only its complete lines are judged, and the length of the last one.
    pub fn fault(&mut self, text: &str) -> Option<SyntaxError> {
        while let Some(length) = text[self.judged..].find('\n') {
            let end = self.judged + length + 1;
            if let Some(fault) = self.line(text, end) {
                return Some(fault);
            }
            self.judged = end;
        }
        (text.len() - self.judged > MAX_LINE).then(|| {
            let message = format!("line: expected at most {MAX_LINE} bytes, got more");
            limit(message, self.judged, self.judged)
        })
    }

    /// Judges the line that ends at `end`.
    fn line(&mut self, text: &str, end: usize) -> Option<SyntaxError> {
        let start = self.judged;
        let line = &text[start..end];
        let inside = self.scan.open();
        self.scan.read(line);
        if !inside {
            self.statement = start;
        }
        let shown = line.trim();
        if shown.is_empty() {
            self.blank += 1;
            let message = format!("blank lines: expected at most {MAX_REPEATS} in a row, got more");
            return (self.blank > MAX_REPEATS).then(|| limit(message, start, end));
        }
        self.blank = 0;
        self.lines.push(shown.to_owned());
        if let Some(group) = self.circle() {
            let message = format!("lines: expected a group of {group} at most {MAX_REPEATS} times, got more");
            return Some(limit(message, start, end));
        }
        if !inside && shown.starts_with('#') || line.trim_end().ends_with('\\') {
            return None;
        }
        if self.scan.open() && !self.breaks_cleanly(&text[self.statement..end]) {
            return None;
        }
        let first = first_word(&text[self.statement..end]);
        let indent = indentation(&text[self.statement..end]);
        let closing = self.completed(first, indent);
        let whole = format!("{HEADER}{}{closing}", &text[..end]);
        match parse_module(&whole) {
            Err(error) => {
                let place = |at: u32| (at as usize).saturating_sub(HEADER.len()).min(end);
                let span = Span::new(place(error.span.start), place(error.span.end));
                Some(SyntaxError { span, ..error })
            }
            Ok(suite) => forbidden(&suite).map(|message| SyntaxError {
                message,
                span: Span::new(self.statement, end),
                limit: false,
            }),
        }
    }

    /// Whether a text that breaks off inside brackets can go on with nothing but what closes them.
    fn breaks_cleanly(&self, statement: &str) -> bool {
        // `lambda a,` and `for a,` go on with a name.
        let goes_on =
            ["lambda", "for", "import", "with", "case"].iter().any(|word| has_word(statement, word));
        self.scan.quote.is_none() && matches!(self.scan.last, Some(',' | '(' | '[' | '{')) && !goes_on
    }

    /// The shortest text that completes the body, and takes note of the blocks that are open.
    fn completed(&mut self, first: &str, indent: usize) -> String {
        self.tries.retain(|&at| at < indent);
        let mut closing: String = self.scan.brackets.iter().rev().collect();
        let opens = if closing.is_empty() {
            self.scan.last == Some(':')
        } else {
            // The brackets are a signature's, or a condition's.
            let header = matches!(first, "def" | "class" | "if" | "elif" | "while");
            closing.push_str(if header { ":\n" } else { "\n" });
            header
        };
        let pad = " ".repeat(indent);
        if opens {
            let body = if first == "match" { "case _: pass" } else { "pass" };
            closing.push_str(&format!("{pad} {body}\n"));
        } else if first.starts_with('@') {
            closing.push_str(&format!("{pad}def f(): pass\n"));
        }
        if first == "try" && opens {
            self.tries.push(indent);
        }
        for at in self.tries.iter().rev() {
            closing.push_str(&format!("{}finally: pass\n", " ".repeat(*at)));
        }
        closing
    }

    /// The length of a group of lines that follows itself too often.
    fn circle(&self) -> Option<usize> {
        let newest = self.lines.len();
        (1..=MAX_CYCLE).find(|&group| {
            let all = group * (MAX_REPEATS + 1);
            newest >= all && (newest - all + group..newest).all(|at| self.lines[at] == self.lines[at - group])
        })
    }
}

impl Scan {
    fn open(&self) -> bool {
        !self.brackets.is_empty() || self.quote.is_some()
    }

    /// Reads one line.
    fn read(&mut self, line: &str) {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = match self.quote {
                Some(quote) if rest.starts_with(quote) => {
                    self.quote = None;
                    quote.len()
                }
                Some(_) if c == '\\' => c.len_utf8() + rest[1..].chars().next().map_or(0, char::len_utf8),
                Some(_) => c.len_utf8(),
                None if c == '#' => rest.len(),
                None => self.outside(c, rest),
            };
            rest = &rest[length..];
        }
        // A plain string ends with its line; what that means is the parser's business.
        self.quote = self.quote.filter(|quote| quote.len() == 3);
    }

    /// Reads what stands outside of strings; returns its length.
    fn outside(&mut self, c: char, rest: &str) -> usize {
        match c {
            '"' | '\'' => {
                let quotes = ["\"\"\"", "'''", "\"", "'"];
                self.quote = quotes.into_iter().find(|quote| rest.starts_with(quote));
                self.last = Some(c);
                return self.quote.map_or(1, str::len);
            }
            '(' => self.brackets.push(')'),
            '[' => self.brackets.push(']'),
            '{' => self.brackets.push('}'),
            ')' | ']' | '}' => drop(self.brackets.pop()),
            _ => {}
        }
        if !c.is_whitespace() {
            self.last = Some(c);
        }
        c.len_utf8()
    }
}

/// Statements of the class that are never read, wherever the rest leads.
fn forbidden(suite: &[Stmt]) -> Option<String> {
    let Some(Stmt::ClassDef(StmtClassDef { body, .. })) = suite.first() else { return None };
    body.iter().find_map(|member| match member {
        Stmt::FunctionDef(def) if matches!(def.name.as_str(), "__init__" | "forward") => {
            if def.is_async {
                return Some(format!("`{}`: expected a plain function, got an async one", def.name));
            }
            let reached =
                def.body.iter().take_while(|stmt| !matches!(stmt, Stmt::Return(_) | Stmt::Raise(_)));
            let never = |stmt: &Stmt| matches!(stmt, Stmt::Match(_));
            reached.into_iter().any(never).then(|| "match statements are not supported".to_owned())
        }
        Stmt::Match(_) => Some("match statements are not supported".to_owned()),
        _ => None,
    })
}

fn limit(message: String, start: usize, end: usize) -> SyntaxError {
    SyntaxError { message, span: Span::new(start, end), limit: true }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// The first word of a statement, or `@`.
fn first_word(statement: &str) -> &str {
    let text = statement.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if text.starts_with('@') { "@" } else { &text[..end] }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text up to the line at whose end it is given up, as it arrives in pieces of any length.
    fn given_up(text: &str) -> Option<(String, SyntaxError)> {
        let by_character = {
            let mut prefix = ClassPrefix::new();
            let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
            ends.into_iter().find_map(|end| Some((text[..end].to_owned(), prefix.fault(&text[..end])?)))
        };
        let at_once = ClassPrefix::new().fault(text);
        assert_eq!(at_once, by_character.as_ref().map(|(_, fault)| fault.clone()), "{text}");
        by_character
    }

    const NET: &str = include_str!("../llm/constrain/net.txt");
    /// What the grammar of constrained sampling does not know, and Python does.
    const REST: &str = include_str!("prefix.txt");

    #[test]
    fn a_sound_class_is_never_given_up() {
        assert_eq!(given_up(&format!("{NET}{REST}")), None);
        assert!(parse_module(&format!("{HEADER}{NET}{REST}")).is_ok());
    }

    #[test]
    fn what_python_refuses_is_given_up_at_the_end_of_its_line() {
        for (before, line) in [
            ("", "    def __init__(self)\n"),
            ("    def __init__(self):\n        super().__init__()\n", "      x = 1\n"),
            ("    def __init__(self):\n", "    x = 1\n"),
            ("    def f(self):\n        x = 1\n", "            y = 2\n"),
            ("    def f(self):\n", "        x = (1]\n"),
            ("    def f(self):\n", "        x = 1)\n"),
            ("    def f(self):\n", "        return return x\n"),
            ("    def f(self):\n", "        x = nn.Conv2d(1 2)\n"),
            ("    def f(self):\n        x = nn.Sequential(\n", "            nn.Conv2d(1 2),\n"),
            ("    def f(self):\n        x = g(1\n", "        self.y = nn.ReLU(),\n"),
            ("    def f(self):\n        try:\n            x = 1\n", "        x = 2\n"),
            ("    def f(self):\n", "        f(x) = 2\n"),
            ("    def f(self):\n", "        x = 'a\n"),
            ("    @f\n", "    x = 1\n"),
            ("", "    This is a network.\n"),
        ] {
            let text = format!("{before}{line}        more\n");
            let (until, fault) = given_up(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(until, format!("{before}{line}"), "{fault}");
            assert!(!fault.limit && fault.span.end as usize <= text.len(), "{fault:?}");
        }
    }

    #[test]
    fn statements_that_are_never_read_are_given_up_where_they_are_reached() {
        let text = "    def forward(self, x):\n        match x:\n            case _:\n                pass\n";
        assert!(given_up(text).unwrap().1.message.contains("match"));
        assert!(given_up("    async def forward(self, x):\n").unwrap().1.message.contains("async"));
        assert_eq!(given_up(&text.replace("forward", "other")), None);
    }

    #[test]
    fn texts_that_go_round_in_circles_and_endless_lines_are_given_up() {
        let head = "    def __init__(self):\n";
        let layer = "        self.a = nn.Conv2d(1, 1, 1)\n        self.b = nn.ReLU()\n";
        assert_eq!(given_up(&format!("{head}{}", layer.repeat(MAX_REPEATS))), None);
        let (until, fault) = given_up(&format!("{head}{}", layer.repeat(40))).unwrap();
        assert!(fault.limit && fault.message.starts_with("lines"), "{fault}");
        assert_eq!(until.len(), head.len() + layer.len() * (MAX_REPEATS + 1));
        let fault = given_up(&format!("{head}        x = '{}", "a".repeat(MAX_LINE))).unwrap().1;
        assert!(fault.limit && fault.message.starts_with("line:"), "{fault}");
        let (until, fault) = given_up(&format!("{head}{}", "\n".repeat(40))).unwrap();
        assert!(fault.limit && until.len() == head.len() + MAX_REPEATS + 1, "{fault}");
        let deep = format!("{head}        x = {}\n", "(".repeat(100));
        assert!(given_up(&deep).unwrap().1.limit);
    }
}
