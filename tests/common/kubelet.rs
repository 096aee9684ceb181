//! The kubelet's side of the device plugin interface, as the real one does it (1.36.2, `devicemanager`): it
//! removes sockets when it starts, connects back while a plugin registers, and then watches the list.
//!
//! Each kubelet lives in a runtime of its own, so that killing it cuts every connection at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tangram_kubelet_api::deviceplugin::device_plugin_client::DevicePluginClient;
use tangram_kubelet_api::deviceplugin::registration_server::{Registration, RegistrationServer};
use tangram_kubelet_api::deviceplugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, DevicePluginOptions, Empty, PreferredAllocationRequest,
    RegisterRequest,
};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A list as it came: devices with their health, and the CDI spec on disk at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) devices: Vec<(String, String)>,
    pub(crate) numa_nodes: Vec<Option<i64>>,
    pub(crate) spec: Option<String>,
}

/// What a kubelet has seen of one resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) registrations: Vec<RegisterRequest>,
    pub(crate) options: Option<DevicePluginOptions>,
    pub(crate) lists: Vec<List>,
    /// Lists that have ended.
    pub(crate) ended: usize,
    client: Option<DevicePluginClient<Channel>>,
}

pub(crate) type World = BTreeMap<String, Seen>;

#[derive(Debug)]
pub(crate) struct Kubelet {
    runtime: Option<Runtime>,
    directory: PathBuf,
    world: Arc<watch::Sender<World>>,
    refusals: Arc<watch::Sender<u32>>,
}

/// What a kubelet does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Registrations that it refuses at first.
    pub(crate) refusals: u32,
    /// Whether it never asks for a list.
    pub(crate) is_forgetful: bool,
}

#[derive(Clone)]
struct Registrar {
    directory: PathBuf,
    spec: PathBuf,
    world: Arc<watch::Sender<World>>,
    refusals: Arc<watch::Sender<u32>>,
    is_forgetful: bool,
}

impl Kubelet {
    /// Starts in `directory`, which others may use already. `spec` is the CDI spec it notes with each list.
    pub(crate) fn start(directory: &Path, spec: &Path) -> Self {
        Self::start_with(directory, spec, Faults::default())
    }

    pub(crate) fn start_with(directory: &Path, spec: &Path, faults: Faults) -> Self {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_socket() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let runtime = Runtime::new().unwrap();
        let world = Arc::new(watch::channel(World::new()).0);
        let refusals = Arc::new(watch::channel(faults.refusals).0);
        let registrar = Registrar {
            directory: directory.to_owned(),
            spec: spec.to_owned(),
            world: world.clone(),
            refusals: refusals.clone(),
            is_forgetful: faults.is_forgetful,
        };
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(directory.join("kubelet.sock")).unwrap()
        };
        let connections = stream::unfold(listener, async |listener| {
            Some((listener.accept().await.map(|(connection, _)| connection), listener))
        });
        let server = Server::builder().add_service(RegistrationServer::new(registrar));
        runtime.spawn(server.serve_with_incoming(connections));
        Self { runtime: Some(runtime), directory: directory.to_owned(), world, refusals }
    }

    /// Ends as a process does that is killed: connections are cut, `kubelet.sock` stays behind.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Ends as a process does that is told to: nothing stays behind.
    pub(crate) fn stop(self) {
        fs::remove_file(self.directory.join("kubelet.sock")).unwrap();
        self.kill();
    }

    /// How many registrations it will still refuse.
    pub(crate) fn refusals(&self) -> u32 {
        *self.refusals.borrow()
    }

    pub(crate) fn world(&self) -> World {
        self.world.borrow().clone()
    }

    pub(crate) fn seen(&self, resource: &str) -> Seen {
        self.world.borrow().get(resource).cloned().unwrap_or_default()
    }

    /// The devices of the latest list.
    pub(crate) fn devices(&self, resource: &str) -> Option<Vec<(String, String)>> {
        self.seen(resource).lists.pop().map(|list| list.devices)
    }

    /// Waits until what it has seen of a resource is as wanted.
    pub(crate) async fn wait(&self, resource: &str, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut world = self.world.subscribe();
        let changed = world.wait_for(|world| world.get(resource).is_some_and(&is_so));
        let in_time = tokio::time::timeout(PATIENCE, changed).await.ok().map(drop);
        assert!(in_time.is_some(), "{resource}: not {what}: {:#?}", self.world());
        self.seen(resource)
    }

    /// Waits for so many lists.
    pub(crate) async fn lists(&self, resource: &str, count: usize) -> Vec<List> {
        self.wait(resource, &format!("{count} lists"), |seen| seen.lists.len() >= count).await.lists
    }

    /// Lets a plugin's connection go, as `runClient` does by mistake.
    pub(crate) fn disconnect(&self, resource: &str) {
        self.world.send_modify(|world| world.get_mut(resource).unwrap().client = None);
    }

    pub(crate) async fn allocate(
        &self,
        resource: &str,
        ids: &[&str],
    ) -> Result<ContainerAllocateResponse, Status> {
        let devices_ids = ids.iter().map(|&id| id.to_owned()).collect();
        let request = AllocateRequest { container_requests: vec![ContainerAllocateRequest { devices_ids }] };
        let mut client = self.seen(resource).client.expect("it is connected");
        let mut answer = client.allocate(request).await?.into_inner();
        assert_eq!(answer.container_responses.len(), 1);
        Ok(answer.container_responses.remove(0))
    }

    pub(crate) async fn preferred(
        &self,
        resource: &str,
        available: &[&str],
        must: &[&str],
        size: i32,
    ) -> Vec<String> {
        let owned = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: owned(available),
            must_include_device_i_ds: owned(must),
            allocation_size: size,
        };
        let request = PreferredAllocationRequest { container_requests: vec![request] };
        let mut client = self.seen(resource).client.expect("it is connected");
        let mut answer = client.get_preferred_allocation(request).await.unwrap().into_inner();
        assert_eq!(answer.container_responses.len(), 1);
        answer.container_responses.remove(0).device_i_ds
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Registrar {
    fn note(&self, resource: &str, change: impl FnOnce(&mut Seen)) {
        self.world.send_modify(|world| change(world.entry(resource.to_owned()).or_default()));
    }

    /// Follows a list until either side ends it, or this one has let the client go.
    async fn watch(self, resource: String, mut client: DevicePluginClient<Channel>) {
        let mut list = client.list_and_watch(Empty {}).await.unwrap().into_inner();
        drop(client);
        let mut world = self.world.subscribe();
        loop {
            let is_let_go = world.wait_for(|world| world[&resource].client.is_none());
            let message = tokio::select! {
                message = list.message() => message,
                _ = is_let_go => break,
            };
            let Ok(Some(message)) = message else { break };
            let spec = fs::read_to_string(&self.spec).ok();
            let numa_nodes = message.devices.iter().map(|device| Some(device.topology.as_ref()?.nodes[0].id));
            let numa_nodes = numa_nodes.collect();
            let devices = message.devices.into_iter().map(|device| (device.id, device.health)).collect();
            self.note(&resource, |seen| seen.lists.push(List { devices, numa_nodes, spec }));
        }
        self.note(&resource, |seen| seen.ended += 1);
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let mut is_refused = false;
        self.refusals.send_if_modified(|left| {
            is_refused = *left > 0;
            *left = left.saturating_sub(1);
            is_refused
        });
        if is_refused {
            return Err(Status::unknown("requested API version is not supported"));
        }
        let path = self.directory.join(&request.endpoint);
        let endpoint = Endpoint::from_shared(format!("unix:{}", path.display())).unwrap();
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| Status::unknown(format!("failed to dial: {error:?}")))?;
        let mut client = DevicePluginClient::new(channel);
        let options = client.get_device_plugin_options(Empty {}).await?.into_inner();
        let resource = request.resource_name.clone();
        self.note(&resource, |seen| {
            seen.registrations.push(request);
            seen.options = Some(options);
            seen.client = Some(client.clone());
        });
        if !self.is_forgetful {
            tokio::spawn(self.clone().watch(resource, client));
        }
        Ok(Response::new(Empty {}))
    }
}
