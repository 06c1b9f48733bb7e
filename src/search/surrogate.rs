//! A model of fitness: ridge regression over what is known of a network before it is trained.
//!
//! Input: trained candidates, one by one, in the order of the run, live or replayed. Output: an expected fitness.
//! Features are graph statistics (layers by class), descriptors, the operator, the parents' fitness and the LLM's
//! log-probability, each scaled to deviation 1 (Hoerl and Kennard 1970). Only sums are kept, so memory does not grow.
//! Limit: linear, so it learns what tends to help and not what goes with what.

use super::record::{Candidate, Facts, OPERATORS};

/// Classes of layers that are counted: all whose name contains the word.
const CLASSES: [&str; 9] = ["Conv", "Linear", "Norm", "Pool", "Dropout", "ReLU", "LU", "LSTM", "GRU"];

/// Numbers of a candidate.
const FEATURES: usize = 5 + CLASSES.len() + 1 + OPERATORS.len() + 3;

/// What a fitness is regressed on.
type Features = [f64; FEATURES];

/// Sums over trained candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct FitnessSums {
    count: f64,
    sum: Features,
    products: Box<[Features; FEATURES]>,
    target: f64,
    with_target: Features,
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    mean: Features,
    /// Of unscaled features.
    weights: Features,
    target: f64,
}

impl Default for FitnessSums {
    fn default() -> FitnessSums {
        FitnessSums {
            count: 0.0,
            sum: [0.0; FEATURES],
            products: Box::new([[0.0; FEATURES]; FEATURES]),
            target: 0.0,
            with_target: [0.0; FEATURES],
        }
    }
}

impl FitnessSums {
    /// Learn from a trained candidate; `parents` is the highest fitness of its parents.
    pub(super) fn tell(&mut self, candidate: &Candidate, facts: &Facts, parents: Option<f64>, fitness: f64) {
        let features = features(candidate, facts, parents);
        self.count += 1.0;
        self.target += fitness;
        for (row, &value) in features.iter().enumerate() {
            self.sum[row] += value;
            self.with_target[row] += value * fitness;
            for (column, &other) in features.iter().enumerate() {
                self.products[row][column] += value * other;
            }
        }
    }

    /// The model of everything told so far; `None` of fewer than two candidates.
    pub(super) fn fit(&self, penalty: f64) -> Option<Fit> {
        if self.count < 2.0 {
            return None;
        }
        let n = self.count;
        let mean = self.sum.map(|sum| sum / n);
        let target = self.target / n;
        let deviation: Features = std::array::from_fn(|row| {
            let variance = self.products[row][row] / n - mean[row] * mean[row];
            // Rounding leaves a constant feature with a variance above 0.
            if variance > 1e-9 * (1.0 + mean[row] * mean[row]) { variance.sqrt() } else { 0.0 }
        });
        let used: Vec<usize> = (0..FEATURES).filter(|&row| deviation[row] > 0.0).collect();
        let covariance = |a: usize, b: usize| {
            (self.products[a][b] / n - mean[a] * mean[b]) / (deviation[a] * deviation[b])
        };
        let matrix: Vec<Vec<f64>> = used
            .iter()
            .map(|&a| {
                let ridge = |b: usize| if a == b { penalty / n } else { 0.0 };
                used.iter().map(|&b| covariance(a, b) + ridge(b)).collect()
            })
            .collect();
        let right: Vec<f64> = used
            .iter()
            .map(|&row| (self.with_target[row] / n - mean[row] * target) / deviation[row])
            .collect();
        let solution = solve(&matrix, &right);
        let mut weights = [0.0; FEATURES];
        for (&row, weight) in used.iter().zip(solution) {
            weights[row] = weight / deviation[row];
        }
        Some(Fit { mean, weights, target })
    }
}

impl Fit {
    /// The fitness to expect.
    pub(super) fn predict(&self, candidate: &Candidate, facts: &Facts, parents: Option<f64>) -> f64 {
        let features = features(candidate, facts, parents);
        let terms = (0..FEATURES).map(|row| self.weights[row] * (features[row] - self.mean[row]));
        self.target + terms.sum::<f64>()
    }
}

fn features(candidate: &Candidate, facts: &Facts, parents: Option<f64>) -> Features {
    let described = &facts.described;
    let mut all = vec![
        described.log_parameters,
        described.log_flops,
        described.log_activation,
        described.depth.ln_1p(),
        described.width_to_depth.ln_1p(),
    ];
    // One line per layer: path, class, output.
    let classes: Vec<&str> = facts.layers.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let count = |word: &str| classes.iter().filter(|class| class.contains(word)).count() as f64;
    all.extend(CLASSES.iter().map(|word| count(word).ln_1p()));
    all.push((classes.len() as f64).ln_1p());
    all.extend(OPERATORS.iter().map(|&operator| f64::from(u8::from(candidate.operator == operator))));
    all.push(parents.unwrap_or(0.0));
    all.push(candidate.prior.unwrap_or(0.0));
    all.push(f64::from(u8::from(candidate.prior.is_some())));
    let mut features = [0.0; FEATURES];
    for (slot, value) in features.iter_mut().zip(all) {
        *slot = if value.is_finite() { value } else { 0.0 };
    }
    features
}

/// Solve for a symmetric positive definite matrix by Cholesky's factors.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut factor = vec![vec![0.0; n]; n];
    for row in 0..n {
        for column in 0..=row {
            let known: f64 = (0..column).map(|at| factor[row][at] * factor[column][at]).sum();
            let rest = matrix[row][column] - known;
            factor[row][column] =
                if row == column { rest.max(1e-12).sqrt() } else { rest / factor[column][column] };
        }
    }
    let mut solution = right.to_vec();
    for row in 0..n {
        let known: f64 = (0..row).map(|at| factor[row][at] * solution[at]).sum();
        solution[row] = (solution[row] - known) / factor[row][row];
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|at| factor[at][row] * solution[at]).sum();
        solution[row] = (solution[row] - known) / factor[row][row];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_positive_definite_system_is_solved() {
        let matrix = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, 0.2], vec![0.5, 0.2, 2.0]];
        let wanted = [1.0, -2.0, 0.5];
        let right: Vec<f64> =
            matrix.iter().map(|row| row.iter().zip(wanted).map(|(a, b)| a * b).sum()).collect();
        for (got, wanted) in solve(&matrix, &right).iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-12, "{got} {wanted}");
        }
    }

    #[test]
    fn nothing_is_expected_of_fewer_than_two_candidates() {
        assert!(FitnessSums::default().fit(1.0).is_none());
    }
}
