//! Local search: the unseen neighbours of the best point, in random order; a better one moves the search at once.
//!
//! White, Nolen, Savani, "Exploring the Loss Landscape in NAS", 2021, in its greedy form. When the neighbourhood of
//! the best point is used up the search restarts from a random unseen point and forgets the old best, so that it
//! cannot be drawn back. Limit: no model, so a basin costs its whole neighbourhood.

use crate::bench::search::{Evaluation, Ledger, TableSearch};
use crate::bench::space::Space;
use crate::rng::Stream;

/// The best point since the last restart.
#[derive(Debug, Default)]
pub(super) struct LocalSearch {
    best: Option<Evaluation>,
}

impl TableSearch for LocalSearch {
    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        if let Some(best) = self.best {
            let unseen: Vec<usize> =
                space.neighbours(best.point).into_iter().filter(|&n| !ledger.has(n)).collect();
            if !unseen.is_empty() {
                return unseen[rng.below(unseen.len())];
            }
        }
        self.best = None;
        ledger.unseen(rng)
    }

    fn tell(&mut self, _space: &dyn Space, evaluation: Evaluation) {
        if self.best.is_none_or(|best| evaluation.fitness > best.fitness) {
            self.best = Some(evaluation);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::{Method, run};
    use crate::bench::space::Space;
    use crate::rng::RootSeed;

    #[test]
    fn a_used_up_neighbourhood_leads_to_a_restart() {
        // A single peak at 0: from there all 24 neighbours are worse, then the search must jump.
        let mut looks = Vec::new();
        run(&CellSpace, Method::Local, 120, RootSeed(4), |point| {
            looks.push(point);
            -(CellSpace.spell(point).iter().map(|&c| f64::from(c)).sum::<f64>())
        })
        .unwrap();
        let peak = looks.iter().position(|&p| p == 0).unwrap();
        let neighbours = CellSpace.neighbours(0);
        let last = looks.iter().rposition(|p| neighbours.contains(p)).unwrap();
        assert!(peak < last && neighbours.iter().all(|n| looks.contains(n)), "{peak} {last}");
        assert!(!neighbours.contains(&looks[last + 1]));
    }
}
