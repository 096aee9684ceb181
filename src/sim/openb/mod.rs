//! The openb protocol: a production cluster that is asked for 130 % of its GPUs, and how much of them it hands out.
//!
//! Pods of a trace, drawn again at random until they ask for 130 % of capacity, arrive in random order and never
//! leave; one that does not fit is skipped. CPU, memory, shares of GPUs and GPU models are respected. The figure is
//! the part of all GPUs that is allocated when 100 % and when 130 % of capacity has been asked for.
//!
//! ```text
//! trace     the CSV files as nodes and asks
//! policies  what others do, for comparison
//! run       one run of the protocol
//! ```
//!
//! Costs are those of `solver::share`, by which production places whole GPUs and replicas too (`solver::market`), and so
//! are the levels and the order among equals: the first by name. What differs: shares here are of any size, on a GPU that
//! is chosen; every GPU is worth the same, where production counts its memory; a request loses its weight with the
//! requests after it, not with time; and prices are made anew after so many requests, not when the demand has drifted.
//!
//! The files, their origin and their columns: `data/traces/openb/README.md`.

mod policies;
mod run;
mod trace;

pub use policies::Policy;
pub use run::{Figures, Knowledge, Setting, Ties, run, stream};
pub use trace::{Cluster, Malformed, Published, parse_nodes, parse_pods, parse_published};
