//! What tables show of the placement API's answers. A field that an older or newer server leaves out is empty.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer).context("the server's answer is not understood: is it of another version?")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) totals: Totals,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Totals {
    pub(super) nodes: u32,
    pub(super) placed_pods: u32,
    pub(super) pending_pods: u32,
    pub(super) acceptance: f64,
    pub(super) problems: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) model: String,
    pub(super) node_pool: String,
    pub(super) dynamic_gpus: u32,
    pub(super) slices: BTreeMap<String, Slices>,
    pub(super) free: Vec<Room>,
    pub(super) devices: BTreeMap<String, Devices>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slices {
    pub(super) used: u32,
    pub(super) usable: u32,
    pub(super) stranded: u32,
    pub(super) closed: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Room {
    pub(super) profile: String,
    pub(super) mode: String,
    pub(super) count: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Devices {
    pub(super) used: u32,
    pub(super) free: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeList {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) product: String,
    pub(super) is_unschedulable: bool,
    pub(super) source: String,
    pub(super) pools: Vec<Pool>,
    pub(super) gpus: Vec<Gpu>,
    pub(super) pods: Vec<Value>,
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) resource: String,
    pub(super) capacity: u32,
    pub(super) used: u32,
    pub(super) holdings: Vec<Holding>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Holding {
    pub(super) pod: String,
    pub(super) count: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Gpu {
    pub(super) index: u16,
    pub(super) uuid: String,
    pub(super) model: String,
    pub(super) is_dynamic: bool,
    pub(super) is_closed: bool,
    pub(super) slices: String,
    pub(super) instances: Vec<Instance>,
    pub(super) pods: Vec<Holder>,
    pub(super) free: MemorySlices,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Instance {
    pub(super) profile: String,
    pub(super) start: u8,
    pub(super) size: u32,
    pub(super) pod: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Holder {
    pub(super) pod: String,
}

/// Memory slices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MemorySlices {
    #[serde(rename = "totalMemorySlices")]
    pub(super) total: u32,
    #[serde(rename = "usedMemorySlices")]
    pub(super) used: u32,
    #[serde(rename = "freeMemorySlices")]
    pub(super) left: u32,
    #[serde(rename = "strandedMemorySlices")]
    pub(super) stranded: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodList {
    pub(super) pods: Vec<Pod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) request: String,
    pub(super) priority: i32,
    pub(super) node: Option<String>,
    pub(super) devices: Vec<Device>,
    pub(super) nominated: Option<String>,
    pub(super) is_gated: bool,
    pub(super) fits: Option<String>,
    pub(super) refusals: Vec<Refusal>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Device {
    pub(super) gpu: u16,
    pub(super) profile: String,
    pub(super) start: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) count: u32,
    pub(super) reason: String,
}
