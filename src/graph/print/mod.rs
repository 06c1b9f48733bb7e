//! A graph printed as PyTorch source: one `nn.Module` class with the same `state_dict` keys and the same numbers.
//!
//! Weighted layers whose parameters belong to one module become that layer (`nn.Conv2d(...)`); anything else becomes
//! `nn.Parameter`s and functional calls. One limit: control flow of the source is gone, the class is the trace. A
//! graph with a training body of its own prints as `if self.training:`.

mod expression;
mod layer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{
    Body, DType, Dim, Graph, Init, Node, Op, Param, ParamId, ParamKind, Place, Region, Shape, TensorRef,
};
use expression::number;
use layer::Layers;

impl Graph {
    /// PyTorch source of the network: imports and one class of this name.
    pub fn to_pytorch(&self, class_name: &str) -> String {
        let layers = Layers::find(self);
        let mut source =
            String::from("import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n");
        let _ = writeln!(source, "class {class_name}(nn.Module):");
        source.push_str("    def __init__(self):\n        super().__init__()\n");
        source.push_str(&declarations(self, &layers));
        source.push_str("\n    def forward(self, x):\n");
        match &self.train {
            None => source.push_str(&statements(self, &self.eval, &layers, "        ")),
            Some(train) => {
                source.push_str("        if self.training:\n");
                source.push_str(&statements(self, train, &layers, "            "));
                source.push_str(&statements(self, &self.eval, &layers, "        "));
            }
        }
        source
    }
}

/// The body of `__init__`: modules and parameters in the order of the `state_dict`.
fn declarations(graph: &Graph, layers: &Layers) -> String {
    let mut source = String::new();
    let mut declared: BTreeSet<String> = BTreeSet::new();
    for (index, param) in graph.params.iter().enumerate() {
        let key = param_key(param, index);
        let (path, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
        for end in path.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| at).chain([path.len()]) {
            let module = &path[..end];
            if module.is_empty() || !declared.insert(module.to_owned()) {
                continue;
            }
            let constructor = layers.constructor(module).map_or("nn.Module()", String::as_str);
            let (parent, name) = module.rsplit_once('.').unwrap_or(("", module));
            if is_identifier(name) && (parent.is_empty() || path_is_plain(parent)) {
                let _ = writeln!(source, "        {} = {constructor}", attribute(module));
            } else {
                let _ = writeln!(source, "        {}.add_module({name:?}, {constructor})", attribute(parent));
            }
        }
        let owner = attribute(path);
        if layers.constructor(path).is_none() {
            source.push_str(&declare_param(param, &owner, leaf));
        }
        for alias in &param.aliases {
            source.push_str(&declare_alias(alias, &owner, leaf, &mut declared));
        }
        let name = member(&owner, leaf);
        let default = |init: &Init| match layers.constructor(path) {
            // What it was declared with.
            None => *init == Init::Constant(0.0),
            Some(_) => layers.starts_by_default(graph, index, init),
        };
        source.push_str(&first_values(param, &name, default));
        if param.kind == ParamKind::Frozen {
            let _ = writeln!(source, "        {name}.requires_grad_(False)");
        }
    }
    source
}

fn declare_param(param: &Param, owner: &str, leaf: &str) -> String {
    let (sizes, dtype) = (sizes_text(&param.sizes), dtype_argument(param.dtype));
    match param.kind {
        ParamKind::Trained | ParamKind::Frozen => {
            format!(
                "        {owner}.register_parameter({leaf:?}, nn.Parameter(torch.zeros({sizes}{dtype})))\n"
            )
        }
        ParamKind::Buffer => {
            format!("        {owner}.register_buffer({leaf:?}, torch.zeros({sizes}{dtype}))\n")
        }
        ParamKind::Unsaved => {
            format!(
                "        {owner}.register_buffer({leaf:?}, torch.zeros({sizes}{dtype}), persistent=False)\n"
            )
        }
    }
}

/// The type as a last argument, where it is not the usual one.
fn dtype_argument(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "",
        DType::F64 => ", dtype=torch.double",
        DType::I64 => ", dtype=torch.long",
        DType::Bool => ", dtype=torch.bool",
    }
}

/// A second key of a shared tensor: the owner's module is created if need be, and the tensor set on it.
fn declare_alias(alias: &str, owner: &str, leaf: &str, declared: &mut BTreeSet<String>) -> String {
    let mut source = String::new();
    let (path, name) = alias.rsplit_once('.').unwrap_or(("", alias));
    for end in path.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| at).chain([path.len()]) {
        let module = &path[..end];
        if !module.is_empty() && declared.insert(module.to_owned()) {
            let (parent, name) = module.rsplit_once('.').unwrap_or(("", module));
            let _ = writeln!(source, "        {}.add_module({name:?}, nn.Module())", attribute(parent));
        }
    }
    let _ = writeln!(source, "        setattr({}, {name:?}, {})", attribute(path), member(owner, leaf));
    source
}

/// The lines that give a tensor its first values; none for those that it has anyway.
fn first_values(param: &Param, name: &str, default: impl Fn(&Init) -> bool) -> String {
    if default(&param.init) {
        return String::new();
    }
    let (base, parts) = match &param.init {
        Init::Parts { base, parts } => (&**base, &parts[..]),
        init => (init, &[][..]),
    };
    let mut source = String::new();
    if !default(base) {
        source.push_str(&initialise(base, &param.sizes, param.dtype, name));
    }
    for (region, init) in parts {
        let name = format!("{name}.data[{}]", index_text(region));
        source.push_str(&initialise(init, &region.sizes(), param.dtype, &name));
    }
    source
}

/// The lines that compute first values from others, and the name of what comes out.
fn computed(graph: &Graph) -> (String, String) {
    let names: Vec<String> = (1..=graph.params.len()).map(|number| format!("start{number}")).collect();
    let mut source = String::new();
    for (param, name) in graph.params.iter().zip(&names) {
        let (sizes, dtype) = (sizes_text(&param.sizes), dtype_argument(param.dtype));
        let _ = writeln!(source, "        {name} = torch.zeros({sizes}{dtype})");
        source.push_str(&first_values(param, name, |init| *init == Init::Constant(0.0)));
    }
    let param = |id: ParamId| names[id.0 as usize].clone();
    let (lines, output) = assignments(&graph.eval, param, |_| None, "        ");
    (source + &lines, output)
}

/// A block of a tensor, as in brackets.
fn index_text(region: &Region) -> String {
    let places: Vec<String> = region
        .0
        .iter()
        .map(|place| match *place {
            Place::At(at) => at.to_string(),
            Place::Every { start, count, step } => {
                let end = start + count.saturating_sub(1) * step + 1;
                let step = if step == 1 { String::new() } else { format!(":{step}") };
                format!("{start}:{end}{step}")
            }
        })
        .collect();
    places.join(", ")
}

/// The lines that set all values of a tensor, or of a part of one.
fn initialise(init: &Init, sizes: &[usize], dtype: DType, name: &str) -> String {
    // A part is one of `.data` already.
    let data = if name.ends_with(']') { "" } else { ".data" };
    let line = match init {
        Init::Constant(value) if dtype.is_floating() => {
            format!("nn.init.constant_({name}, {})", number(*value))
        }
        Init::Constant(value) => format!("{name}.fill_({})", number(*value)),
        Init::Uniform { low, high } => {
            format!("nn.init.uniform_({name}, {}, {})", number(*low), number(*high))
        }
        Init::Normal { mean, std } => {
            format!("nn.init.normal_({name}, {}, {})", number(*mean), number(*std))
        }
        Init::TruncatedNormal { mean, std, low, high } => {
            let [mean, std, low, high] = [*mean, *std, *low, *high].map(number);
            format!("nn.init.trunc_normal_({name}, {mean}, {std}, {low}, {high})")
        }
        Init::Orthogonal { gain } => format!("nn.init.orthogonal_({name}, {})", number(*gain)),
        Init::Eye => format!("nn.init.eye_({name})"),
        Init::Dirac { groups } => format!("nn.init.dirac_({name}, {groups})"),
        Init::Computed(graph) => {
            let (lines, result) = computed(graph);
            return format!("{lines}        {name}{data}.copy_({result})\n");
        }
        Init::Values(values) => {
            let values = expression::nested(sizes, values, dtype);
            let dtype = if dtype == DType::F64 { ", dtype=torch.double" } else { "" };
            format!("{name}{data}.copy_(torch.tensor({values}{dtype}))")
        }
        // Parts of parts are parts of the whole.
        Init::Parts { base, .. } => return initialise(base, sizes, dtype, name),
    };
    format!("        {line}\n")
}

/// The body of `forward`.
fn statements(graph: &Graph, body: &Body, layers: &Layers, indent: &str) -> String {
    let mut source = String::new();
    if depends_on_batch_size(body, &body.live()) {
        let _ = writeln!(source, "{indent}n = x.shape[0]");
    }
    let param = |id| param_expression(graph, id);
    let (lines, output) = assignments(body, param, |index| layers.call(body, index), indent);
    source + &lines + &format!("{indent}return {output}\n")
}

/// One assignment per operation that leads to the output, and the name of that. `param` names parameters, `layer` the
/// path of the layer that a node calls.
fn assignments(
    body: &Body,
    param: impl Fn(ParamId) -> String,
    layer: impl Fn(usize) -> Option<String>,
    indent: &str,
) -> (String, String) {
    let mut source = String::new();
    let live = body.live();
    let used = used_outputs(body, &live);
    let mut names: BTreeMap<TensorRef, String> = BTreeMap::new();
    let mut next = 0;
    for (index, node) in body.nodes.iter().enumerate().filter(|(index, _)| live[*index]) {
        let tensor = TensorRef { node: u32::try_from(index).unwrap_or(u32::MAX), output: 0 };
        match &node.op {
            Op::Input => {
                names.insert(tensor, "x".to_owned());
                continue;
            }
            Op::Param(id) => {
                names.insert(tensor, param(*id));
                continue;
            }
            _ => {}
        }
        let arguments: Vec<String> = node.inputs.iter().map(|input| names[input].clone()).collect();
        let outputs: Vec<String> = (0..node.outputs.len())
            .map(|output| {
                let output = u8::try_from(output).unwrap_or(u8::MAX);
                if !used.contains(&TensorRef { output, ..tensor }) {
                    return "_".to_owned();
                }
                next += 1;
                let name = format!("x{next}");
                names.insert(TensorRef { output, ..tensor }, name.clone());
                name
            })
            .collect();
        let called = layer(index);
        let value = match &called {
            Some(path) => format!("{}({})", attribute(path), arguments_of_layer(node, &arguments)),
            None => expression::of(body, node, &arguments),
        };
        let target = match (&node.op, &outputs[..]) {
            (Op::Recurrent(_), [sequence, hidden]) => format!("{sequence}, {hidden}"),
            (Op::Recurrent(_), [sequence, hidden, cell]) if called.is_some() => {
                format!("{sequence}, ({hidden}, {cell})")
            }
            (_, outputs) => outputs.join(", "),
        };
        let _ = writeln!(source, "{indent}{target} = {value}");
    }
    (source, names[&body.output].clone())
}

/// What a layer is called with: its data inputs, without its weights.
fn arguments_of_layer(node: &Node, arguments: &[String]) -> String {
    match &node.op {
        Op::Recurrent(settings) if settings.initial_state && settings.cell == super::op::Cell::Lstm => {
            format!("{}, ({}, {})", arguments[0], arguments[1], arguments[2])
        }
        Op::Recurrent(settings) if settings.initial_state => format!("{}, {}", arguments[0], arguments[1]),
        Op::Bilinear { .. } => format!("{}, {}", arguments[0], arguments[1]),
        _ => arguments[0].clone(),
    }
}

fn used_outputs(body: &Body, live: &[bool]) -> BTreeSet<TensorRef> {
    let nodes = body.nodes.iter().zip(live).filter(|(_, live)| **live);
    let mut used: BTreeSet<TensorRef> = nodes.flat_map(|(node, _)| node.inputs.iter().copied()).collect();
    used.insert(body.output);
    used
}

fn depends_on_batch_size(body: &Body, live: &[bool]) -> bool {
    let mentions = |shape: &Shape| shape.0.iter().any(|dim| dim.depends_on_batch());
    body.nodes.iter().zip(live).any(|(node, live)| {
        *live
            && match &node.op {
                Op::Reshape { shape } => expression::needs_batch_size(shape),
                Op::Full { shape, .. } | Op::Random { shape, .. } | Op::Expand { shape } => mentions(shape),
                Op::Repeat { counts } => counts.iter().any(|dim| dim.depends_on_batch()),
                Op::Slice { start, end, .. } | Op::SliceScatter { start, end, .. } => {
                    start.depends_on_batch() || end.depends_on_batch()
                }
                Op::Recurrent(_) => true,
                _ => false,
            }
    })
}

/// A parameter's `state_dict` key, or a made-up one where it has none.
fn param_key(param: &Param, index: usize) -> String {
    if param.name.is_empty() { format!("constant_{index}") } else { param.name.clone() }
}

fn param_expression(graph: &Graph, id: ParamId) -> String {
    let key = param_key(graph.param(id), id.0 as usize);
    let (path, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
    member(&attribute(path), leaf)
}

/// `owner.leaf`, where that is Python.
fn member(owner: &str, leaf: &str) -> String {
    if is_identifier(leaf) { format!("{owner}.{leaf}") } else { format!("getattr({owner}, {leaf:?})") }
}

/// `self.a.b` for the path `a.b`, or `self.get_submodule("a.0")` where a part is not an identifier.
fn attribute(path: &str) -> String {
    if path.is_empty() {
        "self".to_owned()
    } else if path_is_plain(path) {
        format!("self.{path}")
    } else {
        format!("self.get_submodule({path:?})")
    }
}

fn path_is_plain(path: &str) -> bool {
    path.split('.').all(is_identifier)
}

/// Whether a class's methods can write `self.name`: not if they would mean another name by it, as by `__name`.
fn is_identifier(name: &str) -> bool {
    const KEYWORDS: [&str; 35] = [
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
        "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in",
        "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
    ];
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
        && !KEYWORDS.contains(&name)
        && (!name.starts_with("__") || name.ends_with("__"))
}

fn sizes_text(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    format!("({}{})", sizes.join(", "), if sizes.len() == 1 { "," } else { "" })
}

/// A size in Python, `n` being the batch size.
fn dim_text(dim: Dim) -> String {
    match (dim.per_sample, dim.fixed) {
        (0, fixed) => fixed.to_string(),
        (1, 0) => "n".to_owned(),
        (per_sample, 0) => format!("{per_sample} * n"),
        (per_sample, fixed) => format!("{per_sample} * n + {fixed}"),
    }
}
