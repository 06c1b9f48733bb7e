//! The network as data: a list of operations whose shapes are inferred as each is appended, so an ill-shaped
//! [`Graph`] cannot be built.
//!
//! Input: operations appended to a [`Builder`]. Output: a [`Graph`] with shapes, parameters, cost and an
//! architecture id. The graph knows nothing of Python, candle or libtorch.

pub mod canonical;
pub mod cost;
pub mod dim;
mod dtype;
pub mod init;
pub mod op;
mod op_names;
mod op_settings;
pub mod ops;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use op::Binary;

pub use dim::{Dim, NOMINAL_BATCH, Shape};
pub use init::{Init, Place, Region};
pub use op::{DType, Op, ParamId, When};

/// A parameter or buffer of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its key in PyTorch's `state_dict`, such as `features.0.weight`; empty until the network is finished.
    pub name: String,
    /// Other keys of the same tensor (shared weights).
    pub aliases: Vec<String>,
    /// Its sizes.
    pub sizes: Vec<usize>,
    /// Its element type.
    pub dtype: DType,
    /// Whether the optimiser changes it.
    pub kind: ParamKind,
    /// How it starts.
    pub init: Init,
}

impl Param {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.sizes.iter().product()
    }
}

/// Whether the optimiser changes a tensor, and whether it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// `nn.Parameter`, trained.
    Trained,
    /// `nn.Parameter` with `requires_grad=False`.
    Frozen,
    /// A buffer in the `state_dict`.
    Buffer,
    /// A buffer that is not in the `state_dict` (`persistent=False`), or a plain tensor attribute.
    Unsaved,
}

/// One output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorRef {
    /// Index of the node in its [`Body`].
    pub node: u32,
    /// Which of its outputs.
    pub output: u8,
}

/// What is known of a tensor before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Its shape.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
}

/// Where in the source an operation comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Dotted path of the innermost module, as in `state_dict` keys; empty in the outermost `forward`.
    pub path: String,
    /// That module's class, such as `Conv2d`; empty for a function called in the outermost `forward`.
    pub class: String,
    /// Byte range in the source of the outermost `forward`'s expression.
    pub span: Option<(u32, u32)>,
}

/// One operation in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From which tensors.
    pub inputs: Vec<TensorRef>,
    /// What comes out.
    pub outputs: Vec<Fact>,
    /// Where it comes from.
    pub origin: Origin,
}

/// The operations of one forward pass, each after its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The operations. Not all need lead to the output.
    pub nodes: Vec<Node>,
    /// The logits, `(N, classes)`.
    pub output: TensorRef,
}

impl Body {
    /// The fact of a tensor.
    pub fn fact(&self, tensor: TensorRef) -> &Fact {
        &self.nodes[tensor.node as usize].outputs[usize::from(tensor.output)]
    }

    /// For each node, whether the output depends on it.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        live[self.output.node as usize] = true;
        for index in (0..self.nodes.len()).rev() {
            if live[index] {
                for input in &self.nodes[index].inputs {
                    live[input.node as usize] = true;
                }
            }
        }
        live
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Parameters and buffers, in the order of the `state_dict`.
    pub params: Vec<Param>,
    /// The forward pass in evaluation mode; in training mode too, if `train` is `None`.
    pub eval: Body,
    /// The forward pass in training mode, where the source asks `self.training`.
    pub train: Option<Body>,
    /// Sizes of one input sample, such as `[3, 32, 32]`.
    pub input_sizes: Vec<usize>,
}

impl Graph {
    /// The forward pass of a mode.
    pub fn body(&self, training: bool) -> &Body {
        if training { self.train.as_ref().unwrap_or(&self.eval) } else { &self.eval }
    }

    /// A parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }

    /// Number of elements of all `nn.Parameter`s, as `sum(p.numel() for p in net.parameters())`.
    pub fn parameter_count(&self) -> u64 {
        let counted = |param: &&Param| matches!(param.kind, ParamKind::Trained | ParamKind::Frozen);
        self.params.iter().filter(counted).map(|param| param.numel() as u64).sum()
    }
}

/// What a network may cost at most. Going over is a refusal, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations in one forward pass.
    pub nodes: usize,
    /// Elements of all parameters and buffers.
    pub parameters: u64,
    /// Bytes of all intermediate results of one sample, attention's scores among them.
    pub activation_bytes: u64,
    /// Multiply-accumulate operations of one sample.
    pub macs: u64,
    /// Dimensions of a tensor.
    pub rank: usize,
}

impl Default for Limits {
    /// What a single GPU can train: a ViT-L or a VGG-19 passes.
    fn default() -> Limits {
        Limits {
            nodes: 20_000,
            parameters: 500_000_000,
            activation_bytes: 2 << 30,
            macs: 200_000_000_000,
            rank: 8,
        }
    }
}

/// Why an operation cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The shapes do not fit, as PyTorch would say too.
    #[error("{0}")]
    Shape(String),
    /// PyTorch may accept it, this program does not.
    #[error("{0}")]
    Unsupported(String),
    /// A [`Limits`] field would be exceeded.
    #[error("{what}: {got} exceeds the limit of {limit}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the network needs.
        got: u64,
        /// What is allowed.
        limit: u64,
    },
}

/// Builds a [`Graph`], one operation at a time.
#[derive(Debug)]
pub struct Builder {
    params: Vec<Param>,
    parameters: u64,
    nodes: Vec<Node>,
    param_nodes: BTreeMap<ParamId, TensorRef>,
    activation_bytes: u64,
    macs: u64,
    limits: Limits,
}

impl Builder {
    /// An empty network.
    pub fn new(limits: Limits) -> Builder {
        Builder {
            params: Vec::new(),
            parameters: 0,
            nodes: Vec::new(),
            param_nodes: BTreeMap::new(),
            activation_bytes: 0,
            macs: 0,
            limits,
        }
    }

    /// Declare a parameter or buffer; it gets its name in [`Builder::finish`].
    pub fn declare(
        &mut self,
        sizes: Vec<usize>,
        dtype: DType,
        kind: ParamKind,
        init: Init,
    ) -> Result<ParamId, BuildError> {
        let numel = sizes.iter().fold(1u64, |product, &size| product.saturating_mul(size as u64));
        self.parameters = self.parameters.saturating_add(numel);
        within("parameters", self.parameters, self.limits.parameters)?;
        within("parameter tensors", self.params.len() as u64, self.limits.nodes as u64)?;
        within("rank of a tensor", sizes.len() as u64, self.limits.rank as u64)?;
        let id = ParamId(u32::try_from(self.params.len()).unwrap_or(u32::MAX));
        self.params.push(Param { name: String::new(), aliases: Vec::new(), sizes, dtype, kind, init });
        Ok(id)
    }

    /// A declared parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }

    /// A declared parameter, to change whether it is trained.
    pub fn param_mut(&mut self, id: ParamId) -> &mut Param {
        &mut self.params[id.0 as usize]
    }

    /// Gives a declared tensor another start: what is computed of it from here on is computed of that.
    pub fn set_init(&mut self, id: ParamId, init: Init) {
        self.params[id.0 as usize].init = init;
        self.param_nodes.remove(&id);
    }

    /// Gives a declared tensor another precision, from here on.
    pub fn set_precision(&mut self, id: ParamId, dtype: DType) {
        self.params[id.0 as usize].dtype = dtype;
        self.param_nodes.remove(&id);
    }

    /// The input of the network: `sizes` are those of one sample.
    pub fn input(&mut self, sizes: &[usize]) -> TensorRef {
        let fact = Fact { shape: Shape::batched(sizes), dtype: DType::F32 };
        self.push(Op::Input, Vec::new(), vec![fact], Origin::default())
    }

    /// A parameter as a tensor of the current forward pass.
    pub fn tensor(&mut self, id: ParamId) -> TensorRef {
        if let Some(&tensor) = self.param_nodes.get(&id) {
            return tensor;
        }
        let param = self.param(id);
        let fact = Fact { shape: Shape::fixed(&param.sizes), dtype: param.dtype };
        let tensor = self.push(Op::Param(id), Vec::new(), vec![fact], Origin::default());
        self.param_nodes.insert(id, tensor);
        tensor
    }

    /// Append an operation and return its first output; one that changes nothing is not appended.
    ///
    /// # Errors
    /// [`BuildError::Shape`] where PyTorch would raise, [`BuildError::Limit`] where a limit is passed.
    pub fn append(&mut self, op: Op, inputs: &[TensorRef], origin: Origin) -> Result<TensorRef, BuildError> {
        within("operations", self.nodes.len() as u64 + 1, self.limits.nodes as u64)?;
        let facts: Vec<Fact> = inputs.iter().map(|&input| self.fact(input).clone()).collect();
        if let Some(same) = unchanged(&op, inputs, &facts) {
            return Ok(same);
        }
        let op = in_normal_form(op, &facts);
        let outputs = ops::infer(&op, &facts)?;
        let macs = cost::macs(&op, &facts, &outputs);
        let mut bytes = cost::scratch_bytes(&op, &facts, &outputs, 1);
        for fact in &outputs {
            within("rank of a tensor", fact.shape.rank() as u64, self.limits.rank as u64)?;
            // What uses a mask makes numbers of it.
            let width = fact.dtype.bytes().max(4) as u64;
            bytes = bytes.saturating_add(fact.shape.numel_at(1).saturating_mul(width));
        }
        self.macs = self.macs.saturating_add(macs);
        within("multiply-accumulate operations per sample", self.macs, self.limits.macs)?;
        self.activation_bytes = self.activation_bytes.saturating_add(bytes);
        within("activation bytes per sample", self.activation_bytes, self.limits.activation_bytes)?;
        Ok(self.push(op, inputs.to_vec(), outputs, origin))
    }

    /// What is known of a tensor of the current forward pass.
    pub fn fact(&self, tensor: TensorRef) -> &Fact {
        &self.nodes[tensor.node as usize].outputs[usize::from(tensor.output)]
    }

    /// The node that makes a tensor of the current forward pass.
    pub fn node(&self, tensor: TensorRef) -> &Node {
        &self.nodes[tensor.node as usize]
    }

    /// Number of operations of the current forward pass.
    pub fn node_count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// Multiply-accumulate operations of the current forward pass, per sample.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// End the current forward pass; the next operation starts another.
    pub fn finish_body(&mut self, output: TensorRef) -> Body {
        let nodes = std::mem::take(&mut self.nodes);
        self.param_nodes.clear();
        (self.activation_bytes, self.macs) = (0, 0);
        Body { nodes, output }
    }

    /// Drop the current forward pass, keeping the declared parameters.
    pub fn abandon_body(&mut self) {
        self.nodes.clear();
        self.param_nodes.clear();
        (self.activation_bytes, self.macs) = (0, 0);
    }

    /// The finished network. `names` lists every parameter and buffer in the order of the `state_dict`; a second
    /// name of the same tensor becomes an alias. Tensors that are not listed come last, unsaved and without a name,
    /// where a forward pass reads them; others (those of modules that were replaced) go.
    pub fn finish(
        mut self,
        eval: Body,
        train: Option<Body>,
        names: &[(String, ParamId)],
        input_sizes: &[usize],
    ) -> Graph {
        let mut place: BTreeMap<ParamId, u32> = BTreeMap::new();
        let mut params: Vec<Param> = Vec::new();
        let mut add = |params: &mut Vec<Param>, id: ParamId, param: Param| {
            place.insert(id, u32::try_from(params.len()).unwrap_or(u32::MAX));
            params.push(param);
        };
        let mut seen: BTreeMap<ParamId, usize> = BTreeMap::new();
        for (name, id) in names {
            if let Some(&index) = seen.get(id) {
                params[index].aliases.push(name.clone());
                continue;
            }
            seen.insert(*id, params.len());
            let mut param = self.params[id.0 as usize].clone();
            param.name.clone_from(name);
            add(&mut params, *id, param);
        }
        let mut read: BTreeSet<ParamId> = BTreeSet::new();
        for node in eval.nodes.iter().chain(train.iter().flat_map(|body| &body.nodes)) {
            match &node.op {
                Op::Param(id) => _ = read.insert(*id),
                Op::BatchNorm(norm) => read.extend(norm.counter),
                _ => {}
            }
        }
        for (index, param) in self.params.drain(..).enumerate() {
            let id = ParamId(u32::try_from(index).unwrap_or(u32::MAX));
            if !seen.contains_key(&id) && read.contains(&id) {
                add(&mut params, id, Param { kind: ParamKind::Unsaved, ..param });
            }
        }
        let renumber = |mut body: Body| {
            for node in &mut body.nodes {
                match &mut node.op {
                    Op::Param(id) => *id = ParamId(place[id]),
                    Op::BatchNorm(norm) => norm.counter = norm.counter.map(|id| ParamId(place[&id])),
                    _ => {}
                }
            }
            body
        };
        let (eval, train) = (renumber(eval), train.map(renumber));
        Graph { params, eval, train, input_sizes: input_sizes.to_vec() }
    }

    fn push(&mut self, op: Op, inputs: Vec<TensorRef>, outputs: Vec<Fact>, origin: Origin) -> TensorRef {
        let node = self.node_count();
        self.nodes.push(Node { op, inputs, outputs, origin });
        TensorRef { node, output: 0 }
    }
}

/// What an operation passes on as it came: a slice of all there is, and what takes the place of all there was.
fn unchanged(op: &Op, inputs: &[TensorRef], facts: &[Fact]) -> Option<TensorRef> {
    let whole = |dim: usize, start: Dim, end: Dim, step: usize| {
        let size = facts.first().and_then(|fact| fact.shape.0.get(dim));
        step == 1 && start == Dim::fixed(0) && size == Some(&end)
    };
    match *op {
        Op::Slice { dim, start, end, step } if whole(dim, start, end, step) => inputs.first().copied(),
        Op::SliceScatter { dim, start, end, step }
            if whole(dim, start, end, step) && facts.first() == facts.get(1) =>
        {
            inputs.get(1).copied()
        }
        _ => None,
    }
}

/// One way to write operations that can be written in several, so that they are one architecture.
fn in_normal_form(mut op: Op, inputs: &[Fact]) -> Op {
    if let (Op::Reduce { dims, .. }, [input]) = (&mut op, inputs)
        && dims.is_empty()
    {
        dims.extend(0..input.shape.rank());
    }
    match &mut op {
        // A number before or behind the tensor.
        Op::Scalar {
            op: Binary::Add | Binary::Mul | Binary::Maximum | Binary::Minimum | Binary::Eq | Binary::Ne,
            reversed,
            ..
        } => *reversed = false,
        // What it is anyway.
        Op::Attention { scale, .. } => {
            let width = inputs.first().and_then(|query| query.shape.0.last()?.known()).unwrap_or(0);
            let usual = 1.0 / (width as f64).sqrt();
            *scale = scale.filter(|scale| (scale - usual).abs() > 1e-15 * usual);
        }
        // Without padding there is none to count.
        Op::AvgPool { pool, count_include_pad, .. }
            if !pool.ceil_mode && pool.padding.iter().all(|&pad| pad == 0) =>
        {
            *count_include_pad = true;
        }
        _ => {}
    }
    op
}

fn within(what: &'static str, got: u64, limit: u64) -> Result<(), BuildError> {
    if got > limit { Err(BuildError::Limit { what, got, limit }) } else { Ok(()) }
}
