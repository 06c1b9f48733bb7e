//! The reader of real searches: the Python front-end behind the search's own trait.
//!
//! Input: a candidate's module with a class `Net`. Output: its network, repaired if the run repairs. One
//! limit: the network is built by `Net()`, without arguments.

use crate::config::SearchConfig;
use crate::graph;
use crate::lower::{self, AppliedRepair, RepairSet, lower};

use super::read::{Network, Reader, Refused};
use super::record::Verdict;
use super::source::CLASS;

/// Reads candidates with [`lower`].
#[derive(Debug, Clone)]
pub struct FrontEnd {
    input_sizes: Vec<usize>,
    classes: usize,
    limits: lower::Limits,
    repair: bool,
    entry: String,
}

impl FrontEnd {
    /// A reader of networks from `input_sizes` to `classes` scores, within the limits of `config`.
    pub fn new(config: &SearchConfig, input_sizes: &[usize], classes: usize) -> FrontEnd {
        let limits = &config.limits;
        let graph = graph::Limits {
            nodes: limits.operations,
            parameters: limits.parameters,
            macs: limits.macs,
            activation_bytes: limits.activation_mb << 20,
            ..graph::Limits::default()
        };
        FrontEnd {
            input_sizes: input_sizes.to_vec(),
            classes,
            limits: lower::Limits { graph, ..lower::Limits::default() },
            repair: config.search.repair,
            entry: format!("{CLASS}()"),
        }
    }
}

impl Reader for FrontEnd {
    fn read(&self, source: &str) -> Result<Network, Refused> {
        let request = lower::Request {
            entry: Some(&self.entry),
            limits: self.limits,
            repairs: if self.repair { RepairSet::all() } else { RepairSet::none() },
            ..lower::Request::new(source, &self.input_sizes, Some(self.classes))
        };
        match lower(&request) {
            Ok(network) => {
                // What is found must give in PyTorch what was measured here, and do nothing else there.
                if let Some(refusal) = &network.unfit {
                    return Err(Refused::of(refusal, &network.source));
                }
                let words = |repair: &AppliedRepair| format!("{}: {}", repair.name, repair.detail);
                let repairs = network.repairs.iter().map(words).collect();
                Ok(Network { graph: network.graph, source: network.source, repairs })
            }
            Err(refusal) => Err(Refused::of(&refusal, source)),
        }
    }
}

impl Refused {
    /// The front-end's refusal of a candidate, in the search's words.
    pub fn of(refusal: &lower::Refusal, source: &str) -> Refused {
        Refused { verdict: verdict(refusal.verdict), message: refusal.render(source, "candidate.py") }
    }
}

fn verdict(verdict: lower::Verdict) -> Verdict {
    match verdict {
        lower::Verdict::SyntaxError => Verdict::SyntaxError,
        lower::Verdict::ShapeError => Verdict::ShapeError,
        lower::Verdict::LimitExceeded => Verdict::LimitExceeded,
        // A refusal is never `Accepted`.
        lower::Verdict::UnsupportedSyntax | lower::Verdict::Accepted => Verdict::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Device};

    use super::{FrontEnd, Reader as _};
    use crate::search::Verdict;

    #[test]
    fn a_network_that_its_weights_do_not_make_again_is_refused() {
        let config = config::resolve("", "", &[], Device::Cpu, 1).unwrap();
        let reader = FrontEnd::new(&config, &[1, 28, 28], 10);
        let source = |layers: &str| {
            format!(
                "import torch.nn as nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        \
                 super().__init__()\n        self.layers = {layers}\n\n    def forward(self, x):\n        \
                 return self.layers[0](x.flatten(1))\n"
            )
        };
        assert!(reader.read(&source("nn.ModuleList([nn.Linear(784, 10)])")).is_ok());
        let refused = reader.read(&source("[nn.Linear(784, 10)]")).unwrap_err();
        assert_eq!(refused.verdict, Verdict::Unsupported);
        assert!(refused.message.contains("nn.ModuleList"), "{}", refused.message);
    }
}
