//! Every operation's result has the shape and element type that the graph inferred for it; what is written
//! out here rather than called in libtorch has the values that PyTorch's documentation defines.

mod attention;

use tch::{Kind, Tensor};

use super::{Context, kind, run};
use crate::config::Device;
use crate::graph::op::{
    BatchNorm, Binary, Cell, Conv, Distribution, Dropout, Interpolation, PadMode, Pool, Recurrent, Reduction,
    Unary,
};
use crate::graph::{DType, Dim, Fact, Op, Shape, When, ops};
use crate::train::shim::Generator;

fn f32s(sizes: &[usize]) -> Fact {
    Fact { shape: Shape::fixed(sizes), dtype: DType::F32 }
}

/// `(N, sizes...)`.
fn batch(sizes: &[usize]) -> Fact {
    Fact { shape: Shape::batched(sizes), dtype: DType::F32 }
}

fn with(dtype: DType, fact: Fact) -> Fact {
    Fact { dtype, ..fact }
}

fn tensor(fact: &Fact, n: i64) -> Tensor {
    let sizes = fact.shape.at(n);
    match fact.dtype {
        DType::F32 => Tensor::rand(sizes, (Kind::Float, tch::Device::Cpu)),
        DType::F64 => Tensor::rand(sizes, (Kind::Double, tch::Device::Cpu)),
        other => Tensor::ones(sizes, (kind(other), tch::Device::Cpu)),
    }
}

/// Run `op` at several batch sizes in both modes and compare with the inferred facts.
fn check(op: &Op, inputs: &[Fact]) {
    let facts = ops::infer(op, inputs).unwrap_or_else(|error| panic!("{op:?} of {inputs:?}: {error}"));
    for (n, training) in [(2, true), (3, false)] {
        let tensors: Vec<Tensor> = inputs.iter().map(|fact| tensor(fact, n)).collect();
        let tensors: Vec<&Tensor> = tensors.iter().collect();
        let mut generator = Generator::new(1, Device::Cpu).unwrap();
        let device = tch::Device::Cpu;
        let mut context = Context { params: &[], generator: &mut generator, training, batch: n, device };
        let outputs = run(op, &tensors, &mut context).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        assert_eq!(outputs.len(), facts.len(), "{op:?}");
        for (output, fact) in outputs.iter().zip(&facts) {
            assert_eq!(output.size(), fact.shape.at(n), "{op:?} of {inputs:?} at batch {n}");
            assert_eq!(output.kind(), kind(fact.dtype), "{op:?} of {inputs:?}");
        }
    }
}

fn conv(rank: usize, bias: bool, extra: usize) -> Conv {
    Conv {
        stride: vec![2; rank],
        padding: vec![1; rank],
        dilation: vec![1; rank],
        output_padding: vec![extra; rank],
        groups: 2,
        bias,
    }
}

fn pool(rank: usize, ceil_mode: bool) -> Pool {
    Pool {
        kernel: vec![3; rank],
        stride: vec![2; rank],
        padding: vec![1; rank],
        dilation: vec![1; rank],
        ceil_mode,
    }
}

/// `(N, 4, 7, ...)` with `rank` spatial dimensions.
fn image(rank: usize) -> Fact {
    batch(&[vec![4], vec![7; rank]].concat())
}

#[test]
fn convolutions() {
    for rank in 1..=3 {
        let weight = f32s(&[vec![6, 2], vec![3; rank]].concat());
        check(&Op::Conv(conv(rank, true, 0)), &[image(rank), weight.clone(), f32s(&[6])]);
        check(&Op::Conv(conv(rank, false, 0)), &[image(rank), weight]);
        let weight = f32s(&[vec![4, 3], vec![3; rank]].concat());
        check(&Op::ConvTranspose(conv(rank, true, 1)), &[image(rank), weight, f32s(&[6])]);
    }
}

#[test]
fn products() {
    check(&Op::Linear { bias: true }, &[batch(&[5, 4]), f32s(&[3, 4]), f32s(&[3])]);
    check(&Op::Linear { bias: false }, &[batch(&[4]), f32s(&[3, 4])]);
    check(&Op::Bilinear { bias: true }, &[batch(&[4]), batch(&[5]), f32s(&[3, 4, 5]), f32s(&[3])]);
    check(&Op::Embedding { padding: None }, &[with(DType::I64, batch(&[6])), f32s(&[9, 4])]);
    check(&Op::MatMul, &[batch(&[2, 3, 4]), f32s(&[4, 5])]);
    check(&Op::Einsum { equation: "bij,bkj->bik".to_owned() }, &[batch(&[3, 4]), batch(&[5, 4])]);
    let mask = |dtype| with(dtype, f32s(&[5, 6]));
    for (mask, causal) in [(None, true), (Some(mask(DType::Bool)), false), (Some(mask(DType::F32)), false)] {
        let op = Op::Attention { mask: mask.is_some(), causal, dropout: 0.1, scale: None };
        let mut inputs = vec![batch(&[2, 5, 4]), batch(&[2, 6, 4]), batch(&[2, 6, 8])];
        inputs.extend(mask);
        check(&op, &inputs);
    }
}

#[test]
fn norms() {
    for batch_statistics in [When::Training, When::Always, When::Never] {
        let norm = BatchNorm {
            eps: 1e-5,
            momentum: Some(0.1),
            running: true,
            affine: true,
            batch_statistics,
            counter: None,
        };
        check(&Op::BatchNorm(norm.clone()), &[image(2), f32s(&[4]), f32s(&[4]), f32s(&[4]), f32s(&[4])]);
        let bare = BatchNorm { running: false, affine: false, ..norm };
        check(&Op::BatchNorm(bare), &[batch(&[4])]);
    }
    check(&Op::InstanceNorm { eps: 1e-5, affine: true }, &[image(2), f32s(&[4]), f32s(&[4])]);
    let sizes = vec![7, 7];
    let layer = Op::LayerNorm { sizes: sizes.clone(), eps: 1e-5, weight: true, bias: true };
    check(&layer, &[image(2), f32s(&sizes), f32s(&sizes)]);
    check(&Op::LayerNorm { sizes: sizes.clone(), eps: 1e-5, weight: false, bias: false }, &[image(2)]);
    check(&Op::RmsNorm { sizes: sizes.clone(), eps: 1e-5, weight: true }, &[image(2), f32s(&sizes)]);
    check(&Op::GroupNorm { groups: 2, eps: 1e-5, affine: true }, &[image(2), f32s(&[4]), f32s(&[4])]);
    for rank in 1..=3 {
        check(&Op::LocalResponseNorm { size: 3, alpha: 1e-4, beta: 0.75, k: 1.0 }, &[image(rank)]);
    }
}

#[test]
fn recurrent_layers() {
    for cell in [Cell::RnnTanh, Cell::RnnRelu, Cell::Lstm, Cell::Gru] {
        let gates = match cell {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            _ => 1,
        };
        for (bidirectional, batch_first, initial_state, projection) in
            [(false, true, false, 0), (true, false, true, 0), (true, true, false, 3)]
        {
            let projection = if cell == Cell::Lstm { projection } else { 0 };
            let settings = Recurrent {
                cell,
                hidden: 5,
                layers: 2,
                bias: true,
                batch_first,
                bidirectional,
                dropout: 0.5,
                projection,
                initial_state,
            };
            let directions = 1 + usize::from(bidirectional);
            let out = if projection > 0 { projection } else { 5 };
            let sequence = Shape(if batch_first {
                vec![Dim::BATCH, Dim::fixed(6), Dim::fixed(4)]
            } else {
                vec![Dim::fixed(6), Dim::BATCH, Dim::fixed(4)]
            });
            let mut inputs = vec![Fact { shape: sequence, dtype: DType::F32 }];
            if initial_state {
                let state = Shape(vec![Dim::from(2 * directions), Dim::BATCH, Dim::fixed(5)]);
                let states = 1 + usize::from(cell == Cell::Lstm);
                inputs.extend(vec![Fact { shape: state, dtype: DType::F32 }; states]);
            }
            for layer in 0..2 {
                let width = if layer == 0 { 4 } else { out * directions };
                for _ in 0..directions {
                    inputs.extend([f32s(&[gates * 5, width]), f32s(&[gates * 5, out])]);
                    inputs.extend([f32s(&[gates * 5]), f32s(&[gates * 5])]);
                    if projection > 0 {
                        inputs.push(f32s(&[projection, 5]));
                    }
                }
            }
            check(&Op::Recurrent(settings.clone()), &inputs);
            if !initial_state {
                inputs[0] = f32s(&[6, 4]);
                check(&Op::Recurrent(settings), &inputs);
            }
        }
    }
}

#[test]
fn functions_of_one_tensor() {
    let unary = [
        Unary::Relu,
        Unary::Relu6,
        Unary::LeakyRelu { slope: 0.1 },
        Unary::Rrelu { lower: 0.1, upper: 0.3, when: When::Training },
        Unary::Elu { alpha: 1.0 },
        Unary::Celu { alpha: 1.0 },
        Unary::Selu,
        Unary::Gelu { tanh: true },
        Unary::Gelu { tanh: false },
        Unary::Silu,
        Unary::Mish,
        Unary::Hardswish,
        Unary::Hardsigmoid,
        Unary::LogSigmoid,
        Unary::Tanhshrink,
        Unary::Softplus { beta: 1.0, threshold: 20.0 },
        Unary::Softsign,
        Unary::Softshrink { lambda: 0.5 },
        Unary::Hardshrink { lambda: 0.5 },
        Unary::Threshold { threshold: 0.1, value: 2.0 },
    ];
    for op in unary {
        check(&Op::Unary(op), &[batch(&[3, 4])]);
    }
    // These take integers too.
    let of_numbers = [
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Clamp { min: 0.0, max: f64::INFINITY },
        Unary::Clamp { min: f64::NEG_INFINITY, max: 1.0 },
        Unary::Clamp { min: -1.0, max: 1.0 },
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log,
        Unary::Log1p,
        Unary::Log2,
        Unary::Log10,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Square,
        Unary::Reciprocal,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Asin,
        Unary::Acos,
        Unary::Atan,
        Unary::Asinh,
        Unary::Erf,
        Unary::Erfc,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Trunc,
        Unary::LogicalNot,
    ];
    for op in of_numbers {
        check(&Op::Unary(op), &[batch(&[3, 4])]);
        check(&Op::Unary(op), &[with(DType::I64, batch(&[3, 4]))]);
    }
}

#[test]
fn arithmetic() {
    let arithmetic = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::FloorDiv,
        Binary::Remainder,
        Binary::Pow,
        Binary::Maximum,
        Binary::Minimum,
        Binary::Atan2,
        Binary::Eq,
        Binary::Ne,
        Binary::Lt,
        Binary::Le,
        Binary::Gt,
        Binary::Ge,
    ];
    for op in arithmetic {
        check(&Op::Binary(op), &[batch(&[3, 4]), f32s(&[3, 1])]);
        check(&Op::Binary(op), &[with(DType::I64, batch(&[4])), with(DType::I64, batch(&[4]))]);
        for (value, reversed) in [(2.0, false), (2.0, true), (0.5, false), (0.5, true)] {
            check(&Op::Scalar { op, value, reversed }, &[batch(&[4])]);
            check(&Op::Scalar { op, value, reversed }, &[with(DType::I64, batch(&[4]))]);
        }
    }
    for op in [Binary::And, Binary::Or] {
        check(&Op::Binary(op), &[with(DType::Bool, batch(&[4])), with(DType::Bool, f32s(&[4]))]);
        check(&Op::Scalar { op, value: 1.0, reversed: false }, &[with(DType::Bool, batch(&[4]))]);
        check(&Op::Binary(op), &[with(DType::I64, batch(&[4])), with(DType::I64, f32s(&[4]))]);
    }
    check(&Op::Where, &[with(DType::Bool, batch(&[3, 1])), f32s(&[]), batch(&[3, 4])]);
    check(&Op::Prelu, &[image(2), f32s(&[4])]);
    check(&Op::Glu { dim: 1 }, &[image(2)]);
    check(&Op::Softmax { dim: 1 }, &[image(1)]);
    check(&Op::LogSoftmax { dim: 1 }, &[image(1)]);
    check(&Op::Normalize { p: 2.0, dim: 1, eps: 1e-12 }, &[image(1)]);
    check(&Op::CumSum { dim: 1 }, &[image(1)]);
    check(&Op::Cast(DType::I64), &[image(1)]);
    check(&Op::Cast(DType::Bool), &[image(1)]);
    check(&Op::Detach, &[image(1)]);
    check(&Op::Keep, &[f32s(&[4]), f32s(&[4]), image(1)]);
    for upper in [true, false] {
        check(&Op::Triangle { upper, diagonal: 1 }, &[image(2)]);
    }
    for kind in [Dropout::Element, Dropout::Channel, Dropout::Alpha, Dropout::FeatureAlpha] {
        for (p, when) in
            [(0.5, When::Training), (0.5, When::Always), (1.0, When::Training), (0.0, When::Never)]
        {
            check(&Op::Dropout { p, kind, when }, &[image(2)]);
        }
    }
}

#[test]
fn pools() {
    for rank in 1..=3 {
        for ceil in [true, false] {
            check(&Op::MaxPool(pool(rank, ceil)), &[image(rank)]);
            let op = |divisor| Op::AvgPool { pool: pool(rank, ceil), count_include_pad: false, divisor };
            check(&op(None), &[image(rank)]);
            if rank > 1 {
                check(&op(Some(5)), &[image(rank)]);
            }
            let bare = Pool { padding: vec![0; rank], ..pool(rank, ceil) };
            check(&Op::LpPool { pool: bare, p: 2.0 }, &[image(rank)]);
        }
        check(&Op::AdaptiveAvgPool { sizes: vec![2; rank] }, &[image(rank)]);
        check(&Op::AdaptiveMaxPool { sizes: vec![2; rank] }, &[image(rank)]);
        check(&Op::AdaptiveMaxPoolIndices { sizes: vec![2; rank] }, &[image(rank)]);
    }
    for rank in 2..=3 {
        let op = Op::FractionalMaxPool { kernel: vec![2; rank], sizes: vec![3; rank] };
        check(&op, &[image(rank), batch(&[4, rank])]);
    }
}

#[test]
fn reductions() {
    let ops = [
        Reduction::Sum,
        Reduction::Mean,
        Reduction::Prod,
        Reduction::Max,
        Reduction::Min,
        Reduction::LogSumExp,
        Reduction::Var { correction: 1.0 },
        Reduction::Std { correction: 0.0 },
        Reduction::Norm { p: 2.0 },
        Reduction::All,
        Reduction::Any,
    ];
    for op in ops {
        for dims in [vec![], vec![1], vec![1, 3]] {
            for keepdim in [false, true] {
                check(&Op::Reduce { op, dims: dims.clone(), keepdim }, &[image(2)]);
            }
        }
    }
    for op in [Reduction::ArgMax, Reduction::ArgMin] {
        check(&Op::Reduce { op, dims: vec![], keepdim: false }, &[image(2)]);
        check(&Op::Reduce { op, dims: vec![1], keepdim: true }, &[image(2)]);
    }
    check(&Op::Reduce { op: Reduction::Sum, dims: vec![], keepdim: false }, &[with(DType::Bool, image(1))]);
}

#[test]
fn sources() {
    let shape = Shape::batched(&[3]);
    check(&Op::Full { shape: shape.clone(), value: 1.0, dtype: DType::I64 }, &[]);
    check(&Op::Full { shape: shape.clone(), value: 1.0, dtype: DType::Bool }, &[]);
    check(&Op::Literal { sizes: vec![2, 1], values: vec![1.0, 2.0], dtype: DType::F32 }, &[]);
    for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Bernoulli(0.3)] {
        check(&Op::Random { shape: shape.clone(), distribution }, &[]);
    }
}

#[test]
fn moves() {
    let n4 = Dim { per_sample: 4, fixed: 0 };
    check(&Op::Reshape { shape: Shape(vec![n4, Dim::fixed(49)]) }, &[image(2)]);
    check(&Op::Permute { dims: vec![0, 2, 3, 1] }, &[image(2)]);
    check(&Op::Expand { shape: Shape::batched(&[4, 5]) }, &[f32s(&[1, 4, 1])]);
    check(&Op::Repeat { counts: vec![Dim::BATCH, Dim::fixed(2), Dim::fixed(1)] }, &[f32s(&[1, 4, 3])]);
    let slice = |start, end, step| Op::Slice { dim: 1, start: Dim::fixed(start), end: Dim::fixed(end), step };
    check(&slice(1, 3, 1), &[image(1)]);
    check(&slice(0, 4, 3), &[image(1)]);
    check(&Op::Select { dim: 2, index: 6 }, &[image(1)]);
    check(&Op::IndexSelect { dim: 1 }, &[image(1), with(DType::I64, f32s(&[9]))]);
    check(&Op::Unsqueeze { dim: 1 }, &[image(1)]);
    check(&Op::Squeeze { dims: vec![1, 3] }, &[batch(&[1, 5, 1])]);
    check(&Op::Cat { dim: 1 }, &[image(1), batch(&[3, 7])]);
    check(&Op::Stack { dim: 1 }, &[image(1), image(1)]);
    check(&Op::Flip { dims: vec![1, 2] }, &[image(1)]);
    check(&Op::Roll { shifts: vec![1, -2], dims: vec![1, 2] }, &[image(1)]);
    check(&Op::PixelShuffle { factor: 2 }, &[image(2)]);
    check(&Op::PixelUnshuffle { factor: 2 }, &[batch(&[3, 4, 6])]);
    check(&Op::ChannelShuffle { groups: 2 }, &[image(2)]);
}

#[test]
fn padding_and_resampling() {
    let pads = |rank: usize| [vec![(0, 0); 2], vec![(1, 2); rank]].concat();
    for rank in 1..=3 {
        for mode in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
            check(&Op::Pad { pads: pads(rank), mode }, &[image(rank)]);
        }
        for mode in [Interpolation::Nearest, Interpolation::NearestExact, Interpolation::Area] {
            check(
                &Op::Interpolate { sizes: vec![9; rank], mode, align_corners: false, scales: None },
                &[image(rank)],
            );
        }
        let mode = Interpolation::Linear;
        check(
            &Op::Interpolate { sizes: vec![9; rank], mode, align_corners: true, scales: None },
            &[image(rank)],
        );
    }
    check(&Op::Pad { pads: vec![(0, 0), (1, 1), (-1, 0)], mode: PadMode::Constant(0.0) }, &[image(1)]);
    let only_last = vec![(0, 0), (0, 0), (0, 0), (1, 1)];
    check(&Op::Pad { pads: only_last, mode: PadMode::Reflect }, &[image(2)]);
    let mode = Interpolation::Cubic;
    check(&Op::Interpolate { sizes: vec![9, 5], mode, align_corners: false, scales: None }, &[image(2)]);
}

/// The first output for a batch of one, in the given mode.
fn value(op: &Op, inputs: &[&Tensor], training: bool) -> Tensor {
    let mut generator = Generator::new(1, Device::Cpu).unwrap();
    let device = tch::Device::Cpu;
    let mut context = Context { params: &[], generator: &mut generator, training, batch: 1, device };
    run(op, inputs, &mut context).unwrap().remove(0)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

fn near(left: &Tensor, right: &Tensor) -> bool {
    left.size() == right.size() && (left - right).abs().max().double_value(&[]) < 1e-5
}

#[test]
fn a_bound_with_a_fraction_makes_fractions_of_whole_numbers() {
    let whole = || with(DType::I64, batch(&[3]));
    for (min, max) in [(f64::NEG_INFINITY, 0.5), (1.5, 3.0), (f64::INFINITY, f64::INFINITY), (0.0, f64::NAN)]
    {
        check(&Op::Unary(Unary::Clamp { min, max }), &[whole()]);
        let facts = ops::infer(&Op::Unary(Unary::Clamp { min, max }), &[whole()]).unwrap();
        assert_eq!(facts[0].dtype, DType::F32, "{min} {max}");
    }
    let whole_bounds = Op::Unary(Unary::Clamp { min: f64::NEG_INFINITY, max: 3.0 });
    check(&whole_bounds, &[whole()]);
    assert_eq!(ops::infer(&whole_bounds, &[whole()]).unwrap()[0].dtype, DType::I64);
    for max in [1.0, f64::INFINITY] {
        check(&Op::Unary(Unary::Clamp { min: 0.0, max }), &[with(DType::Bool, batch(&[3]))]);
    }
    let x = Tensor::from_slice(&[1i64, 2, 3]);
    let clamped = |min, max| floats(&value(&Op::Unary(Unary::Clamp { min, max }), &[&x], false));
    assert_eq!(clamped(f64::NEG_INFINITY, 2.5), [1.0, 2.0, 2.5]);
    assert_eq!(clamped(f64::INFINITY, f64::INFINITY), [f32::INFINITY; 3]);
}

#[test]
fn a_recurrent_stack_run_layer_by_layer_is_the_stack() {
    // Dropout so rare that nothing is dropped takes the layer-by-layer way.
    let draw = |sizes: &[i64]| Tensor::randn(sizes, (Kind::Float, tch::Device::Cpu)) * 0.3;
    let mut tensors = vec![draw(&[2, 6, 4])];
    for width in [4, 4, 10, 10] {
        tensors.extend([draw(&[20, width]), draw(&[20, 5]), draw(&[20]), draw(&[20])]);
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let settings = |dropout| {
        Op::Recurrent(Recurrent {
            cell: Cell::Lstm,
            hidden: 5,
            layers: 2,
            bias: true,
            batch_first: true,
            bidirectional: true,
            dropout,
            projection: 0,
            initial_state: false,
        })
    };
    let whole = value(&settings(0.0), &inputs, true);
    assert!(near(&value(&settings(1e-12), &inputs, true), &whole));
    assert!(!near(&value(&settings(0.5), &inputs, true), &whole));
    assert!(near(&value(&settings(0.5), &inputs, false), &whole));
}

#[test]
fn padding_is_given_outermost_dimension_first() {
    let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([1, 1, 2, 3]);
    let pads = vec![(0, 0), (0, 0), (1, 0), (0, 2)];
    let op = |mode| Op::Pad { pads: pads.clone(), mode };
    let constant = value(&op(PadMode::Constant(9.0)), &[&x], false);
    assert_eq!(
        floats(&constant),
        [9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 9.0, 9.0, 4.0, 5.0, 6.0, 9.0, 9.0]
    );
    let reflect = value(&op(PadMode::Reflect), &[&x], false);
    assert_eq!(floats(&reflect), [4.0, 5.0, 6.0, 5.0, 4.0, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 5.0, 6.0, 5.0, 4.0]);
}

#[test]
fn the_norm_pool_and_the_response_norm_follow_their_formulas() {
    let x = Tensor::from_slice(&[3f32, 4.0, 6.0, 8.0]).view([1, 1, 4]);
    let window =
        Pool { kernel: vec![2], stride: vec![2], padding: vec![0], dilation: vec![1], ceil_mode: false };
    let norm = floats(&value(&Op::LpPool { pool: window, p: 2.0 }, &[&x], false));
    assert!((norm[0] - 5.0).abs() < 1e-5 && (norm[1] - 10.0).abs() < 1e-5, "{norm:?}");
    // Three channels 1, 2, 3; size 2: channel c with the one before it.
    let x = Tensor::from_slice(&[1f32, 2.0, 3.0]).view([1, 3, 1]);
    let op = Op::LocalResponseNorm { size: 2, alpha: 2.0, beta: 0.5, k: 1.0 };
    let expected = [1.0 / 2f32.sqrt(), 2.0 / 6f32.sqrt(), 3.0 / 14f32.sqrt()];
    let got = floats(&value(&op, &[&x], false));
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
}

#[test]
fn dropout_keeps_the_mean_and_drops_whole_channels_where_it_says_so() {
    let x = Tensor::ones([50, 40, 10], (Kind::Float, tch::Device::Cpu));
    let op = |kind| Op::Dropout { p: 0.25, kind, when: When::Training };
    let element = value(&op(Dropout::Element), &[&x], true);
    assert!((element.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.03);
    assert!(floats(&element).iter().all(|value| *value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
    let channel = value(&op(Dropout::Channel), &[&x], true);
    assert!(near(&channel.amax(2, false), &channel.amin(2, false)));
    // Alpha dropout keeps mean 0 and deviation 1 of a standard normal.
    let x = Tensor::randn([200, 500], (Kind::Float, tch::Device::Cpu));
    let alpha = value(&op(Dropout::Alpha), &[&x], true);
    assert!(alpha.mean(Kind::Float).double_value(&[]).abs() < 0.02);
    assert!((alpha.std(true).double_value(&[]) - 1.0).abs() < 0.02);
}

#[test]
fn numbers_stand_on_the_side_where_they_were_written() {
    let x = Tensor::from_slice(&[2f32, 4.0]);
    let on = |op, value_, reversed| floats(&value(&Op::Scalar { op, value: value_, reversed }, &[&x], false));
    assert_eq!(on(Binary::Sub, 1.0, false), [1.0, 3.0]);
    assert_eq!(on(Binary::Sub, 1.0, true), [-1.0, -3.0]);
    assert_eq!(on(Binary::Div, 8.0, true), [4.0, 2.0]);
    assert_eq!(on(Binary::Pow, 3.0, true), [9.0, 81.0]);
    assert_eq!(on(Binary::Pow, 2.0, false), [4.0, 16.0]);
    assert_eq!(on(Binary::Remainder, 3.0, true), [1.0, 3.0]);
    let compared = value(&Op::Scalar { op: Binary::Lt, value: 3.0, reversed: true }, &[&x], false);
    assert_eq!(Vec::<bool>::try_from(compared).unwrap(), [false, true]);
}

#[test]
fn a_kept_value_is_in_its_buffer_after_training_and_not_after_evaluation() {
    for training in [true, false] {
        let device = tch::Device::Cpu;
        let floats = |value: f64| Tensor::full([3], value, (Kind::Float, device));
        let (buffer, value, carried) = (floats(1.0), floats(2.0), floats(3.0));
        let mut generator = Generator::new(1, Device::Cpu).unwrap();
        let mut context = Context { params: &[], generator: &mut generator, training, batch: 1, device };
        let outputs = run(&Op::Keep, &[&buffer, &value, &carried], &mut context).unwrap();
        assert!(outputs[0].equal(&carried));
        assert_eq!(buffer.double_value(&[0]), if training { 2.0 } else { 1.0 });
    }
}
