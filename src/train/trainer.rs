//! The trainer: a data set and settings once, then candidates by the list.
//!
//! Input: jobs. Output: outcomes in job order, the same whatever the number of workers. On the CPU each
//! candidate has one thread and `threads` of them train side by side; on CUDA one after another. One limit:
//! bf16 is not used.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::session::{EVALUATION_BATCH, Network, Session, evaluation_generator, summed};
use super::workers::{alone, side_by_side};
use super::{Evaluation, Failure, Job, Outcome, TrainError, TrainEvent, Weights, shim};
use crate::config::{Device, TrainConfig};
use crate::data::{self, Dataset, DatasetInfo, Normalisation, Part, Split};
use crate::graph::{DType, Fact, Graph, cost};
use crate::rng::RootSeed;

/// Points of a loss curve.
const CURVE_POINTS: usize = 20;

/// Trains candidates on one data set with one set of settings.
#[derive(Debug)]
pub struct Trainer {
    split: Split,
    config: TrainConfig,
    device: Device,
    threads: usize,
    seed: RootSeed,
}

/// What a worker needs of the data: handles to the same tensors.
#[derive(Debug)]
struct Material {
    train: Part,
    validation: Part,
    normalisation: Normalisation,
}

impl Trainer {
    /// A trainer; splits the data by `seed`. `threads` candidates train side by side on the CPU.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a setting out of range, [`TrainError::Device`] where CUDA is asked for and
    /// cannot be used.
    pub fn new(
        dataset: Dataset,
        config: TrainConfig,
        device: Device,
        threads: usize,
        seed: RootSeed,
    ) -> Result<Trainer, TrainError> {
        check(&config)?;
        prepare(device)?;
        let split = dataset.split(seed)?;
        Ok(Trainer { split, config, device, threads: threads.max(1), seed })
    }

    /// The data set.
    pub fn info(&self) -> &DatasetInfo {
        &self.split.info
    }

    /// Mean and standard deviation per channel, pixels in [0, 1], that images are normalised by.
    pub fn normalisation(&self) -> (&[f64], &[f64]) {
        (&self.split.normalisation.mean, &self.split.normalisation.std)
    }

    /// Train all jobs; results in job order. `on_event` is called from the workers. Once `cancelled` is true,
    /// jobs end as [`Failure::Cancelled`] within a step.
    pub fn train_all(
        &self,
        jobs: &[Job<'_>],
        on_event: &(dyn Fn(TrainEvent) + Sync),
        cancelled: &AtomicBool,
    ) -> Vec<Result<Outcome, Failure>> {
        let materials = (0..self.workers(jobs.len())).map(|_| self.material()).collect();
        // What the closure needs besides tensors, which only their own worker may hold.
        let (config, device, seed) = (&self.config, self.device, self.seed);
        side_by_side(materials, jobs.len(), |material: &mut Material, index| {
            on_event(TrainEvent::Started { job: index });
            let result = train_one(&jobs[index], index, material, config, device, seed, on_event, cancelled);
            let result = result.map_err(|failure| settled(failure, device));
            if matches!(result, Err(Failure::OutOfMemory { .. })) {
                shim::empty_cache()?;
            }
            on_event(TrainEvent::Finished { job: index });
            result
        })
    }

    /// Give the memory of a GPU that training left unused to whoever needs it next: the LLM shares the device.
    pub fn release(&self) {
        // Of a device that is spoilt nothing can be had: the next call says so.
        let _ = shim::empty_cache();
    }

    /// Accuracy on the validation part.
    ///
    /// # Errors
    /// [`Failure`] where the weights do not fit the graph or libtorch fails.
    pub fn validation_accuracy(&self, graph: &Graph, weights: &Weights) -> Result<Evaluation, Failure> {
        self.evaluate(graph, weights, &self.split.validation)
    }

    /// Accuracy on the test part: for the final report only, never for selection.
    ///
    /// # Errors
    /// [`Failure`] where the weights do not fit the graph or libtorch fails.
    pub fn test_accuracy(&self, graph: &Graph, weights: &Weights) -> Result<Evaluation, Failure> {
        self.evaluate(graph, weights, self.split.test_part_for_the_final_report())
    }

    /// Bytes that training this graph needs at most, about: activations (attention's scores among them) and their
    /// gradients of a batch, and four times the parameters (value, gradient, momentum, scratch).
    pub fn peak_bytes_estimate(graph: &Graph, batch: usize) -> u64 {
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        let body = graph.body(true);
        let live = body.live();
        let bytes = |dtype: DType| dtype.bytes() as u64;
        let mut activations = 0u64;
        for (node, _) in body.nodes.iter().zip(live).filter(|(_, live)| *live) {
            let inputs: Vec<Fact> = node.inputs.iter().map(|&input| body.fact(input).clone()).collect();
            activations = node
                .outputs
                .iter()
                .map(|fact| fact.shape.numel_at(batch).saturating_mul(bytes(fact.dtype)))
                .fold(activations, u64::saturating_add)
                .saturating_add(cost::scratch_bytes(&node.op, &inputs, &node.outputs, batch));
        }
        let params = graph.params.iter().map(|param| param.numel() as u64 * bytes(param.dtype)).sum::<u64>();
        activations.saturating_mul(2).saturating_add(params.saturating_mul(4))
    }

    fn workers(&self, tasks: usize) -> usize {
        match self.device {
            Device::Cpu => self.threads.min(tasks),
            // The generator is the device's own, so jobs must not draw from it in turns.
            Device::Cuda(_) => 1,
        }
    }

    fn material(&self) -> Material {
        Material {
            train: self.split.train.share(),
            validation: self.split.validation.share(),
            normalisation: self.split.normalisation.share(),
        }
    }

    /// Batches are spread over the workers; their counts are summed in order.
    fn evaluate(&self, graph: &Graph, weights: &Weights, part: &Part) -> Result<Evaluation, Failure> {
        let (images, device) = (part.len(), self.device);
        let batches = images.div_ceil(EVALUATION_BATCH);
        let mut states = Vec::new();
        for _ in 0..self.workers(batches) {
            let network = Network::with_weights(graph, weights, device)?;
            states.push((network, part.share(), self.split.normalisation.share()));
        }
        let counts = side_by_side(states, batches, |(network, part, normalisation), batch| {
            let start = batch * EVALUATION_BATCH;
            let count = EVALUATION_BATCH.min(images - start);
            let mut generator = evaluation_generator(device)?;
            Ok(network.count_correct(part, normalisation, start, count, &mut generator)?)
        });
        let counts = counts.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(summed(&counts, images))
    }
}

/// Logits of inputs `(n, *input_sizes)`, row-major, in evaluation mode on the CPU; sizes and values. The
/// inputs are taken as they are: normalise images first ([`Trainer::normalisation`]).
///
/// # Errors
/// [`Failure::Libtorch`] where sizes, inputs, weights and graph do not fit.
pub fn predict(
    graph: &Graph,
    weights: &Weights,
    sizes: &[usize],
    input: &[f32],
) -> Result<(Vec<usize>, Vec<f32>), Failure> {
    check_input(graph, sizes, input)?;
    alone(|| {
        let network = Network::with_weights(graph, weights, Device::Cpu)?;
        logits(&network, sizes, input, false)
    })
}

/// Logits of inputs `(n, *input_sizes)`, row-major, in training mode on the CPU, and all saved tensors after that one
/// pass: it changes buffers such as running statistics, and no parameter. What is drawn is the same each time.
///
/// # Errors
/// [`Failure::Libtorch`] where sizes, inputs, weights and graph do not fit.
pub fn training_pass(
    graph: &Graph,
    weights: &Weights,
    sizes: &[usize],
    input: &[f32],
) -> Result<(Vec<f32>, Weights), Failure> {
    check_input(graph, sizes, input)?;
    alone(|| {
        let network = Network::with_weights(graph, weights, Device::Cpu)?;
        let (_, values) = logits(&network, sizes, input, true)?;
        Ok((values, network.weights()?))
    })
}

/// Sizes and values of what a network on the CPU makes of a checked input.
fn logits(
    network: &Network,
    sizes: &[usize],
    input: &[f32],
    training: bool,
) -> Result<(Vec<usize>, Vec<f32>), Failure> {
    let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    let input = tch::Tensor::f_from_slice(input)?.f_reshape(sizes)?;
    let mut generator = evaluation_generator(Device::Cpu)?;
    let _no_gradients = tch::no_grad_guard();
    let logits = network.forward(&input, training, &mut generator)?;
    let logits = logits.f_to_kind(tch::Kind::Float)?.f_contiguous()?;
    let mut values = vec![0.0; logits.numel()];
    let count = values.len();
    logits.f_copy_data(&mut values, count)?;
    let sizes = logits.size().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
    Ok((sizes, values))
}

/// All saved tensors as a network of this seed starts.
///
/// # Errors
/// [`Failure::Libtorch`] where libtorch fails.
pub fn first_weights(graph: &Graph, seed: RootSeed) -> Result<Weights, Failure> {
    alone(|| Ok(Network::started(graph, seed, [0, 0], Device::Cpu)?.weights()?))
}

/// Gradients of the mean cross-entropy of inputs `(n, *input_sizes)` and their labels, in evaluation mode on the CPU:
/// for each trained parameter that the output depends on, its name and the values, row-major.
///
/// # Errors
/// [`Failure::Libtorch`] where sizes, inputs, labels, weights and graph do not fit.
pub fn gradients(
    graph: &Graph,
    weights: &Weights,
    sizes: &[usize],
    input: &[f32],
    labels: &[i64],
) -> Result<Vec<(String, Vec<f32>)>, Failure> {
    check_input(graph, sizes, input)?;
    if sizes.first() != Some(&labels.len()) {
        let message = format!("labels: expected {:?}, got {}", sizes.first(), labels.len());
        return Err(Failure::Libtorch { message });
    }
    alone(|| {
        let network = Network::with_weights(graph, weights, Device::Cpu)?;
        let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let input = tch::Tensor::f_from_slice(input)?.f_reshape(sizes)?;
        let labels = tch::Tensor::f_from_slice(labels)?;
        let gradients = network.gradients(&input, &labels, &mut evaluation_generator(Device::Cpu)?)?;
        let mut named = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let gradient = gradient.f_to_kind(tch::Kind::Float)?.f_contiguous()?;
            let mut values = vec![0.0; gradient.numel()];
            let count = values.len();
            gradient.f_copy_data(&mut values, count)?;
            named.push((name.to_owned(), values));
        }
        Ok(named)
    })
}

fn check_input(graph: &Graph, sizes: &[usize], input: &[f32]) -> Result<(), Failure> {
    let misfit = |message: String| Failure::Libtorch { message };
    if sizes.get(1..) != Some(graph.input_sizes.as_slice()) {
        let expected: Vec<String> = graph.input_sizes.iter().map(ToString::to_string).collect();
        return Err(misfit(format!("input: expected sizes [N, {}], got {sizes:?}", expected.join(", "))));
    }
    if sizes.iter().product::<usize>() != input.len() {
        return Err(misfit(format!(
            "input: expected as many values as sizes {sizes:?} say, got {}",
            input.len()
        )));
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "what a worker may share is passed piece by piece")]
fn train_one(
    job: &Job<'_>,
    index: usize,
    material: &Material,
    config: &TrainConfig,
    device: Device,
    seed: RootSeed,
    on_event: &dyn Fn(TrainEvent),
    cancelled: &AtomicBool,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let steps = job.steps.unwrap_or(config.steps);
    let mut network = Network::started(job.graph, seed, job.indices, device)?;
    let inherited = match job.inherit {
        Some(weights) => network.inherit(weights)?,
        None => 0,
    };
    let mut session = Session::new(network, config, seed, job.indices, steps, material.train.len())?;
    let interval = steps.div_ceil(CURVE_POINTS).max(1);
    let mut curve = Vec::new();
    let (mut sum, mut read) = (0.0, 0usize);
    let mut unread: Option<tch::Tensor> = None;
    while session.steps_made() < steps {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let loss = session.step(&material.train, &material.normalisation, config)?;
        let step = session.steps_made();
        let point = step % interval == 0 || step == steps;
        read += 1;
        // On a GPU, reading a number waits for the device: losses add up there until the next point.
        let total = match unread.take() {
            Some(total) => total.f_add(&loss)?,
            None => loss,
        };
        if point || device == Device::Cpu {
            let value = total.f_double_value(&[])?;
            if !value.is_finite() {
                return Err(Failure::NonFinite { step: step - 1 });
            }
            sum += value;
        } else {
            unread = Some(total);
        }
        if point {
            let mean = (sum / read as f64) as f32;
            (sum, read) = (0.0, 0);
            curve.push((step, mean));
            on_event(TrainEvent::Step { job: index, step, loss: mean });
        }
    }
    let validation = session.network.evaluate(&material.validation, &material.normalisation)?;
    if !validation.loss.is_finite() {
        return Err(Failure::NonFinite { step: steps });
    }
    let weights = session.network.weights()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Outcome { weights, validation, curve, steps, inherited, seconds })
}

/// What a failure on a device means for what comes after it. A fault of the device may be told late, and in words that
/// a harmless failure has too: only asking the device itself tells them apart.
fn settled(failure: Failure, device: Device) -> Failure {
    let Device::Cuda(index) = device else { return failure };
    if matches!(failure, Failure::Cancelled | Failure::NonFinite { .. }) {
        return failure;
    }
    match (shim::synchronize(index), failure) {
        (Err(_), failure) => Failure::Device { message: failure.to_string() },
        (Ok(()), Failure::Device { message }) => Failure::Libtorch { message },
        (Ok(()), failure) => failure,
    }
}

/// Refuse settings that libtorch would take and that make no sense.
fn check(config: &TrainConfig) -> Result<(), TrainError> {
    let in_range = |field, value: f64, low: f64, high: f64, expected| {
        if value.is_finite() && value >= low && value <= high {
            return Ok(());
        }
        Err(TrainError::Setting { field, expected, got: value.to_string() })
    };
    in_range("batch_size", config.batch_size as f64, 1.0, f64::MAX, "at least 1")?;
    in_range("learning_rate", config.learning_rate, f64::MIN_POSITIVE, f64::MAX, "a positive number")?;
    in_range("momentum", config.momentum, 0.0, 1.0, "0 to 1")?;
    in_range("weight_decay", config.weight_decay, 0.0, f64::MAX, "0 or more")?;
    in_range("warmup", config.warmup, 0.0, 1.0, "0 to 1")?;
    in_range("label_smoothing", config.label_smoothing, 0.0, 1.0, "0 to 1")?;
    in_range("clip_grad_norm", config.clip_grad_norm, 0.0, f64::MAX, "0 or more")?;
    if config.nesterov && config.momentum == 0.0 {
        let expected = "false where momentum is 0";
        return Err(TrainError::Setting { field: "nesterov", expected, got: "true".to_owned() });
    }
    Ok(())
}

/// Once per process: libtorch's deterministic kernels, and its CUDA half where it is asked for.
fn prepare(device: Device) -> Result<(), TrainError> {
    static ONCE: Once = Once::new();
    if let Device::Cuda(index) = device {
        data::prepare(device).map_err(|reason| TrainError::Device { index, reason })?;
    }
    let mut result = Ok(());
    ONCE.call_once(|| result = shim::deterministic());
    Ok(result?)
}
