//! Layers, functions and tensor methods one by one: each case is read, run, differentiated and printed, and compared
//! with real PyTorch, or refused where PyTorch refuses it.
//!
//! The cases are the lines of tests/fixtures/layers/*.txt, in the form described in the first lines of those files.
//! Needs a Python with PyTorch as tests/pytorch.rs does. `LLMATIC_CASES=TEXT` takes only the lines that contain TEXT.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod agreement;
mod oracle;

use std::path::Path;

use agreement::{Depth, Job, Outcome};

/// The network of one line: `sizes | what it is made of | what it computes`, or `sizes | layer or expression`.
fn job(number: usize, line: &str) -> Job {
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    let (sizes, init, body) = match parts[..] {
        [sizes, layer] if layer.starts_with("nn.") => {
            (sizes, format!("self.layer = {layer}"), "self.layer(x)".to_owned())
        }
        [sizes, body] => (sizes, "pass".to_owned(), body.to_owned()),
        [sizes, init, body] => (sizes, init.to_owned(), body.to_owned()),
        _ => panic!("expected two or three parts, got {line}"),
    };
    let mut statements: Vec<&str> = body.split("; ").collect();
    let result = statements.pop().unwrap();
    let mut source = String::from(
        "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n\
         class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n",
    );
    for statement in init.split("; ") {
        source += &format!("        {statement}\n");
    }
    source += "\n    def forward(self, x):\n";
    for statement in statements {
        source += &format!("        {statement}\n");
    }
    source += &format!("        y = {result}\n        return y.flatten(1).float()\n");
    let sizes = sizes.split(',').map(|size| size.trim().parse().unwrap()).collect();
    Job { name: format!("case{number}"), source, module: None, entry: None, sizes }
}

/// Compare the lines of one file. Lines that start with `!` are ones that PyTorch refuses.
fn check(file: &str) {
    let Some(python) = oracle::python() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layers").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let wanted = std::env::var("LLMATIC_CASES").unwrap_or_default();
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && line.contains(&wanted))
        .collect();
    let jobs: Vec<Job> =
        lines.iter().map(|(number, line)| job(*number, line.trim_start_matches('!'))).collect();
    let outcomes =
        agreement::compare(&python, &jobs, Depth { gradients: true, printed: true, training: true });
    let mut failures = Vec::new();
    for ((number, line), outcome) in lines.iter().zip(&outcomes) {
        let failure = match outcome {
            Outcome::Same(_) if line.starts_with('!') => "expected a refusal, both accept".to_owned(),
            Outcome::Refused(theirs, ours) if !line.starts_with('!') => {
                format!("expected to be accepted: PyTorch says {theirs}; {ours}")
            }
            Outcome::Differs(message) => message.clone(),
            _ => continue,
        };
        failures.push(format!("{file}:{number}: {line}\n    {}", failure.replace('\n', "\n    ")));
    }
    eprintln!("{file}: {} of {} cases agree", lines.len() - failures.len(), lines.len());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn convolutions_agree_with_pytorch() {
    check("convolutions.txt");
}

#[test]
fn pools_agree_with_pytorch() {
    check("pools.txt");
}

#[test]
fn norms_and_activations_agree_with_pytorch() {
    check("pointwise.txt");
}

#[test]
fn sequences_and_containers_agree_with_pytorch() {
    check("modules.txt");
}

#[test]
fn functions_and_methods_agree_with_pytorch() {
    check("functions.txt");
}
