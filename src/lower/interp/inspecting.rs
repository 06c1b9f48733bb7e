//! The parameters of whatever can be called, for `inspect.signature`.
//!
//! Input: a function, method, class, partial or built-in function. Output: each parameter's name, kind (as numbered by
//! `inspect`) and default. Limit: arguments that a partial has given are left out, those given by name too.

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::signature::{self, Kind};
use crate::lower::value::{Code, Function, Native, Value};

/// One parameter: name, kind and default.
pub(crate) type Parameter = (String, i64, Option<Value>);

const POSITIONAL: i64 = 1;
const VAR_POSITIONAL: i64 = 2;
const KEYWORD_ONLY: i64 = 3;
const VAR_KEYWORD: i64 = 4;

impl Interp<'_> {
    /// The parameters of `callable`; `bound` leaves out the object that a method is bound to.
    pub(crate) fn parameters_of(&mut self, callable: &Value, bound: bool) -> R<Vec<Parameter>> {
        let wrapped = match callable {
            Value::Function(function) => function.attrs.borrow().get("__wrapped__").cloned(),
            _ => None,
        };
        if let Some(wrapped) = wrapped {
            return self.deeper(|this| this.parameters_of(&wrapped, bound));
        }
        match callable {
            Value::Function(function) => Ok(of_function(function)),
            Value::Bound(parts) => {
                let all = self.deeper(|this| this.parameters_of(&parts.1, bound))?;
                let first = usize::from(bound && all.first().is_some_and(|it| it.1 == POSITIONAL));
                Ok(all.into_iter().skip(first).collect())
            }
            Value::Builtin(builtin) => Ok(of_text(builtin.signature)),
            Value::Descriptor(_, inner) => self.deeper(|this| this.parameters_of(inner, bound)),
            Value::Class(class) => match class.native {
                Native::Layer(layer) => Ok(of_text(layer.signature)),
                _ => match self.class_attr(class, "__init__", None) {
                    Some(Value::Function(init)) => {
                        let all = self.parameters_of(&Value::Function(init), bound)?;
                        Ok(all.into_iter().skip(1).collect())
                    }
                    Some(Value::ClassMethod(native)) => match native.0.native {
                        Native::Layer(layer) => Ok(of_text(layer.signature)),
                        _ => Ok(Vec::new()),
                    },
                    _ => Ok(Vec::new()),
                },
            },
            Value::Partial(partial) => {
                let all = self.deeper(|this| this.parameters_of(&partial.0, bound))?;
                let given = |name: &str| partial.2.iter().any(|(known, _)| &**known == name);
                Ok(all.into_iter().skip(partial.1.len()).filter(|(name, ..)| !given(name)).collect())
            }
            Value::Object(object) => match self.class_attr(&object.class, "__call__", None) {
                Some(call @ Value::Function(_)) => {
                    let all = self.parameters_of(&call, bound)?;
                    Ok(all.into_iter().skip(usize::from(bound)).collect())
                }
                _ => Err(Raise::unsupported("the signature of this object is not supported")),
            },
            Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
            other => {
                Err(Raise::type_error(format!("{} is not a callable object", self.repr(&other.clone())?)))
            }
        }
    }
}

fn of_function(function: &Function) -> Vec<Parameter> {
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
