//! The device plugin service of one resource.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use tangram_kubelet_api::deviceplugin::device_plugin_server::DevicePlugin;
use tangram_kubelet_api::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerPreferredAllocationResponse, Device, DevicePluginOptions,
    Empty, ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse,
    PreferredAllocationRequest, PreferredAllocationResponse,
};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::super::device::DeviceId;
use super::answer::{self, Entries};
use super::strategy::Strategies;

/// What is asked of a plugin when it registers and when the kubelet connects.
pub(super) const OPTIONS: DevicePluginOptions = DevicePluginOptions {
    // A container that starts again while the agent is down must not fail for that.
    pre_start_required: false,
    get_preferred_allocation_available: true,
};

/// Answers the kubelet from the entries as they are at that moment.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) resource: Arc<str>,
    pub(super) strategies: Strategies,
    pub(super) entries: watch::Receiver<Entries>,
    /// How many lists are being watched.
    pub(super) watched: watch::Sender<usize>,
    /// Told after each allocation; no devices, before one.
    pub(super) allocated: mpsc::UnboundedSender<Vec<DeviceId>>,
}

/// Counts a list that is being watched, for as long as it is.
#[derive(Debug)]
struct Watched(watch::Sender<usize>);

impl Watched {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// One list that is being watched.
struct Watch {
    service: Service,
    sent: Option<Vec<Device>>,
    _watched: Watched,
}

impl Watch {
    /// The list at once, then whenever it differs from what was sent; the end when the plugin stops.
    async fn next(mut self) -> Option<(Result<ListAndWatchResponse, Status>, Self)> {
        loop {
            let devices =
                answer::devices(&self.service.entries.borrow_and_update(), &self.service.strategies);
            if self.sent.as_ref() != Some(&devices) {
                info!(resource = &*self.service.resource, devices = devices.len(), "Announced devices.");
                self.sent = Some(devices.clone());
                return Some((Ok(ListAndWatchResponse { devices }), self));
            }
            self.service.entries.changed().await.ok()?;
        }
    }
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(OPTIONS))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let watch = Watch { service: self.clone(), sent: None, _watched: Watched::new(&self.watched) };
        Ok(Response::new(stream::unfold(watch, Watch::next).boxed()))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        self.allocated.send(Vec::new()).ok(); // an agent that listens no more is ending
        let containers = &request.get_ref().container_requests;
        let entries = self.entries.borrow().clone();
        let answer = |request| ContainerPreferredAllocationResponse {
            device_i_ds: answer::preferred(&entries, request),
        };
        Ok(Response::new(PreferredAllocationResponse {
            container_responses: containers.iter().map(answer).collect(),
        }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let containers = &request.get_ref().container_requests;
        let answers = {
            let entries = self.entries.borrow();
            let answer = |ids| answer::allocate(&self.resource, &entries, &self.strategies, ids);
            containers.iter().map(|container| answer(&container.devices_ids)).collect::<Result<Vec<_>, _>>()
        };
        let resource = &*self.resource;
        match answers {
            Ok(container_responses) => {
                for container in containers {
                    info!(resource, devices = container.devices_ids.join(","), "Handed out devices.");
                }
                let ids = containers.iter().flat_map(|container| &container.devices_ids);
                self.allocated.send(ids.filter_map(|id| id.parse().ok()).collect()).ok();
                Ok(Response::new(AllocateResponse { container_responses }))
            }
            Err(refusal) => {
                warn!(resource, %refusal, "The kubelet asked for a device that it does not get.");
                Err(Status::failed_precondition(refusal.to_string()))
            }
        }
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
