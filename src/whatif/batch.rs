//! A batch: places for all pods, or for none; the cheapest that are found.
//!
//! Greedy first, in the order given and then the largest first. Then the exact program over loads of nodes
//! (`solver::exact::assign`), where the batch and the cluster are within its bounds: it finds a way where greed does
//! not, a cheaper one, or proves that there is none.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::loads::{Bound, Class, Kind, Loads, kind_of, kinds};
use crate::mig::Catalog;
use crate::model::{Cluster, Node, Placement, Pod, PodKey, Policy, Want};
use crate::plan::{NoPlace, Place, Planned, guest, plan};
use crate::solver::exact::{Assigned, Effort, Shelf, assign};
use crate::solver::{Cost, Scores, place, verify};

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all of it fits.
    pub fits: bool,
    /// Whether the places are those of the exact program.
    pub is_exact: bool,
    /// Whether it is proved: that no places are cheaper, or that there are none.
    pub is_proved: bool,
    /// Which bound the exact answer met, if any.
    pub bound: Option<Bound>,
}

/// Places for the pods in their order, and the cluster with them on it; the cluster as it was where not all fit.
pub fn batch(
    cluster: Cluster,
    scores: &Scores,
    policy: Policy,
    pods: &[Arc<Pod>],
    effort: Effort,
) -> (Verdict, Vec<Planned>, Cluster) {
    let greedy = greedy(&cluster, scores, policy, pods);
    let Some(kinds) = kinds(pods) else {
        let verdict = Verdict { fits: false, is_exact: false, is_proved: false, bound: Some(Bound::Kinds) };
        return settle(cluster, pods, verdict, greedy);
    };
    let loads = Loads { cluster: &cluster, scores, policy, kinds: &kinds };
    let in_hand = greedy.as_ref().and_then(|greedy| cost(&loads, greedy));
    let exact = exact(&loads, in_hand, effort);
    let verdict = Verdict {
        fits: false,
        is_exact: exact.places.is_some(),
        is_proved: exact.is_proved,
        bound: exact.bound,
    };
    match exact.places {
        Some(places) => {
            let better = put(&cluster, pods, places);
            settle(cluster, pods, verdict, Some(better))
        }
        None => settle(cluster, pods, verdict, greedy),
    }
}

/// Places of all pods, with the cluster.
type Placed = (Vec<Planned>, Cluster);

fn settle(
    cluster: Cluster,
    pods: &[Arc<Pod>],
    verdict: Verdict,
    placed: Option<Placed>,
) -> (Verdict, Vec<Planned>, Cluster) {
    if let Some((planned, after)) = placed {
        return (Verdict { fits: true, ..verdict }, planned, after);
    }
    let nowhere = NoPlace {
        refusals: BTreeMap::new(),
        details: vec!["the batch does not fit as a whole, so none of its pods is placed".to_owned()],
    };
    let none = pods.iter().map(|pod| Planned { pod: pod.clone(), outcome: Err(nowhere.clone()) });
    (verdict, none.collect(), cluster)
}

/// In the order given, and where that fails the largest first.
fn greedy(cluster: &Cluster, scores: &Scores, policy: Policy, pods: &[Arc<Pod>]) -> Option<Placed> {
    let all = |placed: &Placed| placed.0.iter().all(|planned| planned.outcome.is_ok());
    let placed = plan(cluster.clone(), scores, policy, pods.iter().cloned());
    if all(&placed) {
        return Some(placed);
    }
    let mut order: Vec<usize> = (0..pods.len()).collect();
    order.sort_by_key(|&position| Reverse(size(&pods[position])));
    let sorted = order.iter().map(|&position| pods[position].clone());
    let (planned, after) = Some(plan(cluster.clone(), scores, policy, sorted)).filter(all)?;
    let mut by_position: Vec<(usize, Planned)> = order.into_iter().zip(planned).collect();
    by_position.sort_by_key(|(position, _)| *position);
    Some((by_position.into_iter().map(|(_, planned)| planned).collect(), after))
}

/// How much of a node a pod needs: counted devices, then the memory of its GPU instances.
fn size(pod: &Pod) -> (u64, u64) {
    let counted = pod.request.counted.iter().map(|(_, count)| u64::from(*count)).sum();
    (counted, pod.request.slices.iter().map(|ask| memory_mib(&ask.want)).sum())
}

fn memory_mib(want: &Want) -> u64 {
    let catalog = Catalog::get();
    let of = |model| {
        let profile = want.cheapest(catalog, model)?;
        Some(u64::from(catalog.geometry(model).profiles()[usize::from(profile)].memory_mib))
    };
    catalog.models().filter_map(of).min().unwrap_or(0)
}

/// What places cost, as the program counts: node by node, all that each holds together.
fn cost(loads: &Loads<'_>, (planned, _): &Placed) -> Option<f64> {
    let mut held: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (kind, planned) in kind_of(loads.kinds).into_iter().zip(planned) {
        let node = &planned.outcome.as_ref().ok()?.node;
        held.entry(node).or_insert_with(|| vec![0; loads.kinds.len()])[kind] += 1;
    }
    let costs = held.into_iter().map(|(node, counts)| {
        let cost = loads.cost(loads.cluster.index(node)?, &counts)?;
        Some(as_float(cost))
    });
    costs.sum()
}

#[expect(clippy::cast_precision_loss, reason = "costs are compared, not counted")]
fn as_float(cost: Cost) -> f64 {
    cost as f64
}

/// What the exact program says.
#[derive(Debug, Default)]
struct Exact {
    places: Option<Vec<Place>>, // by position; none where those in hand are as good
    is_proved: bool,
    bound: Option<Bound>,
}

fn exact(loads: &Loads<'_>, in_hand: Option<f64>, effort: Effort) -> Exact {
    const TOLERANCE: f64 = 1e-6; // relative: a program's arithmetic
    let classes = match loads.classes() {
        Ok(classes) => classes,
        Err(bound) => return Exact { bound: Some(bound), ..Exact::default() },
    };
    let shelves: Vec<Shelf> = classes.iter().map(|class| class.shelf.clone()).collect();
    let count = |kind: &Kind| u32::try_from(kind.members.len()).unwrap_or(u32::MAX);
    let counts: Vec<u32> = loads.kinds.iter().map(count).collect();
    match assign(&shelves, &counts, effort) {
        Assigned::Held { chosen, cost, is_cheapest } => {
            let bound = (!is_cheapest).then_some(Bound::Time);
            let is_better = in_hand.is_none_or(|in_hand| cost < in_hand - TOLERANCE * in_hand.abs());
            let places = if is_better { spread(loads, &classes, &chosen) } else { None };
            Exact { is_proved: is_cheapest && (places.is_some() || !is_better), places, bound }
        }
        Assigned::Impossible => Exact { is_proved: in_hand.is_none(), ..Exact::default() },
        Assigned::Unknown => Exact { bound: Some(Bound::Time), ..Exact::default() },
    }
}

/// Loads as places of the pods.
fn spread(loads: &Loads<'_>, classes: &[Class], chosen: &[Vec<u32>]) -> Option<Vec<Place>> {
    let mut waiting: Vec<_> = loads.kinds.iter().map(|kind| kind.members.iter()).collect();
    let mut places: Vec<(usize, Place)> = Vec::new();
    for (class, chosen) in classes.iter().zip(chosen) {
        let mut nodes = class.nodes.iter();
        for (load, &count) in class.shelf.loads.iter().zip(chosen) {
            for &index in nodes.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)) {
                let node = loads.cluster.node(index);
                let cost = loads.cost(index, &load.counts)?;
                let together = loads.together(&load.counts);
                let query = loads.query(&together, &load.counts);
                let mut devices = place(loads.cluster, node, &together, &query).ok()?.devices.into_iter();
                let pods: u32 = load.counts.iter().sum();
                for (kind, &count) in load.counts.iter().enumerate() {
                    for _ in 0..count {
                        let position = *waiting[kind].next()?;
                        let asks = loads.kinds[kind].pod.request.slices.len();
                        let placement = Placement { devices: devices.by_ref().take(asks).collect() };
                        let cost = cost.checked_div(Cost::from(pods)).unwrap_or(0);
                        places.push((position, Place { node: node.facts.name.clone(), placement, cost }));
                    }
                }
            }
        }
    }
    places.sort_by_key(|(position, _)| *position);
    let places: Vec<Place> = places.into_iter().map(|(_, place)| place).collect();
    is_sound(loads, &places).then_some(places)
}

/// Every place checked by the independent checker, beside all others.
fn is_sound(loads: &Loads<'_>, places: &[Place]) -> bool {
    let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
    kind_of(loads.kinds).into_iter().zip(places).enumerate().all(|(position, (kind, place))| {
        let kind = &loads.kinds[kind];
        let Some(known) = loads.cluster.get(&place.node) else { return false };
        let node = nodes.entry(&place.node).or_insert_with(|| Node::clone(known));
        if verify(node, &kind.pod.request, &place.placement).is_err() {
            return false;
        }
        *node = node.with(&Arc::new(guest(&kind.pod, place, position)));
        true
    })
}

/// The cluster with the pods at their places.
fn put(cluster: &Cluster, pods: &[Arc<Pod>], places: Vec<Place>) -> Placed {
    let mut after = cluster.clone();
    let mut planned = Vec::new();
    for (position, (pod, place)) in pods.iter().zip(places).enumerate() {
        if let Some(node) = after.get(&place.node) {
            let node = node.with(&Arc::new(guest(pod, &place, position)));
            after.put(node.into());
        }
        planned.push(Planned { pod: pod.clone(), outcome: Ok(place) });
    }
    (planned, after)
}

/// The pod as one that has no place yet.
pub fn unbound(pod: &Pod) -> Arc<Pod> {
    let key = PodKey::clone(&pod.key);
    Arc::new(Pod { key, node: None, placement: None, unreadable_placement: None, ..pod.clone() })
}
