//! Operators compared on a real evaluator: what finished runs came to, at equal evaluations and at equal wall clock.
//!
//! Input: run records, or tables (`table`) of what runs came to elsewhere. Output: Markdown tables of means and sample
//! deviations over seeds, and of differences paired by seed. Archives are
//! rebuilt from the first so many trained networks, so that a generation that overshoots the budget gives nobody an
//! advantage. Limit: seconds are those of the machine that ran them; arms compare only if they ran alone on one
//! machine.

use std::fmt::Write as _;

use crate::bench::curve::{Point, mean_difference};
use crate::search::{GenerationRow, RunRecord, State};

mod table;

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunFigures {
    /// Networks that were trained within the budget.
    pub trained: usize,
    /// Best validation accuracy among them.
    pub best: f64,
    /// Best validation accuracy within the seconds that are compared.
    pub best_in_time: f64,
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

/// One run of an arm.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmRun {
    /// The arm's name.
    pub arm: String,
    /// The run's root seed.
    pub seed: u64,
    /// What it came to.
    pub figures: RunFigures,
}

/// Runs at one budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Networks that count in each run.
    pub evaluations: usize,
    /// The time in which best networks are compared, in seconds.
    pub seconds: f64,
    /// In any order; the first one's arm is what the others are compared with.
    pub runs: Vec<ArmRun>,
}

/// What the first `evaluations` trained networks of a run came to.
/// `seconds` is the time of [`RunFigures::best_in_time`].
pub fn figures(record: &RunRecord, evaluations: usize, seconds: f64) -> RunFigures {
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
        best_in_time: best_after(&record.generations, seconds),
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

impl Comparison {
    /// The arms in the order of their first runs, each with its runs.
    fn arms(&self) -> Vec<(&str, Vec<&ArmRun>)> {
        let mut arms: Vec<(&str, Vec<&ArmRun>)> = Vec::new();
        for run in &self.runs {
            match arms.iter_mut().find(|(arm, _)| *arm == run.arm) {
                Some((_, runs)) => runs.push(run),
                None => arms.push((&run.arm, vec![run])),
            }
        }
        arms
    }

    /// A table of the arms' figures, mean and sample deviation over seeds.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "| operators | seeds | trained | best validation, % | in {:.0} s, % | QD-score | coverage, % | texts per \
             network | tokens written | tokens read | s writing | s training |\n|---|{}\n",
            self.seconds,
            "---|".repeat(11)
        );
        for (arm, runs) in self.arms() {
            let of = |value: fn(&RunFigures) -> f64, digits: usize| {
                mean(runs.iter().map(|run| value(&run.figures)), digits)
            };
            let _ = writeln!(
                text,
                "| {arm} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                runs.len(),
                of(|run| run.trained as f64, 0),
                of(|run| 100.0 * run.best, 2),
                of(|run| 100.0 * run.best_in_time, 2),
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

    /// Differences of each arm's runs and those of the first arm at the same seeds: mean and standard error.
    pub fn paired_markdown(&self) -> String {
        let arms = self.arms();
        let Some(((first, base), others)) = arms.split_first() else { return String::new() };
        let mut text = format!(
            "| minus {first} | seeds | best validation, points | in {:.0} s, points | QD-score | coverage, points |\n\
             |---|---|---|---|---|---|\n",
            self.seconds
        );
        for (arm, runs) in others {
            let pairs: Vec<(&RunFigures, &RunFigures)> = runs
                .iter()
                .filter_map(|run| {
                    let base = base.iter().find(|base| base.seed == run.seed)?;
                    Some((&run.figures, &base.figures))
                })
                .collect();
            let of = |value: fn(&RunFigures) -> f64, digits: usize| {
                let differences: Vec<f64> =
                    pairs.iter().map(|(run, base)| value(run) - value(base)).collect();
                mean_difference(&differences, digits)
            };
            let _ = writeln!(
                text,
                "| {arm} | {} | {} | {} | {} | {} |",
                pairs.len(),
                of(|run| 100.0 * run.best, 2),
                of(|run| 100.0 * run.best_in_time, 2),
                of(|run| run.qd_score, 3),
                of(|run| 100.0 * run.coverage, 1)
            );
        }
        text
    }
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
    use super::{ArmRun, Comparison, RunFigures, best_after, is_full};
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
    fn arms_are_paired_by_seed_and_a_seed_that_only_one_has_does_not_count() {
        let run = |arm: &str, seed, best| {
            let figures = RunFigures {
                trained: 32,
                best,
                best_in_time: best / 2.0,
                qd_score: 10.0 * best,
                coverage: 0.5,
                texts: 1.0,
                written: 0.0,
                read: 0.0,
                generate_seconds: 0.0,
                train_seconds: 1.0,
            };
            ArmRun { arm: arm.into(), seed, figures }
        };
        // Arm by arm or seed by seed is all the same.
        let runs =
            vec![run("a", 0, 0.5), run("b", 1, 0.75), run("a", 1, 0.5), run("b", 0, 0.5), run("b", 2, 0.0)];
        let comparison = Comparison { evaluations: 32, seconds: 100.0, runs };
        let paired = comparison.paired_markdown();
        assert!(
            paired.contains("| b | 2 | +12.50 ± 12.50 | +6.25 ± 6.25 | +1.250 ± 1.250 | +0.0 ± 0.0 |"),
            "{paired}"
        );
        let table = comparison.markdown();
        assert!(
            table.contains("| in 100 s, % |") && table.contains("\n| a | 2 | 32 ± 0 | 50.00 ± 0.00 |"),
            "{table}"
        );
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
