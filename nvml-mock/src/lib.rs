//! NVML without GPUs: a `libnvidia-ml.so.1` over a file, and the hands that change what the file says.
//!
//! A program loads the shared object as it loads NVIDIA's and finds the C functions of nvml.h, with their
//! signatures, codes, buffers and versions. A test sets a [`Scene`] and changes it while the program runs, in
//! the same process or another.
//!
//! ```no_run
//! use nvml_mock::{Board, Code, Scene};
//!
//! let scene = Scene::create("/tmp/machine/state.json", vec![Board::of("h100-80gb-sxm").mig(); 4]);
//! let library = scene.library(); // load this, or nvml_mock::library() with NVML_MOCK_STATE set
//! scene.make_foreign(0, "1g.10gb", 6)?;
//! scene.fail("nvmlGpuInstanceDestroy", Code::IN_USE, 2, Some(0));
//! scene.xid(1, 79, None);
//! scene.lose(1);
//! assert_eq!(scene.state().gpus[0].mig.as_ref().unwrap().instances.len(), 1);
//! # Ok::<(), Code>(())
//! ```
//!
//! ```text
//! table    GPU models and their profiles, from mig-profiles.json
//! state    what the driver knows: plain data (board, mig, health, links), and history, what happened to it
//! rules    what the hardware allows: pure functions over the state
//! store    the file: versions, lock, history
//! scene    what a test does
//! c        the C functions: session, handles, arguments, one table of symbols
//! ```
//!
//! What it does not do: clocks, power, temperatures, accounting, vGPU; those symbols are missing, as they are
//! from an old driver.

mod board;
mod c;
mod code;
mod health;
mod history;
mod links;
mod locate;
mod mig;
mod rules;
mod scene;
mod state;
mod store;
mod table;

pub use board::{Board, Gpu};
pub use code::{Answer, Code};
pub use health::{Errors, Health};
pub use history::{Happening, What};
pub use links::{Connection, Fabric, Level, NvLink, Remote};
pub use locate::{STATE_VARIABLE, library};
pub use mig::{ComputeInstance, GpuInstance, Hold, Kind, Mig, Process};
pub use scene::Scene;
pub use state::{Driver, Event, Fault, State};
pub use table::{Architecture, Engines, Model, Profile};

/// The models that a [`Board`] can be of.
pub fn models() -> &'static [Model] {
    &table::Table::get().models
}
