//! How well a model writes children, by prompt style and temperature: a generator in, counts per setting out.
//!
//! Child `i` of every setting has the same parent and instruction, drawn from `("bench prompts", [i])`, and the prompt
//! that a search would make of them; its text is read by the search's front-end with repairs and without. A child is
//! novel where its architecture is neither its parent's nor an earlier child's of the setting. Limits: first attempts
//! only (a search asks a copy again), and the caller's clock.

mod parents;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{PromptBook, PromptKind, SearchConfig};
use crate::llm::{Completion, Control, Finish, Generator, LlmError, Request};
use crate::rng::RootSeed;
use crate::search::{FrontEnd, Network, Question, QuestionStyle, Questions, Reader, Refused};

pub use report::{json, markdown};

/// Names, input sizes and classes of the data sets whose shapes are asked for.
const SHAPES: [(&str, [usize; 3], usize); 2] =
    [("fashion-mnist", [1, 28, 28], 10), ("cifar10", [3, 32, 32], 10)];

/// What is measured.
#[derive(Debug, Clone)]
pub struct PromptBench<'a> {
    /// Sampling, limits and the LLM's rows, as a search would have them.
    pub config: &'a SearchConfig,
    /// The instructions.
    pub book: &'a PromptBook,
    /// The styles.
    pub styles: &'a [QuestionStyle],
    /// The temperatures.
    pub temperatures: &'a [f64],
    /// Children per setting.
    pub generations: usize,
    /// Root of every random choice.
    pub seed: u64,
}

/// What came of one style at one temperature.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Setting {
    /// The style's name.
    pub style: String,
    /// The temperature.
    pub temperature: f64,
    /// Children asked for.
    pub asked: usize,
    /// Without repairs.
    pub plain: Counts,
    /// With repairs.
    pub repaired: Counts,
    /// Tokens of the prompts that were computed, not taken from a cache.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub tokens: u64,
    /// Seconds that the model took.
    pub seconds: f64,
    /// Texts that were given up as soon as they could not become a class.
    pub given_up: usize,
    /// Tokens that the limit would still have allowed them.
    pub saved_tokens: u64,
}

/// How many texts of a setting are networks.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Counts {
    /// Networks.
    pub valid: usize,
    /// Networks that are neither their parent nor an earlier child.
    pub novel: usize,
    /// What the others are, by verdict.
    pub refused: BTreeMap<String, usize>,
}

/// A shape with its parents.
struct Shape {
    plain: FrontEnd,
    repairing: FrontEnd,
    input_sizes: [usize; 3],
    classes: usize,
    parents: Vec<Network>,
}

/// A child that is asked for.
struct Child {
    shape: usize,
    parent: usize,
    question: Question,
    request: Request,
}

/// Why the measurement is not there.
#[derive(Debug, thiserror::Error)]
pub enum PromptBenchError {
    /// A style that the model was not taught.
    #[error("style {style}: model {model} has no template for it; leave it out of --styles")]
    Style {
        /// The style.
        style: &'static str,
        /// The model.
        model: String,
    },
    /// A parent that the limits of the configuration refuse.
    #[error("parent {index} for {shape}: {reason}")]
    Parent {
        /// Its number.
        index: usize,
        /// The data set.
        shape: &'static str,
        /// The front-end's words.
        reason: String,
    },
    /// No instruction to follow.
    #[error("the prompts have no instruction of kind \"mutation\"")]
    Instructions,
    /// The model failed.
    #[error(transparent)]
    Llm(#[from] LlmError),
}

/// Measures every setting, styles outer; `clock` gives seconds, `tell` hears of each setting as it is done.
///
/// # Errors
/// A style that the model was not taught; prompts beyond the context; the model fails.
pub fn run(
    bench: &PromptBench<'_>,
    generator: &mut dyn Generator,
    clock: &mut dyn FnMut() -> f64,
    tell: &mut dyn FnMut(&Setting),
) -> Result<Vec<Setting>, PromptBenchError> {
    let questions = Questions::of(generator);
    if let Some(style) = bench.styles.iter().find(|style| !questions.knows(**style)) {
        let model = generator.describe().name;
        return Err(PromptBenchError::Style { style: style.name(), model });
    }
    let shapes = shapes(bench.config)?;
    let mut settings = Vec::new();
    for &style in bench.styles {
        for &temperature in bench.temperatures {
            let children = children(bench, &questions, &shapes, style, temperature)?;
            let requests: Vec<Request> = children.iter().map(|child| child.request.clone()).collect();
            let started = clock();
            let completions = generator.generate(&requests, &mut |_| Control::Continue)?;
            let seconds = clock() - started;
            let setting = judge(&shapes, &children, &completions, (style, temperature, seconds));
            tell(&setting);
            settings.push(setting);
        }
    }
    Ok(settings)
}

fn shapes(config: &SearchConfig) -> Result<Vec<Shape>, PromptBenchError> {
    let with = |repair: bool| {
        let mut config = config.clone();
        config.search.repair = repair;
        config
    };
    let mut shapes = Vec::new();
    for (shape, input_sizes, classes) in SHAPES {
        let plain = FrontEnd::new(&with(false), &input_sizes, classes);
        let repairing = FrontEnd::new(&with(true), &input_sizes, classes);
        let mut parents = Vec::new();
        for (index, source) in parents::parents(&input_sizes, classes).iter().enumerate() {
            let network = plain.read(source);
            let fail = |refused: Refused| PromptBenchError::Parent { index, shape, reason: refused.message };
            parents.push(network.map_err(fail)?);
        }
        shapes.push(Shape { plain, repairing, input_sizes, classes, parents });
    }
    Ok(shapes)
}

fn children(
    bench: &PromptBench<'_>,
    questions: &Questions,
    shapes: &[Shape],
    style: QuestionStyle,
    temperature: f64,
) -> Result<Vec<Child>, PromptBenchError> {
    let instructions: Vec<usize> = bench
        .book
        .instructions()
        .iter()
        .enumerate()
        .filter(|(_, instruction)| instruction.kind == PromptKind::Mutation)
        .map(|(index, _)| index)
        .collect();
    if instructions.is_empty() {
        return Err(PromptBenchError::Instructions);
    }
    let sampling = &bench.config.sampling;
    let max_tokens = match style {
        QuestionStyle::Infill => bench.config.operators.infill_tokens,
        QuestionStyle::Completion | QuestionStyle::Chat => sampling.max_tokens,
    };
    let child = |index: usize| {
        let mut stream = RootSeed(bench.seed).stream("bench prompts", &[index as u64]);
        let shape = index % shapes.len();
        let Shape { input_sizes, classes, parents, .. } = &shapes[shape];
        let parent = index / shapes.len() % parents.len();
        let instruction = instructions[stream.below(instructions.len())];
        let words = bench.book.words(instruction, false, input_sizes, *classes);
        let question =
            questions.ask(style, &parents[parent], (&words, bench.book.infill_goal(false)), &mut stream)?;
        let request = Request {
            prompt: question.prompt.clone(),
            temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            max_tokens,
            stream: RootSeed(bench.seed).stream("bench prompts sample", &[index as u64]),
            stop: question.stop,
        };
        Some(Child { shape, parent, question, request })
    };
    Ok((0..bench.generations).filter_map(child).collect())
}

fn judge(
    shapes: &[Shape],
    children: &[Child],
    completions: &[Completion],
    (style, temperature, seconds): (QuestionStyle, f64, f64),
) -> Setting {
    let given_up = || {
        let both = children.iter().zip(completions);
        both.filter(|(_, completion)| completion.finish == Finish::Abandoned)
    };
    let left = |(child, completion): (&Child, &Completion)| {
        child.request.max_tokens.saturating_sub(completion.completion_tokens) as u64
    };
    let computed = |completion: &Completion| {
        completion.prompt_tokens.saturating_sub(completion.cached_prompt_tokens) as u64
    };
    Setting {
        style: style.name().to_owned(),
        temperature,
        asked: children.len(),
        plain: count(shapes, children, completions, |shape| &shape.plain),
        repaired: count(shapes, children, completions, |shape| &shape.repairing),
        prompt_tokens: completions.iter().map(computed).sum(),
        tokens: completions.iter().map(|completion| completion.completion_tokens as u64).sum(),
        seconds,
        given_up: given_up().count(),
        saved_tokens: given_up().map(left).sum(),
    }
}

fn count(
    shapes: &[Shape],
    children: &[Child],
    completions: &[Completion],
    reader: impl Fn(&Shape) -> &FrontEnd,
) -> Counts {
    let mut counts = Counts::default();
    let mut seen = BTreeSet::new();
    for (child, completion) in children.iter().zip(completions) {
        let shape = &shapes[child.shape];
        let source = child.question.candidate(&completion.text);
        match reader(shape).read(&source) {
            Ok(network) => {
                counts.valid += 1;
                let architecture = network.graph.architecture_id();
                let parent = shape.parents[child.parent].graph.architecture_id();
                let copy = architecture == parent || child.question.copies(&source);
                if !copy && seen.insert((child.shape, architecture)) {
                    counts.novel += 1;
                }
            }
            Err(refused) => *counts.refused.entry(refused.verdict.name().to_owned()).or_default() += 1,
        }
    }
    counts
}
