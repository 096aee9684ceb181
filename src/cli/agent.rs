//! `tangram agent`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tangram_nvml::Library;
use tokio::sync::watch;

use super::access;
use super::inventory::inventory_table;
use crate::agent::{self, Options, cdi, kubelet, plugin};
use crate::config::Config;
use crate::serve::signalled;

/// Report a node's GPUs, and make the GPU instances that the scheduler placed
///
/// Runs on each GPU node, as root, beside the kubelet. It writes what NVML says to the status of the node's
/// GpuNode object, makes and removes GPU instances on the GPUs that the node's labels tangram.gpu/mig and
/// tangram.gpu/mig-gpus give to Tangram, and offers them to the kubelet as tangram.gpu/mig-PROFILE. GPU instances
/// that somebody else made are reported and never touched.
///
/// With --once it prints what it sees on this machine and ends: no cluster is needed and nothing is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Agent {
    /// Print what NVML says, and end
    #[arg(long)]
    once: bool,
    /// Form of what --once prints
    #[arg(short, long, value_enum, default_value_t, requires = "once")]
    output: Output,
    /// Name of this node in the cluster
    #[arg(long, value_name = "NAME", required_unless_present = "once")]
    node: Option<String>,
    /// Namespace of the agent's Lease: the one that Tangram runs in
    #[arg(long, value_name = "NAME", default_value = "tangram-system")]
    namespace: String,
    /// Kubeconfig file [default: the service account of this pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// NVML's shared library [default: libnvidia-ml.so.1, as the dynamic linker finds it]
    #[arg(long, value_name = "FILE")]
    nvml: Option<PathBuf>,
    /// Folder on the node's disk for the list of GPU instances that the agent made
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tangram")]
    state_dir: PathBuf,
    /// The kubelet's folder, with device-plugins and pod-resources in it
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// The kubelet's folder of device plugins [default: device-plugins in the kubelet's folder]
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// Folder for the CDI spec, which the container runtime reads too
    #[arg(long, value_name = "DIR", default_value = "/var/run/cdi")]
    cdi_dir: PathBuf,
    /// How containers learn which devices they have: envvar, cdi-cri, volume-mounts, or several
    #[arg(long, value_name = "STRATEGIES", default_value_t)]
    device_list_strategy: plugin::Strategies,
    /// Folder that holds the node's /dev, where it is not /dev
    #[arg(long, value_name = "DIR", default_value = "/dev")]
    dev: PathBuf,
    /// Folder that holds the node's /dev as the container runtime sees it, where it is not /dev
    #[arg(long, value_name = "DIR", default_value = "/dev")]
    runtime_dev: PathBuf,
    /// Folder that holds the node's /proc, where it is not /proc
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    proc: PathBuf,
    /// Never turn MIG mode on: somebody else does
    #[arg(long)]
    keep_mig_mode: bool,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// Everything that was read
    Json,
}

impl Agent {
    /// Whether somebody reads what it prints.
    pub(super) fn is_for_people(&self) -> bool {
        self.once
    }

    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        if self.once {
            return self.print();
        }
        let (runtime, access) = access(config, self.kubeconfig.as_deref(), self.context.as_deref())?;
        let options = self.options()?;
        runtime.block_on(async {
            let (stop, told) = watch::channel(false);
            tokio::spawn(async move {
                signalled().await;
                stop.send_replace(true);
            });
            agent::run(options, access, told).await
        })?;
        runtime.shutdown_background(); // a thread may wait for NVML
        Ok(ExitCode::SUCCESS)
    }

    fn options(self) -> anyhow::Result<Options> {
        let directory = self.plugin_dir.unwrap_or_else(|| self.kubelet_dir.join("device-plugins"));
        let cdi = cdi::Config {
            driver_directories: vec!["/etc/cdi".into(), self.cdi_dir.clone()],
            directory: self.cdi_dir,
            dev: self.dev,
            host_dev: self.runtime_dev,
            proc: self.proc,
        };
        let strategies = self.device_list_strategy;
        Ok(Options {
            node: self.node.context("--node is missing")?,
            namespace: self.namespace,
            nvml: self.nvml,
            state_dir: self.state_dir,
            kubelet: kubelet::Options {
                plugin: plugin::Config { directory, strategies, cdi, ..plugin::Config::default() },
                pod_resources: self.kubelet_dir.join("pod-resources").join("kubelet.sock"),
            },
            may_enable_mig: !self.keep_mig_mode,
        })
    }

    fn print(&self) -> anyhow::Result<ExitCode> {
        let inventory = Library::open(self.nvml.as_deref()).and_then(|mut library| library.read())?;
        let text = match self.output {
            Output::Table => inventory_table(&inventory),
            Output::Json => {
                serde_json::to_string_pretty(&inventory).context("the inventory has no form")? + "\n"
            }
        };
        match std::io::stdout().lock().write_all(text.as_bytes()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            printed => printed.context("standard output")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
