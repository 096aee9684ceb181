//! Placing: which nodes fit a pod, how well, and on which GPUs at which start.
//!
//! ```text
//! demand    what the cluster is asked for; mix: shares of it; learn: by the requests seen
//! price     what a placement costs on one GPU model
//! score     those costs compiled into one table per profile and policy
//! market    what counted devices cost: whole GPUs, partitions, replicas
//! whole     the same for the policies that are there for comparison
//! query     one pod's request made ready for scanning a cluster
//! evaluate  one node: the cost of the request there, or why it does not fit
//! pack      several GPU instances on one node: greedy, then exact
//! moves     room by moving a few instances
//! place     the exact GPUs and starts on one node
//! best      the one node where a pod costs least
//! detail    why not, GPU by GPU, for people
//! refusal   why not, in words that Kubernetes counts together
//! random    the policy that scatters, for comparison
//! rank      costs of many nodes as the eleven levels of the extender protocol
//! intree    kube-scheduler's own filters, for answers that must hold without it
//! verify    the independent checker of every decision; shares no code with the rest
//! share     shares of a GPU and whole GPUs, where CPU, memory and models bind too
//! exact     prices, the fewest GPUs and the fewest moves by linear and integer programs
//! ```
//!
//! Costs are regret in KiB of GPU memory: what the demand could have been given before and cannot after.
//! Everything is a function of (cluster, request, scores, policy); ties end at the name of the node, the
//! index of the GPU and the driver's own order of starts, so equal inputs give equal answers.

mod best;
mod demand;
mod detail;
mod evaluate;
pub mod exact;
mod intree;
mod learn;
pub mod market;
mod mix;
mod moves;
mod pack;
mod place;
mod price;
mod query;
mod random;
mod rank;
mod refusal;
mod score;
pub mod share;
mod verify;
mod whole;

pub use best::{best, best_of};
pub use demand::Demand;
pub use evaluate::{evaluate, fits, helped_by_eviction};
pub use intree::{intree_refusal, lacking};
pub use learn::Learner;
pub use mix::Mix;
pub use moves::{Loaded, Move, Room, make_room};
pub use pack::spot;
pub use place::place;
pub use query::Query;
pub use random::random_cost;
pub use rank::levels;
pub use refusal::Refusal;
pub use score::{Fragmentation, Scores};
pub use verify::{Violation, verify};
pub use whole::whole_gpu_fragmentation;

/// Cost of a placement: regret in KiB of GPU memory, less is better.
pub type Cost = i64;
