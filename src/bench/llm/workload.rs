//! What the LLM benchmark asks for: a network's source and the start of its changed copy, cut to a number of tokens.
//!
//! In: a token count. Out: a prompt of that length, and the requests of one generation of children. The prompt ends as
//! the search's own do, so the model writes a network much like the parent and lookup finds what it finds in a search.
//! Limit: a tokenizer decides how near the count can be met.

use crate::llm::{Llm, Request, Stop};
use crate::rng::RootSeed;

/// Sources before the parent, of which a long prompt holds more.
const BEFORE: &str = include_str!("before.py.txt");
/// The parent, and the first line of its child.
const PARENT: &str = include_str!("parent.py.txt");
/// As in `configs/quickstart.toml`.
const TOP_K: usize = 50;
const TEMPERATURE: f64 = 0.9;

/// The end of the benchmark's text that has `tokens` tokens, or as few more as possible.
pub(super) fn prompt(llm: &Llm, tokens: usize) -> String {
    let mut text = PARENT.to_owned();
    while llm.count_tokens(&text) < tokens {
        text.insert_str(0, BEFORE);
    }
    // The count falls as the start moves on, with a few exceptions that the search below steps over.
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let enough = starts.partition_point(|at| llm.count_tokens(&text[*at..]) >= tokens);
    let near = enough.saturating_sub(20)..enough.max(1);
    let best = near.min_by_key(|index| {
        let count = llm.count_tokens(&text[starts[*index]..]);
        (count.abs_diff(tokens), count < tokens)
    });
    text.split_off(best.map_or(0, |index| starts[index]))
}

/// The children of one parent: the same prompt, each with draws of its own.
pub(super) fn children(prompt: &str, rows: usize, new_tokens: usize, seed: u64) -> Vec<Request> {
    let child = |row: u64| Request {
        prompt: prompt.to_owned(),
        temperature: TEMPERATURE,
        top_p: 1.0,
        top_k: TOP_K,
        max_tokens: new_tokens,
        stream: RootSeed(seed).stream("bench llm", &[row]),
        stop: Stop::EndOfText,
    };
    (0..rows as u64).map(child).collect()
}

/// One greedy row.
pub(super) fn single(prompt: &str, new_tokens: usize) -> Request {
    let mut request = children(prompt, 1, new_tokens, 0).remove(0);
    request.temperature = 0.0;
    request
}
