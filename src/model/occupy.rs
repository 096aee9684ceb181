//! The dynamic-MIG GPUs of one node: which instance is where, who holds it, and how sure that is.
//!
//! Claims are taken in order of trust: live instances that the agent reports, instances that the scheduler
//! wants, placement annotations, and last the pods about which nobody says where they are; those are
//! assumed where the driver would have put them. What cannot all be true closes the GPU, so that a
//! contradiction costs capacity, never a device held twice.

use std::sync::Arc;

use super::{Device, GpuHealth, GpuReport, InstanceReport, NodeFacts, Placement, Pod, PodKey, Problem, Want};
use crate::mig::{Catalog, ModelId, Occupancy, ProfileId};

/// One GPU of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// NVML index.
    pub index: u16,
    /// `GPU-…`, where an agent reports it.
    pub uuid: Option<Arc<str>>,
    /// The model, where the table knows it.
    pub model: Option<ModelId>,
    /// Whether Tangram may partition it.
    pub is_dynamic: bool,
    /// What it holds; closed when nothing more may be placed on it.
    pub occupancy: Occupancy,
    /// Its GPU instances, by start.
    pub instances: Vec<Instance>,
}

/// One GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// First memory slice, in NVML's unit.
    pub start: u8,
    /// The profile, as an index into the geometry of the GPU's model.
    pub profile: ProfileId,
    /// The pod that holds it; `None` for an instance that nobody is known to use.
    pub pod: Option<PodKey>,
    /// MIG UUID, where an agent reports it.
    pub uuid: Option<Arc<str>>,
    /// How sure its place is.
    pub knowledge: Knowledge,
}

/// How sure a statement of the model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knowledge {
    /// An agent reports it, or the scheduler decided it.
    Known,
    /// It follows from labels, allocatable and requests, and may be otherwise.
    Assumed,
}

/// Builds the GPUs of a node from its facts, its agent's report and the pods on it, sorted by key; some of these
/// have other devices than were planned.
pub(super) fn occupy(
    facts: &NodeFacts,
    report: Option<&GpuReport>,
    pods: &[Arc<Pod>],
    exchanged: &[Arc<Pod>],
    problems: &mut Vec<Problem>,
) -> Vec<Gpu> {
    let gpus = empty_gpus(facts, report, problems);
    let mut board = Board { catalog: Catalog::get(), gpus, problems };
    if let Some(report) = report {
        for gpu in &report.gpus {
            for instance in &gpu.instances {
                board.claim(gpu.index, instance);
            }
        }
        // What was wanted for one that was exchanged is held still, but it is not known by whom.
        let is_exchanged = |key: &PodKey| exchanged.iter().any(|pod| pod.key == *key);
        for (gpu, instance) in &report.wanted {
            let pod = instance.pod.clone().filter(|pod| !is_exchanged(pod));
            board.claim(*gpu, &InstanceReport { pod, ..instance.clone() });
        }
    }
    let is_placed: Vec<bool> = pods.iter().map(|pod| board.claim_placement(pod)).collect();
    for (pod, _) in pods.iter().zip(is_placed).filter(|(_, is_placed)| !is_placed) {
        board.assume(pod);
    }
    if let Some(report) = report {
        board.close_unhealthy(report);
        board.close_held_whole(report);
    }
    for gpu in &mut board.gpus {
        gpu.instances.sort();
    }
    board.gpus
}

fn empty_gpus(facts: &NodeFacts, report: Option<&GpuReport>, problems: &mut Vec<Problem>) -> Vec<Gpu> {
    let catalog = Catalog::get();
    let new = |index, uuid, model: Option<ModelId>, is_dynamic| Gpu {
        index,
        uuid,
        model,
        is_dynamic,
        occupancy: model.filter(|_| is_dynamic).map_or(Occupancy::CLOSED, |model| catalog.empty(model)),
        instances: Vec::new(),
    };
    let dynamic =
        facts.dynamic.iter().flat_map(|dynamic| dynamic.gpus.iter().map(|&gpu| (gpu, dynamic.model)));
    let mut gpus: Vec<Gpu> = dynamic.map(|(index, model)| new(index, None, model, true)).collect();
    // A dynamic node whose labels do not count its GPUs: those in MIG mode are meant.
    let is_uncounted = facts.dynamic.as_ref().is_some_and(|dynamic| dynamic.gpus.is_empty());
    for reported in report.iter().flat_map(|report| &report.gpus) {
        let labelled = gpus.iter().position(|gpu| gpu.index == reported.index);
        let model = reported.model.or_else(|| labelled.and_then(|position| gpus[position].model));
        let is_dynamic = labelled.is_some() || (is_uncounted && reported.is_mig_enabled);
        let gpu = new(reported.index, Some(reported.uuid.clone()), model, is_dynamic);
        match labelled {
            Some(position) => gpus[position] = gpu,
            None => gpus.push(gpu),
        }
    }
    // NVML wins over labels: a GPU that its agent does not see has fallen off, whatever the label counts.
    if let Some(report) = report.filter(|report| !report.gpus.is_empty()) {
        for gpu in &mut gpus {
            if report.gpus.iter().all(|reported| reported.index != gpu.index) {
                gpu.occupancy = Occupancy::CLOSED;
                problems
                    .push(Problem::Unhealthy { gpu: gpu.index, why: "its agent does not report it".into() });
            }
        }
    }
    let is_unreported = report.is_none_or(|report| report.gpus.is_empty());
    if facts.dynamic.as_ref().is_some_and(|dynamic| dynamic.needs_agent && is_unreported) {
        for gpu in &mut gpus {
            gpu.occupancy = Occupancy::CLOSED;
        }
        problems.push(Problem::NoAgent);
    } else if facts.dynamic.as_ref().is_some_and(|dynamic| dynamic.gpus.is_empty()) && gpus.is_empty() {
        problems.push(Problem::Label {
            key: "nvidia.com/gpu.count".into(),
            value: "".into(),
            expected: "the number of GPUs, since all of them are dynamic and no agent reports them",
        });
    }
    for gpu in gpus.iter().filter(|gpu| gpu.is_dynamic && gpu.model.is_none()) {
        let reported =
            report.iter().flat_map(|report| &report.gpus).find(|reported| reported.index == gpu.index);
        let product = reported.map_or_else(|| facts.product.clone(), |reported| reported.product.clone());
        let unknown = Problem::UnknownModel { product };
        if !problems.contains(&unknown) {
            problems.push(unknown);
        }
    }
    gpus.sort_by_key(|gpu| gpu.index);
    gpus
}

struct Board<'a> {
    catalog: &'static Catalog,
    gpus: Vec<Gpu>,
    problems: &'a mut Vec<Problem>,
}

impl Board<'_> {
    /// An unhealthy GPU keeps its instances, for people to see, and takes no more.
    fn close_unhealthy(&mut self, report: &GpuReport) {
        for reported in &report.gpus {
            if let GpuHealth::Unhealthy(why) = &reported.health
                && let Some(gpu) = self.gpu(reported.index)
            {
                gpu.occupancy = Occupancy::CLOSED;
                self.problems.push(Problem::Unhealthy { gpu: reported.index, why: why.clone() });
            }
        }
    }

    /// A dynamic GPU that the device plugin gave away takes nothing while its pod lives.
    fn close_held_whole(&mut self, report: &GpuReport) {
        for reported in &report.gpus {
            if let Some(holder) = reported.holders.first()
                && let Some(gpu) = self.gpu(reported.index).filter(|gpu| gpu.is_dynamic)
            {
                gpu.occupancy = Occupancy::CLOSED;
                self.problems.push(Problem::HeldWhole { gpu: reported.index, pod: holder.pod.clone() });
            }
        }
    }

    fn gpu(&mut self, index: u16) -> Option<&mut Gpu> {
        self.gpus.iter_mut().find(|gpu| gpu.index == index)
    }

    /// Takes an instance that an agent or the scheduler names.
    fn claim(&mut self, index: u16, claim: &InstanceReport) {
        let catalog = self.catalog;
        let Some(gpu) = self.gpu(index) else { return };
        let profile = gpu.model.and_then(|model| {
            let geometry = catalog.geometry(model);
            geometry
                .profile(&claim.profile)
                .filter(|&profile| geometry.placement(profile, claim.start).is_some())
        });
        let Some(profile) = profile else {
            gpu.occupancy = Occupancy::CLOSED;
            let (profile, start) = (claim.profile.clone(), claim.start);
            self.problems.push(Problem::UnknownInstance { gpu: index, profile, start });
            return;
        };
        let instance = Instance {
            start: claim.start,
            profile,
            pod: claim.pod.clone(),
            uuid: claim.uuid.clone(),
            knowledge: Knowledge::Known,
        };
        self.add(index, instance);
    }

    /// Puts an instance onto its GPU. One that is there already only learns who holds it.
    fn add(&mut self, index: u16, instance: Instance) {
        let catalog = self.catalog;
        let Some(gpu) = self.gpu(index) else { return };
        let same = gpu
            .instances
            .iter_mut()
            .find(|other| (other.start, other.profile) == (instance.start, instance.profile));
        if let Some(same) = same
            && (same.pod.is_none() || instance.pod.is_none() || same.pod == instance.pod)
        {
            same.pod = same.pod.take().or(instance.pod);
            return;
        }
        if gpu.is_dynamic && gpu.occupancy != Occupancy::CLOSED {
            let (model, _) = catalog.state(gpu.occupancy).expect("it is not closed");
            let geometry = catalog.geometry(model);
            let placement = geometry.placement(instance.profile, instance.start);
            if let Some(after) = placement.and_then(|placement| catalog.after(gpu.occupancy, placement)) {
                gpu.occupancy = after;
            } else {
                gpu.occupancy = Occupancy::CLOSED;
                let conflict = Problem::Conflict {
                    gpu: index,
                    profile: geometry.profiles()[usize::from(instance.profile)].name.clone(),
                    start: instance.start,
                    pod: instance.pod.as_ref().map_or_else(|| "none".to_owned(), PodKey::to_string),
                };
                gpu.instances.push(instance);
                self.problems.push(conflict);
                return;
            }
        }
        gpu.instances.push(instance); // a static partition too: shown, never placed on
    }

    /// Takes the places a pod's annotation names; false when nothing says where the pod is.
    fn claim_placement(&mut self, pod: &Pod) -> bool {
        if let Some(why) = &pod.unreadable_placement {
            self.problems.push(Problem::Lie { pod: pod.key.clone(), why: why.to_string() });
        }
        let Some(placement) = &pod.placement else { return pod.request.slices.is_empty() };
        match self.resolve_all(pod, placement) {
            Ok(instances) => {
                // The agent's instance may be of an earlier life of the pod: what a bind gave stays given.
                let is_named = |held: (u16, &Instance)| {
                    instances.iter().any(|(gpu, named)| {
                        (*gpu, named.start, named.profile) == (held.0, held.1.start, held.1.profile)
                    })
                };
                if self.held_by(pod).any(|held| !is_named(held)) {
                    let why = "the node's agent reports an instance of the pod elsewhere".to_owned();
                    self.problems.push(Problem::Lie { pod: pod.key.clone(), why });
                }
                for (gpu, instance) in instances {
                    self.add(gpu, instance);
                }
                true
            }
            Err(why) => {
                self.problems.push(Problem::Lie { pod: pod.key.clone(), why });
                false
            }
        }
    }

    /// The instances of a placement, or why it is not believed.
    fn resolve_all(&mut self, pod: &Pod, placement: &Placement) -> Result<Vec<(u16, Instance)>, String> {
        let (devices, asks) = (&placement.devices, &pod.request.slices);
        if devices.len() != asks.len() {
            return Err(format!("it names {} devices, the pod asks for {}", devices.len(), asks.len()));
        }
        let pairs = devices.iter().zip(asks).map(|(device, ask)| self.resolve(pod, device, &ask.want));
        let instances = pairs.collect::<Result<Vec<_>, String>>()?;
        let place = |(gpu, instance): &(u16, Instance)| (*gpu, instance.start, instance.profile);
        let mut places: Vec<_> = instances.iter().map(place).collect();
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("it names one place twice".to_owned());
        }
        Ok(instances)
    }

    fn held_by(&self, pod: &Pod) -> impl Iterator<Item = (u16, &Instance)> {
        let all = self.gpus.iter().flat_map(|gpu| gpu.instances.iter().map(|instance| (gpu.index, instance)));
        all.filter(|(_, instance)| instance.pod.as_ref() == Some(&pod.key))
    }

    fn resolve(&mut self, pod: &Pod, device: &Device, want: &Want) -> Result<(u16, Instance), String> {
        let catalog = self.catalog;
        let Device { gpu: index, profile: name, start, .. } = device;
        let gpu = self.gpu(*index).filter(|gpu| gpu.is_dynamic);
        let gpu = gpu.ok_or_else(|| format!("the node has no dynamic GPU {index}"))?;
        let model = gpu.model.ok_or_else(|| format!("the model of GPU {index} is not in the MIG table"))?;
        let geometry = catalog.geometry(model);
        let profile = geometry.profile(name).ok_or_else(|| format!("GPU {index} has no profile {name}"))?;
        geometry.placement(profile, *start).ok_or_else(|| format!("{name} cannot start at {start}"))?;
        if !satisfies(catalog, model, profile, want) {
            return Err(format!("{name} is not the {want} that the pod asks for"));
        }
        let pod = Some(pod.key.clone());
        Ok((*index, Instance { start: *start, profile, pod, uuid: None, knowledge: Knowledge::Known }))
    }

    /// Finds places for a pod about which nobody says where it is.
    fn assume(&mut self, pod: &Pod) {
        let mut taken = Vec::new(); // by the pod's earlier asks
        for ask in &pod.request.slices {
            let place = self.adopt(pod, &ask.want, &taken).or_else(|| self.assume_one(pod, &ask.want));
            taken.extend(place);
            if place.is_none() {
                for gpu in self.gpus.iter_mut().filter(|gpu| gpu.is_dynamic) {
                    gpu.occupancy = Occupancy::CLOSED;
                }
                self.problems.push(Problem::Unplaced { pod: pod.key.clone(), want: ask.want.to_string() });
            }
        }
    }

    /// A live instance of the right kind that the agent calls the pod's is it; else one that nobody holds is
    /// most likely the pod's.
    fn adopt(&mut self, pod: &Pod, want: &Want, taken: &[Place]) -> Option<Place> {
        let catalog = self.catalog;
        for owner in [Some(&pod.key), None] {
            for gpu in self.gpus.iter_mut().filter(|gpu| gpu.is_dynamic) {
                let Some(model) = gpu.model else { continue };
                let index = gpu.index;
                let found = gpu.instances.iter_mut().find(|instance| {
                    instance.pod.as_ref() == owner
                        && !taken.contains(&(index, instance.start))
                        && satisfies(catalog, model, instance.profile, want)
                });
                let Some(instance) = found else { continue };
                if owner.is_none() {
                    instance.pod = Some(pod.key.clone());
                    instance.knowledge = Knowledge::Assumed;
                }
                return Some((index, instance.start));
            }
        }
        None
    }

    /// Where the driver would have put it: the first GPU with room, the first start.
    fn assume_one(&mut self, pod: &Pod, want: &Want) -> Option<Place> {
        let catalog = self.catalog;
        self.gpus.iter_mut().filter(|gpu| gpu.is_dynamic).find_map(|gpu| {
            let (model, state) = catalog.state(gpu.occupancy)?;
            let geometry = catalog.geometry(model);
            let (id, _) = geometry.legal(state, want.cheapest(catalog, model)?).next()?;
            let placement = geometry.placements()[usize::from(id)];
            gpu.occupancy = catalog.after(gpu.occupancy, id)?;
            gpu.instances.push(Instance {
                start: placement.start,
                profile: placement.profile,
                pod: Some(pod.key.clone()),
                uuid: None,
                knowledge: Knowledge::Assumed,
            });
            Some((gpu.index, placement.start))
        })
    }
}

/// GPU and first memory slice.
type Place = (u16, u8);

fn satisfies(catalog: &Catalog, model: ModelId, profile: ProfileId, want: &Want) -> bool {
    let profile = &catalog.geometry(model).profiles()[usize::from(profile)];
    match want {
        Want::Profile(name) => profile.name == *name,
        Want::Memory { mib, compute_slices } => {
            profile.memory_mib >= *mib && u32::from(profile.compute_slices) >= *compute_slices
        }
    }
}

impl Want {
    /// The profile of `model` that serves this with the least memory, then the fewest compute slices; one
    /// with an attribute (`+me`) only when asked for by name.
    pub fn cheapest(&self, catalog: &Catalog, model: ModelId) -> Option<ProfileId> {
        let geometry = catalog.geometry(model);
        if let Self::Profile(name) = self {
            return geometry.profile(name);
        }
        (0..)
            .zip(geometry.profiles())
            .filter(|(id, profile)| !profile.name.has_attribute() && satisfies(catalog, model, *id, self))
            .min_by_key(|(id, profile)| (profile.memory_slices, profile.compute_slices, *id))
            .map(|(id, _)| id)
    }
}
