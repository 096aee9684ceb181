//! The client of the kubelet's pod-resources interface, against a kubelet that answers, refuses, keeps silent
//! and restarts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tangram::agent::podresources::{Holder, PodResources, PodResourcesError};
use tangram_kubelet_api::podresources::pod_resources_lister_server::{
    PodResourcesLister, PodResourcesListerServer,
};
use tangram_kubelet_api::podresources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerDevices, ContainerResources,
    GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesRequest, ListPodResourcesResponse,
    PodResources as Pod,
};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

const ONE: &str = "tangram.gpu/mig-1g.10gb";

/// What a kubelet says to `Get`.
#[derive(Debug, Clone, Copy)]
enum Get {
    Answers,
    Fails(Code),
}

#[derive(Debug, Clone)]
struct Kubelet {
    pods: Vec<Pod>,
    allocatable: Vec<ContainerDevices>,
    get: Get,
    is_silent: bool,
}

#[tonic::async_trait]
impl PodResourcesLister for Kubelet {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ListPodResourcesResponse { pod_resources: self.pods.clone() }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let devices = self.allocatable.clone();
        Ok(Response::new(AllocatableResourcesResponse { devices, cpu_ids: vec![0, 1], memory: vec![] }))
    }

    async fn get(
        &self,
        request: Request<GetPodResourcesRequest>,
    ) -> Result<Response<GetPodResourcesResponse>, Status> {
        let GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let is_asked = |pod: &&Pod| pod.name == pod_name && pod.namespace == pod_namespace;
        match (self.get, self.pods.iter().find(is_asked)) {
            (Get::Answers, Some(pod)) => {
                Ok(Response::new(GetPodResourcesResponse { pod_resources: Some(pod.clone()) }))
            }
            (Get::Answers, None) => {
                Err(Status::unknown(format!("pod {pod_name} in namespace {pod_namespace} not found")))
            }
            (Get::Fails(code), _) => Err(Status::new(code, "PodResources API Get method disabled")),
        }
    }
}

impl Kubelet {
    fn new() -> Self {
        let pods = vec![
            pod(
                "b",
                "train-0",
                &[("main", &[devices(ONE, &["GPU-a/1g.10gb/3"]), devices(ONE, &["GPU-a/1g.10gb/0"])])],
            ),
            pod(
                "a",
                "train-0",
                &[
                    ("side", &[devices("nvidia.com/gpu", &["GPU-b::1"])]),
                    (
                        "main",
                        &[devices("example.com/nic", &["eth0"]), devices("nvidia.com/gpu", &["GPU-b::0"])],
                    ),
                ],
            ),
            pod("a", "web-0", &[("main", &[])]),
        ];
        let allocatable = vec![
            devices(ONE, &["GPU-a/1g.10gb/3"]),
            devices("example.com/nic", &["eth0"]),
            devices(ONE, &["GPU-a/1g.10gb/0"]),
        ];
        Self { pods, allocatable, get: Get::Answers, is_silent: false }
    }

    /// Serves in a runtime of its own, which can be killed.
    fn start(self, socket: &Path) -> Runtime {
        fs::remove_file(socket).ok();
        let runtime = Runtime::new().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        let connections = stream::unfold(listener, async |listener| {
            Some((listener.accept().await.map(|(connection, _)| connection), listener))
        });
        let server = Server::builder().add_service(PodResourcesListerServer::new(self));
        runtime.spawn(server.serve_with_incoming(connections));
        runtime
    }
}

fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
    let device_ids = ids.iter().map(|&id| id.to_owned()).collect();
    ContainerDevices { resource_name: resource.to_owned(), device_ids, topology: None }
}

fn pod(namespace: &str, name: &str, containers: &[(&str, &[ContainerDevices])]) -> Pod {
    let container = |(name, devices): &(&str, &[ContainerDevices])| ContainerResources {
        name: (*name).to_owned(),
        devices: devices.to_vec(),
        ..ContainerResources::default()
    };
    let containers = containers.iter().map(container).collect();
    Pod { name: name.to_owned(), namespace: namespace.to_owned(), containers }
}

fn holder(namespace: &str, pod: &str, container: &str, resource: &str, ids: &[&str]) -> Holder {
    Holder {
        namespace: namespace.into(),
        pod: pod.into(),
        container: container.into(),
        resource: resource.into(),
        ids: ids.iter().map(|&id| id.to_owned()).collect(),
    }
}

fn client(socket: &Path) -> PodResources {
    PodResources::new(socket, BTreeSet::new()).unwrap()
}

#[tokio::test]
async fn holders_are_containers_with_gpus_and_their_devices_come_together() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let kubelet = Kubelet::new().start(&socket);
    let train = [
        holder("a", "train-0", "main", "nvidia.com/gpu", &["GPU-b::0"]),
        holder("a", "train-0", "side", "nvidia.com/gpu", &["GPU-b::1"]),
    ];
    let other = holder("b", "train-0", "main", ONE, &["GPU-a/1g.10gb/0", "GPU-a/1g.10gb/3"]);
    let all = [train.to_vec(), vec![other]].concat();
    assert_eq!(client(&socket).holders().await.unwrap(), all);
    assert_eq!(client(&socket).holders_of("a", "train-0").await.unwrap(), train);

    let extra = BTreeSet::from(["example.com/nic".to_owned()]);
    let client = PodResources::new(&socket, extra).unwrap();
    let nic = holder("a", "train-0", "main", "example.com/nic", &["eth0"]);
    assert_eq!(client.holders().await.unwrap()[0], nic, "a name from the configuration counts");
    kubelet.shutdown_background();
}

#[tokio::test]
async fn devices_that_the_kubelet_knows_come_with_their_resources() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let kubelet = Kubelet::new().start(&socket);
    let one: Arc<str> = ONE.into();
    let all = ["GPU-a/1g.10gb/0", "GPU-a/1g.10gb/3"].map(|id| (one.clone(), id.to_owned()));
    assert_eq!(client(&socket).allocatable().await.unwrap(), all.into());
    kubelet.shutdown_background();
}

#[tokio::test]
async fn a_kubelet_without_get_is_asked_for_all_pods() {
    let directory = tempfile::tempdir().unwrap();
    let expected = [holder("b", "train-0", "main", ONE, &["GPU-a/1g.10gb/0", "GPU-a/1g.10gb/3"])];
    for (number, code) in [Code::Unimplemented, Code::Unknown].into_iter().enumerate() {
        let socket = directory.path().join(format!("{number}.sock"));
        let kubelet = Kubelet { get: Get::Fails(code), ..Kubelet::new() }.start(&socket);
        assert_eq!(client(&socket).holders_of("b", "train-0").await.unwrap(), expected, "{code:?}");
        assert_eq!(client(&socket).holders_of("b", "nobody").await.unwrap(), [], "{code:?}");
        kubelet.shutdown_background();
    }
    let socket = directory.path().join("refuses.sock");
    let kubelet = Kubelet { get: Get::Fails(Code::ResourceExhausted), ..Kubelet::new() }.start(&socket);
    let error = client(&socket).holders_of("b", "train-0").await.unwrap_err();
    let text = "Get: PodResources API Get method disabled (ResourceExhausted)";
    assert_eq!(error.to_string(), format!("{}: {text}", socket.display()));
    kubelet.shutdown_background();
}

#[tokio::test]
async fn a_pod_that_is_not_there_holds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let kubelet = Kubelet::new().start(&socket);
    assert_eq!(client(&socket).holders_of("b", "nobody").await.unwrap(), []);
    kubelet.shutdown_background();
}

#[tokio::test]
async fn a_kubelet_that_restarts_is_found_again_by_the_same_client() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let client = client(&socket);
    let error = client.holders().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: List: ", socket.display())), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
    for _ in 0..3 {
        let kubelet = Kubelet::new().start(&socket);
        assert_eq!(client.holders().await.unwrap().len(), 3, "the first call of this life");
        kubelet.shutdown_background();
        let gone = async {
            while client.allocatable().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the connection was cut");
    }
    let error = client.holders().await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_kubelet_that_keeps_silent_is_given_up_after_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let kubelet = Kubelet { is_silent: true, ..Kubelet::new() }.start(&socket);
    let error = client(&socket).holders().await.unwrap_err();
    let text = "List: no answer within 5s (DeadlineExceeded)";
    assert_eq!(error.to_string(), format!("{}: {text}", socket.display()));
    kubelet.shutdown_background();
}

#[tokio::test]
async fn a_path_that_is_no_address_is_refused_when_it_is_read() {
    let error = PodResources::new(Path::new("kubelet.sock"), BTreeSet::new()).unwrap_err();
    assert!(matches!(error, PodResourcesError::Path { .. }), "{error}");
    assert_eq!(error.to_string(), "kubelet.sock: not a path that can be connected to");
}
