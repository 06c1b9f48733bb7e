//! Who is asked for what: slot by slot an operator, parents and a prompt, from the state at the start of a
//! generation.
//!
//! Every choice of slot `s` in generation `g` is drawn from the stream `("select", [g, s])`, so slots do not
//! depend on each other. One limit: all slots see the same archive; what one slot finds helps the next
//! generation.

use crate::archive::{CandidateId, Elite, PromptChoice};
use crate::config::{OperatorChoice, Parents, PromptBook, PromptKind, SearchConfig};
use crate::rng::{RootSeed, Stream};

use super::record::Operator;
use super::state::State;

/// What one slot asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    /// Which slot.
    pub(super) id: CandidateId,
    /// What is done.
    pub(super) operator: Operator,
    /// To whom: one network, or two different ones for crossover.
    pub(super) parents: Vec<Elite>,
    /// In which words, how hot.
    pub(super) prompt: PromptChoice,
}

/// What the generator can do besides writing; the controls without an LLM can do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) infill: bool,
    pub(super) rank: bool,
}

/// What slot `id` asks for. `None` before the seed network is known, or without an instruction for any operator.
pub(super) fn propose(
    config: &SearchConfig,
    book: &PromptBook,
    state: &State,
    can: Abilities,
    id: CandidateId,
) -> Option<Proposal> {
    let mut stream = RootSeed(config.seed).stream("select", &[id.generation, id.slot]);
    let starting = state.archive.elites().len() < config.search.initial_networks.max(1);
    let pairs = !starting && pool(config, state, 2)?.len() >= 2;
    let rates = rates(config, book, can, pairs);
    let (operator, instruction) = match config.operators.choice {
        OperatorChoice::Rates => (draw(&rates, &mut stream)?, None),
        OperatorChoice::Bandit => {
            let arms: Vec<(Operator, usize)> =
                rates.iter().flat_map(|&(operator, _)| arms(book, operator)).collect();
            let (operator, instruction) = state.bandit.choose(&arms, &mut stream)?;
            (operator, Some(instruction))
        }
    };
    let parents = if starting {
        vec![state.seed.clone()?]
    } else {
        pick(config, state, if operator == Operator::Crossover { 2 } else { 1 }, &mut stream)?
    };
    let allowed = |index: usize| match instruction {
        Some(instruction) => index == instruction,
        None => arms(book, operator).any(|arm| arm.1 == index),
    };
    let prompt = state.prompts.choose(allowed, &mut stream)?;
    Some(Proposal { id, operator, parents, prompt })
}

/// The instructions of an operator.
fn arms(book: &PromptBook, operator: Operator) -> impl Iterator<Item = (Operator, usize)> {
    let kind = match operator {
        Operator::Seed | Operator::Rewrite => PromptKind::Mutation,
        Operator::Crossover => PromptKind::Crossover,
        Operator::Infill => PromptKind::Infill,
        Operator::Rank => PromptKind::Rank,
        Operator::Typed => PromptKind::Typed,
    };
    let of_kind = book.instructions().iter().enumerate().filter(move |(_, it)| it.kind == kind);
    of_kind.map(move |(index, _)| (operator, index))
}

/// The operators that can be used, with their rates: an LLM that cannot fill holes makes infill a typed edit, one that
/// cannot score texts makes ranking one, and without two parents or any other operator there is rewriting.
fn rates(config: &SearchConfig, book: &PromptBook, can: Abilities, pairs: bool) -> Vec<(Operator, f64)> {
    let operators = &config.operators;
    let split = |able: bool, rate: f64| if able { (rate, 0.0) } else { (0.0, rate) };
    let (infill, instead_of_infill) = split(can.infill, operators.infill);
    let (rank, instead_of_rank) = split(can.rank, operators.rank);
    let typed = operators.typed + instead_of_infill + instead_of_rank;
    let rates = [
        (Operator::Rewrite, operators.rewrite),
        (Operator::Crossover, if pairs { operators.crossover } else { 0.0 }),
        (Operator::Infill, infill),
        (Operator::Rank, rank),
        (Operator::Typed, typed),
    ];
    let usable: Vec<(Operator, f64)> = rates
        .into_iter()
        .filter(|&(operator, rate)| rate > 0.0 && arms(book, operator).next().is_some())
        .collect();
    if usable.is_empty() { vec![(Operator::Rewrite, 1.0)] } else { usable }
}

fn draw(rates: &[(Operator, f64)], stream: &mut Stream) -> Option<Operator> {
    let mut left = stream.uniform() * rates.iter().map(|(_, rate)| rate).sum::<f64>();
    for &(operator, rate) in rates {
        if left < rate {
            return Some(operator);
        }
        left -= rate;
    }
    rates.last().map(|&(operator, _)| operator)
}

/// Who may be a parent, where `count` are needed.
fn pool<'a>(config: &SearchConfig, state: &'a State, count: usize) -> Option<Vec<&'a Elite>> {
    Some(match config.search.parents {
        Parents::Random | Parents::Curious => state.archive.elites().map(|(_, elite)| elite).collect(),
        Parents::Fittest => {
            let ranked = state.archive.ranked();
            ranked.into_iter().take(config.search.fittest.max(count)).map(|(_, elite)| elite).collect()
        }
        Parents::Seed => vec![state.seed.as_ref()?],
        Parents::Latest => state.latest.iter().collect(),
        Parents::Ageing => state.population.iter().collect(),
    })
}

/// Who may be a parent in the next generation: their weights are kept.
pub(super) fn parents<'a>(config: &SearchConfig, state: &'a State) -> impl Iterator<Item = &'a Elite> {
    pool(config, state, 1).into_iter().flatten().chain(&state.seed)
}

/// `count` different parents; fewer if there are not so many. `None` before there is any.
fn pick(config: &SearchConfig, state: &State, count: usize, stream: &mut Stream) -> Option<Vec<Elite>> {
    let mut pool = pool(config, state, count)?;
    let ageing = config.search.parents == Parents::Ageing;
    let worth = |elite: &Elite| if ageing { elite.fitness } else { state.archive.curiosity(elite.id) };
    let rounds = match config.search.parents {
        Parents::Curious | Parents::Ageing => config.search.tournament,
        _ => 1,
    };
    let mut picked = Vec::new();
    while picked.len() < count && !pool.is_empty() {
        let mut index = stream.below(pool.len());
        for _ in 1..rounds {
            let other = stream.below(pool.len());
            if worth(pool[other]) > worth(pool[index]) {
                index = other;
            }
        }
        picked.push(pool.swap_remove(index).clone());
    }
    (!picked.is_empty()).then_some(picked)
}
