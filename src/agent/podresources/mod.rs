//! The kubelet's pod-resources interface (v1): which container holds which device, and which devices the
//! kubelet knows.
//!
//! What it shows, by Kubernetes 1.36.2 (`pkg/kubelet/apis/podresources/server_v1.go`):
//! * `List` has pods that are not finished, and drops what finished pods held before it answers. Before 1.34 it
//!   has finished pods too.
//! * Neither `List` nor `Get` shows what a plain init container holds, only restartable ones and containers.
//! * `Get` fails for a pod that is not there with the code `Unknown`, as it does where it is switched off.
//! * `GetAllocatableResources` has the healthy devices of all plugins, given out or not.
//!
//! More than 100 calls a second, or 10 at once, are refused.

mod held;

pub use held::{Held, held};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tangram_kubelet_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use tangram_kubelet_api::podresources::{
    AllocatableResourcesRequest, ContainerDevices, GetPodResourcesRequest, ListPodResourcesRequest,
    PodResources as PodForm,
};
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::debug;

use crate::model::resource_kind;

/// Where the kubelet has the socket unless its root directory is another one.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// Time for one call, connecting included. The kubelet answers from memory; it may be starting.
const CALL: Duration = Duration::from_secs(5);
/// The largest answer, in bytes: Kubernetes' own clients take so much.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Devices of one resource that one container holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod; the interface does not tell its UID.
    pub pod: Arc<str>,
    /// Name of the container.
    pub container: Arc<str>,
    /// Name of the resource.
    pub resource: Arc<str>,
    /// Names that the device plugin gave the devices, sorted; see [`held()`].
    pub ids: Vec<String>,
}

/// Why the kubelet did not tell. It may be down, or starting: worth another try.
#[derive(Debug, Error)]
pub enum PodResourcesError {
    /// The path cannot be made an address: the configuration has to change.
    #[error("{}: not a path that can be connected to", socket.display())]
    Path {
        /// The path as configured.
        socket: PathBuf,
    },
    /// The call failed.
    #[error("{}: {method}: {text}", socket.display())]
    Call {
        /// The socket.
        socket: PathBuf,
        /// The method that was called.
        method: &'static str,
        /// What came instead of an answer.
        text: String,
    },
}

/// A client of one kubelet. It connects when it is first used, and anew when the kubelet has restarted.
#[derive(Debug, Clone)]
pub struct PodResources {
    socket: PathBuf,
    client: PodResourcesListerClient<Channel>,
    extra: Arc<BTreeSet<String>>,
}

impl PodResources {
    /// A client of the kubelet at `socket`, to be made inside a tokio runtime.
    ///
    /// It tells of GPUs only, by their resources' names; `extra` are names from the configuration that count
    /// as such.
    pub fn new(socket: &Path, extra: BTreeSet<String>) -> Result<Self, PodResourcesError> {
        let error = || PodResourcesError::Path { socket: socket.to_owned() };
        let address = socket.to_str().filter(|_| socket.is_absolute()).ok_or_else(error)?;
        let endpoint = Endpoint::from_shared(format!("unix:{address}")).map_err(|_| error())?;
        let channel = endpoint.connect_timeout(CALL).connect_lazy();
        let client = PodResourcesListerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { socket: socket.to_owned(), client, extra: Arc::new(extra) })
    }

    /// Which containers of the node hold which devices, sorted.
    pub async fn holders(&self) -> Result<Vec<Holder>, PodResourcesError> {
        let mut client = self.client.clone();
        let answer = in_time(client.list(ListPodResourcesRequest {})).await;
        let answer = answer.map_err(|status| self.error("List", &status))?;
        Ok(self.read(&answer.pod_resources))
    }

    /// What the containers of one pod hold, sorted; nothing when the kubelet has no such pod.
    ///
    /// Where the kubelet has no `Get`, or refuses it, `List` decides. `Get` may still show what a pod held that
    /// has finished; `List` does not.
    pub async fn holders_of(&self, namespace: &str, pod: &str) -> Result<Vec<Holder>, PodResourcesError> {
        let mut client = self.client.clone();
        let request =
            GetPodResourcesRequest { pod_name: pod.to_owned(), pod_namespace: namespace.to_owned() };
        match in_time(client.get(request)).await {
            Ok(answer) => Ok(self.read(answer.pod_resources.as_slice())),
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unknown) => {
                debug!(
                    namespace,
                    pod,
                    text = status.message(),
                    "The kubelet does not Get the pod; listing all."
                );
                let all = self.holders().await?;
                let is_asked = |holder: &Holder| &*holder.namespace == namespace && &*holder.pod == pod;
                Ok(all.into_iter().filter(is_asked).collect())
            }
            Err(status) => Err(self.error("Get", &status)),
        }
    }

    /// The healthy devices that the kubelet knows, each with its resource: a pod that arrives now can get them.
    pub async fn allocatable(&self) -> Result<BTreeSet<(Arc<str>, String)>, PodResourcesError> {
        let mut client = self.client.clone();
        let answer = in_time(client.get_allocatable_resources(AllocatableResourcesRequest {})).await;
        let answer = answer.map_err(|status| self.error("GetAllocatableResources", &status))?;
        let mut all = BTreeSet::new();
        for devices in answer.devices.iter().filter(|devices| self.is_gpu(devices)) {
            let resource: Arc<str> = devices.resource_name.as_str().into();
            all.extend(devices.device_ids.iter().map(|id| (resource.clone(), id.clone())));
        }
        Ok(all)
    }

    fn is_gpu(&self, devices: &ContainerDevices) -> bool {
        resource_kind(&devices.resource_name, &self.extra).is_some()
    }

    /// The kubelet says one device at a time, each with its NUMA nodes; here they come together.
    fn read(&self, pods: &[PodForm]) -> Vec<Holder> {
        let mut all: BTreeMap<[&str; 4], BTreeSet<&str>> = BTreeMap::new();
        for pod in pods {
            for container in &pod.containers {
                for devices in container.devices.iter().filter(|devices| self.is_gpu(devices)) {
                    let key = [&*pod.namespace, &*pod.name, &*container.name, &*devices.resource_name];
                    all.entry(key).or_default().extend(devices.device_ids.iter().map(String::as_str));
                }
            }
        }
        let holder = |([namespace, pod, container, resource], ids): ([&str; 4], BTreeSet<&str>)| Holder {
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            resource: resource.into(),
            ids: ids.into_iter().map(str::to_owned).collect(),
        };
        all.into_iter().filter(|(_, ids)| !ids.is_empty()).map(holder).collect()
    }

    fn error(&self, method: &'static str, status: &Status) -> PodResourcesError {
        let mut text = format!("{} ({:?})", status.message(), status.code());
        let mut cause = std::error::Error::source(status);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        PodResourcesError::Call { socket: self.socket.clone(), method, text }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {CALL:?}"))),
    }
}
