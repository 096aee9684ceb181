//! The CDI spec as a container runtime finds it on disk.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cdi` rewrites `golden/cdi`; read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tangram::agent::cdi::{Config, Described, Instance, Writer};
use tempfile::TempDir;

/// As `nvidia-ctk cdi generate` (1.17) prints it, shortened.
const TOOLKIT: &str = r#"---
cdiVersion: 0.6.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  deviceNodes:
  - path: /dev/nvidia-modeset
  - path: /dev/nvidia-uvm
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - update-ldcache
    - --folder
    - /usr/lib/x86_64-linux-gnu
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
    hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
    options: [ro, nosuid, nodev, bind]
"#;

type Instances = BTreeMap<Arc<str>, Instance>;

struct Node {
    root: TempDir,
}

impl Node {
    /// Two GPUs; on the first, GPU instance 7 with capabilities 66 and 67; on the second, 3 with 156 and 157.
    fn new() -> Self {
        let node = Self { root: tempfile::tempdir().unwrap() };
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "null"] {
            node.write(&format!("dev/{name}"), "");
        }
        node.write(
            "proc/devices",
            "Character devices:\n  1 mem\n238 nvidia-caps\n\nBlock devices:\n  8 sd\n",
        );
        for (gpu, instance, minor) in [(0, 7, 66), (1, 3, 156)] {
            let access = format!("proc/driver/nvidia/capabilities/gpu{gpu}/mig/gi{instance}");
            let text =
                |minor: u32| format!("DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
            node.write(&format!("{access}/access"), &text(minor));
            node.write(&format!("{access}/ci0/access"), &text(minor + 1));
        }
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn config(&self) -> Config {
        Config {
            directory: self.path("run/cdi"),
            driver_directories: vec![self.path("etc/cdi"), self.path("run/cdi")],
            dev: self.path("dev"),
            host_dev: "/dev".into(),
            proc: self.path("proc"),
        }
    }

    fn file(&self) -> PathBuf {
        self.path("run/cdi/tangram.gpu-mig.json")
    }

    fn spec(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}

const FIRST: (&str, Instance) =
    ("MIG-11111111", Instance { gpu_minor: 0, gpu_instance: 7, compute_instance: 0 });
const SECOND: (&str, Instance) =
    ("MIG-22222222", Instance { gpu_minor: 1, gpu_instance: 3, compute_instance: 0 });

fn instances(all: &[(&str, Instance)]) -> Instances {
    all.iter().map(|(uuid, instance)| ((*uuid).into(), *instance)).collect()
}

fn good(uuids: &[&str]) -> Described {
    uuids.iter().map(|&uuid| (uuid.into(), Ok(()))).collect()
}

fn names(spec: &Value) -> Vec<&str> {
    spec["devices"].as_array().unwrap().iter().map(|device| device["name"].as_str().unwrap()).collect()
}

#[test]
fn the_file_is_the_golden_one() {
    let node = Node::new();
    node.write("etc/cdi/nvidia.yaml", TOOLKIT);
    let described = Writer::new(node.config()).add(&instances(&[SECOND, FIRST]));
    assert_eq!(described, good(&["MIG-11111111", "MIG-22222222"]));
    let text = fs::read_to_string(node.file()).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cdi/tangram.gpu-mig.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn without_a_toolkit_there_are_the_nodes_alone() {
    let node = Node::new();
    for name in ["nvidia-uvm", "nvidia-uvm-tools"] {
        fs::remove_file(node.path("dev").join(name)).unwrap();
    }
    Writer::new(node.config()).add(&instances(&[FIRST]));
    let capability = |minor: u32| {
        let path = format!("/dev/nvidia-caps/nvidia-cap{minor}");
        json!({ "path": path, "type": "c", "major": 238, "minor": minor, "permissions": "rw" })
    };
    let nodes = json!([
        { "path": "/dev/nvidia0", "permissions": "rw" },
        { "path": "/dev/nvidiactl", "permissions": "rw" },
        capability(66),
        capability(67),
    ]);
    let device = json!({ "name": "MIG-11111111", "containerEdits": { "deviceNodes": nodes } });
    let spec = json!({ "cdiVersion": "0.5.0", "kind": "tangram.gpu/mig", "devices": [device] });
    assert_eq!(node.spec(), spec);
}

#[test]
fn nodes_of_a_driver_with_a_root_of_its_own_are_found_there() {
    let node = Node::new();
    let config = Config { host_dev: "/run/nvidia/driver/dev".into(), ..node.config() };
    Writer::new(config).add(&instances(&[FIRST]));
    let nodes = node.spec()["devices"][0]["containerEdits"]["deviceNodes"].take();
    let first =
        json!({ "path": "/dev/nvidia0", "hostPath": "/run/nvidia/driver/dev/nvidia0", "permissions": "rw" });
    assert_eq!(nodes[0], first);
}

#[test]
fn capabilities_whose_number_nobody_tells_need_their_nodes() {
    let node = Node::new();
    node.write("proc/devices", "Character devices:\n  1 mem\n");
    let mut writer = Writer::new(node.config());
    let missing = node.path("dev/nvidia-caps/nvidia-cap66");
    let error = format!("{} does not exist", missing.display());
    assert_eq!(writer.add(&instances(&[FIRST])), [("MIG-11111111".into(), Err(error.into()))].into());
    assert!(!node.file().exists());
    node.write("dev/nvidia-caps/nvidia-cap66", "");
    node.write("dev/nvidia-caps/nvidia-cap67", "");
    assert_eq!(writer.add(&instances(&[FIRST])), good(&["MIG-11111111"]));
    let nodes = node.spec()["devices"][0]["containerEdits"]["deviceNodes"].take();
    assert_eq!(nodes[4], json!({ "path": "/dev/nvidia-caps/nvidia-cap66", "permissions": "rw" }));
}

#[test]
fn what_is_not_known_of_one_instance_leaves_the_others_alone() {
    let node = Node::new();
    let access = node.path("proc/driver/nvidia/capabilities/gpu0/mig/gi9/access");
    let gone = ("MIG-gone", Instance { gpu_minor: 0, gpu_instance: 9, compute_instance: 0 });
    let off = ("MIG-off", Instance { gpu_minor: 8, gpu_instance: 9, compute_instance: 0 });
    let old = ("MIG-GPU-1/7/0", FIRST.1);
    let mut writer = Writer::new(node.config());
    let described = writer.add(&instances(&[FIRST, gone, off, old]));
    let why = |uuid: &str| described[uuid].clone().unwrap_err().to_string();
    assert_eq!(described["MIG-11111111"], Ok(()));
    assert_eq!(why("MIG-gone"), format!("{}: No such file or directory (os error 2)", access.display()));
    assert_eq!(why("MIG-off"), format!("{} does not exist", node.path("dev/nvidia8").display()));
    assert_eq!(why("MIG-GPU-1/7/0"), "\"MIG-GPU-1/7/0\" cannot be the name of a CDI device");
    assert_eq!(names(&node.spec()), ["MIG-11111111"]);

    node.write("proc/driver/nvidia/capabilities/gpu0/mig/gi9/access", "DeviceFileMode: 292\n");
    let described = writer.add(&instances(&[gone]));
    let why = format!("{}: no line says DeviceFileMinor: <number>", access.display());
    assert_eq!(described["MIG-gone"], Err(why.into()));
}

#[test]
fn devices_are_added_before_others_leave_and_the_last_one_takes_the_file_along() {
    let node = Node::new();
    let mut writer = Writer::new(node.config());
    writer.add(&instances(&[FIRST]));
    writer.add(&instances(&[SECOND]));
    assert_eq!(names(&node.spec()), ["MIG-11111111", "MIG-22222222"]);
    assert_eq!(writer.retain(&instances(&[SECOND])), Ok(()));
    assert_eq!(names(&node.spec()), ["MIG-22222222"]);
    assert_eq!(writer.retain(&Instances::new()), Ok(()));
    assert_eq!(writer.retain(&Instances::new()), Ok(()), "there is no file to remove, and that is well");
    assert_eq!(fs::read_dir(node.path("run/cdi")).unwrap().count(), 0);
}

#[test]
fn a_file_that_says_so_already_is_not_touched_and_one_that_does_not_is_replaced() {
    let node = Node::new();
    Writer::new(node.config()).add(&instances(&[FIRST]));
    let file = || fs::metadata(node.file()).unwrap().ino();
    let before = file();
    let mut writer = Writer::new(node.config());
    writer.add(&instances(&[FIRST]));
    assert_eq!(file(), before, "an agent that restarts writes nothing");
    let right = node.spec();
    fs::write(node.file(), "{}").unwrap();
    writer.add(&instances(&[FIRST]));
    assert_eq!(node.spec(), right);
    fs::remove_file(node.file()).unwrap();
    assert_eq!(writer.retain(&instances(&[FIRST])), Ok(()));
    assert_eq!(node.spec(), right);
}

#[test]
fn a_file_that_cannot_be_written_is_said_of_every_device_and_tried_again() {
    let node = Node::new();
    node.write("run/cdi", "a file where the directory should be");
    let mut writer = Writer::new(node.config());
    let described = writer.add(&instances(&[FIRST]));
    let why = described["MIG-11111111"].clone().unwrap_err();
    let start = format!("{} cannot be written: ", node.file().display());
    assert!(why.starts_with(&start), "{why}");
    assert!(writer.retain(&instances(&[FIRST])).unwrap_err().starts_with(&start));
    fs::remove_file(node.path("run/cdi")).unwrap();
    assert_eq!(writer.add(&instances(&[FIRST])), good(&["MIG-11111111"]));
    assert_eq!(names(&node.spec()), ["MIG-11111111"]);
}
