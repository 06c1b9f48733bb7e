//! What the search knows: both archives, the architectures seen, the rolling digest. `tell` is the only way
//! to learn.
//!
//! Input: candidates in slot order, live or replayed from the database; the result is the same. One limit:
//! fitness of every trained candidate is kept in memory, 24 bytes each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::archive::digest::{self, Hasher};
use crate::archive::{
    Archive, ArchiveError, Axis, Bandit, CandidateId, Cvt, Elite, Grid, Niches, PromptArchive,
    PromptSettings, Reward,
};
use crate::config::{ArchiveKind, DescriptorKind, SearchConfig};
use crate::rng::RootSeed;

use super::record::{Candidate, Operator, Verdict};
use super::surrogate::FitnessSums;

/// Tokens of a prompt that cost as much as one written token.
const PROMPT_DISCOUNT: f64 = 8.0;

/// What the search knows.
#[derive(Debug, Clone)]
pub struct State {
    /// The networks.
    pub archive: Archive,
    /// The prompts.
    pub prompts: PromptArchive,
    /// What each pair of operator and instruction came to.
    pub bandit: Bandit<(Operator, usize)>,
    /// The networks of the latest generation that had one.
    pub latest: Vec<Elite>,
    /// The latest trained networks, oldest first, as many as `search.population`.
    pub population: VecDeque<Elite>,
    /// Networks that were trained.
    pub trained: u64,
    /// What the surrogate learnt.
    pub surrogate: FitnessSums,
    /// The network that everything starts from, once it was trained.
    pub seed: Option<Elite>,
    /// Every architecture of the run, and who had it first.
    pub seen: BTreeMap<String, CandidateId>,
    /// The digest of everything up to the last generation.
    pub digest: String,
    /// Generations learnt from, the seed network's included.
    pub generations: u64,
    axes: [DescriptorKind; 2],
    candidate_tokens: f64,
    members: usize,
    fitness: BTreeMap<CandidateId, f64>,
}

impl State {
    /// Nothing but empty archives.
    pub fn new(config: &SearchConfig, instructions: usize) -> State {
        let axis = |[low, high]: [f64; 2]| Axis { low, high };
        let archive = &config.archive;
        let niches = match archive.kind {
            ArchiveKind::Cvt => Niches::Cvt(Cvt::new(RootSeed(config.seed), archive.niches, archive.samples)),
            ArchiveKind::Grid => Niches::Grid(Grid::new(archive.columns, archive.rows)),
        };
        let axes = [archive.x, archive.y];
        let prompts = &config.prompts;
        let settings = PromptSettings {
            min: prompts.temperature_min,
            max: prompts.temperature_max,
            start: prompts.temperature_start,
            step: prompts.temperature_step,
            bins: prompts.temperature_bins,
            tournament: prompts.tournament,
        };
        State {
            archive: Archive::new(niches, axes.map(|descriptor| axis(archive.range(descriptor)))),
            axes,
            prompts: PromptArchive::new(settings, instructions),
            bandit: Bandit::new(config.operators.candidate_tokens as f64),
            latest: Vec::new(),
            population: VecDeque::new(),
            trained: 0,
            surrogate: FitnessSums::default(),
            members: config.search.population,
            candidate_tokens: config.operators.candidate_tokens as f64,
            seed: None,
            seen: BTreeMap::new(),
            digest: String::new(),
            generations: 0,
            fitness: BTreeMap::new(),
        }
    }

    /// Learn from one candidate, and write into it where the archive put it. Copies that were asked again,
    /// and networks that were not trained, teach nothing but what they cost.
    ///
    /// # Errors
    /// An accepted candidate whose fitness or descriptor is not finite.
    pub fn tell(&mut self, candidate: &mut Candidate) -> Result<(), ArchiveError> {
        if candidate.retried || candidate.verdict == Verdict::Skipped {
            self.tell_bandit(candidate);
            return Ok(());
        }
        if let (true, Some(facts)) = (candidate.novel(), &candidate.facts) {
            self.seen.entry(facts.architecture.clone()).or_insert(candidate.id);
        }
        let mut fitness = None;
        if let (Verdict::Accepted, Some(facts), Some(score)) =
            (candidate.verdict, &candidate.facts, &candidate.score)
        {
            let elite = Elite {
                id: candidate.id,
                architecture: facts.architecture.clone(),
                source: Arc::from(candidate.kept.as_deref().unwrap_or(&candidate.source)),
                fitness: score.fitness,
                descriptor: self.axes.map(|descriptor| match (descriptor, score.latency) {
                    (DescriptorKind::LogLatency, Some(latency)) => latency.log10(),
                    _ => facts.described.value(descriptor),
                }),
            };
            if candidate.operator == Operator::Seed {
                self.seed = Some(elite.clone());
            }
            if self.latest.first().is_none_or(|first| first.id.generation != candidate.id.generation) {
                self.latest.clear();
            }
            self.latest.push(elite.clone());
            self.population.push_back(elite.clone());
            if self.population.len() > self.members {
                self.population.pop_front();
            }
            self.trained += 1;
            let parents = self.parents_fitness(candidate.parents.iter());
            self.surrogate.tell(candidate, facts, parents, score.fitness);
            candidate.placed = Some(self.archive.add(elite)?);
            self.fitness.insert(candidate.id, score.fitness);
            fitness = Some(score.fitness);
        }
        if let Some(prompt) = candidate.prompt {
            let reward = match candidate.verdict {
                Verdict::Accepted if candidate.archived() => Reward::Archived,
                Verdict::Accepted | Verdict::Copy | Verdict::Duplicate => Reward::NotArchived,
                _ => Reward::NotTrainable,
            };
            candidate.parents.iter().for_each(|&parent| self.archive.reward(parent, reward));
            let parent = self.parents_fitness(candidate.parents.iter()).unwrap_or(f64::NEG_INFINITY);
            let improved = fitness.is_some_and(|fitness| fitness > parent);
            // Only a sampled text can profit from another temperature.
            let asked = !matches!(candidate.operator, Operator::Typed | Operator::Rank);
            self.prompts.tell(prompt, reward, asked.then_some(improved));
            self.tell_bandit(candidate);
        }
        Ok(())
    }

    /// The highest fitness of these candidates.
    pub(super) fn parents_fitness<'a>(&self, ids: impl Iterator<Item = &'a CandidateId>) -> Option<f64> {
        ids.filter_map(|id| self.fitness.get(id)).copied().reduce(f64::max)
    }

    /// Tokens are the same in every run of a seed, cached or not; seconds are not.
    fn tell_bandit(&mut self, candidate: &Candidate) {
        let Some(prompt) = candidate.prompt else { return };
        let written = candidate.cost.completion_tokens as f64;
        let read = candidate.cost.prompt_tokens as f64 / PROMPT_DISCOUNT;
        let trained = if candidate.novel() { self.candidate_tokens } else { 0.0 };
        let arm = (candidate.operator, prompt.instruction);
        self.bandit.tell(arm, candidate.archived(), written + read + trained);
    }

    /// End a generation: the digest of everything so far, chained to the one before.
    pub fn close_generation(&mut self, candidates: &[Candidate]) {
        let mut hasher = Hasher::default();
        hasher.text(&self.digest);
        hasher.number(candidates.len() as u64);
        candidates.iter().for_each(|candidate| candidate.feed(&mut hasher));
        digest::feed(&mut hasher, &self.archive, &self.prompts);
        self.digest = hasher.hex();
        self.generations += 1;
    }
}
