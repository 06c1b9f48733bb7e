//! What a search tells its observer: plain values, each one JSON line with `--json`.
//!
//! Progress events ([`Event::Writing`], [`Event::Training`]) come often and depend on timing; the others are
//! told after what they tell of was committed. One limit: events say nothing that the database does not hold
//! too.

use crate::archive::{AddOutcome, CandidateId};

use super::record::{Operator, Verdict};
use super::store::{GenerationRow, OperatorYield, ResultRow};

/// What happens.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The search starts, or goes on.
    Started {
        /// The run directory.
        directory: String,
        /// The model.
        model: String,
        /// The data set.
        data: String,
        /// Where it is computed: `cpu` or `cuda:N`.
        device: String,
        /// The seed.
        seed: u64,
        /// Generations committed already.
        committed: u64,
        /// Generations in all, the seed network's included.
        generations: u64,
        /// Candidates per generation.
        children: u64,
    },
    /// The LLM writes.
    Writing {
        /// Which generation.
        generation: u64,
        /// Tokens so far in this round.
        tokens: u64,
        /// Completions being written.
        rows: u64,
        /// Tokens per second of this round.
        per_second: f64,
        /// 0, or the round in which copies are asked again.
        attempt: u64,
    },
    /// Networks are trained.
    Training {
        /// Which generation.
        generation: u64,
        /// Networks done.
        done: u64,
        /// Networks of this round.
        of: u64,
        /// Optimiser steps done.
        steps: u64,
        /// Optimiser steps of this round.
        of_steps: u64,
    },
    /// A candidate was committed.
    Candidate {
        /// Which one.
        id: CandidateId,
        /// How it came to be.
        operator: Operator,
        /// The instruction's name.
        instruction: String,
        /// What became of it.
        verdict: Verdict,
        /// Its validation accuracy.
        fitness: Option<f64>,
        /// Its parameters.
        parameters: Option<u64>,
        /// What the archive said.
        outcome: Option<AddOutcome>,
    },
    /// A generation was committed.
    Generation(GenerationRow),
    /// The end begins: the best network is trained further, the test split is read.
    Finishing {
        /// Elites to measure.
        elites: u64,
    },
    /// An elite's results.
    Result(ResultRow),
    /// The search is over.
    Finished(Box<Summary>),
}

/// A finished search in a few numbers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The run directory.
    pub directory: String,
    /// Generations, the seed network's included.
    pub generations: u64,
    /// Source texts, the seed network's and those of copies and duplicates that were asked again included.
    pub candidates: u64,
    /// Copies and duplicates that were asked again.
    pub retried: u64,
    /// Sources that are networks. Here and below the seed network, which nobody wrote, is left out.
    pub valid: u64,
    /// Networks not seen before.
    pub novel: u64,
    /// Networks that are a parent again, also those that were asked again.
    pub copies: u64,
    /// Networks seen before, also those that were asked again.
    pub duplicates: u64,
    /// Networks that were trained.
    pub trained: u64,
    /// Niches filled.
    pub elites: u64,
    /// Niches.
    pub niches: u64,
    /// Sum of fitness over niches.
    pub qd_score: f64,
    /// Filled niches over niches.
    pub coverage: f64,
    /// Mean fitness of the elites.
    pub mean: Option<f64>,
    /// Tokens written.
    pub tokens: u64,
    /// Texts that were given up before they were whole.
    pub given_up: u64,
    /// Tokens that the limit would still have allowed them.
    pub saved_tokens: u64,
    /// Tokens read by the LLM, cached or not.
    pub prompt_tokens: u64,
    /// Time the LLM took.
    pub generate_seconds: f64,
    /// Time the trainer took.
    pub train_seconds: f64,
    /// Tokens written per trained network; `None` before there is one.
    pub tokens_per_trained: Option<f64>,
    /// Seconds, writing and training, per trained network, without the seed network's.
    pub seconds_per_trained: Option<f64>,
    /// What each operator came to.
    pub yields: Vec<OperatorYield>,
    /// What each pair of operator and instruction came to.
    pub prompt_yields: Vec<OperatorYield>,
    /// The best network.
    pub best: Option<ResultRow>,
    /// The seed network's validation accuracy, to compare with.
    pub seed_validation: Option<f64>,
    /// The best network's parameters.
    pub parameters: u64,
    /// The best network's source.
    pub source: String,
    /// Its weights, if there are any.
    pub weights: Option<String>,
    /// The digest of everything.
    pub digest: String,
}
