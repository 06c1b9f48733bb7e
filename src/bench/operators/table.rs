//! What runs came to as a table (CSV): one line per run, written by one machine and read by another.
//!
//! Input and output: a comparison. Numbers are written so that they read back the same. Limit: the seconds of several
//! machines are not worth a comparison, but differences between runs of one machine are.

use std::fmt::Write as _;

use super::{ArmRun, Comparison, RunFigures};

/// The first line.
const HEADER: &str = "arm,seed,evaluations,seconds,trained,best,best_in_seconds,qd_score,coverage,texts_per_network,\
                      tokens_written,tokens_read,seconds_writing,seconds_training";

impl Comparison {
    /// The table.
    pub fn csv(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for ArmRun { arm, seed, figures } in &self.runs {
            let _ = writeln!(
                text,
                "{arm},{seed},{},{},{},{},{},{},{},{},{},{},{},{}",
                self.evaluations,
                self.seconds,
                figures.trained,
                figures.best,
                figures.best_in_time,
                figures.qd_score,
                figures.coverage,
                figures.texts,
                figures.written,
                figures.read,
                figures.generate_seconds,
                figures.train_seconds,
            );
        }
        text
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Which line is not as [`Comparison::csv`] writes it, or is of another budget than the first one, as what was
    /// expected and what was found.
    pub fn from_csv(text: &str) -> Result<Comparison, String> {
        let mut lines = text.trim_start_matches('\u{feff}').lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(format!("line 1: expected `{HEADER}`, got `{header}`"));
        }
        let mut read = Comparison { evaluations: 0, seconds: 0.0, runs: Vec::new() };
        for (index, line) in lines.enumerate() {
            let number = index + 2;
            let (evaluations, seconds, run) = parse(line).ok_or_else(|| {
                format!("line {number}: expected a run's name and its 13 numbers, got `{line}`")
            })?;
            if index == 0 {
                (read.evaluations, read.seconds) = (evaluations, seconds);
            } else if (read.evaluations, read.seconds) != (evaluations, seconds) {
                return Err(format!(
                    "line {number}: expected a run of {} evaluations and {} s as in line 2, got {evaluations} and \
                     {seconds} s",
                    read.evaluations, read.seconds
                ));
            }
            read.runs.push(run);
        }
        if read.runs.is_empty() {
            return Err("line 2: expected a run, got the end of the file".into());
        }
        Ok(read)
    }

    /// Adds the runs of another table.
    ///
    /// # Errors
    /// Another budget; a run that is there already.
    pub fn add(&mut self, other: Comparison) -> Result<(), String> {
        if (self.evaluations, self.seconds) != (other.evaluations, other.seconds) {
            return Err(format!(
                "expected runs of {} evaluations and {} s as in the first table, got {} and {} s (--evaluations and \
                 --seconds set them)",
                self.evaluations, self.seconds, other.evaluations, other.seconds
            ));
        }
        for run in other.runs {
            if self.runs.iter().any(|known| (&known.arm, known.seed) == (&run.arm, run.seed)) {
                return Err(format!(
                    "expected runs that no other table has, got {} with seed {} again",
                    run.arm, run.seed
                ));
            }
            self.runs.push(run);
        }
        Ok(())
    }
}

/// A line: evaluations, seconds, and the run.
fn parse(line: &str) -> Option<(usize, f64, ArmRun)> {
    let mut fields = line.split(',');
    let arm = fields.next().filter(|arm| !arm.is_empty())?.to_owned();
    let (seed, evaluations) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let mut number = || fields.next()?.parse().ok().filter(|number: &f64| number.is_finite());
    let seconds = number()?;
    let figures = RunFigures {
        trained: number()? as usize,
        best: number()?,
        best_in_time: number()?,
        qd_score: number()?,
        coverage: number()?,
        texts: number()?,
        written: number()?,
        read: number()?,
        generate_seconds: number()?,
        train_seconds: number()?,
    };
    fields.next().is_none().then_some((evaluations, seconds, ArmRun { arm, seed, figures }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(seeds: std::ops::Range<u64>) -> Comparison {
        let run = |seed: u64| {
            let x = seed as f64 / 3.0 + 0.1;
            let figures = RunFigures {
                trained: 32,
                best: x,
                best_in_time: x / 7.0,
                qd_score: 11.0 * x,
                coverage: 0.11,
                texts: 1.3,
                written: 900.0,
                read: 1000.0,
                generate_seconds: 7.0 * x,
                train_seconds: 1e3 * x,
            };
            ArmRun { arm: "configs/typed.toml".into(), seed, figures }
        };
        Comparison { evaluations: 32, seconds: 100.0, runs: seeds.map(run).collect() }
    }

    #[test]
    fn a_table_reads_back_the_same_and_two_of_them_add_up() {
        let whole = comparison(0..5);
        assert_eq!(Comparison::from_csv(&whole.csv()).unwrap(), whole);
        let mut part = comparison(0..2);
        part.add(comparison(2..5)).unwrap();
        assert_eq!(part, whole);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let text = comparison(0..2).csv();
        let refusal = |text: &str| Comparison::from_csv(text).unwrap_err();
        assert!(refusal("").starts_with("line 1: expected `arm,"));
        assert!(refusal(&format!("{HEADER}\n")).starts_with("line 2: expected a run"));
        assert!(refusal(&text.replace(",900,", ",many,")).starts_with("line 2: expected a run's name"));
        assert!(refusal(&text.replace(",900,", ",900,1,")).starts_with("line 2: expected a run's name"));
        assert!(refusal(&text.replace(",900,", ",inf,")).starts_with("line 2: expected a run's name"));
        let other = text.replace("toml,1,32,", "toml,1,33,");
        assert!(refusal(&other).starts_with("line 3: expected a run of 32 evaluations and 100 s"));
        let again = comparison(0..2).add(comparison(1..3)).unwrap_err();
        assert!(again.contains("configs/typed.toml with seed 1 again"), "{again}");
        let mut shorter = comparison(7..8);
        shorter.evaluations = 20;
        assert!(comparison(0..2).add(shorter).unwrap_err().contains("got 20 and 100 s"));
    }
}
