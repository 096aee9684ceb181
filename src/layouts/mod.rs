//! Static layouts: how the GPUs of nodes that NVIDIA's mig-manager partitions should be cut for the demand.
//!
//! ```text
//! survey   which nodes these are, how their GPUs are cut, who holds what, and why a node has to stay as it is
//! wanted   how many devices of each profile are asked for
//! question the demand and the choices as an integer program
//! choose   layouts for the GPUs that may change, put onto nodes
//! name     the name of a node's layout, which is the value of its label
//! ```
//!
//! mig-manager takes a node's device plugin away while it works, so by default only nodes whose devices nobody holds
//! change. A GPU that changes has a cost: it keeps its layout unless another one serves clearly more.
//!
//! Nothing is done here: what comes out is a plan, for whoever writes labels.

mod choose;
mod name;
mod question;
mod survey;
mod wanted;

use std::collections::BTreeMap;

pub use choose::{Change, Layouts, Options, layouts};
pub use name::{Entry, config_name, entries};
pub use survey::{Fixed, StaticGpu, StaticNode, Strategy, survey};
pub use wanted::{Asked, Wanted, wanted};

use crate::mig::ProfileName;

/// Devices by profile.
pub type Counts = BTreeMap<ProfileName, u32>;

/// How a GPU is cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Not at all: MIG mode is off.
    Whole,
    /// Into these devices.
    Cut(Counts),
}

impl Layout {
    /// Its MIG devices.
    pub fn counts(&self) -> Counts {
        match self {
            Self::Whole => Counts::new(),
            Self::Cut(counts) => counts.clone(),
        }
    }
}

impl std::fmt::Display for Layout {
    /// `2x1g.10gb 2g.20gb 3g.40gb`, `whole`, `empty`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Cut(counts) if counts.is_empty() => f.write_str("empty"),
            Self::Cut(counts) => {
                let words = counts.iter().map(|(profile, count)| match count {
                    1 => profile.to_string(),
                    count => format!("{count}x{profile}"),
                });
                f.write_str(&words.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// Adds devices to others.
fn add(sum: &mut Counts, counts: &Counts) {
    for (profile, count) in counts {
        let sum = sum.entry(profile.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}
