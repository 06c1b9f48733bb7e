//! The kernel with AMX tiles: up to sixteen tokens by sixteen weight rows, one tile product per block.
//!
//! In and out as `scalar`, same bits: a block's sum is an exact integer, and what follows is `avx512`'s arithmetic. In
//! a tile product of a block, tokens are the rows of the first tile and a panel's lines those of the second, as they
//! lie. Limit: Linux, which must be asked for the tiles (`available`); panels must be expanded to signed bytes.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid, __cpuid_count, __m512, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_load_si512, _mm512_loadu_ps,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use super::pack::{LINE, Scales};
use super::{BLOCK, PANEL, Panel, Tile, TileSums};

/// Whether the processor has tiles and products of bytes, and the system lets this process use them.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        /// Bits of leaf 7's EDX.
        const TILES_AND_BYTES: u32 = 1 << 24 | 1 << 25;
        let has_leaf = __cpuid(0).eax >= 7;
        has_leaf && __cpuid_count(7, 0).edx & TILES_AND_BYTES == TILES_AND_BYTES && may_use_tiles()
    });
    *AVAILABLE
}

/// Asks Linux for the tiles' state, which every thread of the process then has.
fn may_use_tiles() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of `arch_prctl`, and the state's number.
    #[cfg(target_os = "linux")]
    const REQUEST: [libc::c_long; 2] = [0x1023, 18];
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes two numbers and changes nothing but what this process may use.
    return unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST[0], REQUEST[1]) } == 0;
    #[cfg(not(target_os = "linux"))]
    false
}

/// Shapes of the tiles (`ldtilecfg`), in the order in which it reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Blocks that are multiplied before their sums are scaled.
const AHEAD: usize = 16;

/// Where a product is stored: `[token][row]`.
#[repr(C, align(64))]
struct Products([[i32; PANEL]; 16]);

/// Multiplies one panel, expanded, by one tile of 8 or 16 tokens.
///
/// # Safety
/// [`available`], and the processor must have avx512f.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    // SAFETY: by the caller's promise.
    unsafe {
        match (panel.block, tile.width) {
            (16, 8) => kernel::<16, 8>(panel, tile, sums),
            (16, _) => kernel::<16, 16>(panel, tile, sums),
            (_, 8) => kernel::<32, 8>(panel, tile, sums),
            _ => kernel::<32, 16>(panel, tile, sums),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn kernel<const COLS: usize, const W: usize>(panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    let blocks = panel.units * panel.unit_blocks;
    let lines = COLS / 4;
    let Scales::Ready { scales, mins } = panel.scales else {
        unreachable!("an expanded panel has its scales ready");
    };
    // What follows reads through pointers; these are the bounds that they rely on.
    assert!(panel.is_whole() && panel.bits == 8 && panel.units == 1 && panel.offset == 0);
    assert!(panel.block == COLS && tile.width == W && tile.codes.len() >= blocks * COLS * W);
    assert!(tile.scales.len() >= blocks * COLS / BLOCK * W && tile.scaled_sums.len() >= tile.scales.len());
    let mut shapes =
        Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for (at, (row_bytes, rows)) in [(LINE, W), (COLS, W), (LINE, lines)].into_iter().enumerate() {
        (shapes.row_bytes[at], shapes.rows[at]) = (row_bytes as u16, rows as u8);
    }
    let mut products = MaybeUninit::<[Products; AHEAD]>::uninit();
    let places = products.as_mut_ptr().cast::<Products>();
    let place = |block: usize| places.wrapping_add(block % AHEAD);
    let mut acc: [__m512; W] = [_mm512_setzero_ps(); W];
    // SAFETY: the tiles that are named lie within the bounds asserted above, `products` holds as many stored tiles as
    // are read before they are stored anew, and no other code of this program uses tile registers.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, preserves_flags, readonly));
        let mut first = 0;
        while first < blocks {
            let end = blocks.min(first + AHEAD);
            // Stored tiles cannot be read at once, so several are stored before the first is read.
            for block in first..end {
                asm!(
                    "tileloadd tmm1, [{tokens} + {token}*1]",
                    "tileloadd tmm2, [{codes} + {line}*1]",
                    "tilezero tmm0",
                    "tdpbssd tmm0, tmm1, tmm2",
                    "tilestored [{place} + {line}*1], tmm0",
                    tokens = in(reg) tile.codes.as_ptr().add(block * COLS / BLOCK * BLOCK * W + block * COLS % BLOCK),
                    token = in(reg) BLOCK,
                    codes = in(reg) panel.codes.as_ptr().add(block * lines * LINE),
                    line = in(reg) LINE,
                    place = in(reg) place(block),
                    options(nostack, preserves_flags),
                );
            }
            for block in first..end {
                let products = &*place(block);
                let rows = _mm512_loadu_ps(scales.as_ptr().add(block * PANEL));
                let at = (block * COLS / BLOCK) * W;
                for (lane, acc) in acc.iter_mut().enumerate() {
                    let sum = _mm512_cvtepi32_ps(_mm512_load_si512(products.0.as_ptr().add(lane).cast()));
                    let scale = _mm512_set1_ps(*tile.scales.as_ptr().add(at + lane));
                    *acc = _mm512_add_ps(*acc, _mm512_mul_ps(_mm512_mul_ps(sum, rows), scale));
                }
                if let Some(mins) = mins {
                    let mins = _mm512_loadu_ps(mins.as_ptr().add(block * PANEL));
                    for (lane, acc) in acc.iter_mut().enumerate() {
                        let sum = _mm512_set1_ps(*tile.scaled_sums.as_ptr().add(at + lane));
                        *acc = _mm512_sub_ps(*acc, _mm512_mul_ps(mins, sum));
                    }
                }
            }
            first = end;
        }
        // Threads without tiles in use are switched faster.
        asm!("tilerelease", options(nostack, nomem, preserves_flags));
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        // SAFETY: a row of `sums` is 16 values.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), acc) };
    }
}

/// Products of bytes that hide each other's latency.
const CHAINS: usize = 4;

/// The rate that the processor's products have at best ([`super::multiply_in_registers`]).
///
/// # Safety
/// [`available`].
pub(super) unsafe fn multiply_in_registers(rounds: usize) -> u64 {
    let shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // SAFETY: tiles are this function's precondition, and no other code uses their registers meanwhile.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, preserves_flags, readonly));
        for _ in 0..rounds {
            asm!(
                "tdpbssd tmm0, tmm4, tmm5",
                "tdpbssd tmm1, tmm4, tmm5",
                "tdpbssd tmm2, tmm4, tmm5",
                "tdpbssd tmm3, tmm4, tmm5",
                options(nostack, nomem, preserves_flags),
            );
        }
        asm!("tilerelease", options(nostack, nomem, preserves_flags));
    }
    (rounds * CHAINS * 16 * 16 * 64) as u64
}
