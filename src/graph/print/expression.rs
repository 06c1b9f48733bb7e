//! One operation as a PyTorch expression over its arguments.

use super::{dim_text, sizes_text};
use crate::graph::op::{
    BatchNorm, Binary, Cell, Conv, Distribution, Dropout, Interpolation, PadMode, Patches, Pool, Reduction,
    Unary, When,
};
use crate::graph::{Body, DType, Dim, Node, Op, Shape};

/// The expression that computes a node from `arguments`.
pub(super) fn of(body: &Body, node: &Node, arguments: &[String]) -> String {
    let x = arguments.first().map_or("", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    let optional = |index: usize, given: bool| {
        if given { arguments[index].clone() } else { "None".to_owned() }
    };
    let spatial = |count: usize| format!("{count}d");
    match &node.op {
        Op::Input | Op::Param(_) => x.to_owned(),
        Op::Full { shape, value, dtype } => {
            format!("torch.full({}, {}, dtype={})", shape_text(shape), number(*value), dtype_text(*dtype))
        }
        Op::Literal { sizes, values, dtype } => {
            if values.is_empty() {
                return format!("torch.zeros({}, dtype={})", sizes_text(sizes), dtype_text(*dtype));
            }
            format!("torch.tensor({}, dtype={})", nested(sizes, values, *dtype), dtype_text(*dtype))
        }
        Op::Random { shape, distribution } => random(shape, *distribution),
        Op::Conv(conv) => convolution("conv", conv, arguments, false),
        Op::ConvTranspose(conv) => convolution("conv_transpose", conv, arguments, true),
        Op::Linear { .. } => format!("F.linear({})", arguments.join(", ")),
        Op::Bilinear { .. } => format!("F.bilinear({})", arguments.join(", ")),
        Op::Embedding { padding: None } => format!("F.embedding({})", arguments.join(", ")),
        Op::Embedding { padding: Some(row) } => format!("F.embedding({}, {row})", arguments.join(", ")),
        Op::BatchNorm(norm) => batch_norm(norm, arguments),
        Op::InstanceNorm { eps, affine } => {
            let (weight, bias) = (optional(1, *affine), optional(2, *affine));
            format!("F.instance_norm({x}, weight={weight}, bias={bias}, eps={})", number(*eps))
        }
        Op::LayerNorm { sizes, eps, weight, bias } => {
            let w = optional(1, *weight);
            let b = optional(1 + usize::from(*weight), *bias);
            format!("F.layer_norm({x}, {sizes:?}, {w}, {b}, {})", number(*eps))
        }
        Op::RmsNorm { sizes, eps, weight } => {
            format!("F.rms_norm({x}, {sizes:?}, {}, {})", optional(1, *weight), number(*eps))
        }
        Op::GroupNorm { groups, eps, affine } => {
            format!(
                "F.group_norm({x}, {groups}, {}, {}, {})",
                optional(1, *affine),
                optional(2, *affine),
                number(*eps)
            )
        }
        Op::LocalResponseNorm { size, alpha, beta, k } => {
            let [alpha, beta, k] = [*alpha, *beta, *k].map(number);
            format!("F.local_response_norm({x}, {size}, {alpha}, {beta}, {k})")
        }
        Op::Recurrent(_) => recurrent(body, node, arguments),
        Op::Attention { mask, causal, dropout, scale } => {
            let mask = optional(3, *mask);
            let scale = scale.map_or("None".to_owned(), number);
            format!(
                "F.scaled_dot_product_attention({}, {}, {}, {mask}, {}, {}, scale={scale})",
                arguments[0],
                arguments[1],
                arguments[2],
                number(*dropout),
                boolean(*causal)
            )
        }
        Op::Unary(unary) => unary_text(*unary, x),
        Op::Binary(binary) => binary_text(*binary, x, &arguments[1]),
        Op::Scalar { op, value, reversed } => {
            let value = scalar(*value);
            if *reversed { binary_text(*op, &value, x) } else { binary_text(*op, x, &value) }
        }
        Op::Where => format!("torch.where({})", arguments.join(", ")),
        Op::Prelu => format!("F.prelu({})", arguments.join(", ")),
        Op::Glu { dim } => format!("F.glu({x}, {dim})"),
        Op::Softmax { dim } => format!("F.softmax({x}, {dim})"),
        Op::LogSoftmax { dim } => format!("F.log_softmax({x}, {dim})"),
        Op::Normalize { p, dim, eps } => {
            format!("F.normalize({x}, {}, {dim}, {})", number(*p), number(*eps))
        }
        Op::Dropout { p, kind, when } => {
            let name = match kind {
                Dropout::Element => "dropout".to_owned(),
                // `dropout1d` would take a matrix for one sample.
                Dropout::Channel => match body.fact(node.inputs[0]).shape.rank() {
                    2 => "dropout2d".to_owned(),
                    rank => format!("dropout{}d", rank.clamp(3, 5) - 2),
                },
                Dropout::Alpha => "alpha_dropout".to_owned(),
                Dropout::FeatureAlpha => "feature_alpha_dropout".to_owned(),
            };
            format!("F.{name}({x}, {p:?}, {})", when_text(*when))
        }
        Op::MaxPool(pool) => {
            format!("F.max_pool{}({x}, {})", spatial(pool.kernel.len()), window(pool, true))
        }
        Op::MaxPoolIndices(pool) => format!(
            "F.max_pool{}({x}, {}, return_indices=True)[1]",
            spatial(pool.kernel.len()),
            window(pool, true)
        ),
        Op::AvgPool { pool, count_include_pad, divisor } => {
            let mut text = format!(
                "F.avg_pool{}({x}, {}, count_include_pad={}",
                spatial(pool.kernel.len()),
                window(pool, false),
                boolean(*count_include_pad)
            );
            if let Some(divisor) = divisor {
                text.push_str(&format!(", divisor_override={divisor}"));
            }
            text + ")"
        }
        Op::LpPool { pool, p } => format!(
            "F.lp_pool{}({x}, {}, {}, {}, {})",
            spatial(pool.kernel.len()),
            number(*p),
            if pool.kernel.len() == 1 { pool.kernel[0].to_string() } else { sizes_text(&pool.kernel) },
            if pool.kernel.len() == 1 { pool.stride[0].to_string() } else { sizes_text(&pool.stride) },
            boolean(pool.ceil_mode)
        ),
        Op::AdaptiveAvgPool { sizes } => adaptive("avg", x, sizes),
        Op::AdaptiveMaxPool { sizes } => adaptive("max", x, sizes),
        Op::AdaptiveMaxPoolIndices { sizes } => format!(
            "F.adaptive_max_pool{}({x}, {}, return_indices=True)[1]",
            spatial(sizes.len()),
            sizes_text(sizes)
        ),
        Op::FractionalMaxPool { kernel, sizes } => format!(
            "F.fractional_max_pool{}({x}, {}, {}, return_indices=True, _random_samples={})",
            spatial(sizes.len()),
            sizes_text(kernel),
            sizes_text(sizes),
            rest[0]
        ),
        Op::Reduce { op, dims, keepdim } => reduce(body, node, *op, dims, *keepdim, x),
        Op::CumSum { dim } | Op::CumProd { dim } => format!("torch.{}({x}, {dim})", node.op.name()),
        Op::Sort { dim, descending } => format!("torch.sort({x}, {dim}, {})", boolean(*descending)),
        Op::Gather { dim } => format!("torch.gather({x}, {dim}, {})", rest[0]),
        Op::Scatter { dim, .. } => format!("torch.{}({x}, {dim}, {}, {})", node.op.name(), rest[0], rest[1]),
        Op::SliceScatter { dim, start, end, step } => format!(
            "torch.slice_scatter({x}, {}, {dim}, {}, {}, {step})",
            rest[0],
            dim_text(*start),
            dim_text(*end)
        ),
        Op::Unfold(patches) => format!("F.unfold({x}, {})", patches_text(patches)),
        Op::Fold { sizes, patches } => {
            format!("F.fold({x}, {}, {})", sizes_text(sizes), patches_text(patches))
        }
        Op::GridSample { mode, padding, align_corners } => {
            grid_sample(*mode, *padding, *align_corners, arguments)
        }
        Op::MatMul => format!("torch.matmul({})", arguments.join(", ")),
        Op::Einsum { equation } => format!("torch.einsum({equation:?}, {})", arguments.join(", ")),
        Op::Reshape { shape } => format!("{x}.reshape({})", reshape_text(shape)),
        Op::Permute { dims } => format!("{x}.permute({})", sizes_text(dims)),
        Op::Expand { shape } => format!("{x}.expand({})", shape_text(shape)),
        Op::Repeat { counts } => format!("{x}.repeat({})", dims_text(counts)),
        Op::Slice { dim, start, end, step } => format!(
            "{x}[{}{}:{}{}]",
            ":, ".repeat(*dim),
            dim_text(*start),
            dim_text(*end),
            if *step == 1 { String::new() } else { format!(":{step}") }
        ),
        Op::Select { dim, index } => format!("{x}.select({dim}, {index})"),
        Op::IndexSelect { dim } => format!("torch.index_select({x}, {dim}, {})", rest[0]),
        Op::Unsqueeze { dim } => format!("{x}.unsqueeze({dim})"),
        Op::Squeeze { dims } => format!("{x}.squeeze({})", sizes_text(dims)),
        Op::Cat { dim } => format!("torch.cat([{}], {dim})", arguments.join(", ")),
        Op::Stack { dim } => format!("torch.stack([{}], {dim})", arguments.join(", ")),
        Op::Flip { dims } => format!("torch.flip({x}, {})", sizes_text(dims)),
        Op::Roll { shifts, dims } => format!("torch.roll({x}, {shifts:?}, {dims:?})"),
        Op::Pad { pads, mode } => pad(pads, *mode, x),
        Op::PixelShuffle { factor } => format!("F.pixel_shuffle({x}, {factor})"),
        Op::PixelUnshuffle { factor } => format!("F.pixel_unshuffle({x}, {factor})"),
        Op::ChannelShuffle { groups } => format!("F.channel_shuffle({x}, {groups})"),
        Op::Interpolate { sizes, mode, align_corners, scales } => {
            interpolate(sizes, *mode, *align_corners, scales.as_deref(), x)
        }
        Op::Triangle { upper, diagonal } => {
            format!("torch.{}({x}, {diagonal})", if *upper { "triu" } else { "tril" })
        }
        Op::Cast(dtype) => format!("{x}.to({})", dtype_text(*dtype)),
        Op::Detach => format!("{x}.detach()"),
        Op::Keep => format!("({x}.copy_({}), {})[1]", rest[0], rest[1]),
    }
}

/// A number in Python; infinities and NaN have no literal.
pub(super) fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        format!(
            "float({:?})",
            if value.is_nan() {
                "nan"
            } else if value > 0.0 {
                "inf"
            } else {
                "-inf"
            }
        )
    }
}

/// Values in row-major order as nested lists, so that they are read again as one tensor of these sizes.
pub(super) fn nested(sizes: &[usize], values: &[f64], dtype: DType) -> String {
    let Some((_, inner)) = sizes.split_first() else {
        let value = values.first().copied().unwrap_or_default();
        return match dtype {
            DType::Bool => boolean(value != 0.0).to_owned(),
            DType::I64 => scalar(value),
            DType::F32 | DType::F64 => number(value),
        };
    };
    let width = inner.iter().product::<usize>().max(1);
    let rows: Vec<String> = values.chunks(width).map(|row| nested(inner, row, dtype)).collect();
    format!("[{}]", rows.join(", "))
}

/// A number beside a tensor: whole numbers stay integers, so that an integer tensor stays one.
fn scalar(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { number(value) }
}

/// Whether a reshape has to name the batch size: -1 stands for one dimension that depends on it.
pub(super) fn needs_batch_size(shape: &Shape) -> bool {
    shape.0.iter().any(|dim| dim.depends_on_batch()) && shape.0.contains(&Dim::fixed(0))
}

fn reshape_text(shape: &Shape) -> String {
    if needs_batch_size(shape) {
        return shape_text(shape);
    }
    let dims: Vec<String> = shape
        .0
        .iter()
        .map(|dim| if dim.depends_on_batch() { "-1".to_owned() } else { dim_text(*dim) })
        .collect();
    format!("({}{})", dims.join(", "), if dims.len() == 1 { "," } else { "" })
}

fn shape_text(shape: &Shape) -> String {
    dims_text(&shape.0)
}

fn dims_text(dims: &[Dim]) -> String {
    let texts: Vec<String> = dims.iter().map(|dim| dim_text(*dim)).collect();
    format!("({}{})", texts.join(", "), if texts.len() == 1 { "," } else { "" })
}

fn dtype_text(dtype: DType) -> String {
    format!("torch.{}", dtype.name())
}

fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn when_text(when: When) -> &'static str {
    match when {
        When::Training => "self.training",
        When::Always => "True",
        When::Never => "False",
    }
}

fn random(shape: &Shape, distribution: Distribution) -> String {
    let shape = shape_text(shape);
    match distribution {
        Distribution::Uniform => format!("torch.rand({shape})"),
        Distribution::Normal => format!("torch.randn({shape})"),
        Distribution::Bernoulli(p) => format!("torch.empty({shape}).bernoulli_({p:?})"),
    }
}

fn convolution(name: &str, conv: &Conv, arguments: &[String], transposed: bool) -> String {
    let bias = if conv.bias { arguments[2].as_str() } else { "None" };
    let output_padding = if transposed {
        format!(", output_padding={}", sizes_text(&conv.output_padding))
    } else {
        String::new()
    };
    format!(
        "F.{name}{}d({}, {}, {bias}, stride={}, padding={}{output_padding}, dilation={}, groups={})",
        conv.stride.len(),
        arguments[0],
        arguments[1],
        sizes_text(&conv.stride),
        sizes_text(&conv.padding),
        sizes_text(&conv.dilation),
        conv.groups
    )
}

fn batch_norm(norm: &BatchNorm, arguments: &[String]) -> String {
    let (mean, variance) = if norm.running { (&*arguments[1], &*arguments[2]) } else { ("None", "None") };
    let from = 1 + 2 * usize::from(norm.running);
    let (weight, bias) =
        if norm.affine { (&*arguments[from], &*arguments[from + 1]) } else { ("None", "None") };
    let training = if norm.running { when_text(norm.batch_statistics) } else { "True" };
    // Without a momentum PyTorch averages over num_batches_tracked; in evaluation the momentum is not used.
    let momentum = norm.momentum.unwrap_or(0.0);
    format!(
        "F.batch_norm({}, {mean}, {variance}, {weight}, {bias}, {training}, {}, {})",
        arguments[0],
        number(momentum),
        number(norm.eps)
    )
}

fn recurrent(body: &Body, node: &Node, arguments: &[String]) -> String {
    let Op::Recurrent(settings) = &node.op else { return String::new() };
    let lstm = settings.cell == Cell::Lstm;
    let states = if settings.initial_state { 1 + usize::from(lstm) } else { 0 };
    let weights = arguments[1 + states..].join(", ");
    let name = match settings.cell {
        Cell::RnnTanh => "rnn_tanh",
        Cell::RnnRelu => "rnn_relu",
        Cell::Lstm => "lstm",
        Cell::Gru => "gru",
    };
    let zeros = |output: usize| {
        let shape = &node.outputs[output].shape;
        format!("torch.zeros({})", shape_text(shape))
    };
    let state = match (lstm, settings.initial_state) {
        (true, true) => format!("[{}, {}]", arguments[1], arguments[2]),
        (true, false) => format!("[{}, {}]", zeros(1), zeros(2)),
        (false, true) => arguments[1].clone(),
        (false, false) => zeros(1),
    };
    debug_assert!(body.nodes.len() > node.inputs.len());
    format!(
        "torch.{name}({}, {state}, [{weights}], {}, {}, {:?}, self.training, {}, {})",
        arguments[0],
        boolean(settings.bias),
        settings.layers,
        settings.dropout,
        boolean(settings.bidirectional),
        boolean(settings.batch_first)
    )
}

fn window(pool: &Pool, dilated: bool) -> String {
    let mut text =
        format!("{}, {}, {}", sizes_text(&pool.kernel), sizes_text(&pool.stride), sizes_text(&pool.padding));
    if dilated {
        text.push_str(&format!(", {}", sizes_text(&pool.dilation)));
    }
    text + &format!(", ceil_mode={}", boolean(pool.ceil_mode))
}

fn adaptive(kind: &str, x: &str, sizes: &[usize]) -> String {
    format!("F.adaptive_{kind}_pool{}d({x}, {})", sizes.len(), sizes_text(sizes))
}

fn reduce(body: &Body, node: &Node, op: Reduction, dims: &[usize], keepdim: bool, x: &str) -> String {
    let all: Vec<usize> = (0..body.fact(node.inputs[0]).shape.rank()).collect();
    let dims = if dims.is_empty() { &all } else { dims };
    let keep = boolean(keepdim);
    let axes = sizes_text(dims);
    match op {
        Reduction::Var { correction } | Reduction::Std { correction } => {
            format!("torch.{}({x}, {axes}, correction={}, keepdim={keep})", op.name(), scalar(correction))
        }
        Reduction::Norm { p } => format!("torch.linalg.vector_norm({x}, {}, {axes}, {keep})", number(p)),
        // These take one dimension or none.
        Reduction::Prod | Reduction::ArgMax | Reduction::ArgMin => match dims {
            [dim] => format!("torch.{}({x}, {dim}, keepdim={keep})", op.name()),
            _ if keepdim => {
                let kept = node.outputs.first().map_or_else(String::new, |fact| shape_text(&fact.shape));
                format!("torch.{}({x}).reshape({kept})", op.name())
            }
            _ => format!("torch.{}({x})", op.name()),
        },
        _ => format!("torch.{}({x}, {axes}, keepdim={keep})", op.name()),
    }
}

fn pad(pads: &[(i64, i64)], mode: PadMode, x: &str) -> String {
    let first = pads.iter().position(|pad| *pad != (0, 0)).unwrap_or(pads.len());
    // F.pad lists the last dimension first; the modes but constant take whole spatial shapes.
    let kept = match mode {
        PadMode::Constant(_) => first,
        _ => first.min(2).max(pads.len().saturating_sub(3)).min(2),
    };
    let list: Vec<String> = pads[kept..]
        .iter()
        .rev()
        .flat_map(|(before, after)| [before.to_string(), after.to_string()])
        .collect();
    let list = list.join(", ");
    match mode {
        PadMode::Constant(value) => format!("F.pad({x}, [{list}], value={})", number(value)),
        PadMode::Reflect => format!("F.pad({x}, [{list}], mode=\"reflect\")"),
        PadMode::Replicate => format!("F.pad({x}, [{list}], mode=\"replicate\")"),
        PadMode::Circular => format!("F.pad({x}, [{list}], mode=\"circular\")"),
    }
}

fn patches_text(patches: &Patches) -> String {
    let Patches { kernel, dilation, padding, stride } = patches;
    [kernel, dilation, padding, stride].map(|sizes| sizes_text(sizes)).join(", ")
}

fn grid_sample(mode: Interpolation, padding: PadMode, align_corners: bool, arguments: &[String]) -> String {
    let mode = match mode {
        Interpolation::Nearest => "nearest",
        Interpolation::Cubic => "bicubic",
        _ => "bilinear",
    };
    let padding = match padding {
        PadMode::Replicate => "border",
        PadMode::Reflect => "reflection",
        _ => "zeros",
    };
    let corners = boolean(align_corners);
    format!("F.grid_sample({}, {mode:?}, {padding:?}, {corners})", arguments.join(", "))
}

fn interpolate(
    sizes: &[usize],
    mode: Interpolation,
    align_corners: bool,
    scales: Option<&[f64]>,
    x: &str,
) -> String {
    let (name, aligned) = match (mode, sizes.len()) {
        (Interpolation::Nearest, _) => ("nearest", false),
        (Interpolation::NearestExact, _) => ("nearest-exact", false),
        (Interpolation::Area, _) => ("area", false),
        (Interpolation::Cubic, _) => ("bicubic", true),
        (Interpolation::Linear, 1) => ("linear", true),
        (Interpolation::Linear, 2) => ("bilinear", true),
        (Interpolation::Linear, _) => ("trilinear", true),
    };
    let corners = if aligned { format!(", align_corners={}", boolean(align_corners)) } else { String::new() };
    let size = match scales {
        Some(scales) => format!("scale_factor={scales:?}"),
        None => format!("size={}", sizes_text(sizes)),
    };
    format!("F.interpolate({x}, {size}, mode={name:?}{corners})")
}

fn binary_text(op: Binary, left: &str, right: &str) -> String {
    let infix = match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Remainder => "%",
        Binary::Pow => "**",
        Binary::Eq => "==",
        Binary::Ne => "!=",
        Binary::Lt => "<",
        Binary::Le => "<=",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        Binary::And => "&",
        Binary::Or => "|",
        Binary::Maximum | Binary::Minimum | Binary::Atan2 => {
            // These take tensors only.
            let wrap = |text: &str| {
                if text.parse::<f64>().is_ok() || text.starts_with("float(") {
                    format!("torch.tensor({text})")
                } else {
                    text.to_owned()
                }
            };
            return format!("torch.{}({}, {})", op.name(), wrap(left), wrap(right));
        }
    };
    // `-1 ** x` is `-(1 ** x)`.
    if op == Binary::Pow && left.starts_with('-') {
        return format!("({left}) {infix} {right}");
    }
    format!("{left} {infix} {right}")
}

fn unary_text(op: Unary, x: &str) -> String {
    match op {
        Unary::LeakyRelu { slope } => format!("F.leaky_relu({x}, {})", number(slope)),
        Unary::Rrelu { lower, upper, when } => {
            format!("F.rrelu({x}, {}, {}, {})", number(lower), number(upper), when_text(when))
        }
        Unary::Elu { alpha } => format!("F.elu({x}, {})", number(alpha)),
        Unary::Celu { alpha } => format!("F.celu({x}, {})", number(alpha)),
        Unary::Gelu { tanh } => format!("F.gelu({x}, approximate={:?})", if tanh { "tanh" } else { "none" }),
        Unary::Softplus { beta, threshold } => {
            format!("F.softplus({x}, {}, {})", number(beta), number(threshold))
        }
        Unary::Softshrink { lambda } => format!("F.softshrink({x}, {})", number(lambda)),
        Unary::Hardshrink { lambda } => format!("F.hardshrink({x}, {})", number(lambda)),
        Unary::Threshold { threshold, value } => {
            format!("F.threshold({x}, {}, {})", number(threshold), number(value))
        }
        Unary::Clamp { min, max } => {
            let upper = if max == f64::INFINITY { "None".to_owned() } else { scalar(max) };
            // One of them must be given.
            let open = min == f64::NEG_INFINITY && max != f64::INFINITY;
            format!("torch.clamp({x}, {}, {upper})", if open { "None".to_owned() } else { scalar(min) })
        }
        Unary::Neg => format!("-{x}"),
        Unary::Relu
        | Unary::Relu6
        | Unary::Selu
        | Unary::Silu
        | Unary::Mish
        | Unary::Hardswish
        | Unary::Hardsigmoid
        | Unary::LogSigmoid
        | Unary::Tanhshrink
        | Unary::Softsign => format!("F.{}({x})", op.name()),
        _ => format!("torch.{}({x})", op.name()),
    }
}
