//! How a container learns which devices it has.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One way, named as NVIDIA's device plugin names it (`DEVICE_LIST_STRATEGY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceListStrategy {
    /// `NVIDIA_VISIBLE_DEVICES` holds the MIG UUIDs, for NVIDIA's container runtime.
    Envvar,
    /// CDI devices in the container's configuration, for containerd from 1.7 and CRI-O from 1.28 on.
    CdiCri,
    /// `/dev/null` mounted at `/var/run/nvidia-container-devices/<MIG UUID>`, for NVIDIA's container runtime with
    /// `accept-nvidia-visible-devices-as-volume-mounts`.
    VolumeMounts,
}

use DeviceListStrategy::{CdiCri, Envvar, VolumeMounts};

const NAMES: [(DeviceListStrategy, &str); 3] =
    [(Envvar, "envvar"), (CdiCri, "cdi-cri"), (VolumeMounts, "volume-mounts")];

/// The ways that are used, at least one; [`Envvar`] and [`CdiCri`] unless somebody chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategies(BTreeSet<DeviceListStrategy>);

/// Why a text does not name strategies.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a device list strategy: envvar, cdi-cri and volume-mounts are, separated by commas")]
pub struct StrategyError(String);

impl Strategies {
    /// Whether `strategy` is among them.
    pub fn has(&self, strategy: DeviceListStrategy) -> bool {
        self.0.contains(&strategy)
    }

    /// Whether a container without its CDI device has nothing.
    pub fn needs_cdi(&self) -> bool {
        self.0.iter().all(|strategy| *strategy == CdiCri)
    }
}

impl Default for Strategies {
    fn default() -> Self {
        Self([Envvar, CdiCri].into())
    }
}

impl FromStr for Strategies {
    type Err = StrategyError;

    fn from_str(text: &str) -> Result<Self, StrategyError> {
        let strategy = |word: &str| {
            let known = NAMES.iter().find(|(_, name)| *name == word);
            known.map(|(strategy, _)| *strategy).ok_or_else(|| StrategyError(word.to_owned()))
        };
        text.split(',').map(str::trim).map(strategy).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Strategies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = NAMES.iter().filter(|(strategy, _)| self.has(*strategy));
        f.write_str(&used.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_as_they_are_written() {
        for text in ["envvar", "cdi-cri", "envvar,cdi-cri,volume-mounts"] {
            assert_eq!(text.parse::<Strategies>().unwrap().to_string(), text);
        }
        assert_eq!("cdi-cri, envvar".parse(), Ok(Strategies::default()));
        assert!("cdi-cri".parse::<Strategies>().unwrap().needs_cdi());
        assert!(!Strategies::default().needs_cdi());
    }

    #[test]
    fn no_strategy_and_an_unknown_one_are_refused_by_name() {
        assert_eq!("".parse::<Strategies>(), Err(StrategyError(String::new())));
        let error = "envvar,cdi-annotations".parse::<Strategies>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"cdi-annotations\" is not a device list strategy: envvar, cdi-cri and volume-mounts are, separated \
             by commas"
        );
    }
}
