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

use super::experts::{route, users};
use super::weights::{Expert, Layer, Linear, Norm, Weights};
use super::{Activation, Config, Decoder, Head, RopePairs, Span};
use crate::llm::gguf::{Gguf, RawTensor, multiplied_bytes};
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
    /// The tokens of [`Head::Narrow`].
    narrow: Option<Tensor>,
    slots: Vec<Slot>,
    /// Cosines and sines, (context, rotated dims / 2) each.
    rotations: [Tensor; 2],
    /// The same for layers with a window.
    window_rotations: Option<[Tensor; 2]>,
    weights_bytes: usize,
    work: Work,
}

/// Masks of a span's attention scores, (1, 1, tokens, positions): 0 where a token looks, minus infinity elsewhere.
/// `None` where it looks at all of them.
struct Masks {
    whole: Option<Tensor>,
    /// Of the layers with a window.
    windowed: Option<Tensor>,
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
        let fault = |name: &str, error: Error| gguf.error(format!("tensor `{name}`: {error}"));
        // Whole blocks at multiples of `general.alignment`, so the numbers can be read where they lie.
        let quantized = |name: &str, tensor: &RawTensor| {
            qtensor_from_ggml(tensor.dtype, tensor.bytes(), tensor.shape.clone(), device)
                .map_err(|error| fault(name, error))
        };
        let (embedding, table_bytes) = {
            let name = "token_embd.weight";
            let table = gguf.tensor(name, &[config.vocabulary, config.hidden])?;
            (quantized(name, &table)?, table.bytes().len())
        };
        let (mut products, mut matrix_bytes, mut idle_bytes) = (0, 0, 0);
        let idle = |name: &str, all: u64| {
            config.experts.filter(|_| name.contains("_exps")).map_or(0, |experts| experts.idle(all))
        };
        let mut matrix = |name: &str, tensor: &RawTensor| {
            let size = tensor.shape.iter().product::<usize>() as u64;
            products += size - idle(name, size);
            let bytes = multiplied_bytes(tensor.dtype, tensor.bytes().len());
            matrix_bytes += bytes;
            idle_bytes += idle(name, bytes as u64);
            QMatMul::from_qtensor(quantized(name, tensor)?).map_err(|error| fault(name, error))
        };
        let mut vector = |name: &str, len: usize| {
            Tensor::from_vec(gguf.vector(name, len)?, len, device).map_err(|error| fault(name, error))
        };
        let weights = Weights::load(gguf, &config, &mut matrix, &mut vector)?;
        let head_products = (config.vocabulary * config.hidden) as u64;
        let table = |values: Vec<f32>| {
            Tensor::from_vec(values, (context, config.rope_dims / 2), device)
                .map_err(|error| gguf.error(format!("rotary table: {error}")))
        };
        let tables = |(cosines, sines): (Vec<f32>, Vec<f32>)| -> Result<[Tensor; 2], LlmError> {
            Ok([table(cosines)?, table(sines)?])
        };
        let rotations = tables((0..context).flat_map(|position| config.rotations(position)).unzip())?;
        let windowed = (0..context).flat_map(|position| config.window_rotations(position)).unzip();
        let window_rotations = if config.window.is_some() { Some(tables(windowed)?) } else { None };
        let mut decoder = AcceleratorDecoder {
            rotations,
            window_rotations,
            slots: (0..slots).map(|_| Slot { len: 0, layers: Vec::new() }).collect(),
            device: device.clone(),
            context,
            embedding,
            weights,
            narrow: None,
            work: Work {
                bytes: matrix_bytes as u64 - idle_bytes,
                products: products - head_products,
                head_products,
            },
            config,
            weights_bytes: table_bytes + matrix_bytes,
        };
        if !device.is_cpu() {
            // While there is memory: what the trainer takes meanwhile it does not give back in time.
            (0..slots)
                .try_for_each(|slot| decoder.allocate(slot))
                .map_err(|error| gguf.error(format!("KV cache: {error}")))?;
        }
        Ok(decoder)
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

    /// Which positions the tokens of a span may not look at, for all layers of a step.
    fn masks(&self, span: &Span<'_>) -> Result<Masks, Error> {
        let (tokens, start) = (span.tokens.len(), self.slots[span.slot].len);
        let positions = start + tokens;
        let mask = |window: usize| {
            if tokens == 1 && positions <= window {
                return Ok(None);
            }
            let seen = |t: usize, p: usize| p <= start + t && p + window > start + t;
            let mask: Vec<f32> = (0..tokens)
                .flat_map(|t| (0..positions).map(move |p| if seen(t, p) { 0.0 } else { f32::NEG_INFINITY }))
                .collect();
            Tensor::from_vec(mask, (1, 1, tokens, positions), &self.device).map(Some)
        };
        let window = (0..self.config.layers).find_map(|layer| self.config.window_of(layer));
        let windowed = window.map(mask).transpose()?.flatten();
        Ok(Masks { whole: mask(positions)?, windowed })
    }

    /// The output of the attention of one span: queries (1, tokens, heads * dim) in, the same shape out.
    fn attend(
        &self,
        index: usize,
        (span, masks): (&Span<'_>, &Masks),
        layer: &Layer<QMatMul, Tensor>,
        qkv: [Tensor; 3],
    ) -> Result<Tensor, Error> {
        let Config { heads, key_heads, head_dim, .. } = self.config;
        let (tokens, slot) = (span.tokens.len(), &self.slots[span.slot]);
        let start = slot.len;
        // (1, tokens, n * dim) -> (1, n, tokens, dim)
        let split = |x: &Tensor, n: usize| x.reshape((1, tokens, n, head_dim))?.transpose(1, 2)?.contiguous();
        let [queries, keys, values] = qkv;
        let window = self.config.window_of(index);
        let tables = self.window_rotations.as_ref().filter(|_| window.is_some());
        let [cosines, sines] = tables.unwrap_or(&self.rotations);
        let (cosines, sines) = (cosines.narrow(0, start, tokens)?, sines.narrow(0, start, tokens)?);
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
        // Products take rows that lie apart: nothing is copied.
        let keys = cache.keys.narrow(1, 0, positions)?;
        let values = cache.values.narrow(1, 0, positions)?;
        // The query heads of one key head are stacked: (key heads, group * tokens, dim).
        let group = heads / key_heads;
        let queries = queries.reshape((key_heads, group * tokens, head_dim))?;
        let scores = (queries.matmul(&keys.transpose(1, 2)?)? * f64::from(self.config.attention_scale))?;
        let mask = if window.is_some() { &masks.windowed } else { &masks.whole };
        let scores = match mask {
            None => scores,
            Some(mask) => {
                let scores = scores.reshape((key_heads, group, tokens, positions))?.broadcast_add(mask)?;
                scores.reshape((key_heads, group * tokens, positions))?
            }
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
    fn block(&self, index: usize, spans: &[(Span<'_>, Masks)], x: &Tensor) -> Result<Tensor, Error> {
        let layer = &self.weights.layers[index];
        let attention_input = self.norm(x, &layer.attention_norm)?;
        let [queries, keys, values] =
            [&layer.query, &layer.key, &layer.value].map(|linear| product(linear, &attention_input));
        let (queries, keys, values) = (queries?, keys?, values?);
        let mut first = 0;
        let mut mixed = Vec::with_capacity(spans.len());
        for (span, masks) in spans {
            let part = |x: &Tensor| x.narrow(1, first, span.tokens.len());
            let parts = [part(&queries)?, part(&keys)?, part(&values)?];
            mixed.push(self.attend(index, (span, masks), layer, parts)?);
            first += span.tokens.len();
        }
        let attended = product(&layer.output, &Tensor::cat(&mixed, 1)?.contiguous()?)?;
        let x = (x + self.norm_if(attended, layer.attention_post_norm.as_ref())?)?;
        let input = match &layer.feed_forward_norm {
            Some(norm) => self.norm(&x, norm)?,
            None => attention_input,
        };
        let out = match (&layer.router, &layer.experts[..]) {
            (Some(router), experts) => self.experts(router, experts, &input)?,
            (None, [only]) => self.expert(only, &input)?,
            (None, _) => return Err(Error::Msg(format!("block {index} has no feed-forward layer"))),
        };
        x + self.norm_if(out, layer.feed_forward_post_norm.as_ref())?
    }

    /// One feed-forward layer.
    fn expert(&self, expert: &Expert<QMatMul, Tensor>, input: &Tensor) -> Result<Tensor, Error> {
        let up = product(&expert.up, input)?;
        let inner = match &expert.gate {
            Some(gate) => (self.activate(&product(gate, input)?)? * up)?,
            None => self.activate(&up)?,
        };
        product(&expert.down, &inner)
    }

    /// The weighted sum of the experts that each token uses: (1, tokens, hidden) in and out.
    fn experts(
        &self,
        router: &Linear<QMatMul, Tensor>,
        experts: &[Expert<QMatMul, Tensor>],
        input: &Tensor,
    ) -> Result<Tensor, Error> {
        let Some(settings) = self.config.experts else { return self.expert(&experts[0], input) };
        let input = input.squeeze(0)?;
        let probabilities = softmax_last_dim(&product(router, &input)?)?.to_vec2::<f32>()?;
        let users = users(probabilities.iter().map(|row| route(row, settings)), settings.count);
        let mut mixed = input.zeros_like()?;
        for (expert, users) in experts.iter().zip(users).filter(|(_, users)| !users.is_empty()) {
            let (tokens, weights): (Vec<u32>, Vec<f32>) =
                users.iter().map(|(token, weight)| (*token as u32, *weight)).unzip();
            let weights = Tensor::from_vec(weights, (users.len(), 1), &self.device)?;
            let tokens = Tensor::from_vec(tokens, users.len(), &self.device)?;
            let out = self.expert(expert, &input.index_select(&tokens, 0)?)?;
            mixed = mixed.index_add(&tokens, &out.broadcast_mul(&weights)?, 0)?;
        }
        mixed.unsqueeze(0)
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
    fn step(&mut self, spans: &[Span<'_>], head: Head, logits: &mut Vec<f32>) -> Result<(), Error> {
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
        if self.config.traits.scaled_embedding {
            x = (x * (self.config.hidden as f64).sqrt())?;
        }
        let spans: Vec<(Span<'_>, Masks)> = spans
            .into_iter()
            .map(|span| self.masks(&span).map(|masks| (span, masks)))
            .collect::<Result<_, Error>>()?;
        for index in 0..self.weights.layers.len() {
            x = self.block(index, &spans, &x)?;
        }
        let mut end = 0;
        let mut last = Vec::new();
        for (span, _) in &spans {
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
        let mut all = product(&self.weights.head, &normed)?;
        // The product costs little here; what is left out need not be copied to the processor and looked at.
        if let Some(tokens) = self.narrow.as_ref().filter(|_| head == Head::Narrow) {
            all = all.index_select(tokens, 2)?;
        }
        *logits = all.flatten_all()?.to_vec1()?;
        Ok(())
    }

    fn narrow(&mut self, tokens: &[u32]) -> Result<(), Error> {
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.config.vocabulary) {
            return Err(Error::Msg(format!("token {token} is outside the vocabulary")));
        }
        self.narrow = Some(Tensor::from_slice(tokens, tokens.len(), &self.device)?);
        Ok(())
    }

    fn grow(&mut self, slots: usize) {
        let count = self.slots.len().max(slots);
        self.slots.resize_with(count, || Slot { len: 0, layers: Vec::new() });
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
    /// Not measured: an estimate from a device's memory rate and its products, so low that guesses stay short.
    fn overhead(&self) -> f64 {
        16.0
    }
}
