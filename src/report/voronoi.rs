//! Centroids to the polygons of their niches: the unit square cut by the bisectors with every other centroid.
//!
//! One limit: quadratic in the number of niches, fine for a thousand.

/// The polygon of each niche, in the order of the centroids, counter-clockwise.
pub(super) fn polygons(centroids: &[[f64; 2]]) -> Vec<Vec<[f64; 2]>> {
    let square = vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
    centroids
        .iter()
        .enumerate()
        .map(|(index, &centre)| {
            let others = centroids.iter().enumerate().filter(|(other, _)| *other != index);
            others.fold(square.clone(), |polygon, (_, &other)| clip(&polygon, centre, other))
        })
        .collect()
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
    fn two_centroids_share_the_square_in_the_middle() {
        let halves = polygons(&[[0.25, 0.5], [0.75, 0.5]]);
        assert!(halves.iter().all(|half| (area(half) - 0.5).abs() < 1e-12));
    }
}
