//! The kernel in plain Rust: what the vector versions must reproduce bit for bit.
//!
//! In: a panel of 16 weight rows and a tile of up to 8 tokens. Out: their 16 x 8 products. Limit: slow; codes must be
//! unpacked.

use super::{PANEL, Panel, Scales, Tile, TileSums};

/// Multiplies one panel by one tile.
pub(super) fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    let groups = panel.block / 4;
    let width = tile.width;
    // Codes are unpacked, so scales are ready and units follow one another.
    let Scales::Ready { scales: all_scales, mins } = panel.scales else {
        unreachable!("a panel for the scalar kernel is unpacked")
    };
    let activation_sums = if panel.block == 16 { tile.sums16 } else { tile.sums32 };
    for lane in 0..width {
        let mut acc = [0.0f32; PANEL];
        for (block, scales) in all_scales.chunks_exact(PANEL).enumerate() {
            let mut dot =
                [panel.offset.wrapping_neg().wrapping_mul(activation_sums[block * width + lane]); PANEL];
            for group in block * groups..(block + 1) * groups {
                let x = &tile.codes[(group * width + lane) * 4..][..4];
                let codes = &panel.codes[group * PANEL * 4..][..PANEL * 4];
                for (dot, codes) in dot.iter_mut().zip(codes.chunks_exact(4)) {
                    let product = |i: usize| i32::from(codes[i]) * i32::from(x[i]);
                    *dot += product(0) + product(1) + product(2) + product(3);
                }
            }
            let at = block * panel.block / 32 * width + lane;
            for row in 0..PANEL {
                acc[row] += (dot[row] as f32 * scales[row]) * tile.scales[at];
            }
            if let Some(mins) = mins {
                for (acc, min) in acc.iter_mut().zip(&mins[block * PANEL..]) {
                    *acc -= min * tile.scaled_sums[at];
                }
            }
        }
        sums[lane] = acc;
    }
}

/// The rate that the processor's products have at best ([`super::multiply_in_registers`]).
pub(super) fn multiply_in_registers(rounds: usize) -> u64 {
    let (codes, x) = (std::hint::black_box([3u8; 64]), std::hint::black_box([-5i8; 64]));
    let mut sums = [0i32; 64];
    for _ in 0..rounds {
        for ((sum, code), x) in sums.iter_mut().zip(codes).zip(x) {
            *sum = sum.wrapping_add(i32::from(code) * i32::from(x));
        }
        std::hint::black_box(&mut sums);
    }
    (rounds * 64) as u64
}
