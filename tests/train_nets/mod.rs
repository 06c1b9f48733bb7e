//! Small networks built without a front-end, under PyTorch's names, for the trainer's tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its share; what cannot be built is a bug"
)]

use llmatic_offline::graph::op::{BatchNorm, Conv, Dropout, Pool, Unary};
use llmatic_offline::graph::{
    Builder, DType, Dim, Graph, Init, Limits, Op, Origin, ParamId, ParamKind, Shape, TensorRef, When,
};

/// Builds small networks with PyTorch's names.
pub(crate) struct Net {
    builder: Builder,
    names: Vec<(String, ParamId)>,
    sizes: Vec<usize>,
}

impl Net {
    pub(crate) fn new(sizes: &[usize]) -> (Net, TensorRef) {
        let mut builder = Builder::new(Limits::default());
        let input = builder.input(sizes);
        (Net { builder, names: Vec::new(), sizes: sizes.to_vec() }, input)
    }

    pub(crate) fn weight(&mut self, name: &str, sizes: &[usize], init: Init) -> TensorRef {
        let id = self.builder.declare(sizes.to_vec(), DType::F32, ParamKind::Trained, init).unwrap();
        self.names.push((name.to_owned(), id));
        self.builder.tensor(id)
    }

    /// A tensor that training leaves alone.
    pub(crate) fn fixed(&mut self, name: &str, sizes: &[usize], kind: ParamKind, init: Init) -> TensorRef {
        let id = self.builder.declare(sizes.to_vec(), DType::F32, kind, init).unwrap();
        self.names.push((name.to_owned(), id));
        self.builder.tensor(id)
    }

    pub(crate) fn append(&mut self, op: Op, inputs: &[TensorRef]) -> TensorRef {
        self.builder.append(op, inputs, Origin::default()).unwrap()
    }

    pub(crate) fn conv(&mut self, name: &str, x: TensorRef, from: usize, to: usize) -> TensorRef {
        let bound = 1.0 / (from as f64 * 9.0).sqrt();
        let init = Init::Uniform { low: -bound, high: bound };
        let weight = self.weight(&format!("{name}.weight"), &[to, from, 3, 3], init.clone());
        let bias = self.weight(&format!("{name}.bias"), &[to], init);
        let conv = Conv {
            stride: vec![1, 1],
            padding: vec![1, 1],
            dilation: vec![1, 1],
            output_padding: vec![0, 0],
            groups: 1,
            bias: true,
        };
        self.append(Op::Conv(conv), &[x, weight, bias])
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: TensorRef, width: usize) -> TensorRef {
        let weight = self.weight(&format!("{name}.weight"), &[width], Init::Constant(1.0));
        let bias = self.weight(&format!("{name}.bias"), &[width], Init::Constant(0.0));
        let mut buffer = |name: String, sizes: &[usize], dtype, value| {
            let init = Init::Constant(value);
            let id = self.builder.declare(sizes.to_vec(), dtype, ParamKind::Buffer, init).unwrap();
            self.names.push((name, id));
            id
        };
        let mean = buffer(format!("{name}.running_mean"), &[width], DType::F32, 0.0);
        let var = buffer(format!("{name}.running_var"), &[width], DType::F32, 1.0);
        let counter = buffer(format!("{name}.num_batches_tracked"), &[], DType::I64, 0.0);
        let (mean, var) = (self.builder.tensor(mean), self.builder.tensor(var));
        let norm = BatchNorm {
            eps: 1e-5,
            momentum: Some(0.1),
            running: true,
            affine: true,
            batch_statistics: When::Training,
            counter: Some(counter),
        };
        self.append(Op::BatchNorm(norm), &[x, mean, var, weight, bias])
    }

    pub(crate) fn relu(&mut self, x: TensorRef) -> TensorRef {
        self.append(Op::Unary(Unary::Relu), &[x])
    }

    pub(crate) fn max_pool(&mut self, x: TensorRef) -> TensorRef {
        let pool = Pool {
            kernel: vec![2, 2],
            stride: vec![2, 2],
            padding: vec![0, 0],
            dilation: vec![1, 1],
            ceil_mode: false,
        };
        self.append(Op::MaxPool(pool), &[x])
    }

    pub(crate) fn dropout(&mut self, x: TensorRef, p: f64) -> TensorRef {
        self.append(Op::Dropout { p, kind: Dropout::Element, when: When::Training }, &[x])
    }

    pub(crate) fn flatten(&mut self, x: TensorRef) -> (TensorRef, usize) {
        let width: usize = self.builder.fact(x).shape.0[1..].iter().filter_map(|dim| dim.known()).product();
        let shape = Shape(vec![Dim::BATCH, Dim::from(width)]);
        (self.append(Op::Reshape { shape }, &[x]), width)
    }

    pub(crate) fn linear(&mut self, name: &str, x: TensorRef, from: usize, to: usize) -> TensorRef {
        let bound = 1.0 / (from as f64).sqrt();
        let init = Init::Uniform { low: -bound, high: bound };
        let weight = self.weight(&format!("{name}.weight"), &[to, from], init.clone());
        let bias = self.weight(&format!("{name}.bias"), &[to], init);
        self.append(Op::Linear { bias: true }, &[x, weight, bias])
    }

    pub(crate) fn finish(mut self, output: TensorRef) -> Graph {
        let body = self.builder.finish_body(output);
        self.builder.finish(body, None, &self.names, &self.sizes)
    }
}
