//! Labels that tell mig-manager which layout a node is to have: one node at a time, only while nobody holds what
//! changes.
//!
//! mig-manager says `success` at once where the layout is there already, and leaves an old `success` standing until it
//! has looked; so the write that names the layout also says `pending`, as mig-manager itself would, and a later
//! `success` or `failed` is about this layout. Source: `pkg/mig/reconfigure/reconfigure.go` of NVIDIA/mig-parted.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use super::access::{Access, Reply};
use crate::layouts::{Layout, StaticNode};
use crate::model::Node;
use crate::wire::layouts::{CutView, NodeView, cut_views};
use crate::wire::mig_parted::{CONFIG_LABEL, STATE_LABEL};
use crate::wire::{Dialect, GpuNodeObject, NodeObject, PodObject, Texts, gpu_report, node_facts, pod};

/// Between two looks at a node that mig-manager works on; it takes seconds to minutes.
const LOOK: Duration = Duration::from_secs(1);
/// Tries where somebody else writes the node at the same moment.
const TRIES: usize = 5;

/// What a failure mostly is.
const FAILED: &str = "mig-manager failed: its log says why, mostly that its configuration has no such layout, or that \
                      something still uses a GPU";

/// Writes layouts' names.
#[derive(Debug)]
pub struct Relabel {
    /// The API server.
    pub access: Access,
    /// How objects are read.
    pub dialect: Arc<Dialect>,
    /// As the plan was made; see [`survey`](crate::layouts::survey).
    pub by_gpu: bool,
    /// The same.
    pub may_split: bool,
}

impl Relabel {
    /// Gives a node the layout that a plan has for it.
    ///
    /// # Errors
    /// Why not: the node is another than the one that was planned for, somebody holds it by now, the API server
    /// refuses, or it did not answer and nobody knows.
    pub async fn select(&self, planned: &NodeView) -> Result<(), String> {
        let Some(config) = &planned.new_config else { return Ok(()) };
        for _ in 0..TRIES {
            let node = self.look(&planned.name).await?;
            unchanged(&node, planned, self.by_gpu, self.may_split)?;
            let patch = json!({ "metadata": {
                "resourceVersion": node.facts.revision.to_string(),
                "labels": { CONFIG_LABEL: config, STATE_LABEL: "pending" },
            }});
            match self.access.merge_by_key(&node_path(&planned.name), &patch).await {
                Reply::Done(_) => return Ok(()),
                Reply::Refused { code: StatusCode::CONFLICT, .. } => {}
                Reply::Refused { code, message } => return Err(format!("{code}: {message}")),
                Reply::Unknown(error) => {
                    return Err(format!("nobody knows whether the label was written: {error}"));
                }
            }
        }
        Err(format!("somebody else wrote the node each time, {TRIES} times"))
    }

    /// Waits until mig-manager has made the layout; `progress` hears each word that it says.
    ///
    /// # Errors
    /// That it failed, that the label was changed by somebody else, or that nothing came of it in time.
    pub async fn settled(
        &self,
        planned: &NodeView,
        limit: Duration,
        mut progress: impl FnMut(&str),
    ) -> Result<(), String> {
        let until = Instant::now() + limit;
        let mut said = String::new();
        loop {
            let Ok(reply) = timeout_at(until, self.access.get(&node_path(&planned.name))).await else {
                return Err(format!("not within {limit:?}; {STATE_LABEL}: {said}"));
            };
            let state = match reply {
                Reply::Done(body) => self.state(&body, planned)?,
                Reply::Refused { code, message } => return Err(format!("{code}: {message}")),
                Reply::Unknown(error) => format!("unknown: {error}"),
            };
            if state != said {
                progress(&state);
                said.clone_from(&state);
            }
            match state.as_str() {
                "success" => return Ok(()),
                "failed" => return Err(FAILED.to_owned()),
                _ => sleep(LOOK).await,
            }
        }
    }

    /// What mig-manager says of the layout; an error where another one was selected since.
    fn state(&self, body: &[u8], planned: &NodeView) -> Result<String, String> {
        let object: NodeObject = parse(body)?;
        let facts = node_facts(&object, &self.dialect, &mut Texts::default());
        let facts = facts.map_err(|error| error.to_string())?;
        let label = |key: &str| facts.labels.get(key).map_or("", |value| &**value);
        if Some(label(CONFIG_LABEL)) != planned.new_config.as_deref() {
            return Err(format!("somebody else set {CONFIG_LABEL}: {}", label(CONFIG_LABEL)));
        }
        Ok(label(STATE_LABEL).to_owned())
    }

    /// A node with its pods and its agent's report, as they are now.
    async fn look(&self, name: &str) -> Result<Node, String> {
        // The node first: a pod that is bound later is in the list.
        let object: NodeObject = parse(&self.read(&node_path(name)).await?)?;
        let facts =
            node_facts(&object, &self.dialect, &mut Texts::default()).map_err(|error| error.to_string())?;
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{name}");
        let list = self.read(&path).await?;
        let list: Items<'_> = serde_json::from_slice(&list).map_err(|error| format!("{path}: {error}"))?;
        let mut pods = Vec::new();
        for item in list.items {
            let object: PodObject = parse(item.get().as_bytes())?;
            if !object.has_ended() {
                pods.push(Arc::new(pod(&object, &self.dialect).map_err(|error| error.to_string())?));
            }
        }
        let path = format!("/apis/tangram.gpu/v1alpha1/gpunodes/{name}");
        let report = match self.access.get(&path).await {
            Reply::Done(body) => {
                let object: GpuNodeObject = parse(&body)?;
                Some(Arc::new(gpu_report(object).map_err(|error| error.to_string())?.1))
            }
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => None,
            reply => return Err(format!("{path}: {reply:?}")),
        };
        Ok(Node::new(Arc::new(facts), report, pods))
    }

    async fn read(&self, path: &str) -> Result<axum::body::Bytes, String> {
        match self.access.get(path).await {
            Reply::Done(body) => Ok(body),
            Reply::Refused { code, message } => Err(format!("{path}: {code}: {message}")),
            Reply::Unknown(error) => Err(format!("{path}: {error}")),
        }
    }
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

/// Whether a node is still the one that was planned for, and what is to change still free.
fn unchanged(node: &Node, planned: &NodeView, by_gpu: bool, may_split: bool) -> Result<(), String> {
    let Some(now) = StaticNode::of(node, by_gpu, may_split) else {
        return Err("the node is no longer one that mig-manager partitions".to_owned());
    };
    if let Some(fixed) = &now.fixed {
        return Err(fixed.to_string());
    }
    if *now.config != *planned.config || cut_views(&now) != planned.now || now.gpus.len() != planned.gpus {
        return Err("its GPUs, or their layout, are no longer those that were planned for".to_owned());
    }
    let is_kept = |index: u16, layout: Option<&Layout>| {
        let of = |cut: &&CutView| cut.gpus.as_ref().is_none_or(|gpus| gpus.contains(&index));
        let then = planned.then.iter().find(of);
        then.zip(layout).is_some_and(|(then, layout)| then.is(layout))
    };
    match now.gpus.iter().find(|gpu| gpu.stays && !is_kept(gpu.index, gpu.layout.as_ref())) {
        Some(gpu) => Err(format!("a pod holds GPU {} by now", gpu.index)),
        None => Ok(()),
    }
}
