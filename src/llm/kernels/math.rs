//! The f32 parts of a decoder: norms, activations, softmax, attention over cached keys and values.
//!
//! Sums run over 16 fixed lanes that are folded in a fixed order; no step is fused and `exp` is our own
//! polynomial, so the wider instructions that the compiler may use here change no bit. What is no number makes
//! every result that it goes into none. Limit: `exp` is good to about 2 units in the last place and flushes below
//! e^-87 to zero.

use super::Isa;
use super::rows::{Element, LANES, Rows, weighted_rows};

/// Positions whose keys are stored together, dimension by dimension.
pub(crate) const KEY_BLOCK: usize = 16;

/// Compiles `$body` for the wider instructions that [`Isa`] names too, and picks one at run time. NEON is what every
/// aarch64 has, so plain Rust is compiled for it.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(isa: Isa, $($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) $(-> $out)? { plain($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512($($arg: $type),*) $(-> $out)? { plain($($arg),*) }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` is available on this processor.
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512Vnni | Isa::Amx => unsafe { avx512($($arg),*) },
                _ => plain($($arg),*),
            }
        }
    };
}
pub(super) use for_each_isa;

for_each_isa! {
    /// `out = x / sqrt(mean(x^2) + epsilon) * weight`
    fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value * value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value * value;
        }
        let scale = 1.0 / (fold(lanes) / x.len() as f32 + epsilon).sqrt();
        for ((out, value), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = value * scale * weight;
        }
    }
}

for_each_isa! {
    /// `out = (x - mean) / sqrt(variance + epsilon) * weight + bias`
    fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value;
        }
        let mean = fold(lanes) / x.len() as f32;
        let mut lanes = [0.0f32; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += (value - mean) * (value - mean);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += (value - mean) * (value - mean);
        }
        let scale = 1.0 / (fold(lanes) / x.len() as f32 + epsilon).sqrt();
        for (((out, value), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = (value - mean) * scale * weight + bias;
        }
    }
}

for_each_isa! {
    /// `sum_i a[i] * b[i]`
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * b;
            }
        }
        for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
            *lane += a * b;
        }
        fold(lanes)
    }
}

for_each_isa! {
    /// `x = gelu(x)`, in its tanh form: `x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3))`.
    fn gelu(x: &mut [f32]) {
        const TWICE: f32 = 1.595_769;
        for x in x {
            *x = *x / (1.0 + exp(-TWICE * (*x + 0.044_715 * *x * *x * *x)));
        }
    }
}

for_each_isa! {
    /// `x = silu(x)`
    fn silu(x: &mut [f32]) {
        for x in x {
            *x = *x / (1.0 + exp(-*x));
        }
    }
}

for_each_isa! {
    /// `x *= y`
    fn multiply(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x *= y;
        }
    }
}

for_each_isa! {
    /// `out[i] = exp((values[i] - max) * factor)`: unnormalised probabilities.
    fn weights_of(values: &[f32], most: f32, factor: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = exp((value - most) * factor);
        }
    }
}

for_each_isa! {
    /// The largest value; no number where one is none.
    fn largest(values: &[f32]) -> f32 {
        maximum(values)
    }
}

for_each_isa! {
    /// `x += y`
    fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

for_each_isa! {
    /// `values = softmax(values)`
    fn softmax(values: &mut [f32]) {
        let most = maximum(values);
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = values.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *value = exp(*value - most);
                *lane += *value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *value = exp(*value - most);
            *lane += *value;
        }
        let inverse = 1.0 / fold(lanes);
        for value in values {
            *value *= inverse;
        }
    }
}

for_each_isa! {
    /// Sum of all values, in f64.
    fn sum(values: &[f32]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(*value);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*value);
        }
        lanes.iter().sum()
    }
}

for_each_isa! {
    /// Sum of all words, modulo 2^64: what reading memory costs at least.
    fn sum_words(words: &[u64]) -> u64 {
        words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

/// What [`attend`] reads.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a, E> {
    /// (heads, dim), already scaled; the heads share one key head.
    pub(crate) queries: &'a [f32],
    /// `[block of 16 positions][dim][16]`, with `key_stride` numbers from block to block.
    pub(crate) keys: &'a [E],
    pub(crate) key_stride: usize,
    /// `[position][dim]`, with `value_stride` numbers from position to position.
    pub(crate) values: &'a [E],
    pub(crate) value_stride: usize,
    /// A multiple of 16.
    pub(crate) dim: usize,
    /// The first positions, which get no attention.
    pub(crate) unseen: usize,
    /// Cached positions, the unseen ones included.
    pub(crate) positions: usize,
}

/// Attention of the query heads that share one key head. `out` (heads, dim).
pub(crate) fn attend<E: Element>(isa: Isa, call: Attention<'_, E>, out: &mut [f32]) {
    let Attention { queries, keys, key_stride, values, value_stride, dim, unseen, positions } = call;
    let heads = out.len() / dim;
    let width = positions.next_multiple_of(KEY_BLOCK);
    let mut scores = vec![0.0f32; heads * width];
    for block in 0..width / KEY_BLOCK {
        let rows = &keys[block * key_stride..][..dim * KEY_BLOCK];
        let call = Rows { weights: queries, weight_stride: dim, rows, row_stride: KEY_BLOCK, count: dim };
        weighted_rows(isa, heads, call, |head, sums| {
            scores[head * width + block * KEY_BLOCK..][..KEY_BLOCK].copy_from_slice(sums);
        });
    }
    for scores in scores.chunks_exact_mut(width) {
        // Positions past the end hold whatever the cache held.
        softmax(isa, &mut scores[unseen..positions]);
        scores[..unseen].fill(0.0);
    }
    for first in (0..dim).step_by(LANES) {
        let rows = &values[first..];
        let call =
            Rows { weights: &scores, weight_stride: width, rows, row_stride: value_stride, count: positions };
        weighted_rows(isa, heads, call, |head, sums| {
            out[head * dim + first..][..LANES].copy_from_slice(sums);
        });
    }
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut broken = [0u32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for ((lane, broken), value) in lanes.iter_mut().zip(&mut broken).zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
            *broken |= u32::from(value.is_nan());
        }
    }
    if broken.iter().any(|broken| *broken != 0) || rest.iter().any(|value| value.is_nan()) {
        return f32::NAN;
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b))
}

/// e^x: 2^n times a polynomial on [-ln2/2, ln2/2] (the coefficients are Taylor's, to degree 7).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0f32] {
        p = p * r + coefficient;
    }
    let power = ((shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32) + 127) << 23;
    let value = p * f32::from_bits(power as u32);
    if x < -87.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::{
        Attention, Isa, attend, dot, exp, gelu, largest, layer_norm, multiply, rms_norm, silu, softmax,
    };
    use crate::llm::kernels::halves::Half;
    use crate::llm::kernels::rows::Element;
    use crate::rng::RootSeed;

    fn normal(count: usize) -> Vec<f32> {
        let mut stream = RootSeed(12).stream("math test", &[count as u64]);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    #[test]
    fn exp_is_near_the_true_value_everywhere() {
        for i in -8600..8800 {
            let x = i as f32 * 0.01;
            let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 4e-7, "{x}: {relative}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn what_is_no_number_is_seen_wherever_it_stands() {
        let values = normal(37);
        for isa in Isa::all() {
            let expected = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(isa, &values), expected);
            for bad in [f32::NAN, -f32::NAN] {
                for place in 0..values.len() {
                    let mut values = values.clone();
                    values[place] = bad;
                    assert!(largest(isa, &values).is_nan(), "{isa:?} {place}");
                    softmax(isa, &mut values);
                    assert!(values.iter().all(|value| value.is_nan()), "{isa:?} {place}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (dim, positions, heads) = (48, 37, 7);
        let (queries, keys, values) = (normal(heads * dim), normal(3 * 16 * dim), normal(positions * dim));
        let results: Vec<_> = Isa::all()
            .map(|isa| {
                let (mut norm, mut gate) = (normal(100), normal(100));
                rms_norm(isa, &normal(100), &normal(100), 1e-6, &mut norm);
                silu(isa, &mut gate);
                multiply(isa, &mut gate, &norm);
                let (mut layer, mut curve) = (normal(100), normal(100));
                layer_norm(isa, &normal(100), &normal(100), &norm, 1e-6, &mut layer);
                gelu(isa, &mut curve);
                let product = dot(isa, &layer, &curve);
                let call = Attention {
                    queries: &queries,
                    keys: &keys,
                    key_stride: 16 * dim,
                    values: &values,
                    value_stride: dim,
                    dim,
                    unseen: 3,
                    positions,
                };
                let mut out = vec![0.0; heads * dim];
                attend(isa, call, &mut out);
                let half = |values: &[f32]| values.iter().map(|v| Half::from_single(*v)).collect::<Vec<_>>();
                let (half_keys, half_values) = (half(&keys), half(&values));
                let call = Attention {
                    queries: &queries,
                    keys: &half_keys,
                    key_stride: 16 * dim,
                    values: &half_values,
                    value_stride: dim,
                    dim,
                    unseen: 3,
                    positions,
                };
                let mut out_of_halves = vec![0.0; heads * dim];
                attend(isa, call, &mut out_of_halves);
                assert!(out.iter().zip(&out_of_halves).all(|(a, b)| (a - b).abs() < 0.01));
                (norm, gate, layer, curve, product, out, out_of_halves)
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn the_layer_norm_has_the_mean_and_spread_of_its_definition_and_gelu_its_known_values() {
        let (x, mut out) = (normal(100), vec![0.0; 100]);
        layer_norm(Isa::detect(), &x, &[2.0; 100], &[0.5; 100], 0.0, &mut out);
        let mean = out.iter().sum::<f32>() / 100.0;
        let variance = out.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 100.0;
        assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4, "{mean} {variance}");
        let mut values = [-30.0, -1.0, 0.0, 0.5, 2.0, 30.0];
        gelu(Isa::detect(), &mut values);
        let expected = [0.0, -0.158_808, 0.0, 0.345_714, 1.954_597_7, 30.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn attention_is_the_softmax_weighted_mean_of_the_values() {
        let (dim, positions, heads) = (64, 19, 3);
        let (queries, values) = (normal(heads * dim), normal(positions * dim));
        let plain: Vec<f32> = normal(positions * dim + 1)[1..].to_vec();
        let mut keys = vec![f32::NAN; 2 * 16 * dim];
        for position in 0..positions {
            for d in 0..dim {
                keys[position / 16 * 16 * dim + d * 16 + position % 16] = plain[position * dim + d];
            }
        }
        let call = Attention {
            queries: &queries,
            keys: &keys,
            key_stride: 16 * dim,
            values: &values,
            value_stride: dim,
            dim,
            unseen: 2,
            positions,
        };
        let mut out = vec![0.0; heads * dim];
        attend(Isa::detect(), call, &mut out);
        for head in 0..heads {
            let q = &queries[head * dim..(head + 1) * dim];
            let weights: Vec<f64> = (0..positions)
                .map(|p| (0..dim).map(|d| f64::from(q[d] * plain[p * dim + d])).sum::<f64>().exp())
                .enumerate()
                .map(|(p, weight)| if p < 2 { 0.0 } else { weight })
                .collect();
            let total: f64 = weights.iter().sum();
            for d in 0..dim {
                let mean: f64 =
                    (0..positions).map(|p| weights[p] / total * f64::from(values[p * dim + d])).sum();
                assert!((f64::from(out[head * dim + d]) - mean).abs() < 1e-4);
            }
        }
    }
}
