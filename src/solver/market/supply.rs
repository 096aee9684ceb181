//! What there is of counted devices: the nodes by the class of their pools.

use std::collections::BTreeMap;

use crate::model::{Cluster, PoolClass};

/// Number of pools of each class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supply {
    classes: BTreeMap<PoolClass, u64>,
}

impl Supply {
    /// What a cluster has. One pass over its nodes.
    pub fn of(cluster: &Cluster) -> Self {
        let mut counts = vec![0; cluster.classes().len()];
        for index in cluster.indices() {
            for class in cluster.row(index).pools.iter().filter_map(|pool| pool.class) {
                counts[class.get()] += 1;
            }
        }
        let classes = cluster.classes().iter().map(|(class, id)| (class, counts[id.get()]));
        let is_there = |(class, count): &(&PoolClass, u64)| *count > 0 && class.units > 0;
        Self { classes: classes.filter(is_there).map(|(class, count)| (class.clone(), count)).collect() }
    }

    /// The classes with their numbers of pools.
    pub fn classes(&self) -> impl Iterator<Item = (&PoolClass, u64)> {
        self.classes.iter().map(|(class, &count)| (class, count))
    }

    /// How far two are apart: the part of all pools that is in one and not in the other, from 0 to 1; 1 where one has
    /// a class that the other has not.
    pub fn distance(&self, other: &Self) -> f64 {
        if !self.classes.keys().eq(other.classes.keys()) {
            return 1.0;
        }
        let pairs = self.classes.values().zip(other.classes.values());
        let (apart, most) =
            pairs.fold((0, 0), |(apart, most), (&a, &b)| (apart + a.abs_diff(b), most + a.max(b)));
        #[expect(clippy::cast_precision_loss, reason = "numbers of nodes, far below 2^52")]
        let part = apart as f64 / u64::max(most, 1) as f64;
        part
    }
}
