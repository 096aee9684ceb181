//! What does not add up in the cluster's own words. A problem never drops an object: it is shown, and what
//! it makes uncertain is closed for new pods.

use std::sync::Arc;

use thiserror::Error;

use super::PodKey;
use crate::mig::ProfileName;

/// One thing that does not add up on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Problem {
    /// A label or annotation that cannot mean what it should.
    #[error("label {key}={value:?}: {expected}")]
    Label {
        /// Its key.
        key: Arc<str>,
        /// Its value.
        value: Arc<str>,
        /// What it should have been.
        expected: &'static str,
    },
    /// The table has no geometry for this product: its GPUs are placed whole, never partitioned.
    #[error("GPU model {product:?} is not in the MIG table: its GPUs are placed as whole devices only")]
    UnknownModel {
        /// Product name.
        product: Arc<str>,
    },
    /// A field that could not be read.
    #[error("{field}: {message}")]
    Unreadable {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// Pods hold more devices than the node offers.
    #[error("pods hold {used} {resource}, the node offers {capacity}")]
    Overcommitted {
        /// Resource name.
        resource: Arc<str>,
        /// Units held.
        used: u32,
        /// Units allocatable.
        capacity: u32,
    },
    /// The kubelet's record of counted devices is not what the pods ask for; what either says is held.
    #[error(
        "{resource}: the kubelet records {stray} that no pod here asks for, and lacks {missing} that pods ask for"
    )]
    Record {
        /// Resource name.
        resource: Arc<str>,
        /// Units recorded for pods that are not known here, or that ask for fewer.
        stray: u32,
        /// Units asked for and not recorded, such as those of a pod that is starting.
        missing: u32,
    },
    /// A pod holds a GPU itself that Tangram is to partition: the GPU is closed for new pods.
    #[error("GPU {gpu}: pod {pod} holds it as a whole; closed for new pods")]
    HeldWhole {
        /// The GPU.
        gpu: u16,
        /// The pod.
        pod: PodKey,
    },
    /// A placement annotation that cannot be true.
    #[error("pod {pod}: placement annotation is not believed: {why}")]
    Lie {
        /// The pod.
        pod: PodKey,
        /// Why it is not believed.
        why: String,
    },
    /// The kubelet gave a pod another device of the profile than was planned: the model goes by its record.
    #[error(
        "pod {pod}: the kubelet gave it {profile} at {} of GPU {}, planned was {} of GPU {}",
        found.1, found.0, planned.1, planned.0
    )]
    Exchanged {
        /// The pod.
        pod: PodKey,
        /// The profile.
        profile: ProfileName,
        /// GPU and start that were planned.
        planned: (u16, u8),
        /// GPU and start that it has.
        found: (u16, u8),
    },
    /// Two instances claim the same memory slices: the GPU is closed for new pods.
    #[error(
        "GPU {gpu}: {profile} at {start} conflicts with what is there already (pod {pod}); closed for new pods"
    )]
    Conflict {
        /// The GPU.
        gpu: u16,
        /// Profile of the later claim.
        profile: ProfileName,
        /// Start of the later claim.
        start: u8,
        /// Who claims it.
        pod: String,
    },
    /// A pod runs here with GPU instances that no GPU has room for: all dynamic GPUs are closed.
    #[error(
        "pod {pod}: no GPU has room for its {want}; all dynamic GPUs of the node are closed for new pods"
    )]
    Unplaced {
        /// The pod.
        pod: PodKey,
        /// What it asks for.
        want: String,
    },
    /// The agent reports an instance that the model's table does not have: the GPU is closed for new pods.
    #[error("GPU {gpu}: instance {profile} at {start} is not in the table of its model; closed for new pods")]
    UnknownInstance {
        /// The GPU.
        gpu: u16,
        /// Profile.
        profile: ProfileName,
        /// Start.
        start: u8,
    },
    /// Nobody makes GPU instances here: the node's dynamic GPUs are closed.
    #[error("no agent reports the node's GPUs (GpuNode): its dynamic GPUs are closed for new pods")]
    NoAgent,
    /// Nobody makes GPU instances here just now: what is there stays, nothing new is placed.
    #[error("the node's Tangram agent is silent: its Lease is not renewed; no new MIG device is placed here")]
    SilentAgent,
    /// A GPU that its agent reports unusable.
    #[error("GPU {gpu}: unhealthy: {why}")]
    Unhealthy {
        /// The GPU.
        gpu: u16,
        /// The agent's reason.
        why: Arc<str>,
    },
}

impl Problem {
    /// The names of all kinds, for counting.
    pub const NAMES: [&str; 14] = [
        "Label",
        "UnknownModel",
        "Unreadable",
        "Overcommitted",
        "Record",
        "HeldWhole",
        "Lie",
        "Exchanged",
        "Conflict",
        "Unplaced",
        "UnknownInstance",
        "NoAgent",
        "SilentAgent",
        "Unhealthy",
    ];

    /// The name of its kind; one of [`Problem::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Label { .. } => "Label",
            Self::UnknownModel { .. } => "UnknownModel",
            Self::Unreadable { .. } => "Unreadable",
            Self::Overcommitted { .. } => "Overcommitted",
            Self::Record { .. } => "Record",
            Self::HeldWhole { .. } => "HeldWhole",
            Self::Lie { .. } => "Lie",
            Self::Exchanged { .. } => "Exchanged",
            Self::Conflict { .. } => "Conflict",
            Self::Unplaced { .. } => "Unplaced",
            Self::UnknownInstance { .. } => "UnknownInstance",
            Self::NoAgent => "NoAgent",
            Self::SilentAgent => "SilentAgent",
            Self::Unhealthy { .. } => "Unhealthy",
        }
    }
}
