//! What Tangram's agent needs of NVML, without unsafe code at the call: [`facts`] read at once, GPU instances
//! made and removed at exact places, events, and errors that say what to do.
//!
//! | module | what |
//! |---|---|
//! | [`facts`] | plain data: GPUs, profiles, instances, links, health |
//! | `error` | every code of NVML with its advice |
//! | `library`, `read`, `links`, `mig` | the calls, in the order of what they read |
//! | `events` | XIDs and changes, as they happen |
//! | `raw` | what `nvml-wrapper` does not wrap: the only unsafe code |

mod error;
mod events;
pub mod facts;
mod library;
mod links;
mod mig;
mod raw;
mod read;
mod xid;

pub use error::{Code, Error};
pub use events::{Event, watch};
pub use library::Library;
pub use xid::is_of_gpu;
