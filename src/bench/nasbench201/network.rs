//! The network that NAS-Bench-201 trains for a cell: PyTorch source, parameter count and multiply-adds by formula.
//!
//! Reference: Dong and Yang, "NAS-Bench-201", 2020, section 2.1 and their AutoDL-Projects code: 3x3 stem, three stages
//! of cells at C, 2C and 4C channels joined by residual blocks of stride 2, batch norm and ReLU, global average
//! pooling, one linear layer. `state_dict` keys are those of the reference (`stem.0.weight`,
//! `cells.0.layers.0.op.1.weight`, ...). Limit: written for square inputs of a side that 4 divides.

use crate::bench::nasbench201::{Cell, Operation};

/// Channels of the benchmark's first stage.
pub const CHANNELS: usize = 16;
/// Cells per stage in the benchmark.
pub const CELLS_PER_STAGE: usize = 5;

/// The modules that cells and reductions are made of, as PyTorch source.
pub const OPERATIONS: &str = "\
class ReLUConvBN(nn.Module):
    def __init__(self, c_in, c_out, kernel_size, stride, padding):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(c_in, c_out, kernel_size, stride=stride, padding=padding, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x):
        return self.op(x)


class Zero(nn.Module):
    def forward(self, x):
        return x * 0.0
";

const REDUCTION: &str = "\
class Reduction(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, 2, 1)
        self.conv_b = ReLUConvBN(c_out, c_out, 3, 1, 1)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, stride=2),
            nn.Conv2d(c_in, c_out, 1, bias=False),
        )

    def forward(self, x):
        return self.downsample(x) + self.conv_b(self.conv_a(x))
";

/// The shape of a network around its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skeleton {
    /// Channels of the first stage.
    pub channels: usize,
    /// Cells per stage.
    pub cells: usize,
    /// Outputs of the last layer.
    pub classes: usize,
    /// Side of the square RGB input.
    pub side: usize,
}

impl Cell {
    /// The whole network as PyTorch source; the class is `Network` and needs no argument.
    pub fn network_source(self, skeleton: Skeleton) -> String {
        let Skeleton { channels, cells, classes, .. } = skeleton;
        let (c2, c4) = (2 * channels, 4 * channels);
        let cell = self.to_pytorch();
        format!(
            "import torch.nn as nn\n\n\n{OPERATIONS}\n\n{cell}\n\n{REDUCTION}\n\n\
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, {channels}, 3, padding=1, bias=False),
            nn.BatchNorm2d({channels}),
        )
        self.cells = nn.ModuleList()
        for _ in range({cells}):
            self.cells.append(Cell({channels}))
        self.cells.append(Reduction({channels}, {c2}))
        for _ in range({cells}):
            self.cells.append(Cell({c2}))
        self.cells.append(Reduction({c2}, {c4}))
        for _ in range({cells}):
            self.cells.append(Cell({c4}))
        self.lastact = nn.Sequential(nn.BatchNorm2d({c4}), nn.ReLU())
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear({c4}, {classes})

    def forward(self, x):
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        x = self.lastact(x)
        x = self.global_pooling(x)
        x = x.flatten(1)
        return self.classifier(x)
"
        )
    }
}

impl Skeleton {
    /// The benchmark's network for `classes` and inputs of side `side`.
    pub fn benchmark(classes: usize, side: usize) -> Self {
        Self { channels: CHANNELS, cells: CELLS_PER_STAGE, classes, side }
    }

    /// Parameters of the network of `cell`.
    pub fn parameters(self, cell: Cell) -> u64 {
        let c = self.channels as u64;
        let conv_bn = |c_in: u64, c_out: u64, kernel: u64| kernel * kernel * c_in * c_out + 2 * c_out;
        let reduction = |c: u64| conv_bn(c, 2 * c, 3) + conv_bn(2 * c, 2 * c, 3) + c * 2 * c;
        let classes = self.classes as u64;
        let frame = conv_bn(3, c, 3) + reduction(c) + reduction(2 * c) + 8 * c + (4 * c + 1) * classes;
        let convolutions =
            |kernel: u64| (0..3).map(|stage| conv_bn(c << stage, c << stage, kernel)).sum::<u64>();
        let edges = |operation| self.cells as u64 * cell.count(operation) as u64;
        frame + edges(Operation::Conv1x1) * convolutions(1) + edges(Operation::Conv3x3) * convolutions(3)
    }

    /// Multiply-adds per image of the network of `cell`: convolutions and the linear layer, without its bias, batch
    /// norms, pooling or sums. The table's figure counts the bias of the linear layer too, so it is higher by
    /// `classes`.
    pub fn macs(self, cell: Cell) -> u64 {
        let (c, side) = (self.channels as u64, self.side as u64);
        let area = |stage: u64| (side >> stage).pow(2);
        let reduction = |stage: u64| {
            let (c_in, c_out) = (c << (stage - 1), c << stage);
            area(stage) * (9 * c_in * c_out + 9 * c_out * c_out + c_in * c_out)
        };
        let frame = area(0) * 27 * c + reduction(1) + reduction(2) + 4 * c * self.classes as u64;
        let per_edge = (0..3).map(|stage| area(stage) * (c << stage).pow(2)).sum::<u64>() * self.cells as u64;
        let weight = cell.count(Operation::Conv1x1) + 9 * cell.count(Operation::Conv3x3);
        frame + per_edge * weight as u64
    }
}

/// Parameters of one cell at one channel, a scale for descriptors: 1 per 1x1 and 9 per 3x3 convolution.
pub(super) fn cell_parameters(cell: Cell) -> usize {
    cell.count(Operation::Conv1x1) + 9 * cell.count(Operation::Conv3x3)
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::Cell;
    use crate::bench::nasbench201::network::Skeleton;

    #[test]
    fn parameters_are_those_published_for_the_frame_and_for_each_convolution() {
        let of = |classes, code| Skeleton::benchmark(classes, 32).parameters(Cell::from_code(code).unwrap());
        assert_eq!([10, 100, 120].map(|classes| of(classes, "014410")), [73_306, 79_156, 80_456]);
        assert_eq!(of(10, "200000") - of(10, "000000"), 28_000);
        assert_eq!(of(10, "000003") - of(10, "000000"), 243_040);
    }

    #[test]
    fn multiply_adds_are_the_published_ones_less_the_bias_of_the_last_layer() {
        let of =
            |classes, side, code| Skeleton::benchmark(classes, side).macs(Cell::from_code(code).unwrap());
        assert_eq!(of(10, 32, "000000") + 10, 7_783_050);
        assert_eq!(of(100, 32, "000000") + 100, 7_788_900);
        assert_eq!(of(120, 16, "000000") + 120, 1_953_400);
        assert_eq!(of(10, 32, "200000") - of(10, 32, "000000"), 3_932_160);
        assert_eq!(of(120, 16, "000300") - of(120, 16, "000000"), 8_847_360);
    }

    #[test]
    fn the_source_names_every_part_once() {
        let source = Cell::from_code("301240").unwrap().network_source(Skeleton::benchmark(10, 32));
        for class in ["ReLUConvBN", "Zero", "Cell", "Reduction", "Network"] {
            assert_eq!(source.matches(&format!("class {class}(nn.Module):")).count(), 1, "{class}");
        }
        for line in ["nn.Conv2d(3, 16, 3, padding=1, bias=False)", "Reduction(32, 64)", "nn.Linear(64, 10)"] {
            assert!(source.contains(line), "{line}");
        }
    }
}
