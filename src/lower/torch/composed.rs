//! What is written in Python, in the folder beside this file, in terms of other layers and functions: layers and
//! functions of PyTorch, and `einops`.
//!
//! Input: a name. Output: the class or function of that name. A source is interpreted when a network first asks for one
//! of its names, under the same meters as the network's own source. Limit: repairs do not reach inside.

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::value::Value;

const ATTENTION_SOURCE: &str = include_str!("python/attention.py");
const LAYER_SOURCE: &str = include_str!("python/layers.py");
const FUNCTION_SOURCE: &str = include_str!("python/functions.py");
const POINTWISE_SOURCE: &str = include_str!("python/pointwise.py");
const FOURIER_SOURCE: &str = include_str!("python/fourier.py");
const EINOPS_SOURCE: &str = include_str!("python/einops.py");

/// The layers.
pub(crate) const LAYERS: &[&str] = &[
    "MultiheadAttention",
    "Transformer",
    "TransformerEncoderLayer",
    "TransformerEncoder",
    "TransformerDecoderLayer",
    "TransformerDecoder",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "Softmax2d",
    "CosineSimilarity",
    "PairwiseDistance",
    "Fold",
    "Unfold",
    "EmbeddingBag",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "LazyLinear",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
];

/// The functions, by where they are found: `t` in `torch`, `f` in `torch.nn.functional`, `m` as a method of tensors.
const FUNCTIONS: &[(&str, &str)] = &[
    ("f", "multi_head_attention_forward"),
    ("t", "hstack vstack dstack column_stack row_stack atleast_1d atleast_2d atleast_3d meshgrid"),
    (
        "t",
        "broadcast_tensors broadcast_shapes cartesian_prod block_diag logspace fliplr flipud complex polar",
    ),
    ("tm", "bernoulli"),
    ("t", "var_mean std_mean bucketize searchsorted cdist tensordot"),
    (
        "tm",
        "tensor_split hsplit vsplit repeat_interleave rot90 diag diag_embed diagonal trace outer ger inner",
    ),
    ("tm", "moveaxis take_along_dim topk argsort kthvalue median quantile count_nonzero aminmax"),
    ("tm", "frac hypot logaddexp fmod heaviside exp2 logit nan_to_num lerp addcmul addcdiv sinc isnan isinf"),
    (
        "tm",
        "isfinite logical_xor bitwise_xor is_floating_point index_fill dist addbmm addmv positive float_power",
    ),
    ("t", "view_as_real view_as_complex"),
    ("m", "unfold new_full new_tensor sum_to_size fliplr flipud"),
    ("tf", "cosine_similarity pairwise_distance"),
    ("f", "one_hot gumbel_softmax affine_grid max_unpool1d max_unpool2d upsample_nearest upsample_bilinear"),
    ("f", "relu_ relu6_ elu_ selu_ celu_ leaky_relu_ rrelu_ threshold_ hardtanh_ embedding_bag"),
    ("t", "relu_ selu_ celu_ threshold_ rrelu_"),
];

/// Those of [`FUNCTIONS`] that are computed element by element.
const POINTWISE: &str = "frac hypot logaddexp fmod heaviside exp2 logit nan_to_num lerp addcmul addcdiv sinc isnan \
    isinf isfinite logical_xor bitwise_xor is_floating_point positive float_power logspace bernoulli gumbel_softmax \
    relu_ relu6_ elu_ selu_ celu_ leaky_relu_ rrelu_ threshold_ hardtanh_";

/// Whether there is a function of this name in a space.
pub(crate) fn has(space: char, name: &str) -> bool {
    FUNCTIONS
        .iter()
        .any(|(spaces, names)| spaces.contains(space) && names.split(' ').any(|known| known == name))
}

/// The layer of this name.
pub(crate) fn layer(this: &mut Interp<'_>, name: &str) -> R<Value> {
    if name.starts_with("Transformer") || name == "MultiheadAttention" {
        return get(this, "torch.nn.attention.composed", ATTENTION_SOURCE, name);
    }
    get(this, "torch.nn.composed", LAYER_SOURCE, name)
}

/// The function of this name.
pub(crate) fn function(this: &mut Interp<'_>, name: &str) -> R<Value> {
    match name {
        "multi_head_attention_forward" => get(this, "torch.nn.attention.composed", ATTENTION_SOURCE, name),
        "complex" | "polar" | "view_as_real" | "view_as_complex" => fourier(this, name),
        _ if POINTWISE.split(' ').any(|known| known == name) => {
            get(this, "torch.pointwise.composed", POINTWISE_SOURCE, name)
        }
        _ => get(this, "torch.composed", FUNCTION_SOURCE, name),
    }
}

/// The function of this name in `torch.linalg`.
pub(crate) fn linalg(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "torch.composed", FUNCTION_SOURCE, &format!("linalg_{name}"))
}

/// The function of this name in `torch.fft`.
pub(crate) fn fourier(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "torch.fft.composed", FOURIER_SOURCE, name)
}

/// The name in `einops` or its layers.
pub(crate) fn einops(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "einops.composed", EINOPS_SOURCE, name)
}

fn get(this: &mut Interp<'_>, module: &str, source: &str, name: &str) -> R<Value> {
    let module = this.source_module(module, source)?;
    let found = if name.starts_with('_') { None } else { module.scope.names.borrow().get(name).cloned() };
    found.ok_or_else(|| Raise::unsupported(format!("'{name}' is not supported")))
}
