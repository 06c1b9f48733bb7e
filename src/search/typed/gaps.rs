//! Where a layer fits: the places of a source between two operations, with the shape that was traced there.
//!
//! Input: a source, its outline and its graph. Output: [`Gap`]s in the order of the text. A place whose tensor is
//! the network's output is none: what follows the scores would only scramble them. Limit: one place, one shape; a
//! `Sequential` that is called twice counts with its last call.

use crate::graph::{Graph, TensorRef};
use crate::python::Span;
use crate::python::outline::Outline;

use super::patch::indentation;

/// A place for a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::search) struct Gap {
    pub(in crate::search) place: Place,
    /// The shape of one sample there, such as (channels, height, width).
    pub(in crate::search) sizes: Vec<usize>,
}

/// Where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::search) enum Place {
    /// After a statement of `forward` that assigns `variable`.
    After { statement: Span, variable: String, indent: String },
    /// Around a call inside an expression of `forward`.
    Around { call: Span, statement: Span },
    /// After an item of a `Sequential`; `indent` if the item has a line of its own.
    Item { item: Span, indent: Option<String> },
}

/// All places, in the order of the text.
pub(in crate::search) fn gaps(source: &str, outline: &Outline, graph: &Graph) -> Vec<Gap> {
    let mut gaps = items(source, outline, graph);
    let body = &graph.eval;
    for statement in &outline.forward {
        let (Some(variable), Some(value)) = (&statement.target, statement.value) else { continue };
        if variable.contains('.') {
            continue;
        }
        let within = |span: (u32, u32)| value.start <= span.0 && span.1 <= value.end;
        let last = last_node(graph, |_, span| span.is_some_and(within));
        if let (Some(sizes), Some(indent)) =
            (last.and_then(|at| sizes(graph, at)), indentation(source, statement.span.start as usize))
        {
            gaps.push(Gap {
                place: Place::After {
                    statement: statement.span,
                    variable: variable.clone(),
                    indent: indent.to_owned(),
                },
                sizes,
            });
        }
        for call in outline.calls_in(value).filter(|call| call.span != value) {
            // `x.size(0)` is a call too, but no tensor comes out of it.
            let exact = Some((call.span.start, call.span.end));
            let sizes = last_node(graph, |_, span| span == exact).and_then(|at| sizes(graph, at));
            if let Some(sizes) = sizes {
                gaps.push(Gap { place: Place::Around { call: call.span, statement: statement.span }, sizes });
            }
        }
    }
    debug_assert!((body.output.node as usize) < body.nodes.len());
    gaps
}

fn items(source: &str, outline: &Outline, graph: &Graph) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for statement in &outline.init {
        let (Some(target), Some(value)) = (&statement.target, statement.value) else { continue };
        let (Some(name), Some(call)) = (target.strip_prefix("self."), outline.call_at(value)) else {
            continue;
        };
        if call.name != "Sequential" {
            continue;
        }
        for (index, item) in call.arguments.iter().enumerate().filter(|(_, item)| item.keyword.is_none()) {
            let path = format!("{name}.{index}");
            let inside =
                |at: &str| at == path || at.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
            let last = last_node(graph, |node, _| inside(node));
            if let Some(sizes) = last.and_then(|at| sizes(graph, at)) {
                let indent = indentation(source, item.span.start as usize).map(str::to_owned);
                gaps.push(Gap { place: Place::Item { item: item.span, indent }, sizes });
            }
        }
    }
    gaps
}

/// The last operation whose path and place fit.
fn last_node(graph: &Graph, fits: impl Fn(&str, Option<(u32, u32)>) -> bool) -> Option<usize> {
    graph.eval.nodes.iter().rposition(|node| fits(&node.origin.path, node.origin.span))
}

/// The sizes of one sample of an operation's first output, unless it is the network's.
fn sizes(graph: &Graph, node: usize) -> Option<Vec<usize>> {
    let tensor = TensorRef { node: u32::try_from(node).ok()?, output: 0 };
    if tensor == graph.eval.output {
        return None;
    }
    let (batch, rest) = graph.eval.nodes[node].outputs.first()?.shape.0.split_first()?;
    if !batch.depends_on_batch() {
        return None;
    }
    rest.iter().map(|dim| dim.known()).collect()
}
