//! What a client sees of pods: when each was there, nominated, bound and gone. A watch that breaks goes on
//! from the last version.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hyper::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::task::AbortHandle;

/// All pods of the cluster, as little of them as is looked at.
const PODS: &str = "/api/v1/pods";

/// What was seen of one pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// Number in the order of creation.
    pub(crate) number: usize,
    pub(crate) created: Instant,
    pub(crate) nominated: Option<Instant>,
    pub(crate) bound: Option<Instant>,
    pub(crate) is_gone: bool,
}

/// What was seen of all pods since [`Follower::start`] or [`Follower::clear`].
#[derive(Debug, Default)]
pub(crate) struct Sights {
    pub(crate) pods: BTreeMap<String, Sight>,
    pub(crate) bound: usize,
    pub(crate) nominated: usize,
    pub(crate) present: usize,
    /// Times that the watch had to be opened again.
    pub(crate) breaks: usize,
}

/// A list and a watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Follower {
    sights: Arc<Mutex<Sights>>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Deserialize)]
struct SlimPod {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    resource_version: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    nominated_node_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    metadata: Meta,
    items: Vec<SlimPod>,
}

impl Follower {
    pub(crate) fn start(client: Client) -> Self {
        let sights = Arc::new(Mutex::new(Sights::default()));
        let task = tokio::spawn(run(client, sights.clone())).abort_handle();
        Self { sights, task }
    }

    /// Looks at what was seen.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Sights) -> T) -> T {
        look(&mut self.sights.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets everything: the next trial begins. No pod is there.
    pub(crate) fn clear(&self) {
        self.look(|sights| *sights = Sights::default());
    }

    /// Waits until what was seen fulfils a condition, or nothing of it changed for so long.
    pub(crate) async fn until(&self, quiet: Duration, is_done: impl Fn(&Sights) -> bool) -> bool {
        let mut last = (0, 0, 0);
        let mut since = Instant::now();
        loop {
            let (state, is_done) =
                self.look(|sights| ((sights.bound, sights.nominated, sights.present), is_done(sights)));
            if is_done {
                return true;
            }
            if state != last {
                (last, since) = (state, Instant::now());
            }
            if since.elapsed() > quiet {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(client: Client, sights: Arc<Mutex<Sights>>) {
    let get = |path: String| Request::get(path).body(Vec::new()).expect("a plain request");
    let mut version = String::new();
    loop {
        if version.is_empty() {
            let listed = client.request::<List>(get(PODS.to_owned())).await;
            let Ok(list) = listed else { continue };
            for pod in list.items {
                note(&sights, pod, false);
            }
            version = list.metadata.resource_version;
        }
        let path = format!("{PODS}?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let Ok(events) = client.request_events::<SlimPod>(get(path)).await else { continue };
        let mut events = pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    version.clone_from(&pod.metadata.resource_version);
                    note(&sights, pod, false);
                }
                WatchEvent::Deleted(pod) => {
                    version.clone_from(&pod.metadata.resource_version);
                    note(&sights, pod, true);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(_) => version.clear(),
            }
        }
        sights.lock().unwrap_or_else(PoisonError::into_inner).breaks += 1;
    }
}

fn note(sights: &Mutex<Sights>, pod: SlimPod, is_gone: bool) {
    let now = Instant::now();
    let mut sights = sights.lock().unwrap_or_else(PoisonError::into_inner);
    let sights = &mut *sights;
    let number = sights.pods.len();
    let SlimPod { metadata, spec, status } = pod;
    let mut is_new = false;
    let sight = sights.pods.entry(metadata.name).or_insert_with(|| {
        is_new = true;
        Sight { number, created: now, nominated: None, bound: None, is_gone: false }
    });
    sights.present += usize::from(is_new && !is_gone);
    sights.present -= usize::from(!is_new && is_gone && !sight.is_gone);
    sight.is_gone |= is_gone;
    if status.nominated_node_name.is_some() && sight.nominated.is_none() {
        sight.nominated = Some(now);
        sights.nominated += 1;
    }
    if spec.node_name.is_some() && sight.bound.is_none() {
        sight.bound = Some(now);
        sights.bound += 1;
    }
}
