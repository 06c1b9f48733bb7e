//! Typed edits drawn at random from the elites of a MAP-Elites archive: the control for every LLM operator.
//!
//! Mouret and Clune, "Illuminating search spaces by mapping elites", 2015: each niche of a grid over the descriptors
//! keeps its fittest point, a parent is uniform over the filled niches, a child is one random edit away (more where
//! all such are known). Limit: the archive here is a plain grid, without the product's CVT and curiosity.

use std::collections::BTreeMap;

use crate::bench::search::{Evaluation, Ledger, TableSearch, mutate};
use crate::bench::space::Space;
use crate::rng::Stream;

/// Niches per axis of the descriptor.
const GRID: usize = 6;

/// The elite of each filled niche.
#[derive(Debug, Default)]
pub(super) struct TypedEdits {
    elites: BTreeMap<usize, Evaluation>,
}

impl TableSearch for TypedEdits {
    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        let chosen = rng.below(self.elites.len());
        match self.elites.values().nth(chosen) {
            Some(parent) => mutate(space, ledger, parent.point, rng),
            None => ledger.unseen(rng),
        }
    }

    fn tell(&mut self, space: &dyn Space, evaluation: Evaluation) {
        let niche = niche(space.descriptor(evaluation.point));
        let elite = self.elites.entry(niche).or_insert(evaluation);
        if evaluation.fitness > elite.fitness {
            *elite = evaluation;
        }
    }
}

fn niche(descriptor: [f64; 2]) -> usize {
    let axis = |value: f64| ((value * GRID as f64) as usize).min(GRID - 1);
    axis(descriptor[0]) * GRID + axis(descriptor[1])
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::typed::{TypedEdits, niche};
    use crate::bench::search::{Evaluation, TableSearch};
    use crate::bench::space::Space;

    #[test]
    fn a_niche_never_loses_a_better_elite() {
        let mut typed = TypedEdits::default();
        let mut best = std::collections::BTreeMap::new();
        for point in 0..CellSpace.len() {
            let fitness = ((point * 7919) % 1009) as f64;
            typed.tell(&CellSpace, Evaluation { point, fitness });
            let kept = best.entry(niche(CellSpace.descriptor(point))).or_insert(fitness);
            *kept = kept.max(fitness);
        }
        assert!(best.len() > 8, "{} niches", best.len());
        assert_eq!(
            typed.elites.iter().map(|(n, e)| (*n, e.fitness)).collect::<Vec<_>>(),
            Vec::from_iter(best)
        );
    }

    #[test]
    fn the_corners_of_the_unit_square_are_in_the_grid() {
        assert_eq!((niche([0.0, 0.0]), niche([1.0, 1.0])), (0, 35));
    }
}
