//! What the owner of the model wants done in the world, and what became of it.
//!
//! The cache never waits: it says what has to be written or read, and hears later. An answer may come late,
//! twice or never; only "not known" is different from an answer.

use std::sync::Arc;

use super::event::BindError;
use crate::model::{Device, Placement, Pod, PodKey};

/// Something to do in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the Binding of a pod: one object that assigns the node and carries the placement annotation.
    /// Precondition: the pod has this UID and this revision.
    Bind {
        /// The pod.
        pod: PodKey,
        /// Its UID.
        uid: Arc<str>,
        /// Its `resourceVersion`; 0 asks for no particular one.
        revision: u64,
        /// The node.
        node: Arc<str>,
        /// Where its GPU instances are.
        placement: Placement,
        /// The node that was nominated for it.
        nominated: Option<Arc<str>>,
    },
    /// Read a pod whose Binding has no clear outcome. With a fence: write it as the pod's fence annotation, so
    /// that no Binding sent before can succeed afterwards, and take the answer for the reading.
    ReadPod {
        /// The pod.
        pod: PodKey,
        /// Its UID.
        uid: Arc<str>,
        /// The revision that the Binding demanded, and that a fence demands.
        revision: u64,
        /// The annotation to write.
        fence: Option<String>,
    },
    /// Make `spec.instances` of a `GpuNode` these. Precondition: the object has this revision.
    WriteWanted {
        /// The node.
        node: Arc<str>,
        /// The `resourceVersion` that was seen.
        revision: u64,
        /// The GPU instances wanted, by GPU and start.
        instances: Vec<Wanted>,
        /// The annotation to write with them, where the write has to make a new version in any case.
        fence: Option<String>,
    },
    /// Tell everyone who waits for the bind of a pod.
    Bound {
        /// UID of the pod.
        uid: Arc<str>,
        /// Its placement, or why it is not bound.
        result: Result<Placement, BindError>,
    },
    /// A pod waits for a node, like this; or (`None`) it does not wait any more.
    Waiting(PodKey, Option<Arc<Pod>>),
    /// kube-scheduler asked about a pod: it is placing it now.
    Asked(PodKey),
}

/// A GPU instance for a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The pod that is to hold it.
    pub pod: PodKey,
    /// Its UID.
    pub uid: Arc<str>,
    /// What and where.
    pub device: Device,
}

/// What became of an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of [`Effect::Bind`].
    Bind {
        /// UID of the pod.
        uid: Arc<str>,
        /// What became of it.
        outcome: Written,
    },
    /// Of [`Effect::ReadPod`].
    ReadPod {
        /// The pod that was asked for.
        pod: PodKey,
        /// The UID that was asked for.
        uid: Arc<str>,
        /// What is there now.
        found: Found,
    },
    /// Of [`Effect::WriteWanted`]; where it was written, the new report was sent before.
    WriteWanted {
        /// The node.
        node: Arc<str>,
        /// The `resourceVersion` that it demanded.
        revision: u64,
        /// What became of it.
        outcome: Written,
    },
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Done,
    /// It was not done, because the object is another than expected.
    Conflict,
    /// It was not done, because the object is not there.
    Gone,
    /// It was not done: refused, in the API server's words.
    Refused(String),
    /// Nobody knows: no answer, or one that may mean both.
    Unknown,
}

/// What reading a pod gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This.
    Pod(Arc<Pod>),
    /// No pod of that name, or one of another UID, or one that has ended.
    Gone,
    /// The answer was not understood or did not come.
    Unknown,
}

/// What a leader marks its writes with: a term that grows with every change of leader, and who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The term.
    pub term: u64,
    /// The leader.
    pub identity: Arc<str>,
}

impl Fence {
    /// Whether a pod's fence annotation is of a leader that came after this one, or at the same time.
    pub fn is_overtaken_by(&self, annotation: &str) -> bool {
        let mut parts = annotation.splitn(3, '/');
        let term = parts.next().and_then(|term| term.parse::<u64>().ok());
        let identity = parts.next().unwrap_or_default();
        term.is_some_and(|term| term > self.term || (term == self.term && identity != &*self.identity))
    }

    /// The annotation's value: distinct for every write.
    pub fn annotation(&self, number: u64) -> String {
        format!("{}/{}/{number}", self.term, self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_leader_overtakes() {
        let fence = Fence { term: 3, identity: "a".into() };
        assert!(!fence.is_overtaken_by(&fence.annotation(7)));
        assert!(!fence.is_overtaken_by("2/b/0"));
        assert!(fence.is_overtaken_by("3/b/0"));
        assert!(fence.is_overtaken_by("4/a/0"));
        assert!(!fence.is_overtaken_by("forged"));
    }
}
