//! etcd and the API server: how they are started, and how a test takes the API
//! server away and gives it back.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use hyper::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::Mutex;

use super::access::{Access, free_port};
use super::binaries::program;
use super::process::Process;
use super::{Plane, START, flag};

/// How often a new port is tried after somebody else took the one chosen.
const PORTS: usize = 5;

/// An API server that can be stopped and started again: the port, and what it
/// reads, stay the same.
#[derive(Debug)]
pub(super) struct ApiServer {
    etcd: String,
    pub(super) port: u16,
    // Async, since starting waits while it is held. `None` is a stopped one.
    process: Mutex<Option<Process>>,
}

impl ApiServer {
    /// Starts one on a free port, and waits until it takes pods.
    pub(super) async fn start(dir: &Path, etcd: &str, access: &Access) -> Result<(Self, Client)> {
        for _ in 0..PORTS {
            let port = free_port()?;
            let mut process = start_apiserver(dir, etcd, access, port)?;
            match ready(&mut process, access, port).await {
                Ok(client) => {
                    let process = Mutex::new(Some(process));
                    return Ok((Self { etcd: etcd.to_owned(), port, process }, client));
                }
                Err(_) if process.said("address already in use") => (),
                Err(error) => return Err(error),
            }
        }
        Err(anyhow!("{PORTS} ports in a row were taken by others"))
    }
}

impl Plane {
    /// Ends the API server in good order: it finishes the requests it has.
    pub(crate) async fn stop_apiserver(&self) {
        let mut process = self.apiserver.process.lock().await.take().expect("the API server runs");
        let stopped = process.stop().await.expect("the API server ends");
        assert!(stopped.success(), "the API server ended with {stopped}");
    }

    /// Kills the API server where it stands, with `kill -9`.
    pub(crate) async fn kill_apiserver(&self) {
        let mut process = self.apiserver.process.lock().await.take().expect("the API server runs");
        process.kill().await.expect("the API server is killed");
    }

    /// Starts the API server again after either, with the same port, objects,
    /// certificates and users, and waits until it takes pods.
    pub(crate) async fn start_apiserver(&self) {
        self.try_start_apiserver().await.expect("the API server starts again");
    }

    async fn try_start_apiserver(&self) -> Result<()> {
        let ApiServer { etcd, port, process } = &self.apiserver;
        let mut held = process.lock().await;
        ensure!(held.is_none(), "the API server runs already");
        let process = held.insert(start_apiserver(self.dir.path(), etcd, &self.access, *port)?);
        ready(process, &self.access, *port).await.context("after it was stopped")?;
        Ok(())
    }
}

pub(super) fn start_etcd(dir: &Path, socket: &str) -> Result<Process> {
    let peers = format!("unix://{}", dir.join("etcd-peers.sock").display());
    let arguments = [
        flag("data-dir", dir.join("etcd")),
        flag("listen-client-urls", socket),
        flag("listen-peer-urls", peers),
        // Must look like an address. A single member never uses it.
        "--advertise-client-urls=http://localhost:2379".into(),
        // The data lives as long as the test.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ];
    Process::start("etcd", dir, &program("etcd")?, arguments)
}

fn start_apiserver(dir: &Path, etcd: &str, access: &Access, port: u16) -> Result<Process> {
    let arguments = [
        flag("etcd-servers", etcd),
        "--bind-address=127.0.0.1".into(),
        // Otherwise the machine must have a network beyond the loopback device.
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        flag("secure-port", port.to_string()),
        flag("cert-dir", &access.certificates),
        flag("token-auth-file", &access.tokens),
        flag("service-account-key-file", &access.service_account_public_key),
        flag("service-account-signing-key-file", &access.service_account_key),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--authorization-mode=RBAC".into(),
        // Without it a watch is not told to end, and is waited for a minute.
        "--shutdown-watch-termination-grace-period=5s".into(),
        // The first refuses pods without an account that only the controller
        // manager makes; the second taints new nodes until it takes that off.
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".into(),
    ];
    Process::start("kube-apiserver", dir, &program("kube-apiserver")?, arguments)
}

/// Waits until the API server takes pods, and returns a client of it.
async fn ready(apiserver: &mut Process, access: &Access, port: u16) -> Result<Client> {
    let client = apiserver.until("to write its certificate", START, async || access.client(port).await.ok());
    let client = client.await?;
    let answers = async || {
        let request = Request::get("/readyz").body(Vec::new()).ok()?;
        client.request_text(request).await.ok()?;
        // Made by the server itself, a moment after it calls itself ready.
        Api::<Namespace>::all(client.clone()).get("default").await.ok()
    };
    apiserver.until("to be ready", START, answers).await?;
    Ok(client)
}
