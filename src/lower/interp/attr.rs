//! Attributes of values: instances, classes, modules, tensors and built-in values.
//!
//! Input: a value and a name. Output: the attribute, or `AttributeError` in Python's and PyTorch's words. Limit: the
//! `__dict__` of a module is a copy; `__getattribute__` and `__delattr__` written in the source are not asked.

use std::rc::Rc;

use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::define::Slot;
use crate::lower::interp::derived::{ITEMS, of_object, special_of};
use crate::lower::interp::{Args, Interp, Mode, containers, inspecting, known};
use crate::lower::torch;
use crate::lower::value::{Class, Code, Descriptor, Native, Object, Value};

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
                    Some(value) => Ok(self.loaded(&value)),
                    None => {
                        let full = format!("{}.{name}", module.name);
                        match self.find_module(&full)? {
                            Some(module) => Ok(module),
                            None if torch::composed::stands_in_for(&module.name).is_some() => {
                                Ok(Value::Opaque(Rc::from(full)))
                            }
                            None => Err(Raise::attribute(format!(
                                "module '{}' has no attribute '{name}'",
                                module.name
                            ))),
                        }
                    }
                }
            }
            Value::Opaque(outer) if &**outer == "torch.device" && name == "type" => Ok(Value::str("cpu")),
            Value::Opaque(outer) if &**outer == "torch.device" && name == "index" => Ok(Value::None),
            Value::Opaque(outer) => {
                if let Some(found) = self.in_package(outer, name)? {
                    return Ok(found);
                }
                self.check_length("name", outer.len(), 300)?;
                Ok(self.loaded(&Value::Opaque(Rc::from(format!("{outer}.{name}")))))
            }
            Value::Tuple(tuple) => {
                if let Some(named) = &tuple.named {
                    if let Some(at) = named.fields.iter().position(|field| field == name) {
                        return Ok(tuple.items[at].clone());
                    }
                    if name == "_fields" {
                        return self.tuple(named.fields.iter().map(Value::str).collect());
                    }
                    if let Some(class) = &named.class
                        && let Some(attribute) = self.class_attr(class, name, None)
                        && !matches!(attribute, Value::ClassMethod(_))
                    {
                        return self.bind(attribute, value, class);
                    }
                }
                self.native_method(value, name)
            }
            Value::Function(function) => match name {
                _ if function.attrs.borrow().contains_key(name) => {
                    Ok(function.attrs.borrow().get(name).cloned().unwrap_or(Value::None))
                }
                "__name__" => Ok(Value::Str(Rc::clone(&function.name))),
                "__qualname__" => Ok(Value::Str(Rc::clone(&function.qualname))),
                "__doc__" => match &function.code {
                    Code::Def(def) => self.docstring(&def.body),
                    Code::Lambda(_) => Ok(Value::None),
                },
                "__module__" => Ok(Value::Str(Rc::clone(&function.module.name))),
                "__defaults__" | "__kwdefaults__" => {
                    let positional = name == "__defaults__";
                    let wanted = if positional { inspecting::POSITIONAL } else { inspecting::KEYWORD_ONLY };
                    let all = inspecting::of_function(function);
                    self.tick(all.len())?;
                    let of_kind = all.into_iter().filter(|(_, kind, _)| *kind == wanted);
                    let given: Vec<(Value, Value)> = of_kind
                        .filter_map(|(name, _, default)| Some((Value::str(&name), default?)))
                        .collect();
                    if given.is_empty() {
                        Ok(Value::None)
                    } else if positional {
                        self.tuple(given.into_iter().map(|(_, default)| default).collect())
                    } else {
                        self.dict(given)
                    }
                }
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
            Value::Builtin(builtin) if builtin.name == "chain" && name == "from_iterable" => {
                torch::chain_from_iterable().ok_or_else(|| no_attribute(value, name))
            }
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
            Value::Descriptor(Descriptor::Property, inner) => {
                self.call(&Slot::Get.of(inner), Args::of(vec![object.clone()]))
            }
            Value::Descriptor(Descriptor::Static, inner) => Ok(Value::clone(inner)),
            Value::Descriptor(Descriptor::Class, inner) => {
                self.own(Value::Bound(Rc::new((Value::Class(Rc::clone(class)), Value::clone(inner)))))
            }
            _ => self.described(attribute, object, class),
        }
    }

    fn object_attr(&mut self, object: &Rc<Object>, name: &str) -> R<Value> {
        if let Some(found) = self.object_attr_plainly(object, name)? {
            return Ok(found);
        }
        let value = Value::Object(Rc::clone(object));
        // A member of `class Mode(str, Enum)` is a string.
        let member = object.attrs.borrow().get("value").cloned();
        if let Some(member @ Value::Str(_)) = member.filter(|_| object.class.is_enum())
            && object.class.lineage().any(|class| matches!(&*class.name, "str" | "StrEnum"))
            && containers::has_method(&member, name)
        {
            return self.get_attr(&member, name);
        }
        if let Some(method) = self.class_attr(&object.class, "__getattr__", None)
            && !is_module_method(&method)
        {
            return self.call(&method, Args::of(vec![value, Value::str(name)]));
        }
        if matches!(name, "__traceback__" | "__cause__" | "__context__") && object.class.is_exception() {
            return Ok(Value::None);
        }
        if matches!(name, "_modules" | "_parameters" | "_buffers") && object.class.is_module() {
            return torch::registries::registry(self, object, name);
        }
        if object.class.lineage().any(|class| matches!(class.native, Native::Opaque)) {
            return Ok(Value::Opaque(Rc::from(format!("{}().{name}", object.class.name))));
        }
        if name == "__doc__" {
            return self.class_value_attr(&object.class, name);
        }
        match of_object(name) {
            Some(method) => self.own(Value::Bound(Rc::new((value, method)))),
            None => Err(self.lacks(object, name)),
        }
    }

    /// The error for an attribute that an object does not have.
    pub(crate) fn lacks(&self, object: &Object, name: &str) -> Box<Raise> {
        if known::of_instance(&object.class, name) {
            return known::refusal(&object.class.name, name);
        }
        Raise::attribute(format!("'{}' object has no attribute '{name}'", object.class.name))
            .with_hint(Hint::Attribute { name: name.to_owned() })
    }

    /// An attribute of an object without asking its `__getattr__`.
    pub(crate) fn object_attr_plainly(&mut self, object: &Rc<Object>, name: &str) -> R<Option<Value>> {
        let value = Value::Object(Rc::clone(object));
        match name {
            "__class__" => return Ok(Some(Value::Class(Rc::clone(&object.class)))),
            "__module__" => return Ok(Some(Value::str("__main__"))),
            "__dict__" if !object.attrs.borrow().contains_key(name) => {
                let attrs = object.attrs.borrow();
                let entries = attrs
                    .iter()
                    .filter(|(name, _)| &***name != ITEMS)
                    .map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone()))
                    .collect();
                drop(attrs);
                let dict = self.dict(entries)?;
                let special =
                    object.class.is_module() || object.class.is_exception() || object.class.is_enum();
                if !special {
                    // From now on it holds the attributes, so that a change of it changes them.
                    let mut attrs = object.attrs.borrow_mut();
                    attrs.retain(|name, _| &**name == ITEMS);
                    attrs.insert(Rc::from("__dict__"), dict.clone());
                }
                return Ok(Some(dict));
            }
            "training" if object.class.is_module() => {
                let own = object.attrs.borrow().get("training").cloned();
                // A module that no `train()` or `eval()` has reached trains.
                return Ok(Some(own.unwrap_or(Value::Bool(true))));
            }
            _ => {}
        }
        let of_class = self.class_attr(&object.class, name, None);
        if let Some(attribute) = &of_class
            && (matches!(attribute, Value::Descriptor(Descriptor::Property, _))
                || self.descriptor_method(attribute, "__set__").is_some())
        {
            return self.bind(attribute.clone(), &value, &object.class).map(Some);
        }
        let own = object.attrs.borrow().get(name).cloned();
        if let (Some(Value::Tensor(_)), Mode::Tracing { .. }) = (&own, &self.mode)
            && let Some(compute) = torch::modules::parametrization(object, name)
        {
            return self.call(&compute, Args::default()).map(Some);
        }
        if own.is_some() {
            return Ok(own);
        }
        if let Some(names) = names_of(object)
            && self.contains(&names, &Value::str(name))?
        {
            return self.get_item(&names, &Value::str(name)).map(Some);
        }
        if let Some(attribute) = of_class {
            return self.bind(attribute, &value, &object.class).map(Some);
        }
        Ok(torch::modules::registered(object, name))
    }

    fn class_value_attr(&mut self, class: &Rc<Class>, name: &str) -> R<Value> {
        match name {
            "__name__" | "__qualname__" => return Ok(Value::Str(Rc::clone(&class.name))),
            "__doc__" => return Ok(class.attrs.borrow().get(name).cloned().unwrap_or(Value::None)),
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
            "from_pretrained" if class.lineage().any(|class| torch::layers::is(class, "Embedding")) => {
                let function = torch::composed::hidden_layer(self, "embedding_from_pretrained")?;
                return self.own(Value::Bound(Rc::new((Value::Class(Rc::clone(class)), function))));
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
                    if let Some(function) = torch::tensor_function(name) {
                        return Ok(function);
                    }
                    let Some(method) = torch::unsupported::find("torch.Tensor", name) else {
                        let message = format!("type object 'Tensor' has no attribute '{name}'");
                        return Err(Raise::attribute(message));
                    };
                    return self.own(Value::ClassMethod(Rc::new((Rc::clone(class), method))));
                }
                let method =
                    containers::method_of(&class.name, name).or_else(|| special_of(&class.name, name));
                if let Some(method) = method {
                    return self.own(Value::ClassMethod(Rc::new((Rc::clone(class), method))));
                }
            }
            if let Some(method) = of_object(name) {
                return Ok(method);
            }
            if name == "__annotations__" {
                return self.dict(Vec::new());
            }
            // An abstract class has it only.
            if name != "__abstractmethods__" && (known::of_instance(class, name) || known::has("type", name))
            {
                return Err(known::refusal(&class.name, name));
            }
            return Err(Raise::attribute(format!("type object '{}' has no attribute '{name}'", class.name)));
        };
        match &attribute {
            Value::Descriptor(Descriptor::Static, inner) => Ok(Value::clone(inner)),
            Value::Descriptor(Descriptor::Class, inner) => {
                self.own(Value::Bound(Rc::new((Value::Class(Rc::clone(class)), Value::clone(inner)))))
            }
            _ => self.described(attribute, &Value::None, class),
        }
    }

    fn super_attr(&mut self, after: &Rc<Class>, object: &Value, name: &str) -> R<Value> {
        let class = match object {
            Value::Object(object) => Rc::clone(&object.class),
            Value::Class(class) => Rc::clone(class),
            other => return Err(Raise::type_error(format!("super(): unexpected {}", other.type_name()))),
        };
        match self.class_attr(&class, name, Some(after)) {
            // It is a static method.
            Some(new @ Value::Function(_)) if name == "__new__" => Ok(new),
            Some(attribute) => self.bind(attribute, object, &class),
            None if name == "__init__" => {
                let object = self.class("object")?;
                Ok(Value::ClassMethod(Rc::new((object, "__new__"))))
            }
            None => {
                if let Some(method) = of_object(name) {
                    if name == "__new__" {
                        return Ok(method);
                    }
                    return self.own(Value::Bound(Rc::new((object.clone(), method))));
                }
                if class.lineage().any(|class| matches!(class.native, Native::Opaque)) {
                    return Ok(Value::Opaque(Rc::from(format!("super().{name}"))));
                }
                if known::of_instance(&class, name) {
                    return Err(known::refusal("super", name));
                }
                Err(Raise::attribute(format!("'super' object has no attribute '{name}'")))
            }
        }
    }

    pub(crate) fn set_attr(&mut self, target: &Value, name: &str, value: Value) -> R<()> {
        if let Value::Object(object) = target
            && let Some(method) = self.class_attr(&object.class, "__setattr__", None)
            && !is_module_method(&method)
        {
            return self.call(&method, Args::of(vec![target.clone(), Value::str(name), value])).map(|_| ());
        }
        if let Value::Object(object) = target {
            self.check_frozen(&object.class, name)?;
        }
        self.set_attr_plainly(target, name, value)
    }

    /// Set an attribute without asking the class's own `__setattr__`.
    pub(crate) fn set_attr_plainly(&mut self, target: &Value, name: &str, value: Value) -> R<()> {
        match target {
            Value::Object(object) => {
                self.members(object, 0)?;
                if object.class.is_module() && torch::modules::assign(self, object, name, &value)? {
                    return Ok(());
                }
                let of_class = self.class_attr(&object.class, name, None);
                if let Some(attribute) = &of_class
                    && let Some(set) = self.descriptor_method(attribute, "__set__")
                {
                    let args = vec![attribute.clone(), target.clone(), value];
                    return self.call(&set, Args::of(args)).map(|_| ());
                }
                if let Some(Value::Descriptor(Descriptor::Property, inner)) = of_class {
                    let setter = Slot::Set.of(&inner);
                    if setter.is_none() {
                        let class = &object.class.name;
                        let message = format!("property '{name}' of '{class}' object has no setter");
                        return Err(Raise::attribute(message));
                    }
                    return self.call(&setter, Args::of(vec![target.clone(), value])).map(|_| ());
                }
                if name == "__dict__" && !object.class.is_module() {
                    object.attrs.borrow_mut().retain(|name, _| &**name == ITEMS);
                } else if let Some(names) = names_of(object) {
                    return self.set_item(&names, &Value::str(name), value);
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
            Value::Function(_) if matches!(name, "__defaults__" | "__kwdefaults__" | "__code__") => {
                Err(Raise::unsupported(format!("setting {name} is not supported")))
            }
            Value::Function(function) => {
                self.tick(8)?;
                function.attrs.borrow_mut().insert(Rc::from(name), value);
                Ok(())
            }
            Value::Opaque(_) => Ok(()),
            Value::Namespace(module) => {
                Err(Raise::unsupported(format!("setting {name} of the module '{module}' is not supported")))
            }
            other => Err(no_attribute(other, name)),
        }
    }

    pub(crate) fn delete_attr(&mut self, target: &Value, name: &str) -> R<()> {
        if let Value::Object(object) = target {
            let of_class = self.class_attr(&object.class, name, None);
            if let Some(Value::Descriptor(Descriptor::Property, inner)) = &of_class {
                let deleter = Slot::Delete.of(inner);
                if deleter.is_none() {
                    let class = &object.class.name;
                    let message = format!("property '{name}' of '{class}' object has no deleter");
                    return Err(Raise::attribute(message));
                }
                return self.call(&deleter, Args::of(vec![target.clone()])).map(|_| ());
            }
            if let Some(names) = names_of(object)
                && self.contains(&names, &Value::str(name))?
            {
                return self.delete_item(&names, &Value::str(name));
            }
        }
        if let Value::Object(object) = target
            && (object.attrs.borrow_mut().remove(name).is_some() || torch::modules::unregister(object, name))
        {
            return Ok(());
        }
        Err(no_attribute(target, name))
    }
}

/// The dictionary that holds the attributes of an object, where the source has asked for it or set it.
fn names_of(object: &Object) -> Option<Value> {
    match object.attrs.borrow().get("__dict__")? {
        Value::Object(mapping) if Rc::as_ptr(mapping) == std::ptr::from_ref(object) => {
            object.attrs.borrow().get(ITEMS).cloned()
        }
        Value::Object(mapping) => mapping.attrs.borrow().get(ITEMS).cloned(),
        dict => Some(dict.clone()),
    }
}

/// Whether a method is one of `nn.Module`'s, which this program does itself.
fn is_module_method(method: &Value) -> bool {
    matches!(method, Value::ClassMethod(method) if !matches!(method.0.native, Native::Type))
}

pub(crate) fn no_attribute(value: &Value, name: &str) -> Box<Raise> {
    if known::of_value(value, name) {
        return known::refusal(&value.type_name(), name);
    }
    Raise::attribute(format!("'{}' object has no attribute '{name}'", value.type_name()))
        .with_hint(Hint::Attribute { name: name.to_owned() })
}
