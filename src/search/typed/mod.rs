//! Typed edits: a source and its graph to a changed source, drawn at random, without an LLM.
//!
//! Input: a network's source, its traced graph, the kind of edit and a random stream. Output: the edited source,
//! still readable PyTorch, and what was done in words; widths that no longer fit are left to the front-end's
//! repairs. What is inserted is chosen by the shape that was traced at that gap (*rank-aware wiring*). Limit: edits
//! are made in the network's own class and in the literals of its helpers.

mod change;
mod choose;
mod gaps;
mod insert;
mod patch;

use std::collections::BTreeSet;

use crate::graph::Graph;
use crate::python::outline::Outline;
use crate::rng::Stream;

use super::source::CLASS;
use choose::{Choose, Every};

pub(super) use gaps::{Place, gaps};
pub(super) use insert::wire;
pub(super) use patch::{apply, count, end_of_line, fresh, indentation};

/// A source of more edits than this is not listed whole.
const MOST: usize = 4096;

/// A kind of edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EditKind {
    /// A new convolution.
    InsertConvolution,
    /// A new linear layer.
    InsertLinear,
    /// A new normalisation.
    InsertNormalisation,
    /// A new activation.
    InsertActivation,
    /// A new dropout.
    InsertDropout,
    /// A new pooling.
    InsertPooling,
    /// A new residual block.
    InsertResidual,
    /// One layer less.
    Delete,
    /// Another number of channels or features.
    Width,
    /// Another kernel size.
    Kernel,
    /// Another stride.
    Stride,
    /// Another dropout probability.
    Rate,
    /// Another activation.
    SwapActivation,
    /// Another kind of pooling.
    SwapPooling,
}

/// All kinds, with the words that the file of prompts has for them.
pub const EDITS: [(&str, EditKind); 14] = [
    ("insert convolution", EditKind::InsertConvolution),
    ("insert linear", EditKind::InsertLinear),
    ("insert normalisation", EditKind::InsertNormalisation),
    ("insert activation", EditKind::InsertActivation),
    ("insert dropout", EditKind::InsertDropout),
    ("insert pooling", EditKind::InsertPooling),
    ("insert residual", EditKind::InsertResidual),
    ("delete", EditKind::Delete),
    ("width", EditKind::Width),
    ("kernel", EditKind::Kernel),
    ("stride", EditKind::Stride),
    ("rate", EditKind::Rate),
    ("swap activation", EditKind::SwapActivation),
    ("swap pooling", EditKind::SwapPooling),
];

impl EditKind {
    /// The kind that these words of the file of prompts stand for.
    pub fn from_words(words: &str) -> Option<EditKind> {
        EDITS.iter().find(|(name, _)| *name == words.trim()).map(|&(_, kind)| kind)
    }

    /// Its words.
    pub fn words(self) -> &'static str {
        EDITS.iter().find(|(_, kind)| *kind == self).map_or("", |&(name, _)| name)
    }
}

/// An edited source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub source: String,
    /// What was done, in words.
    pub what: String,
}

/// `source`, whose graph is `graph`, with one edit of this kind; `None` where there is no place for one.
pub fn edit(source: &str, graph: &Graph, kind: EditKind, stream: &mut Stream) -> Option<Edited> {
    let outline = Outline::of(source, CLASS).ok().flatten()?;
    one(source, graph, &outline, kind, stream)
}

/// Every edit of these kinds, each text once, by kind, then in the order of the text.
pub fn edits(source: &str, graph: &Graph, kinds: &[EditKind]) -> Vec<Edited> {
    let Some(outline) = Outline::of(source, CLASS).ok().flatten() else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for &kind in kinds {
        let mut every = Every::default();
        loop {
            let edited = one(source, graph, &outline, kind, &mut every);
            found.extend(edited.filter(|edited| seen.insert(edited.source.clone())));
            if found.len() >= MOST || !every.advance() {
                break;
            }
        }
    }
    found
}

fn one(
    source: &str,
    graph: &Graph,
    outline: &Outline,
    kind: EditKind,
    choose: &mut dyn Choose,
) -> Option<Edited> {
    let (patches, what) = match kind {
        EditKind::Delete => change::delete(source, graph, outline, choose),
        EditKind::Width | EditKind::Kernel | EditKind::Stride | EditKind::Rate => {
            change::number(source, graph, outline, kind, choose)
        }
        EditKind::SwapActivation => change::swap_activation(source, outline, choose),
        EditKind::SwapPooling => change::swap_pooling(source, outline, choose),
        _ => insert::layer(source, graph, outline, kind, choose),
    }?;
    Some(Edited { source: apply(source, patches)?, what: format!("{}: {what}", kind.words()) })
}

#[cfg(test)]
pub(in crate::search) mod tests;
