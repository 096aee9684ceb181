//! One resource: its server, and its registration.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tangram_kubelet_api::deviceplugin::device_plugin_server::DevicePluginServer;
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;
use tracing::error;

use super::super::device::DeviceId;
use super::answer::Entries;
use super::register::Registrar;
use super::service::Service;
use super::strategy::Strategies;

/// Connections that wait to be served.
const WAITING: usize = 8;
/// Time that calls under way get when the plugin stops.
const GRACE: Duration = Duration::from_secs(2);

/// What serving a resource takes.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) name: Arc<str>,
    pub(super) directory: PathBuf,
    pub(super) look: Duration,
    pub(super) strategies: Strategies,
    pub(super) entries: watch::Receiver<Entries>,
    pub(super) allocated: mpsc::UnboundedSender<Vec<DeviceId>>,
}

impl Resource {
    /// Serves until nobody publishes entries any more. The server outlives each of its sockets, so a kubelet
    /// that removes one cuts off no call.
    pub(super) async fn serve(self) {
        let Self { name, directory, look, strategies, entries, allocated } = self;
        let (accepted, connections) = mpsc::channel(WAITING);
        let (watch, watched) = watch::channel(0);
        let endpoint = endpoint(&name);
        let registrar = Registrar { resource: name.clone(), directory, endpoint, look, accepted, watched };
        let end = entries.clone();
        let service = Service { resource: name, strategies, entries, watched: watch, allocated };
        let connections = stream::unfold(connections, async |mut connections| {
            connections.recv().await.map(|connection| (Ok::<_, io::Error>(connection), connections))
        });
        let server = Server::builder()
            .add_service(DevicePluginServer::new(service))
            .serve_with_incoming_shutdown(connections, ended(end.clone()));
        let answering = async {
            tokio::select! {
                result = server => result,
                () = ended_for(end.clone(), GRACE) => Ok(()),
            }
        };
        let registering = async {
            tokio::select! {
                never = registrar.keep() => match never {},
                () = ended(end.clone()) => {}
            }
        };
        if let (Err(error), ()) = tokio::join!(answering, registering) {
            error!(%error, "The server of a resource has failed.");
        }
    }
}

/// Waits until nobody publishes any more.
async fn ended(mut entries: watch::Receiver<Entries>) {
    while entries.changed().await.is_ok() {}
}

/// Waits until that has been so for a while.
async fn ended_for(entries: watch::Receiver<Entries>, grace: Duration) {
    ended(entries).await;
    tokio::time::sleep(grace).await;
}

/// Name of a resource's socket: `tangram-mig-1g.10gb.sock` for `tangram.gpu/mig-1g.10gb`.
fn endpoint(resource: &str) -> String {
    format!("tangram-{}.sock", resource.rsplit('/').next().unwrap_or(resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::device::resource_name;
    use crate::mig::{MODELS, ProfileName};

    #[test]
    fn every_resource_has_a_socket_of_its_own_whose_path_fits() {
        const PATH_MAX: usize = 107; // sun_path less its end
        assert_eq!(endpoint("tangram.gpu/mig-1g.10gb"), "tangram-mig-1g.10gb.sock");
        for row in MODELS.iter().flat_map(|model| model.profiles) {
            let name = resource_name(&ProfileName::parse(row.name).expect(row.name));
            let path = format!("/var/lib/kubelet/device-plugins/{}", endpoint(&name));
            assert!(path.len() <= PATH_MAX, "{path}");
        }
    }
}
