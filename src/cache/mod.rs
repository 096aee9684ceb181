//! The owner of the model: events in, outcomes out, one at a time.
//!
//! ```text
//!   cluster file, watches, HTTP verbs --> Event --> Cache::apply --> Outcome
//!                      ^                                |   |
//!                      |                                |   cluster() : what the next snapshot shows
//!                      '---- answers, later --- take_effects() : what has to be written or read
//! ```
//!
//! | file | |
//! |---|---|
//! | `event`, `effect` | what comes in, what goes out |
//! | `apply` | ground state: nodes, pods, reports |
//! | `bind` | binds under way |
//! | `wanted` | which GPU instances each node should have |
//! | `agents` | which agents are alive |
//! | `live` | leadership, versions, time |
//! | `check` | whether the model agrees with itself, and with another one |
//!
//! A pod's life:
//!
//! ```text
//!   (unknown) --PodSeen--> pending --Bind--> bound --PodDeleted--> (unknown)
//!       '------PodApplied with a node--------> bound
//! ```
//!
//! Assumptions: events may come doubled, late and in any order; a pod is one thing by its UID and stands on
//! at most one node; a pod may be bound to a node that is not known yet and waits for it then; facts of an
//! object replace its earlier facts whole. A relist is an event ([`Event::Reset`]) and what vanished is
//! derived here. Nothing here reads a clock, a file or a socket.

mod agents;
mod apply;
mod bind;
mod check;
mod effect;
mod event;
mod live;
mod wanted;

pub use agents::{Agents, Renewal};
pub use apply::Cache;
pub use check::Difference;
pub use effect::{Answer, Effect, Fence, Found, Wanted, Written};
pub use event::{BindError, Event, Outcome, ResetKind};
pub use live::Options;
