//! The C functions.
//!
//! A function of nvml.h is one line of the table in `symbols`, which turns its C arguments into those of
//! `argument` and calls a safe function of the module named there with the [`call::Call`] that it is.

mod argument;
mod call;
mod compute_instance;
mod device;
mod events;
mod gpm;
mod gpu_instance;
mod handle;
mod health;
mod links;
mod mig;
mod process;
mod session;
mod symbols;
mod system;
