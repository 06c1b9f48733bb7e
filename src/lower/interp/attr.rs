//! Attributes of values: instances, classes, modules, tensors and built-in values.
//!
//! Input: a value and a name. Output: the attribute, or `AttributeError` in Python's and PyTorch's words. Limit:
//! `__getattr__` and `__setattr__` written in the source are honoured for reading only.

use std::rc::Rc;

use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Args, Interp, containers};
use crate::lower::torch;
use crate::lower::value::{Class, Descriptor, Native, Object, Value};

impl Interp<'_> {
    pub(crate) fn get_attr(&mut self, value: &Value, name: &str) -> R<Value> {
        if name == "__class__" && !matches!(value, Value::Class(_) | Value::Super(_)) {
            return self.type_of(value);
        }
        match value {
            Value::Object(object) => self.object_attr(object, name),
            Value::Class(class) => self.class_value_attr(class, name),
            Value::Super(parts) => self.super_attr(&parts.0, &parts.1, name),
            Value::Namespace(namespace) => torch::namespaces::attribute(self, namespace, name),
            Value::Tensor(tensor) => torch::tensor_attr(self, tensor, name),
            Value::Module(module) => {
                let found = module.scope.names.borrow().get(name).cloned();
                match found {
                    Some(value) => Ok(value),
                    None => {
                        let full = format!("{}.{name}", module.name);
                        match self.import(&full)? {
                            Value::Opaque(_) => Err(Raise::attribute(format!(
                                "module '{}' has no attribute '{name}'",
                                module.name
                            ))),
                            value => Ok(value),
                        }
                    }
                }
            }
            Value::Opaque(outer) if &**outer == "torch.device" && name == "type" => Ok(Value::str("cpu")),
            Value::Opaque(outer) if &**outer == "torch.device" && name == "index" => Ok(Value::None),
            Value::Opaque(outer) => {
                self.check_length("name", outer.len(), 300)?;
                Ok(Value::Opaque(Rc::from(format!("{outer}.{name}"))))
            }
            Value::Tuple(tuple) => {
                if let Some(names) = &tuple.names
                    && let Some(at) = names.1.iter().position(|field| field == name)
                {
                    return Ok(tuple.items[at].clone());
                }
                self.native_method(value, name)
            }
            Value::Function(function) => match name {
                "__name__" => Ok(Value::Str(Rc::clone(&function.name))),
                "__qualname__" => Ok(Value::Str(Rc::clone(&function.qualname))),
                "__doc__" => Ok(Value::None),
                "__module__" => Ok(Value::Str(Rc::clone(&function.module.name))),
                _ => Err(no_attribute(value, name)),
            },
            Value::Bound(bound) => match name {
                "__func__" => Ok(bound.1.clone()),
                "__self__" => Ok(bound.0.clone()),
                _ => self.get_attr(&bound.1.clone(), name),
            },
            Value::Partial(partial) => match name {
                "func" => Ok(partial.0.clone()),
                "args" => self.tuple(partial.1.clone()),
                "keywords" => {
                    let entries =
                        partial.2.iter().map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone()));
                    self.dict(entries.collect())
                }
                _ => Err(no_attribute(value, name)),
            },
            Value::Builtin(builtin) if name == "__name__" => Ok(Value::str(builtin.name)),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Dim(_) if name == "real" => {
                Ok(value.clone())
            }
            Value::DType(dtype) if name == "is_floating_point" => Ok(Value::Bool(dtype.is_floating())),
            _ => self.native_method(value, name),
        }
    }

    fn native_method(&mut self, value: &Value, name: &str) -> R<Value> {
        if name == "__class__" {
            return self.type_of(value);
        }
        if containers::has_method(value, name) {
            return self.own(Value::Method(Rc::new((value.clone(), Rc::from(name)))));
        }
        // Numbers that numpy makes are plain ones here, so plain ones have the attributes of numpy's.
        if let Value::Int(_) | Value::Float(_) | Value::Bool(_) = value
            && self.uses(torch::composed::NUMPY)
            && !name.starts_with('_')
        {
            let array = torch::composed::numpy_call(self, "_of", vec![value.clone()])?;
            return match self.get_attr(&array, name) {
                Err(raise) if raise.class() == Some("AttributeError") => Err(no_attribute(value, name)),
                found => found,
            };
        }
        Err(no_attribute(value, name))
    }

    /// An attribute found in a class or its ancestors after `after`.
    pub(crate) fn class_attr(
        &mut self,
        class: &Rc<Class>,
        name: &str,
        after: Option<&Rc<Class>>,
    ) -> Option<Value> {
        let mut skipping = after.is_some();
        for candidate in class.lineage() {
            if skipping {
                skipping = !after.is_some_and(|after| Rc::ptr_eq(after, candidate));
                continue;
            }
            if let Some(value) = candidate.attrs.borrow().get(name) {
                return Some(value.clone());
            }
            if let Some(method) = torch::modules::native_method(candidate, name) {
                return Some(Value::ClassMethod(Rc::new((Rc::clone(candidate), method))));
            }
        }
        None
    }

    /// A class attribute as seen from an instance.
    fn bind(&mut self, attribute: Value, object: &Value, class: &Rc<Class>) -> R<Value> {
        match &attribute {
            Value::Function(_) | Value::ClassMethod(_) => {
                self.own(Value::Bound(Rc::new((object.clone(), attribute))))
            }
            Value::Descriptor(Descriptor::Property, getter) => {
                self.call(getter, Args::of(vec![object.clone()]))
            }
            Value::Descriptor(Descriptor::Static, inner) => Ok(Value::clone(inner)),
            Value::Descriptor(Descriptor::Class, inner) => {
                self.own(Value::Bound(Rc::new((Value::Class(Rc::clone(class)), Value::clone(inner)))))
            }
            _ => Ok(attribute),
        }
    }

    fn object_attr(&mut self, object: &Rc<Object>, name: &str) -> R<Value> {
        let value = Value::Object(Rc::clone(object));
        match name {
            "__class__" => return Ok(Value::Class(Rc::clone(&object.class))),
            "__module__" => return Ok(Value::str("__main__")),
            "__dict__" => {
                let attrs = object.attrs.borrow();
                let entries =
                    attrs.iter().map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone())).collect();
                drop(attrs);
                return self.dict(entries);
            }
            "training" if object.class.is_module() => {
                let own = object.attrs.borrow().get("training").cloned();
                return Ok(own.unwrap_or(Value::Training { negated: false }));
            }
            _ => {}
        }
        let of_class = self.class_attr(&object.class, name, None);
        if let Some(Value::Descriptor(Descriptor::Property, _)) = &of_class
            && let Some(attribute) = of_class
        {
            return self.bind(attribute, &value, &object.class);
        }
        let own = object.attrs.borrow().get(name).cloned();
        if let Some(found) = own {
            return Ok(found);
        }
        if let Some(attribute) = of_class {
            return self.bind(attribute, &value, &object.class);
        }
        if let Some(found) = torch::modules::registered(object, name) {
            return Ok(found);
        }
        if let Some(method) = self.class_attr(&object.class, "__getattr__", None)
            && !matches!(method, Value::ClassMethod(_))
        {
            return self.call(&method, Args::of(vec![value, Value::str(name)]));
        }
        if matches!(name, "_modules" | "_parameters" | "_buffers") && object.class.is_module() {
            return torch::modules::registry(self, object, name);
        }
        if object.class.lineage().any(|class| matches!(class.native, Native::Opaque)) {
            return Ok(Value::Opaque(Rc::from(format!("{}().{name}", object.class.name))));
        }
        let hint = Hint::Attribute { name: name.to_owned() };
        Err(Raise::attribute(format!("'{}' object has no attribute '{name}'", object.class.name))
            .with_hint(hint))
    }

    fn class_value_attr(&mut self, class: &Rc<Class>, name: &str) -> R<Value> {
        match name {
            "__name__" | "__qualname__" => return Ok(Value::Str(Rc::clone(&class.name))),
            "__doc__" => return Ok(Value::None),
            "__module__" => return Ok(Value::str("__main__")),
            "__class__" => return Ok(Value::Class(self.class("type")?)),
            "__members__" if class.is_enum() => {
                let names: Vec<Value> = class.fields.borrow().iter().map(Value::str).collect();
                let entries = names.into_iter().zip(self.enum_members(class)).collect();
                return self.dict(entries);
            }
            "_fields" if class.is_named_tuple() => {
                let fields = class.fields.borrow().iter().map(Value::str).collect();
                return self.tuple(fields);
            }
            "__new__" if class.is_named_tuple() => {
                return self.own(Value::ClassMethod(Rc::new((Rc::clone(class), "__new__"))));
            }
            "__mro__" | "__bases__" => {
                let classes = class.lineage().map(|class| Value::Class(Rc::clone(class))).collect();
                return self.tuple(classes);
            }
            _ => {}
        }
        let Some(attribute) = self.class_attr(class, name, None) else {
            if class.lineage().any(|class| matches!(class.native, Native::Opaque)) {
                return Ok(Value::Opaque(Rc::from(format!("{}.{name}", class.name))));
            }
            if matches!(class.native, Native::Type) {
                if &*class.name == "Tensor" {
                    return torch::tensor_function(name).ok_or_else(|| {
                        Raise::attribute(format!("type object 'Tensor' has no attribute '{name}'"))
                    });
                }
                if let Some(method) = containers::method_of(&class.name, name) {
                    return self.own(Value::ClassMethod(Rc::new((Rc::clone(class), method))));
                }
            }
            return Err(Raise::attribute(format!("type object '{}' has no attribute '{name}'", class.name)));
        };
        match &attribute {
            Value::Descriptor(Descriptor::Static, inner) => Ok(Value::clone(inner)),
            Value::Descriptor(Descriptor::Class, inner) => {
                self.own(Value::Bound(Rc::new((Value::Class(Rc::clone(class)), Value::clone(inner)))))
            }
            _ => Ok(attribute),
        }
    }

    fn super_attr(&mut self, after: &Rc<Class>, object: &Value, name: &str) -> R<Value> {
        let class = match object {
            Value::Object(object) => Rc::clone(&object.class),
            Value::Class(class) => Rc::clone(class),
            other => return Err(Raise::type_error(format!("super(): unexpected {}", other.type_name()))),
        };
        match self.class_attr(&class, name, Some(after)) {
            Some(attribute) => self.bind(attribute, object, &class),
            None if name == "__init__" => {
                let object = self.class("object")?;
                Ok(Value::ClassMethod(Rc::new((object, "__new__"))))
            }
            None if name == "__setattr__" || name == "__getattr__" => {
                Err(Raise::unsupported(format!("super().{name} is not supported")))
            }
            None => {
                if class.lineage().any(|class| matches!(class.native, Native::Opaque)) {
                    return Ok(Value::Opaque(Rc::from(format!("super().{name}"))));
                }
                Err(Raise::attribute(format!("'super' object has no attribute '{name}'")))
            }
        }
    }

    pub(crate) fn set_attr(&mut self, target: &Value, name: &str, value: Value) -> R<()> {
        match target {
            Value::Object(object) => {
                self.members(object, 0)?;
                if object.class.is_module() && torch::modules::assign(self, object, name, &value)? {
                    return Ok(());
                }
                object.attrs.borrow_mut().insert(Rc::from(name), value);
                Ok(())
            }
            Value::Class(class) => {
                class.attrs.borrow_mut().insert(Rc::from(name), value);
                Ok(())
            }
            // `Params.__new__.__defaults__ = (None,) * len(Params._fields)`.
            Value::ClassMethod(method) if name == "__defaults__" && method.0.is_named_tuple() => {
                let defaults = self.iterate(&value)?;
                method.0.set_defaults(defaults);
                Ok(())
            }
            Value::Tensor(tensor) => torch::set_tensor_attr(self, tensor, name, &value),
            Value::Module(module) => {
                module.scope.names.borrow_mut().insert(Rc::from(name), value);
                Ok(())
            }
            Value::Function(_) | Value::Opaque(_) | Value::Namespace(_) => Ok(()),
            other => Err(no_attribute(other, name)),
        }
    }

    pub(crate) fn delete_attr(&mut self, target: &Value, name: &str) -> R<()> {
        if let Value::Object(object) = target
            && (object.attrs.borrow_mut().remove(name).is_some() || torch::modules::unregister(object, name))
        {
            return Ok(());
        }
        Err(no_attribute(target, name))
    }
}

pub(crate) fn no_attribute(value: &Value, name: &str) -> Box<Raise> {
    Raise::attribute(format!("'{}' object has no attribute '{name}'", value.type_name()))
        .with_hint(Hint::Attribute { name: name.to_owned() })
}
