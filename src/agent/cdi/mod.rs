//! The CDI spec of the node: what a container runtime has to do so that a container can use a GPU instance.
//!
//! ```text
//! nodes   /proc, /dev -> the device nodes of an instance
//! driver  NVIDIA's own specs -> libraries and hooks for every container
//! spec    both -> the file's bytes: pure
//! ```
//!
//! One file, one device per instance, named by its MIG UUID: <https://github.com/cncf-tags/container-device-interface>.
//! An instance that is made anew has another UUID, so a container never gets one by mistake.
//!
//! Invariants: readers see a whole file or none; a file with no device is invalid, so there is none; what could
//! not be written is not said to be there.

mod driver;
mod nodes;
mod spec;

pub use spec::{KIND, device_name};

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use spec::Node;

/// Name of the file: vendor and class, as CDI advises.
const FILE: &str = "tangram.gpu-mig.json";
/// Name while it is written; runtimes read what ends in `.json` or `.yaml`.
const UNFINISHED: &str = ".tangram.gpu-mig.json.unfinished";

/// Where to read and write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory that the file is written to; the container runtime has to read it too.
    pub directory: PathBuf,
    /// Directories with specs of NVIDIA's toolkit, later ones first; none: the driver comes from NVIDIA's
    /// runtime.
    pub driver_directories: Vec<PathBuf>,
    /// `/dev` of the node, where the agent sees it.
    pub dev: PathBuf,
    /// `/dev` of the node, where the container runtime sees it.
    pub host_dev: PathBuf,
    /// `/proc` of the node, where the agent sees it.
    pub proc: PathBuf,
}

impl Default for Config {
    /// The places of a node whose directories the agent sees under their own names.
    fn default() -> Self {
        Self {
            directory: "/var/run/cdi".into(),
            driver_directories: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            dev: "/dev".into(),
            host_dev: "/dev".into(),
            proc: "/proc".into(),
        }
    }
}

/// A GPU instance with its one compute instance, as the driver numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Minor number of the GPU (`nvmlDeviceGetMinorNumber`): 0 for `/dev/nvidia0`.
    pub gpu_minor: u32,
    /// `nvmlGpuInstanceInfo_t.id`.
    pub gpu_instance: u32,
    /// `nvmlComputeInstanceInfo_t.id`.
    pub compute_instance: u32,
}

/// Of each instance by MIG UUID: that a runtime finds it, or why it does not.
pub type Described = BTreeMap<Arc<str>, Result<(), Arc<str>>>;

/// Keeps the file.
#[derive(Debug)]
pub struct Writer {
    config: Config,
    devices: BTreeMap<Arc<str>, Vec<Node>>,
}

impl Writer {
    /// A writer that has written nothing; a file from an earlier life stays until it does.
    pub fn new(config: Config) -> Self {
        Self { config, devices: BTreeMap::new() }
    }

    /// Puts instances into the file, beside those that are there: to be called before anyone hears of them.
    pub fn add(&mut self, instances: &BTreeMap<Arc<str>, Instance>) -> Described {
        let mut described = Described::new();
        for (uuid, instance) in instances {
            let nodes = if spec::is_device_name(uuid) {
                self.config.nodes(*instance).map_err(|error| error.to_string())
            } else {
                Err(format!("{uuid:?} cannot be the name of a CDI device"))
            };
            let nodes = nodes.map(|nodes| self.devices.insert(uuid.clone(), nodes));
            described.insert(uuid.clone(), nodes.map(drop).map_err(Into::into));
        }
        if let Err(why) = self.write() {
            let why: Arc<str> = why.into();
            described.values_mut().filter(|entry| entry.is_ok()).for_each(|entry| *entry = Err(why.clone()));
        }
        described
    }

    /// Leaves only these instances in the file: to be called when nobody is offered the others any more.
    pub fn retain(&mut self, instances: &BTreeMap<Arc<str>, Instance>) -> Result<(), String> {
        self.devices.retain(|uuid, _| instances.contains_key(uuid));
        self.write()
    }

    /// Writes where the file says something else.
    fn write(&self) -> Result<(), String> {
        let path = self.config.directory.join(FILE);
        let written = if self.devices.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            let driver = driver::find(&self.config.driver_directories);
            let bytes = spec::render(&self.devices, driver.as_ref());
            if fs::read(&path).is_ok_and(|there| there == bytes) { Ok(()) } else { self.replace(&bytes) }
        };
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = &self.config.directory;
        let unfinished = directory.join(UNFINISHED);
        fs::create_dir_all(directory)?;
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(unfinished, directory.join(FILE))
    }
}
