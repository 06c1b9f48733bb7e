//! Functions with weights: convolutions, linear maps, norms, embeddings, matrix products, attention.
//!
//! Input: tensors and settings, as in `torch.nn.functional`. Output: nodes. Limit: losses and sampling are refused.

use std::rc::Rc;

use crate::graph::op::{BatchNorm, Binary, Conv, PadMode};
use crate::graph::{Dim, Fact, Op, TensorRef, When};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::creation::fixed;
use crate::lower::torch::elementwise::{operand, when};
use crate::lower::torch::{Function, row};
use crate::lower::value::{Tensor, Value};

const CONV: &str = "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1";
const CONV_TRANSPOSE: &str =
    "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1";

pub(crate) const FUNCTIONS: &[Function] = &[
    row("tf", "conv1d", CONV, |this, args| conv(this, &args, 1)),
    row("tf", "conv2d", CONV, |this, args| conv(this, &args, 2)),
    row("tf", "conv3d", CONV, |this, args| conv(this, &args, 3)),
    row("tf", "conv_transpose1d", CONV_TRANSPOSE, |this, args| conv_transpose(this, &args, 1)),
    row("tf", "conv_transpose2d", CONV_TRANSPOSE, |this, args| conv_transpose(this, &args, 2)),
    row("tf", "conv_transpose3d", CONV_TRANSPOSE, |this, args| conv_transpose(this, &args, 3)),
    row("f", "linear", "input, weight, bias=None", |this, args| {
        let mut inputs = vec![operand(this, &args, "input")?, operand(this, &args, "weight")?];
        let bias = optional(this, &args, "bias", &mut inputs)?;
        this.op(Op::Linear { bias }, &inputs)
    }),
    row("f", "bilinear", "input1, input2, weight, bias=None", |this, args| {
        let mut inputs = Vec::new();
        for name in ["input1", "input2", "weight"] {
            inputs.push(operand(this, &args, name)?);
        }
        let bias = optional(this, &args, "bias", &mut inputs)?;
        this.op(Op::Bilinear { bias }, &inputs)
    }),
    row(
        "f",
        "embedding",
        "input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False",
        |this, args| {
            if !args.get("max_norm").is_none() {
                return Err(Raise::unsupported("embedding with max_norm is not supported"));
            }
            let inputs = [operand(this, &args, "input")?, operand(this, &args, "weight")?];
            let padding = match args.optional_int("padding_idx")? {
                Some(row) => {
                    super::index::within(&this.builder.fact(inputs[1]).shape.clone(), 0, row).map(Some)?
                }
                None => None,
            };
            this.op(Op::Embedding { padding }, &inputs)
        },
    ),
    row(
        "tf",
        "batch_norm",
        "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05",
        |this, args| {
            let when = when(this, &args.get("training"))?;
            batch_norm(this, &args, when, None)
        },
    ),
    row(
        "f",
        "instance_norm",
        "input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, \
         eps=1e-05",
        |this, args| {
            if !args.get("running_mean").is_none() {
                return Err(Raise::unsupported("instance_norm with running statistics is not supported"));
            }
            let mut inputs = vec![operand(this, &args, "input")?];
            let affine = weight_and_bias(this, &args, &mut inputs)?;
            this.op(Op::InstanceNorm { eps: args.float("eps")?, affine }, &inputs)
        },
    ),
    row(
        "tf",
        "layer_norm",
        "input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True",
        |this, args| {
            let mut inputs = vec![operand(this, &args, "input")?];
            let weight = optional(this, &args, "weight", &mut inputs)?;
            let bias = optional(this, &args, "bias", &mut inputs)?;
            let sizes = args.spatial_list("normalized_shape")?;
            this.op(Op::LayerNorm { sizes, eps: args.float("eps")?, weight, bias }, &inputs)
        },
    ),
    row("tf", "rms_norm", "input, normalized_shape, weight=None, eps=None", |this, args| {
        let mut inputs = vec![operand(this, &args, "input")?];
        let weight = optional(this, &args, "weight", &mut inputs)?;
        let sizes = args.spatial_list("normalized_shape")?;
        let eps = args.optional_float("eps")?.unwrap_or(f64::from(f32::EPSILON));
        this.op(Op::RmsNorm { sizes, eps, weight }, &inputs)
    }),
    row(
        "tf",
        "group_norm",
        "input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True",
        |this, args| {
            let mut inputs = vec![operand(this, &args, "input")?];
            let affine = weight_and_bias(this, &args, &mut inputs)?;
            let op = Op::GroupNorm { groups: args.count("num_groups")?, eps: args.float("eps")?, affine };
            this.op(op, &inputs)
        },
    ),
    row("f", "local_response_norm", "input, size, alpha=0.0001, beta=0.75, k=1.0", |this, args| {
        let input = operand(this, &args, "input")?;
        let op = Op::LocalResponseNorm {
            size: args.count("size")?,
            alpha: args.float("alpha")?,
            beta: args.float("beta")?,
            k: args.float("k")?,
        };
        this.op(op, &[input])
    }),
    row(
        "f",
        "scaled_dot_product_attention",
        "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False",
        |this, args| attention(this, &args),
    ),
    row("tm", "matmul", "input, other", |this, args| matmul(this, &args, None)),
    row("tm", "mm", "input, mat2", |this, args| product(this, &args, "mat2", 2)),
    row("tm", "bmm", "input, mat2", |this, args| product(this, &args, "mat2", 3)),
    row("tm", "mv", "input, vec", |this, args| {
        let inputs = [operand(this, &args, "input")?, operand(this, &args, "vec")?];
        this.op(Op::MatMul, &inputs)
    }),
    row("tm", "dot", "input, other", |this, args| matmul(this, &args, Some(1))),
    row("tm", "addmm", "input, mat1, mat2, *, beta=1, alpha=1", |this, args| {
        added(this, &args, "mat1", "mat2")
    }),
    row("tm", "baddbmm", "input, batch1, batch2, *, beta=1, alpha=1", |this, args| {
        added(this, &args, "batch1", "batch2")
    }),
    row("t", "einsum", "equation, *operands", |this, args| {
        let equation: String = args.text("equation")?.chars().filter(|char| !char.is_whitespace()).collect();
        let operands = match &args.rest[..] {
            [list @ (Value::List(_) | Value::Tuple(_))] => this.iterate(list)?,
            operands => operands.to_vec(),
        };
        let list = this.tuple(operands)?;
        let inputs = super::parts::tensors(this, &list)?;
        let ranks: Vec<usize> = inputs.iter().map(|&input| this.builder.fact(input).shape.rank()).collect();
        let equation = if equation.contains("...") { without_ellipsis(&equation, &ranks)? } else { equation };
        let equation = if equation.contains("->") { equation } else { implicit(&equation) };
        this.op(Op::Einsum { equation }, &inputs)
    }),
];

/// The equation with letters for the dimensions that `...` stands for; where there is no output, they come first.
fn without_ellipsis(equation: &str, ranks: &[usize]) -> R<String> {
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let free: Vec<char> = ('A'..='Z').filter(|letter| !equation.contains(*letter)).collect();
    let (mut terms, mut widest) = (Vec::new(), 0);
    for (term, rank) in left.split(',').zip(ranks) {
        let named = term.chars().filter(|letter| *letter != '.').count();
        let hidden = if term.contains("...") { rank.saturating_sub(named) } else { 0 };
        widest = widest.max(hidden);
        terms.push((term, hidden));
    }
    if widest > free.len() {
        return Err(Raise::unsupported("einsum with that many dimensions is not supported"));
    }
    // Dimensions of an ellipsis are aligned at their end.
    let letters = |hidden: usize| free[widest - hidden..widest].iter().collect::<String>();
    let left: Vec<String> =
        terms.iter().map(|(term, hidden)| term.replace("...", &letters(*hidden))).collect();
    let right = match right {
        Some(right) => right.replace("...", &letters(widest)),
        None => {
            let implicit = implicit(&left.join(","));
            let named = implicit.split_once("->").map_or("", |(_, output)| output);
            let named: String = named.chars().filter(|letter| !free[..widest].contains(letter)).collect();
            letters(widest) + &named
        }
    };
    Ok(format!("{}->{right}", left.join(",")))
}

/// `ij,jk` means `ij,jk->ik`: letters that occur once, in alphabetical order.
fn implicit(equation: &str) -> String {
    let mut letters: Vec<char> = equation.chars().filter(|char| char.is_ascii_alphabetic()).collect();
    letters.sort_unstable();
    let once =
        letters.iter().filter(|&&letter| letters.iter().filter(|&&other| other == letter).count() == 1);
    format!("{equation}->{}", once.collect::<String>())
}

fn optional(this: &mut Interp<'_>, args: &Bound, name: &str, inputs: &mut Vec<TensorRef>) -> R<bool> {
    match args.optional_tensor(name)? {
        Some(tensor) => {
            inputs.push(this.tensor_ref(&tensor)?);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Where one of them is given alone, ones or zeros stand for the other.
fn weight_and_bias(this: &mut Interp<'_>, args: &Bound, inputs: &mut Vec<TensorRef>) -> R<bool> {
    let weight = optional(this, args, "weight", inputs)?;
    let bias = optional(this, args, "bias", inputs)?;
    if weight != bias
        && let Some(&given) = inputs.last()
    {
        let Fact { shape, dtype } = this.builder.fact(given).clone();
        let value = if weight { 0.0 } else { 1.0 };
        let other = this.append(Op::Full { shape, value, dtype }, &[])?;
        inputs.insert(inputs.len() - usize::from(bias), other);
    }
    Ok(weight || bias)
}

fn attention(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    let mut inputs = Vec::new();
    for name in ["query", "key", "value"] {
        inputs.push(operand(this, args, name)?);
    }
    if args.bool("enable_gqa")? {
        share_heads(this, &mut inputs)?;
    }
    let mask = optional(this, args, "attn_mask", &mut inputs)?;
    let causal = args.bool("is_causal")?;
    if mask && causal {
        return Err(Raise::runtime(
            "scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True",
        ));
    }
    let dropout = args.float("dropout_p")?;
    if dropout > 1.0 {
        let message = format!("dropout probability has to be between 0 and 1, but got {dropout}");
        return Err(Raise::runtime(message));
    }
    // One that is not positive drops nothing.
    let dropout = if dropout > 0.0 { dropout } else { 0.0 };
    this.op(Op::Attention { mask, causal, dropout, scale: args.optional_float("scale")? }, &inputs)
}

/// Grouped queries (`enable_gqa=True`): each head of key and value, `(*, heads, S, E)`, as often as there are queries
/// for it.
fn share_heads(this: &mut Interp<'_>, inputs: &mut [TensorRef]) -> R<()> {
    let heads = |this: &mut Interp<'_>, input: TensorRef| {
        let shape = &this.builder.fact(input).shape;
        match shape.rank().checked_sub(3) {
            Some(at) => fixed(shape.0[at], "a number of heads").map(|count| (at, count)),
            None => Err(Raise::python(
                "IndexError",
                "Dimension out of range (expected to be in range of [-2, 1], but got -3)",
            )),
        }
    };
    let (_, queries) = heads(this, inputs[0])?;
    for input in &mut inputs[1..] {
        let (at, count) = heads(this, *input)?;
        if count == 0 || queries % count != 0 {
            return Err(Raise::runtime(
                "enable_gqa: Number of heads in key and value must divide the number of heads in query",
            ));
        }
        if count == queries {
            continue;
        }
        let mut shape = this.builder.fact(*input).shape.clone();
        let apart = this.append(Op::Unsqueeze { dim: at + 1 }, &[*input])?;
        let mut wide = shape.clone();
        wide.0.insert(at + 1, Dim::from(queries / count));
        let repeated = this.append(Op::Expand { shape: wide }, &[apart])?;
        shape.0[at] = Dim::from(queries);
        *input = this.append(Op::Reshape { shape }, &[repeated])?;
    }
    Ok(())
}

fn matmul(this: &mut Interp<'_>, args: &Bound, _rank: Option<usize>) -> R<Value> {
    let inputs = [operand(this, args, "input")?, operand(this, args, "other")?];
    this.op(Op::MatMul, &inputs)
}

fn product(this: &mut Interp<'_>, args: &Bound, other: &str, rank: usize) -> R<Value> {
    let inputs = [operand(this, args, "input")?, operand(this, args, other)?];
    for input in inputs {
        let got = this.builder.fact(input).shape.rank();
        if got != rank {
            let what = if rank == 2 { "matrices" } else { "3D tensors" };
            return Err(Raise::runtime(format!("{}: expected {what}, got {got}D tensor", args.function)));
        }
    }
    if rank == 3 {
        let (a, b) = (&this.builder.fact(inputs[0]).shape, &this.builder.fact(inputs[1]).shape);
        if a.0[0] != b.0[0] {
            return Err(Raise::runtime("batch1 and batch2 must have same number of batches"));
        }
    }
    this.op(Op::MatMul, &inputs)
}

fn added(this: &mut Interp<'_>, args: &Bound, a: &str, b: &str) -> R<Value> {
    let product = [operand(this, args, a)?, operand(this, args, b)?];
    let mut product = this.append(Op::MatMul, &product)?;
    let mut input = operand(this, args, "input")?;
    for (name, tensor) in [("alpha", &mut product), ("beta", &mut input)] {
        let value = args.float(name)?;
        if (value - 1.0).abs() > 0.0 {
            *tensor = this.append(Op::Scalar { op: Binary::Mul, value, reversed: false }, &[*tensor])?;
        }
    }
    this.op(Op::Binary(Binary::Add), &[input, product])
}

/// Whether the weights fit a convolution over `spatial` dimensions, and the input's rank with them.
fn check_rank(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<()> {
    let input = args.tensor("input")?;
    let shape = this.fact(&input)?.shape;
    if shape.rank() != spatial + 1 && shape.rank() != spatial + 2 {
        return Err(Raise::runtime(format!(
            "Expected {}D (unbatched) or {}D (batched) input to {}, but got input of size: {shape}",
            spatial + 1,
            spatial + 2,
            args.function
        )));
    }
    Ok(())
}

fn conv(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    check_rank(this, args, spatial)?;
    let mut inputs = vec![operand(this, args, "input")?, operand(this, args, "weight")?];
    let bias = optional(this, args, "bias", &mut inputs)?;
    let stride = args.spatial("stride", spatial)?;
    let dilation = args.spatial("dilation", spatial)?;
    let mut padding = vec![0; spatial];
    match args.get("padding") {
        Value::Str(name) if &*name == "valid" => {}
        Value::Str(name) if &*name == "same" => {
            if stride.iter().any(|&stride| stride != 1) {
                return Err(Raise::value_error("padding='same' is not supported for strided convolutions"));
            }
            padding = same_padding(this, &mut inputs, &dilation, spatial)?;
        }
        Value::Str(name) => {
            return Err(Raise::value_error(format!(
                "Invalid padding string '{name}', should be one of {{'valid', 'same'}}"
            )));
        }
        _ => padding = args.spatial("padding", spatial)?,
    }
    let groups = args.count("groups")?;
    let settings = Conv { stride, padding, dilation, output_padding: vec![0; spatial], groups, bias };
    this.op(Op::Conv(settings), &inputs)
}

/// Padding that keeps the size; where it is not symmetric the input is padded at its end first, as PyTorch does.
fn same_padding(
    this: &mut Interp<'_>,
    inputs: &mut [TensorRef],
    dilation: &[usize],
    spatial: usize,
) -> R<Vec<usize>> {
    let weight = this.builder.fact(inputs[1]).shape.clone();
    let rank = this.builder.fact(inputs[0]).shape.rank();
    let mut padding = Vec::new();
    let mut pads = vec![(0, 0); rank];
    for axis in 0..spatial {
        let kernel = match weight.0.get(2 + axis) {
            Some(&dim) => fixed(dim, "a kernel")?,
            None => 1,
        };
        let total = dilation[axis].saturating_mul(kernel.saturating_sub(1));
        padding.push(total / 2);
        pads[rank - spatial + axis] = (0, i64::try_from(total % 2).unwrap_or(0));
    }
    if pads.iter().any(|&(_, after)| after > 0) {
        inputs[0] = this.append(Op::Pad { pads, mode: PadMode::Constant(0.0) }, &[inputs[0]])?;
    }
    Ok(padding)
}

fn conv_transpose(this: &mut Interp<'_>, args: &Bound, spatial: usize) -> R<Value> {
    check_rank(this, args, spatial)?;
    let mut inputs = vec![operand(this, args, "input")?, operand(this, args, "weight")?];
    let bias = optional(this, args, "bias", &mut inputs)?;
    let settings = Conv {
        stride: args.spatial("stride", spatial)?,
        padding: args.spatial("padding", spatial)?,
        dilation: args.spatial("dilation", spatial)?,
        output_padding: args.spatial("output_padding", spatial)?,
        groups: args.count("groups")?,
        bias,
    };
    this.op(Op::ConvTranspose(settings), &inputs)
}

/// `F.batch_norm`, with the buffer that counts batches where a layer has one.
pub(crate) fn batch_norm(
    this: &mut Interp<'_>,
    args: &Bound,
    batch_statistics: When,
    counter: Option<Rc<Tensor>>,
) -> R<Value> {
    let mut inputs = vec![operand(this, args, "input")?];
    let mut running = optional(this, args, "running_mean", &mut inputs)?;
    running &= optional(this, args, "running_var", &mut inputs)?;
    let affine = weight_and_bias(this, args, &mut inputs)?;
    if !running && batch_statistics == When::Never {
        return Err(Raise::runtime(
            "Expected running_mean and running_var to be defined when training=False",
        ));
    }
    let counter = counter.and_then(|tensor| match &*tensor.state.borrow() {
        crate::lower::value::TensorState::Param(id) => Some(*id),
        _ => None,
    });
    let norm = BatchNorm {
        eps: args.float("eps")?,
        momentum: args.optional_float("momentum")?,
        running,
        affine,
        batch_statistics: if running { batch_statistics } else { When::Always },
        counter,
    };
    this.op(Op::BatchNorm(norm), &inputs)
}
