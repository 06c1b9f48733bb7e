//! Operators compared on a real evaluator: what finished runs came to, at equal evaluations and at equal wall clock.
//!
//! Input: run records, by arm. Output: a Markdown table of means and sample deviations over seeds. Archives are
//! rebuilt from the first so many trained networks, so that a generation that overshoots the budget gives nobody an
//! advantage. Limit: seconds are those of the machine that ran them; arms compare only if they ran alone on one
//! machine.

use std::fmt::Write as _;

use crate::bench::curve::Point;
use crate::search::{GenerationRow, RunRecord, State};

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunFigures {
    /// Networks that were trained within the budget.
    pub trained: usize,
    /// Best validation accuracy among them.
    pub best: f64,
    /// Sum of fitness over niches.
    pub qd_score: f64,
    /// Filled niches over niches.
    pub coverage: f64,
    /// Texts written per trained network.
    pub texts: f64,
    /// Tokens written by the LLM.
    pub written: f64,
    /// Tokens read by it.
    pub read: f64,
    /// Seconds of writing.
    pub generate_seconds: f64,
    /// Seconds of training.
    pub train_seconds: f64,
}

/// The runs of one arm.
#[derive(Debug, Clone)]
pub struct ArmRuns {
    /// Its name.
    pub name: String,
    /// One record per seed.
    pub runs: Vec<RunRecord>,
}

/// What the runs of each arm came to at `evaluations`, for the two tables.
pub fn all_figures(arms: &[ArmRuns], evaluations: usize) -> Vec<Vec<RunFigures>> {
    let of = |arm: &ArmRuns| arm.runs.iter().map(|record| figures(record, evaluations)).collect();
    arms.iter().map(of).collect()
}

/// What the first `evaluations` trained networks of a run came to.
pub fn figures(record: &RunRecord, evaluations: usize) -> RunFigures {
    let mut state = State::new(&record.config, record.book.instructions().len());
    let (mut texts, mut written, mut read) = (0usize, 0u64, 0u64);
    let mut last = 0;
    for candidate in &record.candidates {
        if state.trained as usize == evaluations {
            break;
        }
        // The records were told before: telling them again cannot fail.
        let _ = state.tell(&mut candidate.clone());
        texts += 1;
        written += candidate.cost.completion_tokens;
        read += candidate.cost.prompt_tokens;
        last = candidate.id.generation;
    }
    let stats = state.archive.stats();
    let within = record.generations.iter().filter(|row| row.number <= last);
    RunFigures {
        trained: state.trained as usize,
        best: stats.best.unwrap_or(0.0),
        qd_score: stats.qd_score,
        coverage: stats.coverage,
        texts: texts as f64 / (state.trained.max(1)) as f64,
        written: written as f64,
        read: read as f64,
        generate_seconds: within.clone().map(|row| row.generate_seconds).sum(),
        train_seconds: within.map(|row| row.train_seconds).sum(),
    }
}

/// Best validation accuracy of the generations that ended within `seconds` of writing and training.
pub fn best_after(generations: &[GenerationRow], seconds: f64) -> f64 {
    let (mut spent, mut best) = (0.0, 0.0);
    for row in generations {
        spent += row.seconds();
        if spent <= seconds {
            best = row.best.unwrap_or(best);
        }
    }
    best
}

/// What a run's writing and training took so far, in seconds.
pub fn spent(generations: &[GenerationRow]) -> f64 {
    generations.iter().map(GenerationRow::seconds).sum()
}

/// A table of the arms' figures, and of their best networks in the time that the quickest run took.
pub fn markdown(arms: &[ArmRuns], figures: &[Vec<RunFigures>]) -> String {
    let seconds = |record: &RunRecord| spent(&record.generations);
    let runs = || arms.iter().flat_map(|arm| &arm.runs);
    let quickest = runs().map(seconds).fold(f64::INFINITY, f64::min);
    let mut text = format!(
        "| operators | seeds | trained | best validation, % | in {quickest:.0} s, % | QD-score | coverage, % | \
         texts per \
         network | tokens written | tokens read | s writing | s training |\n|---|{}\n",
        "---|".repeat(11)
    );
    for (arm, figures) in arms.iter().zip(figures) {
        let of = |value: fn(&RunFigures) -> f64, digits: usize| mean(figures.iter().map(value), digits);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            arm.name,
            arm.runs.len(),
            of(|run| run.trained as f64, 0),
            of(|run| 100.0 * run.best, 2),
            mean(arm.runs.iter().map(|record| 100.0 * best_after(&record.generations, quickest)), 2),
            of(|run| run.qd_score, 3),
            of(|run| 100.0 * run.coverage, 1),
            of(|run| run.texts, 2),
            of(|run| run.written, 0),
            of(|run| run.read, 0),
            of(|run| run.generate_seconds, 1),
            of(|run| run.train_seconds, 1),
        );
    }
    text
}

/// Differences in best validation accuracy, each arm minus the first, paired by seed: mean and standard error in
/// points.
pub fn paired_markdown(arms: &[ArmRuns], figures: &[Vec<RunFigures>]) -> String {
    let mut arms = arms.iter().zip(figures);
    let Some((first, base)) = arms.next() else { return String::new() };
    let mut text = format!(
        "| minus {} | best validation, points | QD-score | coverage, points |\n|---|---|---|---|\n",
        first.name
    );
    for (arm, figures) in arms {
        let of = |value: fn(&RunFigures) -> f64, digits: usize| {
            let pairs = figures.iter().zip(base);
            let differences: Vec<f64> = pairs.map(|(run, base)| value(run) - value(base)).collect();
            let Point { mean, deviation } = Point::of(&differences);
            let error = deviation / (differences.len().max(1) as f64).sqrt();
            format!("{mean:+.digits$} ± {error:.digits$}")
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            arm.name,
            of(|run| 100.0 * run.best, 2),
            of(|run| run.qd_score, 3),
            of(|run| 100.0 * run.coverage, 1)
        );
    }
    text
}

/// Whether these generations trained as many networks as were asked for, and took as long.
pub fn is_full(generations: &[GenerationRow], evaluations: usize, seconds: f64) -> bool {
    let trained: u64 = generations.iter().map(|row| row.trained).sum();
    trained >= evaluations as u64 && spent(generations) >= seconds
}

fn mean(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let values: Vec<f64> = values.collect();
    let Point { mean, deviation } = Point::of(&values);
    if values.len() > 1 {
        format!("{mean:.digits$} ± {deviation:.digits$}")
    } else {
        format!("{mean:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::{best_after, is_full};
    use crate::search::GenerationRow;

    /// Generations of (networks trained, seconds of writing and training, best so far).
    fn generations(rows: &[(u64, f64, f64)]) -> Vec<GenerationRow> {
        let row = |(number, &(trained, seconds, best)): (usize, &(u64, f64, f64))| GenerationRow {
            number: number as u64,
            trained,
            best: Some(best),
            generate_seconds: seconds / 4.0,
            train_seconds: seconds * 0.75,
            ..GenerationRow::default()
        };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn a_run_goes_on_until_it_has_both_the_networks_and_the_seconds() {
        let rows = generations(&[(1, 2.0, 0.5), (8, 20.0, 0.6), (4, 10.0, 0.7)]);
        assert!(is_full(&rows, 13, 32.0) && is_full(&rows[..2], 9, 0.0));
        assert!(!is_full(&rows, 14, 0.0), "one network is missing");
        assert!(!is_full(&rows, 1, 32.5), "half a second is missing");
        assert!(!is_full(&[], 1, 0.0));
    }

    #[test]
    fn in_equal_time_only_generations_that_ended_in_it_count() {
        let rows = generations(&[(1, 2.0, 0.5), (8, 20.0, 0.6), (4, 10.0, 0.7)]);
        let after = |seconds: f64| best_after(&rows, seconds);
        assert_eq!(
            [after(1.0), after(2.0), after(21.9), after(22.0), after(90.0)],
            [0.0, 0.5, 0.5, 0.6, 0.7]
        );
    }
}
