//! Decoder-only transformers: spans of tokens in, logits out, keys and values kept per slot.
//!
//! What differs between architectures is data ([`Config`]), read from GGUF metadata. Two implementations:
//! `cpu` (own kernels) and `accelerator` (candle tensors, for CUDA). Limit: an architecture is added to
//! `ARCHITECTURES` together with its parity test.

mod accelerator;
mod cache;
mod cpu;
mod experts;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

pub(crate) use accelerator::AcceleratorDecoder;
pub(crate) use cpu::CpuDecoder;

use candle_core::quantized::GgmlDType;

use super::gguf::Gguf;
use crate::llm::{LlmError, Work};

/// What GGUF metadata does not say about an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) norm: NormKind,
    pub(crate) rope: RopePairs,
    pub(crate) activation: Activation,
    /// The feed-forward layer is `down(activation(gate(x)) * up(x))`, else `down(activation(up(x)))`.
    pub(crate) gated: bool,
    /// Attention and the feed-forward layer read the same normed input.
    pub(crate) parallel: bool,
    /// Queries and keys are normed within each head.
    pub(crate) head_norms: bool,
    /// What attention and the feed-forward layer give is normed before it is added.
    pub(crate) post_norms: bool,
    /// Embeddings are multiplied by the root of their width.
    pub(crate) scaled_embedding: bool,
    /// The feed-forward layer is chosen among several for each token.
    pub(crate) experts: bool,
    /// Most layers see the latest positions only.
    pub(crate) windowed: bool,
    /// Products that must have a bias.
    pub(crate) biases: &'static [&'static str],
}

/// How a vector is normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Divided by its root mean square.
    Rms,
    /// Mean 0 and variance 1, with a bias.
    Layer,
}

/// Which dimensions a rotary embedding turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopePairs {
    /// `i` and `i + dim / 2`.
    Halves,
    /// `2 i` and `2 i + 1`.
    Neighbours,
}

/// The feed-forward layer's non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// GELU's tanh form, `gelu_new` of transformers.
    Gelu,
}

/// Llama's layer: what most of the others change in one or two places.
const LLAMA: Traits = Traits {
    norm: NormKind::Rms,
    rope: RopePairs::Neighbours,
    activation: Activation::Silu,
    gated: true,
    parallel: false,
    head_norms: false,
    post_norms: false,
    scaled_embedding: false,
    experts: false,
    windowed: false,
    biases: &[],
};

/// Gemma 3: every sixth layer sees all positions, where the file does not say otherwise.
const GEMMA_PERIOD: usize = 6;
/// Layers of Gemma 3 27B.
const GEMMA_27B_LAYERS: usize = 62;

/// Architectures with a decoder here, and what sets each apart.
const ARCHITECTURES: [(&str, Traits); 7] = [
    (
        "codegen",
        Traits {
            norm: NormKind::Layer,
            activation: Activation::Gelu,
            gated: false,
            parallel: true,
            biases: &["ffn_up", "ffn_down", "output"],
            ..LLAMA
        },
    ),
    (
        "gemma3",
        Traits {
            rope: RopePairs::Halves,
            activation: Activation::Gelu,
            head_norms: true,
            post_norms: true,
            scaled_embedding: true,
            windowed: true,
            ..LLAMA
        },
    ),
    ("llama", LLAMA),
    ("qwen2", Traits { rope: RopePairs::Halves, biases: &["attn_q", "attn_k", "attn_v"], ..LLAMA }),
    ("qwen3", Traits { rope: RopePairs::Halves, head_norms: true, ..LLAMA }),
    ("qwen3moe", Traits { rope: RopePairs::Halves, head_norms: true, experts: true, ..LLAMA }),
    (
        "starcoder2",
        Traits {
            norm: NormKind::Layer,
            rope: RopePairs::Halves,
            activation: Activation::Gelu,
            gated: false,
            biases: &["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"],
            ..LLAMA
        },
    ),
];

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
    /// The first dimensions of each head, which are rotated.
    pub(crate) rope_dims: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) rope_base: f64,
    /// Positions are divided by it.
    pub(crate) rope_scale: f64,
    /// What the frequency of each pair of dimensions is divided by besides; empty: by nothing.
    pub(crate) rope_factors: Vec<f32>,
    /// Products of queries and keys are multiplied by it.
    pub(crate) attention_scale: f32,
    pub(crate) experts: Option<Experts>,
    pub(crate) window: Option<Window>,
}

/// The feed-forward layers of a block among which a router chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    /// How many of them a token uses.
    pub(crate) used: usize,
    /// Inner width of each.
    pub(crate) feed_forward: usize,
    /// Whether the weights of those used sum to 1.
    pub(crate) normalized: bool,
}

impl Experts {
    /// How much of `all` experts' work a token leaves out.
    pub(crate) fn idle(self, all: u64) -> u64 {
        all / self.count as u64 * (self.count - self.used) as u64
    }
}

/// Layers that see the latest positions only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    /// Positions, the token's own included.
    pub(crate) size: usize,
    /// Every layer of this number is one that sees all positions.
    pub(crate) period: usize,
    /// Rotary base of the layers with a window; their positions are not stretched.
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

/// Which tokens get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// All.
    Whole,
    /// Those of the last [`Decoder::narrow`], in its order; all before there was one.
    Narrow,
}

/// A model that continues rows of tokens.
pub(crate) trait Decoder: Send {
    /// Appends each span to its slot (distinct slots) and writes to `logits`, (sum of `Span::logits`, tokens of the
    /// head), the wanted ones in order.
    fn step(
        &mut self,
        spans: &[Span<'_>],
        head: Head,
        logits: &mut Vec<f32>,
    ) -> Result<(), candle_core::Error>;
    /// A step with the logits of all tokens.
    fn forward(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), candle_core::Error> {
        self.step(spans, Head::Whole, logits)
    }
    /// Says which tokens [`Head::Narrow`] is about. Their logits are those of the whole head, to the bit on the CPU.
    fn narrow(&mut self, tokens: &[u32]) -> Result<(), candle_core::Error>;
    /// Makes it so many slots, but not fewer than there are.
    fn grow(&mut self, slots: usize);
    /// Forgets all but the first `len` positions of a slot.
    fn truncate(&mut self, slot: usize, len: usize);
    /// Makes slot `to` start with the first `len` positions of slot `from`, and nothing else.
    fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<(), candle_core::Error>;
    /// Memory of the weights.
    fn weights_bytes(&self) -> usize;
    /// What a token costs.
    fn work(&self) -> Work;
    /// What a step costs beyond its tokens, in tokens: reading the weights, mostly.
    fn overhead(&self) -> f64;
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
        let vocabulary = gguf.shape("token_embd.weight")?.first().copied().unwrap_or(0);
        let (hidden, heads) = (integer("embedding_length")?, integer("attention.head_count")?);
        let head_dim = integer("attention.key_length").unwrap_or(hidden / heads);
        let epsilon = match traits.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let experts = match traits.experts {
            true => Some(Experts {
                count: integer("expert_count")?,
                used: integer("expert_used_count")?,
                feed_forward: integer("expert_feed_forward_length")?,
                normalized: gguf.boolean(&format!("{name}.expert_weights_norm")).unwrap_or(true),
            }),
            false => None,
        };
        let window = match traits.windowed {
            true => Some(Window {
                size: integer("attention.sliding_window")?,
                period: integer("attention.sliding_window_pattern").unwrap_or(GEMMA_PERIOD),
                rope_base: float("rope.freq_base_swa").unwrap_or(10_000.0),
            }),
            false => None,
        };
        let layers = integer("block_count")?;
        let rope_dims = integer("rope.dimension_count").unwrap_or(head_dim);
        // llama.cpp's files do not say it: the 27B alone has heads that are wider than its scale.
        let scale_width =
            if name == "gemma3" && layers == GEMMA_27B_LAYERS { hidden / heads } else { head_dim };
        let attention_scale =
            float("attention.scale").unwrap_or_else(|| 1.0 / (scale_width as f64).sqrt()) as f32;
        let config = Config {
            traits: *traits,
            layers,
            hidden,
            feed_forward: match experts {
                Some(experts) => experts.feed_forward,
                None => integer("feed_forward_length")?,
            },
            heads,
            key_heads: integer("attention.head_count_kv").unwrap_or(heads),
            head_dim,
            rope_dims,
            vocabulary,
            context: integer("context_length")?,
            epsilon: float(epsilon).ok_or_else(|| {
                gguf.error(format!("metadata `{name}.{epsilon}` is missing or not a number"))
            })? as f32,
            rope_base: float("rope.freq_base").unwrap_or(10_000.0),
            rope_scale: config_rope_scale(gguf, name)?,
            rope_factors: config_rope_factors(gguf, name, rope_dims)?,
            attention_scale,
            experts,
            window,
        };
        config.check().map_err(|reason| gguf.error(reason))?;
        Ok(config)
    }

    /// Whether the numbers go together.
    fn check(&self) -> Result<(), String> {
        let Config { heads, key_heads, head_dim, rope_dims, vocabulary, epsilon, .. } = *self;
        if heads % key_heads != 0 || head_dim == 0 || head_dim % 16 != 0 || vocabulary == 0 {
            return Err(format!(
                "{heads} heads, {key_heads} key heads, head width {head_dim} (a multiple of 16) and \
                 {vocabulary} tokens do not make a model"
            ));
        }
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            return Err(format!("{rope_dims} rotated dimensions, expected an even part of {head_dim}"));
        }
        if !(epsilon >= 0.0 && epsilon.is_finite() && self.rope_base > 0.0 && self.rope_base.is_finite()) {
            let base = self.rope_base;
            return Err(format!("norm epsilon {epsilon} or rotary base {base} is not a sensible number"));
        }
        if !(self.attention_scale > 0.0 && self.attention_scale.is_finite()) {
            return Err(format!("attention scale {} is not a sensible number", self.attention_scale));
        }
        if let Some(Experts { count, used, .. }) = self.experts
            && used > count
        {
            return Err(format!("{used} experts are used, there are {count}"));
        }
        if let Some(Window { rope_base, .. }) = self.window
            && !(rope_base > 0.0 && rope_base.is_finite())
        {
            return Err(format!("rotary base {rope_base} of the window is not a sensible number"));
        }
        Ok(())
    }

    /// Whether the CPU caches keys and values in f32: where the model computes them in f32.
    pub(crate) fn caches_single(&self, gguf: &Gguf) -> bool {
        gguf.dtype("blk.0.attn_k.weight") == Some(GgmlDType::F32)
    }

    /// Bytes of keys and values per position, of numbers of `size` bytes.
    pub(crate) fn cache_bytes_per_token(&self, size: usize) -> usize {
        self.layers * 2 * self.key_heads * self.head_dim * size
    }

    /// How many positions layer `index` sees, where it does not see all.
    pub(crate) fn window_of(&self, index: usize) -> Option<usize> {
        self.window.filter(|window| !(index + 1).is_multiple_of(window.period)).map(|window| window.size)
    }

    /// Rotary angles' (cosine, sine) at `position`, `rope_dims / 2` each, of layers that see all positions.
    pub(crate) fn rotations(&self, position: usize) -> impl Iterator<Item = (f32, f32)> {
        self.angles(position, self.rope_base, self.rope_scale, &self.rope_factors)
    }

    /// As [`Config::rotations`], of layers with a window; none where there are no such layers.
    pub(crate) fn window_rotations(&self, position: usize) -> impl Iterator<Item = (f32, f32)> {
        self.window.into_iter().flat_map(move |window| self.angles(position, window.rope_base, 1.0, &[]))
    }

    fn angles<'a>(
        &self,
        position: usize,
        base: f64,
        scale: f64,
        factors: &'a [f32],
    ) -> impl Iterator<Item = (f32, f32)> + use<'a> {
        let half = self.rope_dims / 2;
        (0..half).map(move |i| {
            let factor = factors.get(i).copied().map_or(1.0, f64::from);
            // The frequency is rounded to f32 and the angle kept in f64.
            let frequency = f64::from((base.powf(-(i as f64) / half as f64) / scale / factor) as f32);
            let angle = position as f64 * frequency;
            (angle.cos() as f32, angle.sin() as f32)
        })
    }
}

/// By how much positions are stretched; only linear stretching is known. A factor without a type is linear, and
/// 0 is none, as in llama.cpp.
fn config_rope_scale(gguf: &Gguf, name: &str) -> Result<f64, LlmError> {
    let kind = gguf.string(&format!("{name}.rope.scaling.type"));
    let key = format!("{name}.rope.scaling.factor");
    // The older name of the same.
    let factor = gguf.float(&key).or_else(|| gguf.float(&format!("{name}.rope.scale_linear")));
    match kind {
        Some("none") => Ok(1.0),
        None if factor.is_none_or(|factor| factor == 0.0) => Ok(1.0),
        None | Some("linear") => {
            let factor = factor.filter(|factor| *factor >= 1.0 && factor.is_finite());
            factor.ok_or_else(|| gguf.error(format!("metadata `{key}` is missing or not at least 1")))
        }
        Some(other) => Err(gguf
            .error(format!("metadata `{name}.rope.scaling.type` is `{other}`, expected `none` or `linear`"))),
    }
}

/// How Llama 3.1 and later stretch positions: a factor for each pair of dimensions, which their files have as a
/// tensor.
fn config_rope_factors(gguf: &Gguf, name: &str, dims: usize) -> Result<Vec<f32>, LlmError> {
    const TENSOR: &str = "rope_freqs.weight";
    if !gguf.has(TENSOR) {
        return Ok(Vec::new());
    }
    if name != "llama" {
        return Err(gguf.error(format!("tensor `{TENSOR}` is not known of architecture `{name}`")));
    }
    let factors = gguf.vector(TENSOR, dims / 2)?;
    match factors.iter().find(|factor| !(**factor > 0.0 && factor.is_finite())) {
        Some(factor) => {
            Err(gguf.error(format!("tensor `{TENSOR}` holds {factor}, expected numbers above 0")))
        }
        None => Ok(factors),
    }
}
