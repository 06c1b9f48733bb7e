//! Refuses text that a recursive parser should not see, from its tokens alone.
//!
//! Input: source text. Output: nothing, or a [`SyntaxError`] with `limit` set. The lexer keeps its nesting in a heap
//! vector, so that counting is safe for any input. Limit: the numbers below are generous for code that people write.

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer};

use super::{Span, SyntaxError};

/// Largest source text.
pub const MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting of `(`, `[` and `{`.
pub const MAX_BRACKETS: usize = 60;
/// Deepest nesting of indented blocks.
pub const MAX_INDENTS: usize = 40;
/// Deepest nesting of f-strings.
pub const MAX_FSTRINGS: usize = 8;
/// Longest run of tokens without a comma or an end of statement; bounds chains such as `not not x` or `a + a + a`.
pub const MAX_RUN: usize = 2_000;
/// Longest run of prefix operators and `**`, which nest to the right.
const MAX_PREFIX: usize = 100;

pub(super) fn check(source: &str) -> Result<(), SyntaxError> {
    if source.len() > MAX_BYTES {
        let message = format!("source text: expected at most {MAX_BYTES} bytes, got {}", source.len());
        return Err(SyntaxError { message, span: Span::new(0, 0), limit: true });
    }
    let mut depth = Depth::default();
    let mut tokens = lexer::lex(source, Mode::Module);
    loop {
        let kind = tokens.next_token();
        if kind == TokenKind::EndOfFile {
            return Ok(());
        }
        depth.count(kind);
        depth.verify()?;
    }
}

#[derive(Default)]
struct Depth {
    brackets: usize,
    indents: usize,
    fstrings: usize,
    run: usize,
    prefix: usize,
}

impl Depth {
    fn count(&mut self, kind: TokenKind) {
        use TokenKind as T;
        match kind {
            T::Lpar | T::Lsqb | T::Lbrace => self.brackets += 1,
            T::Rpar | T::Rsqb | T::Rbrace => self.brackets = self.brackets.saturating_sub(1),
            T::Indent => self.indents += 1,
            T::Dedent => self.indents = self.indents.saturating_sub(1),
            T::FStringStart | T::TStringStart => self.fstrings += 1,
            T::FStringEnd | T::TStringEnd => self.fstrings = self.fstrings.saturating_sub(1),
            _ => {}
        }
        match kind {
            T::Comma | T::Newline | T::Semi | T::Indent | T::Dedent => (self.run, self.prefix) = (0, 0),
            T::NonLogicalNewline | T::Comment => {}
            _ => self.run += 1,
        }
        if matches!(
            kind,
            T::Minus | T::Plus | T::Tilde | T::Not | T::Lambda | T::DoubleStar | T::Await | T::If
        ) {
            self.prefix += 1;
        }
    }

    fn verify(&self) -> Result<(), SyntaxError> {
        let checks = [
            ("nesting of brackets", self.brackets, MAX_BRACKETS),
            ("nesting of blocks", self.indents, MAX_INDENTS),
            ("nesting of f-strings", self.fstrings, MAX_FSTRINGS),
            ("tokens in one expression", self.run, MAX_RUN),
            ("operators in one expression", self.prefix, MAX_PREFIX),
        ];
        for (what, got, limit) in checks {
            if got > limit {
                let message = format!("{what}: expected at most {limit}, got more");
                return Err(SyntaxError { message, span: Span::new(0, 0), limit: true });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused_before_parsing() {
        let hostile = [
            "(".repeat(100_000),
            "[".repeat(3_000) + &"]".repeat(3_000),
            format!("x = {}1", "not ".repeat(50_000)),
            format!("x = {}1", "-".repeat(100_000)),
            format!("x = 1{}", "**1".repeat(50_000)),
            format!("x = {}1", "lambda: ".repeat(20_000)),
            format!("x = 1{}", "+1".repeat(100_000)),
            format!("x = a{}", ".b".repeat(100_000)),
            format!("x = {}1", "1 if 1 else ".repeat(9_000)),
            (0..300).map(|depth| " ".repeat(depth) + "if 1:\n").collect::<String>(),
        ];
        for source in &hostile {
            let error = check(source).unwrap_err();
            assert!(error.limit, "{}", &source[..20]);
        }
    }

    #[test]
    fn a_long_list_is_not_nesting() {
        let source = format!("x = [{}]\n", "(1, 2), ".repeat(20_000));
        assert!(check(&source).is_ok());
    }
}
