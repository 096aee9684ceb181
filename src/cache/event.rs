//! What the owner of the model is told, and what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::model::{GpuReport, Hold, NodeFacts, Placement, Pod, PodKey};
use crate::solver::{Refusal, Scores, Violation};

use super::agents::Renewal;
use super::effect::{Answer, Fence};

/// Something happened, or is asked for.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node exists with these facts.
    NodeApplied(Arc<NodeFacts>),
    /// A node is gone. Pods bound to it are kept until they are gone themselves.
    NodeDeleted(Arc<str>),
    /// An agent reports on its node; `None` when its `GpuNode` is gone.
    Report(Arc<str>, Option<Arc<GpuReport>>),
    /// The Lease of a node's agent says this; `None` when the Lease is gone.
    Agent(Arc<str>, Option<Renewal>),
    /// At this time, in the clock of [`Event::Tick`], every agent's Lease was known as the API server has it.
    Listened(u64),
    /// A pod exists like this; bound or pending.
    PodApplied(Arc<Pod>),
    /// A filter request showed this pod: it is pending, unless it is known to be bound already.
    PodSeen(Arc<Pod>),
    /// The pod is gone, or has ended and holds nothing any more; whoever has the name.
    PodDeleted(PodKey),
    /// The pod of that UID is gone, or has ended, and never comes back.
    PodGone(PodKey, Arc<str>),
    /// A complete list: whatever of this kind is not in it is gone, unless it is newer than the list.
    Reset {
        /// The kind.
        kind: ResetKind,
        /// Every object in the list, but for pods that have ended.
        live: BTreeSet<PodKey>,
        /// `metadata.resourceVersion` of the list; 0 where it has none.
        revision: u64,
    },
    /// Bind a known pod to a node. An empty UID is not compared.
    Bind {
        /// The pod.
        pod: PodKey,
        /// Its UID.
        uid: Arc<str>,
        /// The node.
        node: Arc<str>,
    },
    /// This replica leads from now on; its writes carry this fence. Every list has been read since.
    Lead(Fence),
    /// This replica leads no more.
    Unlead,
    /// What became of an [`Effect`](super::Effect).
    Answered(Answer),
    /// Prices for what was learnt of the demand.
    Repriced(Arc<Scores>),
    /// These places are kept for pods that move, and no others.
    Hold(Vec<Hold>),
    /// The time now, in milliseconds since any moment that stays the same. Everything that waits for a time
    /// waits for this event.
    Tick(u64),
}

/// Which kind of object a [`Event::Reset`] lists; nodes, reports and agents are named by `name` alone, the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
    /// `GpuNode` reports.
    Reports,
    /// Leases of agents.
    Agents,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The model changed.
    Changed,
    /// The model was like this already.
    Unchanged,
    /// The pod is bound, now or already, with these GPU instances.
    Bound(Placement),
    /// The pod is not bound; nothing changed.
    NotBound(BindError),
    /// The bind is under way; an [`Effect::Bound`](super::Effect::Bound) for the UID ends it.
    Underway(Arc<str>),
}

/// Why a pod was not bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindError {
    /// No event ever named this pod: the caller has to filter it first.
    #[error("pod {pod} is not known: it is in no cluster file and no filter request named it")]
    UnknownPod {
        /// The pod.
        pod: PodKey,
    },
    /// Another pod of this name: the caller's is gone.
    #[error("pod {pod} has uid {known}, not {asked}: it was deleted and created again")]
    WrongUid {
        /// The pod.
        pod: PodKey,
        /// The UID in the model.
        known: Arc<str>,
        /// The UID asked for.
        asked: Arc<str>,
    },
    /// The pod stands on another node.
    #[error("pod {pod} is already bound to node {node}")]
    BoundElsewhere {
        /// The pod.
        pod: PodKey,
        /// Where it is.
        node: Arc<str>,
    },
    /// The node is not in the model.
    #[error("node {node} is not known")]
    UnknownNode {
        /// The node.
        node: Arc<str>,
    },
    /// The pod does not fit there any more.
    #[error("pod {pod} does not fit node {node}: {refusal}")]
    DoesNotFit {
        /// The pod.
        pod: PodKey,
        /// The node.
        node: Arc<str>,
        /// Why.
        refusal: Refusal,
    },
    /// The checker refused the solver's decision: a defect in Tangram. Nothing was done.
    #[error("the placement of pod {pod} on node {node} failed its check, please report this: {violation}")]
    FailedCheck {
        /// The pod.
        pod: PodKey,
        /// The node.
        node: Arc<str>,
        /// Which rule it breaks.
        violation: Violation,
    },
    /// This replica does not lead: another one answers.
    #[error("this replica of Tangram does not lead")]
    NotLeader,
    /// An earlier bind of the pod, to another node, has not ended.
    #[error("pod {pod} is being bound to node {node}")]
    Elsewhere {
        /// The pod.
        pod: PodKey,
        /// Where to.
        node: Arc<str>,
    },
    /// The pod was deleted meanwhile.
    #[error("pod {pod} is gone")]
    Gone {
        /// The pod.
        pod: PodKey,
    },
    /// The node's agent did not make the GPU instances in time; they were given up.
    #[error("pod {pod}: the GPU instances on node {node} were not ready in time: {why}")]
    NotLive {
        /// The pod.
        pod: PodKey,
        /// The node.
        node: Arc<str>,
        /// What was missing, in the agent's words where it has said something.
        why: Arc<str>,
    },
    /// The API server refused the Binding.
    #[error("pod {pod}: the API server refused the Binding: {why}")]
    Refused {
        /// The pod.
        pod: PodKey,
        /// In the API server's words.
        why: String,
    },
    /// More pods are known than the limit allows; delete some first.
    #[error("{count} pods are known, the limit is {max} (limits.pods)")]
    TooManyPods {
        /// Pods known.
        count: usize,
        /// The limit.
        max: usize,
    },
}
