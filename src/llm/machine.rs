//! What the machine can do at best: memory read and int8 products computed by all threads, as amounts of work.
//!
//! In: a number of threads. Out: bytes and products, which the caller times. The engine's rates are measured against
//! them: a single row's decoding against the memory, prefill against the products. Limit: memory is read in order and
//! products never leave the registers, so nothing real reaches either.

use std::hint::black_box;

use super::kernels::math::sum_words;
use super::kernels::pages::Pages;
use super::kernels::{Isa, SharedMut, Workers, multiply_in_registers};
use crate::llm::LlmError;

/// Bytes of the memory that is read; far beyond any cache.
const BYTES: usize = 512 << 20;
/// Parts of the work per thread, so that a core that is busy elsewhere holds nothing up.
const PARTS: usize = 8;
/// Rounds of products per part.
const ROUNDS: usize = 2_000_000;

/// A machine's limits, with work that reaches them.
pub struct Probe {
    workers: Workers,
    threads: usize,
    isa: Isa,
    memory: Pages<u64>,
}

impl Probe {
    /// Takes 512 MB of memory.
    ///
    /// # Errors
    /// No threads, or no memory.
    pub fn new(threads: usize) -> Result<Probe, LlmError> {
        let workers = Workers::new(threads)?;
        let no_memory = |error: std::io::Error| LlmError::Device {
            device: "cpu".into(),
            reason: format!("no memory to read: {error}"),
        };
        let mut memory = Pages::<u64>::zeroed(BYTES / 8).map_err(no_memory)?;
        let pages = memory.len() / 512;
        let shared = SharedMut::new(&mut memory);
        // SAFETY: each page is written once.
        workers.for_each(pages, |page| unsafe { shared.slice(page * 512, 512) }.fill(page as u64));
        Ok(Probe { workers, threads: threads.max(1), isa: Isa::detect(), memory })
    }

    /// Reads all of the memory once; returns the bytes.
    pub fn read(&self) -> u64 {
        let parts = self.threads * PARTS;
        self.workers.for_each(parts, |part| {
            let words = self.memory.len() / parts;
            black_box(sum_words(self.isa, &self.memory[part * words..(part + 1) * words]));
        });
        (self.memory.len() / parts * parts * 8) as u64
    }

    /// Multiplies and adds int8 numbers in registers; returns how many.
    pub fn multiply(&self) -> u64 {
        let parts = self.threads * PARTS;
        let done = std::sync::atomic::AtomicU64::new(0);
        self.workers.for_each(parts, |_| {
            let products = multiply_in_registers(self.isa, black_box(ROUNDS));
            done.fetch_add(products, std::sync::atomic::Ordering::Relaxed);
        });
        done.into_inner()
    }

    /// The instructions that products are computed with.
    pub fn instructions(&self) -> &'static str {
        match self.isa {
            Isa::Scalar => "portable",
            Isa::Avx2 => "AVX2",
            Isa::Avx512Vnni => "AVX512-VNNI",
            Isa::Amx => "AMX-INT8",
            Isa::Neon => "NEON",
            Isa::NeonDot => "NEON-dotprod",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Probe;

    #[test]
    fn every_thread_count_reads_all_of_the_memory_and_multiplies_in_proportion() {
        let (one, two) = (Probe::new(1).unwrap(), Probe::new(2).unwrap());
        assert_eq!((one.read(), two.read()), (512 << 20, 512 << 20));
        let products = one.multiply();
        assert!(products > 0);
        assert_eq!(two.multiply(), 2 * products);
    }
}
