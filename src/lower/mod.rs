//! Source text to network graph: `__init__` is interpreted, `forward` is traced with symbolic tensors, and near-misses
//! are repaired.
//!
//! Input: a [`Request`] with the source of a PyTorch module. Output: a [`Network`] whose graph computes what PyTorch
//! would, or a [`Refusal`] with the place and the reason. Nothing is executed but the interpreter below, whose every
//! step and allocation is metered. Limit: control flow on the values of tensors is refused.

mod effects;
mod error;
mod interp;
mod repair;
#[cfg(test)]
mod tests;
mod torch;
mod trace;
mod value;

use crate::graph::{self, Graph};

pub use error::{Refusal, Verdict};
pub use repair::{AppliedRepair, Repair, RepairSet};

/// Stack of the thread that interprets; the depth limits are chosen to fit it.
const STACK_BYTES: usize = 256 << 20;

/// What to lower, and how.
pub struct Request<'a> {
    /// The source text.
    pub source: &'a str,
    /// A Python expression evaluated among the source's names, such as `ResNet18()`; `None`: the last class
    /// derived from `nn.Module`, without arguments.
    pub entry: Option<&'a str>,
    /// Sizes of one input sample, such as `[3, 32, 32]`.
    pub input_sizes: &'a [usize],
    /// Number of classes that the output must have, where it matters.
    pub classes: Option<usize>,
    /// What the source may use up.
    pub limits: Limits,
    /// Which repairs may be tried.
    pub repairs: RepairSet,
    /// Where modules that the source imports are found.
    pub imports: &'a dyn ImportResolver,
}

impl<'a> Request<'a> {
    /// A source that stands alone, taken as it is: its last network class without arguments, within the usual limits.
    pub fn new(source: &'a str, input_sizes: &'a [usize], classes: Option<usize>) -> Request<'a> {
        Request {
            source,
            entry: None,
            input_sizes,
            classes,
            limits: Limits::default(),
            repairs: RepairSet::none(),
            imports: &NoImports,
        }
    }
}

/// What interpreting a source text may use up; going over is [`Verdict::LimitExceeded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Statements, expressions and elements evaluated.
    pub steps: u64,
    /// As many more for each file that an [`ImportResolver`] finds.
    pub steps_per_import: u64,
    /// Nested calls of functions of the source.
    pub recursion: usize,
    /// Elements of a list, tuple, dictionary or set.
    pub list_length: usize,
    /// Bytes of a string.
    pub string_length: usize,
    /// Containers, functions, objects and tensors made.
    pub objects: usize,
    /// What the network may cost.
    pub graph: graph::Limits,
}

impl Default for Limits {
    /// Well above what DenseNet-201 needs; used up in about a quarter of a second.
    fn default() -> Limits {
        Limits {
            steps: 2_000_000,
            steps_per_import: 200_000,
            recursion: 150,
            list_length: 100_000,
            string_length: 100_000,
            objects: 500_000,
            graph: graph::Limits::default(),
        }
    }
}

/// Finds the source of modules that the main source imports.
pub trait ImportResolver: Sync {
    /// The source text of the module of this dotted name, and whether it is a package; `None` where it is unknown,
    /// which is an error only if the module is needed.
    fn resolve(&self, name: &str) -> Option<(String, bool)>;

    /// The dotted name of the package that the main source is in, for its relative imports.
    fn package(&self) -> &str {
        ""
    }
}

/// Finds nothing: sources that stand alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoImports;

impl ImportResolver for NoImports {
    fn resolve(&self, _name: &str) -> Option<(String, bool)> {
        None
    }
}

/// A source text that is a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// What it computes.
    pub graph: Graph,
    /// The source as kept: repaired where needed, it runs in stock PyTorch.
    pub source: String,
    /// The repairs made, in order.
    pub repairs: Vec<AppliedRepair>,
    /// Name of the network's class.
    pub class_name: String,
    /// Why its source and weights are not all of it in PyTorch: chance that the weights do not hold makes it another
    /// one each time, or the source would do something else besides. No reason to refuse a source that one wrote
    /// oneself, but one to keep none that an LLM wrote.
    pub unfit: Option<Refusal>,
}

/// Lower a source text to a network.
///
/// # Errors
/// [`Refusal`] says whether it is not Python, not supported, wrong in PyTorch too, or over a limit.
pub fn lower(request: &Request<'_>) -> Result<Network, Refusal> {
    let outcome = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("lower".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || repair::lower_with_repairs(request));
        worker.map(std::thread::ScopedJoinHandle::join)
    });
    match outcome {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(refusal(Verdict::UnsupportedSyntax, "internal error while lowering this source")),
        Err(error) => Err(refusal(Verdict::LimitExceeded, &format!("no thread to lower on: {error}"))),
    }
}

fn refusal(verdict: Verdict, message: &str) -> Refusal {
    Refusal { verdict, message: message.to_owned(), span: None }
}
