//! Which tensors a decoder has, by name and shape: an open GGUF in, matrices and vectors of any kind out.
//!
//! Both decoders read their weights here, each through its own two functions. What an architecture must have
//! is in its [`Traits`](super::Traits); a bias that it need not have is used where the file holds one. Experts
//! are stored as one tensor (experts, rows, columns) and read one by one. Limit: all blocks of a model are of
//! one kind.

use super::Config;
use crate::llm::LlmError;
use crate::llm::gguf::{Gguf, RawTensor};

/// A norm's weight, and its bias where it has one.
pub(crate) struct Norm<V> {
    pub(crate) weight: V,
    pub(crate) bias: Option<V>,
}

/// `x * weight^T + bias`
pub(crate) struct Linear<M, V> {
    /// (outputs, inputs)
    pub(crate) weight: M,
    pub(crate) bias: Option<V>,
}

/// One transformer block. `M` is a matrix (rows, columns), `V` a vector.
pub(crate) struct Layer<M, V> {
    pub(crate) attention_norm: Norm<V>,
    pub(crate) query: Linear<M, V>,
    pub(crate) key: Linear<M, V>,
    pub(crate) value: Linear<M, V>,
    /// Of each head's queries and keys, before they are rotated.
    pub(crate) head_norms: Option<[V; 2]>,
    pub(crate) output: Linear<M, V>,
    pub(crate) attention_post_norm: Option<Norm<V>>,
    /// `None`: the feed-forward layer reads what attention reads, beside it.
    pub(crate) feed_forward_norm: Option<Norm<V>>,
    /// (experts, hidden): says which experts a token uses.
    pub(crate) router: Option<Linear<M, V>>,
    /// One where there is no router.
    pub(crate) experts: Vec<Expert<M, V>>,
    pub(crate) feed_forward_post_norm: Option<Norm<V>>,
}

/// One feed-forward layer.
pub(crate) struct Expert<M, V> {
    /// `None`: not gated.
    pub(crate) gate: Option<Linear<M, V>>,
    pub(crate) up: Linear<M, V>,
    pub(crate) down: Linear<M, V>,
}

/// A model without its embedding table, which is looked up rather than multiplied.
pub(crate) struct Weights<M, V> {
    pub(crate) layers: Vec<Layer<M, V>>,
    pub(crate) output_norm: Norm<V>,
    /// (vocabulary, hidden); the embedding table where the file has no `output.weight`.
    pub(crate) head: Linear<M, V>,
}

type ReadMatrix<'a, M> = &'a mut dyn FnMut(&str, &RawTensor) -> Result<M, LlmError>;
type ReadVector<'a, V> = &'a mut dyn FnMut(&str, usize) -> Result<V, LlmError>;

impl<M, V> Weights<M, V> {
    /// Reads every tensor with `matrix(name, (rows, columns))` and `vector(name, length)`.
    pub(crate) fn load(
        gguf: &Gguf,
        config: &Config,
        matrix: ReadMatrix<'_, M>,
        vector: ReadVector<'_, V>,
    ) -> Result<Weights<M, V>, LlmError> {
        let mut reader = Reader { gguf, config, matrix, vector };
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(reader.layer(index)?);
        }
        let Config { hidden, vocabulary, .. } = *config;
        let output_norm = reader.norm("", "output_norm")?;
        Ok(Weights { layers, output_norm, head: reader.linear("", head_name(gguf), vocabulary, hidden)? })
    }
}

/// The output head's tensor, without `.weight`.
pub(crate) fn head_name(gguf: &Gguf) -> &'static str {
    if gguf.has("output.weight") { "output" } else { "token_embd" }
}

impl<M, V> Layer<M, V> {
    /// Its matrices.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &M> {
        let attention = [&self.query, &self.key, &self.value, &self.output].into_iter();
        let experts = self.experts.iter().flat_map(Expert::linears);
        attention.chain(&self.router).chain(experts).map(|linear| &linear.weight)
    }

    /// Those among its matrices of which a token uses some.
    pub(crate) fn routed_matrices(&self) -> impl Iterator<Item = &M> {
        let experts = self.router.iter().flat_map(|_| &self.experts);
        experts.flat_map(Expert::linears).map(|linear| &linear.weight)
    }
}

impl<M, V> Expert<M, V> {
    fn linears(&self) -> impl Iterator<Item = &Linear<M, V>> {
        [&self.up, &self.down].into_iter().chain(&self.gate)
    }
}

struct Reader<'a, M, V> {
    gguf: &'a Gguf,
    config: &'a Config,
    matrix: ReadMatrix<'a, M>,
    vector: ReadVector<'a, V>,
}

impl<M, V> Reader<'_, M, V> {
    fn layer(&mut self, index: usize) -> Result<Layer<M, V>, LlmError> {
        let Config { hidden, heads, key_heads, head_dim, traits, experts, .. } = *self.config;
        let (queries, keys) = (heads * head_dim, key_heads * head_dim);
        let block = format!("blk.{index}.");
        Ok(Layer {
            attention_norm: self.norm(&block, "attn_norm")?,
            query: self.linear(&block, "attn_q", queries, hidden)?,
            key: self.linear(&block, "attn_k", keys, hidden)?,
            value: self.linear(&block, "attn_v", keys, hidden)?,
            head_norms: match traits.head_norms {
                true => Some([
                    (self.vector)(&format!("{block}attn_q_norm.weight"), head_dim)?,
                    (self.vector)(&format!("{block}attn_k_norm.weight"), head_dim)?,
                ]),
                false => None,
            },
            output: self.linear(&block, "attn_output", hidden, queries)?,
            attention_post_norm: self.norm_if(traits.post_norms, &block, "post_attention_norm")?,
            feed_forward_norm: self.norm_if(!traits.parallel, &block, "ffn_norm")?,
            router: match experts {
                Some(experts) => Some(self.linear(&block, "ffn_gate_inp", experts.count, hidden)?),
                None => None,
            },
            experts: self.experts(&block)?,
            feed_forward_post_norm: self.norm_if(traits.post_norms, &block, "post_ffw_norm")?,
        })
    }

    fn experts(&mut self, block: &str) -> Result<Vec<Expert<M, V>>, LlmError> {
        let Config { hidden, feed_forward, traits, experts, .. } = *self.config;
        let Some(experts) = experts else {
            let gate = match traits.gated {
                true => Some(self.linear(block, "ffn_gate", feed_forward, hidden)?),
                false => None,
            };
            let up = self.linear(block, "ffn_up", feed_forward, hidden)?;
            return Ok(vec![Expert {
                gate,
                up,
                down: self.linear(block, "ffn_down", hidden, feed_forward)?,
            }]);
        };
        let mut all = Vec::new();
        for index in 0..experts.count {
            let mut part = |part: &str, rows: usize, cols: usize| -> Result<Linear<M, V>, LlmError> {
                let name = format!("{block}{part}.weight");
                let tensor = self.gguf.tensor(&name, &[experts.count, rows, cols])?.part(index);
                Ok(Linear { weight: (self.matrix)(&name, &tensor)?, bias: None })
            };
            let gate = part("ffn_gate_exps", feed_forward, hidden)?;
            let up = part("ffn_up_exps", feed_forward, hidden)?;
            all.push(Expert { gate: Some(gate), up, down: part("ffn_down_exps", hidden, feed_forward)? });
        }
        Ok(all)
    }

    fn norm(&mut self, block: &str, part: &str) -> Result<Norm<V>, LlmError> {
        let hidden = self.config.hidden;
        let weight = (self.vector)(&format!("{block}{part}.weight"), hidden)?;
        let bias = match self.config.traits.norm {
            super::NormKind::Layer => Some((self.vector)(&format!("{block}{part}.bias"), hidden)?),
            super::NormKind::Rms => None,
        };
        Ok(Norm { weight, bias })
    }

    fn norm_if(&mut self, wanted: bool, block: &str, part: &str) -> Result<Option<Norm<V>>, LlmError> {
        if wanted { self.norm(block, part).map(Some) } else { Ok(None) }
    }

    fn linear(
        &mut self,
        block: &str,
        part: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Linear<M, V>, LlmError> {
        let name = format!("{block}{part}.weight");
        let weight = (self.matrix)(&name, &self.gguf.tensor(&name, &[rows, cols])?)?;
        let name = format!("{block}{part}.bias");
        let wanted = self.config.traits.biases.contains(&part) || self.gguf.has(&name);
        let bias = if wanted { Some((self.vector)(&name, rows)?) } else { None };
        Ok(Linear { weight, bias })
    }
}
