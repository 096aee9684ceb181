//! A list and the watch that goes on from it, again and again: what an informer
//! does, without a cache.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// How long an API server that does not answer is left alone.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// Sends `map` of every object as it is, then of each that changes or goes. Ends
/// when nobody listens any more.
pub(super) async fn follow<K, T>(api: Api<K>, labels: &str, map: impl Fn(K) -> T, to: mpsc::Sender<T>)
where
    K: Clone + Debug + DeserializeOwned,
{
    let (list, watch) = (ListParams::default().labels(labels), WatchParams::default().labels(labels));
    while !to.is_closed() {
        if let Ok(listed) = api.list(&list).await {
            for item in listed.items {
                to.send(map(item)).await.ok();
            }
            let version = listed.metadata.resource_version.unwrap_or_default();
            if let Ok(events) = api.watch(&watch, &version).await {
                let mut events = pin!(events);
                while let Some(Ok(event)) = events.next().await {
                    match event {
                        WatchEvent::Added(item) | WatchEvent::Modified(item) | WatchEvent::Deleted(item) => {
                            to.send(map(item)).await.ok();
                        }
                        WatchEvent::Bookmark(_) => (),
                        WatchEvent::Error(_) => break,
                    }
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
