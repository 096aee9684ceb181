//! `GET /v1/history`: a few figures of the cluster over time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use utoipa::ToSchema;

use crate::mig::{Catalog, Geometry, ProfileId, StateId};
use crate::model::{Cluster, Node, Pod};
use crate::solver::Scores;

/// The last hour, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// Seconds between two samples.
    pub interval_seconds: u64,
    /// At most an hour of them.
    pub samples: Vec<SampleView>,
}

/// The cluster at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampleView {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Number of the snapshot.
    pub generation: u64,
    /// GPU memory in MiB: of everything that pods can ask for, healthy or not yet known to be otherwise.
    pub total_mib: u64,
    /// What pods hold of it.
    pub used_mib: u64,
    /// Free memory slices that no profile of the demand can use.
    pub stranded_mib: u64,
    /// `usedMib` over `totalMib`, 0 to 1.
    pub utilisation: f64,
    /// Part of the free memory slices of dynamic GPUs that a request drawn from the demand is expected not to be
    /// able to use, 0 to 1.
    pub fragmentation: f64,
    /// Pods with a place over pods that ask for a GPU, 0 to 1; absent where nobody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<f64>,
    /// Pods that ask for a GPU and have a place.
    pub placed: u64,
    /// Pods that ask for a GPU and wait.
    pub pending: u64,
    /// How many pods could start now, by what they ask for, each kind as if it came alone. Cordoned nodes and
    /// silent agents count for nothing; not in the history.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub startable: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Sums {
    free_slices: u64,
    lost_slices: f64,
    counted: BTreeMap<Arc<str>, u64>,
    occupied: BTreeMap<usize, u64>, // GPUs by occupancy
}

impl SampleView {
    /// The figures of a snapshot. One pass over all GPUs.
    pub fn new(at: i64, generation: u64, cluster: &Cluster, scores: &Scores, pending: &[Arc<Pod>]) -> Self {
        let mut view = Self { at, generation, ..Self::default() };
        let mut sums = Sums::default();
        for index in cluster.indices() {
            view.add(cluster.node(index), scores, &mut sums);
        }
        view.pending = pending.iter().map(|pod| u64::from(!pod.request.is_empty())).sum();
        let asking = view.placed + view.pending;
        view.utilisation = ratio(view.used_mib, view.total_mib);
        view.acceptance = (asking > 0).then(|| ratio(view.placed, asking));
        if sums.free_slices > 0 {
            view.fragmentation = sums.lost_slices / whole(sums.free_slices);
        }
        view.startable = sums.startable();
        view
    }

    fn add(&mut self, node: &Node, scores: &Scores, sums: &mut Sums) {
        let is_open = !node.facts.is_unschedulable;
        for gpu in node.dynamic_gpus() {
            let of = scores.fragmentation(gpu.occupancy);
            let Some(row) = gpu.model.filter(|_| of.total > 0).map(|model| Catalog::get().row(model)) else {
                continue;
            };
            let mib = |slices: u32| {
                (u64::from(row.memory_mib()) * u64::from(slices)).div_euclid(u64::from(row.memory_slices))
            };
            self.total_mib += mib(of.total);
            self.used_mib += mib(of.used);
            self.stranded_mib += mib(of.stranded);
            sums.free_slices += u64::from(of.free);
            sums.lost_slices += of.cost;
            if is_open && !node.is_silent {
                *sums.occupied.entry(gpu.occupancy.index()).or_default() += 1;
            }
        }
        for (facts, pool) in node.pools() {
            let value = u64::from(facts.value_mib);
            self.total_mib += value * u64::from(facts.capacity);
            self.used_mib += value * u64::from(pool.used.min(facts.capacity));
            if is_open && facts.capacity > 0 {
                let free = u64::from(facts.capacity.saturating_sub(pool.used));
                *sums.counted.entry(facts.resource.clone()).or_default() += free;
            }
        }
        self.placed += node.pods.iter().map(|pod| u64::from(!pod.request.is_empty())).sum::<u64>();
    }

    /// The sample as the history keeps it.
    #[must_use]
    pub fn brief(&self) -> Self {
        Self { startable: BTreeMap::new(), ..self.clone() }
    }
}

impl Sums {
    fn startable(&self) -> BTreeMap<String, u64> {
        let mut startable: BTreeMap<String, u64> =
            self.counted.iter().map(|(resource, free)| (resource.to_string(), *free)).collect();
        for (occupancy, gpus) in &self.occupied {
            for (name, count) in &most()[*occupancy] {
                *startable.entry(format!("tangram.gpu/mig-{name}")).or_default() += gpus * u64::from(*count);
            }
        }
        startable
    }
}

/// By occupancy: how many instances of each profile still fit.
fn most() -> &'static [Vec<(String, u8)>] {
    static MOST: LazyLock<Vec<Vec<(String, u8)>>> = LazyLock::new(|| {
        let catalog = Catalog::get();
        let mut table = vec![Vec::new()]; // a closed GPU
        for model in catalog.models() {
            let (geometry, layouts) = (catalog.geometry(model), catalog.layouts(model));
            let plain = (0..).zip(geometry.profiles()).filter(|(_, profile)| !profile.name.has_attribute());
            let columns: Vec<(String, Vec<u8>)> =
                plain.map(|(id, profile)| (profile.name.to_string(), most_of(geometry, id))).collect();
            table.extend((0..layouts.count()).map(|layout| {
                let state = usize::from(layouts.state(layout));
                columns.iter().map(|(name, column)| (name.clone(), column[state])).collect()
            }));
        }
        table
    });
    &MOST
}

/// By state, backwards over the states, which placements only ever fill.
fn most_of(geometry: &Geometry, profile: ProfileId) -> Vec<u8> {
    let mut order: Vec<StateId> = (0..geometry.states()).collect();
    order.sort_by_key(|&state| geometry.free(state));
    let mut most = vec![0; order.len()];
    for state in order {
        let after = geometry.legal(state, profile).map(|(_, after)| 1 + most[usize::from(after)]);
        most[usize::from(state)] = after.max().unwrap_or(0);
    }
    most
}

fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { whole(part) / whole(all) }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people; 2^53 MiB is more than there is")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_gpu_starts_as_many_as_its_table_says() {
        let catalog = Catalog::get();
        let model = catalog.by_product("NVIDIA-H100-80GB-HBM3").unwrap();
        let row = &most()[catalog.empty(model).index()];
        let count = |name: &str| row.iter().find(|(profile, _)| profile == name).unwrap().1;
        assert_eq!(["1g.10gb", "2g.20gb", "3g.40gb", "7g.80gb"].map(count), [7, 3, 2, 1]);
        assert_eq!(most()[0], []);
        assert_eq!(most().len(), catalog.occupancies());
    }
}
