//! One generation's sources: every slot's request in one call, copies asked again hotter, each text read.
//!
//! Input: the state at the start of the generation. Output: candidates in the order of slots and attempts, with the
//! networks to train. Sampling of slot `s`, attempt `a` draws from the stream `("sample", [generation, s, a])`. One
//! limit: a refused text is not asked again; only a copy is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rayon::prelude::*;

use crate::llm::{Completion, Control, LlmError, Request, Stop};
use crate::rng::RootSeed;

use super::error::SearchError;
use super::event::Event;
use super::propose::{Proposal, propose};
use super::read::{Network, Refused};
use super::record::{Candidate, Cost, Verdict};
use super::{Parts, Run, check_cancelled, source};
use crate::archive::CandidateId;

/// A candidate before training, with what its training needs.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) candidate: Candidate,
    /// The network of an accepted candidate.
    pub(super) network: Option<Network>,
    /// Its parent's weights.
    pub(super) inherit: Option<PathBuf>,
}

/// Write and read the candidates of generation `number`.
///
/// # Errors
/// The LLM fails, or the search was cancelled.
pub(super) fn generation(run: &Run, parts: &mut Parts<'_>, number: u64) -> Result<Vec<Written>, SearchError> {
    let proposals: Vec<Proposal> = (0..run.config.search.children as u64)
        .filter_map(|slot| {
            let id = CandidateId { generation: number, slot };
            propose(&run.config, &run.book, &run.state, id)
        })
        .collect();
    let mut pending: Vec<&Proposal> = proposals.iter().collect();
    // Architectures of this generation, claimed in slot order round by round.
    let mut claimed: Vec<String> = Vec::new();
    let mut written: Vec<Written> = Vec::new();
    for attempt in 0..=run.config.search.copy_attempts as u64 {
        if pending.is_empty() {
            break;
        }
        let last = attempt == run.config.search.copy_attempts as u64;
        let round = write(run, parts, number, &pending, attempt)?;
        let reader = parts.reader;
        let read: Vec<Result<Network, Refused>> = round
            .par_iter()
            .map(|candidate| match candidate.verdict {
                Verdict::Accepted => reader.read(&candidate.source),
                verdict => Err(Refused { verdict, message: candidate.message.clone() }),
            })
            .collect();
        let mut again = Vec::new();
        for ((proposal, candidate), read) in pending.into_iter().zip(round).zip(read) {
            let mut judged = judge(run, proposal, candidate, read, &mut claimed);
            let known = matches!(judged.candidate.verdict, Verdict::Copy | Verdict::Duplicate);
            if known && !last {
                judged.candidate.retried = true;
                again.push(proposal);
            }
            written.push(judged);
        }
        pending = again;
    }
    written.sort_by_key(|written| (written.candidate.id, written.candidate.attempt));
    Ok(written)
}

/// One round of completions, as candidates without a verdict.
fn write(
    run: &Run,
    parts: &mut Parts<'_>,
    number: u64,
    proposals: &[&Proposal],
    attempt: u64,
) -> Result<Vec<Candidate>, SearchError> {
    let (config, seed) = (&run.config, RootSeed(run.config.seed));
    let temperature = |proposal: &Proposal| {
        proposal.prompt.temperature + attempt as f64 * config.search.copy_temperature_step
    };
    let requests: Vec<Request> = proposals
        .iter()
        .map(|proposal| {
            let words = run.book.words(proposal.prompt.instruction, &run.row.input_sizes, run.row.classes);
            Request {
                prompt: source::prompt(&sources(proposal), &words),
                temperature: temperature(proposal),
                top_p: config.sampling.top_p,
                top_k: config.sampling.top_k,
                max_tokens: config.sampling.max_tokens,
                stream: seed.stream("sample", &[number, proposal.id.slot, attempt]),
                stop: Stop::ClassComplete,
            }
        })
        .collect();
    let started = Instant::now();
    let answers = ask(parts, number, attempt, &requests)?;
    check_cancelled(run, parts)?;
    let seconds = started.elapsed().as_secs_f64() / answers.len().max(1) as f64;
    let candidates = proposals.iter().zip(requests).zip(answers);
    Ok(candidates
        .map(|((proposal, request), answer)| {
            let instruction = run.book.instructions().get(proposal.prompt.instruction);
            Candidate {
                id: proposal.id,
                attempt,
                retried: false,
                operator: proposal.operator,
                parents: proposal.parents.iter().map(|parent| parent.id).collect(),
                prompt: Some(proposal.prompt),
                instruction: instruction.map(|instruction| instruction.id.clone()).unwrap_or_default(),
                temperature: request.temperature,
                prompt_text: request.prompt,
                source: answer
                    .as_ref()
                    .map(|completion| source::candidate(&sources(proposal), &completion.text))
                    .unwrap_or_default(),
                kept: None,
                verdict: if answer.is_ok() { Verdict::Accepted } else { Verdict::LimitExceeded },
                message: answer.as_ref().err().cloned().unwrap_or_default(),
                repairs: Vec::new(),
                facts: None,
                score: None,
                placed: None,
                cost: answer.map_or_else(|_| Cost::default(), |completion| cost(&completion, seconds)),
            }
        })
        .collect())
}

/// One completion per request, or why its prompt cannot be completed: parents may grow beyond the LLM's context, which
/// is their child's misfortune and not the end of the search.
fn ask(
    parts: &mut Parts<'_>,
    generation: u64,
    attempt: u64,
    requests: &[Request],
) -> Result<Vec<Result<Completion, String>>, SearchError> {
    let started = Instant::now();
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    let Parts { generator, observe, cancelled, .. } = parts;
    loop {
        let indices: Vec<usize> = (0..requests.len()).filter(|index| !refused.contains_key(index)).collect();
        let asked: Vec<Request> = indices.iter().map(|&index| requests[index].clone()).collect();
        let outcome = generator.generate(&asked, &mut |progress| {
            observe(Event::Writing {
                generation,
                tokens: progress.tokens as u64,
                rows: progress.rows_running as u64,
                per_second: progress.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
                attempt,
            });
            if cancelled.load(Ordering::Relaxed) { Control::Cancel } else { Control::Continue }
        });
        match outcome {
            Ok(completions) => {
                let mut answers: BTreeMap<usize, Result<Completion, String>> =
                    refused.into_iter().map(|(index, reason)| (index, Err(reason))).collect();
                answers.extend(indices.into_iter().zip(completions.into_iter().map(Ok)));
                return Ok(answers.into_values().collect());
            }
            Err(error @ LlmError::TooLong { index, .. }) if index < indices.len() => {
                refused.insert(indices[index], error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The verdict before training: refused, known, or new. What does not load is refused; it is never replaced by its
/// parent.
fn judge(
    run: &Run,
    proposal: &Proposal,
    mut candidate: Candidate,
    read: Result<Network, Refused>,
    claimed: &mut Vec<String>,
) -> Written {
    let parents = &proposal.parents;
    let written = |candidate: Candidate, network| {
        let keeps = run.config.train.inherit;
        let inherit = parents.first().filter(|_| keeps).map(|parent| run.weights(&parent.architecture));
        Written { candidate, network, inherit }
    };
    let verbatim = parents.iter().find(|parent| source::same_text(&parent.source, &candidate.source));
    match read {
        Err(refused) => {
            candidate.verdict = refused.verdict;
            candidate.message = refused.message;
            written(candidate, None)
        }
        Ok(network) => {
            let facts = network.facts();
            let architecture = facts.architecture.clone();
            candidate.kept = Some(network.source.clone());
            candidate.repairs.clone_from(&network.repairs);
            candidate.facts = Some(facts);
            let same = |parent: &&crate::archive::Elite| parent.architecture == architecture;
            if let Some(parent) = verbatim.or_else(|| parents.iter().find(same)) {
                candidate.verdict = Verdict::Copy;
                candidate.message = format!("the same network as its parent {}", parent.id);
                return written(candidate, None);
            }
            if let Some(first) = run.state.seen.get(&architecture) {
                candidate.verdict = Verdict::Duplicate;
                candidate.message = format!("the same network as candidate {first}");
                return written(candidate, None);
            }
            if claimed.contains(&architecture) {
                candidate.verdict = Verdict::Duplicate;
                candidate.message = "the same network as another one of its generation".into();
                return written(candidate, None);
            }
            claimed.push(architecture);
            written(candidate, Some(network))
        }
    }
}

fn sources(proposal: &Proposal) -> Vec<&str> {
    proposal.parents.iter().map(|parent| parent.source.as_ref()).collect()
}

fn cost(completion: &Completion, seconds: f64) -> Cost {
    Cost {
        prompt_tokens: completion.prompt_tokens as u64,
        cached_tokens: completion.cached_prompt_tokens as u64,
        completion_tokens: completion.completion_tokens as u64,
        generate_seconds: seconds,
        train_seconds: 0.0,
    }
}
