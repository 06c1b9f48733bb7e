//! Threads for the kernels: a number of independent items in, each computed exactly once.
//!
//! Items write disjoint data and no sum is split between items, so the result does not depend on the number
//! of threads. Limit: one pool per model; threads sleep between products, they never spin for long.

use std::marker::PhantomData;

use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::llm::LlmError;

/// Pieces per thread: enough to even out a core that is busy elsewhere.
const PIECES_PER_THREAD: usize = 8;

/// A pool of threads, or none for one thread.
pub(crate) struct Workers {
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl Workers {
    /// `threads` of them; 0 is taken as 1.
    pub(crate) fn new(threads: usize) -> Result<Workers, LlmError> {
        let threads = threads.max(1);
        let pool = if threads == 1 {
            None
        } else {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = builder.thread_name(|index| format!("llm-{index}")).build();
            Some(pool.map_err(|error| LlmError::Threads { threads, reason: error.to_string() })?)
        };
        Ok(Workers { pool, threads })
    }

    /// Runs `body` on one of the threads, so that the products inside it need no hand-over.
    pub(crate) fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(body),
            None => body(),
        }
    }

    /// Calls `body` once with each of `0..items`, in any order.
    pub(crate) fn for_each(&self, items: usize, body: impl Fn(usize) + Sync) {
        self.for_each_with::<()>(items, |(), item| body(item));
    }

    /// The same, with a place to work in that a few items share; what an item finds there must not matter.
    pub(crate) fn for_each_with<T: Default>(&self, items: usize, body: impl Fn(&mut T, usize) + Sync) {
        let Some(pool) = self.pool.as_ref().filter(|_| items > 1) else {
            let mut place = T::default();
            return (0..items).for_each(|item| body(&mut place, item));
        };
        let pieces = items.min(self.threads * PIECES_PER_THREAD);
        pool.install(|| {
            (0..pieces).into_par_iter().with_max_len(1).for_each(|piece| {
                let mut place = T::default();
                (piece * items / pieces..(piece + 1) * items / pieces)
                    .for_each(|item| body(&mut place, item));
            });
        });
    }
}

/// A mutable slice that several threads write, each its own elements.
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: access is only through `slice`, whose caller promises that ranges are disjoint.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Lends `values` out in parts.
    pub(crate) fn new(values: &'a mut [T]) -> SharedMut<'a, T> {
        SharedMut { start: values.as_mut_ptr(), len: values.len(), owner: PhantomData }
    }

    /// The `len` elements from `first` on.
    ///
    /// # Safety
    /// No two parts that are alive at the same time may overlap.
    #[expect(clippy::mut_from_ref, reason = "the caller promises disjoint parts")]
    pub(crate) unsafe fn slice(&self, first: usize, len: usize) -> &mut [T] {
        assert!(first.checked_add(len).is_some_and(|end| end <= self.len), "part is outside the slice");
        // SAFETY: within bounds, and disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}
