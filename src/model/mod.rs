//! The cluster as Tangram sees it: plain data, built from facts, without opinion about what is good.
//!
//! ```text
//! resource   which resource names mean GPUs, and what each asks for
//! request    what one pod asks of a node
//! pod        a pod with its request, and its place once it has one
//! mobility   whether a pod may be moved, by what its object says
//! hold       places that are kept for the next pod of an owner
//! facts      what labels, allocatable and the agent's report say of one node
//! problem    what does not add up, always with the object it is about
//! occupy     one node's dynamic GPUs: who is where, known or assumed
//! partition  GPUs that somebody else partitioned: what is held, free, and in no partition
//! pool       one node's counted devices: what pods ask for, and what the kubelet gave whom
//! node       one node with its pods: pools of counted devices, GPUs with occupancies, problems
//! class      kinds of pool: what nodes of one make have in common
//! columns    what the solver scans of a node, in numbers
//! cluster    all nodes: immutable chunks that share what did not change, and rows for the solver's scan
//! ```
//!
//! Invariant: a [`Node`] is a function of (facts, report, set of pods, whether its agent is silent). Every event rebuilds the nodes it
//! touches, so that doubled, late or reordered events cannot leave anything behind, and a relist is no
//! special case.
//! Absent on purpose: anything serialised (`wire`), any choice among nodes (`solver`), time.

mod class;
mod cluster;
mod columns;
mod facts;
mod hold;
mod mobility;
mod node;
mod occupy;
mod partition;
mod pod;
mod pool;
mod problem;
mod recorded;
mod request;
mod resource;

pub use class::{MODEL_LABELS, PoolClass, coarse, mib};
pub use cluster::{Cluster, NodeIndex};
pub use columns::{ClassId, Columns, PoolRow, ResourceId, Row, Traits};
pub use facts::{
    DynamicFacts, GpuFacts, GpuHealth, GpuReport, Holder, InstanceReport, NodeFacts, PoolFacts, Taint,
    TaintEffect, Unsettled,
};
pub use hold::{Hold, with_holds};
pub use mobility::{Mobility, Pinned};
pub use node::Node;
pub use occupy::{Gpu, Instance, Knowledge};
pub use partition::Partitioned;
pub use pod::{Device, Placement, Pod, PodKey, Version, Waiting};
pub use pool::{Holding, Pool, pool_of};
pub use problem::Problem;
pub use request::{
    Affinity, Demand, Expression, HostPort, Operator, Policy, Request, SliceAsk, Toleration, Want,
};
pub use resource::{PoolKind, ResourceKind, Resources, Sharing, resource_kind};

/// The hash map of hot look-ups whose order is never read.
#[expect(clippy::disallowed_types, reason = "the one place that names it; iteration is denied by clippy")]
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
