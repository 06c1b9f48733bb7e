//! Local search whose neighbours come in the order of a prior: an LLM's log-probabilities, or a control of it.
//!
//! Input: a [`Prior`], asked once per centre of the search. Output: the best-scored unseen neighbour of the best
//! point; a better one moves the search at once, a used-up neighbourhood restarts it at a random point, as in
//! `local`. With an even prior it is local search. Limit: the prior sees one point, not what was learnt before.

use crate::bench::search::{Evaluation, Ledger, SearchError, TableSearch};
use crate::bench::space::Space;
use crate::rng::Stream;

/// Scores the neighbours of a point; higher is tried sooner.
pub trait Prior {
    /// One score per neighbour, in order; equal ones are tried in random order.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn scores(&mut self, point: usize, neighbours: &[usize]) -> Result<Vec<f64>, String>;
}

/// Local search under a prior.
pub(super) struct RankSearch<'a> {
    prior: &'a mut dyn Prior,
    best: Option<Evaluation>,
    /// The best point's neighbours with their scores; best last.
    order: Vec<usize>,
    failure: Option<SearchError>,
}

impl<'a> RankSearch<'a> {
    pub(super) fn new(prior: &'a mut dyn Prior) -> RankSearch<'a> {
        RankSearch { prior, best: None, order: Vec::new(), failure: None }
    }

    fn rank(&mut self, space: &dyn Space, point: usize, rng: &mut Stream) {
        let mut neighbours = space.neighbours(point);
        // Before the scores: a stable sort then leaves equals in random order.
        rng.shuffle(&mut neighbours);
        match self.prior.scores(point, &neighbours) {
            Ok(scores) => {
                let mut scored: Vec<(f64, usize)> = scores.into_iter().zip(neighbours).collect();
                scored.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.order = scored.into_iter().map(|(_, neighbour)| neighbour).collect();
            }
            Err(message) => self.failure = Some(SearchError::Prior { message }),
        }
    }
}

impl TableSearch for RankSearch<'_> {
    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        if let Some(best) = self.best {
            if self.order.is_empty() {
                self.rank(space, best.point, rng);
            }
            while let Some(neighbour) = self.order.pop() {
                if !ledger.has(neighbour) {
                    return neighbour;
                }
            }
        }
        self.best = None;
        ledger.unseen(rng)
    }

    fn tell(&mut self, _space: &dyn Space, evaluation: Evaluation) {
        if self.best.is_none_or(|best| evaluation.fitness > best.fitness) {
            self.best = Some(evaluation);
            self.order.clear();
        }
    }

    fn failure(&mut self) -> Option<SearchError> {
        self.failure.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::{Method, run, run_ranked};
    use crate::rng::RootSeed;

    struct Known(fn(usize) -> f64);

    impl Prior for Known {
        fn scores(&mut self, _: usize, neighbours: &[usize]) -> Result<Vec<f64>, String> {
            Ok(neighbours.iter().map(|&neighbour| (self.0)(neighbour)).collect())
        }
    }

    fn fitness(point: usize) -> f64 {
        CellSpace.spell(point).iter().map(|&c| f64::from((c + 2) % 5)).sum()
    }

    fn mean_best(prior: fn(usize) -> f64) -> f64 {
        let best = |seed| {
            let found = run_ranked(&CellSpace, &mut Known(prior), 22, RootSeed(seed), fitness).unwrap();
            found.iter().map(|evaluation| evaluation.fitness).fold(0.0, f64::max)
        };
        (0..40).map(best).sum::<f64>() / 40.0
    }

    #[test]
    fn a_true_prior_beats_none_and_none_beats_a_wrong_one() {
        let (right, none, wrong) =
            (mean_best(fitness), mean_best(|_| 0.0), mean_best(|point| -fitness(point)));
        assert!(right > none + 1.0 && none > wrong + 0.5, "{right} {none} {wrong}");
    }

    #[test]
    fn without_a_prior_it_is_as_good_as_local_search() {
        let local = |seed| {
            let found = run(&CellSpace, Method::Local, 22, RootSeed(seed), fitness).unwrap();
            found.iter().map(|evaluation| evaluation.fitness).fold(0.0, f64::max)
        };
        let local = (0..40).map(local).sum::<f64>() / 40.0;
        assert!((local - mean_best(|_| 0.0)).abs() < 0.8, "{local}");
    }

    #[test]
    fn a_prior_that_fails_ends_the_search_with_its_words() {
        struct Broken;
        impl Prior for Broken {
            fn scores(&mut self, _: usize, _: &[usize]) -> Result<Vec<f64>, String> {
                Err("no model".into())
            }
        }
        let error = run_ranked(&CellSpace, &mut Broken, 20, RootSeed(0), fitness).unwrap_err();
        assert_eq!(error.to_string(), "the prior of rank: no model");
    }
}
