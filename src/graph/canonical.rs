//! The architecture id: equal for networks that compute the same function family, whatever they call their parts.
//!
//! Names, source positions, the order of independent operations, unused layers, and the order of the operands of
//! commutative operations do not count; operations, their settings, how parameters start and are shared, do. The id is
//! the SHA-256 of every node's hash in a canonical order, seen from the output.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::op::Binary;
use super::{Body, Graph, Op, TensorRef};

type Hash = [u8; 32];

impl Graph {
    /// The architecture id, 64 hexadecimal digits.
    pub fn architecture_id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"llmatic architecture 1");
        hash.update(format!("{:?}", self.input_sizes));
        hash.update(body_hash(self, &self.eval));
        if let Some(train) = &self.train {
            hash.update(body_hash(self, train));
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Hash of a forward pass.
///
/// Two passes. The first hashes each node by its operation and its inputs' hashes; a parameter by its sizes and its
/// start only. That cannot tell one shared parameter from two equal ones, so the second numbers parameters in the
/// order in which a walk from the output, guided by the first hashes, meets them, and hashes again with the numbers.
fn body_hash(graph: &Graph, body: &Body) -> Hash {
    let structural = hashes(graph, body, &|_| None);
    let mut numbers: Vec<Option<usize>> = vec![None; graph.params.len()];
    let mut next = 0;
    let mut seen = vec![false; body.nodes.len()];
    let mut stack = vec![body.output.node];
    while let Some(index) = stack.pop() {
        if std::mem::replace(&mut seen[index as usize], true) {
            continue;
        }
        let node = &body.nodes[index as usize];
        if let Op::Param(id) = node.op {
            numbers[id.0 as usize].get_or_insert_with(|| {
                next += 1;
                next - 1
            });
        }
        let mut inputs = node.inputs.clone();
        if commutes(&node.op) {
            inputs.sort_by_key(|input| structural[input.node as usize]);
        }
        // The stack reverses: push the last input first.
        stack.extend(inputs.iter().rev().map(|input| input.node));
    }
    let numbered = hashes(graph, body, &|id: super::ParamId| numbers[id.0 as usize]);
    let mut hash = Sha256::new();
    hash.update(numbered[body.output.node as usize]);
    hash.update([body.output.output]);
    hash.finalize().into()
}

fn hashes(graph: &Graph, body: &Body, number: &dyn Fn(super::ParamId) -> Option<usize>) -> Vec<Hash> {
    let mut hashes: Vec<Hash> = Vec::with_capacity(body.nodes.len());
    for node in &body.nodes {
        let mut hash = Sha256::new();
        match &node.op {
            Op::Param(id) => {
                let param = graph.param(*id);
                hash.update(format!(
                    "param {:?} {:?} {:?} {:?} {:?}",
                    param.sizes,
                    param.dtype,
                    param.kind,
                    param.init,
                    number(*id)
                ));
            }
            Op::BatchNorm(norm) => {
                // The counter's index is a name in disguise.
                let mut norm = norm.clone();
                norm.counter = None;
                hash.update(format!("{:?}", Op::BatchNorm(norm)));
            }
            op => hash.update(format!("{op:?}")),
        }
        let mut inputs: Vec<(Hash, u8)> =
            node.inputs.iter().map(|&TensorRef { node, output }| (hashes[node as usize], output)).collect();
        if commutes(&node.op) {
            inputs.sort_unstable();
        }
        for (input, output) in inputs {
            hash.update(input);
            hash.update([output]);
        }
        hashes.push(hash.finalize().into());
    }
    hashes
}

fn commutes(op: &Op) -> bool {
    matches!(
        op,
        Op::Binary(
            Binary::Add
                | Binary::Mul
                | Binary::Maximum
                | Binary::Minimum
                | Binary::Eq
                | Binary::Ne
                | Binary::And
                | Binary::Or
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::Unary;
    use crate::graph::{Builder, DType, Init, Limits, Origin, ParamKind};

    /// `x @ a + x @ b`, or with one shared weight; `swap` adds in the other order.
    fn two_branches(shared: bool, swap: bool, declare_reversed: bool) -> Graph {
        let mut builder = Builder::new(Limits::default());
        let init = Init::Uniform { low: -0.5, high: 0.5 };
        let mut weight =
            || builder.declare(vec![8, 4], DType::F32, ParamKind::Trained, init.clone()).unwrap();
        let (mut first, mut second) = (weight(), weight());
        if declare_reversed {
            std::mem::swap(&mut first, &mut second);
        }
        let x = builder.input(&[4]);
        let linear = Op::Linear { bias: false };
        let (a, b) = (builder.tensor(first), builder.tensor(if shared { first } else { second }));
        let left = builder.append(linear.clone(), &[x, a], Origin::default()).unwrap();
        let left = builder.append(Op::Unary(Unary::Relu), &[left], Origin::default()).unwrap();
        let right = builder.append(linear, &[x, b], Origin::default()).unwrap();
        let inputs = if swap { [right, left] } else { [left, right] };
        let sum = builder.append(Op::Binary(Binary::Add), &inputs, Origin::default()).unwrap();
        let body = builder.finish_body(sum);
        builder.finish(body, None, &[("a".into(), first), ("b".into(), second)], &[4])
    }

    #[test]
    fn reordered_twins_have_one_id() {
        let id = two_branches(false, false, false).architecture_id();
        assert_eq!(id, two_branches(false, true, false).architecture_id());
        assert_eq!(id, two_branches(false, false, true).architecture_id());
        assert_eq!(id.len(), 64);
    }

    #[test]
    fn sharing_a_weight_is_another_architecture() {
        assert_ne!(
            two_branches(false, false, false).architecture_id(),
            two_branches(true, false, false).architecture_id()
        );
    }
}
