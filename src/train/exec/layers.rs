//! Operations with weights or windows: convolutions, products, norms, pools, attention.
//!
//! Input: an operation of [`crate::graph::Op`] and its tensors. Output: one tensor. One limit: attention is
//! written out, so its memory grows with the square of the sequence.

use tch::{Kind, TchError, Tensor};

use super::{Context, arg, broken, ints};
use crate::graph::Op;
use crate::graph::op::{BatchNorm, Conv, Pool};

const NONE: Option<&Tensor> = None;

pub(super) fn run(op: &Op, inputs: &[&Tensor], context: &mut Context<'_>) -> Result<Tensor, TchError> {
    let x = arg(inputs, 0)?;
    let given = |index: usize, is: bool| if is { inputs.get(index).copied() } else { None };
    match op {
        Op::Conv(settings) => conv(settings, x, arg(inputs, 1)?, given(2, settings.bias)),
        Op::ConvTranspose(settings) => conv_transpose(settings, x, arg(inputs, 1)?, given(2, settings.bias)),
        Op::Linear { bias } => x.f_linear(arg(inputs, 1)?, given(2, *bias)),
        Op::Bilinear { bias } => Tensor::f_bilinear(x, arg(inputs, 1)?, arg(inputs, 2)?, given(3, *bias)),
        Op::Embedding { padding } => {
            let padding = padding.map_or(-1, |row| row as i64);
            Tensor::f_embedding(arg(inputs, 1)?, x, padding, false, false)
        }
        Op::BatchNorm(norm) => batch_norm(norm, inputs, context),
        Op::InstanceNorm { eps, affine } => {
            x.f_instance_norm(given(1, *affine), given(2, *affine), NONE, NONE, true, 0.1, *eps, true)
        }
        Op::LayerNorm { sizes, eps, weight, bias } => {
            let bias = given(1 + usize::from(*weight), *bias);
            x.f_layer_norm(ints(sizes), given(1, *weight), bias, *eps, true)
        }
        Op::RmsNorm { sizes, eps, weight } => x.f_rms_norm(ints(sizes), given(1, *weight), *eps),
        Op::GroupNorm { groups, eps, affine } => {
            // libtorch's backward pass over channels-last memory writes the input's gradient, asked for or not.
            let plain = if x.requires_grad() { x.shallow_clone() } else { x.f_contiguous()? };
            plain.f_group_norm(*groups as i64, given(1, *affine), given(2, *affine), *eps, true)
        }
        Op::LocalResponseNorm { size, alpha, beta, k } => local_response_norm(x, *size, *alpha, *beta, *k),
        Op::Attention { mask, causal, dropout, scale } => {
            let scores = attention_scores(inputs, given(3, *mask), *causal, *scale, context.device)?;
            let mut weights = if *mask {
                // A row that may look at nothing is zeros, as in PyTorch, where a plain softmax gives NaN.
                scores.f_internal_safe_softmax(-1, None::<Kind>)?
            } else {
                scores.f_softmax(-1, None::<Kind>)?
            }; // (*, l, s)
            if *dropout > 0.0 {
                weights = super::pointwise::drop_elements(&weights, *dropout, context)?;
            }
            weights.f_matmul(arg(inputs, 2)?)
        }
        Op::MaxPool(pool) => max_pool(pool, x),
        Op::MaxPoolIndices(pool) => max_pool_indices(pool, x),
        Op::AvgPool { pool, count_include_pad, divisor } => avg_pool(pool, *count_include_pad, *divisor, x),
        Op::LpPool { pool, p } => lp_pool(pool, *p, x),
        Op::AdaptiveAvgPool { sizes } => adaptive_avg_pool(sizes, x),
        Op::AdaptiveMaxPool { sizes } => adaptive_max_pool(sizes, x).map(|pair| pair.0),
        Op::AdaptiveMaxPoolIndices { sizes } => adaptive_max_pool(sizes, &x.f_detach()?).map(|pair| pair.1),
        Op::MatMul => x.f_matmul(arg(inputs, 1)?),
        Op::Einsum { equation } => Tensor::f_einsum(equation, inputs, None::<i64>),
        other => Err(broken(format!("no kernel for {other:?}"))),
    }
}

fn conv(conv: &Conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
    let (stride, padding, dilation) = (ints(&conv.stride), ints(&conv.padding), ints(&conv.dilation));
    let groups = conv.groups as i64;
    match conv.stride.len() {
        1 => x.f_conv1d(weight, bias, stride, padding, dilation, groups),
        2 => x.f_conv2d(weight, bias, stride, padding, dilation, groups),
        _ => x.f_conv3d(weight, bias, stride, padding, dilation, groups),
    }
}

fn conv_transpose(
    conv: &Conv,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let (stride, padding, dilation) = (ints(&conv.stride), ints(&conv.padding), ints(&conv.dilation));
    let (extra, groups) = (ints(&conv.output_padding), conv.groups as i64);
    match conv.stride.len() {
        1 => x.f_conv_transpose1d(weight, bias, stride, padding, extra, groups, dilation),
        2 => x.f_conv_transpose2d(weight, bias, stride, padding, extra, groups, dilation),
        _ => x.f_conv_transpose3d(weight, bias, stride, padding, extra, groups, dilation),
    }
}

/// Batch norm as `nn.BatchNorm*d`: in training it moves the running statistics and counts the batch.
fn batch_norm(norm: &BatchNorm, inputs: &[&Tensor], context: &Context<'_>) -> Result<Tensor, TchError> {
    let x = arg(inputs, 0)?;
    let batch_statistics = !norm.running || context.applies(norm.batch_statistics);
    if context.training
        && batch_statistics
        && let Some(counter) = norm.counter
    {
        let _counted = context.param(counter)?.shallow_clone().f_add_scalar_(1)?;
    }
    let given = |index: usize, is: bool| if is { inputs.get(index).copied() } else { None };
    let affine_at = 1 + 2 * usize::from(norm.running);
    let (weight, bias) = (given(affine_at, norm.affine), given(affine_at + 1, norm.affine));
    // Evaluation with the batch's own statistics must not move the running ones.
    let running = norm.running && (context.training || !batch_statistics);
    let (mean, var) = (given(1, running), given(2, running));
    let momentum = match (norm.momentum, norm.counter) {
        (Some(momentum), _) => momentum,
        (None, Some(counter)) if context.training => {
            1.0 / context.param(counter)?.f_int64_value(&[])?.max(1) as f64
        }
        (None, _) => 0.0,
    };
    x.f_batch_norm(weight, bias, mean, var, batch_statistics, momentum, norm.eps, true)
}

/// As `F.local_response_norm`: squares summed over neighbouring channels by an average pool.
fn local_response_norm(x: &Tensor, size: usize, alpha: f64, beta: f64, k: f64) -> Result<Tensor, TchError> {
    let (before, after) = (size as i64 / 2, (size as i64 - 1) / 2);
    let squares = x.f_square()?;
    let sizes = x.size();
    let (n, c) = match sizes.as_slice() {
        &[n, c, ..] => (n, c),
        _ => return Err(broken("local_response_norm of fewer than two dimensions")),
    };
    let flat = squares.f_reshape([n, 1, c, -1])?; // (n, 1, c, rest)
    let padded = flat.f_constant_pad_nd([0, 0, before, after])?;
    let mean = padded.f_avg_pool2d([size as i64, 1], [1, 1], [0, 0], false, true, None::<i64>)?;
    let divisor = mean.f_mul_scalar(alpha)?.f_add_scalar(k)?.f_pow_tensor_scalar(beta)?;
    x.f_div(&divisor.f_reshape(sizes.as_slice())?)
}

/// Scaled and masked products of query and key, `(*, l, s)`.
fn attention_scores(
    inputs: &[&Tensor],
    mask: Option<&Tensor>,
    causal: bool,
    scale: Option<f64>,
    device: tch::Device,
) -> Result<Tensor, TchError> {
    let (query, key) = (arg(inputs, 0)?, arg(inputs, 1)?);
    let width = query.size().last().copied().unwrap_or(1).max(1);
    let scale = scale.unwrap_or(1.0 / (width as f64).sqrt());
    let mut scores = query.f_mul_scalar(scale)?.f_matmul(&key.f_transpose(-2, -1)?)?;
    if causal {
        let sizes = scores.size();
        let plane = &sizes[sizes.len().saturating_sub(2)..];
        let hidden = Tensor::f_ones(plane, (Kind::Bool, device))?.f_triu(1)?;
        scores = scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?;
    }
    match mask {
        None => Ok(scores),
        Some(mask) if mask.kind() == Kind::Bool => {
            scores.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)
        }
        Some(mask) => scores.f_add(mask),
    }
}

fn max_pool(pool: &Pool, x: &Tensor) -> Result<Tensor, TchError> {
    let (kernel, stride) = (ints(&pool.kernel), ints(&pool.stride));
    let (padding, dilation, ceil) = (ints(&pool.padding), ints(&pool.dilation), pool.ceil_mode);
    match kernel.len() {
        1 => x.f_max_pool1d(kernel, stride, padding, dilation, ceil),
        2 => x.f_max_pool2d(kernel, stride, padding, dilation, ceil),
        _ => x.f_max_pool3d(kernel, stride, padding, dilation, ceil),
    }
}

fn max_pool_indices(pool: &Pool, x: &Tensor) -> Result<Tensor, TchError> {
    let (kernel, stride) = (ints(&pool.kernel), ints(&pool.stride));
    let (padding, dilation, ceil) = (ints(&pool.padding), ints(&pool.dilation), pool.ceil_mode);
    let x = x.f_detach()?;
    match kernel.len() {
        1 => x.f_max_pool1d_with_indices(kernel, stride, padding, dilation, ceil).map(|pair| pair.1),
        2 => x.f_max_pool2d_with_indices(kernel, stride, padding, dilation, ceil).map(|pair| pair.1),
        _ => x.f_max_pool3d_with_indices(kernel, stride, padding, dilation, ceil).map(|pair| pair.1),
    }
}

fn avg_pool(
    pool: &Pool,
    count_include_pad: bool,
    divisor: Option<usize>,
    x: &Tensor,
) -> Result<Tensor, TchError> {
    let (kernel, stride) = (ints(&pool.kernel), ints(&pool.stride));
    let (padding, ceil) = (ints(&pool.padding), pool.ceil_mode);
    let divisor = divisor.map(|divisor| divisor as i64);
    match kernel.len() {
        1 => x.f_avg_pool1d(kernel, stride, padding, ceil, count_include_pad),
        2 => x.f_avg_pool2d(kernel, stride, padding, ceil, count_include_pad, divisor),
        _ => x.f_avg_pool3d(kernel, stride, padding, ceil, count_include_pad, divisor),
    }
}

/// As `F.lp_pool*d`: an average pool of the powers, times the window's size.
fn lp_pool(pool: &Pool, p: f64, x: &Tensor) -> Result<Tensor, TchError> {
    let window: usize = pool.kernel.iter().product();
    let mean = avg_pool(pool, true, None, &x.f_pow_tensor_scalar(p)?)?;
    let sum = mean.f_sign()?.f_mul(&mean.f_abs()?.f_relu()?)?.f_mul_scalar(window as f64)?;
    sum.f_pow_tensor_scalar(1.0 / p)
}

/// Adaptive mean; also what `F.interpolate(mode="area")` is.
pub(super) fn adaptive_avg_pool(sizes: &[usize], x: &Tensor) -> Result<Tensor, TchError> {
    match sizes.len() {
        1 => x.f_adaptive_avg_pool1d(ints(sizes)),
        2 => x.f_adaptive_avg_pool2d(ints(sizes)),
        _ => x.f_adaptive_avg_pool3d(ints(sizes)),
    }
}

/// Adaptive maxima, and where they are.
fn adaptive_max_pool(sizes: &[usize], x: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    match sizes.len() {
        1 => x.f_adaptive_max_pool1d(ints(sizes)),
        2 => x.f_adaptive_max_pool2d(ints(sizes)),
        _ => x.f_adaptive_max_pool3d(ints(sizes)),
    }
}

/// Maxima of windows placed by random samples, and where they are.
pub(super) fn fractional_max_pool(
    kernel: &[usize],
    sizes: &[usize],
    x: &Tensor,
    samples: &Tensor,
) -> Result<Vec<Tensor>, TchError> {
    let (values, indices) = match sizes.len() {
        2 => x.f_fractional_max_pool2d(ints(kernel), ints(sizes), samples)?,
        _ => x.f_fractional_max_pool3d(ints(kernel), ints(sizes), samples)?,
    };
    Ok(vec![values, indices])
}
