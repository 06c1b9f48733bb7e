//! Compares what the front-end and libtorch make of a source with what real PyTorch makes of it.
//!
//! Input: jobs, each a source and an input size. Output: for each whether the two agree in verdict, `state_dict`,
//! parameter count, logits, gradients, first values, buffers after a pass in training mode, and whether the printed
//! graph computes the same again. Limit: what chance changes is not compared.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "shared by test files"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llmatic_offline::graph;
use llmatic_offline::lower::{ImportResolver, Limits, Network, Request, Verdict, lower};
use llmatic_offline::rng::RootSeed;
use llmatic_offline::train::{Weights, first_weights, gradients, predict, training_pass};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::oracle::{self, length, state, tensors, values};

/// Largest difference of a logit, relative to the largest logit where that is above one.
const LOGITS: f32 = 1e-4;
/// Largest difference of a parameter's gradient, as a vector, relative to its length.
const GRADIENTS: f32 = 1e-3;
/// Largest difference of an element of a buffer after a pass in training mode, relative to the largest where that is
/// above one.
const BUFFERS: f32 = 1e-5;
/// Draws of the first values.
const DRAWS: u64 = 4;

/// A network to compare.
pub struct Job {
    pub name: String,
    pub source: String,
    /// Where `source` stands, if it imports its neighbours: a root folder and a dotted module name.
    pub module: Option<(PathBuf, String)>,
    pub entry: Option<String>,
    pub sizes: Vec<usize>,
}

/// How a network compares.
pub enum Outcome {
    /// Both accept it and everything agrees.
    Same(Box<Network>),
    /// Both refuse it: PyTorch's words and ours.
    Refused(String, String),
    /// They do not agree, or this program does not support what PyTorch refuses.
    Differs(String),
}

/// What is compared besides verdict, `state_dict` and logits.
#[derive(Clone, Copy)]
pub struct Depth {
    pub gradients: bool,
    pub printed: bool,
    /// First values, and buffers and logits after a pass in training mode.
    pub training: bool,
}

struct Folder(PathBuf, String);

impl ImportResolver for Folder {
    fn resolve(&self, name: &str) -> Option<(String, bool)> {
        let path = self.0.join(name.replace('.', "/"));
        if let Ok(source) = std::fs::read_to_string(path.with_extension("py")) {
            return Some((source, false));
        }
        Some((std::fs::read_to_string(path.join("__init__.py")).ok()?, true))
    }

    fn package(&self) -> &str {
        &self.1
    }
}

/// Our reading of a job.
pub fn read(job: &Job) -> Result<Network, (Verdict, String)> {
    let (root, module) = match &job.module {
        Some((root, module)) => (root.clone(), module.rsplit_once('.').map_or("", |(package, _)| package)),
        None => (PathBuf::from("/nonexistent"), ""),
    };
    // Networks of the zoos are larger than anything a search would train.
    let graph = graph::Limits { parameters: 1 << 30, macs: 1 << 40, ..graph::Limits::default() };
    let request = Request {
        entry: job.entry.as_deref(),
        limits: Limits { graph, ..Limits::default() },
        imports: &Folder(root, module.to_owned()),
        ..Request::new(&job.source, &job.sizes, None)
    };
    lower(&request).map_err(|refusal| (refusal.verdict, refusal.render(&job.source, &job.name)))
}

fn run(python: &Path, action: &str, jobs: &[Value], folder: &Path) -> Value {
    let (file, out) = (folder.join("jobs.json"), folder.join("out.json"));
    std::fs::write(&file, Value::from(jobs.to_vec()).to_string()).unwrap();
    oracle::run(python, "agreement.py", &[action.as_ref(), file.as_os_str(), out.as_os_str()]);
    serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap()
}

/// Compare all jobs, in their order.
pub fn compare(python: &Path, jobs: &[Job], depth: Depth) -> Vec<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let description = |job: &Job| {
        let mut value = serde_json::json!({
            "name": job.name, "sizes": job.sizes, "folder": folder.path(), "entry": job.entry,
            "gradients": depth.gradients, "training": depth.training,
        });
        match &job.module {
            Some((root, module)) => {
                value["root"] = root.to_string_lossy().into();
                value["module"] = module.as_str().into();
            }
            None => value["source"] = job.source.as_str().into(),
        }
        value
    };
    let described: Vec<Value> = jobs.iter().map(description).collect();
    let recorded = run(python, "record", &described, folder.path());
    let mut outcomes: Vec<Outcome> =
        jobs.iter().map(|job| compare_one(job, &recorded[&job.name], folder.path(), depth)).collect();
    if depth.printed {
        check_printed(python, jobs, &mut outcomes, folder.path(), depth);
    }
    outcomes
}

fn compare_one(job: &Job, theirs: &Value, folder: &Path, depth: Depth) -> Outcome {
    let network = match (read(job), theirs["error"].as_str()) {
        (Ok(network), None) => network,
        (Err((_, ours)), None) => return Outcome::Differs(format!("accepted by PyTorch only: {ours}")),
        (Ok(_), Some(error)) => return Outcome::Differs(format!("refused by PyTorch only: {error}")),
        (Err((Verdict::UnsupportedSyntax, ours)), Some(error)) => {
            return Outcome::Differs(format!("not supported: {ours}\nPyTorch says: {error}"));
        }
        (Err((_, ours)), Some(error)) => return Outcome::Refused(error.to_owned(), ours),
    };
    match agree(&network, theirs, &folder.join(&job.name), depth) {
        Ok(()) => Outcome::Same(Box::new(network)),
        Err(message) => Outcome::Differs(message),
    }
}

fn file(prefix: &Path, what: &str) -> PathBuf {
    PathBuf::from(format!("{}.{what}.safetensors", prefix.display()))
}

fn only(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let (_, sizes, values) = tensors(path).pop().unwrap();
    (sizes, values)
}

fn agree(network: &Network, theirs: &Value, prefix: &Path, depth: Depth) -> Result<(), String> {
    let graph = &network.graph;
    if Some(graph.parameter_count()) != theirs["parameters"].as_u64() {
        return Err(format!("{} parameters, PyTorch has {}", graph.parameter_count(), theirs["parameters"]));
    }
    let mut ours = state(graph);
    let mut wanted: Vec<(String, Vec<usize>)> = serde_json::from_value(theirs["state"].clone()).unwrap();
    ours.sort();
    wanted.sort();
    if ours != wanted {
        let missing: Vec<_> = wanted.iter().filter(|entry| !ours.contains(entry)).take(3).collect();
        let extra: Vec<_> = ours.iter().filter(|entry| !wanted.contains(entry)).take(3).collect();
        return Err(format!("state_dict: {missing:?} missing, {extra:?} too many"));
    }
    let weights = Weights::load(&file(prefix, "weights")).map_err(|error| error.to_string())?;
    let (sizes, input) = only(&file(prefix, "input"));
    let expected = only(&file(prefix, "logits"));
    let got = predict(graph, &weights, &sizes, &input).map_err(|error| error.to_string())?;
    close(&got, &expected)?;
    if depth.gradients {
        let expected = tensors(&file(prefix, "gradients"));
        if !expected.is_empty() {
            let ours =
                gradients(graph, &weights, &sizes, &input, &[0, 1, 2]).map_err(|error| error.to_string())?;
            close_gradients(&ours, &expected)?;
        }
    }
    if depth.training {
        close_starts(graph, &tensors(&file(prefix, "starts")))?;
        let (logits, after) =
            training_pass(graph, &weights, &sizes, &input).map_err(|error| error.to_string())?;
        let mut ours = numbers(&after);
        ours.insert("the logits".to_owned(), logits);
        close_trained(&ours, &tensors(&file(prefix, "trained")))?;
    }
    Ok(())
}

/// All tensors of a network by name.
fn numbers(weights: &Weights) -> BTreeMap<String, Vec<f32>> {
    let bytes = weights.to_safetensors().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().iter().map(|(name, view)| (name.clone(), values(view))).collect()
}

/// After a pass in training mode: the same tensors, to `BUFFERS`, and the same logits.
fn close_trained(
    ours: &BTreeMap<String, Vec<f32>>,
    theirs: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<(), String> {
    for (name, _, expected) in theirs {
        // A second name of a tensor is not listed.
        let Some(got) = ours.get(name) else { continue };
        let scale = expected
            .iter()
            .filter(|value| value.is_finite())
            .fold(1.0_f32, |most, value| most.max(value.abs()));
        let limit = if name == "the logits" { LOGITS } else { BUFFERS };
        let close =
            |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() / scale < limit;
        if got.len() != expected.len() || !got.iter().zip(expected).all(close) {
            let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            return Err(format!("after a pass in training mode {name} differs by {apart:e}"));
        }
    }
    Ok(())
}

/// First values: the elements that are no chance are the same, the others are as large on average.
fn close_starts(graph: &graph::Graph, theirs: &[(String, Vec<usize>, Vec<f32>)]) -> Result<(), String> {
    let ours: Vec<BTreeMap<String, Vec<f32>>> =
        (0..DRAWS).map(|seed| numbers(&first_weights(graph, RootSeed(seed)).unwrap())).collect();
    for (name, _, values) in theirs {
        // Norms of random weights start at what is expected of them.
        if !ours[0].contains_key(name) || name.ends_with("weight_g") || name.ends_with("original0") {
            continue;
        }
        let count = ours[0][name].len();
        let (mut squares, mut wanted, mut drawn) = (0.0, 0.0, 0u32);
        for at in 0..count {
            let expected: Vec<f32> = values.iter().skip(at).step_by(count).copied().collect();
            let got: Vec<f32> = ours.iter().map(|draw| draw[name][at]).collect();
            let fixed = |draws: &[f32]| draws.iter().all(|value| value.to_bits() == draws[0].to_bits());
            match (fixed(&got), fixed(&expected)) {
                (true, true) if (got[0] - expected[0]).abs() <= 1e-6 * expected[0].abs().max(1.0) => {}
                (true, true) if got[0] == expected[0] => {}
                (false, false) => {
                    let square =
                        |draws: &[f32]| draws.iter().map(|value| f64::from(value * value)).sum::<f64>();
                    squares += square(&got);
                    wanted += square(&expected);
                    drawn += u32::try_from(got.len()).unwrap();
                }
                _ => return Err(format!("{name} starts with {got:?} at {at}, PyTorch's with {expected:?}")),
            }
        }
        // Five deviations of the mean square of normal numbers.
        let allowed = 5.0 * (2.0 * 2.0 / f64::from(drawn.max(1))).sqrt();
        if drawn >= 200 && ((squares / wanted) - 1.0).abs() > allowed {
            return Err(format!("{name} starts {} times as large as PyTorch's", (squares / wanted).sqrt()));
        }
    }
    Ok(())
}

fn close(ours: &(Vec<usize>, Vec<f32>), theirs: &(Vec<usize>, Vec<f32>)) -> Result<(), String> {
    if ours.0 != theirs.0 {
        return Err(format!("logits of sizes {:?}, PyTorch has {:?}", ours.0, theirs.0));
    }
    let scale =
        theirs.1.iter().filter(|value| value.is_finite()).fold(1.0_f32, |most, value| most.max(value.abs()));
    for (index, (a, b)) in ours.1.iter().zip(&theirs.1).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() / scale < LOGITS;
        if !same {
            return Err(format!("logit {index} is {a}, PyTorch's {b}"));
        }
    }
    Ok(())
}

fn close_gradients(
    ours: &[(String, Vec<f32>)],
    theirs: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<(), String> {
    if let Some((name, ..)) = theirs.iter().find(|(.., values)| !length(values).is_finite()) {
        return Err(format!("PyTorch's gradient of {name} is not finite"));
    }
    let longest = theirs.iter().map(|(_, _, values)| length(values)).fold(0.0, f64::max);
    for (name, _, expected) in theirs {
        let Some((_, got)) = ours.iter().find(|(known, _)| known == name) else {
            return Err(format!("no gradient of {name}"));
        };
        let apart: Vec<f32> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
        // A gradient that is zero but for rounding, as that of a bias before a norm, has no direction to compare.
        let least = (1e-5 * longest).max(1e-12);
        if length(expected) < least && length(got) < least {
            continue;
        }
        let difference = length(&apart) / length(expected).max(least);
        if difference.is_nan() || difference >= f64::from(GRADIENTS) {
            return Err(format!("gradient of {name} differs by {difference:e}"));
        }
    }
    Ok(())
}

fn check_printed(python: &Path, jobs: &[Job], outcomes: &mut [Outcome], folder: &Path, depth: Depth) {
    let mut printed = Vec::new();
    for (job, outcome) in jobs.iter().zip(outcomes.iter()) {
        if let Outcome::Same(network) = outcome {
            let source = network.graph.to_pytorch("Net");
            printed.push(serde_json::json!({
                "name": job.name, "source": source, "sizes": job.sizes, "folder": folder,
                "training": depth.training,
            }));
        }
    }
    let checked = run(python, "check", &printed, folder);
    for (job, outcome) in jobs.iter().zip(outcomes) {
        let Outcome::Same(network) = outcome else { continue };
        let source = network.graph.to_pytorch("Net");
        let prefix = folder.join(&job.name);
        let result = match checked[&job.name]["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => close(&only(&file(&prefix, "checked")), &only(&file(&prefix, "logits"))),
        };
        let result = result.and_then(|()| {
            if !depth.training {
                return Ok(());
            }
            close_starts(&network.graph, &tensors(&file(&prefix, "checked_starts")))?;
            let after = tensors(&file(&prefix, "checked_trained"));
            let after = after.into_iter().map(|(name, _, values)| (name, values)).collect();
            close_trained(&after, &tensors(&file(&prefix, "trained")))
        });
        let again =
            Job { name: job.name.clone(), source, module: None, entry: None, sizes: job.sizes.clone() };
        let result = result.and_then(|()| match read(&again) {
            Ok(twin) if twin.graph.architecture_id() == network.graph.architecture_id() => Ok(()),
            Ok(twin) => Err(format!(
                "read again, it is another architecture: {}",
                oracle::difference(&network.graph, &twin.graph)
            )),
            Err((_, ours)) => Err(format!("cannot be read again: {ours}")),
        });
        if let Err(message) = result {
            *outcome = Outcome::Differs(format!("printed: {message}\n{}", again.source));
        }
    }
}
