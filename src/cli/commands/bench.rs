//! `bench nasbench201`: searches on the NAS-Bench-201 table, over seeds, as a table, curves and a plot.
//!
//! Input: a table, methods, a budget, seeds, an LLM. Output: Markdown on standard output, files in a folder. One limit:
//! searches that ask an LLM run one after another.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use llmatic_offline::bench::nasbench201::engine::{self, EngineRun, Operators, TableEvaluator};
use llmatic_offline::bench::nasbench201::prior::{Arm, CellPrior};
use llmatic_offline::bench::nasbench201::scores::ScoreCache;
use llmatic_offline::bench::nasbench201::searches::{self, SearchRun};
use llmatic_offline::bench::nasbench201::{
    BenchConfig, BenchError, BenchResult, CELLS, Cell, CellReader, CellSpace, DataSet, Table, report,
    search_on, summarise,
};
use llmatic_offline::bench::search::{Evaluation, Method, run_ranked};
use llmatic_offline::config::{self, Override, Prior};
use llmatic_offline::llm::Generator;
use llmatic_offline::rng::RootSeed;
use llmatic_offline::search::{ScriptedGenerator, write_whole};
use toml::Value;

use super::bench_llm::bench_llm;
use super::bench_prompts::bench_prompts;
use super::operators::operators;
use super::search::{generator, on_interrupt, use_threads};
use super::{machine_device, machine_threads, read};
use crate::cli::args::{BenchArgs, BenchCommand, NasBench201Args};
use crate::cli::{Exit, Failure, printer};

/// What `--method` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Searcher {
    Table(Method),
    Rank,
    Engine(Operators),
}

impl Searcher {
    /// Whether an LLM or a control of it decides in it.
    fn has_arms(self) -> bool {
        !matches!(self, Searcher::Table(_) | Searcher::Engine(Operators::Typed))
    }
}

/// What all searches of one call share.
struct Bench<'a> {
    args: &'a NasBench201Args,
    table: Table,
    dataset: DataSet,
    reader: Option<CellReader>,
    generator: Option<Box<dyn Generator>>,
    scores: ScoreCache,
    cancelled: std::sync::Arc<AtomicBool>,
}

/// `bench`
pub(crate) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        BenchCommand::Nasbench201(args) => nasbench201(args),
        BenchCommand::Prompts(args) => bench_prompts(args),
        BenchCommand::Llm(args) => bench_llm(args),
        BenchCommand::Operators(args) => operators(args),
    }
}

fn nasbench201(args: &NasBench201Args) -> Result<(), Failure> {
    let datasets = args.dataset.iter().map(|name| name.parse().map_err(|error| refused(&error)));
    let datasets: Vec<DataSet> = datasets.collect::<Result<_, _>>()?;
    let searchers: Vec<Searcher> = args.method.iter().map(|name| searcher(name)).collect::<Result<_, _>>()?;
    let arms = arms(args)?;
    if !args.merge.is_empty() {
        return merge(args, &load(args)?);
    }
    if args.seeds == 0 {
        return Err(refused(&BenchError::NoSeeds));
    }
    if !(1..=CELLS).contains(&args.evaluations) {
        let message = format!("--evaluations: expected 1 to {CELLS} (cells), got {}", args.evaluations);
        return Err(Failure::refused(message));
    }
    last_seed(args.first_seed, args.seeds)?;
    if let Some((_, name)) = searchers.iter().zip(&args.method).find(|(it, _)| it.has_arms())
        && arms.iter().any(|arm| arm.prior.asks())
        && args.model == ScriptedGenerator::NONE
    {
        return Err(Failure::refused(format!("--model: expected the LLM that {name} asks, got none"))
            .hint("name one, or let `--prior none,random` decide"));
    }
    let engine = searchers.iter().zip(&args.method).find(|(it, _)| matches!(it, Searcher::Engine(_)));
    if let (None, Some((_, name))) = (&args.out, engine) {
        return Err(Failure::refused(format!("--out: expected a folder for the runs of {name}, got none")));
    }
    let table = load(args)?;
    use_threads(if args.threads == 0 { machine_threads() } else { args.threads });
    let scores = match &args.out {
        Some(folder) if searchers.contains(&Searcher::Rank) => {
            make(folder)?;
            ScoreCache::open(&folder.join("scores.txt")).map_err(|error| refused(&error))?
        }
        _ => ScoreCache::default(),
    };
    let dataset = datasets.first().copied().unwrap_or(DataSet::Cifar10);
    let cancelled = on_interrupt()?;
    let mut bench = Bench { args, table, dataset, reader: None, generator: None, scores, cancelled };
    for (index, dataset) in datasets.into_iter().enumerate() {
        bench.dataset = dataset;
        if index > 0 {
            printer::raw("\n");
        }
        bench.compare(&searchers, &arms)?;
    }
    Ok(())
}

fn load(args: &NasBench201Args) -> Result<Table, Failure> {
    Table::load(&args.table).map_err(|error| {
        refused(&error)
            .hint("scripts/nasbench201_to_csv.py makes the table from the official NATS-Bench files")
    })
}

/// The comparison of searches that were run before.
fn merge(args: &NasBench201Args, table: &Table) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for file in &args.merge {
        let refused = |reason: String| {
            Failure::refused(format!("{}: {reason}", file.display()))
                .hint("`bench nasbench201` writes such a table as D-searches.csv into its folder --out")
        };
        searches::add(&mut runs, searches::from_csv(&read(file)?).map_err(refused)?).map_err(refused)?;
    }
    let mut first = true;
    for dataset in DataSet::ALL {
        let of_dataset: Vec<SearchRun> = runs.iter().filter(|run| run.dataset == dataset).cloned().collect();
        if of_dataset.is_empty() {
            continue;
        }
        if !std::mem::take(&mut first) {
            printer::raw("\n");
        }
        conclude(args, table, &of_dataset)?;
    }
    Ok(())
}

/// Says and writes what the searches on one data set came to.
fn conclude(args: &NasBench201Args, table: &Table, runs: &[SearchRun]) -> Result<(), Failure> {
    let Some(dataset) = runs.first().map(|run| run.dataset) else { return Ok(()) };
    // By method and arm, each in the order of its first search.
    let mut groups: Vec<Vec<SearchRun>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| group[0].is_like(run)) {
            Some(group) => group.push(run.clone()),
            None => groups.push(vec![run.clone()]),
        }
    }
    let results: Vec<BenchResult> = groups.iter().map(|group| summarise(table, group)).collect();
    printer::raw(&format!(
        "Validation accuracy on {} (optimum {:.2} %), mean and deviation over seeds, by evaluations\n\n",
        dataset.title(),
        results.first().map_or(f64::NAN, |result| result.optimum),
    ));
    printer::raw(&report::markdown(&results));
    let mut methods: Vec<&str> = Vec::new();
    for run in runs.iter().filter(|run| run.arm.is_some()) {
        if !methods.contains(&run.method.as_str()) {
            methods.push(&run.method);
        }
    }
    for method in methods {
        let of_method = |group: &&Vec<SearchRun>| group[0].arm.is_some() && group[0].method == method;
        let arms: Vec<&Vec<SearchRun>> = groups.iter().filter(of_method).collect();
        if arms.len() < 2 {
            continue;
        }
        let model = arms.iter().map(|arm| arm[0].model.as_str()).find(|model| !model.is_empty());
        printer::raw(&format!(
            "\nDifferences, paired by seed, mean and standard error; model {}\n\n",
            model.unwrap_or("none")
        ));
        let results: Vec<BenchResult> = arms.iter().map(|arm| summarise(table, arm)).collect();
        printer::raw(&report::paired_markdown(&results));
    }
    printer::raw("\n");
    printer::raw(&report::published_markdown(dataset));
    match &args.out {
        Some(folder) => write(folder, dataset, &results, runs),
        None => Ok(()),
    }
}

impl Bench<'_> {
    /// All methods on the bench's data set, said and written.
    fn compare(&mut self, searchers: &[Searcher], arms: &[Arm]) -> Result<(), Failure> {
        let mut runs = Vec::new();
        for (&searcher, name) in searchers.iter().zip(&self.args.method) {
            self.go_on()?;
            match searcher {
                Searcher::Table(method) => runs.extend(self.table_search(method)?),
                // No LLM is in it: it has one arm.
                Searcher::Engine(Operators::Typed) => runs.extend(self.arm(searcher, name, None)?),
                _ => {
                    for &arm in arms {
                        runs.extend(self.arm(searcher, name, Some(arm))?);
                    }
                }
            }
        }
        self.go_on()?;
        conclude(self.args, &self.table, &runs)
    }

    /// Nothing more is begun after Ctrl-C.
    fn go_on(&self) -> Result<(), Failure> {
        if !self.cancelled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let hint = "scores and runs of an LLM that lie in the folder --out are not computed again";
        Err(Failure { exit: Exit::Interrupted, ..Failure::failed("interrupted").hint(hint) })
    }

    fn table_search(&self, method: Method) -> Result<Vec<SearchRun>, Failure> {
        let config = BenchConfig {
            table: self.args.table.clone(),
            dataset: self.dataset,
            method,
            evaluations: self.args.evaluations,
            seeds: self.args.seeds,
            first_seed: self.args.first_seed,
        };
        let runs =
            search_on(&self.table, &config, &|_, _| {}).map_err(|error: BenchError| refused(&error))?;
        self.note(method.name());
        Ok(runs)
    }

    /// All seeds of a method, or of one of its arms.
    fn arm(&mut self, searcher: Searcher, method: &str, arm: Option<Arm>) -> Result<Vec<SearchRun>, Failure> {
        if self.generator.is_none() {
            self.generator = Some(model(self.args)?);
        }
        if matches!(searcher, Searcher::Engine(_)) && self.reader.is_none() {
            self.reader = Some(CellReader::new());
        }
        let decides = arm.unwrap_or(Arm { prior: Prior::None, shuffle: false });
        let asked = self.generator.as_mut().filter(|_| decides.prior.asks());
        let model = asked.as_ref().map(|llm| llm.describe().name).unwrap_or_default();
        if searcher == Searcher::Engine(Operators::Infill) && asked.is_some_and(|llm| llm.infill().is_none())
        {
            return Err(cannot_fill_in(&model));
        }
        let mut run = SearchRun {
            dataset: self.dataset,
            method: method.to_owned(),
            arm,
            model,
            evaluations: self.args.evaluations,
            texts: if matches!(searcher, Searcher::Engine(_)) { self.args.texts } else { 0 },
            seed: self.args.first_seed,
            cells: Vec::new(),
        };
        let name = run.name();
        let mut runs = Vec::new();
        for offset in 0..self.args.seeds {
            self.go_on()?;
            run.seed = self.args.first_seed.wrapping_add(offset);
            let found = match searcher {
                Searcher::Engine(operators) => self.engine(operators, &name, decides, run.seed)?,
                _ => self.ranked(decides, run.seed)?,
            };
            run.cells = found.iter().map(|evaluation| evaluation.point).collect();
            printer::note(&format!("{name}: seed {} done", run.seed));
            runs.push(run.clone());
        }
        self.note(&name);
        Ok(runs)
    }

    fn ranked(&mut self, arm: Arm, seed: u64) -> Result<Vec<Evaluation>, Failure> {
        let Some(generator) = &mut self.generator else { return Ok(Vec::new()) };
        let seed = RootSeed(seed);
        let mut prior = CellPrior::new(arm, seed, generator.as_mut(), &mut self.scores);
        let dataset = self.dataset as usize;
        let evaluate = |point| self.table.record(Cell::from_number(point)).validation[dataset];
        run_ranked(&CellSpace, &mut prior, self.args.evaluations, seed, evaluate)
            .map_err(|error| refused(&error))
    }

    fn engine(
        &mut self,
        operators: Operators,
        name: &str,
        arm: Arm,
        seed: u64,
    ) -> Result<Vec<Evaluation>, Failure> {
        let (Some(generator), Some(reader), Some(folder)) =
            (&mut self.generator, &self.reader, &self.args.out)
        else {
            return Ok(Vec::new());
        };
        let words: String = name
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect::<String>()
            .replace("--", "-");
        let directory = folder.join("runs").join(format!("{}-{words}-{seed}", self.dataset.name()));
        let NasBench201Args { evaluations, texts, .. } = *self.args;
        let this = EngineRun { directory: &directory, operators, arm, evaluations, texts, seed };
        let mut evaluator = TableEvaluator { table: &self.table, reader, dataset: self.dataset };
        let found = engine::run(&this, generator.as_mut(), &mut evaluator, &self.cancelled, &mut |_| {})?;
        if found.len() < evaluations {
            printer::note(&format!(
                "{name}: seed {seed} found {} new cells of {} asked for",
                found.len(),
                evaluations
            ));
        }
        Ok(found)
    }

    fn note(&self, name: &str) {
        let NasBench201Args { seeds, evaluations, .. } = self.args;
        printer::note(&format!("{name}: {seeds} searches of {evaluations} evaluations"));
    }
}

fn refused(error: &dyn std::fmt::Display) -> Failure {
    Failure::refused(error.to_string())
}

/// The last of some seeds, at least one, all of which a run file can hold.
pub(super) fn last_seed(first: u64, seeds: u64) -> Result<u64, Failure> {
    let last = first.checked_add(seeds - 1).filter(|&last| i64::try_from(last).is_ok());
    last.ok_or_else(|| {
        Failure::refused("--first-seed and --seeds: expected seeds below 2^63, got larger ones")
    })
}

/// The refusal of an LLM that cannot be asked to fill in.
pub(super) fn cannot_fill_in(model: &str) -> Failure {
    Failure::refused(format!("model {model}: infill needs tokens for filling in, and it has none"))
        .hint("leave the arm out, or take a model whose manifest has [infill], such as qwen2.5-coder-0.5b")
}

fn searcher(name: &str) -> Result<Searcher, Failure> {
    Ok(match name {
        "rank" => Searcher::Rank,
        "llmatic" => Searcher::Engine(Operators::Llmatic),
        "llmatic-grammar" => Searcher::Engine(Operators::LlmaticGrammar),
        "infill" => Searcher::Engine(Operators::Infill),
        "edits" => Searcher::Engine(Operators::Typed),
        _ => Searcher::Table(name.parse().map_err(|error| {
            refused(&error)
                .hint("rank, llmatic, llmatic-grammar, infill and edits run with an LLM or its controls")
        })?),
    })
}

/// The arms that `--prior` and `--shuffle` name.
fn arms(args: &NasBench201Args) -> Result<Vec<Arm>, Failure> {
    let mut arms = Vec::new();
    for name in &args.prior {
        let prior = Prior::ALL.into_iter().find(|prior| prior.name() == name).ok_or_else(|| {
            Failure::refused(format!("--prior: expected llm, opposite, none or random, got `{name}`"))
        })?;
        arms.push(Arm { prior, shuffle: false });
    }
    if args.shuffle {
        let asking: Vec<Arm> = arms.iter().filter(|arm| arm.prior.asks()).copied().collect();
        arms.extend(asking.into_iter().map(|arm| Arm { shuffle: true, ..arm }));
    }
    Ok(arms)
}

/// The LLM of `--model`.
fn model(args: &NasBench201Args) -> Result<Box<dyn Generator>, Failure> {
    let value = Value::String(args.model.clone());
    let mut overrides = vec![Override { flag: "--model", key: "model.name", value }];
    overrides.extend(args.memory_mb.map(memory));
    let threads = if args.threads == 0 { machine_threads() } else { args.threads };
    // A bench may have no model, where a search by default may not.
    let text = "[operators]\nrewrite = 0\ncrossover = 0\ntyped = 1\n";
    let mut config = config::resolve(text, "--model", &overrides, machine_device(), threads)?;
    generator(&mut config)
}

/// What `--memory-mb` says.
pub(super) fn memory(mb: u32) -> Override {
    Override { flag: "--memory-mb", key: "model.memory_mb", value: Value::Integer(mb.into()) }
}

fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn write(
    folder: &Path,
    dataset: DataSet,
    results: &[BenchResult],
    runs: &[SearchRun],
) -> Result<(), Failure> {
    make(folder)?;
    let files = [
        (".csv", report::csv(results)),
        (".svg", report::svg(results)),
        ("-searches.csv", searches::to_csv(runs)),
    ];
    for (ending, text) in files {
        let path = folder.join(format!("{}{ending}", dataset.name()));
        write_whole(&path, text.as_bytes())?;
        printer::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}
