//! The network archive: MAP-Elites with the best network of each niche (Mouret and Clune 2015), over a CVT or a grid.
//!
//! Input: fitness (higher is better, finite) and a raw descriptor pair, scaled here to the unit square by
//! stated ranges. One limit: descriptors outside of the ranges are clipped to the border niches, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CandidateId, Cvt, Grid, Reward};

/// How the unit square is divided.
#[derive(Debug, Clone, PartialEq)]
pub enum Niches {
    /// Into cells of centroids.
    Cvt(Cvt),
    /// Into rectangles.
    Grid(Grid),
}

impl Niches {
    /// The middle of each niche.
    pub fn centroids(&self) -> &[[f64; 2]] {
        match self {
            Niches::Cvt(cvt) => cvt.centroids(),
            Niches::Grid(grid) => grid.centroids(),
        }
    }

    fn niche_of(&self, point: [f64; 2]) -> usize {
        match self {
            Niches::Cvt(cvt) => cvt.niche_of(point),
            Niches::Grid(grid) => grid.niche_of(point),
        }
    }
}

/// A descriptor's range: what is mapped to 0 and to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// Mapped to 0.
    pub low: f64,
    /// Mapped to 1.
    pub high: f64,
}

impl Axis {
    /// The place of `value` in [0, 1], and whether it had to be clipped.
    fn scale(self, value: f64) -> (f64, bool) {
        let place = (value - self.low) / (self.high - self.low);
        (place.clamp(0.0, 1.0), !(0.0..=1.0).contains(&place))
    }
}

/// The best network of a niche.
#[derive(Debug, Clone, PartialEq)]
pub struct Elite {
    /// Which candidate it is.
    pub id: CandidateId,
    /// Its architecture.
    pub architecture: String,
    /// Its source, as kept.
    pub source: Arc<str>,
    /// Its fitness, higher is better.
    pub fitness: f64,
    /// Its raw descriptor.
    pub descriptor: [f64; 2],
}

/// What adding a candidate did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddOutcome {
    /// The niche holds a network that is at least as good.
    Rejected,
    /// It replaced a worse network.
    Improved,
    /// The niche was empty.
    New,
}

impl AddOutcome {
    /// Whether the archive holds the candidate now.
    pub fn archived(self) -> bool {
        self > AddOutcome::Rejected
    }

    /// `rejected`, `improved` or `new`.
    pub fn name(self) -> &'static str {
        match self {
            AddOutcome::Rejected => "rejected",
            AddOutcome::Improved => "improved",
            AddOutcome::New => "new",
        }
    }
}

/// Why a candidate has no place in an archive.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// Its fitness is not a number.
    #[error("fitness: expected a finite number, got {0}")]
    Fitness(f64),
    /// Its descriptor is not a pair of numbers.
    #[error("descriptor: expected finite numbers, got {0:?}")]
    Descriptor([f64; 2]),
}

/// The state of an archive in four numbers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Filled niches.
    pub elites: usize,
    /// Filled niches over niches, in [0, 1].
    pub coverage: f64,
    /// Sum of fitness over niches; empty ones count 0.
    pub qd_score: f64,
    /// Highest fitness; `None` when empty.
    pub best: Option<f64>,
    /// Mean fitness of the elites; `None` when empty.
    pub mean: Option<f64>,
    /// Candidates whose descriptor was clipped to the unit square.
    pub clipped: u64,
}

/// The network archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    niches: Niches,
    axes: [Axis; 2],
    elites: BTreeMap<usize, Elite>,
    /// Of elites whose children were told; the others have 0.
    curiosity: BTreeMap<CandidateId, f64>,
    clipped: u64,
}

impl Archive {
    /// An empty archive.
    pub fn new(niches: Niches, axes: [Axis; 2]) -> Archive {
        Archive { niches, axes, elites: BTreeMap::new(), curiosity: BTreeMap::new(), clipped: 0 }
    }

    /// A raw descriptor's place in the unit square.
    pub fn point(&self, descriptor: [f64; 2]) -> [f64; 2] {
        std::array::from_fn(|axis| self.axes[axis].scale(descriptor[axis]).0)
    }

    /// A raw descriptor's niche.
    pub fn niche_of(&self, descriptor: [f64; 2]) -> usize {
        self.niches.niche_of(self.point(descriptor))
    }

    /// Offer a candidate: it stays if its niche is empty or holds a worse one.
    ///
    /// # Errors
    /// Fitness or descriptor not finite; the archive is unchanged.
    pub fn add(&mut self, elite: Elite) -> Result<(usize, AddOutcome), ArchiveError> {
        if !elite.fitness.is_finite() {
            return Err(ArchiveError::Fitness(elite.fitness));
        }
        if elite.descriptor.iter().any(|value| !value.is_finite()) {
            return Err(ArchiveError::Descriptor(elite.descriptor));
        }
        let clipped = (0..2).any(|axis| self.axes[axis].scale(elite.descriptor[axis]).1);
        self.clipped += u64::from(clipped);
        let niche = self.niche_of(elite.descriptor);
        let outcome = match self.elites.get(&niche) {
            None => AddOutcome::New,
            Some(resident) if resident.fitness < elite.fitness => AddOutcome::Improved,
            Some(_) => AddOutcome::Rejected,
        };
        if outcome.archived()
            && let Some(old) = self.elites.insert(niche, elite)
        {
            self.curiosity.remove(&old.id);
        }
        Ok((niche, outcome))
    }

    /// Move the curiosity of an elite (Cully and Demiris 2018): up when a child of its was archived, else down.
    /// A network that is no elite has none.
    pub fn reward(&mut self, parent: CandidateId, reward: Reward) {
        if self.elites.values().any(|elite| elite.id == parent) {
            *self.curiosity.entry(parent).or_insert(0.0) += reward.curiosity();
        }
    }

    /// An elite's curiosity.
    pub fn curiosity(&self, elite: CandidateId) -> f64 {
        self.curiosity.get(&elite).copied().unwrap_or(0.0)
    }

    /// The filled niches in order.
    pub fn elites(&self) -> impl ExactSizeIterator<Item = (usize, &Elite)> {
        self.elites.iter().map(|(&niche, elite)| (niche, elite))
    }

    /// Elites, fittest first; the earlier candidate first among equals.
    pub fn ranked(&self) -> Vec<(usize, &Elite)> {
        let mut elites: Vec<_> = self.elites().collect();
        elites.sort_by(|(_, a), (_, b)| b.fitness.total_cmp(&a.fitness).then(a.id.cmp(&b.id)));
        elites
    }

    /// How the unit square is divided.
    pub fn niches(&self) -> &Niches {
        &self.niches
    }

    /// The state in a few numbers.
    pub fn stats(&self) -> Stats {
        let fitness = || self.elites.values().map(|elite| elite.fitness);
        let (elites, qd_score) = (self.elites.len(), fitness().sum::<f64>());
        Stats {
            elites,
            coverage: elites as f64 / self.niches.centroids().len() as f64,
            qd_score,
            best: fitness().max_by(f64::total_cmp),
            mean: (elites > 0).then(|| qd_score / elites as f64),
            clipped: self.clipped,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::{RootSeed, Stream};

    pub(in super::super) fn archive() -> Archive {
        Archive::new(
            Niches::Cvt(Cvt::new(RootSeed(0), 20, 2000)),
            [Axis { low: 0.0, high: 10.0 }, Axis { low: 4.0, high: 8.0 }],
        )
    }

    pub(in super::super) fn elite(stream: &mut Stream, slot: u64) -> Elite {
        Elite {
            id: CandidateId { generation: 1, slot },
            architecture: format!("{:016x}", stream.bits()),
            source: format!("class Net{slot}: pass").into(),
            // Few distinct values, so that ties happen.
            fitness: stream.below(50) as f64 / 50.0,
            descriptor: [stream.uniform() * 12.0 - 1.0, stream.uniform() * 5.0 + 3.5],
        }
    }

    #[test]
    fn random_sequences_never_lose_a_better_elite_and_tell_the_outcome() {
        for seed in 0..20 {
            let mut stream = RootSeed(seed).stream("sequence", &[]);
            let (mut archive, mut model) = (archive(), BTreeMap::<usize, f64>::new());
            if seed % 2 == 1 {
                archive.niches = Niches::Grid(Grid::new(5, 4));
            }
            for slot in 0..200 {
                let elite = elite(&mut stream, slot);
                let (niche, outcome) = archive.add(elite.clone()).unwrap();
                let expected = match model.get(&niche) {
                    None => AddOutcome::New,
                    Some(&fitness) if fitness < elite.fitness => AddOutcome::Improved,
                    Some(_) => AddOutcome::Rejected,
                };
                assert_eq!(outcome, expected);
                let best = model.entry(niche).or_insert(elite.fitness);
                *best = best.max(elite.fitness);
                let held: BTreeMap<usize, f64> =
                    archive.elites().map(|(niche, elite)| (niche, elite.fitness)).collect();
                assert_eq!(held, model);
            }
            let stats = archive.stats();
            assert_eq!(stats.elites, model.len());
            assert!((stats.qd_score - model.values().sum::<f64>()).abs() < 1e-12);
            assert_eq!(stats.best, model.values().copied().max_by(f64::total_cmp));
            assert!(stats.clipped > 0, "the generator leaves the ranges");
        }
    }

    #[test]
    fn curiosity_belongs_to_an_elite_and_goes_with_it() {
        let mut archive = archive();
        let elite = Elite { fitness: 0.5, ..elite(&mut RootSeed(1).stream("elite", &[]), 0) };
        archive.add(elite.clone()).unwrap();
        archive.reward(elite.id, Reward::Archived);
        archive.reward(elite.id, Reward::NotArchived);
        assert_eq!(archive.curiosity(elite.id), 0.5);
        let better = CandidateId { slot: 1, ..elite.id };
        archive.reward(better, Reward::Archived);
        assert_eq!(archive.curiosity(better), 0.0, "it is no elite yet");
        archive.add(Elite { id: better, fitness: 0.6, ..elite.clone() }).unwrap();
        assert_eq!((archive.curiosity(better), archive.curiosity(elite.id)), (0.0, 0.0));
    }

    #[test]
    fn both_descriptors_are_scaled_to_the_unit_square() {
        let archive = archive();
        assert_eq!(archive.point([5.0, 6.0]), [0.5, 0.5]);
        assert_eq!(archive.point([-3.0, 9.0]), [0.0, 1.0]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_and_change_nothing() {
        let mut archive = archive();
        let mut stream = RootSeed(0).stream("elite", &[]);
        let good = elite(&mut stream, 0);
        for bad in [
            Elite { fitness: f64::NAN, ..good.clone() },
            Elite { descriptor: [f64::INFINITY, 5.0], ..good.clone() },
            Elite { descriptor: [1.0, f64::NAN], ..good },
        ] {
            assert!(archive.add(bad).is_err());
        }
        assert_eq!(archive.stats().elites, 0);
        assert_eq!((archive.stats().best, archive.stats().mean, archive.stats().clipped), (None, None, 0));
    }
}
