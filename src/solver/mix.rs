//! How often each kind of request comes.

use std::collections::BTreeMap;

/// Shares of all requests: kinds that are known, and for the rest a prior.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix<K> {
    kinds: BTreeMap<K, f64>,
    prior: f64,
}

impl<K> Default for Mix<K> {
    /// Nothing is known.
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), prior: 1.0 }
    }
}

impl<K: Ord> Mix<K> {
    /// A mix beside a prior of this weight; weights are relative, and those that are not above zero count for nothing.
    pub fn new(kinds: impl IntoIterator<Item = (K, f64)>, prior: f64) -> Self {
        let mut sum: BTreeMap<K, f64> = BTreeMap::new();
        for (kind, weight) in kinds.into_iter().filter(|(_, weight)| weight.is_finite() && *weight > 0.0) {
            *sum.entry(kind).or_default() += weight;
        }
        if sum.is_empty() {
            return Self::default();
        }
        let total: f64 = sum.values().sum::<f64>() + prior;
        let kinds = sum.into_iter().map(|(kind, weight)| (kind, weight / total)).collect();
        Self { kinds, prior: prior / total }
    }

    /// The kinds with their shares of all requests; none for the prior.
    pub fn kinds(&self) -> impl Iterator<Item = (&K, f64)> {
        self.kinds.iter().map(|(kind, share)| (kind, *share))
    }

    /// The share that is not known.
    pub fn prior(&self) -> f64 {
        self.prior
    }

    /// How far two mixes are apart: half the sum of what the shares differ by, from 0 to 1.
    pub fn distance(&self, other: &Self) -> f64 {
        let kinds = self.kinds.keys().chain(other.kinds.keys().filter(|kind| !self.kinds.contains_key(kind)));
        let share = |mix: &Self, kind: &K| mix.kinds.get(kind).copied().unwrap_or(0.0);
        let apart: f64 = kinds.map(|kind| (share(self, kind) - share(other, kind)).abs()).sum();
        0.5 * (apart + (self.prior - other.prior).abs())
    }
}
