//! Runs a network's operations on tensors: parameters and a batch in, logits out.
//!
//! Semantics are PyTorch's (the operations of [`crate::graph::Op`] are named after its functions). A result
//! is freed after its last use, unless the gradient needs it. One limit: where PyTorch would update running
//! statistics in evaluation (`F.batch_norm(training=True)`), this does not: evaluation changes nothing.

mod layers;
mod layout;
mod pointwise;
mod recurrent;
mod reduce;
#[cfg(test)]
mod tests;

use tch::{Kind, TchError, Tensor};

use super::shim::{self, Generator};
use crate::graph::op::Distribution;
use crate::graph::{Body, DType, Graph, Node, Op, ParamId, When};

/// What a forward pass needs besides the graph.
pub(crate) struct Context<'a> {
    /// Parameters and buffers, in the graph's order.
    pub(crate) params: &'a [Tensor],
    /// Random numbers of this job.
    pub(crate) generator: &'a mut Generator,
    /// Whether dropout drops and batch norm uses the batch's statistics.
    pub(crate) training: bool,
    /// Samples in the batch, for shapes that depend on it.
    pub(crate) batch: i64,
    /// Where new tensors go.
    pub(crate) device: tch::Device,
}

impl Context<'_> {
    fn applies(&self, when: When) -> bool {
        match when {
            When::Training => self.training,
            When::Always => true,
            When::Never => false,
        }
    }

    fn param(&self, id: ParamId) -> Result<&Tensor, TchError> {
        self.params.get(id.0 as usize).ok_or_else(|| broken(format!("no parameter {}", id.0)))
    }
}

/// The forward passes of a graph with the moments at which results can be freed.
#[derive(Debug)]
pub(crate) struct Plan<'g> {
    eval: Schedule<'g>,
    train: Option<Schedule<'g>>,
}

#[derive(Debug)]
struct Schedule<'g> {
    body: &'g Body,
    live: Vec<bool>,
    /// For each node, the nodes that no later one reads.
    frees: Vec<Vec<u32>>,
}

impl<'g> Plan<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Plan<'g> {
        Plan { eval: Schedule::new(&graph.eval), train: graph.train.as_ref().map(Schedule::new) }
    }

    /// The logits `(n, classes)` of a batch `(n, *input_sizes)`.
    pub(crate) fn forward(&self, input: &Tensor, context: &mut Context<'_>) -> Result<Tensor, TchError> {
        match &self.train {
            Some(train) if context.training => train.forward(input, context),
            _ => self.eval.forward(input, context),
        }
    }
}

impl<'g> Schedule<'g> {
    fn new(body: &'g Body) -> Schedule<'g> {
        let live = body.live();
        let mut last_use: Vec<usize> = (0..body.nodes.len()).collect();
        for (index, node) in body.nodes.iter().enumerate().filter(|&(index, _)| live[index]) {
            for input in &node.inputs {
                last_use[input.node as usize] = index;
            }
        }
        let mut frees = vec![Vec::new(); body.nodes.len()];
        for (node, &user) in last_use.iter().enumerate() {
            if node != body.output.node as usize {
                frees[user].push(node as u32);
            }
        }
        Schedule { body, live, frees }
    }

    fn forward(&self, input: &Tensor, context: &mut Context<'_>) -> Result<Tensor, TchError> {
        let mut values: Vec<Vec<Tensor>> = Vec::new();
        values.resize_with(self.body.nodes.len(), Vec::new);
        for (index, node) in self.body.nodes.iter().enumerate() {
            if !self.live[index] {
                continue;
            }
            values[index] = match &node.op {
                Op::Input => vec![input.shallow_clone()],
                _ => run_node(node, &values, context).map_err(|error| located(error, node))?,
            };
            as_inferred(node, &values[index], context.batch)?;
            for &freed in &self.frees[index] {
                values[freed as usize].clear();
            }
        }
        let output = self.body.output;
        values
            .get_mut(output.node as usize)
            .and_then(|outputs| outputs.drain(..).nth(usize::from(output.output)))
            .ok_or_else(|| broken("the output was not computed"))
    }
}

/// Whether results have the sizes that were inferred for them when the graph was built.
fn as_inferred(node: &Node, results: &[Tensor], batch: i64) -> Result<(), TchError> {
    for (fact, result) in node.outputs.iter().zip(results) {
        let (inferred, computed) = (fact.shape.at(batch), result.size());
        if inferred != computed {
            return Err(broken(format!(
                "{}: inferred sizes {inferred:?}, computed {computed:?}",
                node.op.name()
            )));
        }
    }
    Ok(())
}

fn run_node(node: &Node, values: &[Vec<Tensor>], context: &mut Context<'_>) -> Result<Vec<Tensor>, TchError> {
    let mut inputs: Vec<&Tensor> = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        let value =
            values.get(input.node as usize).and_then(|outputs| outputs.get(usize::from(input.output)));
        inputs.push(value.ok_or_else(|| broken(format!("node {} was not computed", input.node)))?);
    }
    run(&node.op, &inputs, context)
}

/// The outputs of one operation.
pub(crate) fn run(op: &Op, inputs: &[&Tensor], context: &mut Context<'_>) -> Result<Vec<Tensor>, TchError> {
    let one = |tensor: Tensor| vec![tensor];
    match op {
        Op::Input => Err(broken("an input has no value of its own")),
        Op::Param(id) => Ok(one(context.param(*id)?.shallow_clone())),
        Op::Full { shape, value, dtype } => {
            let options = (kind(*dtype), context.device);
            Tensor::f_full(shape.at(context.batch), *value, options).map(one)
        }
        Op::Literal { sizes, values, dtype } => literal(sizes, values, *dtype, context.device).map(one),
        Op::Random { shape, distribution } => {
            let sizes = shape.at(context.batch);
            let mut tensor = Tensor::f_empty(sizes, (Kind::Float, context.device))?;
            match *distribution {
                Distribution::Uniform => context.generator.uniform_(&mut tensor, 0.0, 1.0)?,
                Distribution::Normal => context.generator.normal_(&mut tensor, 0.0, 1.0)?,
                Distribution::Bernoulli(p) => context.generator.bernoulli_(&mut tensor, p)?,
            }
            Ok(one(tensor))
        }
        Op::Recurrent(settings) => recurrent::recurrent(settings, inputs, context),
        Op::Sort { dim, descending } => {
            arg(inputs, 0)?.f_sort(*dim as i64, *descending).map(|(values, indices)| vec![values, indices])
        }
        Op::FractionalMaxPool { kernel, sizes } => {
            layers::fractional_max_pool(kernel, sizes, arg(inputs, 0)?, arg(inputs, 1)?)
        }
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Scalar { .. }
        | Op::Where
        | Op::Prelu
        | Op::Glu { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Normalize { .. }
        | Op::Dropout { .. }
        | Op::Cast(_)
        | Op::Detach
        | Op::Keep => pointwise::run(op, inputs, context).map(one),
        Op::Reduce { op, dims, keepdim } => reduce::reduce(*op, dims, *keepdim, arg(inputs, 0)?).map(one),
        Op::Reshape { .. }
        | Op::Permute { .. }
        | Op::Expand { .. }
        | Op::Repeat { .. }
        | Op::Slice { .. }
        | Op::Select { .. }
        | Op::IndexSelect { .. }
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::SliceScatter { .. }
        | Op::Unfold(_)
        | Op::Fold { .. }
        | Op::GridSample { .. }
        | Op::Unsqueeze { .. }
        | Op::Squeeze { .. }
        | Op::Cat { .. }
        | Op::Stack { .. }
        | Op::Flip { .. }
        | Op::Roll { .. }
        | Op::Pad { .. }
        | Op::PixelShuffle { .. }
        | Op::PixelUnshuffle { .. }
        | Op::ChannelShuffle { .. }
        | Op::Interpolate { .. }
        | Op::CumSum { .. }
        | Op::CumProd { .. }
        | Op::Triangle { .. } => layout::run(op, inputs, context).map(one),
        _ => layers::run(op, inputs, context).map(one),
    }
}

/// A tensor of given values, row-major.
pub(crate) fn literal(
    sizes: &[usize],
    values: &[f64],
    dtype: DType,
    device: tch::Device,
) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_reshape(ints(sizes))?.f_to_kind(kind(dtype))?.f_to(device)
}

/// The element type in tch's terms.
pub(crate) fn kind(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::I64 => Kind::Int64,
        DType::Bool => Kind::Bool,
    }
}

fn arg<'a>(inputs: &[&'a Tensor], index: usize) -> Result<&'a Tensor, TchError> {
    inputs.get(index).copied().ok_or_else(|| broken(format!("input {index} is missing")))
}

fn ints(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

/// An error of this program rather than of libtorch: the graph was not built by its builder.
fn broken(message: impl Into<String>) -> TchError {
    TchError::Torch(format!("malformed graph: {}", message.into()))
}

/// Say which layer failed.
fn located(error: TchError, node: &Node) -> TchError {
    let text = match error {
        TchError::Torch(text) => text,
        other => other.to_string(),
    };
    let debug = format!("{:?}", node.op);
    let name = debug.split([' ', '(', '{']).next().unwrap_or_default();
    match node.origin.path.as_str() {
        "" => TchError::Torch(format!("{name}: {text}")),
        path => TchError::Torch(format!("{name} at `{path}`: {text}")),
    }
}

/// The layout of memory in which convolutions run fastest.
pub(crate) fn preferred_layout(tensor: &Tensor) -> Result<Tensor, TchError> {
    shim::channels_last(tensor)
}
