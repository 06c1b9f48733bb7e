//! One token from logits: temperature, then top-k, then top-p, then one uniform draw.
//!
//! In: f32 logits and a random stream. Out: a token id. Ties go to the lowest id; temperature 0 takes the
//! largest logit and draws nothing. Limit: probabilities below e^-87 of the largest are taken as 0.

use std::cmp::Ordering;

use super::kernels::Isa;
use super::kernels::math::{largest, sum, weights_of};
use crate::rng::Stream;

/// Weights, relative to the largest, above which candidates are looked for first; the last takes all.
const FLOORS: [f32; 4] = [1e-3, 1e-5, 1e-8, 0.0];
/// Tokens whose weights are summed together when walking the whole vocabulary.
const STRETCH: usize = 1024;
/// Logits whose maximum decides whether they are looked at.
const SCAN: usize = 256;

/// A request's sampling settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) temperature: f64,
    pub(crate) top_p: f64,
    pub(crate) top_k: usize,
}

/// Chooses a token. `None` if no logit is finite, or one is NaN or plus infinity.
pub(crate) fn sample(isa: Isa, logits: &[f32], settings: Settings, stream: &mut Stream) -> Option<u32> {
    let most = largest(isa, logits);
    if !most.is_finite() {
        return None;
    }
    if settings.temperature <= 0.0 {
        return logits.iter().position(|&logit| logit == most).map(|id| id as u32);
    }
    let weights = |logits: &[f32]| {
        let mut weights = vec![0.0f32; logits.len()];
        weights_of(isa, logits, most, (1.0 / settings.temperature) as f32, &mut weights);
        weights
    };
    let every = settings.top_k == 0 || settings.top_k >= logits.len();
    let mut candidates = if every && settings.top_p >= 1.0 {
        return draw_from_all(isa, &weights(logits), stream);
    } else if every {
        above_floor(isa, &weights(logits), settings.top_p)
    } else {
        let (tokens, logits): (Vec<u32>, Vec<f32>) = top(isa, logits, settings.top_k).into_iter().unzip();
        let mut candidates: Vec<(u32, f32)> = tokens.into_iter().zip(weights(&logits)).collect();
        candidates.retain(|(_, weight)| *weight > 0.0);
        if settings.top_p < 1.0 {
            let total: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
            cut(&mut candidates, settings.top_p * total);
        }
        candidates
    };
    let total: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let target = stream.uniform() * total;
    let mut sum = 0.0;
    let last = candidates.pop()?;
    let chosen = candidates.iter().find(|(_, weight)| {
        sum += f64::from(*weight);
        sum > target
    });
    Some(chosen.unwrap_or(&last).0)
}

/// The `keep` largest logits, largest first, ties by id.
///
/// At least `keep` logits reach the `keep`-th largest maximum of a stretch, so the others are never looked at.
fn top(isa: Isa, logits: &[f32], keep: usize) -> Vec<(u32, f32)> {
    let maxima: Vec<f32> = logits.chunks(SCAN).map(|stretch| largest(isa, stretch)).collect();
    let bound = if maxima.len() > keep {
        *maxima.clone().select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a)).1
    } else {
        f32::NEG_INFINITY
    };
    let mut found = Vec::new();
    for (stretch, (logits, most)) in logits.chunks(SCAN).zip(&maxima).enumerate() {
        if *most >= bound {
            let ids = (stretch * SCAN) as u32..;
            found.extend(ids.zip(logits.iter().copied()).filter(|(_, logit)| *logit >= bound));
        }
    }
    if found.len() > keep {
        found.select_nth_unstable_by(keep - 1, largest_first);
        found.truncate(keep);
    }
    found.sort_unstable_by(largest_first);
    found
}

/// The heaviest tokens, heaviest first, ties by id: enough for `top_p` of the whole weight.
fn above_floor(isa: Isa, weights: &[f32], top_p: f64) -> Vec<(u32, f32)> {
    let total = sum(isa, weights);
    let mut candidates: Vec<(u32, f32)> = Vec::new();
    for floor in FLOORS {
        candidates.clear();
        candidates.extend((0u32..).zip(weights.iter().copied()).filter(|(_, weight)| *weight > floor));
        // Everything above the floor outweighs everything below.
        if candidates.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>() >= top_p * total {
            break;
        }
    }
    candidates.sort_unstable_by(largest_first);
    cut(&mut candidates, top_p * total);
    candidates
}

/// The order of tokens and their logits or weights: ties by id.
fn largest_first(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Drops the tokens behind the one at which the weights reach `enough`; rounding may keep all of them.
fn cut(candidates: &mut Vec<(u32, f32)>, enough: f64) {
    let mut sum = 0.0;
    let reached = candidates.iter().position(|(_, weight)| {
        sum += f64::from(*weight);
        sum >= enough
    });
    candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
}

/// A draw in id order: first the stretch, then the token within it.
fn draw_from_all(isa: Isa, weights: &[f32], stream: &mut Stream) -> Option<u32> {
    let sums: Vec<f64> = weights.chunks(STRETCH).map(|stretch| sum(isa, stretch)).collect();
    let mut target = stream.uniform() * sums.iter().sum::<f64>();
    // The last stretch with any weight takes what rounding leaves over.
    let last = sums.iter().rposition(|sum| *sum > 0.0)?;
    let mut index = 0;
    while index < last && target >= sums[index] {
        target -= sums[index];
        index += 1;
    }
    let mut chosen = None;
    for (offset, weight) in weights[index * STRETCH..].iter().take(STRETCH).enumerate() {
        if *weight > 0.0 {
            chosen = Some((index * STRETCH + offset) as u32);
            target -= f64::from(*weight);
            if target < 0.0 {
                break;
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::{Settings, sample, top};
    use crate::llm::kernels::Isa;
    use crate::rng::{RootSeed, Stream};

    fn stream(index: u64) -> Stream {
        RootSeed(5).stream("sampling test", &[index])
    }

    fn settings(temperature: f64, top_p: f64, top_k: usize) -> Settings {
        Settings { temperature, top_p, top_k }
    }

    fn counts(logits: &[f32], settings: Settings) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        let mut stream = stream(1);
        for _ in 0..20_000 {
            counts[sample(Isa::detect(), logits, settings, &mut stream).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_largest_and_draws_nothing() {
        let mut used = stream(0);
        assert_eq!(sample(Isa::detect(), &[0.0, 3.0, 3.0], settings(0.0, 1.0, 0), &mut used), Some(1));
        assert_eq!(used.bits(), stream(0).bits());
    }

    #[test]
    fn frequencies_follow_the_softmax_at_the_temperature() {
        let logits = [0.0f32, 1.0, 2.0];
        for temperature in [0.5, 1.0, 2.0] {
            let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts(&logits, settings(temperature, 1.0, 0)).iter().zip(&weights) {
                assert!((*count as f64 / 20_000.0 - weight / total).abs() < 0.015);
            }
        }
    }

    #[test]
    fn top_k_and_top_p_remove_the_tail_and_break_ties_by_id() {
        let logits = [1.0f32, 1.0, 1.0, 0.0];
        assert!(counts(&logits, settings(1.0, 1.0, 2))[2..].iter().all(|count| *count == 0));
        // Each of the first three has 0.29 of the mass: two of them reach 0.5.
        let kept = counts(&logits, settings(1.0, 0.5, 0));
        assert!(kept[0] > 9_000 && kept[1] > 9_000 && kept[2] == 0 && kept[3] == 0, "{kept:?}");
        assert_eq!(counts(&logits, settings(1.0, 1e-9, 0))[0], 20_000);
    }

    #[test]
    fn the_largest_logits_are_those_of_a_full_sort_whatever_their_places_and_ties() {
        let mut draws = stream(9);
        for (count, levels) in [(40, 1e6), (3_000, 1e6), (3_000, 20.0), (3_000, 1.0)] {
            let mut logits: Vec<f32> =
                (0..count).map(|_| (draws.uniform() * levels).floor() as f32).collect();
            logits[7] = f32::NEG_INFINITY;
            let mut sorted: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            for keep in [1, 2, 5, 30] {
                assert_eq!(top(Isa::detect(), &logits, keep), sorted[..keep], "{count} {levels} {keep}");
            }
        }
    }

    #[test]
    fn a_nucleus_of_most_of_the_vocabulary_is_found() {
        let logits: Vec<f32> = (0..1_000).map(|i| (i % 7) as f32 * 0.01).collect();
        let distinct = counts(&logits, settings(1.0, 0.9, 0)).iter().filter(|count| **count > 0).count();
        assert!(distinct > 850 && distinct <= 905, "{distinct}");
    }

    #[test]
    fn the_same_stream_gives_the_same_tokens() {
        let logits: Vec<f32> = (0..1_000).map(|i| ((i * 37) % 101) as f32 * 0.05).collect();
        let run = || -> Vec<Option<u32>> {
            let mut stream = stream(3);
            (0..50).map(|_| sample(Isa::detect(), &logits, settings(0.9, 0.95, 40), &mut stream)).collect()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() {
        let refused =
            |logits: &[f32]| sample(Isa::detect(), logits, settings(1.0, 1.0, 0), &mut stream(4)).is_none();
        assert!(refused(&[f32::NEG_INFINITY; 3]));
        assert!(refused(&[0.0, f32::INFINITY]));
        assert!(!refused(&[0.0, f32::NEG_INFINITY]));
    }

    #[test]
    fn one_logit_that_is_no_number_is_refused_whatever_the_settings() {
        for settings in [(0.0, 1.0, 0), (1.0, 1.0, 0), (1.0, 0.9, 0), (1.0, 1.0, 3), (0.7, 0.9, 3)] {
            let settings = self::settings(settings.0, settings.1, settings.2);
            for (isa, place) in Isa::all().flat_map(|isa| [0, 15, 16, 299, 699].map(|place| (isa, place))) {
                let mut logits: Vec<f32> = (0..700).map(|i| (i % 7) as f32).collect();
                assert!(sample(isa, &logits, settings, &mut stream(4)).is_some());
                logits[place] = f32::NAN;
                let drawn = sample(isa, &logits, settings, &mut stream(4));
                assert_eq!(drawn, None, "{settings:?} {isa:?} {place}");
            }
        }
    }
}
