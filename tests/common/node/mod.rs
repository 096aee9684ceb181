//! A real node for a [`Plane`]: a kubelet with containerd and runc, which runs
//! real containers of a small program that says what it sees.
//!
//! Beside [`plane`](crate::plane), which the test declares too. Needs root and
//! Linux with control groups of either version. Each node has its own folder,
//! mounts and process numbers (`namespaces.rs`), so several run beside each other
//! and none touches what the machine itself runs. Pods have no network of their
//! own: they are made by [`workload`], with the machine's.

mod containerd;
mod folder;
mod kubelet;
mod namespaces;
pub(crate) mod plugin;
pub(crate) mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::plane::process::{Place, Process};
use crate::plane::{Plane, wait_until};
use folder::Folder;
use namespaces::Namespaces;

/// The image of all containers, pause containers included.
pub(crate) const IMAGE: &str = "localhost/tangram-workload:1";

/// How long a program of the node may take to be ready. It takes seconds on an
/// idle machine; one with every core taken by other tests needs the rest.
const START: Duration = Duration::from_mins(2);

/// What a node is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeOptions<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Labels in addition to those that every kubelet sets.
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

/// A node whose kubelet and containerd run. Dropping it kills both and all
/// containers; the Node object stays.
pub(crate) struct RealNode<'a> {
    options: NodeOptions<'a>,
    nodes: Api<Node>,
    // Ended before what they run in goes: fields are dropped in order. `None` is
    // a program that was stopped.
    kubelet: Option<Process>,
    containerd: Option<Process>,
    namespaces: Option<Namespaces>,
    folder: Folder,
}

impl<'a> RealNode<'a> {
    /// Starts a node and waits until it is ready.
    pub(crate) async fn start(plane: &Plane, options: NodeOptions<'a>) -> Self {
        plane.apply_yaml(kubelet::RIGHTS).await;
        let mut node = Self::prepare(plane, options).expect("a node is prepared");
        node.boot().await;
        containerd::import_image(node.folder.path()).expect("containerd has the image");
        node.start_kubelet().await;
        node.ready().await;
        node
    }

    fn prepare(plane: &Plane, options: NodeOptions<'a>) -> Result<Self> {
        let folder = Folder::make()?;
        let control_group = folder.control_group().into_string().ok().context("a folder not in UTF-8")?;
        containerd::prepare(folder.path())?;
        kubelet::prepare(plane, folder.path(), options.name, &control_group)?;
        let nodes = Api::all(plane.client());
        Ok(Self { options, nodes, kubelet: None, containerd: None, namespaces: None, folder })
    }

    async fn boot(&mut self) {
        let namespaces = Namespaces::start(self.folder.path()).await;
        self.namespaces = Some(namespaces.expect("a node has its namespaces"));
        self.start_containerd().await;
    }

    async fn ready(&self) {
        let is_ready = async || {
            let conditions = self.nodes.get_opt(self.options.name).await.ok()??.status?.conditions?;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
            (ready.status == "True").then_some(())
        };
        wait_until("the node is ready", START, is_ready).await;
    }

    /// Where the node's programs run. One that belongs on a node is started here
    /// by [`Process::start_in`]: it sees the node's folders under their usual
    /// names, and dies when the node does.
    pub(crate) fn place(&self) -> Place {
        self.namespaces.as_ref().expect("the node was booted").place()
    }

    /// Where device plugins listen, and in `kubelet.sock` the kubelet for them:
    /// `/var/lib/kubelet/device-plugins` of the node.
    pub(crate) fn device_plugin_dir(&self) -> PathBuf {
        kubelet::device_plugin_dir(self.folder.path())
    }

    /// Where the kubelet says who holds which device:
    /// `/var/lib/kubelet/pod-resources/kubelet.sock` of the node.
    pub(crate) fn pod_resources_socket(&self) -> PathBuf {
        kubelet::pod_resources_socket(self.folder.path())
    }

    /// Where containerd looks for CDI specifications: `/var/run/cdi` of the node.
    /// Empty when the node starts again.
    pub(crate) fn cdi_dir(&self) -> PathBuf {
        containerd::cdi_dir(self.folder.path())
    }

    /// Starts the kubelet after it was stopped or killed, and waits until it
    /// listens to device plugins, which have to register again.
    pub(crate) async fn start_kubelet(&mut self) {
        assert!(self.kubelet.is_none(), "the kubelet runs already");
        let started = kubelet::start(self.place(), self.folder.path(), &self.options).await;
        self.kubelet = Some(started.expect("the kubelet starts"));
    }

    /// Asks the kubelet to end, and waits until it has. Containers run on.
    pub(crate) async fn stop_kubelet(&mut self) {
        self.kubelet.take().expect("the kubelet runs").stop().await.expect("the kubelet ends");
    }

    /// Kills the kubelet where it stands. Containers run on.
    pub(crate) async fn kill_kubelet(&mut self) {
        self.kubelet.take().expect("the kubelet runs").kill().await.expect("the kubelet is killed");
    }

    /// Stops the kubelet and starts it again.
    pub(crate) async fn restart_kubelet(&mut self) {
        self.stop_kubelet().await;
        self.start_kubelet().await;
    }

    /// Starts containerd after it was stopped or killed, and waits until it serves.
    pub(crate) async fn start_containerd(&mut self) {
        assert!(self.containerd.is_none(), "containerd runs already");
        let started = containerd::start(self.place(), self.folder.path()).await;
        self.containerd = Some(started.expect("containerd starts"));
    }

    /// Kills containerd where it stands. Containers run on, under their shims.
    pub(crate) async fn kill_containerd(&mut self) {
        self.containerd.take().expect("containerd runs").kill().await.expect("containerd is killed");
    }

    /// Stops containerd and starts it again.
    pub(crate) async fn restart_containerd(&mut self) {
        self.containerd.take().expect("containerd runs").stop().await.expect("containerd ends");
        self.start_containerd().await;
    }

    /// Cuts the power and starts the node again: no process lives on, what is on
    /// disk does. Waits until the kubelet listens to device plugins.
    pub(crate) async fn reboot(&mut self) {
        self.namespaces = None;
        (self.kubelet, self.containerd) = (None, None);
        self.boot().await;
        self.start_kubelet().await;
    }
}
