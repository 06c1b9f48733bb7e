//! What a network costs: multiply-accumulate operations (MACs) of one sample, and the table of its layers.
//!
//! Counting rules, those of fvcore and ptflops where they agree: convolutions, linear layers, matrix products,
//! attention and recurrent layers count their products, biases and activations count nothing; one MAC is two FLOPs.
//! Batch, layer and group norms, pools and element-wise operations are reported as zero MACs.

use super::op::{Cell, Op};
use super::{Fact, Graph, ops};

/// MACs of one operation for a batch of one.
pub fn macs(op: &Op, inputs: &[Fact], outputs: &[Fact]) -> u64 {
    let output = outputs.first().map_or(0, |fact| fact.shape.numel_at(1));
    let weight = |from: usize| -> u64 {
        inputs.get(1).map_or(0, |fact| {
            let sizes = fact.shape.0.iter().skip(from);
            sizes.fold(1u64, |product, dim| product.saturating_mul(u64::try_from(dim.at(1)).unwrap_or(0)))
        })
    };
    let last = |index: usize| -> u64 {
        let dim = inputs.get(index).and_then(|fact| fact.shape.0.last());
        dim.map_or(0, |dim| u64::try_from(dim.at(1)).unwrap_or(0))
    };
    match op {
        // Each output is one product per input channel of its group and kernel point.
        Op::Conv(_) => output.saturating_mul(weight(1)),
        // Each input is spread over the output channels of its group and the kernel.
        Op::ConvTranspose(_) => {
            inputs.first().map_or(0, |fact| fact.shape.numel_at(1)).saturating_mul(weight(1))
        }
        Op::Linear { .. } | Op::MatMul => output.saturating_mul(last(0)),
        Op::LocalResponseNorm { size, .. } => output.saturating_mul(*size as u64),
        Op::Bilinear { .. } => output.saturating_mul(last(0).saturating_mul(last(1))),
        Op::Einsum { equation } => ops::einsum_dims(equation, inputs).map_or(0, |dims| {
            dims.values()
                .fold(1u64, |product, dim| product.saturating_mul(u64::try_from(dim.at(1)).unwrap_or(0)))
        }),
        // (L, E) x (E, S), then (L, S) x (S, V)
        Op::Attention { .. } => scores(inputs, outputs, 1).saturating_mul(last(0).saturating_add(last(2))),
        Op::Recurrent(settings) => {
            let states = match (settings.initial_state, settings.cell) {
                (false, _) => 0,
                (true, Cell::Lstm) => 2,
                (true, _) => 1,
            };
            let matrices = inputs.iter().skip(1 + states).filter(|fact| fact.shape.rank() == 2);
            let products: u64 = matrices.map(|fact| fact.shape.numel_at(1)).fold(0, u64::saturating_add);
            let steps = inputs.first().map_or(0, |fact| fact.shape.numel_at(1)) / last(0).max(1);
            products.saturating_mul(steps)
        }
        _ => 0,
    }
}

/// Bytes that one operation needs beside its result while it is computed, for a batch: attention is written out, as
/// scores, as weights, and once more where they are masked or dropped.
pub fn scratch_bytes(op: &Op, inputs: &[Fact], outputs: &[Fact], batch: i64) -> u64 {
    match op {
        Op::Attention { mask, causal, dropout, .. } => {
            let copies = if *mask || *causal || *dropout > 0.0 { 3 } else { 2 };
            let width = outputs.first().map_or(0, |fact| fact.dtype.bytes() as u64);
            scores(inputs, outputs, batch).saturating_mul(copies * width)
        }
        // The squares, padded by the window along the channels.
        Op::LocalResponseNorm { size, .. } => {
            let fact = outputs.first();
            let channels = fact.and_then(|fact| fact.shape.0.get(1)).map_or(1, |dim| dim.at(batch).max(1));
            let channels = u64::try_from(channels).unwrap_or(1);
            let of = |fact: &Fact| (fact.shape.numel_at(batch), fact.dtype.bytes() as u64);
            let (numel, width) = fact.map_or((0, 0), of);
            let padded = channels.saturating_add((*size as u64).saturating_sub(1));
            (numel / channels).saturating_mul(padded).saturating_mul(width)
        }
        _ => 0,
    }
}

/// Number of an attention's scores: heads * L * S.
fn scores(inputs: &[Fact], outputs: &[Fact], batch: i64) -> u64 {
    let size = |fact: Option<&Fact>, from_end: usize| -> u64 {
        let dims = fact.map_or(&[][..], |fact| &fact.shape.0);
        let dim = dims.len().checked_sub(from_end).and_then(|at| dims.get(at));
        dim.map_or(0, |dim| u64::try_from(dim.at(batch)).unwrap_or(0))
    };
    let output = outputs.first().map_or(0, |fact| fact.shape.numel_at(batch));
    let rows = output / size(inputs.get(2), 1).max(1);
    rows.saturating_mul(size(inputs.get(1), 2))
}

/// One line of the layer table: an operation that leads to the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Dotted path of the module, empty for a function called in the outermost `forward`.
    pub path: String,
    /// The module's class, or the operation's name.
    pub class: String,
    /// Output shape, with `N` for the batch.
    pub output: String,
    /// Elements of the parameters that this layer is the first to use.
    pub parameters: u64,
    /// MACs of one sample.
    pub macs: u64,
}

impl Graph {
    /// MACs of one sample in evaluation mode, counting operations that lead to the output.
    pub fn macs(&self) -> u64 {
        let body = &self.eval;
        let live = body.live();
        let nodes = body.nodes.iter().zip(&live).filter(|(_, live)| **live);
        nodes.fold(0u64, |sum, (node, _)| {
            let inputs: Vec<Fact> = node.inputs.iter().map(|&input| body.fact(input).clone()).collect();
            sum.saturating_add(macs(&node.op, &inputs, &node.outputs))
        })
    }

    /// FLOPs of one sample: two for each MAC.
    pub fn flops(&self) -> u64 {
        self.macs().saturating_mul(2)
    }

    /// The operations that lead to the output, in order, without parameters.
    pub fn layers(&self) -> Vec<Layer> {
        let body = &self.eval;
        let live = body.live();
        let mut counted = vec![false; self.params.len()];
        let mut layers = Vec::new();
        for (node, live) in body.nodes.iter().zip(live) {
            if !live || matches!(node.op, Op::Param(_)) {
                continue;
            }
            let mut parameters = 0;
            for input in &node.inputs {
                if let Op::Param(id) = body.nodes[input.node as usize].op {
                    let trained = !std::mem::replace(&mut counted[id.0 as usize], true)
                        && matches!(
                            self.param(id).kind,
                            super::ParamKind::Trained | super::ParamKind::Frozen
                        );
                    parameters += if trained { self.param(id).numel() as u64 } else { 0 };
                }
            }
            let inputs: Vec<Fact> = node.inputs.iter().map(|&input| body.fact(input).clone()).collect();
            let class = if node.origin.class.is_empty() {
                node.op.name().to_owned()
            } else {
                node.origin.class.clone()
            };
            layers.push(Layer {
                path: node.origin.path.clone(),
                class,
                output: node.outputs.first().map_or_else(String::new, |fact| fact.shape.to_string()),
                parameters,
                macs: macs(&node.op, &inputs, &node.outputs),
            });
        }
        layers
    }

    /// Bytes of all intermediate results of one sample, as they are kept for the backward pass.
    pub fn activation_bytes(&self) -> u64 {
        let results = self.body(true).nodes.iter().filter(|node| !matches!(node.op, Op::Param(_)));
        let facts = results.flat_map(|node| &node.outputs);
        facts.fold(0u64, |sum, fact| sum.saturating_add(fact.shape.numel_at(1).saturating_mul(4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::Conv;
    use crate::graph::{BuildError, Builder, DType, Limits, Origin, Shape};

    fn fact(shape: Shape) -> Fact {
        Fact { shape, dtype: DType::F32 }
    }

    #[test]
    fn a_convolution_costs_its_products_and_no_more() {
        let settings = Conv {
            stride: vec![1; 2],
            padding: vec![1; 2],
            dilation: vec![1; 2],
            output_padding: vec![0; 2],
            groups: 2,
            bias: false,
        };
        let op = Op::Conv(settings);
        let inputs = [fact(Shape::batched(&[4, 8, 8])), fact(Shape::fixed(&[6, 2, 3, 3]))];
        let outputs = ops::infer(&op, &inputs).unwrap();
        // 6 * 8 * 8 outputs, each 2 channels * 9 points
        assert_eq!(macs(&op, &inputs, &outputs), 6 * 64 * 18);
    }

    #[test]
    fn attention_counts_both_products() {
        let op = Op::Attention { mask: false, causal: false, dropout: 0.0, scale: None };
        let inputs = [[2, 5, 8], [2, 7, 8], [2, 7, 4]].map(|sizes| fact(Shape::batched(&sizes)));
        let outputs = ops::infer(&op, &inputs).unwrap();
        assert_eq!(macs(&op, &inputs, &outputs), 2 * 5 * 7 * 8 + 2 * 5 * 7 * 4);
    }

    #[test]
    fn attentions_scores_count_in_the_memory_of_a_network() {
        // 8 heads, 16384 positions each way, 4 bytes: 8 GiB a copy, where query, key and value take half a MiB each.
        let mut builder = Builder::new(Limits::default());
        let x = builder.input(&[8, 16384, 1]);
        let op = |causal| Op::Attention { mask: false, causal, dropout: 0.0, scale: None };
        let refused = builder.append(op(false), &[x, x, x], Origin::default()).unwrap_err();
        let got = 2 * (8 << 30) + 8 * 16384 * 4;
        let (what, limit) = ("activation bytes per sample", 2 << 30);
        assert_eq!(refused, BuildError::Limit { what, got, limit });
        let inputs = [[2, 5, 8], [2, 7, 8], [2, 7, 4]].map(|sizes| fact(Shape::batched(&sizes)));
        let outputs = ops::infer(&op(true), &inputs).unwrap();
        assert_eq!(scratch_bytes(&op(true), &inputs, &outputs, 3), 3 * 3 * (2 * 5 * 7) * 4);
    }
}
