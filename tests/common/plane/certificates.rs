//! An authority of the test's own, for servers and clients other than the API
//! server: Tangram with TLS, a scheduler that must show who it is.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// Signs certificates. Dropping it removes all of its files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    /// A new one, that nobody trusts yet.
    pub(crate) fn new() -> Self {
        Self::try_new().expect("an authority is made")
    }

    fn try_new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = called("tangram-tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let dir = TempDir::with_prefix("tangram-certificates-")?;
        fs::write(dir.path().join("ca.crt"), issuer.pem())?;
        Ok(Self { issuer, dir })
    }

    /// Its certificate, for those who are to trust it.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// A certificate for `name`, which is a name of the DNS, good on the loopback device for a server and for
    /// a client. Asked for twice, the second replaces the first in its files, as
    /// renewal does.
    pub(crate) fn issue(&self, name: &str) -> Identity {
        self.try_issue(name).expect("a certificate is signed")
    }

    fn try_issue(&self, name: &str) -> Result<Identity> {
        let names = ["127.0.0.1", "localhost", name].map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = called(name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let file = |extension: &str| self.dir.path().join(format!("{name}.{extension}"));
        let identity = Identity { certificate: file("crt"), key: file("key") };
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}
