//! Turns near-misses into networks by editing their source.
//!
//! Input: a source text and what stopped it. Output: the edited source, which runs in stock PyTorch, and a record of
//! the edits. Each failure offers edits in the order of [`Repair::ALL`];
//! the source is lowered again after each, and the
//! first sequence of edits that leads to a network is kept (depth first: what one edit breaks is undone). A source that
//! lowers as it is, is never edited. Limit: [`MAX_EDITS`] edits, [`MAX_ATTEMPTS`] attempts.

mod conv_after_flatten;
mod edit;
mod flatten;
mod head;
mod in_place;
mod input_widths;
mod residual;
mod tree;
mod truncated;
mod tuple_output;
mod undefined_names;

use ruff_python_ast::Stmt;

use crate::lower::error::{Hint, Refusal, Verdict};
use crate::lower::trace::{Failure, Traced, attempt};
use crate::lower::{Network, Request};
use crate::python;

use edit::Edit;

/// Most edits of one source.
const MAX_EDITS: usize = 12;
/// Most sources lowered for one request.
const MAX_ATTEMPTS: usize = 60;

/// A repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// A text that breaks off loses its last, incomplete statements.
    Truncated,
    /// A flattening before a linear layer, a norm of the right rank, no pooling of vectors.
    Flatten,
    /// `in_features`, `in_channels`, `num_features`, `input_size` and the size in `view(-1, size)` become what arrives.
    InputWidths,
    /// The output becomes `(N, classes)`: the last layer's width, or a pooling, flattening and linear layer added.
    Head,
    /// A residual sum whose sides do not fit gets a projection.
    Residual,
    /// Undefined names: an import, the right module, or no such layer.
    UndefinedNames,
    /// A convolution on vectors or on a map smaller than its kernel.
    ConvAfterFlatten,
    /// The first element of a tuple that is used as a tensor.
    TupleOutput,
    /// A change in place that gradients do not allow.
    InPlace,
}

impl Repair {
    /// All repairs, in the order in which they are tried.
    pub const ALL: &'static [Repair] = &[
        Repair::Truncated,
        Repair::Flatten,
        Repair::InputWidths,
        Repair::Head,
        Repair::Residual,
        Repair::UndefinedNames,
        Repair::ConvAfterFlatten,
        Repair::TupleOutput,
        Repair::InPlace,
    ];

    /// Its name in records and settings.
    pub fn name(self) -> &'static str {
        match self {
            Repair::Truncated => "truncated",
            Repair::Flatten => "flatten",
            Repair::InputWidths => "input_widths",
            Repair::Head => "head",
            Repair::Residual => "residual",
            Repair::UndefinedNames => "undefined_names",
            Repair::ConvAfterFlatten => "conv_after_flatten",
            Repair::TupleOutput => "tuple_output",
            Repair::InPlace => "in_place",
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
    pub(crate) suite: &'a [Stmt],
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
    let failure = match attempt(request, request.source) {
        Ok(traced) => return Ok(network(traced, request.source, &[])),
        Err(failure) => failure,
    };
    let mut search = Search { request, attempts: 1, repairs: Vec::new() };
    match search.mend(request.source, &failure) {
        Some(network) => Ok(network),
        None => Err(failure.refusal),
    }
}

fn network(traced: Traced, source: &str, repairs: &[AppliedRepair]) -> Network {
    Network {
        graph: traced.graph,
        source: source.to_owned(),
        repairs: repairs.to_vec(),
        class_name: traced.class_name,
        unfit: traced.unfit,
    }
}

/// The depth-first search for edits.
struct Search<'a> {
    request: &'a Request<'a>,
    attempts: usize,
    repairs: Vec<AppliedRepair>,
}

impl Search<'_> {
    fn mend(&mut self, source: &str, failure: &Failure) -> Option<Network> {
        if failure.refusal.verdict == Verdict::SyntaxError && self.repairs.is_empty() {
            let proposals = match self.request.repairs.contains(Repair::Truncated) {
                true => truncated::propose(source),
                false => Vec::new(),
            };
            return proposals.into_iter().find_map(|proposal| self.attempt(Repair::Truncated, proposal));
        }
        if failure.refusal.verdict != Verdict::ShapeError || self.repairs.len() >= MAX_EDITS {
            return None;
        }
        let suite = python::compile_module(source).ok()?;
        let context = Context { request: self.request, source, suite: &suite, failure };
        for &repair in Repair::ALL.iter().filter(|&&repair| self.request.repairs.contains(repair)) {
            for proposal in propose(repair, &context) {
                if self.attempts >= MAX_ATTEMPTS {
                    return None;
                }
                let mended = self.attempt(repair, proposal);
                if mended.is_some() {
                    return mended;
                }
            }
        }
        None
    }

    /// Lower an edited source, and go on mending where it is not a network yet.
    fn attempt(&mut self, repair: Repair, proposal: Proposal) -> Option<Network> {
        self.attempts += 1;
        self.repairs.push(AppliedRepair { name: repair.name(), detail: proposal.detail });
        let mended = match attempt(self.request, &proposal.source) {
            Ok(traced) => Some(network(traced, &proposal.source, &self.repairs)),
            Err(next) => self.mend(&proposal.source, &next),
        };
        if mended.is_none() {
            self.repairs.pop();
        }
        mended
    }
}

fn propose(repair: Repair, context: &Context<'_>) -> Vec<Proposal> {
    match repair {
        // Proposed for a text that is not Python, which has no context.
        Repair::Truncated => Vec::new(),
        Repair::Flatten => flatten::propose(context),
        Repair::InputWidths => input_widths::propose(context),
        Repair::Head => head::propose(context),
        Repair::Residual => residual::propose(context),
        Repair::UndefinedNames => undefined_names::propose(context),
        Repair::ConvAfterFlatten => conv_after_flatten::propose(context),
        Repair::TupleOutput => tuple_output::propose(context),
        Repair::InPlace => in_place::propose(context),
    }
}

/// Add `import torch` where an edit names it and the source does not import it.
fn need_torch(context: &Context<'_>, edits: &mut Vec<Edit>) {
    if !tree::imports_torch(context.suite) {
        edits.push(Edit::insert(tree::import_place(context.suite), "import torch\n"));
    }
}
