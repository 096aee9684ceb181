//! What the kubelet is told: pure.
//!
//! Sources: `k8s.io/kubernetes` v1.36.2, `pkg/kubelet/cm/devicemanager`; NVIDIA's container toolkit for the
//! variable and the mounts.
//!
//! # One container with several profiles
//!
//! The kubelet calls `Allocate` once per resource and does not say for which container. It joins the answers:
//! mounts and CDI devices of all, but of a variable only one value, that of whichever resource comes first in a
//! Go map, and logs "Environment variable has conflicting setting" (`deviceRunContainerOptions`). So
//! `NVIDIA_VISIBLE_DEVICES` then names the instances of one profile, by chance. What holds nevertheless:
//!
//! * CDI devices are all there; a container on a runtime with CDI can use all its instances.
//! * Mounts are all there; with `volume-mounts`, NVIDIA's runtime goes by them and ignores the variable.
//! * `TANGRAM_MIG_<PROFILE>` differs by resource, so every one arrives: what a program can rely on.
//! * Without `envvar` the variable has the same value for all resources, so nothing is left to chance.
//!
//! With `envvar` alone such a container may get one profile's instances only: choose another strategy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram_kubelet_api::deviceplugin::{
    CdiDevice, ContainerAllocateResponse, ContainerPreferredAllocationRequest, Device, HEALTHY, Mount,
    NumaNode, TopologyInfo, UNHEALTHY,
};
use thiserror::Error;

use super::strategy::{DeviceListStrategy, Strategies};
use super::{DeviceId, Offer};
use crate::agent::cdi;

/// What NVIDIA's runtime reads. Set always: images of NVIDIA's say `all`, and without a value of the plugin's
/// they would get every GPU.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// Value that gives nothing (NVIDIA container toolkit), for when CDI gives everything.
const VOID: &str = "void";
/// Where NVIDIA's runtime looks for mounts that name devices; also the variable's value when they do.
const MOUNTS: &str = "/var/run/nvidia-container-devices";
/// What has to be mounted there.
const NOTHING: &str = "/dev/null";

/// A device that is offered, and whether the container runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offer: Offer,
    pub(super) cdi: Result<(), Arc<str>>,
}

/// The devices of one resource.
pub(super) type Entries = BTreeMap<DeviceId, Entry>;

/// Why a container does not get a device. The kubelet fails the pod with this text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// The scheduler took its wish back, or never had it.
    #[error("{0} is not wanted here any more")]
    NotWanted(String),
    /// It is wanted, but there is no such instance, or its GPU is unwell.
    #[error("{0} is not live")]
    NotLive(String),
    /// It is live, but no container could use it.
    #[error("{0} has no CDI device: {1}")]
    NoCdi(String, Arc<str>),
}

impl Entry {
    fn is_usable(&self, strategies: &Strategies) -> bool {
        self.offer.is_healthy && (self.cdi.is_ok() || !strategies.needs_cdi())
    }
}

/// The list for `ListAndWatch`.
pub(super) fn devices(entries: &Entries, strategies: &Strategies) -> Vec<Device> {
    let device = |(id, entry): (&DeviceId, &Entry)| Device {
        id: id.to_string(),
        health: if entry.is_usable(strategies) { HEALTHY } else { UNHEALTHY }.to_owned(),
        topology: entry
            .offer
            .numa_node
            .map(|node| TopologyInfo { nodes: vec![NumaNode { id: i64::from(node) }] }),
    };
    entries.iter().map(device).collect()
}

/// The answer to `GetPreferredAllocation`: what must be there, then what waits for its pod, then others; by GPU and
/// start.
pub(super) fn preferred(entries: &Entries, request: &ContainerPreferredAllocationRequest) -> Vec<String> {
    // The kubelet may still know devices of another version; those it names last, by text.
    let sorted = |ids: &[String]| {
        let mut ids = ids.to_vec();
        ids.sort_by_cached_key(|id| {
            let device = id.parse::<DeviceId>().ok();
            let entry = device.as_ref().and_then(|device| entries.get(device));
            let is_awaited = entry.is_some_and(|entry| entry.offer.is_awaited);
            (device.is_none(), !is_awaited, device, id.clone())
        });
        ids
    };
    let mut chosen = sorted(&request.must_include_device_i_ds);
    let size = usize::try_from(request.allocation_size).unwrap_or(0).max(chosen.len());
    let must: BTreeSet<String> = chosen.iter().cloned().collect();
    let others = sorted(&request.available_device_i_ds);
    chosen.extend(others.into_iter().filter(|id| !must.contains(id)));
    chosen.dedup();
    chosen.truncate(size);
    chosen
}

/// The answer to `Allocate` for one container and one resource.
pub(super) fn allocate(
    resource: &str,
    entries: &Entries,
    strategies: &Strategies,
    ids: &[String],
) -> Result<ContainerAllocateResponse, Refusal> {
    let mut chosen: Vec<(&DeviceId, &Entry)> = Vec::new();
    for id in ids {
        let device = id.parse().ok().and_then(|device: DeviceId| entries.get_key_value(&device));
        let (device, entry) = device.ok_or_else(|| Refusal::NotWanted(id.clone()))?;
        if !entry.offer.is_healthy {
            return Err(Refusal::NotLive(id.clone()));
        }
        match &entry.cdi {
            Err(why) if strategies.needs_cdi() => return Err(Refusal::NoCdi(id.clone(), why.clone())),
            _ => chosen.push((device, entry)),
        }
    }
    chosen.sort_by_key(|(device, _)| *device);
    chosen.dedup_by_key(|(device, _)| *device);
    let uuids: Vec<&str> = chosen.iter().map(|(_, entry)| &*entry.offer.uuid).collect();
    let list = uuids.join(",");
    let has = |strategy| strategies.has(strategy);
    let visible = match () {
        () if has(DeviceListStrategy::Envvar) => &list,
        () if has(DeviceListStrategy::VolumeMounts) => MOUNTS,
        () => VOID,
    };
    let mut answer = ContainerAllocateResponse {
        envs: [(VISIBLE.to_owned(), visible.to_owned()), (variable(resource), list.clone())].into(),
        ..ContainerAllocateResponse::default()
    };
    if has(DeviceListStrategy::CdiCri) {
        let known = chosen.iter().filter(|(_, entry)| entry.cdi.is_ok());
        let device = |(_, entry): &(_, &Entry)| CdiDevice { name: cdi::device_name(&entry.offer.uuid) };
        answer.cdi_devices = known.map(device).collect();
    }
    if has(DeviceListStrategy::VolumeMounts) {
        let mount = |uuid: &&str| Mount {
            container_path: format!("{MOUNTS}/{uuid}"),
            host_path: NOTHING.to_owned(),
            read_only: true,
        };
        answer.mounts = uuids.iter().map(mount).collect();
    }
    Ok(answer)
}

/// The variable that lists a resource's MIG UUIDs: `TANGRAM_MIG_1G_10GB` for `tangram.gpu/mig-1g.10gb`. The
/// profile `1g.24gb-me`, which has *no* media engines, gets `_NO_ME`, since `1g.24gb+me` has `_ME`.
fn variable(resource: &str) -> String {
    let profile = resource.rsplit("mig-").next().unwrap_or_default();
    let words = profile.replace('-', "_no_").to_ascii_uppercase();
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    format!("TANGRAM_MIG_{}", words.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests;
