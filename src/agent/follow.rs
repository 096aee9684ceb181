//! One object of the API server, for ever.

use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::warn;

use crate::k8s::{Access, Change, Reply};

/// How long the API server keeps a watch open, in seconds.
const WATCH_S: u64 = 290;
/// A watch that says nothing for so long, not even a bookmark, is dead.
const SILENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What the API server says of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Nothing yet.
    Unknown,
    /// There is none.
    Absent,
    /// The object as JSON.
    There(String),
}

/// Follows the object `name` below `list`, until nobody listens.
pub(super) async fn follow(access: Access, list: &'static str, name: String, tell: watch::Sender<Sighting>) {
    let mut pause = PAUSE;
    while !tell.is_closed() {
        // Read again at each end of a watch: one object costs less than remembering versions.
        let read = match access.get(&format!("{list}/{name}")).await {
            Reply::Done(body) => Ok(Sighting::There(String::from_utf8_lossy(&body).into_owned())),
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => Ok(Sighting::Absent),
            Reply::Refused { code, message } => Err(format!("{code}: {message}")),
            Reply::Unknown(error) => Err(error),
        };
        let result = match read {
            Ok(sighting) => {
                let version = version(&sighting);
                tell.send_if_modified(|known| std::mem::replace(known, sighting.clone()) != sighting);
                watch_from(&access, list, &name, &version, &tell).await
            }
            Err(error) => Err(error),
        };
        pause = match result {
            Ok(()) => PAUSE,
            Err(error) => {
                warn!(object = %format_args!("{list}/{name}"), error, "It cannot be followed; trying again.");
                (pause * 2).min(PAUSE_MAX)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The version of the object; of one that is not there, any: the watch then begins with what is.
fn version(sighting: &Sighting) -> String {
    let Sighting::There(text) = sighting else { return "0".to_owned() };
    serde_json::from_str::<Versioned>(text).map_or_else(|_| "0".to_owned(), |it| it.metadata.resource_version)
}

async fn watch_from(
    access: &Access,
    list: &str,
    name: &str,
    version: &str,
    tell: &watch::Sender<Sighting>,
) -> Result<(), String> {
    let query = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}");
    let path = format!("{list}?{query}&fieldSelector=metadata.name%3D{name}&resourceVersion={version}");
    let response = access.open(&path).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::GONE => return Ok(()),
        code => return Err(format!("status {code}")),
    }
    let mut body = response.into_body();
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(SILENCE, body.frame()) => frame,
            () = tell.closed() => return Ok(()),
        };
        let data = match frame {
            Err(_) => return Err(format!("nothing heard for {SILENCE:?}")),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        buffer.extend_from_slice(&data);
        while let Some(length) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=length).collect();
            let Ok(change) = serde_json::from_slice::<Change<'_>>(&line) else {
                return Err("an event of the watch is none".to_owned());
            };
            match change.kind {
                "ADDED" | "MODIFIED" => {
                    tell.send_replace(Sighting::There(change.object.get().to_owned()));
                }
                "DELETED" => drop(tell.send_replace(Sighting::Absent)),
                "ERROR" => return Ok(()), // the version is too old, most likely: read again
                _ => {}
            }
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}
