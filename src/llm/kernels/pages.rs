//! Memory for weights on large pages: a length in, zeroed numbers out.
//!
//! A decoded token reads every weight once, in order. On pages of 4 KB the processor spends as long looking addresses
//! up as it does reading (in a virtual machine longer), so weights lie in chunks that Linux is asked to back with pages
//! of 2 MB; small matrices share a chunk. Where the system has no such pages this is ordinary memory. Limit: a chunk is
//! given back when its last matrix goes.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapMut;

/// A large page.
const PAGE: usize = 2 << 20;
/// What small arrays share.
const CHUNK: usize = 32 << 20;
/// Where arrays start: a cache line.
const ALIGNMENT: usize = 64;

/// The chunk that the next small array goes to, and how much of it is taken.
static OPEN: Mutex<(Weak<Chunk>, usize)> = Mutex::new((Weak::new(), 0));

/// Numbers that any bits make.
pub(crate) trait Plain: Copy + Send + Sync {}

impl Plain for i8 {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u64 {}
impl Plain for i32 {}
impl Plain for f32 {}

/// An array of numbers.
pub(crate) struct Pages<T: Plain> {
    chunk: Arc<Chunk>,
    /// In bytes; a multiple of `ALIGNMENT`.
    start: usize,
    /// In numbers.
    len: usize,
    numbers: PhantomData<T>,
}

/// Mapped memory from the first whole large page on.
struct Chunk {
    /// Never moves, and is unmapped with the last array.
    _map: MmapMut,
    start: *mut u8,
}

// SAFETY: the pointer is into the map; arrays are disjoint, so each has its bytes to itself.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> io::Result<Chunk> {
        let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = bytes.checked_next_multiple_of(PAGE).ok_or_else(too_long)?;
        let mut map = MmapMut::map_anon(bytes.checked_add(PAGE).ok_or_else(too_long)?)?;
        let skipped = map.as_ptr().align_offset(PAGE).min(PAGE);
        #[cfg(target_os = "linux")]
        // Without it the memory is slower and nothing else.
        let _ = map.advise_range(memmap2::Advice::HugePage, skipped, bytes);
        let start = map[skipped..].as_mut_ptr();
        Ok(Chunk { _map: map, start })
    }
}

impl<T: Plain> Pages<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn zeroed(len: usize) -> io::Result<Pages<T>> {
        let bytes =
            len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT));
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if bytes > CHUNK / 2 {
            return Ok(Pages { chunk: Arc::new(Chunk::new(bytes)?), start: 0, len, numbers: PhantomData });
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (chunk, start) = match open.0.upgrade() {
            Some(chunk) if open.1 + bytes <= CHUNK => (chunk, open.1),
            _ => (Arc::new(Chunk::new(CHUNK)?), 0),
        };
        *open = (Arc::downgrade(&chunk), start + bytes);
        Ok(Pages { chunk, start, len, numbers: PhantomData })
    }
}

impl<T: Plain> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `zeroed` gave this array its own bytes of the chunk, aligned for any `Plain` and initialised.
        unsafe { std::slice::from_raw_parts(self.chunk.start.add(self.start).cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and no other array has these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.start.add(self.start).cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Pages};

    #[test]
    fn arrays_are_zeroed_aligned_and_apart() {
        let mut arrays: Vec<Pages<u16>> =
            [0, 1, 1_000, CHUNK / 4 + 1, 70_000, CHUNK, 3].map(|len| Pages::zeroed(len).unwrap()).into();
        for (index, array) in arrays.iter_mut().enumerate() {
            assert!(array.iter().all(|value| *value == 0));
            assert_eq!(array.as_ptr().align_offset(64), 0);
            array.fill(index as u16 + 1);
        }
        for (index, array) in arrays.iter().enumerate() {
            assert!(array.iter().all(|value| *value == index as u16 + 1), "{index}");
        }
        assert!(Pages::<f32>::zeroed(usize::MAX / 4).is_err());
        assert!(Pages::<f32>::zeroed(usize::MAX).is_err());
    }
}
