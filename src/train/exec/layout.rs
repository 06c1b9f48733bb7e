//! Operations that move elements: reshapes, slices, joins, padding, resampling.
//!
//! Input: an operation of [`crate::graph::Op`] and its tensors. Output: one tensor. One limit:
//! `F.interpolate` is run by sizes; a fractional `scale_factor` is not passed on to the sampling grid.

use tch::{Kind, TchError, Tensor};

use super::layers::adaptive_avg_pool;
use super::{Context, arg, broken, ints};
use crate::graph::Op;
use crate::graph::op::{Interpolation, PadMode};

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
        Op::Interpolate { sizes, mode, align_corners } => interpolate(x, sizes, *mode, *align_corners),
        Op::CumSum { dim } => x.f_cumsum(*dim as i64, None::<Kind>),
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

fn interpolate(
    x: &Tensor,
    sizes: &[usize],
    mode: Interpolation,
    align_corners: bool,
) -> Result<Tensor, TchError> {
    let out = ints(sizes);
    match (mode, sizes.len()) {
        (Interpolation::Nearest, 1) => x.f_upsample_nearest1d(out, SCALE),
        (Interpolation::Nearest, 2) => x.f_upsample_nearest2d(out, SCALE, SCALE),
        (Interpolation::Nearest, _) => x.f_upsample_nearest3d(out, SCALE, SCALE, SCALE),
        (Interpolation::NearestExact, 1) => x.f_internal_upsample_nearest_exact1d(out, SCALE),
        (Interpolation::NearestExact, 2) => x.f_internal_upsample_nearest_exact2d(out, SCALE, SCALE),
        (Interpolation::NearestExact, _) => x.f_internal_upsample_nearest_exact3d(out, SCALE, SCALE, SCALE),
        (Interpolation::Linear, 1) => x.f_upsample_linear1d(out, align_corners, SCALE),
        (Interpolation::Linear, 2) => x.f_upsample_bilinear2d(out, align_corners, SCALE, SCALE),
        (Interpolation::Linear, _) => x.f_upsample_trilinear3d(out, align_corners, SCALE, SCALE, SCALE),
        (Interpolation::Cubic, _) => x.f_upsample_bicubic2d(out, align_corners, SCALE, SCALE),
        (Interpolation::Area, _) => adaptive_avg_pool(sizes, x),
    }
}
