//! Values of tensors that do not depend on the input: position tables, masks and indices that a constructor computes.
//!
//! Input: a tensor of the current pass. Output: its elements, where everything it is computed from is written in the
//! source; computed in double precision and, where it is of
//! single precision, rounded after each operation. Limit: the operations below, up to
//! a million elements; anything random or trained has no value here.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::op::{Binary, PadMode, Unary};
use crate::graph::{DType, Init, Op, ParamId, ParamKind, TensorRef};
use crate::lower::error::R;
use crate::lower::interp::{Interp, Mode};
use crate::lower::torch;
use crate::lower::torch::creation::MAX_VALUES;
use crate::lower::torch::numeric;
use crate::lower::value::{Tensor, TensorState, Value};

/// Longest chain of operations that is followed back: in a constructor every result is kept, so chains are short.
const BUILDING_DEPTH: usize = 8;
const TRACING_DEPTH: usize = 200;

/// A tensor's elements, row-major.
#[derive(Clone)]
pub(crate) struct Constant {
    pub(crate) sizes: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) values: Vec<f64>,
}

impl Constant {
    /// One element as a value of its type.
    pub(crate) fn element(&self, at: usize) -> R<Value> {
        let value = self.values[at];
        match self.dtype {
            DType::F32 => Ok(Value::Float(single(value))),
            DType::F64 => Ok(Value::Float(value)),
            DType::I64 => torch::whole(value),
            DType::Bool => Ok(Value::Bool(value != 0.0)),
        }
    }
}

/// The value of a tensor, if it has one.
pub(crate) fn of(this: &mut Interp<'_>, tensor: &Tensor) -> R<Option<Rc<Constant>>> {
    torch::index::follow(this, tensor)?;
    let result = match &*tensor.state.borrow() {
        TensorState::Known { sizes, dtype, init, .. } => {
            return Ok(values(sizes.clone(), *dtype, init).map(Rc::new));
        }
        TensorState::Param(id) => return Ok(buffer(this, *id).map(Rc::new)),
        TensorState::Node { body, .. } if *body != this.body => return Ok(None),
        TensorState::Node { tensor, .. } => *tensor,
    };
    of_result(this, result)
}

/// The value of an operation's result, if it has one.
pub(crate) fn of_result(this: &mut Interp<'_>, tensor: TensorRef) -> R<Option<Rc<Constant>>> {
    let depth = if this.mode == Mode::Building { BUILDING_DEPTH } else { TRACING_DEPTH };
    evaluate(this, tensor, depth, &mut BTreeMap::new())
}

/// What was evaluated already.
type Memo = BTreeMap<TensorRef, Option<Rc<Constant>>>;

fn values(sizes: Vec<usize>, dtype: DType, init: &Init) -> Option<Constant> {
    let count = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    if count > MAX_VALUES {
        return None;
    }
    let values = match init {
        Init::Constant(value) => vec![*value; count],
        Init::Values(values) if values.len() == count => values.clone(),
        _ => return None,
    };
    Some(Constant { sizes, dtype, values })
}

/// A buffer of whole numbers or truths keeps its first values: they are indices and masks, which nothing trains.
fn buffer(this: &Interp<'_>, id: ParamId) -> Option<Constant> {
    let param = this.builder.param(id);
    let kept = matches!(param.kind, ParamKind::Buffer | ParamKind::Unsaved);
    if !kept || (param.dtype.is_floating() && this.mode != Mode::Building) {
        return None;
    }
    values(param.sizes.clone(), param.dtype, &param.init)
}

fn evaluate(
    this: &mut Interp<'_>,
    tensor: TensorRef,
    depth: usize,
    memo: &mut Memo,
) -> R<Option<Rc<Constant>>> {
    if let Some(known) = memo.get(&tensor) {
        return Ok(known.clone());
    }
    let result = evaluate_new(this, tensor, depth, memo)?;
    memo.insert(tensor, result.clone());
    Ok(result)
}

fn evaluate_new(
    this: &mut Interp<'_>,
    tensor: TensorRef,
    depth: usize,
    memo: &mut Memo,
) -> R<Option<Rc<Constant>>> {
    let fact = this.builder.fact(tensor);
    let dtype = fact.dtype;
    let Some(sizes) = fact.shape.known() else { return Ok(None) };
    let Some(count) = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) else {
        return Ok(None);
    };
    // Nodes may hold long literals: they are looked at where they are.
    if depth == 0 || count > MAX_VALUES || tensor.output != 0 || !foldable(&this.builder.node(tensor).op) {
        return Ok(None);
    }
    this.tick(1)?;
    if let Op::Param(id) = this.builder.node(tensor).op {
        return Ok(buffer(this, id).map(Rc::new));
    }
    let sources = this.builder.node(tensor).inputs.clone();
    let mut inputs = Vec::with_capacity(sources.len());
    for input in sources {
        match evaluate(this, input, depth - 1, memo)? {
            Some(constant) => inputs.push(constant),
            None => return Ok(None),
        }
    }
    this.tick(count / 4)?;
    let Some(mut values) = compute(&this.builder.node(tensor).op, &inputs, &sizes) else { return Ok(None) };
    if dtype == DType::F32 {
        values.iter_mut().for_each(|value| *value = single(*value));
    }
    Ok(Some(Rc::new(Constant { sizes, dtype, values })))
}

/// A number as single precision holds it.
#[expect(clippy::cast_possible_truncation, reason = "that is its purpose")]
pub(crate) fn single(number: f64) -> f64 {
    f64::from(number as f32)
}

fn foldable(op: &Op) -> bool {
    match op {
        Op::Unary(Unary::Clamp { .. }) => true,
        Op::Unary(unary) => function(*unary).is_some(),
        Op::Pad { mode, .. } => matches!(mode, PadMode::Constant(_)),
        Op::Param(_)
        | Op::Full { .. }
        | Op::Literal { .. }
        | Op::Binary(_)
        | Op::Scalar { .. }
        | Op::Where
        | Op::Reduce { .. }
        | Op::CumSum { .. }
        | Op::CumProd { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Normalize { .. }
        | Op::MatMul
        | Op::Einsum { .. }
        | Op::Gather { .. }
        | Op::Reshape { .. }
        | Op::Permute { .. }
        | Op::Expand { .. }
        | Op::Repeat { .. }
        | Op::Slice { .. }
        | Op::Select { .. }
        | Op::IndexSelect { .. }
        | Op::SliceScatter { .. }
        | Op::Unsqueeze { .. }
        | Op::Squeeze { .. }
        | Op::Cat { .. }
        | Op::Stack { .. }
        | Op::Flip { .. }
        | Op::Roll { .. }
        | Op::Triangle { .. }
        | Op::Cast(_)
        | Op::Detach => true,
        _ => false,
    }
}

fn function(op: Unary) -> Option<fn(f64) -> f64> {
    Some(match op {
        Unary::Neg => |x| -x,
        Unary::Abs => f64::abs,
        Unary::Sign => |x| if x == 0.0 { 0.0 } else { x.signum() },
        Unary::Exp => f64::exp,
        Unary::Expm1 => f64::exp_m1,
        Unary::Log => f64::ln,
        Unary::Log1p => f64::ln_1p,
        Unary::Log2 => f64::log2,
        Unary::Log10 => f64::log10,
        Unary::Sqrt => f64::sqrt,
        Unary::Rsqrt => |x| 1.0 / x.sqrt(),
        Unary::Square => |x| x * x,
        Unary::Reciprocal => |x| 1.0 / x,
        Unary::Sin => f64::sin,
        Unary::Cos => f64::cos,
        Unary::Tan => f64::tan,
        Unary::Sinh => f64::sinh,
        Unary::Cosh => f64::cosh,
        Unary::Asin => f64::asin,
        Unary::Acos => f64::acos,
        Unary::Atan => f64::atan,
        Unary::Asinh => f64::asinh,
        Unary::Acosh => f64::acosh,
        Unary::Atanh => f64::atanh,
        Unary::Tanh => f64::tanh,
        Unary::Sigmoid => |x| 1.0 / (1.0 + (-x).exp()),
        Unary::Relu => |x| x.max(0.0),
        Unary::Floor => f64::floor,
        Unary::Ceil => f64::ceil,
        Unary::Round => f64::round_ties_even,
        Unary::Trunc => f64::trunc,
        Unary::LogicalNot => |x| f64::from(u8::from(x == 0.0)),
        _ => return None,
    })
}

pub(super) fn truth(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

fn binary(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => (a / b).floor(),
        Binary::Remainder => a - b * (a / b).floor(),
        Binary::Pow => a.powf(b),
        Binary::Maximum => a.max(b),
        Binary::Minimum => a.min(b),
        Binary::Atan2 => a.atan2(b),
        Binary::Eq => truth(a == b),
        Binary::Ne => truth(a != b),
        Binary::Lt => truth(a < b),
        Binary::Le => truth(a <= b),
        Binary::Gt => truth(a > b),
        Binary::Ge => truth(a >= b),
        Binary::And => truth(a != 0.0 && b != 0.0),
        Binary::Or => truth(a != 0.0 || b != 0.0),
    }
}

/// The elements of a tensor of these sizes, each from its place.
pub(super) fn build(sizes: &[usize], mut element: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    let count: usize = sizes.iter().product();
    let mut place = vec![0; sizes.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(element(&place));
        for axis in (0..sizes.len()).rev() {
            place[axis] += 1;
            if place[axis] < sizes[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    values
}

impl Constant {
    /// The element at a place, which may have more dimensions in front, and where this has size 1.
    pub(super) fn at(&self, place: &[usize]) -> f64 {
        let lead = place.len() - self.sizes.len();
        let offset = self
            .sizes
            .iter()
            .zip(&place[lead..])
            .fold(0, |offset, (&size, &at)| offset * size + if size == 1 { 0 } else { at });
        self.values[offset]
    }
}

fn compute(op: &Op, inputs: &[Rc<Constant>], sizes: &[usize]) -> Option<Vec<f64>> {
    let count: usize = sizes.iter().product();
    let first = inputs.first();
    Some(match op {
        Op::Full { value, .. } => vec![*value; count],
        Op::Literal { values, .. } => values.clone(),
        Op::Cast(DType::I64) => first?.values.iter().map(|value| value.trunc()).collect(),
        Op::Cast(DType::Bool) => first?.values.iter().map(|&value| truth(value != 0.0)).collect(),
        Op::Cast(DType::F32 | DType::F64)
        | Op::Detach
        | Op::Reshape { .. }
        | Op::Unsqueeze { .. }
        | Op::Squeeze { .. } => first?.values.clone(),
        Op::Unary(Unary::Clamp { min, max }) => {
            let clamp = |&x: &f64| if x.is_nan() { x } else { x.max(*min).min(*max) };
            first?.values.iter().map(clamp).collect()
        }
        Op::Unary(unary) => {
            let run = function(*unary)?;
            first?.values.iter().map(|&value| run(value)).collect()
        }
        Op::Binary(op) => {
            let (a, b) = (first?, inputs.get(1)?);
            build(sizes, |place| binary(*op, a.at(place), b.at(place)))
        }
        Op::Scalar { op, value, reversed } => {
            let run = |x: f64| if *reversed { binary(*op, *value, x) } else { binary(*op, x, *value) };
            first?.values.iter().map(|&x| run(x)).collect()
        }
        Op::Where => {
            let (test, a, b) = (first?, inputs.get(1)?, inputs.get(2)?);
            build(sizes, |place| if test.at(place) != 0.0 { a.at(place) } else { b.at(place) })
        }
        _ => match numeric::compute(op, inputs, sizes) {
            Some(values) => values,
            None => moved(op, inputs, sizes)?,
        },
    })
}

/// Operations that only choose which element goes where.
fn moved(op: &Op, inputs: &[Rc<Constant>], sizes: &[usize]) -> Option<Vec<f64>> {
    let x = inputs.first()?;
    // The place in the input from the place in the output.
    let read = |map: &mut dyn FnMut(&mut Vec<usize>)| {
        let mut at = Vec::new();
        build(sizes, |place| {
            at.clear();
            at.extend_from_slice(place);
            map(&mut at);
            x.at(&at)
        })
    };
    Some(match op {
        Op::Permute { dims } => build(sizes, |place| {
            let mut at = vec![0; place.len()];
            for (&dim, &index) in dims.iter().zip(place) {
                at[dim] = index;
            }
            x.at(&at)
        }),
        Op::Expand { .. } => read(&mut |_| {}),
        Op::Repeat { .. } => read(&mut |at| {
            let lead = at.len() - x.sizes.len();
            at.drain(..lead);
            at.iter_mut().zip(&x.sizes).for_each(|(index, &size)| *index %= size.max(1));
        }),
        Op::Slice { dim, start, step, .. } => {
            let start = start.known()?;
            read(&mut |at| at[*dim] = start + at[*dim] * step)
        }
        Op::Select { dim, index } => read(&mut |at| at.insert(*dim, *index)),
        Op::Flip { dims } => read(&mut |at| dims.iter().for_each(|&dim| at[dim] = sizes[dim] - 1 - at[dim])),
        Op::Roll { shifts, dims } => {
            let mut back = Vec::new();
            for (&shift, &dim) in shifts.iter().zip(dims) {
                let size = i64::try_from(sizes[dim]).ok()?.max(1);
                back.push((dim, usize::try_from((-shift).rem_euclid(size)).ok()?));
            }
            read(&mut |at| back.iter().for_each(|&(dim, by)| at[dim] = (at[dim] + by) % sizes[dim].max(1)))
        }
        Op::IndexSelect { dim } => {
            let index = whole(inputs.get(1)?, x.sizes[*dim])?;
            read(&mut |at| at[*dim] = index[at[*dim]])
        }
        Op::Gather { dim } => {
            let index = inputs.get(1)?;
            whole(index, x.sizes[*dim])?;
            build(sizes, |place| {
                let mut at = place.to_vec();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "they are indices"
                )]
                let index = index.at(place) as usize;
                at[*dim] = index;
                x.at(&at)
            })
        }
        Op::SliceScatter { dim, start, end, step } => {
            let (new, start, end) = (inputs.get(1)?, start.known()?, end.known()?);
            build(sizes, |place| {
                let at = place[*dim];
                if at < start || at >= end || (at - start) % step != 0 {
                    return x.at(place);
                }
                let mut inner = place.to_vec();
                inner[*dim] = (at - start) / step;
                new.at(&inner)
            })
        }
        Op::Cat { dim } => {
            let starts: Vec<usize> = inputs
                .iter()
                .scan(0, |sum, input| {
                    let start = *sum;
                    *sum += input.sizes.get(*dim).copied().unwrap_or(0);
                    Some(start)
                })
                .collect();
            build(sizes, |place| {
                let part = starts.iter().rposition(|&start| start <= place[*dim]).unwrap_or(0);
                let mut at = place.to_vec();
                at[*dim] -= starts[part];
                inputs[part].at(&at)
            })
        }
        Op::Stack { dim } => build(sizes, |place| {
            let mut at = place.to_vec();
            let part = at.remove(*dim);
            inputs[part].at(&at)
        }),
        Op::Triangle { upper, diagonal } => build(sizes, |place| {
            let [.., row, column] = place else { return 0.0 };
            let across = i64::try_from(*column).unwrap_or(0) - i64::try_from(*row).unwrap_or(0);
            let kept = if *upper { across >= *diagonal } else { across <= *diagonal };
            if kept { x.at(place) } else { 0.0 }
        }),
        Op::Pad { pads, mode: PadMode::Constant(value) } => build(sizes, |place| {
            let mut at = Vec::with_capacity(place.len());
            for ((&index, &(before, _)), &size) in place.iter().zip(pads).zip(&x.sizes) {
                match usize::try_from(i64::try_from(index).unwrap_or(0) - before) {
                    Ok(inner) if inner < size => at.push(inner),
                    _ => return *value,
                }
            }
            x.at(&at)
        }),
        _ => return None,
    })
}

/// Indices into a dimension of this size.
pub(crate) fn whole(index: &Constant, size: usize) -> Option<Vec<usize>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let one = |&value: &f64| {
        let at = if value < 0.0 { value + size as f64 } else { value };
        (at >= 0.0 && at < size as f64 && at.fract() == 0.0).then_some(at as usize)
    };
    index.values.iter().map(one).collect()
}
