//! The interpreter of the Python subset: its state, its meters, its names and its imports.
//!
//! Input: syntax trees. Output: values, and operations appended to a [`Builder`] where the source computes with
//! tensors. Every statement, expression and element is metered, so that no source runs or grows without bound.
//! Limit: generators that yield within `try`, `with` or an expression are run to their end when they are called.

mod annotations;
mod arith;
mod attr;
pub(crate) mod builtins;
mod call;
mod compare;
mod containers;
mod convert;
mod dataclasses;
mod define;
mod derived;
mod descriptors;
pub(crate) mod enums;
mod exceptions;
mod expr;
mod format;
mod generators;
pub(crate) mod imports;
mod inspecting;
mod items;
pub(crate) mod iterators;
pub(crate) mod known;
mod managers;
mod matching;
pub(crate) mod memo;
mod stmt;
mod strings;
mod text;
pub(crate) mod types;
mod views;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};

use ruff_python_ast::{ExprGenerator, ExprLambda, StmtFunctionDef};

use crate::graph::{Builder, Fact, Init, Op, Origin, ParamId, TensorRef, When};
use crate::lower::error::{R, Raise};
use crate::lower::torch::computed::{self, Start};
use crate::lower::torch::constant::{self, Constant};
use crate::lower::torch::creation;
use crate::lower::torch::random::Twister;
use crate::lower::torch::saved;
use crate::lower::value::{
    Class, Dict, DictClass, Heap, Key, Module, Object, Scope, Site, Tensor, TensorState, Tuple, Value, Yields,
};
use crate::lower::{ImportResolver, Limits};
use crate::python::Span;

pub(crate) use crate::lower::torch::signature::Bound;
pub(crate) use attr::no_attribute;
pub(crate) use define::annotations;
pub(crate) use iterators::{Iter, Source};
pub(crate) use views::{Part, View};

/// A built-in function's code.
pub(crate) type Run = fn(&mut Interp<'_>, Bound) -> R<Value>;

/// Name of what `dataclasses.field(...)` gives.
pub(crate) const FIELD: &str = "dataclasses.field";
/// The attribute of a data class that holds the options of its decorator.
pub(crate) const DATACLASS: &str = "__dataclass_params__";
/// Name of what `enum.auto()` gives.
pub(crate) const AUTO: &str = "enum.auto";
/// Deepest nesting of expressions and statements being evaluated, whatever calls they are spread over.
const MAX_DEPTH: usize = 6_000;

/// Arguments of a call.
#[derive(Default, Clone)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Rc<str>, Value)>,
    pub(crate) site: Option<Rc<Site>>,
}

impl Args {
    pub(crate) fn of(positional: Vec<Value>) -> Args {
        Args { positional, named: Vec::new(), site: None }
    }

    /// The first positional argument, and the others.
    pub(crate) fn split_first(mut self) -> Option<(Value, Args)> {
        if self.positional.is_empty() {
            return None;
        }
        let first = self.positional.remove(0);
        if let Some(site) = &self.site {
            let mut site = Site::clone(site);
            if !site.positional.is_empty() {
                site.positional.remove(0);
            }
            self.site = Some(Rc::new(site));
        }
        Some((first, self))
    }

    /// The same with another first argument.
    pub(crate) fn prepend(mut self, first: Value) -> Args {
        self.positional.insert(0, first);
        if let Some(site) = &self.site {
            let mut site = Site::clone(site);
            site.positional.insert(0, None);
            self.site = Some(Rc::new(site));
        }
        self
    }
}

/// One running function, class body or module.
pub(crate) struct Frame {
    pub(crate) scope: Rc<Scope>,
    pub(crate) module: Rc<Module>,
    /// Class and first argument of a method, for `super()`.
    pub(crate) method: Option<(Rc<Class>, Value)>,
    /// Where the arguments of this call stand in the main source.
    pub(crate) argument_spans: BTreeMap<Rc<str>, Span>,
    pub(crate) yields: Option<Vec<Value>>,
    /// The `with` whose body runs where this generator yields.
    pub(crate) manages: Option<Rc<managers::Managed>>,
    /// Exceptions being handled, innermost last.
    #[expect(clippy::vec_box, reason = "errors travel boxed")]
    pub(crate) handling: Vec<Box<Raise>>,
}

impl Frame {
    /// Whether it runs what this program brings, in terms of other layers and functions.
    fn is_library(&self) -> bool {
        !self.module.main && self.module.text.is_none() && self.module.file != u32::MAX
    }
}

/// How the current pass over `forward` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `__init__` and module level: operations go to a scratch pass.
    Building,
    /// A traced forward pass.
    Tracing { training: bool },
}

pub(crate) struct Interp<'a> {
    pub(crate) limits: Limits,
    pub(crate) builder: Builder,
    pub(crate) mode: Mode,
    /// Whether the current trace asked `self.training` in a condition.
    pub(crate) asks_training: bool,
    /// Number of the current pass; tensors of another pass are out of date.
    pub(crate) body: u32,
    /// Values of written-out tensors that the graphs hold.
    pub(crate) literals: usize,
    /// Depth of `try` blocks around that go on after an import that fails.
    pub(crate) expected_failures: usize,
    /// Whether results have no gradients, as within `torch.no_grad()`.
    pub(crate) no_grad: bool,
    /// Tensors of the current pass whose memory was overwritten since: what still refers to them is out of date.
    pub(crate) overwritten: BTreeSet<TensorRef>,
    /// Those of them that were written through a view: copies of them, which share the node, are out of date too.
    pub(crate) viewed: BTreeSet<TensorRef>,
    /// What this pass did in place.
    pub(crate) in_place: saved::InPlace,
    /// What nodes of the constructor's scratch pass start as.
    pub(crate) starts: BTreeMap<u32, computed::Start>,
    /// What that pass computed.
    pub(crate) made: Vec<Weak<Tensor>>,
    /// Buffers that this pass changes.
    pub(crate) kept: Vec<(Rc<Tensor>, ParamId)>,
    /// Tensors of the current pass that were made contiguous.
    pub(crate) contiguous: BTreeSet<TensorRef>,
    /// How tensors of the current pass lie in memory, as far as it has been asked.
    pub(crate) strides: RefCell<BTreeMap<TensorRef, Option<Vec<i64>>>>,
    pub(crate) frames: Vec<Frame>,
    /// The `with` that waits for the next generator to start.
    starting: Option<Rc<managers::Managed>>,
    /// Modules being called: state_dict path and class.
    pub(crate) path: Vec<(String, String)>,
    /// Paths of the network's modules, by identity.
    pub(crate) paths: BTreeMap<usize, String>,
    /// Frame of the outermost `forward`, and the expression it is at.
    pub(crate) outermost: usize,
    pub(crate) outer_span: Option<Span>,
    /// How often each argument of each constructor call made a layer.
    pub(crate) uses: BTreeMap<(Span, Span), usize>,
    /// Generators behind `random` and `numpy.random`.
    pub(crate) twisters: Vec<Twister>,
    /// What of chance outside the network's weights has gone into it.
    pub(crate) chance: Option<&'static str>,
    /// Whether annotations are not evaluated.
    pub(crate) deferred_annotations: bool,
    classes: BTreeMap<&'static str, Rc<Class>>,
    modules: BTreeMap<String, Rc<Module>>,
    functions: BTreeMap<(u32, Span), Rc<StmtFunctionDef>>,
    /// How functions yield, by where they stand.
    yields: BTreeMap<(u32, Span), Yields>,
    lambdas: BTreeMap<(u32, Span), Rc<ExprLambda>>,
    generators: BTreeMap<(u32, Span), Rc<ExprGenerator>>,
    /// The names of functions' own, by the functions' definitions.
    own_names: BTreeMap<usize, Rc<BTreeSet<String>>>,
    heap: Heap,
    steps: u64,
    depth: usize,
    calls: usize,
    texts: u32,
    /// Packages of a running module that were imported in it by name.
    packages: BTreeSet<String>,
    /// Files that have brought their steps.
    files_read: BTreeSet<String>,
    /// Copies of `_modules` and the like, by identity: the module, and which of them.
    pub(crate) registries: BTreeMap<usize, (Rc<Object>, &'static str)>,
    /// Modules made so far, which number them.
    files: u32,
    imports: &'a dyn ImportResolver,
}

impl<'a> Interp<'a> {
    pub(crate) fn new(limits: Limits, imports: &'a dyn ImportResolver) -> Interp<'a> {
        Interp {
            limits,
            builder: Builder::new(limits.graph),
            mode: Mode::Building,
            asks_training: false,
            body: 0,
            literals: 0,
            expected_failures: 0,
            no_grad: false,
            overwritten: BTreeSet::new(),
            viewed: BTreeSet::new(),
            in_place: saved::InPlace::default(),
            starts: BTreeMap::new(),
            made: Vec::new(),
            kept: Vec::new(),
            contiguous: BTreeSet::new(),
            strides: RefCell::default(),
            frames: Vec::new(),
            starting: None,
            path: Vec::new(),
            paths: BTreeMap::new(),
            outermost: usize::MAX,
            outer_span: None,
            uses: BTreeMap::new(),
            twisters: Vec::new(),
            chance: None,
            deferred_annotations: false,
            classes: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            yields: BTreeMap::new(),
            lambdas: BTreeMap::new(),
            generators: BTreeMap::new(),
            own_names: BTreeMap::new(),
            heap: Heap::default(),
            steps: 0,
            depth: 0,
            calls: 0,
            texts: 0,
            packages: BTreeSet::new(),
            files_read: BTreeSet::new(),
            registries: BTreeMap::new(),
            files: 0,
            imports,
        }
    }

    /// Count `steps` units of work.
    pub(crate) fn tick(&mut self, steps: usize) -> R<()> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.limits.steps {
            return Err(Raise::limit(format!(
                "interpreter steps: exceeds the limit of {}",
                self.limits.steps
            )));
        }
        Ok(())
    }

    /// Run `inner` one level deeper.
    pub(crate) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Raise::limit("nesting of expressions and calls: too deep"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Whether a list or string of this length may exist.
    pub(crate) fn check_length(&mut self, what: &str, length: usize, limit: usize) -> R<()> {
        if length > limit {
            return Err(Raise::limit(format!("length of a {what}: {length} exceeds the limit of {limit}")));
        }
        self.tick(length / 16)
    }

    /// Whether a container of this length may be made. What is made is kept until the end, so elements cost steps.
    fn elements(&mut self, what: &str, length: usize) -> R<()> {
        self.check_length(what, length, self.limits.list_length)?;
        self.tick(length / 4)
    }

    /// Pay for the members that a module has and gets: finding the place of each takes a walk over the others.
    pub(crate) fn members(&mut self, module: &Object, new: usize) -> R<()> {
        let known = module
            .module
            .borrow()
            .as_ref()
            .map_or(0, |state| state.params.len() + state.buffers.len() + state.modules.len());
        self.tick(known / 8 + new.saturating_mul(known + new) / 16)
    }

    pub(crate) fn own(&mut self, value: Value) -> R<Value> {
        if self.heap.len() > self.limits.objects {
            return Err(Raise::limit(format!("objects: exceeds the limit of {}", self.limits.objects)));
        }
        Ok(self.heap.own(value))
    }

    pub(crate) fn list(&mut self, items: Vec<Value>) -> R<Value> {
        self.elements("list", items.len())?;
        self.own(Value::List(Rc::new(RefCell::new(items))))
    }

    pub(crate) fn tuple(&mut self, items: Vec<Value>) -> R<Value> {
        self.elements("tuple", items.len())?;
        self.own(Value::Tuple(Rc::new(Tuple { items, size: false, named: None })))
    }

    pub(crate) fn size(&mut self, items: Vec<Value>) -> R<Value> {
        self.own(Value::Tuple(Rc::new(Tuple { items, size: true, named: None })))
    }

    /// An iterator over these items, by the name that `type()` shows.
    pub(crate) fn iterator(&mut self, kind: &'static str, items: Vec<Value>) -> R<Value> {
        self.elements("iterator", items.len())?;
        self.iterator_of(kind, Source::Items(items.into_iter()))
    }

    pub(crate) fn dict(&mut self, entries: Vec<(Value, Value)>) -> R<Value> {
        self.elements("dict", entries.len())?;
        let mut dict = Dict::default();
        for (name, value) in entries {
            dict.insert(self.key(&name)?, name, value);
        }
        self.own(Value::Dict(Rc::new(RefCell::new(dict))))
    }

    /// A dictionary of this class.
    pub(crate) fn dict_like(&mut self, class: DictClass, entries: Vec<(Value, Value)>) -> R<Value> {
        let dict = self.dict(entries)?;
        if let Value::Dict(dict) = &dict {
            dict.borrow_mut().class = class;
        }
        Ok(dict)
    }

    pub(crate) fn set(&mut self, items: Vec<Value>) -> R<Value> {
        self.elements("set", items.len())?;
        let mut dict = Dict::default();
        for item in items {
            dict.insert(self.key(&item)?, item, Value::None);
        }
        self.own(Value::Set(Rc::new(RefCell::new(dict))))
    }

    pub(crate) fn text(&mut self, text: impl AsRef<str>) -> R<Value> {
        self.check_length("string", text.as_ref().len(), self.limits.string_length)?;
        Ok(Value::str(text))
    }

    pub(crate) fn scope(&mut self, scope: Scope) -> R<Rc<Scope>> {
        if self.heap.len() > self.limits.objects {
            return Err(Raise::limit(format!("objects: exceeds the limit of {}", self.limits.objects)));
        }
        Ok(self.heap.own_scope(Rc::new(scope)))
    }

    /// The key of a value in a dictionary.
    pub(crate) fn key(&self, value: &Value) -> R<Key> {
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(flag) => Key::Int(i64::from(*flag)),
            Value::Int(number) => Key::Int(*number),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Key::Int(*number as i64),
            Value::Float(number) => Key::Float(number.to_bits()),
            Value::Str(text) => Key::Str(Rc::clone(text)),
            Value::Dim(dim) => Key::Dim(*dim),
            Value::Tuple(tuple) => {
                let keys: R<Vec<Key>> = tuple.items.iter().map(|item| self.key(item)).collect();
                Key::Tuple(keys?)
            }
            Value::List(_) | Value::Dict(_) | Value::Set(_) => {
                return Err(Raise::type_error(format!("unhashable type: '{}'", value.type_name())));
            }
            // A member that is a number or text too is the key that this is.
            Value::Object(_) if enums::plain(value).is_some() => match enums::plain(value) {
                Some(member) => self.key(&member)?,
                None => Key::None,
            },
            Value::Object(object) if object.class.lineage().any(|class| compares(class)) => {
                return Err(Raise::unsupported(format!(
                    "a '{}', whose class says what is equal, in a set or as a key is not supported",
                    object.class.name
                )));
            }
            Value::DType(dtype) => Key::Name(format!("{dtype:?}")),
            Value::Namespace(name) => Key::Name((*name).to_owned()),
            Value::Opaque(name) => Key::Name(name.to_string()),
            other => match other.identity() {
                Some(identity) => Key::Identity(identity),
                None => Key::Name(other.type_name()),
            },
        })
    }

    pub(crate) fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a frame is pushed before anything is evaluated")
    }

    /// A number for a text of expressions, no file's.
    pub(crate) fn next_file(&mut self) -> u32 {
        self.texts += 1;
        u32::MAX - self.texts
    }

    /// Whether the source has used a module of this program.
    pub(crate) fn uses(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// A built-in class by its name, made when first asked for.
    pub(crate) fn class(&mut self, name: &'static str) -> R<Rc<Class>> {
        if let Some(class) = self.classes.get(name) {
            return Ok(Rc::clone(class));
        }
        let (native, base) = types::native_class(name);
        let ancestors = match base {
            Some(base) => {
                let base = self.class(base)?;
                base.lineage().cloned().collect()
            }
            None => Vec::new(),
        };
        let class = Rc::new(Class {
            name: Rc::from(name.rsplit('.').next().unwrap_or(name)),
            ancestors,
            attrs: RefCell::default(),
            native,
            fields: RefCell::default(),
        });
        self.classes.insert(name, Rc::clone(&class));
        self.own(Value::Class(Rc::clone(&class)))?;
        Ok(class)
    }

    /// Drop the scratch pass of constructors: what was computed in it, and is still held, becomes first values.
    pub(crate) fn abandon(&mut self) {
        computed::keep(self);
        self.builder.abandon_body();
        self.starts.clear();
        self.body += 1;
    }

    /// What is known of a tensor.
    pub(crate) fn fact(&mut self, tensor: &Tensor) -> R<Fact> {
        let reference = self.tensor_ref(tensor)?;
        Ok(self.builder.fact(reference).clone())
    }

    /// The tensor as an operand of the current pass.
    pub(crate) fn tensor_ref(&mut self, tensor: &Tensor) -> R<TensorRef> {
        crate::lower::torch::index::follow(self, tensor)?;
        let state = tensor.state.borrow().clone();
        match state {
            TensorState::Node { tensor: reference, body } if body == self.body => {
                if !self.overwritten.is_empty()
                    && (!tensor.copied.get() || self.viewed.contains(&self.memory(reference)))
                    && self.overwritten.contains(&self.memory(reference))
                {
                    return Err(Raise::unsupported(
                        "a tensor whose memory was changed in place through a view of it is used afterwards",
                    ));
                }
                Ok(reference)
            }
            TensorState::Node { .. } => {
                Err(Raise::unsupported("a tensor that was computed before this forward pass is used in it"))
            }
            TensorState::Param(id) => {
                let reference = self.builder.tensor(id);
                computed::note(self, id, reference)?;
                if self.overwritten.contains(&reference) {
                    return Err(Raise::unsupported("a buffer that was changed in place is used afterwards"));
                }
                Ok(reference)
            }
            TensorState::Known { sizes, dtype, init, draw } => {
                creation::materialise(self, tensor, Start { sizes, dtype, init, draw })
            }
        }
    }

    /// The tensor in whose memory this one lies: itself, unless it is a view.
    pub(crate) fn memory(&self, tensor: TensorRef) -> TensorRef {
        let mut tensor = tensor;
        while let Some(base) = self.viewed_of(tensor) {
            tensor = base;
        }
        tensor
    }

    /// What a tensor is a view of, if it is one; a reshaped one counts, although it may be a copy.
    pub(crate) fn viewed_of(&self, tensor: TensorRef) -> Option<TensorRef> {
        let node = self.builder.node(tensor);
        match node.op {
            Op::Reshape { .. }
            | Op::Permute { .. }
            | Op::Expand { .. }
            | Op::Slice { .. }
            | Op::Select { .. }
            | Op::Unsqueeze { .. }
            | Op::Squeeze { .. }
            | Op::Detach => node.inputs.first().copied(),
            // It gives its input back.
            Op::Dropout { p, when, .. } if p == 0.0 || when == When::Never => node.inputs.first().copied(),
            _ => None,
        }
    }

    /// Append an operation; its first output.
    pub(crate) fn append(&mut self, op: Op, inputs: &[TensorRef]) -> R<TensorRef> {
        Ok(self.append_all(op, inputs, 1)?[0])
    }

    /// Append an operation; its first `count` outputs.
    pub(crate) fn append_all(&mut self, op: Op, inputs: &[TensorRef], count: u8) -> R<Vec<TensorRef>> {
        self.tick(4)?;
        let origin = match self.path.last() {
            Some((path, class)) => Origin {
                path: path.clone(),
                class: class.clone(),
                span: self.outer_span.map(|s| (s.start, s.end)),
            },
            None => Origin::default(),
        };
        let first = self.builder.append(op, inputs, origin.clone())?;
        if self.frames.last().is_some_and(Frame::is_library) {
            saved::composed(self, first);
        }
        let mut results: Vec<TensorRef> =
            (0..count.max(1)).map(|output| TensorRef { output, ..first }).collect();
        if self.no_grad && matches!(self.mode, Mode::Tracing { .. }) {
            for result in &mut results {
                *result = self.builder.append(Op::Detach, &[*result], origin.clone())?;
            }
        }
        Ok(results)
    }

    /// Append an operation; its first output as a value.
    pub(crate) fn op(&mut self, op: Op, inputs: &[TensorRef]) -> R<Value> {
        let tensor = self.append(op, inputs)?;
        self.wrap(tensor)
    }

    /// A tensor of the current pass as a value.
    pub(crate) fn wrap(&mut self, tensor: TensorRef) -> R<Value> {
        if self.mode == Mode::Building
            && let Some(constant) = constant::of_result(self, tensor)?
        {
            // A constructor may keep it.
            let Constant { sizes, dtype, values } = Rc::unwrap_or_clone(constant);
            return creation::known(self, sizes, dtype, Init::Values(values));
        }
        let state = TensorState::Node { tensor, body: self.body };
        let computed = Rc::new(Tensor::new(state, false));
        if self.mode == Mode::Building {
            self.made.push(Rc::downgrade(&computed));
        }
        self.own(Value::Tensor(computed))
    }
}

/// Whether a class says which of its objects are equal.
fn compares(class: &Class) -> bool {
    let attrs = class.attrs.borrow();
    let by_fields = match attrs.get(DATACLASS) {
        Some(Value::Dict(options)) => {
            !matches!(options.borrow().get(&Key::Str(Rc::from("eq"))), Some(Value::Bool(false)))
        }
        _ => false,
    };
    attrs.contains_key("__eq__") || attrs.contains_key("__hash__") || by_fields
}
