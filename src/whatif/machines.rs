//! The clouds' usual GPU machines, by the names of their types.
//!
//! Facts are the vendors' own pages: [AWS](https://aws.amazon.com/ec2/instance-types/accelerated-computing/),
//! [Google Cloud](https://cloud.google.com/compute/docs/gpus),
//! [Azure](https://learn.microsoft.com/azure/virtual-machines/sizes/overview). They say what a machine has; what a
//! node offers is less ([`Machine::allocatable`]). Whoever needs it exact names a node as the example.

use crate::model::Resources;

/// One type of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Its name, as in the label `node.kubernetes.io/instance-type`.
    pub name: &'static str,
    /// Its GPUs, as GPU feature discovery labels them.
    pub product: &'static str,
    /// How many GPUs.
    pub gpus: u16,
    /// Virtual CPUs.
    pub cpus: u16,
    /// Memory in GiB (Google Cloud's GB are GiB).
    pub memory_gib: u16,
    /// Whose page says so.
    pub source: Source,
}

/// Where a machine's facts are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Amazon EC2.
    Aws,
    /// Google Compute Engine.
    Google,
    /// Azure virtual machines.
    Azure,
}

impl Source {
    /// The page.
    pub fn url(self) -> &'static str {
        match self {
            Self::Aws => "https://aws.amazon.com/ec2/instance-types/accelerated-computing/",
            Self::Google => "https://cloud.google.com/compute/docs/gpus",
            Self::Azure => "https://learn.microsoft.com/azure/virtual-machines/sizes/overview",
        }
    }
}

const A100_40: &str = "NVIDIA-A100-SXM4-40GB";
const A100_80: &str = "NVIDIA-A100-SXM4-80GB";
const A100_PCIE: &str = "NVIDIA-A100-80GB-PCIe";
const H100: &str = "NVIDIA-H100-80GB-HBM3";
const H100_NVL: &str = "NVIDIA-H100-NVL";
const H200: &str = "NVIDIA-H200";
const B200: &str = "NVIDIA-B200";

const fn machine(
    source: Source,
    name: &'static str,
    product: &'static str,
    gpus: u16,
    cpus: u16,
    memory_gib: u16,
) -> Machine {
    Machine { name, product, gpus, cpus, memory_gib, source }
}

/// All that are known.
pub const MACHINES: &[Machine] = &[
    machine(Source::Aws, "p4d.24xlarge", A100_40, 8, 96, 1152),
    machine(Source::Aws, "p4de.24xlarge", A100_80, 8, 96, 1152),
    machine(Source::Aws, "p5.48xlarge", H100, 8, 192, 2048),
    machine(Source::Aws, "p5e.48xlarge", H200, 8, 192, 2048),
    machine(Source::Aws, "p5en.48xlarge", H200, 8, 192, 2048),
    machine(Source::Aws, "p6-b200.48xlarge", B200, 8, 192, 2048),
    machine(Source::Google, "a2-highgpu-1g", A100_40, 1, 12, 85),
    machine(Source::Google, "a2-highgpu-2g", A100_40, 2, 24, 170),
    machine(Source::Google, "a2-highgpu-4g", A100_40, 4, 48, 340),
    machine(Source::Google, "a2-highgpu-8g", A100_40, 8, 96, 680),
    machine(Source::Google, "a2-megagpu-16g", A100_40, 16, 96, 1360),
    machine(Source::Google, "a2-ultragpu-1g", A100_80, 1, 12, 170),
    machine(Source::Google, "a2-ultragpu-2g", A100_80, 2, 24, 340),
    machine(Source::Google, "a2-ultragpu-4g", A100_80, 4, 48, 680),
    machine(Source::Google, "a2-ultragpu-8g", A100_80, 8, 96, 1360),
    machine(Source::Google, "a3-highgpu-1g", H100, 1, 26, 234),
    machine(Source::Google, "a3-highgpu-2g", H100, 2, 52, 468),
    machine(Source::Google, "a3-highgpu-4g", H100, 4, 104, 936),
    machine(Source::Google, "a3-highgpu-8g", H100, 8, 208, 1872),
    machine(Source::Google, "a3-megagpu-8g", H100, 8, 208, 1872),
    machine(Source::Google, "a3-ultragpu-8g", H200, 8, 224, 2952),
    machine(Source::Google, "a4-highgpu-8g", B200, 8, 224, 3968),
    machine(Source::Azure, "Standard_ND96asr_v4", A100_40, 8, 96, 900),
    machine(Source::Azure, "Standard_ND96amsr_A100_v4", A100_80, 8, 96, 1900),
    machine(Source::Azure, "Standard_ND96isr_H100_v5", H100, 8, 96, 1900),
    machine(Source::Azure, "Standard_ND96isr_H200_v5", H200, 8, 96, 1850),
    machine(Source::Azure, "Standard_NC24ads_A100_v4", A100_PCIE, 1, 24, 220),
    machine(Source::Azure, "Standard_NC48ads_A100_v4", A100_PCIE, 2, 48, 440),
    machine(Source::Azure, "Standard_NC96ads_A100_v4", A100_PCIE, 4, 96, 880),
    machine(Source::Azure, "Standard_NC40ads_H100_v5", H100_NVL, 1, 40, 320),
    machine(Source::Azure, "Standard_NC80adis_H100_v5", H100_NVL, 2, 80, 640),
];

/// Pods of one node: the kubelet's own default.
const PODS: i64 = 110;
/// Parts of a hundred of CPU and memory that the system keeps: about what managed clusters reserve on machines of
/// this size.
const RESERVED_PERCENT: i64 = 5;
/// Ephemeral storage in GiB: a guess, since the disk is the cluster's choice.
const DISK_GIB: i64 = 1024;

impl Machine {
    /// The machine of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        MACHINES.iter().copied().find(|machine| machine.name == name)
    }

    /// What a node of this type offers to pods, about: what the machine has less the system's part.
    pub fn allocatable(self) -> Resources {
        let left = |amount: i64| (amount * (100 - RESERVED_PERCENT)).div_euclid(100);
        Resources {
            cpu_milli: left(i64::from(self.cpus) * 1000),
            memory_bytes: left(i64::from(self.memory_gib) << 30),
            ephemeral_bytes: DISK_GIB << 30,
            pods: PODS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::Catalog;

    #[test]
    fn every_machine_has_gpus_that_the_table_knows_and_a_name_of_its_own() {
        for (at, machine) in MACHINES.iter().enumerate() {
            assert!(Catalog::get().by_product(machine.product).is_some(), "{}", machine.name);
            assert!(MACHINES[at + 1..].iter().all(|other| other.name != machine.name), "{}", machine.name);
        }
        let known = Machine::by_name("p4d.24xlarge").unwrap();
        assert_eq!((known.gpus, known.allocatable().cpu_milli), (8, 91_200));
        assert_eq!(Machine::by_name("p4d.24XLARGE"), None);
    }
}
