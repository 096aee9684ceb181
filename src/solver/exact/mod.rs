//! Exact packing: what the demand costs in GPUs, how few GPUs it needs, and how little has to move.
//!
//! ```text
//! fillings  what fits together into what is free of one GPU; of an empty one: the patterns
//! fluid     prices of the profiles: the dual of the fluid configuration LP
//! closed    the fewest GPUs on the 7-slice geometry, by counting
//! fewest    the fewest GPUs on any geometry: first fit, the bound by prices, the pattern ILP
//! assign    the cheapest loads of nodes that hold a whole batch of pods
//! serve     the layouts that serve most of a demand: greedy, then the pattern ILP
//! most      the most that a mixed stock can serve: a bound
//! repack    the fewest moved memory slices that empty GPUs or make room: greedy, then the flow ILP
//! program   linear and integer programs, and the backends that solve them
//! ```
//!
//! Everything here counts GPUs of one model that are alike, so the size of a program follows the number of
//! distinct configurations, not of GPUs. Demands and fillings are counts by [`ProfileId`](crate::mig::ProfileId)
//! of one geometry.
//!
//! Every solve has a good answer in hand before it starts, is bounded by [`Effort`], and says what it proved
//! ([`Proof`]): an answer that ran into its limit is feasible and names its gap. Which answer a solve that ran
//! into its limit gives depends on the machine's speed; all others are functions of their input.

mod assign;
mod closed;
mod fewest;
mod fillings;
mod fluid;
mod most;
pub(super) mod program;
mod repack;
mod serve;

pub use assign::{Assigned, Load, Shelf, assign};
pub use closed::SevenSlices;
pub use fewest::{Fewest, fewest, fewest_above, first_fit, lower_bound};
pub use fillings::{Filling, Fillings};
pub use fluid::{Prices, prices};
pub use most::{Way, most_served};
pub use program::{Backend, Effort, Proof};
pub use repack::{Class, Goal, Group, Repack, Unreachable, repack, repack_greedily};
pub use serve::{Ask, Choice, Kind, Served, serve};
