//! Source text to network: the front-end behind a trait, so that a search can read other languages (and tests
//! none).
//!
//! Input: a whole candidate. Output: a graph with its facts, or a refusal in words. One limit: a reader sees
//! one candidate at a time.

use crate::descriptor;
use crate::graph::Graph;

use super::record::{Described, Facts, Verdict};
use super::typed::Edited;

/// A source that is a network.
#[derive(Debug, Clone)]
pub struct Network {
    /// The network.
    pub graph: Graph,
    /// Its source: as given, or repaired.
    pub source: String,
    /// What was repaired.
    pub repairs: Vec<String>,
}

/// Why a source is not a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which kind of refusal.
    pub verdict: Verdict,
    /// The whole diagnostic, with line and caret where there is one.
    pub message: String,
}

/// Reads sources.
pub trait Reader: Sync {
    /// The network of `source`, or why it is none. The same source always gives the same answer.
    ///
    /// # Errors
    /// A refusal is data, not a failure of the reader.
    fn read(&self, source: &str) -> Result<Network, Refused>;

    /// The edits of a network, where a space has edits of its own; else those of the search are taken.
    fn edits(&self, network: &Network) -> Option<Vec<Edited>> {
        let _ = network;
        None
    }

    /// The network that a search of a space of its own starts from.
    fn seed(&self) -> Option<String> {
        None
    }
}

impl Network {
    /// What can be said of the network before training.
    pub fn facts(&self) -> Facts {
        let graph = &self.graph;
        let described = descriptor::of(graph);
        let mut layers = String::new();
        for layer in graph.layers() {
            let path = if layer.path.is_empty() { "-" } else { layer.path.as_str() };
            layers.push_str(&format!("{path} {} {}\n", layer.class, layer.output));
        }
        Facts {
            architecture: graph.architecture_id(),
            parameters: graph.parameter_count(),
            macs: graph.macs(),
            described: Described {
                width_to_depth: described.width_to_depth,
                depth: described.depth as f64,
                log_flops: described.log_flops,
                log_parameters: described.log_parameters,
                log_activation: described.log_activation,
            },
            layers,
        }
    }
}
