//! Backward passes that a source writes itself (`torch.autograd.Function`): what a gradient is multiplied with.
//!
//! Input: what `backward` computed from a tensor of ones. Output: that, as the factor of the gradient, where it is
//! linear in the ones element by element. Limit: other linear maps (a convolution, a permutation) are refused.

use std::collections::BTreeMap;

use crate::graph::op::{Binary, Reduction, Unary};
use crate::graph::{DType, Op, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::facts;
use crate::lower::value::{Builtin, Value};

/// How many operations behind it a zero is recognised.
const ZERO_DEPTH: usize = 8;

static FUNCTIONS: &[Builtin] = &[
    Builtin { name: "_is_float", signature: "value", run: |this, args| is_float(this, &args) },
    Builtin { name: "_seed", signature: "result", run: |this, args| seed(this, &args) },
    Builtin { name: "_factor", signature: "name, grad, seed", run: |this, args| factor(this, &args) },
    Builtin {
        name: "_refuse",
        signature: "name",
        run: |_, args| match args.get("name") {
            Value::Str(name) => Err(refused(&name)),
            _ => Err(refused("a Function")),
        },
    },
];

/// A function of `torch.autograd` that is not written in Python.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

fn refused(name: &str) -> Box<Raise> {
    Raise::unsupported(format!(
        "torch.autograd.Function '{name}': its backward pass is not the gradient times a factor, element by element"
    ))
}

/// Whether a value is a tensor that can have a gradient.
fn is_float(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    Ok(Value::Bool(match args.get("value") {
        Value::Tensor(tensor) => facts(this, &tensor)?.dtype.is_floating(),
        _ => false,
    }))
}

/// Ones of a result's shape, which no operation of the source has made.
fn seed(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    let result = args.tensor("result")?;
    let fact = this.fact(&result)?;
    this.op(Op::Full { shape: fact.shape, value: 1.0, dtype: fact.dtype }, &[])
}

/// `(factor, dimensions summed over)`; no factor where the gradient is zero.
fn factor(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    let name = match args.get("name") {
        Value::Str(name) => name,
        _ => "a Function".into(),
    };
    let (grad, seed) = (args.tensor("grad")?, args.tensor("seed")?);
    let (mut grad, seed) = (this.tensor_ref(&grad)?, this.tensor_ref(&seed)?);
    let mut summed = Vec::new();
    let mut linear = Linear { this, seed, known: BTreeMap::new() };
    if !linear.depends(grad) {
        if !linear.is_zero(grad) {
            return Err(refused(&name));
        }
        return this.tuple(vec![Value::None, Value::None]);
    }
    // From behind: numbers, shapes that keep the order of the elements, one sum; then what is computed element by
    // element.
    let (mut at, mut number) = (grad, 1.0);
    loop {
        let node = linear.this.builder.node(at);
        match &node.op {
            Op::Reshape { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } | Op::Detach => {}
            Op::Unary(Unary::Neg) => number = -number,
            Op::Scalar { op: Binary::Mul, value, .. } => number *= value,
            Op::Scalar { op: Binary::Div, value, reversed: false } => number /= value,
            Op::Reduce { op: Reduction::Sum, dims, .. } => {
                summed.clone_from(dims);
                grad = node.inputs[0];
                break;
            }
            _ => {
                number = 1.0;
                break;
            }
        }
        at = node.inputs[0];
    }
    if !linear.holds(grad) {
        return Err(refused(&name));
    }
    let summed = summed.into_iter().map(|dim| Value::Int(i64::try_from(dim).unwrap_or(0))).collect();
    if number != 1.0 {
        grad = this.append(Op::Scalar { op: Binary::Mul, value: number, reversed: false }, &[grad])?;
    }
    let (factor, summed) = (this.wrap(grad)?, this.list(summed)?);
    this.tuple(vec![factor, summed])
}

/// Whether tensors are linear in one of them.
struct Linear<'a, 'b> {
    this: &'a Interp<'b>,
    seed: TensorRef,
    /// Whether a tensor depends on the seed.
    known: BTreeMap<TensorRef, bool>,
}

impl Linear<'_, '_> {
    /// Whether a tensor depends on the seed; those before it do not.
    fn depends(&mut self, tensor: TensorRef) -> bool {
        let mut waiting = vec![tensor];
        while let Some(&next) = waiting.last() {
            if next == self.seed || next.node < self.seed.node {
                self.known.insert(next, next == self.seed);
            }
            if self.known.contains_key(&next) {
                waiting.pop();
                continue;
            }
            let inputs = &self.this.builder.node(next).inputs;
            let open: Vec<TensorRef> =
                inputs.iter().filter(|input| !self.known.contains_key(input)).copied().collect();
            if open.is_empty() {
                let depends = inputs.iter().any(|input| self.known[input]);
                self.known.insert(next, depends);
            }
            waiting.extend(open);
        }
        self.known[&tensor]
    }

    /// Whether a tensor that depends on the seed is a sum of products with it, element by element.
    fn holds(&mut self, tensor: TensorRef) -> bool {
        let shape = self.this.builder.fact(self.seed).shape.clone();
        let mut waiting = vec![tensor];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(next) = waiting.pop() {
            if !seen.insert(next) || next == self.seed {
                continue;
            }
            let node = self.this.builder.node(next).clone();
            if self.this.builder.fact(next).shape != shape {
                return false;
            }
            let depends: Vec<bool> = node.inputs.iter().map(|&input| self.depends(input)).collect();
            let fits = match (&node.op, &depends[..]) {
                (Op::Unary(Unary::Neg) | Op::Detach | Op::Cast(DType::F32 | DType::F64), _) => true,
                (Op::Scalar { op: Binary::Mul, .. }, _) => true,
                (Op::Scalar { op: Binary::Div, reversed, .. }, _) => !reversed,
                (Op::Binary(Binary::Mul), [left, right]) => left != right,
                (Op::Binary(Binary::Div), [_, right]) => !right,
                (Op::Binary(Binary::Add | Binary::Sub), [left, right]) => {
                    (*left || self.is_zero(node.inputs[0])) && (*right || self.is_zero(node.inputs[1]))
                }
                (Op::Where, [condition, left, right]) => {
                    !condition
                        && (*left || self.is_zero(node.inputs[1]))
                        && (*right || self.is_zero(node.inputs[2]))
                }
                _ => false,
            };
            if !fits {
                return false;
            }
            waiting
                .extend(node.inputs.iter().zip(&depends).filter(|(_, depends)| **depends).map(|(i, _)| *i));
        }
        true
    }

    fn is_zero(&self, tensor: TensorRef) -> bool {
        self.is_zero_within(tensor, ZERO_DEPTH)
    }

    fn is_zero_within(&self, tensor: TensorRef, depth: usize) -> bool {
        let node = self.this.builder.node(tensor);
        let input = |at: usize| depth > 0 && self.is_zero_within(node.inputs[at], depth - 1);
        match &node.op {
            Op::Full { value, .. } => *value == 0.0,
            Op::Literal { values, .. } => values.iter().all(|value| *value == 0.0),
            Op::Reshape { .. }
            | Op::Expand { .. }
            | Op::Cast(_)
            | Op::Detach
            | Op::Unary(Unary::Neg)
            | Op::Scalar { op: Binary::Mul, .. }
            | Op::Scalar { op: Binary::Div, reversed: false, .. } => input(0),
            Op::Binary(Binary::Mul) => input(0) || input(1),
            Op::Binary(Binary::Add | Binary::Sub) => input(0) && input(1),
            _ => false,
        }
    }
}
