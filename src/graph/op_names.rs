//! What PyTorch calls each operation, for tables, messages and printed source.

use super::op::{Binary, Cell, Dropout, Op, Reduction, Unary};

impl Op {
    /// The operation's name in PyTorch, for tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Param(_) => "parameter",
            Op::Full { .. } => "full",
            Op::Literal { .. } => "tensor",
            Op::Random { .. } => "rand",
            Op::Conv(_) => "conv",
            Op::ConvTranspose(_) => "conv_transpose",
            Op::Linear { .. } => "linear",
            Op::Bilinear { .. } => "bilinear",
            Op::Embedding => "embedding",
            Op::BatchNorm(_) => "batch_norm",
            Op::InstanceNorm { .. } => "instance_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::RmsNorm { .. } => "rms_norm",
            Op::GroupNorm { .. } => "group_norm",
            Op::LocalResponseNorm { .. } => "local_response_norm",
            Op::Recurrent(settings) => match settings.cell {
                Cell::RnnTanh | Cell::RnnRelu => "rnn",
                Cell::Lstm => "lstm",
                Cell::Gru => "gru",
            },
            Op::Attention { .. } => "scaled_dot_product_attention",
            Op::Unary(unary) => unary.name(),
            Op::Binary(binary) | Op::Scalar { op: binary, .. } => binary.name(),
            Op::Where => "where",
            Op::Prelu => "prelu",
            Op::Glu { .. } => "glu",
            Op::Softmax { .. } => "softmax",
            Op::LogSoftmax { .. } => "log_softmax",
            Op::Normalize { .. } => "normalize",
            Op::Dropout { kind: Dropout::Element, .. } => "dropout",
            Op::Dropout { kind: Dropout::Channel, .. } => "dropout2d",
            Op::Dropout { kind: Dropout::Alpha, .. } => "alpha_dropout",
            Op::Dropout { kind: Dropout::FeatureAlpha, .. } => "feature_alpha_dropout",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool { .. } => "avg_pool",
            Op::LpPool { .. } => "lp_pool",
            Op::AdaptiveAvgPool { .. } => "adaptive_avg_pool",
            Op::AdaptiveMaxPool { .. } => "adaptive_max_pool",
            Op::Reduce { op, .. } => op.name(),
            Op::CumSum { .. } => "cumsum",
            Op::MatMul => "matmul",
            Op::Einsum { .. } => "einsum",
            Op::Reshape { .. } => "reshape",
            Op::Permute { .. } => "permute",
            Op::Expand { .. } => "expand",
            Op::Repeat { .. } => "repeat",
            Op::Slice { .. } => "slice",
            Op::Select { .. } => "select",
            Op::IndexSelect { .. } => "index_select",
            Op::Unsqueeze { .. } => "unsqueeze",
            Op::Squeeze { .. } => "squeeze",
            Op::Cat { .. } => "cat",
            Op::Stack { .. } => "stack",
            Op::Flip { .. } => "flip",
            Op::Roll { .. } => "roll",
            Op::Pad { .. } => "pad",
            Op::PixelShuffle { .. } => "pixel_shuffle",
            Op::PixelUnshuffle { .. } => "pixel_unshuffle",
            Op::ChannelShuffle { .. } => "channel_shuffle",
            Op::Interpolate { .. } => "interpolate",
            Op::Triangle { upper: false, .. } => "tril",
            Op::Triangle { upper: true, .. } => "triu",
            Op::Cast(_) => "to",
            Op::Detach => "detach",
        }
    }
}

impl Unary {
    /// The function's name in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::Relu6 => "relu6",
            Unary::LeakyRelu { .. } => "leaky_relu",
            Unary::Rrelu { .. } => "rrelu",
            Unary::Elu { .. } => "elu",
            Unary::Celu { .. } => "celu",
            Unary::Selu => "selu",
            Unary::Gelu { .. } => "gelu",
            Unary::Silu => "silu",
            Unary::Mish => "mish",
            Unary::Hardswish => "hardswish",
            Unary::Hardsigmoid => "hardsigmoid",
            Unary::Sigmoid => "sigmoid",
            Unary::LogSigmoid => "logsigmoid",
            Unary::Tanh => "tanh",
            Unary::Tanhshrink => "tanhshrink",
            Unary::Softplus { .. } => "softplus",
            Unary::Softsign => "softsign",
            Unary::Softshrink { .. } => "softshrink",
            Unary::Hardshrink { .. } => "hardshrink",
            Unary::Threshold { .. } => "threshold",
            Unary::Clamp { .. } => "clamp",
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Exp => "exp",
            Unary::Expm1 => "expm1",
            Unary::Log => "log",
            Unary::Log1p => "log1p",
            Unary::Log2 => "log2",
            Unary::Log10 => "log10",
            Unary::Sqrt => "sqrt",
            Unary::Rsqrt => "rsqrt",
            Unary::Square => "square",
            Unary::Reciprocal => "reciprocal",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Tan => "tan",
            Unary::Sinh => "sinh",
            Unary::Cosh => "cosh",
            Unary::Asin => "asin",
            Unary::Acos => "acos",
            Unary::Atan => "atan",
            Unary::Erf => "erf",
            Unary::Floor => "floor",
            Unary::Ceil => "ceil",
            Unary::Round => "round",
            Unary::Trunc => "trunc",
            Unary::LogicalNot => "logical_not",
        }
    }
}

impl Binary {
    /// The function's name in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::FloorDiv => "floor_divide",
            Binary::Remainder => "remainder",
            Binary::Pow => "pow",
            Binary::Maximum => "maximum",
            Binary::Minimum => "minimum",
            Binary::Atan2 => "atan2",
            Binary::Eq => "eq",
            Binary::Ne => "ne",
            Binary::Lt => "lt",
            Binary::Le => "le",
            Binary::Gt => "gt",
            Binary::Ge => "ge",
            Binary::And => "logical_and",
            Binary::Or => "logical_or",
        }
    }
}

impl Reduction {
    /// The function's name in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Prod => "prod",
            Reduction::Max => "amax",
            Reduction::Min => "amin",
            Reduction::ArgMax => "argmax",
            Reduction::ArgMin => "argmin",
            Reduction::LogSumExp => "logsumexp",
            Reduction::Var { .. } => "var",
            Reduction::Std { .. } => "std",
            Reduction::Norm { .. } => "norm",
            Reduction::All => "all",
            Reduction::Any => "any",
        }
    }
}
