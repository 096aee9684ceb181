//! `GET /v1/fragmentation`: where the cluster's capacity is, and where it is lost.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::view::kind_words;
use crate::mig::{Catalog, ModelRow, Occupancy, ProfileName};
use crate::model::{Cluster, Node, Partitioned, PoolKind};
use crate::solver::{Fragmentation, Scores, whole_gpu_fragmentation};

/// NVML memory slices of one GPU or of many (A100: 8, A30: 4, RTX PRO 6000: 12 per GPU).
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FreeView {
    total_memory_slices: u32,
    used_memory_slices: u32,
    free_memory_slices: u32,
    usable_memory_slices: u32,
    stranded_memory_slices: u32,
    /// Expected free memory slices that a request drawn from the demand cannot use.
    fragmentation_cost: f64,
}

impl FreeView {
    pub(super) fn new(of: Fragmentation) -> Self {
        let mut view = Self::default();
        view.add(of);
        view
    }

    fn add(&mut self, of: Fragmentation) {
        self.total_memory_slices += of.total;
        self.used_memory_slices += of.used;
        self.free_memory_slices += of.free;
        self.usable_memory_slices += of.usable;
        self.stranded_memory_slices += of.stranded;
        self.fragmentation_cost += of.cost;
    }
}

/// Where the cluster's capacity is, and where it is lost.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FragmentationView {
    generation: u64,
    all: Capacity,
    /// By product label; GPUs of nodes without one by the model that their agent reports, or `other`.
    by_model: BTreeMap<String, Capacity>,
}

/// Capacity of one GPU model, or of all.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Capacity {
    /// GPUs that Tangram partitions.
    dynamic_gpus: u32,
    /// Those of them that take nothing more: unhealthy, or with claims that contradict each other.
    closed_gpus: u32,
    /// Memory slices of closed GPUs, in no other figure.
    closed_memory_slices: u32,
    dynamic: FreeView,
    /// GPUs that somebody else partitioned, where agents report them.
    #[serde(rename = "static", skip_serializing_if = "StaticView::is_empty")]
    partitioned: StaticView,
    /// Memory of free slices that no profile of the demand can use, or no static partition has, so that models
    /// compare.
    stranded_mib: u64,
    /// Counted devices, by resource name and kind.
    pools: Vec<PoolCapacity>,
}

/// Healthy GPUs in MIG mode that are not Tangram's to partition, in NVML memory slices.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StaticView {
    gpus: u32,
    total_memory_slices: u32,
    /// Of partitions that pods hold, or share.
    used_memory_slices: u32,
    /// Of partitions that nobody holds.
    free_memory_slices: u32,
    /// In no partition: nobody can ask for them.
    stranded_memory_slices: u32,
}

impl StaticView {
    fn is_empty(&self) -> bool {
        self.gpus == 0
    }

    fn add(&mut self, of: Partitioned) {
        self.gpus += 1;
        self.total_memory_slices += of.held + of.free + of.stranded;
        self.used_memory_slices += of.held;
        self.free_memory_slices += of.free;
        self.stranded_memory_slices += of.stranded;
    }
}

/// Counted devices of one resource name and kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PoolCapacity {
    resource: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    capacity: u32,
    used: u32,
    free: u32,
    /// Expected free GPUs that a multi-GPU job drawn from the demand cannot use; whole devices only.
    #[serde(skip_serializing_if = "Option::is_none")]
    fragmentation_gpus: Option<f64>,
}

impl FragmentationView {
    /// Sums over a cluster.
    pub fn new(cluster: &Cluster, scores: &Scores, generation: u64) -> Self {
        let mut view = Self { generation, ..Self::default() };
        for node in cluster.by_name() {
            view.all.add(node, scores);
            view.by_model.entry(model_of(node)).or_default().add(node, scores);
        }
        view.by_model.retain(|_, capacity| {
            capacity.dynamic_gpus > 0 || !capacity.partitioned.is_empty() || !capacity.pools.is_empty()
        });
        view
    }
}

/// Memory of some memory slices of a GPU.
fn mib(row: &ModelRow, slices: u32) -> u64 {
    let of_all = u64::from(row.memory_mib()) * u64::from(slices);
    of_all.div_euclid(u64::from(row.memory_slices))
}

fn model_of(node: &Node) -> String {
    let reported = || node.report.as_ref()?.gpus.first().map(|gpu| gpu.product.to_string());
    let labelled = Some(node.facts.product.to_string());
    labelled.filter(|product| !product.is_empty()).or_else(reported).unwrap_or_else(|| "other".to_owned())
}

impl Capacity {
    fn add(&mut self, node: &Node, scores: &Scores) {
        for gpu in node.dynamic_gpus() {
            self.dynamic_gpus += 1;
            let row = gpu.model.map(|model| Catalog::get().row(model));
            if gpu.occupancy == Occupancy::CLOSED {
                self.closed_gpus += 1;
                self.closed_memory_slices += row.map_or(0, |row| u32::from(row.memory_slices));
                continue;
            }
            let of = scores.fragmentation(gpu.occupancy);
            self.dynamic.add(of);
            self.stranded_mib += mib(row.expect("an open GPU has a model"), of.stranded);
        }
        for (row, of) in node.partitioned() {
            self.partitioned.add(of);
            self.stranded_mib += mib(row, of.stranded);
        }
        for (facts, pool) in node.pools().filter(|(facts, pool)| facts.capacity > 0 || pool.used > 0) {
            let (kind, profile, _) = kind_words(&facts.kind);
            let free = facts.capacity.saturating_sub(pool.used);
            let sum = self.pool(&facts.resource, kind, profile);
            sum.capacity = sum.capacity.saturating_add(facts.capacity);
            sum.used = sum.used.saturating_add(pool.used);
            sum.free = sum.free.saturating_add(free);
            if facts.kind == PoolKind::Whole {
                *sum.fragmentation_gpus.get_or_insert(0.0) += whole_gpu_fragmentation(free);
            }
        }
    }

    /// The sum of one resource and kind, in order.
    fn pool(
        &mut self,
        resource: &str,
        kind: &'static str,
        profile: Option<&ProfileName>,
    ) -> &mut PoolCapacity {
        let profile = profile.map(ToString::to_string);
        let key = (resource, kind, profile.as_deref());
        let place = self
            .pools
            .binary_search_by(|sum| (sum.resource.as_str(), sum.kind, sum.profile.as_deref()).cmp(&key));
        let place = place.unwrap_or_else(|place| {
            let (capacity, used, free, fragmentation_gpus) = (0, 0, 0, None);
            let resource = resource.to_owned();
            let sum = PoolCapacity {
                resource,
                kind,
                profile: profile.clone(),
                capacity,
                used,
                free,
                fragmentation_gpus,
            };
            self.pools.insert(place, sum);
            place
        });
        &mut self.pools[place]
    }
}
