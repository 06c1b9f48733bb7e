//! First values that a constructor computes, such as `torch.exp(torch.rand(8))`.
//!
//! Input: a tensor of a constructor's scratch pass. Output: its first values as a graph of their own, whose parameters
//! are the random tensors that it starts from. Limit: what cannot be told apart from another draw of the same numbers
//! (two changed forms of one random tensor) is refused, and so is what a layer in training mode would change.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::graph::op::Distribution;
use crate::graph::{Builder, DType, Init, Node, Op, Origin, ParamId, ParamKind, Shape, TensorRef, canonical};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Interp, Mode};
use crate::lower::torch::creation;
use crate::lower::value::{Draw, Tensor, TensorState};

/// Most operations behind first values.
const MAX_OPERATIONS: usize = 1_000;
/// Multiply-accumulate operations behind first values that count as one step of the source.
const MACS_PER_STEP: u64 = 1_000_000;
/// Most tensors of constructors that are kept for a forward pass.
const MAX_KEPT: usize = 256;

/// What an operand of a constructor's scratch pass starts as.
pub(crate) struct Start {
    pub(crate) sizes: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) init: Init,
    pub(crate) draw: Draw,
}

/// A tensor just made whose first values are drawn, as an operand: the same one as long as it is not changed.
pub(crate) fn operand(this: &mut Interp<'_>, tensor: &Tensor, start: Start) -> R<TensorRef> {
    let version = tensor.version.get();
    let made = tensor.operand.get().filter(|(node, seen)| {
        let same = |old: &Start| (&old.sizes, &old.init) == (&start.sizes, &start.init);
        *seen == version && this.starts.get(node).is_some_and(same)
    });
    let dtype = start.dtype;
    let node = match made {
        Some((node, _)) => node,
        None => {
            let (shape, distribution) = (Shape::fixed(&start.sizes), Distribution::Uniform);
            let node = this.append(Op::Random { shape, distribution }, &[])?.node;
            this.starts.insert(node, Start { dtype: DType::F32, ..start });
            tensor.operand.set(Some((node, version)));
            node
        }
    };
    let drawn = TensorRef { node, output: 0 };
    let made_as = this.builder.fact(drawn).dtype;
    if dtype == made_as { Ok(drawn) } else { this.append(Op::Cast(dtype), &[drawn]) }
}

/// Notes how a parameter starts at the time that a constructor computes with it.
pub(crate) fn note(this: &mut Interp<'_>, id: ParamId, operand: TensorRef) -> R<()> {
    if this.mode != Mode::Building || this.starts.contains_key(&operand.node) {
        return Ok(());
    }
    let param = this.builder.param(id);
    let start =
        Start { sizes: param.sizes.clone(), dtype: param.dtype, init: param.init.clone(), draw: None };
    this.tick(length(&start.init))?;
    this.starts.insert(operand.node, start);
    Ok(())
}

/// Sizes, type and first values of what a constructor computed.
pub(crate) fn initial(this: &mut Interp<'_>, tensor: TensorRef) -> R<(Vec<usize>, DType, Init)> {
    let fact = this.builder.fact(tensor).clone();
    let Some(sizes) = fact.shape.known() else {
        return Err(Raise::unsupported("first values whose sizes depend on the batch are not supported"));
    };
    let live = live(this, tensor)?;
    apart(this, &live)?;
    let mut recipe = Builder::new(this.limits.graph);
    let mut places: BTreeMap<u32, TensorRef> = BTreeMap::new();
    for index in live {
        if this.starts.contains_key(&index) {
            continue;
        }
        let cost = cost(this.builder.node(TensorRef { node: index, output: 0 }));
        this.tick(cost)?;
        let node = this.builder.node(TensorRef { node: index, output: 0 }).clone();
        let mut inputs = Vec::new();
        for input in &node.inputs {
            inputs.push(placed(this, &mut recipe, &mut places, *input)?);
        }
        let place = match node.op {
            // There is no gradient here.
            Op::Detach => inputs[0],
            op if is_fixed(&op) => recipe.append(op, &inputs, Origin::default())?,
            op => {
                return Err(Raise::unsupported(format!(
                    "first values computed by {} are not supported",
                    op.name()
                )));
            }
        };
        places.insert(index, place);
    }
    let output = placed(this, &mut recipe, &mut places, tensor)?;
    within(recipe.node_count() as usize)?;
    // Each tensor that starts so is computed for itself, whenever a network is made.
    this.tick(usize::try_from(recipe.macs() / MACS_PER_STEP).unwrap_or(usize::MAX))?;
    let body = recipe.finish_body(output);
    let graph = recipe.finish(body, None, &[], &[]);
    let rearranged = graph.eval.nodes.iter().all(|node| rearranges(&node.op));
    Ok(match &graph.params[..] {
        [param] if graph.eval.nodes.len() == 1 || (rearranged && param.init.is_elementwise()) => {
            (sizes, fact.dtype, param.init.clone())
        }
        _ => (sizes, fact.dtype, Init::Computed(Arc::new(graph))),
    })
}

/// Gives what a constructor computed, and still holds, first values of its own: a forward pass may use it. What has
/// none stays as it is, to be refused there.
pub(crate) fn keep(this: &mut Interp<'_>) {
    let current = this.body;
    let held = std::mem::take(&mut this.made).into_iter().filter_map(|made| made.upgrade());
    let is_computed = |tensor: &Rc<Tensor>| match &*tensor.state.borrow() {
        TensorState::Node { body, .. } => *body == current,
        _ => false,
    };
    for tensor in held.filter(is_computed).take(MAX_KEPT) {
        if let Ok((sizes, dtype, init)) = creation::initial(this, &tensor) {
            *tensor.state.borrow_mut() = TensorState::Known { sizes, dtype, init, draw: None };
        }
    }
}

/// Whether a tensor is computed of the random first values of a parameter.
pub(crate) fn is_drawn_of(this: &mut Interp<'_>, tensor: TensorRef, id: ParamId) -> R<bool> {
    let live = live(this, tensor)?;
    let is = |node: &u32| this.builder.node(TensorRef { node: *node, output: 0 }).op == Op::Param(id);
    Ok(live.iter().any(is) && this.builder.param(id).init.is_drawn())
}

/// The operations that lead to a tensor, in order, down to what has first values.
fn live(this: &mut Interp<'_>, tensor: TensorRef) -> R<BTreeSet<u32>> {
    let mut live = BTreeSet::new();
    let mut stack = vec![tensor.node];
    while let Some(node) = stack.pop() {
        if !live.insert(node) || this.starts.contains_key(&node) {
            continue;
        }
        within(live.len())?;
        stack.extend(this.builder.node(TensorRef { node, output: 0 }).inputs.iter().map(|input| input.node));
    }
    this.tick(live.len())?;
    Ok(live)
}

fn within(operations: usize) -> R<()> {
    if operations <= MAX_OPERATIONS {
        return Ok(());
    }
    Err(Raise::limit(format!("operations behind first values: more than the limit of {MAX_OPERATIONS}")))
}

/// Whether the random tensors among these are draws of their own.
fn apart(this: &Interp<'_>, live: &BTreeSet<u32>) -> R<()> {
    let drawn: Vec<&Start> =
        live.iter().filter_map(|node| this.starts.get(node)).filter(|start| start.init.is_drawn()).collect();
    let own = |at: usize| match &drawn[at].draw {
        None => false,
        Some(draw) => {
            drawn[..at].iter().all(|other| other.draw.as_ref().is_some_and(|o| !Rc::ptr_eq(o, draw)))
        }
    };
    if drawn.len() < 2 || (0..drawn.len()).all(own) {
        return Ok(());
    }
    Err(Raise::unsupported("first values computed from several forms of one random tensor are not supported"))
}

/// A tensor of the scratch pass as one of the recipe; what it starts from is declared at its first use.
fn placed(
    this: &mut Interp<'_>,
    recipe: &mut Builder,
    places: &mut BTreeMap<u32, TensorRef>,
    tensor: TensorRef,
) -> R<TensorRef> {
    if let Some(place) = places.get(&tensor.node) {
        return Ok(TensorRef { node: place.node, output: place.output + tensor.output });
    }
    let cost = match this.starts.get(&tensor.node).map(|start| &start.init) {
        Some(Init::Computed(inner)) => {
            inner.eval.nodes.iter().map(cost).chain(inner.params.iter().map(|p| length(&p.init))).sum()
        }
        Some(init) => length(init),
        None => 0,
    };
    this.tick(cost)?;
    let Some(start) = this.starts.get(&tensor.node) else {
        return Err(Raise::unsupported("these computed first values are not supported"));
    };
    let declare = |recipe: &mut Builder, sizes: &[usize], dtype, init: &Init| -> R<TensorRef> {
        let id = recipe.declare(sizes.to_vec(), dtype, ParamKind::Unsaved, init.clone())?;
        Ok(recipe.tensor(id))
    };
    let place = match &start.init {
        // Computed of what was computed: one graph.
        Init::Computed(inner) => {
            let mut at: Vec<TensorRef> = Vec::new();
            for node in &inner.eval.nodes {
                let inputs: Vec<TensorRef> = node
                    .inputs
                    .iter()
                    .map(|input| TensorRef { output: input.output, ..at[input.node as usize] })
                    .collect();
                at.push(match &node.op {
                    Op::Param(id) => {
                        let param = inner.param(*id);
                        declare(recipe, &param.sizes, param.dtype, &param.init)?
                    }
                    op => recipe.append(op.clone(), &inputs, Origin::default())?,
                });
            }
            let output = inner.eval.output;
            TensorRef { output: output.output, ..at[output.node as usize] }
        }
        init if init.is_computed() => {
            return Err(Raise::unsupported(
                "first values computed from others that are computed in part are not supported",
            ));
        }
        init => declare(recipe, &start.sizes, start.dtype, init)?,
    };
    places.insert(tensor.node, place);
    Ok(place)
}

/// The steps that a copy of first values takes.
fn length(init: &Init) -> usize {
    match init {
        Init::Values(values) => 1 + values.len() / 8,
        _ => 1,
    }
}

/// The steps that a copy of an operation takes.
fn cost(node: &Node) -> usize {
    match &node.op {
        Op::Literal { values, .. } => 4 + values.len() / 8,
        _ => 4,
    }
}

/// Whether an operation has one result for its operands, whenever it runs.
fn is_fixed(op: &Op) -> bool {
    !canonical::is_random(op, true) && !matches!(op, Op::Input | Op::Param(_) | Op::BatchNorm(_))
}

/// Whether an operation puts each of its operand's elements, or some of them, in a place of its own.
fn rearranges(op: &Op) -> bool {
    matches!(
        op,
        Op::Param(_)
            | Op::Reshape { .. }
            | Op::Permute { .. }
            | Op::Unsqueeze { .. }
            | Op::Squeeze { .. }
            | Op::Slice { .. }
            | Op::Select { .. }
            | Op::Flip { .. }
    )
}
