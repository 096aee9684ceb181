//! Traces of pods and nodes: one JSON object per line, in the order of time.
//!
//! ```text
//! {"at": 0, "node": {…a Node…}}           a node is there, or is another now
//! {"at": 12.5, "pod": {…a Pod…}}          a pod comes, and is bound where it fits
//! {"at": 60, "delete": "research/train"}  a pod goes
//! {"at": 90, "deleteNode": "gpu-07"}      a node goes, and its pods with it
//! ```
//!
//! `at` is in seconds from any moment. Objects are read as in a cluster file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::fragmentation::FragmentationView;
use super::placement::DeviceForm;
use super::{Dialect, NodeObject, PodObject, Texts, node_facts, pod};
use crate::model::{NodeFacts, Pod, PodKey};

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, in seconds.
    pub at: f64,
    /// What.
    pub happening: Happening,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A pod comes.
    Pod(Arc<Pod>),
    /// A pod goes.
    PodDeleted(PodKey),
    /// A node is there with these facts.
    Node(Arc<NodeFacts>),
    /// A node goes.
    NodeDeleted(Arc<str>),
}

impl Happening {
    /// The field of the line that says so.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Pod(_) => "pod",
            Self::PodDeleted(_) => "delete",
            Self::Node(_) => "node",
            Self::NodeDeleted(_) => "deleteNode",
        }
    }
}

/// A line that cannot be read, or cannot be true.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {field}: {message}")]
pub struct TraceError {
    /// The line, from 1.
    pub line: usize,
    /// The field; `line` for all of it.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Reads a trace line by line.
#[derive(Debug)]
pub struct TraceReader<'a> {
    dialect: &'a Dialect,
    texts: Texts,
    line: usize,
    at: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    at: f64,
    pod: Option<Box<RawValue>>,
    delete: Option<String>,
    node: Option<Box<RawValue>>,
    delete_node: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind {
    kind: Option<String>,
}

const ONE_OF: &str = "exactly one of pod, delete, node and deleteNode";

impl<'a> TraceReader<'a> {
    /// At the start of a trace.
    pub fn new(dialect: &'a Dialect) -> Self {
        Self { dialect, texts: Texts::default(), line: 0, at: f64::NEG_INFINITY }
    }

    /// Reads the next line; an empty one says nothing.
    pub fn read(&mut self, text: &str) -> Result<Option<Step>, TraceError> {
        self.line += 1;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let line: Line = serde_json::from_str(text).map_err(|error| self.malformed("line", &error))?;
        if !line.at.is_finite() || line.at < self.at {
            let message = format!("{} comes before the line above, which is at {}", line.at, self.at);
            return Err(self.wrong("at", message));
        }
        self.at = line.at;
        let happening = match (line.pod, line.delete, line.node, line.delete_node) {
            (Some(text), None, None, None) => Happening::Pod(Arc::new(self.pod(text.get())?)),
            (None, Some(name), None, None) => Happening::PodDeleted(self.key(&name)?),
            (None, None, Some(text), None) => Happening::Node(Arc::new(self.node(text.get())?)),
            (None, None, None, Some(name)) => Happening::NodeDeleted(name.into()),
            _ => return Err(self.wrong("line", format!("it has to have {ONE_OF}"))),
        };
        Ok(Some(Step { at: line.at, happening }))
    }

    /// That what the last line says cannot be.
    pub fn wrong(&self, field: &'static str, message: String) -> TraceError {
        TraceError { line: self.line, field, message }
    }

    fn malformed(&self, field: &'static str, error: &serde_json::Error) -> TraceError {
        // The line is this one, whatever the parser of its text counts.
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(&*text, |(message, _)| message);
        self.wrong(field, format!("{message} (column {})", error.column()))
    }

    fn pod(&self, text: &str) -> Result<Pod, TraceError> {
        self.check_kind("pod", text, "Pod")?;
        let object: PodObject = serde_json::from_str(text).map_err(|error| self.malformed("pod", &error))?;
        if object.metadata.name.is_empty() {
            return Err(self.wrong("pod", "metadata.name: is missing".to_owned()));
        }
        if object.has_ended() {
            return Err(self.wrong("pod", "status.phase: the pod has ended before it comes".to_owned()));
        }
        pod(&object, self.dialect).map_err(|error| self.wrong("pod", error.to_string()))
    }

    fn node(&mut self, text: &str) -> Result<NodeFacts, TraceError> {
        self.check_kind("node", text, "Node")?;
        let object: NodeObject =
            serde_json::from_str(text).map_err(|error| self.malformed("node", &error))?;
        node_facts(&object, self.dialect, &mut self.texts)
            .map_err(|error| self.wrong("node", error.to_string()))
    }

    fn check_kind(&self, field: &'static str, text: &str, wanted: &str) -> Result<(), TraceError> {
        let Kind { kind } = serde_json::from_str(text).map_err(|error| self.malformed(field, &error))?;
        match kind {
            Some(kind) if kind != wanted => Err(self.wrong(field, format!("kind: {kind:?} is not {wanted}"))),
            _ => Ok(()),
        }
    }

    fn key(&self, name: &str) -> Result<PodKey, TraceError> {
        match name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(PodKey { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(self.wrong("delete", format!("{name:?} is not NAMESPACE/NAME"))),
        }
    }
}

/// What became of a trace.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceReport {
    /// Lines that say something.
    pub steps: u64,
    /// Time from the first to the last of them.
    pub seconds: f64,
    /// The pods of the trace.
    pub pods: PodCounts,
    /// Why pods did not fit when they came, most frequent first.
    pub reasons: Vec<ReasonCount>,
    /// Nodes at the end.
    pub nodes: usize,
    /// The cluster at the end, as `GET /v1/fragmentation` shows it.
    pub fragmentation: Option<FragmentationView>,
}

/// The pods of a trace, counted.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// Came.
    pub came: u64,
    /// Of those, came with a node: they run there already.
    pub came_bound: u64,
    /// Bound when they came.
    pub accepted: u64,
    /// Fitted nowhere when they came.
    pub refused: u64,
    /// Of the refused, bound later, when something was freed.
    pub accepted_later: u64,
    /// Of the refused, deleted while they waited.
    pub gave_up: u64,
    /// Of the refused, wait still at the end.
    pub waiting: u64,
    /// Went with their node.
    pub lost: u64,
    /// Mean time that those bound later waited.
    pub waited_seconds_mean: f64,
    /// Longest such time.
    pub waited_seconds_max: f64,
}

/// Why pods did not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// In words.
    pub reason: String,
    /// Pods that some node refused so.
    pub pods: u64,
    /// Nodes that did, over all pods.
    pub nodes: u64,
}

/// A decision, as `--decisions` writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionForm {
    /// When.
    pub at: f64,
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Where to; none: it fits nowhere.
    pub node: Option<String>,
    /// The GPU instances that it gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceForm>,
}
