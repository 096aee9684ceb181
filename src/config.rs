//! The configuration file: YAML, every key optional, unknown keys refused.

mod api;
mod repack;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub use api::{Api, Authentication};
pub use repack::{Apply, OnDemand, Repack};

use crate::census::Bounds;
use crate::model::Policy;
use crate::wire::dryrun::parse_policy;
use crate::wire::{Dialect, Limits};

/// Everything `tangram serve` can be told. Flags win over the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Placement policy of pods that choose none: see [`Policy::NAMES`].
    #[serde(deserialize_with = "policy")]
    pub policy: Policy,
    /// How the demand is learnt that prices are made for.
    pub demand: Learning,
    /// Resource names beside the built-in ones that count as whole devices, for example `example.com/npu`.
    pub device_resources: BTreeSet<String>,
    /// TLS of the listener; plain HTTP without.
    pub tls: Option<Tls>,
    /// Another address, always plain HTTP, for probes and metrics alone.
    pub probe_listen: Option<SocketAddr>,
    /// The placement API.
    pub api: Api,
    /// What may be done with plans that move pods.
    pub repack: Repack,
    /// How to stand towards a live cluster.
    pub kubernetes: Kubernetes,
    /// How to log.
    pub log: Log,
    /// How many series `/metrics` may have.
    pub metrics: Bounds,
    /// Bounds on what requests may contain.
    pub limits: Limits,
}

fn policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    parse_policy(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// How the demand is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Learning {
    /// A request counts half after so many hours.
    pub half_life_hours: NonZeroU32,
}

impl Default for Learning {
    fn default() -> Self {
        Self { half_life_hours: const { NonZeroU32::new(24).unwrap() } }
    }
}

impl Learning {
    /// The half-life in seconds.
    pub fn half_life_s(self) -> f64 {
        f64::from(self.half_life_hours.get()) * 3600.0
    }
}

/// Certificates, in PEM files that are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain of this server.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// When set, clients must present a certificate that one of these signed.
    pub client_ca_file: Option<PathBuf>,
}

/// A live cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// `schedulerName` of the pods that are nominated, explained and preempted for.
    pub schedulers: Vec<String>,
    /// A model older than this refuses binds.
    pub model_age_max_seconds: u32,
    /// How long a bind waits for the agent to report the GPU instance live.
    pub instance_timeout_seconds: u32,
    /// Namespace of the agents' Leases, and of the record of plans; the pod's own unless set.
    pub agent_lease_namespace: Option<String>,
    /// How long one request to the API server may take.
    pub request_timeout_seconds: u32,
    /// Who answers when there are several replicas.
    pub leader_election: LeaderElection,
    /// Hints for kube-scheduler which node to try first.
    pub nominator: Switch,
    /// Evictions for pods that kube-scheduler cannot preempt for.
    pub preemption: Preemption,
    /// Events that say why pods wait.
    pub events: Switch,
    /// A `KubeSchedulerConfiguration`: warns when the cluster has a device resource that it does not manage.
    pub scheduler_config_file: Option<PathBuf>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            schedulers: vec!["tangram".to_owned()],
            model_age_max_seconds: 60,
            instance_timeout_seconds: 20,
            agent_lease_namespace: None,
            request_timeout_seconds: 5,
            leader_election: LeaderElection::default(),
            nominator: Switch::default(),
            preemption: Preemption::default(),
            events: Switch::default(),
            scheduler_config_file: None,
        }
    }
}

/// Something that is on unless it is turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// Whether it is on.
    pub enabled: bool,
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Evictions by Tangram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Preemption {
    /// Whether there are any.
    pub enabled: bool,
    /// How many in one minute at most.
    pub evictions_per_minute: usize,
}

impl Default for Preemption {
    fn default() -> Self {
        Self { enabled: true, evictions_per_minute: 30 }
    }
}

/// Which replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// How it is found.
    pub mode: Election,
    /// Name of the Lease.
    pub lease_name: String,
    /// Its namespace; the pod's own unless set.
    pub lease_namespace: Option<String>,
    /// How long a leader that is not heard of stays the leader; in mode `own`.
    pub lease_duration_seconds: u32,
    /// Name of this replica, or of the pod that it shares with kube-scheduler; the pod's name unless set.
    pub identity: Option<String>,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            mode: Election::Own,
            lease_name: "tangram".to_owned(),
            lease_namespace: None,
            lease_duration_seconds: 6,
            identity: None,
        }
    }
}

/// How a leader is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Election {
    /// By a Lease of Tangram's own.
    Own,
    /// By the Lease of the kube-scheduler beside it.
    Follow,
    /// There is one replica.
    None,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or one per module: `info,tangram::http=debug`.
    pub level: String,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Loopback: without TLS and authorization nobody else should ask.
            listen: SocketAddr::from(([127, 0, 0, 1], 7240)),
            policy: Policy::default(),
            demand: Learning::default(),
            device_resources: BTreeSet::new(),
            tls: None,
            probe_listen: None,
            api: Api::default(),
            repack: Repack::default(),
            kubernetes: Kubernetes::default(),
            log: Log::default(),
            metrics: Bounds::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("configuration {}", path.display()))
    }

    /// Reads YAML.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Ok(serde_saphyr::from_str(text)?)
    }

    /// How it is known who asks, for a model that is live or embedded.
    ///
    /// # Errors
    /// The keys that contradict each other, and what to do.
    pub fn authentication(&self, is_live: bool) -> anyhow::Result<Authentication> {
        let by_default = if is_live { Authentication::Kubernetes } else { Authentication::None };
        let authentication = self.api.authentication.unwrap_or(by_default);
        match authentication {
            Authentication::Kubernetes => ensure!(
                is_live,
                "api.authentication: kubernetes needs a live cluster: the model of a file has no API server that \
                 knows tokens"
            ),
            Authentication::None => {
                let addresses = [("listen", Some(self.listen)), ("api.listen", self.api.listen)];
                for (key, address) in addresses {
                    let Some(address) = address.filter(|address| !address.ip().is_loopback()) else {
                        continue;
                    };
                    bail!(
                        "{key}: {address}: without authentication everybody who reaches it may do everything; \
                         listen on loopback{}",
                        if is_live { ", or set api.authentication: kubernetes" } else { "" }
                    );
                }
            }
        }
        // A token in plain text is anybody's.
        if let Some(address) = self.api.listen {
            let is_safe = self.tls.is_some() || address.ip().is_loopback();
            ensure!(
                is_safe,
                "api.listen: {address}: tokens need TLS (tls.certFile) unless it is on loopback"
            );
        }
        Ok(authentication)
    }

    /// How objects are read under this configuration.
    pub fn dialect(&self) -> Dialect {
        Dialect { device_resources: self.device_resources.clone(), limits: self.limits, is_live: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_only_what_differs() {
        let config = Config::parse("listen: 0.0.0.0:9\npolicy: spread\nlimits: {nodeNames: 7}\n").unwrap();
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.policy, Policy::Spread);
        assert_eq!((config.limits.node_names, config.limits.name_bytes), (7, 253));
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn only_loopback_goes_without_authentication() {
        let asked = |text: &str, is_live| {
            let known = Config::parse(text).unwrap().authentication(is_live);
            known.map_err(|error| error.to_string())
        };
        assert_eq!(asked("{}", true), Ok(Authentication::Kubernetes));
        assert_eq!(asked("{}", false), Ok(Authentication::None));
        assert_eq!(asked("{api: {authentication: none}, listen: '[::1]:1'}", true), Ok(Authentication::None));
        assert_eq!(asked("{listen: 0.0.0.0:1}", true), Ok(Authentication::Kubernetes));
        let tls = "tls: {certFile: a, keyFile: b}, api: {listen: 0.0.0.0:2}";
        assert_eq!(asked(&format!("{{{tls}}}"), true), Ok(Authentication::Kubernetes));
        for (text, is_live, key) in [
            ("{listen: 0.0.0.0:1}", false, "listen: 0.0.0.0:1"),
            ("{listen: 0.0.0.0:1, api: {authentication: none}}", true, "listen: 0.0.0.0:1"),
            ("{tls: {certFile: a, keyFile: b}, api: {listen: 0.0.0.0:2}}", false, "api.listen: 0.0.0.0:2"),
            ("{api: {authentication: kubernetes}}", false, "api.authentication"),
            ("{api: {listen: 0.0.0.0:2}}", true, "tls.certFile"),
        ] {
            let error = asked(text, is_live).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        let error = format!("{:#}", Config::parse("limits: {nodes: 7}").unwrap_err());
        assert!(error.contains("nodes"), "{error}");
    }
}
