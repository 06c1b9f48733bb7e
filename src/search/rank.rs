//! The rank operator: the typed edits of a parent are listed, scored, and the best one that was not tried is taken.
//!
//! Input: a parent, and what is known of the run. Output: an edited source with its score. The score is the LLM's
//! mean log-probability per token of the edit in words, read off its logits: exact, never invalid, nothing is
//! sampled. Its controls (`operators.prior`) replace the score and leave the rest as it is. Edits come in a random
//! order of the parent and are scored `rank_options` at a time, the next ones when all before were tried. Limit: an
//! edit is judged by its words, without a look at the text that it gives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::{Prior, PromptKind, SearchConfig};
use crate::llm::{LlmError, Score};
use crate::rng::{RootSeed, Stream};

use super::Parts;
use super::Run;
use super::draft::{Draft, Step};
use super::error::SearchError;
use super::propose::Proposal;
use super::read::{Network, Reader};
use super::record::{Cost, Operator};
use super::source;
use super::typed::{self, EditKind, Edited};

/// Parents whose scores are kept; the oldest goes first.
const KEPT: usize = 256;

/// Scores of the edits of parents. They are kept for speed only: forgotten ones come out the same, and a choice looks
/// at no more of them than it would have scored itself.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    parents: BTreeMap<Key, Ranked>,
    order: VecDeque<Key>,
}

/// Architecture and instruction.
type Key = (String, usize);

/// What is known of one parent's edits.
#[derive(Debug, Default)]
struct Ranked {
    options: Vec<Choice>,
    /// Edits in all, scored or not.
    total: usize,
    /// What was scored together, first to last.
    batches: Vec<Batch>,
}

/// Options that were scored together with those before them.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// How many options there are up to its last one.
    end: usize,
    /// Tokens that were read for them.
    tokens: u64,
}

#[derive(Debug)]
struct Choice {
    edited: Edited,
    score: f64,
    /// The architecture; `None` inside where the text is no network.
    architecture: Option<Option<String>>,
}

/// An edit of `Ranked` that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picked {
    pub(super) source: String,
    pub(super) what: String,
    pub(super) score: f64,
    pub(super) cost: Cost,
}

/// Whether a proposal is answered here: ranking itself, and every operator whose prior is a fixed random order.
pub(super) fn ranks(config: &SearchConfig, operator: Operator) -> bool {
    let llm = matches!(operator, Operator::Rewrite | Operator::Crossover | Operator::Infill);
    operator == Operator::Rank || (llm && config.operators.prior == Prior::Random)
}

/// The edits that the reader knows of, or those of the kinds that the instructions name.
pub(super) fn options(run: &Run, reader: &dyn Reader, parent: &Network) -> Vec<Edited> {
    reader.edits(parent).unwrap_or_else(|| typed::edits(&parent.source, &parent.graph, &kinds(run)))
}

/// The kinds of edits that the file of prompts has.
pub(super) fn kinds(run: &Run) -> Vec<EditKind> {
    let typed = run.book.instructions().iter().filter(|instruction| instruction.kind == PromptKind::Typed);
    typed.filter_map(|instruction| EditKind::from_words(&instruction.text)).collect()
}

impl Ranks {
    /// The best edit of the proposal's parent that is neither seen nor in `taken`, which it then joins.
    ///
    /// # Errors
    /// The LLM fails.
    pub(super) fn draft(
        &mut self,
        run: &Run,
        parts: &mut Parts<'_>,
        parent: Option<&Network>,
        proposal: &Proposal,
        attempt: u64,
        taken: &mut BTreeSet<String>,
    ) -> Result<Draft, SearchError> {
        let instruction = proposal.prompt.instruction;
        let failed = |message: &str| Ok(Draft { instruction, step: Step::Failed(message.to_owned()) });
        let (Some(parent), Some(elite)) = (parent, proposal.parents.first()) else {
            return failed("the parent is no network");
        };
        let key = (elite.architecture.clone(), instruction);
        if !self.parents.contains_key(&key) {
            self.order.push_back(key.clone());
            if self.order.len() > KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.parents.remove(&oldest);
            }
        }
        let ranked = self.parents.entry(key).or_default();
        let mut each =
            RootSeed(run.config.seed).stream("rank", &[proposal.id.generation, proposal.id.slot, attempt]);
        let known = ranked.batches.len();
        // Batch by batch though more may be scored already: an edit that the surrogate skipped is free again.
        for shown in 0.. {
            if shown == ranked.batches.len() && !ranked.more(run, parts, parent, proposal)? {
                break;
            }
            let Batch { end, tokens } = ranked.batches[shown];
            if let Some(choice) = ranked.best(run, parts.reader, &mut each, end, taken, &elite.architecture) {
                let Choice { edited, score, architecture } = &ranked.options[choice];
                taken.extend(architecture.clone().flatten());
                let cached = ranked.batches[..known.min(shown + 1)].last().map_or(0, |batch| batch.tokens);
                let cost = Cost { prompt_tokens: tokens, cached_tokens: cached, ..Cost::default() };
                let (source, what, score) = (edited.source.clone(), edited.what.clone(), *score);
                return Ok(Draft { instruction, step: Step::Ranked(Picked { source, what, score, cost }) });
            }
        }
        failed("every typed edit of the parent is known or no network")
    }
}

impl Ranked {
    /// The option with the highest score among those of the first `end` that give a new network.
    fn best(
        &mut self,
        run: &Run,
        reader: &dyn Reader,
        each: &mut Stream,
        end: usize,
        taken: &BTreeSet<String>,
        parent: &str,
    ) -> Option<usize> {
        let even = run.config.operators.prior == Prior::None;
        let mut order: Vec<(usize, f64)> = (0..end)
            .map(|index| (index, if even { each.uniform() } else { self.options[index].score }))
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for (index, _) in order {
            let option = &mut self.options[index];
            let read =
                || reader.read(&option.edited.source).ok().map(|network| network.graph.architecture_id());
            let architecture = option.architecture.get_or_insert_with(read);
            let new = architecture
                .as_ref()
                .is_some_and(|id| id != parent && !run.state.seen.contains_key(id) && !taken.contains(id));
            if new {
                return Some(index);
            }
        }
        None
    }

    /// Score the next options; false where there are none.
    fn more(
        &mut self,
        run: &Run,
        parts: &mut Parts<'_>,
        parent: &Network,
        proposal: &Proposal,
    ) -> Result<bool, SearchError> {
        let Some(elite) = proposal.parents.first() else { return Ok(false) };
        if self.total > 0 && self.options.len() == self.total {
            return Ok(false);
        }
        let seed = RootSeed(run.config.seed);
        let id = [elite.id.generation, elite.id.slot];
        let mut all = options(run, parts.reader, parent);
        seed.stream("options", &id).shuffle(&mut all);
        self.total = all.len();
        let next: Vec<Edited> =
            all.into_iter().skip(self.options.len()).take(run.config.operators.rank_options).collect();
        let mut tokens = self.batches.last().map_or(0, |batch| batch.tokens);
        let scores = match run.config.operators.prior {
            Prior::None => vec![0.0; next.len()],
            Prior::Random => {
                let score = |edited: &Edited| seed.stream(&format!("prior {}", edited.what), &[]).uniform();
                next.iter().map(score).collect()
            }
            prior => {
                let words = run.book.words(
                    proposal.prompt.instruction,
                    prior == Prior::Opposite,
                    &run.row.input_sizes,
                    run.row.classes,
                );
                let mut legend: Vec<&str> = kinds(run).into_iter().map(EditKind::words).collect();
                if run.config.operators.shuffle {
                    seed.stream("legend", &id).shuffle(&mut legend);
                }
                let prompt = source::rank_prompt(&parent.source, &words, &legend);
                let (scores, read) = score(parts, &prompt, &next)?;
                tokens += read;
                scores
            }
        };
        let choices =
            next.into_iter().zip(scores).map(|(edited, score)| Choice { edited, score, architecture: None });
        let before = self.options.len();
        self.options.extend(choices);
        let end = self.options.len();
        if end > before {
            self.batches.push(Batch { end, tokens });
        }
        Ok(end > before)
    }
}

/// The mean log-probability per token of each edit's words, and how many tokens were read for it.
fn score(parts: &mut Parts<'_>, prompt: &str, next: &[Edited]) -> Result<(Vec<f64>, u64), SearchError> {
    let texts: Vec<String> = next.iter().map(|edited| format!(" {}\n", edited.what)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    match parts.generator.score(prompt, &texts) {
        Ok(scores) => {
            let written: usize = scores.iter().map(|score| score.tokens).sum();
            let read = (parts.generator.count_tokens(prompt) + written) as u64;
            Ok((scores.iter().map(Score::per_token).collect(), read))
        }
        // A parent that outgrew the context: its edits come in the order that they have.
        Err(LlmError::TooLong { .. }) => Ok((vec![0.0; next.len()], 0)),
        Err(error) => Err(error.into()),
    }
}
