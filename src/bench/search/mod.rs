//! Search methods over a finite space, under one budget loop that charges every point once.
//!
//! Input: a [`Space`], the price of a look (`evaluate`), a method, a budget and a seed; output: the evaluations in
//! order. All methods but the surrogate start from the same ten random points of the seed, so runs are paired. A
//! method sees what it paid for and nothing else. Limit: fitness is one number, higher is better, without noise of
//! its own (asking for the same point twice would give the same answer).

mod evolution;
mod local;
mod random;
mod rank;
mod surrogate;
mod typed;

use crate::bench::space::Space;
use crate::rng::{RootSeed, Stream};

pub use rank::Prior;

/// Random points with which every method but the surrogate begins.
pub const START: usize = 10;

/// Numbers the random stream of ranked searches; methods have theirs from 0 on.
const RANK_STREAM: u64 = 100;

/// How to choose the next point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Uniform over the points not yet seen.
    Random,
    /// Regularised evolution (Real et al. 2019): population 10, tournaments of 5, the oldest dies.
    Evolution,
    /// Unseen neighbours of the best point; a fresh start when there are none.
    Local,
    /// Typed edits of elites drawn uniformly from a MAP-Elites archive, drawn at random.
    Typed,
    /// The point with the highest expected improvement under a Gaussian process, refit after each evaluation.
    Surrogate,
}

impl Method {
    /// Every method, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Random, Self::Evolution, Self::Local, Self::Typed, Self::Surrogate];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Evolution => "evolution",
            Self::Local => "local",
            Self::Typed => "typed",
            Self::Surrogate => "surrogate",
        }
    }

    fn searcher<'a>(self, space: &'a dyn Space) -> Box<dyn TableSearch + 'a> {
        match self {
            Self::Random => Box::new(random::RandomSearch),
            Self::Evolution => Box::new(evolution::RegularisedEvolution::default()),
            Self::Local => Box::new(local::LocalSearch::default()),
            Self::Typed => Box::new(typed::TypedEdits::default()),
            Self::Surrogate => Box::new(surrogate::SurrogateSearch::new(space)),
        }
    }
}

impl std::str::FromStr for Method {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| SearchError::UnknownMethod {
            expected: Self::ALL.map(Self::name).join(", "),
            got: text.to_owned(),
        })
    }
}

/// Why a search could not be run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SearchError {
    /// No method has this name.
    #[error("--method: expected one of {expected}, got `{got}`")]
    UnknownMethod {
        /// The names there are.
        expected: String,
        /// The name given.
        got: String,
    },
    /// More evaluations than points.
    #[error("--evaluations: expected 1 to {points}, the number of points in the table, got {got}")]
    Budget {
        /// Points of the space.
        points: usize,
        /// The budget given.
        got: usize,
    },
    /// The prior of a ranked search has no answer.
    #[error("the prior of rank: {message}")]
    Prior {
        /// Why.
        message: String,
    },
    /// A method asked for a point that it had paid for.
    #[error("method {method}: expected a point not yet evaluated, got point {point} again; this is a defect")]
    PaidTwice {
        /// The method.
        method: &'static str,
        /// The point.
        point: usize,
    },
}

/// One paid look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The point.
    pub point: usize,
    /// What was found there; higher is better.
    pub fitness: f64,
}

/// What has been paid for so far.
#[derive(Debug, Clone)]
pub struct Ledger {
    order: Vec<Evaluation>,
    seen: Vec<bool>,
}

impl Ledger {
    fn new(points: usize) -> Self {
        Self { order: Vec::new(), seen: vec![false; points] }
    }

    /// The evaluations, first to last.
    pub fn evaluations(&self) -> &[Evaluation] {
        &self.order
    }

    /// Whether `point` has been paid for.
    pub fn has(&self, point: usize) -> bool {
        self.seen[point]
    }

    /// A uniform point among those not seen. At least one must be left.
    fn unseen(&self, rng: &mut Stream) -> usize {
        // Rejection is quick until the table is nearly used up; the rest is drawn from the list of what is left.
        for _ in 0..64 {
            let point = rng.below(self.seen.len());
            if !self.seen[point] {
                return point;
            }
        }
        let left: Vec<usize> = (0..self.seen.len()).filter(|&point| !self.seen[point]).collect();
        left[rng.below(left.len())]
    }

    fn record(&mut self, evaluation: Evaluation) {
        self.seen[evaluation.point] = true;
        self.order.push(evaluation);
    }
}

/// A method: proposes a point that the ledger has not seen, and is told what it is worth.
trait TableSearch {
    /// Random points to begin with, before the method is asked.
    fn start(&self) -> usize {
        START
    }

    /// The next point. At least one unseen point is left.
    fn ask(&mut self, space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize;

    /// The worth of a point, also of the random ones of the start.
    fn tell(&mut self, _space: &dyn Space, _evaluation: Evaluation) {}

    /// Why the last answer is none.
    fn failure(&mut self) -> Option<SearchError> {
        None
    }
}

/// Runs `method` for `budget` evaluations.
///
/// # Errors
/// [`SearchError::Budget`] unless 1 <= budget <= points of the space.
pub fn run(
    space: &dyn Space,
    method: Method,
    budget: usize,
    seed: RootSeed,
    evaluate: impl FnMut(usize) -> f64,
) -> Result<Vec<Evaluation>, SearchError> {
    let of = (method.name(), method as u64);
    spend(space, of, method.searcher(space).as_mut(), budget, seed, evaluate)
}

/// Runs local search under `prior` for `budget` evaluations.
///
/// # Errors
/// As [`run`], and [`SearchError::Prior`].
pub fn run_ranked(
    space: &dyn Space,
    prior: &mut dyn Prior,
    budget: usize,
    seed: RootSeed,
    evaluate: impl FnMut(usize) -> f64,
) -> Result<Vec<Evaluation>, SearchError> {
    spend(space, ("rank", RANK_STREAM), &mut rank::RankSearch::new(prior), budget, seed, evaluate)
}

fn spend(
    space: &dyn Space,
    (name, number): (&'static str, u64),
    searcher: &mut dyn TableSearch,
    budget: usize,
    seed: RootSeed,
    mut evaluate: impl FnMut(usize) -> f64,
) -> Result<Vec<Evaluation>, SearchError> {
    if budget == 0 || budget > space.len() {
        return Err(SearchError::Budget { points: space.len(), got: budget });
    }
    let mut start = seed.stream("bench-start", &[]);
    let mut rng = seed.stream("bench-search", &[number]);
    let mut ledger = Ledger::new(space.len());
    while ledger.order.len() < budget {
        let point = if ledger.order.len() < searcher.start() {
            ledger.unseen(&mut start)
        } else {
            searcher.ask(space, &ledger, &mut rng)
        };
        if let Some(failure) = searcher.failure() {
            return Err(failure);
        }
        if ledger.has(point) {
            return Err(SearchError::PaidTwice { method: name, point });
        }
        let evaluation = Evaluation { point, fitness: evaluate(point) };
        ledger.record(evaluation);
        searcher.tell(space, evaluation);
    }
    Ok(ledger.order)
}

/// An unseen point a few random edits from `point`: one edit if such a point is left, else a walk.
fn mutate(space: &dyn Space, ledger: &Ledger, point: usize, rng: &mut Stream) -> usize {
    const LONGEST_WALK: usize = 64;
    let mut here = point;
    for _ in 0..LONGEST_WALK {
        let neighbours = space.neighbours(here);
        let unseen: Vec<usize> = neighbours.iter().copied().filter(|&n| !ledger.has(n)).collect();
        if !unseen.is_empty() {
            return unseen[rng.below(unseen.len())];
        }
        here = neighbours[rng.below(neighbours.len())];
    }
    ledger.unseen(rng)
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::search::{Evaluation, Method, SearchError, run};
    use crate::bench::space::Space;
    use crate::rng::RootSeed;

    /// A made-up landscape with an interaction, so that no method finishes at once.
    fn fitness(point: usize) -> f64 {
        let c = CellSpace.spell(point);
        let additive: f64 = c.iter().enumerate().map(|(i, &v)| f64::from(v) * (1.0 + i as f64)).sum();
        additive - 4.0 * f64::from(c[0] * c[5]) + if c == [3, 1, 4, 2, 0, 3] { 50.0 } else { 0.0 }
    }

    fn search(method: Method, budget: usize, seed: u64) -> Vec<Evaluation> {
        run(&CellSpace, method, budget, RootSeed(seed), fitness).unwrap()
    }

    #[test]
    fn no_method_pays_twice_or_beyond_its_budget() {
        for method in Method::ALL {
            let mut paid = std::collections::BTreeSet::new();
            let mut looks = 0;
            let found = run(&CellSpace, method, 130, RootSeed(3), |point| {
                looks += 1;
                assert!(paid.insert(point), "{}: point {point} twice", method.name());
                fitness(point)
            });
            assert_eq!((found.unwrap().len(), looks), (130, 130), "{}", method.name());
        }
    }

    #[test]
    fn cheap_methods_can_use_up_the_whole_table() {
        for method in [Method::Random, Method::Local, Method::Evolution, Method::Typed] {
            let found = search(method, CellSpace.len(), 1);
            let distinct: std::collections::BTreeSet<usize> = found.iter().map(|e| e.point).collect();
            assert_eq!(distinct.len(), CellSpace.len(), "{}", method.name());
        }
    }

    #[test]
    fn a_seed_gives_one_curve_and_another_seed_another() {
        for method in Method::ALL {
            assert_eq!(search(method, 60, 5), search(method, 60, 5), "{}", method.name());
            assert_ne!(search(method, 60, 5), search(method, 60, 6), "{}", method.name());
        }
    }

    #[test]
    fn a_longer_budget_begins_with_the_shorter_one() {
        for method in Method::ALL {
            assert_eq!(search(method, 40, 2)[..], search(method, 70, 2)[..40], "{}", method.name());
        }
    }

    #[test]
    fn the_methods_of_one_seed_share_their_random_start() {
        let start = &search(Method::Random, 10, 9)[..];
        for method in [Method::Evolution, Method::Local, Method::Typed] {
            assert_eq!(&search(method, 11, 9)[..10], start, "{}", method.name());
        }
    }

    #[test]
    fn budgets_and_names_out_of_range_are_refused() {
        let refused = |budget| run(&CellSpace, Method::Random, budget, RootSeed(0), fitness).unwrap_err();
        assert_eq!(
            refused(15_626).to_string(),
            "--evaluations: expected 1 to 15625, the number of points in the table, got 15626"
        );
        assert_eq!(refused(0), SearchError::Budget { points: 15_625, got: 0 });
        assert_eq!(
            "grid".parse::<Method>().unwrap_err().to_string(),
            "--method: expected one of random, evolution, local, typed, surrogate, got `grid`"
        );
    }
}
