//! Which type each tensor of a converted file gets: a recipe's name and a tensor's name and shape in, a ggml
//! type out.
//!
//! Vectors, norms and routers stay f32. The k-quant recipes are llama.cpp's: some layers' values and down
//! projections, and the head, get Q6_K. Rows that are not whole blocks of 256 take the nearest type with
//! blocks of 32, and f16 below that. Limit: no importance matrix.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// Names of the recipes.
pub(super) const RECIPES: [&str; 10] =
    ["f32", "f16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q5_0", "q4_k_m", "q4_1", "q4_0"];

/// A way to choose types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    /// Most matrices.
    base: GgmlDType,
    /// The head and the sensitive ones.
    better: GgmlDType,
    /// Whether some layers' `attn_v` and `ffn_down` get the better type.
    mixed: bool,
}

impl Recipe {
    /// The recipe of this name.
    pub(super) fn named(name: &str) -> Option<Recipe> {
        let recipe = |base, better, mixed| Some(Recipe { base, better, mixed });
        match name.to_ascii_lowercase().as_str() {
            "f32" => recipe(GgmlDType::F32, GgmlDType::F32, false),
            "f16" => recipe(GgmlDType::F16, GgmlDType::F16, false),
            "q8_0" => recipe(GgmlDType::Q8_0, GgmlDType::Q8_0, false),
            "q6_k" => recipe(GgmlDType::Q6K, GgmlDType::Q6K, false),
            "q5_k_m" => recipe(GgmlDType::Q5K, GgmlDType::Q6K, true),
            "q5_1" => recipe(GgmlDType::Q5_1, GgmlDType::Q6K, false),
            "q5_0" => recipe(GgmlDType::Q5_0, GgmlDType::Q6K, false),
            "q4_k_m" => recipe(GgmlDType::Q4K, GgmlDType::Q6K, true),
            "q4_1" => recipe(GgmlDType::Q4_1, GgmlDType::Q6K, false),
            "q4_0" => recipe(GgmlDType::Q4_0, GgmlDType::Q6K, false),
            _ => None,
        }
    }

    /// The type of one tensor; the flag says whether its rows forced another than the recipe's.
    pub(super) fn dtype(&self, name: &str, shape: &[usize], layers: usize) -> (GgmlDType, bool) {
        let ([_, cols] | [_, _, cols]) = shape else { return (GgmlDType::F32, false) };
        // A router is small, and another expert is another result.
        if name.ends_with("ffn_gate_inp.weight") {
            return (GgmlDType::F32, false);
        }
        let mixed = ["attn_v.weight", "ffn_down.weight", "ffn_down_exps.weight"];
        let sensitive = match name {
            "output.weight" => true,
            _ if self.mixed && mixed.iter().any(|end| name.ends_with(end)) => {
                let number = name.trim_start_matches("blk.").split('.').next();
                number
                    .and_then(|number| number.parse().ok())
                    .is_some_and(|layer| gets_more_bits(layer, layers))
            }
            _ => false,
        };
        let mut wanted = if sensitive { self.better } else { self.base };
        let first = wanted;
        while cols % wanted.block_size() != 0 {
            wanted = match wanted {
                GgmlDType::Q4K => GgmlDType::Q5_0,
                GgmlDType::Q5K | GgmlDType::Q6K => GgmlDType::Q8_0,
                _ => GgmlDType::F16,
            };
        }
        (wanted, wanted != first)
    }
}

/// The first and last eighth of the layers, and every third between them.
fn gets_more_bits(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// Bytes of a tensor of this type.
pub(super) fn size(dtype: GgmlDType, shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))?;
    (count / dtype.block_size()).checked_mul(dtype.type_size())
}

/// Encodes whole rows of `cols` values.
pub(super) fn encode(dtype: GgmlDType, values: Vec<f32>, cols: usize) -> Result<Vec<u8>, candle_core::Error> {
    if dtype == GgmlDType::F32 {
        return Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    let rows = values.len() / cols;
    let tensor = QTensor::quantize(&Tensor::from_vec(values, (rows, cols), &Device::Cpu)?, dtype)?;
    Ok(tensor.data()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{GgmlDType, RECIPES, Recipe, gets_more_bits};

    #[test]
    fn k_quants_fall_back_where_rows_are_not_whole_blocks_of_256() {
        let recipe = Recipe::named("Q4_K_M").unwrap();
        assert_eq!(recipe.dtype("blk.3.ffn_up.weight", &[8, 512], 8), (GgmlDType::Q4K, false));
        assert_eq!(recipe.dtype("blk.3.ffn_up.weight", &[8, 96], 8), (GgmlDType::Q5_0, true));
        assert_eq!(recipe.dtype("output.weight", &[8, 96], 8), (GgmlDType::Q8_0, true));
        assert_eq!(recipe.dtype("blk.3.ffn_up.weight", &[8, 40], 8), (GgmlDType::F16, true));
        assert_eq!(recipe.dtype("blk.0.attn_norm.weight", &[512], 8), (GgmlDType::F32, false));
    }

    #[test]
    fn the_mixed_recipes_give_more_bits_to_some_layers() {
        let recipe = Recipe::named("q5_k_m").unwrap();
        assert_eq!(recipe.dtype("blk.0.attn_v.weight", &[8, 512], 8).0, GgmlDType::Q6K);
        assert_eq!(recipe.dtype("blk.1.attn_v.weight", &[8, 512], 8).0, GgmlDType::Q5K);
        let better: Vec<usize> = (0..24).filter(|layer| gets_more_bits(*layer, 24)).collect();
        assert_eq!(better, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
    }

    #[test]
    fn every_recipe_has_its_name() {
        assert!(RECIPES.iter().all(|name| Recipe::named(name).is_some()));
        assert!(Recipe::named("q3_k").is_none());
    }
}
