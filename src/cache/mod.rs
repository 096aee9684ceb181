//! The owner of the model: events in, outcomes out, one at a time.
//!
//! ```text
//!   cluster file, watches, HTTP verbs --> Event --> Cache::apply --> Outcome
//!                                                       |
//!                                              cluster() : what the next snapshot shows
//! ```
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

mod apply;
mod event;

pub use apply::Cache;
pub use event::{BindError, Event, Outcome, ResetKind};
