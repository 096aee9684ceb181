//! What the spec holds: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::driver::Driver;

/// Vendor and class of Tangram's devices.
pub const KIND: &str = "tangram.gpu/mig";

/// The version that knows every field written here (`hostPath` of a device node came with 0.5.0).
///
/// Not a newer one than needed: a runtime refuses versions that it does not know, and containerd 1.7, the
/// first that takes CDI devices from the kubelet, came with 0.5.0.
const VERSION: Version = Version([0, 5, 0]);

/// The name under which a container asks for an instance: `tangram.gpu/mig=MIG-…`.
pub fn device_name(uuid: &str) -> String {
    format!("{KIND}={uuid}")
}

/// Whether CDI takes `name` for a device: letters, digits, `_`, `-`, `.` and `:`, the first and the last one a
/// letter or a digit. One bad name would make the whole file invalid.
pub(super) fn is_device_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte))
}

/// A version of the CDI specification: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) [u32; 3]);

impl Version {
    /// Reads `0.6.0` or `v0.6.0`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse().ok());
        let version = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self(version))
    }
}

/// A device node as a container gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// Where it is in the container.
    pub(super) path: String,
    /// Where it is on the host, when that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_path: Option<String>,
    /// Kind and numbers, for a node that need not exist on the host.
    #[serde(flatten)]
    pub(super) numbers: Option<Numbers>,
    /// For the device cgroup: no right to make nodes.
    pub(super) permissions: &'static str,
}

/// Numbers of a character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Numbers {
    /// Always `c`.
    pub(super) r#type: &'static str,
    pub(super) major: u32,
    pub(super) minor: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    cdi_version: String,
    kind: &'a str,
    devices: Vec<Device<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_edits: Option<&'a Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Device<'a> {
    name: &'a str,
    container_edits: Edits<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edits<'a> {
    device_nodes: &'a [Node],
}

/// The file's bytes: `devices` by UUID, and for all of them what the driver needs.
pub(super) fn render(devices: &BTreeMap<Arc<str>, Vec<Node>>, driver: Option<&Driver>) -> Vec<u8> {
    let version = driver.map_or(VERSION, |driver| driver.version.max(VERSION));
    let spec = Spec {
        cdi_version: version.0.map(|part| part.to_string()).join("."),
        kind: KIND,
        devices: devices
            .iter()
            .map(|(uuid, nodes)| Device { name: uuid, container_edits: Edits { device_nodes: nodes } })
            .collect(),
        container_edits: driver.map(|driver| &driver.edits),
    };
    let mut bytes = serde_json::to_vec_pretty(&spec).expect("plain data is JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(Version::parse("0.6.0"), Some(Version([0, 6, 0])));
        assert_eq!(Version::parse("v1.10.0"), Some(Version([1, 10, 0])));
        assert!(Version::parse("1.10.0") > Version::parse("1.9.9"));
        for text in ["", "1", "1.0", "1.0.0.0", "1.0.x", "-1.0.0"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_mig_uuid_is_a_name_and_its_old_form_is_not() {
        assert!(is_device_name("MIG-5a3e4f3c-9c1e-4a2b-8d7e-0123456789ab"));
        for name in ["", "MIG-", "-MIG", "MIG-GPU-1/3/0", "MIG 1", "MIG-ä1"] {
            assert!(!is_device_name(name), "{name:?}");
        }
    }
}
