//! Any zoo of networks against real PyTorch: `LLMATIC_ZOO=ZOO.json cargo test --release --test zoo -- --ignored
//! --nocapture`.
//!
//! ZOO.json is a list of {"root": folder, "module": dotted name of a file below it, "entry": expression, "sizes": of
//! one input}. Each network is read from its file, with what that imports from the folder, and compared in verdict,
//! parameters, `state_dict` and logits. Ignored unless asked for: no zoo is part of this repository.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod agreement;
mod oracle;

use std::path::PathBuf;

use agreement::{Depth, Job, Outcome};

/// Networks compared with one call of Python.
const CHUNK: usize = 12;

#[derive(serde::Deserialize)]
struct Entry {
    root: PathBuf,
    module: String,
    entry: String,
    sizes: Vec<usize>,
}

#[test]
#[ignore = "needs a zoo: LLMATIC_ZOO=ZOO.json"]
fn every_network_of_the_zoo_agrees_with_pytorch() {
    let file = std::env::var_os("LLMATIC_ZOO").expect("LLMATIC_ZOO names a file");
    let Some(python) = oracle::python() else { return };
    let entries: Vec<Entry> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (mut same, mut refused, mut differ) = (0, 0, Vec::new());
    for chunk in entries.chunks(CHUNK) {
        let jobs: Vec<Job> = chunk
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let path = entry.root.join(entry.module.replace('.', "/")).with_extension("py");
                Job {
                    name: format!("network{index}"),
                    source: std::fs::read_to_string(path).unwrap(),
                    module: Some((entry.root.clone(), entry.module.clone())),
                    entry: Some(entry.entry.clone()),
                    sizes: entry.sizes.clone(),
                }
            })
            .collect();
        let outcomes =
            agreement::compare(&python, &jobs, Depth { gradients: false, printed: false, training: false });
        for (entry, outcome) in chunk.iter().zip(outcomes) {
            let name = format!("{} {}", entry.module, entry.entry);
            match outcome {
                Outcome::Same(network) => {
                    same += 1;
                    eprintln!("same {name}: {} parameters", network.graph.parameter_count());
                }
                Outcome::Refused(theirs, _) => {
                    refused += 1;
                    eprintln!("refused {name}: {}", theirs.lines().next().unwrap_or_default());
                }
                Outcome::Differs(message) => {
                    eprintln!("DIFFERS {name}: {message}");
                    differ.push(name);
                }
            }
        }
    }
    eprintln!("{same} agree, {refused} are refused by both, {} differ", differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
