//! Operations that read or write at computed places: sorting, gathering, scattering, patches, sampling on a grid.
//!
//! # Shapes
//! `gather`: input of rank r and indices of rank r, no larger but in the dimension; `unfold`: `(N, C, H, W)` to
//! `(N, C * kernel, L)`, `fold` back; `grid_sample`: `(N, C, H, W)` and `(N, H', W', 2)` to `(N, C, H', W')`.

use super::layout::within;
use super::{float, known, layout, pooled_size, precision, shape_error, take};
use crate::graph::op::{Op, Patches};
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

pub(super) fn infer(op: &Op, inputs: &[Fact]) -> Result<Vec<Fact>, BuildError> {
    let one = |fact: &Fact, shape: Shape| Ok(vec![Fact { shape, dtype: fact.dtype }]);
    match op {
        Op::Sort { dim, .. } => {
            let [input] = take("sort", inputs)?;
            within(*dim, &input.shape)?;
            Ok(vec![input.clone(), Fact { shape: input.shape.clone(), dtype: DType::I64 }])
        }
        Op::Gather { dim } => {
            let [input, index] = take("gather", inputs)?;
            indices("gather", *dim, input, index)?;
            one(input, index.shape.clone())
        }
        Op::Scatter { dim, .. } => {
            let [input, index, values] = take("scatter", inputs)?;
            indices("scatter", *dim, input, index)?;
            if values.dtype != input.dtype {
                return Err(shape_error("scatter(): Expected self.dtype to be equal to src.dtype"));
            }
            if values.shape != index.shape {
                return Err(BuildError::Unsupported(format!(
                    "scatter of values of sizes {} at indices of sizes {}",
                    values.shape, index.shape
                )));
            }
            one(input, input.shape.clone())
        }
        Op::SliceScatter { dim, start, end, step } => {
            let [input, values] = take("slice_scatter", inputs)?;
            within(*dim, &input.shape)?;
            let mut shape = input.shape.clone();
            shape.0[*dim] = layout::sliced_size(*start, *end, *step).ok_or_else(|| {
                BuildError::Unsupported("a slice that depends on the batch in steps".into())
            })?;
            if values.shape != shape {
                return Err(shape_error(format!(
                    "expected src to have a size equal to the slice of self. src size = {}, slice size = {shape}",
                    values.shape
                )));
            }
            one(input, input.shape.clone())
        }
        Op::Unfold(patches) => {
            let [input] = take("unfold", inputs)?;
            unfold(patches, input).map(|shape| vec![Fact { shape, dtype: input.dtype }])
        }
        Op::Fold { sizes, patches } => {
            let [input] = take("fold", inputs)?;
            fold(*sizes, patches, input).map(|shape| vec![Fact { shape, dtype: input.dtype }])
        }
        Op::GridSample { .. } => {
            let [input, grid] = take("grid_sample", inputs)?;
            let dtype = precision("grid_sampler", inputs)?;
            grid_sample(input, grid).map(|shape| vec![Fact { shape, dtype }])
        }
        other => Err(shape_error(format!("no shape rule for {}", other.name()))),
    }
}

fn indices(name: &str, dim: usize, input: &Fact, index: &Fact) -> Result<(), BuildError> {
    if index.dtype != DType::I64 {
        return Err(shape_error(format!("{name}(): Expected dtype int64 for index")));
    }
    within(dim, &input.shape)?;
    let fits = input.shape.rank() == index.shape.rank()
        && input.shape.0.iter().zip(&index.shape.0).enumerate().all(|(axis, (have, want))| {
            axis == dim || [1, 2, 3].iter().all(|&batch| want.at(batch) <= have.at(batch))
        });
    if fits {
        return Ok(());
    }
    Err(shape_error(format!(
        "Size does not match at dimension expected index {} to be no larger than self {} apart from dimension {dim}",
        index.shape, input.shape
    )))
}

/// How many patches fit along height and width.
fn counts(name: &str, patches: &Patches, sizes: [usize; 2]) -> Result<[usize; 2], BuildError> {
    let mut counts = [0; 2];
    for axis in 0..2 {
        let (kernel, dilation) = (patches.kernel[axis], patches.dilation[axis]);
        if kernel == 0 || dilation == 0 || patches.stride[axis] == 0 {
            return Err(shape_error(format!(
                "{name}: kernel size, dilation and stride should be greater than zero"
            )));
        }
        let (stride, padding) = (patches.stride[axis], patches.padding[axis]);
        counts[axis] = pooled_size(sizes[axis], kernel, stride, padding, dilation, false).unwrap_or(0);
    }
    Ok(counts)
}

fn unfold(patches: &Patches, input: &Fact) -> Result<Shape, BuildError> {
    float("im2col", input)?;
    let [batch, channels, height, width] = input.shape.0[..] else {
        return Err(shape_error(format!(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for \
             input, but got: {}",
            input.shape
        )));
    };
    let counts = counts("unfold", patches, [known("unfold", height)?, known("unfold", width)?])?;
    if counts.contains(&0) {
        return Err(shape_error(format!(
            "Given input with spatial size ({height}, {width}), kernel_size={:?}, calculated shape of the array of \
             sliding blocks as {counts:?}, but its components must be at least one",
            patches.kernel
        )));
    }
    let rows = known("unfold", channels)?.saturating_mul(patches.kernel[0]).saturating_mul(patches.kernel[1]);
    let columns = counts[0].checked_mul(counts[1]);
    let columns = columns.ok_or_else(|| shape_error("im2col: padding is too large for a size of 64 bits"))?;
    Ok(Shape(vec![batch, Dim::from(rows), Dim::from(columns)]))
}

fn fold(sizes: [usize; 2], patches: &Patches, input: &Fact) -> Result<Shape, BuildError> {
    float("col2im", input)?;
    let [batch, rows, columns] = input.shape.0[..] else {
        return Err(shape_error(format!(
            "Input Error: Only unbatched (2D) or batched (3D) input Tensors are supported (got {}D)",
            input.shape.rank()
        )));
    };
    let (rows, columns) = (known("fold", rows)?, known("fold", columns)?);
    let points = patches.kernel[0].saturating_mul(patches.kernel[1]);
    let counts = counts("fold", patches, sizes)?;
    if points == 0 || rows % points != 0 || counts[0].checked_mul(counts[1]) != Some(columns) {
        return Err(shape_error(format!(
            "Given output_size={sizes:?}, kernel_size={:?}, expected input of {} blocks with channels divisible by \
             {points}, but got {}",
            patches.kernel,
            counts[0].saturating_mul(counts[1]),
            input.shape
        )));
    }
    Ok(Shape(vec![batch, Dim::from(rows / points), Dim::from(sizes[0]), Dim::from(sizes[1])]))
}

fn grid_sample(input: &Fact, grid: &Fact) -> Result<Shape, BuildError> {
    float("grid_sampler", input)?;
    float("grid_sampler", grid)?;
    match (&input.shape.0[..], &grid.shape.0[..]) {
        (&[batch, channels, ..], &[other, height, width, two])
            if input.shape.rank() == 4 && batch == other && two == Dim::fixed(2) =>
        {
            Ok(Shape(vec![batch, channels, height, width]))
        }
        _ => Err(shape_error(format!(
            "grid_sampler(): expected 4D input and grid with the same batch size and a last dimension of 2, but got \
             input with sizes {} and grid with sizes {}",
            input.shape, grid.shape
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfold_and_fold_are_each_others_shapes() {
        let patches = Patches { kernel: [3, 2], dilation: [1, 1], padding: [1, 0], stride: [2, 2] };
        let input = Fact { shape: Shape::batched(&[3, 8, 6]), dtype: DType::F32 };
        let columns = unfold(&patches, &input).unwrap();
        assert_eq!(columns, Shape::batched(&[18, 12]));
        let back = fold([8, 6], &patches, &Fact { shape: columns, dtype: DType::F32 }).unwrap();
        assert_eq!(back, input.shape);
    }

    #[test]
    fn gather_refuses_indices_that_reach_beyond_other_dimensions() {
        let input = Fact { shape: Shape::batched(&[3, 4]), dtype: DType::F32 };
        let index = |sizes: &[usize]| Fact { shape: Shape::batched(sizes), dtype: DType::I64 };
        assert!(infer(&Op::Gather { dim: 2 }, &[input.clone(), index(&[3, 9])]).is_ok());
        assert!(infer(&Op::Gather { dim: 2 }, &[input, index(&[4, 2])]).is_err());
    }
}
