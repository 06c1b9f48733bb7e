//! Pooling: `max_pool`, `avg_pool`, `lp_pool`, the adaptive and the fractional pools, in one, two or three dimensions.
//!
//! # Shapes
//! input `(N, C, *S)` or `(C, *S)`; output the same with pooled `*S'`. Fractional pools also take samples `(N, C, s)`
//! for `s` spatial dimensions, with an N of 1 where the input has none.

use super::{first, float, known, shape_error, take};
use crate::graph::op::Pool;
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

/// Length of one pooled dimension, as PyTorch's `pooling_output_shape`: in ceil mode a last window, which may be the
/// only one, may hang over the end, but must not start in the right padding. `None` where there is no window.
pub fn pooled_size(
    length: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    ceil_mode: bool,
) -> Option<usize> {
    let between = kernel.checked_sub(1)?;
    let [length, between, stride, padding, dilation] =
        [length, between, stride, padding, dilation].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let reach = dilation.checked_mul(between)?.checked_add(1)?;
    let free = padding.checked_mul(2)?.checked_add(length)?.checked_sub(reach)?;
    let rounded = if ceil_mode { free.checked_add(stride - 1)? } else { free };
    // A window larger than the input leaves less than nothing free: rounded down, not towards zero.
    let mut size = rounded.checked_div_euclid(stride)? + 1;
    if ceil_mode && (size - 1).checked_mul(stride)? >= length.checked_add(padding)? {
        size -= 1;
    }
    usize::try_from(size).ok().filter(|&size| size > 0)
}

/// Output shape of a max pool.
pub(super) fn max_pool(window: &Pool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    pooled("max_pool", window, inputs)
}

/// Output shape of an average or power-mean pool.
pub(super) fn avg_pool(window: &Pool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    pooled("avg_pool", window, inputs)
}

/// Output shape of an adaptive pool to `sizes`.
pub(super) fn adaptive(name: &str, sizes: &[usize], inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first(name, inputs)?;
    let leading = leading(name, sizes.len(), input)?;
    for &dim in &input.shape.0[leading..] {
        if known(name, dim)? == 0 {
            return Err(shape_error(format!(
                "{name}{}d(): expected input to have non-zero size for non-batch dimensions, but input has sizes {}",
                sizes.len(),
                input.shape
            )));
        }
    }
    let mut shape = Shape(input.shape.0[..leading].to_vec());
    shape.0.extend(sizes.iter().map(|&size| Dim::from(size)));
    Ok(shape)
}

/// Maxima and indices of a fractional max pool.
pub(super) fn fractional(
    kernel: &[usize],
    sizes: &[usize],
    inputs: &[Fact],
) -> Result<Vec<Fact>, BuildError> {
    let [input, samples] = take("fractional_max_pool", inputs)?;
    let spatial = sizes.len();
    let leading = leading("fractional_max_pool", spatial, input)?;
    float("fractional_max_pool", samples)?;
    let mut shape = Shape(input.shape.0[..leading].to_vec());
    for axis in 0..spatial {
        let (kernel, size) = (kernel[axis], sizes[axis]);
        let length = known("fractional_max_pool", input.shape.0[leading + axis])?;
        if kernel == 0 || size == 0 || (size - 1).saturating_add(kernel) > length {
            return Err(shape_error(format!(
                "fractional_max_pool{spatial}d(): windows of size {kernel} are too large for {size} outputs of an \
                 input of length {length}"
            )));
        }
        shape.0.push(Dim::from(size));
    }
    let mut wanted = vec![Dim::from(1)];
    wanted.splice(..usize::from(leading == 2), input.shape.0[..leading - 1].iter().copied());
    wanted.extend([input.shape.0[leading - 1], Dim::from(spatial)]);
    if samples.shape.0 != wanted {
        return Err(shape_error(format!(
            "fractional_max_pool{spatial}d(): expected samples of sizes {}, got {}",
            Shape(wanted),
            samples.shape
        )));
    }
    Ok(vec![Fact { shape: shape.clone(), dtype: input.dtype }, Fact { shape, dtype: DType::I64 }])
}

fn pooled(name: &str, window: &Pool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first(name, inputs)?;
    let spatial = window.kernel.len();
    let leading = leading(name, spatial, input)?;
    let mut shape = Shape(input.shape.0[..leading].to_vec());
    for axis in 0..spatial {
        let (kernel, stride, padding) = (window.kernel[axis], window.stride[axis], window.padding[axis]);
        if kernel == 0 || window.dilation[axis] == 0 {
            return Err(shape_error(format!("{name}{spatial}d: kernel size should be greater than zero")));
        }
        if stride == 0 {
            return Err(shape_error(format!("{name}{spatial}d: stride should not be zero")));
        }
        if padding > kernel / 2 {
            return Err(shape_error(format!(
                "pad should be at most half of effective kernel size, but got pad={padding}, kernel_size={kernel} \
                 and dilation={}",
                window.dilation[axis]
            )));
        }
        let length = known(name, input.shape.0[leading + axis])?;
        let size = pooled_size(length, kernel, stride, padding, window.dilation[axis], window.ceil_mode)
            .ok_or_else(|| {
                shape_error(format!(
                    "Given input size: {}. Calculated output size is too small for a {name}{spatial}d with kernel \
                     size {kernel}",
                    input.shape
                ))
            })?;
        shape.0.push(Dim::from(size));
    }
    Ok(shape)
}

/// Number of dimensions before the spatial ones.
fn leading(name: &str, spatial: usize, input: &Fact) -> Result<usize, BuildError> {
    float(name, input)?;
    let rank = input.shape.rank();
    if rank != spatial + 1 && rank != spatial + 2 {
        return Err(shape_error(format!(
            "{name}{spatial}d() expected {}D or {}D input, but got input of size: {}",
            spatial + 1,
            spatial + 2,
            input.shape
        )));
    }
    Ok(rank - spatial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceil_mode_drops_a_window_that_starts_in_the_padding() {
        // 5 long, windows of 2 by 2, padding 1: starts at -1, 1, 3 and (ceil) 5, which is in the padding.
        assert_eq!(pooled_size(5, 2, 2, 1, 1, true), Some(3));
        assert_eq!(pooled_size(5, 2, 2, 0, 1, true), Some(3));
        assert_eq!(pooled_size(5, 2, 2, 0, 1, false), Some(2));
    }

    #[test]
    fn a_window_larger_than_the_input_has_an_output_in_ceil_mode_where_its_stride_reaches_the_input() {
        assert_eq!(pooled_size(1, 2, 2, 0, 1, false), None);
        assert_eq!(pooled_size(1, 2, 2, 0, 1, true), Some(1));
        assert_eq!(pooled_size(3, 2, 2, 0, 3, true), Some(1));
        // (2 - 3 + 0) / 1 + 1 = 0, and (2 - 5 + 1) / 2 + 1 = 0
        assert_eq!(pooled_size(2, 3, 1, 0, 1, true), None);
        assert_eq!(pooled_size(2, 5, 2, 0, 1, true), None);
        assert_eq!(pooled_size(1, 2, 1, 0, 2, true), None);
        assert_eq!(pooled_size(1, usize::MAX, usize::MAX, 0, usize::MAX, true), None);
    }
}
