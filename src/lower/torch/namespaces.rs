//! Modules that the interpreter knows by name: `torch` and its parts, `math`, `functools`, ...
//!
//! Input: a module's dotted name and an attribute. Output: a value; `AttributeError` where PyTorch has no such name; a
//! stand-in that is refused when it is used, where PyTorch has it and this program does not. Limit: the list of names
//! that only PyTorch has is not complete, so an unknown name in `torch` counts as missing there too.

use std::rc::Rc;

use crate::graph::DType;
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::Interp;
use crate::lower::torch::{find as function, initialisers, layers, stdlib};
use crate::lower::value::Value;

const NAMES: &[&str] = &[
    "torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.modules", "torch.nn.modules.conv",
    "torch.nn.modules.batchnorm", "torch.nn.modules.utils", "torch.nn.parameter", "torch.jit", "torch.cuda", "math",
    "numpy", "functools", "operator", "itertools", "collections", "copy", "warnings", "typing", "dataclasses",
];

/// Names in `torch` that exist in PyTorch and are not supported.
const TORCH: &[&str] = &[
    "optim", "utils", "autograd", "no_grad", "inference_mode", "enable_grad", "save", "load", "compile", "fx", "hub",
    "distributed", "distributions", "fft", "linalg", "special", "sparse", "multiprocessing", "onnx", "quantization", "ao",
    "backends", "testing", "random", "amp", "types", "float16", "bfloat16", "float64", "double", "half", "int32", "int16",
    "int8", "uint8", "complex64", "channels_last", "contiguous_format", "preserve_format", "Generator", "sort", "topk",
    "argsort", "unique", "nonzero", "gather", "scatter", "meshgrid", "randint", "randperm", "multinomial", "cross",
    "cdist", "outer", "diag", "diagonal", "trace", "inverse", "det", "svd", "qr", "cumprod", "median", "mode", "quantile",
    "kthvalue", "histc", "bincount", "logspace", "complex", "polar", "normal", "bitwise_and", "isnan", "isinf",
    "isfinite", "allclose", "equal", "lerp", "addcmul", "addcdiv", "addmv", "addr", "mps", "version", "set_default_dtype",
    "get_default_dtype", "set_num_threads", "get_num_threads", "initial_seed", "seed", "FloatTensor", "LongTensor",
    "BoolTensor", "hstack", "vstack", "dstack", "tensor_split", "take", "rot90", "repeat_interleave", "combinations",
    "cartesian_prod", "block_diag", "tensordot", "chain_matmul", "std_mean", "var_mean", "count_nonzero", "logaddexp",
    "sgn", "signbit", "frac", "fmod", "hypot", "erfc", "erfinv", "digamma", "lgamma", "sinc", "heaviside", "nan_to_num",
    "logit", "acosh", "asinh", "atanh", "deg2rad", "rad2deg", "bernoulli_", "poisson", "empty_strided", "lstm", "gru",
    "layer_norm", "group_norm", "instance_norm", "embedding", "bilinear", "pairwise_distance", "cosine_similarity",
    "nested", "export", "func", "vmap", "package", "profiler", "futures", "overrides", "library", "masked", "__version__",
    "ops", "classes", "finfo", "iinfo", "strided", "layout", "memory_format", "is_floating_point", "is_complex", "index_add",
    "index_fill", "masked_select", "masked_scatter", "scatter_add", "take_along_dim", "swapdims", "moveaxis", "unsafe_chunk",
    "unsafe_split", "dsplit", "hsplit", "vsplit", "select_scatter", "slice_scatter", "adjoint", "argwhere", "column_stack",
    "row_stack", "conj", "bucketize", "searchsorted", "clip_", "relu_", "selu_", "sigmoid_", "tanh_", "exp_", "abs_",
    "concat_", "cummax", "cummin", "diff", "gradient", "trapz", "renorm", "matrix_power", "matrix_exp", "slogdet",
    "logdet", "pinverse", "cholesky", "lu", "eig", "symeig", "broadcast_tensors", "atleast_1d", "atleast_2d",
    "atleast_3d", "mean_", "nansum", "nanmean", "nanmedian", "aminmax", "dist", "cov", "corrcoef", "vander", "kron",
    "inner", "float_power", "true_divide_", "gcd", "lcm", "xlogy", "positive", "negative_", "neg_", "fix", "absolute",
    "arccos", "arcsin", "arctan", "arctan2", "arccosh", "arcsinh", "arctanh", "exp2", "greater", "greater_equal", "less",
    "less_equal", "not_equal", "logical_xor", "bitwise_not", "bitwise_or", "bitwise_xor", "hamming_window", "hann_window",
    "blackman_window", "bartlett_window", "kaiser_window", "stft", "istft", "scalar_tensor", "asarray", "frombuffer",
    "is_nonzero", "is_storage", "numel_", "set_printoptions", "set_default_device", "set_default_tensor_type",
    "set_float32_matmul_precision", "get_rng_state", "set_rng_state", "use_deterministic_algorithms", "Storage",
    "FloatStorage", "DoubleTensor", "HalfTensor", "IntTensor", "ByteTensor", "ShortTensor", "CharTensor", "short",
    "int", "uint16", "cfloat", "chalf", "complex128", "qint8", "quint8", "is_inference_mode_enabled", "cat_", "celu_",
];

/// Names in `torch.nn.functional` that exist in PyTorch and are not supported.
const FUNCTIONAL: &[&str] = &[
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cosine_similarity", "cosine_embedding_loss", "pairwise_distance", "pdist",
    "one_hot", "fold", "unfold", "grid_sample", "affine_grid", "gumbel_softmax", "embedding_bag", "ctc_loss",
    "fractional_max_pool2d", "fractional_max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "lp_pool3d",
    "multi_head_attention_forward", "margin_ranking_loss", "triplet_margin_loss", "relu_", "relu6_", "elu_", "selu_",
    "leaky_relu_", "rrelu_", "threshold_", "hardtanh_", "celu_", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "adaptive_max_pool2d_with_indices", "upsample_nearest", "upsample_bilinear", "hinge_embedding_loss",
    "multi_margin_loss", "soft_margin_loss", "poisson_nll_loss", "gaussian_nll_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "native_channel_shuffle", "conv_tbc", "triplet_margin_with_distance_loss",
];

/// The module of this name.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let name = match name {
        "np" => "numpy",
        name => name,
    };
    if name.starts_with("torch.nn.modules.") {
        return Some("torch.nn");
    }
    NAMES.iter().find(|known| **known == name).copied()
}

/// Names that `from module import *` brings.
pub(crate) fn public_names(namespace: &str) -> Vec<&'static str> {
    match namespace {
        "torch.nn" => layers::names().chain(["Module", "Parameter", "functional", "init"]).collect(),
        "math" => vec!["sqrt", "log", "floor", "ceil", "pi", "exp", "log2", "prod"],
        "typing" => vec!["List", "Tuple", "Optional", "Union", "Dict", "Any", "Callable", "Type", "Sequence"],
        _ => Vec::new(),
    }
}

fn stand_in(namespace: &str, name: &str) -> Value {
    Value::Opaque(Rc::from(format!("{namespace}.{name}")))
}

/// `module.name`.
pub(crate) fn attribute(this: &mut Interp<'_>, namespace: &'static str, name: &str) -> R<Value> {
    if let Some(builtin) = stdlib::find(namespace, name) {
        return Ok(Value::Builtin(builtin));
    }
    let found = match namespace {
        "torch" => torch(this, name)?,
        "torch.nn" | "torch.nn.modules" | "torch.nn.modules.conv" | "torch.nn.modules.batchnorm" | "torch.nn.parameter" => {
            nn(this, name)?
        }
        "torch.nn.functional" => functional(name),
        "torch.nn.init" => initialisers::find(name).map(Value::Builtin),
        "math" => match name {
            "pi" => Some(Value::Float(std::f64::consts::PI)),
            "e" => Some(Value::Float(std::f64::consts::E)),
            "inf" => Some(Value::Float(f64::INFINITY)),
            "nan" => Some(Value::Float(f64::NAN)),
            _ => None,
        },
        "numpy" => match name {
            "pi" => Some(Value::Float(std::f64::consts::PI)),
            "inf" => Some(Value::Float(f64::INFINITY)),
            _ => Some(stand_in(namespace, name)),
        },
        "collections" => match name {
            "OrderedDict" => Some(Value::Class(this.class("OrderedDict")?)),
            "defaultdict" => Some(Value::Class(this.class("defaultdict")?)),
            _ => Some(stand_in(namespace, name)),
        },
        "itertools" if name == "chain" => stdlib::find("itertools", "chain").map(Value::Builtin),
        "typing" => match name {
            "NamedTuple" => Some(Value::Class(this.class("NamedTuple")?)),
            "OrderedDict" => Some(Value::Class(this.class("OrderedDict")?)),
            "TYPE_CHECKING" => Some(Value::Bool(false)),
            _ => Some(stand_in(namespace, name)),
        },
        _ => Some(stand_in(namespace, name)),
    };
    match found {
        Some(value) => Ok(value),
        None => {
            let message = format!("module '{namespace}' has no attribute '{name}'");
            Err(Raise::attribute(message).with_hint(Hint::Attribute { name: name.to_owned() }))
        }
    }
}

fn torch(this: &mut Interp<'_>, name: &str) -> R<Option<Value>> {
    if let Some(builtin) = function('t', name) {
        return Ok(Some(Value::Builtin(builtin)));
    }
    Ok(Some(match name {
        "nn" => Value::Namespace("torch.nn"),
        "jit" => Value::Namespace("torch.jit"),
        "cuda" => Value::Namespace("torch.cuda"),
        "Tensor" => Value::Class(this.class("Tensor")?),
        "Size" => Value::Class(this.class("Size")?),
        "dtype" => Value::Class(this.class("dtype")?),
        "float" | "float32" => Value::DType(DType::F32),
        "long" | "int64" => Value::DType(DType::I64),
        "bool" => Value::DType(DType::Bool),
        "pi" => Value::Float(std::f64::consts::PI),
        "inf" => Value::Float(f64::INFINITY),
        "relu_" | "sigmoid_" | "tanh_" => match function('t', name.trim_end_matches('_')) {
            Some(_) => stand_in("torch", name),
            None => return Ok(None),
        },
        name if TORCH.contains(&name) || name.starts_with('_') => stand_in("torch", name),
        _ => return Ok(None),
    }))
}

fn nn(this: &mut Interp<'_>, name: &str) -> R<Option<Value>> {
    if let Some(layer) = layers::find(name) {
        return Ok(Some(Value::Class(this.class(layer.name)?)));
    }
    Ok(Some(match name {
        "Module" => Value::Class(this.class("Module")?),
        "Parameter" => Value::Class(this.class("Parameter")?),
        "functional" => Value::Namespace("torch.nn.functional"),
        "init" => Value::Namespace("torch.nn.init"),
        "modules" | "batchnorm" | "conv" | "linear" | "activation" | "pooling" | "normalization" | "module" | "container" => {
            Value::Namespace("torch.nn")
        }
        "_ConvNd" => Value::Class(this.class("_ConvNd")?),
        "_ConvTransposeNd" => Value::Class(this.class("_ConvTransposeNd")?),
        "_BatchNorm" => Value::Class(this.class("_BatchNorm")?),
        "_InstanceNorm" => Value::Class(this.class("_InstanceNorm")?),
        "RNNBase" => Value::Class(this.class("RNNBase")?),
        "utils" | "parallel" | "quantized" | "intrinsic" | "qat" | "attention" | "parameter" | "_reduction" => {
            stand_in("torch.nn", name)
        }
        name if layers::UNSUPPORTED.contains(&name) => stand_in("torch.nn", name),
        _ => return Ok(None),
    }))
}

fn functional(name: &str) -> Option<Value> {
    if let Some(builtin) = function('f', name) {
        return Some(Value::Builtin(builtin));
    }
    if FUNCTIONAL.contains(&name) || name.starts_with('_') {
        return Some(stand_in("torch.nn.functional", name));
    }
    None
}
