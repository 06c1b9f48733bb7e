//! What orders the edits of a cell: an LLM's log-probabilities of the changed lines, or one of its controls.
//!
//! Input: a cell as code and the lines that its edits would write. Output: one score per edit, the mean
//! log-probability per token after a prompt that asks for a high (or, as a control, a low) accuracy. Scores are kept,
//! since the searches of other seeds and data sets come by the same cells (`scores`). Limit: the prompt names no data
//! set.

use crate::bench::nasbench201::scores::{ScoreCache, key};
use crate::bench::nasbench201::{Cell, Operation};
use crate::bench::search::Prior;
use crate::config;
use crate::llm::{Generator, Score};
use crate::rng::RootSeed;

/// An arm of a comparison: what decides, and whether the legend is shuffled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// What decides.
    pub prior: config::Prior,
    /// Whether each seed has another order of the operations in its prompts.
    pub shuffle: bool,
}

impl Arm {
    /// The arm's name behind its method's, such as `opposite, shuffled`.
    pub fn name(self) -> String {
        let prior = self.prior.name();
        if self.shuffle { format!("{prior}, shuffled") } else { prior.to_owned() }
    }
}

/// A prior over the edits of a cell.
pub struct CellPrior<'a> {
    arm: Arm,
    seed: RootSeed,
    legend: Vec<Operation>,
    generator: &'a mut dyn Generator,
    cache: &'a mut ScoreCache,
}

impl std::fmt::Debug for CellPrior<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CellPrior")
            .field("arm", &self.arm)
            .field("legend", &self.legend)
            .finish_non_exhaustive()
    }
}

impl<'a> CellPrior<'a> {
    /// The prior of one search.
    pub fn new(
        arm: Arm,
        seed: RootSeed,
        generator: &'a mut dyn Generator,
        cache: &'a mut ScoreCache,
    ) -> CellPrior<'a> {
        CellPrior { arm, seed, legend: legend(arm.shuffle, seed), generator, cache }
    }

    fn ask(&mut self, parent: Cell, lines: &[String]) -> Result<Vec<f64>, String> {
        let prompt = prompt(parent, &self.legend, self.arm.prior == config::Prior::Opposite);
        // The lines in one order, so that equal prompts have equal answers behind them.
        let mut sorted: Vec<&String> = lines.iter().collect();
        sorted.sort();
        let key = key(&self.generator.describe(), &prompt);
        if self.cache.get(&key).is_none() {
            let texts: Vec<String> = sorted.iter().map(|line| format!("{line}\n")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let scores = self.generator.score(&prompt, &texts).map_err(|error| error.to_string())?;
            let scores = scores.iter().map(Score::per_token).collect();
            self.cache.insert(key.clone(), scores).map_err(|error| error.to_string())?;
        }
        let scores = self.cache.get(&key).unwrap_or_default();
        let score = |line: &String| {
            let place = sorted.binary_search(&line).ok();
            place.and_then(|place| scores.get(place)).copied().unwrap_or(f64::NEG_INFINITY)
        };
        Ok(lines.iter().map(score).collect())
    }
}

impl Prior for CellPrior<'_> {
    fn scores(&mut self, point: usize, neighbours: &[usize]) -> Result<Vec<f64>, String> {
        let parent = Cell::from_number(point);
        let lines: Vec<String> =
            neighbours.iter().map(|&neighbour| Cell::from_number(neighbour).edit_of(parent)).collect();
        match self.arm.prior {
            config::Prior::None => Ok(vec![0.0; lines.len()]),
            // A fixed table of edge and operation, as an LLM that knows nothing has.
            config::Prior::Random => Ok(lines
                .iter()
                .map(|line| self.seed.stream(&format!("prior {line}"), &[]).uniform())
                .collect()),
            config::Prior::Llm | config::Prior::Opposite => self.ask(parent, &lines),
        }
    }
}

/// The operations in the order of a prompt: that of the benchmark's code, or a random one of the seed.
pub fn legend(shuffle: bool, seed: RootSeed) -> Vec<Operation> {
    let mut legend = Operation::ALL.to_vec();
    if shuffle {
        seed.stream("legend", &[]).shuffle(&mut legend);
    }
    legend
}

/// The operations as a prompt lists them.
pub fn listed(legend: &[Operation]) -> String {
    legend.iter().map(|operation| operation.code()).collect::<Vec<_>>().join(", ")
}

/// The prompt that a changed line continues.
fn prompt(parent: Cell, legend: &[Operation], opposite: bool) -> String {
    let accuracy = if opposite { "LOW" } else { "HIGH" };
    format!(
        "# A cell of an image classifier. Each edge is one of: {}.\n{}\n\n\
         # One changed edge that gives a very {accuracy} validation accuracy:\n        self.",
        listed(legend),
        parent.to_class()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::nasbench201::CellSpace;
    use crate::bench::space::Space as _;
    use crate::search::ScriptedGenerator;

    #[test]
    fn a_cell_is_scored_once_and_the_opposite_changes_one_word() {
        let asked = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let told = std::rc::Rc::clone(&asked);
        let mut generator = ScriptedGenerator::none().with_scores(move |prompt, text| {
            told.borrow_mut().push(prompt.to_owned());
            f64::from(text.len() as u32)
        });
        let mut cache = ScoreCache::default();
        let neighbours = CellSpace.neighbours(100);
        let mut scores = |prior, seed| {
            let arm = Arm { prior, shuffle: false };
            CellPrior::new(arm, RootSeed(seed), &mut generator, &mut cache).scores(100, &neighbours).unwrap()
        };
        let first = scores(config::Prior::Llm, 0);
        assert_eq!(first, scores(config::Prior::Llm, 1), "another seed, the same scores");
        let line = Cell::from_number(neighbours[3]).edit_of(Cell::from_number(100));
        assert_eq!(first[3], f64::from(line.len() as u32 + 1));
        assert_eq!(asked.borrow().len(), 24);
        let _ = scores(config::Prior::Opposite, 0);
        assert_eq!(asked.borrow()[24], asked.borrow()[0].replace("HIGH", "LOW"));
        assert_eq!(scores(config::Prior::None, 0), vec![0.0; 24]);
        assert_ne!(scores(config::Prior::Random, 0), scores(config::Prior::Random, 1));
        assert_eq!(asked.borrow().len(), 48);
    }

    #[test]
    fn a_shuffled_legend_is_the_seeds() {
        let order = |seed| legend(true, RootSeed(seed));
        assert_eq!(order(3), order(3));
        assert!((0..20).any(|seed| order(seed) != order(3)));
        assert_eq!(legend(false, RootSeed(3)), Operation::ALL);
    }
}
