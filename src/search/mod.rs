//! The loop: propose, write, read, train, tell, commit; generation after generation, resumable at any moment.
//!
//! ```text
//! propose ─▶ generate ─▶ read ─▶ evaluate ─▶ tell (slot order) ─▶ commit ─▶ events
//! ```
//!
//! Input: a [`Run`] and three replaceable parts (generator, reader, evaluator). Output: the run directory. A
//! generation is committed whole in one transaction; what a killed process had begun is begun again, from the
//! same random streams, so the digest does not depend on interruptions. Reference: LLMatic (arXiv
//! 2306.01102). One limit: a generation is trained after it was written, never while.

mod draft;
mod error;
mod evaluate;
mod event;
mod finish;
mod frontend;
mod generate;
mod heading;
mod infill;
mod lost;
mod propose;
mod question;
mod rank;
mod read;
mod record;
mod run;
mod scripted;
mod source;
mod state;
mod store;
mod surrogate;
#[cfg(feature = "torch")]
mod trainer;
mod typed;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::archive::CandidateId;
use crate::llm::Generator;

pub use draft::check_prompts;
pub use error::{ErrorClass, EvaluatorError, SearchError, in_shell};
pub use evaluate::{DataIdentity, Evaluator, Measured, Surrogate, Task, TrainProgress, Weights};
pub use event::{Event, Summary};
pub use finish::write_whole;
pub use frontend::FrontEnd;
pub use heading::sizes_told;
pub use infill::Variant;
pub use question::{QUESTION_STYLES, Question, QuestionStyle, Questions};
pub use read::{Network, Reader, Refused};
pub use record::{Candidate, Cost, Described, Facts, OPERATORS, Operator, Score, VERDICTS, Verdict};
pub use run::{Run, RunRecord, check_free, digest, load};
pub use scripted::ScriptedGenerator;
pub(crate) use source::IMPORTS;
pub use source::{CLASS, seed_network};
pub use state::State;
pub use store::{GenerationRow, OperatorYield, ResultRow, RunRow, SCHEMA, Store};
#[cfg(feature = "torch")]
pub use trainer::LibtorchEvaluator;
pub use typed::{EDITS, EditKind, Edited, edit, edits};

use generate::Written;
use rank::Ranks;

/// The replaceable parts of a search.
pub struct Parts<'a> {
    /// Writes sources.
    pub generator: &'a mut dyn Generator,
    /// Reads them.
    pub reader: &'a dyn Reader,
    /// Trains and measures them.
    pub evaluator: &'a mut dyn Evaluator,
    /// Set to stop between steps.
    pub cancelled: &'a AtomicBool,
    /// Is told what happens.
    pub observe: &'a mut (dyn FnMut(Event) + Send),
}

/// Search from where the run stands to its end, then measure and write the results.
///
/// # Errors
/// Whatever the parts cannot do, or [`SearchError::Interrupted`]; the run stays as its last commit left it.
pub fn search(run: &mut Run, parts: &mut Parts<'_>) -> Result<Summary, SearchError> {
    run.verify(&parts.generator.describe(), &parts.evaluator.data())?;
    let generations = run.config.search.generations as u64 + 1;
    (parts.observe)(Event::Started {
        directory: run.directory.display().to_string(),
        model: run.row.model.clone(),
        data: run.row.data.clone(),
        device: run.config.device.to_string(),
        seed: run.config.seed,
        committed: run.state.generations,
        generations,
        children: run.config.search.children as u64,
    });
    let mut ranks = Ranks::default();
    while run.state.generations < generations && !run.enough() {
        let number = run.state.generations;
        let started = Instant::now();
        let written = if number == 0 {
            seed(run, parts)?
        } else {
            generate::generation(run, parts, &mut ranks, number)?
        };
        let generate_seconds = started.elapsed().as_secs_f64();
        check_cancelled(run, parts)?;
        measure(run, parts, number, written, generate_seconds)?;
    }
    finish::finish(run, parts)
}

/// The network that everything starts from, as text and as `reader` reads it: what a run file's limits may refuse.
///
/// # Errors
/// Why it is refused.
pub fn first_network(
    reader: &dyn Reader,
    input_sizes: &[usize],
    classes: usize,
) -> Result<(String, Network), SearchError> {
    let source = reader.seed().unwrap_or_else(|| seed_network(input_sizes, classes));
    match reader.read(&source) {
        Ok(network) => Ok((source, network)),
        Err(refused) => Err(SearchError::SeedNetwork { reason: refused.message }),
    }
}

/// Generation 0.
fn seed(run: &Run, parts: &Parts<'_>) -> Result<Vec<Written>, SearchError> {
    let (source, network) = first_network(parts.reader, &run.row.input_sizes, run.row.classes)?;
    let facts = network.facts();
    Ok(vec![Written {
        candidate: Candidate {
            id: CandidateId { generation: 0, slot: 0 },
            attempt: 0,
            retried: false,
            operator: Operator::Seed,
            parents: Vec::new(),
            prompt: None,
            instruction: String::new(),
            temperature: 0.0,
            prompt_text: String::new(),
            kept: Some(network.source.clone()),
            source,
            verdict: Verdict::Accepted,
            message: String::new(),
            repairs: network.repairs.clone(),
            prior: None,
            predicted: None,
            facts: Some(facts),
            score: None,
            placed: None,
            cost: Cost::default(),
        },
        network: Some(network),
        inherit: None,
    }])
}

/// Train what is new, tell the archives in slot order, keep the weights of what was archived, commit, then
/// say so.
fn measure(
    run: &mut Run,
    parts: &mut Parts<'_>,
    number: u64,
    written: Vec<Written>,
    generate_seconds: f64,
) -> Result<(), SearchError> {
    let started = Instant::now();
    let mut measured = train(run, parts, number, &written)?.into_iter();
    let train_seconds = started.elapsed().as_secs_f64();
    check_cancelled(run, parts)?;
    let mut candidates = Vec::with_capacity(written.len());
    let mut weights = Vec::new();
    for Written { mut candidate, .. } in written {
        if candidate.verdict == Verdict::Accepted {
            match measured.next() {
                Some(Ok(result)) if result.score.fitness.is_finite() && result.score.loss.is_finite() => {
                    candidate.cost.train_seconds = result.seconds;
                    candidate.score = Some(result.score);
                    weights.push((candidates.len(), result.weights));
                }
                Some(Ok(_)) => {
                    candidate.verdict = Verdict::TrainingFailed;
                    candidate.message = "the validation loss is not a finite number".into();
                }
                Some(Err(message)) => {
                    candidate.verdict = Verdict::TrainingFailed;
                    candidate.message = message;
                }
                None => {
                    let message = format!("the evaluator gave no result for candidate {}", candidate.id);
                    return Err(EvaluatorError::failure(message).into());
                }
            }
            if number == 0 && candidate.verdict != Verdict::Accepted {
                return Err(SearchError::SeedNetwork { reason: candidate.message });
            }
        }
        run.state
            .tell(&mut candidate)
            .map_err(|source| SearchError::Archive { id: candidate.id.to_string(), source })?;
        candidates.push(candidate);
    }
    run.state.close_generation(&candidates);
    // Before the commit: a committed elite has its weights, a weight file without an elite is harmless.
    let needed = needed_weights(run);
    for (index, weights) in weights {
        let path = candidates[index].facts.as_ref().map(|facts| run.weights(&facts.architecture));
        if let (Some(weights), Some(path)) = (weights, path.filter(|path| needed.contains(path))) {
            weights.save(&path).map_err(|reason| SearchError::Io {
                path: path.clone(),
                source: std::io::Error::other(reason),
            })?;
        }
    }
    let row = generation_row(run, number, &candidates, generate_seconds, train_seconds);
    run.store.commit(&row, &candidates, &run.state)?;
    remove_old_weights(run);
    for candidate in candidates {
        (parts.observe)(Event::Candidate {
            id: candidate.id,
            operator: candidate.operator,
            outcome: candidate.placed.map(|(_, outcome)| outcome),
            fitness: candidate.score.as_ref().map(|score| score.fitness),
            parameters: candidate.facts.as_ref().map(|facts| facts.parameters),
            instruction: candidate.instruction,
            verdict: candidate.verdict,
        });
    }
    (parts.observe)(Event::Generation(row));
    Ok(())
}

/// One result per accepted candidate, in order.
fn train(
    run: &Run,
    parts: &mut Parts<'_>,
    number: u64,
    written: &[Written],
) -> Result<Vec<Result<Measured, String>>, SearchError> {
    let steps = run.config.train.steps;
    let inherits = parts.evaluator.has_weights();
    let missing = written.iter().filter_map(|written| written.inherit.as_ref());
    if let Some(path) = missing.filter(|_| inherits).find(|path| !path.exists()) {
        // Going on without them would give another result than an undisturbed run.
        let reason = "the weights of a parent are gone".into();
        return Err(SearchError::Corrupt { path: path.clone(), reason });
    }
    let tasks: Vec<Task<'_>> = written
        .iter()
        .filter(|written| written.candidate.verdict == Verdict::Accepted)
        .filter_map(|written| {
            Some(Task {
                graph: &written.network.as_ref()?.graph,
                indices: [written.candidate.id.generation, written.candidate.id.slot],
                inherit: written.inherit.clone().filter(|_| inherits),
                steps,
            })
        })
        .collect();
    let of = tasks.len() as u64;
    let Parts { evaluator, observe, cancelled, .. } = parts;
    let mut on_progress = |progress: TrainProgress| {
        observe(Event::Training {
            generation: number,
            done: progress.done as u64,
            of,
            steps: progress.steps as u64,
            of_steps: of * steps as u64,
        });
    };
    measured_by(run, *evaluator, tasks, &mut on_progress, cancelled)
}

/// What the evaluator says of networks; one that takes the device with it is written down first, and not trained again.
fn measured_by(
    run: &Run,
    evaluator: &mut dyn Evaluator,
    tasks: Vec<Task<'_>>,
    on_progress: &mut (dyn FnMut(TrainProgress) + Send),
    cancelled: &AtomicBool,
) -> Result<Vec<Result<Measured, String>>, SearchError> {
    let lost = lost::read(&run.directory)?;
    let words_of = |task: &Task<'_>| lost.get(&task.graph.architecture_id()).cloned();
    let words: Vec<Option<String>> =
        if lost.is_empty() { vec![None; tasks.len()] } else { tasks.iter().map(words_of).collect() };
    let tasks: Vec<Task<'_>> =
        tasks.into_iter().zip(&words).filter(|(_, words)| words.is_none()).map(|(task, _)| task).collect();
    let measured = if tasks.is_empty() {
        Vec::new()
    } else {
        evaluator.evaluate(&tasks, on_progress, cancelled).or_else(|error| {
            let Some(task) = error.lost.and_then(|lost| tasks.get(lost)) else { return Err(error.into()) };
            lost::add(&run.directory, &task.graph.architecture_id(), &error.message)?;
            let generations = run.store.generations()?.len() as u64;
            Err(SearchError::DeviceLost { path: run.directory.clone(), generations, message: error.message })
        })?
    };
    let mut measured = measured.into_iter();
    Ok(words
        .into_iter()
        .map_while(|words| words.map_or_else(|| measured.next(), |words| Some(Err(words))))
        .collect())
}

fn generation_row(
    run: &Run,
    number: u64,
    candidates: &[Candidate],
    generate_seconds: f64,
    train_seconds: f64,
) -> GenerationRow {
    let count = |test: &dyn Fn(&Candidate) -> bool| {
        candidates.iter().filter(|candidate| !candidate.retried && test(candidate)).count() as u64
    };
    let scores = candidates.iter().filter_map(|candidate| candidate.score.as_ref());
    let fitness: Vec<f64> = scores.map(|score| score.fitness).collect();
    let stats = run.state.archive.stats();
    GenerationRow {
        number,
        candidates: count(&|_| true),
        retried: candidates.iter().filter(|candidate| candidate.retried).count() as u64,
        valid: count(&Candidate::valid),
        novel: count(&Candidate::novel),
        archived: count(&Candidate::archived),
        elites: stats.elites as u64,
        coverage: stats.coverage,
        qd_score: stats.qd_score,
        best: stats.best,
        mean: stats.mean,
        clipped: stats.clipped,
        trained: fitness.len() as u64,
        copies: count(&|candidate| candidate.verdict == Verdict::Copy),
        duplicates: count(&|candidate| candidate.verdict == Verdict::Duplicate),
        fitness: (!fitness.is_empty()).then(|| fitness.iter().sum::<f64>() / fitness.len() as f64),
        tokens: candidates.iter().map(|candidate| candidate.cost.completion_tokens).sum(),
        prompt_tokens: candidates.iter().map(|candidate| candidate.cost.prompt_tokens).sum(),
        generate_seconds,
        train_seconds,
        digest: run.state.digest.clone(),
    }
}

/// Weight files of the elites, and of the networks that the next generation's children may inherit from: not all of
/// these are elites.
fn needed_weights(run: &Run) -> BTreeSet<PathBuf> {
    let elites = run.state.archive.elites().map(|(_, elite)| elite);
    let needed = elites.chain(propose::parents(&run.config, &run.state));
    needed.map(|elite| run.weights(&elite.architecture)).collect()
}

/// Drop the weight files that are not needed any more. A file that cannot be removed does no harm.
fn remove_old_weights(run: &Run) {
    let needed = needed_weights(run);
    let Ok(entries) = fs::read_dir(run.directory.join("weights")) else { return };
    for entry in entries.flatten() {
        if !needed.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn check_cancelled(run: &Run, parts: &Parts<'_>) -> Result<(), SearchError> {
    if parts.cancelled.load(Ordering::Relaxed) {
        // The state has not been told of the unfinished generation, or the process ends here.
        let generations = run.store.generations()?.len() as u64;
        return Err(SearchError::Interrupted { path: run.directory.clone(), generations });
    }
    Ok(())
}
