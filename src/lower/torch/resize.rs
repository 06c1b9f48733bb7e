//! Functions that pad and resize images: `F.pad`, `F.interpolate`, pixel and channel shuffles.
//!
//! Input: tensors and sizes or factors. Output: nodes with exact sizes. Limit: antialiasing is refused.

use crate::graph::Op;
use crate::graph::op::{Interpolation, PadMode};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::creation::fixed;
use crate::lower::torch::elementwise::operand;
use crate::lower::torch::{Function, row, signature};
use crate::lower::value::Value;

pub(crate) const FUNCTIONS: &[Function] = &[
    row("f", "pad", "input, pad, mode='constant', value=None", pad),
    row("tf", "pixel_shuffle", "input, upscale_factor", |this, args| {
        let factor = args.count("upscale_factor")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::PixelShuffle { factor }, &[input])
    }),
    row("tf", "pixel_unshuffle", "input, downscale_factor", |this, args| {
        let factor = args.count("downscale_factor")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::PixelUnshuffle { factor }, &[input])
    }),
    row("tf", "channel_shuffle", "input, groups", |this, args| {
        let groups = args.count("groups")?;
        let input = operand(this, &args, "input")?;
        this.op(Op::ChannelShuffle { groups }, &[input])
    }),
    row(
        "f",
        "interpolate",
        "input, size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None, \
         antialias=False",
        interpolate,
    ),
    row(
        "f",
        "upsample",
        "input, size=None, scale_factor=None, mode='nearest', align_corners=None",
        interpolate,
    ),
];

fn pad(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    let rank = this.fact(&tensor)?.shape.rank();
    let list = args.ints("pad")?;
    if list.len() % 2 != 0 {
        return Err(Raise::runtime("Padding length must be divisible by 2"));
    }
    if list.len() / 2 > rank {
        return Err(Raise::runtime(format!(
            "Padding length should be less than or equal to two times the input dimension but got padding length {} \
             and input of dimension {rank}",
            list.len()
        )));
    }
    let mode = match &*args.text("mode")? {
        "constant" => PadMode::Constant(args.optional_float("value")?.unwrap_or(0.0)),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        other => {
            return Err(Raise::python("NotImplementedError", format!("Unrecognised padding mode {other}")));
        }
    };
    if !matches!(mode, PadMode::Constant(_)) && !(list.len() / 2 + 1..=list.len() / 2 + 2).contains(&rank) {
        return Err(Raise::python(
            "NotImplementedError",
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now",
        ));
    }
    let mut pads = vec![(0, 0); rank];
    for (index, pair) in list.chunks_exact(2).enumerate() {
        pads[rank - 1 - index] = (pair[0], pair[1]);
    }
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Pad { pads, mode }, &[input])
}

fn interpolate(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    let spatial = shape.rank().saturating_sub(2);
    if !(1..=3).contains(&spatial) {
        return Err(Raise::python(
            "NotImplementedError",
            format!("Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D)", shape.rank()),
        ));
    }
    let mode_name = args.text("mode")?;
    let (mode, ranks): (Interpolation, &[usize]) = match &*mode_name {
        "nearest" => (Interpolation::Nearest, &[1, 2, 3]),
        "nearest-exact" => (Interpolation::NearestExact, &[1, 2, 3]),
        "linear" => (Interpolation::Linear, &[1]),
        "bilinear" => (Interpolation::Linear, &[2]),
        "trilinear" => (Interpolation::Linear, &[3]),
        "bicubic" => (Interpolation::Cubic, &[2]),
        "area" => (Interpolation::Area, &[1, 2, 3]),
        other => {
            return Err(Raise::python("NotImplementedError", format!("unknown interpolation mode {other}")));
        }
    };
    if !ranks.contains(&spatial) {
        let message = format!("Got {}D input, but {mode_name} mode needs another rank", shape.rank());
        return Err(Raise::python("NotImplementedError", message));
    }
    let given = args.get("align_corners");
    let interpolating = matches!(mode, Interpolation::Linear | Interpolation::Cubic);
    if !given.is_none() && !interpolating {
        return Err(Raise::value_error(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | \
             trilinear",
        ));
    }
    let align_corners = this.truth(&given)?;
    if this.truth(&args.get("antialias"))? {
        return Err(Raise::unsupported("interpolate with antialias is not supported"));
    }
    let mut scales = None;
    let (size, scale) = (args.get("size"), args.get("scale_factor"));
    let sizes = match (size.is_none(), scale.is_none()) {
        (false, true) => args.spatial("size", spatial)?,
        (true, false) => {
            let factors: Option<Vec<f64>> = match &scale {
                Value::Tuple(_) | Value::List(_) => {
                    this.iterate(&scale)?.iter().map(signature::number).collect()
                }
                value => signature::number(value).map(|factor| vec![factor; spatial]),
            };
            let factors = factors
                .filter(|factors| factors.len() == spatial)
                .ok_or_else(|| Raise::value_error("scale_factor shape must match input shape"))?;
            let whole = factors.iter().all(|factor| factor.fract() == 0.0);
            if !whole && !this.truth(&args.get("recompute_scale_factor"))? && mode != Interpolation::Area {
                scales = Some(factors.clone());
            }
            let mut sizes = Vec::new();
            for (&dim, factor) in shape.0[2..].iter().zip(factors) {
                #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
                let size = (fixed(dim, "interpolation of a dimension")? as f64 * factor).floor();
                match super::whole(size)? {
                    Value::Int(size) if size > 0 && size <= 1 << 24 => {
                        sizes.push(usize::try_from(size).unwrap_or(0))
                    }
                    _ => {
                        return Err(Raise::runtime("Input and output sizes should be greater than 0"));
                    }
                }
            }
            sizes
        }
        (true, true) => return Err(Raise::value_error("either size or scale_factor should be defined")),
        (false, false) => {
            return Err(Raise::value_error("only one of size or scale_factor should be defined"));
        }
    };
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Interpolate { sizes, mode, align_corners, scales }, &[input])
}
