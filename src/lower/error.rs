//! Why a source text is not a network: Python exceptions while interpreting, and the refusal a caller sees.
//!
//! Input: what went wrong inside the interpreter. Output: [`Refusal`] with a [`Verdict`], a message worded as PyTorch
//! words it, and a byte range. Limit: ranges point into the main source only.

use std::fmt;
use std::rc::Rc;

use crate::graph::BuildError;
use crate::lower::value::Value;
use crate::python::{Diagnostic, Span};

/// What became of a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is a network.
    Accepted,
    /// It is not Python.
    SyntaxError,
    /// PyTorch may accept it, this program does not.
    UnsupportedSyntax,
    /// PyTorch raises an exception while building or running it, or its output has the wrong shape.
    ShapeError,
    /// It passes one of [`crate::lower::Limits`].
    LimitExceeded,
}

impl Verdict {
    /// The name used in JSON and in the run database.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::SyntaxError => "syntax_error",
            Verdict::UnsupportedSyntax => "unsupported",
            Verdict::ShapeError => "shape_error",
            Verdict::LimitExceeded => "limit_exceeded",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a source text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of refusal; never [`Verdict::Accepted`].
    pub verdict: Verdict,
    /// What is wrong, as PyTorch says it where PyTorch says it.
    pub message: String,
    /// Byte range in the source.
    pub span: Option<(u32, u32)>,
}

impl Refusal {
    /// `error: ...` with the place, the line and carets below it.
    pub fn render(&self, source: &str, name: &str) -> String {
        let span = self.span.map(|(start, end)| Span { start, end });
        Diagnostic::new(&self.message, span).render(source, name)
    }
}

const VALUES_ASKED: &str = "control flow on the values of a tensor";

/// What stops the interpreter.
#[derive(Debug, Clone)]
pub(crate) struct Raise {
    pub(crate) kind: RaiseKind,
    /// Innermost expression of the main source.
    pub(crate) span: Option<Span>,
    /// Innermost place in a file that the main source imports: module, text and byte.
    pub(crate) within: Option<(Rc<str>, Rc<str>, u32)>,
    /// What a repair may change, where the cause is known.
    pub(crate) hint: Option<Box<Hint>>,
}

#[derive(Debug, Clone)]
pub(crate) enum RaiseKind {
    /// A Python exception: class name, message, and the exception object where the source raised it.
    Python {
        class: String,
        message: String,
        value: Option<Value>,
    },
    Unsupported(String),
    Limit(String),
}

/// A cause of failure that a repair can act on. Spans are places in the main source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Hint {
    /// An argument of a constructor or call should have had another value.
    Argument {
        /// Name of the parameter, such as `in_features`.
        parameter: &'static str,
        /// The argument.
        span: Span,
        /// What to write there.
        needed: i64,
        /// How many layers were built with this very argument.
        uses: usize,
        /// Rank of the tensor that came, 0 where it does not matter.
        rank: usize,
        /// The constructor call.
        call: Option<Span>,
    },
    /// A layer got a tensor of a rank or size it does not take.
    Rank {
        /// The layer's class, such as `Conv2d`.
        layer: String,
        /// Rank that came.
        got: usize,
        /// The constructor call.
        call: Option<Span>,
    },
    /// An attribute is not defined.
    Attribute {
        /// The attribute's name.
        name: String,
    },
    /// A name is not defined.
    Name {
        /// The name.
        name: String,
    },
    /// Two tensors that are added do not fit.
    Broadcast {
        /// Left operand's sizes after the batch dimension.
        left: Vec<i64>,
        /// Right operand's.
        right: Vec<i64>,
    },
    /// A change in place that gradients do not allow.
    InPlace,
    /// The network ran but its output is not (N, classes).
    Output {
        /// Sizes after the batch dimension, where the output is a tensor and its first dimension is the batch.
        sizes: Option<Vec<i64>>,
        /// The width of the last linear layer, and how many layers were built with it.
        width: Option<(Span, usize)>,
        /// Whether the output is `None`: `forward` returns nothing.
        nothing: bool,
    },
}

pub(crate) type R<T> = Result<T, Box<Raise>>;

impl Raise {
    pub(crate) fn of(kind: RaiseKind) -> Box<Raise> {
        Box::new(Raise { kind, span: None, within: None, hint: None })
    }

    pub(crate) fn python(class: &str, message: impl Into<String>) -> Box<Raise> {
        let kind = RaiseKind::Python { class: class.to_owned(), message: message.into(), value: None };
        Raise::of(kind)
    }

    pub(crate) fn type_error(message: impl Into<String>) -> Box<Raise> {
        Raise::python("TypeError", message)
    }

    pub(crate) fn value_error(message: impl Into<String>) -> Box<Raise> {
        Raise::python("ValueError", message)
    }

    pub(crate) fn runtime(message: impl Into<String>) -> Box<Raise> {
        Raise::python("RuntimeError", message)
    }

    pub(crate) fn attribute(message: impl Into<String>) -> Box<Raise> {
        Raise::python("AttributeError", message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Box<Raise> {
        Raise::of(RaiseKind::Unsupported(message.into()))
    }

    /// What is refused because it depends on the values of a tensor that only a run computes.
    pub(crate) fn values_asked() -> Box<Raise> {
        Raise::unsupported(VALUES_ASKED)
    }

    /// Whether this is [`Raise::values_asked`].
    pub(crate) fn asks_values(&self) -> bool {
        matches!(&self.kind, RaiseKind::Unsupported(message) if message == VALUES_ASKED)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Box<Raise> {
        Raise::of(RaiseKind::Limit(message.into()))
    }

    /// Python's integers have no end; those here do.
    pub(crate) fn overflow() -> Box<Raise> {
        Raise::limit("integers: expected at most 64 bits, got more")
    }

    pub(crate) fn with_hint(mut self: Box<Raise>, hint: Hint) -> Box<Raise> {
        self.hint = Some(Box::new(hint));
        self
    }

    pub(crate) fn class(&self) -> Option<&str> {
        match &self.kind {
            RaiseKind::Python { class, .. } => Some(class),
            _ => None,
        }
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        let (verdict, message) = match self.kind {
            RaiseKind::Python { class, message, .. } if message.is_empty() => (Verdict::ShapeError, class),
            RaiseKind::Python { class, message, .. } => (Verdict::ShapeError, format!("{class}: {message}")),
            RaiseKind::Unsupported(message) => (Verdict::UnsupportedSyntax, message),
            RaiseKind::Limit(message) => (Verdict::LimitExceeded, message),
        };
        let message = match self.within {
            Some((module, text, at)) => {
                let line =
                    text.as_bytes().iter().take(at as usize).filter(|byte| **byte == b'\n').count() + 1;
                format!("{message} ({module}, line {line})")
            }
            None => message,
        };
        Refusal { verdict, message, span: self.span.map(|span| (span.start, span.end)) }
    }
}

impl From<BuildError> for Box<Raise> {
    fn from(error: BuildError) -> Box<Raise> {
        match error {
            BuildError::Shape(message) => match message.split_once(": ") {
                Some((class, rest)) if class.ends_with("Error") && !class.contains(' ') => {
                    Raise::python(class, rest)
                }
                _ => Raise::runtime(message),
            },
            BuildError::Unsupported(message) => Raise::unsupported(message),
            BuildError::Limit { .. } => Raise::limit(error.to_string()),
        }
    }
}
