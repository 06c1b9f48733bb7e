//! Which operations print as layers: those whose weights are the whole content of one module.

use std::collections::{BTreeMap, BTreeSet};

use super::param_key;
use crate::graph::op::{BatchNorm, Cell, Conv, Recurrent, When};
use crate::graph::{Body, DType, Graph, Init, Node, Op, ParamId, ParamKind, Place, Region};

/// Module path to the constructor call, and node to the path of the module that it calls.
pub(super) struct Layers {
    constructors: BTreeMap<String, String>,
    params_of: Vec<ParamsOf>,
}

/// For one body (by address of its first node's index space): node index to module path.
struct ParamsOf {
    body_len: usize,
    calls: BTreeMap<usize, String>,
}

impl Layers {
    /// Find every operation of both bodies that can print as a layer.
    pub(super) fn find(graph: &Graph) -> Layers {
        let mut owned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (index, param) in graph.params.iter().enumerate() {
            let key = param_key(param, index);
            let (path, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
            owned.entry(path.to_owned()).or_default().insert(leaf.to_owned());
        }
        let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut params_of = Vec::new();
        for body in [Some(&graph.eval), graph.train.as_ref()].into_iter().flatten() {
            let mut calls = BTreeMap::new();
            let live = body.live();
            for (index, node) in body.nodes.iter().enumerate() {
                let Some((path, constructor)) = layer(graph, body, node, &owned) else { continue };
                if !live[index] {
                    continue;
                }
                // Two calls of one module must agree on the constructor, or neither prints as a layer.
                let agreed = found.entry(path.clone()).or_insert_with(|| Some(constructor.clone()));
                if agreed.as_ref() != Some(&constructor) {
                    *agreed = None;
                }
                calls.insert(index, path);
            }
            params_of.push(ParamsOf { body_len: body.nodes.len(), calls });
        }
        let constructors =
            found.into_iter().filter_map(|(path, constructor)| Some((path, constructor?))).collect();
        let mut layers = Layers { constructors, params_of };
        layers.drop_modules_used_otherwise(graph);
        layers
    }

    /// The constructor call of the layer at this path.
    pub(super) fn constructor(&self, path: &str) -> Option<&String> {
        self.constructors.get(path)
    }

    /// The path of the layer that this node calls.
    pub(super) fn call(&self, body: &Body, index: usize) -> Option<String> {
        let calls = self.params_of.iter().find(|known| known.body_len == body.nodes.len())?;
        calls.calls.get(&index).filter(|path| self.constructors.contains_key(*path)).cloned()
    }

    /// Whether PyTorch's layer starts this parameter with these first values.
    pub(super) fn starts_by_default(&self, graph: &Graph, index: usize, init: &Init) -> bool {
        let param = &graph.params[index];
        let key = param_key(param, index);
        let (path, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
        let Some(constructor) = self.constructors.get(path) else { return false };
        let weight = graph.params.iter().find(|other| other.name == format!("{path}.weight"));
        let padded = constructor.contains(", padding_idx=");
        match init {
            Init::Constant(value) => {
                let one = constructor.contains("Norm") && matches!(leaf, "weight" | "running_var");
                *value == f64::from(u8::from(one)) && (constructor.contains("Norm"))
            }
            Init::Parts { base, parts } => match &parts[..] {
                // The row of zeros of an embedding's padding.
                [(Region(places), Init::Constant(0.0))] if padded && param.sizes.len() == 2 => {
                    let width = Place::Every { start: 0, count: param.sizes[1], step: 1 };
                    let (row, count, _) = places[0].range();
                    **base == Init::Normal { mean: 0.0, std: 1.0 }
                        && (count, places[1]) == (1, width)
                        && [",", ")"]
                            .iter()
                            .any(|end| constructor.contains(&format!(", padding_idx={row}{end}")))
                }
                _ => false,
            },
            Init::Normal { mean, std } => {
                constructor.starts_with("nn.Embedding") && !padded && (*mean, *std) == (0.0, 1.0)
            }
            Init::Uniform { low, high } => {
                let is = |names: &[&str]| names.iter().any(|name| constructor.starts_with(name));
                let bound = if is(&["nn.LSTM", "nn.GRU", "nn.RNN"]) {
                    // Every weight of a recurrent layer has gates * hidden rows; weight_hh has hidden columns.
                    let hidden =
                        graph.params.iter().find(|other| other.name == format!("{path}.weight_hh_l0"));
                    let gates = if is(&["nn.LSTM"]) {
                        4
                    } else if is(&["nn.GRU"]) {
                        3
                    } else {
                        1
                    };
                    hidden.map(|param| param.sizes[0] / gates)
                } else if is(&["nn.Bilinear"]) {
                    weight.map(|weight| weight.sizes[1])
                } else if is(&["nn.Linear", "nn.Conv"]) {
                    weight.map(|weight| weight.sizes[1..].iter().product())
                } else {
                    // Others start at constants, or from a normal distribution.
                    None
                };
                let bound = bound.map(|fan_in: usize| 1.0 / (fan_in.max(1) as f64).sqrt());
                bound.is_some_and(|bound| (bound - high).abs() < 1e-9 && (bound + low).abs() < 1e-9)
            }
            _ => false,
        }
    }

    /// A module whose weights are also read outside its own calls must expose them: as a layer it still does, so only
    /// modules that are *not called at all* in the evaluation body fall back to bare parameters.
    fn drop_modules_used_otherwise(&mut self, graph: &Graph) {
        let called: BTreeSet<&String> =
            self.params_of.iter().flat_map(|known| known.calls.values()).collect();
        self.constructors.retain(|path, _| called.contains(path));
        // With bodies of equal length the calls could be mixed up: print everything functionally then.
        let lengths: BTreeSet<usize> = self.params_of.iter().map(|known| known.body_len).collect();
        if lengths.len() != self.params_of.len() && graph.train.is_some() {
            self.constructors.clear();
        }
    }
}

/// The module and constructor of a node whose weights are exactly the content of one module.
fn layer(
    graph: &Graph,
    body: &Body,
    node: &Node,
    owned: &BTreeMap<String, BTreeSet<String>>,
) -> Option<(String, String)> {
    let first = match &node.op {
        Op::Recurrent(settings) if !settings.initial_state => 1,
        Op::Recurrent(settings) => 2 + usize::from(settings.cell == Cell::Lstm),
        Op::Bilinear { .. } => 2,
        _ => 1,
    };
    let mut path: Option<String> = None;
    let mut leaves: Vec<String> = Vec::new();
    let mut ids: Vec<ParamId> = Vec::new();
    for input in node.inputs.get(first..)? {
        let Op::Param(id) = body.nodes[input.node as usize].op else { return None };
        let param = graph.param(id);
        if !param.aliases.is_empty() || param.name.is_empty() {
            return None;
        }
        let (owner, leaf) = param.name.rsplit_once('.')?;
        // A layer's weights are parameters: a buffer in their place is not one.
        let parameter = matches!(param.kind, ParamKind::Trained | ParamKind::Frozen);
        if parameter == leaf.starts_with("running_") {
            return None;
        }
        if *path.get_or_insert_with(|| owner.to_owned()) != *owner {
            return None;
        }
        leaves.push(leaf.to_owned());
        ids.push(id);
    }
    let path = path?;
    let mut expected: BTreeSet<String> = leaves.iter().cloned().collect();
    if let Op::BatchNorm(BatchNorm { counter: Some(_), .. }) = node.op {
        expected.insert("num_batches_tracked".to_owned());
    }
    if owned.get(&path) != Some(&expected) || !conventional(&node.op, &leaves) {
        return None;
    }
    let first = graph.param(*ids.first()?);
    if ids.iter().any(|&id| graph.param(id).dtype != first.dtype) {
        return None;
    }
    let mut constructor = constructor(&node.op, &first.sizes, body, node)?;
    if first.dtype == DType::F64 {
        constructor.insert_str(constructor.len() - 1, ", dtype=torch.double");
    }
    Some((path, constructor))
}

/// Whether the weights have the names, in the order, that PyTorch's layer gives them.
fn conventional(op: &Op, leaves: &[String]) -> bool {
    let leaves: Vec<&str> = leaves.iter().map(String::as_str).collect();
    match op {
        Op::BatchNorm(norm) => {
            norm.running
                && leaves[..2] == ["running_mean", "running_var"]
                && (!norm.affine || leaves[2..] == ["weight", "bias"])
        }
        Op::Recurrent(settings) => leaves == recurrent_names(settings),
        _ => ["weight", "bias"].starts_with(&leaves),
    }
}

fn recurrent_names(settings: &Recurrent) -> Vec<String> {
    let directions: &[&str] = if settings.bidirectional { &["", "_reverse"] } else { &[""] };
    let parts: &[&str] = if settings.bias {
        &["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    } else {
        &["weight_ih", "weight_hh"]
    };
    let mut names = Vec::new();
    for layer in 0..settings.layers {
        for direction in directions {
            let projected = if settings.projection > 0 { Some(&"weight_hr") } else { None };
            names.extend(parts.iter().chain(projected).map(|part| format!("{part}_l{layer}{direction}")));
        }
    }
    names
}

fn constructor(op: &Op, sizes: &[usize], body: &Body, node: &Node) -> Option<String> {
    let input = &body.fact(node.inputs[0]).shape;
    Some(match op {
        Op::Conv(conv) => convolution("Conv", conv, sizes[1] * conv.groups, sizes[0], sizes),
        Op::ConvTranspose(conv) => {
            convolution("ConvTranspose", conv, sizes[0], sizes[1] * conv.groups, sizes)
        }
        Op::Linear { bias } => format!("nn.Linear({}, {}{})", sizes[1], sizes[0], without_bias(*bias)),
        Op::Bilinear { bias } => {
            format!("nn.Bilinear({}, {}, {}{})", sizes[1], sizes[2], sizes[0], without_bias(*bias))
        }
        Op::Embedding { padding: None } => format!("nn.Embedding({}, {})", sizes[0], sizes[1]),
        Op::Embedding { padding: Some(row) } => {
            format!("nn.Embedding({}, {}, padding_idx={row})", sizes[0], sizes[1])
        }
        Op::BatchNorm(norm) if norm.batch_statistics == When::Training && norm.counter.is_some() => {
            let dims = match input.rank() {
                2 | 3 => 1,
                4 => 2,
                5 => 3,
                _ => return None,
            };
            let momentum = norm.momentum.map_or("None".to_owned(), |momentum| format!("{momentum:?}"));
            let affine = if norm.affine { "" } else { ", affine=False" };
            format!("nn.BatchNorm{dims}d({}, eps={:?}, momentum={momentum}{affine})", sizes[0], norm.eps)
        }
        Op::LayerNorm { sizes, eps, weight: true, bias } => {
            format!("nn.LayerNorm({sizes:?}, eps={eps:?}{})", without_bias(*bias))
        }
        Op::RmsNorm { sizes, eps, weight: true } => format!("nn.RMSNorm({sizes:?}, eps={eps:?})"),
        Op::GroupNorm { groups, eps, affine: true } => {
            format!("nn.GroupNorm({groups}, {}, eps={eps:?})", sizes[0])
        }
        Op::Prelu => format!("nn.PReLU({})", sizes[0]),
        Op::Recurrent(settings) => recurrent(settings, sizes),
        _ => return None,
    })
}

fn convolution(name: &str, conv: &Conv, inputs: usize, outputs: usize, sizes: &[usize]) -> String {
    let dims = conv.stride.len();
    let mut text = format!("nn.{name}{dims}d({inputs}, {outputs}, {}", tuple(&sizes[2..]));
    for (key, values, default) in [
        ("stride", &conv.stride, 1),
        ("padding", &conv.padding, 0),
        ("output_padding", &conv.output_padding, 0),
        ("dilation", &conv.dilation, 1),
    ] {
        if values.iter().any(|&value| value != default) {
            text.push_str(&format!(", {key}={}", tuple(values)));
        }
    }
    if conv.groups != 1 {
        text.push_str(&format!(", groups={}", conv.groups));
    }
    format!("{text}{})", without_bias(conv.bias))
}

fn recurrent(settings: &Recurrent, weight_ih: &[usize]) -> String {
    let class = match settings.cell {
        Cell::Lstm => "nn.LSTM",
        Cell::Gru => "nn.GRU",
        Cell::RnnTanh | Cell::RnnRelu => "nn.RNN",
    };
    let mut text = format!("{class}({}, {}", weight_ih[1], settings.hidden);
    if settings.layers != 1 {
        text.push_str(&format!(", num_layers={}", settings.layers));
    }
    if settings.cell == Cell::RnnRelu {
        text.push_str(", nonlinearity=\"relu\"");
    }
    if settings.batch_first {
        text.push_str(", batch_first=True");
    }
    if settings.dropout > 0.0 {
        text.push_str(&format!(", dropout={:?}", settings.dropout));
    }
    if settings.projection > 0 {
        text.push_str(&format!(", proj_size={}", settings.projection));
    }
    if settings.bidirectional {
        text.push_str(", bidirectional=True");
    }
    format!("{text}{})", without_bias(settings.bias))
}

fn without_bias(bias: bool) -> &'static str {
    if bias { "" } else { ", bias=False" }
}

fn tuple(values: &[usize]) -> String {
    if values.len() > 1 && values.iter().all(|value| *value == values[0]) {
        return values[0].to_string();
    }
    super::sizes_text(values)
}
