//! What is written in Python, in the folder beside this file, in terms of other layers and functions: layers and
//! functions of PyTorch, `einops`, `numpy`, `random` and `re`.
//!
//! Input: a name. Output: the class or function of that name. A source is interpreted when a network first asks for one
//! of its names, under the same meters as the network's own source. Limit: repairs do not reach inside.

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Interp};
use crate::lower::value::Value;

const ATTENTION_SOURCE: &str = include_str!("python/attention.py");
const LAYER_SOURCE: &str = include_str!("python/layers.py");
const FUNCTION_SOURCE: &str =
    concat!(include_str!("python/functions.py"), include_str!("python/products.py"));
const POINTWISE_SOURCE: &str = include_str!("python/pointwise.py");
const LOSS_SOURCE: &str = include_str!("python/losses.py");
const FOURIER_SOURCE: &str = include_str!("python/fourier.py");
const EINOPS_SOURCE: &str = include_str!("python/einops.py");
const NUMPY_SOURCE: &str = concat!(
    include_str!("python/numpy.py"),
    include_str!("python/numpy_arrays.py"),
    include_str!("python/numpy_functions.py")
);
const NUMPY_RANDOM_SOURCE: &str = include_str!("python/numpy_random.py");
const TORCHVISION_SOURCE: &str = include_str!("python/torchvision_ops.py");
const PACKAGING_SOURCE: &str = include_str!("python/packaging_version.py");
const BUILTINS_SOURCE: &str = include_str!("python/builtins.py");
const INSPECT_SOURCE: &str = include_str!("python/inspect.py");
/// Exceptions as text; calls leave no trace.
const TRACEBACK_SOURCE: &str = include_str!("python/traceback.py");
/// Python's keywords.
const KEYWORD_SOURCE: &str = "\
kwlist = 'False None True and as assert async await break class continue def del elif else except finally for from \
global if import in is lambda nonlocal not or pass raise return try while with yield'.split()
softkwlist = ['_', 'case', 'match', 'type']


def iskeyword(s):
    return s in kwlist
";
/// What a package finds of itself by looking at its folder: nothing, since modules are read when they are imported.
const PKGUTIL_SOURCE: &str = "def walk_packages(path=None, prefix='', onerror=None):\n    return []\n\n\n\
                              def iter_modules(path=None, prefix=''):\n    return []\n";
const LIBRARY_SOURCE: &str = include_str!("python/library.py");
const AUTOGRAD_SOURCE: &str = include_str!("python/autograd.py");
const UTILS_SOURCE: &str = include_str!("python/utils.py");
const RANDOM_SOURCE: &str = include_str!("python/random.py");
const RE_SOURCE: &str = include_str!("python/re.py");

/// The module that [`numpy`] makes.
pub(crate) const NUMPY: &str = "numpy.composed";

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
    "MaxUnpool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "CrossMapLRN2d",
    "DataParallel",
    "Buffer",
    "LazyLinear",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "MSELoss",
    "L1Loss",
    "SmoothL1Loss",
    "HuberLoss",
    "KLDivLoss",
    "NLLLoss",
    "CrossEntropyLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
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
    ("tm", "isfinite bitwise_xor is_floating_point index_fill dist renorm addbmm addmv positive float_power"),
    ("t", "view_as_real view_as_complex"),
    ("m", "unfold new_full new_tensor sum_to_size fliplr flipud numpy reshape_as element_size get_device"),
    (
        "t",
        "trapezoid trapz tril_indices triu_indices chain_matmul hann_window hamming_window blackman_window",
    ),
    ("t", "bartlett_window scalar_tensor isin"),
    ("t", "randperm"),
    ("tm", "unique unique_consecutive"),
    (
        "tm",
        "nansum nanmean take kron diff cross logcumsumexp adjoint split_with_sizes unsafe_chunk unsafe_split",
    ),
    (
        "tm",
        "negative absolute arccos arcsin arctan greater greater_equal less less_equal not_equal fix sgn signbit",
    ),
    (
        "tm",
        "copysign fmax fmin deg2rad rad2deg xlogy isneginf isposinf ldexp logaddexp2 bitwise_and bitwise_or",
    ),
    ("tm", "bitwise_not arctan2 vdot conj real is_complex isclose is_conj resolve_conj resolve_neg"),
    ("t", "rsub"),
    ("tf", "cosine_similarity pairwise_distance"),
    ("f", "one_hot gumbel_softmax affine_grid upsample_nearest upsample_bilinear"),
    ("f", "max_unpool1d max_unpool2d max_unpool3d max_pool1d_with_indices max_pool2d_with_indices"),
    ("f", "max_pool3d_with_indices adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices"),
    ("f", "adaptive_max_pool3d_with_indices fractional_max_pool2d_with_indices"),
    ("f", "fractional_max_pool3d_with_indices"),
    ("f", "relu_ relu6_ elu_ selu_ celu_ leaky_relu_ rrelu_ threshold_ hardtanh_ embedding_bag"),
    ("t", "relu_ selu_ celu_ threshold_ rrelu_"),
    ("f", LOSSES),
    ("t", "normal"),
];

/// Those of [`FUNCTIONS`] that are losses.
const LOSSES: &str = "mse_loss l1_loss smooth_l1_loss huber_loss kl_div nll_loss cross_entropy binary_cross_entropy \
    binary_cross_entropy_with_logits";

/// Those of [`FUNCTIONS`] that are computed element by element.
const POINTWISE: &str = "frac hypot logaddexp fmod heaviside exp2 logit nan_to_num lerp addcmul addcdiv sinc isnan \
    isinf isfinite bitwise_xor is_floating_point positive float_power logspace bernoulli gumbel_softmax \
    negative absolute arccos arcsin arctan greater greater_equal less less_equal not_equal fix sgn signbit copysign \
    fmax fmin deg2rad rad2deg xlogy isneginf isposinf ldexp logaddexp2 bitwise_and bitwise_or bitwise_not arctan2 rsub \
    vdot conj real is_complex isclose is_conj resolve_conj resolve_neg \
    relu_ relu6_ elu_ selu_ celu_ leaky_relu_ rrelu_ threshold_ hardtanh_";

/// Whether there is a function of this name in a space.
pub(crate) fn has(space: char, name: &str) -> bool {
    FUNCTIONS
        .iter()
        .any(|(spaces, names)| spaces.contains(space) && names.split(' ').any(|known| known == name))
}

/// The names of functions in a space.
pub(crate) fn names(space: char) -> impl Iterator<Item = &'static str> {
    FUNCTIONS
        .iter()
        .filter(move |(spaces, _)| spaces.contains(space))
        .flat_map(|(_, names)| names.split_ascii_whitespace())
}

/// The layer of this name.
pub(crate) fn layer(this: &mut Interp<'_>, name: &str) -> R<Value> {
    if name.starts_with("Transformer") || name == "MultiheadAttention" {
        return get(this, "torch.nn.attention.composed", ATTENTION_SOURCE, name);
    }
    if name.ends_with("Loss") {
        return get(this, "torch.losses.composed", LOSS_SOURCE, name);
    }
    get(this, "torch.nn.composed", LAYER_SOURCE, name)
}

/// The function of this name.
pub(crate) fn function(this: &mut Interp<'_>, name: &str) -> R<Value> {
    match name {
        "multi_head_attention_forward" => get(this, "torch.nn.attention.composed", ATTENTION_SOURCE, name),
        "complex" | "polar" | "view_as_real" | "view_as_complex" => fourier(this, name),
        _ if LOSSES.split(' ').any(|known| known == name) => {
            get(this, "torch.losses.composed", LOSS_SOURCE, name)
        }
        _ if POINTWISE.split(' ').any(|known| known == name) => {
            get(this, "torch.pointwise.composed", POINTWISE_SOURCE, name)
        }
        _ => get(this, "torch.composed", FUNCTION_SOURCE, name),
    }
}

/// What a layer of Rust leaves to Python.
pub(crate) fn hidden_layer(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "torch.nn.composed", LAYER_SOURCE, name)
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

/// The name in `numpy`. Where Python has a function of the name, the source calls it otherwise.
pub(crate) fn numpy(this: &mut Interp<'_>, name: &str) -> R<Value> {
    let name = match name {
        "sum" => "sum_",
        "max" => "amax",
        "min" => "amin",
        "any" => "any_",
        "all" => "all_",
        "bool" => "bool_",
        // Gone from numpy, or never in it.
        "int" | "float" | "object" | "str" | "complex" | "float_" | "product" | "cumproduct" | "sometrue"
        | "alltrue" | "Inf" | "Infinity" | "NaN" | "infty" | "in1d_" => {
            return Err(Raise::attribute(format!("module 'numpy' has no attribute '{name}'")));
        }
        _ => name,
    };
    get(this, NUMPY, NUMPY_SOURCE, name)
}

/// The name in `numpy.random`.
pub(crate) fn numpy_random(this: &mut Interp<'_>, name: &str) -> R<Value> {
    let name = if name == "random" { "random_" } else { name };
    get(this, "numpy.random.composed", NUMPY_RANDOM_SOURCE, name)
}

/// The name in `random`.
pub(crate) fn random(this: &mut Interp<'_>, name: &str) -> R<Value> {
    let name = if name == "random" { "random_" } else { name };
    get(this, "random.composed", RANDOM_SOURCE, name)
}

/// The name in `inspect`.
pub(crate) fn inspect(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "inspect.composed", INSPECT_SOURCE, name)
}

/// The class that stands for a built-in type among the bases of a class derived from it.
pub(crate) fn derived(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "builtins.composed", BUILTINS_SOURCE, name)
}

/// The name in `torch.nn.utils`; those of its `parametrizations` begin with `parametrized_`.
pub(crate) fn utils(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "torch.nn.utils.composed", UTILS_SOURCE, name)
}

/// What is read for a module of another package that does not lie beside the source.
pub(crate) fn stands_in_for(module: &str) -> Option<&'static str> {
    match module {
        "torchvision.ops" | "torchvision.ops.misc" | "torchvision.ops.stochastic_depth" => {
            Some(TORCHVISION_SOURCE)
        }
        "packaging.version" => Some(PACKAGING_SOURCE),
        "pkgutil" => Some(PKGUTIL_SOURCE),
        "keyword" => Some(KEYWORD_SOURCE),
        "traceback" => Some(TRACEBACK_SOURCE),
        _ => None,
    }
}

/// The name in `argparse`, `collections`, `contextlib`, `dataclasses`, `functools`, `itertools`, `operator`, `os`,
/// `sys` or `types`.
pub(crate) fn library(this: &mut Interp<'_>, module: &str, name: &str) -> R<Value> {
    let known: &[&str] = match module {
        "argparse" => &["Namespace"],
        "collections" => &["Counter", "deque"],
        "contextlib" => &["ContextDecorator", "contextmanager", "nullcontext", "suppress"],
        "dataclasses" => &["asdict", "astuple", "fields", "replace"],
        "operator" => &["attrgetter", "itemgetter", "methodcaller"],
        "os" => &["environ", "getenv", "path", "sep"],
        "functools" => &["partialmethod"],
        "itertools" => &[
            "accumulate",
            "compress",
            "count",
            "cycle",
            "dropwhile",
            "groupby",
            "pairwise",
            "takewhile",
            "tee",
        ],
        "sys" => &["modules"],
        "types" => &["SimpleNamespace"],
        _ => &[],
    };
    if !known.contains(&name) {
        return Err(Raise::unsupported(format!("'{module}.{name}' is not supported")));
    }
    get(this, "library.composed", LIBRARY_SOURCE, name)
}

/// The name in `torch.autograd`, `torch.autograd.function`, `torch.utils.checkpoint` or `torch.amp`.
pub(crate) fn autograd(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "torch.autograd.composed", AUTOGRAD_SOURCE, name)
}

/// The name in `re`.
pub(crate) fn re(this: &mut Interp<'_>, name: &str) -> R<Value> {
    get(this, "re.composed", RE_SOURCE, name)
}

/// What numpy makes of a value: an array, or a number.
pub(crate) fn numpy_call(this: &mut Interp<'_>, name: &str, args: Vec<Value>) -> R<Value> {
    let module = this.source_module(NUMPY, NUMPY_SOURCE)?;
    let found = module.scope.names.borrow().get(name).cloned();
    match found {
        Some(function) => this.call(&function, Args::of(args)),
        None => Err(Raise::unsupported(format!("numpy.{name} is not supported"))),
    }
}

fn get(this: &mut Interp<'_>, module: &str, source: &str, name: &str) -> R<Value> {
    let module = this.source_module(module, source)?;
    let found = if name.starts_with('_') { None } else { module.scope.names.borrow().get(name).cloned() };
    found.ok_or_else(|| Raise::unsupported(format!("'{name}' is not supported")))
}
