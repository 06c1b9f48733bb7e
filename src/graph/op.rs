//! The operations of a network graph: what each computes and with which settings, in PyTorch's terms.
//!
//! Weights are ordinary inputs (`F.conv2d(x, weight, bias)`), so a module that is called twice, and a function that
//! is handed a parameter, are the same thing. Each operation's shapes and cost are in `ops/`.

use super::dim::{Dim, Shape};

pub use super::dtype::DType;
pub use super::op_settings::{
    BatchNorm, Cell, Conv, Distribution, Dropout, Interpolation, PadMode, Patches, Pool, Recurrent,
};

/// Index of a parameter or buffer in [`super::Graph::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(pub u32);

/// When a mode-dependent operation (dropout, batch norm) behaves as in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// While the network trains (`module.train()`), as layers do.
    Training,
    /// In evaluation too, such as `F.dropout(x)` without `training=`.
    Always,
    /// Never, such as a batch norm that was put in evaluation mode for good.
    Never,
}

/// An operation. `Op::Conv` and the like take their weights as inputs, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The batch of images, `(N, C, H, W)`, or of vectors.
    Input,
    /// A parameter or buffer.
    Param(ParamId),
    /// A tensor filled with one number.
    Full {
        /// Its shape.
        shape: Shape,
        /// The number.
        value: f64,
        /// Its element type.
        dtype: DType,
    },
    /// A tensor written in the source (`torch.tensor([...])`, `arange`, `linspace`, `eye`): values in row-major order.
    Literal {
        /// Its sizes.
        sizes: Vec<usize>,
        /// Its values.
        values: Vec<f64>,
        /// Its element type.
        dtype: DType,
    },
    /// Random numbers drawn anew at each call (stochastic depth).
    Random {
        /// Its shape.
        shape: Shape,
        /// What is drawn.
        distribution: Distribution,
    },

    /// `F.conv{1,2,3}d`: input, weight, and bias if `bias`.
    Conv(Conv),
    /// `F.conv_transpose{1,2,3}d`: input, weight, and bias if `bias`.
    ConvTranspose(Conv),
    /// `F.linear`: input `(*, in)`, weight `(out, in)`, and bias if `bias`.
    Linear {
        /// Whether a bias `(out,)` is the third input.
        bias: bool,
    },
    /// `F.bilinear`: two inputs, weight `(out, in1, in2)`, and bias if `bias`.
    Bilinear {
        /// Whether a bias is the fourth input.
        bias: bool,
    },
    /// `F.embedding`: indices (I64), weight `(entries, width)`.
    Embedding {
        /// The row that gets no gradient.
        padding: Option<usize>,
    },
    /// `F.batch_norm`: input; running mean and variance if `running`; weight and bias if `affine`.
    BatchNorm(BatchNorm),
    /// `F.instance_norm` without running statistics: input, weight and bias if `affine`.
    InstanceNorm {
        /// Added to the variance.
        eps: f64,
        /// Whether weight and bias are inputs.
        affine: bool,
    },
    /// `F.layer_norm` over the last dimensions: input, weight if `weight`, bias if `bias`.
    LayerNorm {
        /// The sizes normalised over.
        sizes: Vec<usize>,
        /// Added to the variance.
        eps: f64,
        /// Whether a weight is an input.
        weight: bool,
        /// Whether a bias is an input.
        bias: bool,
    },
    /// `F.rms_norm` over the last dimensions: input, weight if `weight`.
    RmsNorm {
        /// The sizes normalised over.
        sizes: Vec<usize>,
        /// Added to the mean square.
        eps: f64,
        /// Whether a weight is an input.
        weight: bool,
    },
    /// `F.group_norm`: input, weight and bias if `affine`.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f64,
        /// Whether weight and bias are inputs.
        affine: bool,
    },
    /// `F.local_response_norm`.
    LocalResponseNorm {
        /// Channels summed over.
        size: usize,
        /// Factor.
        alpha: f64,
        /// Exponent.
        beta: f64,
        /// Offset.
        k: f64,
    },
    /// One or more recurrent layers; outputs are the sequence, the last hidden state and, for an LSTM, the last cell
    /// state. Inputs: sequence, initial states if `initial_state` (h, and c for an LSTM), then for each layer and
    /// direction weight_ih, weight_hh and, if `bias`, bias_ih, bias_hh; `weight_hr` last where projected.
    Recurrent(Recurrent),
    /// `F.scaled_dot_product_attention`: query, key, value, and an additive or boolean mask if `mask`.
    Attention {
        /// Whether a mask is the fourth input.
        mask: bool,
        /// Whether position i may look only at positions up to i.
        causal: bool,
        /// Dropout on the attention weights, in evaluation too: PyTorch's function does not ask for the mode.
        dropout: f64,
        /// Factor on the products; `None`: `1 / sqrt(width)`.
        scale: Option<f64>,
    },

    /// One tensor in, the same shape out.
    Unary(Unary),
    /// Two tensors, broadcast.
    Binary(Binary),
    /// A tensor and a number: `tensor op number`, or `number op tensor` if `reversed`.
    Scalar {
        /// What is computed.
        op: Binary,
        /// The number.
        value: f64,
        /// Whether the number stands on the left.
        reversed: bool,
    },
    /// `torch.where`: condition, then, else, broadcast.
    Where,
    /// `F.prelu`: input, weight of one or C elements.
    Prelu,
    /// `F.glu`: halves a dimension.
    Glu {
        /// The halved dimension.
        dim: usize,
    },
    /// `F.softmax` over a dimension.
    Softmax {
        /// The dimension.
        dim: usize,
    },
    /// `F.softmin` is a `Softmax` of the negative; this is `F.log_softmax`.
    LogSoftmax {
        /// The dimension.
        dim: usize,
    },
    /// `F.normalize`: divide by the p-norm over a dimension, at least `eps`.
    Normalize {
        /// The norm's exponent.
        p: f64,
        /// The dimension.
        dim: usize,
        /// Smallest divisor.
        eps: f64,
    },
    /// The dropouts.
    Dropout {
        /// Probability of zeroing.
        p: f64,
        /// What is zeroed together.
        kind: Dropout,
        /// In which mode.
        when: When,
    },

    /// `F.max_pool{1,2,3}d`.
    MaxPool(Pool),
    /// The second result of `F.max_pool{1,2,3}d(return_indices=True)`: where in its plane each maximum was (I64).
    MaxPoolIndices(Pool),
    /// `F.avg_pool{1,2,3}d`.
    AvgPool {
        /// The window.
        pool: Pool,
        /// Whether the padding counts in the mean.
        count_include_pad: bool,
        /// Divide by this instead of the window's size.
        divisor: Option<usize>,
    },
    /// `F.lp_pool{1,2,3}d`.
    LpPool {
        /// The window (no padding).
        pool: Pool,
        /// The norm's exponent.
        p: f64,
    },
    /// `F.adaptive_avg_pool{1,2,3}d` to these sizes.
    AdaptiveAvgPool {
        /// Sizes of the last dimensions.
        sizes: Vec<usize>,
    },
    /// `F.adaptive_max_pool{1,2,3}d` to these sizes.
    AdaptiveMaxPool {
        /// Sizes of the last dimensions.
        sizes: Vec<usize>,
    },
    /// The second result of `F.adaptive_max_pool{1,2,3}d(return_indices=True)`, as [`Op::MaxPoolIndices`].
    AdaptiveMaxPoolIndices {
        /// Sizes of the last dimensions.
        sizes: Vec<usize>,
    },
    /// `F.fractional_max_pool{2,3}d` (Graham, 2014): input, random samples `(N, C, spatial)` below 1 that place the
    /// windows. Two results: the maxima, and where in its plane each was (I64).
    FractionalMaxPool {
        /// Sizes of each window.
        kernel: Vec<usize>,
        /// Sizes of the last dimensions.
        sizes: Vec<usize>,
    },

    /// A reduction over dimensions (all, where `dims` is empty).
    Reduce {
        /// What is computed.
        op: Reduction,
        /// Over which dimensions, ascending.
        dims: Vec<usize>,
        /// Whether they stay, with size 1.
        keepdim: bool,
    },
    /// `torch.cumsum` over a dimension.
    CumSum {
        /// The dimension.
        dim: usize,
    },
    /// `torch.cumprod` over a dimension.
    CumProd {
        /// The dimension.
        dim: usize,
    },
    /// `torch.sort` over a dimension: values, and where they stood (I64).
    Sort {
        /// The dimension.
        dim: usize,
        /// Largest first.
        descending: bool,
    },

    /// `torch.matmul` with its broadcasting.
    MatMul,
    /// `torch.einsum`.
    Einsum {
        /// The equation, without spaces, with its `->`.
        equation: String,
    },

    /// `reshape` (and `view`, `flatten`, `unflatten`): sizes are exact, without -1.
    Reshape {
        /// The new shape.
        shape: Shape,
    },
    /// `permute` (and `transpose`, `t`, `movedim`).
    Permute {
        /// For each new dimension, the old one.
        dims: Vec<usize>,
    },
    /// `expand` (and `broadcast_to`): the whole new shape.
    Expand {
        /// The new shape.
        shape: Shape,
    },
    /// `repeat`: how often along each dimension of the result.
    Repeat {
        /// Counts; more than the rank adds leading dimensions.
        counts: Vec<Dim>,
    },
    /// `x[..., start:end:step, ...]` in one dimension; bounds are exact.
    Slice {
        /// The dimension.
        dim: usize,
        /// First index.
        start: Dim,
        /// One past the last index.
        end: Dim,
        /// Stride, positive.
        step: usize,
    },
    /// `x[..., index, ...]` in one dimension, which goes.
    Select {
        /// The dimension.
        dim: usize,
        /// The index, not negative.
        index: usize,
    },
    /// `torch.index_select`: input, indices (I64, one dimension).
    IndexSelect {
        /// The dimension.
        dim: usize,
    },
    /// `torch.gather`: input, indices (I64) of the same rank.
    Gather {
        /// The dimension.
        dim: usize,
    },
    /// `torch.scatter` or `scatter_add`: input, indices (I64), values of the indices' sizes.
    Scatter {
        /// The dimension.
        dim: usize,
        /// Whether values are added to what is there.
        add: bool,
    },
    /// `torch.slice_scatter`: input, and what takes the place of `Slice` of it.
    SliceScatter {
        /// The dimension.
        dim: usize,
        /// First index.
        start: Dim,
        /// One past the last index.
        end: Dim,
        /// Stride, positive.
        step: usize,
    },
    /// `unsqueeze`: a dimension of size 1 before `dim`.
    Unsqueeze {
        /// Where.
        dim: usize,
    },
    /// `squeeze`: these dimensions, all of size 1, go.
    Squeeze {
        /// Which, ascending.
        dims: Vec<usize>,
    },
    /// `torch.cat`.
    Cat {
        /// Along which dimension.
        dim: usize,
    },
    /// `torch.stack`.
    Stack {
        /// The new dimension.
        dim: usize,
    },
    /// `torch.flip`.
    Flip {
        /// Which dimensions.
        dims: Vec<usize>,
    },
    /// `torch.roll`.
    Roll {
        /// By how much, per dimension.
        shifts: Vec<i64>,
        /// Which dimensions.
        dims: Vec<usize>,
    },
    /// `F.pad`: (before, after) for each dimension, outermost first; negative crops.
    Pad {
        /// (before, after) for every dimension.
        pads: Vec<(i64, i64)>,
        /// What is padded with.
        mode: PadMode,
    },
    /// `F.pixel_shuffle`.
    PixelShuffle {
        /// The factor.
        factor: usize,
    },
    /// `F.pixel_unshuffle`.
    PixelUnshuffle {
        /// The factor.
        factor: usize,
    },
    /// `F.channel_shuffle`.
    ChannelShuffle {
        /// Number of groups.
        groups: usize,
    },
    /// `F.interpolate` of the last dimensions to these sizes.
    Interpolate {
        /// The new sizes.
        sizes: Vec<usize>,
        /// How.
        mode: Interpolation,
        /// PyTorch's `align_corners`.
        align_corners: bool,
        /// The factors asked for, where they are not exactly the sizes' and shift the grid.
        scales: Option<Vec<f64>>,
    },
    /// `F.unfold` of `(N, C, H, W)`: patches as columns.
    Unfold(Patches),
    /// `F.fold` to these sizes: columns summed into an image.
    Fold {
        /// Height and width.
        sizes: [usize; 2],
        /// The patches.
        patches: Patches,
    },
    /// `F.grid_sample` of `(N, C, H, W)` at `(N, H', W', 2)`.
    GridSample {
        /// Nearest, Linear or Cubic.
        mode: Interpolation,
        /// What lies outside: zeros (`Constant`), the border (`Replicate`) or the mirror (`Reflect`).
        padding: PadMode,
        /// PyTorch's `align_corners`.
        align_corners: bool,
    },
    /// `torch.tril` / `torch.triu`.
    Triangle {
        /// Whether the upper part is kept.
        upper: bool,
        /// The diagonal.
        diagonal: i64,
    },
    /// Change of element type.
    Cast(DType),
    /// `detach`: the same numbers, no gradient.
    Detach,
    /// A step of training changes a buffer: `(buffer, value, carried)` gives what it carries, and in training keeps
    /// the value in the buffer.
    Keep,
}

/// Functions of one tensor, element by element.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names are PyTorch's")]
pub enum Unary {
    Relu,
    Relu6,
    LeakyRelu {
        slope: f64,
    },
    /// `F.rrelu`: in training a random slope in the range, else its middle.
    Rrelu {
        lower: f64,
        upper: f64,
        when: When,
    },
    Elu {
        alpha: f64,
    },
    Celu {
        alpha: f64,
    },
    Selu,
    Gelu {
        tanh: bool,
    },
    Silu,
    Mish,
    Hardswish,
    Hardsigmoid,
    Sigmoid,
    LogSigmoid,
    Tanh,
    Tanhshrink,
    Softplus {
        beta: f64,
        threshold: f64,
    },
    Softsign,
    Softshrink {
        lambda: f64,
    },
    Hardshrink {
        lambda: f64,
    },
    Threshold {
        threshold: f64,
        value: f64,
    },
    /// `clamp` and `hardtanh`; infinite where a side is open.
    Clamp {
        min: f64,
        max: f64,
    },
    Neg,
    Abs,
    Sign,
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Sqrt,
    Rsqrt,
    Square,
    Reciprocal,
    Sin,
    Cos,
    Tan,
    Sinh,
    Cosh,
    Asin,
    Acos,
    Atan,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Erfc,
    Floor,
    Ceil,
    Round,
    Trunc,
    LogicalNot,
}

/// Functions of two tensors, element by element, with broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PyTorch's")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Remainder,
    Pow,
    Maximum,
    Minimum,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

/// What [`Op::Reduce`] computes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names are PyTorch's")]
pub enum Reduction {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    ArgMax,
    ArgMin,
    LogSumExp,
    /// `var`, with this correction (1 is Bessel's).
    Var {
        correction: f64,
    },
    /// `std`, likewise.
    Std {
        correction: f64,
    },
    /// The p-norm.
    Norm {
        p: f64,
    },
    All,
    Any,
}
