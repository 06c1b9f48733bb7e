//! The search engine without an LLM: Bayesian optimisation over typed edits with a Gaussian process.
//!
//! It begins with a Latin design (each choice once at each position over five points) and then always takes the
//! unseen point of highest expected improvement under `bench::gaussian`, refit after every evaluation; the kernel's
//! parameters are chosen by marginal likelihood once 30, 60, 120 and 240 points are known. Fitness enters by rank
//! only. Reference: Ru, Wan, Dong, Osborne, "Interpretable NAS via Bayesian Optimisation with Weisfeiler-Lehman
//! Kernels", 2021, for the use of a graph kernel. Knows nothing of what the choices mean: no order of operations, no
//! parameter counts. Limit: it scores the whole space at each step, so the space must be small enough to list.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bench::gaussian::{
    Distances, Kernel, Posterior, improvement_bound, log_expected_improvement, normal_scores,
};
use crate::bench::search::{Evaluation, Ledger, TableSearch};
use crate::bench::space::{Features, Space};
use crate::rng::Stream;

/// The kernel until enough is known to choose one.
const FIRST_KERNEL: Kernel = Kernel { symbol_share: 1.0, decay: 0.6, length: 1.0, noise: 0.03 };
/// Evaluations after which the kernel is chosen anew.
const REFITS: [usize; 4] = [30, 60, 120, 240];
const SYMBOL_SHARES: [f64; 3] = [0.8, 0.5, 0.2];
const DECAYS: [f64; 3] = [0.3, 0.6, 0.85];
const LENGTHS: [f64; 3] = [1.0, 2.0, 4.0];
const NOISES: [f64; 3] = [0.003, 0.03, 0.15];

/// Points with equal features are one group: the model cannot tell them apart, so it is solved for groups.
pub(super) struct SurrogateSearch {
    groups: Arc<[Features]>,
    group_of: Vec<usize>,
    /// Points of each group, ascending.
    members: Vec<Vec<usize>>,
    /// For each position the order in which the Latin design takes its choices; drawn when first asked.
    design: Vec<Vec<u8>>,
    posterior: Posterior,
}

impl SurrogateSearch {
    /// A search that has seen nothing.
    pub(super) fn new(space: &dyn Space) -> Self {
        let mut index: BTreeMap<Features, usize> = BTreeMap::new();
        let (mut group_of, mut members) = (Vec::with_capacity(space.len()), Vec::<Vec<usize>>::new());
        for point in 0..space.len() {
            let group = *index.entry(space.features(point)).or_insert(members.len());
            if group == members.len() {
                members.push(Vec::new());
            }
            members[group].push(point);
            group_of.push(group);
        }
        let groups: Arc<[Features]> = members.iter().map(|points| space.features(points[0])).collect();
        let posterior = Posterior::new(Arc::clone(&groups), FIRST_KERNEL);
        Self { groups, group_of, members, design: Vec::new(), posterior }
    }

    fn of_design(&mut self, space: &dyn Space, step: usize, rng: &mut Stream) -> usize {
        if self.design.is_empty() {
            let mut shuffled = || {
                let mut order: Vec<u8> = (0..space.choices() as u8).collect();
                rng.shuffle(&mut order);
                order
            };
            self.design = (0..space.positions()).map(|_| shuffled()).collect();
        }
        let choices: Vec<u8> = self.design.iter().map(|order| order[step]).collect();
        space.point(&choices)
    }

    fn refit(&mut self, ledger: &Ledger, targets: &[f64]) {
        let seen: Vec<usize> = ledger.evaluations().iter().map(|e| self.group_of[e.point]).collect();
        let features: Vec<&Features> = seen.iter().map(|&group| &self.groups[group]).collect();
        let distances = Distances::between(&features);
        let mut best: Option<(f64, Kernel)> = None;
        for kernel in kernels() {
            let likelihood = distances.log_likelihood(&kernel, targets);
            if best.is_none_or(|(highest, _)| likelihood > highest) {
                best = Some((likelihood, kernel));
            }
        }
        if let Some((_, kernel)) = best {
            self.posterior = Posterior::new(Arc::clone(&self.groups), kernel);
            for group in seen {
                self.posterior.observe(group);
            }
        }
    }
}

impl TableSearch for SurrogateSearch {
    fn start(&self) -> usize {
        0
    }

    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        let known = ledger.evaluations().len();
        if known < space.choices() {
            return self.of_design(space, known, rng);
        }
        let fitness: Vec<f64> = ledger.evaluations().iter().map(|e| e.fitness).collect();
        let targets = normal_scores(&fitness);
        if REFITS.contains(&known) {
            self.refit(ledger, &targets);
        }
        let highest = targets.iter().copied().fold(f64::MIN, f64::max);
        let (mean, deviation) = self.posterior.predict(&targets);
        let mut best: Option<(f64, usize)> = None;
        for (group, points) in self.members.iter().enumerate() {
            let (mean, deviation) = (mean[group], deviation[group]);
            if best.is_some_and(|(most, _)| improvement_bound(mean, deviation, highest) <= most) {
                continue;
            }
            let Some(&point) = points.iter().find(|&&point| !ledger.has(point)) else { continue };
            let gain = log_expected_improvement(mean, deviation, highest);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, point));
            }
        }
        best.map_or_else(|| ledger.unseen(rng), |(_, point)| point)
    }

    fn tell(&mut self, _space: &dyn Space, evaluation: Evaluation) {
        self.posterior.observe(self.group_of[evaluation.point]);
    }
}

/// The kernels to choose from.
fn kernels() -> impl Iterator<Item = Kernel> {
    SYMBOL_SHARES.into_iter().flat_map(|symbol_share| {
        DECAYS.into_iter().flat_map(move |decay| {
            LENGTHS.into_iter().flat_map(move |length| {
                NOISES.into_iter().map(move |noise| Kernel { symbol_share, decay, length, noise })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::{Method, run};
    use crate::bench::space::Space;
    use crate::rng::RootSeed;

    #[test]
    fn the_design_takes_each_choice_once_at_each_position() {
        let found = run(&CellSpace, Method::Surrogate, 5, RootSeed(8), |_| 0.0).unwrap();
        for position in 0..CellSpace.positions() {
            let mut choices: Vec<u8> = found.iter().map(|e| CellSpace.spell(e.point)[position]).collect();
            choices.sort_unstable();
            assert_eq!(choices, [0, 1, 2, 3, 4], "position {position}");
        }
    }

    #[test]
    fn an_additive_landscape_is_solved_in_fifty_looks_by_rank_alone() {
        // exp stretches the values over many orders of magnitude: only their ranks can be what is used.
        let fitness = |point: usize| {
            let choices = CellSpace.spell(point);
            let sum: u32 = choices.iter().enumerate().map(|(i, &c)| u32::from((c + i as u8) % 5)).sum();
            f64::from(sum).exp()
        };
        for seed in 0..3 {
            let found = run(&CellSpace, Method::Surrogate, 50, RootSeed(seed), fitness).unwrap();
            let best = found.iter().map(|e| e.fitness).fold(0.0, f64::max);
            assert_eq!(best, 24f64.exp(), "seed {seed}");
        }
    }
}
