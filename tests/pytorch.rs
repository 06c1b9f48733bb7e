//! Agreement with real PyTorch: the same parameters give the same logits, as read and as printed.
//!
//! Needs a Python with PyTorch: `LLMATIC_PYTHON`, else the one that `scripts/setup.sh --test-python` installs. Without
//! it the tests are skipped, or fail where `LLMATIC_REQUIRE_MODEL` is set.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod agreement;
mod oracle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agreement::{Depth, Job, Outcome};
use llmatic_offline::lower::{Network, RepairSet, Request, lower};
use llmatic_offline::train::{Weights, predict};
use oracle::{largest_difference, python, tensor};

/// Largest difference of a logit.
const TOLERANCE: f32 = 1e-4;

fn run(python: &Path, action: &str, jobs: &serde_json::Value, folder: &Path) {
    let file = folder.join(format!("{action}.json"));
    std::fs::write(&file, jobs.to_string()).unwrap();
    oracle::run(python, "reference.py", &[action.as_ref(), file.as_os_str()]);
}

fn network(source: &str) -> Network {
    lower(&Request::new(source, &[3, 32, 32], Some(10)))
        .unwrap_or_else(|refusal| panic!("{}", refusal.render(source, "net.py")))
}

/// Logits that are the same for every class or for every sample say nothing about what was computed before them.
fn assert_telling(name: &str, classes: usize, logits: &[f32]) {
    let spread = |values: &mut dyn Iterator<Item = f32>| {
        let (low, high) =
            values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
        high - low
    };
    let over_classes = spread(&mut logits[..classes].iter().copied());
    let over_samples = spread(&mut logits.iter().step_by(classes).copied());
    assert!(over_classes > 10.0 * TOLERANCE, "{name}: the logits of a sample are all the same");
    assert!(over_samples > 10.0 * TOLERANCE, "{name}: the logits do not depend on the input");
}

#[test]
fn a_logit_that_is_not_a_number_counts_as_a_difference() {
    assert_eq!(largest_difference(&[1.0, f32::NAN], &[1.0, 2.0]), f32::INFINITY);
    assert_eq!(largest_difference(&[1.0], &[f32::INFINITY]), f32::INFINITY);
    assert_eq!(largest_difference(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
}

#[test]
fn accepted_fixtures_compute_pytorchs_logits_as_read_and_as_printed() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/accept");
    let mut networks = BTreeMap::new();
    for entry in std::fs::read_dir(&fixtures).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            networks.insert(name, (path.clone(), network(&std::fs::read_to_string(&path).unwrap())));
        }
    }
    let job = |name: &str, source: &Path| {
        let folder = folder.path();
        serde_json::json!({"name": name, "source": source, "sizes": [3, 32, 32], "folder": folder})
    };
    let jobs = networks.iter().map(|(name, (path, _))| job(name, path)).collect();
    run(&python, "record", &serde_json::Value::Array(jobs), folder.path());

    let mut printed = Vec::new();
    for (name, (_, network)) in &networks {
        let file = |what: &str| folder.path().join(format!("{name}.{what}"));
        assert!(!file("error").exists(), "{name}: {}", std::fs::read_to_string(file("error")).unwrap());
        let weights = Weights::load(&file("weights.safetensors")).unwrap();
        let (sizes, input) = tensor(&file("input.safetensors"), "x");
        let (shape, theirs) = tensor(&file("logits.safetensors"), "logits");
        let (ours_shape, ours) = predict(&network.graph, &weights, &sizes, &input)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ours_shape, shape, "{name}");
        assert_telling(name, 10, &theirs);
        let difference = largest_difference(&ours, &theirs);
        assert!(difference < TOLERANCE, "{name}: a logit differs by {difference}");

        let source = network.graph.to_pytorch("Net");
        std::fs::write(file("py"), &source).unwrap();
        printed.push(job(name, &file("py")));
        let again = self::network(&source);
        assert_eq!(again.graph.parameter_count(), network.graph.parameter_count(), "{name}:\n{source}");
    }
    run(&python, "check", &serde_json::Value::Array(printed), folder.path());
    for name in networks.keys() {
        let file = |what: &str| folder.path().join(format!("{name}.{what}"));
        let source = std::fs::read_to_string(file("py")).unwrap();
        assert!(
            !file("error").exists(),
            "{name}: {}\n{source}",
            std::fs::read_to_string(file("error")).unwrap()
        );
        let (_, theirs) = tensor(&file("logits.safetensors"), "logits");
        let (_, checked) = tensor(&file("checked.safetensors"), "logits");
        let difference = largest_difference(&checked, &theirs);
        assert!(difference < TOLERANCE, "{name}: printed, a logit differs by {difference}\n{source}");
    }
}

#[test]
fn accepted_fixtures_start_and_change_their_buffers_as_in_pytorch() {
    let Some(python) = python() else { return };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/accept");
    let mut jobs = Vec::new();
    for entry in std::fs::read_dir(&fixtures).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        jobs.push(Job { name, source, module: None, entry: None, sizes: vec![3, 32, 32] });
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    let depth = Depth { gradients: true, printed: true, training: true };
    let mut failures = Vec::new();
    for (job, outcome) in jobs.iter().zip(agreement::compare(&python, &jobs, depth)) {
        match outcome {
            Outcome::Same(_) => {}
            Outcome::Refused(_, message) | Outcome::Differs(message) => {
                failures.push(format!("{}: {message}", job.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// Rows of the recorded generations, where the folder with extra data is named or beside this one.
fn generations() -> Option<Vec<serde_json::Value>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = std::env::var_os("LLMATIC_SHARED").map_or(beside, PathBuf::from);
    let text = std::fs::read_to_string(root.join("data/generations.jsonl")).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn three_quarters_of_the_complete_outputs_become_networks_that_pytorch_runs() {
    let Some(python) = python() else { return };
    let Some(rows) = generations() else {
        eprintln!("skipped: no generations.jsonl (set LLMATIC_SHARED)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut complete, mut jobs, mut names) = (0, Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let source = row["source"].as_str().unwrap();
        let qwen = row["model"].as_str().unwrap().starts_with("qwen");
        if !qwen || row["verdict"] == "valid_identical" || row["verdict"] == "syntax_error" {
            continue;
        }
        complete += 1;
        let repaired =
            lower(&Request { repairs: RepairSet::all(), ..Request::new(source, &[3, 32, 32], Some(10)) });
        let Ok(network) = repaired else { continue };
        let name = format!("row{index}");
        let path = folder.path().join(format!("{name}.py"));
        std::fs::write(&path, &network.source).unwrap();
        let entry = format!("{}()", network.class_name);
        jobs.push(serde_json::json!({
            "name": name, "source": path, "entry": entry, "sizes": [3, 32, 32], "folder": folder.path(),
        }));
        names.push(name);
    }
    run(&python, "record", &serde_json::Value::Array(jobs), folder.path());
    let mut confirmed = 0;
    for name in &names {
        let file = |what: &str| folder.path().join(format!("{name}.{what}"));
        let source = std::fs::read_to_string(file("py")).unwrap();
        let error = std::fs::read_to_string(file("error")).unwrap_or_default();
        assert!(error.is_empty(), "{name}: PyTorch refuses the repaired source: {error}\n{source}");
        let (shape, _) = tensor(&file("logits.safetensors"), "logits");
        assert_eq!(shape, [3, 10], "{name}: repaired\n{source}");
        confirmed += 1;
    }
    eprintln!("{confirmed} of {complete} complete outputs are valid with repairs, as PyTorch confirms");
    assert!(confirmed * 100 >= complete * 75, "{confirmed} of {complete}");
}
