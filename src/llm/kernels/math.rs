//! The f32 parts of a decoder: norms, SiLU, softmax, attention over cached keys and values.
//!
//! Sums run over 16 fixed lanes that are folded in a fixed order; no step is fused and `exp` is our own polynomial, so
//! the wider instructions that the compiler may use here change no bit. Limit: `exp` is good to about 2 units in the
//! last place and flushes below e^-87 to zero.

use super::Isa;

/// Positions whose keys are stored together, dimension by dimension.
pub(crate) const KEY_BLOCK: usize = 16;

const LANES: usize = 16;

/// Compiles `$body` three times, for the instructions that [`Isa`] names, and picks one at run time.
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
                Isa::Scalar => plain($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` is available on this processor.
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512Vnni => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                _ => plain($($arg),*),
            }
        }
    };
}

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
    /// `gate = silu(gate) * up`
    fn silu_times(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
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
    /// The largest value.
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
    /// Attention of the query heads that share one key head, over `positions` cached positions.
    ///
    /// `queries` (heads, dim), already scaled. Keys: `[block of 16 positions][dim][16]` with `key_stride` floats from
    /// block to block. Values: `[position][dim]` with `value_stride`. `scratch` (heads, positions rounded up to 16).
    /// `out` (heads, dim).
    fn attend(call: Attention<'_>, out: &mut [f32], scratch: &mut [f32]) {
        let heads = out.len() / call.dim;
        let width = scratch.len() / heads;
        let mut head = 0;
        while head < heads {
            head += match heads - head {
                1 => scores::<1>(&call, head, width, scratch),
                2 | 3 => scores::<2>(&call, head, width, scratch),
                _ => scores::<4>(&call, head, width, scratch),
            };
        }
        for head in 0..heads {
            let scores = &mut scratch[head * width..(head + 1) * width];
            let most = maximum(&scores[..call.positions]);
            let mut lanes = [0.0f32; LANES];
            for chunk in scores.as_chunks_mut::<LANES>().0 {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *value = exp(*value - most);
                    *lane += *value;
                }
            }
            let inverse = 1.0 / fold(lanes);
            for value in scores {
                *value *= inverse;
            }
        }
        let mut head = 0;
        while head < heads {
            head += match heads - head {
                1 => mix::<1>(&call, head, width, scratch, out),
                2 | 3 => mix::<2>(&call, head, width, scratch, out),
                _ => mix::<4>(&call, head, width, scratch, out),
            };
        }
    }
}

/// What [`attend`] reads.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) queries: &'a [f32],
    pub(crate) keys: &'a [f32],
    pub(crate) key_stride: usize,
    pub(crate) values: &'a [f32],
    pub(crate) value_stride: usize,
    pub(crate) dim: usize,
    pub(crate) positions: usize,
}

/// Scores of heads `first..first + H`; positions past the end get minus infinity.
#[inline(always)]
fn scores<const H: usize>(call: &Attention<'_>, first: usize, width: usize, scratch: &mut [f32]) -> usize {
    let queries: [&[f32]; H] =
        std::array::from_fn(|head| &call.queries[(first + head) * call.dim..(first + head + 1) * call.dim]);
    for block in 0..width / KEY_BLOCK {
        let keys = &call.keys[block * call.key_stride..][..call.dim * KEY_BLOCK];
        let mut sums = [[0.0f32; KEY_BLOCK]; H];
        for (dim, keys) in keys.as_chunks::<KEY_BLOCK>().0.iter().enumerate() {
            for (sums, query) in sums.iter_mut().zip(&queries) {
                let query = query[dim];
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum += query * key;
                }
            }
        }
        for (head, sums) in sums.iter_mut().enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                if block * KEY_BLOCK + lane >= call.positions {
                    *sum = f32::NEG_INFINITY;
                }
            }
            scratch[(first + head) * width + block * KEY_BLOCK..][..KEY_BLOCK].copy_from_slice(sums);
        }
    }
    H
}

/// Weighted sums of values for heads `first..first + H`.
#[inline(always)]
fn mix<const H: usize>(call: &Attention<'_>, first: usize, width: usize, scratch: &[f32], out: &mut [f32]) -> usize {
    let weights: [&[f32]; H] =
        std::array::from_fn(|head| &scratch[(first + head) * width..][..call.positions]);
    let mut dim = 0;
    while dim < call.dim {
        let chunk = LANES.min(call.dim - dim);
        let mut sums = [[0.0f32; LANES]; H];
        if chunk == LANES {
            for position in 0..call.positions {
                let values: &[f32] = &call.values[position * call.value_stride + dim..][..LANES];
                for (sums, weights) in sums.iter_mut().zip(&weights) {
                    let weight = weights[position];
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += weight * value;
                    }
                }
            }
        } else {
            for position in 0..call.positions {
                let values: &[f32] = &call.values[position * call.value_stride + dim..][..chunk];
                for (sums, weights) in sums.iter_mut().zip(&weights) {
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += weights[position] * value;
                    }
                }
            }
        }
        for (head, sums) in sums.iter().enumerate() {
            out[(first + head) * call.dim + dim..][..chunk].copy_from_slice(&sums[..chunk]);
        }
        dim += LANES;
    }
    H
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
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
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
    let clamped = if clamped > -87.0 { clamped } else { -87.0 };
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
    use super::{Attention, Isa, attend, exp, rms_norm, silu_times};
    use crate::rng::RootSeed;

    fn normal(count: usize) -> Vec<f32> {
        let mut stream = RootSeed(12).stream("math test", &[count as u64]);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    fn all_isas() -> Vec<Isa> {
        [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].into_iter().filter(|isa| isa.available()).collect()
    }

    #[test]
    fn exp_is_near_the_true_value_everywhere() {
        for i in -8600..8800 {
            let x = i as f32 * 0.01;
            let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 4e-7, "{x}: {relative}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (dim, positions, heads) = (24, 37, 7);
        let (queries, keys, values) = (normal(heads * dim), normal(3 * 16 * dim), normal(positions * dim));
        let results: Vec<_> = all_isas()
            .into_iter()
            .map(|isa| {
                let (mut norm, mut silu) = (normal(100), normal(100));
                rms_norm(isa, &normal(100), &normal(100), 1e-6, &mut norm);
                silu_times(isa, &mut silu, &norm);
                let call = Attention {
                    queries: &queries,
                    keys: &keys,
                    key_stride: 16 * dim,
                    values: &values,
                    value_stride: dim,
                    dim,
                    positions,
                };
                let (mut out, mut scratch) = (vec![0.0; heads * dim], vec![0.0; heads * 48]);
                attend(isa, call, &mut out, &mut scratch);
                (norm, silu, out)
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
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
            positions,
        };
        let (mut out, mut scratch) = (vec![0.0; heads * dim], vec![0.0; heads * 32]);
        attend(Isa::detect(), call, &mut out, &mut scratch);
        for head in 0..heads {
            let q = &queries[head * dim..(head + 1) * dim];
            let weights: Vec<f64> = (0..positions)
                .map(|p| (0..dim).map(|d| f64::from(q[d] * plain[p * dim + d])).sum::<f64>().exp())
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
