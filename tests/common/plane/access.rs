//! What lets a program into the API server: an address, a certificate, a token.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::KeyPair;
use serde_json::json;

/// The administrator's token. No secret: the server listens on the loopback
/// device, for the time of a test, and runs nothing.
const TOKEN: &str = "tangram-tests";

/// The files of one plane that say who may do what.
#[derive(Debug)]
pub(super) struct Access {
    /// The only user: the administrator.
    pub(super) tokens: PathBuf,
    /// Signs the tokens of service accounts. Nothing uses them, but the API
    /// server does not start without.
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

    /// Makes the kubeconfig file and a client from it. Fails until the API
    /// server on `port` has written its certificate.
    pub(super) async fn client(&self, port: u16) -> Result<Client> {
        let authority = self.certificates.join("apiserver.crt");
        // The key is the second of the two files that the server writes.
        fs::metadata(self.certificates.join("apiserver.key"))?;
        let named = |kind: &str, value| json!([{ "name": "tests", kind: value }]);
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": named("cluster", json!({ "server": server, "certificate-authority": authority })),
            "users": named("user", json!({ "token": TOKEN })),
            "contexts": named("context", json!({ "cluster": "tests", "user": "tests" })),
            "current-context": "tests",
        });
        fs::write(&self.kubeconfig, kubeconfig.to_string())?;
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }
}

/// A port of the loopback device that nobody listens on right now. Somebody may
/// a moment later, so the one who asks must be ready to ask again.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
