//! The search engine itself on the table: its operators, archives and prompts, with the table in the trainer's place.
//!
//! Input: an arm, an LLM, a seed, a run directory. Output: the evaluations in the order of the run. The engine is the
//! one of real searches (`search`), told by `configs/nasbench201.toml`; only reading (`CellReader`) and measuring
//! (the table) are other ones. Runs lie in directories and go on where they stopped. A budget counts evaluations (of
//! distinct cells), or texts as well, as the paper's does. Limit: a search that finds nothing new any more is ended
//! after twenty texts per evaluation asked for.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::nasbench201::prior::{Arm, legend, listed};
use crate::bench::nasbench201::{Cell, CellReader, DataSet, SIZES, Table};
use crate::bench::search::Evaluation;
use crate::config::{self, Device, Override, SearchConfig};
use crate::graph::Graph;
use crate::llm::Generator;
use crate::rng::RootSeed;
use crate::search::{
    self, DataIdentity, Evaluator, EvaluatorError, Event, GenerationRow, Measured, Parts, Run, SearchError,
    Task, TrainProgress, Verdict,
};

/// The run file.
const CONFIG: &str = include_str!("../../../configs/nasbench201.toml");
/// The instructions.
const PROMPTS: &str = include_str!("../../../configs/nasbench201-prompts.toml");
/// Texts per evaluation after which a search counts as stuck.
const PATIENCE: usize = 20;

/// Which operators run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// The paper's: rewriting and crossover.
    Llmatic,
    /// The same, with the LLM kept to the grammar of cells.
    LlmaticGrammar,
    /// One edge's right-hand side is filled in.
    Infill,
    /// Random edits: the control of both.
    Typed,
}

/// One search.
#[derive(Debug, Clone, Copy)]
pub struct EngineRun<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// Which operators run.
    pub operators: Operators,
    /// What decides.
    pub arm: Arm,
    /// Cells that it may pay for.
    pub evaluations: usize,
    /// Texts that it may have written, whatever becomes of them; 0: any number.
    pub texts: usize,
    /// The root seed.
    pub seed: u64,
}

/// Measures cells by the table.
#[derive(Debug, Clone, Copy)]
pub struct TableEvaluator<'a> {
    /// The table.
    pub table: &'a Table,
    /// The cells.
    pub reader: &'a CellReader,
    /// Which accuracies.
    pub dataset: DataSet,
}

impl Evaluator for TableEvaluator<'_> {
    fn data(&self) -> DataIdentity {
        let best = self.table.best(self.dataset);
        DataIdentity {
            name: format!("nasbench201-{}", self.dataset.name()),
            sha256: format!("best cell {}", best.code()),
            input_sizes: SIZES.to_vec(),
            classes: SIZES[0],
        }
    }

    fn has_weights(&self) -> bool {
        false
    }

    fn evaluate(
        &mut self,
        tasks: &[Task<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        _cancelled: &AtomicBool,
    ) -> Result<Vec<Result<Measured, String>>, EvaluatorError> {
        on_progress(TrainProgress { done: tasks.len(), steps: 0 });
        let measure = |task: &Task<'_>| {
            let cell = self.reader.cell(&task.graph.architecture_id()).ok_or("no cell of the table")?;
            let fitness = self.table.record(cell).validation[self.dataset as usize] / 100.0;
            Ok(Measured::untrained(fitness, None))
        };
        Ok(tasks.iter().map(measure).collect())
    }

    fn test(&mut self, graph: &Graph, _weights: &Path) -> Result<Option<f64>, EvaluatorError> {
        let cell = self.reader.cell(&graph.architecture_id());
        Ok(cell.map(|cell| self.table.record(cell).test[self.dataset as usize] / 100.0))
    }
}

/// Run or go on with a search, and list its evaluations, at most as many as it may pay for.
///
/// # Errors
/// The run directory, the LLM, or an interruption.
pub fn run(
    this: &EngineRun<'_>,
    generator: &mut dyn Generator,
    evaluator: &mut TableEvaluator<'_>,
    cancelled: &AtomicBool,
    observe: &mut (dyn FnMut(Event) + Send),
) -> Result<Vec<Evaluation>, SearchError> {
    let reader = evaluator.reader;
    let mut run = if this.directory.join("run.db").exists() {
        let run = Run::open(this.directory)?;
        let (config, prompts) = configuration(this)?;
        let before = run.config.search.evaluations;
        if before != this.evaluations {
            let (expected, got) = (before.to_string(), this.evaluations.to_string());
            return Err(SearchError::Mismatch { what: "--evaluations", expected, got });
        }
        if !run.has_settings(&config, &prompts) {
            let (expected, got) = ("others".into(), "the benchmark's of this program".into());
            return Err(SearchError::Mismatch { what: "settings", expected, got });
        }
        run
    } else {
        let (config, prompts) = configuration(this)?;
        let (model, data) = (generator.describe(), evaluator.data());
        Run::create(this.directory, config, &prompts, &model, &data)?
    };
    drive(this, &mut run, generator, evaluator, cancelled, observe)?;
    drop(run);
    let record = search::load(this.directory)?;
    // The last generation may have written more than was left. Nobody wrote the seed network.
    let most = if this.texts == 0 { usize::MAX } else { this.texts.saturating_add(1) };
    let accepted = record.candidates.iter().take(most).filter(|it| it.verdict == Verdict::Accepted);
    let evaluations = accepted.filter_map(|candidate| {
        let (facts, score) = (candidate.facts.as_ref()?, candidate.score.as_ref()?);
        let point = reader.cell(&facts.architecture)?.number();
        // The table's own number, without what dividing and multiplying by 100 does to it.
        let fitness = evaluator.table.record(Cell::from_number(point)).validation[evaluator.dataset as usize];
        debug_assert!((fitness - 100.0 * score.fitness).abs() < 1e-9);
        Some(Evaluation { point, fitness })
    });
    Ok(evaluations.take(this.evaluations).collect())
}

fn drive(
    this: &EngineRun<'_>,
    run: &mut Run,
    generator: &mut dyn Generator,
    evaluator: &mut TableEvaluator<'_>,
    cancelled: &AtomicBool,
    observe: &mut (dyn FnMut(Event) + Send),
) -> Result<(), SearchError> {
    let reader = evaluator.reader;
    let space = run.config.model.grammar.then(Cell::grammar);
    generator.keep_to(space.as_deref())?;
    if this.texts == 0 {
        return search::search(run, &mut Parts { generator, reader, evaluator, cancelled, observe })
            .map(|_| ());
    }
    let texts = |row: &GenerationRow| if row.number == 0 { 0 } else { row.candidates + row.retried };
    let mut written: u64 = run.generations()?.iter().map(texts).sum();
    if written >= this.texts as u64 {
        return Ok(());
    }
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event| {
        if let Event::Generation(row) = &event {
            written += texts(row);
        }
        let enough = written >= this.texts as u64;
        if enough || cancelled.load(Ordering::Relaxed) {
            stop.store(true, Ordering::Relaxed);
        }
        observe(event);
    };
    let parts = &mut Parts { generator, reader, evaluator, cancelled: &stop, observe: &mut watch };
    match search::search(run, parts) {
        Err(SearchError::Interrupted { .. }) if !cancelled.load(Ordering::Relaxed) => Ok(()),
        ended => ended.map(|_| ()),
    }
}

/// The run file and the instructions of a search.
///
/// # Errors
/// Numbers out of range.
pub fn configuration(this: &EngineRun<'_>) -> Result<(SearchConfig, String), SearchError> {
    let seed = i64::try_from(this.seed).unwrap_or(i64::MAX);
    let overrides = [Override { flag: "--seed", key: "seed", value: toml::Value::Integer(seed) }];
    let mut config = config::resolve(CONFIG, "configs/nasbench201.toml", &overrides, Device::Cpu, 1)?;
    config.search.evaluations = this.evaluations;
    config.search.generations = PATIENCE * this.evaluations / config.search.children + 1;
    let operators = &mut config.operators;
    match this.operators {
        Operators::Llmatic => {}
        Operators::LlmaticGrammar => config.model.grammar = true,
        Operators::Infill => (operators.rewrite, operators.crossover, operators.infill) = (0.0, 0.0, 1.0),
        Operators::Typed => (operators.rewrite, operators.crossover, operators.typed) = (0.0, 0.0, 1.0),
    }
    (operators.prior, operators.shuffle) = (this.arm.prior, this.arm.shuffle);
    let legend = legend(this.arm.shuffle, RootSeed(this.seed));
    Ok((config, PROMPTS.replace("{operations}", &listed(&legend))))
}
