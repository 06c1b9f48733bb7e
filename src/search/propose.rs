//! Who is asked for what: slot by slot an operator, parents and a prompt, from the state at the start of a generation.
//!
//! Every choice of slot `s` in generation `g` is drawn from the stream `("select", [g, s])`, so slots do not depend on
//! each other. One limit: all slots see the same archive; what one slot finds helps the next generation.

use crate::archive::{CandidateId, Elite, PromptChoice};
use crate::config::{Parents, PromptBook, PromptKind, SearchConfig};
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
    /// To whom: one elite, or two different ones for crossover.
    pub(super) parents: Vec<Elite>,
    /// In which words, how hot.
    pub(super) prompt: PromptChoice,
}

/// What slot `id` asks for. `None` before the seed network is known.
pub(super) fn propose(
    config: &SearchConfig,
    book: &PromptBook,
    state: &State,
    id: CandidateId,
) -> Option<Proposal> {
    let mut stream = RootSeed(config.seed).stream("select", &[id.generation, id.slot]);
    let seed = state.seed.as_ref()?;
    let starting = state.archive.elites().len() < config.search.initial_networks.max(1);
    let crossover = stream.uniform() >= config.search.mutation;
    let (operator, parents) = if starting {
        (Operator::Mutation, vec![seed.clone()])
    } else if crossover && state.archive.elites().len() >= 2 {
        (Operator::Crossover, pick(config, state, 2, &mut stream))
    } else {
        (Operator::Mutation, pick(config, state, 1, &mut stream))
    };
    let kind = if operator == Operator::Crossover { PromptKind::Crossover } else { PromptKind::Mutation };
    let instructions = book.instructions();
    let allowed = |index: usize| instructions.get(index).is_some_and(|instruction| instruction.kind == kind);
    let prompt = state.prompts.choose(allowed, &mut stream)?;
    Some(Proposal { id, operator, parents, prompt })
}

/// `count` different elites; fewer if there are not so many.
fn pick(config: &SearchConfig, state: &State, count: usize, stream: &mut Stream) -> Vec<Elite> {
    let mut pool: Vec<&Elite> = match config.search.parents {
        Parents::Random => state.archive.elites().map(|(_, elite)| elite).collect(),
        Parents::Fittest => {
            let ranked = state.archive.ranked();
            ranked.into_iter().take(config.search.fittest.max(count)).map(|(_, elite)| elite).collect()
        }
    };
    let mut picked = Vec::new();
    while picked.len() < count && !pool.is_empty() {
        picked.push(pool.swap_remove(stream.below(pool.len())).clone());
    }
    picked
}
