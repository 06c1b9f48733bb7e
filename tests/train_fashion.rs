//! The trainer on real images: Fashion-MNIST, where it is installed (`$LLMATIC_HOME/data/fashion-mnist`).
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod oracle;
mod train_nets;

use std::sync::atomic::AtomicBool;

use llmatic_offline::config::{DataConfig, Device, Schedule, TrainConfig, home};
use llmatic_offline::data::{Dataset, dataset_info};
use llmatic_offline::graph::Graph;
use llmatic_offline::rng::RootSeed;
use llmatic_offline::train::{Job, Trainer};

use train_nets::Net;

const SIZES: [usize; 3] = [1, 28, 28];

fn config(steps: usize) -> TrainConfig {
    TrainConfig {
        steps,
        batch_size: 128,
        learning_rate: 0.1,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
        schedule: Schedule::Triangular,
        warmup: 0.2,
        label_smoothing: 0.0,
        clip_grad_norm: 1.0,
        flip: false,
        crop_padding: 0,
        inherit: false,
    }
}

/// `None` where the data set is not installed.
fn trainer(steps: usize, threads: usize) -> Option<Trainer> {
    let data = DataConfig { name: "fashion-mnist".to_owned(), path: None, validation: 5000 };
    if !oracle::present(&home().join("data/fashion-mnist")) {
        return None;
    }
    let dataset = Dataset::load(&data, &home(), Device::Cpu).unwrap();
    Some(Trainer::new(dataset, config(steps), Device::Cpu, threads, RootSeed(1)).unwrap())
}

/// Two convolutions with pools, two linear layers.
fn lenet() -> Graph {
    let (mut net, x) = Net::new(&SIZES);
    let x = net.conv("conv1", x, 1, 6);
    let x = net.relu(x);
    let x = net.max_pool(x);
    let x = net.conv("conv2", x, 6, 16);
    let x = net.relu(x);
    let x = net.max_pool(x);
    let (x, width) = net.flatten(x);
    let x = net.linear("fc1", x, width, 84);
    let x = net.relu(x);
    let x = net.linear("fc2", x, 84, 10);
    net.finish(x)
}

/// Three convolutions with batch norm and pools, one linear layer.
fn three_convolutions() -> Graph {
    let (mut net, mut x) = Net::new(&SIZES);
    for (index, (from, to)) in [(1, 16), (16, 32), (32, 64)].into_iter().enumerate() {
        x = net.conv(&format!("conv{index}"), x, from, to);
        x = net.batch_norm(&format!("bn{index}"), x, to);
        x = net.relu(x);
        x = net.max_pool(x);
    }
    let (x, width) = net.flatten(x);
    let x = net.linear("fc", x, width, 10);
    net.finish(x)
}

#[test]
fn fashion_mnist_is_what_its_authors_describe() {
    let Some(trainer) = trainer(1, 1) else { return };
    let info = trainer.info();
    assert_eq!((info.train, info.validation, info.test), (55_000, 5_000, 10_000));
    assert_eq!(dataset_info("fashion-mnist"), Some((info.input_sizes.clone(), info.classes)));
    assert_eq!(info.class_names[9], "Ankle boot");
    let (mean, std) = trainer.normalisation();
    assert!((mean[0] - 0.286).abs() < 1e-3 && (std[0] - 0.353).abs() < 1e-3, "{mean:?} {std:?}");
}

#[test]
fn two_networks_learn_real_images_in_a_hundred_steps() {
    let Some(trainer) = trainer(100, 1) else { return };
    let graphs = [lenet(), three_convolutions()];
    let jobs: Vec<Job<'_>> = graphs
        .iter()
        .zip(0..)
        .map(|(graph, slot)| Job { graph, indices: [0, slot], inherit: None, steps: None })
        .collect();
    for (graph, result) in graphs.iter().zip(trainer.train_all(&jobs, &|_| {}, &AtomicBool::new(false))) {
        let outcome = result.unwrap();
        let test = trainer.test_accuracy(graph, &outcome.weights).unwrap();
        let rate = outcome.steps as f64 / outcome.seconds;
        println!("validation {:?}, test {test:?}, {rate:.1} steps/s with the evaluation", outcome.validation);
        assert!(outcome.validation.accuracy > 0.7, "{:?}", outcome.validation);
        assert!((test.accuracy - outcome.validation.accuracy).abs() < 0.05, "{test:?}");
    }
}
