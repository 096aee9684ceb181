//! Keeping one resource known to the kubelet.
//!
//! ```text
//! own socket in place --> register at kubelet.sock --> the kubelet watches the list
//!        ^                     | refused, not there       | the list is let go, kubelet.sock is another one,
//!        '------- pause -------'                          | the own socket is gone
//!        ^                                                |
//!        '------------------------------------------------'
//! ```
//!
//! That the kubelet lets the list go comes as an event, as soon as its process ends. What the files say is
//! looked at once a second: a look costs two `stat` calls per resource, and inotify would add a dependency, a
//! queue that can overflow and a watch that dies with the directory, to learn a second sooner what the event
//! mostly has told already.
//!
//! Whether the kubelet watches is also what "registered" means here: in 1.36 the end of an earlier connection
//! can make it drop the present one (`runClient` in `devicemanager/plugin/v1beta1` disconnects whichever client
//! has the resource's name by then), and nothing but a new registration brings the devices back.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tangram_kubelet_api::deviceplugin::registration_client::RegistrationClient;
use tangram_kubelet_api::deviceplugin::{KUBELET_SOCKET, RegisterRequest, VERSION};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::service::OPTIONS;
use super::socket::{FileId, Presence, Socket, is_served};

/// First pause after a failure, or after a registration that did not last; doubled by each further one.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause. A new `kubelet.sock` ends any pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Time to connect: a socket answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);
/// Time to register. The kubelet connects back meanwhile and gives that 10 s (`dial` in its `client.go`).
const REGISTER: Duration = Duration::from_secs(15);
/// Looks that the kubelet may take from the registration until it watches the list, and after which a
/// registration counts as one that has worked.
const LOOKS_MIN: u32 = 10;

/// Why a resource is not registered. Always worth another try.
#[derive(Debug, Error)]
enum RegisterError {
    /// The own socket cannot be made.
    #[error("the plugin's socket {} cannot be made: {error}", path.display())]
    Socket { path: PathBuf, error: std::io::Error },
    /// Another process serves the resource.
    #[error("another process serves {}: is there a second agent?", path.display())]
    Foreign { path: PathBuf },
    /// The kubelet does not run, or has another directory.
    #[error("there is no kubelet at {}", path.display())]
    Absent { path: PathBuf },
    /// The socket is there and nobody answers.
    #[error("the kubelet does not answer at {}: {text}", path.display())]
    Silent { path: PathBuf, text: String },
    /// The kubelet says no.
    #[error("the kubelet refuses: {0}")]
    Refused(String),
}

/// What ended a registration.
#[derive(Debug, Error)]
enum Lost {
    #[error("its registration socket is gone or another one")]
    Kubelet,
    #[error("it has let the list of devices go")]
    List,
    #[error("it has registered the resource and never asked for its devices")]
    NeverAsked,
    #[error("another process has taken the plugin's socket")]
    Foreign,
}

/// The next pause.
#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(PAUSE_MAX);
        std::mem::replace(&mut self.0, next)
    }
}

/// Registers one resource, and again whenever that is needed.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) resource: Arc<str>,
    /// The kubelet's directory of sockets.
    pub(super) directory: PathBuf,
    /// Name of the resource's socket there.
    pub(super) endpoint: String,
    /// How often the files are looked at.
    pub(super) look: Duration,
    /// Where connections to the socket go.
    pub(super) accepted: mpsc::Sender<UnixStream>,
    /// How many lists are being watched.
    pub(super) watched: watch::Receiver<usize>,
}

impl Registrar {
    /// Does so until it is dropped, which removes the socket.
    pub(super) async fn keep(mut self) -> Infallible {
        let resource = self.resource.clone();
        let mut socket = None;
        let (mut failing, mut flapping) = (Backoff::default(), Backoff::default());
        let mut said = String::new();
        loop {
            let kubelet = FileId::of(&self.kubelet());
            match self.register(&mut socket).await {
                Ok(kubelet) => {
                    info!(resource = &*resource, "Registered with the kubelet.");
                    said.clear();
                    failing = Backoff::default();
                    let (lost, looks) = self.lost(&mut socket, kubelet).await;
                    info!(resource = &*resource, "Has to register with the kubelet again: {lost}.");
                    if looks >= LOOKS_MIN {
                        flapping = Backoff::default();
                    }
                    self.wait(Some(kubelet), flapping.next()).await;
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != said {
                        warn!(
                            resource = &*resource,
                            "Not registered with the kubelet, which is tried again: {text}."
                        );
                        said = text;
                    }
                    self.wait(kubelet, failing.next()).await;
                }
            }
        }
    }

    fn kubelet(&self) -> PathBuf {
        self.directory.join(KUBELET_SOCKET)
    }

    /// Says which `kubelet.sock` it was.
    async fn register(&self, socket: &mut Option<Socket>) -> Result<FileId, RegisterError> {
        let path = self.kubelet();
        let silent = |text: String| RegisterError::Silent { path: path.clone(), text };
        if FileId::of(&path).is_none() {
            return Err(RegisterError::Absent { path });
        }
        let address = path.to_str().ok_or_else(|| silent("the path is not UTF-8".to_owned()))?;
        let endpoint =
            Endpoint::from_shared(format!("unix:{address}")).map_err(|error| silent(chain(&error)))?;
        let channel = endpoint.connect_timeout(CONNECT).timeout(REGISTER).connect().await;
        let channel = channel.map_err(|error| silent(chain(&error)))?;
        // Who answers now has removed what he was going to remove: he listens only after that.
        let kubelet = FileId::of(&path).ok_or(RegisterError::Absent { path })?;
        self.settle(socket).await?;
        let request = RegisterRequest {
            version: VERSION.to_owned(),
            endpoint: self.endpoint.clone(),
            resource_name: self.resource.to_string(),
            options: Some(OPTIONS),
        };
        let answer = RegistrationClient::new(channel).register(request).await;
        answer.map_err(|status| {
            RegisterError::Refused(format!("{} ({:?})", status.message(), status.code()))
        })?;
        Ok(kubelet)
    }

    /// Has the own socket in its place.
    async fn settle(&self, socket: &mut Option<Socket>) -> Result<(), RegisterError> {
        let path = self.directory.join(&self.endpoint);
        match socket.as_ref().map(Socket::presence) {
            Some(Presence::Own) => return Ok(()),
            Some(Presence::Foreign) if is_served(&path).await => {
                return Err(RegisterError::Foreign { path });
            }
            None | Some(Presence::Gone | Presence::Foreign) => {}
        }
        let bound = Socket::bind(&path, self.accepted.clone());
        *socket = Some(bound.map_err(|error| RegisterError::Socket { path, error })?);
        Ok(())
    }

    /// Waits until a registration has to be made again; says after how many looks.
    async fn lost(&mut self, socket: &mut Option<Socket>, kubelet: FileId) -> (Lost, u32) {
        let mut looks = 0_u32;
        let mut has_watched = false;
        loop {
            // An event counts as no look: it says nothing of the time that has passed.
            if tokio::time::timeout(self.look, self.watched.changed()).await.is_err() {
                looks = looks.saturating_add(1);
            }
            if FileId::of(&self.kubelet()) != Some(kubelet) {
                return (Lost::Kubelet, looks);
            }
            match socket.as_ref().map(Socket::presence) {
                Some(Presence::Own) => {}
                Some(Presence::Foreign) => return (Lost::Foreign, looks),
                // Its connections last; the file is for the next one.
                None | Some(Presence::Gone) => {
                    if let Err(error) = self.settle(socket).await {
                        warn!(resource = &*self.resource, "{error}.");
                    }
                }
            }
            match *self.watched.borrow_and_update() {
                0 if has_watched => return (Lost::List, looks),
                0 if looks >= LOOKS_MIN => return (Lost::NeverAsked, looks),
                0 => {}
                _ => has_watched = true,
            }
        }
    }

    /// Waits for `pause`, or until `kubelet.sock` is not the one that it was.
    async fn wait(&self, kubelet: Option<FileId>, pause: Duration) {
        let changed = async {
            while FileId::of(&self.kubelet()) == kubelet {
                tokio::time::sleep(self.look).await;
            }
        };
        tokio::time::timeout(pause, changed).await.ok(); // the one is as good as the other
    }
}

/// An error with its causes, of which tonic shows the first alone.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
