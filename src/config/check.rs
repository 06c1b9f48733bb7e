//! The range of every number of a [`SearchConfig`]; a violation is the key and what was expected.
//!
//! One limit: ranges are those that make sense at all, not those that a given machine can afford.

use super::{ArchiveKind, SearchConfig};

type Violation = (&'static str, String);

/// Distances from samples to centroids that one pass of placing centroids may take.
const MOST_DISTANCES: u64 = 1_000_000_000;

/// Check every number.
///
/// # Errors
/// The dotted key of the first number out of range, and the range.
pub(super) fn ranges(config: &SearchConfig) -> Result<(), Violation> {
    for (key, low, high, got) in numbers(config) {
        if !(low..=high).contains(&got) {
            return Err((key, format!("expected {low} to {high}, got {got}")));
        }
    }
    let archive = &config.archive;
    let ranges = [
        ("archive.width_to_depth", archive.width_to_depth),
        ("archive.depth", archive.depth),
        ("archive.log_flops", archive.log_flops),
        ("archive.log_parameters", archive.log_parameters),
        ("archive.log_activation", archive.log_activation),
        ("archive.log_latency", archive.log_latency),
    ];
    for (key, [low, high]) in ranges {
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err((key, format!("expected a lower and a higher number, got [{low}, {high}]")));
        }
    }
    let prompts = &config.prompts;
    if prompts.temperature_min > prompts.temperature_max {
        let message = format!("expected at most temperature_max, {}", prompts.temperature_max);
        return Err(("prompts.temperature_min", format!("{message}, got {}", prompts.temperature_min)));
    }
    let start = prompts.temperature_min..=prompts.temperature_max;
    if !start.contains(&prompts.temperature_start) {
        let message = format!("expected {} to {}", prompts.temperature_min, prompts.temperature_max);
        return Err(("prompts.temperature_start", format!("{message}, got {}", prompts.temperature_start)));
    }
    if config.archive.samples < config.archive.niches {
        let message = format!("expected at least as many as niches, {}", config.archive.niches);
        return Err(("archive.samples", format!("{message}, got {}", config.archive.samples)));
    }
    if archive.x == archive.y {
        return Err((
            "archive.y",
            format!("expected another descriptor than archive.x, got {} twice", archive.x.name()),
        ));
    }
    let rates = &config.operators;
    if rates.rewrite + rates.crossover + rates.infill + rates.rank + rates.typed <= 0.0 {
        return Err((
            "operators.rewrite",
            "expected at least one operator with a rate above 0, got none".into(),
        ));
    }
    if config.model.name == "none" && rates.prior.asks() && rates.rewrite + rates.crossover > 0.0 {
        let message =
            "expected a model, got \"none\"; without one, operators.rewrite and operators.crossover are 0";
        return Err(("model.name", message.into()));
    }
    if let Some((key, tokens)) = config.text_beyond(config.model.context) {
        let context = config.model.context;
        let message =
            format!("expected less than model.context ({context}), so that a prompt has room, got {tokens}");
        return Err((key, message));
    }
    let work = config.archive.niches as u64 * config.archive.samples as u64;
    if config.archive.kind == ArchiveKind::Cvt && work > MOST_DISTANCES {
        let message = format!(
            "expected at most {MOST_DISTANCES} with archive.niches multiplied by it, got {work}: placing the centroids \
             would take hours"
        );
        return Err(("archive.samples", message));
    }
    for (key, text) in [("model.name", &config.model.name), ("data.name", &config.data.name)] {
        if text.trim().is_empty() {
            return Err((key, "expected a name, got nothing".into()));
        }
    }
    Ok(())
}

impl SearchConfig {
    /// The key and the tokens of a text that would leave no room for its prompt in so many tokens.
    pub fn text_beyond(&self, context: usize) -> Option<(&'static str, usize)> {
        let texts = [
            ("sampling.max_tokens", self.sampling.max_tokens),
            ("operators.infill_tokens", self.operators.infill_tokens),
        ];
        texts.into_iter().find(|&(_, tokens)| tokens >= context)
    }
}

/// (key, lowest, highest, given)
fn numbers(c: &SearchConfig) -> Vec<(&'static str, f64, f64, f64)> {
    const MANY: f64 = 1e9;
    vec![
        ("threads", 1.0, 1024.0, c.threads as f64),
        ("model.memory_mb", 16.0, MANY, c.model.memory_mb as f64),
        ("model.context", 64.0, 1e6, c.model.context as f64),
        ("model.rows", 1.0, 1024.0, c.model.rows as f64),
        // A limit on sums of probabilities: 0 would keep no token.
        ("sampling.top_p", 1e-6, 1.0, c.sampling.top_p),
        ("sampling.top_k", 0.0, 1e6, c.sampling.top_k as f64),
        ("sampling.max_tokens", 1.0, 1e6, c.sampling.max_tokens as f64),
        ("data.validation", 1.0, MANY, c.data.validation as f64),
        ("train.steps", 1.0, MANY, c.train.steps as f64),
        ("train.batch_size", 1.0, 1e6, c.train.batch_size as f64),
        ("train.learning_rate", 0.0, 1e3, c.train.learning_rate),
        ("train.momentum", 0.0, 1.0, c.train.momentum),
        ("train.weight_decay", 0.0, 1e3, c.train.weight_decay),
        ("train.warmup", 0.0, 1.0, c.train.warmup),
        ("train.label_smoothing", 0.0, 1.0, c.train.label_smoothing),
        ("train.clip_grad_norm", 0.0, 1e9, c.train.clip_grad_norm),
        ("train.crop_padding", 0.0, 64.0, c.train.crop_padding as f64),
        ("limits.operations", 1.0, MANY, c.limits.operations as f64),
        ("limits.parameters", 1.0, 1e15, c.limits.parameters as f64),
        ("limits.macs", 1.0, 1e18, c.limits.macs as f64),
        ("limits.activation_mb", 1.0, MANY, c.limits.activation_mb as f64),
        ("archive.niches", 1.0, 100_000.0, c.archive.niches as f64),
        ("archive.samples", 1.0, 1e7, c.archive.samples as f64),
        ("archive.columns", 1.0, 1000.0, c.archive.columns as f64),
        ("archive.rows", 1.0, 1000.0, c.archive.rows as f64),
        ("prompts.temperature_min", 0.0, 10.0, c.prompts.temperature_min),
        ("prompts.temperature_max", 0.0, 10.0, c.prompts.temperature_max),
        ("prompts.temperature_start", 0.0, 10.0, c.prompts.temperature_start),
        ("prompts.temperature_step", 0.0, 10.0, c.prompts.temperature_step),
        ("prompts.temperature_bins", 1.0, 1000.0, c.prompts.temperature_bins as f64),
        ("prompts.tournament", 1.0, 1000.0, c.prompts.tournament as f64),
        ("search.generations", 0.0, 1e6, c.search.generations as f64),
        ("search.children", 1.0, 10_000.0, c.search.children as f64),
        ("search.evaluations", 0.0, MANY, c.search.evaluations as f64),
        ("search.population", 1.0, 1e6, c.search.population as f64),
        ("search.walk", 1.0, 100.0, c.search.walk as f64),
        ("search.initial_networks", 0.0, 1e6, c.search.initial_networks as f64),
        ("search.fittest", 1.0, 1e6, c.search.fittest as f64),
        ("search.tournament", 1.0, 1000.0, c.search.tournament as f64),
        ("operators.rewrite", 0.0, MANY, c.operators.rewrite),
        ("operators.crossover", 0.0, MANY, c.operators.crossover),
        ("operators.infill", 0.0, MANY, c.operators.infill),
        ("operators.rank", 0.0, MANY, c.operators.rank),
        ("operators.typed", 0.0, MANY, c.operators.typed),
        ("operators.candidate_tokens", 1.0, MANY, c.operators.candidate_tokens as f64),
        ("operators.infill_tokens", 1.0, 1e6, c.operators.infill_tokens as f64),
        ("operators.rank_options", 1.0, 100_000.0, c.operators.rank_options as f64),
        ("surrogate.proposals", 1.0, 1000.0, c.surrogate.proposals as f64),
        ("surrogate.penalty", 1e-9, MANY, c.surrogate.penalty),
        ("surrogate.start", 2.0, MANY, c.surrogate.start as f64),
        ("search.copy_attempts", 0.0, 100.0, c.search.copy_attempts as f64),
        ("search.copy_temperature_step", 0.0, 10.0, c.search.copy_temperature_step),
        ("final.steps", 0.0, MANY, c.r#final.steps as f64),
    ]
}
