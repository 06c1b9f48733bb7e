//! Turns near-misses into networks by editing their source.
//!
//! Input: a source text and what stopped it. Output: the edited source, which runs in stock PyTorch, and a record of the
//! edits. Repairs are tried in the order of [`Repair::ALL`]; after each edit the source is lowered again. A source that
//! lowers as it is, is never edited. Limit: at most [`MAX_EDITS`] edits.

mod edit;
mod head;
mod input_widths;

use crate::lower::error::{Hint, Refusal, Verdict};
use crate::lower::trace::{Failure, Traced, attempt};
use crate::lower::{Network, Request};

/// Most edits of one source.
const MAX_EDITS: usize = 12;

/// A repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// `in_features`, `in_channels`, `num_features`, `input_size` and the size in `view(-1, size)` become what arrives.
    InputWidths,
    /// The output becomes `(N, classes)`: the last layer's width, or a pooling, flattening and linear layer added.
    Head,
}

impl Repair {
    /// All repairs, in the order in which they are tried.
    pub const ALL: &'static [Repair] = &[Repair::InputWidths, Repair::Head];

    /// Its name in records and settings.
    pub fn name(self) -> &'static str {
        match self {
            Repair::InputWidths => "input_widths",
            Repair::Head => "head",
        }
    }
}

/// Which repairs may be tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairSet {
    enabled: Vec<Repair>,
}

impl RepairSet {
    /// No repair.
    pub fn none() -> RepairSet {
        RepairSet::default()
    }

    /// Every repair.
    pub fn all() -> RepairSet {
        RepairSet { enabled: Repair::ALL.to_vec() }
    }

    /// These repairs.
    pub fn only(repairs: &[Repair]) -> RepairSet {
        RepairSet { enabled: Repair::ALL.iter().copied().filter(|repair| repairs.contains(repair)).collect() }
    }

    /// Whether a repair is in the set.
    pub fn contains(&self, repair: Repair) -> bool {
        self.enabled.contains(&repair)
    }
}

/// A repair that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRepair {
    /// Name of the repair.
    pub name: &'static str,
    /// What was changed, such as `in_features: 2048 -> 4096 (line 17)`.
    pub detail: String,
}

/// What a repair looks at.
pub(crate) struct Context<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) source: &'a str,
    pub(crate) failure: &'a Failure,
}

impl Context<'_> {
    pub(crate) fn hint(&self) -> Option<&Hint> {
        self.failure.hint.as_ref()
    }
}

/// An edited source and what was done.
pub(crate) struct Proposal {
    pub(crate) source: String,
    pub(crate) detail: String,
}

/// Lower the request's source, repairing it where that is allowed and needed.
pub(crate) fn lower_with_repairs(request: &Request<'_>) -> Result<Network, Refusal> {
    let mut source = request.source.to_owned();
    let mut repairs: Vec<AppliedRepair> = Vec::new();
    let mut first: Option<Refusal> = None;
    loop {
        let failure = match attempt(request, &source) {
            Ok(Traced { graph, class_name }) => return Ok(Network { graph, source, repairs, class_name }),
            Err(failure) => failure,
        };
        let refusal = failure.refusal.clone();
        let original = first.get_or_insert(refusal).clone();
        if repairs.len() >= MAX_EDITS || failure.refusal.verdict != Verdict::ShapeError {
            return Err(original);
        }
        let context = Context { request, source: &source, failure: &failure };
        let Some((repair, proposal)) = propose(&context) else { return Err(original) };
        repairs.push(AppliedRepair { name: repair.name(), detail: proposal.detail });
        source = proposal.source;
    }
}

fn propose(context: &Context<'_>) -> Option<(Repair, Proposal)> {
    let allowed = Repair::ALL.iter().copied().filter(|&repair| context.request.repairs.contains(repair));
    for repair in allowed {
        let proposal = match repair {
            Repair::InputWidths => input_widths::propose(context),
            Repair::Head => head::propose(context),
        };
        if let Some(proposal) = proposal {
            return Some((repair, proposal));
        }
    }
    None
}
