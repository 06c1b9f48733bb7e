//! Searches as a table (CSV): one line per search with the cells that it paid for, written by one machine and read by
//! another.
//!
//! Input and output: [`SearchRun`]s. Accuracies are not in it: with the benchmark's table they follow from the cells,
//! so any curve can be drawn again. Limit: searches of one method are of one budget and one model.

use std::fmt::Write as _;

use crate::bench::nasbench201::prior::Arm;
use crate::bench::nasbench201::{Cell, DataSet};
use crate::config::Prior;

/// The first line.
const HEADER: &str = "dataset,method,prior,model,evaluations,texts,seed,cells";

/// What one search paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRun {
    /// The data set.
    pub dataset: DataSet,
    /// The method, as on the command line.
    pub method: String,
    /// What decides, of methods that take an LLM or a control of it.
    pub arm: Option<Arm>,
    /// The LLM that was asked; empty for none.
    pub model: String,
    /// Cells that it might have paid for.
    pub evaluations: usize,
    /// Texts that an LLM might have written for it; 0: any number.
    pub texts: usize,
    /// The root seed.
    pub seed: u64,
    /// Numbers of the cells that it paid for, first to last.
    pub cells: Vec<usize>,
}

impl SearchRun {
    /// The method with its arm, such as `rank: opposite, shuffled`.
    pub fn name(&self) -> String {
        match self.arm {
            Some(arm) => format!("{}: {}", self.method, arm.name()),
            None => self.method.clone(),
        }
    }

    /// Whether the other one differs in its seed only, or not even in that.
    pub fn is_like(&self, other: &SearchRun) -> bool {
        (self.dataset, &self.method, self.arm) == (other.dataset, &other.method, other.arm)
    }
}

/// The table.
pub fn to_csv(runs: &[SearchRun]) -> String {
    let mut text = format!("{HEADER}\n");
    for run in runs {
        let cells: Vec<String> = run.cells.iter().map(|&cell| Cell::from_number(cell).code()).collect();
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{}",
            run.dataset.name(),
            run.method,
            run.arm.map(|arm| arm.name().replace(", ", " ")).unwrap_or_default(),
            run.model,
            run.evaluations,
            run.texts,
            run.seed,
            cells.join(" ")
        );
    }
    text
}

/// Reads a table.
///
/// # Errors
/// Which line is not as [`to_csv`] writes it, as what was expected and what was found.
pub fn from_csv(text: &str) -> Result<Vec<SearchRun>, String> {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    let header = lines.next().unwrap_or_default();
    if header != HEADER {
        return Err(format!("line 1: expected `{HEADER}`, got `{header}`"));
    }
    let runs: Vec<SearchRun> = (2..)
        .zip(lines)
        .map(|(number, line)| parse(line).map_err(|reason| format!("line {number}: {reason}")))
        .collect::<Result<_, _>>()?;
    if runs.is_empty() {
        return Err("line 2: expected a search, got the end of the file".into());
    }
    Ok(runs)
}

/// Adds the searches of another table.
///
/// # Errors
/// A search that is there already, or one of another budget or another model.
pub fn add(runs: &mut Vec<SearchRun>, others: Vec<SearchRun>) -> Result<(), String> {
    for other in others {
        let (name, seed) = (other.name(), other.seed);
        for run in runs.iter().filter(|run| run.is_like(&other)) {
            if run.seed == seed {
                return Err(format!(
                    "expected searches that are not there yet, got {name} with seed {seed} again"
                ));
            }
            let budget = |run: &SearchRun| (run.evaluations, run.texts);
            if budget(run) != budget(&other) {
                return Err(format!(
                    "expected {name} with evaluations and texts {:?} as before, got {:?}",
                    budget(run),
                    budget(&other)
                ));
            }
        }
        // Arms are compared with each other, so one model is asked in all that ask.
        let same = |run: &&SearchRun| (run.dataset, &run.method) == (other.dataset, &other.method);
        let asked = runs.iter().filter(same).find(|run| !run.model.is_empty());
        if let Some(run) = asked.filter(|run| !other.model.is_empty() && run.model != other.model) {
            return Err(format!(
                "expected {} with the model {} as before, got {}",
                other.method, run.model, other.model
            ));
        }
        runs.push(other);
    }
    Ok(())
}

fn parse(line: &str) -> Result<SearchRun, String> {
    let fields: Vec<&str> = line.split(',').collect();
    let &[dataset, method, prior, model, evaluations, texts, seed, cells] = fields.as_slice() else {
        return Err(format!("expected the 8 columns {HEADER}, got {}", fields.len()));
    };
    let dataset = DataSet::ALL.into_iter().find(|known| known.name() == dataset);
    let dataset = dataset.ok_or_else(|| {
        format!("expected a data set ({}), got `{}`", DataSet::ALL.map(DataSet::name).join(", "), fields[0])
    })?;
    let arm = if prior.is_empty() { None } else { Some(arm(prior)?) };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("expected a number, got `{text}`"));
    let cell = |code: &str| Cell::from_code(code).map(Cell::number).map_err(|error| error.to_string());
    let cells: Vec<usize> = cells.split_whitespace().map(cell).collect::<Result<_, _>>()?;
    if cells.is_empty() || method.is_empty() {
        return Err("expected a method and the cells that it paid for, got none".into());
    }
    Ok(SearchRun {
        dataset,
        method: method.to_owned(),
        arm,
        model: model.to_owned(),
        evaluations: number(evaluations)? as usize,
        texts: number(texts)? as usize,
        seed: number(seed)?,
        cells,
    })
}

/// An arm, as [`Arm::name`] without its comma.
fn arm(text: &str) -> Result<Arm, String> {
    let (name, shuffle) = match text.strip_suffix(" shuffled") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let prior = Prior::ALL.into_iter().find(|prior| prior.name() == name);
    let prior = prior.ok_or_else(|| format!("expected llm, opposite, none or random, got `{name}`"))?;
    Ok(Arm { prior, shuffle })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64) -> SearchRun {
        SearchRun {
            dataset: DataSet::Cifar100,
            method: "rank".into(),
            arm: Some(Arm { prior: Prior::Opposite, shuffle: true }),
            model: "qwen2.5-coder-0.5b".into(),
            evaluations: 200,
            texts: 0,
            seed,
            cells: vec![7, 15_624, 0],
        }
    }

    #[test]
    fn a_table_reads_back_the_same_and_two_of_them_add_up() {
        let plain = SearchRun { method: "local".into(), arm: None, model: String::new(), ..run(0) };
        let runs = [run(0), plain, run(1)];
        let text = to_csv(&runs);
        assert!(
            text.contains(
                "\ncifar100,rank,opposite shuffled,qwen2.5-coder-0.5b,200,0,0,000012 444444 000000\n"
            )
        );
        assert_eq!(from_csv(&text).unwrap(), runs);
        let mut part = runs[..2].to_vec();
        add(&mut part, vec![run(1)]).unwrap();
        assert_eq!(part, runs);
        assert_eq!(runs[0].name(), "rank: opposite, shuffled");
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let text = to_csv(&[run(3)]);
        let refusal = |from: &str, to: &str| from_csv(&text.replace(from, to)).unwrap_err();
        assert!(from_csv("").unwrap_err().starts_with("line 1: expected `dataset,"));
        assert!(from_csv(HEADER).unwrap_err().starts_with("line 2: expected a search"));
        assert_eq!(refusal("444444", "444445"), "line 2: expected six digits of 0 to 4, got `444445`");
        assert!(refusal("cifar100,", "mnist,").ends_with("got `mnist`"));
        assert!(refusal("opposite shuffled", "shuffled").ends_with("got `shuffled`"));
        assert!(refusal(",200,", ",200,1,").ends_with("got 9"));
        assert!(refusal(",200,", ",many,").ends_with("expected a number, got `many`"));
        assert!(refusal("000012 444444 000000", " ").contains("got none"));
        let mut runs = vec![run(3)];
        assert!(
            add(&mut runs, vec![run(3)]).unwrap_err().contains("rank: opposite, shuffled with seed 3 again")
        );
        let shorter = SearchRun { evaluations: 50, ..run(4) };
        assert!(add(&mut runs, vec![shorter]).unwrap_err().contains("got (50, 0)"));
        let larger = SearchRun { model: "qwen2.5-coder-1.5b".into(), ..run(5) };
        assert!(add(&mut runs, vec![larger]).unwrap_err().contains("the model qwen2.5-coder-0.5b as before"));
        assert_eq!(from_csv(&format!("\u{feff}{text}")).unwrap(), from_csv(&text).unwrap());
    }
}
