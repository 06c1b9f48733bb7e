//! What autograd keeps of a forward pass for the backward pass, and changes in place that it refuses for it.
//!
//! Input: the operations of a pass and its changes in place. Output: PyTorch's error where the change itself raises, or
//! where `backward` would, since a kept tensor is not the same any more. What is kept is said by PyTorch's
//! `derivatives.yaml`; `tests/in_place.rs` asks PyTorch. Limit: what attention and recurrent layers keep depends on the
//! machine, so they count as keeping nothing, and so does what this program composes of other operations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use crate::graph::op::{Binary, PadMode, Reduction, Unary};
use crate::graph::{Node, Op, ParamKind, TensorRef};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Interp, Mode};
use crate::lower::torch::strides;
use crate::lower::value::{Tensor, TensorState, Value};
use crate::python::Span;

/// Views looked through at most.
const DEPTH: usize = 64;

/// What the current pass did in place.
#[derive(Debug, Default)]
pub(crate) struct InPlace {
    /// The expression or statement of the main source that is being run.
    pub(crate) here: Option<Span>,
    /// The first operation of the change that is being made, where it is several.
    pub(crate) since: Option<u32>,
    changes: Vec<Change>,
    /// Operations that stand for one of PyTorch's that keeps what it keeps, not what they would.
    composed: BTreeSet<u32>,
    /// Memory that one tensor is computed into and others are copies of: whose was changed is not known.
    cloned: BTreeSet<TensorRef>,
    /// Views that `chunk`, `split` and `unbind` gave together.
    several: BTreeSet<TensorRef>,
    /// Results that were written over a part of a tensor, and what that is since.
    inside: BTreeMap<TensorRef, TensorRef>,
    /// Whether the first operations have a gradient.
    requires: Vec<bool>,
}

/// A change in place.
#[derive(Debug)]
struct Change {
    /// The tensor whose memory it wrote.
    memory: TensorRef,
    /// Operations there were before it was written.
    before: u32,
    /// Those of them that computed what was written.
    writer: Range<u32>,
    span: Option<Span>,
}

/// Nothing has been done in place yet.
pub(crate) fn start(this: &mut Interp<'_>) {
    this.in_place = InPlace::default();
}

/// Note an operation that a function or layer of this program's library made.
pub(crate) fn composed(this: &mut Interp<'_>, tensor: TensorRef) {
    this.in_place.composed.insert(tensor.node);
}

/// Note that an operation is PyTorch's own, although the library asked for it.
pub(crate) fn own(this: &mut Interp<'_>, tensor: TensorRef) {
    this.in_place.composed.remove(&tensor.node);
}

/// Note that another tensor has a copy of this one.
pub(crate) fn cloned(this: &mut Interp<'_>, tensor: &Tensor) {
    if let TensorState::Node { tensor, .. } = *tensor.state.borrow() {
        let memory = this.memory(tensor);
        this.in_place.cloned.insert(memory);
    }
}

/// Note that `source`, computed from a part that was `old` in place of it, now lies in `base`.
pub(crate) fn written_into(this: &mut Interp<'_>, base: &Tensor, old: &TensorState, source: &Tensor) {
    if let (
        &TensorState::Node { tensor: base, .. },
        &TensorState::Node { tensor: old, .. },
        &TensorState::Node { tensor: source, .. },
    ) = (&*base.state.borrow(), old, &*source.state.borrow())
        && is_target(this.builder.node(source), old)
    {
        this.in_place.inside.insert(source, base);
    }
}

/// Note a view that was given together with others.
pub(crate) fn one_more(this: &mut Interp<'_>, view: &Value) {
    if let Value::Tensor(view) = view
        && let TensorState::Node { tensor, .. } = *view.state.borrow()
    {
        this.in_place.several.insert(tensor);
    }
}

/// Make a change whose operations begin at `since`.
pub(crate) fn changing<T>(
    this: &mut Interp<'_>,
    since: u32,
    change: impl FnOnce(&mut Interp<'_>) -> R<T>,
) -> R<T> {
    let outer = this.in_place.since.replace(since);
    let result = change(this);
    this.in_place.since = outer;
    result
}

/// Whether a change in place changes nothing: a dropout that drops nothing.
pub(crate) fn gives_back(this: &Interp<'_>, target: &Tensor, source: &Tensor) -> bool {
    let Some((old, new)) = both(this, target, source) else { return false };
    matches!(this.builder.node(new).op, Op::Dropout { .. }) && this.viewed_of(new) == Some(old)
}

/// Two tensors that this pass has computed.
fn both(this: &Interp<'_>, target: &Tensor, source: &Tensor) -> Option<(TensorRef, TensorRef)> {
    match (&*target.state.borrow(), &*source.state.borrow()) {
        (&TensorState::Node { tensor: old, body }, &TensorState::Node { tensor: new, body: second })
            if body == this.body && second == body && matches!(this.mode, Mode::Tracing { .. }) =>
        {
            Some((old, new))
        }
        _ => None,
    }
}

/// Note that `target` is about to become what `source` is, or say why PyTorch would not let it.
pub(crate) fn change(this: &mut Interp<'_>, target: &Rc<Tensor>, source: &Rc<Tensor>) -> R<()> {
    let Some((old, new)) = both(this, target, source) else { return Ok(()) };
    if target.copied.get() {
        return Ok(());
    }
    if strides::overlaps(this, old) {
        let raise = Raise::runtime(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory \
             location. Please clone() the tensor before performing the operation.",
        );
        return Err(raise.with_hint(Hint::InPlace));
    }
    if this.no_grad && requires_grad(this, old) {
        return Err(Raise::unsupported(
            "a change in place under torch.no_grad() of a tensor that has a gradient is not supported",
        ));
    }
    if !this.no_grad && one_of_several(this, old) && requires_grad(this, new) {
        let raise = Raise::runtime(
            "a view is being modified inplace. This view is the output of a function that returns multiple views. \
             Such functions do not allow the output views to be modified inplace. You should replace the inplace \
             operation by an out-of-place one.",
        );
        return Err(raise.with_hint(Hint::InPlace));
    }
    let count = this.builder.node_count();
    note(this, old, this.in_place.since.map_or(new.node..new.node + 1, |since| since..count));
    Ok(())
}

/// Note that `target` gets another shape in place, which counts as a change of it (`x.unsqueeze_(0)`).
pub(crate) fn reshaped(this: &mut Interp<'_>, target: &Rc<Tensor>) {
    if let Some((old, _)) = both(this, target, target) {
        let count = this.builder.node_count();
        note(this, old, count..count);
    }
}

fn note(this: &mut Interp<'_>, old: TensorRef, writer: Range<u32>) {
    if let Some(memory) = lies_in(this, old) {
        let before = this.builder.node_count();
        this.in_place.changes.push(Change { memory, before, writer, span: this.in_place.here });
    }
}

/// Whether what was kept for the backward pass of `output` is still as it was.
pub(crate) fn check(this: &mut Interp<'_>, output: TensorRef) -> R<()> {
    let changes = std::mem::take(&mut this.in_place.changes);
    if changes.is_empty() || !requires_grad(this, output) {
        return Ok(());
    }
    let writers: BTreeSet<u32> = changes.iter().flat_map(|change| change.writer.clone()).collect();
    // The operations that the gradient passes, by the memory of what they keep.
    let mut keepers: BTreeMap<TensorRef, Vec<u32>> = BTreeMap::new();
    let mut seen = BTreeSet::from([output.node]);
    let mut waiting = vec![output];
    while let Some(tensor) = waiting.pop() {
        this.tick(1)?;
        let node = this.builder.node(tensor).clone();
        if !this.in_place.composed.contains(&tensor.node) {
            for kept in keeps(this, tensor, &node, writers.contains(&tensor.node)) {
                if let Some(memory) = lies_in(this, kept) {
                    keepers.entry(memory).or_default().push(tensor.node);
                }
            }
        }
        for &input in &node.inputs {
            if requires_grad(this, input) && seen.insert(input.node) {
                waiting.push(input);
            }
        }
    }
    for change in changes {
        let before = |node: &u32| *node < change.before && !change.writer.contains(node);
        if keepers.get(&change.memory).is_some_and(|nodes| nodes.iter().any(before)) {
            let mut raise = Raise::runtime(
                "one of the variables needed for gradient computation has been modified by an inplace operation",
            );
            raise.span = change.span;
            return Err(raise.with_hint(Hint::InPlace));
        }
    }
    Ok(())
}

/// Whether a tensor has a gradient.
fn requires_grad(this: &mut Interp<'_>, tensor: TensorRef) -> bool {
    while this.in_place.requires.len() <= tensor.node as usize {
        let next = u32::try_from(this.in_place.requires.len()).unwrap_or(tensor.node);
        let node = this.builder.node(TensorRef { node: next, output: 0 });
        let of = |input: &TensorRef| {
            this.in_place.requires[input.node as usize] && this.builder.fact(*input).dtype.is_floating()
        };
        let requires = match node.op {
            Op::Param(id) => this.builder.param(id).kind == ParamKind::Trained,
            Op::Detach => false,
            _ => node.inputs.iter().any(of),
        };
        this.in_place.requires.push(requires);
    }
    this.in_place.requires[tensor.node as usize] && this.builder.fact(tensor).dtype.is_floating()
}

/// Whether a tensor is, or shows a part of, one of several views that one call gave.
fn one_of_several(this: &Interp<'_>, tensor: TensorRef) -> bool {
    let mut views = std::iter::successors(Some(tensor), |&tensor| this.viewed_of(tensor)).take(DEPTH);
    views.any(|view| this.in_place.several.contains(&view))
}

/// The tensor in whose memory this one lies, where that is certain.
fn lies_in(this: &Interp<'_>, tensor: TensorRef) -> Option<TensorRef> {
    let mut at = tensor;
    for _ in 0..DEPTH {
        if let Some(&base) = this.in_place.inside.get(&at) {
            at = base;
            continue;
        }
        // `contiguous` may have copied it under the same name.
        if this.contiguous.contains(&at) {
            return None;
        }
        let copied = match &this.builder.node(at).op {
            Op::Reshape { shape } => !strides::shows(this, this.builder.node(at).inputs[0], shape)?,
            _ => false,
        };
        match this.viewed_of(at) {
            Some(base) if !copied => at = base,
            _ => return (!this.in_place.cloned.contains(&this.memory(at))).then_some(at),
        }
    }
    None
}

/// The tensors that an operation keeps for its backward pass. An operation in place keeps its input as a copy.
fn keeps(this: &mut Interp<'_>, tensor: TensorRef, node: &Node, in_place: bool) -> Vec<TensorRef> {
    let input = |at: usize| node.inputs.get(at).copied();
    let result = Some(tensor);
    let mut has = |at: usize| node.inputs.get(at).is_some_and(|&input| requires_grad(this, input));
    let kept = match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Prelu | Op::GridSample { .. } => vec![input(0), input(1)],
        Op::Linear { .. } | Op::MatMul | Op::Binary(Binary::Mul) => {
            let (first, second) = (has(0), has(1));
            vec![input(0).filter(|_| second), input(1).filter(|_| first)]
        }
        Op::Binary(Binary::Div) => {
            let second = has(1);
            vec![input(0).filter(|_| second), input(1)]
        }
        Op::Binary(Binary::Pow) => vec![input(0), input(1), result],
        Op::Binary(Binary::Maximum | Binary::Minimum | Binary::Atan2) => vec![input(0), input(1)],
        Op::Scalar { op: Binary::Pow, reversed, .. } => vec![input(0), result.filter(|_| *reversed)],
        Op::Unary(unary) => match unary {
            Unary::Relu
            | Unary::Sigmoid
            | Unary::Tanh
            | Unary::Tan
            | Unary::Exp
            | Unary::Expm1
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Reciprocal => vec![result],
            Unary::LeakyRelu { .. }
            | Unary::Rrelu { .. }
            | Unary::Elu { .. }
            | Unary::Celu { .. }
            | Unary::Selu
                if in_place =>
            {
                vec![result]
            }
            Unary::Neg
            | Unary::Sign
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::Trunc
            | Unary::LogicalNot
            | Unary::Tanhshrink => vec![],
            _ => vec![input(0)],
        },
        Op::Softmax { .. } | Op::LogSoftmax { .. } => vec![result],
        Op::BatchNorm(_)
        | Op::InstanceNorm { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::GroupNorm { .. }
        | Op::LocalResponseNorm { .. }
        | Op::Normalize { .. }
        | Op::Glu { .. }
        | Op::MaxPool(_)
        | Op::AvgPool { .. }
        | Op::LpPool { .. }
        | Op::AdaptiveMaxPool { .. }
        | Op::FractionalMaxPool { .. }
        | Op::Gather { .. } => vec![input(0)],
        // To a single place it is a mean.
        Op::AdaptiveAvgPool { sizes } => vec![input(0).filter(|_| sizes.iter().any(|&size| size != 1))],
        Op::Pad { mode: PadMode::Reflect | PadMode::Replicate, .. } => vec![input(0)],
        Op::Reduce { op: Reduction::Var { .. }, .. } => vec![input(0)],
        Op::Reduce {
            op: Reduction::Prod | Reduction::LogSumExp | Reduction::Std { .. } | Reduction::Norm { .. },
            ..
        }
        | Op::CumProd { .. } => vec![input(0), result],
        _ => vec![],
    };
    // What these have to make contiguous, or into one batch of matrices, they keep as a copy.
    let whole = |kept: TensorRef| match &node.op {
        Op::InstanceNorm { .. } | Op::RmsNorm { .. } | Op::GroupNorm { .. } => strides::packed(this, kept),
        Op::Linear { .. } => strides::joins(this, kept, 1),
        Op::MatMul => {
            let lead = |at: usize| {
                let shape = &this.builder.fact(node.inputs[at]).shape.0;
                shape[..shape.len().saturating_sub(2)].to_vec()
            };
            strides::joins(this, kept, 2) && (lead(0) == lead(1) || lead(0).is_empty() || lead(1).is_empty())
        }
        _ => true,
    };
    let as_it_is =
        |kept: &TensorRef| whole(*kept) && (!in_place || *kept == tensor || !is_target(node, *kept));
    kept.into_iter().flatten().filter(as_it_is).collect()
}

/// Whether a tensor is what an operation in place changes: its first operand.
fn is_target(node: &Node, tensor: TensorRef) -> bool {
    node.inputs.first() == Some(&tensor)
}
