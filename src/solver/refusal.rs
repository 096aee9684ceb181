//! Why a pod does not fit a node.
//!
//! The texts reach kube-scheduler's events, where equal ones are counted together and a text that changes
//! from attempt to attempt makes kube-scheduler retry at full speed. So they name the request and the
//! cause, and never a number that moves.

use std::fmt;
use std::sync::Arc;

/// Why a pod does not fit a node. An answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The node is not in the model.
    UnknownNode,
    /// The pod's own objects make no sense; the text says which and why.
    Invalid(Arc<str>),
    /// The node does not offer the resource at all.
    NotOffered {
        /// Resource name.
        resource: Arc<str>,
    },
    /// The node has fewer units in all than the pod asks for.
    TooFew {
        /// Resource name.
        resource: Arc<str>,
        /// Units asked for.
        count: u32,
    },
    /// Too many units are in use.
    InUse {
        /// Resource name.
        resource: Arc<str>,
    },
    /// No GPU model of the table has such a profile, or so much memory.
    NoSuchProfile {
        /// What was asked for.
        want: Arc<str>,
    },
    /// The node has no GPU that Tangram partitions.
    NotDynamic,
    /// The node's GPU model does not have the profile.
    WrongModel {
        /// What was asked for.
        want: Arc<str>,
    },
    /// Every GPU that could serve is closed: unhealthy, or with contradicting claims.
    Closed,
    /// The agent that would make GPU instances here is not heard any more.
    SilentAgent,
    /// Not enough free memory slices on any GPU.
    Full {
        /// What was asked for.
        want: Arc<str>,
    },
    /// Enough free memory slices on some GPU, but no legal start, or no engines, left.
    Fragmented {
        /// What was asked for.
        want: Arc<str>,
    },
    /// Each instance fits by itself, all of them together do not.
    NotTogether {
        /// How many instances the pod asks for.
        count: usize,
    },
    /// The search for places ended at its bound before it came to a result.
    CutShort {
        /// How many instances the pod asks for.
        count: usize,
    },
    /// Room is being made here for a pod of higher priority.
    Claimed,
    /// What would be left here is kept for a pod that moves here.
    Held,
    /// A place on another node is kept for this pod.
    HeldElsewhere,
    /// One of kube-scheduler's own filters refuses; only the dry run says this.
    InTree(&'static str),
}

impl Refusal {
    /// The names of all kinds, for counting.
    pub const NAMES: [&str; 18] = [
        "UnknownNode",
        "Invalid",
        "NotOffered",
        "TooFew",
        "InUse",
        "NoSuchProfile",
        "NotDynamic",
        "WrongModel",
        "Closed",
        "SilentAgent",
        "Full",
        "Fragmented",
        "NotTogether",
        "CutShort",
        "Claimed",
        "Held",
        "HeldElsewhere",
        "InTree",
    ];

    /// The name of its kind; one of [`Refusal::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownNode => "UnknownNode",
            Self::Invalid(_) => "Invalid",
            Self::NotOffered { .. } => "NotOffered",
            Self::TooFew { .. } => "TooFew",
            Self::InUse { .. } => "InUse",
            Self::NoSuchProfile { .. } => "NoSuchProfile",
            Self::NotDynamic => "NotDynamic",
            Self::WrongModel { .. } => "WrongModel",
            Self::Closed => "Closed",
            Self::SilentAgent => "SilentAgent",
            Self::Full { .. } => "Full",
            Self::Fragmented { .. } => "Fragmented",
            Self::NotTogether { .. } => "NotTogether",
            Self::CutShort { .. } => "CutShort",
            Self::Claimed => "Claimed",
            Self::Held => "Held",
            Self::HeldElsewhere => "HeldElsewhere",
            Self::InTree(_) => "InTree",
        }
    }

    /// Whether no eviction could ever help, whatever the pods' priorities.
    pub fn is_final(&self) -> bool {
        match self {
            Self::UnknownNode
            | Self::Invalid(_)
            | Self::NotOffered { .. }
            | Self::TooFew { .. }
            | Self::NoSuchProfile { .. }
            | Self::NotDynamic
            | Self::WrongModel { .. }
            | Self::HeldElsewhere => true,
            Self::InUse { .. }
            | Self::Full { .. }
            | Self::Fragmented { .. }
            | Self::NotTogether { .. }
            | Self::CutShort { .. }
            | Self::Closed
            | Self::SilentAgent
            | Self::Claimed
            | Self::Held
            | Self::InTree(_) => false,
        }
    }

    /// Whether what is missing are GPU instances that Tangram places: kube-scheduler knows nothing of them.
    pub fn is_of_mig(&self) -> bool {
        match self {
            Self::Full { .. }
            | Self::Fragmented { .. }
            | Self::NotTogether { .. }
            | Self::CutShort { .. }
            | Self::Closed
            | Self::SilentAgent => true,
            Self::UnknownNode
            | Self::Invalid(_)
            | Self::NotOffered { .. }
            | Self::TooFew { .. }
            | Self::InUse { .. }
            | Self::NoSuchProfile { .. }
            | Self::NotDynamic
            | Self::WrongModel { .. }
            | Self::Claimed
            | Self::Held
            | Self::HeldElsewhere
            | Self::InTree(_) => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownNode => f.write_str("node unknown to Tangram"),
            Self::Invalid(why) => f.write_str(why),
            Self::NotOffered { resource } => write!(f, "node does not offer {resource}"),
            Self::TooFew { resource, count } => write!(f, "node has fewer than {count} {resource}"),
            Self::InUse { resource } => write!(f, "not enough free {resource}"),
            Self::NoSuchProfile { want } => write!(f, "no GPU model has {want}"),
            Self::NotDynamic => f.write_str("node has no dynamic MIG GPU"),
            Self::WrongModel { want } => write!(f, "GPU model has no {want}"),
            Self::Closed => f.write_str("dynamic MIG GPUs are closed (unhealthy or in conflict)"),
            Self::SilentAgent => f.write_str("node(s) whose Tangram agent is silent"),
            Self::Full { want } => write!(f, "no GPU has enough free memory slices for {want}"),
            Self::Fragmented { want } => write!(f, "free memory slices for {want}, but no legal placement"),
            Self::NotTogether { count } => {
                write!(f, "not room for all {count} MIG devices of the pod together")
            }
            Self::CutShort { count } => {
                write!(f, "the search for places of {count} different MIG devices ended at its bound")
            }
            Self::Claimed => f.write_str("room is being made here for a pod of higher priority"),
            Self::Held => f.write_str("what is free here is kept for a pod that moves here"),
            Self::HeldElsewhere => f.write_str("a place on another node is kept for this pod"),
            Self::InTree(why) => f.write_str(why),
        }
    }
}
