//! The end of a search: the best network is trained further, the elites meet the test split, the files are
//! written.
//!
//! Input: a run whose generations are all committed. Output: `elites/NNN.py` and `.safetensors` (NNN is the
//! niche), `best.py`, `best.safetensors`, the table `result`. Selection is by validation throughout; the test
//! split is read here and nowhere else. One limit: only the best network is trained further.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::archive::Elite;
use crate::config::FinalStart;

use super::error::SearchError;
use super::evaluate::{Measured, Task, TrainProgress};
use super::event::{Event, Summary};
use super::heading::sizes_line;
use super::read::Network;
use super::record::{Operator, Verdict};
use super::store::ResultRow;
use super::{CLASS, Parts, Run, check_cancelled, measured_by};

/// Finish the run, or say again what it came to if it was finished before.
///
/// # Errors
/// The trainer fails, a file cannot be written, or the search was cancelled.
pub(super) fn finish(run: &mut Run, parts: &mut Parts<'_>) -> Result<Summary, SearchError> {
    let mut results = run.store.results()?;
    if results.is_empty() {
        let elites: Vec<(usize, Elite)> =
            run.state.archive.ranked().into_iter().map(|(niche, elite)| (niche, elite.clone())).collect();
        (parts.observe)(Event::Finishing { elites: elites.len() as u64 });
        let folder = run.directory.join("elites");
        fs::create_dir_all(&folder).map_err(|source| SearchError::Io { path: folder, source })?;
        for (rank, (niche, elite)) in elites.iter().enumerate() {
            check_cancelled(run, parts)?;
            let row = one(run, parts, *niche, elite, rank == 0)?;
            results.push(row);
        }
        run.store.keep_results(&results)?;
        results.iter().for_each(|row| (parts.observe)(Event::Result(row.clone())));
    } else {
        remake(run, parts, &results)?;
    }
    let summary = summarise(run, &results)?;
    (parts.observe)(Event::Finished(Box::new(summary.clone())));
    Ok(summary)
}

/// Write again what is gone of a finished run's sources; weights are in no database.
fn remake(run: &Run, parts: &Parts<'_>, results: &[ResultRow]) -> Result<(), SearchError> {
    for row in results {
        let paths = [Some(run.directory.join(&row.file)), row.best.then(|| run.directory.join("best.py"))];
        if paths.iter().flatten().all(|path| path.exists()) {
            continue;
        }
        let Some((niche, elite)) = run.state.archive.elites().find(|(_, elite)| elite.id == row.id) else {
            continue;
        };
        let folder = run.directory.join("elites");
        fs::create_dir_all(&folder).map_err(|source| SearchError::Io { path: folder, source })?;
        sources(run, parts, &read(run, parts, elite)?, niche, elite, row)?;
    }
    Ok(())
}

/// The network of an elite.
fn read(run: &Run, parts: &Parts<'_>, elite: &Elite) -> Result<Network, SearchError> {
    parts.reader.read(&elite.source).map_err(|refused| SearchError::Corrupt {
        path: run.directory.join("run.db"),
        reason: format!("elite {} is refused now: {}", elite.id, refused.message),
    })
}

/// Write the source of an elite, and of the best one under that name too.
fn sources(
    run: &Run,
    parts: &Parts<'_>,
    network: &Network,
    niche: usize,
    elite: &Elite,
    row: &ResultRow,
) -> Result<(), SearchError> {
    let text = |weights: &str| python(run, parts, network, niche, elite, row, weights);
    write_whole(&run.directory.join(&row.file), text(&format!("{niche:03}.safetensors")).as_bytes())?;
    if row.best {
        write_whole(&run.directory.join("best.py"), text("best.safetensors").as_bytes())?;
    }
    Ok(())
}

/// Measure one elite and write its files.
fn one(
    run: &Run,
    parts: &mut Parts<'_>,
    niche: usize,
    elite: &Elite,
    best: bool,
) -> Result<ResultRow, SearchError> {
    let network = read(run, parts, elite)?;
    let kept = run.weights(&elite.architecture);
    let target = run.directory.join("elites").join(format!("{niche:03}.safetensors"));
    let mut row = ResultRow {
        id: elite.id,
        file: format!("elites/{niche:03}.py"),
        best,
        final_steps: 0,
        validation: elite.fitness,
        test: None,
    };
    if parts.evaluator.has_weights() {
        copy(&kept, &target)?;
        if best && run.config.r#final.steps > 0 {
            train_further(run, parts, &network, &kept, &target, &mut row)?;
        }
        row.test = parts.evaluator.test(&network.graph, &target)?;
    }
    sources(run, parts, &network, niche, elite, &row)?;
    if best && parts.evaluator.has_weights() {
        copy(&target, &run.directory.join("best.safetensors"))?;
    }
    Ok(row)
}

/// Train the best network for the configured further steps; what is worse on validation than before is
/// dropped.
fn train_further(
    run: &Run,
    parts: &mut Parts<'_>,
    network: &Network,
    kept: &Path,
    target: &Path,
    row: &mut ResultRow,
) -> Result<(), SearchError> {
    let settings = &run.config.r#final;
    let task = Task {
        graph: &network.graph,
        // A generation that no candidate has.
        indices: [run.state.generations, 0],
        inherit: (settings.from == FinalStart::Elite).then(|| kept.to_owned()),
        steps: settings.steps,
    };
    let Parts { evaluator, observe, cancelled, .. } = parts;
    let (generation, of_steps) = (run.state.generations, settings.steps as u64);
    let mut on_progress = |progress: TrainProgress| {
        let (done, steps) = (progress.done as u64, progress.steps as u64);
        observe(Event::Training { generation, done, of: 1, steps, of_steps });
    };
    let results = measured_by(run, *evaluator, vec![task], &mut on_progress, cancelled)?;
    check_cancelled(run, parts)?;
    if let Some(Ok(Measured { score, weights: Some(weights), .. })) = results.into_iter().next()
        && score.fitness >= row.validation
    {
        weights.save(target).map_err(|reason| SearchError::Io {
            path: target.to_owned(),
            source: std::io::Error::other(reason),
        })?;
        row.final_steps = of_steps;
        row.validation = score.fitness;
    }
    Ok(())
}

/// The elite's file: what it is in comments, then its source as stock PyTorch runs it.
fn python(
    run: &Run,
    parts: &Parts<'_>,
    network: &Network,
    niche: usize,
    elite: &Elite,
    row: &ResultRow,
    weights: &str,
) -> String {
    let facts = network.facts();
    let data = &run.row.data;
    let mut text = format!(
        "# Found by llmatic-offline {}: candidate {}, niche {niche}, seed {}.\n\
         # {data}: validation accuracy {:.4}",
        run.row.program, elite.id, run.row.seed, row.validation
    );
    if let Some(test) = row.test {
        text.push_str(&format!(", test accuracy {test:.4}"));
    }
    text.push_str(&format!(
        "; {} parameters, {} MACs per input.\n# Architecture {}.\n",
        facts.parameters, facts.macs, facts.architecture
    ));
    text.push_str(&sizes_line(&run.row.input_sizes, run.row.classes));
    if let Some((mean, std)) = parts.evaluator.normalisation() {
        text.push_str(&format!(" Pixels in [0, 1] were normalised by mean {mean:?} and std {std:?}."));
    }
    if parts.evaluator.has_weights() {
        text.push_str(&format!(
            "\n# Weights: {CLASS}().load_state_dict(safetensors.torch.load_file(\"{weights}\"))"
        ));
    }
    text.push('\n');
    text.push_str(network.source.trim_end());
    text.push('\n');
    text
}

fn summarise(run: &Run, results: &[ResultRow]) -> Result<Summary, SearchError> {
    let candidates = run.store.candidates()?;
    let generations = run.store.generations()?;
    let generate_seconds = generations.iter().map(|row| row.generate_seconds).sum::<f64>();
    let train_seconds = generations.iter().map(|row| row.train_seconds).sum::<f64>();
    let seed_seconds = generations.first().map_or(0.0, |row| row.generate_seconds + row.train_seconds);
    let tokens: u64 = candidates.iter().map(|candidate| candidate.cost.completion_tokens).sum();
    // Nobody wrote the seed network.
    let written = || candidates.iter().filter(|candidate| candidate.operator != Operator::Seed);
    let trained = written().filter(|candidate| candidate.verdict == Verdict::Accepted).count();
    let verdicts =
        |verdict| candidates.iter().filter(|candidate| candidate.verdict == verdict).count() as u64;
    let per_trained = |amount: f64| (trained > 0).then(|| amount / trained as f64);
    let final_ones = || written().filter(|candidate| !candidate.retried);
    let stats = run.state.archive.stats();
    let best = results.iter().find(|row| row.best).cloned();
    let of = best
        .as_ref()
        .and_then(|best| candidates.iter().find(|candidate| candidate.id == best.id && !candidate.retried));
    let weights = run.directory.join("best.safetensors");
    Ok(Summary {
        directory: run.directory.display().to_string(),
        generations: run.state.generations,
        candidates: candidates.len() as u64,
        retried: candidates.iter().filter(|candidate| candidate.retried).count() as u64,
        valid: final_ones().filter(|candidate| candidate.valid()).count() as u64,
        novel: final_ones().filter(|candidate| candidate.novel()).count() as u64,
        copies: verdicts(Verdict::Copy),
        duplicates: verdicts(Verdict::Duplicate),
        trained: trained as u64,
        elites: stats.elites as u64,
        niches: run.state.archive.niches().centroids().len() as u64,
        qd_score: stats.qd_score,
        coverage: stats.coverage,
        mean: stats.mean,
        tokens,
        prompt_tokens: candidates.iter().map(|candidate| candidate.cost.prompt_tokens).sum(),
        generate_seconds,
        train_seconds,
        tokens_per_trained: per_trained(tokens as f64),
        seconds_per_trained: per_trained(generate_seconds + train_seconds - seed_seconds),
        saved_tokens: candidates.iter().map(|candidate| candidate.cost.saved_tokens).sum(),
        given_up: candidates.iter().filter(|candidate| candidate.cost.saved_tokens > 0).count() as u64,
        yields: run.store.yields()?,
        prompt_yields: run.store.prompt_yields()?,
        parameters: of.and_then(|candidate| candidate.facts.as_ref()).map_or(0, |facts| facts.parameters),
        seed_validation: candidates.first().and_then(|seed| seed.score.as_ref()).map(|score| score.fitness),
        best,
        source: run.directory.join("best.py").display().to_string(),
        weights: weights.exists().then(|| weights.display().to_string()),
        digest: run.state.digest.clone(),
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), SearchError> {
    let bytes = fs::read(from).map_err(|source| SearchError::Io { path: from.to_owned(), source })?;
    write_whole(to, &bytes)
}

/// Write a file whole or not at all: a draft beside it, renamed when it is on the disk.
///
/// # Errors
/// The file cannot be written; it is then what it was before.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SearchError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let put = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    put().map_err(|source| SearchError::Io { path: path.to_owned(), source })
}
