//! Any-time curves: one best-so-far sequence per seed to mean and deviation at each number of evaluations.

/// Best-so-far values, seeds by evaluations. All seeds have the same number of evaluations.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    seeds: Vec<Vec<f64>>,
}

/// The value of a curve after some number of evaluations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Mean over seeds.
    pub mean: f64,
    /// Sample standard deviation over seeds; 0 for one seed.
    pub deviation: f64,
}

impl Point {
    /// Mean and sample deviation of one value per seed; NaN of none.
    pub fn of(values: &[f64]) -> Point {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        Point { mean, deviation }
    }
}

/// The mean of differences between pairs, one per seed, with its standard error: nothing for no pair, no error for one.
pub fn mean_difference(differences: &[f64], digits: usize) -> String {
    let Point { mean, deviation } = Point::of(differences);
    match differences.len() {
        0 => String::new(),
        1 => format!("{mean:+.digits$}"),
        pairs => format!("{mean:+.digits$} ± {:.digits$}", deviation / (pairs as f64).sqrt()),
    }
}

impl Curve {
    /// A curve of one best-so-far sequence per seed; all are cut to the shortest.
    pub fn new(mut seeds: Vec<Vec<f64>>) -> Self {
        let shortest = seeds.iter().map(Vec::len).min().unwrap_or(0);
        for seed in &mut seeds {
            seed.truncate(shortest);
        }
        Self { seeds }
    }

    /// Number of evaluations.
    pub fn len(&self) -> usize {
        self.seeds.first().map_or(0, Vec::len)
    }

    /// Whether there is no evaluation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of each seed after `evaluations`, from 1 to [`Curve::len`].
    pub fn values_at(&self, evaluations: usize) -> Vec<f64> {
        self.seeds.iter().filter_map(|seed| seed.get(evaluations.checked_sub(1)?)).copied().collect()
    }

    /// Mean and deviation after `evaluations`, from 1 to [`Curve::len`]; NaN outside of it.
    pub fn at(&self, evaluations: usize) -> Point {
        Point::of(&self.values_at(evaluations))
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::curve::{Curve, mean_difference};

    #[test]
    fn mean_and_sample_deviation_are_taken_over_seeds() {
        let curve = Curve::new(vec![vec![1.0, 2.0], vec![3.0, 6.0], vec![5.0, 7.0, 9.0]]);
        assert_eq!(curve.len(), 2);
        let point = curve.at(1);
        assert_eq!((point.mean, point.deviation), (3.0, 2.0));
        assert_eq!(curve.values_at(2), [2.0, 6.0, 7.0]);
        assert!(curve.at(3).mean.is_nan() && curve.at(0).mean.is_nan());
    }

    #[test]
    fn a_difference_has_the_error_of_its_mean() {
        // Deviation sqrt 2 over two pairs.
        assert_eq!(mean_difference(&[1.0, 3.0], 2), "+2.00 ± 1.00");
        assert_eq!((mean_difference(&[-0.5], 1), mean_difference(&[], 1)), ("-0.5".into(), String::new()));
    }

    #[test]
    fn one_seed_has_no_deviation() {
        assert_eq!(Curve::new(vec![vec![4.0]]).at(1).deviation, 0.0);
    }
}
