//! Pooling functions.
//!
//! Input: tensors and windows, as in `torch.nn.functional`. Output: nodes. Limit: windows do not depend on the batch.

use crate::graph::op::{Distribution, Pool};
use crate::graph::{Dim, Op, Shape};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::creation::fixed;
use crate::lower::torch::elementwise::operand;
use crate::lower::torch::signature::number;
use crate::lower::torch::{Function, row};
use crate::lower::value::Value;

const MAX: &str =
    "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False";
const AVG: &str = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, \
    divisor_override=None";
const ADAPTIVE: &str = "input, output_size, return_indices=False";
const FRACTIONAL: &str = "input, kernel_size, output_size=None, output_ratio=None, return_indices=False, \
    _random_samples=None";
const LP: &str = "input, norm_type, kernel_size, stride=None, ceil_mode=False";

pub(crate) const FUNCTIONS: &[Function] = &[
    row("tf", "max_pool1d", MAX, |this, args| max_pool(this, &args, 1)),
    row("tf", "max_pool2d", MAX, |this, args| max_pool(this, &args, 2)),
    row("tf", "max_pool3d", MAX, |this, args| max_pool(this, &args, 3)),
    row("tf", "avg_pool1d", AVG, |this, args| avg_pool(this, &args, 1)),
    row("f", "avg_pool2d", AVG, |this, args| avg_pool(this, &args, 2)),
    row("f", "avg_pool3d", AVG, |this, args| avg_pool(this, &args, 3)),
    row("f", "lp_pool1d", LP, |this, args| lp_pool(this, &args, 1)),
    row("f", "lp_pool2d", LP, |this, args| lp_pool(this, &args, 2)),
    row("f", "lp_pool3d", LP, |this, args| lp_pool(this, &args, 3)),
    row("f", "fractional_max_pool2d", FRACTIONAL, |this, args| fractional(this, &args, 2)),
    row("f", "fractional_max_pool3d", FRACTIONAL, |this, args| fractional(this, &args, 3)),
    row("tf", "adaptive_avg_pool1d", ADAPTIVE, |this, args| adaptive(this, &args, 1, false)),
    row("f", "adaptive_avg_pool2d", ADAPTIVE, |this, args| adaptive(this, &args, 2, false)),
    row("f", "adaptive_avg_pool3d", ADAPTIVE, |this, args| adaptive(this, &args, 3, false)),
    row("tf", "adaptive_max_pool1d", ADAPTIVE, |this, args| adaptive(this, &args, 1, true)),
    row("f", "adaptive_max_pool2d", ADAPTIVE, |this, args| adaptive(this, &args, 2, true)),
    row("f", "adaptive_max_pool3d", ADAPTIVE, |this, args| adaptive(this, &args, 3, true)),
];

fn window(this: &mut Interp<'_>, args: &Bound, spatial: usize, dilated: bool, padded: bool) -> R<Pool> {
    let kernel = args.spatial("kernel_size", spatial)?;
    let stride = match args.get("stride") {
        Value::None => kernel.clone(),
        Value::Tuple(tuple) if tuple.items.is_empty() => kernel.clone(),
        _ => args.spatial("stride", spatial)?,
    };
    let ceil_mode = this.truth(&args.get("ceil_mode"))?;
    Ok(Pool {
        stride,
        padding: if padded { args.spatial("padding", spatial)? } else { vec![0; spatial] },
        dilation: if dilated { args.spatial("dilation", spatial)? } else { vec![1; spatial] },
        kernel,
        ceil_mode,
    })
}

fn max_pool(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    let pool = window(this, args, spatial, true, true)?;
    let input = operand(this, args, "input")?;
    if this.truth(&args.get("return_indices"))? {
        let items =
            vec![this.op(Op::MaxPool(pool.clone()), &[input])?, this.op(Op::MaxPoolIndices(pool), &[input])?];
        return this.tuple(items);
    }
    this.op(Op::MaxPool(pool), &[input])
}

fn avg_pool(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    let pool = window(this, args, spatial, false, true)?;
    let divisor =
        match args.optional_int("divisor_override")? {
            Some(0) => return Err(Raise::runtime("divisor must be not zero")),
            Some(divisor) => Some(usize::try_from(divisor).map_err(|_| {
                Raise::unsupported("avg_pool with a negative divisor_override is not supported")
            })?),
            None => None,
        };
    let count_include_pad = args.bool("count_include_pad")?;
    let input = operand(this, args, "input")?;
    this.op(Op::AvgPool { pool, count_include_pad, divisor }, &[input])
}

fn lp_pool(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    let pool = window(this, args, spatial, false, false)?;
    let input = operand(this, args, "input")?;
    this.op(Op::LpPool { pool, p: args.float("norm_type")? }, &[input])
}

fn adaptive(this: &mut Interp<'_>, args: &Bound, spatial: usize, max: bool) -> R<Value> {
    let input = operand(this, args, "input")?;
    let shape = this.builder.fact(input).shape.clone();
    let wanted = match args.get("output_size") {
        Value::None => vec![Value::None; spatial],
        value @ (Value::Tuple(_) | Value::List(_)) => this.iterate(&value)?,
        value => vec![value; spatial],
    };
    if wanted.len() != spatial || shape.rank() < spatial + 1 {
        return Err(Raise::runtime(format!(
            "{}: expected a {}D or {}D tensor and {spatial} output sizes, got {shape} and {}",
            args.function,
            spatial + 1,
            spatial + 2,
            wanted.len()
        )));
    }
    let mut sizes = Vec::new();
    for (value, &dim) in wanted.iter().zip(&shape.0[shape.rank() - spatial..]) {
        sizes.push(match value {
            Value::None => fixed(dim, "pooling of a dimension")?,
            Value::Int(size) => usize::try_from(*size)
                .map_err(|_| Raise::runtime("elements of output_size must be greater than or equal to 0"))?,
            other => {
                return Err(Raise::type_error(format!(
                    "output_size must be ints, not {}",
                    other.type_name()
                )));
            }
        });
    }
    if !max {
        return this.op(Op::AdaptiveAvgPool { sizes }, &[input]);
    }
    if !this.truth(&args.get("return_indices"))? {
        return this.op(Op::AdaptiveMaxPool { sizes }, &[input]);
    }
    let maxima = this.op(Op::AdaptiveMaxPool { sizes: sizes.clone() }, &[input])?;
    let items = vec![maxima, this.op(Op::AdaptiveMaxPoolIndices { sizes }, &[input])?];
    this.tuple(items)
}

/// Where no samples are given they are drawn anew at each call, as PyTorch does, in evaluation too.
fn fractional(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    let kernel = args.spatial("kernel_size", spatial)?;
    let input = operand(this, args, "input")?;
    let shape = this.builder.fact(input).shape.clone();
    let Some(leading) = shape.rank().checked_sub(spatial).filter(|leading| (1..=2).contains(leading)) else {
        return Err(Raise::runtime(format!(
            "{}: expected a {}D or {}D tensor, got {shape}",
            args.function,
            spatial + 1,
            spatial + 2
        )));
    };
    let sizes = if args.get("output_size").is_none() {
        if args.get("output_ratio").is_none() {
            return Err(Raise::value_error(format!(
                "{} requires specifying either an output_size or an output_ratio",
                args.function
            )));
        }
        ratios(this, args, spatial)?
            .into_iter()
            .zip(&shape.0[leading..])
            .map(|(ratio, &dim)| share(ratio, fixed(dim, "pooling of a dimension")?))
            .collect::<R<Vec<usize>>>()?
    } else {
        args.spatial("output_size", spatial)?
    };
    let samples = match args.optional_tensor("_random_samples")? {
        Some(samples) => this.tensor_ref(&samples)?,
        None => {
            let batch = if leading == 2 { shape.0[0] } else { Dim::from(1) };
            let shape = Shape(vec![batch, shape.0[leading - 1], Dim::from(spatial)]);
            this.append(Op::Random { shape, distribution: Distribution::Uniform }, &[])?
        }
    };
    let outputs = this.append_all(Op::FractionalMaxPool { kernel, sizes }, &[input, samples], 2)?;
    if this.truth(&args.get("return_indices"))? {
        let items = vec![this.wrap(outputs[0])?, this.wrap(outputs[1])?];
        return this.tuple(items);
    }
    this.wrap(outputs[0])
}

/// `output_ratio`, one for each spatial dimension.
fn ratios(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Vec<f64>> {
    match args.get("output_ratio") {
        value @ (Value::Tuple(_) | Value::List(_)) => {
            let items = this.iterate(&value)?;
            let ratios: Option<Vec<f64>> = items.iter().map(number).collect();
            ratios.filter(|ratios| ratios.len() == spatial).ok_or_else(|| {
                Raise::type_error(format!("{}: output_ratio must be {spatial} numbers", args.function))
            })
        }
        other => Err(Raise::type_error(format!("object of type '{}' has no len()", other.type_name()))),
    }
}

/// `int(length * ratio)`.
fn share(ratio: f64, length: usize) -> R<usize> {
    #[expect(clippy::cast_precision_loss, reason = "no length is near 2 to the power 52")]
    let size = length as f64 * ratio;
    if !(0.0..1e9).contains(&size) {
        return Err(Raise::runtime(format!("output_ratio of {ratio} gives no size")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked above")]
    Ok(size as usize)
}
