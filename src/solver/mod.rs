//! Placing: which nodes fit a pod, how well, and on which GPUs at which start.
//!
//! ```text
//! score     prices: what a placement costs at an occupancy, compiled into one table per profile
//! query     one pod's request made ready for scanning a cluster
//! evaluate  one node: the cost of the request there, or why it does not fit
//! pack      several GPU instances on one node: greedy, then exact
//! place     the exact GPUs and starts on one node
//! best      the one node where a pod costs least
//! detail    why not, GPU by GPU, for people
//! refusal   why not, in words that Kubernetes counts together
//! rank      costs of many nodes as the eleven levels of the extender protocol
//! intree    kube-scheduler's own filters, for answers that must hold without it
//! verify    the independent checker of every decision; shares no code with the rest
//! ```
//!
//! Costs are regret in KiB of GPU memory: what the demand could have been given before and cannot after.
//! Everything is a function of (cluster, request, scores, policy); ties end at the name of the node, the
//! index of the GPU and the driver's own order of starts, so equal inputs give equal answers.

mod best;
mod detail;
mod evaluate;
mod intree;
mod pack;
mod place;
mod query;
mod rank;
mod refusal;
mod score;
mod verify;

pub use best::{best, best_of};
pub use evaluate::{evaluate, helped_by_eviction};
pub use intree::{intree_refusal, lacking};
pub use place::place;
pub use query::Query;
pub use rank::levels;
pub use refusal::Refusal;
pub use score::{Fragmentation, Scores, whole_gpu_fragmentation};
pub use verify::{Violation, verify};

/// Cost of a placement: regret in KiB of GPU memory, less is better.
pub type Cost = i64;
