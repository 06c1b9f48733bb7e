//! From packed panels to plain ones: scales to f32, codes to one byte each.
//!
//! Scales are unpacked for every product; codes only where many tokens share the work, else the kernels take the
//! bits apart in registers. Layout: `pack`. Limit: plain loops, compiled per instruction set.

use super::halves::from_half;
use super::lines::Lines;
use super::math::for_each_isa;
use super::pack::LINE;
use super::{Isa, PANEL};

/// Where one thread unpacks panels to.
#[derive(Default)]
pub(crate) struct PanelScratch {
    pub(super) codes: Lines<u8>,
    /// Scales, minima.
    pub(super) scales: [Lines<f32>; 2],
}

for_each_isa! {
    /// `out = halves`, of two bytes each.
    fn halves_of(halves: &[u8], out: &mut [f32]) {
        for (out, half) in out.iter_mut().zip(halves.as_chunks::<2>().0) {
            *out = from_half(u16::from_le_bytes(*half));
        }
    }
}

for_each_isa! {
    /// `out = singles`, of four bytes each.
    fn singles_of(singles: &[u8], out: &mut [f32]) {
        for (out, single) in out.iter_mut().zip(singles.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(*single);
        }
    }
}

for_each_isa! {
    /// `out[block] = halves * factors[block]` for 16 rows; halves of two bytes each, factors are signed bytes.
    fn scales_of(halves: &[u8], factors: &[u8], out: &mut [f32]) {
        let Some(halves) = halves.as_chunks::<2>().0.first_chunk::<PANEL>() else { return };
        let shared = halves.map(|half| from_half(u16::from_le_bytes(half)));
        for (factors, out) in factors.as_chunks::<PANEL>().0.iter().zip(out.as_chunks_mut::<PANEL>().0) {
            for ((out, factor), shared) in out.iter_mut().zip(factors).zip(&shared) {
                *out = shared * f32::from(*factor as i8);
            }
        }
    }
}

for_each_isa! {
    /// Codes of `bits` (4, 5, 6 or 8) bits to one byte each, less `zero`, modulo 256.
    fn bytes_of(codes: &[u8], bits: usize, zero: u8, out: &mut [u8]) {
        let (codes, out) = (codes.as_chunks::<LINE>().0, out.as_chunks_mut::<LINE>().0);
        match bits {
            4 => blocks_to_bytes::<8, 0>(codes, zero, out),
            5 => blocks_to_bytes::<8, 1>(codes, zero, out),
            6 => blocks_to_bytes::<4, 2>(codes, zero, out),
            _ => {
                for (out, code) in out.as_flattened_mut().iter_mut().zip(codes.as_flattened()) {
                    *out = code.wrapping_sub(zero);
                }
            }
        }
    }
}

/// Blocks of `GROUPS` groups, with `HIGH` bits above the fourth.
#[inline(always)]
fn blocks_to_bytes<const GROUPS: usize, const HIGH: usize>(
    codes: &[[u8; LINE]],
    zero: u8,
    out: &mut [[u8; LINE]],
) {
    let lines = GROUPS / 2 + usize::from(HIGH > 0);
    for (codes, out) in codes.chunks_exact(lines).zip(out.chunks_exact_mut(GROUPS)) {
        for (group, out) in out.iter_mut().enumerate() {
            let nibbles = &codes[group % (GROUPS / 2)];
            let shift = group / (GROUPS / 2) * 4;
            for (out, nibbles) in out.iter_mut().zip(nibbles) {
                *out = nibbles >> shift & 15;
            }
            if HIGH > 0 {
                let mask = (1u8 << HIGH) - 1;
                for (out, high) in out.iter_mut().zip(&codes[GROUPS / 2]) {
                    *out |= (high >> (group * HIGH) & mask) << 4;
                }
            }
            for out in out {
                *out = out.wrapping_sub(zero);
            }
        }
    }
}
