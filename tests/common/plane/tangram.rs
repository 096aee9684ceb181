//! The binary under test, serving: on a cluster file or live, alone or several of
//! them, and what happens to processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::ask::{Answer, ask};
use super::process::Process;

/// How long the first line may take, and after it being ready: reading a cluster
/// of a few nodes takes milliseconds, becoming the leader seconds, a machine
/// that runs other tests takes the rest.
const START: Duration = Duration::from_mins(1);

/// How long a request may take before it counts as not answered.
const ANSWER: Duration = Duration::from_secs(30);

/// What stands before the address in the line that says it.
const LISTENING: &str = "tangram: listening on ";

/// `tangram serve` on a port of its own choice. Dropping it kills it.
pub(crate) struct Tangram {
    /// `http` or `https`.
    scheme: String,
    authority: String,
    tls: Option<TlsConnector>,
    /// What it was started with, besides where to listen.
    arguments: Vec<OsString>,
    // Ended before the folder it writes to goes: fields are dropped in order.
    process: Process,
    dir: TempDir,
}

impl Tangram {
    /// Starts `tangram serve ARGUMENTS` and waits until it listens.
    pub(crate) async fn start(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let dir = TempDir::with_prefix("tangram-serve-").expect("a folder is made");
        Self::try_start(arguments, None, dir).await.expect("tangram serves")
    }

    /// Starts it on the example cluster with the text of a configuration file, and waits until it listens; `tls` as
    /// for [`live`](Self::live).
    pub(crate) async fn configured(configuration: &str, tls: Option<TlsConnector>) -> Self {
        Self::try_configured(configuration, vec![], tls).await.expect("tangram serves")
    }

    /// Starts it on a live cluster and waits until it listens, which is before it
    /// is ready. `configuration` is the text of its configuration file, with an
    /// identity of its own when several elect a leader; `tls` is how to trust it
    /// when that has a `tls` section, from [`trusting`](super::ask::trusting).
    /// Everybody may ask everything unless the configuration says who.
    pub(crate) async fn live(kubeconfig: &Path, configuration: &str, tls: Option<TlsConnector>) -> Self {
        Self::try_live(kubeconfig, configuration, tls).await.expect("tangram serves a live cluster")
    }

    async fn try_live(kubeconfig: &Path, configuration: &str, tls: Option<TlsConnector>) -> Result<Self> {
        let mut arguments = vec!["--kubeconfig".into(), kubeconfig.into()];
        if !configuration.contains("authentication") {
            arguments.push("--no-authentication".into());
        }
        Self::try_configured(configuration, arguments, tls).await
    }

    async fn try_configured(
        configuration: &str,
        mut arguments: Vec<OsString>,
        tls: Option<TlsConnector>,
    ) -> Result<Self> {
        let dir = TempDir::with_prefix("tangram-serve-")?;
        let file = dir.path().join("config.yaml");
        fs::write(&file, configuration)?;
        arguments.extend(["--config".into(), file.into()]);
        Self::try_start(arguments, tls, dir).await
    }

    async fn try_start(arguments: Vec<OsString>, tls: Option<TlsConnector>, dir: TempDir) -> Result<Self> {
        let (process, scheme, authority) = serve(&dir, "127.0.0.1:0", &arguments).await?;
        Ok(Self { scheme, authority, tls, arguments, process, dir })
    }

    /// The address, as the scheduler's configuration wants it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The answer to a POST of JSON that must succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).await.expect("tangram answers")
    }

    async fn try_post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = self.send(request, text_of(body)).await?;
        ensure!(answer.status == 200, "{path} answered {}: {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).context("the answer is not JSON")
    }

    /// The answer to a POST, whatever it is.
    pub(crate) async fn post_any(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request, text_of(body)).await.expect("tangram answers")
    }

    /// The answer to a GET, whatever it is.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.expect("tangram answers")
    }

    /// The answer to a GET, of a process that may be gone.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer> {
        self.send(Request::get(path), String::new()).await
    }

    async fn send(&self, request: hyper::http::request::Builder, body: String) -> Result<Answer> {
        let request = request.header("host", &self.authority).body(Full::<Bytes>::from(body))?;
        let answer = ask(&self.authority, self.tls.as_ref(), request);
        tokio::time::timeout(ANSWER, answer).await.context("no answer")?
    }

    /// Waits until `/readyz` answers 200.
    pub(crate) async fn ready(&mut self) {
        let Self { process, authority, tls, .. } = self;
        let mut last = "nothing".to_owned();
        let is_ready = async || {
            let request = Request::get("/readyz").header("host", authority.as_str());
            let request = request.body(Full::default()).expect("a request without anything special");
            match ask(authority, tls.as_ref(), request).await {
                Ok(answer) if answer.status == 200 => return Some(()),
                Ok(answer) => last = answer.body,
                Err(error) => last = format!("{error:#}"),
            }
            None
        };
        let ready = process.until("to be ready", START, is_ready).await;
        ready.map_err(|error| error.context(format!("it said last: {last}"))).expect("tangram is ready");
    }

    /// Waits for a line of its log with `text`, and returns that line.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        self.process.line(text, START).await.expect("tangram logs")
    }

    /// A file of its folder under `/proc`, such as `status`.
    pub(crate) async fn proc_file(&mut self, name: &str) -> String {
        self.process.proc_file(name).await.expect("tangram runs")
    }

    /// Kills it where it stands, with `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("tangram is killed");
    }

    /// Asks it to end, as a kubelet does, and waits until it has, without error.
    pub(crate) async fn stop(&mut self) {
        let stopped = self.process.stop().await.expect("tangram ends");
        assert!(stopped.success(), "tangram ended with {stopped}");
    }

    /// Freezes it, as a machine that swaps or a debugger does.
    pub(crate) async fn pause(&mut self) {
        self.process.freeze().await.expect("tangram is frozen");
    }

    /// Lets it go on.
    pub(crate) async fn resume(&mut self) {
        self.process.signal("CONT").await.expect("tangram goes on");
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the
    /// same port and with the same arguments.
    pub(crate) async fn restart(&mut self) {
        let served = serve(&self.dir, &self.authority, &self.arguments).await;
        let (process, ..) = served.expect("tangram serves again");
        self.process = process;
    }
}

/// A body; of nothing there is none.
fn text_of(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

/// Starts the binary; scheme and address are what its first line says.
async fn serve(dir: &TempDir, listen: &str, arguments: &[OsString]) -> Result<(Process, String, String)> {
    let program = Path::new(env!("CARGO_BIN_EXE_tangram"));
    let mut all: Vec<OsString> = vec!["serve".into(), "--listen".into(), listen.into()];
    all.extend_from_slice(arguments);
    let mut process = Process::start("tangram", dir.path(), program, all)?;
    let line = process.line(LISTENING, START).await?;
    let (_, url) = line.split_once(LISTENING).context("the line was found by it")?;
    let (scheme, authority) = url.trim().split_once("://").context("an address with a scheme")?;
    Ok((process, scheme.to_owned(), authority.to_owned()))
}
