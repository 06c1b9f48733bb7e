//! A Gaussian process over a finite set of networks, with the posterior of all of them kept up to date.
//!
//! Input: features of the groups (`bench::space::Features`), observations one by one; output: posterior mean and
//! deviation of every group, and the expected improvement. The kernel is a weighted sum of an exponential of the
//! Hamming distance between choices and a Gaussian of the distance between path counts. Reference: Rasmussen and
//! Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1 and section 5.4. One observation costs
//! O(observations x groups), so this is for spaces of up to about 10^5 groups.

use std::sync::Arc;

use crate::bench::space::Features;

/// ln(1 / sqrt(2 pi)).
const LOG_DENSITY_AT_ZERO: f64 = -0.918_938_533_204_672_7;
/// Below this a variance is rounding error.
const SMALLEST_VARIANCE: f64 = 1e-9;

/// The kernel's parameters; the prior variance is 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// Share of the variance explained by choices; the rest is explained by paths. In [0, 1].
    pub symbol_share: f64,
    /// Correlation that remains per differing position. In (0, 1).
    pub decay: f64,
    /// Length scale over path counts.
    pub length: f64,
    /// Variance of the noise of an observation.
    pub noise: f64,
}

impl Kernel {
    /// Prior covariance of two groups that differ in `mismatches` positions and `word_distance` of squared path
    /// counts.
    fn value(&self, mismatches: usize, word_distance: u32) -> f64 {
        let symbols = self.decay.powi(mismatches as i32);
        let words = (-f64::from(word_distance) / (2.0 * self.length * self.length)).exp();
        self.symbol_share * symbols + (1.0 - self.symbol_share) * words
    }

    /// `value` of every (mismatches, word distance) that occurs, so that rows of the covariance are look-ups.
    fn table(&self, positions: usize, largest_distance: u32) -> Vec<Vec<f64>> {
        (0..=positions).map(|m| (0..=largest_distance).map(|d| self.value(m, d)).collect()).collect()
    }
}

/// The distances between observed points, which do not depend on the kernel's parameters.
#[derive(Debug, Clone, Default)]
pub struct Distances {
    /// Row i: (mismatches, word distance) to the points 0..=i.
    rows: Vec<Vec<(usize, u32)>>,
}

impl Distances {
    /// Distances between all pairs of `points`.
    pub fn between(points: &[&Features]) -> Self {
        let pair = |a: &Features, b: &Features| (a.mismatches(b), a.word_distances().to(b));
        let rows = points
            .iter()
            .enumerate()
            .map(|(i, a)| points[..=i].iter().map(|b| pair(a, b)).collect())
            .collect();
        Self { rows }
    }

    /// Log marginal likelihood of `targets` under `kernel`, without its constant.
    pub fn log_likelihood(&self, kernel: &Kernel, targets: &[f64]) -> f64 {
        let mut factor: Vec<Vec<f64>> = Vec::with_capacity(targets.len());
        let mut solved: Vec<f64> = Vec::with_capacity(targets.len());
        let mut sum = 0.0;
        for (i, distances) in self.rows.iter().enumerate() {
            let mut row: Vec<f64> = Vec::with_capacity(i + 1);
            for (j, &(mismatches, words)) in distances.iter().enumerate() {
                let mut rest = kernel.value(mismatches, words);
                if i == j {
                    let variance = rest + kernel.noise - dot(&row, &row);
                    row.push(variance.max(SMALLEST_VARIANCE).sqrt());
                } else {
                    rest -= dot(&row, &factor[j][..j]);
                    row.push(rest / factor[j][j]);
                }
            }
            let z = (targets[i] - dot(&row[..i], &solved)) / row[i];
            sum -= 0.5 * z * z + row[i].ln();
            solved.push(z);
            factor.push(row);
        }
        sum
    }
}

/// The posterior of every group given the observations so far.
#[derive(Debug, Clone)]
pub struct Posterior {
    groups: Arc<[Features]>,
    kernel: Kernel,
    table: Vec<Vec<f64>>,
    /// Cholesky factor of the covariance of the observations, row by row.
    factor: Vec<Vec<f64>>,
    /// Row i is that row of factor^-1 times the covariance of observations and groups: (observations, groups).
    /// Reading it is nearly all of the work, so it is kept in 32 bits; the noise term is far above that rounding.
    solved: Vec<Vec<f32>>,
    /// How much the observations reduce each group's variance.
    explained: Vec<f64>,
}

impl Posterior {
    /// The prior over `groups`.
    pub fn new(groups: Arc<[Features]>, kernel: Kernel) -> Self {
        let positions = groups.iter().map(|g| g.symbols.len()).max().unwrap_or(0);
        let words = |g: &Features| g.words.iter().map(|&(_, count)| u32::from(count)).sum::<u32>();
        let longest = groups.iter().map(words).max().unwrap_or(0);
        let table = kernel.table(positions, 2 * longest * longest);
        let explained = vec![0.0; groups.len()];
        Self { groups, kernel, table, factor: Vec::new(), solved: Vec::new(), explained }
    }

    /// Adds an observation of `group`; its value is given to [`Posterior::predict`].
    pub fn observe(&mut self, group: usize) {
        let mut covariance = self.covariance(group);
        let mut row: Vec<f64> = self.solved.iter().map(|solved| f64::from(solved[group])).collect();
        let negated: Vec<f64> = row.iter().map(|weight| -weight).collect();
        add_scaled(&mut covariance, &negated, &self.solved);
        let variance = self.kernel.value(0, 0) + self.kernel.noise - dot(&row, &row);
        let diagonal = variance.max(SMALLEST_VARIANCE).sqrt();
        for (c, explained) in covariance.iter_mut().zip(&mut self.explained) {
            *c /= diagonal;
            *explained += *c * *c;
        }
        row.push(diagonal);
        self.factor.push(row);
        self.solved.push(covariance.iter().map(|&c| c as f32).collect());
    }

    /// (mean, deviation) of every group, given one target per observation, in order.
    pub fn predict(&self, targets: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut weights: Vec<f64> = Vec::with_capacity(targets.len());
        for (row, target) in self.factor.iter().zip(targets) {
            let i = weights.len();
            weights.push((target - dot(&row[..i], &weights)) / row[i]);
        }
        let mut mean = vec![0.0; self.groups.len()];
        add_scaled(&mut mean, &weights, &self.solved);
        let prior = self.kernel.value(0, 0);
        let deviation = self.explained.iter().map(|e| (prior - e).max(SMALLEST_VARIANCE).sqrt()).collect();
        (mean, deviation)
    }

    fn covariance(&self, group: usize) -> Vec<f64> {
        let from = &self.groups[group];
        let distance = from.word_distances();
        let entry = |to: &Features| self.table[from.mismatches(to)][distance.to(to) as usize];
        self.groups.iter().map(entry).collect()
    }
}

/// Replaces values by standard normal scores of their ranks, scaled to mean 0 and deviation 1. Only the order of the
/// values counts then, so a network that failed to learn cannot bend the model. Ties keep the order of arrival.
pub fn normal_scores(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut scores = vec![0.0; n];
    for (rank, &i) in order.iter().enumerate() {
        scores[i] = normal_quantile((rank as f64 + 0.5) / n as f64);
    }
    let mean = scores.iter().sum::<f64>() / n as f64;
    let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
    let scale = variance.max(SMALLEST_VARIANCE).sqrt();
    scores.iter().map(|s| (s - mean) / scale).collect()
}

/// Logarithm of the expected improvement over `best` of a normal value. The logarithm keeps its order where the
/// improvement itself underflows, as it does for every point once the optimum is known.
pub fn log_expected_improvement(mean: f64, deviation: f64, best: f64) -> f64 {
    let z = (mean - best) / deviation;
    deviation.ln() + log_improvement(z)
}

/// An upper bound of [`log_expected_improvement`] that costs a fraction of it: below `best` the improvement is less
/// than deviation times density.
pub fn improvement_bound(mean: f64, deviation: f64, best: f64) -> f64 {
    let z = (mean - best) / deviation;
    if z > 0.0 { f64::INFINITY } else { deviation.ln() + LOG_DENSITY_AT_ZERO - 0.5 * z * z }
}

/// ln(density(z) + z cdf(z)).
fn log_improvement(z: f64) -> f64 {
    let log_density = LOG_DENSITY_AT_ZERO - 0.5 * z * z;
    if z > -2.5 {
        return (log_density.exp() + z * normal_cdf(z)).ln();
    }
    // cdf(z) = density(z) m(-z), m the Mills ratio by its continued fraction; 1 + z m ~ 1/z^2 - 3/z^4 far out.
    let t = -z;
    if t > 1e3 {
        return log_density - 2.0 * t.ln();
    }
    // 30 terms leave an error below 1e-15 from t = 2.5 on.
    let tail = (1..=30).rev().fold(t, |tail, k| t + f64::from(k) / tail);
    log_density + (1.0 - t / tail).ln()
}

/// Cumulative distribution of the standard normal for z > -3, by its Taylor series about 0.
fn normal_cdf(z: f64) -> f64 {
    if z > 6.0 {
        return 1.0;
    }
    let (mut term, mut sum, mut k) = (z, z, 1.0);
    while term.abs() > 1e-17 {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

/// The z with `normal_cdf(z) = p`, for p in (1e-9, 1).
fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    // By symmetry in the upper half, where the distribution is concave: Newton's steps from 0 never overshoot.
    let mut z = 0.0_f64;
    for _ in 0..40 {
        let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        let step = (1.0 - p - normal_cdf(z)) / density;
        z += step;
        if step < 1e-14 {
            break;
        }
    }
    -z
}

/// Adds the rows times their weights to `sum`. Four rows are taken in one pass over a piece of `sum` that stays in
/// cache: loading and storing `sum` would else cost more than the arithmetic.
fn add_scaled(sum: &mut [f64], weights: &[f64], rows: &[Vec<f32>]) {
    const PIECE: usize = 1024;
    let (fours, rest) = rows.as_chunks::<4>();
    let (weights_of_fours, weights_of_rest) = weights.as_chunks::<4>();
    for (place, piece) in sum.chunks_mut(PIECE).enumerate() {
        let range = place * PIECE..place * PIECE + piece.len();
        for (w, [a, b, c, d]) in weights_of_fours.iter().zip(fours) {
            let (a, b, c, d) = (&a[range.clone()], &b[range.clone()], &c[range.clone()], &d[range.clone()]);
            for ((((s, a), b), c), d) in piece.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                let pair = w[0] * f64::from(*a) + w[1] * f64::from(*b);
                *s += pair + (w[2] * f64::from(*c) + w[3] * f64::from(*d));
            }
        }
        for (weight, row) in weights_of_rest.iter().zip(rest) {
            for (s, r) in piece.iter_mut().zip(&row[range.clone()]) {
                *s += weight * f64::from(*r);
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use crate::bench::gaussian::{
        Distances, Kernel, Posterior, improvement_bound, log_expected_improvement, normal_cdf,
        normal_quantile, normal_scores,
    };
    use crate::bench::space::Features;

    const KERNEL: Kernel = Kernel { symbol_share: 0.7, decay: 0.6, length: 2.0, noise: 0.03 };

    fn groups() -> Vec<Features> {
        let group =
            |symbols: [u8; 3], words: &[(u8, u8)]| Features { symbols: symbols.into(), words: words.into() };
        vec![
            group([0, 1, 2], &[(1, 1)]),
            group([0, 1, 1], &[(1, 2)]),
            group([2, 2, 2], &[(5, 1), (6, 1)]),
            group([0, 0, 0], &[]),
        ]
    }

    #[test]
    fn two_observations_give_the_posterior_of_the_closed_form() {
        let groups = groups();
        let k = |a: usize, b: usize| {
            KERNEL.value(groups[a].mismatches(&groups[b]), groups[a].word_distances().to(&groups[b]))
        };
        let mut posterior = Posterior::new(groups.clone().into(), KERNEL);
        posterior.observe(0);
        posterior.observe(2);
        let (mean, deviation) = posterior.predict(&[1.0, -0.5]);
        let (a, b, d) = (1.0 + KERNEL.noise, k(0, 2), 1.0 + KERNEL.noise);
        let determinant = a * d - b * b;
        for (g, (m, s)) in mean.iter().zip(&deviation).enumerate() {
            let (p, q) = (k(0, g), k(2, g));
            let weights = [(d * p - b * q) / determinant, (a * q - b * p) / determinant];
            assert!((m - (weights[0] - 0.5 * weights[1])).abs() < 1e-6, "mean of {g}: {m}");
            assert!((s * s - (1.0 - weights[0] * p - weights[1] * q)).abs() < 1e-6, "variance of {g}: {s}");
        }
    }

    #[test]
    fn the_likelihood_is_that_of_the_two_by_two_normal() {
        let groups = groups();
        let distances = Distances::between(&[&groups[0], &groups[1]]);
        let b = KERNEL.value(groups[0].mismatches(&groups[1]), groups[0].word_distances().to(&groups[1]));
        let a = 1.0 + KERNEL.noise;
        let determinant = a * a - b * b;
        let quadratic = (a - 2.0 * b * -0.2 + a * 0.04) / determinant;
        let expected = -0.5 * quadratic - 0.5 * determinant.ln();
        assert!((distances.log_likelihood(&KERNEL, &[1.0, -0.2]) - expected).abs() < 1e-12);
    }

    #[test]
    fn expected_improvement_keeps_its_order_where_it_underflows() {
        // density(0) = 0.39894; E = density(1) + cdf(1) = 1.083315 (Jones et al. 1998).
        assert!((log_expected_improvement(0.0, 1.0, 0.0) - 0.398_942_28_f64.ln()).abs() < 1e-8);
        assert!((log_expected_improvement(1.0, 1.0, 0.0) - 1.083_315_47_f64.ln()).abs() < 1e-8);
        let mut last = f64::INFINITY;
        for best in [2.4, 2.499, 2.501, 2.6, 10.0, 60.0, 999.0, 1001.0] {
            let value = log_expected_improvement(0.0, 1.0, best);
            assert!(value.is_finite() && value < last, "{best}: {value} after {last}");
            assert!(value <= improvement_bound(0.0, 1.0, best), "{best}: {value}");
            last = value;
        }
    }

    #[test]
    fn quantile_inverts_the_distribution_and_scores_keep_the_order() {
        assert!((normal_cdf(1.96) - 0.975_002_104_85).abs() < 1e-10);
        assert!((normal_quantile(0.975) - 1.959_963_985).abs() < 1e-8);
        assert!((normal_quantile(0.025) + 1.959_963_985).abs() < 1e-8);
        let scores = normal_scores(&[10.0, 91.0, 90.9, 50.0]);
        assert!(scores[0] < scores[3] && scores[3] < scores[2] && scores[2] < scores[1]);
        assert!((scores[0] + scores[1]).abs() < 1e-9);
    }
}
