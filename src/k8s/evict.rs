//! Preemption where kube-scheduler cannot: victims chosen by Tangram, evicted through the API.
//!
//! `PodDisruptionBudget`s are read when they are needed, which is rarely: the API server itself says which
//! pods each covers, and refuses an eviction that a budget does not allow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::json;
use tracing::{info, warn};

use super::access::{Access, Reply};
use super::tell::{Status, Teller, Told};
use super::write::pod_path;
use crate::metrics::{Evicted, Metrics};
use crate::model::{Pod, PodKey, Policy};
use crate::owner::Snapshot;
use crate::preempt::{Eviction, eviction};

/// A minute, in which so many evictions are allowed.
const MINUTE_MS: u64 = 60_000;
/// A pod for which room was made is not looked at again for so long: its victims need time to end.
const PATIENCE_MS: u64 = 60_000;
/// Pods looked at at once: each may mean a search over all nodes.
const PODS_PER_LOOK: usize = 4;

/// Makes room.
#[derive(Debug)]
pub(super) struct Evictor {
    pub(super) access: Access,
    pub(super) policy: Policy,
    pub(super) metrics: Arc<Metrics>,
    pub(super) per_minute: usize,
    /// When evictions were asked for, in the last minute.
    pub(super) recent: VecDeque<u64>,
    /// Until when a pod has its room being made, by UID.
    pub(super) patience: BTreeMap<Arc<str>, (PodKey, u64)>,
}

/// A budget: the pods it covers, by UID, and how many of them may go now.
struct Budget {
    pods: BTreeSet<String>,
    allowed: usize,
}

impl Evictor {
    pub(super) fn new(access: Access, policy: Policy, metrics: Arc<Metrics>, per_minute: usize) -> Self {
        let (recent, patience) = (VecDeque::new(), BTreeMap::new());
        Self { access, policy, metrics, per_minute, recent, patience }
    }

    /// Pods for which room was being made for too long.
    pub(super) fn given_up(&mut self, now_ms: u64) -> Vec<PodKey> {
        let is_over = |(_, until_ms): &(PodKey, u64)| *until_ms <= now_ms;
        let over = self.patience.values().filter(|patience| is_over(patience));
        let over = over.map(|(key, _)| key.clone()).collect();
        self.patience.retain(|_, patience| !is_over(patience));
        over
    }

    /// Makes room for pods that no node has any for, in their order; says which pod gets which node.
    pub(super) async fn make_room(
        &mut self,
        snapshot: &Snapshot,
        waiting: &[Arc<Pod>],
        now_ms: u64,
        teller: &Teller,
    ) -> Vec<(PodKey, Arc<str>)> {
        while self.recent.front().is_some_and(|at_ms| at_ms + MINUTE_MS <= now_ms) {
            self.recent.pop_front();
        }
        let may_preempt = |pod: &&Arc<Pod>| {
            !pod.request.slices.is_empty()
                && !self.patience.contains_key(&pod.uid)
                && !pod.waiting.as_ref().is_some_and(|waiting| waiting.never_preempts)
        };
        let pods: Vec<&Arc<Pod>> = waiting.iter().filter(may_preempt).take(PODS_PER_LOOK).collect();
        let cluster = &snapshot.cluster;
        let lowest =
            cluster.indices().map(|index| cluster.row(index).traits.priority_min).min().unwrap_or(i32::MAX);
        let mut claims = Vec::new();
        let mut used = BTreeSet::new(); // nodes that this look has claimed already
        for pod in pods.into_iter().filter(|pod| pod.priority > lowest) {
            let Some(budgets) = self.budgets().await else { break };
            let Some(chosen) = self.choose(snapshot, pod, &budgets) else { continue };
            let is_over = self.recent.len() + chosen.victims.len() > self.per_minute;
            if is_over || !used.insert(chosen.node.clone()) {
                continue;
            }
            self.patience.insert(pod.uid.clone(), (pod.key.clone(), now_ms + PATIENCE_MS));
            if self.carry_out(pod, &chosen, now_ms, teller).await {
                claims.push((pod.key.clone(), chosen.node));
            }
        }
        claims
    }

    fn choose(&self, snapshot: &Snapshot, pod: &Pod, budgets: &[Budget]) -> Option<Eviction> {
        let may_evict = |other: &Pod| {
            budgets.iter().all(|budget| budget.allowed > 0 || !budget.pods.contains(&*other.uid))
        };
        let may_go = |victims: &[Arc<Pod>]| {
            let covered =
                |budget: &Budget| victims.iter().filter(|victim| budget.pods.contains(&*victim.uid)).count();
            budgets.iter().all(|budget| covered(budget) <= budget.allowed)
        };
        tokio::task::block_in_place(|| {
            eviction(&snapshot.cluster, &snapshot.scores, self.policy, pod, may_evict, may_go)
        })
    }

    /// Nominates the node first, so that the room is kept; then asks for the evictions one by one, and stops
    /// at the first that is refused.
    async fn carry_out(&mut self, pod: &Pod, chosen: &Eviction, now_ms: u64, teller: &Teller) -> bool {
        let Eviction { node, victims } = chosen;
        if !matches!(teller.status(pod, &Status::Nominated(node.clone())).await, Ok(Told::Done)) {
            return false;
        }
        let names: Vec<String> = victims.iter().map(|victim| victim.key.to_string()).collect();
        info!(pod = %pod.key, %node, victims = names.join(", "), "Making room.");
        for victim in victims {
            self.recent.push_back(now_ms);
            let reply = evict(&self.access, &victim.key, &victim.uid).await;
            if !matches!(reply, Reply::Done(_)) {
                warn!(pod = %victim.key, ?reply, "An eviction was refused; the rest is left.");
                self.metrics.eviction(Evicted::Refused);
                return false;
            }
            self.metrics.eviction(Evicted::Done);
            let note = format!(
                "Evicted for pod {} of priority {} (this one has {}): no GPU had room for its MIG devices",
                pod.key, pod.priority, victim.priority
            );
            teller.event(&victim.key, &victim.uid, "Normal", "Preempted", &note).await;
        }
        let note = format!("Making room on node {node}: evicted {}", names.join(", "));
        teller.event(&pod.key, &pod.uid, "Normal", "MakingRoom", &note).await;
        true
    }

    /// All budgets as they are now; `None` when they cannot be read, and then nobody is evicted.
    async fn budgets(&self) -> Option<Vec<Budget>> {
        let Reply::Done(body) = self.access.get("/apis/policy/v1/poddisruptionbudgets").await else {
            warn!("PodDisruptionBudgets cannot be read: nobody is evicted.");
            return None;
        };
        let list: Items<PodDisruptionBudget> = serde_json::from_slice(&body).ok()?;
        let mut budgets = Vec::new();
        for budget in list.items {
            let namespace = budget.metadata.namespace.unwrap_or_default();
            let Some(selector) = budget.spec.and_then(|spec| spec.selector) else { continue };
            let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", query(&selector));
            let Reply::Done(body) = self.access.get(&path).await else { return None };
            let pods: Items<Covered> = serde_json::from_slice(&body).ok()?;
            let allowed = budget.status.and_then(|status| status.disruptions_allowed);
            budgets.push(Budget {
                pods: pods.items.into_iter().map(|pod| pod.metadata.uid).collect(),
                allowed: usize::try_from(allowed.unwrap_or(0)).unwrap_or(0),
            });
        }
        Some(budgets)
    }
}

/// Asks for the eviction of the pod of that UID, within the `PodDisruptionBudget`s.
pub(super) async fn evict(access: &Access, pod: &PodKey, uid: &str) -> Reply {
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": &*pod.name, "namespace": &*pod.namespace },
        "deleteOptions": { "preconditions": { "uid": uid } },
    });
    access.create(&format!("{}/eviction", pod_path(pod)), &body).await
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Covered {
    metadata: CoveredMeta,
}

#[derive(Deserialize)]
struct CoveredMeta {
    uid: String,
}

/// A selector as the API server reads it in a query, percent-encoded.
fn query(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let (key, values) = (&expression.key, expression.values.clone().unwrap_or_default().join(","));
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    super::watch::encoded(&labels.chain(expressions).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_query() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": { "app": "a" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["x", "y"] },
                { "key": "gone", "operator": "DoesNotExist" },
            ],
        }))
        .unwrap();
        assert_eq!(query(&selector), "app%3Da%2Ctier%20in%20%28x%2Cy%29%2C%21gone");
        assert_eq!(query(&LabelSelector::default()), "");
    }
}
