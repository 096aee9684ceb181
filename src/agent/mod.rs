//! The agent on a GPU node: tells Tangram the truth about the node's GPUs, and makes the GPU instances that the
//! solver placed.
//!
//! ```text
//!   API server -- follow: Node, GpuNode --.                      .--> worker: NVML's steps
//!   NVML -- worker, its events -----------+--> run: state, desk -+--> kubelet: plugin, cdi
//!   kubelet -- podresources --------------'    (pure: what next) '--> publish: report, Lease
//! ```
//!
//! | file | |
//! |---|---|
//! | `desk`, `look`, `turns`, `grants` | what to do next: no calls; GPU by GPU; pod by pod; just handed out |
//! | `ledger`, `report` | what is Tangram's; what to say |
//! | `device` | what the kubelet calls devices and resources |
//! | `run`, `state` | the loop; what is known |
//! | `worker` | the thread that speaks with NVML |
//! | `kubelet`, `plugin`, `cdi`, `podresources` | devices offered, made known to runtimes, handed out |
//! | `follow`, `publish`, `limit` | the API server: read, written, and how often |
//!
//! Invariants: an instance is touched only if the ledger says that Tangram made it; none is removed that the
//! kubelet may have given to a container; a device is offered while it is wanted and live, and no longer.

pub mod cdi;
pub mod desk;
pub mod device;
mod follow;
mod grants;
pub mod kubelet;
pub mod ledger;
mod limit;
mod look;
pub mod plugin;
pub mod podresources;
mod publish;
pub mod report;
mod run;
mod state;
mod turns;
mod worker;

pub use run::{Options, run};
