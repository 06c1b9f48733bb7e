//! Regularised (ageing) evolution: the fittest of a random sample has a child, the oldest member dies.
//!
//! Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search", 2019, algorithm 1,
//! with population 10 and sample 5 as is usual on NAS-Bench-201. A child is one edit away and never a point already
//! paid for; where all those are known, edits are added until one is not.

use std::collections::VecDeque;

use crate::bench::search::{Evaluation, Ledger, START, TableSearch, mutate};
use crate::bench::space::Space;
use crate::rng::Stream;

const POPULATION: usize = START;
const SAMPLE: usize = 5;

/// Oldest member first.
#[derive(Debug, Default)]
pub(super) struct RegularisedEvolution {
    population: VecDeque<Evaluation>,
}

impl TableSearch for RegularisedEvolution {
    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        // With replacement, as in the paper's listing.
        let mut parent = self.population[rng.below(self.population.len())];
        for _ in 1..SAMPLE {
            let rival = self.population[rng.below(self.population.len())];
            if rival.fitness > parent.fitness {
                parent = rival;
            }
        }
        mutate(space, ledger, parent.point, rng)
    }

    fn tell(&mut self, _space: &dyn Space, evaluation: Evaluation) {
        self.population.push_back(evaluation);
        if self.population.len() > POPULATION {
            self.population.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::evolution::{POPULATION, RegularisedEvolution};
    use crate::bench::search::{Evaluation, Ledger, TableSearch};
    use crate::bench::space::Space;
    use crate::rng::RootSeed;

    #[test]
    fn the_oldest_member_dies_even_if_it_is_the_fittest() {
        let mut evolution = RegularisedEvolution::default();
        for point in 0..=POPULATION {
            evolution.tell(&CellSpace, Evaluation { point, fitness: 100.0 - point as f64 });
        }
        let members: Vec<usize> = evolution.population.iter().map(|e| e.point).collect();
        assert_eq!(members, (1..=POPULATION).collect::<Vec<_>>());
    }

    #[test]
    fn a_child_is_one_edit_from_a_member() {
        let mut evolution = RegularisedEvolution::default();
        for point in 0..POPULATION {
            evolution.tell(&CellSpace, Evaluation { point: point * 7, fitness: 1.0 });
        }
        let mut rng = RootSeed(1).stream("test", &[]);
        let ledger = Ledger::new(CellSpace.len());
        for _ in 0..50 {
            let child = evolution.ask(&CellSpace, &ledger, &mut rng);
            assert!((0..POPULATION).any(|p| CellSpace.neighbours(p * 7).contains(&child)), "{child}");
        }
    }
}
