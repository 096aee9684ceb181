//! Costs of many nodes as the levels of the extender protocol.

use super::Cost;

/// Highest level of an extender score (`MaxExtenderPriority` of kube-scheduler).
const LEVEL_MAX: u8 = 10;

/// One level per node: 10 for the best one alone, 9 down to 0 evenly by rank of cost for the others; equal costs get equal
/// levels. kube-scheduler picks at random among equal scores, so the best node must not share its level.
///
/// `first` says which of two nodes of equal cost comes first (their names do).
pub fn levels(costs: &[Cost], first: impl Fn(usize, usize) -> bool) -> Vec<u8> {
    let mut ranked: Vec<Cost> = costs.to_vec();
    ranked.sort_unstable();
    ranked.dedup();
    let Some(&least) = ranked.first() else { return Vec::new() };
    let below = usize::from(LEVEL_MAX) - 1;
    let steps = (ranked.len() - 1).max(1);
    let level_of: Vec<u8> = (0..ranked.len())
        .map(|rank| u8::try_from(below - (rank * below).div_euclid(steps)).expect("at most 9"))
        .collect();
    let mut best = None;
    for (node, &cost) in costs.iter().enumerate() {
        if cost == least && best.is_none_or(|best| first(node, best)) {
            best = Some(node);
        }
    }
    let mut levels: Vec<u8> = costs
        .iter()
        .map(|cost| level_of[ranked.binary_search(cost).expect("every cost is ranked")])
        .collect();
    if let Some(best) = best {
        levels[best] = LEVEL_MAX;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_node_is_alone_at_the_top() {
        assert_eq!(levels(&[5, 5, 5], |a, b| a < b), [10, 9, 9]);
        assert_eq!(levels(&[5, 5, 5], |a, b| a > b), [9, 9, 10]);
        assert_eq!(levels(&[7, 3, 7, 9], |a, b| a < b), [5, 10, 5, 0]);
        assert_eq!(levels(&[], |a, b| a < b), [] as [u8; 0]);
    }

    #[test]
    fn many_costs_spread_over_all_levels_in_order() {
        let costs: Vec<Cost> = (0..1000).collect();
        let levels = levels(&costs, |a, b| a < b);
        assert!(levels.is_sorted_by(|a, b| a >= b));
        assert_eq!((levels[0], levels[1], levels[999]), (10, 9, 0));
        let mut used = levels.clone();
        used.dedup();
        assert_eq!(used, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }
}
