//! Workloads without a cluster: generated ones and traces, through the production solver in virtual time.
//!
//! ```text
//! cluster   generated clusters, as `kubectl get -o json` prints them
//! workload  requests for GPU instances: mix, load, lifetimes, seed
//! fleet     a row of GPUs, filled by the solver
//! replay    a workload through a fleet, and what came of it
//! arrivals  requests that only ever arrive: how full GPUs become
//! course    a trace of pods and nodes through the model of a cluster
//! mixed     a cluster of many models, in MIG mode, whole and shared
//! openb     a production cluster with shares of GPUs: the openb protocol
//! random    repeatable randomness
//! ```
//!
//! The solver decides here as it does in a cluster: `solver::spot` on a row of GPUs.

mod arrivals;
mod cluster;
mod course;
mod fleet;
pub mod mixed;
pub mod openb;
mod random;
mod replay;
mod workload;

pub use arrivals::{fill, fill_reference, uptake};
pub use cluster::{GPUS, Shape, cluster_json, node_name};
pub use course::{Course, Decision};
pub use fleet::{Fleet, Spot};
pub use random::Random;
pub use replay::{Figures, Sample, Setting, play, reference, replay};
pub use workload::{Arrival, Lifetime, Mix, Workload};
