//! Quantized matrix product on the CPU: packed weights x int8 activations -> f32, the same bits on every
//! processor.
//!
//! In: [`PackedMatrix`] (`pack`), [`Activations`] (`activations`). Out: (tokens, rows) in f32. Per block of
//! 16 or 32 columns the product is an exact integer; blocks are added in column order as `acc + (sum *
//! weight_scale) * activation_scale - weight_min * activation_sum`, each step rounded once and never fused.
//! So a result depends neither on the instruction set, nor on how many tokens are computed together, nor on
//! the number of threads. Matrices stored in f32 stay f32 (`dense`). The idea of integer blocks is ggml's
//! (`Q8_0` products); the layout is our own.
//! Limit: x86-64 has AVX2, AVX-512 VNNI and AMX versions, aarch64 NEON ones with and without `sdot`, which were tested
//! under emulation only and never timed; other processors take the scalar one.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod blocks;
mod dense;
pub(crate) mod halves;
mod lines;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
pub(crate) mod pages;
pub(crate) mod rows;
mod scalar;
mod unpack;
mod workers;

pub(crate) use activations::{Activations, Order, Tile};
pub(crate) use dense::Matrix;
pub(crate) use lines::Lines;
pub(crate) use pack::{Levels, PackedMatrix, Panel, Scales};
use unpack::PanelScratch;
pub(crate) use workers::{SharedMut, Workers};

/// Rows of a weight matrix that are stored together.
pub(crate) const PANEL: usize = 16;
/// Most tokens that one kernel call multiplies; half of them where kernels have no tile registers.
pub(crate) const TILE: usize = 16;
/// Columns that share one activation scale.
pub(crate) const BLOCK: usize = 32;

/// One kernel call's result: `[token][row]`.
pub(crate) type TileSums = [[f32; PANEL]; TILE];

/// Which instructions the kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Portable Rust.
    Scalar,
    /// 256-bit integer products (`vpmaddubsw`).
    Avx2,
    /// 512-bit four-way products (`vpdpbusd`).
    Avx512Vnni,
    /// The same, and tile registers (`tdpbssd`) where enough tokens share the weights.
    Amx,
    /// 128-bit products (`smull`): every aarch64.
    Neon,
    /// 128-bit four-way products (`sdot`).
    NeonDot,
}

impl Isa {
    /// Those that this processor can run, the best first; the last is [`Isa::Scalar`].
    pub(crate) fn all() -> impl Iterator<Item = Isa> {
        [Isa::Amx, Isa::Avx512Vnni, Isa::Avx2, Isa::NeonDot, Isa::Neon, Isa::Scalar]
            .into_iter()
            .filter(|isa| isa.available())
    }

    /// The best one that this processor has.
    pub(crate) fn detect() -> Isa {
        Isa::all().next().unwrap_or(Isa::Scalar)
    }

    /// Up to how many tokens a packed panel is cheaper to unpack in registers than once beforehand.
    fn fused_tokens(self) -> usize {
        match self {
            Isa::Scalar => 0,
            Isa::Avx2 | Isa::Neon | Isa::NeonDot => 4,
            Isa::Avx512Vnni | Isa::Amx => TILE / 2,
        }
    }

    /// How the activations of so many tokens must lie.
    fn order(self, tokens: usize) -> Order {
        if self == Isa::Amx && tokens > TILE { Order::Blocks } else { Order::Fours }
    }

    /// Whether this processor can run it.
    fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512Vnni.available() && amx::available(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }
}

/// One product of a [`matmul`]: weights and where (tokens, rows) goes.
pub(crate) struct Product<'a> {
    pub(crate) weights: &'a Matrix,
    pub(crate) out: &'a mut [f32],
}

/// Multiplies the same activations by several matrices: `out[t][r] = sum_c activations[t][c] *
/// weights[r][c]`.
pub(crate) fn matmul(workers: &Workers, isa: Isa, activations: &Activations, products: &mut [Product<'_>]) {
    struct Target<'a> {
        weights: &'a Matrix,
        out: SharedMut<'a, f32>,
        first_panel: usize,
    }
    let tokens = activations.tokens();
    let mut targets = Vec::with_capacity(products.len());
    let mut panels = 0;
    for product in products.iter_mut() {
        assert_eq!(product.weights.cols(), activations.cols(), "inner dimensions of a product differ");
        assert_eq!(
            product.out.len(),
            tokens * product.weights.rows(),
            "output of a product has a wrong size"
        );
        targets.push(Target {
            weights: product.weights,
            out: SharedMut::new(product.out),
            first_panel: panels,
        });
        panels += product.weights.panels();
    }
    // One tile: the kernels unpack in registers. More: unpacking once is cheaper.
    let expand = isa == Isa::Scalar || tokens > isa.fused_tokens();
    let isa = if isa == Isa::Amx && activations.order() == Order::Fours { Isa::Avx512Vnni } else { isa };
    assert!((activations.order() == Order::Blocks) == (isa == Isa::Amx), "activations are another kernel's");
    workers.for_each_with(panels, |scratch: &mut PanelScratch, index| {
        let target = targets.iter().rev().find(|target| target.first_panel <= index);
        let Some(target) = target else { return };
        let panel_index = index - target.first_panel;
        let weights = match target.weights {
            Matrix::Packed(packed) => packed,
            Matrix::Dense(dense) => return dense.multiply_panel(isa, panel_index, activations, &target.out),
        };
        let panel = weights.panel(isa, panel_index, expand, scratch);
        let rows = weights.rows();
        let first_row = panel_index * PANEL;
        let width = PANEL.min(rows - first_row);
        let mut sums: TileSums = [[0.0; PANEL]; TILE];
        for tile in activations.tiles() {
            run(isa, &panel, &tile, &mut sums);
            for (lane, sums) in sums.iter().enumerate().take(tile.tokens) {
                // SAFETY: panels are disjoint ranges of rows, so no other call writes these elements.
                let out = unsafe { target.out.slice((tile.first + lane) * rows + first_row, width) };
                match out.first_chunk_mut() {
                    Some(whole) => *whole = *sums,
                    None => out.copy_from_slice(&sums[..width]),
                }
            }
        }
    });
}

/// Products of int8 numbers that stay in registers, `rounds` times; returns how many it computed.
pub(crate) fn multiply_in_registers(isa: Isa, rounds: usize) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` is available on this processor.
        Isa::Avx2 => unsafe { avx2::multiply_in_registers(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni => unsafe { avx512::multiply_in_registers(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Amx => unsafe { amx::multiply_in_registers(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { neon::multiply_in_registers::<false>(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::NeonDot => unsafe { neon::multiply_in_registers::<true>(rounds) },
        _ => scalar::multiply_in_registers(rounds),
    }
}

fn run(isa: Isa, panel: &Panel<'_>, tile: &Tile<'_>, sums: &mut TileSums) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::detect` (and the tests) choose an instruction set only where the processor has it.
        Isa::Avx2 => unsafe { avx2::run(panel, tile, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni => unsafe { avx512::run(panel, tile, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Amx => unsafe { amx::run(panel, tile, sums) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon => unsafe { neon::run::<false>(panel, tile, sums) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::NeonDot => unsafe { neon::run::<true>(panel, tile, sums) },
        _ => scalar::run(panel, tile, sums),
    }
}

#[cfg(test)]
mod tests {
    use super::{Activations, BLOCK, Isa, Lines, Matrix, Product, Workers, blocks, matmul};
    use crate::rng::RootSeed;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    const TYPES: [GgmlDType; 11] = [
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
        GgmlDType::Q3K,
        GgmlDType::F16,
        GgmlDType::F32,
    ];

    fn normal(count: usize, salt: u64) -> Vec<f32> {
        let mut stream = RootSeed(11).stream("kernel test", &[salt]);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    fn quantized(dtype: GgmlDType, rows: usize, cols: usize) -> (Matrix, Vec<f32>) {
        let values = Tensor::from_vec(normal(rows * cols, 1), (rows, cols), &Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&values, dtype).unwrap();
        let exact = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let bytes = tensor.data().unwrap().to_vec();
        let packed = Matrix::load(&Workers::new(1).unwrap(), dtype, &bytes, rows, cols).unwrap();
        assert_eq!(packed.bytes(), Matrix::bytes_for(dtype, rows, cols));
        (packed, exact)
    }

    fn product(isa: Isa, threads: usize, weights: &Matrix, x: &[f32], tokens: usize) -> Vec<f32> {
        let workers = Workers::new(threads).unwrap();
        let cols = x.len() / tokens;
        let activations = Activations::quantize(&workers, isa, tokens, cols, true, |token, row| {
            row.copy_from_slice(&x[token * cols..(token + 1) * cols]);
        });
        let mut out = vec![0.0; tokens * weights.rows()];
        matmul(&workers, isa, &activations, &mut [Product { weights, out: &mut out }]);
        out
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_scalar_kernel() {
        let (rows, cols) = (40, 512);
        for dtype in TYPES {
            let (weights, _) = quantized(dtype, rows, cols);
            for tokens in [1, 2, 3, 4, 7, 8, 13, 16, 21, 25] {
                let x = normal(tokens * cols, 2);
                let expected = product(Isa::Scalar, 1, &weights, &x, tokens);
                for isa in Isa::all() {
                    assert_eq!(expected, product(isa, 2, &weights, &x, tokens), "{dtype:?} {isa:?} {tokens}");
                }
            }
        }
    }

    #[test]
    fn extreme_codes_do_not_saturate_on_any_instruction_set() {
        // Every code at its largest, or signed ones at either end, and every activation at +-127: the worst cases for
        // 16-bit sums.
        let (rows, cols) = (16, 256);
        for (dtype, fill) in TYPES.into_iter().flat_map(|dtype| [0xff, 0x80, 0x7f].map(|fill| (dtype, fill)))
        {
            let size = dtype.type_size();
            // Where a block's half-precision scales are; they must be finite.
            let scales = match dtype {
                GgmlDType::F16 | GgmlDType::F32 => continue,
                GgmlDType::Q6K | GgmlDType::Q3K => size - 2..size,
                GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => 0..4,
                _ => 0..2,
            };
            let bytes: Vec<u8> = (0..rows * cols / dtype.block_size() * size)
                .map(|i| if i % 2 == 1 && scales.contains(&(i % size)) { 0x3b } else { fill })
                .collect();
            let workers = Workers::new(1).unwrap();
            let weights = Matrix::load(&workers, dtype, &bytes, rows, cols).unwrap();
            // Few tokens, and enough for tile registers.
            for (sign, tokens) in [(1.0f32, 4), (-1.0, 4), (1.0, 17), (-1.0, 17)] {
                let x = vec![sign; tokens * cols];
                let expected = product(Isa::Scalar, 1, &weights, &x, tokens);
                for isa in Isa::all() {
                    assert_eq!(
                        expected,
                        product(isa, 1, &weights, &x, tokens),
                        "{dtype:?} {fill:#x} {isa:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_token_that_is_not_finite_makes_all_of_its_products_so_and_no_others() {
        let (rows, cols) = (40, 512);
        for dtype in TYPES {
            let (weights, _) = quantized(dtype, rows, cols);
            for (tokens, bad) in
                [1, 3, 8, 25].into_iter().flat_map(|n| [f32::NAN, f32::INFINITY].map(|b| (n, b)))
            {
                let mut x = normal(tokens * cols, 2);
                let good = product(Isa::Scalar, 1, &weights, &x, tokens);
                let token = tokens / 2;
                x[token * cols + 77] = bad;
                for isa in Isa::all() {
                    let out = product(isa, 1, &weights, &x, tokens);
                    for (index, (out, good)) in
                        out.chunks_exact(rows).zip(good.chunks_exact(rows)).enumerate()
                    {
                        let seen = out.iter().all(|value| !value.is_finite());
                        assert!(if index == token { seen } else { out == good }, "{dtype:?} {isa:?} {index}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_does_not_depend_on_the_tokens_beside_it() {
        let (weights, _) = quantized(GgmlDType::Q6K, 32, 256);
        let x = normal(13 * 256, 5);
        let together = product(Isa::detect(), 2, &weights, &x, 13);
        for token in 0..13 {
            let alone = product(Isa::detect(), 1, &weights, &x[token * 256..(token + 1) * 256], 1);
            assert_eq!(alone, together[token * 32..(token + 1) * 32]);
        }
    }

    #[test]
    fn the_product_is_near_the_product_in_f32() {
        let (rows, cols, tokens) = (32, 1024, 3);
        for dtype in TYPES {
            let (weights, exact) = quantized(dtype, rows, cols);
            let x = normal(tokens * cols, 3);
            let out = product(Isa::detect(), 2, &weights, &x, tokens);
            for token in 0..tokens {
                for row in 0..rows {
                    let w = &exact[row * cols..(row + 1) * cols];
                    let x = &x[token * cols..(token + 1) * cols];
                    let expected: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let error = (f64::from(out[token * rows + row]) - expected).abs();
                    // Rounding to int8 in blocks of 32 normals errs by about 0.7 % of one value per term.
                    let bound = if weights.is_dense() { 1e-5 } else { 0.05 };
                    assert!(error < bound * (cols as f64).sqrt(), "{dtype:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn decoded_rows_are_the_values_that_candle_decodes() {
        let cols = 512;
        for dtype in TYPES {
            let values = Tensor::from_vec(normal(cols, 9), (1, cols), &Device::Cpu).unwrap();
            let tensor = QTensor::quantize(&values, dtype).unwrap();
            let exact: Vec<f32> =
                tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let mut row = vec![0.0; cols];
            blocks::decode_row(dtype, &tensor.data().unwrap(), &mut row).unwrap();
            for (column, (ours, candle)) in row.iter().zip(&exact).enumerate() {
                assert!(
                    (ours - candle).abs() <= 1e-5 * candle.abs().max(0.1),
                    "{dtype:?} {column}: {ours} {candle}"
                );
            }
        }
        assert_eq!(BLOCK, 32);
    }

    /// `cargo test --release --lib kernel_rates -- --ignored --nocapture`
    #[test]
    #[ignore = "prints timings; run it by name on an idle machine"]
    fn kernel_rates() {
        let (rows, cols) = (4864, 1024);
        let workers = Workers::new(1).unwrap();
        for dtype in [GgmlDType::Q5_0, GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0] {
            let (weights, _) = quantized(dtype, rows, cols);
            for isa in Isa::all().filter(|isa| *isa != Isa::Scalar) {
                for tokens in [1, 2, 4, 8, 16, 128] {
                    let x = normal(tokens * cols, 3);
                    let activations =
                        Activations::quantize(&workers, isa, tokens, cols, true, |token, row| {
                            row.copy_from_slice(&x[token * cols..(token + 1) * cols]);
                        });
                    let mut out = Lines::zeroed(tokens * rows);
                    let seconds = (0..20)
                        .map(|_| {
                            let start = std::time::Instant::now();
                            matmul(
                                &workers,
                                isa,
                                &activations,
                                &mut [Product { weights: &weights, out: &mut out }],
                            );
                            start.elapsed().as_secs_f64()
                        })
                        .fold(f64::INFINITY, f64::min);
                    let rate = (rows * cols * tokens) as f64 / seconds * 1e-9;
                    eprintln!("{dtype:?} {isa:?} {tokens} tokens: {rate:.1} GMAC/s");
                }
            }
        }
    }
}
