//! The independent checker of decisions.
//!
//! It reads the model's facts, the raw rows of the MIG table and the decision, and nothing that the solver
//! computed: no geometry, no occupancy, no score. It runs on every decision before its first effect.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::mig::{Catalog, ModelRow, ProfileName, ProfileRow};
use crate::model::{Device, GpuFacts, GpuHealth, InstanceReport, Node, Placement, Request, Want};

/// A rule that a decision breaks: a defect in Tangram, never the user's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Violation {
    /// Fewer or more places than instances asked for.
    #[error("{placed} places for {asked} instances")]
    Count {
        /// Places in the decision.
        placed: usize,
        /// Instances asked for.
        asked: usize,
    },
    /// A device for another container or of another kind than asked.
    #[error("device {position} is not what the pod asks for")]
    Mismatch {
        /// Position in the request.
        position: usize,
    },
    /// A GPU that does not exist, is not Tangram's to partition, or cannot be used.
    #[error("GPU {gpu} cannot be used")]
    UnusableGpu {
        /// The GPU.
        gpu: u16,
    },
    /// A profile or start that the GPU's model does not have.
    #[error("GPU {gpu} has no {profile} at {start}")]
    IllegalPlacement {
        /// The GPU.
        gpu: u16,
        /// The profile.
        profile: ProfileName,
        /// The start.
        start: u8,
    },
    /// Two instances on one memory slice.
    #[error("memory slice {slice} of GPU {gpu} would be held twice")]
    HeldTwice {
        /// The GPU.
        gpu: u16,
        /// The memory slice, in NVML's unit.
        slice: u8,
    },
    /// More instances of a profile, or more engines, than the GPU has.
    #[error("GPU {gpu} would have more instances or engines in use than it has")]
    OverLimit {
        /// The GPU.
        gpu: u16,
    },
    /// More counted devices than are free.
    #[error("{resource}: {count} asked for, {free} free")]
    OverCapacity {
        /// Resource name.
        resource: String,
        /// Units asked for.
        count: u32,
        /// Units free.
        free: u32,
    },
}

/// Checks that a pod with this request may hold this placement on this node, beside all that is there.
pub fn verify(node: &Node, request: &Request, placement: &Placement) -> Result<(), Violation> {
    verify_counted(node, request)?;
    let (placed, asked) = (placement.devices.len(), request.slices.len());
    if placed != asked {
        return Err(Violation::Count { placed, asked });
    }
    for (position, (device, ask)) in placement.devices.iter().zip(&request.slices).enumerate() {
        if device.container != ask.container || !serves(node, device, &ask.want)? {
            return Err(Violation::Mismatch { position });
        }
    }
    let mut by_gpu: BTreeMap<u16, Vec<(&ProfileName, u8)>> = BTreeMap::new();
    for device in &placement.devices {
        by_gpu.entry(device.gpu).or_default().push((&device.profile, device.start));
    }
    by_gpu.into_iter().try_for_each(|(gpu, added)| verify_gpu(node, gpu, &added))
}

fn verify_counted(node: &Node, request: &Request) -> Result<(), Violation> {
    for (resource, count) in &request.counted {
        let free = free(node, resource).unwrap_or(0);
        if *count > free {
            return Err(Violation::OverCapacity { resource: resource.to_string(), count: *count, free });
        }
    }
    Ok(())
}

/// Units that no pod of the node asks for; `None` where pods hold more than there are.
fn free(node: &Node, resource: &str) -> Option<u32> {
    let of = |name: &str| name == resource;
    let capacity =
        node.facts.pools.iter().filter(|pool| of(&pool.resource)).map(|pool| pool.capacity).sum::<u32>();
    let held = node.pods.iter().flat_map(|pod| &pod.request.counted).filter(|(name, _)| of(name));
    capacity.checked_sub(held.fold(0_u32, |sum, (_, count)| sum.saturating_add(*count)))
}

/// The table's row of a dynamic GPU that is fit for use: one that its agent does not call sick, that no pod
/// holds as a whole, and on which it reports nothing that the table does not have.
fn usable_row(node: &Node, gpu: u16) -> Result<&'static ModelRow, Violation> {
    let unusable = Violation::UnusableGpu { gpu };
    let known =
        node.gpus.iter().find(|known| known.index == gpu && known.is_dynamic).and_then(|known| known.model);
    let row = known.map(|model| Catalog::get().row(model)).ok_or(unusable.clone())?;
    if node
        .pods
        .iter()
        .flat_map(|pod| &pod.request.counted)
        .any(|(name, _)| name.starts_with("nvidia.com/") && free(node, name).is_none())
    {
        return Err(unusable); // those pods' devices may be on any GPU
    }
    let is_in_table = |instance: &InstanceReport| {
        profile_row(row, &instance.profile).is_some_and(|profile| profile.starts.contains(&instance.start))
    };
    let is_usable = |reported: &GpuFacts| {
        reported.health == GpuHealth::Healthy
            && reported.holders.is_empty()
            && reported.instances.iter().all(is_in_table)
    };
    let is_reported =
        node.report.iter().flat_map(|report| &report.gpus).any(|reported| reported.index == gpu);
    if !is_reported && node.facts.dynamic.as_ref().is_some_and(|dynamic| dynamic.needs_agent) {
        return Err(unusable);
    }
    let mut reports =
        node.report.iter().flat_map(|report| &report.gpus).filter(|reported| reported.index == gpu);
    if reports.all(is_usable) { Ok(row) } else { Err(unusable) }
}

fn profile_row(row: &'static ModelRow, name: &ProfileName) -> Option<&'static ProfileRow> {
    row.profiles.iter().find(|profile| profile.name == name.as_str())
}

fn serves(node: &Node, device: &Device, want: &Want) -> Result<bool, Violation> {
    let row = usable_row(node, device.gpu)?;
    let illegal = || Violation::IllegalPlacement {
        gpu: device.gpu,
        profile: device.profile.clone(),
        start: device.start,
    };
    let profile = profile_row(row, &device.profile).ok_or_else(illegal)?;
    if !profile.starts.contains(&device.start) {
        return Err(illegal());
    }
    Ok(match want {
        Want::Profile(name) => device.profile == *name,
        Want::Memory { mib, compute_slices } => {
            row.profile_memory_mib(profile) >= *mib && u32::from(profile.compute_slices) >= *compute_slices
        }
    })
}

fn verify_gpu(node: &Node, gpu: u16, added: &[(&ProfileName, u8)]) -> Result<(), Violation> {
    let row = usable_row(node, gpu)?;
    let present = node.gpus.iter().filter(|known| known.index == gpu).flat_map(|known| &known.instances);
    let present = present.map(|instance| (&row.profiles[usize::from(instance.profile)], instance.start));
    let added = added.iter().filter_map(|(name, start)| Some((profile_row(row, name)?, *start)));
    let all: Vec<(&ProfileRow, u8)> = present.chain(added).collect();
    let mut held = vec![false; usize::from(row.memory_slices)];
    for (profile, start) in &all {
        for slice in *start..start.saturating_add(profile.memory_slices) {
            // Beyond the GPU there is nothing to hold: as bad as what somebody else holds.
            let is_held = held.get_mut(usize::from(slice)).is_none_or(|held| std::mem::replace(held, true));
            if is_held {
                return Err(Violation::HeldTwice { gpu, slice });
            }
        }
    }
    let count_of = |row: &ProfileRow| all.iter().filter(|(profile, _)| profile.name == row.name).count();
    let too_many = row.profiles.iter().any(|profile| count_of(profile) > usize::from(profile.max));
    let engines_of =
        |engine: usize| -> u32 { all.iter().map(|(profile, _)| u32::from(profile.engines[engine])).sum() };
    let overworked = (0..row.engines.len()).any(|engine| engines_of(engine) > u32::from(row.engines[engine]));
    if too_many || overworked {
        return Err(Violation::OverLimit { gpu });
    }
    Ok(())
}
