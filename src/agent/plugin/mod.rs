//! Device plugins for the kubelet (v1beta1): one resource per MIG profile, one device per GPU instance.
//!
//! ```text
//! Offers --> run --> cdi: on disk first
//!             '----> resource (one task each)
//!                      register   kubelet.sock: that there is a plugin; again when that is lost
//!                        socket   the file that the kubelet connects to
//!                      service    the kubelet's calls
//!                        answer   what it is told: pure; strategy: how containers learn of their devices
//! ```
//!
//! Invariants:
//! * Nothing is registered before it is known what there is, so a new life of the agent takes no device away.
//! * A resource that was announced stays announced, at last with no device, so that the node says 0.
//! * A device is announced when the container runtime can find it, not before.
//! * `Allocate` hands out what is offered and healthy at that moment, whatever the kubelet remembers.
//!
//! The kubelet keeps the answer of `Allocate` for the life of the pod, MIG UUID and all: a container that starts
//! again after its instance was made anew fails, and says so, until the pod is made anew.

mod answer;
mod register;
mod resource;
mod service;
mod socket;
mod strategy;

pub use strategy::{DeviceListStrategy, Strategies, StrategyError};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use answer::{Entries, Entry};
use resource::Resource;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;

use super::cdi::{self, Described};
use super::device::DeviceId;

/// Pause before what could not be described is tried again; doubled up to [`REVIEW`] while nothing changes.
const RETRY: Duration = Duration::from_secs(1);
/// How often the CDI spec is looked after when nothing changes: somebody may remove it, or install a driver.
const REVIEW: Duration = Duration::from_mins(1);

/// Where and how the plugin serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The kubelet's directory of device plugins.
    pub directory: PathBuf,
    /// How containers learn of their devices.
    pub strategies: Strategies,
    /// The CDI spec; written when the strategies have CDI.
    pub cdi: cdi::Config,
    /// How often sockets are looked at.
    pub look: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: "/var/lib/kubelet/device-plugins".into(),
            strategies: Strategies::default(),
            cdi: cdi::Config::default(),
            look: Duration::from_secs(1),
        }
    }
}

/// What the node has to offer, by the name of the resource.
///
/// The empty value says that this is not known yet. A resource with no offer is registered with no device, so
/// that the node's allocatable says 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Each resource's devices, in any order.
    pub resources: BTreeMap<Arc<str>, Vec<Offer>>,
}

/// A GPU instance that is live and wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its place, by which the kubelet knows it.
    pub id: DeviceId,
    /// Its MIG UUID, by which NVIDIA's software knows it.
    pub uuid: Arc<str>,
    /// Whether a container may get it.
    pub is_healthy: bool,
    /// Whether the pod that it is for has not come yet: preferred to one that a pod has just given back.
    pub is_awaited: bool,
    /// The NUMA node that its GPU is close to.
    pub numa_node: Option<u32>,
    /// How the driver numbers it.
    pub instance: cdi::Instance,
}

/// Why the plugin stopped serving though nobody told it to: a bug. The agent has to start anew.
#[derive(Debug, Error)]
#[error("a device plugin has ended by itself")]
pub struct Ended;

/// Serves `offers` until their sender is dropped, then closes and removes the sockets. A call that is dropped
/// does so too, at once.
///
/// `allocated` is told the devices that the kubelet was given, which its pod-resources interface shows a moment
/// later; and nothing but that, an empty list, when the kubelet asks which it should take.
pub async fn run(
    config: Config,
    mut offers: watch::Receiver<Offers>,
    allocated: mpsc::UnboundedSender<Vec<DeviceId>>,
) -> Result<(), Ended> {
    let mut plugin = Plugin::new(config, allocated);
    let mut retry = RETRY;
    loop {
        let now = offers.borrow_and_update().clone();
        let pause = if plugin.publish(&now) { REVIEW } else { retry };
        tokio::select! {
            changed = offers.changed() => {
                if changed.is_err() {
                    break;
                }
                retry = RETRY;
            }
            Some(_) = plugin.tasks.join_next() => return Err(Ended),
            () = tokio::time::sleep(pause) => retry = (retry * 2).min(REVIEW),
        }
    }
    plugin.stop().await;
    Ok(())
}

/// The resources that are served.
#[derive(Debug)]
struct Plugin {
    config: Config,
    allocated: mpsc::UnboundedSender<Vec<DeviceId>>,
    cdi: cdi::Writer,
    entries: BTreeMap<Arc<str>, watch::Sender<Entries>>,
    tasks: JoinSet<()>,
    /// What was last said of devices that no runtime can find.
    troubles: Described,
}

impl Plugin {
    fn new(config: Config, allocated: mpsc::UnboundedSender<Vec<DeviceId>>) -> Self {
        let cdi = cdi::Writer::new(config.cdi.clone());
        let (entries, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { config, allocated, cdi, entries, tasks, troubles: Described::new() }
    }

    /// Makes the kubelet see `offers`: additions on disk, then the lists, then removals from disk. Whether all
    /// of it worked.
    fn publish(&mut self, offers: &Offers) -> bool {
        if offers.resources.is_empty() && self.entries.is_empty() {
            return true; // what an earlier life left on disk may be in use
        }
        let has_cdi = self.config.strategies.has(DeviceListStrategy::CdiCri);
        let all = offers.resources.values().flatten().filter(|_| has_cdi);
        let instances = all.map(|offer| (offer.uuid.clone(), offer.instance)).collect();
        let described = self.cdi.add(&instances);
        self.announce(offers, &described);
        let tidied = self.cdi.retain(&instances);
        if let Err(error) = &tidied {
            warn!("Devices that are gone are still in the CDI spec: {error}.");
        }
        let mut troubles = described;
        troubles.retain(|_, known| known.is_err());
        for (uuid, trouble) in &troubles {
            if let (Err(why), true) = (trouble, self.troubles.get(uuid) != Some(trouble)) {
                warn!(%uuid, "An instance has no CDI device: {why}.");
            }
        }
        self.troubles = troubles;
        self.troubles.is_empty() && tidied.is_ok()
    }

    fn announce(&mut self, offers: &Offers, described: &Described) {
        let cdi = |uuid: &str| described.get(uuid).cloned().unwrap_or(Ok(()));
        let entry = |offer: &Offer| (offer.id.clone(), Entry { offer: offer.clone(), cdi: cdi(&offer.uuid) });
        for (name, sender) in &self.entries {
            let offers = offers.resources.get(name).into_iter().flatten();
            let now: Entries = offers.map(entry).collect();
            sender.send_if_modified(|entries| {
                let is_new = *entries != now;
                *entries = now;
                is_new
            });
        }
        for (name, offers) in &offers.resources {
            if !self.entries.contains_key(name) {
                let (sender, entries) = watch::channel(offers.iter().map(entry).collect());
                self.entries.insert(name.clone(), sender);
                self.tasks.spawn(self.resource(name, entries).serve());
            }
        }
    }

    fn resource(&self, name: &Arc<str>, entries: watch::Receiver<Entries>) -> Resource {
        Resource {
            name: name.clone(),
            directory: self.config.directory.clone(),
            look: self.config.look,
            strategies: self.config.strategies.clone(),
            entries,
            allocated: self.allocated.clone(),
        }
    }

    /// Ends the lists, then the servers. The CDI spec stays: containers that run may start again.
    async fn stop(mut self) {
        self.entries.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}
