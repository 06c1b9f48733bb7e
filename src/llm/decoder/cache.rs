//! A row's cached keys and values of one layer, in half precision or f32, laid out for `kernels::math::attend`.
//!
//! In: keys and values of one position at a time. Out: what attention reads. Quantized models keep halves, which
//! halves the memory and what attention reads of it; a model stored in f32 keeps f32, so that its logits are those
//! of the reference. Memory
//! grows with the row by halves of what there is, up to the context's share of the memory plan and no further.
//! Limit: a row's memory is kept when its text ends.

use std::ops::Range;

use crate::llm::kernels::Isa;
use crate::llm::kernels::halves::Half;
use crate::llm::kernels::math::{Attention, KEY_BLOCK, attend};
use crate::llm::kernels::rows::Element;

/// One row's cached keys and values of one layer.
pub(super) enum LayerCache {
    Single(Kept<f32>),
    Half(Kept<Half>),
}

/// The shape of what is cached.
#[derive(Clone, Copy)]
pub(super) struct CacheShape {
    pub(super) key_heads: usize,
    pub(super) head_dim: usize,
    /// Most positions of a row.
    pub(super) context: usize,
}

/// Positions that memory is taken for at first.
const FIRST: usize = 256;

/// Keys and values as numbers of type `E`.
#[derive(Default)]
pub(super) struct Kept<E> {
    /// `[block of 16 positions][key head][dim][16]`
    keys: Vec<E>,
    /// `[position][key head][dim]`
    values: Vec<E>,
}

impl CacheShape {
    fn width(self) -> usize {
        self.key_heads * self.head_dim
    }
}

impl LayerCache {
    /// An empty one, of f32 or of halves.
    pub(super) fn new(single: bool) -> LayerCache {
        if single { LayerCache::Single(Kept::default()) } else { LayerCache::Half(Kept::default()) }
    }

    /// Makes place for positions up to `end`.
    pub(super) fn grow(&mut self, shape: CacheShape, end: usize) {
        match self {
            LayerCache::Single(kept) => kept.grow(shape, end),
            LayerCache::Half(kept) => kept.grow(shape, end),
        }
    }

    /// Writes (key heads, dim) of each at a position that there is place for.
    pub(super) fn put(&mut self, shape: CacheShape, position: usize, keys: &[f32], values: &[f32]) {
        match self {
            LayerCache::Single(kept) => kept.put(shape, position, keys, values),
            LayerCache::Half(kept) => kept.put(shape, position, keys, values),
        }
    }

    /// Attention of `queries` to the positions that are `seen`, all of one key head.
    pub(super) fn attend(
        &self,
        isa: Isa,
        shape: CacheShape,
        key_head: usize,
        seen: Range<usize>,
        queries: &[f32],
        out: &mut [f32],
    ) {
        match self {
            LayerCache::Single(kept) => attend(isa, kept.seen(shape, key_head, seen, queries), out),
            LayerCache::Half(kept) => attend(isa, kept.seen(shape, key_head, seen, queries), out),
        }
    }

    /// Takes over the first `positions` of another row's cache of this layer, and nothing else.
    pub(super) fn copy_prefix(&mut self, source: &LayerCache, shape: CacheShape, positions: usize) {
        match (self, source) {
            (LayerCache::Single(kept), LayerCache::Single(source)) => kept.copy(source, shape, positions),
            (LayerCache::Half(kept), LayerCache::Half(source)) => kept.copy(source, shape, positions),
            // One decoder makes all of its caches alike.
            (LayerCache::Single(_), LayerCache::Half(_)) | (LayerCache::Half(_), LayerCache::Single(_)) => {}
        }
    }
}

impl<E: Element> Kept<E> {
    /// Takes memory for positions up to `end`.
    fn reserve(&mut self, shape: CacheShape, end: usize) {
        let (width, blocks) = (shape.width(), end.next_multiple_of(KEY_BLOCK));
        if blocks * width > self.keys.capacity() || end * width > self.values.capacity() {
            let room = (end + end / 2).max(FIRST).min(shape.context).next_multiple_of(KEY_BLOCK).max(blocks);
            self.keys.reserve_exact((room * width).saturating_sub(self.keys.len()));
            self.values.reserve_exact((room * width).saturating_sub(self.values.len()));
        }
    }

    fn grow(&mut self, shape: CacheShape, end: usize) {
        self.reserve(shape, end);
        let (width, blocks) = (shape.width(), end.next_multiple_of(KEY_BLOCK));
        self.keys.resize(blocks * width, E::default());
        self.values.resize(end * width, E::default());
    }

    fn put(&mut self, shape: CacheShape, position: usize, keys: &[f32], values: &[f32]) {
        let width = shape.width();
        let block = &mut self.keys[position / KEY_BLOCK * KEY_BLOCK * width..];
        for (out, key) in block.iter_mut().skip(position % KEY_BLOCK).step_by(KEY_BLOCK).zip(keys) {
            *out = E::from_single(*key);
        }
        for (out, value) in self.values[position * width..(position + 1) * width].iter_mut().zip(values) {
            *out = E::from_single(*value);
        }
    }

    fn seen<'a>(
        &'a self,
        shape: CacheShape,
        key_head: usize,
        seen: Range<usize>,
        queries: &'a [f32],
    ) -> Attention<'a, E> {
        // Whole blocks are left out here, the rest of what is not seen in `attend`.
        let first = seen.start / KEY_BLOCK * KEY_BLOCK;
        Attention {
            queries,
            keys: &self.keys[first * shape.width() + key_head * shape.head_dim * KEY_BLOCK..],
            key_stride: shape.width() * KEY_BLOCK,
            values: &self.values[first * shape.width() + key_head * shape.head_dim..],
            value_stride: shape.width(),
            dim: shape.head_dim,
            unseen: seen.start - first,
            positions: seen.end - first,
        }
    }

    fn copy(&mut self, source: &Kept<E>, shape: CacheShape, positions: usize) {
        self.keys.clear();
        self.values.clear();
        self.reserve(shape, positions);
        self.keys.extend_from_slice(&source.keys[..positions.next_multiple_of(KEY_BLOCK) * shape.width()]);
        self.values.clear();
        self.values.extend_from_slice(&source.values[..positions * shape.width()]);
    }
}
