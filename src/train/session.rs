//! One candidate in training: its tensors, its random streams, one step at a time.
//!
//! Input: a job and the parts of a data set. Output: changed parameters, evaluations. Mode is an argument of
//! each forward pass, not a state, so an evaluation cannot leave the network in evaluation mode. One limit:
//! the last, incomplete batch of an epoch is left out.

use tch::{Kind, Reduction, TchError, Tensor};

use super::exec::{Context, Plan, preferred_layout};
use super::init;
use super::sgd::{Sgd, learning_rate};
use super::shim::Generator;
use super::weights::Weights;
use super::{Evaluation, Failure};
use crate::config::{Device, TrainConfig};
use crate::data::{Augmentation, Normalisation, Part, crop_and_flip, place, uploaded};
use crate::graph::{Graph, Op, Param, ParamKind};
use crate::rng::RootSeed;

/// Images per forward pass of an evaluation: the same whatever the training batch, so that scores are
/// comparable.
pub(crate) const EVALUATION_BATCH: usize = 250;

/// PyTorch's `ignore_index`, a label that no data set has.
const IGNORED_LABEL: i64 = -100;

/// A network with its tensors on a device.
#[derive(Debug)]
pub(crate) struct Network<'g> {
    graph: &'g Graph,
    plan: Plan<'g>,
    params: Vec<Tensor>,
    device: Device,
}

impl<'g> Network<'g> {
    /// Start values from the stream `init` at `indices` and the parameter's number.
    pub(crate) fn started(
        graph: &'g Graph,
        seed: RootSeed,
        indices: [u64; 2],
        device: Device,
    ) -> Result<Network<'g>, TchError> {
        let mut params = Vec::with_capacity(graph.params.len());
        for (index, param) in graph.params.iter().enumerate() {
            // Not in the weights' file, so it must be the same whenever the network is built again.
            let mut stream = match param.kind {
                ParamKind::Unsaved => RootSeed(0).stream("unsaved", &[index as u64]),
                _ => seed.stream("init", &[indices[0], indices[1], index as u64]),
            };
            let tensor = preferred_layout(&init::start(param, &mut stream, place(device))?)?;
            params.push(tensor.f_set_requires_grad(param.kind == ParamKind::Trained)?);
        }
        Ok(Network { graph, plan: Plan::new(graph), params, device })
    }

    /// With all saved tensors from `weights`.
    pub(crate) fn with_weights(
        graph: &'g Graph,
        weights: &Weights,
        device: Device,
    ) -> Result<Network<'g>, Failure> {
        let network = Network::started(graph, RootSeed(0), [0, 0], device)?;
        for (param, tensor) in graph.params.iter().zip(&network.params) {
            if param.kind == ParamKind::Unsaved {
                continue;
            }
            let Some(value) = weights.tensor(&param.name, &param.sizes, param.dtype)? else {
                return Err(misfit(param, weights));
            };
            copy_into(tensor, &value)?;
        }
        Ok(network)
    }

    /// Take over the tensors whose name, sizes and type agree, but for values that the source sets and training
    /// leaves alone; how many.
    pub(crate) fn inherit(&mut self, weights: &Weights) -> Result<usize, TchError> {
        let moved = moved_by_training(self.graph);
        let mut count = 0;
        for ((param, tensor), moved) in self.graph.params.iter().zip(&self.params).zip(moved) {
            let inherits = match param.kind {
                ParamKind::Trained => true,
                // What is drawn at the start is no setting, and what was trained around it needs the same again.
                ParamKind::Frozen | ParamKind::Buffer => moved || param.init.is_drawn(),
                ParamKind::Unsaved => false,
            };
            if inherits && let Some(value) = weights.tensor(&param.name, &param.sizes, param.dtype)? {
                copy_into(tensor, &value)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// The values of all saved tensors.
    pub(crate) fn weights(&self) -> Result<Weights, TchError> {
        Weights::of(self.graph, &self.params)
    }

    /// Logits of a float batch `(n, *input_sizes)`.
    pub(crate) fn forward(
        &self,
        input: &Tensor,
        training: bool,
        generator: &mut Generator,
    ) -> Result<Tensor, TchError> {
        let batch = input.size().first().copied().unwrap_or(0);
        let device = place(self.device);
        let mut context = Context { params: &self.params, generator, training, batch, device };
        self.plan.forward(&preferred_layout(input)?, &mut context)
    }

    /// Gradients of the mean cross-entropy, in evaluation mode, of the trained parameters that the output depends on.
    pub(crate) fn gradients(
        &self,
        input: &Tensor,
        labels: &Tensor,
        generator: &mut Generator,
    ) -> Result<Vec<(&'g str, Tensor)>, TchError> {
        let logits = self.forward(input, false, generator)?;
        cross_entropy(&logits, labels, Reduction::Mean, 0.0)?.f_backward()?;
        let mut gradients = Vec::new();
        for (param, tensor) in self.graph.params.iter().zip(&self.params) {
            let gradient = tensor.f_grad()?;
            if param.kind == ParamKind::Trained && gradient.defined() {
                gradients.push((param.name.as_str(), gradient));
            }
        }
        Ok(gradients)
    }

    /// Number of correct images and summed cross-entropy of a part's images `start..start + count`.
    pub(crate) fn count_correct(
        &self,
        part: &Part,
        normalisation: &Normalisation,
        start: usize,
        count: usize,
        generator: &mut Generator,
    ) -> Result<(usize, f64), TchError> {
        let _no_gradients = tch::no_grad_guard();
        let images = part.images.f_narrow(0, start as i64, count as i64)?;
        let labels = part.labels.f_narrow(0, start as i64, count as i64)?;
        let logits = self.forward(&normalisation.apply(&images)?, false, generator)?;
        let logits = logits.f_to_kind(Kind::Float)?;
        let loss = cross_entropy(&logits, &labels, Reduction::Sum, 0.0)?.f_double_value(&[])?;
        Ok((correct(&logits, &labels)?, loss))
    }

    /// Accuracy and loss on a part, in evaluation mode.
    pub(crate) fn evaluate(
        &self,
        part: &Part,
        normalisation: &Normalisation,
    ) -> Result<Evaluation, TchError> {
        let mut generator = evaluation_generator(self.device)?;
        let mut counts = Vec::new();
        for start in (0..part.len()).step_by(EVALUATION_BATCH) {
            let count = EVALUATION_BATCH.min(part.len() - start);
            counts.push(self.count_correct(part, normalisation, start, count, &mut generator)?);
        }
        Ok(summed(&counts, part.len()))
    }
}

/// Give a tensor, gradient or not, other values. The guard restores the gradient mode on a panic too, as
/// `tch::no_grad` does not.
fn copy_into(tensor: &Tensor, value: &Tensor) -> Result<(), TchError> {
    let _no_gradients = tch::no_grad_guard();
    tensor.shallow_clone().f_copy_(value)?;
    Ok(())
}

/// Why weights have no tensor for a parameter: none of its name, or one of other sizes or another type.
fn misfit(param: &Param, weights: &Weights) -> Failure {
    let got = weights.described(&param.name);
    let (expected, got) = match got {
        None => (format!("sizes {:?}", param.sizes), "none".to_owned()),
        Some((sizes, _)) if sizes != param.sizes => {
            (format!("sizes {:?}", param.sizes), format!("{sizes:?}"))
        }
        Some((_, dtype)) => (format!("type {}", param.dtype.name()), dtype.name().to_owned()),
    };
    Failure::Libtorch { message: format!("weights: expected `{}` of {expected}, got {got}", param.name) }
}

/// For each parameter, whether a pass in training mode writes to it: running statistics, their counter, kept buffers.
fn moved_by_training(graph: &Graph) -> Vec<bool> {
    let mut moved = vec![false; graph.params.len()];
    for body in [Some(&graph.eval), graph.train.as_ref()].into_iter().flatten() {
        for node in &body.nodes {
            let targets = match &node.op {
                Op::BatchNorm(norm) if norm.running => {
                    if let Some(counter) = norm.counter {
                        moved[counter.0 as usize] = true;
                    }
                    node.inputs.get(1..3)
                }
                Op::Keep => node.inputs.get(..1),
                _ => None,
            };
            for target in targets.unwrap_or_default() {
                if let Op::Param(id) = body.nodes[target.node as usize].op {
                    moved[id.0 as usize] = true;
                }
            }
        }
    }
    moved
}

/// Random operations of an evaluation (an always-on dropout) draw from the same start each time.
pub(crate) fn evaluation_generator(device: Device) -> Result<Generator, TchError> {
    Generator::new(RootSeed(0).stream("evaluation", &[]).bits(), device)
}

/// The evaluation that counts of batches add up to.
pub(crate) fn summed(counts: &[(usize, f64)], images: usize) -> Evaluation {
    let correct: usize = counts.iter().map(|(correct, _)| correct).sum();
    let loss: f64 = counts.iter().map(|(_, loss)| loss).sum();
    let images_or_one = images.max(1) as f64;
    Evaluation { accuracy: correct as f64 / images_or_one, loss: loss / images_or_one, images }
}

/// How many images have their largest logit at their label.
fn correct(logits: &Tensor, labels: &Tensor) -> Result<usize, TchError> {
    let hits = logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
    Ok(usize::try_from(hits).unwrap_or(0))
}

fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    reduction: Reduction,
    smoothing: f64,
) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, reduction, IGNORED_LABEL, smoothing)
}

/// A candidate in training.
#[derive(Debug)]
pub(crate) struct Session<'g> {
    pub(crate) network: Network<'g>,
    optimiser: Sgd,
    generator: Generator,
    batches: Batches,
    seed: RootSeed,
    indices: [u64; 2],
    step: usize,
    steps: usize,
}

impl<'g> Session<'g> {
    /// Ready for step 0 of `steps` on `images` training images.
    pub(crate) fn new(
        network: Network<'g>,
        config: &TrainConfig,
        seed: RootSeed,
        indices: [u64; 2],
        steps: usize,
        images: usize,
    ) -> Result<Session<'g>, TchError> {
        let kinds = network.graph.params.iter().zip(&network.params);
        let trained = kinds.filter(|(param, _)| param.kind == ParamKind::Trained);
        let optimiser = Sgd::new(trained.map(|(_, tensor)| tensor.shallow_clone()).collect())?;
        let generator = Generator::new(seed.stream("noise", &indices).bits(), network.device)?;
        let batches = Batches::new(images, config.batch_size, seed, indices);
        Ok(Session { network, optimiser, generator, batches, seed, indices, step: 0, steps })
    }

    /// Steps made.
    pub(crate) fn steps_made(&self) -> usize {
        self.step
    }

    /// One optimiser step on the next batch; its loss, which is still on the device.
    pub(crate) fn step(
        &mut self,
        part: &Part,
        normalisation: &Normalisation,
        config: &TrainConfig,
    ) -> Result<Tensor, TchError> {
        let augmentation = Augmentation { flip: config.flip, padding: config.crop_padding };
        let chosen = uploaded(&Tensor::f_from_slice(self.batches.next())?, place(self.network.device))?;
        let images = part.images.f_index_select(0, &chosen)?;
        let labels = part.labels.f_index_select(0, &chosen)?;
        let key = [self.indices[0], self.indices[1], self.step as u64];
        let images = crop_and_flip(&images, augmentation, &mut self.seed.stream("augment", &key))?;
        let input = normalisation.apply(&images)?;
        let logits = self.network.forward(&input, true, &mut self.generator)?.f_to_kind(Kind::Float)?;
        let loss = cross_entropy(&logits, &labels, Reduction::Mean, config.label_smoothing)?;
        // A network without trained parameters on the way to its output stays as it is.
        if loss.requires_grad() {
            loss.f_backward()?;
            self.optimiser.step(config, learning_rate(config, self.step, self.steps))?;
        }
        self.step += 1;
        loss.f_detach()
    }
}

/// Which images are in which batch: a permutation of all per epoch, in whole batches.
#[derive(Debug)]
struct Batches {
    order: Vec<i64>,
    size: usize,
    next: usize,
    epoch: u64,
    seed: RootSeed,
    indices: [u64; 2],
}

impl Batches {
    fn new(images: usize, size: usize, seed: RootSeed, indices: [u64; 2]) -> Batches {
        let order: Vec<i64> = (0..images as i64).collect();
        let size = size.clamp(1, images.max(1));
        // As if an epoch had just ended.
        Batches { next: order.len(), order, size, epoch: 0, seed, indices }
    }

    fn next(&mut self) -> &[i64] {
        if self.next + self.size > self.order.len() {
            // From the same order each time, so that an epoch's permutation depends on its number alone.
            self.order.sort_unstable();
            let key = [self.indices[0], self.indices[1], self.epoch];
            self.seed.stream("batches", &key).shuffle(&mut self.order);
            self.epoch += 1;
            self.next = 0;
        }
        let start = self.next;
        self.next += self.size;
        self.order.get(start..self.next).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_the_largest_logit_not_the_raw_score() {
        let logits = Tensor::from_slice(&[0.1f32, 0.9, -5.0, -1.0, 2.0, 2.5]).view([3, 2]);
        let labels = Tensor::from_slice(&[1i64, 1, 0]);
        assert_eq!(correct(&logits, &labels).unwrap(), 2);
        let evaluation = summed(&[(2, 1.5), (1, 0.5)], 4);
        assert_eq!(evaluation, Evaluation { accuracy: 0.75, loss: 0.5, images: 4 });
    }

    #[test]
    fn an_epoch_visits_each_image_once_in_whole_batches() {
        let mut batches = Batches::new(10, 3, RootSeed(1), [0, 0]);
        let epoch = |batches: &mut Batches| {
            let mut seen: Vec<i64> = (0..3).flat_map(|_| batches.next().to_vec()).collect();
            let order = seen.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 9);
            order
        };
        let (first, second) = (epoch(&mut batches), epoch(&mut batches));
        assert_ne!(first, second);
        assert_eq!(epoch(&mut Batches::new(10, 3, RootSeed(1), [0, 0])), first);
    }

    #[test]
    fn a_batch_larger_than_the_data_is_all_of_them() {
        assert_eq!(Batches::new(2, 64, RootSeed(1), [0, 0]).next().len(), 2);
    }

    /// A network `(N, 1, 4, 4)` to 3 classes: dropout, batch norm without weights, linear.
    fn graph() -> Graph {
        use crate::graph::op::{BatchNorm, Dropout};
        use crate::graph::{Builder, DType, Dim, Init, Limits, Op, Origin, Shape, When};
        let mut builder = Builder::new(Limits::default());
        let input = builder.input(&[1, 4, 4]);
        let at = Origin::default;
        let drop = Op::Dropout { p: 0.5, kind: Dropout::Element, when: When::Training };
        let x = builder.append(drop, &[input], at()).unwrap();
        let mut declare = |sizes: &[usize], kind, init| {
            let id = builder.declare(sizes.to_vec(), DType::F32, kind, init).unwrap();
            (id, builder.tensor(id))
        };
        let (mean_id, mean) = declare(&[1], ParamKind::Buffer, Init::Constant(0.0));
        let (var_id, var) = declare(&[1], ParamKind::Buffer, Init::Constant(1.0));
        let init = Init::Uniform { low: -0.2, high: 0.2 };
        let (weight_id, weight) = declare(&[3, 16], ParamKind::Trained, init);
        let norm = BatchNorm {
            eps: 1e-5,
            momentum: Some(0.1),
            running: true,
            affine: false,
            batch_statistics: When::Training,
            counter: None,
        };
        let x = builder.append(Op::BatchNorm(norm), &[x, mean, var], at()).unwrap();
        let shape = Shape(vec![Dim::BATCH, Dim::fixed(16)]);
        let x = builder.append(Op::Reshape { shape }, &[x], at()).unwrap();
        let x = builder.append(Op::Linear { bias: false }, &[x, weight], at()).unwrap();
        let body = builder.finish_body(x);
        let names = [("mean", mean_id), ("var", var_id), ("weight", weight_id)];
        builder.finish(body, None, &names.map(|(name, id)| (name.to_owned(), id)), &[1, 4, 4])
    }

    fn settings() -> TrainConfig {
        TrainConfig {
            steps: 6,
            batch_size: 8,
            learning_rate: 0.1,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            schedule: crate::config::Schedule::Constant,
            warmup: 0.0,
            label_smoothing: 0.1,
            clip_grad_norm: 1.0,
            flip: true,
            crop_padding: 1,
            inherit: false,
        }
    }

    #[test]
    fn evaluation_leaves_training_mode_as_it_was() {
        let graph = graph();
        let data = crate::data::Dataset::synthetic(&[1, 4, 4], 3, (40, 10, 10), RootSeed(1)).unwrap();
        let split = data.split(RootSeed(1)).unwrap();
        let losses = |evaluate: bool| {
            let network = Network::started(&graph, RootSeed(1), [0, 0], Device::Cpu).unwrap();
            let config = settings();
            let mut session =
                Session::new(network, &config, RootSeed(1), [0, 0], 6, split.train.len()).unwrap();
            let mut losses = Vec::new();
            for _ in 0..6 {
                let loss = session.step(&split.train, &split.normalisation, &config).unwrap();
                losses.push(loss.double_value(&[]));
                if evaluate {
                    let before = session.network.weights().unwrap();
                    session.network.evaluate(&split.validation, &split.normalisation).unwrap();
                    assert_eq!(session.network.weights().unwrap(), before);
                }
            }
            (losses, session.network.weights().unwrap())
        };
        // Dropout and the batch's statistics stay on after an evaluation, or these losses would differ.
        assert_eq!(losses(true), losses(false));
    }

    #[test]
    fn dropout_drops_in_training_and_passes_in_evaluation() {
        let graph = graph();
        let input = Tensor::ones([4, 1, 4, 4], (Kind::Float, tch::Device::Cpu));
        let forward = |training, seed| {
            let network = Network::started(&graph, RootSeed(1), [0, 0], Device::Cpu).unwrap();
            let mut generator = Generator::new(seed, Device::Cpu).unwrap();
            let _no_gradients = tch::no_grad_guard();
            let logits = network.forward(&input, training, &mut generator).unwrap();
            (logits, network.weights().unwrap().values("weight").unwrap())
        };
        let ((first, weight), (second, _)) = (forward(false, 1), forward(false, 2));
        assert!(first.equal(&second));
        assert!(!forward(true, 1).0.equal(&forward(true, 2).0));
        // Ones pass whole, and unit statistics change the sixth digit at most.
        let sum: f32 = weight[..16].iter().sum();
        assert!((first.double_value(&[0, 0]) as f32 - sum).abs() < 1e-4);
    }
}
