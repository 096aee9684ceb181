//! What a test does to the machine while a program looks at it.
//!
//! Every method takes effect before it returns, for every process that uses the file.

mod place;
mod trouble;
mod wires;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::board::Board;
use crate::code::Answer;
use crate::history::Happening;
use crate::locate;
use crate::state::{State, mixed, uuid};
use crate::store::Store;

/// A machine with GPUs, in a file.
#[derive(Debug)]
pub struct Scene {
    store: Store,
}

impl Scene {
    /// Sets a scene in a file, over one that was there before; the boards get indices in their order. What the
    /// scene consists of lies beside the file, under its name with suffixes.
    ///
    /// UUIDs are made from the file's path: the same in each scene there, others elsewhere.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn create(path: impl Into<PathBuf>, boards: Vec<Board>) -> Self {
        let store = Store::at(path.into());
        let seed = store.path().as_os_str().as_encoded_bytes();
        let seed = seed.iter().fold(0, |seed, &byte| mixed(seed ^ u64::from(byte)));
        let gpus = boards.into_iter().zip(0..).map(|(board, index)| {
            // Serials of a scene begin with 1: these are others, and stay those of their boards.
            board.at(index, uuid("GPU", seed, u64::MAX - u64::from(index)))
        });
        store.create(State::new(gpus.collect(), seed)).unwrap_or_else(|error| unusable(&store, &error));
        Self { store }
    }

    /// Takes part in a scene that another process set.
    ///
    /// # Panics
    /// When there is none in the file.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        let store = Store::at(path.into());
        store.read().unwrap_or_else(|error| unusable(&store, &error));
        Self { store }
    }

    /// The file: what `NVML_MOCK_STATE` names.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// A copy of the shared object in the scene's folder, as `libnvidia-ml.so.1`, which finds the scene without
    /// `NVML_MOCK_STATE`. It is a copy since the dynamic linker takes two names of one file for one library:
    /// so each scene of a process has its own.
    ///
    /// # Panics
    /// When the scene's file is not called `state.json`, which is what the copy looks for, or when it cannot be
    /// made.
    pub fn library(&self) -> PathBuf {
        let path = self.path();
        assert_eq!(
            path.file_name(),
            Some(locate::STATE_FILE.as_ref()),
            "the library looks for a scene of this name in its folder"
        );
        let copy = path.with_file_name("libnvidia-ml.so.1");
        if !copy.exists() {
            // Written under another name first: a second process may do the same.
            let part = path.with_file_name(format!("libnvidia-ml.{}", std::process::id()));
            let made = std::fs::copy(locate::library(), &part).and_then(|_| std::fs::rename(&part, &copy));
            made.unwrap_or_else(|error| unusable(&self.store, &error));
        }
        copy
    }

    /// The machine as it is now.
    ///
    /// # Panics
    /// When the file is gone or no scene any more; so do all methods below.
    pub fn state(&self) -> State {
        State::clone(&self.current())
    }

    /// Everything that happened, in order.
    pub fn history(&self) -> Vec<Happening> {
        self.store.history().unwrap_or_else(|error| unusable(&self.store, &error))
    }

    /// UUID of the GPU at an index.
    pub fn uuid(&self, gpu: usize) -> String {
        self.current().gpus[gpu].uuid.clone()
    }

    /// Changes anything, past all rules.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.obey(|state| Ok(change(state))).expect("this change refuses nothing")
    }

    fn current(&self) -> Arc<State> {
        self.store.read().unwrap_or_else(|error| unusable(&self.store, &error))
    }

    /// Changes what the rules let it change.
    fn obey<T>(&self, change: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        self.store.change(None, change).unwrap_or_else(|error| unusable(&self.store, &error))
    }
}

/// A test cannot go on without its scene.
#[expect(clippy::panic, reason = "tests end so")]
fn unusable(store: &Store, error: &std::io::Error) -> ! {
    panic!("NVML mock scene {}: {error}", store.path().display())
}
