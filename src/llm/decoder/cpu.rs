//! The decoder on the CPU: plain slices, packed weights, all tokens of a step in one product per matrix.
//!
//! In: spans of tokens. Out: logits. Every token is computed from its own row's cache by sums of fixed
//! order, so its logits depend neither on the step's other tokens nor on how a prompt is cut into spans.
//! Keys and values are cached in half precision, or f32 where a matrix is f32 (`cache`). Limit: one prompt's
//! tokens are computed by one call.

use std::sync::Arc;

use candle_core::Error;

use super::cache::{CacheShape, LayerCache};
use super::experts::{route, users};
use super::weights::{Expert, Linear, Norm, Weights, head_name};
use super::{Activation, Config, Decoder, Head, RopePairs, Span};
use crate::llm::gguf::{Gguf, RawTensor};
use crate::llm::kernels::math::{add, gelu, layer_norm, multiply, rms_norm, silu, softmax};
use crate::llm::kernels::{Activations, Isa, Lines, Matrix, Product, SharedMut, Workers, blocks, matmul};
use crate::llm::{LlmError, Work};

type Layer = super::weights::Layer<Matrix, Vec<f32>>;

/// One row's cache.
struct Slot {
    len: usize,
    layers: Vec<LayerCache>,
}

impl Slot {
    fn new(layers: usize, single: bool) -> Slot {
        Slot { len: 0, layers: (0..layers).map(|_| LayerCache::new(single)).collect() }
    }
}

/// Intermediate values of a step, kept from step to step: zeroing fresh memory costs more than some of the
/// work.
#[derive(Default)]
struct Scratch {
    queries: Lines<f32>,
    keys: Lines<f32>,
    values: Lines<f32>,
    mixed: Lines<f32>,
    gate: Lines<f32>,
    up: Lines<f32>,
    out: Lines<f32>,
}

/// A token of a step and where it goes.
#[derive(Clone, Copy)]
struct Placed {
    token: u32,
    slot: usize,
    position: usize,
}

/// A model in main memory.
pub(crate) struct CpuDecoder {
    config: Config,
    isa: Isa,
    workers: Arc<Workers>,
    embedding: RawTensor,
    weights: Weights<Matrix, Vec<f32>>,
    /// The output head as it lies in the file.
    head: RawTensor,
    /// The rows of the head that [`Decoder::narrow`] asked for.
    narrow: Option<Linear<Matrix, Vec<f32>>>,
    /// Whether a matrix is f32, so that activations are needed unrounded.
    dense: bool,
    slots: Vec<Slot>,
    /// Whether keys and values are kept in f32.
    single: bool,
    cache: CacheShape,
    /// `[position][rotated dims / 2]` of (cosine, sine).
    rotations: Vec<(f32, f32)>,
    /// The same for layers with a window.
    window_rotations: Vec<(f32, f32)>,
    scratch: Scratch,
}

impl CpuDecoder {
    /// Packs the weights of an open file and prepares `slots` rows of `context` tokens.
    pub(crate) fn load(
        gguf: &Gguf,
        config: Config,
        threads: usize,
        context: usize,
        slots: usize,
    ) -> Result<CpuDecoder, LlmError> {
        let workers = Arc::new(Workers::new(threads)?);
        let mut matrix = |name: &str, tensor: &RawTensor| {
            let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
            let packed = workers.enter(|| Matrix::load(&workers, tensor.dtype, tensor.bytes(), rows, cols));
            // The file and the packed weights need not be in memory together.
            tensor.release();
            packed.map_err(|error| gguf.error(format!("tensor `{name}`: {error}")))
        };
        let weights = Weights::load(gguf, &config, &mut matrix, &mut |name, len| gguf.vector(name, len))?;
        // Tokens are sorted by the experts they use, which takes their values.
        let dense = config.experts.is_some()
            || weights.layers.iter().flat_map(Layer::matrices).any(Matrix::is_dense)
            || weights.head.weight.is_dense();
        let cache = CacheShape { key_heads: config.key_heads, head_dim: config.head_dim, context };
        let single = config.caches_single(gguf);
        Ok(CpuDecoder {
            embedding: gguf.tensor("token_embd.weight", &[config.vocabulary, config.hidden])?,
            weights,
            head: gguf.tensor(&format!("{}.weight", head_name(gguf)), &[config.vocabulary, config.hidden])?,
            narrow: None,
            dense,
            slots: (0..slots).map(|_| Slot::new(config.layers, single)).collect(),
            single,
            cache,
            rotations: Vec::new(),
            window_rotations: Vec::new(),
            scratch: Scratch::default(),
            isa: Isa::detect(),
            config,
            workers,
        })
    }

    /// Computes with other instructions; the logits are the same.
    #[cfg(test)]
    pub(crate) fn with_isa(self, isa: Isa) -> CpuDecoder {
        CpuDecoder { isa, ..self }
    }

    /// Gives each token its slot and position and makes room for it.
    fn place(&mut self, spans: &[Span<'_>]) -> Result<Vec<Placed>, Error> {
        let mut placed = Vec::new();
        for span in spans {
            let slots = self.slots.len();
            let slot = self
                .slots
                .get_mut(span.slot)
                .ok_or_else(|| Error::Msg(format!("slot {} of {slots}", span.slot)))?;
            let end = slot.len + span.tokens.len();
            for layer in &mut slot.layers {
                layer.grow(self.cache, end);
            }
            let positions = slot.len..end;
            placed.extend(positions.zip(span.tokens).map(|(position, &token)| Placed {
                token,
                slot: span.slot,
                position,
            }));
            slot.len = end;
        }
        let half = self.config.rope_dims / 2;
        let needed = placed.iter().map(|placed| placed.position + 1).max().unwrap_or(0);
        for position in self.rotations.len() / half..needed {
            self.rotations.extend(self.config.rotations(position));
            self.window_rotations.extend(self.config.window_rotations(position));
        }
        Ok(placed)
    }

    /// A token's row of a table (vocabulary, hidden).
    fn row_of<'a>(&self, table: &'a RawTensor, token: u32) -> Result<&'a [u8], Error> {
        let per_row = table.bytes().len() / self.config.vocabulary;
        let start = token as usize * per_row;
        let row = table.bytes().get(start..start + per_row);
        row.ok_or_else(|| Error::Msg(format!("token {token} is outside the vocabulary")))
    }

    /// The residual stream's start: (tokens, hidden).
    fn embed(&self, placed: &[Placed]) -> Result<Vec<f32>, Error> {
        let hidden = self.config.hidden;
        let mut x = vec![0.0; placed.len() * hidden];
        for (row, placed) in x.chunks_exact_mut(hidden).zip(placed) {
            let bytes = self.row_of(&self.embedding, placed.token)?;
            blocks::decode_row(self.embedding.dtype, bytes, row)?;
            if self.config.traits.scaled_embedding {
                let scale = (hidden as f32).sqrt();
                row.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Ok(x)
    }

    fn norm(&self, x: &[f32], norm: &Norm<Vec<f32>>, out: &mut [f32]) {
        match &norm.bias {
            Some(bias) => layer_norm(self.isa, x, &norm.weight, bias, self.config.epsilon, out),
            None => rms_norm(self.isa, x, &norm.weight, self.config.epsilon, out),
        }
    }

    fn quantize_normed(&self, x: &[f32], norm: &Norm<Vec<f32>>) -> Activations {
        let hidden = self.config.hidden;
        Activations::quantize(&self.workers, self.isa, x.len() / hidden, hidden, self.dense, |token, row| {
            self.norm(&x[token * hidden..(token + 1) * hidden], norm, row);
        })
    }

    fn quantize_plain(&self, x: &[f32], width: usize) -> Activations {
        Activations::quantize(&self.workers, self.isa, x.len() / width, width, self.dense, |token, row| {
            row.copy_from_slice(&x[token * width..(token + 1) * width]);
        })
    }

    /// `x += norm(out)`, token by token.
    fn add_result(&self, x: &mut [f32], out: &mut [f32], post: Option<&Norm<Vec<f32>>>) {
        if let Some(norm) = post {
            let mut normed = vec![0.0; self.config.hidden];
            for out in out.chunks_exact_mut(self.config.hidden) {
                self.norm(out, norm, &mut normed);
                out.copy_from_slice(&normed);
            }
        }
        add(self.isa, x, out);
    }

    /// Adds a product's bias to each token's result.
    fn add_bias(&self, out: &mut [f32], linear: &Linear<Matrix, Vec<f32>>) {
        if let Some(bias) = &linear.bias {
            out.chunks_exact_mut(bias.len()).for_each(|out| add(self.isa, out, bias));
        }
    }

    /// One attention sub-layer of `normed`, added to `x`.
    fn attention(
        &mut self,
        index: usize,
        placed: &[Placed],
        normed: &Activations,
        x: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Scratch { queries, keys, values, mixed, out, .. } = scratch;
        let tokens = placed.len();
        let Config { heads, key_heads, head_dim, .. } = self.config;
        let (query_width, key_width) = (heads * head_dim, key_heads * head_dim);
        let layer = &self.weights.layers[index];
        // Each is written whole below.
        queries.resize(tokens * query_width);
        mixed.resize(tokens * query_width);
        keys.resize(tokens * key_width);
        values.resize(tokens * key_width);
        out.resize(x.len());
        matmul(
            &self.workers,
            self.isa,
            normed,
            &mut [
                Product { weights: &layer.query.weight, out: queries },
                Product { weights: &layer.key.weight, out: keys },
                Product { weights: &layer.value.weight, out: values },
            ],
        );
        self.store(index, placed, keys, values);
        let layer = &self.weights.layers[index];
        let (shared_queries, shared_mixed) = (SharedMut::new(queries), SharedMut::new(mixed));
        let group = heads / key_heads * head_dim;
        let (scale, window) = (self.config.attention_scale, self.config.window_of(index));
        self.workers.for_each(tokens * key_heads, |item| {
            let (placed, key_head) = (placed[item / key_heads], item % key_heads);
            let start = item / key_heads * query_width + key_head * group;
            // SAFETY: each (token, key head) has its own part of both.
            let (queries, out) =
                unsafe { (shared_queries.slice(start, group), shared_mixed.slice(start, group)) };
            if let Some(bias) = &layer.query.bias {
                add(self.isa, queries, &bias[key_head * group..(key_head + 1) * group]);
            }
            for query in queries.chunks_exact_mut(head_dim) {
                self.norm_head(query, layer.head_norms.as_ref().map(|[norm, _]| norm));
                self.rotate(query, placed.position, window.is_some());
                query.iter_mut().for_each(|value| *value *= scale);
            }
            let cache = &self.slots[placed.slot].layers[index];
            let end = placed.position + 1;
            let seen = end - window.unwrap_or(end).min(end)..end;
            cache.attend(self.isa, self.cache, key_head, seen, queries, out);
        });
        let mixed = self.quantize_plain(mixed, query_width);
        matmul(&self.workers, self.isa, &mixed, &mut [Product { weights: &layer.output.weight, out }]);
        self.add_bias(out, &layer.output);
        self.add_result(x, out, layer.attention_post_norm.as_ref());
    }

    /// Biases, rotates and stores the step's keys and values.
    fn store(&mut self, index: usize, placed: &[Placed], keys: &mut [f32], values: &mut [f32]) {
        let Config { key_heads, head_dim, .. } = self.config;
        let width = key_heads * head_dim;
        let layer = &self.weights.layers[index];
        let windowed = self.config.window_of(index).is_some();
        for (token, placed) in placed.iter().enumerate() {
            let keys = &mut keys[token * width..(token + 1) * width];
            let values = &mut values[token * width..(token + 1) * width];
            self.add_bias(keys, &layer.key);
            self.add_bias(values, &layer.value);
            for key in keys.chunks_exact_mut(head_dim) {
                self.norm_head(key, layer.head_norms.as_ref().map(|[_, norm]| norm));
                self.rotate(key, placed.position, windowed);
            }
            self.slots[placed.slot].layers[index].put(self.cache, placed.position, keys, values);
        }
    }

    /// Norms the query or key of one head in place.
    fn norm_head(&self, vector: &mut [f32], weight: Option<&Vec<f32>>) {
        if let Some(weight) = weight {
            let plain = vector.to_vec();
            rms_norm(self.isa, &plain, weight, self.config.epsilon, vector);
        }
    }

    /// Rotary embedding of the first `rope_dims` dimensions of one head.
    fn rotate(&self, vector: &mut [f32], position: usize, windowed: bool) {
        let half = self.config.rope_dims / 2;
        let table = if windowed { &self.window_rotations } else { &self.rotations };
        let rotations = &table[position * half..(position + 1) * half];
        let turn = |a: &mut f32, b: &mut f32, (cos, sin): &(f32, f32)| {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        };
        let vector = &mut vector[..2 * half];
        match self.config.traits.rope {
            RopePairs::Halves => {
                let (low, high) = vector.split_at_mut(half);
                for ((a, b), rotation) in low.iter_mut().zip(high).zip(rotations) {
                    turn(a, b, rotation);
                }
            }
            RopePairs::Neighbours => {
                for ([a, b], rotation) in vector.as_chunks_mut::<2>().0.iter_mut().zip(rotations) {
                    turn(a, b, rotation);
                }
            }
        }
    }

    /// One feed-forward sub-layer of `normed`, added to `x`.
    fn feed_forward(&self, layer: &Layer, normed: &Activations, x: &mut [f32], scratch: &mut Scratch) {
        match (&layer.router, &layer.experts[..]) {
            (None, [only]) => self.expert(only, normed, scratch),
            (None, _) => return,
            (Some(router), experts) => self.experts(router, experts, normed, scratch),
        }
        self.add_result(x, &mut scratch.out, layer.feed_forward_post_norm.as_ref());
    }

    /// What a feed-forward layer makes of `normed`: (tokens, hidden), in `scratch.out`.
    fn expert(&self, expert: &Expert<Matrix, Vec<f32>>, normed: &Activations, scratch: &mut Scratch) {
        let Scratch { gate, up, out, .. } = scratch;
        let width = self.config.feed_forward;
        let tokens = normed.tokens();
        up.resize(tokens * width);
        out.resize(tokens * self.config.hidden);
        let mut products = vec![Product { weights: &expert.up.weight, out: up }];
        if let Some(linear) = &expert.gate {
            gate.resize(tokens * width);
            products.push(Product { weights: &linear.weight, out: gate });
        }
        matmul(&self.workers, self.isa, normed, &mut products);
        let shared = SharedMut::new(up);
        let gate = expert.gate.as_ref().map(|linear| (linear, SharedMut::new(gate)));
        self.workers.for_each(tokens, |token| {
            // SAFETY: each token has its own part.
            let up = unsafe { shared.slice(token * width, width) };
            self.add_bias(up, &expert.up);
            let Some((linear, gate)) = &gate else { return self.activate(up) };
            // SAFETY: as above.
            let gate = unsafe { gate.slice(token * width, width) };
            self.add_bias(gate, linear);
            self.activate(gate);
            multiply(self.isa, up, gate);
        });
        let up = self.quantize_plain(up, width);
        matmul(&self.workers, self.isa, &up, &mut [Product { weights: &expert.down.weight, out }]);
        self.add_bias(out, &expert.down);
    }

    /// The weighted sum of the experts that each token uses, in `scratch.out`; a token's are added in the
    /// order of their numbers, whoever else uses them.
    fn experts(
        &self,
        router: &Linear<Matrix, Vec<f32>>,
        experts: &[Expert<Matrix, Vec<f32>>],
        normed: &Activations,
        scratch: &mut Scratch,
    ) {
        let Some(settings) = self.config.experts else { return };
        let (tokens, hidden) = (normed.tokens(), self.config.hidden);
        let mut scores = vec![0.0; tokens * settings.count];
        matmul(&self.workers, self.isa, normed, &mut [Product { weights: &router.weight, out: &mut scores }]);
        let routes = scores.chunks_exact_mut(settings.count).map(|scores| {
            softmax(self.isa, scores);
            route(scores, settings)
        });
        let users = users(routes, settings.count);
        let mut mixed = vec![0.0; tokens * hidden];
        for (expert, users) in experts.iter().zip(&users).filter(|(_, users)| !users.is_empty()) {
            // Where all tokens use it, as one token alone does with each of its experts, theirs are all of them.
            let own = (users.len() < tokens).then(|| {
                Activations::quantize(
                    &self.workers,
                    self.isa,
                    users.len(),
                    hidden,
                    self.dense,
                    |index, row| {
                        row.copy_from_slice(&normed.values(users[index].0)[..hidden]);
                    },
                )
            });
            self.expert(expert, own.as_ref().unwrap_or(normed), scratch);
            for ((token, weight), out) in users.iter().zip(scratch.out.chunks_exact_mut(hidden)) {
                out.iter_mut().for_each(|value| *value *= weight);
                add(self.isa, &mut mixed[token * hidden..(token + 1) * hidden], out);
            }
        }
        scratch.out.resize(mixed.len());
        scratch.out.copy_from_slice(&mixed);
    }

    fn activate(&self, x: &mut [f32]) {
        match self.config.traits.activation {
            Activation::Silu => silu(self.isa, x),
            Activation::Gelu => gelu(self.isa, x),
        }
    }

    fn compute(&mut self, spans: &[Span<'_>], head: Head, logits: &mut Vec<f32>) -> Result<(), Error> {
        let placed = self.place(spans)?;
        let mut x = self.embed(&placed)?;
        // Taken out so that the layers can borrow the decoder.
        let mut scratch = std::mem::take(&mut self.scratch);
        for index in 0..self.weights.layers.len() {
            let normed = self.quantize_normed(&x, &self.weights.layers[index].attention_norm);
            self.attention(index, &placed, &normed, &mut x, &mut scratch);
            let layer = &self.weights.layers[index];
            // Without a norm of its own it reads what attention read.
            let own = layer.feed_forward_norm.as_ref().map(|norm| self.quantize_normed(&x, norm));
            self.feed_forward(layer, own.as_ref().unwrap_or(&normed), &mut x, &mut scratch);
        }
        self.scratch = scratch;
        let hidden = self.config.hidden;
        let mut end = 0;
        let mut last = Vec::new();
        for span in spans {
            end += span.tokens.len();
            let wanted = span.logits.min(span.tokens.len());
            last.extend_from_slice(&x[(end - wanted) * hidden..end * hidden]);
        }
        let normed = self.quantize_normed(&last, &self.weights.output_norm);
        let head = self.narrow.as_ref().filter(|_| head == Head::Narrow).unwrap_or(&self.weights.head);
        logits.resize(normed.tokens() * head.weight.rows(), 0.0);
        if !last.is_empty() {
            let product = Product { weights: &head.weight, out: logits };
            matmul(&self.workers, self.isa, &normed, &mut [product]);
            self.add_bias(logits, head);
        }
        Ok(())
    }
}

impl Decoder for CpuDecoder {
    fn step(&mut self, spans: &[Span<'_>], head: Head, logits: &mut Vec<f32>) -> Result<(), Error> {
        let workers = Arc::clone(&self.workers);
        workers.enter(|| self.compute(spans, head, logits))
    }

    fn narrow(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.extend_from_slice(self.row_of(&self.head, token)?);
        }
        self.head.release();
        let (workers, dtype, hidden) = (&self.workers, self.head.dtype, self.config.hidden);
        let weight = workers.enter(|| Matrix::load(workers, dtype, &bytes, tokens.len(), hidden))?;
        let of_token = |bias: &Vec<f32>| tokens.iter().map(|token| bias[*token as usize]).collect();
        self.narrow = Some(Linear { weight, bias: self.weights.head.bias.as_ref().map(of_token) });
        Ok(())
    }

    fn grow(&mut self, slots: usize) {
        let count = self.slots.len().max(slots);
        let (layers, single) = (self.config.layers, self.single);
        self.slots.resize_with(count, || Slot::new(layers, single));
    }

    fn truncate(&mut self, slot: usize, len: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.len = slot.len.min(len);
        }
    }

    fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<(), Error> {
        if from == to {
            self.truncate(to, len);
            return Ok(());
        }
        let [source, target] = self
            .slots
            .get_disjoint_mut([from, to])
            .map_err(|error| Error::Msg(format!("slots {from} and {to}: {error}")))?;
        let len = len.min(source.len);
        for (source, target) in source.layers.iter().zip(&mut target.layers) {
            target.copy_prefix(source, self.cache, len);
        }
        target.len = len;
        Ok(())
    }

    fn work(&self) -> Work {
        let size = |matrix: &Matrix| (matrix.rows() * matrix.cols()) as u64;
        let head = &self.narrow.as_ref().unwrap_or(&self.weights.head).weight;
        let layers = || self.weights.layers.iter().flat_map(Layer::matrices);
        let experts = || self.weights.layers.iter().flat_map(Layer::routed_matrices);
        let idle = |all: u64| self.config.experts.map_or(0, |experts| experts.idle(all));
        let bytes: usize = layers().chain([head]).map(Matrix::bytes).sum();
        Work {
            bytes: bytes as u64 - idle(experts().map(|matrix| matrix.bytes() as u64).sum()),
            products: layers().map(size).sum::<u64>() - idle(experts().map(size).sum()),
            head_products: size(head),
        }
    }

    /// Steps of 1 to 16 tokens of the 0.5B model took 13.5 ms and 2.6 more for each token after the first
    /// (`decoder_rates` in the tests, two threads, AVX512-VNNI); one thread and the 1.5B model give 4 to 6.
    fn overhead(&self) -> f64 {
        4.0
    }

    fn weights_bytes(&self) -> usize {
        let layers = self.weights.layers.iter().flat_map(Layer::matrices);
        let heads = [&self.weights.head].into_iter().chain(&self.narrow).map(|head| &head.weight);
        let multiplied = layers.chain(heads).map(Matrix::bytes).sum::<usize>();
        multiplied + self.embedding.bytes().len()
    }
}
