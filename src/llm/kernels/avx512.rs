//! The kernel with AVX-512 VNNI: 16 weight rows in the lanes of one register, `vpdpbusd` over four columns
//! a time.
//!
//! In and out as `scalar`, same bits. Limit: needs avx512f, avx512bw and avx512vnni.

use std::arch::x86_64::{
    __m512, _mm512_add_epi32, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{PANEL, Panel, Tile, TileSums};

/// Multiplies one panel by one tile.
///
/// # Safety
/// The processor must have avx512f, avx512bw and avx512vnni.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    // SAFETY: the features are this function's own precondition.
    unsafe {
        match (panel.block, tile.width) {
            (16, 1) => kernel::<4, 1, 4>(panel, tile, sums),
            (16, 2) => kernel::<4, 2, 4>(panel, tile, sums),
            (16, 4) => kernel::<4, 4, 2>(panel, tile, sums),
            (16, _) => kernel::<4, 8, 1>(panel, tile, sums),
            (_, 1) => kernel::<8, 1, 4>(panel, tile, sums),
            (_, 2) => kernel::<8, 2, 4>(panel, tile, sums),
            (_, 4) => kernel::<8, 4, 2>(panel, tile, sums),
            (_, _) => kernel::<8, 8, 1>(panel, tile, sums),
        }
    }
}

/// `CHAINS` partial integer sums per token hide the latency of `vpdpbusd` where there are few tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn kernel<const GROUPS: usize, const W: usize, const CHAINS: usize>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    sums: &mut TileSums,
) {
    let blocks = panel.scales.len() / PANEL;
    let activation_sums = if GROUPS == 4 { tile.sums16 } else { tile.sums32 };
    // The loops below read through pointers; these are the bounds that they rely on.
    assert!(panel.codes.len() >= blocks * GROUPS * 64 && tile.codes.len() >= blocks * GROUPS * W * 4);
    assert!(activation_sums.len() >= blocks * W && tile.scales.len() >= (blocks * GROUPS / 8) * W);
    assert!(tile.scaled_sums.len() >= tile.scales.len());
    assert!(panel.mins.is_none_or(|mins| mins.len() >= blocks * PANEL));
    let x = tile.codes.as_ptr().cast::<i32>();
    let negative_offset = panel.offset.wrapping_neg();
    let mut acc: [__m512; W] = [_mm512_setzero_ps(); W];
    for block in 0..blocks {
        // SAFETY: within the bounds asserted above; unaligned loads.
        unsafe {
            let mut chains = [[_mm512_set1_epi32(0); W]; CHAINS];
            for (lane, dot) in chains[0].iter_mut().enumerate() {
                let sum = *activation_sums.get_unchecked(block * W + lane);
                *dot = _mm512_set1_epi32(negative_offset.wrapping_mul(sum));
            }
            for step in 0..GROUPS / CHAINS {
                for (chain, dots) in chains.iter_mut().enumerate() {
                    let group = block * GROUPS + step * CHAINS + chain;
                    let codes = _mm512_loadu_si512(panel.codes.as_ptr().add(group * 64).cast());
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
            let scales = _mm512_loadu_ps(panel.scales.as_ptr().add(block * PANEL));
            let at = (block * GROUPS / 8) * W;
            for lane in 0..W {
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[lane]), scales);
                let scale = _mm512_set1_ps(*tile.scales.get_unchecked(at + lane));
                acc[lane] = _mm512_add_ps(acc[lane], _mm512_mul_ps(scaled, scale));
            }
            if let Some(mins) = panel.mins {
                let mins = _mm512_loadu_ps(mins.as_ptr().add(block * PANEL));
                for (lane, acc) in acc.iter_mut().enumerate() {
                    let sum = _mm512_set1_ps(*tile.scaled_sums.get_unchecked(at + lane));
                    *acc = _mm512_sub_ps(*acc, _mm512_mul_ps(mins, sum));
                }
            }
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: a row of `sums` is 16 values.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
    }
}
