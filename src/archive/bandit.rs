//! A bandit over ways to make a child: which one yields the most archived networks per cost.
//!
//! Thompson sampling (Thompson 1933): each arm's yield is drawn from its Beta posterior and divided by its mean cost;
//! the highest draw wins. Input: what each arm came to, in order. Output: an arm per random stream, so that the slots
//! of one generation spread over good arms. Costs are tokens, never seconds, so a run is the same everywhere. Limit:
//! old outcomes count less by [`KEEP`] for each new one of the arm, since an archive gets harder to enter.

use std::collections::BTreeMap;

use crate::rng::Stream;

/// How much an outcome counts after the next one of its arm.
const KEEP: f64 = 0.97;

/// The arms that were tried; an untried one starts with a uniform yield and the unit of cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Bandit<K> {
    unit: f64,
    arms: BTreeMap<K, Arm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Arm {
    archived: f64,
    other: f64,
    cost: f64,
}

impl<K: Ord + Clone> Bandit<K> {
    /// No arm was tried yet; `unit` is what a child costs about.
    pub fn new(unit: f64) -> Bandit<K> {
        Bandit { unit: unit.max(1e-9), arms: BTreeMap::new() }
    }

    /// Learn what a child of this arm came to.
    pub fn tell(&mut self, arm: K, archived: bool, cost: f64) {
        let arm = self.arms.entry(arm).or_default();
        for value in [&mut arm.archived, &mut arm.other, &mut arm.cost] {
            *value *= KEEP;
        }
        *(if archived { &mut arm.archived } else { &mut arm.other }) += 1.0;
        arm.cost += cost;
    }

    /// The arm to try next; `None` of no arms.
    pub fn choose(&self, arms: &[K], stream: &mut Stream) -> Option<K> {
        let mut best: Option<(f64, &K)> = None;
        for key in arms {
            let arm = self.arms.get(key).copied().unwrap_or_default();
            let mean = (arm.cost + self.unit) / (arm.archived + arm.other + 1.0);
            let draw = beta(1.0 + arm.archived, 1.0 + arm.other, stream) / mean;
            if best.is_none_or(|(value, _)| draw > value) {
                best = Some((draw, key));
            }
        }
        best.map(|(_, key)| key.clone())
    }
}

fn beta(a: f64, b: f64, stream: &mut Stream) -> f64 {
    let (x, y) = (gamma(a, stream), gamma(b, stream));
    x / (x + y).max(f64::MIN_POSITIVE)
}

/// Marsaglia and Tsang (2000), for shapes of at least 1.
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - stream.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::RootSeed;

    #[test]
    fn the_better_and_the_cheaper_arm_is_taken_more_often() {
        let mut bandit = Bandit::new(100.0);
        let mut stream = RootSeed(0).stream("world", &[]);
        let mut taken = [0; 3];
        for draw in 0..600 {
            let arm = bandit.choose(&[0usize, 1, 2], &mut RootSeed(1).stream("arm", &[draw])).unwrap();
            taken[arm] += 1;
            // Arm 1 yields twice as much as arm 0; arm 2 yields as much as arm 1 for four times the cost.
            let archived = stream.uniform() < [0.25, 0.5, 0.5][arm];
            bandit.tell(arm, archived, [100.0, 100.0, 400.0][arm]);
        }
        assert!(taken[1] > 2 * taken[0] && taken[1] > 2 * taken[2], "{taken:?}");
        assert_eq!(bandit.choose(&[], &mut stream), None);
    }

    #[test]
    fn draws_follow_the_beta_distribution() {
        let mut stream = RootSeed(2).stream("beta", &[]);
        let draws: Vec<f64> = (0..20_000).map(|_| beta(3.0, 5.0, &mut stream)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(
            (mean - 3.0 / 8.0).abs() < 0.005 && (variance - 15.0 / 576.0).abs() < 0.001,
            "{mean} {variance}"
        );
    }

    #[test]
    fn the_choice_depends_on_the_stream_and_what_was_told() {
        let mut bandit = Bandit::new(1.0);
        bandit.tell("a", true, 1.0);
        let choose = |bandit: &Bandit<&'static str>| {
            (0..50)
                .map(|draw| bandit.choose(&["a", "b"], &mut RootSeed(3).stream("arm", &[draw])))
                .collect::<Vec<_>>()
        };
        assert_eq!(choose(&bandit), choose(&bandit.clone()));
        assert_ne!(choose(&bandit), choose(&Bandit::new(1.0)), "nothing was told");
        let other = |draw| bandit.choose(&["a", "b"], &mut RootSeed(4).stream("arm", &[draw]));
        assert_ne!(choose(&bandit), (0..50).map(other).collect::<Vec<_>>(), "another stream");
    }
}
