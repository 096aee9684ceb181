//! A node's GPUs and its agent: a mock of NVML's library behind the real interface, and the binary under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nvml_mock::{Board, GpuInstance, Scene, State, What};
use tempfile::TempDir;

use crate::plane::process::{Place, Process};

/// How long the agent may take over something that a test waits for: fractions of a second on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);

/// GPUs with their files, which outlive the agent that uses them.
pub(crate) struct Gpus {
    pub(crate) scene: Scene,
    folder: TempDir,
}

/// A running agent. Dropping it kills it.
pub(crate) struct Agent {
    process: Process,
}

impl Gpus {
    /// GPUs by their keys in the MIG table, with MIG mode on.
    pub(crate) fn new(models: &[&str]) -> Self {
        let folder = TempDir::with_prefix("tangram-gpus-").expect("a folder is made");
        let boards = models.iter().map(|model| Board::of(model).mig()).collect();
        let scene = Scene::create(folder.path().join("state.json"), boards);
        let gpus = Self { scene, folder };
        gpus.make_files(models.len());
        gpus
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the driver shows in `/dev` and `/proc`: nodes of the null device, and a capability for each GPU instance
    /// and compute instance that can be.
    fn make_files(&self, gpus: usize) {
        let mut nodes = vec!["nvidiactl".to_owned(), "nvidia-uvm".to_owned()];
        let mut number = 1;
        for gpu in 0..gpus {
            nodes.push(format!("nvidia{gpu}"));
            for instance in 0..15 {
                for capability in [format!("gi{instance}"), format!("gi{instance}/ci0")] {
                    let place = format!("proc/driver/nvidia/capabilities/gpu{gpu}/mig/{capability}");
                    let folder = self.path(&place);
                    fs::create_dir_all(&folder).expect("a folder is made");
                    let text = format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\n");
                    fs::write(folder.join("access"), text).expect("a file is written");
                    nodes.push(format!("nvidia-caps/nvidia-cap{number}"));
                    number += 1;
                }
            }
        }
        fs::create_dir_all(self.path("dev/nvidia-caps")).expect("a folder is made");
        let nodes = nodes.iter().map(|node| self.path("dev").join(node));
        let made = Command::new("sh")
            .args(["-c", r#"for node; do mknod -m 666 "$node" c 1 3 || exit 1; done"#, "mknod"])
            .args(nodes)
            .status();
        assert!(made.expect("sh runs").success(), "device nodes are made by root alone");
    }

    /// Starts the agent of a node, which sees the kubelet's folders under their usual names.
    pub(crate) fn agent(&self, place: Place, node: &str, kubeconfig: &Path, more: &[&str]) -> Agent {
        let own = |name: &str| self.path(name).into_os_string();
        let mut arguments: Vec<std::ffi::OsString> = vec!["agent".into(), "--node".into(), node.into()];
        arguments.extend(["--kubeconfig".into(), kubeconfig.as_os_str().to_owned()]);
        arguments.extend(["--nvml".into(), self.scene.library().into_os_string()]);
        arguments.extend(["--state-dir".into(), own("state")]);
        arguments.extend(["--dev".into(), own("dev"), "--runtime-dev".into(), own("dev")]);
        arguments.extend(["--proc".into(), own("proc")]);
        arguments.extend(["--log-level".into(), "info".into()]);
        arguments.extend(more.iter().map(Into::into));
        let program = Path::new(env!("CARGO_BIN_EXE_tangram"));
        let process = Process::start_in(place, "agent", self.folder.path(), program, arguments);
        Agent { process: process.expect("the agent starts") }
    }

    /// Where a capability of a GPU instance or its compute instance is in a container.
    pub(crate) fn capability(&self, gpu: u32, instance: u32, is_compute: bool) -> String {
        let ci = if is_compute { "/ci0" } else { "" };
        let place = format!("proc/driver/nvidia/capabilities/gpu{gpu}/mig/gi{instance}{ci}/access");
        let text = fs::read_to_string(self.path(&place)).expect("the capability is there");
        let number = text.lines().next().and_then(|line| line.strip_prefix("DeviceFileMinor: "));
        format!("/dev/nvidia-caps/nvidia-cap{}", number.expect("it has a number"))
    }
}

impl Agent {
    /// Waits for a line of its log.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        self.process.line(text, LIMIT).await.expect("the agent logs")
    }

    /// Kills it where it stands.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("the agent is killed");
    }

    /// Asks it to end.
    pub(crate) async fn stop(&mut self) {
        self.process.stop().await.expect("the agent ends");
    }

    /// A file of its folder under `/proc`, such as `status`.
    pub(crate) async fn proc_file(&mut self, name: &str) -> String {
        self.process.proc_file(name).await.expect("the agent runs")
    }
}

/// GPU instances of a machine, with the index of their GPU.
pub(crate) fn instances(state: &State) -> Vec<(usize, GpuInstance)> {
    let gpus = state.gpus.iter().enumerate();
    gpus.flat_map(|(index, gpu)| {
        gpu.mig.iter().flat_map(move |mig| mig.instances.iter().map(move |it| (index, it)))
    })
    .map(|(index, instance)| (index, instance.clone()))
    .collect()
}

impl Gpus {
    /// How many GPU instances were made and removed, by anybody.
    pub(crate) fn made_and_removed(&self) -> (usize, usize) {
        let history = self.scene.history();
        let made = history.iter().filter(|it| matches!(it.what, What::GpuInstanceCreated { .. })).count();
        let removed =
            history.iter().filter(|it| matches!(it.what, What::GpuInstanceDestroyed { .. })).count();
        (made, removed)
    }
}
