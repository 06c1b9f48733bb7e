//! Repair: the output becomes `(N, classes)`.
//!
//! Input: a network that runs but whose output has other sizes. Output: the source with a new width of the last linear
//! layer, or with a pooling, flattening and linear layer after the last one. Limit: of a network whose output is not a
//! tensor with a batch dimension nothing is known.

use super::{Context, Proposal};

pub(crate) fn propose(_context: &Context<'_>) -> Option<Proposal> {
    None
}
