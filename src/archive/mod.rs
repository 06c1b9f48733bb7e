//! MAP-Elites archives as plain values: networks over two descriptors, prompts over instruction and
//! temperature.
//!
//! Input: measured candidates, in the order of slots. Output: elites, statistics, a digest. No tensors, no
//! clock, no files. One limit: descriptors are pairs.

pub mod bandit;
pub mod cvt;
pub mod digest;
pub mod grid;
pub mod network;
pub mod prompt;

pub use bandit::Bandit;
pub use cvt::Cvt;
pub use grid::Grid;
pub use network::{AddOutcome, Archive, ArchiveError, Axis, Elite, Niches, Stats};
pub use prompt::{PromptArchive, PromptChoice, PromptEntry, PromptSettings, Reward};

/// Which candidate: its generation and its slot there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct CandidateId {
    /// The generation; 0 holds the seed network alone.
    pub generation: u64,
    /// The place in it.
    pub slot: u64,
}

impl std::fmt::Display for CandidateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.generation, self.slot)
    }
}
