//! `api`: who may ask the placement API, where, and how much.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use serde::Deserialize;

/// The placement API: all but the extender protocol and health.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Api {
    /// Another address for it, with the certificate of `tls` and without client certificates.
    pub listen: Option<SocketAddr>,
    /// How it is known who asks: by the API server of a live cluster, and not at all on an embedded model, unless set.
    pub authentication: Option<Authentication>,
    /// Audiences of which a token must name one; that of the API server when there are none.
    pub audiences: Vec<String>,
    /// Requests of one user in a second.
    pub requests_per_second: NonZeroU32,
    /// Requests of one user at once.
    pub concurrent_requests: NonZeroU32,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: None,
            authentication: None,
            audiences: Vec::new(),
            requests_per_second: const { NonZeroU32::new(500).unwrap() },
            concurrent_requests: const { NonZeroU32::new(32).unwrap() },
        }
    }
}

/// How it is known who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// The API server knows their token, and RBAC says what they may.
    Kubernetes,
    /// Everybody may everything: on loopback alone.
    None,
}
