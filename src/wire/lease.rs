//! Leases by which agents say that they live: `tangram-agent-NODE`, in Tangram's own namespace.

use serde::Deserialize;

use super::ObjectError;
use super::object::{Metadata, or_default};
use crate::cache::Renewal;

/// What the names of these Leases begin with; the node's name follows.
const AGENT: &str = "tangram-agent-";

/// Name of the Lease of a node's agent.
pub fn agent_lease(node: &str) -> String {
    format!("{AGENT}{node}")
}

/// A Lease as Tangram reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LeaseObject {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    lease_duration_seconds: Option<i64>,
    renew_time: Option<String>,
}

impl LeaseObject {
    /// The node whose agent renews it; `None` for a Lease of somebody else.
    pub fn node(&self) -> Option<&str> {
        self.metadata.name.strip_prefix(AGENT).filter(|node| !node.is_empty())
    }
}

/// What an agent's Lease says. One that was never renewed, or is valid for no time, is an error.
pub fn renewal(object: &LeaseObject) -> Result<Renewal, ObjectError> {
    let LeaseObject { metadata, spec } = object;
    let error = |field: &str, message: &str| {
        let Metadata { namespace, name, .. } = metadata;
        ObjectError::new(format!("Lease {namespace}/{name}"), field, message)
    };
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let seconds = seconds.filter(|&seconds| seconds > 0);
    Ok(Renewal {
        revision: metadata.revision(),
        renewed: spec.renew_time.as_deref().ok_or_else(|| error("spec.renewTime", "is missing"))?.into(),
        duration_ms: seconds
            .ok_or_else(|| error("spec.leaseDurationSeconds", "is missing, or not positive"))?
            .saturating_mul(1000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Renewal, String> {
        let metadata =
            r#"{"namespace": "tangram-system", "name": "tangram-agent-n-a", "resourceVersion": "7"}"#;
        let object = serde_json::from_str(&format!(r#"{{"metadata": {metadata}, "spec": {spec}}}"#));
        renewal(&object.expect("a Lease")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_lease_is_an_agents_by_its_name() {
        let node = |name: &str| {
            let object: LeaseObject =
                serde_json::from_str(&format!(r#"{{"metadata": {{"name": {name:?}}}}}"#)).expect("a Lease");
            object.node().map(str::to_owned)
        };
        assert_eq!(node(&agent_lease("n-a")).as_deref(), Some("n-a"));
        assert_eq!([node("tangram"), node("tangram-scheduler"), node("tangram-agent-")], [None, None, None]);
    }

    #[test]
    fn a_lease_that_says_nothing_of_time_is_an_error_that_names_the_field() {
        let renewed = r#""renewTime": "2026-11-21T15:45:03.000000Z""#;
        let whole =
            Renewal { revision: 7, renewed: "2026-11-21T15:45:03.000000Z".into(), duration_ms: 40_000 };
        assert_eq!(read(&format!(r#"{{{renewed}, "leaseDurationSeconds": 40}}"#)), Ok(whole));
        let error = |field_and_message: &str| {
            Err(format!("Lease tangram-system/tangram-agent-n-a: {field_and_message}"))
        };
        assert_eq!(read(r#"{"leaseDurationSeconds": 40}"#), error("spec.renewTime: is missing"));
        for duration in ["", r#", "leaseDurationSeconds": 0"#, r#", "leaseDurationSeconds": -1"#] {
            let expected = error("spec.leaseDurationSeconds: is missing, or not positive");
            assert_eq!(read(&format!("{{{renewed}{duration}}}")), expected);
        }
    }
}
