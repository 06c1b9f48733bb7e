//! The kernel with AVX2: 8 weight rows in the lanes of one register, four tokens at a time.
//!
//! In and out as `scalar`, same bits. `vpmaddubsw` adds pairs of products in 16 bits: codes up to 31 let
//! four groups of columns be added before widening, codes up to 63 two; 8-bit codes are split into two
//! nibbles, whose sums fit for a whole block. Limit: needs avx2 and f16c.

use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sll_epi32, _mm256_slli_epi32, _mm256_srl_epi32,
    _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::pack::{LINE, Source};
use super::{Levels, PANEL, Panel, Tile, TileSums};

/// Multiplies one panel by one tile.
///
/// # Safety
/// The processor must have avx2 and f16c.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    for half in 0..2 {
        let mut lane = 0;
        while lane < tile.width {
            // SAFETY: the feature is this function's own precondition.
            lane += unsafe {
                match (panel.block, panel.bits, panel.is_shared()) {
                    (16, 6, true) => by_width::<4, 6, true>(panel, tile, half, lane, sums),
                    (16, 6, false) => by_width::<4, 6, false>(panel, tile, half, lane, sums),
                    (16, _, _) => by_width::<4, 8, false>(panel, tile, half, lane, sums),
                    (_, 4, true) => by_width::<8, 4, true>(panel, tile, half, lane, sums),
                    (_, 4, false) => by_width::<8, 4, false>(panel, tile, half, lane, sums),
                    (_, 5, true) => by_width::<8, 5, true>(panel, tile, half, lane, sums),
                    (_, 5, false) => by_width::<8, 5, false>(panel, tile, half, lane, sums),
                    (_, _, _) => by_width::<8, 8, false>(panel, tile, half, lane, sums),
                }
            };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn by_width<const GROUPS: usize, const BITS: usize, const SHARED: bool>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    half: usize,
    first: usize,
    sums: &mut TileSums,
) -> usize {
    // SAFETY: as above.
    unsafe {
        match tile.width - first {
            1 => kernel::<GROUPS, BITS, SHARED, 1>(panel, tile, half, first, sums),
            2 => kernel::<GROUPS, BITS, SHARED, 2>(panel, tile, half, first, sums),
            _ => kernel::<GROUPS, BITS, SHARED, 4>(panel, tile, half, first, sums),
        }
    }
}

/// 32 bytes of the codes of one group of the block at `lines`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn codes<const GROUPS: usize, const BITS: usize>(lines: *const u8, group: usize) -> __m256i {
    // SAFETY: the caller checked the bounds of a whole block.
    unsafe {
        if BITS == 8 {
            return _mm256_loadu_si256(lines.add(group * LINE).cast());
        }
        let nibbles = _mm256_loadu_si256(lines.add(group % (GROUPS / 2) * LINE).cast());
        let nibbles = if group < GROUPS / 2 { nibbles } else { _mm256_srli_epi16::<4>(nibbles) };
        let low = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        if BITS == 4 {
            return low;
        }
        // Bits cross bytes in these shifts, but none of those that the mask keeps.
        let high = _mm256_loadu_si256(lines.add(GROUPS / 2 * LINE).cast());
        let from = group * (BITS - 4);
        let high = if from <= 4 {
            _mm256_sll_epi32(high, _mm_cvtsi32_si128(4 - from as i32))
        } else {
            _mm256_srl_epi32(high, _mm_cvtsi32_si128(from as i32 - 4))
        };
        let mask = _mm256_set1_epi8(if BITS == 5 { 0x10 } else { 0x30 });
        _mm256_or_si256(low, _mm256_and_si256(high, mask))
    }
}

/// The scales of eight rows: ready ones from `place` on, or those with the factors at `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales<const SHARED: bool>(source: Source, halves: __m256, at: usize, place: usize) -> __m256 {
    // SAFETY: the caller checked the bounds.
    unsafe {
        if !SHARED {
            return _mm256_loadu_ps(source.ready.add(place));
        }
        let factors = _mm_loadl_epi64(source.factors.add(at).cast());
        _mm256_mul_ps(halves, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(factors)))
    }
}

/// What the blocks of a unit share, from `at` on; nothing where scales are ready.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves<const SHARED: bool>(source: Source, at: usize) -> __m256 {
    // SAFETY: the caller checked the bounds.
    if SHARED {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(source.halves.add(at).cast())) }
    } else {
        _mm256_setzero_ps()
    }
}

/// Tokens `first..first + W` of the tile by rows `8 * half..8 * half + 8`; returns `W`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn kernel<const GROUPS: usize, const BITS: usize, const SHARED: bool, const W: usize>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    half: usize,
    first: usize,
    sums: &mut TileSums,
) -> usize {
    let width = tile.width;
    let (unit_blocks, stride) = (panel.unit_blocks, panel.stride);
    let blocks = panel.units * unit_blocks;
    let activation_sums = if GROUPS == 4 { tile.sums16 } else { tile.sums32 };
    // The loops below read through pointers; these are the bounds that they rely on.
    assert!(half < 2 && first + W <= width);
    let block_bytes = GROUPS * LINE * BITS / 8;
    assert!(panel.is_whole() && panel.block_bytes() == block_bytes && panel.is_shared() == SHARED);
    assert!(tile.codes.len() >= blocks * GROUPS * width * 4 && activation_sums.len() >= blocks * width);
    assert!(
        tile.scales.len() >= (blocks * GROUPS / 8) * width && tile.scaled_sums.len() >= tile.scales.len()
    );
    let negative_offset = panel.offset.wrapping_neg();
    let (scale_source, min_source) = panel.sources();
    let mut acc: [__m256; W] = [_mm256_setzero_ps(); W];
    for unit in 0..panel.units {
        // SAFETY: within the bounds asserted above; unaligned loads.
        let (shared, shared_min) = unsafe {
            let at = unit * stride + half * 16;
            let min = min_source.map(|source| halves::<SHARED>(source, at));
            (halves::<SHARED>(scale_source, at), min.unwrap_or(_mm256_setzero_ps()))
        };
        for place in 0..unit_blocks {
            let block = unit * unit_blocks + place;
            // SAFETY: as above.
            unsafe {
                let lines = panel.codes.as_ptr().add(unit * stride + place * block_bytes + half * 32);
                let x = tile.codes.as_ptr().cast::<i32>().add(block * GROUPS * width + first);
                let mut dot = match panel.levels {
                    Levels::Five => narrow::<GROUPS, BITS, W, 4>(lines, x, width),
                    Levels::Six => narrow::<GROUPS, BITS, W, 2>(lines, x, width),
                    Levels::Eight => wide::<GROUPS, BITS, W>(lines, x, width),
                };
                for (lane, dot) in dot.iter_mut().enumerate() {
                    let sum = *activation_sums.get_unchecked(block * width + first + lane);
                    *dot = _mm256_add_epi32(*dot, _mm256_set1_epi32(negative_offset.wrapping_mul(sum)));
                }
                let factors = unit * stride + place * PANEL + half * 8;
                let rows = scales::<SHARED>(scale_source, shared, factors, block * PANEL + half * 8);
                let at = (block * GROUPS / 8) * width + first;
                for lane in 0..W {
                    let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dot[lane]), rows);
                    let scale = _mm256_set1_ps(*tile.scales.get_unchecked(at + lane));
                    acc[lane] = _mm256_add_ps(acc[lane], _mm256_mul_ps(scaled, scale));
                }
                if let Some(source) = min_source {
                    let mins = scales::<SHARED>(source, shared_min, factors, block * PANEL + half * 8);
                    for (lane, acc) in acc.iter_mut().enumerate() {
                        let sum = _mm256_set1_ps(*tile.scaled_sums.get_unchecked(at + lane));
                        *acc = _mm256_sub_ps(*acc, _mm256_mul_ps(mins, sum));
                    }
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
#[target_feature(enable = "avx2,f16c")]
unsafe fn narrow<const GROUPS: usize, const BITS: usize, const W: usize, const RUN: usize>(
    lines: *const u8,
    x: *const i32,
    width: usize,
) -> [__m256i; W] {
    let ones = _mm256_set1_epi16(1);
    let mut dot = [_mm256_setzero_si256(); W];
    for run in 0..GROUPS / RUN {
        let mut pairs = [_mm256_setzero_si256(); W];
        for group in run * RUN..(run + 1) * RUN {
            // SAFETY: the caller checked the bounds of a whole block.
            let codes = unsafe { codes::<GROUPS, BITS>(lines, group) };
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
#[target_feature(enable = "avx2,f16c")]
unsafe fn wide<const GROUPS: usize, const BITS: usize, const W: usize>(
    lines: *const u8,
    x: *const i32,
    width: usize,
) -> [__m256i; W] {
    let ones = _mm256_set1_epi16(1);
    let mask = _mm256_set1_epi8(0x0f);
    let mut low = [_mm256_setzero_si256(); W];
    let mut high = [_mm256_setzero_si256(); W];
    for group in 0..GROUPS {
        // SAFETY: the caller checked the bounds of a whole block.
        let codes = unsafe { codes::<GROUPS, BITS>(lines, group) };
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

/// Chains of products that hide their latency.
const CHAINS: usize = 8;

/// The rate that the processor's products have at best ([`super::multiply_in_registers`]): `vpmaddubsw` added up in 16
/// bits, widened after four as `narrow` does.
///
/// # Safety
/// The processor must have avx2 and f16c.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn multiply_in_registers(rounds: usize) -> u64 {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            let mut pairs = _mm256_setzero_si256();
            for _ in 0..4 {
                let (codes, x) = (std::hint::black_box(*sum), ones);
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, x));
            }
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    std::hint::black_box(sums);
    (rounds * CHAINS * 4 * 32) as u64
}
