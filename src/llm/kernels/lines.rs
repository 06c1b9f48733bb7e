//! Arrays that start at a cache line: a length in, zeroed numbers out.
//!
//! A register's worth of numbers that lies across two lines takes two reads. Limit: what is kept while an array grows
//! are its first numbers, and nothing is given back when it shrinks.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::pages::Plain;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// An array of numbers.
pub(crate) struct Lines<T: Plain> {
    lines: Vec<Line>,
    /// In numbers.
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Plain> Lines<T> {
    /// So many zeros.
    pub(crate) fn zeroed(len: usize) -> Lines<T> {
        let mut lines = Lines::default();
        lines.resize(len);
        lines
    }

    /// Makes it so many numbers; what there was is kept, what is new may be anything that there was before.
    pub(crate) fn resize(&mut self, len: usize) {
        let needed = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        if needed > self.lines.len() {
            self.lines.resize(needed, Line([0; 64]));
        }
        self.len = len;
    }
}

impl<T: Plain> Default for Lines<T> {
    fn default() -> Lines<T> {
        Lines { lines: Vec::new(), len: 0, numbers: PhantomData }
    }
}

impl<T: Plain> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold `len` numbers, any bits make one, and a line's alignment is enough for each.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn numbers_start_at_a_line_and_keep_their_values() {
        let mut numbers: Lines<f32> = Lines::zeroed(17);
        assert_eq!((&numbers[..], numbers.as_ptr().align_offset(64)), (&[0.0; 17][..], 0));
        numbers[16] = 2.0;
        numbers.resize(100);
        assert_eq!((numbers.len(), numbers[16], numbers.as_ptr().align_offset(64)), (100, 2.0, 0));
        numbers.resize(0);
        assert!(numbers.is_empty());
    }
}
