//! The pods of the mixed cluster.

use super::makes::{A100_80, H100_80, H200, SHARED, WHOLE, Way};
use crate::mig::ProfileName;
use crate::model::{
    Demand, Expression, Mobility, Operator, Pod, PodKey, Request, Resources, SliceAsk, Version, Want,
};

/// What a pod asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// A GPU instance of a profile.
    Profile(&'static str),
    /// A GPU instance with so much memory in MiB, of any model.
    Memory(u32),
    /// Units of a resource, of one of these products; of any where there is none.
    Units(u32, &'static [&'static str]),
}

/// Pods that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) way: Way,
    /// How often, against others of its way.
    pub(super) weight: usize,
    pub(super) device: Device,
    pub(super) cores: u32,
    pub(super) gib: u32,
    /// GPU memory that it is counted with.
    pub(super) worth_mib: u32,
}

const fn mig(weight: usize, device: Device, cores: u32, gib: u32, worth_mib: u32) -> Kind {
    Kind { way: Way::Mig, weight, device, cores, gib, worth_mib }
}

/// Counted as the mean whole GPU of the cluster.
const fn whole(weight: usize, gpus: u32, products: &'static [&'static str], cores: u32, gib: u32) -> Kind {
    let device = Device::Units(gpus, products);
    Kind { way: Way::Whole, weight, device, cores, gib, worth_mib: gpus * 97_000 }
}

/// Counted as the mean replica of the cluster.
const fn shared(weight: usize, units: u32, cores: u32, gib: u32) -> Kind {
    let device = Device::Units(units, &[]);
    Kind { way: Way::Shared, weight, device, cores, gib, worth_mib: units * 17_000 }
}

/// Small ones are frequent, as in every published trace; a third of those for whole GPUs insist on a model.
pub(super) const KINDS: [Kind; 20] = [
    mig(20, Device::Memory(5_000), 1, 8, 5_120),
    mig(20, Device::Memory(10_000), 2, 16, 10_240),
    mig(15, Device::Memory(20_000), 3, 24, 20_480),
    mig(5, Device::Memory(40_000), 6, 64, 40_960),
    mig(12, Device::Profile("1g.10gb"), 1, 16, 10_240),
    mig(10, Device::Profile("2g.20gb"), 4, 32, 20_480),
    mig(8, Device::Profile("3g.40gb"), 6, 64, 40_960),
    mig(4, Device::Profile("7g.80gb"), 12, 128, 81_920),
    mig(8, Device::Profile("3g.20gb"), 4, 32, 20_480),
    mig(6, Device::Profile("2g.12gb"), 4, 24, 12_288),
    whole(30, 1, &[], 8, 64),
    whole(12, 1, &[], 20, 96),
    whole(10, 1, &[A100_80], 6, 64),
    whole(8, 1, &[H100_80, H200], 16, 128),
    whole(12, 2, &[], 16, 192),
    whole(6, 4, &[H100_80, A100_80], 32, 384),
    whole(5, 8, &[], 64, 768),
    shared(20, 1, 2, 8),
    shared(10, 1, 6, 16),
    shared(6, 2, 4, 32),
];

impl Kind {
    /// The pod of that number.
    pub(super) fn pod(&self, number: u32) -> Pod {
        let slice = |want| vec![SliceAsk { container: "main".into(), want }];
        let resource = if self.way == Way::Shared { SHARED } else { WHOLE };
        let (counted, slices, products): (_, _, &[&str]) = match self.device {
            Device::Profile(name) => {
                let name = ProfileName::parse(name).expect("a profile");
                (Vec::new(), slice(Want::Profile(name)), &[])
            }
            Device::Memory(mib) => (Vec::new(), slice(Want::Memory { mib, compute_slices: 0 }), &[]),
            Device::Units(units, products) => (vec![(resource.into(), units)], Vec::new(), products),
        };
        let wanted = Expression {
            key: Some("nvidia.com/gpu.product".into()),
            operator: Operator::In,
            values: products.iter().map(|&product| product.into()).collect(),
        };
        let name = format!("pod-{number:06}");
        Pod {
            key: PodKey { namespace: "mixed".into(), name: name.as_str().into() },
            uid: name.into(),
            created_s: number.into(),
            priority: 0,
            request: Request { counted, slices, policy: None },
            demand: Demand {
                resources: Resources {
                    cpu_milli: i64::from(self.cores) * 1000,
                    memory_bytes: i64::from(self.gib) << 30,
                    ephemeral_bytes: 0,
                    pods: 1,
                },
                affinity: (!products.is_empty()).then(|| vec![vec![wanted]]),
                ..Demand::default()
            },
            node: None,
            placement: None,
            unreadable_placement: None,
            is_terminating: false,
            mobility: Mobility::default(),
            version: Version::default(),
            waiting: None,
        }
    }
}
