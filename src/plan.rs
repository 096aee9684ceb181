//! The placement dry run: pods placed one after another on a copy of the cluster, which nothing else sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Cluster, NodeIndex, Placement, Pod, PodKey, Policy};
use crate::solver::{Cost, Query, Refusal, Scores, best, fits, intree_refusal, place, verify};

/// What became of one pod of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Where it goes, or why nowhere.
    pub outcome: Result<Place, NoPlace>,
}

/// A place for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: Arc<str>,
    /// Its GPU instances, where Tangram chooses them.
    pub placement: Placement,
    /// What the place costs.
    pub cost: Cost,
}

/// Why a pod has no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlace {
    /// Every reason with the nodes that give it.
    pub refusals: BTreeMap<Refusal, Refusers>,
    /// GPU by GPU: what stands in the way of the instances asked for, counted over the nodes that the other
    /// filters leave.
    pub details: Vec<String>,
}

/// The nodes that give one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusers {
    /// How many.
    pub count: usize,
    /// The first [`Refusers::NAMED_MAX`] by name.
    pub first: Vec<Arc<str>>,
}

impl Refusers {
    /// Nodes that are named: enough to go and look, while thousands of pods on thousands of nodes stay an
    /// answer of some megabytes.
    pub const NAMED_MAX: usize = 50;
}

impl From<Vec<Arc<str>>> for Refusers {
    fn from(mut names: Vec<Arc<str>>) -> Self {
        let count = names.len();
        if count > Self::NAMED_MAX {
            names.select_nth_unstable(Self::NAMED_MAX - 1); // of thousands only the first are sorted
            names.truncate(Self::NAMED_MAX);
        }
        names.sort();
        names.shrink_to_fit();
        Self { count, first: names }
    }
}

/// Places `pods` one after another. Pods that find no place hold nothing, so later ones may still fit.
///
/// Returns the outcomes in the order of the pods, and the cluster as it would be.
pub fn plan(
    mut cluster: Cluster,
    scores: &Scores,
    policy: Policy,
    pods: impl IntoIterator<Item = Arc<Pod>>,
) -> (Vec<Planned>, Cluster) {
    let mut planned: Vec<Planned> = Vec::new();
    for (number, pod) in pods.into_iter().enumerate() {
        // Nothing was placed since: replicas of what was just refused are refused alike.
        let same = planned.last().filter(|last| last.outcome.is_err() && is_alike(&last.pod, &pod));
        let outcome = match same {
            Some(last) => last.outcome.clone(),
            None => choose(&cluster, scores, policy, &pod).map(|(index, place)| {
                let node = cluster.node(index).with(&Arc::new(guest(&pod, &place, number)));
                cluster.put(Arc::new(node));
                place
            }),
        };
        planned.push(Planned { pod, outcome });
    }
    (planned, cluster)
}

/// Whether two pods find the same places: replicas of one workload do.
pub fn is_alike(a: &Pod, b: &Pod) -> bool {
    a.request == b.request && a.demand == b.demand && a.node == b.node
}

/// A planned pod on its node, under a name that no pod can have: one of the same name that runs already, or
/// is planned twice, is another pod.
pub(crate) fn guest(pod: &Pod, place: &Place, number: usize) -> Pod {
    let name = format!("{} (planned {number})", pod.key.name).into();
    let key = PodKey { namespace: pod.key.namespace.clone(), name };
    Pod { key, ..pod.bound_to(place.node.clone(), place.placement.clone()) }
}

/// The best node for a pod and the exact places there, checked; or why there is none.
///
/// # Errors
/// Why no node has a place, counted.
pub fn choose(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    pod: &Pod,
) -> Result<(NodeIndex, Place), NoPlace> {
    let query = Query::new(cluster, scores, pod, policy);
    let Some((cost, index)) = best(cluster, pod, &query) else { return Err(no_place(cluster, pod, &query)) };
    let node = cluster.node(index);
    let name = &node.facts.name;
    let placement =
        place(cluster, node, &pod.request, &query).expect("place agrees with evaluate on one cluster");
    if let Err(violation) = verify(node, &pod.request, &placement) {
        let defect = Refusal::Invalid(format!("the placement failed its check: {violation}").into());
        return Err(NoPlace {
            refusals: BTreeMap::from([(defect, vec![name.clone()].into())]),
            details: Vec::new(),
        });
    }
    Ok((index, Place { node: name.clone(), placement, cost }))
}

/// Why a pod that fits no node does not, node by node.
pub fn no_place(cluster: &Cluster, pod: &Pod, query: &Query<'_>) -> NoPlace {
    let mut refusals: BTreeMap<Refusal, Vec<Arc<str>>> = BTreeMap::new();
    let mut left = Vec::new();
    for index in cluster.indices() {
        let node = cluster.node(index);
        let refusal = if let Some(why) = intree_refusal(pod, node) {
            Some(Refusal::InTree(why))
        } else {
            left.push(index);
            fits(cluster.row(index), query).err()
        };
        if let Some(refusal) = refusal {
            refusals.entry(refusal).or_default().push(node.facts.name.clone());
        }
    }
    let refusals = refusals.into_iter().map(|(refusal, names)| (refusal, names.into())).collect();
    let rows = left.into_iter().map(|index| cluster.row(index));
    NoPlace { refusals, details: query.details(&rows) }
}
