//! The settings of the larger operations, in PyTorch's terms: convolution, batch norm, recurrent layers, pools,
//! padding, interpolation.

use super::op::{ParamId, When};

/// Settings of a convolution; one number per spatial dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Steps.
    pub stride: Vec<usize>,
    /// Zeros on both sides.
    pub padding: Vec<usize>,
    /// Distance of the kernel's points.
    pub dilation: Vec<usize>,
    /// Added to the output's size; transposed convolutions only, else zeros.
    pub output_padding: Vec<usize>,
    /// Groups of channels.
    pub groups: usize,
    /// Whether a bias is the third input.
    pub bias: bool,
}

/// Settings of a batch norm.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of the new value in the running statistics; `None`: the plain mean (needs `num_batches_tracked`, which
    /// the trainer counts).
    pub momentum: Option<f64>,
    /// Whether running statistics are inputs 1 and 2.
    pub running: bool,
    /// Whether weight and bias are the last inputs.
    pub affine: bool,
    /// When the batch's own statistics are used (always, where there are no running ones).
    pub batch_statistics: When,
    /// The buffer that counts batches, where there is one.
    pub counter: Option<ParamId>,
}

/// Kind of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Elman, tanh.
    RnnTanh,
    /// Elman, ReLU.
    RnnRelu,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit.
    Gru,
}

/// Settings of a stack of recurrent layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// Kind.
    pub cell: Cell,
    /// Features of the hidden state.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Whether biases are inputs.
    pub bias: bool,
    /// Whether the sequence is `(N, L, features)` rather than `(L, N, features)`.
    pub batch_first: bool,
    /// Whether a second direction runs backwards.
    pub bidirectional: bool,
    /// Dropout between layers.
    pub dropout: f64,
    /// Projected size of an LSTM's hidden state, 0 for none.
    pub projection: usize,
    /// Whether the initial states are inputs.
    pub initial_state: bool,
}

/// A pooling window; one number per spatial dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Sizes.
    pub kernel: Vec<usize>,
    /// Steps.
    pub stride: Vec<usize>,
    /// On both sides.
    pub padding: Vec<usize>,
    /// Distance of the window's points (max pooling only, else ones).
    pub dilation: Vec<usize>,
    /// Whether a window that is partly outside counts.
    pub ceil_mode: bool,
}

/// What a dropout zeroes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropout {
    /// Single elements.
    Element,
    /// Whole channels (`dropout1d`, `dropout2d`, `dropout3d`).
    Channel,
    /// Single elements, keeping mean and variance of a SELU network.
    Alpha,
    /// Whole channels, likewise.
    FeatureAlpha,
}

/// What [`Op::Random`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Uniform in [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
    /// One with this probability, else zero.
    Bernoulli(f64),
}

/// What [`Op::Pad`] pads with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// This number.
    Constant(f64),
    /// The mirrored inside, without the border.
    Reflect,
    /// The border.
    Replicate,
    /// The other end.
    Circular,
}

/// How [`Op::Interpolate`] fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The nearest point, PyTorch's `nearest`.
    Nearest,
    /// PyTorch's `nearest-exact`.
    NearestExact,
    /// `linear`, `bilinear` or `trilinear`, by rank.
    Linear,
    /// `bicubic`.
    Cubic,
    /// `area`.
    Area,
}

/// The patches of [`Op::Unfold`] and [`Op::Fold`]: height, then width.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Patches {
    /// Size of a patch.
    pub kernel: [usize; 2],
    /// Distance of its points.
    pub dilation: [usize; 2],
    /// Zeros around the image.
    pub padding: [usize; 2],
    /// Distance of patches.
    pub stride: [usize; 2],
}
