//! What the driver knows: the whole state that processes share, as plain data.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::board::Gpu;
use crate::code::Code;
use crate::history::{Happening, What};
use crate::links::Connection;

/// Events that wait at most; the oldest are forgotten, as a driver's queue forgets them.
const EVENTS_MAX: usize = 256;

/// The state of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The driver.
    pub driver: Driver,
    /// Whether callers may do what NVML lets only root do.
    pub is_privileged: bool,
    /// By NVML index.
    pub gpus: Vec<Gpu>,
    /// How near pairs of GPUs are; the first one that names a pair holds.
    pub connections: Vec<Connection>,
    /// Calls that fail.
    pub faults: Vec<Fault>,
    /// Calls that take long: milliseconds by C function.
    pub delays_ms: BTreeMap<String, u64>,
    /// What happened last.
    pub events: VecDeque<Event>,
    /// Given to everything that is made; never given twice.
    pub(crate) serial: u64,
    /// What UUIDs are made from, together with a serial.
    pub(crate) seed: u64,
    /// How much of the history file is true: a process may have been killed after it wrote there.
    pub(crate) history_bytes: u64,
    /// What this change adds to the history.
    #[serde(skip)]
    pub(crate) happenings: Vec<Happening>,
}

/// The driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// `nvmlSystemGetDriverVersion`.
    pub version: String,
    /// `nvmlSystemGetNVMLVersion`.
    pub nvml_version: String,
    /// `nvmlSystemGetCudaDriverVersion`: 1000 × major + 10 × minor.
    pub cuda_version: i32,
    /// Whether NVML can be initialised.
    pub is_loaded: bool,
    /// Counts how often it was unloaded: what was opened before is dead.
    pub epoch: u64,
    /// What calls answer that use what was opened before.
    pub stale: Code,
}

/// A C function that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its name, for example `nvmlGpuInstanceDestroy`.
    pub function: String,
    /// What it answers.
    pub code: Code,
    /// How often it still fails.
    pub times: u32,
    /// Only when it is asked about the GPU of this index.
    pub gpu: Option<usize>,
}

/// Something that `nvmlEventSetWait_v2` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Later events have higher ones.
    pub serial: u64,
    /// UUID of the GPU.
    pub gpu: String,
    /// One of `nvmlEventType*`.
    pub kind: u64,
    /// The XID, for an XID.
    pub data: u64,
    /// The GPU instance that it is about.
    pub gpu_instance: Option<u32>,
    /// The compute instance that it is about.
    pub compute_instance: Option<u32>,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            version: "580.95.05".to_owned(),
            nvml_version: "13.580.95.05".to_owned(),
            cuda_version: 13000,
            is_loaded: true,
            epoch: 1,
            stale: Code::UNINITIALIZED,
        }
    }
}

impl State {
    /// A machine with these GPUs, in the order of their index.
    pub(crate) fn new(gpus: Vec<Gpu>, seed: u64) -> Self {
        Self {
            driver: Driver::default(),
            is_privileged: true,
            gpus,
            connections: Vec::new(),
            faults: Vec::new(),
            delays_ms: BTreeMap::new(),
            events: VecDeque::new(),
            serial: 0,
            seed,
            history_bytes: 0,
            happenings: Vec::new(),
        }
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Index of the GPU with this UUID.
    pub(crate) fn index_of(&self, uuid: &str) -> Option<usize> {
        self.gpus.iter().position(|gpu| gpu.uuid == uuid)
    }

    pub(crate) fn happened(&mut self, gpu: Option<usize>, what: What) {
        let gpu = gpu.map(|index| self.gpus[index].uuid.clone());
        self.happenings.push(Happening { gpu, what, at_us: 0, by: None });
    }

    /// Tells everybody who waits for events.
    pub(crate) fn tell(&mut self, gpu: usize, kind: u64, data: u64, instance: Option<(u32, Option<u32>)>) {
        let serial = self.next_serial();
        self.events.push_back(Event {
            serial,
            gpu: self.gpus[gpu].uuid.clone(),
            kind,
            data,
            gpu_instance: instance.map(|(gpu_instance, _)| gpu_instance),
            compute_instance: instance.and_then(|(_, compute_instance)| compute_instance),
        });
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// The code with which `function` fails about `gpu` (`None`: before it looks at any), if it is to; and
    /// one time less from now on.
    pub(crate) fn take_fault(&mut self, function: &str, gpu: Option<usize>) -> Option<Code> {
        let found = self.faults.iter().position(|fault| fault.is_for(function, gpu))?;
        let fault = &mut self.faults[found];
        fault.times -= 1;
        let code = fault.code;
        self.faults.retain(|fault| fault.times > 0);
        Some(code)
    }
}

impl Fault {
    pub(crate) fn is_for(&self, function: &str, gpu: Option<usize>) -> bool {
        self.times > 0 && self.gpu == gpu && self.function == function
    }
}

/// A UUID as NVML writes it, of `seed` and a number that is used once.
pub(crate) fn uuid(prefix: &str, seed: u64, serial: u64) -> String {
    let high = mixed(seed ^ mixed(serial));
    let low = mixed(high ^ serial);
    // Version 5 and variant 1 of RFC 9562, as the driver's are.
    let high = high & !0xF000 | 0x5000;
    let low = low & !(3 << 62) | 2 << 62;
    format!(
        "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// A one-to-one scramble of 64 bits (the finaliser of `SplitMix64`), so that neighbours look unlike.
pub(crate) const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}
