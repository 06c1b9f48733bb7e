//! A new layer at a gap: one that fits the shape there, and the call of it.
//!
//! Input: a gap and a kind of layer. Output: replacements. Limit: images, sequences and vectors (three, two and one
//! sizes per sample); nothing fits elsewhere.

use crate::graph::Graph;
use crate::python::outline::Outline;

use super::EditKind;
use super::change::ACTIVATIONS;
use super::choose::Choose;
use super::gaps::{Gap, Place, gaps};
use super::patch::{Patch, end_of_line, fresh, indentation, line_of};

/// Numbers of channels that a new convolution may have.
const CHANNELS: [usize; 7] = [8, 16, 24, 32, 48, 64, 128];
/// Numbers of features that a new linear layer may have.
const FEATURES: [usize; 6] = [32, 64, 96, 128, 192, 256];
/// Probabilities of a new dropout.
pub(super) const RATES: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.5];

/// Insert a layer of this kind at a random gap that it fits.
pub(super) fn layer(
    source: &str,
    graph: &Graph,
    outline: &Outline,
    kind: EditKind,
    choose: &mut dyn Choose,
) -> Option<(Vec<Patch>, String)> {
    let residual = kind == EditKind::InsertResidual;
    let fitting: Vec<Gap> = gaps(source, outline, graph)
        .into_iter()
        .filter(|gap| fits(kind, &gap.sizes) && (!residual || matches!(gap.place, Place::After { .. })))
        .collect();
    if fitting.is_empty() {
        return None;
    }
    let gap = &fitting[choose.below(fitting.len())];
    let (stem, text) = layer_text(kind, &gap.sizes, choose);
    let name = fresh(source, stem);
    let patches = wire(source, outline, gap, &name, &text, residual)?;
    let start = match &gap.place {
        Place::After { statement, .. } | Place::Around { statement, .. } => statement.start,
        Place::Item { item, .. } => item.start,
    };
    Some((patches, format!("{text} after line {}", line_of(source, start as usize))))
}

/// The layer `text` at a gap: in a `Sequential` as an item, else as `self.name`, with its call in `forward`.
pub(in crate::search) fn wire(
    source: &str,
    outline: &Outline,
    gap: &Gap,
    name: &str,
    text: &str,
    residual: bool,
) -> Option<Vec<Patch>> {
    let call = match &gap.place {
        Place::Item { item, indent } => {
            let separator = indent.as_ref().map_or_else(|| " ".to_owned(), |indent| format!("\n{indent}"));
            return Some(vec![Patch::insert(item.end as usize, format!(",{separator}{text}"))]);
        }
        Place::After { statement, variable, indent } => {
            let sum = if residual { format!("{variable} + ") } else { String::new() };
            Patch::insert(
                end_of_line(source, statement.end as usize),
                format!("\n{indent}{variable} = {sum}self.{name}({variable})"),
            )
        }
        Place::Around { call, .. } => Patch::replace(*call, format!("self.{name}({})", call.text(source))),
    };
    let (at, indent) = feeder(source, outline, gap)?;
    Some(vec![Patch::insert(at, format!("\n{indent}self.{name} = {text}")), call])
}

/// Where the new layer's line of `__init__` goes, and its indentation: after the layer that feeds the gap, else at
/// the end.
fn feeder(source: &str, outline: &Outline, gap: &Gap) -> Option<(usize, String)> {
    let span = match &gap.place {
        Place::After { statement, .. } => *statement,
        Place::Around { call, .. } => *call,
        Place::Item { .. } => return None,
    };
    let called: Vec<String> = outline
        .calls_in(span)
        .filter(|call| call.owner == "self")
        .map(|call| format!("self.{}", call.name))
        .collect();
    let feeds = |target: &Option<String>| target.as_ref().is_some_and(|target| called.contains(target));
    let statement =
        outline.init.iter().rfind(|statement| feeds(&statement.target)).or_else(|| outline.init.last())?;
    let indent = indentation(source, statement.span.start as usize)?;
    Some((end_of_line(source, statement.span.end as usize), indent.to_owned()))
}

/// Whether a layer of this kind takes one sample of this shape.
fn fits(kind: EditKind, sizes: &[usize]) -> bool {
    match (kind, sizes) {
        (EditKind::InsertConvolution, [_, _, _]) | (EditKind::InsertLinear, [_] | [_, _]) => true,
        (EditKind::InsertPooling, [_, height, width]) => *height.min(width) >= 2,
        (EditKind::InsertResidual, [_, _, _] | [_]) => true,
        (EditKind::InsertNormalisation, [_, _, _] | [_] | [_, _]) => true,
        (EditKind::InsertActivation | EditKind::InsertDropout, sizes) => !sizes.is_empty(),
        _ => false,
    }
}

/// The stem of its name, and its text.
fn layer_text(kind: EditKind, sizes: &[usize], choose: &mut dyn Choose) -> (&'static str, String) {
    let first = sizes.first().copied().unwrap_or(1);
    let last = sizes.last().copied().unwrap_or(1);
    match kind {
        EditKind::InsertConvolution => {
            let width = near(&CHANNELS, first, choose);
            let kernel = [1, 3, 3, 5][choose.below(4)];
            let padding = if kernel > 1 { format!(", padding={}", kernel / 2) } else { String::new() };
            ("conv", format!("nn.Conv2d({first}, {width}, kernel_size={kernel}{padding})"))
        }
        EditKind::InsertLinear => ("fc", format!("nn.Linear({last}, {})", near(&FEATURES, last, choose))),
        EditKind::InsertNormalisation => {
            let class = match sizes.len() {
                3 => "BatchNorm2d",
                1 => "BatchNorm1d",
                _ => return ("norm", format!("nn.LayerNorm({last})")),
            };
            ("bn", format!("nn.{class}({first})"))
        }
        EditKind::InsertActivation => {
            ("act", format!("nn.{}()", ACTIVATIONS[choose.below(ACTIVATIONS.len())].0))
        }
        EditKind::InsertDropout => ("drop", format!("nn.Dropout({})", RATES[choose.below(RATES.len())])),
        EditKind::InsertPooling => ("pool", format!("nn.{}Pool2d(2)", ["Max", "Avg"][choose.below(2)])),
        _ if sizes.len() == 3 => (
            "res",
            format!(
                "nn.Sequential(nn.Conv2d({first}, {first}, kernel_size=3, padding=1), nn.BatchNorm2d({first}), \
                 nn.ReLU())"
            ),
        ),
        _ => ("res", format!("nn.Sequential(nn.Linear({first}, {first}), nn.ReLU())")),
    }
}

/// One of `widths` from half to four times `width`, or the smallest ones where none is.
fn near(widths: &[usize], width: usize, choose: &mut dyn Choose) -> usize {
    let close: Vec<usize> =
        widths.iter().copied().filter(|&it| it * 2 >= width && it <= width.saturating_mul(4)).collect();
    match close.len() {
        0 if width > widths[0] => widths[widths.len() - 1 - choose.below(3)],
        0 => widths[choose.below(2)],
        count => close[choose.below(count)],
    }
}
