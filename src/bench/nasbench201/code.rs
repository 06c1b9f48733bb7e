//! Cells as code that an LLM can change, and code read back as cells.
//!
//! Input: a cell. Output: a PyTorch module whose class `Net` has one line per edge, and its edits. Back: whatever
//! text the front-end reads as a network that computes what a cell computes is that cell, however it is written;
//! other networks are refused. Limit: cells that compute the same function in another order of nodes have one
//! architecture id; the first of them by number stands for all.

use std::collections::BTreeMap;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::bench::nasbench201::{CELLS, Cell, CellSpace, EDGES, Operation};
use crate::bench::space::Space as _;
use crate::lower::{self, lower};
use crate::search::{Edited, IMPORTS, Network, Reader, Refused, Verdict};

/// Input of a cell: channels, height, width.
pub const SIZES: [usize; 3] = [16, 32, 32];

/// The classes that edges may be of, before the cell's: name and text.
const HELPERS: [(&str, &str); 2] = [
    (
        "ConvBN",
        "\
class ConvBN(nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(16)

    def forward(self, x):
        return self.bn(self.conv(F.relu(x)))
",
    ),
    (
        "Zero",
        "\
class Zero(nn.Module):
    def forward(self, x):
        return x * 0.0
",
    ),
];

/// The cell that a search through code starts from: the input and nothing else.
pub const FIRST: Cell = Cell([
    Operation::None,
    Operation::None,
    Operation::None,
    Operation::Skip,
    Operation::None,
    Operation::None,
]);

impl Operation {
    /// How an edge's module is written.
    pub fn code(self) -> &'static str {
        match self {
            Operation::None => "Zero()",
            Operation::Skip => "nn.Identity()",
            Operation::Conv1x1 => "ConvBN(1)",
            Operation::Conv3x3 => "ConvBN(3)",
            Operation::AvgPool => "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
        }
    }
}

impl Cell {
    /// The whole module; the class is `Net`.
    pub fn to_module(self) -> String {
        let helpers: Vec<&str> = HELPERS.iter().map(|(_, text)| *text).collect();
        format!("{IMPORTS}\n\n{}\n\n{}", helpers.join("\n\n"), self.to_class())
    }

    /// The class `Net` alone.
    pub fn to_class(self) -> String {
        let mut text =
            String::from("class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n");
        for edge in 0..EDGES.len() {
            text += &format!("        self.{}\n", self.line(edge));
        }
        text += "\n    def forward(self, x):\n        node1 = self.edge01(x)\n        \
                 node2 = self.edge02(x) + self.edge12(node1)\n        \
                 return self.edge03(x) + self.edge13(node1) + self.edge23(node2)\n";
        text
    }

    /// The grammar (Lark) of everything that may stand behind the header of a cell's class: the lines of
    /// [`Cell::to_class`] with any operation on each edge.
    pub fn grammar() -> String {
        let (class, quoted) = (FIRST.to_class(), |text: &str| serde_json::Value::from(text).to_string());
        let mut rest = class.split_once('\n').map_or("", |(_, body)| body);
        let mut rule = String::from("start:");
        for edge in 0..EDGES.len() {
            let line = FIRST.line(edge);
            let Some((before, after)) = rest.split_once(&line) else { continue };
            let name = line.strip_suffix(FIRST.0[edge].code()).unwrap_or_default();
            rule += &format!(" {} operation", quoted(&format!("{before}{name}")));
            rest = after;
        }
        let operations: Vec<String> =
            Operation::ALL.iter().map(|operation| quoted(operation.code())).collect();
        format!("{rule} {}\noperation: {}\n", quoted(rest), operations.join(" | "))
    }

    /// The assignment of one edge, such as `edge01 = ConvBN(3)`.
    pub fn line(self, edge: usize) -> String {
        let (node, input) = EDGES[edge];
        format!("edge{input}{node} = {}", self.0[edge].code())
    }

    /// The line that differs from `parent`'s, for a cell one edit away.
    pub fn edit_of(self, parent: Cell) -> String {
        let edge = (0..EDGES.len()).find(|&edge| self.0[edge] != parent.0[edge]);
        edge.map(|edge| self.line(edge)).unwrap_or_default()
    }
}

/// Reads code as cells.
#[derive(Debug, Clone)]
pub struct CellReader {
    /// Architecture id to cell number.
    cells: BTreeMap<String, usize>,
}

impl CellReader {
    /// Lowers every cell once; a few seconds.
    pub fn new() -> CellReader {
        let ids: Vec<Option<String>> = (0..CELLS)
            .into_par_iter()
            .map(|number| read(&Cell::from_number(number).to_module()).ok().map(|it| it.architecture_id()))
            .collect();
        let mut cells = BTreeMap::new();
        for (number, id) in ids.into_iter().enumerate() {
            if let Some(id) = id {
                cells.entry(id).or_insert(number);
            }
        }
        CellReader { cells }
    }

    /// The cell of an architecture.
    pub fn cell(&self, architecture: &str) -> Option<Cell> {
        self.cells.get(architecture).map(|&number| Cell::from_number(number))
    }

    /// Number of different networks.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no cell could be read.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

impl Default for CellReader {
    fn default() -> CellReader {
        CellReader::new()
    }
}

impl Reader for CellReader {
    fn read(&self, source: &str) -> Result<Network, Refused> {
        let source = &with_helpers(source);
        let graph = read(source).map_err(|refusal| Refused::of(&refusal, source))?;
        if self.cell(&graph.architecture_id()).is_none() {
            let message =
                "expected a cell of the benchmark, got a network that computes something else".into();
            return Err(Refused { verdict: Verdict::Unsupported, message });
        }
        Ok(Network { graph, source: source.to_owned(), repairs: Vec::new() })
    }

    fn edits(&self, network: &Network) -> Option<Vec<Edited>> {
        let cell = self.cell(&network.graph.architecture_id())?;
        let edited = |number| {
            let child = Cell::from_number(number);
            Edited { source: child.to_module(), what: child.edit_of(cell) }
        };
        Some(CellSpace.neighbours(cell.number()).into_iter().map(edited).collect())
    }

    fn seed(&self) -> Option<String> {
        Some(FIRST.to_module())
    }
}

/// The source with the classes that it does not define, before its own first one: a child keeps those that it names,
/// and its children may name the others.
fn with_helpers(source: &str) -> String {
    let defines = |name: &str| source.lines().any(|line| line.starts_with(&format!("class {name}(")));
    let missing: String =
        HELPERS.iter().filter(|(name, _)| !defines(name)).map(|(_, text)| format!("{text}\n\n")).collect();
    let first = if source.starts_with("class ") { Some(0) } else { source.find("\nclass ").map(|at| at + 1) };
    let (before, after) = source.split_at(first.unwrap_or(source.len()));
    format!("{before}{missing}{after}")
}

fn read(source: &str) -> Result<crate::graph::Graph, lower::Refusal> {
    let request = lower::Request { entry: Some("Net()"), ..lower::Request::new(source, &SIZES, None) };
    lower(&request).map(|network| network.graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_read_back_from_its_code_and_from_other_words_for_it() {
        let reader = CellReader::new();
        // Of cells that differ in the order of nodes only, the first stands for all.
        assert!(reader.len() > CELLS / 2 && reader.len() <= CELLS, "{}", reader.len());
        for number in (0..CELLS).step_by(389) {
            let cell = Cell::from_number(number);
            let network = reader.read(&cell.to_module()).unwrap();
            let first = reader.cell(&network.graph.architecture_id()).unwrap();
            assert!(first.number() <= number);
            assert_eq!(
                network.facts().architecture,
                reader.read(&first.to_module()).unwrap().facts().architecture
            );
        }
        let cell = Cell::from_code("330133").unwrap();
        let other = cell
            .to_module()
            .replace(
                "self.edge01 = ConvBN(3)",
                "self.first = nn.Sequential(nn.ReLU(), \
                 nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))",
            )
            .replace("self.edge01(x)", "self.first(x)");
        assert_eq!(reader.cell(&reader.read(&other).unwrap().graph.architecture_id()), Some(cell));
        let outside = cell.to_module().replace("self.edge01 = ConvBN(3)", "self.edge01 = ConvBN(5)");
        assert_eq!(reader.read(&outside).unwrap_err().verdict, Verdict::Unsupported);
    }

    #[test]
    fn what_a_cell_does_not_name_its_children_may() {
        let reader = CellReader::new();
        let whole = Cell::from_code("330133").unwrap().to_module();
        assert_eq!(with_helpers(&whole), whole);
        // As a parent without convolutions leaves it to a child that has one.
        let start = whole.find("class ConvBN").unwrap();
        let end = whole.find("class Zero").unwrap();
        let without = format!("{}{}", &whole[..start], &whole[end..]);
        let network = reader.read(&without).unwrap();
        assert_eq!(network.source, whole);
        let neither = format!("{IMPORTS}\n\n{}", FIRST.to_class());
        assert_eq!(reader.read(&neither).unwrap().source, FIRST.to_module());
        assert!(with_helpers("x = 1\n").starts_with("x = 1\n"));
    }

    #[test]
    fn a_cell_has_24_edits_of_one_line_each() {
        let cell = Cell::from_code("330133").unwrap();
        let mut lines: Vec<String> = CellSpace
            .neighbours(cell.number())
            .into_iter()
            .map(|number| Cell::from_number(number).edit_of(cell))
            .collect();
        assert_eq!(lines[0], "edge01 = Zero()");
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 24);
    }
}
