//! `bench prompts`: children of fixed parents by prompt style and temperature, as a table or JSON.
//!
//! Output: the table (or one JSON object) on standard output, progress on standard error. One limit: a run that is
//! stopped begins again.

use std::time::Instant;

use llmatic_offline::bench::prompts::{self, PromptBench, PromptBenchError};
use llmatic_offline::config::{self, Override, PROMPTS, PromptBook, QUICKSTART, Vocabulary};
use llmatic_offline::llm::{self, Llm, LlmOptions};
use llmatic_offline::search::QuestionStyle;

use super::bench::memory;
use super::{machine_device, machine_threads};
use crate::cli::args::BenchPromptsArgs;
use crate::cli::{Failure, printer};

/// What `--working-vocabulary` says.
pub(super) fn vocabulary(working: bool) -> Vocabulary {
    if working { Vocabulary::Working } else { Vocabulary::Whole }
}

/// `bench prompts`
pub(crate) fn bench_prompts(args: &BenchPromptsArgs) -> Result<(), Failure> {
    let styles: Vec<QuestionStyle> = args
        .styles
        .iter()
        .map(|name| name.parse().map_err(|message| Failure::refused(format!("--styles: {message}"))))
        .collect::<Result<_, _>>()?;
    let overrides: Vec<Override> = args.memory_mb.map(memory).into_iter().collect();
    let mut config = config::resolve(QUICKSTART, "", &overrides, machine_device(), machine_threads())?;
    if args.threads > 0 {
        config.threads = args.threads;
    }
    config.model.grammar = args.grammar;
    let book = PromptBook::parse(PROMPTS, "configs/prompts.toml")?;
    let selection = llm::select(&args.model, Some(config.model.memory_mb as u64))?;
    if let Some(note) = &selection.note {
        printer::note(note);
    }
    let options = LlmOptions {
        device: config.device,
        threads: config.threads,
        context: config.model.context.min(selection.manifest.context.max(1)),
        rows: config.model.rows,
    };
    let mut llm = Llm::load(&selection, &options)?;
    llm.set_grammar(args.grammar)?;
    llm.set_vocabulary(vocabulary(args.working_vocabulary))?;
    let bench = PromptBench {
        config: &config,
        book: &book,
        styles: &styles,
        temperatures: &args.temperatures,
        generations: args.generations,
        seed: args.seed,
    };
    let started = Instant::now();
    let mut clock = || started.elapsed().as_secs_f64();
    let mut tell = |setting: &prompts::Setting| {
        printer::note(&format!(
            "{} at {}: {} of {} valid, {} new, {:.0} s",
            setting.style,
            setting.temperature,
            setting.repaired.valid,
            setting.asked,
            setting.repaired.novel,
            setting.seconds
        ));
    };
    let settings = prompts::run(&bench, &mut llm, &mut clock, &mut tell).map_err(|error| match error {
        PromptBenchError::Llm(error) => Failure::from(error),
        error => Failure::refused(error.to_string()),
    })?;
    let name = &selection.manifest.name;
    if args.json {
        printer::raw(&format!("{}\n", prompts::json(name, args.seed, args.grammar, &settings)));
    } else {
        printer::raw(&prompts::markdown(&settings));
    }
    Ok(())
}
