//! The decoder on an accelerator: candle tensors and quantized products, one attention call per span.
//!
//! In: spans of tokens. Out: logits. The layer sequence is `cpu`'s; products and softmax are candle's, so
//! rows may differ in the last bits with what shares their step. Tested on candle's CPU device; not yet run
//! on CUDA. Limit: each slot's cache is allocated whole, at the loaded context.

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Error, Module, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};

use super::weights::Weights;
use super::{Config, Decoder, Span};
use crate::llm::LlmError;
use crate::llm::gguf::Gguf;

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
    /// (context, dim / 2)
    cosines: Tensor,
    sines: Tensor,
    weights_bytes: usize,
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
        let mut matrix = |name: &str, rows: usize, cols: usize| {
            QMatMul::from_qtensor(quantized(name, rows, cols)?).map_err(|error| fault(name, error))
        };
        let mut vector = |name: &str, len: usize| {
            Tensor::from_vec(gguf.vector(name, len)?, len, device).map_err(|error| fault(name, error))
        };
        let weights = Weights::load(gguf, &config, &mut matrix, &mut vector)?;
        let (cosines, sines): (Vec<f32>, Vec<f32>) =
            (0..context).flat_map(|position| config.rotations(position)).unzip();
        let table = |values: Vec<f32>| {
            Tensor::from_vec(values, (context, config.head_dim / 2), device)
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
    fn attend(&self, index: usize, span: &Span<'_>, qkv: [Tensor; 3]) -> Result<Tensor, Error> {
        let Config { heads, key_heads, head_dim, .. } = self.config;
        let (tokens, slot) = (span.tokens.len(), &self.slots[span.slot]);
        let start = slot.len;
        // (1, tokens, n * dim) -> (1, n, tokens, dim)
        let split = |x: &Tensor, n: usize| x.reshape((1, tokens, n, head_dim))?.transpose(1, 2)?.contiguous();
        let [queries, keys, values] = qkv;
        let (cosines, sines) = (self.cosines.narrow(0, start, tokens)?, self.sines.narrow(0, start, tokens)?);
        let queries = candle_nn::rotary_emb::rope(&split(&queries, heads)?, &cosines, &sines)?;
        let keys = candle_nn::rotary_emb::rope(&split(&keys, key_heads)?, &cosines, &sines)?.squeeze(0)?;
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

    /// One transformer block: (1, tokens, hidden) in and out.
    fn block(&self, index: usize, spans: &[Span<'_>], x: &Tensor) -> Result<Tensor, Error> {
        let (layer, epsilon) = (&self.weights.layers[index], self.config.epsilon);
        let normed = rms_norm(x, &layer.attention_norm, epsilon)?;
        let mut qkv =
            [layer.query.forward(&normed)?, layer.key.forward(&normed)?, layer.value.forward(&normed)?];
        if let Some(biases) = &layer.biases {
            for (x, bias) in qkv.iter_mut().zip(biases) {
                *x = x.broadcast_add(bias)?;
            }
        }
        let mut first = 0;
        let mut mixed = Vec::with_capacity(spans.len());
        for span in spans {
            let [q, k, v] = &qkv;
            let part = |x: &Tensor| x.narrow(1, first, span.tokens.len());
            mixed.push(self.attend(index, span, [part(q)?, part(k)?, part(v)?])?);
            first += span.tokens.len();
        }
        let x = (x + layer.output.forward(&Tensor::cat(&mixed, 1)?.contiguous()?)?)?;
        let normed = rms_norm(&x, &layer.feed_forward_norm, epsilon)?;
        let gated = (layer.gate.forward(&normed)?.silu()? * layer.up.forward(&normed)?)?;
        x + layer.down.forward(&gated)?
    }
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
        let normed =
            rms_norm(&Tensor::cat(&last, 1)?.contiguous()?, &self.weights.output_norm, self.config.epsilon)?;
        *logits = self.weights.head.forward(&normed)?.flatten_all()?.to_vec1()?;
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
}
