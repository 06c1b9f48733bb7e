//! `doctor`: what is installed, what is missing, what it costs in memory, and what to run next.
//!
//! One limit: files are looked for, not read; a damaged one is noticed when it is used.

use std::fs;
use std::path::{Path, PathBuf};

use llmatic_offline::config;
use llmatic_offline::llm::{Llm, LlmOptions, Selection};

use super::search::selected;
use super::{machine_device, machine_threads, models};
use crate::cli::{Failure, printer};

/// Data sets and the folder that each lies in.
const DATA_SETS: [&str; 3] = ["fashion-mnist", "mnist", "cifar10"];

/// `doctor`
pub(crate) fn doctor() -> Result<(), Failure> {
    let home = config::home();
    let mut lines = vec![
        format!("llmatic-offline {}", env!("CARGO_PKG_VERSION")),
        format!("home     {}{}", home.display(), if home.exists() { "" } else { " (not there yet)" }),
        format!("machine  {} threads, {}, device {}", machine_threads(), memory(), machine_device()),
        format!("libtorch {}", libtorch()),
        format!(
            "CUDA     {}",
            if cfg!(feature = "cuda") { "built in" } else { "not built in (cargo feature `cuda`)" }
        ),
        String::new(),
        models::list()?,
        String::new(),
    ];
    let mut sets = Vec::new();
    for name in DATA_SETS {
        let folder = home.join("data").join(name);
        let there = files(&folder);
        sets.extend(there.is_some().then_some(name));
        lines.push(match there {
            Some((count, bytes)) => {
                let size = bytes.div_ceil(1_000_000);
                format!("data {name}: {} ({count} files, {size} MB)", folder.display())
            }
            None => format!("data {name}: not installed; goes to {}", folder.display()),
        });
    }
    lines.push(String::new());
    lines.push(readiness(&sets)?);
    printer::data(&lines.join("\n"));
    Ok(())
}

/// The command to begin with, or what keeps it from running.
fn readiness(sets: &[&str]) -> Result<String, Failure> {
    let config = config::resolve("", "", &[], machine_device(), machine_threads())?;
    let (selection, options) = match selected(&config) {
        Ok(found) => found,
        Err(error) => {
            return Ok(format!("missing: {error}\nscripts/setup.sh brings a model, data and libtorch"));
        }
    };
    if !cfg!(feature = "torch") || libtorch_is_gone() {
        return Ok("missing: libtorch; scripts/setup.sh brings it, then build with it".into());
    }
    let flag = match sets {
        [] => return Ok("missing: a data set; scripts/setup.sh brings one".into()),
        sets if sets.contains(&config.data.name.as_str()) => String::new(),
        sets => format!(" --dataset {}", sets[0]),
    };
    let memory = plan(&selection, &options, config.model.memory_mb as u64)?;
    Ok(format!("ready: llmatic-offline search --model codegen{flag}\n{memory}"))
}

/// What the quickstart's settings make of a model's memory.
fn plan(selection: &Selection, options: &LlmOptions, budget: u64) -> Result<String, Failure> {
    let plan = Llm::plan_within(selection, options, budget)?;
    let LlmOptions { rows, context, .. } = *options;
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    Ok(format!(
        "memory: {} takes {} MB for weights, {} MB for the KV cache ({rows} rows of {context} tokens), \
         {} MB to compute in: {} of {budget} MB; the rest keeps what a search computed of earlier prompts",
        selection.manifest.name,
        mb(plan.weights_bytes),
        mb(plan.kv_cache_bytes),
        mb(plan.scratch_bytes),
        mb(plan.weights_bytes) + mb(plan.kv_cache_bytes) + mb(plan.scratch_bytes),
    ))
}

fn libtorch() -> String {
    if !cfg!(feature = "torch") {
        return "not built in (cargo feature `torch`): no training, no predict".into();
    }
    match option_env!("LLMATIC_LIBTORCH_LIB") {
        Some(folder) if Path::new(folder).exists() => folder.to_owned(),
        Some(folder) => format!("{folder} is gone; scripts/setup.sh brings it back"),
        None => "built in".into(),
    }
}

fn libtorch_is_gone() -> bool {
    option_env!("LLMATIC_LIBTORCH_LIB").is_some_and(|folder| !Path::new(folder).exists())
}

/// Total and free memory, as Linux tells it.
fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    match (mib("MemTotal:"), mib("MemAvailable:")) {
        (Some(total), Some(free)) => format!("{total} MB of memory, {free} MB free"),
        _ => "memory unknown".into(),
    }
}

/// Number and bytes of the files in a folder and in the folders in it (CIFAR-10 comes as a folder); `None` if there are
/// none.
fn files(folder: &Path) -> Option<(usize, u64)> {
    let paths = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let outer = paths(folder);
    let inner = outer.iter().flat_map(|path| paths(path));
    let facts = outer.iter().cloned().chain(inner).filter_map(|path| fs::metadata(path).ok());
    let sizes: Vec<u64> = facts.filter(fs::Metadata::is_file).map(|data| data.len()).collect();
    (!sizes.is_empty()).then(|| (sizes.len(), sizes.iter().sum()))
}
