//! The architecture id: equal for networks that compute the same function family, whatever they call their parts.
//!
//! Names, source positions, the order of independent operations, unused layers, and the order of the operands of
//! commutative operations do not count; operations, their settings, how parameters start and are shared, and which
//! random draws are one and the same, do. The id is the SHA-256 of every node's hash in a canonical order, seen from
//! the output. One limit: `p + q` and `q + p` are two where `p` and `q` look alike and one of them is used again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::op::{Binary, Unary};
use super::{Body, Graph, Op, TensorRef, When};

type Hash = [u8; 32];

impl Graph {
    /// The architecture id, 64 hexadecimal digits.
    pub fn architecture_id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"llmatic architecture 1");
        hash.update(format!("{:?}", self.input_sizes));
        let (eval, met) = body_hash(self, &self.eval, self.train.is_none(), &[]);
        hash.update(eval);
        if let Some(train) = &self.train {
            hash.update(body_hash(self, train, true, &met).0);
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Numbers in the order in which things are met.
struct Numbers {
    given: Vec<Option<usize>>,
    next: usize,
}

impl Numbers {
    fn of(count: usize) -> Numbers {
        Numbers { given: vec![None; count], next: 0 }
    }

    /// Give a thing the next number, unless it has one.
    fn meet(&mut self, thing: usize) {
        if self.given[thing].is_none() {
            self.given[thing] = Some(self.next);
            self.next += 1;
        }
    }
}

/// A parameter, after the hash that tells how it looks.
type Met = (Hash, usize);

/// Hash of a forward pass, which is one of training if `trains`, and the parameters in the order of their numbers.
///
/// The first round hashes each node by its operation and its inputs' hashes; a parameter by its sizes and its start
/// only. That cannot tell one shared parameter from two equal ones, so the second numbers parameters in the order in
/// which a walk from the output, guided by the first hashes, meets them, and hashes again with the numbers. A third
/// numbers random draws likewise, where the second leaves open which of them are one.
///
/// `before` are the parameters of another pass of the network. Where the numbers of the two leave open which parameters
/// are the same, those that it has keep its numbers.
fn body_hash(graph: &Graph, body: &Body, trains: bool, before: &[Met]) -> (Hash, Vec<Met>) {
    let structural = hashes(graph, body, &[], &[]);
    let order = walk(body, &structural);
    let met: Vec<Met> = order
        .iter()
        .filter_map(|&index| match body.nodes[index].op {
            Op::Param(id) => Some((structural[index], id.0 as usize)),
            _ => None,
        })
        .collect();
    let known = if in_step(before, &met) { &[] } else { before };
    let mut params = Numbers::of(graph.params.len());
    known.iter().chain(&met).for_each(|&(_, param)| params.meet(param));
    let mut numbered = hashes(graph, body, &params.given, &[]);
    let random: Vec<bool> = body.nodes.iter().map(|node| is_random(&node.op, trains)).collect();
    if order.iter().any(|&index| random[index]) && !draws_are_told_apart(body, &order, &random, &numbered) {
        let mut draws = Numbers::of(body.nodes.len());
        order.iter().filter(|&&index| random[index]).for_each(|&index| draws.meet(index));
        numbered = hashes(graph, body, &params.given, &draws.given);
    }
    let mut hash = Sha256::new();
    hash.update(numbered[body.output.node as usize]);
    hash.update([body.output.output]);
    (hash.finalize().into(), met)
}

/// Whether the parameters that look alike are the same ones in two passes, in the same order, or in one of them only.
fn in_step(one: &[Met], other: &[Met]) -> bool {
    let alike = |met: &[Met]| {
        let mut groups: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        met.iter().for_each(|&(looks, param)| groups.entry(looks).or_default().push(param));
        groups
    };
    let others = alike(other);
    alike(one).iter().all(|(looks, params)| others.get(looks).is_none_or(|found| found == params))
}

/// The nodes that the output depends on, each once, in an order that the hashes decide.
fn walk(body: &Body, structural: &[Hash]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; body.nodes.len()];
    let mut stack = vec![body.output.node];
    while let Some(index) = stack.pop() {
        if std::mem::replace(&mut seen[index as usize], true) {
            continue;
        }
        order.push(index as usize);
        let node = &body.nodes[index as usize];
        let mut inputs = node.inputs.clone();
        if commutes(&node.op) {
            inputs.sort_by_key(|input| structural[input.node as usize]);
        }
        // The stack reverses: push the last input first.
        stack.extend(inputs.iter().rev().map(|input| input.node));
    }
    order
}

/// Whether an operation gives other numbers each time that it runs.
pub(crate) fn is_random(op: &Op, trains: bool) -> bool {
    let applies = |when: When| when == When::Always || (when == When::Training && trains);
    match op {
        Op::Random { .. } => true,
        Op::Dropout { p, when, .. } => *p > 0.0 && *p < 1.0 && applies(*when),
        Op::Unary(Unary::Rrelu { lower, upper, when }) => lower < upper && applies(*when),
        Op::Attention { dropout, .. } => *dropout > 0.0 && *dropout < 1.0,
        Op::Recurrent(settings) => settings.dropout > 0.0 && settings.layers > 1 && trains,
        _ => false,
    }
}

/// Whether the hashes alone tell which draws are one: as they are in networks that use each dropout in one place, and
/// each drawn tensor once, equal hashes mean one draw for what depends on the input, and draws of their own for the
/// tensors that it meets.
fn draws_are_told_apart(body: &Body, order: &[usize], random: &[bool], numbered: &[Hash]) -> bool {
    let mut uses = vec![0usize; body.nodes.len()];
    for &index in order {
        for input in &body.nodes[index].inputs {
            uses[input.node as usize] += 1;
        }
    }
    // Inputs stand before what they are put into.
    let mut from_input = vec![false; body.nodes.len()];
    let mut drawn = vec![false; body.nodes.len()];
    for (index, node) in body.nodes.iter().enumerate() {
        let any = |flags: &[bool]| node.inputs.iter().any(|input| flags[input.node as usize]);
        from_input[index] = matches!(node.op, Op::Input) || any(&from_input);
        drawn[index] = !from_input[index] && (matches!(node.op, Op::Random { .. }) || any(&drawn));
    }
    let mut known = BTreeSet::new();
    order.iter().all(|&index| {
        let node = &body.nodes[index];
        let meets = from_input[index] && node.inputs.iter().any(|input| drawn[input.node as usize]);
        let draws = random[index] && !matches!(node.op, Op::Random { .. });
        let alone = !(meets || draws) || known.insert(numbered[index]);
        alone && !(drawn[index] && uses[index] > 1)
    })
}

/// The hash of every node. `params` and `draws` are numbers of parameters and of nodes, where they have any.
fn hashes(graph: &Graph, body: &Body, params: &[Option<usize>], draws: &[Option<usize>]) -> Vec<Hash> {
    let mut hashes: Vec<Hash> = Vec::with_capacity(body.nodes.len());
    for (index, node) in body.nodes.iter().enumerate() {
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
                    params.get(id.0 as usize).copied().flatten()
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
        if let Some(Some(draw)) = draws.get(index) {
            hash.update(format!("draw {draw}"));
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
    use crate::graph::op::{Distribution, Dropout, Unary};
    use crate::graph::{Builder, DType, Init, Limits, Origin, ParamId, ParamKind, Shape};

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

    fn at(builder: &mut Builder, op: Op, inputs: &[TensorRef]) -> TensorRef {
        builder.append(op, inputs, Origin::default()).unwrap()
    }

    /// A pass that multiplies its input with each of the weights in turn, and adds the product to itself if `twice`.
    fn products(builder: &mut Builder, weights: &[ParamId], twice: bool) -> Body {
        let mut y = builder.input(&[4]);
        for &weight in weights {
            let weight = builder.tensor(weight);
            y = at(builder, Op::Linear { bias: false }, &[y, weight]);
        }
        if twice {
            y = at(builder, Op::Binary(Binary::Add), &[y, y]);
        }
        builder.finish_body(y)
    }

    /// Of two weights that look alike, those that evaluation and training use, in their order.
    fn passes(eval: &[usize], train: &[usize]) -> Graph {
        let mut builder = Builder::new(Limits::default());
        let mut weight =
            || builder.declare(vec![4, 4], DType::F32, ParamKind::Trained, Init::Constant(0.0)).unwrap();
        let weights = [weight(), weight()];
        let chosen = |pass: &[usize]| pass.iter().map(|&index| weights[index]).collect::<Vec<_>>();
        let eval = products(&mut builder, &chosen(eval), false);
        let train = products(&mut builder, &chosen(train), true);
        let names = [("a".to_owned(), weights[0]), ("b".to_owned(), weights[1])];
        builder.finish(eval, Some(train), &names, &[4])
    }

    #[test]
    fn a_pass_of_its_own_for_training_tells_which_parameters_it_shares() {
        let id = |eval: &[usize], train: &[usize]| passes(eval, train).architecture_id();
        let apart = [id(&[0], &[0]), id(&[0], &[1]), id(&[0, 1], &[0, 1]), id(&[0, 1], &[1, 0])];
        assert_eq!(BTreeSet::from(apart).len(), 4);
        // Whichever of them is called the first.
        assert_eq!(id(&[0], &[1]), id(&[1], &[0]));
        assert_eq!(id(&[0, 1], &[1, 0]), id(&[1, 0], &[0, 1]));
    }

    /// `d + relu(d)` of one dropout, or `d + relu(e)` of two.
    fn dropped(draws: usize, p: f64, when: When) -> Graph {
        let mut builder = Builder::new(Limits::default());
        let x = builder.input(&[4]);
        let dropout = Op::Dropout { p, kind: Dropout::Element, when };
        let d = at(&mut builder, dropout.clone(), &[x]);
        let e = if draws > 1 { at(&mut builder, dropout, &[x]) } else { d };
        let e = at(&mut builder, Op::Unary(Unary::Relu), &[e]);
        let sum = at(&mut builder, Op::Binary(Binary::Add), &[d, e]);
        let body = builder.finish_body(sum);
        builder.finish(body, None, &[], &[4])
    }

    #[test]
    fn one_dropout_used_twice_is_not_two_dropouts() {
        let id = |draws, p, when| dropped(draws, p, when).architecture_id();
        assert_ne!(id(1, 0.5, When::Training), id(2, 0.5, When::Training));
        // What drops nothing may be written as often as one likes.
        assert_eq!(id(1, 0.0, When::Training), id(2, 0.0, When::Training));
        assert_eq!(id(1, 0.5, When::Never), id(2, 0.5, When::Never));
    }

    /// `a + a + b + b` of `a = x * r` and `b = relu(x) * s`, where `s` is `r` for one draw; with two products each term
    /// is computed, and drawn, by itself.
    fn depths(draws: usize, products: usize) -> Graph {
        let mut builder = Builder::new(Limits::default());
        let x = builder.input(&[4]);
        let shape = Shape::batched(&[1]);
        let random = Op::Random { shape, distribution: Distribution::Bernoulli(0.9) };
        let y = at(&mut builder, Op::Unary(Unary::Relu), &[x]);
        let mut terms = Vec::new();
        let mut first = None;
        for of in [x, y] {
            for _ in 0..products {
                let draw = match first {
                    Some(draw) if draws == 1 => draw,
                    _ => at(&mut builder, random.clone(), &[]),
                };
                first = Some(draw);
                terms.push(at(&mut builder, Op::Binary(Binary::Mul), &[of, draw]));
            }
            if products == 1 {
                terms.push(terms[terms.len() - 1]);
            }
        }
        let sum =
            terms.into_iter().reduce(|sum, term| at(&mut builder, Op::Binary(Binary::Add), &[sum, term]));
        let body = builder.finish_body(sum.unwrap());
        builder.finish(body, None, &[], &[4])
    }

    #[test]
    fn one_drawn_tensor_used_twice_is_not_two() {
        let ids: BTreeSet<String> = [(1, 1), (2, 1), (2, 2)]
            .map(|(draws, products)| depths(draws, products).architecture_id())
            .into_iter()
            .collect();
        assert_eq!(ids.len(), 3);
    }
}
