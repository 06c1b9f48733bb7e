//! Data classes: what `@dataclass` makes of a class.
//!
//! Input: classes with annotated names, and the decorator's options. Output: their fields, and what `__init__`,
//! `__hash__`, the comparisons and `__setattr__` do. Limit: `slots` and `match_args` have no effect, `InitVar` is
//! refused.

use std::rc::Rc;

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::{Args, DATACLASS, FIELD, Interp, annotations};
use crate::lower::value::{Class, Key, Value};

impl Interp<'_> {
    /// The `__init__` that `@dataclass` writes.
    pub(crate) fn init_dataclass(&mut self, class: &Rc<Class>, args: Args) -> R<Value> {
        let mut positional = args.positional.into_iter();
        let Some(target @ Value::Object(_)) = positional.next() else { return Ok(Value::None) };
        let (given, taken) = (positional.len() + 1, self.dataclass_fields(class, "init")?);
        let fields: Vec<Rc<str>> = class.fields.borrow().clone();
        let frozen = self.dataclass_option(class, "frozen", false)? == Some(true);
        for field in fields {
            let takes = taken.contains(&field);
            let Field { default, options } = field_of(class, &field);
            let default = match (default, option(&options, "default_factory")) {
                (None, Some(factory)) => Some(self.call(factory, Args::default())?),
                (default, _) => default,
            };
            let named = args.named.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone());
            let first = if takes && !self.by_keyword(class, &field)? { positional.next() } else { None };
            if first.is_some() && named.is_some() {
                let name = &class.name;
                let message = format!("{name}.__init__() got multiple values for argument '{field}'");
                return Err(Raise::type_error(message));
            }
            match first.or(named).or(default) {
                Some(value) if frozen => self.set_attr_plainly(&target, &field, value)?,
                Some(value) => self.set_attr(&target, &field, value)?,
                // It is left to `__post_init__`.
                None if !takes => {}
                None => {
                    let message = format!(
                        "{}.__init__() missing 1 required positional argument: '{field}'",
                        class.name
                    );
                    return Err(Raise::type_error(message));
                }
            }
        }
        if let Some((name, _)) = args.named.iter().find(|(name, _)| !taken.contains(name)) {
            let message = format!("{}.__init__() got an unexpected keyword argument '{name}'", class.name);
            return Err(Raise::type_error(message));
        }
        if positional.next().is_some() {
            let mut most = 1;
            for field in &taken {
                most += usize::from(!self.by_keyword(class, field)?);
            }
            let name = &class.name;
            let message =
                format!("{name}.__init__() takes {most} positional arguments but {given} were given");
            return Err(Raise::type_error(message));
        }
        match self.get_attr(&target, "__post_init__") {
            Ok(method) => self.call(&method, Args::default()),
            Err(raise) if matches!(raise.kind, RaiseKind::Python { .. }) => Ok(Value::None),
            Err(raise) => Err(raise),
        }
    }

    /// `@dataclass` of a class, with the decorator's options.
    pub(crate) fn dataclass(&mut self, class: &Rc<Class>, options: &[(Rc<str>, Value)]) -> R<()> {
        let mut fields = Vec::new();
        let inherited = class.ancestors.iter().rev().flat_map(|class| class.fields.borrow().clone());
        for field in inherited.chain(annotations(&class.attrs.borrow())) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        *class.fields.borrow_mut() = fields;
        let options = options.iter().map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone()));
        let options = self.dict(options.collect())?;
        class.attrs.borrow_mut().insert(Rc::from(DATACLASS), options);
        self.check_defaults(class)
    }

    /// Whether a field is given by its name only.
    fn by_keyword(&mut self, class: &Rc<Class>, field: &Rc<str>) -> R<bool> {
        let of_field = field_of(class, field).options;
        if let Some(by_keyword) = option(&of_field, "kw_only") {
            return self.truth(by_keyword);
        }
        // What the class that names it last says.
        for class in class.lineage() {
            let Some(Value::List(names)) = class.attrs.borrow().get("__annotations__").cloned() else {
                continue;
            };
            let Some(at) =
                names.borrow().iter().position(|name| matches!(name, Value::Str(name) if name == field))
            else {
                continue;
            };
            // `_: KW_ONLY` stands before it.
            let behind = names.borrow().iter().take(at).any(Value::is_none);
            let options = class.attrs.borrow().get(DATACLASS).cloned();
            let of_class = match options {
                Some(Value::Dict(options)) => options.borrow().get(&Key::Str(Rc::from("kw_only"))).cloned(),
                _ => None,
            };
            return Ok(behind || of_class.map_or(Ok(false), |of_class| self.truth(&of_class))?);
        }
        Ok(false)
    }

    /// The error of an attribute set in a frozen data class.
    pub(crate) fn check_frozen(&mut self, class: &Rc<Class>, name: &str) -> R<()> {
        if self.dataclass_option(class, "frozen", false)? != Some(true) {
            return Ok(());
        }
        Err(Raise::python("FrozenInstanceError", format!("cannot assign to field '{name}'")))
    }

    /// The fields that two objects of a data class are compared by, where it has an order.
    pub(crate) fn in_order(&mut self, left: &Value, right: &Value) -> R<Option<(Value, Value)>> {
        let (Value::Object(a), Value::Object(b)) = (left, right) else { return Ok(None) };
        if !Rc::ptr_eq(&a.class, &b.class) || self.dataclass_option(&a.class, "order", false)? != Some(true) {
            return Ok(None);
        }
        let (mut these, mut those) = (Vec::new(), Vec::new());
        for field in self.dataclass_fields(&a.class, "compare")? {
            these.push(self.get_attr(left, &field)?);
            those.push(self.get_attr(right, &field)?);
        }
        Ok(Some((self.tuple(these)?, self.tuple(those)?)))
    }

    /// Refuses what `@dataclass` refuses of defaults: one that all objects would share, and fields without one behind
    /// others that have one.
    fn check_defaults(&mut self, class: &Rc<Class>) -> R<()> {
        let taken = self.dataclass_fields(class, "init")?;
        let fields: Vec<Rc<str>> = class.fields.borrow().clone();
        let mut defaults = false;
        for field in fields {
            let Field { default, options } = field_of(class, &field);
            if let Some(shared @ (Value::List(_) | Value::Dict(_) | Value::Set(_))) = &default {
                let message = format!(
                    "mutable default <class '{}'> for field {field} is not allowed: use default_factory",
                    shared.type_name()
                );
                return Err(Raise::value_error(message));
            }
            if self.by_keyword(class, &field)? || !taken.contains(&field) {
                continue;
            }
            let has = default.is_some() || option(&options, "default_factory").is_some();
            if defaults && !has {
                return Err(Raise::type_error(format!(
                    "non-default argument '{field}' follows default argument"
                )));
            }
            defaults |= has;
        }
        Ok(())
    }

    /// An option of the decorator `@dataclass` of a class; `None` where the class has no such decorator.
    pub(crate) fn dataclass_option(
        &mut self,
        class: &Rc<Class>,
        name: &str,
        default: bool,
    ) -> R<Option<bool>> {
        let options = class.lineage().find_map(|class| class.attrs.borrow().get(DATACLASS).cloned());
        let Some(Value::Dict(options)) = options else { return Ok(None) };
        let option = options.borrow().get(&Key::Str(Rc::from(name))).cloned();
        match option {
            Some(option) => self.truth(&option).map(Some),
            None => Ok(Some(default)),
        }
    }

    /// Whether Python finds no hash for the objects of a class: the first class that says what is equal says no more.
    pub(crate) fn is_unhashable(&mut self, class: &Rc<Class>) -> R<bool> {
        for class in class.lineage() {
            let (hash, compares, by_fields) = {
                let attrs = class.attrs.borrow();
                (attrs.get("__hash__").cloned(), attrs.contains_key("__eq__"), attrs.contains_key(DATACLASS))
            };
            if let Some(hash) = hash {
                return Ok(hash.is_none());
            }
            if by_fields && self.dataclass_option(class, "eq", true)? == Some(true) {
                let hashed = ["frozen", "unsafe_hash"].map(|name| self.dataclass_option(class, name, false));
                for option in hashed {
                    if option? == Some(true) {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            if compares {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The fields of a data class, but those whose option of this name is `False`.
    pub(crate) fn dataclass_fields(&mut self, class: &Rc<Class>, unless: &str) -> R<Vec<Rc<str>>> {
        let known = class.lineage().map(|class| class.fields.borrow().clone());
        let fields = known.into_iter().find(|fields| !fields.is_empty()).unwrap_or_default();
        let mut kept = Vec::with_capacity(fields.len());
        for field in fields {
            self.tick(1)?;
            if !matches!(option(&field_of(class, &field).options, unless), Some(Value::Bool(false))) {
                kept.push(field);
            }
        }
        Ok(kept)
    }
}

/// What the body of a data class says of a field.
struct Field {
    default: Option<Value>,
    /// The arguments of `field(...)`.
    options: Vec<(Rc<str>, Value)>,
}

fn field_of(class: &Rc<Class>, field: &Rc<str>) -> Field {
    match class.lineage().find_map(|class| class.attrs.borrow().get(field).cloned()) {
        Some(Value::Partial(marker)) if matches!(&marker.0, Value::Opaque(name) if &**name == FIELD) => {
            let options = marker.2.clone();
            Field { default: option(&options, "default").cloned(), options }
        }
        default => Field { default, options: Vec::new() },
    }
}

fn option<'a>(options: &'a [(Rc<str>, Value)], wanted: &str) -> Option<&'a Value> {
    options.iter().find(|(name, _)| &**name == wanted).map(|(_, value)| value)
}
