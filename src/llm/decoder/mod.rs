//! Decoder-only transformers: spans of tokens in, logits out, keys and values kept per slot.
//!
//! What differs between architectures is data ([`Config`]), read from GGUF metadata. Two implementations:
//! `cpu` (own kernels) and `accelerator` (candle tensors, for CUDA). Limit: qwen2; others are added to
//! `ARCHITECTURES` with their parity test.

mod accelerator;
mod cpu;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

pub(crate) use accelerator::AcceleratorDecoder;
pub(crate) use cpu::CpuDecoder;

use super::gguf::Gguf;
use crate::llm::LlmError;

/// Architectures with a decoder here, and what sets each apart.
const ARCHITECTURES: [(&str, Traits); 1] = [("qwen2", Traits { qkv_bias: true })];

/// What GGUF metadata does not say about an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Biases on queries, keys and values.
    pub(crate) qkv_bias: bool,
}

/// Hyper-parameters of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) traits: Traits,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    /// Key and value heads; each serves `heads / key_heads` query heads.
    pub(crate) key_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) rope_base: f64,
}

/// Consecutive tokens that are appended to one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) slot: usize,
    pub(crate) tokens: &'a [u32],
    /// After how many of the tokens, the last ones, logits are wanted.
    pub(crate) logits: usize,
}

/// A model that continues rows of tokens.
pub(crate) trait Decoder: Send {
    /// Appends each span to its slot (distinct slots) and writes to `logits`, (sum of `Span::logits`,
    /// vocabulary), the wanted ones in order.
    fn forward(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), candle_core::Error>;
    /// Forgets all but the first `len` positions of a slot.
    fn truncate(&mut self, slot: usize, len: usize);
    /// Makes slot `to` start with the first `len` positions of slot `from`, and nothing else.
    fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<(), candle_core::Error>;
    /// Memory of the weights.
    fn weights_bytes(&self) -> usize;
}

/// Names of the supported architectures.
pub(crate) fn supported() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name).collect()
}

impl Config {
    /// Reads and checks the metadata.
    pub(crate) fn read(gguf: &Gguf) -> Result<Config, LlmError> {
        let name = gguf.architecture()?;
        let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
        let (_, traits) = known.ok_or_else(|| LlmError::Architecture {
            path: gguf.path().to_owned(),
            architecture: name.to_owned(),
            supported: supported().join(", "),
        })?;
        let integer = |key: &str| {
            let key = format!("{name}.{key}");
            gguf.integer(&key).filter(|value| (1..=1 << 24).contains(value)).ok_or_else(|| {
                gguf.error(format!("metadata `{key}` is missing or not a sensible whole number"))
            })
        };
        let float = |key: &str| gguf.float(&format!("{name}.{key}"));
        let embedding = gguf.content().tensor_infos.get("token_embd.weight");
        let embedding = embedding.ok_or_else(|| gguf.error("tensor `token_embd.weight` is missing"))?;
        let vocabulary = embedding.shape.dims().first().copied().unwrap_or(0);
        let (hidden, heads) = (integer("embedding_length")?, integer("attention.head_count")?);
        let config = Config {
            traits: *traits,
            layers: integer("block_count")?,
            hidden,
            feed_forward: integer("feed_forward_length")?,
            heads,
            key_heads: integer("attention.head_count_kv").unwrap_or(heads),
            head_dim: integer("attention.key_length").unwrap_or(hidden / heads),
            vocabulary,
            context: integer("context_length")?,
            epsilon: float("attention.layer_norm_rms_epsilon").ok_or_else(|| {
                gguf.error(format!("metadata `{name}.attention.layer_norm_rms_epsilon` is missing"))
            })? as f32,
            rope_base: float("rope.freq_base").unwrap_or(10_000.0),
        };
        let Config { heads, key_heads, head_dim, .. } = config;
        if heads % key_heads != 0 || head_dim == 0 || head_dim % 16 != 0 || vocabulary == 0 {
            return Err(gguf.error(format!(
                "{heads} heads, {key_heads} key heads, head width {head_dim} (a multiple of 16) and \
                 {vocabulary} tokens do not make a model"
            )));
        }
        Ok(config)
    }

    /// Bytes of keys and values per position, in f32.
    pub(crate) fn cache_bytes_per_token(&self) -> usize {
        self.layers * 2 * self.key_heads * self.head_dim * size_of::<f32>()
    }

    /// Rotary angles' (cosine, sine) at `position`, `head_dim / 2` each.
    pub(crate) fn rotations(&self, position: usize) -> impl Iterator<Item = (f32, f32)> {
        let (half, base) = (self.head_dim / 2, self.rope_base);
        (0..half).map(move |i| {
            // The frequency is rounded to f32 and the angle kept in f64.
            let frequency = f64::from(base.powf(-(i as f64) / half as f64) as f32);
            let angle = position as f64 * frequency;
            (angle.cos() as f32, angle.sin() as f32)
        })
    }
}
