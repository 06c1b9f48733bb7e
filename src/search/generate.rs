//! One generation's sources: every slot's request in one call, copies and duplicates asked again hotter, each text
//! read.
//!
//! Input: the state at the start of the generation. Output: candidates in the order of slots and attempts,
//! with the networks to train. Sampling of slot `s`, attempt `a` draws from the stream `("sample",
//! [generation, s, a])`. One limit: a refused text is not asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rayon::prelude::*;

use crate::archive::{CandidateId, PromptChoice};
use crate::config::SurrogateKind;
use crate::llm::{Completion, Control, Finish, LlmError, Request};

use super::draft::{Draft, ParentNetworks, Step, chat_of, draft};
use super::error::SearchError;
use super::event::Event;
use super::propose::{Abilities, Proposal, propose};
use super::rank::{self, Ranks};
use super::read::{Network, Refused};
use super::record::{Candidate, Cost, Verdict};
use super::{Parts, Run, check_cancelled, infill, source};

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
pub(super) fn generation(
    run: &Run,
    parts: &mut Parts<'_>,
    ranks: &mut Ranks,
    number: u64,
) -> Result<Vec<Written>, SearchError> {
    let alone = !run.config.operators.prior.asks();
    let can = Abilities {
        infill: alone || parts.generator.infill().is_some(),
        rank: alone || parts.generator.can_score(),
    };
    let proposals: Vec<Proposal> = (0..slots(run) as u64)
        .filter_map(|slot| {
            let id = CandidateId { generation: number, slot };
            propose(&run.config, &run.book, &run.state, can, id)
        })
        .collect();
    let mut networks = ParentNetworks::default();
    let mut pending: Vec<&Proposal> = proposals.iter().collect();
    // Architectures of this generation, claimed in slot order round by round.
    let mut claimed: Vec<String> = Vec::new();
    let mut written: Vec<Written> = Vec::new();
    for attempt in 0..=run.config.search.copy_attempts as u64 {
        if pending.is_empty() {
            break;
        }
        let last = attempt == run.config.search.copy_attempts as u64;
        let round = {
            let known = claimed.iter().cloned().collect();
            let mut round = Round { number, attempt, networks: &mut networks, ranks, taken: known };
            write(run, parts, &pending, &mut round)?
        };
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
    choose(run, &mut written);
    Ok(written)
}

/// Slots of a generation: more than are trained once the surrogate can choose among them.
fn slots(run: &Run) -> usize {
    let children = run.config.search.children;
    if chooses(run) { children * run.config.surrogate.proposals } else { children }
}

fn chooses(run: &Run) -> bool {
    let surrogate = &run.config.surrogate;
    surrogate.kind == SurrogateKind::Ridge && run.state.trained >= surrogate.start as u64
}

/// Leave the most promising new networks for training, as many as a generation has children.
fn choose(run: &Run, written: &mut [Written]) {
    let Some(fit) = chooses(run).then(|| run.state.surrogate.fit(run.config.surrogate.penalty)).flatten()
    else {
        return;
    };
    let mut promising: Vec<(f64, usize)> = Vec::new();
    for (index, Written { candidate, .. }) in written.iter_mut().enumerate() {
        if candidate.verdict != Verdict::Accepted {
            continue;
        }
        let Some(facts) = &candidate.facts else { continue };
        let parents = run.state.parents_fitness(candidate.parents.iter());
        let expected = fit.predict(candidate, facts, parents);
        candidate.predicted = Some(expected);
        promising.push((expected, index));
    }
    promising.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, index) in promising.iter().skip(run.config.search.children) {
        let Written { candidate, network, inherit } = &mut written[index];
        candidate.verdict = Verdict::Skipped;
        candidate.message = "the surrogate expects more of others".into();
        (*network, *inherit) = (None, None);
    }
}

/// One attempt at the slots of a generation.
struct Round<'a> {
    number: u64,
    attempt: u64,
    networks: &'a mut ParentNetworks,
    ranks: &'a mut Ranks,
    /// Architectures of this generation that ranking must not choose again.
    taken: BTreeSet<String>,
}

/// One round of texts, as candidates without a verdict.
fn write(
    run: &Run,
    parts: &mut Parts<'_>,
    proposals: &[&Proposal],
    round: &mut Round<'_>,
) -> Result<Vec<Candidate>, SearchError> {
    let (number, attempt) = (round.number, round.attempt);
    let tokens = parts.generator.infill().cloned();
    let chat = chat_of(run.config.prompts.style, parts.generator);
    let mut drafts: Vec<Draft> = Vec::with_capacity(proposals.len());
    for proposal in proposals {
        drafts.push(if rank::ranks(&run.config, proposal.operator) {
            let parent = round.networks.network(parts.reader, proposal);
            round.ranks.draft(run, parts, parent, proposal, attempt, &mut round.taken)?
        } else {
            draft(run, parts.reader, tokens.as_ref(), chat.as_ref(), round.networks, proposal, attempt)
        });
        check_cancelled(run, parts)?;
    }
    let requests: Vec<Request> = drafts.iter().filter_map(|draft| draft.step.request().cloned()).collect();
    let started = Instant::now();
    let answers = if requests.is_empty() { Vec::new() } else { ask(parts, number, attempt, &requests)? };
    check_cancelled(run, parts)?;
    let seconds = started.elapsed().as_secs_f64();
    // Whoever wrote more took more of the time.
    let written = |answer: &Result<Completion, String>| {
        answer.as_ref().map_or(0, |completion| completion.completion_tokens)
    };
    let per_token = seconds / answers.iter().map(written).sum::<usize>().max(1) as f64;
    let mut answers = answers.into_iter();
    Ok(proposals
        .iter()
        .zip(drafts)
        .map(|(proposal, draft)| {
            let answer = draft.step.request().and_then(|_| answers.next());
            candidate(run, proposal, attempt, draft, answer, per_token)
        })
        .collect())
}

/// The candidate of a draft and, where the LLM was asked, its answer.
fn candidate(
    run: &Run,
    proposal: &Proposal,
    attempt: u64,
    draft: Draft,
    answer: Option<Result<Completion, String>>,
    per_token: f64,
) -> Candidate {
    let instruction = run.book.instructions().get(draft.instruction);
    let mut candidate = Candidate {
        id: proposal.id,
        attempt,
        retried: false,
        operator: proposal.operator,
        parents: proposal.parents.iter().map(|parent| parent.id).collect(),
        prompt: Some(PromptChoice { instruction: draft.instruction, ..proposal.prompt }),
        instruction: instruction.map(|instruction| instruction.id.clone()).unwrap_or_default(),
        temperature: draft.step.request().map_or(0.0, |request| request.temperature),
        prompt_text: draft.step.request().map(|request| request.prompt.clone()).unwrap_or_default(),
        source: String::new(),
        kept: None,
        verdict: Verdict::Accepted,
        message: String::new(),
        repairs: Vec::new(),
        prior: None,
        predicted: None,
        facts: None,
        score: None,
        placed: None,
        cost: Cost::default(),
    };
    let refuse = |candidate: &mut Candidate, verdict: Verdict, message: String| {
        (candidate.verdict, candidate.message) = (verdict, message);
    };
    match (draft.step, answer) {
        (Step::Done { source, what }, _) => (candidate.source, candidate.prompt_text) = (source, what),
        (Step::Ranked(picked), _) => {
            (candidate.source, candidate.prompt_text) = (picked.source, picked.what);
            (candidate.prior, candidate.cost) = (Some(picked.score), picked.cost);
        }
        (Step::Failed(message), _) => refuse(&mut candidate, Verdict::Unsupported, message),
        (_, Some(Err(message))) => refuse(&mut candidate, Verdict::LimitExceeded, message),
        (step, Some(Ok(completion))) => {
            let limit = step.request().map_or(0, |request| request.max_tokens);
            candidate.cost = cost(&completion, limit, per_token);
            candidate.source = match &step {
                Step::Fill(_, hole) => infill::fill(hole, &completion.text),
                _ => source::candidate(&proposal.sources(), &completion.text),
            };
        }
        (_, None) => refuse(&mut candidate, Verdict::LimitExceeded, "the LLM gave no answer".into()),
    }
    candidate
}

/// One completion per request, or why its prompt cannot be completed: parents may grow beyond the LLM's
/// context, which is their child's misfortune and not the end of the search.
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

/// The verdict before training: refused, known, or new. What does not load is refused; it is never replaced
/// by its parent.
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

fn cost(completion: &Completion, limit: usize, per_token: f64) -> Cost {
    let saved = match completion.finish {
        Finish::Abandoned => limit.saturating_sub(completion.completion_tokens) as u64,
        _ => 0,
    };
    Cost {
        saved_tokens: saved,
        prompt_tokens: completion.prompt_tokens as u64,
        cached_tokens: completion.cached_prompt_tokens as u64,
        completion_tokens: completion.completion_tokens as u64,
        generate_seconds: per_token * completion.completion_tokens as f64,
        train_seconds: 0.0,
    }
}
