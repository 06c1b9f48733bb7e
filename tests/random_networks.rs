//! Networks drawn at random: read, run, printed and read again, and a sample of them compared with real PyTorch.
//!
//! Case N depends on N alone. For each that is read: every result has the sizes that were inferred for it (libtorch
//! runs both modes, and a difference is an error), and the printed source is the same architecture with the same
//! logits. A sample is compared in verdict, `state_dict`, logits, gradients and print with real PyTorch, where it is
//! installed. `LLMATIC_NETWORKS=N` takes N cases instead of the ordinary number, `LLMATIC_NETWORKS_FIRST` another first
//! one. Limit: numbers are compared in evaluation mode.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod agreement;
#[allow(dead_code, reason = "the other half of the generators is for the fuzz test")]
mod fuzz;
mod oracle;

use std::path::Path;

use agreement::{Depth, Job, Outcome};
use fuzz::Random;
use fuzz::networks::{Source, network};
use llmatic_offline::graph::{Graph, ParamKind};
use llmatic_offline::lower::Verdict;
use llmatic_offline::train::{Weights, predict};

/// Cases of an ordinary run.
const CASES: u64 = 600;
/// One case in so many is seen by PyTorch too.
const SAMPLED: u64 = 5;
/// Cases compared with one call of Python.
const CHUNK: usize = 150;
/// Of a tensor whose place in memory is not certain the front-end accepts any view; PyTorch knows.
const UNCERTAIN: &str = "refused by PyTorch only: RuntimeError: view size is not compatible";
/// Largest difference of a logit, relative to the largest logit where that is above one.
const TOLERANCE: f32 = 1e-4;

fn number(variable: &str, ordinary: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}

fn cases() -> std::ops::Range<u64> {
    let first = number("LLMATIC_NETWORKS_FIRST", 0);
    first..first + number("LLMATIC_NETWORKS", CASES)
}

fn job(case: u64) -> Job {
    let Source { text, input } = network(&mut Random(case ^ 0x6e65_7477_6f72_6b73));
    Job { name: format!("case{case}"), source: text, module: None, entry: None, sizes: input }
}

/// Weights between -0.5 and 0.5 for every saved tensor; variances are positive.
fn weights(graph: &Graph, random: &mut Random) -> Weights {
    let mut bytes: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for param in graph.params.iter().filter(|param| param.kind != ParamKind::Unsaved) {
        let integer = param.dtype != llmatic_offline::graph::DType::F32;
        let mut data = Vec::new();
        for _ in 0..param.numel() {
            let value = (random.below(2001) as f32 - 1000.0) / 2000.0;
            match (integer, param.name.ends_with("running_var")) {
                (true, _) => data.extend(0i64.to_le_bytes()),
                (false, true) => data.extend((value + 1.0).to_le_bytes()),
                (false, false) => data.extend(value.to_le_bytes()),
            }
        }
        let dtype = if integer { safetensors::Dtype::I64 } else { safetensors::Dtype::F32 };
        for name in std::iter::once(&param.name).chain(&param.aliases) {
            bytes.push((name.clone(), dtype, param.sizes.clone(), data.clone()));
        }
    }
    let views = bytes.iter().map(|(name, dtype, sizes, data)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, sizes.clone(), data).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    Weights::from_safetensors(&file, Path::new("random.safetensors")).unwrap()
}

/// Run a case in both modes, print it, read it again and run that. `Ok(false)`: it is refused.
fn check(case: u64) -> Result<bool, String> {
    let job = job(case);
    let graph = match agreement::read(&job) {
        Ok(network) => network.graph,
        Err((Verdict::UnsupportedSyntax, message)) => return Err(format!("not supported: {message}")),
        Err(_) => return Ok(false),
    };
    let mut random = Random(case);
    let weights = weights(&graph, &mut random);
    let sizes: Vec<usize> = std::iter::once(2).chain(job.sizes.iter().copied()).collect();
    let input: Vec<f32> =
        (0..sizes.iter().product()).map(|_| (random.below(4001) as f32 - 2000.0) / 1000.0).collect();
    let (shape, logits) = predict(&graph, &weights, &sizes, &input).map_err(|error| error.to_string())?;
    if let Some(train) = graph.train.clone() {
        let training = Graph { eval: train, train: None, ..graph.clone() };
        predict(&training, &weights, &sizes, &input).map_err(|error| format!("training body: {error}"))?;
    }
    let source = graph.to_pytorch("Net");
    let printed = Job { source, ..job };
    let again =
        agreement::read(&printed).map_err(|(_, text)| format!("printed: {text}\n{}", printed.source))?.graph;
    if again.architecture_id() != graph.architecture_id() {
        let apart = oracle::difference(&graph, &again);
        return Err(format!("printed, it is another architecture: {apart}\n{}", printed.source));
    }
    let (other_shape, others) = predict(&again, &weights, &sizes, &input)
        .map_err(|error| format!("printed: {error}\n{}", printed.source))?;
    let scale = logits.iter().filter(|value| value.is_finite()).fold(1.0_f32, |most, it| most.max(it.abs()));
    let same =
        |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() / scale < TOLERANCE;
    if shape != other_shape || !logits.iter().zip(&others).all(same) {
        return Err(format!("printed, it computes other logits\n{}", printed.source));
    }
    Ok(true)
}

#[test]
fn random_networks_have_the_inferred_sizes_and_are_the_same_when_printed() {
    let (mut accepted, mut failures) = (0, Vec::new());
    for case in cases() {
        match check(case) {
            Ok(read) => accepted += u64::from(read),
            Err(message) => failures.push(format!("case {case}: {message}\n{}", job(case).source)),
        }
    }
    let count = cases().count() as u64;
    eprintln!("{count} networks, {accepted} accepted");
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(accepted * 2 > count, "only {accepted} of {count} networks are valid");
}

#[test]
fn a_sample_of_the_random_networks_agrees_with_pytorch() {
    let Some(python) = oracle::python() else { return };
    let sample: Vec<Job> = cases().step_by(SAMPLED as usize).map(job).collect();
    let (mut same, mut refused, mut lenient, mut failures) = (0, 0, 0, Vec::new());
    for chunk in sample.chunks(CHUNK) {
        let outcomes =
            agreement::compare(&python, chunk, Depth { gradients: true, printed: true, training: false });
        for (job, outcome) in chunk.iter().zip(outcomes) {
            match outcome {
                Outcome::Same(_) => same += 1,
                Outcome::Refused(..) => refused += 1,
                Outcome::Differs(message) if message.contains(UNCERTAIN) => lenient += 1,
                Outcome::Differs(message) => {
                    failures.push(format!("{}: {message}\n{}", job.name, job.source))
                }
            }
        }
    }
    eprintln!("{same} agree, {refused} are refused by both, {lenient} views by PyTorch only");
    assert!(lenient * 20 <= sample.len(), "{lenient} views of {} networks", sample.len());
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
}
