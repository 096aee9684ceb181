//! A node with the device plugin on it: directories, what it is told, what it offers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tangram::agent::cdi;
use tangram::agent::device::DeviceId;
use tangram::agent::plugin::{self, Config, Ended, Offer, Offers};
use tangram::mig::ProfileName;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::kubelet::Kubelet;

pub(crate) const ONE: &str = "tangram.gpu/mig-1g.10gb";
pub(crate) const TWO: &str = "tangram.gpu/mig-2g.20gb";
pub(crate) const SOCKET: &str = "tangram-mig-1g.10gb.sock";
/// Longer than the plugin takes to do anything.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// A node: the kubelet's directory, `/dev`, `/proc` and the directory of CDI specs.
pub(crate) struct Node {
    root: TempDir,
}

impl Node {
    /// With one GPU, whose GPU instances 0 to 15 have capabilities 10 times their number, and one more.
    pub(crate) fn new() -> Self {
        let node = Self { root: tempfile::tempdir().unwrap() };
        for directory in ["plugins", "dev/nvidia-caps", "cdi"] {
            fs::create_dir_all(node.path(directory)).unwrap();
        }
        for name in ["nvidia0", "nvidiactl", "nvidia-uvm"] {
            fs::write(node.path("dev").join(name), "").unwrap();
        }
        for instance in 0..16 {
            let access = node.path(&format!("proc/driver/nvidia/capabilities/gpu0/mig/gi{instance}"));
            fs::create_dir_all(access.join("ci0")).unwrap();
            let text = |minor: u32| format!("DeviceFileMinor: {minor}\nDeviceFileMode: 292\n");
            fs::write(access.join("access"), text(10 * instance)).unwrap();
            fs::write(access.join("ci0/access"), text(10 * instance + 1)).unwrap();
        }
        fs::write(node.path("proc/devices"), "Character devices:\n  1 mem\n238 nvidia-caps\n").unwrap();
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.path("cdi/tangram.gpu-mig.json")
    }

    pub(crate) fn kubelet(&self) -> Kubelet {
        Kubelet::start(&self.path("plugins"), &self.spec())
    }

    pub(crate) fn agent(&self) -> Agent {
        self.agent_with("envvar,cdi-cri", Duration::from_millis(50))
    }

    pub(crate) fn agent_with(&self, strategies: &str, look: Duration) -> Agent {
        let config = Config {
            directory: self.path("plugins"),
            strategies: strategies.parse().unwrap(),
            cdi: cdi::Config {
                directory: self.path("cdi"),
                driver_directories: Vec::new(),
                dev: self.path("dev"),
                host_dev: "/dev".into(),
                proc: self.path("proc"),
            },
            look,
        };
        let (offers, receiver) = watch::channel(Offers::default());
        let (allocate, allocated) = mpsc::unbounded_channel();
        let running = tokio::spawn(plugin::run(config, receiver, allocate));
        Agent { offers, allocated, running }
    }
}

/// The plugin, and what it is told.
pub(crate) struct Agent {
    offers: watch::Sender<Offers>,
    pub(crate) allocated: mpsc::UnboundedReceiver<Vec<DeviceId>>,
    running: JoinHandle<Result<(), Ended>>,
}

impl Agent {
    pub(crate) fn offer(&self, resources: &[(&str, Vec<Offer>)]) {
        let resources: BTreeMap<Arc<str>, Vec<Offer>> =
            resources.iter().map(|(name, offers)| ((*name).into(), offers.clone())).collect();
        self.offers.send(Offers { resources }).unwrap();
    }

    /// As a process that is told to stop does.
    pub(crate) async fn stop(self) {
        drop(self.offers);
        let ended = tokio::time::timeout(Duration::from_secs(5), self.running).await;
        assert!(matches!(ended, Ok(Ok(Ok(())))), "{ended:?}");
    }

    /// Without a chance to do anything.
    pub(crate) async fn kill(self) {
        self.running.abort();
        self.running.await.unwrap_err();
    }
}

/// The instance of a profile at `start` of GPU `a`; its UUID has the number `life` in it.
pub(crate) fn offer_of(profile: &str, start: u8, life: u32) -> Offer {
    let profile = ProfileName::parse(profile).unwrap();
    Offer {
        id: DeviceId { gpu: "GPU-a".into(), profile, start },
        uuid: format!("MIG-{start}-{life}").into(),
        is_healthy: true,
        is_awaited: false,
        numa_node: Some(1),
        instance: cdi::Instance { gpu_minor: 0, gpu_instance: u32::from(start), compute_instance: 0 },
    }
}

pub(crate) fn one(start: u8) -> Offer {
    offer_of("1g.10gb", start, 0)
}

pub(crate) fn healthy(ids: &[&str]) -> Vec<(String, String)> {
    ids.iter().map(|id| (format!("GPU-a/{id}"), "Healthy".to_owned())).collect()
}
