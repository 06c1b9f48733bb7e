//! What the search costs beyond the LLM and the trainer: 200 generations of 10 children on a NAS-Bench-201 table.
//!
//! Input: a made-up table, a scripted model that writes random cells, the whole engine with its database. Output:
//! milliseconds per candidate without model and evaluator, and resident memory along the way. Limit: wall-clock time;
//! memory is read from Linux's /proc.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark says what it measures")]

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use llmatic_offline::bench::nasbench201::engine::{EngineRun, Operators, TableEvaluator, configuration};
use llmatic_offline::bench::nasbench201::prior::Arm;
use llmatic_offline::bench::nasbench201::{CELLS, COLUMNS, Cell, CellReader, DataSet, Table};
use llmatic_offline::config::Prior;
use llmatic_offline::llm::{Completion, Control, Generator, GeneratorIdentity, LlmError, Progress, Request};
use llmatic_offline::search::{Evaluator as _, Event, Parts, Run, ScriptedGenerator, search};

const GENERATIONS: usize = 200;
const CHILDREN: usize = 10;

/// Adds up the time that the model takes.
struct Timed {
    inner: ScriptedGenerator,
    spent: Duration,
}

impl Generator for Timed {
    fn generate(
        &mut self,
        requests: &[Request],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        let start = Instant::now();
        let completions = self.inner.generate(requests, on_progress);
        self.spent += start.elapsed();
        completions
    }

    fn describe(&self) -> GeneratorIdentity {
        self.inner.describe()
    }
}

/// Resident memory in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let mut lines = vec![COLUMNS.join(",")];
    for number in 0..CELLS {
        let cell = Cell::from_number(number);
        let sum: usize = cell.code().bytes().map(|digit| usize::from(digit - b'0')).sum();
        let accuracies = vec![format!("{:.4}", 10.0 + 3.0 * sum as f64); 16].join(",");
        lines.push(format!("{number},{cell},{},1,1,{accuracies},7,8,9,1.5,2.5,3.5", cell.code()));
    }
    let table = Table::parse(&lines.join("\n"), "made up").unwrap();
    let reader = CellReader::new();
    let folder = tempfile::tempdir().unwrap();
    let arm = Arm { prior: Prior::Llm, shuffle: false };
    let operators = Operators::Llmatic;
    let this = EngineRun { directory: folder.path(), operators, arm, evaluations: 1, texts: 0, seed: 0 };
    let (mut config, prompts) = configuration(&this).unwrap();
    config.search.evaluations = 0;
    (config.search.generations, config.search.children) = (GENERATIONS, CHILDREN);
    let random_cell = |request: &Request| {
        let class = Cell::from_number(request.stream.clone().below(CELLS)).to_class();
        class.split_once('\n').map(|(_, body)| body.to_owned()).unwrap_or_default()
    };
    let mut generator =
        Timed { inner: ScriptedGenerator::from_closure("random cells", random_cell), spent: Duration::ZERO };
    let mut evaluator = TableEvaluator { table: &table, reader: &reader, dataset: DataSet::Cifar10 };
    let mut run =
        Run::create(folder.path(), config, &prompts, &generator.describe(), &evaluator.data()).unwrap();
    let cancelled = AtomicBool::new(false);
    let start = Instant::now();
    let (mut candidates, mut evaluated, mut ended) = (0, 0.0, start.elapsed());
    let mut memory = Vec::new();
    let mut observe = |event: Event| {
        if let Event::Generation(row) = event {
            candidates += row.candidates + row.retried;
            evaluated += row.train_seconds;
            ended = start.elapsed();
            if row.number % 50 == 0 {
                memory.push((row.number, resident()));
            }
        }
    };
    let mut parts = Parts {
        generator: &mut generator,
        reader: &reader,
        evaluator: &mut evaluator,
        cancelled: &cancelled,
        observe: &mut observe,
    };
    let summary = search(&mut run, &mut parts).unwrap();
    let overhead = ended.as_secs_f64() - generator.spent.as_secs_f64() - evaluated;
    println!(
        "{candidates} texts, {} trained, {:.2} s: {:.3} ms per text beyond model and evaluator",
        summary.trained,
        ended.as_secs_f64(),
        1e3 * overhead / candidates as f64
    );
    for (generation, mib) in memory {
        println!("resident after generation {generation}: {mib:.1} MiB");
    }
}
