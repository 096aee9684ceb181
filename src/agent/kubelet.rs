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
/// After a call to a device plugin a pod is being admitted, and who holds what is not asked: at that question the
/// kubelet drops what pods held that have just ended. It has counted those pods already, and if their devices are
/// dropped before it compares, it turns the new pod away ("Node didn't have enough resource": Kubernetes 1.36.2,
/// `sanitizeNodeAllocatable`).
const ADMISSION_MS: u64 = 100;
/// However many pods come one after another, the record is not older than this.
const POSTPONED_MAX_MS: u64 = 1000;

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
    called: watch::Sender<Option<u64>>,
    clock: Clock,
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
        let (called, last_call) = watch::channel(None);
        let resources = PodResources::new(&options.pod_resources, BTreeSet::new())
            .context("the socket of the kubelet's pod-resources interface")?;
        let reader = Reader { resources, clock, ask: ask.clone(), offers: offered.clone(), last_call, tell };
        tasks.spawn(reader.run());
        tasks.spawn(async move {
            plugin::run(options.plugin, offered, grant).await.ok(); // the end of the task is what is told
        });
        Ok((Self { offers, ask, called, clock }, records, granted))
    }

    /// Reads the record as soon as no pod is being admitted.
    pub(super) fn ask(&self) {
        self.ask.notify_one();
    }

    /// The kubelet has called a device plugin just now: it admits a pod.
    pub(super) fn called(&self) {
        self.called.send_replace(Some(self.clock.now_ms()));
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
    last_call: watch::Receiver<Option<u64>>,
    tell: watch::Sender<Record>,
}

impl Reader {
    async fn run(mut self) {
        let mut soon = 0;
        // While a device is awaited, who holds others does not matter: half as many calls.
        let (mut due_since, mut is_asked) = (Some(self.clock.now_ms()), false);
        loop {
            let postponed = due_since.and_then(|since| self.admission_ends_in(since));
            let has_holders = due_since.is_some() && postponed.is_none();
            let record = self.read(has_holders).await;
            let is_awaited = record.error.is_none() && !self.missing(&record).is_empty();
            soon = if is_awaited { soon + 1 } else { 0 };
            self.tell.send_if_modified(|known| {
                // When it was asked changes each time, and matters only to whoever wanted to know.
                let devices = |record: &Record| record.held.as_ref().map(|held| held.devices.clone());
                let is_new = devices(known) != devices(&record)
                    || known.allocatable != record.allocatable
                    || known.error != record.error;
                *known = record;
                is_new || is_asked && has_holders
            });
            if has_holders {
                (due_since, is_asked) = (None, false);
            }
            let is_soon = (1..SOON_MAX).contains(&soon);
            let pause = if is_soon { READ_SOON } else { READ };
            let pause = postponed.map_or(pause, |rest| pause.min(rest));
            let is_due = tokio::select! {
                () = tokio::time::sleep(pause) => !is_soon,
                () = self.ask.notified() => { is_asked = true; true }
                changed = self.offers.changed() => match changed {
                    Ok(()) => { soon = 0; true }
                    Err(_) => return,
                },
            };
            if is_due {
                due_since.get_or_insert_with(|| self.clock.now_ms());
            }
            tokio::time::sleep(GAP).await;
        }
    }

    /// How long the pod that is being admitted still takes, or the question that is due since a moment can wait;
    /// `None` when it may be asked now.
    fn admission_ends_in(&self, due_since_ms: u64) -> Option<Duration> {
        let end_ms = ((*self.last_call.borrow())? + ADMISSION_MS).min(due_since_ms + POSTPONED_MAX_MS);
        let rest_ms = end_ms.checked_sub(self.clock.now_ms())?;
        (rest_ms > 0).then(|| Duration::from_millis(rest_ms))
    }

    /// Devices that are offered and that the kubelet does not list.
    fn missing(&self, record: &Record) -> Vec<DeviceId> {
        let offers = self.offers.borrow();
        let offered = offers.resources.values().flatten().filter(|offer| offer.is_healthy);
        offered.map(|offer| &offer.id).filter(|id| !record.allocatable.contains(id)).cloned().collect()
    }

    async fn read(&self, has_holders: bool) -> Record {
        let known = self.tell.borrow().clone();
        let held = if has_holders { self.holders().await } else { Ok(known.held.clone()) };
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
