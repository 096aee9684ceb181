//! The extender's answers: bodies in, bodies out, on one snapshot. No I/O, no lock, no effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Cluster, Hold, Node, NodeIndex, Pod, Policy, Row};
use crate::preempt::victims;
use crate::solver::{
    Cost, Query, Refusal, Scores, evaluate, fits, helped_by_eviction, lacking, levels, place,
};
use crate::wire::extender::{
    ExtenderArgs, MetaPod, MetaVictims, Nodes, PreemptionArgs, PreemptionResult, Reason, Verdict,
    filter_error, filter_result, host_priorities,
};
use crate::wire::{self, Dialect, NodeObject, Texts, node_facts};

/// Pods for which room is being made by eviction, by node: until they stand there, pods of lower priority
/// find no room in it.
pub type Claims = BTreeMap<Arc<str>, Vec<Arc<Pod>>>;

/// Everything an answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The snapshot.
    pub cluster: &'a Cluster,
    /// Prices.
    pub scores: &'a Scores,
    /// Policy of pods that choose none.
    pub policy: Policy,
    /// How objects are read.
    pub dialect: &'a Dialect,
    /// Rooms that are being made.
    pub claims: &'a Claims,
    /// Places that are kept for pods that move; in the snapshot each has its stand-in.
    pub holds: &'a [Hold],
    /// Whether Tangram itself evicts for MIG devices. kube-scheduler sees no victims for those, and says so in
    /// an error where it is led to look for them.
    pub evicts: bool,
}

/// Answers filter: which of the nodes asked about fit the pod, and why the others do not.
///
/// Also gives back the pod, where it could be read. A pod that makes no sense is refused by every node with
/// the same words. Each node is answered once, however often it is asked about.
pub fn filter(context: Context<'_>, args: &ExtenderArgs<'_>) -> (Vec<u8>, Option<Pod>) {
    let filtered = filtered(context, args);
    (filtered.body, filtered.pod)
}

/// An answer to filter, and what there is to say of it.
#[derive(Debug)]
pub struct Filtered {
    /// The answer.
    pub body: Vec<u8>,
    /// The pod, where it could be read.
    pub pod: Option<Pod>,
    /// Nodes that fit.
    pub fitting: usize,
    /// The different refusals, each with the number of nodes that refuse so.
    pub refusals: Vec<(Refusal, usize)>,
}

/// The same as [`filter`], with what there is to say of the answer.
pub fn filtered(context: Context<'_>, args: &ExtenderArgs<'_>) -> Filtered {
    let mut reasons = Reasons::default();
    let positions = distinct(context.cluster, &args.nodes);
    let pod = match wire::pod(&args.pod, context.dialect) {
        Ok(pod) => pod,
        Err(error) => {
            let reason = reasons.index(Refusal::Invalid(error.to_string().into()), true);
            let verdicts: Vec<Verdict> =
                positions.iter().map(|&(position, _)| Verdict { position, reason: Some(reason) }).collect();
            return reasons.answer(args, None, &verdicts);
        }
    };
    let query = Query::new(context.cluster, context.scores, &pod, context.policy);
    let mut verdicts = Vec::with_capacity(positions.len());
    for (position, index) in positions {
        let refusal = match index {
            None => Some((Refusal::UnknownNode, true)),
            Some(index) => refusal(context, index, &query, &pod),
        };
        let reason = refusal.map(|(refusal, is_final)| reasons.index(refusal, is_final));
        verdicts.push(Verdict { position, reason });
    }
    reasons.answer(args, Some(pod), &verdicts)
}

/// Answers filter for a simulation: nodes that are given as objects are as the objects say, with the pods that stand on
/// them here. One that the cluster does not have is empty, and its GPUs need no agent: an autoscaler's template.
pub fn simulate(context: Context<'_>, args: &ExtenderArgs<'_>) -> Vec<u8> {
    let Nodes::Objects(items) = &args.nodes else { return filter(context, args).0 };
    let mut cluster = context.cluster.clone();
    let mut texts = Texts::default();
    for item in items {
        let known = cluster.get(&item.name).cloned();
        let dialect =
            Dialect { is_live: known.is_some() && context.dialect.is_live, ..context.dialect.clone() };
        let object = serde_json::from_str::<NodeObject>(item.json.get()).map_err(|error| error.to_string());
        let read = |object| node_facts(&object, &dialect, &mut texts).map_err(|error| error.to_string());
        let mut facts = match object.and_then(read) {
            Ok(facts) => facts,
            Err(error) => return filter_error(&format!("node {}: {error}", item.name)),
        };
        facts.revision = 0; // as the model keeps it
        let node = match known {
            Some(node) if *node.facts == facts => continue,
            Some(node) => {
                Node::new(facts.into(), node.report.clone(), node.pods.clone()).with_agent(node.is_silent)
            }
            None => Node::new(facts.into(), None, Vec::new()),
        };
        cluster.put(node.into());
    }
    filter(Context { cluster: &cluster, ..context }, args).0
}

/// Why a node refuses, and whether evicting pods of lower priority could change that.
fn refusal(context: Context<'_>, index: NodeIndex, query: &Query<'_>, pod: &Pod) -> Option<(Refusal, bool)> {
    let cluster = context.cluster;
    let row = cluster.row(index);
    let refusal = room(context, index, query, pod).err()?;
    let is_final = refusal.is_final()
        || (context.evicts && refusal.is_of_mig())
        || row.traits.priority_min >= pod.priority
        || !helped_by_eviction(cluster, index, query, pod.priority);
    Some((refusal, is_final))
}

/// Whether a node has room for a pod, beside those that room is being made or kept for there.
fn room(context: Context<'_>, index: NodeIndex, query: &Query<'_>, pod: &Pod) -> Result<(), Refusal> {
    beside(context, index, query, pod, fits)
}

/// What a pod costs on a node, beside the same.
fn cost(context: Context<'_>, index: NodeIndex, query: &Query<'_>, pod: &Pod) -> Result<Cost, Refusal> {
    beside(context, index, query, pod, evaluate)
}

fn beside<T>(
    context: Context<'_>,
    index: NodeIndex,
    query: &Query<'_>,
    pod: &Pod,
    look: impl Fn(Row<'_>, &Query<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let cluster = context.cluster;
    if !context.holds.is_empty() {
        let node = cluster.node(index);
        if let Some(hold) = context.holds.iter().find(|hold| hold.is_for(pod)) {
            // A place is kept for it here, or it goes nowhere.
            if node.facts.name != hold.node {
                return Err(Refusal::HeldElsewhere);
            }
            return look(cluster.columns(&hold.off(node)).row(), query);
        }
        // kube-scheduler knows nothing of stand-ins.
        let is_near = context.holds.iter().any(|hold| hold.node == node.facts.name);
        if is_near && lacking(&pod.demand, node).is_some() {
            return Err(Refusal::Held);
        }
    }
    let alone = look(cluster.row(index), query)?;
    if context.claims.is_empty() {
        return Ok(alone);
    }
    let Some(with_claims) = with_claims(context, index, pod) else { return Ok(alone) };
    look(cluster.columns(&with_claims).row(), query).map_err(|_| Refusal::Claimed)
}

/// The node with the pods of at least this priority that room is being made for, as far as there is any yet.
fn with_claims(context: Context<'_>, index: NodeIndex, pod: &Pod) -> Option<Node> {
    let node = context.cluster.node(index);
    let claims = context.claims.get(&node.facts.name)?;
    let mut with = Node::clone(node);
    for claimant in
        claims.iter().filter(|claimant| claimant.key != pod.key && claimant.priority >= pod.priority)
    {
        let query = Query::new(context.cluster, context.scores, claimant, context.policy);
        if let Ok(placement) = place(context.cluster, &with, &claimant.request, &query) {
            with = with.with(&Arc::new(claimant.bound_to(node.facts.name.clone(), placement)));
        }
    }
    Some(with)
}

/// Answers prioritize: a level from 10 down to 0 per node, by rank of cost. Nodes that do not fit get 0.
pub fn prioritize(context: Context<'_>, args: &ExtenderArgs<'_>) -> Vec<u8> {
    let positions = distinct(context.cluster, &args.nodes);
    let Ok(pod) = wire::pod(&args.pod, context.dialect) else {
        return host_priorities(&args.nodes, positions.into_iter().map(|(position, _)| (position, 0)));
    };
    let query = Query::new(context.cluster, context.scores, &pod, context.policy);
    let mut fitting = Vec::with_capacity(positions.len());
    let mut costs: Vec<Cost> = Vec::with_capacity(positions.len());
    let mut others = Vec::new();
    for (position, index) in positions {
        match index.map(|index| cost(context, index, &query, &pod)) {
            Some(Ok(cost)) => {
                fitting.push(position);
                costs.push(cost);
            }
            _ => others.push((position, 0)),
        }
    }
    let name = |at: usize| args.nodes.name(fitting[at]);
    let levels = levels(&costs, |a, b| name(a) < name(b));
    host_priorities(&args.nodes, fitting.iter().copied().zip(levels).chain(others))
}

/// Answers preempt: the nodes on which evicting victims really makes room, with the victims that have to
/// go. Nodes where it does not, unknown nodes and nodes that fit without evicting are left out:
/// kube-scheduler takes a node without victims for an error of the whole preemption.
pub fn preempt(context: Context<'_>, args: &PreemptionArgs) -> Result<PreemptionResult, wire::ObjectError> {
    let Context { cluster, scores, policy, dialect, .. } = context;
    let pod = wire::pod(&args.pod, dialect)?;
    let candidate = |(name, chosen): (&String, &wire::extender::Victims)| {
        let index = cluster.index(name)?;
        let uids: Vec<Arc<str>> = chosen.uids.iter().map(|uid| uid.as_str().into()).collect();
        let victims = victims(cluster, scores, policy, &pod, index, &uids)?;
        if victims.is_empty() {
            return None;
        }
        let most = i64::try_from(victims.len()).unwrap_or(i64::MAX);
        let pods = victims.iter().map(|uid| MetaPod { uid: uid.to_string() }).collect();
        Some((name.clone(), MetaVictims { pods, pdb_violations: chosen.pdb_violations.clamp(0, most) }))
    };
    Ok(PreemptionResult { victims: args.victims.iter().filter_map(candidate).collect() })
}

/// The nodes of a request with their positions in it, each once, in the order asked.
fn distinct(cluster: &Cluster, nodes: &Nodes<'_>) -> Vec<(usize, Option<NodeIndex>)> {
    let mut seen = vec![false; cluster.slots()];
    let mut unknown = BTreeSet::new();
    let mut distinct = Vec::with_capacity(nodes.len());
    for position in 0..nodes.len() {
        let name = nodes.name(position);
        let index = cluster.index(name);
        let is_new = match index {
            Some(index) => !std::mem::replace(&mut seen[index.get()], true),
            None => unknown.insert(name),
        };
        if is_new {
            distinct.push((position, index));
        }
    }
    distinct
}

/// The few distinct refusals of one answer; nodes refer to them by number.
#[derive(Debug, Default)]
struct Reasons(Vec<(Refusal, bool)>);

impl Reasons {
    fn index(&mut self, refusal: Refusal, is_final: bool) -> usize {
        let reason = (refusal, is_final);
        self.0.iter().position(|known| *known == reason).unwrap_or_else(|| {
            self.0.push(reason);
            self.0.len() - 1
        })
    }

    fn answer(self, args: &ExtenderArgs<'_>, pod: Option<Pod>, verdicts: &[Verdict]) -> Filtered {
        let body = filter_result(&args.nodes, verdicts, &self.texts());
        let mut refusals: Vec<(Refusal, usize)> =
            self.0.into_iter().map(|(refusal, _)| (refusal, 0)).collect();
        for reason in verdicts.iter().filter_map(|verdict| verdict.reason) {
            refusals[reason].1 += 1;
        }
        let refused: usize = refusals.iter().map(|(_, nodes)| nodes).sum();
        Filtered { body, pod, fitting: verdicts.len() - refused, refusals }
    }

    fn texts(&self) -> Vec<Reason> {
        self.0
            .iter()
            .map(|(refusal, is_final)| Reason { text: refusal.to_string(), is_final: *is_final })
            .collect()
    }
}
