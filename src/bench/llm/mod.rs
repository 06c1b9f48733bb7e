//! How fast the LLM engine is: a loaded model and a clock in, tokens per second out.
//!
//! Four rates over one prompt: prefill; one greedy row without lookup, so that each token is a pass over the weights;
//! a generation of children of one parent, decoded together with lookup, sampling and a shared prefix, as a search
//! does; and the same children one after another. Rates of a generation are of its new tokens over all of its time,
//! prefill included. The machine's own limits are measured beside ([`machine`]). Limit: the caller brings the clock,
//! and other work on the machine is not noticed.

mod workload;

use crate::llm::{Completion, Control, Llm, LlmError, Probe, Request};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlmBench {
    /// Length of the prompt, in tokens.
    pub prompt_tokens: usize,
    /// Most tokens that a row writes.
    pub new_tokens: usize,
    /// Children of a generation.
    pub rows: usize,
    /// How often everything is measured.
    pub repeats: usize,
}

/// Medians over the repeats, in tokens per second where nothing else is said.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmRates {
    /// The prompt, for another program to repeat.
    pub prompt: String,
    /// Its length.
    pub prompt_tokens: usize,
    /// Tokens of the prompt per second.
    pub prefill: f64,
    /// One row, after its prompt.
    pub decode: f64,
    /// All children together.
    pub generation: f64,
    /// All children together, without lookup.
    pub generation_without_lookup: f64,
    /// The children one after another.
    pub one_at_a_time: f64,
    /// Tokens that the children of one generation wrote.
    pub generation_tokens: usize,
}

/// What the machine does at best.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineRates {
    /// Bytes per second read from memory.
    pub bandwidth: f64,
    /// int8 products per second.
    pub products: f64,
    /// The instructions of these products.
    pub instructions: &'static str,
}

/// Measures a loaded model; `clock` tells seconds. The same seeds are drawn in every repeat.
///
/// # Errors
/// A prompt and new tokens beyond the model's context.
pub fn measure(llm: &mut Llm, bench: LlmBench, clock: &dyn Fn() -> f64) -> Result<LlmRates, LlmError> {
    let prompt = workload::prompt(llm, bench.prompt_tokens);
    let tokens = llm.tokens(&prompt)?;
    let children = workload::children(&prompt, bench.rows.max(1), bench.new_tokens, 0);
    let single = workload::single(&prompt, bench.new_tokens);
    let mut rates: [Vec<f64>; 5] = Default::default();
    let mut generation_tokens = 0;
    for _ in 0..bench.repeats.max(1) {
        let start = clock();
        llm.logits(&tokens)?;
        rates[0].push(tokens.len() as f64 / (clock() - start));
        llm.set_lookup(false);
        rates[1].push(decode(llm, &single, clock)?);
        rates[3].push(generation(llm, &children, clock)?.0);
        llm.set_lookup(true);
        let (rate, written) = generation(llm, &children, clock)?;
        rates[2].push(rate);
        generation_tokens = written;
        rates[4].push(one_at_a_time(llm, &children, clock)?);
    }
    let [prefill, decode, generation, generation_without_lookup, one_at_a_time] = rates.map(median);
    let prompt_tokens = tokens.len();
    Ok(LlmRates {
        prompt,
        prompt_tokens,
        prefill,
        decode,
        generation,
        generation_without_lookup,
        one_at_a_time,
        generation_tokens,
    })
}

/// Measures what `threads` threads of this machine do at best: the best of `repeats`.
///
/// # Errors
/// No threads.
pub fn machine(threads: usize, repeats: usize, clock: &dyn Fn() -> f64) -> Result<MachineRates, LlmError> {
    let probe = Probe::new(threads)?;
    let best = |work: &dyn Fn() -> u64| {
        (0..repeats.max(3)).fold(0.0f64, |best, _| {
            let start = clock();
            let done = work() as f64;
            best.max(done / (clock() - start))
        })
    };
    Ok(MachineRates {
        bandwidth: best(&|| probe.read()),
        products: best(&|| probe.multiply()),
        instructions: probe.instructions(),
    })
}

/// The middle one; of an even number the mean of both.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

/// One row's tokens per second between its first and its last.
fn decode(llm: &mut Llm, request: &Request, clock: &dyn Fn() -> f64) -> Result<f64, LlmError> {
    let (mut first, mut last) = (None, (0, 0.0));
    llm.forget();
    llm.generate(std::slice::from_ref(request), &mut |progress| {
        if progress.tokens > 0 {
            last = (progress.tokens, clock());
            first.get_or_insert(last);
        }
        Control::Continue
    })?;
    let first = first.unwrap_or((0, f64::NAN));
    Ok((last.0 - first.0) as f64 / (last.1 - first.1))
}

/// New tokens per second of rows decoded together, and how many they were.
fn generation(
    llm: &mut Llm,
    requests: &[Request],
    clock: &dyn Fn() -> f64,
) -> Result<(f64, usize), LlmError> {
    llm.forget();
    let start = clock();
    let completions = llm.generate(requests, &mut |_| Control::Continue)?;
    let seconds = clock() - start;
    let tokens = written(&completions);
    Ok((tokens as f64 / seconds, tokens))
}

/// The same, one row at a time; the prompt is computed for the first one only.
fn one_at_a_time(llm: &mut Llm, requests: &[Request], clock: &dyn Fn() -> f64) -> Result<f64, LlmError> {
    llm.forget();
    let (start, mut tokens) = (clock(), 0);
    for request in requests {
        tokens += written(&llm.generate(std::slice::from_ref(request), &mut |_| Control::Continue)?);
    }
    Ok(tokens as f64 / (clock() - start))
}

fn written(completions: &[Completion]) -> usize {
    completions.iter().map(|completion| completion.completion_tokens).sum()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_both() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
