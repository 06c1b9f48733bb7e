//! The kernels for aarch64: 4 weight rows in the lanes of one register, `sdot` over four columns a time.
//!
//! In and out as `scalar`, same bits. Products are of signed bytes: codes up to 63 are such bytes already, 8-bit codes
//! are moved down by 128, which the sums of the activations make good. `sdot` adds exactly in 32 bits; processors
//! without it (before Armv8.2) multiply to 16 bits and add pairs, which is exact too, since no sum of two products
//! exceeds 2 * 128 * 127. Reference: Arm Architecture Reference Manual, `SDOT (by element)`, `FCVTL`. Limit: tested
//! under emulation, its speed was never measured; `smmla` (Armv8.6) would want another layout.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int16x8_t, int32x4_t, uint8x16_t, vaddq_f32, vandq_u8, vcreate_s8, vcvtq_f32_s32,
    vdupq_laneq_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, veorq_u8, vget_low_s8, vget_low_s16,
    vld1_u16, vld1q_f32, vld1q_s8, vld1q_u8, vmovl_s8, vmovl_s16, vmull_high_s8, vmull_s8, vmulq_f32,
    vmulq_n_f32, vorrq_u8, vpadalq_s16, vpaddq_s16, vreinterpretq_s8_s32, vreinterpretq_s8_u8,
    vreinterpretq_s32_s8, vshlq_u8, vshrq_n_u8, vst1q_f32, vsubq_f32,
};
use std::arch::asm;

use super::halves::Half;
use super::pack::{LINE, Source};
use super::{Levels, PANEL, Panel, Tile, TileSums};

/// Rows in a register.
const LANES: usize = 4;
/// Bytes of a register.
const BYTES: usize = 16;

/// Multiplies one panel by one tile, with `sdot` where `DOT`.
///
/// # Safety
/// The processor must have neon, and dotprod where `DOT`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<const DOT: bool>(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    // SAFETY: the features are this function's own precondition.
    unsafe {
        match (panel.block, panel.bits, panel.is_shared()) {
            (16, 6, true) => by_width::<DOT, 4, 6, false, true>(panel, tile, sums),
            (16, 6, false) => by_width::<DOT, 4, 6, false, false>(panel, tile, sums),
            (16, _, _) => by_width::<DOT, 4, 8, false, false>(panel, tile, sums),
            (_, 4, true) => by_width::<DOT, 8, 4, false, true>(panel, tile, sums),
            (_, 4, false) => by_width::<DOT, 8, 4, false, false>(panel, tile, sums),
            (_, 5, true) => by_width::<DOT, 8, 5, false, true>(panel, tile, sums),
            (_, 5, false) => by_width::<DOT, 8, 5, false, false>(panel, tile, sums),
            _ if panel.levels == Levels::Eight => by_width::<DOT, 8, 8, true, false>(panel, tile, sums),
            _ => by_width::<DOT, 8, 8, false, false>(panel, tile, sums),
        }
    }
}

/// One or two tokens take all rows at once; of four, eight rows' sums are what fits the 32 registers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn by_width<
    const DOT: bool,
    const GROUPS: usize,
    const BITS: usize,
    const FLIP: bool,
    const SHARED: bool,
>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    sums: &mut TileSums,
) {
    // SAFETY: as above.
    unsafe {
        match tile.width {
            1 => kernel::<DOT, GROUPS, BITS, FLIP, SHARED, 1, 4>(panel, tile, 0, 0, sums),
            2 => kernel::<DOT, GROUPS, BITS, FLIP, SHARED, 2, 4>(panel, tile, 0, 0, sums),
            width => {
                for row in [0, 8] {
                    for first in (0..width).step_by(4) {
                        kernel::<DOT, GROUPS, BITS, FLIP, SHARED, 4, 2>(panel, tile, row, first, sums);
                    }
                }
            }
        }
    }
}

/// Four columns of `R` registers of rows from the one that `lines` points at, as signed bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn codes<const GROUPS: usize, const BITS: usize, const FLIP: bool, const R: usize>(
    lines: *const u8,
    group: usize,
) -> [int8x16_t; R] {
    std::array::from_fn(|register| {
        // SAFETY: the caller checked the bounds of a whole block.
        let line = |line: usize| unsafe { vld1q_u8(lines.add(line * LINE + register * BYTES)) };
        vreinterpretq_s8_u8(one::<GROUPS, BITS, FLIP>(line, group))
    })
}

/// The codes of one register, whose lines `line` loads.
#[inline]
#[target_feature(enable = "neon")]
fn one<const GROUPS: usize, const BITS: usize, const FLIP: bool>(
    line: impl Fn(usize) -> uint8x16_t,
    group: usize,
) -> uint8x16_t {
    if BITS == 8 {
        let codes = line(group);
        return if FLIP { veorq_u8(codes, vdupq_n_u8(0x80)) } else { codes };
    }
    let nibbles = line(group % (GROUPS / 2));
    let low = if group < GROUPS / 2 { vandq_u8(nibbles, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(nibbles) };
    if BITS == 4 {
        return low;
    }
    // A negative shift is one to the right.
    let shift = vdupq_n_s8(4 - (group * (BITS - 4)) as i8);
    let high = vshlq_u8(line(GROUPS / 2), shift);
    vorrq_u8(low, vandq_u8(high, vdupq_n_u8(if BITS == 5 { 0x10 } else { 0x30 })))
}

/// `sums[row] += codes[row] . x[LANE]`, of four columns each.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_products<const DOT: bool, const LANE: i32>(
    sums: int32x4_t,
    codes: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    if DOT {
        let mut sums = sums;
        // SAFETY: a computation in registers, on a processor that has it by the caller's promise. The directive lets
        // the assembler take the instruction in a function that is compiled without the feature.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {codes:v}.16b, {x:v}.4b[{lane}]",
                sums = inout(vreg) sums,
                codes = in(vreg) codes,
                x = in(vreg) x,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        return sums;
    }
    let x = vreinterpretq_s8_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(x)));
    let pairs: int16x8_t = vpaddq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(x)), vmull_high_s8(codes, x));
    vpadalq_s16(sums, pairs)
}

/// The scales of four rows: ready ones from `place` on, or a unit's halves at `shared` times factors at `own`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn scales<const SHARED: bool>(source: Source, shared: usize, own: usize, place: usize) -> float32x4_t {
    // SAFETY: the caller checked the bounds.
    unsafe {
        if !SHARED {
            return vld1q_f32(source.ready.add(place));
        }
        let factors = source.factors.add(own).cast::<u32>().read_unaligned();
        let factors = vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(u64::from(factors)))));
        vmulq_f32(four_halves(source.halves.add(shared).cast()), vcvtq_f32_s32(factors))
    }
}

/// Tokens `first..first + W` of the tile by rows `row..row + 4 * R`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn kernel<
    const DOT: bool,
    const GROUPS: usize,
    const BITS: usize,
    const FLIP: bool,
    const SHARED: bool,
    const W: usize,
    const R: usize,
>(
    panel: &Panel<'_>,
    tile: &Tile<'_>,
    row: usize,
    first: usize,
    sums: &mut TileSums,
) {
    let width = tile.width;
    let (unit_blocks, stride) = (panel.unit_blocks, panel.stride);
    let blocks = panel.units * unit_blocks;
    let activation_sums = if GROUPS == 4 { tile.sums16 } else { tile.sums32 };
    // The loops below read through pointers; these are the bounds that they rely on.
    assert!(row + R * LANES <= PANEL && first + W <= width && (W == 4 || W == width));
    let block_bytes = GROUPS * LINE * BITS / 8;
    assert!(panel.is_whole() && panel.block_bytes() == block_bytes && panel.is_shared() == SHARED);
    assert!(tile.codes.len() >= blocks * GROUPS * width * 4 && activation_sums.len() >= blocks * width);
    let scale_count = (blocks * GROUPS / 8) * width;
    assert!(tile.scales.len() >= scale_count && tile.scaled_sums.len() >= scale_count);
    let offset = if FLIP { 128i32 } else { 0 }.wrapping_sub(panel.offset);
    let (scale_source, min_source) = panel.sources();
    let mut acc = [[vdupq_n_f32(0.0); R]; W];
    let places = (0..panel.units).flat_map(|unit| (0..unit_blocks).map(move |place| (unit, place)));
    for (block, (unit, place)) in places.enumerate() {
        // SAFETY: within the bounds asserted above; loads need no alignment.
        unsafe {
            let lines = panel.codes.as_ptr().add(unit * stride + place * block_bytes + row * 4);
            let x = tile.codes.as_ptr().add((block * GROUPS * width + first) * 4);
            let mut dot: [[int32x4_t; R]; W] = std::array::from_fn(|lane| {
                let sum = *activation_sums.get_unchecked(block * width + first + lane);
                [vdupq_n_s32(offset.wrapping_mul(sum)); R]
            });
            // A register of activations is four tokens' group, or two tokens' two groups, or four groups of one.
            for step in 0..GROUPS * W / 4 {
                let x = vld1q_s8(x.add(step * (4 / W) * width * 4));
                let group = step * (4 / W);
                add_group::<DOT, GROUPS, BITS, FLIP, W, R, 0>(&mut dot, lines, group, x);
                add_group::<DOT, GROUPS, BITS, FLIP, W, R, 1>(&mut dot, lines, group, x);
                add_group::<DOT, GROUPS, BITS, FLIP, W, R, 2>(&mut dot, lines, group, x);
                add_group::<DOT, GROUPS, BITS, FLIP, W, R, 3>(&mut dot, lines, group, x);
            }
            let at = (block * GROUPS / 8) * width + first;
            for register in 0..R {
                let rows = row + register * LANES;
                let (shared, own) = (unit * stride + rows * 2, unit * stride + place * PANEL + rows);
                let scales = scales::<SHARED>(scale_source, shared, own, block * PANEL + rows);
                for (lane, (acc, dot)) in acc.iter_mut().zip(&dot).enumerate() {
                    let scaled = vmulq_f32(vcvtq_f32_s32(dot[register]), scales);
                    let scaled = vmulq_n_f32(scaled, *tile.scales.get_unchecked(at + lane));
                    acc[register] = vaddq_f32(acc[register], scaled);
                }
                if let Some(source) = min_source {
                    let mins = self::scales::<SHARED>(source, shared, own, block * PANEL + rows);
                    for (lane, acc) in acc.iter_mut().enumerate() {
                        let min = vmulq_n_f32(mins, *tile.scaled_sums.get_unchecked(at + lane));
                        acc[register] = vsubq_f32(acc[register], min);
                    }
                }
            }
        }
    }
    for (sums, acc) in sums[first..].iter_mut().zip(acc) {
        for (register, acc) in acc.into_iter().enumerate() {
            // SAFETY: a row of `sums` is 16 values, of which these rows are part by the assertion above.
            unsafe { vst1q_f32(sums.as_mut_ptr().add(row + register * LANES), acc) };
        }
    }
}

/// Adds the products of the token and the group that lane `LANE` of `x` belongs to; `group` is the first lane's.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_group<
    const DOT: bool,
    const GROUPS: usize,
    const BITS: usize,
    const FLIP: bool,
    const W: usize,
    const R: usize,
    const LANE: i32,
>(
    dot: &mut [[int32x4_t; R]; W],
    lines: *const u8,
    group: usize,
    x: int8x16_t,
) {
    let (token, group) = (LANE as usize % W, group + LANE as usize / W);
    // SAFETY: the caller checked the bounds of a whole block, and the features are its promise. Lanes of one group
    // load the same codes, which the compiler does once.
    unsafe {
        let codes = codes::<GROUPS, BITS, FLIP, R>(lines, group);
        for (sums, codes) in dot[token].iter_mut().zip(codes) {
            *sums = add_products::<DOT, LANE>(*sums, codes, x);
        }
    }
}

/// Four half-precision numbers.
///
/// # Safety
/// The processor must have neon; four elements are readable.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn four_halves(from: *const Half) -> float32x4_t {
    let singles;
    // SAFETY: by the caller's promise; `Half` is its bits. The instruction is of the first version of the architecture.
    unsafe {
        let halves = vld1_u16(from.cast());
        asm!(
            "fcvtl {singles:v}.4s, {halves:v}.4h",
            singles = out(vreg) singles,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    singles
}

/// Chains of products that hide their latency.
const CHAINS: usize = 16;

/// The rate that the processor's products have at best ([`super::multiply_in_registers`]).
///
/// # Safety
/// The processor must have neon, and dotprod where `DOT`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply_in_registers<const DOT: bool>(rounds: usize) -> u64 {
    let (codes, x) = (std::hint::black_box(3), std::hint::black_box(-5));
    let (codes, x) = (vdupq_n_s8(codes), vdupq_n_s8(x));
    let mut sums = [vdupq_n_s32(0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: the features are this function's own precondition.
            *sum = unsafe { add_products::<DOT, 0>(*sum, codes, x) };
        }
    }
    std::hint::black_box(sums);
    (rounds * CHAINS * BYTES) as u64
}
