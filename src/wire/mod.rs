//! Every serialised form, and nothing else that is serialised: what comes in becomes model values or an
//! error that names object and field; what goes out has a shape of its own.
//!
//! ```text
//! object     the few fields that Tangram reads of Kubernetes objects; everything else is skipped unread
//! document   files and bodies with many objects: JSON or YAML, Lists and several documents
//! quantities amounts and their totals over a pod's containers
//! pod        Pod -> model::Pod
//! demand     Pod -> model::Demand, what kube-scheduler's own filters ask
//! node       Node -> model::NodeFacts, the labels of the NVIDIA stack
//! gpunode    GpuNode (tangram.gpu/v1alpha1) -> model::GpuReport
//! gpunode_status its status, as an agent writes it
//! lease      Lease of an agent -> cache::Renewal
//! cluster_file Nodes, Pods and GpuNodes of a file as events
//! placement  the annotation tangram.gpu/placement
//! workload   pods of Deployments, Jobs and StatefulSets
//! extender   the scheduler extender protocol, v1: requests
//! answers    the same: answers
//! scheduler_config KubeSchedulerConfiguration files
//! dryrun     POST /v1/dryrun
//! scenario   the question of a dry run beside its pods: changes, a batch
//! whatif     its answer beside the pods
//! explain    GET /v1/pods/{namespace}/{name}/explain
//! repack     POST /v1/repack
//! plans      GET /v1/plans, and how they are kept in the cluster
//! budget     PodDisruptionBudget -> repack::Budget
//! mobility   whether a pod may be moved
//! view       GET /v1/cluster, /v1/nodes
//! census     the same: figures
//! page       lists in pages
//! pods       GET /v1/pods
//! mix        GET /v1/demand
//! gpu_view   the same: GPUs
//! topology   the same: where a node stands
//! events     GET /v1/events
//! sample     GET /v1/history
//! profiles   GET /v1/profiles
//! fragmentation GET /v1/fragmentation
//! deletion   DELETE /v1/pods/{namespace}/{name}
//! compare    GET /debug/compare
//! layouts    GET /v1/layouts
//! mig_parted configurations of nvidia-mig-parted, and label patches
//! trace      traces of pods and nodes, and what became of them
//! simulation what `tangram simulate` prints
//! ```

mod answers;
mod budget;
pub mod census;
mod cluster_file;
pub mod compare;
pub mod deletion;
mod demand;
pub mod document;
pub mod dryrun;
pub mod events;
pub mod explain;
pub mod extender;
pub mod fragmentation;
mod gpu_view;
mod gpunode;
pub mod gpunode_status;
pub mod layouts;
mod lease;
pub mod mig_parted;
pub mod mix;
mod mobility;
mod node;
mod object;
pub mod page;
mod placement;
pub mod plans;
mod pod;
pub mod pods;
pub mod profiles;
mod quantities;
pub mod repack;
pub mod sample;
pub mod scenario;
pub mod scheduler_config;
pub mod simulation;
mod topology;
pub mod trace;
pub mod view;
pub mod whatif;
mod workload;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use budget::{BudgetObject, budget};
pub use cluster_file::{Contents, cluster_events};
pub use gpunode::{GpuNodeObject, HolderForm, PodForm, gpu_report};
pub use lease::{LeaseObject, agent_lease, renewal};
pub use node::{NodeObject, Texts, node_facts};
pub use placement::{PLACEMENT_ANNOTATION, placement_annotation};
pub use pod::{FENCE_ANNOTATION, NOMINATED_CONDITION, PodObject, pod};
pub use workload::{Workload, workload_pods};

/// An object that cannot be read: whose, which field, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{object}: {field}: {message}")]
pub struct ObjectError {
    /// The object, for example `Pod research/train-0`.
    pub object: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl ObjectError {
    fn new(object: impl Into<String>, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { object: object.into(), field: field.into(), message: message.into() }
    }
}

/// Kind of the objects that say how many pods may be missing at once.
const BUDGET_KIND: &str = "PodDisruptionBudget";

/// How objects are read: which names are devices, and how much of anything is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Resource names beside the built-in ones that count as whole devices.
    pub device_resources: BTreeSet<String>,
    /// Limits.
    pub limits: Limits,
    /// Whether the objects are those of a live cluster, where a GPU that Tangram partitions needs an agent;
    /// a file is a picture, and labels are enough.
    pub is_live: bool,
}

/// Bounds on what one request or object may contain. Reaching one is a clear error, never a slow answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one HTTP body. A full `NodeList` of 5,000 nodes at 8.8 KB is 44 MB.
    pub body_bytes: usize,
    /// Node names in one extender request: kube-scheduler supports clusters of 5,000 nodes, 50,000 are planned for.
    pub node_names: usize,
    /// Bytes of one name: Kubernetes allows 253 (RFC 1123 subdomain).
    pub name_bytes: usize,
    /// Containers of one pod, init containers included: the API server's own size limit allows a few thousand.
    pub containers: usize,
    /// MIG devices of one pod. A CUDA process uses one, so a pod needs a few; the time of the exact search for
    /// their places grows with the mixes that are possible.
    pub mig_devices_per_pod: usize,
    /// Pods in one dry run, replicas counted.
    pub dryrun_pods: usize,
    /// Pods that filter requests can make the model remember; those of a cluster file are not counted out.
    pub pods: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            node_names: 100_000,
            name_bytes: 253,
            containers: 1_000,
            mig_devices_per_pod: 8,
            dryrun_pods: 10_000,
            pods: 500_000,
        }
    }
}
