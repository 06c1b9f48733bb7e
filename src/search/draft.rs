//! From a proposal to a text: what the LLM is asked and how its answer becomes a whole candidate, or, for typed
//! edits, the candidate itself.
//!
//! Input: a proposal and its attempt. Output: a [`Draft`]. Random choices of slot `s`, attempt `a` draw from the
//! streams `("infill" | "typed", [generation, s, a])`. Limit: a parent is read once more to know the shapes in it.

use std::collections::BTreeMap;

use crate::config::{ConfigError, Prior, PromptBook, PromptKind, SearchConfig, Style};
use crate::llm::{ChatTokens, Generator, InfillTokens, PromptStyle, Request, Stop};
use crate::rng::{RootSeed, Stream};

use super::infill::{self, Hole, Variant};
use super::propose::Proposal;
use super::rank::{self, Picked};
use super::read::{Network, Reader};
use super::record::Operator;
use super::typed::{self, EditKind, Edited};
use super::{Run, ScriptedGenerator, source};

/// What becomes of a proposal.
#[derive(Debug)]
pub(super) struct Draft {
    /// The instruction that was followed: the proposal's, or another one of its kind where that one has no place.
    pub(super) instruction: usize,
    pub(super) step: Step,
}

/// The next step.
#[derive(Debug)]
pub(super) enum Step {
    /// The LLM writes a whole class.
    Write(Box<Request>),
    /// The LLM fills a hole.
    Fill(Box<Request>, Hole),
    /// The source is there, with what was done.
    Done { source: String, what: String },
    /// The source is there: an edit that was chosen by its score.
    Ranked(Picked),
    /// Nothing can be done; why not.
    Failed(String),
}

impl Step {
    /// What the LLM is asked, if it is.
    pub(super) fn request(&self) -> Option<&Request> {
        match self {
            Step::Write(request) | Step::Fill(request, _) => Some(request),
            Step::Done { .. } | Step::Ranked(_) | Step::Failed(_) => None,
        }
    }
}

/// Networks of parents, by architecture; each is read once in a generation.
#[derive(Debug, Default)]
pub(super) struct ParentNetworks(BTreeMap<String, Option<Network>>);

/// Refuse instructions that name no known edit or hole, and a rate without an instruction.
///
/// # Errors
/// The instruction, or the operator's key.
pub fn check_prompts(config: &SearchConfig, book: &PromptBook) -> Result<(), ConfigError> {
    let fail = |message: String, hint: &str| {
        Err(ConfigError { place: "prompts".into(), message, hint: Some(hint.to_owned()) })
    };
    for instruction in book.instructions() {
        let known = match instruction.kind {
            PromptKind::Typed => EditKind::from_words(&instruction.text).is_some(),
            PromptKind::Infill => Variant::from_words(&instruction.text).is_some(),
            PromptKind::Mutation | PromptKind::Crossover | PromptKind::Rank => true,
        };
        let stand_in = instruction.typed.iter().find(|words| EditKind::from_words(words).is_none());
        if let Some(words) = stand_in {
            let message = format!("instruction {}: typed: nothing is called \"{words}\"", instruction.id);
            return fail(message, "configs/prompts.toml has every name of an edit");
        }
        if !known {
            let message =
                format!("instruction {}: nothing is called \"{}\"", instruction.id, instruction.text);
            return fail(message, "configs/prompts.toml has every name of an edit or a hole");
        }
    }
    let operators = &config.operators;
    let rates = [
        ("rewrite", PromptKind::Mutation, operators.rewrite),
        ("crossover", PromptKind::Crossover, operators.crossover),
        ("typed", PromptKind::Typed, operators.typed),
        ("infill", PromptKind::Infill, operators.infill),
        ("rank", PromptKind::Rank, operators.rank),
    ];
    let typed = book.instructions().iter().any(|instruction| instruction.kind == PromptKind::Typed);
    if config.model.name == ScriptedGenerator::NONE
        && operators.prior.asks()
        && operators.infill + operators.rank > 0.0
        && !typed
    {
        let message = "operators.infill, operators.rank: without a model they are typed edits, and the prompts \
                       have no instruction of kind \"typed\"";
        return fail(message.into(), "take those of configs/prompts.toml over, or name a model");
    }
    if operators.infill > 0.0 && operators.prior == Prior::Opposite && book.infill_goal(true).is_empty() {
        let message = "context: expected `infill_opposite`, got none".into();
        return fail(message, "operators.prior = \"opposite\" asks for a low accuracy in the same words");
    }
    let asked = [PromptKind::Mutation, PromptKind::Crossover, PromptKind::Rank];
    for (name, kind, rate) in rates {
        if rate > 0.0 && !book.instructions().iter().any(|instruction| instruction.kind == kind) {
            let message = format!("operators.{name}: expected an instruction of kind \"{name}\", got none");
            return fail(message, "take those of configs/prompts.toml over, or set the rate to 0");
        }
        let silent = |kind| book.instructions().iter().find(|it| it.kind == kind && it.opposite.is_empty());
        if let Some(instruction) = silent(kind)
            && rate > 0.0
            && operators.prior == Prior::Opposite
            && asked.contains(&kind)
        {
            let message = format!("instruction {}: expected `opposite`, got none", instruction.id);
            return fail(message, "operators.prior = \"opposite\" asks for a low accuracy in the same words");
        }
    }
    Ok(())
}

/// Prepare attempt `attempt` at a proposal.
pub(super) fn draft(
    run: &Run,
    reader: &dyn Reader,
    tokens: Option<&InfillTokens>,
    chat: Option<&ChatTokens>,
    parents: &mut ParentNetworks,
    proposal: &Proposal,
    attempt: u64,
) -> Draft {
    let seed = RootSeed(run.config.seed);
    let indices = [proposal.id.generation, proposal.id.slot, attempt];
    let instruction = proposal.prompt.instruction;
    let request = |prompt: String, max_tokens: usize, stop: Stop| {
        let hotter = attempt as f64 * run.config.search.copy_temperature_step;
        Box::new(Request {
            prompt,
            temperature: proposal.prompt.temperature + hotter,
            top_p: run.config.sampling.top_p,
            top_k: run.config.sampling.top_k,
            max_tokens,
            stream: seed.stream("sample", &indices),
            stop,
        })
    };
    let opposite = run.config.operators.prior == Prior::Opposite;
    let alone = run.config.operators.prior == Prior::None;
    match (proposal.operator, tokens) {
        (operator, _) if alone && operator != Operator::Typed => {
            let mut stream = seed.stream("typed", &indices);
            Draft {
                instruction,
                step: stand_in(run, reader, parents.network(reader, proposal), instruction, &mut stream),
            }
        }
        (Operator::Typed, _) | (Operator::Infill, None) => {
            let mut stream = seed.stream("typed", &indices);
            let parent = parents.network(reader, proposal);
            if let Some(step) = parent.and_then(|parent| of_the_space(reader, parent, &mut stream)) {
                return Draft { instruction, step };
            }
            let edit = |words: &str, stream: &mut Stream| {
                walk(run, reader, parent?, EditKind::from_words(words)?, stream)
            };
            let done = |edited: Edited| Step::Done { source: edited.source, what: edited.what };
            first_with_a_place(run, PromptKind::Typed, instruction, &mut stream, edit, done)
        }
        (Operator::Infill, Some(tokens)) => {
            let mut stream = seed.stream("infill", &indices);
            let parent = parents.network(reader, proposal);
            let hole = |words: &str, stream: &mut Stream| {
                let parent = parent?;
                infill::hole(&parent.source, &parent.graph, Variant::from_words(words)?, stream)
            };
            let ask = |hole: Hole| {
                let prompt = hole_prompt(tokens, run.book.infill_goal(opposite), &hole);
                Step::Fill(request(prompt, run.config.operators.infill_tokens, hole.stop), hole)
            };
            first_with_a_place(run, PromptKind::Infill, instruction, &mut stream, hole, ask)
        }
        _ => {
            let words = run.book.words(instruction, opposite, &run.row.input_sizes, run.row.classes);
            let prompt = whole_class(chat, &proposal.sources(), &words);
            let step = Step::Write(request(prompt, run.config.sampling.max_tokens, Stop::ClassComplete));
            Draft { instruction, step }
        }
    }
}

/// How the LLM is talked to, if the run talks to it.
pub(super) fn chat_of(style: Style, generator: &dyn Generator) -> Option<ChatTokens> {
    let talks = match style {
        Style::Model => generator.style() == PromptStyle::Chat,
        Style::Completion => false,
        Style::Chat => true,
    };
    generator.chat().filter(|_| talks).cloned()
}

/// The prompt that asks for the filling of a hole, under a comment that says what it is for; empty for none.
pub(super) fn hole_prompt(tokens: &InfillTokens, goal: &str, hole: &Hole) -> String {
    let before = if goal.is_empty() { hole.before.clone() } else { format!("{goal}\n{}", hole.before) };
    tokens.prompt(&before, &hole.after)
}

/// The prompt that asks for a whole class.
pub(super) fn whole_class(chat: Option<&ChatTokens>, parents: &[&str], words: &str) -> String {
    match chat {
        Some(chat) => {
            let (question, answer) = source::chat(parents, words);
            chat.prompt(&question, &answer)
        }
        None => source::prompt(parents, words),
    }
}

impl Proposal {
    /// The sources of its parents.
    pub(super) fn sources(&self) -> Vec<&str> {
        self.parents.iter().map(|parent| parent.source.as_ref()).collect()
    }
}

impl ParentNetworks {
    /// The network of the proposal's first parent.
    pub(super) fn network(&mut self, reader: &dyn Reader, proposal: &Proposal) -> Option<&Network> {
        let parent = proposal.parents.first()?;
        let read = || reader.read(&parent.source).ok();
        self.0.entry(parent.architecture.clone()).or_insert_with(read).as_ref()
    }
}

/// One of the edits of a space that has its own.
fn of_the_space(reader: &dyn Reader, parent: &Network, stream: &mut Stream) -> Option<Step> {
    let mut edits = reader.edits(parent)?;
    if edits.is_empty() {
        return None;
    }
    let Edited { source, what } = edits.swap_remove(stream.below(edits.len()));
    Some(Step::Done { source, what })
}

/// 1 to `search.walk` edits, the first of this kind; `None` where it has no place.
fn walk(
    run: &Run,
    reader: &dyn Reader,
    parent: &Network,
    kind: EditKind,
    stream: &mut Stream,
) -> Option<Edited> {
    let mut edited = typed::edit(&parent.source, &parent.graph, kind, stream)?;
    if run.config.search.walk == 1 {
        return Some(edited);
    }
    let kinds = rank::kinds(run);
    for _ in 0..stream.below(run.config.search.walk) {
        let Some(kind) = kinds.get(stream.below(kinds.len())) else { break };
        let Ok(network) = reader.read(&edited.source) else { break };
        if let Some(next) = typed::edit(&network.source, &network.graph, *kind, stream) {
            edited = Edited { source: next.source, what: format!("{}; {}", edited.what, next.what) };
        }
    }
    Some(edited)
}

/// What is done in the LLM's place: a typed edit that does what the instruction asks for.
fn stand_in(
    run: &Run,
    reader: &dyn Reader,
    parent: Option<&Network>,
    instruction: usize,
    stream: &mut Stream,
) -> Step {
    let none = || Step::Failed("expected a place for an edit in the parent's source, found none".into());
    let Some(parent) = parent else { return none() };
    if let Some(step) = of_the_space(reader, parent, stream) {
        return step;
    }
    let named = run.book.instructions().get(instruction).map_or(&[][..], |it| &it.typed);
    let mut kinds: Vec<EditKind> = named.iter().filter_map(|words| EditKind::from_words(words)).collect();
    let mut others: Vec<EditKind> =
        rank::kinds(run).into_iter().filter(|kind| !kinds.contains(kind)).collect();
    stream.shuffle(&mut kinds);
    stream.shuffle(&mut others);
    let edited = kinds.into_iter().chain(others).find_map(|kind| walk(run, reader, parent, kind, stream));
    edited.map_or_else(none, |Edited { source, what }| Step::Done { source, what })
}

/// Try the instruction, then the others of its kind in random order, until one has a place in the parent.
fn first_with_a_place<T>(
    run: &Run,
    kind: PromptKind,
    instruction: usize,
    stream: &mut Stream,
    make: impl Fn(&str, &mut Stream) -> Option<T>,
    step: impl Fn(T) -> Step,
) -> Draft {
    let instructions = run.book.instructions();
    let mut others: Vec<usize> = (0..instructions.len())
        .filter(|&index| index != instruction && instructions[index].kind == kind)
        .collect();
    stream.shuffle(&mut others);
    for index in std::iter::once(instruction).chain(others) {
        let words = instructions.get(index).map_or("", |instruction| instruction.text.as_str());
        if let Some(made) = make(words, stream) {
            return Draft { instruction: index, step: step(made) };
        }
    }
    let message = "expected a place for an edit in the parent's source, found none".into();
    Draft { instruction, step: Step::Failed(message) }
}
