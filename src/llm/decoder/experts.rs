//! Which experts a token uses: the router's probabilities in, experts with their weights out.
//!
//! A mixture of experts has many feed-forward layers in a block, of which a token uses the few that the router
//! finds most probable. Reference: `Qwen3MoeSparseMoeBlock` of transformers. Limit: no shared expert.

use super::Experts;

/// The most probable experts, the first of equal ones, with their weights.
pub(crate) fn route(probabilities: &[f32], experts: Experts) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
    order.truncate(experts.used);
    let sum: f32 = order.iter().map(|index| probabilities[*index]).sum();
    let divisor = if experts.normalized { sum } else { 1.0 };
    order.into_iter().map(|index| (index, probabilities[index] / divisor)).collect()
}

/// For each of `count` experts, the tokens that use it and with what weight, in token order.
pub(crate) fn users(routes: impl Iterator<Item = Vec<(usize, f32)>>, count: usize) -> Vec<Vec<(usize, f32)>> {
    let mut users = vec![Vec::new(); count];
    for (token, route) in routes.enumerate() {
        for (expert, weight) in route {
            users[expert].push((token, weight));
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::{Experts, route, users};

    #[test]
    fn the_most_probable_experts_are_used_and_the_first_of_equal_ones() {
        let experts = Experts { count: 4, used: 2, feed_forward: 1, normalized: true };
        assert_eq!(route(&[0.25, 0.125, 0.5, 0.125], experts), [(2, 2.0 / 3.0), (0, 1.0 / 3.0)]);
        let plain = Experts { normalized: false, ..experts };
        assert_eq!(route(&[0.25, 0.25, 0.25, 0.25], plain), [(0, 0.25), (1, 0.25)]);
    }

    #[test]
    fn every_expert_knows_its_tokens() {
        let routes = [vec![(1, 0.5), (0, 0.25)], vec![(1, 1.0)]];
        assert_eq!(users(routes.into_iter(), 3), [vec![(0, 0.25)], vec![(0, 0.5), (1, 1.0)], vec![]]);
    }
}
