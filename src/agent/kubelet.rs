//! The kubelet beside the agent: what it is offered, and what it has handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tangram_nvml::facts::Inventory;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::cdi;
use super::desk::{Held, Offered, Sight};
use super::device::{DeviceId, resource_name};
use super::plugin::{self, Offer, Offers};
use super::podresources::{PodResources, PodResourcesError};
use crate::k8s::Clock;
use crate::mig::ProfileName;
use crate::model::PodKey;

/// How often the record is read when nothing happens: it changes without a word when a pod ends.
const READ: Duration = Duration::from_secs(5);
/// While a device is offered that the kubelet does not list yet: a bind may wait for it.
const READ_SOON: Duration = Duration::from_millis(20);
/// How often in a row: after that the kubelet is not just slow.
const SOON_MAX: u32 = 80;
/// Between two reads at least: the kubelet refuses more than 100 calls a second.
const GAP: Duration = Duration::from_millis(20);

/// Where the kubelet is, and what containers are told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device plugins.
    pub plugin: plugin::Config,
    /// The socket of the pod-resources interface.
    pub pod_resources: PathBuf,
}

/// The kubelet's record as it was last read.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Who holds what; `None` before the first answer.
    pub(super) held: Option<Held>,
    /// Devices of Tangram's that it lists as allocatable.
    pub(super) allocatable: BTreeSet<DeviceId>,
    /// Why it does not answer.
    pub(super) error: Option<String>,
}

/// The agent's hands towards the kubelet.
#[derive(Debug)]
pub(super) struct Kubelet {
    offers: watch::Sender<Offers>,
    ask: Arc<Notify>,
}

/// What [`Kubelet::start`] brings to life: the hands, the record, devices handed out just now.
type Started = (Kubelet, watch::Receiver<Record>, mpsc::UnboundedReceiver<Vec<DeviceId>>);

impl Kubelet {
    /// Starts serving and reading; nothing is registered before the first offer.
    pub(super) fn start(options: Options, clock: Clock, tasks: &mut JoinSet<()>) -> anyhow::Result<Started> {
        let (offers, offered) = watch::channel(Offers::default());
        let (grant, granted) = mpsc::unbounded_channel();
        let (tell, records) = watch::channel(Record::default());
        let ask = Arc::new(Notify::new());
        let resources = PodResources::new(&options.pod_resources, BTreeSet::new())
            .context("the socket of the kubelet's pod-resources interface")?;
        let reader = Reader { resources, clock, ask: ask.clone(), offers: offered.clone(), tell };
        tasks.spawn(reader.run());
        tasks.spawn(async move {
            plugin::run(options.plugin, offered, grant).await.ok(); // the end of the task is what is told
        });
        Ok((Self { offers, ask }, records, granted))
    }

    /// Reads the record now.
    pub(super) fn ask(&self) {
        self.ask.notify_one();
    }

    /// Offers devices: one resource for each profile of the GPUs that are Tangram's.
    pub(super) fn offer(&self, sight: &Sight, offered: &[Offered]) {
        let mut resources = profiles(sight);
        for offer in offered {
            let minor = offer.minor;
            resources.entry(resource_name(&offer.id.profile)).or_default().push(Offer {
                id: offer.id.clone(),
                uuid: offer.uuid.clone(),
                is_healthy: offer.is_healthy,
                is_awaited: offer.is_awaited,
                numa_node: offer.numa_node,
                instance: cdi::Instance {
                    gpu_minor: minor,
                    gpu_instance: offer.instance.0,
                    compute_instance: offer.instance.1,
                },
            });
        }
        let now = Offers { resources };
        self.offers.send_if_modified(|offers| {
            let is_new = *offers != now;
            *offers = now;
            is_new
        });
    }
}

/// The resources of a node, without devices.
fn profiles(sight: &Sight) -> BTreeMap<Arc<str>, Vec<Offer>> {
    let Inventory { gpus, .. } = &sight.inventory;
    gpus.iter()
        .filter(|gpu| sight.claim.has(gpu.index))
        .flat_map(|gpu| gpu.mig.iter().flat_map(|mig| &mig.profiles))
        .filter_map(|profile| ProfileName::parse(&profile.name))
        .map(|profile| (resource_name(&profile), Vec::new()))
        .collect()
}

/// Reads the record again and again.
struct Reader {
    resources: PodResources,
    clock: Clock,
    ask: Arc<Notify>,
    offers: watch::Receiver<Offers>,
    tell: watch::Sender<Record>,
}

impl Reader {
    async fn run(mut self) {
        let mut soon = 0;
        let mut is_asked = true;
        loop {
            // While a device is awaited, who holds others does not matter: half as many calls.
            let record = self.read(soon == 0 || is_asked).await;
            let is_awaited = record.error.is_none() && !self.missing(&record).is_empty();
            soon = if is_awaited { soon + 1 } else { 0 };
            self.tell.send_if_modified(|known| {
                // When it was asked changes each time, and matters only to whoever wanted to know.
                let devices = |record: &Record| record.held.as_ref().map(|held| held.devices.clone());
                let is_new = devices(known) != devices(&record)
                    || known.allocatable != record.allocatable
                    || known.error != record.error;
                *known = record;
                is_new || is_asked
            });
            let pause = if (1..SOON_MAX).contains(&soon) { READ_SOON } else { READ };
            is_asked = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = self.ask.notified() => true,
                changed = self.offers.changed() => match changed {
                    Ok(()) => { soon = 0; false }
                    Err(_) => return,
                },
            };
            tokio::time::sleep(GAP).await;
        }
    }

    /// Devices that are offered and that the kubelet does not list.
    fn missing(&self, record: &Record) -> Vec<DeviceId> {
        let offers = self.offers.borrow();
        let offered = offers.resources.values().flatten().filter(|offer| offer.is_healthy);
        offered.map(|offer| &offer.id).filter(|id| !record.allocatable.contains(id)).cloned().collect()
    }

    async fn read(&self, with_holders: bool) -> Record {
        let known = self.tell.borrow().clone();
        let held = if with_holders { self.holders().await } else { Ok(known.held.clone()) };
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                return Record { error: Some(error.to_string()), allocatable: BTreeSet::new(), ..known };
            }
        };
        match self.resources.allocatable().await {
            Ok(all) => {
                let allocatable = all.into_iter().filter_map(|(_, id)| id.parse().ok()).collect();
                Record { held, allocatable, error: None }
            }
            Err(error) => Record { held, allocatable: BTreeSet::new(), error: Some(error.to_string()) },
        }
    }

    async fn holders(&self) -> Result<Option<Held>, PodResourcesError> {
        let asked_ms = self.clock.now_ms();
        let mut devices = BTreeMap::new();
        for holder in self.resources.holders().await? {
            let pod = PodKey { namespace: holder.namespace, name: holder.pod };
            devices.extend(holder.ids.into_iter().map(|id| (id, pod.clone())));
        }
        Ok(Some(Held { devices, asked_ms }))
    }
}
