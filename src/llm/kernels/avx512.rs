//! The kernel with AVX-512 VNNI: 16 weight rows in the lanes of one register, `vpdpbusd` over four columns
//! a time.
//!
//! In and out as `scalar`, same bits. Limit: needs avx512f, avx512bw and avx512vnni.

use std::arch::x86_64::{
    __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256, _mm512_add_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_sll_epi32, _mm512_srl_epi32, _mm512_srli_epi16, _mm512_storeu_ps,
    _mm512_sub_ps, _mm512_ternarylogic_epi32,
};

use super::pack::{LINE, Source};
use super::{PANEL, Panel, Tile, TileSums};

/// Multiplies one panel by one tile.
///
/// # Safety
/// The processor must have avx512f, avx512bw and avx512vnni.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    // SAFETY: the features are this function's own precondition.
    unsafe {
        match (panel.block, panel.bits, panel.is_shared()) {
            (16, 6, true) => by_width::<4, 6, true>(panel, tile, sums),
            (16, 6, false) => by_width::<4, 6, false>(panel, tile, sums),
            (16, _, _) => by_width::<4, 8, false>(panel, tile, sums),
            (_, 4, true) => by_width::<8, 4, true>(panel, tile, sums),
            (_, 4, false) => by_width::<8, 4, false>(panel, tile, sums),
            (_, 5, true) => by_width::<8, 5, true>(panel, tile, sums),
            (_, 5, false) => by_width::<8, 5, false>(panel, tile, sums),
            (_, _, _) => by_width::<8, 8, false>(panel, tile, sums),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn by_width<const GROUPS: usize, const BITS: usize, const SHARED: bool>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    sums: &mut TileSums,
) {
    // SAFETY: as above.
    unsafe {
        match tile.width {
            1 => kernel::<GROUPS, BITS, SHARED, 1, 4>(panel, tile, sums),
            2 => kernel::<GROUPS, BITS, SHARED, 2, 4>(panel, tile, sums),
            4 => kernel::<GROUPS, BITS, SHARED, 4, 2>(panel, tile, sums),
            _ => kernel::<GROUPS, BITS, SHARED, 8, 1>(panel, tile, sums),
        }
    }
}

/// The codes of one group of the block at `lines`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn codes<const GROUPS: usize, const BITS: usize>(lines: *const u8, group: usize) -> __m512i {
    // SAFETY: the caller checked the bounds of a whole block.
    unsafe {
        if BITS == 8 {
            return _mm512_loadu_si512(lines.add(group * LINE).cast());
        }
        let nibbles = _mm512_loadu_si512(lines.add(group % (GROUPS / 2) * LINE).cast());
        let nibbles = if group < GROUPS / 2 { nibbles } else { _mm512_srli_epi16::<4>(nibbles) };
        let low = _mm512_and_si512(nibbles, _mm512_set1_epi8(15));
        if BITS == 4 {
            return low;
        }
        // Bits cross bytes in these shifts, but none of those that the mask keeps.
        let high = _mm512_loadu_si512(lines.add(GROUPS / 2 * LINE).cast());
        let from = group * (BITS - 4);
        let high = if from <= 4 {
            _mm512_sll_epi32(high, _mm_cvtsi32_si128(4 - from as i32))
        } else {
            _mm512_srl_epi32(high, _mm_cvtsi32_si128(from as i32 - 4))
        };
        let mask = _mm512_set1_epi8(if BITS == 5 { 0x10 } else { 0x30 });
        // low | (high & mask)
        _mm512_ternarylogic_epi32::<0xf8>(low, high, mask)
    }
}

/// The scales of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn scales<const SHARED: bool>(source: Source, halves: __m512, at: usize, block: usize) -> __m512 {
    // SAFETY: the caller checked the bounds.
    unsafe {
        if !SHARED {
            return _mm512_loadu_ps(source.ready.add(block * PANEL));
        }
        let factors = _mm_loadu_si128(source.factors.add(at).cast());
        _mm512_mul_ps(halves, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(factors)))
    }
}

/// What the blocks of the unit at `at` share; nothing where scales are ready.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves<const SHARED: bool>(source: Source, at: usize) -> __m512 {
    // SAFETY: the caller checked the bounds.
    if SHARED {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.halves.add(at).cast())) }
    } else {
        _mm512_setzero_ps()
    }
}

/// `CHAINS` partial integer sums per token hide the latency of `vpdpbusd` where there are few tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn kernel<
    const GROUPS: usize,
    const BITS: usize,
    const SHARED: bool,
    const W: usize,
    const CHAINS: usize,
>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    sums: &mut TileSums,
) {
    let (unit_blocks, stride) = (panel.unit_blocks, panel.stride);
    let blocks = panel.units * unit_blocks;
    let activation_sums = if GROUPS == 4 { tile.sums16 } else { tile.sums32 };
    // The loops below read through pointers; these are the bounds that they rely on.
    let block_bytes = GROUPS * LINE * BITS / 8;
    assert!(panel.is_whole() && panel.block_bytes() == block_bytes && panel.is_shared() == SHARED);
    assert!(tile.codes.len() >= blocks * GROUPS * W * 4 && activation_sums.len() >= blocks * W);
    assert!(tile.scales.len() >= (blocks * GROUPS / 8) * W && tile.scaled_sums.len() >= tile.scales.len());
    let x = tile.codes.as_ptr().cast::<i32>();
    let negative_offset = panel.offset.wrapping_neg();
    let (scale_source, min_source) = panel.sources();
    let mut acc: [__m512; W] = [_mm512_setzero_ps(); W];
    for unit in 0..panel.units {
        // SAFETY: within the bounds asserted above; unaligned loads.
        let (shared, shared_min) = unsafe {
            let min = min_source.map(|source| halves::<SHARED>(source, unit * stride));
            (halves::<SHARED>(scale_source, unit * stride), min.unwrap_or(_mm512_setzero_ps()))
        };
        for place in 0..unit_blocks {
            let block = unit * unit_blocks + place;
            // SAFETY: as above.
            unsafe {
                let lines = panel.codes.as_ptr().add(unit * stride + place * block_bytes);
                let mut chains = [[_mm512_set1_epi32(0); W]; CHAINS];
                for (lane, dot) in chains[0].iter_mut().enumerate() {
                    let sum = *activation_sums.get_unchecked(block * W + lane);
                    *dot = _mm512_set1_epi32(negative_offset.wrapping_mul(sum));
                }
                for step in 0..GROUPS / CHAINS {
                    for (chain, dots) in chains.iter_mut().enumerate() {
                        let group = block * GROUPS + step * CHAINS + chain;
                        let codes = codes::<GROUPS, BITS>(lines, step * CHAINS + chain);
                        for (lane, dot) in dots.iter_mut().enumerate() {
                            let four = _mm512_set1_epi32(x.add(group * W + lane).read_unaligned());
                            *dot = _mm512_dpbusd_epi32(*dot, codes, four);
                        }
                    }
                }
                let mut dot = chains[0];
                for chain in &chains[1..] {
                    for (dot, more) in dot.iter_mut().zip(chain) {
                        *dot = _mm512_add_epi32(*dot, *more);
                    }
                }
                let factors = unit * stride + place * PANEL;
                let rows = scales::<SHARED>(scale_source, shared, factors, block);
                let at = (block * GROUPS / 8) * W;
                for lane in 0..W {
                    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[lane]), rows);
                    let scale = _mm512_set1_ps(*tile.scales.get_unchecked(at + lane));
                    acc[lane] = _mm512_add_ps(acc[lane], _mm512_mul_ps(scaled, scale));
                }
                if let Some(source) = min_source {
                    let mins = scales::<SHARED>(source, shared_min, factors, block);
                    for (lane, acc) in acc.iter_mut().enumerate() {
                        let sum = _mm512_set1_ps(*tile.scaled_sums.get_unchecked(at + lane));
                        *acc = _mm512_sub_ps(*acc, _mm512_mul_ps(mins, sum));
                    }
                }
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: a row of `sums` is 16 values.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
    }
}

/// Chains of `vpdpbusd` that hide its latency.
const CHAINS: usize = 12;

/// The rate that the processor's products have at best ([`super::multiply_in_registers`]).
///
/// # Safety
/// The processor must have avx512f and avx512vnni.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn multiply_in_registers(rounds: usize) -> u64 {
    let (codes, x) = (std::hint::black_box(3), std::hint::black_box(-5));
    let (codes, x) = (_mm512_set1_epi32(codes), _mm512_set1_epi32(x));
    let mut sums = [_mm512_set1_epi32(0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, codes, x);
        }
    }
    std::hint::black_box(sums);
    (rounds * CHAINS * 64) as u64
}
