//! A grid over the unit square: rows of equal rectangles as niches (Mouret and Clune 2015, MAP-Elites).
//!
//! Input: numbers of columns and rows. Output: the niche of a point. Limit: a border belongs to the niche above it,
//! but for the square's own.

/// Niches of the unit square in columns and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    columns: usize,
    rows: usize,
    centres: Vec<[f64; 2]>,
}

impl Grid {
    /// A grid of `columns` by `rows` niches, at least one.
    pub fn new(columns: usize, rows: usize) -> Grid {
        let (columns, rows) = (columns.max(1), rows.max(1));
        let centre = |niche: usize| {
            let (column, row) = (niche % columns, niche / columns);
            [(column as f64 + 0.5) / columns as f64, (row as f64 + 0.5) / rows as f64]
        };
        Grid { columns, rows, centres: (0..columns * rows).map(centre).collect() }
    }

    /// The middle of each niche.
    pub fn centroids(&self) -> &[[f64; 2]] {
        &self.centres
    }

    /// The niche of a point of the unit square.
    pub fn niche_of(&self, [x, y]: [f64; 2]) -> usize {
        let place = |value: f64, count: usize| ((value * count as f64) as usize).min(count - 1);
        place(x, self.columns) + self.columns * place(y, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::RootSeed;

    #[test]
    fn every_point_belongs_to_the_niche_of_the_nearest_centre_on_its_axes() {
        let grid = Grid::new(7, 3);
        let mut stream = RootSeed(0).stream("points", &[]);
        let mut hit = [0usize; 21];
        for _ in 0..5000 {
            let point = [stream.uniform(), stream.uniform()];
            let niche = grid.niche_of(point);
            let centre = grid.centroids()[niche];
            assert!((centre[0] - point[0]).abs() <= 0.5 / 7.0 + 1e-12);
            assert!((centre[1] - point[1]).abs() <= 0.5 / 3.0 + 1e-12);
            hit[niche] += 1;
        }
        assert!(hit.iter().all(|&count| count > 100), "{hit:?}");
    }

    #[test]
    fn the_corners_of_the_square_have_niches() {
        let grid = Grid::new(4, 5);
        assert_eq!(
            [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].map(|point| grid.niche_of(point)),
            [0, 3, 16, 19]
        );
    }
}
