//! Tangram places GPU pods of a Kubernetes cluster: whole GPUs, MIG slices and shares.
//!
//! It is a scheduler extender: kube-scheduler asks over HTTP which nodes fit a pod and how well; Tangram
//! answers from an in-memory model. *Ground state* is what others say: labels, allocatable, pods, agents'
//! reports. Everything else is *derived* from it, and every decision is a function of an immutable snapshot.
//!
//! ```text
//!  cluster file --> wire --events--> owner[cache] --snapshots--> http[extender, plan] <--> kube-scheduler
//!                                    ^    |   ^                       |
//!  API server <--> k8s -----events---'    |   '------- bind, delete --'
//!                   ^---------effects-----'
//! ```
//!
//! # Where things are, bottom first
//!
//! | module | what |
//! |---|---|
//! | [`units`], [`plot`] | checked quantities; charts and maps as SVG and PNG |
//! | [`mig`] | GPU models, profiles, legal placements, occupancies |
//! | [`model`] | cluster, nodes, pods, requests: plain data |
//! | [`solver`] | fit, cost, placement, reasons; exact packing; the independent checker |
//! | [`plan`], [`preempt`], [`repack`], [`cache`] | dry run; victims; what to move; events applied to the model, binds under way |
//! | [`census`] | the cluster counted: capacity, what is lost of it, what waits |
//! | [`whatif`], [`explain`] | hypothetical changes, batches, what room costs; why a pod is where it is, or waits |
//! | [`layouts`] | layouts of static MIG nodes for the demand |
//! | [`nominate`] | which node each waiting pod should be tried on first |
//! | [`wire`] | every serialised form |
//! | [`carry`] | what a plan that is carried out needs next |
//! | [`extender`] | the extender's answers on one snapshot |
//! | [`sim`] | generated clusters and workloads, traces: what the solver makes of them |
//! | [`owner`], [`metrics`], [`http`], [`config`] | the shells: task, counters, routes, file |
//! | [`k8s`], [`tls`] | a live cluster: watches, leadership, writes; certificates |
//! | [`mod@serve`], [`cli`] | process, commands |
//!
//! A module may name those above it in this table only, and everything up to `sim` is pure: no tokio, files,
//! sockets, environment, threads, clocks or randomness; `tests/architecture.rs` holds both.
//!
//! # Invariants
//!
//! * No memory slice is ever held twice: binds are decided by one owner, checked by code that shares
//!   nothing with the solver, and claims that contradict each other close the GPU.
//! * filter and prioritize take no lock that a writer holds, do no I/O and have no effect on placement.
//! * Equal inputs give equal answers, byte for byte; texts for kube-scheduler hold no number that moves.
//! * A write to the API server demands the version it was decided on; an answer that did not come is neither
//!   yes nor no.
//! * Bad input is answered in the protocol's own form and changes nothing.
//!
//! Absent on purpose: a database (the API server is the only durable store), a lock around the model, a
//! placement made anywhere but in [`solver`].

#![forbid(unsafe_code)]

pub mod agent;
pub mod cache;
pub mod carry;
pub mod census;
pub mod cli;
pub mod config;
pub mod explain;
pub mod extender;
pub mod http;
pub mod k8s;
pub mod layouts;
pub mod metrics;
pub mod mig;
pub mod model;
pub mod nominate;
pub mod owner;
pub mod plan;
pub mod plot;
pub mod preempt;
pub mod repack;
pub mod serve;
pub mod sim;
pub mod solver;
pub mod tls;
pub mod units;
pub mod whatif;
pub mod wire;
