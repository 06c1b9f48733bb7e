//! The layers of `torch.nn`: constructor signatures, parameters with PyTorch's initial values, and forward passes.
//!
//! Input: constructor arguments, kept as the instance's attributes as in PyTorch; then tensors. Output: parameters and
//! nodes. A layer without parameters is a row that names the function it calls. Limit: `device=` has no effect.

use std::rc::Rc;

use crate::graph::{Init, Place, Region, Shape};
use crate::lower::error::{Hint, R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::attributes::{attr, attr_int, attr_usize, registered, set, set_sizes};
use crate::lower::torch::{
    containers, conv_layers, module_methods, modules, norm_layers, recurrent, signature,
};
use crate::lower::value::{Class, Native, Object, Value};

pub(crate) use crate::lower::torch::layer_parameters::{bias, fan_in, optional, parameter};

type Init_ = fn(&mut Interp<'_>, &Rc<Object>, &Bound) -> R<()>;
type Forward_ = fn(&mut Interp<'_>, &Rc<Object>, Args) -> R<Value>;

/// A class of `torch.nn`.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) base: &'static str,
    pub(crate) signature: &'static str,
    init: Init_,
    forward: Forward,
}

#[derive(Clone, Copy)]
enum Forward {
    /// Calls this function with the attributes that it takes.
    Function(&'static str),
    Custom(Forward_),
    Missing,
}

const fn plain(name: &'static str, signature: &'static str, function: &'static str) -> Layer {
    Layer { name, base: "Module", signature, init: nothing, forward: Forward::Function(function) }
}

/// A pooling layer, whose stride is its kernel's size unless it is given.
const fn pooling(name: &'static str, signature: &'static str, function: &'static str) -> Layer {
    let init: Init_ = |_, object, args| {
        if args.get("stride").is_none() {
            set(object, "stride", args.get("kernel_size"));
        }
        Ok(())
    };
    Layer { name, base: "Module", signature, init, forward: Forward::Function(function) }
}

const fn dropping(name: &'static str, function: &'static str) -> Layer {
    Layer {
        name,
        base: "Module",
        signature: "p=0.5, inplace=False",
        init: probability,
        forward: Forward::Function(function),
    }
}

const fn custom(
    name: &'static str,
    base: &'static str,
    signature: &'static str,
    init: Init_,
    forward: Forward_,
) -> Layer {
    Layer { name, base, signature, init, forward: Forward::Custom(forward) }
}

const fn container(name: &'static str, signature: &'static str, init: Init_) -> Layer {
    Layer { name, base: "Module", signature, init, forward: Forward::Missing }
}

macro_rules! padding {
    ($name:literal, $signature:literal, $spatial:literal, $mode:literal) => {
        custom($name, "Module", $signature, nothing, |this, object, args| {
            pad(this, object, args, $spatial, $mode)
        })
    };
}

const CONV: &str = "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, \
    padding_mode='zeros', device=None, dtype=None";
const CONV_TRANSPOSE: &str = "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, \
    bias=True, dilation=1, padding_mode='zeros', device=None, dtype=None";
const BATCH_NORM: &str =
    "num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None";
const INSTANCE_NORM: &str =
    "num_features, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None";
const MAX_POOL: &str =
    "kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False";
const AVG_POOL: &str =
    "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None";
const RNN: &str = "input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True, batch_first=False, \
    dropout=0.0, bidirectional=False, proj_size=0, device=None, dtype=None";
const GATED: &str = "input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, \
    bidirectional=False, proj_size=0, device=None, dtype=None";

static LAYERS: &[Layer] = &[
    plain("ReLU", "inplace=False", "relu"),
    plain("ReLU6", "inplace=False", "relu6"),
    plain("LeakyReLU", "negative_slope=0.01, inplace=False", "leaky_relu"),
    plain("RReLU", "lower=0.125, upper=0.3333333333333333, inplace=False", "rrelu"),
    plain("ELU", "alpha=1.0, inplace=False", "elu"),
    plain("CELU", "alpha=1.0, inplace=False", "celu"),
    plain("SELU", "inplace=False", "selu"),
    plain("GELU", "approximate='none'", "gelu"),
    plain("SiLU", "inplace=False", "silu"),
    plain("Mish", "inplace=False", "mish"),
    plain("Hardswish", "inplace=False", "hardswish"),
    plain("Hardsigmoid", "inplace=False", "hardsigmoid"),
    plain("Sigmoid", "", "sigmoid"),
    plain("LogSigmoid", "", "logsigmoid"),
    plain("Tanh", "", "tanh"),
    plain("Tanhshrink", "", "tanhshrink"),
    plain("Softplus", "beta=1.0, threshold=20.0", "softplus"),
    plain("Softsign", "", "softsign"),
    plain("Softshrink", "lambd=0.5", "softshrink"),
    plain("Hardshrink", "lambd=0.5", "hardshrink"),
    plain("Threshold", "threshold, value, inplace=False", "threshold"),
    plain("Softmax", "dim=None", "softmax"),
    plain("Softmin", "dim=None", "softmin"),
    plain("LogSoftmax", "dim=None", "log_softmax"),
    plain("GLU", "dim=-1", "glu"),
    dropping("Dropout", "dropout"),
    dropping("Dropout1d", "dropout1d"),
    dropping("Dropout2d", "dropout2d"),
    dropping("Dropout3d", "dropout3d"),
    dropping("AlphaDropout", "alpha_dropout"),
    dropping("FeatureAlphaDropout", "feature_alpha_dropout"),
    pooling("MaxPool1d", MAX_POOL, "max_pool1d"),
    pooling("MaxPool2d", MAX_POOL, "max_pool2d"),
    pooling("MaxPool3d", MAX_POOL, "max_pool3d"),
    pooling(
        "AvgPool1d",
        "kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True",
        "avg_pool1d",
    ),
    pooling("AvgPool2d", AVG_POOL, "avg_pool2d"),
    pooling("AvgPool3d", AVG_POOL, "avg_pool3d"),
    plain("LPPool1d", "norm_type, kernel_size, stride=None, ceil_mode=False", "lp_pool1d"),
    plain("LPPool2d", "norm_type, kernel_size, stride=None, ceil_mode=False", "lp_pool2d"),
    plain("LPPool3d", "norm_type, kernel_size, stride=None, ceil_mode=False", "lp_pool3d"),
    plain("AdaptiveAvgPool1d", "output_size", "adaptive_avg_pool1d"),
    plain("AdaptiveAvgPool2d", "output_size", "adaptive_avg_pool2d"),
    plain("AdaptiveAvgPool3d", "output_size", "adaptive_avg_pool3d"),
    plain("AdaptiveMaxPool1d", "output_size, return_indices=False", "adaptive_max_pool1d"),
    plain("AdaptiveMaxPool2d", "output_size, return_indices=False", "adaptive_max_pool2d"),
    plain("AdaptiveMaxPool3d", "output_size, return_indices=False", "adaptive_max_pool3d"),
    plain("LocalResponseNorm", "size, alpha=0.0001, beta=0.75, k=1.0", "local_response_norm"),
    plain("PixelShuffle", "upscale_factor", "pixel_shuffle"),
    plain("PixelUnshuffle", "downscale_factor", "pixel_unshuffle"),
    plain("ChannelShuffle", "groups", "channel_shuffle"),
    plain(
        "Upsample",
        "size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None",
        "interpolate",
    ),
    plain("UpsamplingNearest2d", "size=None, scale_factor=None", "interpolate"),
    custom(
        "UpsamplingBilinear2d",
        "Module",
        "size=None, scale_factor=None",
        |_, object, _| {
            set(object, "mode", Value::str("bilinear"));
            set(object, "align_corners", Value::Bool(true));
            Ok(())
        },
        |this, object, args| by_function(this, object, "interpolate", args),
    ),
    custom(
        "Hardtanh",
        "Module",
        "min_val=-1.0, max_val=1.0, inplace=False",
        |_, _, args| {
            let (min, max) = (args.float("min_val")?, args.float("max_val")?);
            if max > min { Ok(()) } else { Err(Raise::python("AssertionError", "")) }
        },
        |this, object, args| by_function(this, object, "hardtanh", args),
    ),
    custom("Identity", "Module", "*args, **kwargs", nothing, |_, _, args| {
        match args.positional.into_iter().next() {
            Some(value) => Ok(value),
            None => {
                Err(Raise::type_error("Identity.forward() missing 1 required positional argument: 'input'"))
            }
        }
    }),
    custom("Flatten", "Module", "start_dim=1, end_dim=-1", nothing, |this, object, args| {
        let args = signature::bind("Flatten.forward", "input", args)?;
        let (start, end) = (attr_int(object, "start_dim")?, attr_int(object, "end_dim")?);
        super::shape::flatten(this, &args.tensor("input")?, start, end)
    }),
    custom("Unflatten", "Module", "dim, unflattened_size", nothing, |this, object, args| {
        let args = signature::bind("Unflatten.forward", "input", args)?;
        let (dim, sizes) = (attr(object, "dim"), attr(object, "unflattened_size"));
        super::call(this, "unflatten", vec![args.get("input"), dim, sizes])
    }),
    custom(
        "Linear",
        "Module",
        "in_features, out_features, bias=True, device=None, dtype=None",
        |this, object, args| {
            let (input, output) = (width(args, "in_features")?, width(args, "out_features")?);
            let init = fan_in(input);
            parameter(this, object, "weight", vec![output, input], init.clone())?;
            bias(this, object, args.bool("bias")?, output, init)
        },
        linear,
    ),
    custom(
        "Bilinear",
        "Module",
        "in1_features, in2_features, out_features, bias=True, device=None, dtype=None",
        |this, object, args| {
            let (a, b, output) =
                (width(args, "in1_features")?, width(args, "in2_features")?, width(args, "out_features")?);
            let init = fan_in(a);
            parameter(this, object, "weight", vec![output, a, b], init.clone())?;
            bias(this, object, args.bool("bias")?, output, init)
        },
        |this, object, args| {
            let args = signature::bind("Bilinear.forward", "input1, input2", args)?;
            let (weight, bias) = (registered(object, "weight"), registered(object, "bias"));
            super::call(this, "bilinear", vec![args.get("input1"), args.get("input2"), weight, bias])
        },
    ),
    custom(
        "Conv1d",
        "_ConvNd",
        CONV,
        |this, object, args| conv_layers::conv_init(this, object, args, 1, false),
        |this, object, args| conv_layers::conv(this, object, args, 1),
    ),
    custom(
        "Conv2d",
        "_ConvNd",
        CONV,
        |this, object, args| conv_layers::conv_init(this, object, args, 2, false),
        |this, object, args| conv_layers::conv(this, object, args, 2),
    ),
    custom(
        "Conv3d",
        "_ConvNd",
        CONV,
        |this, object, args| conv_layers::conv_init(this, object, args, 3, false),
        |this, object, args| conv_layers::conv(this, object, args, 3),
    ),
    custom(
        "ConvTranspose1d",
        "_ConvTransposeNd",
        CONV_TRANSPOSE,
        |this, object, args| conv_layers::conv_init(this, object, args, 1, true),
        |this, object, args| conv_layers::conv_transpose(this, object, args, 1),
    ),
    custom(
        "ConvTranspose2d",
        "_ConvTransposeNd",
        CONV_TRANSPOSE,
        |this, object, args| conv_layers::conv_init(this, object, args, 2, true),
        |this, object, args| conv_layers::conv_transpose(this, object, args, 2),
    ),
    custom(
        "ConvTranspose3d",
        "_ConvTransposeNd",
        CONV_TRANSPOSE,
        |this, object, args| conv_layers::conv_init(this, object, args, 3, true),
        |this, object, args| conv_layers::conv_transpose(this, object, args, 3),
    ),
    custom("BatchNorm1d", "_BatchNorm", BATCH_NORM, norm_layers::batch_norm_init, |this, object, args| {
        norm_layers::batch_norm(this, object, args, 1)
    }),
    custom("BatchNorm2d", "_BatchNorm", BATCH_NORM, norm_layers::batch_norm_init, |this, object, args| {
        norm_layers::batch_norm(this, object, args, 2)
    }),
    custom("BatchNorm3d", "_BatchNorm", BATCH_NORM, norm_layers::batch_norm_init, |this, object, args| {
        norm_layers::batch_norm(this, object, args, 3)
    }),
    custom("SyncBatchNorm", "_BatchNorm", BATCH_NORM, norm_layers::batch_norm_init, |this, object, args| {
        norm_layers::batch_norm(this, object, args, 0)
    }),
    custom(
        "InstanceNorm1d",
        "_InstanceNorm",
        INSTANCE_NORM,
        norm_layers::batch_norm_init,
        |this, object, args| norm_layers::instance_norm(this, object, args, 1),
    ),
    custom(
        "InstanceNorm2d",
        "_InstanceNorm",
        INSTANCE_NORM,
        norm_layers::batch_norm_init,
        |this, object, args| norm_layers::instance_norm(this, object, args, 2),
    ),
    custom(
        "InstanceNorm3d",
        "_InstanceNorm",
        INSTANCE_NORM,
        norm_layers::batch_norm_init,
        |this, object, args| norm_layers::instance_norm(this, object, args, 3),
    ),
    custom(
        "LayerNorm",
        "Module",
        "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, device=None, dtype=None",
        |this, object, args| {
            let sizes = args.spatial_list("normalized_shape")?;
            set_sizes(this, object, "normalized_shape", &sizes)?;
            let affine = args.bool("elementwise_affine")?;
            let with_bias = affine && args.bool("bias")?;
            optional(this, object, "weight", affine, sizes.clone(), Init::Constant(1.0))?;
            optional(this, object, "bias", with_bias, sizes, Init::Constant(0.0))
        },
        |this, object, args| {
            weighted(this, object, args, "layer_norm", &["normalized_shape", "weight", "bias", "eps"])
        },
    ),
    custom(
        "RMSNorm",
        "Module",
        "normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None",
        |this, object, args| {
            let sizes = args.spatial_list("normalized_shape")?;
            set_sizes(this, object, "normalized_shape", &sizes)?;
            optional(this, object, "weight", args.bool("elementwise_affine")?, sizes, Init::Constant(1.0))
        },
        |this, object, args| weighted(this, object, args, "rms_norm", &["normalized_shape", "weight", "eps"]),
    ),
    custom(
        "GroupNorm",
        "Module",
        "num_groups, num_channels, eps=1e-05, affine=True, device=None, dtype=None",
        |this, object, args| {
            let (groups, channels) = (args.count("num_groups")?, args.count("num_channels")?);
            if groups == 0 || channels % groups != 0 {
                return Err(Raise::value_error("num_channels must be divisible by num_groups"));
            }
            let affine = args.bool("affine")?;
            optional(this, object, "weight", affine, vec![channels], Init::Constant(1.0))?;
            optional(this, object, "bias", affine, vec![channels], Init::Constant(0.0))
        },
        |this, object, args| {
            weighted(this, object, args, "group_norm", &["num_groups", "weight", "bias", "eps"])
        },
    ),
    custom(
        "PReLU",
        "Module",
        "num_parameters=1, init=0.25, device=None, dtype=None",
        |this, object, args| {
            let init = Init::Constant(args.float("init")?);
            parameter(this, object, "weight", vec![args.count("num_parameters")?], init)
        },
        |this, object, args| weighted(this, object, args, "prelu", &["weight"]),
    ),
    custom(
        "Embedding",
        "Module",
        "num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, \
         sparse=False, _weight=None, _freeze=False, device=None, dtype=None",
        |this, object, args| {
            let sizes = vec![args.count("num_embeddings")?, args.count("embedding_dim")?];
            let init = match args.optional_int("padding_idx")? {
                None => Init::Normal { mean: 0.0, std: 1.0 },
                Some(row) => {
                    let count = i64::try_from(sizes[0]).unwrap_or(i64::MAX);
                    let at = if row < 0 { row + count } else { row };
                    match usize::try_from(at).ok().filter(|&at| at < sizes[0]) {
                        Some(row) => {
                            let width = Place::Every { start: 0, count: sizes[1], step: 1 };
                            let row = Region(vec![Place::At(row), width]);
                            Init::Normal { mean: 0.0, std: 1.0 }.with_part(&sizes, &row, Init::Constant(0.0))
                        }
                        None => {
                            return Err(Raise::python(
                                "AssertionError",
                                "Padding_idx must be within num_embeddings",
                            ));
                        }
                    }
                }
            };
            parameter(this, object, "weight", sizes, init)
        },
        |this, object, args| {
            weighted(this, object, args, "embedding", &["weight", "padding_idx", "max_norm"])
        },
    ),
    custom("RNN", "RNNBase", RNN, recurrent::init, recurrent::forward),
    custom("LSTM", "RNNBase", GATED, recurrent::init, recurrent::forward),
    custom("GRU", "RNNBase", GATED, recurrent::init, recurrent::forward),
    padding!("ZeroPad1d", "padding", 1, "constant"),
    padding!("ZeroPad2d", "padding", 2, "constant"),
    padding!("ZeroPad3d", "padding", 3, "constant"),
    padding!("ConstantPad1d", "padding, value", 1, "constant"),
    padding!("ConstantPad2d", "padding, value", 2, "constant"),
    padding!("ConstantPad3d", "padding, value", 3, "constant"),
    padding!("ReflectionPad1d", "padding", 1, "reflect"),
    padding!("ReflectionPad2d", "padding", 2, "reflect"),
    padding!("ReflectionPad3d", "padding", 3, "reflect"),
    padding!("ReplicationPad1d", "padding", 1, "replicate"),
    padding!("ReplicationPad2d", "padding", 2, "replicate"),
    padding!("ReplicationPad3d", "padding", 3, "replicate"),
    padding!("CircularPad1d", "padding", 1, "circular"),
    padding!("CircularPad2d", "padding", 2, "circular"),
    padding!("CircularPad3d", "padding", 3, "circular"),
    container("Sequential", "*args", containers::init_sequential),
    container("ModuleList", "modules=None", containers::init_list),
    container("ModuleDict", "modules=None", containers::init_dict),
    container("ParameterList", "values=None", containers::init_parameter_list),
    container("ParameterDict", "parameters=None", containers::init_parameter_dict),
];

/// Whether a class is the layer of this name itself.
pub(crate) fn is(class: &Class, name: &str) -> bool {
    matches!(class.native, Native::Layer(layer) if layer.name == name)
}

/// The layer of this name.
pub(crate) fn find(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

/// Names of all layers.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().map(|layer| layer.name)
}

impl Layer {
    /// Whether it has a forward pass of its own.
    pub(crate) fn has_forward(&self) -> bool {
        !matches!(self.forward, Forward::Missing)
    }

    /// `__init__`: arguments become attributes, then parameters are registered.
    pub(crate) fn init(&'static self, this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<()> {
        *object.module.borrow_mut() = Some(Default::default());
        let args = signature::bind(self.name, self.signature, args)?;
        for (name, value) in args.values() {
            if !matches!(name, "device" | "dtype" | "modules" | "parameters" | "values" | "bias") {
                set(object, name, value.clone());
            }
        }
        if let Some(site) = &args.site {
            let spans: Vec<_> =
                args.values().filter_map(|(name, _)| args.span(name).map(|span| (name, span))).collect();
            for &(_, span) in &spans {
                *this.uses.entry((site.call, span)).or_insert(0) += 1;
            }
            *object.site.borrow_mut() = Some((site.call, spans));
        }
        (self.init)(this, object, &args)?;
        module_methods::of_type(this, object, &args.get("dtype"))
    }

    /// `forward`.
    pub(crate) fn forward(&self, this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<Value> {
        match self.forward {
            Forward::Function(function) => by_function(this, object, function, args),
            Forward::Custom(forward) => forward(this, object, args),
            Forward::Missing => Err(modules::no_forward(object)),
        }
    }
}

fn nothing(_: &mut Interp<'_>, _: &Rc<Object>, _: &Bound) -> R<()> {
    Ok(())
}

/// The check of a dropout's constructor.
fn probability(this: &mut Interp<'_>, _: &Rc<Object>, args: &Bound) -> R<()> {
    let p = args.get("p");
    let number = match &p {
        Value::Str(_) | Value::None | Value::List(_) | Value::Tuple(_) | Value::Dict(_) => {
            let got = p.type_name();
            let message = format!("'<' not supported between instances of '{got}' and 'int'");
            return Err(Raise::type_error(message));
        }
        _ => this.real_of(&p)?,
    };
    if !(0.0..=1.0).contains(&number) && !number.is_nan() {
        let shown = this.str_of(&p)?;
        let message = format!("dropout probability has to be between 0 and 1, but got {shown}");
        return Err(Raise::value_error(message));
    }
    Ok(())
}

/// Call a function with the layer's attributes that it takes by name.
fn by_function(this: &mut Interp<'_>, object: &Rc<Object>, function: &'static str, args: Args) -> R<Value> {
    let mut args = signature::bind(function, "input", args).map(|args| Args::of(vec![args.get("input")]))?;
    let Some(builtin) = super::find('f', function) else {
        return Err(Raise::unsupported(format!("{function} is not supported")));
    };
    for parameter in signature::parameters(builtin.signature) {
        let name = parameter.name;
        if name == "training" {
            args.named.push((Rc::from(name), this.get_attr(&Value::Object(Rc::clone(object)), "training")?));
        } else if let Some(value) = object.attrs.borrow().get(name) {
            args.named.push((Rc::from(name), value.clone()));
        }
    }
    let input = args.positional.first().cloned();
    this.call(&Value::Builtin(builtin), args).map_err(|raise| match input {
        Some(Value::Tensor(tensor)) if raise.hint.is_none() => match this.fact(&tensor) {
            Ok(fact) => raise.with_hint(rank_hint(object, &fact.shape)),
            Err(_) => raise,
        },
        _ => raise,
    })
}

pub(crate) fn rank_hint(object: &Rc<Object>, shape: &Shape) -> Hint {
    let call = object.site.borrow().as_ref().map(|(call, _)| *call);
    Hint::Rank { layer: object.class.name.to_string(), got: shape.rank(), call }
}

/// Call a function with the input and these attributes in order.
fn weighted(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    args: Args,
    function: &'static str,
    names: &[&str],
) -> R<Value> {
    let args = signature::bind(function, "input", args)?;
    let mut call = Args::of(vec![args.get("input")]);
    for &name in names {
        let value =
            if matches!(name, "weight" | "bias") { registered(object, name) } else { attr(object, name) };
        call.named.push((Rc::from(name), value));
    }
    let tensor = args.tensor("input")?;
    let shape = this.fact(&tensor)?.shape;
    super::call_with(this, function, call).map_err(|raise| {
        let last = shape.0.last().copied();
        match (function, last, shape.0.get(1)) {
            ("layer_norm" | "rms_norm", Some(last), _) => {
                modules::argument_hint(this, raise, object, "normalized_shape", last, 0)
            }
            ("group_norm", _, Some(&channels)) => {
                modules::argument_hint(this, raise, object, "num_channels", channels, 0)
            }
            _ => raise,
        }
    })
}

fn linear(this: &mut Interp<'_>, object: &Rc<Object>, args: Args) -> R<Value> {
    let args = signature::bind("Linear.forward", "input", args)?;
    let tensor = args.tensor("input").map_err(|raise| linear_input(raise, &args))?;
    let shape = this.fact(&tensor)?.shape;
    let call = vec![args.get("input"), registered(object, "weight"), registered(object, "bias")];
    super::call(this, "linear", call).map_err(|raise| match shape.0.last() {
        Some(&last) if last.known() != attr_usize(object, "in_features").ok() => {
            modules::argument_hint(this, raise, object, "in_features", last, shape.rank())
        }
        _ => raise,
    })
}

fn linear_input(raise: Box<Raise>, args: &Bound) -> Box<Raise> {
    match args.get("input") {
        Value::Opaque(_) => raise,
        other => Raise::type_error(format!(
            "linear(): argument 'input' (position 1) must be Tensor, not {}",
            other.type_name()
        )),
    }
}

fn pad(this: &mut Interp<'_>, object: &Rc<Object>, args: Args, spatial: usize, mode: &str) -> R<Value> {
    let args = signature::bind("forward", "input", args)?;
    let padding = attr(object, "padding");
    let list = match signature::ints(&padding) {
        Some(list) if list.len() == 1 => vec![list[0]; 2 * spatial],
        Some(list) if list.len() == 2 * spatial => list,
        _ => return Err(Raise::value_error(format!("padding must be an int or {} ints", 2 * spatial))),
    };
    let list = this.list(list.into_iter().map(Value::Int).collect())?;
    let mut call = Args::of(vec![args.get("input"), list]);
    call.named.push((Rc::from("mode"), Value::str(mode)));
    if mode == "constant" {
        let value = attr(object, "value");
        call.named.push((Rc::from("value"), if value.is_none() { Value::Float(0.0) } else { value }));
    }
    super::call_with(this, "pad", call)
}

fn width(args: &Bound, name: &str) -> R<usize> {
    args.count(name)
}
