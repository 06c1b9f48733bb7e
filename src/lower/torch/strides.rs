//! How the elements of a tensor lie in memory, as far as it is certain: `view` needs it, `reshape` does not.
//!
//! Input: a tensor of the current pass. Output: strides at the nominal batch size, or nothing where PyTorch's kernels
//! may choose. The rules are those of PyTorch's `TensorIterator` and `computeStride`. Limit: what is not certain counts
//! as fitting any view, and a tensor once made contiguous counts as contiguous under all its names.

use crate::graph::{NOMINAL_BATCH, Op, Shape, TensorRef};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::Interp;

/// Operations looked back over at most.
const DEPTH: usize = 64;

/// Refuse a view of sizes that the tensor's memory cannot be read in.
pub(crate) fn check_view(this: &Interp<'_>, tensor: TensorRef, new: &Shape) -> R<()> {
    if shows(this, tensor, new) != Some(false) {
        return Ok(());
    }
    let got = this.builder.fact(tensor).shape.rank();
    let raise = Raise::runtime(
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two \
         contiguous subspaces). Use .reshape(...) instead.",
    );
    Err(raise.with_hint(Hint::Rank { layer: "strided view".to_owned(), got, call: None }))
}

/// Whether a tensor is certain not to lie in memory in its own order.
pub(crate) fn scattered(this: &Interp<'_>, tensor: TensorRef) -> bool {
    in_order(this, tensor) == Some(false)
}

/// Whether a tensor is certain to lie in memory in its own order.
pub(crate) fn packed(this: &Interp<'_>, tensor: TensorRef) -> bool {
    in_order(this, tensor) == Some(true)
}

/// Whether a copy of a tensor is certain to lie in its own order: a copy of what is not dense keeps the order of its
/// dimensions in memory, not their distance.
pub(crate) fn clones_packed(this: &Interp<'_>, tensor: TensorRef) -> bool {
    let sizes = sizes(&this.builder.fact(tensor).shape);
    let Some(strides) = of(this, tensor, DEPTH) else { return false };
    let long = sizes.iter().zip(&strides).filter(|&(&size, &stride)| size > 1 && stride > 0);
    let order: Vec<i64> = long.map(|(_, &stride)| stride).collect();
    order.is_sorted_by(|a, b| a >= b)
}

fn in_order(this: &Interp<'_>, tensor: TensorRef) -> Option<bool> {
    let strides = of(this, tensor, DEPTH)?;
    Some(is_contiguous(&sizes(&this.builder.fact(tensor).shape), &strides))
}

/// Whether a tensor of other sizes shows this one's memory; nothing where that is not certain.
pub(crate) fn shows(this: &Interp<'_>, tensor: TensorRef, new: &Shape) -> Option<bool> {
    fits(this, tensor, &sizes(new))
}

/// Whether all dimensions but the last ones are certain to lie in memory as one.
pub(crate) fn joins(this: &Interp<'_>, tensor: TensorRef, last: usize) -> bool {
    let sizes = sizes(&this.builder.fact(tensor).shape);
    let Some(lead) = sizes.len().checked_sub(last).filter(|lead| *lead > 1) else { return true };
    let mut new = vec![sizes[..lead].iter().product()];
    new.extend_from_slice(&sizes[lead..]);
    fits(this, tensor, &new) == Some(true)
}

fn fits(this: &Interp<'_>, tensor: TensorRef, new: &[i64]) -> Option<bool> {
    let strides = of(this, tensor, DEPTH)?;
    Some(viewed(&sizes(&this.builder.fact(tensor).shape), &strides, new).is_some())
}

/// Whether several elements of a tensor are certain to be one place in memory.
pub(crate) fn overlaps(this: &Interp<'_>, tensor: TensorRef) -> bool {
    let sizes = sizes(&this.builder.fact(tensor).shape);
    let stays = |strides: Vec<i64>| sizes.iter().zip(strides).any(|(&size, stride)| size > 1 && stride == 0);
    of(this, tensor, DEPTH).is_some_and(stays)
}

fn sizes(shape: &Shape) -> Vec<i64> {
    shape.at(NOMINAL_BATCH)
}

fn contiguous(sizes: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; sizes.len()];
    for dim in (1..sizes.len()).rev() {
        strides[dim - 1] = strides[dim] * sizes[dim].max(1);
    }
    strides
}

fn is_contiguous(sizes: &[i64], strides: &[i64]) -> bool {
    let wanted = contiguous(sizes);
    sizes.contains(&0) || (0..sizes.len()).all(|dim| sizes[dim] == 1 || strides[dim] == wanted[dim])
}

/// Whether the elements fill their memory, in whatever order.
fn is_dense(sizes: &[i64], strides: &[i64]) -> bool {
    let mut dims: Vec<usize> = (0..sizes.len()).filter(|&dim| sizes[dim] != 1).collect();
    dims.sort_by_key(|&dim| strides[dim]);
    let mut expected = 1;
    dims.into_iter().all(|dim| {
        let fits = strides[dim] == expected;
        expected *= sizes[dim];
        fits
    })
}

/// The strides of a view, if there are any: every new dimension must lie within old ones that adjoin in memory.
fn viewed(sizes: &[i64], strides: &[i64], new: &[i64]) -> Option<Vec<i64>> {
    if sizes.is_empty() || sizes.contains(&0) {
        return Some(contiguous(new));
    }
    let mut result = vec![0; new.len()];
    let mut at = new.len();
    let (mut old_count, mut new_count) = (1, 1);
    let mut base = strides.last().copied().unwrap_or(1);
    for dim in (0..sizes.len()).rev() {
        old_count *= sizes[dim];
        let adjoins = dim > 0 && (sizes[dim - 1] == 1 || strides[dim - 1] == old_count * base);
        if adjoins {
            continue;
        }
        while at > 0 && (new_count < old_count || new[at - 1] == 1) {
            at -= 1;
            result[at] = new_count * base;
            new_count *= new[at];
        }
        if new_count != old_count {
            return None;
        }
        if dim > 0 {
            base = strides[dim - 1];
            (old_count, new_count) = (1, 1);
        }
    }
    (at == 0).then_some(result)
}

/// Strides of a tensor, where they are certain. Each is found once: what joins a tensor with itself again and again
/// would double the work at every step.
fn of(this: &Interp<'_>, tensor: TensorRef, depth: usize) -> Option<Vec<i64>> {
    if this.contiguous.contains(&tensor) {
        return Some(contiguous(&sizes(&this.builder.fact(tensor).shape)));
    }
    let depth = depth.checked_sub(1)?;
    if let Some(known) = this.strides.borrow().get(&tensor) {
        return known.clone();
    }
    let strides = found(this, tensor, depth);
    this.strides.borrow_mut().insert(tensor, strides.clone());
    strides
}

fn found(this: &Interp<'_>, tensor: TensorRef, depth: usize) -> Option<Vec<i64>> {
    let own = sizes(&this.builder.fact(tensor).shape);
    let node = this.builder.node(tensor);
    // What comes out of attention depends on the mode and on which of its kernels runs.
    if node.origin.class.starts_with("MultiheadAttention") || node.origin.class.starts_with("Transformer") {
        return None;
    }
    let input = |index: usize| -> Option<(Vec<i64>, Vec<i64>)> {
        let input = *node.inputs.get(index)?;
        Some((sizes(&this.builder.fact(input).shape), of(this, input, depth)?))
    };
    match &node.op {
        Op::Input | Op::Param(_) | Op::Full { .. } | Op::Literal { .. } | Op::Random { .. } => {
            Some(contiguous(&own))
        }
        Op::Linear { .. }
        | Op::LayerNorm { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Reduce { .. } => Some(contiguous(&own)),
        Op::MatMul => {
            let rank = |index: usize| this.builder.fact(node.inputs[index]).shape.rank();
            (rank(0) > 2 || rank(1) <= 2).then(|| contiguous(&own))
        }
        Op::Recurrent(settings) if tensor.output == 0 && settings.batch_first => {
            let [batch, length, width] = own[..] else { return None };
            Some(if length == 1 { vec![width; 3] } else { vec![width, batch * width, 1] })
        }
        Op::Unary(_) | Op::Scalar { .. } | Op::Dropout { .. } | Op::Cast(_) => {
            input(0).filter(|(sizes, strides)| is_dense(sizes, strides)).map(|(_, strides)| strides)
        }
        // The first operand of the result's sizes decides.
        Op::Binary(_) => input(0)
            .filter(|(sizes, strides)| *sizes == own && is_dense(sizes, strides))
            .map(|(_, strides)| strides),
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::BatchNorm(_)
        | Op::GroupNorm { .. }
        | Op::InstanceNorm { .. }
        | Op::Prelu
        | Op::MaxPool(_)
        | Op::AvgPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::AdaptiveMaxPool { .. }
        | Op::FractionalMaxPool { .. }
        | Op::Pad { .. }
        | Op::Interpolate { .. } => {
            input(0).filter(|(sizes, strides)| is_contiguous(sizes, strides)).map(|_| contiguous(&own))
        }
        Op::Cat { .. } | Op::Stack { .. } => (0..node.inputs.len())
            .all(|index| input(index).is_some_and(|(sizes, strides)| is_contiguous(&sizes, &strides)))
            .then(|| contiguous(&own)),
        op => {
            let (sizes, strides) = input(0)?;
            of_view(op, &own, &sizes, strides)
        }
    }
}

/// Strides of a view of a tensor.
fn of_view(op: &Op, own: &[i64], sizes: &[i64], mut strides: Vec<i64>) -> Option<Vec<i64>> {
    match op {
        Op::Reshape { .. } => {
            return Some(viewed(sizes, &strides, own).unwrap_or_else(|| contiguous(own)));
        }
        Op::Permute { dims } => strides = dims.iter().map(|&dim| strides[dim]).collect(),
        Op::Slice { dim, step, .. } => strides[*dim] *= i64::try_from(*step).ok()?,
        Op::Select { dim, .. } => drop(strides.remove(*dim)),
        Op::Unsqueeze { dim } => {
            let stride = if *dim < sizes.len() { sizes[*dim] * strides[*dim] } else { 1 };
            strides.insert(*dim, stride);
        }
        Op::Squeeze { dims } => {
            for &dim in dims.iter().rev() {
                strides.remove(dim);
            }
        }
        Op::Expand { .. } => {
            let lead = own.len() - sizes.len();
            let stretched = |dim: usize| dim < lead || sizes[dim - lead] != own[dim];
            strides =
                (0..own.len()).map(|dim| if stretched(dim) { 0 } else { strides[dim - lead] }).collect();
        }
        Op::Detach => {}
        _ => return None,
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_splits_and_merges_dimensions_that_adjoin_in_memory() {
        assert_eq!(viewed(&[3, 4, 5], &[20, 5, 1], &[12, 5]), Some(vec![5, 1]));
        assert_eq!(viewed(&[3, 4, 5], &[20, 5, 1], &[3, 2, 2, 5]), Some(vec![20, 10, 5, 1]));
        assert_eq!(viewed(&[3, 5, 4], &[20, 1, 5], &[3, 20]), None);
        assert_eq!(viewed(&[3, 5, 4], &[20, 1, 5], &[3, 5, 2, 2]), Some(vec![20, 1, 10, 5]));
        assert_eq!(viewed(&[3, 1, 4], &[8, 4, 1], &[3, 4]), Some(vec![8, 1]));
        assert_eq!(viewed(&[3, 4], &[8, 1], &[12]), None);
        assert_eq!(viewed(&[1], &[1], &[]), Some(vec![]));
        assert_eq!(viewed(&[], &[], &[1, 1]), Some(vec![1, 1]));
    }
}
