//! What a class says of its attributes and its objects beside methods: descriptors, `__new__`, abstract methods.
//!
//! Input: classes, objects and attributes found in classes. Output: what `__get__`, `__set__`, `__set_name__` and
//! `__new__` of the source make of them. Limit: `__delete__` is not asked, metaclasses of one's own are refused.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::StmtClassDef;

use crate::lower::error::{R, Raise};
use crate::lower::interp::derived::ITEMS;
use crate::lower::interp::{Args, Interp};
use crate::lower::value::{Class, Descriptor, Native, Object, Value};

/// The attribute of a function that a class must replace.
const ABSTRACT: &str = "__isabstractmethod__";
/// The attribute of a class whose abstract methods count.
const ABC: &str = "<abc>";

impl Interp<'_> {
    /// An attribute of a class as its `__get__` gives it, where it has one; `object` is `None` for the class itself.
    pub(crate) fn described(&mut self, attribute: Value, object: &Value, class: &Rc<Class>) -> R<Value> {
        match self.descriptor_method(&attribute, "__get__") {
            Some(get) => {
                let args = vec![attribute, object.clone(), Value::Class(Rc::clone(class))];
                self.call(&get, Args::of(args))
            }
            None => Ok(attribute),
        }
    }

    /// A method of the class of an attribute that is an object, such as `__get__`.
    pub(crate) fn descriptor_method(&mut self, attribute: &Value, name: &str) -> Option<Value> {
        match attribute {
            Value::Object(object) if !object.class.is_module() => self.class_attr(&object.class, name, None),
            _ => None,
        }
    }

    /// Tell the attributes of a new class their names.
    pub(crate) fn name_attributes(&mut self, class: &Rc<Class>) -> R<()> {
        let attributes = class.attrs.borrow().clone();
        for (name, attribute) in attributes {
            if let Some(method) = self.descriptor_method(&attribute, "__set_name__") {
                let args = vec![attribute, Value::Class(Rc::clone(class)), Value::Str(name)];
                self.call(&method, Args::of(args))?;
            }
        }
        Ok(())
    }

    /// An object of a class before its `__init__`.
    pub(crate) fn blank(&mut self, class: &Rc<Class>) -> R<Value> {
        let items = self.new_items(class)?;
        let object = Rc::new(Object {
            class: Rc::clone(class),
            attrs: RefCell::default(),
            module: RefCell::default(),
            site: RefCell::default(),
        });
        if let Some(items) = items {
            object.attrs.borrow_mut().insert(Rc::from(ITEMS), items);
        }
        self.own(Value::Object(object))
    }

    /// What the `__new__` of a class gives, and whether `__init__` follows.
    pub(crate) fn made(&mut self, class: &Rc<Class>, args: &Args) -> R<(Value, bool)> {
        self.check_abstract(class)?;
        let new = match self.class_attr(class, "__new__", None) {
            Some(Value::Descriptor(Descriptor::Static, inner)) => Some(Value::clone(&inner)),
            found => found.filter(|new| matches!(new, Value::Function(_))),
        };
        let Some(new) = new else { return Ok((self.blank(class)?, true)) };
        let made = self.call(&new, args.clone().prepend(Value::Class(Rc::clone(class))))?;
        let own = matches!(&made, Value::Object(object)
            if object.class.lineage().any(|candidate| Rc::ptr_eq(candidate, class)));
        Ok((made, own))
    }

    /// Whether the metaclass of a class counts its abstract methods, as `ABCMeta` does.
    pub(crate) fn counts_abstract(&mut self, def: &StmtClassDef) -> R<bool> {
        let mut counts = false;
        for keyword in def.arguments.iter().flat_map(|arguments| &arguments.keywords) {
            if keyword.arg.as_ref().is_some_and(|name| name.as_str() == "metaclass") {
                match self.eval(&keyword.value)? {
                    Value::Class(class) if matches!(class.native, Native::Source) => {
                        return Err(Raise::unsupported(format!(
                            "a metaclass ('{}') is not supported",
                            class.name
                        )));
                    }
                    Value::Opaque(name) => counts |= name.ends_with("ABCMeta"),
                    _ => {}
                }
            }
        }
        Ok(counts)
    }

    /// `TypeError` where an abstract method of a class has not been replaced.
    fn check_abstract(&mut self, class: &Rc<Class>) -> R<()> {
        if !class.lineage().any(|class| class.attrs.borrow().contains_key(ABC)) {
            return Ok(());
        }
        let lineage: Vec<Rc<Class>> = class.lineage().cloned().collect();
        for ancestor in lineage {
            let names: Vec<Rc<str>> = {
                let attrs = ancestor.attrs.borrow();
                attrs
                    .iter()
                    .filter(|(_, value)| is_abstract(value))
                    .map(|(name, _)| Rc::clone(name))
                    .collect()
            };
            for name in names {
                if self.class_attr(class, &name, None).is_some_and(|found| is_abstract(&found)) {
                    let class = &class.name;
                    return Err(Raise::type_error(format!(
                        "Can't instantiate abstract class {class} with abstract method {name}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Whether a base is `abc.ABC`.
pub(crate) fn is_abc(base: &str) -> bool {
    matches!(base, "abc.ABC" | "ABC")
}

/// Note that the abstract methods of a class count.
pub(crate) fn count_abstract(class: &Class) {
    class.attrs.borrow_mut().insert(Rc::from(ABC), Value::Bool(true));
}

/// Note that a function under `@abstractmethod` and its like must be replaced.
pub(crate) fn mark_abstract(decorator: &str, value: &Value) {
    let last = decorator.rsplit('.').next().unwrap_or(decorator);
    if !matches!(last, "abstractmethod" | "abstractproperty" | "abstractclassmethod" | "abstractstaticmethod")
    {
        return;
    }
    for function in functions_of(value) {
        if let Value::Function(function) = function {
            function.attrs.borrow_mut().insert(Rc::from(ABSTRACT), Value::Bool(true));
        }
    }
}

fn is_abstract(value: &Value) -> bool {
    functions_of(value).iter().any(
        |function| matches!(function, Value::Function(function) if function.attrs.borrow().contains_key(ABSTRACT)),
    )
}

/// A function, or those of a property, a static or a class method.
fn functions_of(value: &Value) -> Vec<Value> {
    match value {
        Value::Function(_) => vec![value.clone()],
        Value::Descriptor(_, inner) => match &**inner {
            Value::Tuple(parts) => parts.items.clone(),
            inner => vec![inner.clone()],
        },
        _ => Vec::new(),
    }
}
