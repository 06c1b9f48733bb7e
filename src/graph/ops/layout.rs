//! Operations that move elements without changing them: reshape, permute, slice, cat, pad, interpolate and the like.

use super::elementwise::widest;
use super::{first, known, shape_error, take};
use crate::graph::op::{Op, PadMode};
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

/// The common shape of two tensors under NumPy's broadcasting rules.
///
/// # Errors
/// The sizes differ in a dimension and neither is 1.
pub fn broadcast(left: &Shape, right: &Shape) -> Result<Shape, BuildError> {
    let rank = left.rank().max(right.rank());
    let at = |shape: &Shape, index: usize| {
        (index + shape.rank()).checked_sub(rank).map_or(Dim::fixed(1), |index| shape.0[index])
    };
    let mut dims = Vec::with_capacity(rank);
    for index in 0..rank {
        let (a, b) = (at(left, index), at(right, index));
        dims.push(if a == b || b == Dim::fixed(1) {
            a
        } else if a == Dim::fixed(1) {
            b
        } else {
            return Err(shape_error(format!(
                "The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension {index}"
            )));
        });
    }
    Ok(Shape(dims))
}

/// Number of elements of a slice from `start` to `end` by `step`.
pub fn sliced_size(start: Dim, end: Dim, step: usize) -> Option<Dim> {
    let length = end.minus(start);
    match (length.known(), step) {
        (_, 0) => None,
        (_, 1) => Some(length),
        (Some(length), _) => Some(Dim::from(length.div_ceil(step))),
        (None, _) => None,
    }
}

/// Fact of the result.
pub(super) fn infer(op: &Op, inputs: &[Fact]) -> Result<Fact, BuildError> {
    let input = first("operation", inputs)?;
    let like = |shape: Shape| Ok(Fact { shape, dtype: input.dtype });
    let shape = &input.shape;
    match op {
        Op::Reshape { shape: new } => like(reshape(shape, new)?),
        Op::Permute { dims } => like(permute(shape, dims)?),
        Op::Expand { shape: new } => like(expand(shape, new)?),
        Op::Repeat { counts } => like(repeat(shape, counts)?),
        Op::Slice { dim, start, end, step } => {
            let size = sliced_size(*start, *end, *step)
                .ok_or_else(|| BuildError::Unsupported("a slice with a step over the batch".to_owned()))?;
            like(with(shape, *dim, size)?)
        }
        Op::Select { dim, index } => like(select(shape, *dim, *index)?),
        Op::IndexSelect { dim } => {
            let [_, indices] = take("index_select", inputs)?;
            if indices.dtype != DType::I64 || indices.shape.rank() != 1 {
                return Err(shape_error("index_select(): Index is supposed to be a vector of integers"));
            }
            like(with(shape, *dim, indices.shape.0[0])?)
        }
        Op::Unsqueeze { dim } => {
            if *dim > shape.rank() {
                return Err(out_of_range(*dim, shape.rank() + 1));
            }
            let mut dims = shape.0.clone();
            dims.insert(*dim, Dim::fixed(1));
            like(Shape(dims))
        }
        Op::Squeeze { dims } => {
            let kept = shape.0.iter().enumerate().filter(|(index, _)| !dims.contains(index));
            like(Shape(kept.map(|(_, &dim)| dim).collect()))
        }
        Op::Cat { dim } => Ok(Fact { shape: cat(*dim, inputs)?, dtype: widest(inputs) }),
        Op::Stack { dim } => Ok(Fact { shape: stack(*dim, inputs)?, dtype: widest(inputs) }),
        Op::Flip { dims } | Op::Roll { dims, .. } => {
            dims.iter().try_for_each(|&dim| within(dim, shape))?;
            like(shape.clone())
        }
        Op::Pad { pads, mode } => like(pad(shape, pads, *mode)?),
        Op::PixelShuffle { factor } => like(pixel_shuffle(shape, *factor)?),
        Op::PixelUnshuffle { factor } => like(pixel_unshuffle(shape, *factor)?),
        Op::ChannelShuffle { groups } => {
            let channels = shape.0.get(1).copied().and_then(Dim::known).unwrap_or(0);
            if *groups == 0 || channels == 0 || channels % groups != 0 {
                return Err(shape_error(format!(
                    "channel_shuffle: number of channels {channels} must be divisible by groups {groups}"
                )));
            }
            like(shape.clone())
        }
        Op::Interpolate { sizes, .. } => like(interpolate(shape, sizes)?),
        other => Err(shape_error(format!("no shape rule for {other:?}"))),
    }
}

fn reshape(shape: &Shape, new: &Shape) -> Result<Shape, BuildError> {
    let (from, to) = (shape.numel(), new.numel());
    if from.is_some() && from == to {
        return Ok(new.clone());
    }
    Err(shape_error(format!("shape '{new}' is invalid for input of size {shape}")))
}

fn permute(shape: &Shape, dims: &[usize]) -> Result<Shape, BuildError> {
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..shape.rank()) {
        return Err(shape_error(format!(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired \
             ordering of dimensions i.e. input.dim() = {} is not equal to len(dims) = {}",
            shape.rank(),
            dims.len()
        )));
    }
    Ok(Shape(dims.iter().map(|&dim| shape.0[dim]).collect()))
}

fn expand(shape: &Shape, new: &Shape) -> Result<Shape, BuildError> {
    let fits = new.rank() >= shape.rank() && broadcast(shape, new).is_ok_and(|common| common == *new);
    if fits {
        return Ok(new.clone());
    }
    Err(shape_error(format!("The expanded size of the tensor {new} must match the existing size {shape}")))
}

fn repeat(shape: &Shape, counts: &[Dim]) -> Result<Shape, BuildError> {
    let Some(extra) = counts.len().checked_sub(shape.rank()) else {
        return Err(shape_error(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
        ));
    };
    let sizes = std::iter::repeat_n(Dim::fixed(1), extra).chain(shape.0.iter().copied());
    let dims: Option<Vec<Dim>> = sizes.zip(counts).map(|(size, &count)| size.times(count)).collect();
    dims.map(Shape).ok_or_else(|| BuildError::Unsupported("repeat quadratic in the batch".to_owned()))
}

fn select(shape: &Shape, dim: usize, index: usize) -> Result<Shape, BuildError> {
    within(dim, shape)?;
    let size = shape.0[dim];
    if size.known().is_some_and(|size| index >= size) {
        return Err(shape_error(format!(
            "index {index} is out of bounds for dimension {dim} with size {size}"
        )));
    }
    let mut dims = shape.0.clone();
    dims.remove(dim);
    Ok(Shape(dims))
}

fn cat(dim: usize, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let head = &inputs[0].shape;
    within(dim, head)?;
    let mut size = Dim::fixed(0);
    for (position, input) in inputs.iter().enumerate() {
        if input.shape.rank() != head.rank() {
            return Err(shape_error(format!(
                "Tensors must have same number of dimensions: got {} and {}",
                head.rank(),
                input.shape.rank()
            )));
        }
        for (index, (&expected, &got)) in head.0.iter().zip(&input.shape.0).enumerate() {
            if index != dim && expected != got {
                return Err(shape_error(format!(
                    "Sizes of tensors must match except in dimension {dim}. Expected size {expected} but got size \
                     {got} for tensor number {position} in the list."
                )));
            }
        }
        size = size.plus(input.shape.0[dim]);
    }
    with(head, dim, size)
}

fn stack(dim: usize, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let head = &inputs[0].shape;
    if dim > head.rank() {
        return Err(out_of_range(dim, head.rank() + 1));
    }
    if let Some(other) = inputs.iter().find(|input| input.shape != *head) {
        return Err(shape_error(format!(
            "stack expects each tensor to be equal size, but got {head} and {}",
            other.shape
        )));
    }
    let mut dims = head.0.clone();
    dims.insert(dim, Dim::from(inputs.len()));
    Ok(Shape(dims))
}

fn pad(shape: &Shape, pads: &[(i64, i64)], mode: PadMode) -> Result<Shape, BuildError> {
    if pads.len() != shape.rank() {
        return Err(shape_error(format!(
            "pad: {} pairs for a tensor of {} dimensions",
            pads.len(),
            shape.rank()
        )));
    }
    let mut dims = Vec::with_capacity(pads.len());
    for (&dim, &(before, after)) in shape.0.iter().zip(pads) {
        if (before, after) == (0, 0) {
            dims.push(dim);
            continue;
        }
        let length = i64::try_from(known("padding", dim)?).unwrap_or(i64::MAX);
        let most = match mode {
            PadMode::Constant(_) | PadMode::Replicate => i64::MAX,
            PadMode::Reflect => length - 1,
            PadMode::Circular => length,
        };
        if before.max(after) > most {
            return Err(shape_error(format!(
                "Padding size should be less than the corresponding input dimension, but got: padding ({before}, \
                 {after}) at a dimension of size {length}"
            )));
        }
        let size = length.saturating_add(before).saturating_add(after);
        if size < 0 || (size == 0 && length > 0) {
            return Err(shape_error(format!(
                "The input size {length}, plus negative padding {before} and {after}, resulted in a negative output \
                 size"
            )));
        }
        dims.push(Dim::fixed(size));
    }
    Ok(Shape(dims))
}

fn pixel_shuffle(shape: &Shape, factor: usize) -> Result<Shape, BuildError> {
    let [leading @ .., channels, height, width] = &shape.0[..] else {
        return Err(shape_error("pixel_shuffle expects input to have at least 3 dimensions"));
    };
    let (channels, square) = (known("pixel_shuffle", *channels)?, factor * factor);
    if square == 0 || channels % square != 0 {
        return Err(shape_error(format!(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, \
             but input.size(-3)={channels} is not divisible by {square}"
        )));
    }
    let grown = |dim: &Dim| known("pixel_shuffle", *dim).map(|size| Dim::from(size * factor));
    let mut dims = leading.to_vec();
    dims.extend([Dim::from(channels / square), grown(height)?, grown(width)?]);
    Ok(Shape(dims))
}

fn pixel_unshuffle(shape: &Shape, factor: usize) -> Result<Shape, BuildError> {
    let [leading @ .., channels, height, width] = &shape.0[..] else {
        return Err(shape_error("pixel_unshuffle expects input to have at least 3 dimensions"));
    };
    let shrunk = |dim: &Dim| match known("pixel_unshuffle", *dim)? {
        size if factor > 0 && size % factor == 0 => Ok(Dim::from(size / factor)),
        size => Err(shape_error(format!(
            "pixel_unshuffle expects height and width to be divisible by downscale_factor, but {size} is not \
             divisible by {factor}"
        ))),
    };
    let mut dims = leading.to_vec();
    let channels = known("pixel_unshuffle", *channels)? * factor * factor;
    dims.extend([Dim::from(channels), shrunk(height)?, shrunk(width)?]);
    Ok(Shape(dims))
}

fn interpolate(shape: &Shape, sizes: &[usize]) -> Result<Shape, BuildError> {
    if shape.rank() != sizes.len() + 2 {
        return Err(shape_error(format!(
            "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions \
             of {} and output size of {sizes:?}",
            shape.rank().saturating_sub(2)
        )));
    }
    if sizes.contains(&0) {
        return Err(shape_error("Input and output sizes should be greater than 0"));
    }
    let mut dims = shape.0[..2].to_vec();
    dims.extend(sizes.iter().map(|&size| Dim::from(size)));
    Ok(Shape(dims))
}

fn with(shape: &Shape, dim: usize, size: Dim) -> Result<Shape, BuildError> {
    within(dim, shape)?;
    let mut dims = shape.0.clone();
    dims[dim] = size;
    Ok(Shape(dims))
}

pub(super) fn within(dim: usize, shape: &Shape) -> Result<(), BuildError> {
    if dim < shape.rank() { Ok(()) } else { Err(out_of_range(dim, shape.rank())) }
}

fn out_of_range(dim: usize, rank: usize) -> BuildError {
    shape_error(format!(
        "Dimension out of range (expected to be in range of [-{rank}, {last}], but got {dim})",
        last = rank.saturating_sub(1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let left = Shape::batched(&[8, 1, 4]);
        assert_eq!(broadcast(&left, &Shape::fixed(&[5, 1])).unwrap(), Shape::batched(&[8, 5, 4]));
        assert_eq!(
            broadcast(&left, &Shape::fixed(&[3, 1, 1])).unwrap_err().to_string(),
            "The size of tensor a (8) must match the size of tensor b (3) at non-singleton dimension 1"
        );
    }

    #[test]
    fn a_reshape_must_keep_the_number_of_elements_for_every_batch() {
        let shape = Shape::batched(&[16, 5, 5]);
        assert_eq!(reshape(&shape, &Shape::batched(&[400])).unwrap(), Shape::batched(&[400]));
        assert!(reshape(&shape, &Shape::fixed(&[2, 400])).is_err());
    }

    #[test]
    fn cat_names_the_tensor_that_does_not_fit() {
        let fact = |sizes: &[usize]| Fact { shape: Shape::batched(sizes), dtype: DType::F32 };
        let message = cat(1, &[fact(&[3, 8, 8]), fact(&[3, 4, 8])]).unwrap_err().to_string();
        assert!(message.contains("Expected size 8 but got size 4 for tensor number 1"), "{message}");
        assert_eq!(cat(1, &[fact(&[3, 8, 8]), fact(&[5, 8, 8])]).unwrap(), Shape::batched(&[8, 8, 8]));
    }

    #[test]
    fn reflection_cannot_reach_beyond_the_other_end() {
        let shape = Shape::batched(&[1, 3, 3]);
        let pads = [(0, 0), (0, 0), (3, 0), (0, 0)];
        assert!(pad(&shape, &pads, PadMode::Reflect).is_err());
        assert_eq!(pad(&shape, &pads, PadMode::Circular).unwrap(), Shape::batched(&[1, 6, 3]));
    }
}
