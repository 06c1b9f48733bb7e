//! Convolutions: `torch.nn.functional.conv{1,2,3}d` and their transposes.
//!
//! # Shapes
//! input `(N, C, *S)` or, as PyTorch allows, `(C, *S)`; weight `(O, C / groups, *K)`, for the transpose
//! `(C, O / groups, *K)`; output `(N, O, *S')`.

use super::{first, float, known, shape_error};
use crate::graph::op::Conv;
use crate::graph::{BuildError, Dim, Fact, Shape};

/// Output shape of a convolution.
pub(super) fn conv(settings: &Conv, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let (input, weight, channels_at) = operands("conv", settings, inputs)?;
    let (out_channels, in_channels) = (weight[0], weight[1].saturating_mul(settings.groups));
    let kernel = &weight[2..];
    check_channels(input, channels_at, in_channels, &weight, settings.groups)?;
    if out_channels % settings.groups != 0 {
        return Err(shape_error(format!(
            "expected out_channels divisible by groups={}, got {out_channels}",
            settings.groups
        )));
    }
    check_bias(settings, inputs, out_channels)?;
    let mut shape = Shape(input.0[..channels_at].to_vec());
    shape.0.push(Dim::from(out_channels));
    for (axis, &size) in kernel.iter().enumerate() {
        let length = known("convolution", input.0[channels_at + 1 + axis])?;
        let padded = settings.padding[axis].checked_mul(2).and_then(|both| both.checked_add(length));
        let padded = padded.ok_or_else(|| shape_error("padding is too large for a size of 64 bits"))?;
        let reach = settings.dilation[axis].saturating_mul(size.saturating_sub(1)).saturating_add(1);
        if reach > padded {
            return Err(shape_error(format!(
                "Calculated padded input size per channel: {}. Kernel size: {}. Kernel size can't be greater than \
                 actual input size",
                listed(kernel.iter().enumerate().map(|(axis, _)| {
                    input.0[channels_at + 1 + axis]
                        .fixed
                        .saturating_add((settings.padding[axis] as i64).saturating_mul(2))
                })),
                listed(kernel.iter().enumerate().map(|(axis, &size)| {
                    settings.dilation[axis].saturating_mul(size.saturating_sub(1)).saturating_add(1) as i64
                })),
            )));
        }
        shape.0.push(Dim::from((padded - reach) / settings.stride[axis] + 1));
    }
    Ok(shape)
}

/// Output shape of a transposed convolution.
pub(super) fn conv_transpose(settings: &Conv, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let (input, weight, channels_at) = operands("conv_transpose", settings, inputs)?;
    let (in_channels, out_channels) = (weight[0], weight[1].saturating_mul(settings.groups));
    let kernel = &weight[2..];
    check_channels(input, channels_at, in_channels, &weight, settings.groups)?;
    if in_channels % settings.groups != 0 {
        return Err(shape_error(format!(
            "Given groups={0}, expected weight to be divisible by {0} at dimension 0, but got weight of size \
             {weight:?} instead",
            settings.groups
        )));
    }
    check_bias(settings, inputs, out_channels)?;
    let mut shape = Shape(input.0[..channels_at].to_vec());
    shape.0.push(Dim::from(out_channels));
    for (axis, &size) in kernel.iter().enumerate() {
        let length = known("convolution", input.0[channels_at + 1 + axis])?;
        if settings.output_padding[axis] >= settings.stride[axis].max(settings.dilation[axis]) {
            return Err(shape_error(
                "output padding must be smaller than either stride or dilation".to_owned(),
            ));
        }
        let steps = length.saturating_sub(1).checked_mul(settings.stride[axis]);
        let reach = settings.dilation[axis].checked_mul(size.saturating_sub(1));
        let grown = steps
            .and_then(|steps| {
                steps.checked_add(reach?)?.checked_add(settings.output_padding[axis])?.checked_add(1)
            })
            .ok_or_else(|| shape_error("Calculated output size per channel is too large"))?;
        let size = settings.padding[axis]
            .checked_mul(2)
            .and_then(|both| grown.checked_sub(both))
            .filter(|&size| size > 0)
            .ok_or_else(|| shape_error("Calculated output size per channel is too small"))?;
        shape.0.push(Dim::from(size));
    }
    Ok(shape)
}

/// Input shape, weight sizes, and the index of the channels in the input.
fn operands<'a>(
    name: &str,
    settings: &Conv,
    inputs: &'a [Fact],
) -> Result<(&'a Shape, Vec<usize>, usize), BuildError> {
    let input = first(name, inputs)?;
    float("convolution", input)?;
    let spatial = settings.stride.len();
    let expected = 2 + usize::from(settings.bias);
    if inputs.len() != expected {
        return Err(shape_error(format!("{name} expected {expected} inputs, got {}", inputs.len())));
    }
    let weight = inputs[1].shape.known().filter(|sizes| sizes.len() == spatial + 2).ok_or_else(|| {
        shape_error(format!("expected a {}-dimensional weight, got {}", spatial + 2, inputs[1].shape))
    })?;
    let rank = input.shape.rank();
    if rank != spatial + 1 && rank != spatial + 2 {
        return Err(shape_error(format!(
            "Expected {}D (unbatched) or {}D (batched) input to {name}{spatial}d, but got input of size: {}",
            spatial + 1,
            spatial + 2,
            input.shape
        )));
    }
    if settings.groups == 0 || settings.stride.contains(&0) || settings.dilation.contains(&0) {
        return Err(shape_error("non-positive stride, dilation or groups is not supported"));
    }
    if weight[2..].contains(&0) {
        return Err(shape_error("kernel size should be greater than zero"));
    }
    Ok((&input.shape, weight, rank - spatial - 1))
}

fn check_channels(
    input: &Shape,
    channels_at: usize,
    expected: usize,
    weight: &[usize],
    groups: usize,
) -> Result<(), BuildError> {
    let got = input.0[channels_at];
    if got == Dim::from(expected) {
        return Ok(());
    }
    Err(shape_error(format!(
        "Given groups={groups}, weight of size {weight:?}, expected input{input} to have {expected} channels, but \
         got {got} channels instead"
    )))
}

fn check_bias(settings: &Conv, inputs: &[Fact], out_channels: usize) -> Result<(), BuildError> {
    if settings.bias && inputs[2].shape != Shape::fixed(&[out_channels]) {
        return Err(shape_error(format!(
            "expected bias to be 1-dimensional with {out_channels} elements, but got bias of size {}",
            inputs[2].shape
        )));
    }
    Ok(())
}

fn listed(sizes: impl Iterator<Item = i64>) -> String {
    let sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
    format!("({})", sizes.join(" x "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;

    fn fact(shape: Shape) -> Fact {
        Fact { shape, dtype: DType::F32 }
    }

    fn settings(stride: usize, padding: usize, groups: usize) -> Conv {
        Conv {
            stride: vec![stride; 2],
            padding: vec![padding; 2],
            dilation: vec![1; 2],
            output_padding: vec![0; 2],
            groups,
            bias: false,
        }
    }

    #[test]
    fn a_strided_convolution_rounds_down() {
        let inputs = [fact(Shape::batched(&[3, 32, 31])), fact(Shape::fixed(&[8, 3, 3, 3]))];
        // (32 + 2 - 3) / 2 + 1 = 16, (31 + 2 - 3) / 2 + 1 = 16
        assert_eq!(conv(&settings(2, 1, 1), &inputs).unwrap(), Shape::batched(&[8, 16, 16]));
    }

    #[test]
    fn wrong_channels_are_refused_in_pytorchs_words() {
        let inputs = [fact(Shape::batched(&[4, 8, 8])), fact(Shape::fixed(&[8, 3, 3, 3]))];
        assert_eq!(
            conv(&settings(1, 1, 1), &inputs).unwrap_err().to_string(),
            "Given groups=1, weight of size [8, 3, 3, 3], expected input(N, 4, 8, 8) to have 3 channels, but got 4 \
             channels instead"
        );
    }

    #[test]
    fn a_kernel_larger_than_the_padded_input_is_refused() {
        let inputs = [fact(Shape::batched(&[3, 2, 2])), fact(Shape::fixed(&[8, 3, 3, 3]))];
        let message = conv(&settings(1, 0, 1), &inputs).unwrap_err().to_string();
        assert!(
            message.starts_with("Calculated padded input size per channel: (2 x 2). Kernel size: (3 x 3)")
        );
    }

    #[test]
    fn a_transposed_convolution_doubles_the_size() {
        let mut transposed = settings(2, 1, 1);
        transposed.output_padding = vec![1; 2];
        let inputs = [fact(Shape::batched(&[4, 8, 8])), fact(Shape::fixed(&[4, 6, 3, 3]))];
        // (8 - 1) * 2 - 2 + 2 + 1 + 1 = 16
        assert_eq!(conv_transpose(&transposed, &inputs).unwrap(), Shape::batched(&[6, 16, 16]));
    }
}
