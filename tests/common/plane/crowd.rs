//! A cluster with a scheduler, Tangram and agents, many pods, and what has to
//! hold when everything has come to rest.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tangram::cache::Cache;
use tangram::config::Config;
use tangram::model::Policy;
use tangram::solver::{Query, Scores, best};
use tangram::wire::{Dialect, cluster_events};

use super::truth::{Truth, key};
use super::{Plane, Scheduler, Tangram, wait_until};

/// Longer than anything takes that a test waits for, on a machine with all its
/// cores taken. kube-scheduler's own pauses after errors grow to ten seconds.
pub(crate) const LIMIT: Duration = Duration::from_mins(4);

/// The configuration that users are given for a scheduler with Tangram beside it.
const SECONDARY: &str = include_str!("../../../scheduler-config/secondary.yaml");

/// The configuration of a Tangram that is alone, with more of it if wanted.
pub(crate) fn alone(more: &Value) -> String {
    let mut kubernetes = json!({ "leaderElection": { "mode": "none" } });
    for (key, value) in more.as_object().into_iter().flatten() {
        kubernetes[key] = value.clone();
    }
    json!({ "kubernetes": kubernetes }).to_string()
}

/// Tangram alone on a way to the API server, ready.
pub(crate) async fn tangram_on(kubeconfig: &Path, more: &Value) -> Tangram {
    let mut tangram = Tangram::live(kubeconfig, &alone(more), None).await;
    tangram.ready().await;
    tangram
}

/// The pod, for the scheduler that asks Tangram.
pub(crate) fn for_tangram(mut pod: Pod) -> Pod {
    pod.spec.get_or_insert_default().scheduler_name = Some("tangram".to_owned());
    pod
}

/// The message of a pod's condition.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)?.message.as_deref()
}

impl Plane {
    /// A scheduler with the shipped configuration, asking `tangram`.
    pub(crate) async fn scheduler_for(&self, tangram: &Tangram) -> Scheduler {
        let shipped = "http://127.0.0.1:7240";
        assert!(SECONDARY.contains(shipped), "the shipped configuration asks on the loopback device");
        self.scheduler(&SECONDARY.replace(shipped, &tangram.url())).await
    }

    /// Waits until every one of `count` pods is bound or fits nowhere, and says
    /// what is there then. Checked by rules alone: nothing is held twice, and
    /// agents are asked for the instances of bound pods and for no others.
    pub(crate) async fn at_rest(&self, count: usize, tangram: &Tangram) -> Truth {
        let rest = async || {
            let truth = self.truth().await;
            let is_settled = |pod: &Pod| condition(pod, "tangram.gpu/Nominated").is_some();
            (truth.pods.len() == count && truth.pending().all(is_settled) && truth.unwanted().is_empty())
                .then_some(())
        };
        wait_until("all pods are bound or told why not", LIMIT, rest).await;
        let stuck = async || {
            let stuck = self.stuck(&self.truth().await).await;
            stuck.is_empty().then_some(())
        };
        wait_until("no pod waits that fits somewhere", LIMIT, stuck).await;
        agrees(tangram).await;
        let truth = self.truth().await;
        assert_eq!(truth.violations(), Vec::<String>::new());
        assert_eq!(truth.unwanted(), Vec::<String>::new());
        truth
    }

    /// Pending pods for which some node has room.
    pub(crate) async fn stuck(&self, truth: &Truth) -> Vec<String> {
        let scores = Arc::new(Scores::prior());
        let mut cache = Cache::new(scores.clone(), Policy::Pack, usize::MAX);
        let dialect = Dialect { is_live: true, ..Config::default().dialect() };
        let file = std::fs::File::open(self.capture().await).expect("the capture was written");
        cluster_events(file, &dialect, |event| drop(cache.apply(event))).expect("the capture is read");
        let fits = |pod: &&Pod| {
            let Some(known) = cache.pods().find(|known| known.key.to_string() == key(pod)) else {
                return false;
            };
            let query = Query::new(cache.cluster(), &scores, known, Policy::Pack);
            known.node.is_none() && best(cache.cluster(), known, &query).is_some()
        };
        truth.pending().filter(fits).map(key).collect()
    }
}

/// Waits until the model agrees with the API server.
pub(crate) async fn agrees(tangram: &Tangram) {
    let same = async || {
        let answer = tangram.try_get("/debug/compare").await.ok()?;
        let compared: Value = serde_json::from_str(&answer.body).ok()?;
        (compared["differences"] == json!([])).then_some(())
    };
    wait_until("the model agrees with the API server", LIMIT, same).await;
}
