//! Everything that happened, so that a test can prove that nothing was made twice.

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// UUID of the GPU that it happened to; `None` for the machine.
    pub gpu: Option<String>,
    /// What.
    pub what: What,
    /// When, in microseconds of UNIX time.
    pub at_us: u64,
    /// Process that called NVML; `None` where the scene did it.
    pub by: Option<u32>,
}

/// What happened. Instances that a reboot, a reset or a mode change wipes are destroyed one by one, so that
/// those created without those destroyed are those that exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A GPU instance was made.
    GpuInstanceCreated {
        /// Its profile.
        profile: String,
        /// First memory slice.
        start: u32,
        /// Its id.
        id: u32,
    },
    /// A GPU instance is gone.
    GpuInstanceDestroyed {
        /// Its profile.
        profile: String,
        /// First memory slice.
        start: u32,
        /// Its id.
        id: u32,
    },
    /// A compute instance was made.
    ComputeInstanceCreated {
        /// Id of its GPU instance.
        gpu_instance: u32,
        /// Its id.
        id: u32,
        /// UUID of the MIG device.
        uuid: String,
    },
    /// A compute instance is gone.
    ComputeInstanceDestroyed {
        /// Id of its GPU instance.
        gpu_instance: u32,
        /// Its id.
        id: u32,
        /// UUID of the MIG device.
        uuid: String,
    },
    /// MIG mode changed.
    MigMode {
        /// Now.
        current: bool,
        /// After a reset.
        pending: bool,
    },
    /// A GPU was reset.
    Reset,
    /// The machine was started again.
    Reboot,
    /// The driver was unloaded.
    DriverStopped,
    /// The driver was loaded.
    DriverStarted,
}
