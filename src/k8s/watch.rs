//! Lists and watches of one kind of object, for ever: what the model is fed with.
//!
//! ```text
//!   list, in pages --> every object an event --> Reset with all names --> watch from the list's version
//!        ^                                                                   |    |
//!        '------ 410 Gone, or a new leader that wants to see for itself -----'    '-- broken: watch again
//! ```
//!
//! Objects are taken from the wire one by one, so that one that makes no sense is a problem of its own; and
//! fields that nobody reads (`managedFields`) are skipped, never built.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tracing::{info, warn};

use super::access::{Access, Reply};
use super::age::Contact;
use super::feed::Feed;
use crate::cache::Event;
use crate::owner::{Model, Stopped};

/// Objects per page of a list: a page is some megabytes.
const PAGE: usize = 500;
/// How long the API server keeps a watch open, in seconds; it ends it then, and a new one begins.
const WATCH_S: u64 = 290;
/// A watch that says nothing for so long, not even a bookmark (one a minute), is dead.
const SILENCE: Duration = Duration::from_mins(3);
/// Between two looks for a kind that the API server does not know.
const ABSENT: Duration = Duration::from_secs(10);
/// Pauses between tries: from a tenth of a second, doubled each time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A watch of one kind.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) access: Access,
    pub(super) model: Model,
    pub(super) feed: Feed,
    pub(super) contact: Contact,
    /// Number of the list that is wanted: a higher one starts the list again.
    pub(super) wanted: watch::Receiver<u64>,
    /// Number of the last list that was read whole.
    pub(super) listed: watch::Sender<u64>,
}

/// What became of a list.
enum Listed {
    /// It was read to its end; its version.
    Whole(String),
    /// A newer one is wanted.
    Overtaken,
    /// The API server does not know the kind.
    UnknownKind,
}

/// Why a watch ended.
enum End {
    /// As watches end: go on from the last version.
    Closed,
    /// The version is too old: list again.
    TooOld,
    /// Something broke.
    Broken(String),
    /// Somebody wants a new list.
    Relist,
}

impl Watch {
    /// Runs until the model is gone.
    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        let mut pause = PAUSE;
        // Who leads is asked first: a new leader's lists have to be later than that.
        self.wanted.wait_for(|&wanted| wanted > 0).await.map_err(|_| Stopped)?;
        loop {
            let number = *self.wanted.borrow_and_update();
            let version = match self.list().await? {
                Ok(Listed::Whole(version)) => version,
                Ok(Listed::Overtaken) => continue,
                Ok(Listed::UnknownKind) => {
                    self.listed.send_replace(number);
                    self.wait_for_kind().await?;
                    continue;
                }
                Err(error) => {
                    warn!(kind = self.feed.name(), error, "A list failed; trying again.");
                    self.contact.lost();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
            };
            self.listed.send_replace(number);
            pause = PAUSE;
            self.follow(version).await?;
        }
    }

    /// The API server does not know the kind: its CRD is not installed, and may be later.
    async fn wait_for_kind(&mut self) -> Result<(), Stopped> {
        self.contact.made();
        self.contact.opened();
        let slept = tokio::time::timeout(ABSENT, self.wanted.changed()).await;
        if matches!(slept, Ok(Err(_))) { Err(Stopped) } else { Ok(()) }
    }

    /// Reads a whole list, unless a newer one is wanted meanwhile: what was read of it is true all the same.
    /// The inner error is the API server's.
    async fn list(&mut self) -> Result<Result<Listed, String>, Stopped> {
        let mut live = BTreeSet::new();
        let mut next = String::new();
        loop {
            let path = format!("{}?limit={PAGE}&continue={}", self.feed.path(), encoded(&next));
            let body = match self.access.get(&path).await {
                Reply::Done(body) => body,
                Reply::Refused { code: StatusCode::NOT_FOUND, .. } if self.feed.is_optional() => {
                    return Ok(Ok(Listed::UnknownKind));
                }
                Reply::Refused { code, message } => return Ok(Err(format!("{code}: {message}"))),
                Reply::Unknown(error) => return Ok(Err(error)),
            };
            let page: Page<'_> = match serde_json::from_slice(&body) {
                Ok(page) => page,
                Err(error) => return Ok(Err(format!("a page of the list is no list: {error}"))),
            };
            for item in page.items {
                let (key, event) = self.feed.applied(item.get());
                // One that has ended does not keep an earlier bearer of its name alive.
                live.extend(key.filter(|_| !matches!(event, Some(Event::PodGone(..)))));
                if let Some(event) = event {
                    self.model.tell(event).await?;
                }
            }
            if !page.metadata.next.is_empty() {
                if self.wanted.has_changed().map_err(|_| Stopped)? {
                    return Ok(Ok(Listed::Overtaken));
                }
                page.metadata.next.clone_into(&mut next);
                continue;
            }
            let version = page.metadata.resource_version.to_owned();
            let revision = version.parse().unwrap_or(0);
            let kind = self.feed.reset_kind();
            self.feed.keep_problems_of(&live);
            info!(kind = self.feed.name(), count = live.len(), version, "Listed.");
            // Waits for everything that was sent before: the model is whole then.
            self.model.apply(Event::Reset { kind, live, revision }).await?;
            self.contact.made();
            return Ok(Ok(Listed::Whole(version)));
        }
    }

    /// Watches from `version` on, over and over, until a new list is needed.
    async fn follow(&mut self, mut version: String) -> Result<(), Stopped> {
        let mut pause = PAUSE;
        loop {
            let before = version.clone();
            match self.watch(&mut version).await? {
                End::Closed => {}
                End::Relist => return Ok(()),
                End::TooOld => {
                    info!(kind = self.feed.name(), version, "The version is gone; listing again.");
                    return Ok(());
                }
                End::Broken(error) => {
                    warn!(kind = self.feed.name(), error, "A watch broke; going on from the last version.");
                    self.contact.lost();
                    tokio::time::sleep(pause).await;
                    pause = if version == before { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
                    continue;
                }
            }
            pause = PAUSE;
        }
    }

    async fn watch(&mut self, version: &mut String) -> Result<End, Stopped> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={}",
            self.feed.path(),
            encoded(version)
        );
        let response = match self.access.open(&path).await {
            Ok(response) => response,
            Err(error) => return Ok(End::Broken(error)),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(End::TooOld),
            code => return Ok(End::Broken(format!("status {code}"))),
        }
        self.contact.opened();
        let mut body = response.into_body();
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(SILENCE, body.frame()) => frame,
                changed = self.wanted.changed() => {
                    return if changed.is_ok() { Ok(End::Relist) } else { Err(Stopped) };
                }
            };
            let data = match frame {
                Err(_) => return Ok(End::Broken(format!("nothing heard for {SILENCE:?}"))),
                Ok(None) => return Ok(End::Closed),
                Ok(Some(Err(error))) => return Ok(End::Broken(error.to_string())),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            self.contact.made();
            buffer.extend_from_slice(&data);
            let mut begin = 0;
            while let Some(length) = buffer[begin..].iter().position(|&byte| byte == b'\n') {
                let line = &buffer[begin..begin + length];
                begin += length + 1;
                if let Some(end) = take(&mut self.feed, &self.model, line, version).await? {
                    return Ok(end);
                }
            }
            buffer.drain(..begin);
        }
    }
}

/// One event of a watch.
async fn take(
    feed: &mut Feed,
    model: &Model,
    line: &[u8],
    version: &mut String,
) -> Result<Option<End>, Stopped> {
    if line.is_empty() {
        return Ok(None);
    }
    let Ok(change) = serde_json::from_slice::<Change<'_>>(line) else {
        return Ok(Some(End::Broken("an event of the watch is none".to_owned())));
    };
    let text = change.object.get();
    if change.kind == "ERROR" {
        let status: Status = serde_json::from_str(text).unwrap_or_default();
        return Ok(Some(if status.code == 410 { End::TooOld } else { End::Broken(status.message) }));
    }
    let event = match change.kind {
        "ADDED" | "MODIFIED" => feed.applied(text).1,
        "DELETED" => feed.deleted(text),
        _ => None, // BOOKMARK: only its version counts
    };
    if let Some(event) = event {
        model.tell(event).await?;
    }
    // Behind the event: one that is lost on the way is asked for again.
    if let Ok(Versioned { metadata }) = serde_json::from_str(text) {
        metadata.resource_version.clone_into(version);
    }
    Ok(None)
}

/// A version or a continue token as a part of a query.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// One page of a list; its objects stay text.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub(super) metadata: ListMeta<'a>,
    #[serde(borrow, default)]
    pub(super) items: Vec<&'a RawValue>,
}

/// What a page says of its list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: &'a str,
    #[serde(borrow, default, rename = "continue")]
    pub(super) next: &'a str,
}

/// One event of a watch; its object stays text.
#[derive(Debug, Deserialize)]
pub(crate) struct Change<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    metadata: Version<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    #[serde(borrow)]
    resource_version: &'a str,
}
