//! GPUs of one model in one node pool.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use super::bounds::{NAMES_MAX, largest};
use super::{OTHER, known};
use crate::mig::{Catalog, ModelId, ModelRow, Occupancy};
use crate::model::{Node, PoolKind};
use crate::solver::{Scores, whole_gpu_fragmentation};

/// Who partitions a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Tangram.
    Dynamic,
    /// Somebody else, such as NVIDIA's mig-manager.
    Static,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Dynamic, Self::Static];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Static => "static",
        }
    }
}

/// NVML memory slices; each is in one figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slices {
    /// Of GPU instances that are there or about to be.
    pub used: u32,
    /// Free, and some profile that is asked for can have them (dynamic), or a partition that nobody holds (static).
    pub usable: u32,
    /// Free, and of no use as they lie.
    pub stranded: u32,
    /// Of GPUs that take nothing more: unhealthy, or with claims that contradict each other.
    pub closed: u32,
}

/// Units of one counted resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Devices {
    /// Held by pods.
    pub used: u32,
    /// Held by nobody.
    pub free: u32,
}

/// GPUs of one model in one node pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// GPUs that Tangram partitions.
    pub dynamic_gpus: u32,
    /// Those of them that are closed.
    pub closed_gpus: u32,
    /// Memory slices, by who partitions.
    pub slices: BTreeMap<Mode, Slices>,
    /// Free memory slices that a request drawn from the demand is expected not to be able to use; dynamic only.
    pub lost_slices: f64,
    /// Memory of stranded slices in MiB, so that models compare.
    pub stranded_mib: u64,
    /// Whole GPUs that are free and of no use to a multi-GPU job drawn from the demand.
    pub lost_gpus: f64,
    /// GPU instances that could start now, if all room went to this profile. Nothing can where a node is cordoned or
    /// its agent is silent.
    pub room: BTreeMap<(Arc<str>, Mode), u32>,
    /// Counted devices by resource name.
    pub devices: BTreeMap<Arc<str>, Devices>,
    /// How many GPUs hold what, where something could start: closed ones too.
    open: BTreeMap<(ModelId, Occupancy), u32>,
}

impl AddAssign for Slices {
    fn add_assign(&mut self, other: Self) {
        self.used += other.used;
        self.usable += other.usable;
        self.stranded += other.stranded;
        self.closed += other.closed;
    }
}

impl AddAssign for Devices {
    fn add_assign(&mut self, other: Self) {
        // Saturating: capacities are what allocatable says.
        self.used = self.used.saturating_add(other.used);
        self.free = self.free.saturating_add(other.free);
    }
}

impl Group {
    pub(super) fn add(&mut self, node: &Node, scores: &Scores) {
        let is_open = !node.facts.is_unschedulable;
        let can_start = is_open && !node.is_silent;
        for gpu in node.dynamic_gpus() {
            let catalog = Catalog::get();
            self.dynamic_gpus += 1;
            let row = gpu.model.map(|model| catalog.row(model));
            let slices = self.slices.entry(Mode::Dynamic).or_default();
            if gpu.occupancy == Occupancy::CLOSED {
                self.closed_gpus += 1;
                slices.closed += row.map_or(0, |row| u32::from(row.memory_slices));
            } else {
                let of = scores.fragmentation(gpu.occupancy);
                *slices += Slices { used: of.used, usable: of.usable, stranded: of.stranded, closed: 0 };
                self.lost_slices += of.cost;
                self.stranded_mib += row.map_or(0, |row| mib(row, of.stranded));
            }
            if let Some(model) = gpu.model {
                let occupancy = if can_start { gpu.occupancy } else { Occupancy::CLOSED };
                *self.open.entry((model, occupancy)).or_default() += 1;
            }
        }
        for (row, of) in node.partitioned() {
            let slices = Slices { used: of.held, usable: of.free, stranded: of.stranded, closed: 0 };
            *self.slices.entry(Mode::Static).or_default() += slices;
            self.stranded_mib += mib(row, of.stranded);
        }
        for (facts, pool) in node.pools().filter(|(facts, pool)| facts.capacity > 0 || pool.used > 0) {
            let free = facts.capacity.saturating_sub(pool.used);
            *self.devices.entry(facts.resource.clone()).or_default() += Devices { used: pool.used, free };
            let startable = if is_open { free } else { 0 };
            match &facts.kind {
                PoolKind::Whole => self.lost_gpus += whole_gpu_fragmentation(free),
                PoolKind::Partition(profile) => {
                    let room = self.room.entry((known(profile), Mode::Static)).or_default();
                    *room = room.saturating_add(startable);
                }
                PoolKind::Replica { .. } => {}
            }
        }
    }

    /// Counts what could start, once every node is in.
    pub(super) fn finish(&mut self) {
        let catalog = Catalog::get();
        for ((model, occupancy), gpus) in std::mem::take(&mut self.open) {
            // A profile for which there is no room has an entry too: 0 is an answer.
            for (profile, id) in catalog.geometry(model).profiles().iter().zip(0..) {
                let room = u32::from(catalog.room(occupancy, id)) * gpus;
                *self.room.entry((known(&profile.name), Mode::Dynamic)).or_default() += room;
            }
        }
        self.devices = largest(
            std::mem::take(&mut self.devices),
            NAMES_MAX,
            &OTHER.into(),
            |devices| u64::from(devices.used) + u64::from(devices.free),
            |sum, devices| *sum += devices,
        );
    }

    /// Number of devices, for the order of groups.
    pub(super) fn size(&self) -> u64 {
        let counted = self.devices.values().map(|devices| u64::from(devices.used) + u64::from(devices.free));
        u64::from(self.dynamic_gpus) + counted.sum::<u64>()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.dynamic_gpus += other.dynamic_gpus;
        self.closed_gpus += other.closed_gpus;
        self.lost_slices += other.lost_slices;
        self.stranded_mib += other.stranded_mib;
        self.lost_gpus += other.lost_gpus;
        for (mode, slices) in other.slices {
            *self.slices.entry(mode).or_default() += slices;
        }
        for (key, room) in other.room {
            *self.room.entry(key).or_default() += room;
        }
        for (resource, devices) in other.devices {
            *self.devices.entry(resource).or_default() += devices;
        }
    }
}

/// Memory of some memory slices of a GPU.
fn mib(row: &ModelRow, slices: u32) -> u64 {
    (u64::from(row.memory_mib()) * u64::from(slices)).div_euclid(u64::from(row.memory_slices))
}
