//! Centroids to the polygons of their niches: the unit square cut by the bisectors with every other centroid.
//!
//! One limit: every pair of centroids is looked at, fine for ten thousand.

/// Centroids that are cut with before others are looked at.
const NEAREST: usize = 24;

/// The polygon of each niche, in the order of the centroids, counter-clockwise.
pub(super) fn polygons(centroids: &[[f64; 2]]) -> Vec<Vec<[f64; 2]>> {
    let square = vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
    centroids
        .iter()
        .enumerate()
        .map(|(index, &centre)| {
            let mut others: Vec<[f64; 2]> = centroids.to_vec();
            others.swap_remove(index);
            // The nearest ones first: they leave so little that the others are too far to cut it.
            if others.len() > NEAREST {
                others.select_nth_unstable_by(NEAREST, |a, b| {
                    squared(centre, *a).total_cmp(&squared(centre, *b))
                });
            }
            let mut polygon = square.clone();
            let mut reach = f64::INFINITY;
            for (place, other) in others.into_iter().enumerate() {
                if squared(centre, other) > 4.0 * reach {
                    continue;
                }
                polygon = clip(&polygon, centre, other);
                if place >= NEAREST || place % 8 == 7 {
                    reach = polygon.iter().map(|corner| squared(centre, *corner)).fold(0.0, f64::max);
                }
            }
            polygon
        })
        .collect()
}

/// The squared distance of two points.
fn squared(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

/// The part of `polygon` that is nearer to `centre` than to `other`.
fn clip(polygon: &[[f64; 2]], centre: [f64; 2], other: [f64; 2]) -> Vec<[f64; 2]> {
    let normal = [other[0] - centre[0], other[1] - centre[1]];
    let middle = [(other[0] + centre[0]) / 2.0, (other[1] + centre[1]) / 2.0];
    let side = |p: [f64; 2]| (p[0] - middle[0]) * normal[0] + (p[1] - middle[1]) * normal[1];
    let mut kept = Vec::with_capacity(polygon.len() + 1);
    for (index, &a) in polygon.iter().enumerate() {
        let b = polygon[(index + 1) % polygon.len()];
        let (at_a, at_b) = (side(a), side(b));
        if at_a <= 0.0 {
            kept.push(a);
        }
        if (at_a < 0.0 && at_b > 0.0) || (at_a > 0.0 && at_b < 0.0) {
            let share = at_a / (at_a - at_b);
            kept.push([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(polygon: &[[f64; 2]]) -> f64 {
        let pairs = polygon.iter().zip(polygon.iter().cycle().skip(1));
        pairs.map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f64>() / 2.0
    }

    #[test]
    fn niches_tile_the_square() {
        // Multiples of irrational numbers spread over the square without a pattern.
        let centroids: Vec<_> =
            (1..=50).map(|n| [2f64.sqrt(), 3f64.sqrt()].map(|root| (f64::from(n) * root).fract())).collect();
        let total: f64 = polygons(&centroids).iter().map(|polygon| area(polygon)).sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
    }

    #[test]
    fn far_centroids_change_nothing() {
        let centroids: Vec<_> =
            (1..=400).map(|n| [2f64.sqrt(), 3f64.sqrt()].map(|root| (f64::from(n) * root).fract())).collect();
        let square = vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        for (index, polygon) in polygons(&centroids).iter().enumerate() {
            let others = (0..centroids.len()).filter(|&other| other != index);
            let by_all =
                others.fold(square.clone(), |kept, other| clip(&kept, centroids[index], centroids[other]));
            assert!((area(polygon) - area(&by_all)).abs() < 1e-12, "{index}");
        }
    }

    #[test]
    fn two_centroids_share_the_square_in_the_middle() {
        let halves = polygons(&[[0.25, 0.5], [0.75, 0.5]]);
        assert!(halves.iter().all(|half| (area(half) - 0.5).abs() < 1e-12));
    }
}
