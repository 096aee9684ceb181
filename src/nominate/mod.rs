//! Nominations: which node each waiting pod should be tried on first, chosen over the whole cluster.
//!
//! ```text
//!   queue of waiting pods, by priority, then age      snapshot of the cluster
//!                    \                                   /
//!                     guests: pods with a nomination stand on a copy of it
//!                                      |
//!                      pods without one choose on that copy, in order
//! ```
//!
//! A nomination is a hint, and holds its room only against other nominations. All of them can hold together,
//! for each was chosen beside those before it; when the cluster changes, those on changed nodes are tried
//! again in the order of the queue, and one that does not fit any more looks for another node. A pod that
//! kube-scheduler nominated by preemption keeps that node.
//!
//! `queue` is the data, `turn` the work. Neither knows of the API server or of time.

mod queue;
mod turn;

pub use queue::{Advice, Nominator};
