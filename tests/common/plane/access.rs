//! What lets a program into the API server: an address, a certificate, a token.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::KeyPair;
use serde_json::json;

/// The administrator's token. No secret: the server listens on the loopback
/// device, for the time of a test, and runs nothing.
pub(super) const TOKEN: &str = "tangram-tests";

/// The files of one plane that say who may do what.
#[derive(Debug)]
pub(super) struct Access {
    /// The administrator, and the users that a test adds.
    pub(super) tokens: PathBuf,
    /// Signs the tokens of service accounts.
    pub(super) service_account_key: PathBuf,
    /// The other half of it.
    pub(super) service_account_public_key: PathBuf,
    /// Where the API server writes a serving certificate of its own making.
    pub(super) certificates: PathBuf,
    /// How every client of the plane is told about it.
    pub(super) kubeconfig: PathBuf,
}

impl Access {
    /// Writes what is known before the API server runs.
    pub(super) fn write(dir: &Path) -> Result<Self> {
        let access = Self {
            tokens: dir.join("tokens.csv"),
            service_account_key: dir.join("service-account.key"),
            service_account_public_key: dir.join("service-account.pub"),
            certificates: dir.join("certificates"),
            kubeconfig: dir.join("kubeconfig"),
        };
        let key = KeyPair::generate().context("making a key for service accounts")?;
        fs::write(&access.tokens, format!("{TOKEN},admin,admin,system:masters\n"))?;
        fs::write(&access.service_account_key, key.serialize_pem())?;
        fs::write(&access.service_account_public_key, key.public_key_pem())?;
        Ok(access)
    }

    /// Makes the administrator's kubeconfig file and a client from it. Fails
    /// until the API server on `port` has written its certificate.
    pub(super) async fn client(&self, port: u16) -> Result<Client> {
        // The key is the second of the two files that the server writes.
        fs::metadata(self.certificates.join("apiserver.key"))?;
        write_kubeconfig(&self.kubeconfig, port, &self.authority(), TOKEN)?;
        client_of(&self.kubeconfig).await
    }

    /// What signed the API server's certificate: it did so itself.
    pub(super) fn authority(&self) -> PathBuf {
        self.certificates.join("apiserver.crt")
    }

    /// Adds a user whom the next start of the API server knows.
    pub(super) fn add_user(&self, token: &str, name: &str, groups: &[&str]) -> Result<()> {
        let mut tokens = OpenOptions::new().append(true).open(&self.tokens)?;
        writeln!(tokens, "{token},{name},{name},\"{}\"", groups.join(",")).context("adding a user")
    }
}

/// Writes a kubeconfig file for the server on `port` of the loopback device.
pub(super) fn write_kubeconfig(path: &Path, port: u16, authority: &Path, token: &str) -> Result<()> {
    let named = |kind: &str, value| json!([{ "name": "tests", kind: value }]);
    let server = format!("https://127.0.0.1:{port}");
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": named("cluster", json!({ "server": server, "certificate-authority": authority })),
        "users": named("user", json!({ "token": token })),
        "contexts": named("context", json!({ "cluster": "tests", "user": "tests" })),
        "current-context": "tests",
    });
    fs::write(path, kubeconfig.to_string()).with_context(|| format!("writing {}", path.display()))
}

/// A client as a kubeconfig file describes it. It does not repeat a request
/// that failed: a test that makes a server fail wants to see it.
pub(super) async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// A port of the loopback device that nobody listens on right now. Somebody may
/// a moment later, so the one who asks must be ready to ask again.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
