//! `bench operators`: one run per arm and seed on a real evaluator, then a table of what they came to.
//!
//! Input: a run file that all arms share, arms, seeds, a number of evaluations. Output: Markdown on standard output;
//! runs in a folder, which go on where they stopped, and a table of them, which other machines' can be added to. An arm
//! is a name of [`ARMS`], or a run file whose keys lie over the shared one; `:PRIOR` behind it runs a control of the
//! LLM. One limit: runs follow one another, so that their seconds compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use llmatic_offline::bench::operators::{ArmRun, Comparison, figures, is_full, spent};
use llmatic_offline::config::{self, QUICKSTART, SearchConfig};
use llmatic_offline::llm::Generator;
use llmatic_offline::search::{self, Event, GenerationRow, Run, RunRecord, write_whole};
use toml::{Table, Value};

use super::bench::{cannot_fill_in, last_seed};
use super::search::{absolute, evaluator, generator, on_interrupt, prompts, search_watched, use_threads};
use super::{machine_device, machine_threads, read};
use crate::cli::Failure;
use crate::cli::args::OperatorsArgs;
use crate::cli::printer::{self, Printer};

/// Generations over those that the evaluations need, for those in which little is new.
const PATIENCE: usize = 20;
/// The most that a run file may ask for.
const MOST_GENERATIONS: u64 = 1_000_000;

/// Arms with a name: rates of rewrite, crossover, infill, rank and typed, and whether a bandit chooses.
const ARMS: [(&str, [f64; 5], bool); 7] = [
    ("rewrite", [1.0, 0.0, 0.0, 0.0, 0.0], false),
    ("crossover", [0.0, 1.0, 0.0, 0.0, 0.0], false),
    ("paper", [0.7, 0.3, 0.0, 0.0, 0.0], false),
    ("infill", [0.0, 0.0, 1.0, 0.0, 0.0], false),
    ("rank", [0.0, 0.0, 0.0, 1.0, 0.0], false),
    ("typed", [0.0, 0.0, 0.0, 0.0, 1.0], false),
    ("bandit", [1.0, 1.0, 1.0, 1.0, 1.0], true),
];

/// `bench operators`
pub(crate) fn operators(args: &OperatorsArgs) -> Result<(), Failure> {
    if !args.merge.is_empty() {
        say(&merged(&args.merge)?);
        return Ok(());
    }
    if args.seeds == 0 || args.evaluations == 0 {
        return Err(Failure::refused("--seeds and --evaluations: expected 1 or more, got 0"));
    }
    let arms: Vec<(String, Table)> =
        args.arms.iter().map(|arm| Ok((arm.clone(), overlay(arm)?))).collect::<Result<_, Failure>>()?;
    // Whatever can be refused is refused before the first run.
    let last = last_seed(args.first_seed, args.seeds)?;
    let mut folders: BTreeMap<String, &str> = BTreeMap::new();
    for (name, over) in &arms {
        configuration(args, name, over, last)?;
        if let Some(other) = folders.insert(folder_name(name), name) {
            return Err(Failure::refused(format!(
                "--arms: expected arms whose runs have different folders, got {other} and {name}"
            ))
            .hint("give one of the files another name"));
        }
    }
    let earlier = earlier_runs(args)?;
    let cancelled = on_interrupt()?;
    // The LLM of the last run: what was asked for, itself, and the name it has in run files.
    let mut llm: Option<(String, Box<dyn Generator>, String)> = None;
    let mut records: Vec<(&str, u64, RunRecord)> = Vec::new();
    // Seed by seed, so that a comparison that is stopped early is complete for the seeds before.
    for seed in (0..args.seeds).map(|offset| args.first_seed + offset) {
        for (name, over) in &arms {
            let directory = run_folder(args, name, seed);
            let (mut config, book) = configuration(args, name, over, seed)?;
            use_threads(config.threads);
            // All of it: arms may differ in the grammar or in how many rows are written together.
            let asked = format!("{:?} {} {}", config.model, config.device, config.threads);
            if llm.as_ref().is_none_or(|(known, ..)| *known != asked) {
                // Never two at once: each may be as large as the machine allows.
                drop(llm.take());
                let made = generator(&mut config)?;
                llm = Some((asked, made, config.model.name.clone()));
            }
            let Some((_, generator, model)) = &mut llm else { continue };
            let rates = &config.operators;
            let others = rates.rewrite + rates.crossover + rates.rank + rates.typed;
            if rates.infill > 0.0 && others == 0.0 && rates.prior.asks() && generator.infill().is_none() {
                // Every text would be a typed edit under the name of an LLM's operator.
                return Err(cannot_fill_in(&generator.describe().name));
            }
            config.model.name.clone_from(model);
            let mut made = None;
            let mut run = if directory.join("run.db").exists() {
                let run = Run::open(&directory)?;
                same_settings(&run, &config, &book, &directory)?;
                run.verify_model(&generator.describe())?;
                run
            } else {
                let data = made.insert(evaluator(&config)?).data();
                Run::create(&directory, config, &book, &generator.describe(), &data)?
            };
            let mut generations = run.generations()?;
            if run.is_finished()? || full(args, &generations) {
                printer::note(&format!("{name}, seed {seed}: done before"));
            } else {
                printer::note(&format!("{name}, seed {seed}"));
                let mut evaluator = made.map_or_else(|| evaluator(&run.config), Ok)?;
                let stop = AtomicBool::new(false);
                let mut printer = Printer::new(false);
                let mut observe = |event: Event| {
                    printer.event(&event);
                    if let Event::Generation(row) = event {
                        generations.push(row);
                    }
                    let enough = args.seconds > 0 && full(args, &generations);
                    if enough || cancelled.load(Ordering::Relaxed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                };
                let found =
                    search_watched(&mut run, generator.as_mut(), evaluator.as_mut(), &stop, &mut observe);
                // A run that was stopped because it has enough is no failure.
                if cancelled.load(Ordering::Relaxed) || !full(args, &generations) {
                    found?;
                }
            }
            drop(run);
            let record = search::load(&directory)?;
            if !full(args, &record.generations) {
                printer::note(&format!("{name}, seed {seed}: fewer networks were trained than asked for"));
            }
            records.push((name, seed, record));
            write_table(args, &compared(args, &records), &earlier)?;
        }
    }
    say(&compared(args, &records));
    Ok(())
}

/// What the runs so far came to.
fn compared(args: &OperatorsArgs, records: &[(&str, u64, RunRecord)]) -> Comparison {
    let quickest =
        records.iter().map(|(_, _, record)| spent(&record.generations)).fold(f64::INFINITY, f64::min);
    let seconds = if args.seconds > 0 { args.seconds as f64 } else { quickest };
    let run = |(arm, seed, record): &(&str, u64, RunRecord)| ArmRun {
        arm: (*arm).to_owned(),
        seed: *seed,
        figures: figures(record, args.evaluations, seconds),
    };
    Comparison { evaluations: args.evaluations, seconds, runs: records.iter().map(run).collect() }
}

/// The runs of other arms and seeds that the table of the folder has.
fn earlier_runs(args: &OperatorsArgs) -> Result<Vec<(String, u64, RunRecord)>, Failure> {
    let path = args.out.join("operators.csv");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let refused = |reason: String| {
        Failure::refused(format!("{}: {reason}", path.display()))
            .hint("move it away, or choose another folder with --out")
    };
    let before = Comparison::from_csv(&read(&path)?).map_err(refused)?;
    let other = |run: &ArmRun| {
        let seeds = args.first_seed..args.first_seed.saturating_add(args.seeds);
        !(args.arms.contains(&run.arm) && seeds.contains(&run.seed))
    };
    let record = |run: ArmRun| {
        let directory = run_folder(args, &run.arm, run.seed);
        let record = search::load(&directory)
            .map_err(|error| refused(format!("{}, seed {}: {error}", run.arm, run.seed)))?;
        Ok((run.arm, run.seed, record))
    };
    before.runs.into_iter().filter(other).map(record).collect()
}

/// Writes what the runs came to: those of this call, and those that were there, at this call's budget.
fn write_table(
    args: &OperatorsArgs,
    comparison: &Comparison,
    earlier: &[(String, u64, RunRecord)],
) -> Result<(), Failure> {
    let mut all = comparison.clone();
    all.runs.extend(earlier.iter().map(|(arm, seed, record)| ArmRun {
        arm: arm.clone(),
        seed: *seed,
        figures: figures(record, all.evaluations, all.seconds),
    }));
    Ok(write_whole(&args.out.join("operators.csv"), all.csv().as_bytes())?)
}

fn run_folder(args: &OperatorsArgs, arm: &str, seed: u64) -> PathBuf {
    args.out.join(format!("{}-{seed}", folder_name(arm)))
}

/// The runs of several tables.
fn merged(files: &[PathBuf]) -> Result<Comparison, Failure> {
    let mut all: Option<Comparison> = None;
    for file in files {
        let refused = |reason: String| {
            Failure::refused(format!("{}: {reason}", file.display()))
                .hint("`bench operators` writes such a table as operators.csv into the folder of its runs")
        };
        let found = Comparison::from_csv(&read(file)?).map_err(refused)?;
        let none = Comparison { evaluations: found.evaluations, seconds: found.seconds, runs: Vec::new() };
        all.get_or_insert(none).add(found).map_err(refused)?;
    }
    all.ok_or_else(|| Failure::refused("--merge: expected a file, got none"))
}

fn say(comparison: &Comparison) {
    printer::raw(&comparison.markdown());
    printer::raw("\nPaired by seed, mean and standard error\n\n");
    printer::raw(&comparison.paired_markdown());
}

fn full(args: &OperatorsArgs, generations: &[GenerationRow]) -> bool {
    is_full(generations, args.evaluations, args.seconds as f64)
}

/// The keys of an arm.
fn overlay(arm: &str) -> Result<Table, Failure> {
    let (name, prior) = match arm.rsplit_once(':') {
        Some((name, prior)) => (name, Some(prior)),
        None => (arm, None),
    };
    let text = if Path::new(name).extension().is_some_and(|ending| ending == "toml") {
        read(Path::new(name))?
    } else {
        let names: Vec<&str> = ARMS.iter().map(|&(name, _, _)| name).collect();
        let known = ARMS.iter().find(|(known, _, _)| *known == name).ok_or_else(|| {
            Failure::refused(format!(
                "--arms: expected one of {} or a file NAME.toml, got `{name}`",
                names.join(", ")
            ))
        })?;
        let ([rewrite, crossover, infill, rank, typed], choice) =
            (known.1, if known.2 { "bandit" } else { "rates" });
        format!(
            "[operators]\nchoice = \"{choice}\"\nrewrite = {rewrite:?}\ncrossover = {crossover:?}\n\
             infill = {infill:?}\n\
             rank = {rank:?}\ntyped = {typed:?}\n"
        )
    };
    let mut table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| Failure::refused(format!("{name}: {}", error.message())))?;
    // Beside the arm that names it.
    let file = table.get_mut("prompts").and_then(|prompts| prompts.get_mut("file"));
    if let Some(Value::String(file)) = file {
        let beside = Path::new(name).parent().unwrap_or(Path::new("")).join(&*file);
        *file = absolute(&beside).display().to_string();
    }
    if let Some(prior) = prior {
        let operators = table.entry("operators").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(operators) = operators {
            operators.insert("prior".into(), Value::String(prior.to_owned()));
        }
    }
    Ok(table)
}

/// The shared run file under an arm's keys, for one seed.
fn configuration(
    args: &OperatorsArgs,
    name: &str,
    over: &Table,
    seed: u64,
) -> Result<(SearchConfig, String), Failure> {
    let text = args.config.as_deref().map_or_else(|| Ok(QUICKSTART.to_owned()), read)?;
    let shown = args.config.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let mut table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| Failure::refused(format!("{shown}: {}", error.message())))?;
    if let Some(model) = &args.model {
        let name = [("name".to_owned(), Value::String(model.clone()))].into_iter().collect();
        merge(&mut table, &[("model".to_owned(), Value::Table(name))].into_iter().collect());
    }
    // After --model: an arm without an LLM says so itself.
    merge(&mut table, over);
    let number = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let children = table
        .get("search")
        .and_then(|search| search.get("children"))
        .and_then(Value::as_integer)
        .map_or(8, |children| children.max(1));
    let mut own = Table::new();
    own.insert("seed".into(), number(seed));
    let mut search = Table::new();
    // With a time to fill, the search is stopped from outside.
    let timed = args.seconds > 0;
    search.insert("evaluations".into(), number(if timed { 0 } else { args.evaluations as u64 }));
    let patience = (PATIENCE as u64).saturating_mul(args.seconds.max(args.evaluations as u64));
    let generations = patience / children.unsigned_abs() + 1;
    search.insert("generations".into(), number(generations.min(MOST_GENERATIONS)));
    own.insert("search".into(), Value::Table(search));
    if args.threads > 0 {
        own.insert("threads".into(), number(args.threads as u64));
    }
    // Every arm ends with its search: further training would measure something else.
    own.insert("final".into(), Value::Table([("steps".to_owned(), Value::Integer(0))].into_iter().collect()));
    merge(&mut table, &own);
    let text = toml::to_string(&table).map_err(|error| Failure::failed(error.to_string()))?;
    let shown = format!("{shown} with arm {name}");
    let resolve = |text: &str, shown: &str| {
        config::resolve(text, shown, &[], machine_device(), machine_threads()).map_err(Failure::from)
    };
    let mut config = resolve(&text, &shown).map_err(|error| {
        // Of a file that is wrong by itself, the line in it says more.
        let own = name.rsplit_once(':').map_or(name, |(file, _)| file);
        let files = args.config.as_deref().into_iter().chain([Path::new(own)]);
        let refusal = |file: &Path| resolve(&read(file).ok()?, &file.display().to_string()).err();
        files.filter(|file| file.extension().is_some()).find_map(refusal).unwrap_or(error)
    })?;
    config.data.path = config.data.path.as_deref().map(absolute);
    let book = prompts(&config, args.config.as_deref())?;
    Ok((config, book))
}

/// Tables into tables, other values over what was there.
fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Refuse a run of other settings: it would be compared as if it were of these.
fn same_settings(run: &Run, config: &SearchConfig, book: &str, directory: &Path) -> Result<(), Failure> {
    if run.has_settings(config, book) {
        return Ok(());
    }
    let message =
        format!("{}: expected a run with the settings of this call, got another one", directory.display());
    Err(Failure::refused(message).hint("give another folder with --out, or the flags of before"))
}

fn folder_name(arm: &str) -> String {
    let stem = arm.rsplit('/').next().unwrap_or(arm).replace(".toml", "");
    stem.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}
