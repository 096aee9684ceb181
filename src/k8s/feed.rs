//! Objects as they come from the API server, turned into events; what makes no sense is noted, by object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::cache::{Event, ResetKind};
use crate::metrics::Metrics;
use crate::model::PodKey;
use crate::wire::{self, Dialect, GpuNodeObject, LeaseObject, NodeObject, ObjectError, PodObject, Texts};

/// What a feed reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nodes,
    Pods,
    GpuNodes,
    Leases,
}

impl Kind {
    /// Pods last: most of them stand on a node that is known then.
    pub(super) const ALL: [Self; 4] = [Self::Nodes, Self::GpuNodes, Self::Leases, Self::Pods];
    /// Those that one list tells the whole truth of: how long an agent has been silent knows only who listened.
    pub(super) const COMPARED: [Self; 3] = [Self::Nodes, Self::GpuNodes, Self::Pods];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nodes => "Node",
            Self::Pods => "Pod",
            Self::GpuNodes => "GpuNode",
            Self::Leases => "Lease",
        }
    }

    fn path(self, agents: &str) -> String {
        match self {
            Self::Nodes => "/api/v1/nodes".to_owned(),
            Self::Pods => "/api/v1/pods".to_owned(),
            Self::GpuNodes => "/apis/tangram.gpu/v1alpha1/gpunodes".to_owned(),
            // The agents' and a few more: a name's beginning cannot be asked for.
            Self::Leases => format!("/apis/coordination.k8s.io/v1/namespaces/{agents}/leases"),
        }
    }
}

/// Turns objects of one kind into events.
#[derive(Debug)]
pub(super) struct Feed {
    kind: Kind,
    path: String,
    dialect: Arc<Dialect>,
    metrics: Arc<Metrics>,
    texts: Texts,
    problems: BTreeMap<PodKey, String>, // objects that could not be read, with the reason
}

type Read = Result<(PodKey, Event), (PodKey, ObjectError)>;

impl Feed {
    /// `agents` is the namespace of the agents' Leases.
    pub(super) fn new(kind: Kind, agents: &str, dialect: Arc<Dialect>, metrics: Arc<Metrics>) -> Self {
        let path = kind.path(agents);
        Self { kind, path, dialect, metrics, texts: Texts::default(), problems: BTreeMap::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether a cluster may do without the kind: without agents there is no `GpuNode`.
    pub(super) fn is_optional(&self) -> bool {
        self.kind == Kind::GpuNodes
    }

    pub(super) fn reset_kind(&self) -> ResetKind {
        match self.kind {
            Kind::Nodes => ResetKind::Nodes,
            Kind::Pods => ResetKind::Pods,
            Kind::GpuNodes => ResetKind::Reports,
            Kind::Leases => ResetKind::Agents,
        }
    }

    /// An object exists like this. Its name counts as live also when the rest could not be read: what was
    /// known of it stays. One that is nothing of ours gives nothing.
    pub(super) fn applied(&mut self, text: &str) -> (Option<PodKey>, Option<Event>) {
        let read = match self.kind {
            Kind::Nodes => self.node(text),
            Kind::Pods => self.pod(text),
            Kind::GpuNodes => gpu_node(text),
            Kind::Leases => match agent(text) {
                Some(read) => read,
                None => return (None, None),
            },
        };
        match read {
            Ok((key, event)) => {
                if let Some(problem) = self.problems.remove(&key) {
                    info!(problem, "The object can be read again.");
                    self.count();
                }
                (Some(key), Some(event))
            }
            Err((key, error)) => {
                let error = error.to_string();
                self.metrics.unreadable(self.kind.name());
                if self.problems.get(&key) != Some(&error) {
                    warn!(error, "An object cannot be read; what was known of it stays.");
                    self.problems.insert(key.clone(), error);
                    self.count();
                }
                (Some(key), None)
            }
        }
    }

    /// An object is gone; this was its last state.
    pub(super) fn deleted(&mut self, text: &str) -> Option<Event> {
        let named: Named = serde_json::from_str(text).unwrap_or_default();
        let key = match self.kind {
            Kind::Leases => of_node(serde_json::from_str::<LeaseObject>(text).ok()?.node()?),
            Kind::Nodes | Kind::Pods | Kind::GpuNodes => named.key(),
        };
        if self.problems.remove(&key).is_some() {
            self.count();
        }
        Some(match self.kind {
            Kind::Nodes => Event::NodeDeleted(key.name),
            Kind::Pods => Event::PodGone(key, named.metadata.uid.into()),
            Kind::GpuNodes => Event::Report(key.name, None),
            Kind::Leases => Event::Agent(key.name, None),
        })
    }

    /// Forgets problems of objects that a complete list does not have.
    pub(super) fn keep_problems_of(&mut self, live: &BTreeSet<PodKey>) {
        self.problems.retain(|key, _| live.contains(key));
        self.count();
    }

    fn count(&self) {
        self.metrics.unreadable_now(self.kind.name(), self.problems.len());
    }

    fn node(&mut self, text: &str) -> Read {
        let object: NodeObject = parse("Node", text)?;
        let key = of_node(object.name());
        match wire::node_facts(&object, &self.dialect, &mut self.texts) {
            Ok(facts) => Ok((key, Event::NodeApplied(Arc::new(facts)))),
            Err(error) => Err((key, error)),
        }
    }

    fn pod(&self, text: &str) -> Read {
        let object: PodObject = parse("Pod", text)?;
        let event = pod_event(&object, &self.dialect).map_err(|error| (object.key(), error))?;
        Ok((object.key(), event))
    }
}

/// What a version of a pod means: it is there, or it has ended and holds nothing any more.
pub(super) fn pod_event(object: &PodObject, dialect: &Dialect) -> Result<Event, ObjectError> {
    if object.has_ended() {
        return Ok(Event::PodGone(object.key(), object.uid()));
    }
    wire::pod(object, dialect).map(|pod| Event::PodApplied(Arc::new(pod)))
}

fn gpu_node(text: &str) -> Read {
    let object: GpuNodeObject = parse("GpuNode", text)?;
    let key = of_node(object.name());
    match wire::gpu_report(object) {
        Ok((name, report)) => Ok((key, Event::Report(name.into(), Some(Arc::new(report))))),
        Err(error) => Err((key, error)),
    }
}

/// A Lease; `None` where it is not an agent's.
fn agent(text: &str) -> Option<Read> {
    let object: LeaseObject = match parse("Lease", text) {
        Ok(object) => object,
        Err(error) => return Some(Err(error)),
    };
    let key = of_node(object.node()?);
    Some(match wire::renewal(&object) {
        Ok(renewal) => Ok((key.clone(), Event::Agent(key.name, Some(renewal)))),
        Err(error) => Err((key, error)),
    })
}

/// The key of what is named like its node.
fn of_node(name: &str) -> PodKey {
    PodKey { namespace: "".into(), name: name.into() }
}

fn parse<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, (PodKey, ObjectError)> {
    serde_json::from_str(text).map_err(|error| {
        let key = serde_json::from_str::<Named>(text).unwrap_or_default().key();
        let object = if key.namespace.is_empty() { key.name.to_string() } else { key.to_string() };
        let error = ObjectError {
            object: format!("{kind} {object}"),
            field: "document".to_owned(),
            message: error.to_string(),
        };
        (key, error)
    })
}

/// What every object has, whatever else is wrong with it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Named {
    metadata: NamedMeta,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct NamedMeta {
    namespace: String,
    name: String,
    uid: String,
}

impl Named {
    fn key(&self) -> PodKey {
        let NamedMeta { namespace, name, .. } = &self.metadata;
        PodKey { namespace: namespace.as_str().into(), name: name.as_str().into() }
    }
}
