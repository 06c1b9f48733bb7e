//! The cells of NAS-Bench-201 as a [`Space`]: a point is a cell's number, an edit changes the operation of one edge.
//!
//! Features: the operations with edges that cannot carry anything to the output written as `none`, and the paths
//! from input to output with identities dropped. Limit: paths do not say where sums are taken, so a convolution of a
//! sum and a sum of convolutions differ in their edges only.

use std::collections::BTreeMap;

use crate::bench::nasbench201::cell::PATHS;
use crate::bench::nasbench201::{Cell, Operation, network};
use crate::bench::space::{Features, Space};

/// The space of all cells.
#[derive(Debug, Clone, Copy)]
pub struct CellSpace;

impl Space for CellSpace {
    fn positions(&self) -> usize {
        6
    }

    fn choices(&self) -> usize {
        Operation::ALL.len()
    }

    fn point(&self, choices: &[u8]) -> usize {
        choices.iter().fold(0, |point, &choice| point * self.choices() + usize::from(choice))
    }

    fn spell(&self, point: usize) -> Vec<u8> {
        Cell::from_number(point).0.iter().map(|&operation| operation as u8).collect()
    }

    fn features(&self, point: usize) -> Features {
        let operations = Cell::from_number(point).0;
        let mut symbols = vec![Operation::None as u8; operations.len()];
        let mut words: BTreeMap<u8, u8> = BTreeMap::new();
        for path in live_paths(operations) {
            let mut word = 0;
            for &edge in path {
                symbols[edge] = operations[edge] as u8;
                if operations[edge] != Operation::Skip {
                    // 1, 2, 3 for the other three: base 4 leaves 0 for "no letter", so words of all lengths differ.
                    word = word * 4 + operations[edge] as u8 - 1;
                }
            }
            *words.entry(word).or_default() += 1;
        }
        Features { symbols, words: words.into_iter().collect() }
    }

    /// [most convolutions on one live path, of 3; parameters of the cells, of those of six 3x3 convolutions].
    fn descriptor(&self, point: usize) -> [f64; 2] {
        let cell = Cell::from_number(point);
        let convolution = |&&edge: &&usize| matches!(cell.0[edge], Operation::Conv1x1 | Operation::Conv3x3);
        let depth = live_paths(cell.0).map(|path| path.iter().filter(convolution).count()).max().unwrap_or(0);
        let most = Cell([Operation::Conv3x3; 6]);
        let share = network::cell_parameters(cell) as f64 / network::cell_parameters(most) as f64;
        [depth as f64 / 3.0, share]
    }
}

/// The paths on which no edge is `none`.
fn live_paths(operations: [Operation; 6]) -> impl Iterator<Item = &'static [usize]> {
    PATHS.into_iter().filter(move |path| path.iter().all(|&edge| operations[edge] != Operation::None))
}

#[cfg(test)]
mod tests {
    use crate::bench::nasbench201::{Cell, CellSpace};
    use crate::bench::space::Space;

    fn features(code: &str) -> crate::bench::space::Features {
        CellSpace.features(Cell::from_code(code).unwrap().number())
    }

    #[test]
    fn an_edge_that_cannot_reach_the_output_is_no_feature() {
        // Node 2 receives something, but the edge from it to the output is `none`.
        assert_eq!(features("334110"), features("300110"));
        // Node 1 receives nothing, so the edges out of it carry nothing.
        assert_eq!(features("030133"), features("034103").clone());
        assert_ne!(features("030133"), features("030233"));
    }

    #[test]
    fn an_identity_is_no_letter_of_a_path() {
        // 0 -3x3-> 3 directly, through a skip to node 1, and through a skip after node 1.
        assert_eq!(features("000300").words, features("100030").words);
        assert_eq!(features("000300").words, features("300010").words);
        assert_ne!(features("000300").symbols, features("100030").symbols);
    }

    #[test]
    fn points_and_choices_are_inverse_and_every_point_has_24_neighbours() {
        for point in (0..CellSpace.len()).step_by(97) {
            assert_eq!(CellSpace.point(&CellSpace.spell(point)), point);
            let neighbours = CellSpace.neighbours(point);
            assert_eq!(neighbours.len(), 24);
            assert!(neighbours.iter().all(|&n| CellSpace.neighbours(n).contains(&point)));
        }
    }

    #[test]
    fn descriptors_span_the_unit_square() {
        let of = |code: &str| CellSpace.descriptor(Cell::from_code(code).unwrap().number());
        assert_eq!(of("000000"), [0.0, 0.0]);
        assert_eq!(of("333333"), [1.0, 1.0]);
        assert_eq!(of("300030")[0], 2.0 / 3.0);
    }
}
