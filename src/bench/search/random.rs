//! Random search without repeats: (ledger, random stream) to a uniform unseen point.
//!
//! The weakest baseline of Li and Talwalkar, "Random Search and Reproducibility for NAS", 2019. Limit: learns
//! nothing.

use crate::bench::search::{Ledger, TableSearch};
use crate::bench::space::Space;
use crate::rng::Stream;

pub(super) struct RandomSearch;

impl TableSearch for RandomSearch {
    fn ask(&mut self, _space: &dyn Space, ledger: &Ledger, rng: &mut Stream) -> usize {
        ledger.unseen(rng)
    }
}
