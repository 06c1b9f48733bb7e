//! How long it takes to read a network: parse, lower and cost, on one core.
//!
//! Input: torchvision's ResNet-152 (its folder in `LLMATIC_TORCHVISION`, else where `scripts/setup.sh --test-python`
//! puts it), fixtures of the size that models write, and those recorded generations in `LLMATIC_SHARED` that are
//! networks. Output: medians in milliseconds. Limit: wall-clock time.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark says what it measures")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use llmatic_offline::lower::{ImportResolver, Request, lower};

struct Folder(PathBuf);

impl ImportResolver for Folder {
    fn resolve(&self, name: &str) -> Option<(String, bool)> {
        let path = self.0.join(name.replace('.', "/"));
        match std::fs::read_to_string(path.with_extension("py")) {
            Ok(source) => Some((source, false)),
            Err(_) => Some((std::fs::read_to_string(path.join("__init__.py")).ok()?, true)),
        }
    }

    fn package(&self) -> &str {
        "torchvision.models"
    }
}

fn measure(name: &str, rounds: usize, run: impl Fn()) {
    run();
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name}: median {:.3} ms, least {:.3} ms of {rounds}", times[rounds / 2], times[0]);
}

fn macs(imports: &Folder, source: &str, entry: Option<&str>, input_sizes: &[usize], classes: usize) -> u64 {
    let request = Request { entry, imports, ..Request::new(source, input_sizes, Some(classes)) };
    lower(&request).unwrap().graph.macs()
}

fn main() {
    let root = std::env::var_os("LLMATIC_TORCHVISION")
        .map_or_else(|| llmatic_offline::config::home().join("torchvision"), PathBuf::from);
    let imports = Folder(root.clone());
    match std::fs::read_to_string(root.join("torchvision/models/resnet.py")) {
        Ok(source) => measure("ResNet-152 of torchvision", 20, || {
            assert!(macs(&imports, &source, Some("resnet152()"), &[3, 224, 224], 1000) > 11_000_000_000);
        }),
        Err(error) => println!("skipped ResNet-152: {}: {error}", root.display()),
    }
    for name in ["a_lenet_with_views_and_pools", "a_resnet_with_block_classes_and_shortcuts"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/accept/{name}.py"));
        let source = std::fs::read_to_string(path).unwrap();
        measure(name, 200, || {
            assert!(macs(&imports, &source, None, &[3, 32, 32], 10) > 0);
        });
    }
    let shared =
        std::env::var_os("LLMATIC_SHARED").map(|root| Path::new(&root).join("data/generations.jsonl"));
    let Some(text) = shared.and_then(|path| std::fs::read_to_string(path).ok()) else { return };
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sources: Vec<String> = rows
        .filter(|row| row["valid"] == true)
        .map(|row| row["source"].as_str().unwrap().to_owned())
        .collect();
    let mut times: Vec<f64> = sources
        .iter()
        .map(|source| {
            let start = Instant::now();
            assert!(macs(&imports, source, None, &[3, 32, 32], 10) > 0);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} valid generations: median {middle:.3} ms, most {last:.3} ms", times.len());
}
