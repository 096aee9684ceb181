//! How many entries a census may have.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Bounds on the entries of a census, and so on the series of one scrape.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// Namespaces with entries of their own: those whose pods wait for most.
    pub namespaces: usize,
    /// Pairs of GPU model and node pool with entries of their own: those with most devices.
    pub groups: usize,
    /// GPUs with an entry each, in the order of their nodes' names.
    pub gpus: usize,
    /// Labels that name a node's pool; the first that a node has counts.
    pub pool_labels: Vec<String>,
}

impl Default for Bounds {
    fn default() -> Self {
        let labels = [
            "tangram.gpu/pool",
            "karpenter.sh/nodepool",
            "eks.amazonaws.com/nodegroup",
            "cloud.google.com/gke-nodepool",
            "kubernetes.azure.com/agentpool",
        ];
        Self { namespaces: 50, groups: 64, gpus: 4096, pool_labels: labels.map(str::to_owned).into() }
    }
}

/// Resource names and profiles with entries of their own, of each group and of each namespace: more than any node
/// or team has.
pub(super) const NAMES_MAX: usize = 24;

/// The entries of greatest weight, `max` at most; the rest merged into one under `other`. The same entries always
/// give the same answer: equal weights go by key.
pub(super) fn largest<K: Ord + Clone, V: Default>(
    mut entries: BTreeMap<K, V>,
    max: usize,
    other: &K,
    weight: impl Fn(&V) -> u64,
    mut merge: impl FnMut(&mut V, V),
) -> BTreeMap<K, V> {
    if entries.keys().filter(|key| *key != other).count() <= max {
        return entries;
    }
    let mut rest = entries.remove(other).unwrap_or_default();
    let mut sorted: Vec<(K, V)> = entries.into_iter().collect();
    sorted.sort_by_key(|(_, value)| std::cmp::Reverse(weight(value)));
    for (_, value) in sorted.split_off(max) {
        merge(&mut rest, value);
    }
    sorted.push((other.clone(), rest));
    sorted.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&'static str, u32)]) -> BTreeMap<&'static str, u32> {
        entries.iter().copied().collect()
    }

    fn kept(entries: &[(&'static str, u32)], max: usize) -> BTreeMap<&'static str, u32> {
        largest(of(entries), max, &"other", |value| u64::from(*value), |sum, value| *sum += value)
    }

    #[test]
    fn what_is_beyond_the_bound_is_summed_up_and_not_lost() {
        let four = [("a", 1), ("b", 7), ("c", 2), ("other", 5)];
        assert_eq!(kept(&four, 3), of(&four));
        assert_eq!(kept(&four, 1), of(&[("b", 7), ("other", 8)]));
        assert_eq!(kept(&four, 0), of(&[("other", 15)]));
        assert_eq!(kept(&[("a", 1), ("b", 1), ("c", 1)], 2), of(&[("a", 1), ("b", 1), ("other", 1)]));
    }
}
