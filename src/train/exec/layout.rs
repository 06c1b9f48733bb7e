//! Operations that move elements: reshapes, slices, joins, padding, resampling.
//!
//! Input: an operation of [`crate::graph::Op`] and its tensors. Output: one tensor. One limit: samples of volumes on a
//! grid are not covered.

use tch::{Kind, TchError, Tensor};

use super::layers::adaptive_avg_pool;
use super::{Context, arg, broken, ints};
use crate::graph::Op;
use crate::graph::op::{Interpolation, PadMode, Patches};

const SCALE: Option<f64> = None;

pub(super) fn run(op: &Op, inputs: &[&Tensor], context: &Context<'_>) -> Result<Tensor, TchError> {
    let x = arg(inputs, 0)?;
    let n = context.batch;
    match op {
        Op::Reshape { shape } => x.f_reshape(shape.at(n)),
        Op::Permute { dims } => x.f_permute(ints(dims)),
        Op::Expand { shape } => x.f_expand(shape.at(n), false),
        Op::Repeat { counts } => x.f_repeat(counts.iter().map(|count| count.at(n)).collect::<Vec<_>>()),
        Op::Slice { dim, start, end, step } => {
            x.f_slice(*dim as i64, start.at(n), end.at(n), (*step).max(1) as i64)
        }
        Op::Select { dim, index } => x.f_select(*dim as i64, *index as i64),
        Op::IndexSelect { dim } => x.f_index_select(*dim as i64, arg(inputs, 1)?),
        Op::Gather { dim } => x.f_gather(*dim as i64, arg(inputs, 1)?, false),
        Op::Scatter { dim, add: false } => x.f_scatter(*dim as i64, arg(inputs, 1)?, arg(inputs, 2)?),
        Op::Scatter { dim, add: true } => x.f_scatter_add(*dim as i64, arg(inputs, 1)?, arg(inputs, 2)?),
        Op::SliceScatter { dim, start, end, step } => {
            let step = (*step).max(1) as i64;
            x.f_slice_scatter(arg(inputs, 1)?, *dim as i64, start.at(n), end.at(n), step)
        }
        Op::Unfold(patches) => {
            let [kernel, dilation, padding, stride] = patch_sizes(patches);
            x.f_im2col(kernel, dilation, padding, stride)
        }
        Op::Fold { sizes, patches } => {
            let [kernel, dilation, padding, stride] = patch_sizes(patches);
            x.f_col2im(ints(sizes), kernel, dilation, padding, stride)
        }
        Op::GridSample { mode, padding, align_corners } => {
            let mode = match mode {
                Interpolation::Nearest => 1,
                Interpolation::Cubic => 2,
                _ => 0,
            };
            let padding = match padding {
                PadMode::Replicate => 1,
                PadMode::Reflect => 2,
                _ => 0,
            };
            x.f_grid_sampler(arg(inputs, 1)?, mode, padding, *align_corners)
        }
        Op::Unsqueeze { dim } => x.f_unsqueeze(*dim as i64),
        Op::Squeeze { dims } => x.f_squeeze_dims(ints(dims)),
        Op::Cat { dim } => Tensor::f_cat(inputs, *dim as i64),
        Op::Stack { dim } => Tensor::f_stack(inputs, *dim as i64),
        Op::Flip { dims } => x.f_flip(ints(dims)),
        Op::Roll { shifts, dims } => x.f_roll(shifts.as_slice(), ints(dims)),
        Op::Pad { pads, mode } => pad(x, pads, *mode),
        Op::PixelShuffle { factor } => x.f_pixel_shuffle(*factor as i64),
        Op::PixelUnshuffle { factor } => x.f_pixel_unshuffle(*factor as i64),
        Op::ChannelShuffle { groups } => x.f_channel_shuffle(*groups as i64),
        Op::Interpolate { sizes, mode, align_corners, scales } => {
            interpolate(x, sizes, *mode, *align_corners, scales.as_deref())
        }
        Op::CumSum { dim } => x.f_cumsum(*dim as i64, None::<Kind>),
        Op::CumProd { dim } => x.f_cumprod(*dim as i64, None::<Kind>),
        Op::Triangle { upper: true, diagonal } => x.f_triu(*diagonal),
        Op::Triangle { upper: false, diagonal } => x.f_tril(*diagonal),
        other => Err(broken(format!("no kernel for {other:?}"))),
    }
}

fn pad(x: &Tensor, pads: &[(i64, i64)], mode: PadMode) -> Result<Tensor, TchError> {
    let touched = pads.iter().position(|&pair| pair != (0, 0)).map_or(0, |first| pads.len() - first);
    let dims = match mode {
        PadMode::Constant(_) => touched,
        // libtorch tells a batch from a single sample by the number of padded dimensions.
        _ => touched.max(pads.len().saturating_sub(2)).max(1),
    };
    // Innermost dimension first, as F.pad takes them.
    let innermost = pads.iter().rev().take(dims);
    let flat: Vec<i64> = innermost.flat_map(|&(before, after)| [before, after]).collect();
    match mode {
        PadMode::Constant(value) => x.f_pad(flat, "constant", value),
        PadMode::Reflect => x.f_pad(flat, "reflect", SCALE),
        PadMode::Replicate => x.f_pad(flat, "replicate", SCALE),
        PadMode::Circular => x.f_pad(flat, "circular", SCALE),
    }
}

fn patch_sizes(patches: &Patches) -> [Vec<i64>; 4] {
    [ints(&patches.kernel), ints(&patches.dilation), ints(&patches.padding), ints(&patches.stride)]
}

fn interpolate(
    x: &Tensor,
    sizes: &[usize],
    mode: Interpolation,
    align_corners: bool,
    scales: Option<&[f64]>,
) -> Result<Tensor, TchError> {
    let out = ints(sizes);
    // One factor for each dimension, where they are not just the quotients of the sizes.
    let at = |axis: usize| scales.and_then(|scales| scales.get(axis).copied());
    let (a, b, c) = (at(0), at(1), at(2));
    match (mode, sizes.len()) {
        (Interpolation::Nearest, 1) => x.f_upsample_nearest1d(out, a),
        (Interpolation::Nearest, 2) => x.f_upsample_nearest2d(out, a, b),
        (Interpolation::Nearest, _) => x.f_upsample_nearest3d(out, a, b, c),
        (Interpolation::NearestExact, 1) => x.f_internal_upsample_nearest_exact1d(out, a),
        (Interpolation::NearestExact, 2) => x.f_internal_upsample_nearest_exact2d(out, a, b),
        (Interpolation::NearestExact, _) => x.f_internal_upsample_nearest_exact3d(out, a, b, c),
        (Interpolation::Linear, 1) => x.f_upsample_linear1d(out, align_corners, a),
        (Interpolation::Linear, 2) => x.f_upsample_bilinear2d(out, align_corners, a, b),
        (Interpolation::Linear, _) => x.f_upsample_trilinear3d(out, align_corners, a, b, c),
        (Interpolation::Cubic, _) => x.f_upsample_bicubic2d(out, align_corners, a, b),
        (Interpolation::Area, _) => adaptive_avg_pool(sizes, x),
    }
}
