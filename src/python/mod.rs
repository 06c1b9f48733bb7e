//! Text to the syntax tree of a Python module, or a located error.
//!
//! Input: source text of any origin. Output: ruff's syntax tree ([`ruff_python_ast`]) or a [`SyntaxError`]. Text that
//! could exhaust the stack or the memory of a recursive parser (size, nesting of brackets, blocks and f-strings, runs
//! of operators) is refused from its tokens alone, before a tree is built. Limit: files of at most 256 KiB.

mod bindings;
mod compile;
pub mod diagnostic;
mod guard;
mod mangle;
pub mod outline;
pub mod prefix;

use ruff_python_ast::{Expr, ModModule, Suite};
use ruff_python_parser::{ParseError, ParseErrorType};
use ruff_text_size::{Ranged, TextRange};

pub use bindings::local_names;
pub use compile::compile_module;
pub use diagnostic::{Diagnostic, Span};
pub use guard::{MAX_BRACKETS, MAX_BYTES, MAX_FSTRINGS, MAX_INDENTS, MAX_RUN};

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, in the parser's words.
    pub message: String,
    /// Where, as a byte range.
    pub span: Span,
    /// Whether a size limit was passed, rather than Python's grammar.
    pub limit: bool,
}

/// Parse a module, also one that Python's compiler would refuse.
///
/// # Errors
/// [`SyntaxError`], with `limit` set where the text is larger or more deeply nested than is read.
pub fn parse_module(source: &str) -> Result<Suite, SyntaxError> {
    guard::check(source)?;
    let module: ModModule =
        ruff_python_parser::parse_module(source).map_err(|error| syntax_error(&error, source))?.into_syntax();
    Ok(module.body)
}

/// Parse one expression, such as `ResNet(num_blocks=[2, 2])`.
///
/// # Errors
/// As [`parse_module`].
pub fn parse_expression(source: &str) -> Result<Expr, SyntaxError> {
    guard::check(source)?;
    let parsed = ruff_python_parser::parse_expression(source)
        .map_err(|error| syntax_error(&error, source))?
        .into_syntax();
    Ok(*parsed.body)
}

fn syntax_error(error: &ParseError, source: &str) -> SyntaxError {
    let message = match &error.error {
        ParseErrorType::OtherError(message) => message.clone(),
        other => other.to_string(),
    };
    let range = error.range();
    let end = range.end().to_usize().min(source.len());
    let start = range.start().to_usize().min(end);
    SyntaxError { message: lower_first(&message), span: Span::new(start, end), limit: false }
}

/// An error of a text that parses.
fn located(message: &str, range: TextRange) -> SyntaxError {
    SyntaxError { message: lower_first(message), span: range.into(), limit: false }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_class_is_a_located_error() {
        let source = "class Net(nn.Module):\n    def forward(self, x):\n";
        let error = parse_module(source).unwrap_err();
        assert!(!error.limit);
        let text = Diagnostic::new(&error.message, Some(error.span)).render(source, "net.py");
        assert!(text.contains("--> net.py:"), "{text}");
        assert!(text.contains('^'), "{text}");
    }

    #[test]
    fn an_ordinary_module_parses() {
        assert_eq!(parse_module("import torch\nx = [1, 2]\n").unwrap().len(), 2);
        assert!(parse_expression("Net(3)").is_ok());
    }
}
