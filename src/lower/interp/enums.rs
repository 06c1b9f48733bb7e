//! Enumerations: classes derived from `enum.Enum`, `IntEnum` and `StrEnum`.
//!
//! Input: the class and its body. Output: members with `name` and `value`, found by name and by value, in the order of
//! the body. Limit: flags, and members with an `__init__` of their own, are not made.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::{Expr, Stmt};

use crate::lower::error::{R, Raise};
use crate::lower::interp::{AUTO, Args, Interp};
use crate::lower::value::{Class, Object, Value};

impl Class {
    pub(crate) fn is_enum(&self) -> bool {
        self.ancestors.iter().any(|class| &*class.name == "Enum")
    }
}

impl Interp<'_> {
    /// Turn the plain values in the body of an enumeration into its members.
    pub(crate) fn make_members(&mut self, class: &Rc<Class>, body: &[Stmt]) -> R<()> {
        let mut names: Vec<Rc<str>> = Vec::new();
        // The largest number so far, which `auto()` goes on from.
        let mut last = 0;
        for stmt in body {
            let Stmt::Assign(stmt) = stmt else { continue };
            let [Expr::Name(name)] = &stmt.targets[..] else { continue };
            let name: Rc<str> = Rc::from(name.id.as_str());
            let value = class.attrs.borrow().get(&name).cloned();
            let Some(value) = value.filter(|_| !name.starts_with('_')) else { continue };
            let value = match &value {
                Value::Function(_) | Value::Descriptor(..) => continue,
                Value::Opaque(known) if &**known == AUTO => Value::Int(i64::saturating_add(last, 1)),
                _ => value,
            };
            if let Value::Int(number) = value {
                last = last.max(number);
            }
            let member = Rc::new(Object {
                class: Rc::clone(class),
                attrs: RefCell::default(),
                module: RefCell::default(),
                site: RefCell::default(),
            });
            for (key, value) in
                [("name", Value::Str(Rc::clone(&name))), ("value", value.clone()), ("_value_", value)]
            {
                member.attrs.borrow_mut().insert(Rc::from(key), value);
            }
            let member = self.own(Value::Object(member))?;
            class.attrs.borrow_mut().insert(Rc::clone(&name), member);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        *class.fields.borrow_mut() = names;
        Ok(())
    }

    /// The members of an enumeration, in the order of its body.
    pub(crate) fn enum_members(&self, class: &Class) -> Vec<Value> {
        let attrs = class.attrs.borrow();
        class.fields.borrow().iter().filter_map(|name| attrs.get(name).cloned()).collect()
    }

    /// `Enumeration(value)`.
    pub(crate) fn enum_member(&mut self, class: &Rc<Class>, args: &Args) -> R<Value> {
        let Some(wanted) = args.positional.first() else {
            return Err(Raise::type_error(format!(
                "{}() missing 1 required positional argument",
                class.name
            )));
        };
        for member in self.enum_members(class) {
            if super::compare::is(&member, wanted) {
                return Ok(member);
            }
            if let Value::Object(object) = &member {
                let value = object.attrs.borrow().get("value").cloned().unwrap_or(Value::None);
                if self.equal(&value, wanted)? {
                    return Ok(member);
                }
            }
        }
        let shown = self.repr(wanted)?;
        Err(Raise::value_error(format!("{shown} is not a valid {}", class.name)))
    }
}

/// What a member of an `IntEnum`, or of an enumeration that is a `str` too, counts as in comparisons and arithmetic.
pub(crate) fn plain(value: &Value) -> Option<Value> {
    let Value::Object(object) = value else { return None };
    let is_plain = |class: &Rc<Class>| matches!(&*class.name, "IntEnum" | "StrEnum" | "str" | "int");
    if !object.class.is_enum() || !object.class.ancestors.iter().any(is_plain) {
        return None;
    }
    object.attrs.borrow().get("value").cloned()
}
