//! `search` and `resume`: a run from its first to its last event.
//!
//! Order of events: everything that is cheap to refuse is refused before data and model are loaded. One
//! limit: the LLM stays in memory while networks are trained.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmatic_offline::config::{self, Override, PROMPTS, QUICKSTART, SearchConfig};
use llmatic_offline::llm::{self, Generator, Llm, LlmError, LlmOptions, Selection};
use llmatic_offline::search::{
    self, Evaluator, Event, FrontEnd, Parts, Run, ScriptedGenerator, Summary, Surrogate, check_free,
};
use toml::Value;

use super::run::write_report;
use super::{machine_device, machine_threads, read};
use crate::cli::args::{ResumeArgs, SearchArgs};
use crate::cli::printer::{self, Printer};
use crate::cli::{Exit, Failure};

/// Most earlier prompts that an LLM keeps what it computed of, where memory allows: more than an archive has elites.
const KEPT_PROMPTS: usize = 256;

/// `search`
pub(crate) fn search(args: &SearchArgs) -> Result<(), Failure> {
    let (mut config, prompts) = configuration(args)?;
    if let Some(directory) = &args.out {
        check_free(directory)?;
    }
    let cancelled = on_interrupt()?;
    use_threads(config.threads);
    let mut evaluator = evaluator(&config)?;
    let data = evaluator.data();
    let reader = FrontEnd::new(&config, &data.input_sizes, data.classes);
    search::first_network(&reader, &data.input_sizes, data.classes)?;
    let mut generator = generator(&mut config)?;
    let identity = generator.describe();
    let directory = args.out.clone().map_or_else(free_folder, Ok)?;
    let mut run = Run::create(&directory, config, &prompts, &identity, &data)?;
    drive(&mut run, generator.as_mut(), evaluator.as_mut(), &cancelled, args.json)
}

/// `resume`
pub(crate) fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let mut run = Run::open(&args.directory)?;
    let cancelled = on_interrupt()?;
    let mut config = run.config.clone();
    use_threads(config.threads);
    let mut evaluator = evaluator(&config)?;
    let mut generator = generator(&mut config)?;
    drive(&mut run, generator.as_mut(), evaluator.as_mut(), &cancelled, args.json)
}

fn drive(
    run: &mut Run,
    generator: &mut dyn Generator,
    evaluator: &mut dyn Evaluator,
    cancelled: &AtomicBool,
    json: bool,
) -> Result<(), Failure> {
    let summary = search_on(run, generator, evaluator, cancelled, json)?;
    if !json {
        printer::data(&printer::summary(&summary, &search::load(&run.directory)?.results));
    }
    write_report(&run.directory).map(|_| ())
}

/// Search to the end, with its events on the terminal.
pub(crate) fn search_on(
    run: &mut Run,
    generator: &mut dyn Generator,
    evaluator: &mut dyn Evaluator,
    cancelled: &AtomicBool,
    json: bool,
) -> Result<Summary, Failure> {
    let mut printer = Printer::new(json);
    search_watched(run, generator, evaluator, cancelled, &mut |event| printer.event(&event))
}

/// The same for an observer of the caller's.
pub(crate) fn search_watched(
    run: &mut Run,
    generator: &mut dyn Generator,
    evaluator: &mut dyn Evaluator,
    cancelled: &AtomicBool,
    observe: &mut (dyn FnMut(Event) + Send),
) -> Result<Summary, Failure> {
    let reader = FrontEnd::new(&run.config, &run.row.input_sizes, run.row.classes);
    let mut parts = Parts { generator, reader: &reader, evaluator, cancelled, observe };
    Ok(search::search(run, &mut parts)?)
}

/// The complete configuration and the text of its instructions.
fn configuration(args: &SearchArgs) -> Result<(SearchConfig, String), Failure> {
    let (text, name) = match &args.config {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (QUICKSTART.to_owned(), String::new()),
    };
    let mut overrides = Vec::new();
    let texts = [
        ("--model", "model.name", &args.model),
        ("--dataset", "data.name", &args.dataset),
        ("--device", "device", &args.device),
    ];
    for (flag, key, value) in texts {
        overrides.extend(value.clone().map(|value| Override { flag, key, value: Value::String(value) }));
    }
    let numbers = [
        ("--seed", "seed", args.seed),
        ("--generations", "search.generations", args.generations),
        ("--children", "search.children", args.children),
        ("--memory-mb", "model.memory_mb", args.memory_mb),
        ("--threads", "threads", args.threads),
    ];
    for (flag, key, value) in numbers {
        let Some(value) = value else { continue };
        let value = i64::try_from(value)
            .map_err(|_| Failure::refused(format!("{flag}: expected less than 2^63, got {value}")))?;
        overrides.push(Override { flag, key, value: Value::Integer(value) });
    }
    let mut config = config::resolve(&text, &name, &overrides, machine_device(), machine_threads())?;
    config.data.path = config.data.path.as_deref().map(absolute);
    let prompts = prompts(&config, args.config.as_deref())?;
    Ok((config, prompts))
}

/// The text of the instructions that a run file names, or the built-in ones.
pub(crate) fn prompts(config: &SearchConfig, run_file: Option<&Path>) -> Result<String, Failure> {
    // Beside the run file that names it.
    let Some(file) = &config.prompts.file else { return Ok(PROMPTS.to_owned()) };
    let path = run_file.and_then(Path::parent).unwrap_or(Path::new("")).join(file);
    let text = read(&path)?;
    let book = config::PromptBook::parse(&text, &path.display().to_string())?;
    search::check_prompts(config, &book)?;
    Ok(text)
}

/// The first free `runs/NNN`, taken: another search that starts now gets the next one.
fn free_folder() -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::failed(format!("{}: {error}", path.display())).hint("choose another folder with --out")
    };
    let runs = Path::new("runs");
    std::fs::create_dir_all(runs).map_err(|error| failed(runs, &error))?;
    let mut number = 1u64;
    loop {
        let folder = runs.join(format!("{number:03}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed(&folder, &error)),
        }
    }
}

/// What trains and measures.
pub(crate) fn evaluator(config: &SearchConfig) -> Result<Box<dyn Evaluator>, Failure> {
    if config.data.name == Surrogate::NAME {
        return Ok(Box::new(Surrogate));
    }
    #[cfg(feature = "torch")]
    return Ok(Box::new(search::LibtorchEvaluator::new(config)?));
    #[cfg(not(feature = "torch"))]
    Err(Failure::refused(format!("data set `{}`: this program was built without libtorch", config.data.name))
        .hint("build it with the feature `torch`, or try --dataset surrogate"))
}

/// What writes. The configuration then names it so that another working directory, or another model that an
/// alias could stand for, cannot change it.
pub(crate) fn generator(config: &mut SearchConfig) -> Result<Box<dyn Generator>, Failure> {
    if let Some(file) = config.model.name.strip_prefix(ScriptedGenerator::PREFIX) {
        let path = absolute(Path::new(file));
        let generator = ScriptedGenerator::from_file(&path)?;
        config.model.name = format!("{}{}", ScriptedGenerator::PREFIX, path.display());
        return Ok(Box::new(generator));
    }
    if config.model.name == ScriptedGenerator::NONE {
        return Ok(Box::new(ScriptedGenerator::none()));
    }
    let (selection, options) = selected(config)?;
    if let Some(note) = &selection.note {
        printer::note(note);
    }
    if let Some((key, tokens)) = config.text_beyond(options.context) {
        let (name, context) = (&selection.manifest.name, options.context);
        return Err(Failure::refused(format!(
            "{key}: expected less than the {context} tokens that {name} holds, so that a prompt has room, got {tokens}"
        )));
    }
    let mut llm = Llm::load(&selection, &options)?;
    llm.set_grammar(config.model.grammar)?;
    llm.set_vocabulary(config.model.vocabulary)?;
    llm.keep_prompts(KEPT_PROMPTS, config.model.memory_mb as u64);
    if selection.alias.is_some() {
        config.model.name.clone_from(&selection.manifest.name);
    } else if config.model.name.contains(std::path::MAIN_SEPARATOR) || config.model.name.ends_with(".gguf") {
        config.model.name = absolute(&selection.path).display().to_string();
    }
    Ok(Box::new(llm))
}

/// The model that a configuration names, and how it is to be loaded; it fits the memory that it may take.
pub(crate) fn selected(config: &SearchConfig) -> Result<(Selection, LlmOptions), LlmError> {
    let options = |selection: &Selection| LlmOptions {
        device: config.device,
        threads: config.threads,
        context: config.model.context.min(selection.manifest.context.max(1)),
        rows: config.model.rows,
    };
    let selection = llm::select_within(&config.model.name, config.model.memory_mb as u64, &options)?;
    let options = options(&selection);
    Ok((selection, options))
}

/// The same place from every working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(crate) fn use_threads(threads: usize) {
    // A second search in one process would find the pool built already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}

/// Set by the first Ctrl-C; the second one ends the process, which is safe too.
pub(crate) fn on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&cancelled);
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        printer::note("stopping after the current step; once more to stop at once");
    })
    .map_err(|error| Failure::failed(format!("cannot watch for Ctrl-C: {error}")))?;
    Ok(cancelled)
}

#[cfg(test)]
mod tests {
    use llmatic_offline::search::SearchError;

    use super::*;

    #[test]
    fn interruption_is_its_own_exit_code() {
        let error = SearchError::Interrupted { path: "runs/001".into(), generations: 3 };
        assert_eq!(Failure::from(error).exit, Exit::Interrupted);
    }
}
