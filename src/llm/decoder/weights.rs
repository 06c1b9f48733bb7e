//! Which tensors a decoder has, by name and shape: an open GGUF in, matrices and vectors of any kind out.
//!
//! Both decoders read their weights here, each through its own two functions. Limit: gated feed-forward
//! layers.

use super::Config;
use crate::llm::LlmError;
use crate::llm::gguf::Gguf;

/// One transformer block. `M` is a matrix (rows, columns), `V` a vector.
pub(crate) struct Layer<M, V> {
    pub(crate) attention_norm: V,
    pub(crate) query: M,
    pub(crate) key: M,
    pub(crate) value: M,
    /// Of queries, keys, values.
    pub(crate) biases: Option<[V; 3]>,
    pub(crate) output: M,
    pub(crate) feed_forward_norm: V,
    pub(crate) gate: M,
    pub(crate) up: M,
    pub(crate) down: M,
}

/// A model without its embedding table, which is looked up rather than multiplied.
pub(crate) struct Weights<M, V> {
    pub(crate) layers: Vec<Layer<M, V>>,
    pub(crate) output_norm: V,
    /// (vocabulary, hidden); the embedding table where the file has no `output.weight`.
    pub(crate) head: M,
}

impl<M, V> Weights<M, V> {
    /// Reads every tensor with `matrix(name, rows, columns)` and `vector(name, length)`.
    pub(crate) fn load(
        gguf: &Gguf,
        config: &Config,
        matrix: &mut dyn FnMut(&str, usize, usize) -> Result<M, LlmError>,
        vector: &mut dyn FnMut(&str, usize) -> Result<V, LlmError>,
    ) -> Result<Weights<M, V>, LlmError> {
        let Config { hidden, feed_forward, vocabulary, .. } = *config;
        let (queries, keys) = (config.heads * config.head_dim, config.key_heads * config.head_dim);
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let name = |part: &str| format!("blk.{index}.{part}");
            let biases = if config.traits.qkv_bias {
                Some([
                    vector(&name("attn_q.bias"), queries)?,
                    vector(&name("attn_k.bias"), keys)?,
                    vector(&name("attn_v.bias"), keys)?,
                ])
            } else {
                None
            };
            layers.push(Layer {
                attention_norm: vector(&name("attn_norm.weight"), hidden)?,
                query: matrix(&name("attn_q.weight"), queries, hidden)?,
                key: matrix(&name("attn_k.weight"), keys, hidden)?,
                value: matrix(&name("attn_v.weight"), keys, hidden)?,
                biases,
                output: matrix(&name("attn_output.weight"), hidden, queries)?,
                feed_forward_norm: vector(&name("ffn_norm.weight"), hidden)?,
                gate: matrix(&name("ffn_gate.weight"), feed_forward, hidden)?,
                up: matrix(&name("ffn_up.weight"), feed_forward, hidden)?,
                down: matrix(&name("ffn_down.weight"), hidden, feed_forward)?,
            });
        }
        let head = if gguf.has("output.weight") { "output.weight" } else { "token_embd.weight" };
        Ok(Weights {
            layers,
            output_norm: vector("output_norm.weight", hidden)?,
            head: matrix(head, vocabulary, hidden)?,
        })
    }
}
