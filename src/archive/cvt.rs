//! Centroidal Voronoi tessellation of the unit square: seeded samples to niches (Vassiliades et al. 2018,
//! CVT-MAP-Elites).
//!
//! Lloyd's k-means over uniform samples. One limit: centroids are a local optimum, as in the paper.

use crate::rng::RootSeed;

/// Lloyd's iterations at most.
const ITERATIONS: usize = 100;

/// Niches of the unit square: each point belongs to the nearest centroid.
#[derive(Debug, Clone, PartialEq)]
pub struct Cvt {
    centroids: Vec<[f64; 2]>,
}

impl Cvt {
    /// `niches` centroids fitted to `samples` uniform points of the stream `("cvt", [])`.
    pub fn new(seed: RootSeed, niches: usize, samples: usize) -> Cvt {
        let mut stream = seed.stream("cvt", &[]);
        let points: Vec<[f64; 2]> =
            (0..samples.max(niches)).map(|_| [stream.uniform(), stream.uniform()]).collect();
        // Samples are in random order: the first ones are a random choice.
        let mut cvt = Cvt { centroids: points[..niches].to_vec() };
        let mut owners = vec![usize::MAX; points.len()];
        for _ in 0..ITERATIONS {
            let mut moved = false;
            let mut sums = vec![[0.0f64; 3]; niches];
            for (point, owner) in points.iter().zip(&mut owners) {
                let nearest = cvt.niche_of(*point);
                moved |= nearest != *owner;
                *owner = nearest;
                let [x, y, count] = &mut sums[nearest];
                *x += point[0];
                *y += point[1];
                *count += 1.0;
            }
            if !moved {
                break;
            }
            for (centroid, [x, y, count]) in cvt.centroids.iter_mut().zip(sums) {
                if count > 0.0 {
                    *centroid = [x / count, y / count];
                }
            }
        }
        cvt
    }

    /// The centroids, one per niche.
    pub fn centroids(&self) -> &[[f64; 2]] {
        &self.centroids
    }

    /// The niche of a point: the nearest centroid, the lowest index among equals.
    pub fn niche_of(&self, point: [f64; 2]) -> usize {
        let mut best = (f64::INFINITY, 0);
        for (index, centroid) in self.centroids.iter().enumerate() {
            let (dx, dy) = (centroid[0] - point[0], centroid[1] - point[1]);
            let distance = dx * dx + dy * dy;
            if distance < best.0 {
                best = (distance, index);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, Axis, Niches};

    #[test]
    fn defect_1_every_niche_is_reachable_because_descriptors_are_scaled() {
        // Defect 1 of the public code: unscaled descriptors reach 2 of 100 niches.
        let axes = [Axis { low: 0.0, high: 64.0 }, Axis { low: 4.0, high: 8.0 }];
        let archive = Archive::new(Niches::Cvt(Cvt::new(RootSeed(0), 100, 25_000)), axes);
        let mut stream = RootSeed(1).stream("points", &[]);
        let mut hit = vec![0usize; 100];
        for _ in 0..25_000 {
            hit[archive.niche_of([64.0 * stream.uniform(), 4.0 + 4.0 * stream.uniform()])] += 1;
        }
        assert!(hit.iter().all(|&count| (100..500).contains(&count)), "{hit:?}");
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let cvt = Cvt { centroids: vec![[0.25, 0.5], [0.75, 0.5], [0.75, 0.5]] };
        assert_eq!(cvt.niche_of([0.5, 0.5]), 0);
        assert_eq!(cvt.niche_of([0.9, 0.5]), 1);
    }

    #[test]
    fn centroids_depend_on_the_seed_alone() {
        assert_eq!(Cvt::new(RootSeed(3), 20, 1000), Cvt::new(RootSeed(3), 20, 1000));
        assert_ne!(Cvt::new(RootSeed(3), 20, 1000), Cvt::new(RootSeed(4), 20, 1000));
    }
}
