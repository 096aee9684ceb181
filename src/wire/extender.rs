//! The scheduler extender protocol, v1 (`k8s.io/kube-scheduler/extender/v1`), as kube-scheduler speaks it.
//!
//! Go types without JSON tags: keys are capitalised as in Go, matched in any casing when read, the last of
//! equal ones wins, and unset lists are `null`. Node names are borrowed from the body; answers are written
//! straight into bytes, since 5,000 names are asked about for every pod.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::PodObject;
pub use super::answers::{
    BindingResult, MetaPod, MetaVictims, PreemptionResult, Reason, Verdict, filter_error, filter_result,
    host_priorities,
};
use super::object::{Metadata, or_default};

/// Body of filter and prioritize.
#[derive(Debug)]
pub struct ExtenderArgs<'a> {
    /// The pod to place.
    pub pod: PodObject,
    /// The nodes asked about.
    pub nodes: Nodes<'a>,
}

/// Nodes in one of the two forms of `nodeCacheCapable`; the answer comes in the same form.
#[derive(Debug)]
pub enum Nodes<'a> {
    /// `nodeCacheCapable: true`: names.
    Names(Vec<Cow<'a, str>>),
    /// `nodeCacheCapable: false`: whole objects, kept as they came.
    Objects(Vec<NodeItem<'a>>),
}

/// A node object with its name.
#[derive(Debug, Clone)]
pub struct NodeItem<'a> {
    /// `metadata.name`.
    pub name: Cow<'a, str>,
    /// The object as it came.
    pub json: &'a RawValue,
}

impl Nodes<'_> {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        match self {
            Self::Names(names) => names.len(),
            Self::Objects(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name at a position.
    pub fn name(&self, position: usize) -> &str {
        match self {
            Self::Names(names) => &names[position],
            Self::Objects(items) => &items[position].name,
        }
    }
}

/// A text that borrows from the body where it holds no escape: serde's own `Vec<Cow<str>>` would copy.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> ExtenderArgs<'a> {
    /// Reads a body. `names_max` and `name_bytes_max` are limits of the configuration.
    pub fn parse(body: &'a [u8], names_max: usize, name_bytes_max: usize) -> Result<Self, String> {
        let raw: RawArgs<'a> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let nodes = match (raw.names, raw.nodes) {
            (Some(names), _) => Nodes::Names(names.into_iter().map(|name| name.0).collect()),
            (None, Some(list)) => Nodes::Objects(list.items()?),
            (None, None) => Nodes::Names(Vec::new()),
        };
        let count = nodes.len();
        if count > names_max {
            return Err(format!("{count} nodes, the limit is {names_max} (limits.nodeNames)"));
        }
        if let Some(position) = (0..count).find(|&position| nodes.name(position).len() > name_bytes_max) {
            let bytes = nodes.name(position).len();
            return Err(format!(
                "node name {position} has {bytes} bytes, the limit is {name_bytes_max} (limits.nameBytes)"
            ));
        }
        Ok(Self { pod: raw.pod.ok_or("Pod is missing")?, nodes })
    }
}

#[derive(Default)]
struct RawArgs<'a> {
    pod: Option<PodObject>,
    nodes: Option<NodeList<'a>>,
    names: Option<Vec<Name<'a>>>,
}

#[derive(Deserialize)]
struct NodeList<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    items: Vec<&'a RawValue>,
}

impl<'a> NodeList<'a> {
    fn items(self) -> Result<Vec<NodeItem<'a>>, String> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            metadata: NamedMetadata<'a>,
        }
        #[derive(Deserialize)]
        struct NamedMetadata<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        let item = |(position, json): (usize, &'a RawValue)| {
            let named: Named<'a> = serde_json::from_str(json.get())
                .map_err(|error| format!("Nodes.items[{position}]: {error}"))?;
            Ok(NodeItem { name: named.metadata.name, json })
        };
        self.items.into_iter().enumerate().map(item).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawArgs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Args<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Args<'a> {
            type Value = RawArgs<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ExtenderArgs: an object with Pod and NodeNames or Nodes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut args = RawArgs::default();
                while let Some(Name(key)) = map.next_key::<Name<'de>>()? {
                    match &*key.to_ascii_lowercase() {
                        "pod" => args.pod = map.next_value()?,
                        "nodes" => args.nodes = map.next_value()?,
                        "nodenames" => args.names = map.next_value()?,
                        _ => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(args)
            }
        }
        deserializer.deserialize_map(Args(std::marker::PhantomData))
    }
}

/// An object whose keys came in any casing, lowered; the last of equal ones wins.
struct Lowered(BTreeMap<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Lowered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Lowered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lowered, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
                    members.insert(key.to_ascii_lowercase(), value);
                }
                Ok(Lowered(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn lowered(body: &[u8]) -> Result<BTreeMap<String, serde_json::Value>, String> {
    serde_json::from_slice(body).map(|Lowered(members)| members).map_err(|error| error.to_string())
}

/// Takes a member of an object, in any casing.
fn member(object: &serde_json::Value, key: &str) -> Option<serde_json::Value> {
    object
        .as_object()?
        .iter()
        .rfind(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value.clone())
}

/// Body of bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingArgs {
    /// Name of the pod.
    pub pod_name: String,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// The node kube-scheduler chose.
    pub node: String,
}

impl BindingArgs {
    /// Reads a body. `name_bytes_max` is a limit of the configuration.
    pub fn parse(body: &[u8], name_bytes_max: usize) -> Result<Self, String> {
        let map = lowered(body)?;
        let text = |key: &str, name: &str| match map.get(key) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            None | Some(serde_json::Value::Null) => Ok(String::new()),
            Some(_) => Err(format!("{name} is not a string")),
        };
        let args = Self {
            pod_name: text("podname", "PodName")?,
            pod_namespace: text("podnamespace", "PodNamespace")?,
            pod_uid: text("poduid", "PodUID")?,
            node: text("node", "Node")?,
        };
        for (field, value) in
            [("PodName", &args.pod_name), ("PodNamespace", &args.pod_namespace), ("Node", &args.node)]
        {
            match value.len() {
                0 => return Err(format!("{field} is missing")),
                bytes if bytes > name_bytes_max => {
                    return Err(format!(
                        "{field} has {bytes} bytes, the limit is {name_bytes_max} (limits.nameBytes)"
                    ));
                }
                _ => {}
            }
        }
        Ok(args)
    }
}

/// Body of preempt: the pod, and per node the victims that kube-scheduler chose.
#[derive(Debug)]
pub struct PreemptionArgs {
    /// The pod that needs room.
    pub pod: PodObject,
    /// By node name, in order.
    pub victims: BTreeMap<String, Victims>,
}

/// Victims on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Victims {
    /// UIDs of the pods to evict.
    pub uids: Vec<String>,
    /// How many of them violate a PodDisruptionBudget, as kube-scheduler counted.
    pub pdb_violations: i64,
}

impl PreemptionArgs {
    /// Reads a body, in the meta form (UIDs) or with whole pods. `names_max` is a limit of the configuration.
    pub fn parse(body: &[u8], names_max: usize) -> Result<Self, String> {
        let map = lowered(body)?;
        let given = |key: &str| map.get(key).filter(|value| !value.is_null());
        let pod = given("pod").ok_or("Pod is missing")?;
        let pod = PodObject::deserialize(pod).map_err(|error| format!("Pod: {error}"))?;
        let (nodes, name) = match (given("nodenametometavictims"), given("nodenametovictims")) {
            (Some(meta), _) => (meta, "NodeNameToMetaVictims"),
            (None, Some(full)) => (full, "NodeNameToVictims"),
            (None, None) => return Ok(Self { pod, victims: BTreeMap::new() }),
        };
        let nodes = nodes.as_object().ok_or_else(|| format!("{name} is not an object"))?;
        if nodes.len() > names_max {
            return Err(format!("{} nodes, the limit is {names_max} (limits.nodeNames)", nodes.len()));
        }
        let victims = nodes.iter().map(|(node, victims)| {
            let victims = Victims::read(victims).map_err(|error| format!("{name}[{node:.253}]: {error}"))?;
            Ok((node.clone(), victims))
        });
        Ok(Self { pod, victims: victims.collect::<Result<_, String>>()? })
    }
}

impl Victims {
    fn read(value: &serde_json::Value) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Full {
            #[serde(deserialize_with = "or_default")]
            metadata: Metadata,
        }
        let pods = member(value, "pods").unwrap_or_default();
        let pods = if pods.is_null() { &[] } else { pods.as_array().ok_or("Pods is not a list")?.as_slice() };
        let uid = |pod: &serde_json::Value| match member(pod, "uid") {
            Some(serde_json::Value::String(uid)) => Ok(uid),
            Some(_) => Err("UID is not a string".to_owned()),
            None => Full::deserialize(pod).map(|pod| pod.metadata.uid).map_err(|error| error.to_string()),
        };
        let pdb_violations = member(value, "numpdbviolations").and_then(|count| count.as_i64()).unwrap_or(0);
        Ok(Self { uids: pods.iter().map(uid).collect::<Result<_, _>>()?, pdb_violations })
    }
}
