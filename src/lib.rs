//! Tangram
#![allow(missing_docs)]
pub mod cache;
pub mod cli;
pub mod config;
pub mod extender;
pub mod http;
pub mod mig;
pub mod model;
pub mod owner;
pub mod plan;
pub mod preempt;
pub mod serve;
pub mod solver;
pub mod units;
pub mod wire;
