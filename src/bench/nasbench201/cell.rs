//! The searched block of NAS-Bench-201: four nodes, six edges, one of five operations per edge.
//!
//! Cell string (`|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`) or 6-digit code to [`Cell`] and back, and the cell
//! as a PyTorch class. Reference: Dong and Yang, "NAS-Bench-201", 2020, figure 1. A cell is its string: two strings
//! that compute the same function are two cells, each with its own trainings in the table.

use std::fmt;
use std::str::FromStr;

/// Number of distinct cells, 5^6.
pub const CELLS: usize = 15_625;

/// (node, input node) of each edge, in the order of the cell string and of the code.
pub const EDGES: [(usize, usize); 6] = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)];

/// The paths from the input (node 0) to the output (node 3), as indices into [`EDGES`].
pub(super) const PATHS: [&[usize]; 4] = [&[3], &[0, 4], &[1, 5], &[0, 2, 5]];

/// What an edge does to its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Zeros.
    None,
    /// The input.
    Skip,
    /// ReLU, 1x1 convolution, batch norm.
    Conv1x1,
    /// ReLU, 3x3 convolution, batch norm.
    Conv3x3,
    /// 3x3 average pooling, stride 1.
    AvgPool,
}

impl Operation {
    /// All operations; an operation's place is its digit in the code.
    pub const ALL: [Self; 5] = [Self::None, Self::Skip, Self::Conv1x1, Self::Conv3x3, Self::AvgPool];

    /// The benchmark's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Skip => "skip_connect",
            Self::Conv1x1 => "nor_conv_1x1",
            Self::Conv3x3 => "nor_conv_3x3",
            Self::AvgPool => "avg_pool_3x3",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// A cell: the operation on each of [`EDGES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(pub [Operation; 6]);

/// Text that is not a cell.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected {expected}, got `{got}`")]
pub struct CellError {
    /// What was looked for.
    pub expected: String,
    /// The text, or the part of it that is wrong.
    pub got: String,
}

impl Cell {
    /// The cell whose code, read as a number to the base 5, is `number`, which must be below [`CELLS`].
    pub fn from_number(number: usize) -> Self {
        debug_assert!(number < CELLS, "cell number {number}");
        let mut rest = number;
        let mut operations = [Operation::None; 6];
        for operation in operations.iter_mut().rev() {
            *operation = Operation::ALL[rest % 5];
            rest /= 5;
        }
        Self(operations)
    }

    /// The code read as a number to the base 5, in `0..CELLS`.
    pub fn number(self) -> usize {
        self.0.iter().fold(0, |number, &operation| number * 5 + operation as usize)
    }

    /// One digit per edge, as in the table's column `code`.
    pub fn code(self) -> String {
        self.0.iter().map(|&operation| char::from(b'0' + operation as u8)).collect()
    }

    /// The cell with this code.
    ///
    /// # Errors
    /// Unless it is six digits of 0 to 4.
    pub fn from_code(code: &str) -> Result<Self, CellError> {
        let wrong = || CellError { expected: "six digits of 0 to 4".into(), got: code.into() };
        let digit = |byte: u8| Operation::ALL.get(usize::from(byte.wrapping_sub(b'0'))).copied();
        let operations: Option<Vec<Operation>> = code.bytes().map(digit).collect();
        operations.and_then(|list| list.try_into().ok()).map(Self).ok_or_else(wrong)
    }

    /// How many edges carry `operation`.
    pub fn count(self, operation: Operation) -> usize {
        self.0.iter().filter(|&&here| here == operation).count()
    }

    /// The cell as the class `Cell(nn.Module)` of PyTorch source, with its `layers` numbered as in the reference
    /// implementation. It needs the classes of [`super::network::OPERATIONS`].
    pub fn to_pytorch(self) -> String {
        let mut text = String::from(
            "class Cell(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n        \
             self.layers = nn.ModuleList([\n",
        );
        for (operation, (node, input)) in self.0.iter().zip(EDGES) {
            let module = match operation {
                Operation::None => "Zero()",
                Operation::Skip => "nn.Identity()",
                Operation::Conv1x1 => "ReLUConvBN(channels, channels, 1, 1, 0)",
                Operation::Conv3x3 => "ReLUConvBN(channels, channels, 3, 1, 1)",
                Operation::AvgPool => "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
            };
            text += &format!("            {module},  # node {node} <- node {input}\n");
        }
        text += "        ])\n\n    def forward(self, x):\n";
        text += "        node1 = self.layers[0](x)\n";
        text += "        node2 = self.layers[1](x) + self.layers[2](node1)\n";
        text += "        node3 = self.layers[3](x) + self.layers[4](node1) + self.layers[5](node2)\n";
        text += "        return node3\n";
        text
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (edge, (operation, (_, input))) in self.0.iter().zip(EDGES).enumerate() {
            let open = if input == 0 && edge > 0 {
                "+|"
            } else if edge == 0 {
                "|"
            } else {
                ""
            };
            write!(f, "{open}{}~{input}|", operation.name())?;
        }
        Ok(())
    }
}

impl FromStr for Cell {
    type Err = CellError;

    /// Reads a cell string as [`Cell`] displays it.
    fn from_str(text: &str) -> Result<Self, CellError> {
        let mut operations = Vec::with_capacity(6);
        let nodes: Vec<&str> = text.split('+').collect();
        if nodes.len() != 3 {
            return Err(CellError { expected: "three nodes joined by `+`".into(), got: text.into() });
        }
        for (node, part) in (1..).zip(nodes) {
            let inner = part.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
            let edges: Vec<&str> = inner.map(|inner| inner.split('|').collect()).unwrap_or_default();
            if edges.len() != node {
                let expected = format!("{node} edge(s) for node {node}, each closed by `|`");
                return Err(CellError { expected, got: part.into() });
            }
            for (input, edge) in edges.into_iter().enumerate() {
                let found = edge.split_once('~').filter(|(_, from)| *from == input.to_string());
                let operation = found.and_then(|(name, _)| Operation::from_name(name)).ok_or_else(|| {
                    let names = Operation::ALL.map(Operation::name).join(", ");
                    CellError {
                        expected: format!("OPERATION~{input}, OPERATION one of {names}"),
                        got: edge.into(),
                    }
                })?;
                operations.push(operation);
            }
        }
        let got = text.to_owned();
        operations.try_into().map(Self).map_err(|_| CellError { expected: "six edges".into(), got })
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::{CELLS, Cell, Operation};

    #[test]
    fn every_cell_survives_string_code_and_number() {
        for number in 0..CELLS {
            let cell = Cell::from_number(number);
            assert_eq!(cell.number(), number);
            assert_eq!(cell.to_string().parse(), Ok(cell));
            assert_eq!(Cell::from_code(&cell.code()), Ok(cell));
        }
    }

    #[test]
    fn the_resnet_cell_is_written_as_in_the_benchmark() {
        let text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|";
        let cell: Cell = text.parse().unwrap();
        assert_eq!((cell.to_string().as_str(), cell.code().as_str()), (text, "303101"));
        assert_eq!(cell.count(Operation::Conv3x3), 2);
    }

    #[test]
    fn text_that_is_no_cell_is_refused_with_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<Cell>().unwrap_err().to_string();
        assert_eq!(error("|none~0|"), "expected three nodes joined by `+`, got `|none~0|`");
        assert_eq!(
            error("|none~0|+|none~0|+|none~0|none~1|none~2|"),
            "expected 2 edge(s) for node 2, each closed by `|`, got `|none~0|`"
        );
        assert_eq!(
            error("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|"),
            "expected OPERATION~1, OPERATION one of none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3, \
             got `none~0`"
        );
        for code in ["", "00000", "000005", "0000000", "-00000"] {
            let message = Cell::from_code(code).unwrap_err().to_string();
            assert_eq!(message, format!("expected six digits of 0 to 4, got `{code}`"));
        }
    }

    #[test]
    fn a_cell_prints_as_a_class_with_one_layer_per_edge() {
        let source = Cell::from_code("301240").unwrap().to_pytorch();
        let expected = "\
class Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.ModuleList([
            ReLUConvBN(channels, channels, 3, 1, 1),  # node 1 <- node 0
            Zero(),  # node 2 <- node 0
            nn.Identity(),  # node 2 <- node 1
            ReLUConvBN(channels, channels, 1, 1, 0),  # node 3 <- node 0
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),  # node 3 <- node 1
            Zero(),  # node 3 <- node 2
        ])

    def forward(self, x):
        node1 = self.layers[0](x)
        node2 = self.layers[1](x) + self.layers[2](node1)
        node3 = self.layers[3](x) + self.layers[4](node1) + self.layers[5](node2)
        return node3
";
        assert_eq!(source, expected);
    }
}
