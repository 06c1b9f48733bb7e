//! The trainer from outside, on a small made-up data set: it learns, repeats itself, and keeps its parts
//! apart.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)]

mod train_nets;

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use llmatic_offline::config::{DataConfig, Device, Schedule, TrainConfig};
use llmatic_offline::data::Dataset;
use llmatic_offline::graph::op::Binary;
use llmatic_offline::graph::{DType, Graph, Init, Op, ParamKind, Shape};
use llmatic_offline::rng::RootSeed;
use llmatic_offline::train::{Failure, Job, Outcome, TrainError, TrainEvent, Trainer, Weights, predict};

use train_nets::Net;

const CLASSES: usize = 4;
const SIZES: [usize; 3] = [1, 8, 8];

fn config() -> TrainConfig {
    TrainConfig {
        steps: 40,
        batch_size: 16,
        learning_rate: 0.05,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
        schedule: Schedule::Triangular,
        warmup: 0.2,
        label_smoothing: 0.0,
        clip_grad_norm: 0.0,
        flip: false,
        crop_padding: 0,
        inherit: false,
    }
}

fn trainer_with(config: TrainConfig, threads: usize, seed: u64) -> Trainer {
    let data = Dataset::synthetic(&SIZES, CLASSES, (200, 60, 80), RootSeed(1)).unwrap();
    Trainer::new(data, config, Device::Cpu, threads, RootSeed(seed)).unwrap()
}

fn trainer(threads: usize, seed: u64) -> Trainer {
    trainer_with(config(), threads, seed)
}

/// Convolution, batch norm, pool, dropout, linear.
fn network(width: usize) -> Graph {
    let (mut net, x) = Net::new(&SIZES);
    let x = net.conv("conv", x, 1, width);
    let x = net.batch_norm("bn", x, width);
    let x = net.relu(x);
    let x = net.max_pool(x);
    let x = net.dropout(x, 0.25);
    let (x, features) = net.flatten(x);
    let x = net.linear("fc", x, features, CLASSES);
    net.finish(x)
}

fn linear_network(init: Option<Init>) -> Graph {
    let (mut net, x) = Net::new(&SIZES);
    let (x, features) = net.flatten(x);
    let x = match init {
        None => net.linear("fc", x, features, CLASSES),
        Some(init) => {
            let weight = net.weight("fc.weight", &[CLASSES, features], init);
            net.append(Op::Linear { bias: false }, &[x, weight])
        }
    };
    net.finish(x)
}

fn job(graph: &Graph, slot: u64) -> Job<'_> {
    Job { graph, indices: [0, slot], inherit: None, steps: None }
}

fn train(trainer: &Trainer, jobs: &[Job<'_>]) -> Vec<Outcome> {
    let results = trainer.train_all(jobs, &|_| {}, &AtomicBool::new(false));
    results.into_iter().map(|result| result.unwrap()).collect()
}

fn digests(trainer: &Trainer, jobs: &[Job<'_>]) -> Vec<String> {
    train(trainer, jobs).iter().map(|outcome| outcome.weights.digest()).collect()
}

#[test]
fn the_loss_falls_and_held_out_images_are_recognised() {
    let graph = network(8);
    let outcome = &train(&trainer(1, 1), &[job(&graph, 0)])[0];
    let (first, last) = (outcome.curve[0].1, outcome.curve.last().unwrap().1);
    assert!(last < first / 2.0, "{:?}", outcome.curve);
    assert!(outcome.validation.accuracy > 0.9, "{:?}", outcome.validation);
    assert_eq!((outcome.steps, outcome.validation.images, outcome.curve.len()), (40, 60, 20));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let graph = network(4);
    let once = digests(&trainer(1, 1), &[job(&graph, 0)]);
    assert_eq!(once, digests(&trainer(1, 1), &[job(&graph, 0)]));
    assert_ne!(once, digests(&trainer(1, 2), &[job(&graph, 0)]));
    assert_ne!(once, digests(&trainer(1, 1), &[job(&graph, 1)]));
}

#[test]
fn candidates_side_by_side_get_the_bits_they_get_alone() {
    let graphs = [network(4), network(6), linear_network(None), network(4), network(8)];
    let jobs: Vec<Job<'_>> = graphs.iter().zip(0..).map(|(graph, slot)| job(graph, slot)).collect();
    let augmented = TrainConfig { flip: true, crop_padding: 1, ..config() };
    let alone = train(&trainer_with(augmented.clone(), 1, 3), &jobs);
    let beside = train(&trainer_with(augmented, 3, 3), &jobs);
    for (one, other) in alone.iter().zip(&beside) {
        assert_eq!(one.weights, other.weights);
        assert_eq!((one.validation, &one.curve), (other.validation, &other.curve));
    }
}

#[test]
fn selection_never_sees_the_test_split() {
    // Two data sets that differ in their test images alone.
    let graph = network(4);
    let trained = |test: usize| {
        let data = Dataset::synthetic(&SIZES, CLASSES, (200, 60, test), RootSeed(1)).unwrap();
        let trainer = Trainer::new(data, config(), Device::Cpu, 1, RootSeed(1)).unwrap();
        let outcome = train(&trainer, &[job(&graph, 0)]).remove(0);
        let test = trainer.test_accuracy(&graph, &outcome.weights).unwrap();
        let again = trainer.validation_accuracy(&graph, &outcome.weights).unwrap();
        assert_eq!(again, outcome.validation);
        (outcome.weights.digest(), outcome.validation, test.images)
    };
    let (small, large) = (trained(20), trained(80));
    assert_eq!((&small.0, small.1), (&large.0, large.1));
    assert_eq!((small.1.images, small.2, large.2), (60, 20, 80));
}

#[test]
fn a_child_takes_over_what_has_the_same_name_and_sizes() {
    let (parent, child) = (network(4), network(4));
    let trainer = trainer(1, 1);
    let weights = train(&trainer, &[job(&parent, 0)]).remove(0).weights;
    let inherited = Job { inherit: Some(&weights), steps: Some(0), ..job(&child, 1) };
    let outcome = train(&trainer, &[inherited]).remove(0);
    assert_eq!((outcome.inherited, outcome.weights), (9, weights.clone()));
    let wider = network(6);
    let outcome = train(&trainer, &[Job { graph: &wider, ..inherited }]).remove(0);
    // fc.bias and bn.num_batches_tracked; every other tensor is wider.
    assert_eq!(outcome.inherited, 2);
}

/// A linear layer whose features go through a norm and are scaled, shifted and turned by tensors that no step changes.
fn network_with_settings(scale: f64, shift: f64) -> Graph {
    let (mut net, x) = Net::new(&SIZES);
    let x = net.batch_norm("bn", x, 1);
    let (x, features) = net.flatten(x);
    let scale = net.fixed("scale", &[1], ParamKind::Buffer, Init::Constant(scale));
    let shift = net.fixed("shift", &[features], ParamKind::Frozen, Init::Values(vec![shift; features]));
    let drawn = Init::Normal { mean: 0.0, std: 0.1 };
    let turn = net.fixed("turn", &[features, features], ParamKind::Frozen, drawn);
    let x = net.append(Op::Binary(Binary::Mul), &[x, scale]);
    let x = net.append(Op::Binary(Binary::Add), &[x, shift]);
    let x = net.append(Op::MatMul, &[x, turn]);
    let x = net.linear("fc", x, features, CLASSES);
    net.finish(x)
}

#[test]
fn a_child_keeps_the_values_that_its_source_sets() {
    let (parent, child) = (network_with_settings(1.0, 0.0), network_with_settings(2.0, 0.5));
    let trainer = trainer(1, 1);
    let weights = train(&trainer, &[job(&parent, 0)]).remove(0).weights;
    let inherited = Job { inherit: Some(&weights), steps: Some(0), ..job(&child, 1) };
    let outcome = train(&trainer, &[inherited]).remove(0);
    let values = |name: &str| outcome.weights.values(name).unwrap();
    assert_eq!((values("scale"), values("shift")), (vec![2.0], vec![0.5; 64]));
    // What the parent trained, what moves with it, and what was drawn for it.
    for name in ["fc.weight", "bn.weight", "bn.running_mean", "bn.running_var", "turn"] {
        assert_eq!(Some(values(name)), weights.values(name), "{name}");
    }
    assert_eq!(outcome.inherited, 8);
}

#[test]
fn an_infinite_loss_is_a_verdict() {
    let graph = linear_network(Some(Init::Constant(f64::from(f32::MAX))));
    let results = trainer(1, 1).train_all(&[job(&graph, 0)], &|_| {}, &AtomicBool::new(false));
    assert_eq!(results[0].as_ref().unwrap_err(), &Failure::NonFinite { step: 0 });
}

#[test]
fn a_failing_candidate_does_not_end_the_others() {
    // Built by hand, past the builder's checks.
    let mut broken = network(4);
    for node in &mut broken.eval.nodes {
        if let Op::Reshape { shape } = &mut node.op {
            *shape = Shape::batched(&[7]);
        }
    }
    let good = network(4);
    let jobs = [job(&broken, 0), job(&good, 1)];
    let results = trainer(1, 1).train_all(&jobs, &|_| {}, &AtomicBool::new(false));
    let text = results[0].as_ref().unwrap_err().to_string();
    assert_eq!(text, "Reshape: shape '[16, 7]' is invalid for input of size 1024");
    assert!(results[1].is_ok());
}

#[test]
fn a_candidate_that_fails_in_evaluation_leaves_the_next_one_trained() {
    // Trains, and then asks for 64 TiB, which fails in a panic of tch.
    let mut broken = network(4);
    broken.train = Some(broken.eval.clone());
    let linear = broken.eval.nodes.iter_mut().find(|node| matches!(node.op, Op::Linear { .. })).unwrap();
    linear.op = Op::Full { shape: Shape::fixed(&[1 << 44]), value: 0.0, dtype: DType::F32 };
    let good = network(4);
    let trainer = trainer(1, 1);
    let results = trainer.train_all(&[job(&broken, 0), job(&good, 1)], &|_| {}, &AtomicBool::new(false));
    assert!(matches!(&results[0], Err(Failure::OutOfMemory { .. })), "{:?}", results[0]);
    let alone = train(&trainer, &[job(&good, 1)]).remove(0);
    let beside = results[1].as_ref().unwrap();
    assert_eq!((&beside.weights, &beside.curve), (&alone.weights, &alone.curve));
    assert!(alone.curve.last().unwrap().1 < alone.curve[0].1 / 2.0, "{:?}", alone.curve);
}

#[test]
fn a_network_too_large_for_the_memory_is_a_verdict() {
    let mut huge = network(4);
    let terabytes = Shape::fixed(&[1 << 44]);
    let linear = huge.eval.nodes.iter_mut().find(|node| matches!(node.op, Op::Linear { .. })).unwrap();
    linear.op = Op::Full { shape: terabytes, value: 0.0, dtype: DType::F32 };
    let results = trainer(1, 1).train_all(&[job(&huge, 0)], &|_| {}, &AtomicBool::new(false));
    let Err(Failure::OutOfMemory { message }) = &results[0] else { panic!("{:?}", results[0]) };
    assert!(
        message.ends_with("tried to allocate 70368744177664 bytes. Error code 12 (Cannot allocate memory)")
    );
}

#[test]
fn the_memory_estimate_grows_with_the_batch_and_covers_the_activations() {
    let graph = network(8);
    let estimate = |batch| Trainer::peak_bytes_estimate(&graph, batch);
    // The convolution's output alone, and its gradient: 8 channels of 8 x 8 floats.
    assert!(estimate(16) > 2 * 16 * 8 * 64 * 4);
    assert!(estimate(32) > estimate(16) && estimate(32) < 2 * estimate(16));
}

#[test]
fn the_memory_estimate_covers_the_scores_of_attention() {
    let (mut net, x) = Net::new(&SIZES);
    let attention = Op::Attention { mask: false, causal: false, dropout: 0.0, scale: None };
    let (x, features) = net.flatten(x);
    let x = net.append(Op::Unsqueeze { dim: 2 }, &[x]);
    let x = net.append(attention, &[x, x, x]);
    let (x, _) = net.flatten(x);
    let x = net.linear("fc", x, features, CLASSES);
    // 64 by 64 scores and weights for each of 16 images, and their gradients.
    assert!(Trainer::peak_bytes_estimate(&net.finish(x), 16) > 2 * 2 * 16 * 64 * 64 * 4);
}

#[test]
fn a_trainer_may_move_to_another_thread() {
    fn sendable<T: Send>(_: &T) {}
    sendable(&trainer(1, 1));
}

#[test]
fn an_unknown_or_missing_data_set_says_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        let config = DataConfig { name: name.to_owned(), path: None, validation: 10 };
        let text = Dataset::load(&config, folder.path(), Device::Cpu).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "HOME")
    };
    assert_eq!(
        message("imagenet"),
        "unknown data set `imagenet`: expected one of fashion-mnist, mnist, cifar10"
    );
    assert!(
        message("mnist")
            .starts_with("HOME/data/mnist/train-images-idx3-ubyte.gz: expected the data set's file")
    );
    assert!(
        message("cifar10").starts_with("HOME/data/cifar10/data_batch_1.bin: expected the data set's file")
    );
}

#[test]
fn events_tell_each_job_and_a_cancelled_run_stops() {
    let graph = network(4);
    let events = Mutex::new(Vec::new());
    let results = trainer(1, 1).train_all(
        &[job(&graph, 0)],
        &|event| events.lock().unwrap().push(event),
        &AtomicBool::new(false),
    );
    let events = events.into_inner().unwrap();
    assert_eq!(events.first(), Some(&TrainEvent::Started { job: 0 }));
    assert_eq!(events.last(), Some(&TrainEvent::Finished { job: 0 }));
    let curve = &results[0].as_ref().unwrap().curve;
    let (step, loss) = curve[0];
    assert_eq!(events[1], TrainEvent::Step { job: 0, step, loss });
    let cancelled = trainer(1, 1).train_all(&[job(&graph, 0)], &|_| {}, &AtomicBool::new(true));
    assert_eq!(cancelled[0].as_ref().unwrap_err(), &Failure::Cancelled);
}

#[test]
fn saved_weights_predict_what_the_trained_network_predicts() {
    let graph = network(4);
    let trainer = trainer(1, 1);
    let weights = train(&trainer, &[job(&graph, 0)]).remove(0).weights;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    weights.save_atomically(&path).unwrap();
    let read = Weights::load(&path).unwrap();
    let input: Vec<f32> = (0..3 * 64).map(|index| index as f32 / 64.0 - 1.0).collect();
    let (sizes, logits) = predict(&graph, &weights, &[3, 1, 8, 8], &input).unwrap();
    assert_eq!((sizes, logits.len()), (vec![3, CLASSES], 3 * CLASSES));
    assert_eq!(predict(&graph, &read, &[3, 1, 8, 8], &input).unwrap().1, logits);
    let alone = predict(&graph, &weights, &[1, 1, 8, 8], &input[64..128]).unwrap().1;
    let close = alone.iter().zip(&logits[CLASSES..]).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{alone:?} {logits:?}");
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let (small, large) = (network(4), network(6));
    let trainer = trainer(1, 1);
    let weights = train(&trainer, &[Job { steps: Some(0), ..job(&small, 0) }]).remove(0).weights;
    let text = trainer.validation_accuracy(&large, &weights).unwrap_err().to_string();
    assert_eq!(text, "weights: expected `conv.weight` of sizes [6, 1, 3, 3], got [4, 1, 3, 3]");
    let mut double = network(4);
    for param in &mut double.params {
        param.dtype = if param.dtype == DType::F32 { DType::F64 } else { param.dtype };
    }
    let text = predict(&double, &weights, &[1, 1, 8, 8], &[0.0; 64]).unwrap_err().to_string();
    assert_eq!(text, "weights: expected `conv.weight` of type float64, got float32");
    let text = predict(&small, &weights, &[1, 3, 8, 8], &[]).unwrap_err().to_string();
    assert_eq!(text, "input: expected sizes [N, 1, 8, 8], got [1, 3, 8, 8]");
}

#[test]
fn defect_6_accuracy_is_by_argmax_and_the_training_mode_is_on_in_every_step_and_off_in_evaluation() {
    // Equal logits: whoever compares raw outputs with labels gets next to nothing; by argmax it is one class's share.
    let trainer = trainer(1, 1);
    let even = linear_network(Some(Init::Constant(0.0)));
    let outcome = train(&trainer, &[Job { steps: Some(0), ..job(&even, 0) }]).remove(0);
    assert!((outcome.validation.loss - (CLASSES as f64).ln()).abs() < 1e-5, "{:?}", outcome.validation);
    assert!((0.1..0.5).contains(&outcome.validation.accuracy), "{:?}", outcome.validation);
    // Batch norm counts the steps in training mode; dropout would make two evaluations differ.
    let graph = network(4);
    let outcome = train(&trainer, &[job(&graph, 0)]).remove(0);
    let bytes = outcome.weights.to_safetensors().unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("bn.num_batches_tracked").unwrap().data(), 40i64.to_le_bytes());
    assert_eq!(trainer.validation_accuracy(&graph, &outcome.weights).unwrap(), outcome.validation);
}

#[test]
fn a_latency_is_measured_for_one_sample() {
    let (small, large) = (network(4), network(8));
    let trainer = trainer(1, 1);
    for graph in [&small, &large] {
        let weights = train(&trainer, &[Job { steps: Some(0), ..job(graph, 0) }]).remove(0).weights;
        let milliseconds = llmatic_offline::train::latency(graph, &weights, Device::Cpu).unwrap();
        assert!(milliseconds.is_finite() && milliseconds > 0.0, "{milliseconds}");
    }
}

#[test]
fn batch_norm_counts_batches_and_moves_its_statistics_in_training_only() {
    let graph = network(4);
    let trainer = trainer(1, 1);
    let outcome = train(&trainer, &[Job { steps: Some(7), ..job(&graph, 0) }]).remove(0);
    let mean = outcome.weights.values("bn.running_mean").unwrap();
    assert!(mean.iter().any(|value| value.abs() > 1e-4), "{mean:?}");
    let names: Vec<&str> = outcome.weights.tensors().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "conv.weight",
            "conv.bias",
            "bn.weight",
            "bn.bias",
            "bn.running_mean",
            "bn.running_var",
            "bn.num_batches_tracked",
            "fc.weight",
            "fc.bias"
        ]
    );
    let bytes = outcome.weights.to_safetensors().unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("bn.num_batches_tracked").unwrap().data(), 7i64.to_le_bytes());
}

#[test]
fn settings_out_of_range_are_named() {
    let message = |config: TrainConfig| {
        let data = Dataset::synthetic(&SIZES, CLASSES, (20, 4, 4), RootSeed(1)).unwrap();
        Trainer::new(data, config, Device::Cpu, 1, RootSeed(1)).unwrap_err().to_string()
    };
    assert_eq!(
        message(TrainConfig { learning_rate: f64::NAN, ..config() }),
        "training setting `learning_rate`: expected a positive number, got NaN"
    );
    assert_eq!(
        message(TrainConfig { momentum: 0.0, ..config() }),
        "training setting `nesterov`: expected false where momentum is 0, got true"
    );
    let too_many = Dataset::synthetic(&SIZES, CLASSES, (0, 4, 4), RootSeed(1)).unwrap_err();
    assert_eq!(
        too_many.to_string(),
        "validation: expected 1 to 3 images (the data set has 3 plus 1 to train on), got 4"
    );
}

#[test]
fn a_cuda_device_that_is_not_there_is_a_clear_error() {
    let data = Dataset::synthetic(&SIZES, CLASSES, (20, 4, 4), RootSeed(1)).unwrap();
    match Trainer::new(data, config(), Device::Cuda(99), 1, RootSeed(1)) {
        Err(TrainError::Device { index: 99, .. }) => {}
        other => panic!("{other:?}"),
    }
}
