//! The binary under test, serving.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Process;

/// How long the first line may take: reading a cluster of a few nodes takes
/// milliseconds, a machine that runs other tests takes the rest.
const START: Duration = Duration::from_secs(30);

/// What stands before the address in the line that says it.
const LISTENING: &str = "tangram: listening on http://";

/// `tangram serve` on a port of its own choice. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Tangram {
    authority: String,
    // Ended before the folder it writes to goes: fields are dropped in order.
    _process: Process,
    _dir: TempDir,
}

impl Tangram {
    /// Starts `tangram serve ARGUMENTS` and waits until it listens.
    pub(crate) async fn start(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        Self::try_start(arguments).await.expect("tangram serves")
    }

    async fn try_start(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<Self> {
        let dir = TempDir::with_prefix("tangram-serve-")?;
        let program = Path::new(env!("CARGO_BIN_EXE_tangram"));
        let mut all: Vec<OsString> = vec!["serve".into(), "--listen".into(), "127.0.0.1:0".into()];
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().into()));
        let mut process = Process::start("tangram", dir.path(), program, all)?;
        let line = process.line(LISTENING, START).await?;
        let (_, authority) = line.split_once(LISTENING).context("the line was found by it")?;
        Ok(Self { authority: authority.trim().to_owned(), _process: process, _dir: dir })
    }

    /// The address, as the scheduler's configuration wants it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// The answer to a request that the test makes in the scheduler's place.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).await.expect("tangram answers")
    }

    async fn try_post(&self, path: &str, body: &Value) -> Result<Value> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(path)
            .header("host", &self.authority)
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body.to_string()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        connection.abort();
        ensure!(status == 200, "{path} answered {status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).context("the answer is not JSON")
    }
}
