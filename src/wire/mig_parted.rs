//! Configurations of `nvidia-mig-parted`, which mig-manager applies, and the label patches that select from them.
//!
//! Sources: `api/spec/v1/spec.go` and `pkg/types/mig_config.go` of NVIDIA/mig-parted: version `v1`; `mig-configs` by
//! name, each a list of entries with `devices` (`all` or NVML indices), `mig-enabled` and, where that is true,
//! `mig-devices` (profile as `nvidia-smi` prints it: how many). Its `cmd/nvidia-mig-manager/main.go`: the value of
//! the label `nvidia.com/mig.config` is the name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::layouts::{CutView, LayoutsView, NodeView};

/// The label whose value is the name of a node's layout.
pub const CONFIG_LABEL: &str = "nvidia.com/mig.config";
/// The label in which mig-manager says how far it is: `pending`, `rebooting`, `success`, `failed`.
pub const STATE_LABEL: &str = "nvidia.com/mig.config.state";

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MigParted {
    /// `v1`.
    pub version: String,
    /// Layouts of nodes by name.
    pub mig_configs: BTreeMap<String, Vec<MigConfig>>,
}

/// How some GPUs of a node are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MigConfig {
    /// Which GPUs.
    pub devices: Devices,
    /// Whether MIG mode is on.
    pub mig_enabled: bool,
    /// MIG devices by profile; absent where MIG mode is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_devices: Option<BTreeMap<String, u32>>,
}

/// GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Devices {
    /// These, by NVML index.
    Indices(Vec<u16>),
    /// `all`.
    All(All),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// All GPUs of the node.
    All,
}

impl MigParted {
    /// The layouts that a plan's changes name; `None` where nothing changes, since an empty file is none.
    pub fn new(plan: &LayoutsView) -> Option<Self> {
        let config = |cut: &CutView| MigConfig {
            devices: cut.gpus.clone().map_or(Devices::All(All::All), Devices::Indices),
            mig_enabled: cut.mig,
            mig_devices: cut.mig.then(|| cut.devices.clone()),
        };
        let named =
            changes(plan).map(|(node, name)| (name.to_owned(), node.then.iter().map(config).collect()));
        let mig_configs: BTreeMap<_, _> = named.collect();
        (!mig_configs.is_empty()).then(|| Self { version: "v1".to_owned(), mig_configs })
    }

    /// The file.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("texts and numbers only")
    }
}

/// Nodes that change, with the names of their new layouts.
fn changes(plan: &LayoutsView) -> impl Iterator<Item = (&NodeView, &str)> {
    plan.nodes.iter().filter_map(|node| Some((node, node.new_config.as_deref()?)))
}

/// Strategic merge patches, one document per node: `kubectl patch node NAME --patch-file` takes each.
pub fn label_patches(plan: &LayoutsView) -> String {
    let document = |(node, config): (&NodeView, &str)| {
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": node.name, "labels": { CONFIG_LABEL: config } },
        });
        serde_saphyr::to_string(&patch).expect("texts only")
    };
    changes(plan).map(document).collect::<Vec<_>>().join("---\n")
}
