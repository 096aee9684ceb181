//! Room for pods that wait: where nothing fits, the places that are cheapest to clear.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Spot;
use super::stay::Ledger;
use super::work::{Seat, Work};
use crate::mig::{Catalog, Occupancy};
use crate::model::{Device, Gpu, Node, Placement, Pod, PodKey};
use crate::solver::intree_refusal;

/// Places that are tried for one pod, the cheapest first: beyond, others are hardly better and greed has to end.
const TRIES: usize = 256;

/// A place on a node, and who stands there.
struct Opening {
    memory_mib: u64,
    node: Arc<str>,
    placement: Option<Placement>, // wherever the solver wants on this node
    leaving: Vec<Seat>,
}

/// Makes room for the pods in their order; says which place each has. A gang has all its places, or no pod moves.
pub(super) fn room<'a>(
    start: &Work<'a>,
    pods: &[Arc<Pod>],
    is_gang: bool,
    ledger: &mut Ledger,
) -> (Work<'a>, Vec<Option<Spot>>) {
    let mut work = start.clone();
    let mut places = Vec::new();
    for (number, pod) in pods.iter().enumerate() {
        let guest = guest(pod, number);
        let place = work.find(&guest).or_else(|| make(&mut work, &guest, ledger));
        if let Some(spot) = &place {
            work.set(&guest, spot);
        }
        places.push(place);
    }
    if is_gang && places.iter().any(Option::is_none) {
        return (start.clone(), vec![None; pods.len()]);
    }
    (work, places)
}

/// A pod that waits, under a name that no pod can have: one of the same name may run already.
pub(super) fn guest(pod: &Pod, number: usize) -> Pod {
    let name = format!("{} (waiting {number})", pod.key.name).into();
    let key = PodKey { namespace: pod.key.namespace.clone(), name };
    Pod { key, node: None, placement: None, ..pod.clone() }
}

/// Clears a place.
fn make(work: &mut Work<'_>, pod: &Pod, ledger: &mut Ledger) -> Option<Spot> {
    let mut openings = Vec::new();
    for node in work.cluster.by_name() {
        // Whatever leaves, some filters of kube-scheduler refuse the node still.
        if intree_refusal(pod, &node.retaining(|_| false)).is_some() || node.is_silent {
            continue;
        }
        openings.extend(windows(work, node, pod));
        openings.extend(fewest(work, node, pod));
    }
    openings.sort_by(|a, b| {
        let rank = |opening: &Opening| (opening.memory_mib, opening.leaving.len(), opening.node.clone());
        rank(a).cmp(&rank(b))
    });
    let mut tries = 0;
    for opening in openings {
        if ledger.note(&opening.leaving) {
            continue;
        }
        tries += 1;
        if tries > TRIES {
            return None;
        }
        let mut attempt = work.clone();
        if let Some(spot) = open(&mut attempt, opening, pod) {
            *work = attempt;
            return Some(spot);
        }
    }
    None
}

/// Takes a place: those who stand there find others, and then leave.
fn open(work: &mut Work<'_>, opening: Opening, pod: &Pod) -> Option<Spot> {
    let mut bare = work.clone();
    for seat in &opening.leaving {
        bare.lift(&seat.at.node, &seat.pod.key);
    }
    let spot = match opening.placement {
        Some(placement) => Spot { node: opening.node, placement },
        None => bare.find_on(pod, &opening.node)?,
    };
    if !bare.is_free(pod, &spot) {
        return None;
    }
    bare.set(pod, &spot);
    let targets = bare.place_all(opening.leaving)?;
    work.carry(targets)?;
    work.is_free(pod, &spot).then_some(spot)
}

/// Every window of the one GPU instance that a pod asks for.
fn windows(work: &Work<'_>, node: &Node, pod: &Pod) -> Vec<Opening> {
    let [ask] = pod.request.slices.as_slice() else { return Vec::new() };
    if !pod.request.counted.is_empty() {
        return Vec::new();
    }
    let catalog = Catalog::get();
    let seats = work.seats(node);
    let mut openings = Vec::new();
    for gpu in node.dynamic_gpus().filter(|gpu| gpu.occupancy != Occupancy::CLOSED) {
        let Some(model) = gpu.model else { continue };
        let geometry = catalog.geometry(model);
        let Some(profile) = ask.want.cheapest(catalog, model) else { continue };
        let profile = &geometry.profiles()[usize::from(profile)];
        for &window in &profile.placements {
            let window = geometry.placements()[usize::from(window)];
            let Some(leaving) = in_window(gpu, window.mask, &seats) else { continue };
            let device = Device {
                container: ask.container.clone(),
                gpu: gpu.index,
                profile: profile.name.clone(),
                start: window.start,
            };
            openings.push(Opening {
                memory_mib: leaving.iter().map(|seat| seat.memory_mib).sum(),
                node: node.facts.name.clone(),
                placement: Some(Placement { devices: vec![device] }),
                leaving,
            });
        }
    }
    openings
}

/// Who holds something in a window; `None` where that is not known of some instance.
fn in_window(gpu: &Gpu, mask: u16, seats: &[Seat]) -> Option<Vec<Seat>> {
    let geometry = Catalog::get().geometry(gpu.model?);
    let mut holders: BTreeSet<&PodKey> = BTreeSet::new();
    for instance in &gpu.instances {
        let placement = geometry.placement(instance.profile, instance.start)?;
        if geometry.placements()[usize::from(placement)].mask & mask != 0 {
            holders.insert(instance.pod.as_ref()?);
        }
    }
    let leaving: Vec<Seat> = seats.iter().filter(|seat| holders.contains(&seat.pod.key)).cloned().collect();
    (leaving.len() == holders.len()).then_some(leaving)
}

/// The pods of a node that have to leave so that a pod fits there: of those that may, each is spared that can be, the
/// largest first.
fn fewest(work: &Work<'_>, node: &Node, pod: &Pod) -> Option<Opening> {
    let name = &node.facts.name;
    let mut leaving = work.seats(node);
    leaving.retain(|seat| seat.stay.is_none());
    let fits = |work: &Work<'_>| work.find_on(pod, name).is_some();
    let mut bare = work.clone();
    for seat in &leaving {
        bare.lift(name, &seat.pod.key);
    }
    if leaving.is_empty() || !fits(&bare) {
        return None;
    }
    let mut at = 0;
    while at < leaving.len() {
        let mut spared = bare.clone();
        spared.set(&leaving[at].pod, &leaving[at].at);
        if fits(&spared) {
            bare = spared;
            leaving.remove(at);
        } else {
            at += 1;
        }
    }
    let memory_mib = leaving.iter().map(|seat| seat.memory_mib).sum();
    Some(Opening { memory_mib, node: name.clone(), placement: None, leaving })
}
