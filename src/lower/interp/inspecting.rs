//! The parameters of whatever can be called, for `inspect.signature`.
//!
//! Input: a function, method, class or partial. Output: each parameter's name, kind (as numbered by `inspect`) and
//! default. Limit: those of built-in functions, data classes and named tuples are not known.

use std::rc::Rc;

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::signature::{self, Kind};
use crate::lower::value::{Code, Descriptor, Function, Native, Value};

/// One parameter: name, kind and default.
pub(crate) type Parameter = (String, i64, Option<Value>);

pub(crate) const POSITIONAL: i64 = 1;
const VAR_POSITIONAL: i64 = 2;
pub(crate) const KEYWORD_ONLY: i64 = 3;
const VAR_KEYWORD: i64 = 4;

impl Interp<'_> {
    /// The parameters of `callable`, without the object that a method is bound to, and those of what a wrapper wraps;
    /// unless `plainly`.
    pub(crate) fn parameters_of(&mut self, callable: &Value, plainly: bool) -> R<Vec<Parameter>> {
        self.tick(4)?;
        let known = |what: &str| Raise::unsupported(format!("the signature of {what} is not supported"));
        let all = match callable {
            Value::Function(function) => {
                let wrapped = function.attrs.borrow().get("__wrapped__").cloned().filter(|_| !plainly);
                match wrapped {
                    Some(wrapped) => self.deeper(|this| this.parameters_of(&wrapped, plainly))?,
                    None => of_function(function),
                }
            }
            Value::Bound(parts) => {
                let all = self.deeper(|this| this.parameters_of(&parts.1, plainly))?;
                if plainly { all } else { without_first(all) }
            }
            Value::Descriptor(Descriptor::Static, inner) => {
                self.deeper(|this| this.parameters_of(inner, plainly))?
            }
            Value::Class(class) => match (class.native, self.class_attr(class, "__init__", None)) {
                (Native::Layer(layer), _) => of_text(layer.signature),
                (_, Some(init @ Value::Function(_))) => {
                    let all = self.parameters_of(&init, plainly)?;
                    if plainly { all } else { without_first(all) }
                }
                (_, Some(Value::ClassMethod(init))) => match init.0.native {
                    Native::Layer(layer) => of_text(layer.signature),
                    _ => return Err(known("this class")),
                },
                _ => return Err(known("this class")),
            },
            Value::Partial(partial) => {
                let all = self.deeper(|this| this.parameters_of(&partial.0, plainly))?;
                after(all, partial.1.len(), &partial.2)
            }
            Value::Object(object) => match self.class_attr(&object.class, "__call__", None) {
                Some(call @ Value::Function(_)) => {
                    let all = self.parameters_of(&call, plainly)?;
                    if plainly { all } else { without_first(all) }
                }
                _ => return Err(known("this object")),
            },
            Value::Opaque(name) => return Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => return Err(known(&format!("a {}", other.type_name()))),
        };
        self.tick(all.len())?;
        Ok(all)
    }
}

fn without_first(mut all: Vec<Parameter>) -> Vec<Parameter> {
    if all.first().is_some_and(|(_, kind, _)| *kind == POSITIONAL) {
        all.remove(0);
    }
    all
}

/// What is left of parameters after a partial: those given by position are gone, those given by name have that default,
/// and with all behind them are taken by name.
fn after(all: Vec<Parameter>, positional: usize, named: &[(Rc<str>, Value)]) -> Vec<Parameter> {
    let mut left = Vec::new();
    let mut by_name = false;
    let mut skip = positional;
    for (name, kind, default) in all {
        if kind == POSITIONAL && skip > 0 {
            skip -= 1;
            continue;
        }
        let given = named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone());
        by_name |= given.is_some() && kind == POSITIONAL;
        match kind {
            POSITIONAL if by_name => left.push((name, KEYWORD_ONLY, given.or(default))),
            VAR_POSITIONAL if by_name => {}
            _ => left.push((name, kind, given.or(default))),
        }
    }
    left
}

pub(crate) fn of_function(function: &Function) -> Vec<Parameter> {
    let parameters = match &function.code {
        Code::Def(def) => Some(&*def.parameters),
        Code::Lambda(lambda) => lambda.parameters.as_deref(),
    };
    let Some(parameters) = parameters else { return Vec::new() };
    let default = |name: &str| function.defaults.get(name).cloned();
    let mut all = Vec::new();
    for parameter in parameters.posonlyargs.iter().chain(&parameters.args) {
        let name = parameter.parameter.name.as_str();
        all.push((name.to_owned(), POSITIONAL, default(name)));
    }
    if let Some(vararg) = &parameters.vararg {
        all.push((vararg.name.to_string(), VAR_POSITIONAL, None));
    }
    for parameter in &parameters.kwonlyargs {
        let name = parameter.parameter.name.as_str();
        all.push((name.to_owned(), KEYWORD_ONLY, default(name)));
    }
    if let Some(kwarg) = &parameters.kwarg {
        all.push((kwarg.name.to_string(), VAR_KEYWORD, None));
    }
    all
}

fn of_text(text: &str) -> Vec<Parameter> {
    let parameter = |parameter: signature::Parameter<'_>| {
        let kind = match parameter.kind {
            Kind::Positional => POSITIONAL,
            Kind::KeywordOnly => KEYWORD_ONLY,
            Kind::Rest => VAR_POSITIONAL,
            Kind::Keywords => VAR_KEYWORD,
        };
        (parameter.name.to_owned(), kind, parameter.default.map(signature::default_value))
    };
    signature::parameters(text).map(parameter).collect()
}
