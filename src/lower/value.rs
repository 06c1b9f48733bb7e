//! The values of the interpreted Python: numbers, containers, functions, classes, instances and symbolic tensors.
//!
//! Input: what the interpreter computes. Output: reference-counted values with Python's identity. Every composite
//! value is also held by a [`Heap`], which takes the whole web apart without recursion at the end, cycles included.
//! Limit: integers have 64 bits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::{Rc, Weak};

use ruff_python_ast::{ExprLambda, StmtFunctionDef};

use crate::graph::{DType, Dim, Init, ParamId, TensorRef};
use crate::lower::interp::{Iter, View};
use crate::lower::torch::layers::Layer;
use crate::python::Span;

/// A callable, its first positional arguments and its keyword arguments.
pub(crate) type Partial = (Value, Vec<Value>, Vec<(Rc<str>, Value)>);

/// A constructor call, and its arguments by parameter.
pub(crate) type Origin = (Span, Vec<(&'static str, Span)>);

/// A Python value.
#[derive(Clone)]
pub(crate) enum Value {
    None,
    Ellipsis,
    NotImplemented,
    Bool(bool),
    Int(i64),
    /// A size that depends on the batch.
    Dim(Dim),
    Float(f64),
    Str(Rc<str>),
    /// `self.training`, or its negation.
    Training {
        negated: bool,
    },
    List(Rc<RefCell<Vec<Value>>>),
    Tuple(Rc<Tuple>),
    Dict(Rc<RefCell<Dict>>),
    Set(Rc<RefCell<Dict>>),
    Range(i64, i64, i64),
    Slice(Rc<[Value; 3]>),
    Iter(Rc<Iter>),
    View(Rc<View>),
    Function(Rc<Function>),
    Builtin(&'static Builtin),
    /// A method of a built-in value, by name.
    Method(Rc<(Value, Rc<str>)>),
    /// A callable with its first argument.
    Bound(Rc<(Value, Value)>),
    Partial(Rc<Partial>),
    Class(Rc<Class>),
    /// A method of a built-in class, by name, without its object.
    ClassMethod(Rc<(Rc<Class>, &'static str)>),
    Object(Rc<Object>),
    Descriptor(Descriptor, Rc<Value>),
    Super(Rc<(Rc<Class>, Value)>),
    Tensor(Rc<Tensor>),
    DType(DType),
    Namespace(&'static str),
    Module(Rc<Module>),
    /// Something outside the subset, known by its dotted name only.
    Opaque(Rc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    Static,
    Class,
    Property,
}

pub(crate) struct Tuple {
    pub(crate) items: Vec<Value>,
    /// Whether it is a `torch.Size`.
    pub(crate) size: bool,
    /// What a named tuple has besides its items.
    pub(crate) named: Option<Rc<Named>>,
}

/// What a named tuple has besides its items.
pub(crate) struct Named {
    /// The name of its class.
    pub(crate) name: String,
    pub(crate) fields: Vec<String>,
    /// Its class, where the source has it.
    pub(crate) class: Option<Rc<Class>>,
}

/// A dictionary key; equal keys are equal in Python.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    None,
    Int(i64),
    Float(u64),
    Str(Rc<str>),
    Tuple(Vec<Key>),
    Dim(Dim),
    Name(String),
    Identity(usize),
}

/// Which dictionary it is.
#[derive(Default, Clone)]
pub(crate) enum DictClass {
    #[default]
    Plain,
    Ordered,
    /// `defaultdict`, and what makes its values.
    Defaulting(Option<Value>),
}

/// A dictionary in insertion order.
#[derive(Default)]
pub(crate) struct Dict {
    index: BTreeMap<Key, usize>,
    entries: Vec<(Value, Value)>,
    pub(crate) class: DictClass,
}

impl Dict {
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.index.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: Key, name: Value, value: Value) {
        if let Some(&at) = self.index.get(&key) {
            self.entries[at].1 = value;
        } else {
            self.index.insert(key, self.entries.len());
            self.entries.push((name, value));
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Value> {
        let at = self.index.remove(key)?;
        let (_, value) = self.entries.remove(at);
        for place in self.index.values_mut() {
            if *place > at {
                *place -= 1;
            }
        }
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub(crate) fn keys(&self) -> Vec<Value> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn values(&self) -> Vec<Value> {
        self.entries.iter().map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
    }
}

/// How a function yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    Never,
    /// Between its statements, where it can wait.
    Stepwise,
    /// Also elsewhere: it runs to its end when it is called.
    AtOnce,
}

/// A function written in the source.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) name: Rc<str>,
    pub(crate) code: Code,
    pub(crate) defaults: BTreeMap<Rc<str>, Value>,
    pub(crate) scope: Rc<Scope>,
    pub(crate) module: Rc<Module>,
    /// The class in whose body it was defined, for `super()`.
    pub(crate) class: RefCell<Option<Rc<Class>>>,
    pub(crate) qualname: Rc<str>,
    pub(crate) yields: Yields,
    /// What the source set on it.
    pub(crate) attrs: RefCell<BTreeMap<Rc<str>, Value>>,
}

#[derive(Clone)]
pub(crate) enum Code {
    Def(Rc<StmtFunctionDef>),
    Lambda(Rc<ExprLambda>),
}

/// Names of one function call, class body or module, and the scope around it.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) names: RefCell<BTreeMap<Rc<str>, Value>>,
    pub(crate) parent: Option<Rc<Scope>>,
    /// Names declared `global` or `nonlocal`: whether global.
    pub(crate) declared: RefCell<BTreeMap<Rc<str>, bool>>,
    /// Whether it is a class body, which functions inside do not see.
    pub(crate) class_body: bool,
    /// Whether it is a comprehension's, in which `:=` binds outside of it.
    pub(crate) comprehension: bool,
    /// The names that are a function's own, whether they have a value or not.
    pub(crate) own: Option<Rc<BTreeSet<String>>>,
    /// Functions defined in a class body, whose class does not exist yet.
    pub(crate) functions: RefCell<Vec<Rc<Function>>>,
}

/// A file: the main source or one it imports.
pub(crate) struct Module {
    pub(crate) name: Rc<str>,
    /// Dotted name of the package it is in.
    pub(crate) package: String,
    pub(crate) scope: Rc<Scope>,
    /// Whether spans in it are spans of the main source.
    pub(crate) main: bool,
    /// Number of the file.
    pub(crate) file: u32,
    /// Its text, where it is a file that the main source imports.
    pub(crate) text: Option<Rc<str>>,
    /// Modules that it has every public name of: `from math import *`.
    pub(crate) stars: RefCell<Vec<Rc<str>>>,
}

pub(crate) struct Class {
    pub(crate) name: Rc<str>,
    /// Method resolution order after the class itself.
    pub(crate) ancestors: Vec<Rc<Class>>,
    pub(crate) attrs: RefCell<BTreeMap<Rc<str>, Value>>,
    pub(crate) native: Native,
    /// Fields of a dataclass or named tuple, in order, where it is one.
    pub(crate) fields: RefCell<Vec<Rc<str>>>,
}

/// What a class is made of.
#[derive(Clone, Copy)]
pub(crate) enum Native {
    /// Written in the source.
    Source,
    /// `object`.
    Object,
    /// `nn.Module`.
    Module,
    /// A layer of `torch.nn`.
    Layer(&'static Layer),
    /// A built-in type such as `int`.
    Type,
    /// A built-in exception.
    Exception,
    /// Outside the subset.
    Opaque,
}

impl Class {
    /// The class and its ancestors, in method resolution order.
    pub(crate) fn lineage(self: &Rc<Class>) -> impl Iterator<Item = &Rc<Class>> {
        std::iter::once(self).chain(self.ancestors.iter())
    }

    pub(crate) fn is_module(&self) -> bool {
        matches!(self.native, Native::Module | Native::Layer(_))
            || self.ancestors.iter().any(|class| matches!(class.native, Native::Module))
    }

    pub(crate) fn is_named_tuple(self: &Rc<Class>) -> bool {
        self.lineage().any(|class| matches!(class.native, Native::Type) && &*class.name == "NamedTuple")
    }

    /// Values of the last fields of a named tuple, where they are not given.
    pub(crate) fn set_defaults(&self, defaults: Vec<Value>) {
        let fields = self.fields.borrow();
        let without = fields.len().saturating_sub(defaults.len());
        let entries = fields[without..].iter().cloned().zip(defaults);
        self.attrs.borrow_mut().extend(entries);
    }

    pub(crate) fn is_exception(&self) -> bool {
        matches!(self.native, Native::Exception)
            || self.ancestors.iter().any(|class| matches!(class.native, Native::Exception))
    }
}

pub(crate) struct Object {
    pub(crate) class: Rc<Class>,
    pub(crate) attrs: RefCell<BTreeMap<Rc<str>, Value>>,
    /// What `nn.Module.__init__` sets up.
    pub(crate) module: RefCell<Option<ModuleState>>,
    /// Where it was constructed, for repairs.
    pub(crate) site: RefCell<Option<Origin>>,
}

/// Parameters, buffers and submodules in the order of their registration.
#[derive(Default)]
pub(crate) struct ModuleState {
    pub(crate) params: Vec<(Rc<str>, Value)>,
    pub(crate) buffers: Vec<(Rc<str>, Value, bool)>,
    pub(crate) modules: Vec<(Rc<str>, Value)>,
    pub(crate) hooks: Vec<Hook>,
}

/// A function that is called before or after a module.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) id: i64,
    /// Whether it is called before.
    pub(crate) before: bool,
    /// Whether it is given the keyword arguments too.
    pub(crate) keywords: bool,
    pub(crate) function: Value,
}

/// The call that made a layer: where each argument stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Site {
    /// The call.
    pub(crate) call: Span,
    /// Positional arguments in order.
    pub(crate) positional: Vec<Option<Span>>,
    /// Keyword arguments.
    pub(crate) named: Vec<(Rc<str>, Option<Span>)>,
}

/// A symbolic tensor. Operations in place change `state`, so that every name of the tensor sees them.
pub(crate) struct Tensor {
    pub(crate) state: RefCell<TensorState>,
    /// Whether it is an `nn.Parameter`.
    pub(crate) parameter: Cell<bool>,
    /// Whether it has memory of its own although no operation made it (`clone`).
    pub(crate) copied: Cell<bool>,
    /// How often it was changed in place.
    pub(crate) version: Cell<u32>,
    /// What it is a part of, where an index made it.
    pub(crate) part: RefCell<Option<Part>>,
    /// Outside a forward pass: the tensors that show the same memory in several shapes, this one too.
    pub(crate) shared: RefCell<Option<Shared>>,
    /// Outside a forward pass, of a tensor just made: its node as an operand, and the version that this shows.
    pub(crate) operand: Cell<Option<(u32, u32)>>,
}

/// Tensors of one memory.
pub(crate) type Shared = Rc<RefCell<Vec<Weak<Tensor>>>>;

/// Where a tensor that an index made lies: a change of it is one of the base, and the other way round.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) base: Rc<Tensor>,
    pub(crate) index: Value,
    /// Version of the base that the tensor shows.
    pub(crate) seen: u32,
}

impl Tensor {
    pub(crate) fn new(state: TensorState, parameter: bool) -> Tensor {
        Tensor {
            state: RefCell::new(state),
            parameter: Cell::new(parameter),
            copied: Cell::new(false),
            version: Cell::new(0),
            part: RefCell::default(),
            shared: RefCell::default(),
            operand: Cell::default(),
        }
    }
}

#[derive(Clone)]
pub(crate) enum TensorState {
    /// A result of the forward pass with this number.
    Node { tensor: TensorRef, body: u32 },
    /// A parameter or buffer.
    Param(ParamId),
    /// A tensor just created, outside a forward pass.
    Known { sizes: Vec<usize>, dtype: DType, init: Init, draw: Draw },
}

/// Which draw of random numbers first values are, where it is known: what was changed in the same way for all
/// elements, or rearranged, is the same draw.
pub(crate) type Draw = Option<Rc<()>>;

/// A built-in function.
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    /// Parameters as in a `def`, see [`crate::lower::torch::signature`].
    pub(crate) signature: &'static str,
    pub(crate) run: crate::lower::interp::Run,
}

impl Value {
    pub(crate) fn str(text: impl AsRef<str>) -> Value {
        Value::Str(Rc::from(text.as_ref()))
    }

    pub(crate) fn from_dim(dim: Dim) -> Value {
        if dim.depends_on_batch() { Value::Dim(dim) } else { Value::Int(dim.fixed) }
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The name `type()` shows.
    pub(crate) fn type_name(&self) -> String {
        let name = match self {
            Value::None => "NoneType",
            Value::Ellipsis => "ellipsis",
            Value::NotImplemented => "NotImplementedType",
            Value::Bool(_) | Value::Training { .. } => "bool",
            Value::Int(_) | Value::Dim(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(tuple) if tuple.size => "torch.Size",
            Value::Tuple(tuple) => match &tuple.named {
                Some(named) => return named.name.clone(),
                None => "tuple",
            },
            Value::Dict(dict) => match dict.borrow().class {
                DictClass::Plain => "dict",
                DictClass::Ordered => "OrderedDict",
                DictClass::Defaulting(_) => "defaultdict",
            },
            Value::Set(_) => "set",
            Value::Range(..) => "range",
            Value::Slice(_) => "slice",
            Value::Iter(iter) => iter.kind,
            Value::View(view) => view.type_name(),
            Value::Function(_) => "function",
            Value::Builtin(_) | Value::Method(_) | Value::ClassMethod(_) => "builtin_function_or_method",
            Value::Bound(_) => "method",
            Value::Partial(_) => "functools.partial",
            Value::Class(_) => "type",
            Value::Object(object) => return object.class.name.to_string(),
            Value::Descriptor(Descriptor::Property, _) => "property",
            Value::Descriptor(Descriptor::Static, _) => "staticmethod",
            Value::Descriptor(Descriptor::Class, _) => "classmethod",
            Value::Super(_) => "super",
            Value::Tensor(tensor) if tensor.parameter.get() => "Parameter",
            Value::Tensor(_) => "Tensor",
            Value::DType(_) => "torch.dtype",
            Value::Namespace(_) | Value::Module(_) => "module",
            Value::Opaque(name) => return name.to_string(),
        };
        name.to_owned()
    }

    /// Address of the value's storage; two values with the same address are the same object.
    pub(crate) fn identity(&self) -> Option<usize> {
        Some(match self {
            Value::List(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Iter(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::View(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Tuple(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Dict(rc) | Value::Set(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Slice(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Function(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Builtin(builtin) => std::ptr::from_ref::<Builtin>(builtin).cast::<u8>() as usize,
            Value::Method(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Bound(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Partial(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Class(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::ClassMethod(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Object(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Descriptor(_, rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Super(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Tensor(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            Value::Module(rc) => Rc::as_ptr(rc).cast::<u8>() as usize,
            _ => return None,
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.type_name())
    }
}

/// Holds every composite value until the end of a run, so that none is dropped recursively and cycles are freed.
#[derive(Default)]
pub(crate) struct Heap {
    values: Vec<Value>,
    scopes: Vec<Rc<Scope>>,
}

impl Heap {
    pub(crate) fn len(&self) -> usize {
        self.values.len() + self.scopes.len()
    }

    pub(crate) fn own(&mut self, value: Value) -> Value {
        self.values.push(value.clone());
        value
    }

    pub(crate) fn own_scope(&mut self, scope: Rc<Scope>) -> Rc<Scope> {
        self.scopes.push(Rc::clone(&scope));
        scope
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // First empty what can be changed: all children are held by `values`, so nothing is freed yet.
        for scope in &self.scopes {
            if let Ok(mut names) = scope.names.try_borrow_mut() {
                names.clear();
            }
            if let Ok(mut functions) = scope.functions.try_borrow_mut() {
                functions.clear();
            }
        }
        for value in &self.values {
            match value {
                Value::List(items) => items.borrow_mut().clear(),
                Value::Iter(iter) => iter.end(),
                Value::Dict(dict) | Value::Set(dict) => *dict.borrow_mut() = Dict::default(),
                Value::Class(class) => class.attrs.borrow_mut().clear(),
                Value::Function(function) => {
                    *function.class.borrow_mut() = None;
                    function.attrs.borrow_mut().clear();
                }
                Value::Object(object) => {
                    object.attrs.borrow_mut().clear();
                    *object.module.borrow_mut() = None;
                }
                Value::Tensor(tensor) => *tensor.part.borrow_mut() = None,
                _ => {}
            }
        }
        // What cannot be changed refers to older values only: free the newest first.
        while let Some(value) = self.values.pop() {
            drop(value);
        }
        while let Some(scope) = self.scopes.pop() {
            drop(scope);
        }
    }
}
