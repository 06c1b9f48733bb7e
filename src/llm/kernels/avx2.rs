//! The kernel with AVX2: 8 weight rows in the lanes of one register, four tokens at a time.
//!
//! In and out as `scalar`, same bits. `vpmaddubsw` adds pairs of products in 16 bits: codes up to 31 let
//! four groups of columns be added before widening, codes up to 63 two; 8-bit codes are split into two
//! nibbles, whose sums fit for a whole block. Limit: needs avx2.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{Levels, PANEL, Panel, Tile, TileSums};

/// Multiplies one panel by one tile.
///
/// # Safety
/// The processor must have avx2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    for half in 0..2 {
        let mut lane = 0;
        while lane < tile.width {
            // SAFETY: the feature is this function's own precondition.
            lane += unsafe {
                match (panel.block, tile.width - lane) {
                    (16, 1) => kernel::<4, 1>(panel, tile, half, lane, sums),
                    (16, 2) => kernel::<4, 2>(panel, tile, half, lane, sums),
                    (16, _) => kernel::<4, 4>(panel, tile, half, lane, sums),
                    (_, 1) => kernel::<8, 1>(panel, tile, half, lane, sums),
                    (_, 2) => kernel::<8, 2>(panel, tile, half, lane, sums),
                    (_, _) => kernel::<8, 4>(panel, tile, half, lane, sums),
                }
            };
        }
    }
}

/// Tokens `first..first + W` of the tile by rows `8 * half..8 * half + 8`; returns `W`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn kernel<const GROUPS: usize, const W: usize>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    half: usize,
    first: usize,
    sums: &mut TileSums,
) -> usize {
    let width = tile.width;
    let blocks = panel.scales.len() / PANEL;
    let activation_sums = if GROUPS == 4 { tile.sums16 } else { tile.sums32 };
    // The loops below read through pointers; these are the bounds that they rely on.
    assert!(half < 2 && first + W <= width);
    assert!(panel.codes.len() >= blocks * GROUPS * 64 && tile.codes.len() >= blocks * GROUPS * width * 4);
    assert!(activation_sums.len() >= blocks * width && tile.scales.len() >= (blocks * GROUPS / 8) * width);
    assert!(tile.scaled_sums.len() >= tile.scales.len());
    assert!(panel.mins.is_none_or(|mins| mins.len() >= blocks * PANEL));
    let negative_offset = panel.offset.wrapping_neg();
    let mut acc: [__m256; W] = [_mm256_setzero_ps(); W];
    for block in 0..blocks {
        // SAFETY: within the bounds asserted above; unaligned loads.
        unsafe {
            let codes = panel.codes.as_ptr().add(block * GROUPS * 64 + half * 32);
            let x = tile.codes.as_ptr().cast::<i32>().add(block * GROUPS * width + first);
            let mut dot = match panel.levels {
                Levels::Five => narrow::<GROUPS, W, 4>(codes, x, width),
                Levels::Six => narrow::<GROUPS, W, 2>(codes, x, width),
                Levels::Eight => wide::<GROUPS, W>(codes, x, width),
            };
            for (lane, dot) in dot.iter_mut().enumerate() {
                let sum = *activation_sums.get_unchecked(block * width + first + lane);
                *dot = _mm256_add_epi32(*dot, _mm256_set1_epi32(negative_offset.wrapping_mul(sum)));
            }
            let scales = _mm256_loadu_ps(panel.scales.as_ptr().add(block * PANEL + half * 8));
            let at = (block * GROUPS / 8) * width + first;
            for lane in 0..W {
                let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dot[lane]), scales);
                let scale = _mm256_set1_ps(*tile.scales.get_unchecked(at + lane));
                acc[lane] = _mm256_add_ps(acc[lane], _mm256_mul_ps(scaled, scale));
            }
            if let Some(mins) = panel.mins {
                let mins = _mm256_loadu_ps(mins.as_ptr().add(block * PANEL + half * 8));
                for (lane, acc) in acc.iter_mut().enumerate() {
                    let sum = _mm256_set1_ps(*tile.scaled_sums.get_unchecked(at + lane));
                    *acc = _mm256_sub_ps(*acc, _mm256_mul_ps(mins, sum));
                }
            }
        }
    }
    for (lane, acc) in acc.into_iter().enumerate() {
        // SAFETY: a row of `sums` is 16 values, `half` is 0 or 1.
        unsafe { _mm256_storeu_ps(sums[first + lane].as_mut_ptr().add(half * 8), acc) };
    }
    W
}

/// One block of codes small enough that `RUN` groups can be added in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn narrow<const GROUPS: usize, const W: usize, const RUN: usize>(
    codes: *const u8,
    x: *const i32,
    width: usize,
) -> [__m256i; W] {
    let ones = _mm256_set1_epi16(1);
    let mut dot = [_mm256_setzero_si256(); W];
    for run in 0..GROUPS / RUN {
        let mut pairs = [_mm256_setzero_si256(); W];
        for group in run * RUN..(run + 1) * RUN {
            // SAFETY: the caller checked the bounds of a whole block.
            let codes = unsafe { _mm256_loadu_si256(codes.add(group * 64).cast()) };
            for (lane, pairs) in pairs.iter_mut().enumerate() {
                // SAFETY: as above.
                let four = unsafe { _mm256_set1_epi32(x.add(group * width + lane).read_unaligned()) };
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(codes, four));
            }
        }
        for (dot, pairs) in dot.iter_mut().zip(pairs) {
            *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(pairs, ones));
        }
    }
    dot
}

/// One block of 8-bit codes: low nibbles plus 16 times high nibbles.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn wide<const GROUPS: usize, const W: usize>(
    codes: *const u8,
    x: *const i32,
    width: usize,
) -> [__m256i; W] {
    let ones = _mm256_set1_epi16(1);
    let mask = _mm256_set1_epi8(0x0f);
    let mut low = [_mm256_setzero_si256(); W];
    let mut high = [_mm256_setzero_si256(); W];
    for group in 0..GROUPS {
        // SAFETY: the caller checked the bounds of a whole block.
        let codes = unsafe { _mm256_loadu_si256(codes.add(group * 64).cast()) };
        let low_codes = _mm256_and_si256(codes, mask);
        let high_codes = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), mask);
        for lane in 0..W {
            // SAFETY: as above.
            let four = unsafe { _mm256_set1_epi32(x.add(group * width + lane).read_unaligned()) };
            low[lane] = _mm256_add_epi16(low[lane], _mm256_maddubs_epi16(low_codes, four));
            high[lane] = _mm256_add_epi16(high[lane], _mm256_maddubs_epi16(high_codes, four));
        }
    }
    let mut dot = low;
    for (dot, high) in dot.iter_mut().zip(high) {
        let high = _mm256_slli_epi32::<4>(_mm256_madd_epi16(high, ones));
        *dot = _mm256_add_epi32(_mm256_madd_epi16(*dot, ones), high);
    }
    dot
}
