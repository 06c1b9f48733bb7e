//! Sums of weighted rows: `out[h][lane] = sum_i weights[h][i] * rows[i][lane]`, 16 lanes wide, terms in
//! order.
//!
//! Both halves of attention are this sum: scores over the dimensions of 16 keys, and mixtures over positions
//! of 16 dimensions of the values. Products are rounded before they are added (not fused), so every
//! instruction set gives the same bits. Rows are f32 or halves, which are widened exactly. Limit: at most 8
//! heads a call.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, _mm_loadu_si128, _mm256_add_ps, _mm256_cvtph_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_cvtph_ps,
    _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{float32x4_t, vaddq_f32, vdupq_n_f32, vld1q_f32, vmulq_n_f32, vst1q_f32};

use super::Isa;
use super::halves::{Half, from_half, to_half};
#[cfg(target_arch = "aarch64")]
use super::neon::four_halves;

/// Lanes of a sum.
pub(crate) const LANES: usize = 16;
/// Most heads that one call sums.
const MOST_HEADS: usize = 8;

/// How the numbers of a row are stored.
pub(crate) trait Element: Copy + Default + Send + Sync {
    /// The stored form of a number.
    fn from_single(value: f32) -> Self;
    /// The number.
    fn single(self) -> f32;
    /// Eight numbers.
    ///
    /// # Safety
    /// The processor has avx2 and f16c; eight elements are readable.
    #[cfg(target_arch = "x86_64")]
    unsafe fn eight(from: *const Self) -> __m256;
    /// Sixteen numbers.
    ///
    /// # Safety
    /// The processor has avx512f; sixteen elements are readable.
    #[cfg(target_arch = "x86_64")]
    unsafe fn sixteen(from: *const Self) -> __m512;
    /// Four numbers.
    ///
    /// # Safety
    /// The processor has neon; four elements are readable.
    #[cfg(target_arch = "aarch64")]
    unsafe fn four(from: *const Self) -> float32x4_t;
}

impl Element for f32 {
    fn from_single(value: f32) -> f32 {
        value
    }

    fn single(self) -> f32 {
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn eight(from: *const f32) -> __m256 {
        // SAFETY: by the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(from: *const f32) -> __m512 {
        // SAFETY: by the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[cfg(target_arch = "aarch64")]
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn four(from: *const f32) -> float32x4_t {
        // SAFETY: by the caller's promise.
        unsafe { vld1q_f32(from) }
    }
}

impl Element for Half {
    fn from_single(value: f32) -> Half {
        Half(to_half(value))
    }

    fn single(self) -> f32 {
        from_half(self.0)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn eight(from: *const Half) -> __m256 {
        // SAFETY: by the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(from: *const Half) -> __m512 {
        // SAFETY: by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[cfg(target_arch = "aarch64")]
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn four(from: *const Half) -> float32x4_t {
        // SAFETY: by the caller's promise.
        unsafe { four_halves(from) }
    }
}

/// What is summed.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    /// `[head][i]`, with `weight_stride` from head to head.
    pub(crate) weights: &'a [f32],
    pub(crate) weight_stride: usize,
    /// Row `i` starts at `i * row_stride`.
    pub(crate) rows: &'a [E],
    pub(crate) row_stride: usize,
    /// Number of terms.
    pub(crate) count: usize,
}

/// The sums of `heads` heads, handed to `take(head, sums)` one by one.
pub(crate) fn weighted_rows<E: Element>(
    isa: Isa,
    heads: usize,
    call: Rows<'_, E>,
    mut take: impl FnMut(usize, &[f32; LANES]),
) {
    let mut out = [[0.0f32; LANES]; MOST_HEADS];
    // AVX2 has 16 registers, NEON 32 of half the size: four heads are what fits.
    let most = if matches!(isa, Isa::Avx2 | Isa::Neon | Isa::NeonDot) { 4 } else { MOST_HEADS };
    let mut first = 0;
    while first < heads {
        let together = most.min(heads - first);
        let part = Rows { weights: &call.weights[first * call.weight_stride..], ..call };
        let used = part.count.checked_sub(1).map_or(0, |last| last * part.row_stride + LANES);
        assert!(part.rows.len() >= used, "rows of a weighted sum are missing");
        assert!(
            part.weights.len() >= (together - 1) * part.weight_stride + part.count,
            "weights are missing"
        );
        match together {
            1 => sum::<1, E>(isa, part, &mut out),
            2 => sum::<2, E>(isa, part, &mut out),
            3 => sum::<3, E>(isa, part, &mut out),
            4 => sum::<4, E>(isa, part, &mut out),
            5 => sum::<5, E>(isa, part, &mut out),
            6 => sum::<6, E>(isa, part, &mut out),
            7 => sum::<7, E>(isa, part, &mut out),
            _ => sum::<8, E>(isa, part, &mut out),
        }
        for (head, sums) in out.iter().enumerate().take(together) {
            take(first + head, sums);
        }
        first += together;
    }
}

fn sum<const H: usize, E: Element>(isa: Isa, call: Rows<'_, E>, out: &mut [[f32; LANES]; MOST_HEADS]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available on this processor, and `weighted_rows` checked the bounds.
        Isa::Avx2 => unsafe { avx2::<H, E>(call, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni | Isa::Amx => unsafe { avx512::<H, E>(call, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon | Isa::NeonDot => unsafe { neon::<H, E>(call, out) },
        _ => scalar::<H, E>(call, out),
    }
}

fn scalar<const H: usize, E: Element>(call: Rows<'_, E>, out: &mut [[f32; LANES]; MOST_HEADS]) {
    for (head, out) in out.iter_mut().enumerate().take(H) {
        let mut sums = [0.0f32; LANES];
        for (i, weight) in call.weights[head * call.weight_stride..][..call.count].iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(&call.rows[i * call.row_stride..]) {
                *sum += weight * value.single();
            }
        }
        *out = sums;
    }
}

/// # Safety
/// The processor has avx2 and f16c; `call` lies within its slices.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn avx2<const H: usize, E: Element>(call: Rows<'_, E>, out: &mut [[f32; LANES]; MOST_HEADS]) {
    let mut sums: [[__m256; 2]; H] = [[_mm256_setzero_ps(); 2]; H];
    // SAFETY: by the caller's promise.
    unsafe {
        for i in 0..call.count {
            let row = call.rows.as_ptr().add(i * call.row_stride);
            let values = [E::eight(row), E::eight(row.add(8))];
            for (head, sums) in sums.iter_mut().enumerate() {
                let weight = _mm256_set1_ps(*call.weights.as_ptr().add(head * call.weight_stride + i));
                sums[0] = _mm256_add_ps(sums[0], _mm256_mul_ps(weight, values[0]));
                sums[1] = _mm256_add_ps(sums[1], _mm256_mul_ps(weight, values[1]));
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[1]);
        }
    }
}

/// # Safety
/// The processor has avx512f; `call` lies within its slices.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const H: usize, E: Element>(call: Rows<'_, E>, out: &mut [[f32; LANES]; MOST_HEADS]) {
    let mut sums: [__m512; H] = [_mm512_setzero_ps(); H];
    // SAFETY: by the caller's promise.
    unsafe {
        for i in 0..call.count {
            let values = E::sixteen(call.rows.as_ptr().add(i * call.row_stride));
            for (head, sum) in sums.iter_mut().enumerate() {
                let weight = _mm512_set1_ps(*call.weights.as_ptr().add(head * call.weight_stride + i));
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(weight, values));
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            _mm512_storeu_ps(out.as_mut_ptr(), sum);
        }
    }
}

/// # Safety
/// The processor has neon; `call` lies within its slices.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon<const H: usize, E: Element>(call: Rows<'_, E>, out: &mut [[f32; LANES]; MOST_HEADS]) {
    let mut sums: [[float32x4_t; 4]; H] = [[vdupq_n_f32(0.0); 4]; H];
    // SAFETY: by the caller's promise.
    unsafe {
        for i in 0..call.count {
            let row = call.rows.as_ptr().add(i * call.row_stride);
            let values = [E::four(row), E::four(row.add(4)), E::four(row.add(8)), E::four(row.add(12))];
            for (head, sums) in sums.iter_mut().enumerate() {
                let weight = *call.weights.as_ptr().add(head * call.weight_stride + i);
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = vaddq_f32(*sum, vmulq_n_f32(values, weight));
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                vst1q_f32(out.as_mut_ptr(), sum);
            }
        }
    }
}
