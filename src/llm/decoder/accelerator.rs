//! The decoder on an accelerator: candle tensors and quantized products, one attention call per span.
//!
//! In: spans of tokens. Out: logits. The layer sequence is `cpu`'s; products and softmax are candle's, so
//! rows may differ in the last bits with what shares their step. Tested on candle's CPU device; not yet run
//! on CUDA. Limit: each slot's cache is allocated whole, at the loaded context.

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Error, Module, Tensor};
use candle_nn::ops::{layer_norm, rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};

use super::weights::{Layer, Linear, Norm, Weights};
use super::{Activation, Config, Decoder, RopePairs, Span};
use crate::llm::gguf::Gguf;
use crate::llm::{LlmError, Work};

/// Keys and values of one slot and layer: (key heads, context, dim).
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

struct Slot {
    len: usize,
    /// Allocated when the slot is first used.
    layers: Vec<LayerCache>,
}

/// A model in a device's memory.
pub(crate) struct AcceleratorDecoder {
    config: Config,
    device: Device,
    /// Positions per slot.
    context: usize,
    embedding: QTensor,
    weights: Weights<QMatMul, Tensor>,
    slots: Vec<Slot>,
    /// (context, rotated dims / 2)
    cosines: Tensor,
    sines: Tensor,
    weights_bytes: usize,
    work: Work,
}

impl AcceleratorDecoder {
    /// Copies the weights of an open file to `device`.
    pub(crate) fn load(
        gguf: &Gguf,
        config: Config,
        device: &Device,
        context: usize,
        slots: usize,
    ) -> Result<AcceleratorDecoder, LlmError> {
        let mut weights_bytes = 0;
        let fault = |name: &str, error: Error| gguf.error(format!("tensor `{name}`: {error}"));
        let mut quantized = |name: &str, rows: usize, cols: usize| {
            let tensor = gguf.tensor(name, &[rows, cols])?;
            weights_bytes += tensor.bytes().len();
            qtensor_from_ggml(tensor.dtype, tensor.bytes(), tensor.shape.clone(), device)
                .map_err(|error| fault(name, error))
        };
        let embedding = quantized("token_embd.weight", config.vocabulary, config.hidden)?;
        let table_bytes = embedding.storage_size_in_bytes();
        let mut products = 0;
        let mut matrix = |name: &str, rows: usize, cols: usize| {
            products += (rows * cols) as u64;
            QMatMul::from_qtensor(quantized(name, rows, cols)?).map_err(|error| fault(name, error))
        };
        let mut vector = |name: &str, len: usize| {
            Tensor::from_vec(gguf.vector(name, len)?, len, device).map_err(|error| fault(name, error))
        };
        let weights = Weights::load(gguf, &config, &mut matrix, &mut vector)?;
        let head_products = (config.vocabulary * config.hidden) as u64;
        let (cosines, sines): (Vec<f32>, Vec<f32>) =
            (0..context).flat_map(|position| config.rotations(position)).unzip();
        let table = |values: Vec<f32>| {
            Tensor::from_vec(values, (context, config.rope_dims / 2), device)
                .map_err(|error| gguf.error(format!("rotary table: {error}")))
        };
        Ok(AcceleratorDecoder {
            cosines: table(cosines)?,
            sines: table(sines)?,
            slots: (0..slots).map(|_| Slot { len: 0, layers: Vec::new() }).collect(),
            device: device.clone(),
            context,
            embedding,
            weights,
            work: Work {
                bytes: (weights_bytes - table_bytes) as u64,
                products: products - head_products,
                head_products,
            },
            config,
            weights_bytes,
        })
    }

    fn allocate(&mut self, slot: usize) -> Result<(), Error> {
        let shape = (self.config.key_heads, self.context, self.config.head_dim);
        let slots = self.slots.len();
        let slot = self.slots.get_mut(slot).ok_or_else(|| Error::Msg(format!("slot {slot} of {slots}")))?;
        while slot.layers.len() < self.config.layers {
            slot.layers.push(LayerCache {
                keys: Tensor::zeros(shape, DType::F32, &self.device)?,
                values: Tensor::zeros(shape, DType::F32, &self.device)?,
            });
        }
        Ok(())
    }

    /// The output of the attention of one span: queries (1, tokens, heads * dim) in, the same shape out.
    fn attend(
        &self,
        index: usize,
        span: &Span<'_>,
        layer: &Layer<QMatMul, Tensor>,
        qkv: [Tensor; 3],
    ) -> Result<Tensor, Error> {
        let Config { heads, key_heads, head_dim, .. } = self.config;
        let (tokens, slot) = (span.tokens.len(), &self.slots[span.slot]);
        let start = slot.len;
        // (1, tokens, n * dim) -> (1, n, tokens, dim)
        let split = |x: &Tensor, n: usize| x.reshape((1, tokens, n, head_dim))?.transpose(1, 2)?.contiguous();
        let [queries, keys, values] = qkv;
        let (cosines, sines) = (self.cosines.narrow(0, start, tokens)?, self.sines.narrow(0, start, tokens)?);
        let norms = layer.head_norms.as_ref().map(|[query, key]| (query, key)).unzip();
        let turned = |x: &Tensor, norm: Option<&Tensor>| {
            let x = norm.map_or_else(|| Ok(x.clone()), |norm| rms_norm(x, norm, self.config.epsilon))?;
            self.rotate(&x, &cosines, &sines)
        };
        let queries = turned(&split(&queries, heads)?, norms.0)?;
        let keys = turned(&split(&keys, key_heads)?, norms.1)?.squeeze(0)?;
        let values = split(&values, key_heads)?.squeeze(0)?;
        let cache = &slot.layers[index];
        cache.keys.slice_set(&keys.contiguous()?, 1, start)?;
        cache.values.slice_set(&values.contiguous()?, 1, start)?;
        let positions = start + tokens;
        let keys = cache.keys.narrow(1, 0, positions)?.contiguous()?;
        let values = cache.values.narrow(1, 0, positions)?.contiguous()?;
        // The query heads of one key head are stacked: (key heads, group * tokens, dim).
        let group = heads / key_heads;
        let queries = queries.reshape((key_heads, group * tokens, head_dim))?;
        let scores = (queries.matmul(&keys.transpose(1, 2)?)? / (head_dim as f64).sqrt())?;
        let scores = if tokens == 1 {
            scores
        } else {
            let mask: Vec<f32> = (0..tokens)
                .flat_map(|t| {
                    (0..positions).map(move |p| if p > start + t { f32::NEG_INFINITY } else { 0.0 })
                })
                .collect();
            let mask = Tensor::from_vec(mask, (1, 1, tokens, positions), &self.device)?;
            let scores = scores.reshape((key_heads, group, tokens, positions))?.broadcast_add(&mask)?;
            scores.reshape((key_heads, group * tokens, positions))?
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        mixed.reshape((1, heads, tokens, head_dim))?.transpose(1, 2)?.reshape((1, tokens, heads * head_dim))
    }

    /// Rotary embedding of the first `rope_dims` dimensions: (1, heads, tokens, dim) in and out.
    fn rotate(&self, x: &Tensor, cosines: &Tensor, sines: &Tensor) -> Result<Tensor, Error> {
        let Config { head_dim, rope_dims, .. } = self.config;
        let turn = match self.config.traits.rope {
            RopePairs::Halves => rope,
            RopePairs::Neighbours => rope_i,
        };
        if rope_dims == head_dim {
            return turn(x, cosines, sines);
        }
        let turned = turn(&x.narrow(3, 0, rope_dims)?.contiguous()?, cosines, sines)?;
        Tensor::cat(&[turned, x.narrow(3, rope_dims, head_dim - rope_dims)?], 3)
    }

    fn norm(&self, x: &Tensor, norm: &Norm<Tensor>) -> Result<Tensor, Error> {
        match &norm.bias {
            Some(bias) => layer_norm(x, &norm.weight, bias, self.config.epsilon),
            None => rms_norm(x, &norm.weight, self.config.epsilon),
        }
    }

    fn norm_if(&self, x: Tensor, norm: Option<&Norm<Tensor>>) -> Result<Tensor, Error> {
        norm.map_or_else(|| Ok(x.clone()), |norm| self.norm(&x, norm))
    }

    /// One transformer block: (1, tokens, hidden) in and out.
    fn block(&self, index: usize, spans: &[Span<'_>], x: &Tensor) -> Result<Tensor, Error> {
        let layer = &self.weights.layers[index];
        let attention_input = self.norm(x, &layer.attention_norm)?;
        let [queries, keys, values] =
            [&layer.query, &layer.key, &layer.value].map(|linear| product(linear, &attention_input));
        let (queries, keys, values) = (queries?, keys?, values?);
        let mut first = 0;
        let mut mixed = Vec::with_capacity(spans.len());
        for span in spans {
            let part = |x: &Tensor| x.narrow(1, first, span.tokens.len());
            mixed.push(self.attend(index, span, layer, [part(&queries)?, part(&keys)?, part(&values)?])?);
            first += span.tokens.len();
        }
        let attended = product(&layer.output, &Tensor::cat(&mixed, 1)?.contiguous()?)?;
        let x = (x + self.norm_if(attended, layer.attention_post_norm.as_ref())?)?;
        let input = match &layer.feed_forward_norm {
            Some(norm) => self.norm(&x, norm)?,
            None => attention_input,
        };
        let up = product(&layer.up, &input)?;
        let inner = match &layer.gate {
            Some(gate) => (self.activate(&product(gate, &input)?)? * up)?,
            None => self.activate(&up)?,
        };
        x + self.norm_if(product(&layer.down, &inner)?, layer.feed_forward_post_norm.as_ref())?
    }

    fn activate(&self, x: &Tensor) -> Result<Tensor, Error> {
        match self.config.traits.activation {
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu(),
        }
    }
}

/// `x * weight^T + bias`
fn product(linear: &Linear<QMatMul, Tensor>, x: &Tensor) -> Result<Tensor, Error> {
    let out = linear.weight.forward(x)?;
    linear.bias.as_ref().map_or_else(|| Ok(out.clone()), |bias| out.broadcast_add(bias))
}

impl Decoder for AcceleratorDecoder {
    fn forward(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), Error> {
        logits.clear();
        let spans: Vec<Span<'_>> = spans.iter().copied().filter(|span| !span.tokens.is_empty()).collect();
        if spans.is_empty() {
            return Ok(());
        }
        for span in &spans {
            self.allocate(span.slot)?;
        }
        let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
        let count = tokens.len();
        let ids = Tensor::from_vec(tokens, count, &self.device)?;
        let mut x =
            self.embedding.embedding(&ids)?.to_dtype(DType::F32)?.reshape((1, count, self.config.hidden))?;
        for index in 0..self.weights.layers.len() {
            x = self.block(index, &spans, &x)?;
        }
        let mut end = 0;
        let mut last = Vec::new();
        for span in &spans {
            end += span.tokens.len();
            self.slots[span.slot].len += span.tokens.len();
            let wanted = span.logits.min(span.tokens.len());
            if wanted > 0 {
                last.push(x.narrow(1, end - wanted, wanted)?);
            }
        }
        if last.is_empty() {
            return Ok(());
        }
        let normed = self.norm(&Tensor::cat(&last, 1)?.contiguous()?, &self.weights.output_norm)?;
        *logits = product(&self.weights.head, &normed)?.flatten_all()?.to_vec1()?;
        Ok(())
    }

    fn truncate(&mut self, slot: usize, len: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.len = slot.len.min(len);
        }
    }

    fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<(), Error> {
        if from != to && len > 0 {
            self.allocate(from)?;
            self.allocate(to)?;
            for (source, target) in self.slots[from].layers.iter().zip(&self.slots[to].layers) {
                target.keys.slice_set(&source.keys.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
                target.values.slice_set(&source.values.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
            }
        }
        self.slots[to].len = len;
        Ok(())
    }

    fn weights_bytes(&self) -> usize {
        self.weights_bytes
    }

    fn work(&self) -> Work {
        self.work
    }
}
