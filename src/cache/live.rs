//! What a live model keeps beside the ground state: whether it leads, binds under way, writes to `GpuNode`s,
//! which agents it hears, and which versions of objects it has seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::agents::Heard;
use super::apply::Cache;
use super::bind::Bind;
use super::effect::{Answer, Effect, Fence};
use crate::model::{Pod, PodKey};

/// How a live model behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long a bind waits for an agent to report its GPU instances live, in milliseconds.
    pub instance_timeout_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) options: Options,
    pub(super) fence: Option<Fence>, // this replica leads
    pub(super) now_ms: u64,
    pub(super) binds: BTreeMap<Arc<str>, Bind>, // under way, by UID of the pod
    pub(super) writes: BTreeMap<Arc<str>, Write>, // of wanted instances that are not settled, by node
    pub(super) node_versions: Versions,
    pub(super) heard: Heard,     // agents' signs of life
    pub(super) pods_listed: u64, // revision of the newest list of pods
    pub(super) effects: Vec<Effect>,
    gone: Gone,
}

/// A write of wanted instances that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) retry: Retry,
    /// The version that a write demanded of which nobody knows what became: it may arrive as long as the
    /// `GpuNode` has that version.
    pub(super) late: Option<u64>,
}

/// When to try something again that has not been answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It is being tried.
    Underway,
    /// Not before this time.
    At(u64),
}

impl Retry {
    /// Time between two tries: an API server that is gone for a moment is asked soon, not flooded.
    const PAUSE_MS: u64 = 500;

    pub(super) fn after(now_ms: u64) -> Self {
        Self::At(now_ms + Self::PAUSE_MS)
    }

    pub(super) fn is_due(self, now_ms: u64) -> bool {
        matches!(self, Self::At(at) if at <= now_ms)
    }
}

impl Live {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            fence: None,
            now_ms: 0,
            binds: BTreeMap::new(),
            writes: BTreeMap::new(),
            node_versions: Versions::default(),
            heard: Heard::default(),
            pods_listed: 0,
            effects: Vec::new(),
            gone: Gone::default(),
        }
    }
}

impl Cache {
    /// Takes what has to be done in the world, in the order in which it came up.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.live.as_mut().map(|live| std::mem::take(&mut live.effects)).unwrap_or_default()
    }

    pub(super) fn lead(&mut self, fence: Fence) -> bool {
        let Some(live) = &mut self.live else { return false };
        live.fence = Some(fence);
        let nodes: Vec<Arc<str>> = self.reports.keys().cloned().collect();
        for node in nodes {
            self.want(&node);
        }
        false
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> bool {
        let Some(live) = &mut self.live else { return false };
        live.now_ms = now_ms;
        let due = |(node, write): (&Arc<str>, &Write)| write.retry.is_due(now_ms).then(|| node.clone());
        let due: Vec<Arc<str>> = live.writes.iter().filter_map(due).collect();
        for node in due {
            self.want(&node);
        }
        self.tick_binds(now_ms)
    }

    pub(super) fn answered(&mut self, answer: Answer) -> bool {
        if self.live.is_none() {
            return false;
        }
        match answer {
            Answer::Bind { uid, outcome } => self.bind_answered(&uid, outcome),
            Answer::ReadPod { pod, uid, found } => self.pod_read(&pod, &uid, found),
            Answer::WriteWanted { node, revision, outcome } => self.wanted_written(&node, revision, &outcome),
        }
    }

    /// The pod of that UID is gone for good.
    pub(super) fn pod_gone(&mut self, key: &PodKey, uid: &Arc<str>) -> bool {
        if let Some(live) = &mut self.live {
            live.gone.insert(uid);
        }
        let is_known = self.pods.get(key).is_some_and(|known| known.uid == *uid);
        let is_changed = is_known && self.pod_deleted(key);
        self.gave_up(key, uid);
        is_changed
    }

    /// Whether this version of a pod is older than what is known.
    pub(super) fn is_overtaken(&self, pod: &Pod) -> bool {
        let Some(live) = &self.live else { return false };
        let known = self.pods.get(&pod.key).map_or(0, |known| known.version.revision);
        live.gone.contains(&pod.uid) || (pod.version.revision > 0 && pod.version.revision < known)
    }

    pub(super) fn tell_waiting(&mut self, key: &PodKey, pod: Option<&Arc<Pod>>) {
        let Some(live) = &mut self.live else { return };
        let waits = pod.filter(|pod| pod.node.is_none()).cloned();
        let was = self.pods.get(key).is_some_and(|known| known.node.is_none());
        if waits.is_some() || was {
            live.effects.push(Effect::Waiting(key.clone(), waits));
        }
    }
}

/// The newest version seen of each object of one kind.
#[derive(Debug, Default)]
pub(super) struct Versions(BTreeMap<Arc<str>, u64>);

impl Versions {
    /// Notes a version; false when a newer one was seen.
    pub(super) fn advance(&mut self, name: &Arc<str>, revision: u64) -> bool {
        let newest = self.0.entry(name.clone()).or_default();
        let is_new = revision == 0 || revision >= *newest;
        *newest = revision.max(*newest);
        is_new
    }

    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Forgets objects that a complete list does not have, once it is as new as they are.
    pub(super) fn retain(&mut self, live: &BTreeSet<&str>, revision: u64) {
        self.0.retain(|name, newest| live.contains(&**name) || *newest > revision);
    }
}

/// UIDs of pods that are gone, the last of them: an event about one of these is late.
#[derive(Debug, Default)]
struct Gone {
    uids: BTreeSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Gone {
    /// Minutes of the busiest cluster; an event that is later than that has been overtaken by a list.
    const MAX: usize = 1 << 16;

    fn insert(&mut self, uid: &Arc<str>) {
        if uid.is_empty() || !self.uids.insert(uid.clone()) {
            return;
        }
        self.order.push_back(uid.clone());
        if self.order.len() > Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn contains(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}
