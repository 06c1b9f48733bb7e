//! The NAS-Bench-201 benchmark: table, cells, networks, and searches run over seeds.
//!
//! Input: the table (CSV), a data set, a method, a budget and seeds; output: any-time curves of validation and test
//! accuracy. Protocol: a search sees validation accuracy after 200 epochs only and pays one evaluation per distinct
//! cell string; the test accuracy given is that of the cell with the best validation accuracy seen. References:
//! Dong and Yang, "NAS-Bench-201", 2020; Dong, Liu, Musial, Gabrys, "NATS-Bench", 2021 (topology space). Limit:
//! accuracies are means over the runs in the table, so noise between trainings is not part of the problem.

mod cell;
mod code;
pub mod engine;
pub mod network;
pub mod prior;
pub mod report;
pub mod scores;
pub mod searches;
mod space;
mod table;

use std::path::PathBuf;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::bench::curve::Curve;
use crate::bench::nasbench201::searches::SearchRun;
use crate::bench::search::{self, Method, SearchError};
use crate::rng::RootSeed;

pub use cell::{CELLS, Cell, CellError, EDGES, Operation};
pub use code::{CellReader, FIRST, SIZES};
pub use space::CellSpace;
pub use table::{COLUMNS, DataSet, Record, Table, TableError};

/// One benchmark run, as on the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchConfig {
    /// The CSV file.
    pub table: PathBuf,
    /// Which accuracies to search.
    pub dataset: DataSet,
    /// The search method.
    pub method: Method,
    /// Cells that one search may pay for, 1 to 15,625.
    pub evaluations: usize,
    /// Searches, with the root seeds `first_seed`, `first_seed + 1`, ...
    pub seeds: u64,
    /// The first root seed.
    pub first_seed: u64,
}

/// What the searches of one method on one data set found.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchResult {
    /// The data set.
    pub dataset: DataSet,
    /// The method, with its arm if it has several.
    pub method: String,
    /// The root seeds.
    pub seeds: Vec<u64>,
    /// Best validation accuracy seen after each evaluation, per seed.
    pub validation: Curve,
    /// Test accuracy of the cell that was best by validation then, per seed.
    pub test: Curve,
    /// Per seed the evaluation, counted from 1, that found the best-validation cell of the whole table.
    pub found_at: Vec<Option<usize>>,
    /// Validation accuracy of that cell.
    pub optimum: f64,
}

/// Why a benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The method or its budget.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// Nothing to average.
    #[error("--seeds: expected 1 or more, got 0")]
    NoSeeds,
}

/// Loads the table and runs the benchmark; `progress` is called after each seed with (seeds done, seeds in all),
/// from several threads at once.
///
/// # Errors
/// [`BenchError`] if the table is not whole or an argument is out of range.
pub fn run(config: &BenchConfig, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<BenchResult, BenchError> {
    run_on(&Table::load(&config.table)?, config, progress)
}

/// [`run`] on a table that is loaded already; `config.table` is not read.
///
/// # Errors
/// [`BenchError`] if an argument is out of range.
pub fn run_on(
    table: &Table,
    config: &BenchConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<BenchResult, BenchError> {
    Ok(summarise(table, &search_on(table, config, progress)?))
}

/// The searches of [`run_on`], in the order of their seeds.
///
/// # Errors
/// [`BenchError`] if an argument is out of range.
pub fn search_on(
    table: &Table,
    config: &BenchConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<SearchRun>, BenchError> {
    if config.seeds == 0 {
        return Err(BenchError::NoSeeds);
    }
    let done = std::sync::atomic::AtomicU64::new(0);
    // Each seed is a search of its own, and the results are collected in the order of the seeds.
    let runs: Result<Vec<SearchRun>, SearchError> = (0..config.seeds)
        .into_par_iter()
        .map(|offset| {
            let seed = config.first_seed.wrapping_add(offset);
            let evaluate = |point| table.record(Cell::from_number(point)).validation[config.dataset as usize];
            let found = search::run(&CellSpace, config.method, config.evaluations, RootSeed(seed), evaluate)?;
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, config.seeds);
            Ok(SearchRun {
                dataset: config.dataset,
                method: config.method.name().to_owned(),
                arm: None,
                model: String::new(),
                evaluations: config.evaluations,
                texts: 0,
                seed,
                cells: found.iter().map(|evaluation| evaluation.point).collect(),
            })
        })
        .collect();
    Ok(runs?)
}

/// The curves of searches of one method on one data set, none of them empty, each as long as the longest: a search
/// that ended before its budget keeps its best.
pub fn summarise(table: &Table, runs: &[SearchRun]) -> BenchResult {
    let longest = runs.iter().map(|run| run.cells.len()).max().unwrap_or(0);
    let name = runs.first().map_or(DataSet::Cifar10, |run| run.dataset);
    let dataset = name as usize;
    let of = |cell: usize| table.record(Cell::from_number(cell));
    let optimum = table.record(table.best(name)).validation[dataset];
    let (mut validation, mut test, mut found_at) = (Vec::new(), Vec::new(), Vec::new());
    for run in runs {
        let Some(&(mut best)) = run.cells.first() else { continue };
        let mut incumbents: Vec<usize> = run
            .cells
            .iter()
            .map(|&cell| {
                if of(cell).validation[dataset] > of(best).validation[dataset] {
                    best = cell;
                }
                best
            })
            .collect();
        incumbents.resize(longest, best);
        let found = run.cells.iter().position(|&cell| of(cell).validation[dataset] >= optimum);
        found_at.push(found.map(|place| place + 1));
        validation.push(incumbents.iter().map(|&cell| of(cell).validation[dataset]).collect());
        test.push(incumbents.iter().map(|&cell| of(cell).test[dataset]).collect());
    }
    BenchResult {
        dataset: name,
        method: runs.first().map(SearchRun::name).unwrap_or_default(),
        seeds: runs.iter().filter(|run| !run.cells.is_empty()).map(|run| run.seed).collect(),
        validation: Curve::new(validation),
        test: Curve::new(test),
        found_at,
        optimum,
    }
}

impl BenchResult {
    /// Evaluations per search.
    pub fn evaluations(&self) -> usize {
        self.validation.len()
    }

    /// Number of searches.
    pub fn seeds(&self) -> usize {
        self.found_at.len()
    }

    /// Share of searches, in [0, 1], that had found the best-validation cell after `evaluations`.
    pub fn found_by(&self, evaluations: usize) -> f64 {
        let found = self.found_at.iter().flatten().filter(|&&at| at <= evaluations).count();
        found as f64 / self.seeds() as f64
    }
}
