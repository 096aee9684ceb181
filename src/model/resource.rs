//! Resource names that mean GPUs, and amounts of what every pod needs.

use std::collections::BTreeSet;
use std::ops::{Add, AddAssign};

use crate::mig::ProfileName;

/// What a resource name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceKind {
    /// Devices that a device plugin counts and the kubelet chooses: `nvidia.com/gpu`, static MIG, replicas,
    /// other vendors.
    Counted,
    /// `tangram.gpu/mig-<profile>`: GPU instances that Tangram places.
    Slice(ProfileName),
    /// `tangram.gpu/mem`: a GPU instance with at least so many MiB.
    Memory,
    /// `tangram.gpu/compute-slices`: a bound that goes with `tangram.gpu/mem`.
    ComputeSlices,
    /// In Tangram's own group, but no name that Tangram knows.
    Unknown,
}

/// Names of other vendors' devices that are known without configuration.
const VENDORS: &[&str] = &["amd.com/gpu", "habana.ai/gaudi"];
/// Groups in which every name is a device.
const VENDOR_GROUPS: &[&str] = &["gpu.intel.com/"];
const OWN_GROUP: &str = "tangram.gpu/";

/// What `name` asks for, or `None` when it has nothing to do with GPUs.
///
/// `extra` are names from the configuration that count as whole devices.
///
/// ```
/// use tangram::model::{ResourceKind, resource_kind};
/// # let extra = Default::default();
/// assert_eq!(resource_kind("nvidia.com/mig-1g.10gb.shared", &extra), Some(ResourceKind::Counted));
/// assert_eq!(resource_kind("tangram.gpu/mem", &extra), Some(ResourceKind::Memory));
/// assert_eq!(resource_kind("cpu", &extra), None);
/// ```
pub fn resource_kind(name: &str, extra: &BTreeSet<String>) -> Option<ResourceKind> {
    if let Some(own) = name.strip_prefix(OWN_GROUP) {
        let profile = own.strip_prefix("mig-").and_then(ProfileName::parse);
        return Some(match (own, profile) {
            (_, Some(profile)) => ResourceKind::Slice(profile),
            ("mem", None) => ResourceKind::Memory,
            ("compute-slices", None) => ResourceKind::ComputeSlices,
            _ => ResourceKind::Unknown,
        });
    }
    // Anything behind mig- is a device to the kubelet, a profile or not: refused by nodes, never ignored.
    let is_nvidia = name
        .strip_prefix("nvidia.com/")
        .is_some_and(|own| matches!(own, "gpu" | "gpu.shared") || own.starts_with("mig-"));
    let is_counted = is_nvidia
        || VENDORS.contains(&name)
        || VENDOR_GROUPS.iter().any(|group| name.starts_with(group))
        || extra.contains(name);
    is_counted.then_some(ResourceKind::Counted)
}

/// What one unit of a counted resource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolKind {
    /// A whole device.
    Whole,
    /// A MIG device of a static partition.
    Partition(ProfileName),
    /// One of `replicas` shares (time-slicing or MPS) of a whole device, or of a MIG device.
    Replica {
        /// Shares per device, at least 1.
        replicas: u32,
        /// The MIG profile of the device that is shared; `None` for a whole GPU.
        of: Option<ProfileName>,
        /// How it is shared, where a label says it.
        by: Option<Sharing>,
    },
}

/// How NVIDIA's device plugin shares a device (`sharing.timeSlicing`, `sharing.mps`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The pods' processes take turns; each may use all of the memory.
    TimeSlicing,
    /// The pods' processes run side by side, each with its part of the memory.
    Mps,
}

impl Sharing {
    /// Each with its name in the labels of GPU feature discovery.
    pub const ALL: [(&'static str, Self); 2] = [("time-slicing", Self::TimeSlicing), ("mps", Self::Mps)];

    /// Its name in the labels.
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find_map(|(name, known)| (known == self).then_some(name))
            .expect("all stand there")
    }
}

/// Amounts of what kube-scheduler's own filters count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_bytes: i64,
    /// Pods.
    pub pods: i64,
}

impl Resources {
    /// The larger of each amount.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, i64::max)
    }

    fn zip(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            cpu_milli: combine(self.cpu_milli, other.cpu_milli),
            memory_bytes: combine(self.memory_bytes, other.memory_bytes),
            ephemeral_bytes: combine(self.ephemeral_bytes, other.ephemeral_bytes),
            pods: combine(self.pods, other.pods),
        }
    }

    /// The amounts with the names that kube-scheduler's messages use.
    pub fn named(self) -> [(&'static str, i64); 4] {
        [
            ("cpu", self.cpu_milli),
            ("memory", self.memory_bytes),
            ("ephemeral-storage", self.ephemeral_bytes),
            ("pods", self.pods),
        ]
    }
}

impl Add for Resources {
    type Output = Self;

    /// Saturating: amounts come from objects that anyone may write.
    fn add(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
