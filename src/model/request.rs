//! What one pod asks: devices for Tangram, everything else for kube-scheduler's own filters.

use std::fmt;
use std::sync::Arc;

use super::{Resources, TaintEffect};
use crate::mig::ProfileName;

/// The devices a pod asks for, over all its containers by Kubernetes' rule: the larger of the largest init
/// container and the sum of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Devices by resource name that the kubelet chooses, sorted by name, counts at least 1.
    pub counted: Vec<(Arc<str>, u32)>,
    /// GPU instances that Tangram places, in the order of the pod's containers.
    pub slices: Vec<SliceAsk>,
    /// The pod's own wish; `None` means the configured policy.
    pub policy: Option<Policy>,
}

impl Request {
    /// Whether the pod asks for no device at all.
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty() && self.slices.is_empty()
    }
}

/// One GPU instance for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceAsk {
    /// The container that asks.
    pub container: Arc<str>,
    /// What it asks.
    pub want: Want,
}

/// How a GPU instance is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// `tangram.gpu/mig-<profile>`.
    Profile(ProfileName),
    /// `tangram.gpu/mem`, `tangram.gpu/compute-slices`: the cheapest profile of any model that has both.
    Memory {
        /// At least this much memory.
        mib: u32,
        /// At least this many compute slices.
        compute_slices: u32,
    },
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => profile.fmt(f),
            Self::Memory { mib, compute_slices: 0 | 1 } => write!(f, "{mib} MiB"),
            Self::Memory { mib, compute_slices } => {
                write!(f, "{mib} MiB with {compute_slices} compute slices")
            }
        }
    }
}

/// How to choose among places that fit. All but the first two are for comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Least fragmentation cost first: keep room for what the cluster is asked for.
    #[default]
    Pack,
    /// Emptiest first: for workloads that suffer from neighbours or must not fail together.
    Spread,
    /// The fullest place that fits.
    BestFit,
    /// The first place that fits: by name of the node, index of the GPU, order of starts.
    FirstFit,
    /// Minimum fragmentation increment (2025): least growth of the starts that are blocked for some profile.
    Mfi,
    /// Fragmentation gradient descent (ATC 2023): least growth of what is free and of no use to the demand.
    Fgd,
    /// Any place that fits, by a seed.
    Random(u64),
}

impl Policy {
    /// The names of all policies, for messages.
    pub const NAMES: &str = "pack, spread, best-fit, first-fit, mfi, fgd, random(SEED)";

    const NAMED: [(&str, Self); 7] = [
        ("pack", Self::Pack),
        ("spread", Self::Spread),
        ("best-fit", Self::BestFit),
        ("first-fit", Self::FirstFit),
        ("mfi", Self::Mfi),
        ("fgd", Self::Fgd),
        ("random", Self::Random(0)),
    ];

    /// The policy called `name`; `random` is `random(0)`.
    pub fn parse(name: &str) -> Option<Self> {
        let seed = name.strip_prefix("random(").and_then(|rest| rest.strip_suffix(')'));
        if let Some(seed) = seed {
            return seed.parse().ok().map(Self::Random);
        }
        Self::NAMED.into_iter().find_map(|(known, policy)| (known == name).then_some(policy))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(seed @ 1..) => write!(f, "random({seed})"),
            policy => {
                let name = Self::NAMED.iter().find(|(_, known)| known == policy).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
        }
    }
}

/// What kube-scheduler's own filters ask of a node; the dry run models them so that its answers hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// CPU, memory, ephemeral storage and the pod itself.
    pub resources: Resources,
    /// `spec.nodeSelector`.
    pub node_selector: Vec<(Arc<str>, Arc<str>)>,
    /// `requiredDuringSchedulingIgnoredDuringExecution` of the node affinity.
    pub affinity: Affinity,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// Ports of the node that its containers take.
    pub host_ports: Vec<HostPort>,
    /// Whether something that Tangram does not model may bind the pod to a node or make it evict a victim:
    /// volumes, affinity between pods, spread constraints.
    pub has_unmodelled: bool,
}

/// A port of the node that a container takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Arc<str>,
    /// The address; empty for every address of the node.
    pub ip: Arc<str>,
    /// The port.
    pub port: u32,
}

impl HostPort {
    /// Whether two pods on one node cannot both have their port.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let is_same_address = self.ip == other.ip || self.ip.is_empty() || other.ip.is_empty();
        self.port == other.port && self.protocol == other.protocol && is_same_address
    }
}

/// Node selector terms, one of which must hold; `None` asks nothing.
pub type Affinity = Option<Vec<Vec<Expression>>>;

/// One requirement of a node selector term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expression {
    /// Label key; `None` means the node's name (`matchFields: metadata.name`).
    pub key: Option<Arc<str>>,
    /// How values compare.
    pub operator: Operator,
    /// Values; one whole number for `Gt` and `Lt`.
    pub values: Vec<Arc<str>>,
}

/// Operators of node selector requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named as Kubernetes names them")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// A toleration; absent parts match everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// Taint key; `None` tolerates every key.
    pub key: Option<Arc<str>>,
    /// Taint value; `None` is the operator `Exists`.
    pub value: Option<Arc<str>>,
    /// Taint effect; `None` tolerates every effect.
    pub effect: Option<TaintEffect>,
}
