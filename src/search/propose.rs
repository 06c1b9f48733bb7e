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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::archive::Reward;
    use crate::config::{self, Device, PROMPTS};

    const CAN: Abilities = Abilities { infill: true, rank: true };

    /// A state with elites of fitness 0.0, 0.1 ... 0.9, the middle one of which has the best children; the oldest
    /// networks are the fittest.
    fn state(config: &SearchConfig, book: &PromptBook) -> State {
        let mut state = State::new(config, book.instructions().len());
        for slot in 0..10u64 {
            let elite = Elite {
                id: CandidateId { generation: 1, slot },
                architecture: format!("{slot:016x}"),
                source: "class Net: pass".into(),
                fitness: slot as f64 / 10.0,
                descriptor: [6.0 * slot as f64, 4.0 + 0.4 * slot as f64],
            };
            state.archive.add(elite.clone()).unwrap();
            state.population.push_front(elite.clone());
            state.seed.get_or_insert(elite);
        }
        assert_eq!(state.archive.elites().len(), 10, "each in a niche of its own");
        state.archive.reward(CandidateId { generation: 1, slot: 5 }, Reward::Archived);
        state
    }

    /// How often each elite is the parent of a typed edit, by slot.
    fn parents(settings: &str) -> BTreeMap<u64, usize> {
        let text = format!(
            "[operators]\nrewrite = 0\ncrossover = 0\ntyped = 1\n[search]\ninitial_networks = 1\n{settings}\n"
        );
        let config = config::resolve(&text, "", &[], Device::Cpu, 1).unwrap();
        let book = PromptBook::parse(PROMPTS, "").unwrap();
        let state = state(&config, &book);
        let mut counts = BTreeMap::new();
        for slot in 0..300 {
            let id = CandidateId { generation: 2, slot };
            let proposal = propose(&config, &book, &state, CAN, id).unwrap();
            *counts.entry(proposal.parents[0].id.slot).or_default() += 1;
        }
        counts
    }

    #[test]
    fn parents_are_whom_the_setting_says() {
        assert_eq!(parents("parents = \"random\"").len(), 10);
        assert_eq!(parents("parents = \"fittest\"\nfittest = 1"), [(9, 300)].into());
        assert_eq!(parents("parents = \"fittest\"\nfittest = 3").into_keys().collect::<Vec<_>>(), [7, 8, 9]);
        let curious = parents("parents = \"curious\"\ntournament = 50");
        assert!(
            curious[&5] > 290,
            "of fifty draws from ten one is nearly always the most curious: {curious:?}"
        );
        let one = parents("parents = \"curious\"\ntournament = 1");
        assert!(one.len() == 10 && one[&5] < 60, "no tournament, no preference: {one:?}");
        assert_eq!(parents("parents = \"seed\""), [(0, 300)].into());
        let ageing = parents("parents = \"ageing\"\ntournament = 50");
        assert!(ageing[&9] > 290, "the fittest of the population: {ageing:?}");
    }

    #[test]
    fn operators_come_at_their_rates_and_crossover_takes_two_different_parents() {
        let config = config::resolve("[search]\ninitial_networks = 1\n", "", &[], Device::Cpu, 1).unwrap();
        let book = PromptBook::parse(PROMPTS, "").unwrap();
        let state = state(&config, &book);
        let mut rewritten = 0;
        for slot in 0..2_000 {
            let proposal = propose(&config, &book, &state, CAN, CandidateId { generation: 2, slot }).unwrap();
            match proposal.operator {
                Operator::Rewrite => rewritten += 1,
                Operator::Crossover => {
                    assert_ne!(proposal.parents[0].id, proposal.parents[1].id);
                    assert_eq!(proposal.parents.len(), 2);
                }
                other => panic!("{other:?} has no rate"),
            }
        }
        assert!((1_340..1_460).contains(&rewritten), "{rewritten} of 2,000 at a rate of 0.7");
    }
}
