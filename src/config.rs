//! The configuration file: YAML, every key optional, unknown keys refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::model::Policy;
use crate::wire::{Dialect, Limits};

/// Everything `tangram serve` can be told. Flags win over the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Placement policy of pods that choose none: `pack` or `spread`.
    pub policy: PolicyName,
    /// Resource names beside the built-in ones that count as whole devices, for example `example.com/npu`.
    pub device_resources: BTreeSet<String>,
    /// How to log.
    pub log: Log,
    /// Bounds on what requests may contain.
    pub limits: Limits,
}

/// A policy by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Keep room for what the cluster is asked for: least fragmentation first.
    #[default]
    Pack,
    /// Emptiest node and GPU first.
    Spread,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Pack => Self::Pack,
            PolicyName::Spread => Self::Spread,
        }
    }
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
            policy: PolicyName::default(),
            device_resources: BTreeSet::new(),
            log: Log::default(),
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

    /// How objects are read under this configuration.
    pub fn dialect(&self) -> Dialect {
        Dialect { device_resources: self.device_resources.clone(), limits: self.limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_only_what_differs() {
        let config = Config::parse("listen: 0.0.0.0:9\npolicy: spread\nlimits: {nodeNames: 7}\n").unwrap();
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.policy, PolicyName::Spread);
        assert_eq!((config.limits.node_names, config.limits.name_bytes), (7, 253));
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        let error = format!("{:#}", Config::parse("limits: {nodes: 7}").unwrap_err());
        assert!(error.contains("nodes"), "{error}");
    }
}
