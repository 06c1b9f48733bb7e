//! Activations as int8: rows of f32 in, blocks of 32 codes with one scale each out, interleaved for the
//! kernels.
//!
//! `code = round_half_even(x * 127 / max|x|)` within a block. Tokens are cut into tiles of 8, 4, 2 or 1;
//! within a tile the layout is `[columns / 4][token][4]`. Limit: a token's codes never depend on another
//! token's.

use super::{BLOCK, SharedMut, TILE, Workers};

/// Tokens of one product, quantized.
pub(crate) struct Activations {
    tokens: usize,
    cols: usize,
    /// `[tile][cols / 4][token][4]`
    codes: Vec<i8>,
    /// `[tile][cols / 32][token]`
    scales: Vec<f32>,
    /// `[tile][cols / 16][token]`: sums of codes.
    sums16: Vec<i32>,
    /// `[tile][cols / 32][token]`: sums of codes.
    sums32: Vec<i32>,
    /// `[tile][cols / 32][token]`: scale times sum.
    scaled_sums: Vec<f32>,
    /// `[token][cols]`, unrounded; empty unless asked for.
    values: Vec<f32>,
}

/// Up to eight tokens that one kernel call multiplies.
pub(crate) struct Tile<'a> {
    /// Index of the first token.
    pub(crate) first: usize,
    /// 8, 4, 2 or 1 tokens.
    pub(crate) width: usize,
    pub(crate) codes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums16: &'a [i32],
    pub(crate) sums32: &'a [i32],
    pub(crate) scaled_sums: &'a [f32],
}

impl Activations {
    /// Quantizes `tokens` rows of `cols` values; `fill(token, row)` writes each row once. `keep` also keeps
    /// them as they are, for f32 weights.
    pub(crate) fn quantize(
        workers: &Workers,
        tokens: usize,
        cols: usize,
        keep: bool,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Activations {
        let padded = cols.next_multiple_of(BLOCK);
        let mut activations = Activations {
            tokens,
            cols: padded,
            codes: vec![0; tokens * padded],
            scales: vec![0.0; tokens * padded / BLOCK],
            sums16: vec![0; tokens * padded / 16],
            sums32: vec![0; tokens * padded / BLOCK],
            scaled_sums: vec![0.0; tokens * padded / BLOCK],
            values: vec![0.0; if keep { tokens * padded } else { 0 }],
        };
        let codes = SharedMut::new(&mut activations.codes);
        let scales = SharedMut::new(&mut activations.scales);
        let sums16 = SharedMut::new(&mut activations.sums16);
        let sums32 = SharedMut::new(&mut activations.sums32);
        let scaled_sums = SharedMut::new(&mut activations.scaled_sums);
        let kept = SharedMut::new(&mut activations.values);
        let tiles: Vec<(usize, usize)> = tile_bounds(tokens).collect();
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
            for lane in 0..width {
                fill(first + lane, &mut row[..cols]);
                if keep {
                    // SAFETY: each token has its own row.
                    unsafe { kept.slice((first + lane) * padded, padded) }.copy_from_slice(&row);
                }
                for (block, values) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let (quantized, scale) = quantize_block(values);
                    for (group, four) in quantized.as_chunks::<4>().0.iter().enumerate() {
                        let at = ((block * 8 + group) * width + lane) * 4;
                        codes[at..at + 4].copy_from_slice(four);
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

    /// A token's values as they were; only where they were kept.
    pub(crate) fn values(&self, token: usize) -> &[f32] {
        &self.values[token * self.cols..(token + 1) * self.cols]
    }

    /// The tiles, in token order.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile<'_>> {
        let (cols, halves, blocks) = (self.cols, self.cols / 16, self.cols / BLOCK);
        tile_bounds(self.tokens).map(move |(first, width)| {
            let end = first + width;
            Tile {
                first,
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

/// (first token, width) of each tile: eights, then what is left in powers of two.
fn tile_bounds(tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let width = [TILE, 4, 2, 1].into_iter().find(|&width| first + width <= tokens)?;
        first += width;
        Some((first - width, width))
    })
}

fn quantize_block(values: &[f32; BLOCK]) -> ([i8; BLOCK], f32) {
    /// 1.5 * 2^23: adding it leaves the rounded integer in the low bits, and vectorises everywhere.
    const ROUND: f32 = 12_582_912.0;
    let mut most = [0.0f32; 8];
    for eight in values.as_chunks::<8>().0 {
        for (most, value) in most.iter_mut().zip(eight) {
            *most = most.max(value.abs());
        }
    }
    let most = most.iter().fold(0.0f32, |a, b| a.max(*b));
    if most == 0.0 || !most.is_finite() {
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
    use super::{quantize_block, tile_bounds};

    #[test]
    fn tiles_cover_every_token_once() {
        for tokens in 0..40 {
            let tiles: Vec<_> = tile_bounds(tokens).collect();
            let covered: Vec<usize> = tiles.iter().flat_map(|&(first, width)| first..first + width).collect();
            assert_eq!(covered, (0..tokens).collect::<Vec<_>>());
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
    fn zero_and_non_finite_blocks_become_zero() {
        assert_eq!(quantize_block(&[0.0; 32]), ([0; 32], 0.0));
        assert_eq!(quantize_block(&[f32::INFINITY; 32]), ([0; 32], 0.0));
    }
}
