//! A device plugin as small as one can be, and the kubelet's record of devices:
//! what shows that a real node works before there is an agent on it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _, stream};
use tangram_kubelet_api::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use tangram_kubelet_api::deviceplugin::registration_client::RegistrationClient;
use tangram_kubelet_api::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, Device, DevicePluginOptions, Empty,
    ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse, PreferredAllocationRequest,
    PreferredAllocationResponse, RegisterRequest,
};
use tangram_kubelet_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use super::RealNode;

/// What the plugin answers when the kubelet allocates these devices.
type Answer = dyn Fn(&[String]) -> ContainerAllocateResponse + Send + Sync;

/// A device plugin of one resource. Dropping it ends it.
pub(crate) struct SmallPlugin {
    dir: PathBuf,
    resource: String,
    service: Service,
    serving: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Service {
    devices: watch::Sender<Vec<String>>,
    allocated: Arc<Mutex<Vec<Vec<String>>>>,
    answer: Arc<Answer>,
}

impl RealNode<'_> {
    /// A client of the kubelet's record of who holds which device.
    pub(crate) async fn pod_resources(&self) -> PodResourcesListerClient<Channel> {
        let channel = connect(&self.pod_resources_socket()).await.expect("the kubelet listens");
        PodResourcesListerClient::new(channel)
    }

    /// Starts a plugin for a resource, without devices yet, and registers it.
    pub(crate) async fn plugin<A>(&self, resource: &str, answer: A) -> SmallPlugin
    where
        A: Fn(&[String]) -> ContainerAllocateResponse + Send + Sync + 'static,
    {
        let service = Service {
            devices: watch::Sender::default(),
            allocated: Arc::default(),
            answer: Arc::new(answer),
        };
        let (dir, resource) = (self.device_plugin_dir(), resource.to_owned());
        let mut plugin = SmallPlugin { dir, resource, service, serving: None };
        plugin.register().await;
        plugin
    }
}

impl SmallPlugin {
    /// Listens and registers. A kubelet that starts removes all sockets, so after
    /// its restart this has to be done again.
    pub(crate) async fn register(&mut self) {
        self.try_register().await.expect("the kubelet takes the plugin");
    }

    async fn try_register(&mut self) -> Result<()> {
        self.end();
        let endpoint = format!("{}.sock", self.resource.replace('/', "_"));
        let socket = self.dir.join(&endpoint);
        std::fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(&socket).context("listening for the kubelet")?;
        let connections = stream::unfold(listener, async |listener| {
            Some((listener.accept().await.map(|(connection, _)| connection), listener))
        });
        let server = Server::builder().add_service(DevicePluginServer::new(self.service.clone()));
        self.serving = Some(tokio::spawn(async move {
            server.serve_with_incoming(connections).await.expect("the plugin serves");
        }));

        let request = RegisterRequest {
            version: "v1beta1".to_owned(),
            endpoint,
            resource_name: self.resource.clone(),
            options: Some(DevicePluginOptions::default()),
        };
        let channel = connect(&self.dir.join("kubelet.sock")).await?;
        RegistrationClient::new(channel).register(request).await.context("registering")?;
        Ok(())
    }

    /// From now on there are these devices, all healthy, and no others.
    pub(crate) fn announce(&self, devices: &[&str]) {
        self.service.devices.send_replace(devices.iter().map(|&device| device.to_owned()).collect());
    }

    /// What the kubelet has allocated so far, container by container.
    pub(crate) fn allocated(&self) -> Vec<Vec<String>> {
        self.service.allocated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Drop for SmallPlugin {
    fn drop(&mut self) {
        self.end();
    }
}

async fn connect(socket: &std::path::Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    endpoint.connect().await.with_context(|| format!("connecting to {}", socket.display()))
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let mut devices = self.devices.subscribe();
        devices.mark_changed();
        let lists = stream::unfold(devices, async |mut devices| {
            devices.changed().await.ok()?;
            let healthy =
                |id: &String| Device { id: id.clone(), health: "Healthy".to_owned(), topology: None };
            let list = devices.borrow_and_update().iter().map(healthy).collect();
            Some((Ok(ListAndWatchResponse { devices: list }), devices))
        });
        Ok(Response::new(lists.boxed()))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("the options say that there is none"))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let asked = request.into_inner().container_requests.into_iter().map(|request| request.devices_ids);
        let asked: Vec<Vec<String>> = asked.collect();
        let container_responses = asked.iter().map(|devices| (self.answer)(devices)).collect();
        self.allocated.lock().unwrap_or_else(PoisonError::into_inner).extend(asked);
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Err(Status::unimplemented("the options say that there is none"))
    }
}
