//! Binds the arguments of a call to the parameters of a built-in function.
//!
//! Input: a signature written as in a `def` (`"input, dim=-1, *, keepdim=False"`, `*size`, `**kwargs`) and arguments.
//! Output: a [`Bound`] that hands out each parameter, converted and checked, with Python's messages. Limit: defaults
//! are numbers, strings, `True`, `False` and `None`.

use std::rc::Rc;

use crate::graph::Dim;
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, enums};
use crate::lower::value::{Site, Tensor, Value};
use crate::python::Span;

/// A parameter of a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) default: Option<&'a str>,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Positional,
    KeywordOnly,
    Rest,
    Keywords,
}

/// The parameters of a signature.
pub(crate) fn parameters(signature: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut keyword_only = false;
    signature.split(',').map(str::trim).filter(|part| !part.is_empty()).filter_map(move |part| {
        if part == "*" {
            keyword_only = true;
            return None;
        }
        if let Some(name) = part.strip_prefix("**") {
            return Some(Parameter { name, default: None, kind: Kind::Keywords });
        }
        if let Some(name) = part.strip_prefix('*') {
            keyword_only = true;
            return Some(Parameter { name, default: None, kind: Kind::Rest });
        }
        let kind = if keyword_only { Kind::KeywordOnly } else { Kind::Positional };
        let (name, default) = match part.split_once('=') {
            Some((name, default)) => (name, Some(default)),
            None => (part, None),
        };
        Some(Parameter { name, default, kind })
    })
}

/// A default as a value.
pub(crate) fn default_value(text: &str) -> Value {
    match text {
        "None" => Value::None,
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        _ => {
            if let Ok(int) = text.parse::<i64>() {
                Value::Int(int)
            } else if let Ok(float) = text.parse::<f64>() {
                Value::Float(float)
            } else {
                Value::str(text.trim_matches('\''))
            }
        }
    }
}

/// Arguments by parameter.
pub(crate) struct Bound {
    pub(crate) function: &'static str,
    values: Vec<(&'static str, Value, Option<Span>, bool)>,
    /// Values of `*rest`.
    pub(crate) rest: Vec<Value>,
    /// Values of `**keywords`.
    pub(crate) keywords: Vec<(Rc<str>, Value)>,
    /// The call.
    pub(crate) site: Option<Rc<Site>>,
}

/// Bind `args` to `signature`.
pub(crate) fn bind(function: &'static str, signature: &'static str, args: Args) -> R<Bound> {
    let site = args.site;
    let mut bound =
        Bound { function, values: Vec::new(), rest: Vec::new(), keywords: Vec::new(), site: site.clone() };
    let span_of = |index: usize| site.as_ref().and_then(|site| site.positional.get(index).copied().flatten());
    let given = args.positional.len();
    let mut positional = args.positional.into_iter().enumerate();
    let mut named: Vec<(Rc<str>, Value)> = args.named;
    let mut accepts_keywords = false;
    let mut count = 0;
    // As in Python, a keyword that is unknown is named before a parameter that is missing.
    if let Some((name, _)) = named.iter().find(|(name, _)| {
        parameters(signature).all(|known| known.name != &**name && known.kind != Kind::Keywords)
    }) {
        return Err(Raise::type_error(format!("{function}() got an unexpected keyword argument '{name}'")));
    }
    for parameter in parameters(signature) {
        let keyword = named.iter().position(|(name, _)| &**name == parameter.name);
        match parameter.kind {
            Kind::Rest => {
                bound.rest = positional.by_ref().map(|(_, value)| value).collect();
                if let Some(at) = keyword {
                    // `size=(2, 3)` for `*size`
                    bound.rest.push(named.remove(at).1);
                }
                continue;
            }
            Kind::Keywords => {
                accepts_keywords = true;
                continue;
            }
            Kind::Positional => {
                count += 1;
                if let Some((index, value)) = positional.next() {
                    if keyword.is_some() {
                        let message =
                            format!("{function}() got multiple values for argument '{}'", parameter.name);
                        return Err(Raise::type_error(message));
                    }
                    bound.values.push((parameter.name, value, span_of(index), true));
                    continue;
                }
            }
            Kind::KeywordOnly => {}
        }
        if let Some(at) = keyword {
            let (name, value) = named.remove(at);
            let span = site.as_ref().and_then(|site| site.named.iter().find(|(known, _)| *known == name));
            bound.values.push((parameter.name, value, span.and_then(|(_, span)| *span), true));
        } else if let Some(default) = parameter.default {
            bound.values.push((parameter.name, default_value(default), None, false));
        } else {
            let message =
                format!("{function}() missing 1 required positional argument: '{}'", parameter.name);
            return Err(Raise::type_error(message));
        }
    }
    if positional.next().is_some() {
        let message = format!("{function}() takes {count} positional arguments but {given} were given");
        return Err(Raise::type_error(message));
    }
    if accepts_keywords {
        bound.keywords = named;
    }
    Ok(bound)
}

impl Bound {
    /// The value of a parameter; `None` (Python's) where the signature lacks it.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.find(name).map_or(Value::None, |(_, value, _, _)| value.clone())
    }

    /// Whether the caller gave it.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, _, _, given)| *given)
    }

    /// Where its argument stands.
    pub(crate) fn span(&self, name: &str) -> Option<Span> {
        self.find(name).and_then(|(_, _, span, _)| *span)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value, _, _)| (*name, value))
    }

    fn find(&self, name: &str) -> Option<&(&'static str, Value, Option<Span>, bool)> {
        self.values.iter().find(|(known, _, _, _)| *known == name)
    }

    fn wrong(&self, name: &str, wanted: &str, value: &Value) -> Box<Raise> {
        if let Value::Opaque(unknown) = value {
            return Raise::unsupported(format!("'{unknown}' is not supported"));
        }
        if let (Value::Dim(_), "float" | "int" | "tuple of ints") = (value, wanted) {
            return Raise::unsupported(format!(
                "{}(): argument '{name}' depends on the batch",
                self.function
            ));
        }
        let got = value.type_name();
        Raise::type_error(format!("{}(): argument '{name}' must be {wanted}, not {got}", self.function))
    }

    pub(crate) fn tensor(&self, name: &str) -> R<Rc<Tensor>> {
        match self.get(name) {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(self.wrong(name, "Tensor", &other)),
        }
    }

    pub(crate) fn optional_tensor(&self, name: &str) -> R<Option<Rc<Tensor>>> {
        if self.get(name).is_none() { Ok(None) } else { self.tensor(name).map(Some) }
    }

    pub(crate) fn int(&self, name: &str) -> R<i64> {
        match self.get(name) {
            Value::Dim(_) => Err(Raise::unsupported(format!(
                "{}(): argument '{name}' depends on the batch",
                self.function
            ))),
            other => whole(&other).ok_or_else(|| self.wrong(name, "int", &other)),
        }
    }

    pub(crate) fn optional_int(&self, name: &str) -> R<Option<i64>> {
        if self.get(name).is_none() { Ok(None) } else { self.int(name).map(Some) }
    }

    pub(crate) fn count(&self, name: &str) -> R<usize> {
        let int = self.int(name)?;
        not_above_32_bits(name, int)?;
        usize::try_from(int).map_err(|_| {
            Raise::runtime(format!("{}(): argument '{name}' must not be negative, got {int}", self.function))
        })
    }

    pub(crate) fn float(&self, name: &str) -> R<f64> {
        let value = self.get(name);
        number(&value).ok_or_else(|| self.wrong(name, "float", &value))
    }

    pub(crate) fn optional_float(&self, name: &str) -> R<Option<f64>> {
        if self.get(name).is_none() { Ok(None) } else { self.float(name).map(Some) }
    }

    pub(crate) fn bool(&self, name: &str) -> R<bool> {
        match self.get(name) {
            Value::Bool(flag) => Ok(flag),
            Value::Int(int) => Ok(int != 0),
            Value::None => Ok(false),
            other => Err(self.wrong(name, "bool", &other)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> R<Rc<str>> {
        match self.get(name) {
            Value::Str(text) => Ok(text),
            other => Err(self.wrong(name, "str", &other)),
        }
    }

    /// A whole number or a sequence of them.
    pub(crate) fn ints(&self, name: &str) -> R<Vec<i64>> {
        let value = self.get(name);
        ints(&value).ok_or_else(|| self.wrong(name, "tuple of ints", &value))
    }

    /// As [`Bound::ints`], one for each of `rank` dimensions; a single number stands for all.
    pub(crate) fn spatial(&self, name: &str, rank: usize) -> R<Vec<usize>> {
        let value = self.get(name);
        let mut list = self.ints(name)?;
        if list.len() == 1 && rank > 1 {
            list = vec![list[0]; rank];
        }
        if list.len() != rank {
            let message = format!("expected {name} to be a single integer value or a list of {rank} values");
            return Err(Raise::runtime(format!("{message}, but got {name}={}", show(&value))));
        }
        list.into_iter()
            .map(|int| {
                not_above_32_bits(name, int)?;
                usize::try_from(int).map_err(|_| Raise::runtime(format!("negative {name} is not supported")))
            })
            .collect()
    }
}

/// Kernels count in 32 bits, and the product of two such numbers has to fit 64.
fn not_above_32_bits(name: &str, int: i64) -> R<()> {
    if int <= i64::from(i32::MAX) {
        return Ok(());
    }
    Err(Raise::limit(format!("{name}: {int} exceeds the limit of {}", i32::MAX)))
}

fn show(value: &Value) -> String {
    match ints(value) {
        Some(list) => format!("{list:?}"),
        None => value.type_name(),
    }
}

/// A number as a float.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(float) => Some(*float),
        #[expect(clippy::cast_precision_loss, reason = "Python converts the same way")]
        Value::Int(int) => Some(*int as f64),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

/// A whole number: a truth and a member of an `IntEnum` are some too.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(int) => Some(*int),
        Value::Bool(flag) => Some(i64::from(*flag)),
        value => match enums::plain(value)? {
            Value::Int(int) => Some(int),
            _ => None,
        },
    }
}

/// A whole number or a sequence of them.
pub(crate) fn ints(value: &Value) -> Option<Vec<i64>> {
    match value {
        Value::List(items) => items.borrow().iter().map(whole).collect(),
        Value::Tuple(tuple) => tuple.items.iter().map(whole).collect(),
        value => whole(value).map(|int| vec![int]),
    }
}

/// A size, fixed or depending on the batch.
pub(crate) fn dim(value: &Value) -> Option<Dim> {
    match value {
        Value::Dim(dim) => Some(*dim),
        value => whole(value).map(Dim::fixed),
    }
}

/// Sizes given as separate arguments or as one sequence.
pub(crate) fn dims(values: &[Value]) -> Option<Vec<Dim>> {
    match values {
        [Value::List(items)] => items.borrow().iter().map(dim).collect(),
        [Value::Tuple(tuple)] => tuple.items.iter().map(dim).collect(),
        values => values.iter().map(dim).collect(),
    }
}

impl Bound {
    /// A sequence of sizes, none negative.
    pub(crate) fn spatial_list(&self, name: &str) -> R<Vec<usize>> {
        self.ints(name)?
            .into_iter()
            .map(|int| {
                usize::try_from(int).map_err(|_| Raise::runtime(format!("negative {name} is not supported")))
            })
            .collect()
    }
}
