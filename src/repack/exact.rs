//! The exact answer for GPUs of one model, and its moves of pods.
//!
//! The program knows instances and GPUs, not CPU, memory, selectors and taints: what it says is a bound in any
//! case, and an answer only where every pod finds one of the places that it opens.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::figures::is_empty;
use super::room::guest;
use super::work::{Seat, Target, Work, slices_mib};
use super::{Goal, Spot};
use crate::mig::{Catalog, Geometry, ModelId, Occupancy, PlacementId, ProfileId};
use crate::model::{Device, Gpu, Node, Placement, Pod};
use crate::solver::exact::{Class, Effort, Goal as Wanted, Group, Unreachable, repack};

/// What the program says.
#[derive(Debug, Default)]
pub(super) struct Exact<'a> {
    /// No moves of less memory (MiB) reach the goal.
    pub(super) bound: u64,
    /// Whether it is proved that none do.
    pub(super) is_impossible: bool,
    /// The cluster after its moves, with the places of the pods that room is made for.
    pub(super) answer: Option<(Work<'a>, Vec<Option<Spot>>)>,
}

/// A GPU.
type Place = (Arc<str>, u16);

/// All dynamic GPUs, where they are of one model.
struct Fleet {
    model: ModelId,
    classes: Vec<Class>,
    gpus: Vec<Vec<Place>>, // by class
    seats: BTreeMap<(Place, PlacementId), Seat>,
    empty: u32,
    is_complete: bool, // whether every pod that may move is one that the program may move
}

/// Solves the goals that the program knows; nothing is said of others.
pub(super) fn exact<'a>(start: &Work<'a>, goal: &Goal, effort: Effort) -> Exact<'a> {
    let Some(fleet) = Fleet::new(start) else { return Exact::default() };
    let mut wanted = Wanted::default();
    let mut guests = Vec::new();
    match goal {
        Goal::Gpus(count) => wanted.empty = fleet.empty.saturating_add(*count),
        Goal::Room { pods, .. } => {
            wanted.room = vec![0; fleet.geometry().profiles().len()];
            for (number, pod) in pods.iter().enumerate() {
                let Some(profile) = fleet.profile(pod) else { return Exact::default() };
                wanted.room[usize::from(profile)] += 1;
                guests.push((guest(pod, number), profile));
            }
        }
        Goal::Nodes(_) | Goal::Stranded(_) | Goal::Lost(_) => return Exact::default(),
    }
    match repack(fleet.geometry(), &fleet.classes, &wanted, effort) {
        Ok(found) => {
            let slices = found.proof.bound * u64::from(fleet.geometry().unit());
            let bound = slices_mib(Catalog::get().row(fleet.model), slices);
            let bound = if fleet.is_complete { bound } else { 0 };
            Exact { bound, is_impossible: false, answer: fleet.moves(start, &found.groups, &guests) }
        }
        Err(why) => {
            Exact { is_impossible: fleet.is_complete && why == Unreachable::Impossible, ..Exact::default() }
        }
    }
}

impl Fleet {
    fn new(start: &Work<'_>) -> Option<Self> {
        let mut all = start.cluster.indices().flat_map(|index| start.cluster.node(index).dynamic_gpus());
        let model = all.find_map(|gpu| gpu.model)?;
        if all.any(|gpu| gpu.model.is_some_and(|other| other != model)) {
            return None;
        }
        let (classes, gpus, seats) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut fleet = Self { model, classes, gpus, seats, empty: 0, is_complete: true };
        let mut classes: BTreeMap<Class, Vec<Place>> = BTreeMap::new();
        for node in start.cluster.by_name().into_iter().filter(|node| !node.is_silent) {
            let seats = start.seats(node);
            for gpu in node.dynamic_gpus().filter(|gpu| gpu.occupancy != Occupancy::CLOSED) {
                let class = fleet.class(node, gpu, &seats)?;
                classes.entry(class).or_default().push((node.facts.name.clone(), gpu.index));
                fleet.empty += u32::from(is_empty(gpu));
            }
        }
        for (mut class, gpus) in classes {
            class.gpus = u32::try_from(gpus.len()).ok()?;
            fleet.classes.push(class);
            fleet.gpus.push(gpus);
        }
        Some(fleet)
    }

    fn geometry(&self) -> &'static Geometry {
        Catalog::get().geometry(self.model)
    }

    /// The profile that a pod of one GPU instance gets.
    fn profile(&self, pod: &Pod) -> Option<ProfileId> {
        let [ask] = pod.request.slices.as_slice() else { return None };
        ask.want.cheapest(Catalog::get(), self.model).filter(|_| pod.request.counted.is_empty())
    }

    /// What a GPU holds; its movable instances are noted with their seats.
    fn class(&mut self, node: &Node, gpu: &Gpu, seats: &[Seat]) -> Option<Class> {
        let mut class = Class { fixed: Vec::new(), movable: Vec::new(), gpus: 0, drain: false };
        for instance in &gpu.instances {
            let id = self.geometry().placement(instance.profile, instance.start)?;
            let seat = seats.iter().find(|seat| Some(&seat.pod.key) == instance.pod.as_ref());
            let seat = seat.filter(|seat| seat.stay.is_none());
            match seat {
                Some(seat) if self.profile(&seat.pod) == Some(instance.profile) => {
                    let place = (node.facts.name.clone(), gpu.index);
                    self.seats.insert((place, id), seat.clone());
                    class.movable.push(id);
                }
                seat => {
                    self.is_complete &= seat.is_none();
                    class.fixed.push(id);
                }
            }
        }
        class.fixed.sort_unstable();
        class.movable.sort_unstable();
        Some(class)
    }

    /// The program's answer as moves: who leaves takes one of the places of its profile that open.
    fn moves<'a>(
        &self,
        start: &Work<'a>,
        groups: &[Group],
        guests: &[(Pod, ProfileId)],
    ) -> Option<(Work<'a>, Vec<Option<Spot>>)> {
        let (leaving, mut open) = self.changes(groups)?;
        let mut bare = start.clone();
        for seat in &leaving {
            bare.lift(&seat.at.node, &seat.pod.key);
        }
        let mut take = |pod: &Pod, profile: ProfileId, at: Option<&Spot>| {
            let open = open.get_mut(&profile)?;
            let spot = |(node, gpu, start): &(Arc<str>, u16, u8)| {
                let name = &self.geometry().profiles()[usize::from(profile)].name;
                let container = pod.request.slices[0].container.clone();
                let device = Device { container, gpu: *gpu, profile: name.clone(), start: *start };
                Spot { node: node.clone(), placement: Placement { devices: vec![device] } }
            };
            let own = open.iter().position(|place| Some(&spot(place)) == at);
            let found = own.or_else(|| open.iter().position(|place| bare.is_free(pod, &spot(place))))?;
            let spot = spot(&open.remove(found));
            bare.set(pod, &spot);
            Some(spot)
        };
        let mut targets = Vec::new();
        for seat in leaving {
            let to = take(&seat.pod, self.profile(&seat.pod)?, Some(&seat.at))?;
            targets.push(Target { seat, to });
        }
        let mut places = Vec::new();
        for (guest, profile) in guests {
            places.push(take(guest, *profile, None)?);
        }
        let mut work = start.clone();
        work.carry(targets)?;
        for ((guest, _), spot) in guests.iter().zip(&places) {
            if !work.is_free(guest, spot) {
                return None;
            }
            work.set(guest, spot);
        }
        Some((work, places.into_iter().map(Some).collect()))
    }

    /// Who leaves, the largest first, and which places open, by profile.
    #[expect(clippy::type_complexity, reason = "GPUs and starts by profile")]
    fn changes(
        &self,
        groups: &[Group],
    ) -> Option<(Vec<Seat>, BTreeMap<ProfileId, Vec<(Arc<str>, u16, u8)>>)> {
        let mut gpus: Vec<_> = self.gpus.iter().map(|gpus| gpus.iter()).collect();
        let mut leaving = Vec::new();
        let mut open: BTreeMap<ProfileId, Vec<(Arc<str>, u16, u8)>> = BTreeMap::new();
        for group in groups {
            for _ in 0..group.gpus {
                let place = gpus[group.class].next()?;
                let movable = self.classes[group.class].movable.iter();
                for &id in movable.filter(|id| !group.kept.contains(id)) {
                    leaving.push(self.seats.get(&(place.clone(), id))?.clone());
                }
                for &id in &group.added {
                    let added = self.geometry().placements()[usize::from(id)];
                    open.entry(added.profile).or_default().push((place.0.clone(), place.1, added.start));
                }
            }
        }
        leaving.sort_by_key(|seat| Reverse(seat.memory_mib));
        Some((leaving, open))
    }
}
