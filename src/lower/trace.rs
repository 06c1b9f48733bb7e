//! One attempt at a source text: run its module level, make the network, trace `forward`.
//!
//! Input: a [`Request`] and a source text. Output: a graph, or what stopped it with a [`Hint`] for repairs. Limit:
//! `forward` is traced with one symbolic batch size; a network that treats batch sizes differently is seen at two.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::Stmt;

use crate::graph::{Body, Dim, Graph, Op, Param, ParamKind, TensorRef};
use crate::lower::Request;
use crate::lower::effects::effect;
use crate::lower::error::{Hint, R, Raise, Refusal, Verdict};
use crate::lower::interp::{Args, Frame, Interp, Mode};
use crate::lower::torch::{module_methods, modules, saved};
use crate::lower::value::{Class, Module, Object, TensorState, Value};
use crate::python::{self, Span, SyntaxError};

/// Random values that are in no `state_dict`.
const UNSAVED: &str = "random values that are in no state_dict, and so not in its weights: layers in a plain list or \
                       dictionary (nn.ModuleList and nn.ModuleDict keep them), a tensor that is neither nn.Parameter \
                       nor a buffer, or a buffer with persistent=False";

/// A network before its source is chosen.
pub(crate) struct Traced {
    pub(crate) graph: Graph,
    pub(crate) class_name: String,
    pub(crate) unfit: Option<Refusal>,
}

/// Why an attempt failed, and what a repair may act on.
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    pub(crate) hint: Option<Hint>,
    /// Name of the network's class, where it got that far.
    pub(crate) class_name: Option<String>,
}

/// Lower `source` as it is.
pub(crate) fn attempt(request: &Request<'_>, source: &str) -> Result<Traced, Box<Failure>> {
    let suite = python::compile_module(source).map_err(|error| Box::new(syntax_failure(error)))?;
    let mut class_name = None;
    run(request, &suite, &mut class_name).map_err(|raise| {
        let hint = raise.hint.clone().map(|hint| *hint);
        Box::new(Failure { refusal: raise.into_refusal(), hint, class_name })
    })
}

fn syntax_failure(error: SyntaxError) -> Failure {
    let verdict = if error.limit { Verdict::LimitExceeded } else { Verdict::SyntaxError };
    let span = (!error.limit).then_some((error.span.start, error.span.end));
    Failure { refusal: Refusal { verdict, message: error.message, span }, hint: None, class_name: None }
}

fn run(request: &Request<'_>, suite: &[Stmt], class_name: &mut Option<String>) -> R<Traced> {
    let mut this = Interp::new(request.limits, request.imports);
    let package = request.imports.package();
    let name = if package.is_empty() { "candidate".to_owned() } else { format!("{package}.candidate") };
    let main = this.new_module(&name, package, true, None)?;
    this.run_module(&main, suite)?;
    // The network is made and traced inside a frame of its own, whose places are not places of the source.
    let outside = Module {
        name: Rc::from("entry"),
        package: String::new(),
        scope: Rc::clone(&main.scope),
        main: false,
        file: u32::MAX,
        text: None,
        stars: std::cell::RefCell::default(),
    };
    this.frames.push(Frame {
        scope: Rc::clone(&main.scope),
        module: Rc::new(outside),
        method: None,
        argument_spans: BTreeMap::new(),
        yields: None,
        manages: None,
        handling: Vec::new(),
    });
    let network = make(&mut this, request.entry, suite)?;
    *class_name = Some(network.class.name.to_string());
    this.abandon();
    let modules = modules::named_modules(&mut this, &network, "")?;
    let lazy = |object: &Rc<Object>| object.class.lineage().any(|class| class.name.starts_with("Lazy"));
    let unsettled = modules.iter().any(|(_, module)| lazy(module));
    for (path, module) in modules {
        this.paths.insert(Rc::as_ptr(&module) as usize, path);
    }
    if unsettled {
        settle(&mut this, &network, request)?;
    }
    let eval = trace(&mut this, &network, request, false)?;
    let train = if this.asks_training { Some(trace(&mut this, &network, request, true)?) } else { None };
    let names = modules::state_names(&mut this, &network)?;
    let builder = std::mem::replace(&mut this.builder, crate::graph::Builder::new(request.limits.graph));
    let graph = builder.finish(eval, train, &names, request.input_sizes);
    let lost = |param: &Param| param.kind == ParamKind::Unsaved && param.init.is_drawn();
    let chance = this.chance.or_else(|| graph.params.iter().any(lost).then_some(UNSAVED));
    let chance = chance.map(|chance| Refusal {
        verdict: Verdict::UnsupportedSyntax,
        message: format!("the weights alone do not make this network again: {chance}"),
        span: None,
    });
    let unfit = chance.or_else(|| effect(suite));
    Ok(Traced { graph, class_name: network.class.name.to_string(), unfit })
}

/// The network's instance.
fn make(this: &mut Interp<'_>, entry: Option<&str>, suite: &[Stmt]) -> R<Rc<Object>> {
    let value = match entry {
        Some(entry) => {
            let expr = python::parse_expression(entry).map_err(|error| {
                Raise::python("SyntaxError", format!("entry expression: {}", error.message))
            })?;
            this.eval(&expr)?
        }
        None => {
            let class = last_module_class(this, suite)
                .ok_or_else(|| Raise::python("NameError", "no class derived from nn.Module is defined"))?;
            this.call(&Value::Class(class), Args::default())?
        }
    };
    match value {
        Value::Object(object) if object.class.is_module() => Ok(object),
        Value::Opaque(name) => Err(Raise::unsupported(format!("'{name}' is not supported"))),
        other => Err(Raise::type_error(format!("the entry is a {}, not an nn.Module", other.type_name()))),
    }
}

/// Show lazy layers an input, from which they take their sizes.
fn settle(this: &mut Interp<'_>, network: &Rc<Object>, request: &Request<'_>) -> R<()> {
    let input = this.builder.input(request.input_sizes);
    let input = this.wrap(input)?;
    this.call_module(network, Args::of(vec![input]))?;
    this.abandon();
    Ok(())
}

fn last_module_class(this: &mut Interp<'_>, suite: &[Stmt]) -> Option<Rc<Class>> {
    suite.iter().rev().find_map(|stmt| {
        let Stmt::ClassDef(def) = stmt else { return None };
        match this.name(def.name.as_str()) {
            Ok(Value::Class(class)) if class.is_module() => Some(class),
            _ => None,
        }
    })
}

/// One pass over `forward`.
fn trace(this: &mut Interp<'_>, network: &Rc<Object>, request: &Request<'_>, training: bool) -> R<Body> {
    this.body += 1;
    this.mode = Mode::Tracing { training };
    this.path.clear();
    this.outer_span = None;
    this.no_grad = false;
    this.overwritten.clear();
    this.viewed.clear();
    saved::start(this);
    this.kept.clear();
    this.contiguous.clear();
    this.strides.take();
    module_methods::enter_mode(this, network)?;
    this.outermost = this.frames.len() + 1;
    let input = this.builder.input(request.input_sizes);
    let input = this.wrap(input)?;
    let value = this.call_module(network, Args::of(vec![input]))?;
    this.outermost = usize::MAX;
    let output = logits(this, &value, training)?;
    check(this, network, output, request.classes)?;
    saved::check(this, output)?;
    let output = keep_buffers(this, output, training)?;
    Ok(this.builder.finish_body(output))
}

/// In training, what the pass has made of its buffers stays in them: the output carries that. The buffers themselves
/// are as before, for the next pass.
fn keep_buffers(this: &mut Interp<'_>, output: TensorRef, training: bool) -> R<TensorRef> {
    let mut output = output;
    for (tensor, id) in std::mem::take(&mut this.kept) {
        let value = this.tensor_ref(&tensor)?;
        *tensor.state.borrow_mut() = TensorState::Param(id);
        if training {
            let buffer = this.builder.tensor(id);
            let value = match this.builder.node(value).op {
                Op::Detach => value,
                _ => this.append(Op::Detach, &[value])?,
            };
            output = this.append(Op::Keep, &[buffer, value, output])?;
        } else {
            this.asks_training = true;
        }
    }
    Ok(output)
}

/// The output as one tensor. In training some networks give auxiliary outputs beside the logits.
fn logits(this: &mut Interp<'_>, value: &Value, training: bool) -> R<TensorRef> {
    match value {
        Value::Tensor(tensor) => this.tensor_ref(tensor),
        Value::Tuple(tuple) if training => match tuple.items.first() {
            Some(Value::Tensor(tensor)) => this.tensor_ref(tensor),
            _ => Err(Raise::type_error("output: expected a tensor, got a tuple")),
        },
        other => {
            let got = other.type_name();
            let raise = Raise::type_error(format!("output: expected a tensor, got {got}"));
            Err(raise.with_hint(Hint::Output { sizes: None, width: None, nothing: other.is_none() }))
        }
    }
}

/// Whether the output is `(N, classes)`.
fn check(this: &mut Interp<'_>, network: &Rc<Object>, output: TensorRef, classes: Option<usize>) -> R<()> {
    let Some(classes) = classes else { return Ok(()) };
    let fact = this.builder.fact(output).clone();
    let wanted = [Dim::BATCH, Dim::from(classes)];
    if fact.shape.0 == wanted && fact.dtype.is_floating() {
        return Ok(());
    }
    let batch_first = fact.shape.0.first() == Some(&Dim::BATCH);
    let sizes: Option<Vec<i64>> = fact
        .shape
        .0
        .iter()
        .skip(1)
        .map(|dim| dim.known().and_then(|size| i64::try_from(size).ok()))
        .collect();
    let width = last_width(this, network, output)?;
    let raise = Raise::value_error(format!("output: expected (N, {classes}), got {}", fact.shape));
    Err(raise.with_hint(Hint::Output { sizes: sizes.filter(|_| batch_first), width, nothing: false }))
}

/// Where the width of the linear layer that makes the output was given.
fn last_width(this: &mut Interp<'_>, network: &Rc<Object>, output: TensorRef) -> R<Option<(Span, usize)>> {
    let mut node = this.builder.node(output).clone();
    for _ in 0..8 {
        match node.op {
            Op::Linear { .. } => break,
            Op::Unary(_)
            | Op::Softmax { .. }
            | Op::LogSoftmax { .. }
            | Op::Dropout { .. }
            | Op::BatchNorm(_) => {}
            _ => return Ok(None),
        }
        let Some(&input) = node.inputs.first() else { return Ok(None) };
        node = this.builder.node(input).clone();
    }
    for (path, module) in modules::named_modules(this, network, "")? {
        if path != node.origin.path {
            continue;
        }
        let site = module.site.borrow();
        let Some((call, spans)) = site.as_ref() else { return Ok(None) };
        let span = spans.iter().find(|(name, _)| *name == "out_features").map(|(_, span)| *span);
        return Ok(span.map(|span| (span, this.uses.get(&(*call, span)).copied().unwrap_or(1))));
    }
    Ok(None)
}
