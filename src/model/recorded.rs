//! Which device each pod really got, where the kubelet chose another than was planned.
//!
//! Tangram plans a place for each pod, but the kubelet hands out whichever device of the profile it likes: of two
//! pods that arrive together each may get the other's. Its record is the truth, so the places planned for the
//! pods of a node are dealt out anew among them, profile by profile: first as recorded, the rest as planned, and
//! whoever lost his place to a record gets one that nobody is recorded at.
//!
//! ```text
//!  planned a:0 b:1    recorded 1:a    dealt a:1 b:0    now wanted a:1 b:0
//!  planned a:0 b:0    recorded 1:a    dealt a:1 b:0    b's Binding was written with what was left for it
//! ```
//!
//! In the second line two annotations claim one place (or, of two profiles, the same memory slices), and the record
//! is of a place that is planned for nobody. What is wanted (`GpuNode.spec`) tells this from a lie and from a record
//! of the past, also while the kubelet is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Device, GpuReport, Pod, PodKey, Problem};
use crate::mig::{Catalog, ProfileName};

/// GPU and first memory slice.
type Place = (u16, u8);

/// Where a device of a profile is.
type At<'a> = (&'a ProfileName, Place);

/// A device of a pod.
struct Seat<'a> {
    pod: usize,
    nth: usize, // of the pod's devices
    planned: At<'a>,
    /// Another is planned on the same memory slices.
    is_contested: bool,
}

/// Where a seat may be, given what seats without a place were planned at, and which places are taken.
type Rule<'r, 'a> = &'r dyn Fn(&Seat<'a>, &[At<'a>], &BTreeSet<At<'a>>) -> Option<At<'a>>;

/// All that is said about places.
struct Words<'a> {
    seats: Vec<Seat<'a>>,
    planned: BTreeSet<At<'a>>,
    recorded: BTreeMap<At<'a>, usize>,
    wanted: BTreeSet<(At<'a>, usize)>,
}

/// Deals the places out; the pods whose devices are others than planned are replaced.
pub(super) fn correct(report: &GpuReport, pods: &mut [Arc<Pod>], problems: &mut Vec<Problem>) {
    let words = Words::new(report, pods);
    if words.is_as_planned() {
        return;
    }
    let dealt = words.seats.iter().zip(words.deal());
    let changes: Vec<(usize, usize, Place)> = dealt
        .filter(|(seat, place)| *place != seat.planned.1)
        .map(|(seat, place)| (seat.pod, seat.nth, place))
        .collect();
    for (number, nth, (gpu, start)) in changes {
        let pod = Arc::make_mut(&mut pods[number]);
        let device = &mut pod.placement.as_mut().expect("it has a seat").devices[nth];
        let planned = (device.gpu, device.start);
        (device.gpu, device.start) = (gpu, start);
        let (pod, profile) = (pod.key.clone(), device.profile.clone());
        problems.push(Problem::Exchanged { pod, profile, planned, found: (gpu, start) });
    }
}

impl<'a> Words<'a> {
    fn new(report: &'a GpuReport, pods: &'a [Arc<Pod>]) -> Self {
        let devices = |pod: &'a Pod| pod.placement.iter().flat_map(|placement| &placement.devices);
        let at = |device: &'a Device| (&device.profile, (device.gpu, device.start));
        let of_pod = |(pod, of): (usize, &'a Arc<Pod>)| {
            devices(of).enumerate().map(move |(nth, device)| Seat {
                pod,
                nth,
                planned: at(device),
                is_contested: false,
            })
        };
        let mut seats: Vec<Seat<'a>> = pods.iter().enumerate().flat_map(of_pod).collect();
        contest(report, &mut seats);
        let planned: BTreeSet<At<'a>> = seats.iter().map(|seat| seat.planned).collect();
        let number = |key: &PodKey| pods.binary_search_by(|pod| pod.key.cmp(key)).ok();
        let mut wanted = BTreeSet::new();
        for (gpu, instance) in &report.wanted {
            let uid = instance.pod_uid.as_ref();
            if let Some(pod) = instance.pod.as_ref().and_then(number)
                && uid.is_none_or(|uid| *uid == pods[pod].uid)
            {
                wanted.insert(((&instance.profile, (*gpu, instance.start)), pod));
            }
        }
        let mut recorded = BTreeMap::new();
        for gpu in &report.gpus {
            for instance in &gpu.instances {
                let at = (&instance.profile, (gpu.index, instance.start));
                // A place that is nobody's here is a record of the past, or of somebody else.
                if let Some(pod) = instance.pod.as_ref().and_then(number)
                    && (planned.contains(&at) || wanted.contains(&(at, pod)))
                {
                    recorded.insert(at, pod);
                }
            }
        }
        Self { seats, planned, recorded, wanted }
    }

    fn is_as_planned(&self) -> bool {
        let is_seat_of =
            |at: &At<'_>, pod| self.seats.iter().any(|seat| (seat.planned, seat.pod) == (*at, pod));
        self.seats.iter().all(|seat| !seat.is_contested)
            && self.recorded.iter().all(|(at, pod)| is_seat_of(at, *pod))
    }

    /// The place of each seat.
    fn deal(&self) -> Vec<Place> {
        let mut dealt: Vec<Option<Place>> = vec![None; self.seats.len()];
        self.seat_recorded(&mut dealt);
        let mut taken: BTreeSet<At<'_>> = self.recorded.keys().copied().collect();
        // Each rule says where a seat may be; a place is given once.
        let as_planned = |seat: &Seat<'a>, open: &[At<'a>]| {
            let claims = open.iter().filter(|at| **at == seat.planned).count();
            (claims == 1).then_some(seat.planned)
        };
        let rules: [Rule<'_, 'a>; 4] = [
            &|seat, open, _| as_planned(seat, open).filter(|_| !seat.is_contested),
            &|seat, _, taken| self.wanted_for(seat).find(|at| !taken.contains(at)),
            &|seat, open, _| as_planned(seat, open),
            // One that lost its place gets what is left over.
            &|seat, open, taken| {
                let is_left =
                    |at: &&At<'a>| at.0 == seat.planned.0 && !taken.contains(*at) && !open.contains(at);
                self.planned.iter().find(is_left).copied().filter(|_| taken.contains(&seat.planned))
            },
        ];
        for rule in rules {
            let unseated = self.seats.iter().zip(&dealt).filter(|(_, place)| place.is_none());
            let open: Vec<At<'a>> = unseated.map(|(seat, _)| seat.planned).collect();
            for (seat, place) in self.seats.iter().zip(&mut dealt).filter(|(_, place)| place.is_none()) {
                let found = rule(seat, &open, &taken).filter(|at| !taken.contains(at));
                if let Some(at) = found {
                    *place = Some(at.1);
                    taken.insert(at);
                }
            }
        }
        // Too few places, or a contradiction that nothing resolves: it stays as planned, and shows.
        self.seats.iter().zip(dealt).map(|(seat, place)| place.unwrap_or(seat.planned.1)).collect()
    }

    /// Seats pods where they are recorded: at their own places first. More records than seats are left over.
    fn seat_recorded(&self, dealt: &mut [Option<Place>]) {
        let mut records = self.recorded.clone();
        for is_own in [true, false] {
            for (seat, place) in self.seats.iter().zip(&mut *dealt).filter(|(_, place)| place.is_none()) {
                let is_it = |(at, pod): &(&At<'a>, &usize)| {
                    **pod == seat.pod && if is_own { **at == seat.planned } else { at.0 == seat.planned.0 }
                };
                if let Some(at) = records.iter().find(is_it).map(|(at, _)| *at) {
                    records.remove(&at);
                    *place = Some(at.1);
                }
            }
        }
    }

    /// Places that are wanted for the pod of a seat: some pod's, unless its own is another's too.
    fn wanted_for(&self, seat: &Seat<'a>) -> impl Iterator<Item = At<'a>> {
        let (profile, pod, is_contested) = (seat.planned.0, seat.pod, seat.is_contested);
        let of_pod = self.wanted.iter().filter(move |(at, of)| at.0 == profile && *of == pod);
        let is_known = move |at: &At<'a>| is_contested || self.planned.contains(at);
        of_pod.map(|(at, _)| *at).filter(is_known)
    }
}

/// Finds seats that are planned on the same memory slices. What the MIG table does not have closes its GPU anyway.
fn contest(report: &GpuReport, seats: &mut [Seat<'_>]) {
    let catalog = Catalog::get();
    let mask = |(name, (index, start)): At<'_>| {
        let model = report.gpus.iter().find(|gpu| gpu.index == index)?.model?;
        let geometry = catalog.geometry(model);
        let placement = geometry.placement(geometry.profile(name)?, start)?;
        Some(geometry.placements()[usize::from(placement)].mask)
    };
    let masks: Vec<Option<u16>> = seats.iter().map(|seat| mask(seat.planned)).collect();
    let mut by_gpu: BTreeMap<u16, (u16, u16)> = BTreeMap::new(); // planned once, planned twice
    for (seat, mask) in seats.iter().zip(&masks) {
        let (once, twice) = by_gpu.entry(seat.planned.1.0).or_default();
        *twice |= *once & mask.unwrap_or(0);
        *once |= mask.unwrap_or(0);
    }
    for (seat, mask) in seats.iter_mut().zip(masks) {
        seat.is_contested = mask.unwrap_or(0) & by_gpu[&seat.planned.1.0].1 != 0;
    }
}
