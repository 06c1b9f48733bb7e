//! The decoder on the CPU: plain slices, packed weights, all tokens of a step in one product per matrix.
//!
//! In: spans of tokens. Out: logits. Every token is computed from its own row's cache by sums of fixed
//! order, so its logits depend neither on the step's other tokens nor on how a prompt is cut into spans.
//! Limit: keys and values are f32.

use std::sync::Arc;

use candle_core::Error;

use super::weights::Weights;
use super::{Config, Decoder, Span};
use crate::llm::LlmError;
use crate::llm::gguf::{Gguf, RawTensor};
use crate::llm::kernels::math::{Attention, KEY_BLOCK, add, attend, rms_norm, silu_times};
use crate::llm::kernels::{Activations, Isa, PackedMatrix, Product, SharedMut, Workers, blocks, matmul};

type Layer = super::weights::Layer<PackedMatrix, Vec<f32>>;

/// One row's cached keys and values of one layer.
#[derive(Default, Clone)]
struct LayerCache {
    /// `[block of 16 positions][key head][dim][16]`
    keys: Vec<f32>,
    /// `[position][key head][dim]`
    values: Vec<f32>,
}

/// One row's cache.
#[derive(Default, Clone)]
struct Slot {
    len: usize,
    layers: Vec<LayerCache>,
}

/// Intermediate values of a step, kept from step to step: zeroing fresh memory costs more than some of the
/// work.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    out: Vec<f32>,
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
    weights: Weights<PackedMatrix, Vec<f32>>,
    slots: Vec<Slot>,
    /// `[position][dim / 2]` of (cosine, sine).
    rotations: Vec<(f32, f32)>,
    scratch: Scratch,
}

impl CpuDecoder {
    /// Packs the weights of an open file.
    pub(crate) fn load(
        gguf: &Gguf,
        config: Config,
        threads: usize,
        slots: usize,
    ) -> Result<CpuDecoder, LlmError> {
        let workers = Arc::new(Workers::new(threads)?);
        let mut matrix = |name: &str, rows: usize, cols: usize| {
            let tensor = gguf.tensor(name, &[rows, cols])?;
            let packed =
                workers.enter(|| PackedMatrix::pack(&workers, tensor.dtype, tensor.bytes(), rows, cols));
            packed.map_err(|error| gguf.error(format!("tensor `{name}`: {error}")))
        };
        let weights = Weights::load(gguf, &config, &mut matrix, &mut |name, len| gguf.vector(name, len))?;
        Ok(CpuDecoder {
            embedding: gguf.tensor("token_embd.weight", &[config.vocabulary, config.hidden])?,
            weights,
            slots: vec![Slot { len: 0, layers: vec![LayerCache::default(); config.layers] }; slots],
            rotations: Vec::new(),
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
        let width = self.config.key_heads * self.config.head_dim;
        for span in spans {
            let slots = self.slots.len();
            let slot = self
                .slots
                .get_mut(span.slot)
                .ok_or_else(|| Error::Msg(format!("slot {} of {slots}", span.slot)))?;
            let end = slot.len + span.tokens.len();
            for layer in &mut slot.layers {
                layer.keys.resize(end.next_multiple_of(KEY_BLOCK) * width, 0.0);
                layer.values.resize(end * width, 0.0);
            }
            let positions = slot.len..end;
            placed.extend(positions.zip(span.tokens).map(|(position, &token)| Placed {
                token,
                slot: span.slot,
                position,
            }));
            slot.len = end;
        }
        let half = self.config.head_dim / 2;
        let needed = placed.iter().map(|placed| placed.position + 1).max().unwrap_or(0);
        for position in self.rotations.len() / half..needed {
            self.rotations.extend(self.config.rotations(position));
        }
        Ok(placed)
    }

    /// The residual stream's start: (tokens, hidden).
    fn embed(&self, placed: &[Placed]) -> Result<Vec<f32>, Error> {
        let hidden = self.config.hidden;
        let per_row = self.embedding.bytes().len() / self.config.vocabulary;
        let mut x = vec![0.0; placed.len() * hidden];
        for (row, placed) in x.chunks_exact_mut(hidden).zip(placed) {
            let start = placed.token as usize * per_row;
            let bytes = self.embedding.bytes().get(start..start + per_row);
            let bytes = bytes
                .ok_or_else(|| Error::Msg(format!("token {} is outside the vocabulary", placed.token)))?;
            blocks::decode_row(self.embedding.dtype, bytes, row)?;
        }
        Ok(x)
    }

    fn quantize_normed(&self, x: &[f32], weight: &[f32]) -> Activations {
        let hidden = self.config.hidden;
        Activations::quantize(&self.workers, x.len() / hidden, hidden, |token, row| {
            rms_norm(self.isa, &x[token * hidden..(token + 1) * hidden], weight, self.config.epsilon, row);
        })
    }

    fn quantize_plain(&self, x: &[f32], width: usize) -> Activations {
        Activations::quantize(&self.workers, x.len() / width, width, |token, row| {
            row.copy_from_slice(&x[token * width..(token + 1) * width]);
        })
    }

    /// One attention sub-layer added to `x`.
    fn attention(&mut self, index: usize, placed: &[Placed], x: &mut [f32], scratch: &mut Scratch) {
        let Scratch { queries, keys, values, mixed, out, .. } = scratch;
        let tokens = placed.len();
        let Config { heads, key_heads, head_dim, .. } = self.config;
        let (query_width, key_width) = (heads * head_dim, key_heads * head_dim);
        let layer = &self.weights.layers[index];
        let normed = self.quantize_normed(x, &layer.attention_norm);
        // Each is written whole below.
        queries.resize(tokens * query_width, 0.0);
        mixed.resize(tokens * query_width, 0.0);
        keys.resize(tokens * key_width, 0.0);
        values.resize(tokens * key_width, 0.0);
        out.resize(x.len(), 0.0);
        matmul(
            &self.workers,
            self.isa,
            &normed,
            &mut [
                Product { weights: &layer.query, out: queries },
                Product { weights: &layer.key, out: keys },
                Product { weights: &layer.value, out: values },
            ],
        );
        self.store(index, placed, keys, values);
        let layer = &self.weights.layers[index];
        let (shared_queries, shared_mixed) = (SharedMut::new(queries), SharedMut::new(mixed));
        let group = heads / key_heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        self.workers.for_each(tokens * key_heads, |item| {
            let (placed, key_head) = (placed[item / key_heads], item % key_heads);
            let start = item / key_heads * query_width + key_head * group;
            // SAFETY: each (token, key head) has its own part of both.
            let (queries, out) =
                unsafe { (shared_queries.slice(start, group), shared_mixed.slice(start, group)) };
            if let Some([bias, ..]) = &layer.biases {
                add(self.isa, queries, &bias[key_head * group..(key_head + 1) * group]);
            }
            for query in queries.chunks_exact_mut(head_dim) {
                self.rotate(query, placed.position);
                query.iter_mut().for_each(|value| *value *= scale);
            }
            let cache = &self.slots[placed.slot].layers[index];
            let call = Attention {
                queries,
                keys: &cache.keys[key_head * head_dim * KEY_BLOCK..],
                key_stride: key_width * KEY_BLOCK,
                values: &cache.values[key_head * head_dim..],
                value_stride: key_width,
                dim: head_dim,
                positions: placed.position + 1,
            };
            attend(self.isa, call, out);
        });
        let mixed = self.quantize_plain(mixed, query_width);
        matmul(&self.workers, self.isa, &mixed, &mut [Product { weights: &layer.output, out }]);
        add(self.isa, x, out);
    }

    /// Biases, rotates and stores the step's keys and values.
    fn store(&mut self, index: usize, placed: &[Placed], keys: &mut [f32], values: &mut [f32]) {
        let Config { key_heads, head_dim, .. } = self.config;
        let width = key_heads * head_dim;
        let biases = &self.weights.layers[index].biases;
        for (token, placed) in placed.iter().enumerate() {
            let keys = &mut keys[token * width..(token + 1) * width];
            let values = &mut values[token * width..(token + 1) * width];
            if let Some([_, key_bias, value_bias]) = biases {
                add(self.isa, keys, key_bias);
                add(self.isa, values, value_bias);
            }
            for key in keys.chunks_exact_mut(head_dim) {
                self.rotate(key, placed.position);
            }
            let cache = &mut self.slots[placed.slot].layers[index];
            let block = placed.position / KEY_BLOCK * KEY_BLOCK * width;
            for (i, key) in keys.iter().enumerate() {
                cache.keys[block + i * KEY_BLOCK + placed.position % KEY_BLOCK] = *key;
            }
            cache.values[placed.position * width..(placed.position + 1) * width].copy_from_slice(values);
        }
    }

    /// Rotary embedding; dimension `i` is paired with `i + dim / 2`.
    fn rotate(&self, vector: &mut [f32], position: usize) {
        let half = vector.len() / 2;
        let (low, high) = vector.split_at_mut(half);
        for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(&self.rotations[position * half..]) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }

    /// One feed-forward sub-layer added to `x`.
    fn feed_forward(&self, layer: &Layer, x: &mut [f32], scratch: &mut Scratch) {
        let Scratch { gate, up, out, .. } = scratch;
        let width = self.config.feed_forward;
        let tokens = x.len() / self.config.hidden;
        let normed = self.quantize_normed(x, &layer.feed_forward_norm);
        gate.resize(tokens * width, 0.0);
        up.resize(tokens * width, 0.0);
        out.resize(x.len(), 0.0);
        matmul(
            &self.workers,
            self.isa,
            &normed,
            &mut [Product { weights: &layer.gate, out: gate }, Product { weights: &layer.up, out: up }],
        );
        let shared = SharedMut::new(gate);
        self.workers.for_each(tokens, |token| {
            // SAFETY: each token has its own part.
            let gate = unsafe { shared.slice(token * width, width) };
            silu_times(self.isa, gate, &up[token * width..(token + 1) * width]);
        });
        let gate = self.quantize_plain(gate, width);
        matmul(&self.workers, self.isa, &gate, &mut [Product { weights: &layer.down, out }]);
        add(self.isa, x, out);
    }

    fn step(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), Error> {
        let placed = self.place(spans)?;
        let mut x = self.embed(&placed)?;
        // Taken out so that the layers can borrow the decoder.
        let mut scratch = std::mem::take(&mut self.scratch);
        for index in 0..self.weights.layers.len() {
            self.attention(index, &placed, &mut x, &mut scratch);
            self.feed_forward(&self.weights.layers[index], &mut x, &mut scratch);
        }
        self.scratch = scratch;
        let Config { hidden, vocabulary, .. } = self.config;
        let mut end = 0;
        let mut last = Vec::new();
        for span in spans {
            end += span.tokens.len();
            let wanted = span.logits.min(span.tokens.len());
            last.extend_from_slice(&x[(end - wanted) * hidden..end * hidden]);
        }
        let normed = self.quantize_normed(&last, &self.weights.output_norm);
        logits.resize(normed.tokens() * vocabulary, 0.0);
        if !last.is_empty() {
            matmul(
                &self.workers,
                self.isa,
                &normed,
                &mut [Product { weights: &self.weights.head, out: logits }],
            );
        }
        Ok(())
    }
}

impl Decoder for CpuDecoder {
    fn forward(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), Error> {
        let workers = Arc::clone(&self.workers);
        workers.enter(|| self.step(spans, logits))
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
        let width = self.config.key_heads * self.config.head_dim;
        let [source, target] = self
            .slots
            .get_disjoint_mut([from, to])
            .map_err(|error| Error::Msg(format!("slots {from} and {to}: {error}")))?;
        let len = len.min(source.len);
        for (source, target) in source.layers.iter().zip(&mut target.layers) {
            target.keys.clear();
            target.keys.extend_from_slice(&source.keys[..len.next_multiple_of(KEY_BLOCK) * width]);
            target.values.clear();
            target.values.extend_from_slice(&source.values[..len * width]);
        }
        target.len = len;
        Ok(())
    }

    fn weights_bytes(&self) -> usize {
        let layer = |layer: &Layer| -> usize {
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            [query, key, value, output, gate, up, down].into_iter().map(PackedMatrix::bytes).sum()
        };
        self.weights.layers.iter().map(layer).sum::<usize>()
            + self.weights.head.bytes()
            + self.embedding.bytes().len()
    }
}
