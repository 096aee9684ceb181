//! Which device nodes make up a GPU instance: read from `/proc` and `/dev`.
//!
//! A process needs the node of the GPU, the driver's own nodes, and two *capabilities*: character devices that
//! stand for the GPU instance and for the compute instance, and whose minor numbers the driver tells in
//! `/proc/driver/nvidia/capabilities` (NVIDIA MIG User Guide, "Device Nodes and Capabilities").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::spec::{Node, Numbers};
use super::{Config, Instance};

/// The driver's own nodes, which a container gets where they exist.
const CONTROL: [&str; 3] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"];
/// Name of the capabilities' driver in `/proc/devices`.
const CAPABILITIES: &str = "nvidia-caps";
/// `/dev` in a container.
const DEV: &str = "/dev";

/// Why the nodes of an instance are not known. The driver is not loaded, is too old for MIG, or the instance is
/// gone: worth another try, nobody's mistake.
#[derive(Debug, Error)]
pub(super) enum NodesError {
    /// The capability cannot be read.
    #[error("{}: {error}", path.display())]
    Access {
        /// The file in `/proc`.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The capability names no minor number.
    #[error("{}: no line says DeviceFileMinor: <number>", path.display())]
    Minor {
        /// The file in `/proc`.
        path: PathBuf,
    },
    /// A node without which there is no access.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The node, as the agent sees it.
        path: PathBuf,
    },
}

impl Config {
    /// The nodes of an instance, the GPU's first.
    pub(super) fn nodes(&self, instance: Instance) -> Result<Vec<Node>, NodesError> {
        let Instance { gpu_minor, gpu_instance, compute_instance } = instance;
        let gpu = format!("nvidia{gpu_minor}");
        if !self.dev.join(&gpu).exists() {
            return Err(NodesError::Missing { path: self.dev.join(&gpu) });
        }
        let mut nodes = vec![self.node(&gpu, None)];
        let control = CONTROL.iter().filter(|name| self.dev.join(name).exists());
        nodes.extend(control.map(|name| self.node(name, None)));
        let instance =
            self.proc.join(format!("driver/nvidia/capabilities/gpu{gpu_minor}/mig/gi{gpu_instance}"));
        let access = [instance.join("access"), instance.join(format!("ci{compute_instance}/access"))];
        for path in &access {
            nodes.push(self.capability(path)?);
        }
        Ok(nodes)
    }

    /// The node of a capability. Nodes in `/dev/nvidia-caps` are made when somebody first asks for them, so
    /// kind and numbers are given where they are known: then the runtime need not find one on the host.
    fn capability(&self, access: &Path) -> Result<Node, NodesError> {
        let text = fs::read_to_string(access)
            .map_err(|error| NodesError::Access { path: access.to_owned(), error })?;
        let minor = minor(&text).ok_or_else(|| NodesError::Minor { path: access.to_owned() })?;
        let name = format!("nvidia-caps/nvidia-cap{minor}");
        let devices = fs::read_to_string(self.proc.join("devices")).unwrap_or_default();
        let numbers = major(&devices, CAPABILITIES).map(|major| Numbers { r#type: "c", major, minor });
        if numbers.is_none() && !self.dev.join(&name).exists() {
            return Err(NodesError::Missing { path: self.dev.join(&name) });
        }
        Ok(self.node(&name, numbers))
    }

    fn node(&self, name: &str, numbers: Option<Numbers>) -> Node {
        let host_path = (self.host_dev != Path::new(DEV)).then(|| self.host_dev.join(name));
        Node {
            path: format!("{DEV}/{name}"),
            host_path: host_path.map(|path| path.display().to_string()),
            numbers,
            permissions: "rw",
        }
    }
}

/// The minor number in a capability's file, whose lines are `<name>: <number>`.
fn minor(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:")?.trim().parse().ok())
}

/// The major number of a character device driver in `/proc/devices`.
fn major(devices: &str, driver: &str) -> Option<u32> {
    let characters = devices.lines().skip_while(|line| *line != "Character devices:").skip(1);
    let mut rows = characters.take_while(|line| !line.is_empty()).map(str::split_whitespace);
    rows.find_map(|mut row| {
        let (number, name) = (row.next()?, row.next()?);
        (name == driver).then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_and_the_driver_print_them() {
        assert_eq!(minor("DeviceFileMinor: 21\nDeviceFileMode: 292\nDeviceFileModify: 1\n"), Some(21));
        assert_eq!(minor("DeviceFileMode: 292\n"), None);
        assert_eq!(minor("DeviceFileMinor: many\n"), None);
        let devices = "Character devices:\n  1 mem\n195 nvidia\n238 nvidia-caps\n\nBlock devices:\n  8 sd\n";
        assert_eq!(major(devices, "nvidia-caps"), Some(238));
        assert_eq!(major(devices, "sd"), None);
        assert_eq!(major("", "nvidia-caps"), None);
    }
}
