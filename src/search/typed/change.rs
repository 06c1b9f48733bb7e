//! Changes of what is there: a layer less, another number, another activation or pooling.
//!
//! Input: a source with its outline. Output: replacements and what they do, in words. The class count is left alone:
//! changing it would only be repaired. Limit: numbers that stand in a call as literals.

use crate::graph::Graph;
use crate::python::Span;
use crate::python::outline::{Argument, Call, Literal, Outline};

use super::EditKind;
use super::choose::Choose;
use super::insert::RATES;
use super::patch::{Patch, count, line_of, lines};

/// Activations without arguments: module and function.
pub(super) const ACTIVATIONS: [(&str, &str); 6] = [
    ("ReLU", "relu"),
    ("GELU", "gelu"),
    ("SiLU", "silu"),
    ("LeakyReLU", "leaky_relu"),
    ("ELU", "elu"),
    ("Hardswish", "hardswish"),
];

/// Poolings that take the same arguments.
const POOLINGS: [(&str, &str); 4] = [
    ("MaxPool2d", "AvgPool2d"),
    ("AdaptiveMaxPool2d", "AdaptiveAvgPool2d"),
    ("max_pool2d", "avg_pool2d"),
    ("adaptive_max_pool2d", "adaptive_avg_pool2d"),
];

/// Functions of `torch.nn.functional` that a network can do without.
const OPTIONAL: [&str; 5] = ["dropout", "max_pool2d", "avg_pool2d", "batch_norm", "layer_norm"];

type Change = Option<(Vec<Patch>, String)>;

/// Delete a layer: an item of a `Sequential`, or a call in `forward` with what it calls.
pub(super) fn delete(source: &str, graph: &Graph, outline: &Outline, choose: &mut dyn Choose) -> Change {
    let mut changes: Vec<(Vec<Patch>, String)> = Vec::new();
    for call in outline.calls.iter().filter(|call| call.name == "Sequential" && call.arguments.len() >= 2) {
        changes.extend((0..call.arguments.len()).map(|index| remove_item(source, call, index)));
    }
    let output = graph.eval.nodes[graph.eval.output.node as usize].origin.span;
    for statement in outline.forward.iter().filter_map(|statement| Some((statement, statement.value?))) {
        let (statement, value) = statement;
        for call in outline.calls_in(value).filter(|call| Some((call.span.start, call.span.end)) != output) {
            let Some(argument) = call.arguments.first().filter(|argument| argument.keyword.is_none()) else {
                continue;
            };
            let own = call.owner == "self" && call.arguments.len() == 1;
            let function = (call.owner == "F" || call.owner.ends_with("functional"))
                && (OPTIONAL.contains(&call.name.as_str()) || activation(&call.name).is_some());
            if !own && !function {
                continue;
            }
            let inner = argument.span.text(source);
            let mut patches = if call.span == value && statement.target.as_deref() == Some(inner) {
                vec![lines(source, statement.span)]
            } else {
                vec![Patch::replace(call.span, inner)]
            };
            patches.extend(own.then(|| forget(source, outline, &call.name)).flatten());
            let what = format!("{} at line {}", call.function.text(source), line(source, call.span));
            changes.push((patches, what));
        }
    }
    pick(changes, choose)
}

/// Another number of the kind.
pub(super) fn number(
    source: &str,
    graph: &Graph,
    outline: &Outline,
    kind: EditKind,
    choose: &mut dyn Choose,
) -> Change {
    let classes = graph
        .eval
        .fact(graph.eval.output)
        .shape
        .axis(-1)
        .and_then(|axis| graph.eval.fact(graph.eval.output).shape.0[axis].known());
    let heads = |call: &Call| call.name == "Linear";
    let last_head = outline.calls.iter().rfind(|call| heads(call)).map(|call| call.span);
    let mut sites: Vec<(usize, &Argument, Literal)> = Vec::new();
    for (index, call) in outline.calls.iter().enumerate() {
        for (position, argument) in call.arguments.iter().enumerate() {
            let Some(number) = argument.number else { continue };
            let is_class_count = Some(call.span) == last_head && literal_is(number, classes);
            if role(outline, call, position) == Some(kind) && !is_class_count {
                sites.push((index, argument, number));
            }
        }
    }
    if sites.is_empty() {
        return None;
    }
    let (index, argument, number) = sites[choose.below(sites.len())];
    let call = &outline.calls[index];
    let choices = choices(kind, number);
    let new = &choices[choose.below(choices.len().max(1))..].first()?.clone();
    let mut patches = vec![Patch::replace(argument.span, new.clone())];
    if kind == EditKind::Kernel {
        patches.extend(same_padding(call, number, new));
    }
    if kind == EditKind::Width && outline.classes.contains(&call.name) {
        patches.extend(followers(outline, index, argument));
        let follow = patches.iter_mut().skip(1);
        follow.for_each(|patch| patch.text.clone_from(new));
    }
    let old = argument.span.text(source);
    let what =
        format!("{old} to {new} in {} at line {}", call.function.text(source), line(source, call.span));
    Some((patches, what))
}

/// Another activation.
pub(super) fn swap_activation(source: &str, outline: &Outline, choose: &mut dyn Choose) -> Change {
    let sites: Vec<(&Call, usize)> =
        outline.calls.iter().filter_map(|call| Some((call, activation_call(call)?))).collect();
    if sites.is_empty() {
        return None;
    }
    let (call, old) = sites[choose.below(sites.len())];
    // One of the others.
    let new = (old + 1 + choose.below(ACTIVATIONS.len() - 1)) % ACTIVATIONS.len();
    let (class, function) = ACTIVATIONS[new];
    let owner = if call.owner.is_empty() { String::new() } else { format!("{}.", call.owner) };
    let text = if call.name.starts_with(char::is_uppercase) {
        format!("{owner}{class}()")
    } else {
        format!("{owner}{function}({})", call.arguments.first()?.span.text(source))
    };
    let name = if call.name.starts_with(char::is_uppercase) { class } else { function };
    let what = format!("{} to {name} at line {}", call.name, line(source, call.span));
    Some((vec![Patch::replace(call.span, text)], what))
}

/// Maximum for average, or the other way round.
pub(super) fn swap_pooling(source: &str, outline: &Outline, choose: &mut dyn Choose) -> Change {
    let other = |name: &str| {
        POOLINGS.iter().find_map(|&(a, b)| match name {
            _ if name == a => Some(b),
            _ if name == b => Some(a),
            _ => None,
        })
    };
    let changes = outline.calls.iter().filter_map(|call| {
        let new = other(&call.name)?;
        let owner = if call.owner.is_empty() { String::new() } else { format!("{}.", call.owner) };
        let what = format!("{} to {new} at line {}", call.name, line(source, call.span));
        Some((vec![Patch::replace(call.function, format!("{owner}{new}"))], what))
    });
    pick(changes.collect(), choose)
}

fn pick(mut changes: Vec<(Vec<Patch>, String)>, choose: &mut dyn Choose) -> Change {
    if changes.is_empty() {
        return None;
    }
    Some(changes.swap_remove(choose.below(changes.len())))
}

fn remove_item(source: &str, call: &Call, index: usize) -> (Vec<Patch>, String) {
    let item = call.arguments[index].span;
    let (start, end) = match (index, call.arguments.get(index + 1)) {
        (_, Some(next)) => (item.start, next.span.start),
        (0, None) => (item.start, item.end),
        (_, None) => (call.arguments[index - 1].span.end, item.end),
    };
    let what = format!("{} at line {}", item.text(source), line(source, item));
    (vec![Patch::replace(Span { start, end }, "")], what)
}

/// The removal of a layer's line of `__init__`, if nothing but one call uses it.
fn forget(source: &str, outline: &Outline, name: &str) -> Option<Patch> {
    let target = format!("self.{name}");
    if count(source, &target) != 2 {
        return None;
    }
    let statement = outline.init.iter().find(|statement| statement.target.as_ref() == Some(&target))?;
    Some(lines(source, statement.span))
}

/// What an argument's number means.
fn role(outline: &Outline, call: &Call, position: usize) -> Option<EditKind> {
    let argument = &call.arguments[position];
    let named = |place: usize, name: &str| {
        argument.keyword.as_deref().map_or(position == place, |keyword| keyword == name)
    };
    match call.name.as_str() {
        "Conv1d" | "Conv2d" if named(1, "out_channels") => Some(EditKind::Width),
        "Conv1d" | "Conv2d" if named(2, "kernel_size") => Some(EditKind::Kernel),
        "Conv1d" | "Conv2d" if named(3, "stride") => Some(EditKind::Stride),
        "Linear" if named(1, "out_features") => Some(EditKind::Width),
        "LSTM" | "GRU" | "RNN" if named(1, "hidden_size") => Some(EditKind::Width),
        "MaxPool2d" | "AvgPool2d" if named(0, "kernel_size") => Some(EditKind::Kernel),
        "Dropout" | "Dropout1d" | "Dropout2d" if named(0, "p") => Some(EditKind::Rate),
        "dropout" if named(1, "p") => Some(EditKind::Rate),
        name if outline.classes.iter().any(|class| class == name) => match argument.number? {
            _ if argument.keyword.as_deref() == Some("stride") => Some(EditKind::Stride),
            Literal::Int(width) if width >= 4 && position > 0 && argument.keyword.is_none() => {
                Some(EditKind::Width)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Other numbers that make sense there.
fn choices(kind: EditKind, number: Literal) -> Vec<String> {
    match (kind, number) {
        (EditKind::Width, Literal::Int(width)) if width < 4 => ["8", "16", "32"].map(str::to_owned).to_vec(),
        (EditKind::Width, Literal::Int(width)) => [width / 2, width * 3 / 4, width * 3 / 2, width * 2]
            .into_iter()
            .map(|new| if new > 8 { new / 4 * 4 } else { new.max(1) })
            .filter(|&new| new != width && new <= 2048)
            .map(|new| new.to_string())
            .collect(),
        (EditKind::Kernel, Literal::Int(kernel)) => {
            let sizes = if kernel == 2 { vec![3] } else { vec![1, 3, 5, 7] };
            sizes.into_iter().filter(|&size| size != kernel).map(|size| size.to_string()).collect()
        }
        (EditKind::Stride, Literal::Int(stride)) => vec![if stride == 1 { "2" } else { "1" }.to_owned()],
        (EditKind::Rate, rate) => {
            let now = match rate {
                Literal::Float(rate) => rate,
                Literal::Int(rate) => rate as f64,
            };
            RATES.iter().filter(|&&rate| (rate - now).abs() > 1e-9).map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

/// A padding that kept the size goes on keeping it.
fn same_padding(call: &Call, kernel: Literal, new: &str) -> Option<Patch> {
    let Literal::Int(kernel) = kernel else { return None };
    let new: i64 = new.parse().ok()?;
    let padding = call.arguments.iter().enumerate().find(|(position, argument)| {
        argument.keyword.as_deref().map_or(*position == 4, |keyword| keyword == "padding")
    });
    let (_, padding) = padding?;
    let same = padding.number == Some(Literal::Int(kernel / 2)) && call.name.starts_with("Conv");
    same.then(|| Patch::replace(padding.span, (new / 2).to_string()))
}

/// The input widths that follow the changed output width of a helper class: up to its next call, which takes it.
fn followers(outline: &Outline, index: usize, changed: &Argument) -> Vec<Patch> {
    let mut patches = Vec::new();
    for call in &outline.calls[index + 1..] {
        let Some(first) = call.arguments.first() else { continue };
        if first.number.is_some() && first.number == changed.number {
            patches.push(Patch::replace(first.span, ""));
        }
        if call.arguments.len() > 1 && first.number.is_some() {
            break;
        }
    }
    patches
}

fn literal_is(number: Literal, value: Option<usize>) -> bool {
    matches!((number, value), (Literal::Int(number), Some(value)) if usize::try_from(number) == Ok(value))
}

fn activation(name: &str) -> Option<usize> {
    ACTIVATIONS.iter().position(|&(class, function)| name == class || name == function)
}

/// Which activation a call is: a module without arguments that matter, or a function of one tensor.
fn activation_call(call: &Call) -> Option<usize> {
    let index = activation(&call.name)?;
    let class = call.name.starts_with(char::is_uppercase);
    let owner = if class {
        call.owner.ends_with("nn")
    } else {
        call.owner == "F" || call.owner.ends_with("functional")
    };
    (owner && (class || !call.arguments.is_empty())).then_some(index)
}

fn line(source: &str, span: Span) -> usize {
    line_of(source, span.start as usize)
}
