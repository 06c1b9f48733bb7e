//! Functions that read or write at places: `gather`, `scatter`, `F.unfold`, `F.fold`, `F.grid_sample`.
//!
//! Input: tensors, indices and sizes, as in PyTorch. Output: nodes. Limit: images only (4D), and `scatter` with a
//! `reduce` is refused.

use crate::graph::Op;
use crate::graph::op::{Interpolation, PadMode, Patches};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::elementwise::operand;
use crate::lower::torch::{Function, axis, row};
use crate::lower::value::Value;

const PATCHES: &str = "input, kernel_size, dilation=1, padding=0, stride=1";

pub(crate) const FUNCTIONS: &[Function] = &[
    row("tm", "gather", "input, dim, index, *, sparse_grad=False", |this, args| {
        let tensor = args.tensor("input")?;
        let dim = axis(&this.fact(&tensor)?.shape, args.int("dim")?)?;
        let inputs = [this.tensor_ref(&tensor)?, operand(this, &args, "index")?];
        this.op(Op::Gather { dim }, &inputs)
    }),
    row("tm", "scatter", "input, dim, index, src=None, *, value=None, reduce=None", |this, args| {
        scatter(this, &args, false)
    }),
    row("tm", "scatter_add", "input, dim, index, src", |this, args| scatter(this, &args, true)),
    row("tm", "slice_scatter", "input, src, dim=0, start=None, end=None, step=1", |this, args| {
        let tensor = args.tensor("input")?;
        let dim = axis(&this.fact(&tensor)?.shape, args.int("dim")?)?;
        let whole = Value::Slice(std::rc::Rc::new([Value::None, Value::None, Value::None]));
        let slice = Value::Slice(std::rc::Rc::new([args.get("start"), args.get("end"), args.get("step")]));
        let mut parts = vec![whole; dim];
        parts.push(slice);
        let index = this.tuple(parts)?;
        super::index::replaced(this, &tensor, &index, &args.get("src"))
    }),
    row("f", "unfold", PATCHES, |this, args| {
        let patches = patches(&args)?;
        let input = operand(this, &args, "input")?;
        this.op(Op::Unfold(patches), &[input])
    }),
    row("f", "fold", "input, output_size, kernel_size, dilation=1, padding=0, stride=1", |this, args| {
        let (sizes, patches) = (two(&args, "output_size")?, patches(&args)?);
        let input = operand(this, &args, "input")?;
        this.op(Op::Fold { sizes, patches }, &[input])
    }),
    row(
        "f",
        "grid_sample",
        "input, grid, mode='bilinear', padding_mode='zeros', align_corners=None",
        grid_sample,
    ),
];

fn scatter(this: &mut Interp<'_>, args: &Bound, add: bool) -> R<Value> {
    if !args.get("reduce").is_none() {
        return Err(Raise::unsupported("scatter with reduce is not supported"));
    }
    let tensor = args.tensor("input")?;
    let fact = this.fact(&tensor)?;
    let dim = axis(&fact.shape, args.int("dim")?)?;
    let index = operand(this, args, "index")?;
    let shape = this.builder.fact(index).shape.clone();
    let given = if args.get("src").is_none() { args.get("value") } else { args.get("src") };
    let values = match &given {
        Value::Tensor(values) => {
            let mut values = this.tensor_ref(values)?;
            let sizes = this.builder.fact(values).shape.clone();
            // Values beyond the indices are not used.
            for (at, (&have, &want)) in sizes.0.iter().zip(&shape.0).enumerate() {
                if have != want && sizes.rank() == shape.rank() {
                    let op = Op::Slice { dim: at, start: crate::graph::Dim::fixed(0), end: want, step: 1 };
                    values = this.append(op, &[values])?;
                }
            }
            values
        }
        _ => {
            let name = if args.get("src").is_none() { "value" } else { "src" };
            this.append(Op::Full { shape, value: args.float(name)?, dtype: fact.dtype }, &[])?
        }
    };
    let input = this.tensor_ref(&tensor)?;
    this.op(Op::Scatter { dim, add }, &[input, index, values])
}

fn two(args: &Bound, name: &str) -> R<[usize; 2]> {
    let sizes = args.spatial(name, 2)?;
    Ok([sizes[0], sizes[1]])
}

fn patches(args: &Bound) -> R<Patches> {
    Ok(Patches {
        kernel: two(args, "kernel_size")?,
        dilation: two(args, "dilation")?,
        padding: two(args, "padding")?,
        stride: two(args, "stride")?,
    })
}

fn grid_sample(this: &mut Interp<'_>, args: Bound) -> R<Value> {
    let mode = match &*args.text("mode")? {
        "bilinear" => Interpolation::Linear,
        "nearest" => Interpolation::Nearest,
        "bicubic" => Interpolation::Cubic,
        other => {
            let message = format!(
                "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but \
                 got: '{other}'"
            );
            return Err(Raise::value_error(message));
        }
    };
    let padding = match &*args.text("padding_mode")? {
        "zeros" => PadMode::Constant(0.0),
        "border" => PadMode::Replicate,
        "reflection" => PadMode::Reflect,
        other => {
            let message = format!(
                "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but \
                 got: '{other}'"
            );
            return Err(Raise::value_error(message));
        }
    };
    let align_corners = this.truth(&args.get("align_corners"))?;
    let inputs = [operand(this, &args, "input")?, operand(this, &args, "grid")?];
    this.op(Op::GridSample { mode, padding, align_corners }, &inputs)
}
