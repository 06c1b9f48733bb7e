//! Activations as int8: rows of f32 in, blocks of 32 codes with one scale each out, interleaved for the
//! kernels.
//!
//! `code = round_half_even(x * 127 / max|x|)` within a block; what is not finite makes the block's scale, and so
//! the products, no number. Tokens are cut into tiles of 8, 4, 2 or 1; within a tile the layout is
//! `[columns / 4][token][4]`. Where the kernel has tile registers, tiles are of 16 or 8 tokens, the last one filled
//! up with zeros, and the layout is `[columns / 32][token][32]`. Limit: a token's codes never depend on another
//! token's.

use super::lines::Lines;
use super::{BLOCK, Isa, SharedMut, TILE, Workers};

/// Tokens of one product, quantized.
pub(crate) struct Activations {
    tokens: usize,
    cols: usize,
    order: Order,
    /// `[tile][cols / 4][token][4]`, or `[tile][cols / 32][token][32]`.
    codes: Lines<i8>,
    /// `[tile][cols / 32][token]`
    scales: Lines<f32>,
    /// `[tile][cols / 16][token]`: sums of codes.
    sums16: Lines<i32>,
    /// `[tile][cols / 32][token]`: sums of codes.
    sums32: Lines<i32>,
    /// `[tile][cols / 32][token]`: scale times sum.
    scaled_sums: Lines<f32>,
    /// `[token][cols]`, unrounded; empty unless asked for.
    values: Vec<f32>,
}

/// How tokens lie in a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Four columns of every token, then the next four.
    Fours,
    /// A block of every token, then the next block.
    Blocks,
}

/// Tokens that one kernel call multiplies.
pub(crate) struct Tile<'a> {
    /// Index of the first token.
    pub(crate) first: usize,
    /// Number of tokens; the others up to `width` are zero.
    pub(crate) tokens: usize,
    /// 8, 4, 2 or 1 tokens in fours, 16 or 8 in blocks.
    pub(crate) width: usize,
    pub(crate) codes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums16: &'a [i32],
    pub(crate) sums32: &'a [i32],
    pub(crate) scaled_sums: &'a [f32],
}

impl Activations {
    /// Quantizes `tokens` rows of `cols` values for the kernels of `isa`; `fill(token, row)` writes each row once.
    /// `keep` also keeps them as they are, for f32 weights.
    pub(crate) fn quantize(
        workers: &Workers,
        isa: Isa,
        tokens: usize,
        cols: usize,
        keep: bool,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Activations {
        let padded = cols.next_multiple_of(BLOCK);
        let order = isa.order(tokens);
        let tiles: Vec<(usize, usize)> = tile_bounds(order, tokens).collect();
        let room = tiles.last().map_or(0, |&(first, width)| first + width);
        let mut activations = Activations {
            tokens,
            cols: padded,
            order,
            codes: Lines::zeroed(room * padded),
            scales: Lines::zeroed(room * padded / BLOCK),
            sums16: Lines::zeroed(room * padded / 16),
            sums32: Lines::zeroed(room * padded / BLOCK),
            scaled_sums: Lines::zeroed(room * padded / BLOCK),
            values: vec![0.0; if keep { tokens * padded } else { 0 }],
        };
        let codes = SharedMut::new(&mut activations.codes);
        let scales = SharedMut::new(&mut activations.scales);
        let sums16 = SharedMut::new(&mut activations.sums16);
        let sums32 = SharedMut::new(&mut activations.sums32);
        let scaled_sums = SharedMut::new(&mut activations.scaled_sums);
        let kept = SharedMut::new(&mut activations.values);
        workers.for_each(tiles.len(), |index| {
            let (first, width) = tiles[index];
            let part = |per_token: usize| (first * per_token, width * per_token);
            let ((c, cn), (h, hn), (b, bn)) = (part(padded), part(padded / 16), part(padded / BLOCK));
            // SAFETY: each tile has its own range of tokens, hence of every array.
            let (codes, scales, sums16, sums32, scaled_sums) = unsafe {
                (
                    codes.slice(c, cn),
                    scales.slice(b, bn),
                    sums16.slice(h, hn),
                    sums32.slice(b, bn),
                    scaled_sums.slice(b, bn),
                )
            };
            let mut row = vec![0.0f32; padded];
            for lane in 0..width.min(tokens - first) {
                fill(first + lane, &mut row[..cols]);
                if keep {
                    // SAFETY: each token has its own row.
                    unsafe { kept.slice((first + lane) * padded, padded) }.copy_from_slice(&row);
                }
                for (block, values) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let (quantized, scale) = quantize_block(values);
                    match order {
                        Order::Fours => {
                            for (group, four) in quantized.as_chunks::<4>().0.iter().enumerate() {
                                let at = ((block * 8 + group) * width + lane) * 4;
                                codes[at..at + 4].copy_from_slice(four);
                            }
                        }
                        Order::Blocks => {
                            let at = (block * width + lane) * BLOCK;
                            codes[at..at + BLOCK].copy_from_slice(&quantized);
                        }
                    }
                    let low: i32 = quantized[..16].iter().map(|&code| i32::from(code)).sum();
                    let high: i32 = quantized[16..].iter().map(|&code| i32::from(code)).sum();
                    sums16[2 * block * width + lane] = low;
                    sums16[(2 * block + 1) * width + lane] = high;
                    sums32[block * width + lane] = low + high;
                    scales[block * width + lane] = scale;
                    scaled_sums[block * width + lane] = scale * (low + high) as f32;
                }
            }
        });
        activations
    }

    /// Number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of columns, padded to whole blocks.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// How tokens lie in tiles.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// A token's values as they were; only where they were kept.
    pub(crate) fn values(&self, token: usize) -> &[f32] {
        &self.values[token * self.cols..(token + 1) * self.cols]
    }

    /// The tiles, in token order.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile<'_>> {
        let (cols, halves, blocks) = (self.cols, self.cols / 16, self.cols / BLOCK);
        tile_bounds(self.order, self.tokens).map(move |(first, width)| {
            let end = first + width;
            Tile {
                first,
                tokens: width.min(self.tokens - first),
                width,
                codes: &self.codes[first * cols..end * cols],
                scales: &self.scales[first * blocks..end * blocks],
                sums16: &self.sums16[first * halves..end * halves],
                sums32: &self.sums32[first * blocks..end * blocks],
                scaled_sums: &self.scaled_sums[first * blocks..end * blocks],
            }
        })
    }
}

/// (first token, width) of each tile: eights, then what is left in powers of two; or sixteens, the last of which may be
/// an eight, and need not be full.
fn tile_bounds(order: Order, tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = tokens.saturating_sub(first);
        let width = match order {
            Order::Fours => [TILE / 2, 4, 2, 1].into_iter().find(|&width| width <= left)?,
            Order::Blocks if left == 0 => return None,
            Order::Blocks => {
                if left > TILE / 2 {
                    TILE
                } else {
                    TILE / 2
                }
            }
        };
        first += width;
        Some((first - width, width))
    })
}

fn quantize_block(values: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    /// 1.5 * 2^23: adding it leaves the rounded integer in the low bits, and vectorises everywhere.
    const ROUND: f32 = 12_582_912.0;
    // Without their signs, numbers are ordered as their bits are, and what is not finite comes last.
    let mut most = [0i32; 8];
    for eight in values.as_chunks::<8>().0 {
        for (most, value) in most.iter_mut().zip(eight) {
            *most = (*most).max(value.abs().to_bits() as i32);
        }
    }
    let most = f32::from_bits(most.iter().fold(0, |a, b| a.max(*b)) as u32);
    if !most.is_finite() {
        return ([0; BLOCK], f32::NAN);
    }
    if most == 0.0 {
        return ([0; BLOCK], 0.0);
    }
    let inverse = 127.0 / most;
    if !inverse.is_finite() {
        // Subnormal: nothing that a sum of ordinary terms could feel.
        return ([0; BLOCK], 0.0);
    }
    let codes = std::array::from_fn(|i| {
        ((values[i] * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32) as i8
    });
    (codes, most / 127.0)
}

#[cfg(test)]
mod tests {
    use super::{Order, quantize_block, tile_bounds};

    #[test]
    fn tiles_cover_every_token_once() {
        for tokens in 0..40 {
            let covered = |order| -> Vec<usize> {
                tile_bounds(order, tokens).flat_map(|(first, width)| first..first + width).collect()
            };
            assert_eq!(covered(Order::Fours), (0..tokens).collect::<Vec<_>>());
            assert_eq!(covered(Order::Blocks), (0..tokens.next_multiple_of(8)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn codes_reach_127_and_reproduce_the_values_to_half_a_step() {
        let values: [f32; 32] = std::array::from_fn(|i| (i as f32 - 20.0) * 0.37);
        let (codes, scale) = quantize_block(&values);
        assert_eq!(codes.iter().map(|code| code.unsigned_abs()).max(), Some(127));
        for (value, code) in values.iter().zip(codes) {
            assert!((value - f32::from(code) * scale).abs() <= 0.5001 * scale);
        }
    }

    #[test]
    fn zeros_stay_zero_and_what_is_not_finite_makes_the_scale_no_number() {
        assert_eq!(quantize_block(&[0.0; 32]), ([0; 32], 0.0));
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            for place in 0..32 {
                let mut values = [1.0; 32];
                values[place] = bad;
                let (codes, scale) = quantize_block(&values);
                assert!(codes == [0; 32] && scale.is_nan(), "{bad} {place}: {codes:?} {scale}");
            }
        }
    }
}
