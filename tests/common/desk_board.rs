//! A GPU as the hardware is: what can be on it, what is, and whose it truly is.

use tangram::mig::{ModelRow, ProfileRow};
use tangram_nvml::Code;
use tangram_nvml::facts::{Ailment, Compute, Gpu, Instance, Mig};

use crate::common;

/// An instance that exists.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) id: u32,
    pub(crate) profile: &'static ProfileRow,
    pub(crate) start: u8,
    /// None where there is no compute instance.
    pub(crate) uuid: Option<String>,
    pub(crate) is_foreign: bool,
    /// It is foreign, but nobody could know.
    pub(crate) is_excused: bool,
}

/// A GPU.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) index: u32,
    pub(crate) row: &'static ModelRow,
    pub(crate) live: Vec<Live>,
    pub(crate) is_enabled: bool,
    pub(crate) is_lost: bool,
    facts: Gpu,
    last: Option<Gpu>, // what the library has read last
}

impl Board {
    pub(crate) fn new(index: u32, key: &str) -> Self {
        let (row, facts) = (common::row(key), common::gpu(index, key));
        Self { index, row, live: Vec::new(), is_enabled: true, is_lost: false, facts, last: None }
    }

    /// Whether the driver lets this one be made beside others: placements, maxima, engines.
    pub(crate) fn has_room<'a>(
        row: &ModelRow,
        others: impl Iterator<Item = (&'a ProfileRow, u8)>,
        profile: &'a ProfileRow,
        start: u8,
    ) -> bool {
        let all: Vec<(&ProfileRow, u8)> = others.chain([(profile, start)]).collect();
        let slices = |(profile, start): &(&ProfileRow, u8)| *start..*start + profile.memory_slices;
        let mut taken: Vec<u8> = all.iter().flat_map(slices).collect();
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        let of_kind = all.iter().filter(|(other, _)| other.name == profile.name).count();
        let engine = |engine: usize| -> u32 {
            all.iter().map(|(profile, _)| u32::from(profile.engines[engine])).sum()
        };
        taken.len() == count
            && profile.starts.contains(&start)
            && of_kind <= usize::from(profile.max)
            && (0..row.engines.len()).all(|of| engine(of) <= u32::from(row.engines[of]))
    }

    pub(crate) fn takes(&self, profile: &'static ProfileRow, start: u8) -> bool {
        let others = self.live.iter().map(|live| (live.profile, live.start));
        Self::has_room(self.row, others, profile, start)
    }

    /// Makes an instance, with the lowest id that is free, as the driver does.
    pub(crate) fn make(&mut self, profile: &'static ProfileRow, start: u8, uuid: String) -> Result<(), Code> {
        if self.is_lost {
            return Err(Code::GpuIsLost);
        }
        if !self.is_enabled {
            return Err(Code::NotSupported);
        }
        if !self.takes(profile, start) {
            return Err(Code::InsufficientResources);
        }
        let id = (0..99).find(|id| self.live.iter().all(|live| live.id != *id)).expect("there are few");
        let uuid = Some(uuid);
        self.live.push(Live { id, profile, start, uuid, is_foreign: false, is_excused: false });
        Ok(())
    }

    /// The instance that was seen, if it is still there.
    pub(crate) fn find(&self, seen: &Instance) -> Result<usize, Code> {
        if self.is_lost {
            return Err(Code::GpuIsLost);
        }
        let is_it = |live: &Live| live.id == seen.id && live.uuid.as_deref() == seen.uuid();
        self.live.iter().position(is_it).ok_or(Code::NotFound)
    }

    pub(crate) fn profile(&self, name: &str) -> Option<&'static ProfileRow> {
        self.row.profiles.iter().find(|profile| profile.name == name)
    }

    /// What NVML says; of a GPU that is lost what it said last, if it said anything in this process.
    pub(crate) fn read(&mut self) -> Option<Gpu> {
        if self.is_lost {
            let last = self.last.clone()?;
            return Some(Gpu { ailments: vec![Ailment::Lost], ..last });
        }
        let mut gpu = self.facts.clone();
        let instance = |live: &Live| Instance {
            id: live.id,
            profile: live.profile.name.to_owned(),
            start: live.start.into(),
            memory_slices: live.profile.memory_slices.into(),
            compute: live.uuid.iter().map(|uuid| Compute { id: 0, uuid: Some(uuid.clone()) }).collect(),
        };
        gpu.mig = gpu.mig.map(|mig| Mig {
            is_enabled: self.is_enabled,
            is_pending: self.is_enabled,
            instances: self.live.iter().map(instance).collect(),
            ..mig
        });
        self.last = Some(gpu.clone());
        Some(gpu)
    }

    /// The process that used the library is gone.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// A reset, or a reboot of the machine.
    pub(crate) fn wipe(&mut self) {
        self.live.clear();
        self.is_lost = false;
    }
}
