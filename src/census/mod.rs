//! The cluster counted: where capacity is and where it is lost, what could start now, and what waits.
//!
//! ```text
//! bounds   how many series a census may have: names come from objects that anyone may write
//! group    GPUs of one model in one node pool
//! gpus     one GPU: how much of it is held
//! pending  what pods without a node ask for
//! ```
//!
//! A census is a function of a snapshot and of the pods that wait, made for people and for Prometheus; nothing is
//! decided by it. However many namespaces, models, pools and resource names there are, it has no more entries
//! than its [`Bounds`] allow: what is left over is summed up under [`OTHER`], never dropped.

mod bounds;
mod gpus;
mod group;
mod pending;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use bounds::Bounds;
pub use gpus::GpuUse;
pub use group::{Devices, Group, Mode, Slices};
pub use pending::{Asked, Pending};

use crate::mig::{Catalog, ProfileName};
use crate::model::{Cluster, Node, Pod};
use crate::solver::Scores;

/// Stands for everything that has no entry of its own.
pub const OTHER: &str = "other";

/// Where GPUs are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Product name without spaces, as GPU feature discovery writes it: by label, or as the node's agent reports.
    pub model: Arc<str>,
    /// Value of the first of [`Bounds::pool_labels`] that the node has; empty where it has none.
    pub node_pool: Arc<str>,
}

/// The cluster counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Census {
    /// Nodes.
    pub nodes: u32,
    /// GPUs and other devices, by model and node pool.
    pub groups: BTreeMap<Place, Group>,
    /// Problems of nodes by kind; see [`Problem::name`](crate::model::Problem::name).
    pub problems: BTreeMap<&'static str, u32>,
    /// Pods that ask for devices and have a node.
    pub pods_bound: u32,
    /// What the pods that ask for devices and have none ask for.
    pub pending: Pending,
    /// GPUs whose UUID is known, by node and index.
    pub gpus: Vec<GpuUse>,
    /// GPUs with a UUID beyond [`Bounds::gpus`].
    pub gpus_left_out: u32,
}

impl Census {
    /// Counts a cluster, and the pods that wait.
    pub fn new(cluster: &Cluster, scores: &Scores, waiting: &[Arc<Pod>], bounds: &Bounds) -> Self {
        let mut census = Self { pending: Pending::new(waiting, bounds), ..Self::default() };
        let mut groups = BTreeMap::<Place, Group>::new();
        for node in cluster.by_name() {
            census.nodes += 1;
            for problem in &node.problems {
                *census.problems.entry(problem.name()).or_default() += 1;
            }
            let holders = node.pods.iter().filter(|pod| !pod.request.is_empty());
            census.pods_bound += u32::try_from(holders.count()).unwrap_or(u32::MAX);
            if !node.gpus.is_empty() || !node.facts.pools.is_empty() {
                groups.entry(place(node, bounds)).or_default().add(node, scores);
            }
            for gpu in node.gpus.iter().filter_map(|gpu| GpuUse::new(node, gpu)) {
                if census.gpus.len() < bounds.gpus {
                    census.gpus.push(gpu);
                } else {
                    census.gpus_left_out += 1;
                }
            }
        }
        groups.values_mut().for_each(Group::finish);
        let other = Place { model: OTHER.into(), node_pool: OTHER.into() };
        census.groups = bounds::largest(groups, bounds.groups, &other, Group::size, Group::merge);
        census
    }

    /// Of the pods that ask for devices, the share that has a node; 1 where nobody asks.
    pub fn acceptance(&self) -> f64 {
        let all = f64::from(self.pods_bound) + f64::from(self.pending.pods());
        if all > 0.0 { f64::from(self.pods_bound) / all } else { 1.0 }
    }
}

fn place(node: &Node, bounds: &Bounds) -> Place {
    let facts = &node.facts;
    let reported = || Some(node.report.as_ref()?.gpus.first()?.product.replace(' ', "-").into());
    let labelled = Some(facts.product.clone()).filter(|product| !product.is_empty());
    let pool = bounds.pool_labels.iter().find_map(|label| facts.labels.get(label.as_str()));
    Place {
        model: labelled.or_else(reported).unwrap_or_else(|| OTHER.into()),
        node_pool: pool.cloned().unwrap_or_else(|| "".into()),
    }
}

/// A profile by its name where some GPU model has it; names that only a pod knows are all alike.
fn known(profile: &ProfileName) -> Arc<str> {
    if Catalog::get().offers(profile).is_empty() { OTHER.into() } else { profile.as_str().into() }
}
