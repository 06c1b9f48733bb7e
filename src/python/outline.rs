//! The places of a network's source where it can be edited: text to plain spans, without a syntax tree.
//!
//! Input: a module and the name of its network's class. Output: an [`Outline`] of that class's `__init__` and
//! `forward` and of every call of the module, in the order of the text. Limit: statements inside `if` and `for`
//! are not listed, since an edit there would hold for some of the passes only; their calls are.

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, Number, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::{Span, SyntaxError, parse_module};

/// Where a network's source can be edited.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The statements of `__init__`; empty where there is none.
    pub init: Vec<Statement>,
    /// The statements of `forward`.
    pub forward: Vec<Statement>,
    /// All calls of the module, outer ones first.
    pub calls: Vec<Call>,
    /// Names of the module's classes.
    pub classes: Vec<String>,
}

/// A statement of a method's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Where it stands.
    pub span: Span,
    /// What it assigns, if it is a plain assignment to one name: `x` or `self.conv`.
    pub target: Option<String>,
    /// What is assigned.
    pub value: Option<Span>,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Where it stands.
    pub span: Span,
    /// Where what is called stands.
    pub function: Span,
    /// The last part of what is called: `Conv2d` of `nn.Conv2d`; empty for anything but dotted names.
    pub name: String,
    /// What stands before that: `nn`, `self`, `F`; empty for a bare name.
    pub owner: String,
    /// Its arguments, in order; `*args` and `**kwargs` are left out.
    pub arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name, if it is given by name.
    pub keyword: Option<String>,
    /// Where its value stands.
    pub span: Span,
    /// Its value, if it is a number in the text.
    pub number: Option<Literal>,
}

/// A number in the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literal {
    /// A whole number.
    Int(i64),
    /// Another one.
    Float(f64),
}

impl Outline {
    /// The outline of the class `name` in `source`; `None` if there is no such class with a `forward`.
    ///
    /// # Errors
    /// The source is not Python.
    pub fn of(source: &str, name: &str) -> Result<Option<Outline>, SyntaxError> {
        let suite = parse_module(source)?;
        let classes: Vec<_> = suite
            .iter()
            .filter_map(|stmt| if let Stmt::ClassDef(class) = stmt { Some(class) } else { None })
            .collect();
        let Some(class) = classes.iter().rev().find(|class| class.name.as_str() == name) else {
            return Ok(None);
        };
        let method = |wanted: &str| {
            class.body.iter().rev().find_map(|stmt| match stmt {
                Stmt::FunctionDef(def) if def.name.as_str() == wanted => Some(def),
                _ => None,
            })
        };
        let Some(forward) = method("forward") else { return Ok(None) };
        let mut calls = Calls { source, found: Vec::new() };
        suite.iter().for_each(|stmt| calls.visit_stmt(stmt));
        Ok(Some(Outline {
            init: method("__init__").map_or_else(Vec::new, |def| statements(source, def)),
            forward: statements(source, forward),
            calls: calls.found,
            classes: classes.iter().map(|class| class.name.to_string()).collect(),
        }))
    }

    /// The call at exactly this place.
    pub fn call_at(&self, span: Span) -> Option<&Call> {
        self.calls.iter().find(|call| call.span == span)
    }

    /// Calls that stand within `span`.
    pub fn calls_in(&self, span: Span) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| span.start <= call.span.start && call.span.end <= span.end)
    }
}

impl Span {
    /// The text there; empty if it does not lie in `source`.
    pub fn text(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

fn statements(source: &str, def: &StmtFunctionDef) -> Vec<Statement> {
    def.body
        .iter()
        .map(|stmt| {
            let (target, value) = match stmt {
                Stmt::Assign(assign) if assign.targets.len() == 1 => {
                    let plain = match &assign.targets[0] {
                        Expr::Name(_) => true,
                        Expr::Attribute(target) => matches!(&*target.value, Expr::Name(_)),
                        _ => false,
                    };
                    let target = Span::from(assign.targets[0].range()).text(source).to_owned();
                    (plain.then_some(target), Some(Span::from(assign.value.range())))
                }
                _ => (None, None),
            };
            Statement { span: Span::from(stmt.range()), value: value.filter(|_| target.is_some()), target }
        })
        .collect()
}

struct Calls<'a> {
    source: &'a str,
    found: Vec<Call>,
}

impl<'a> Visitor<'a> for Calls<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr {
            let (owner, name) = match &*call.func {
                Expr::Name(name) => (String::new(), name.id.to_string()),
                Expr::Attribute(attribute) => (
                    Span::from(attribute.value.range()).text(self.source).to_owned(),
                    attribute.attr.to_string(),
                ),
                _ => (String::new(), String::new()),
            };
            let mut arguments: Vec<Argument> = call
                .arguments
                .args
                .iter()
                .filter(|arg| !matches!(arg, Expr::Starred(_)))
                .map(|arg| argument(None, arg))
                .collect();
            arguments.extend(call.arguments.keywords.iter().filter_map(|keyword| {
                Some(argument(Some(keyword.arg.as_ref()?.to_string()), &keyword.value))
            }));
            self.found.push(Call {
                span: Span::from(call.range()),
                function: Span::from(call.func.range()),
                name,
                owner,
                arguments,
            });
        }
        walk_expr(self, expr);
    }
}

fn argument(keyword: Option<String>, value: &Expr) -> Argument {
    let number = match value {
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(int) => int.as_i64().map(Literal::Int),
            Number::Float(float) => Some(Literal::Float(*float)),
            Number::Complex { .. } => None,
        },
        _ => None,
    };
    Argument { keyword, span: Span::from(value.range()), number }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        \
        self.f = nn.Sequential(nn.Conv2d(1, 8, kernel_size=3), nn.Dropout(0.5))\n\n    def forward(self, x):\n        \
        if self.training:\n            x = x\n        y = self.f(x)\n        return y\n";

    #[test]
    fn methods_and_calls_are_found_with_their_places() {
        let outline = Outline::of(SOURCE, "Net").unwrap().unwrap();
        assert_eq!((outline.init.len(), outline.forward.len()), (2, 3));
        assert_eq!(outline.init[1].target.as_deref(), Some("self.f"));
        assert_eq!(outline.forward[1].value.unwrap().text(SOURCE), "self.f(x)");
        let conv = outline.calls.iter().find(|call| call.name == "Conv2d").unwrap();
        assert_eq!((conv.owner.as_str(), conv.arguments[1].number), ("nn", Some(Literal::Int(8))));
        assert_eq!(conv.arguments[2].keyword.as_deref(), Some("kernel_size"));
        assert_eq!(outline.calls_in(outline.init[1].value.unwrap()).count(), 3);
    }

    #[test]
    fn a_module_without_the_class_has_no_outline() {
        assert_eq!(Outline::of("x = 1\n", "Net").unwrap(), None);
        assert!(Outline::of("x = = 1\n", "Net").is_err());
    }
}
