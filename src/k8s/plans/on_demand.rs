//! Moves for a pod that fits nowhere: a plan of the same kind as those that people ask for, of few steps, within a
//! budget of moves per hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{info, warn};

use super::carrier::now;
use super::{Plans, Wish};
use crate::carry::{Objection, moves_on_demand};
use crate::config::OnDemand as Options;
use crate::k8s::access::Access;
use crate::k8s::budgets::budgets;
use crate::k8s::tell::{Status, Teller};
use crate::model::{Pod, PodKey};
use crate::owner::Snapshot;
use crate::repack::{Allowance, Ask, Budget, Goal, Limits, Plan, Spot, repack};
use crate::wire::plans::{PlanState, RoomFor};
use crate::wire::repack::StepView;

/// A pod is not looked at again for so long, and a room that was made is kept for so long: kube-scheduler tries a pod
/// that it refused again after at most 10 s.
const PATIENCE_MS: u64 = 60_000;
/// Pods looked at at once: each is a search over all nodes.
const PODS_PER_LOOK: usize = 2;

/// Makes room by moves.
#[derive(Debug)]
pub(in crate::k8s) struct OnDemand {
    access: Access,
    plans: Plans,
    options: Options,
    /// Until when a pod is not looked at again, by UID.
    patience: BTreeMap<Arc<str>, u64>,
    /// Pods with a room, and since when its plan is over.
    rooms: BTreeMap<PodKey, Option<u64>>,
}

impl OnDemand {
    pub(in crate::k8s) fn if_enabled(access: &Access, plans: &Plans, options: Options) -> Option<Self> {
        let (access, plans) = (access.clone(), plans.clone());
        let (patience, rooms) = (BTreeMap::new(), BTreeMap::new());
        options.enabled.then_some(Self { access, plans, options, patience, rooms })
    }

    /// Pods for which room is being made, with its node, also by a leader before this one.
    pub(in crate::k8s) async fn rooms(&mut self) -> Vec<(PodKey, Arc<str>)> {
        let plans = self.plans.list().await.unwrap_or_default();
        let running = plans.iter().filter(|plan| plan.state == PlanState::Running);
        let rooms: Vec<(PodKey, Arc<str>)> = running
            .filter_map(|plan| plan.room.as_ref())
            .map(|room| (key(room), room.node.as_str().into()))
            .collect();
        for (pod, _) in &rooms {
            self.rooms.insert(pod.clone(), None);
        }
        rooms
    }

    /// Pods whose plan has been over for so long that they would stand there by now.
    pub(in crate::k8s) async fn given_up(&mut self, now_ms: u64) -> Vec<PodKey> {
        let plans = if self.rooms.is_empty() { Ok(Vec::new()) } else { self.plans.list().await };
        let Ok(plans) = plans else { return Vec::new() };
        let mut over = Vec::new();
        self.rooms.retain(|pod, since_ms| {
            let is_running = plans.iter().any(|plan| {
                plan.state == PlanState::Running && plan.room.as_ref().is_some_and(|room| key(room) == *pod)
            });
            if is_running {
                return true;
            }
            let since_ms = *since_ms.get_or_insert(now_ms);
            let is_over = now_ms.saturating_sub(since_ms) >= PATIENCE_MS;
            if is_over {
                over.push(pod.clone());
            }
            !is_over
        });
        over
    }

    /// Begins a plan for one of the pods that no node has room for, in their order; says which pod gets which node.
    pub(in crate::k8s) async fn make_room(
        &mut self,
        snapshot: &Snapshot,
        waiting: &[Arc<Pod>],
        now_ms: u64,
        teller: &Teller,
    ) -> Option<(PodKey, Arc<str>)> {
        self.patience.retain(|_, until_ms| *until_ms > now_ms);
        let plans = self.plans.list().await.ok()?;
        let used = moves_on_demand(&plans, &now());
        let left = self.options.moves_per_hour.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        let moves = self.options.moves_per_pod.min(left);
        if moves == 0 || plans.iter().any(|plan| plan.state == PlanState::Running) {
            return None;
        }
        let is_due = |pod: &&Arc<Pod>| !self.patience.contains_key(&pod.uid);
        let pods: Vec<Arc<Pod>> = waiting.iter().filter(is_due).take(PODS_PER_LOOK).cloned().collect();
        if pods.is_empty() {
            return None;
        }
        let budgets = match budgets(&self.access).await {
            Ok(budgets) => budgets,
            Err(error) => {
                warn!(error, "Nothing is moved.");
                return None;
            }
        };
        for pod in pods {
            self.patience.insert(pod.uid.clone(), now_ms + PATIENCE_MS);
            let planned = tokio::task::block_in_place(|| plan(snapshot, &pod, moves, &budgets));
            let Some((plan, node)) = planned else { continue };
            if self.begin(&pod, &plan, &node, teller).await.is_ok() {
                self.rooms.insert(pod.key.clone(), None);
                return Some((pod.key.clone(), node));
            }
        }
        None
    }

    async fn begin(&self, pod: &Pod, plan: &Plan, node: &Arc<str>, teller: &Teller) -> Result<(), Objection> {
        let room = RoomFor {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            uid: pod.uid.to_string(),
            node: node.to_string(),
        };
        let steps = plan.steps.iter().map(StepView::from).collect();
        let wish = Wish { steps, step_time_limit_seconds: None, room: Some(room) };
        let started = self.plans.start(wish).await;
        let started =
            started.inspect_err(|error| warn!(pod = %pod.key, %error, "No room is made by moves."))?;
        let names: Vec<String> = plan.steps.iter().map(|step| step.pod.key.to_string()).collect();
        info!(pod = %pod.key, %node, plan = started.id, moves = names.join(", "), "Making room by moves.");
        teller.status(pod, &Status::Nominated(node.clone())).await.ok();
        let told = format!("Making room on node {node}: moving {}", names.join(", "));
        teller.event(&pod.key, &pod.uid, "Normal", "MakingRoom", &told).await;
        Ok(())
    }
}

fn key(room: &RoomFor) -> PodKey {
    PodKey { namespace: room.namespace.as_str().into(), name: room.name.as_str().into() }
}

/// Moves of at most so many pods, none of a higher priority, after which the pod has a place; and its node.
fn plan(snapshot: &Snapshot, pod: &Arc<Pod>, moves: u32, budgets: &[Budget]) -> Option<(Plan, Arc<str>)> {
    let goal = Goal::Room { pods: vec![pod.clone()], is_gang: false };
    let limits = Limits {
        all: Allowance { moves: Some(moves), memory_mib: None },
        per_namespace: Allowance::default(),
        priority_max: Some(pod.priority),
    };
    let ask = Ask { goal: &goal, limits: &limits, budgets, effort: None };
    let plan = repack(&snapshot.cluster, &snapshot.scores, &ask);
    let plan = plan.inspect_err(|fault| warn!(pod = %pod.key, %fault, "No moves are planned.")).ok()?;
    let Some(Some(Spot { node, .. })) = plan.places.first() else { return None };
    let node = node.clone();
    (plan.is_reached && !plan.steps.is_empty()).then_some((plan, node))
}
