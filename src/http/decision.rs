//! What is said of each decision: one span, one line, counters.
//!
//! A bind, and a refusal that is another than the last of its pod, are said at level info; everything else at debug,
//! where it costs nothing unless somebody listens.

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use tracing::{Span, debug, debug_span, field, info};

use super::App;
use crate::cache;
use crate::extender::Filtered;
use crate::metrics::{Outcome, Running, Verb};
use crate::model::{Placement, PodKey};
use crate::owner::Snapshot;
use crate::solver::Refusal;
use crate::wire::extender::{BindingArgs, ExtenderArgs};

/// Refusals that a line names; kube-scheduler's own message has them all.
const REASONS_SAID: usize = 4;

/// A request of kube-scheduler on its way to an answer.
pub(super) struct Decision<'a> {
    app: &'a App,
    running: Running<'a>,
    /// Its span.
    pub(super) span: Span,
}

impl<'a> Decision<'a> {
    /// A request has come.
    pub(super) fn start(app: &'a App, verb: Verb) -> Self {
        let running = app.metrics.decisions.start(verb);
        let span = debug_span!(
            "decision",
            verb = verb.name(),
            pod = field::Empty,
            node = field::Empty,
            generation = field::Empty,
            outcome = field::Empty,
        );
        Self { app, running, span }
    }

    /// What is asked, and the model that answers.
    pub(super) fn asks(&self, pod: &dyn fmt::Display, node: Option<&str>, snapshot: &Snapshot) {
        self.span.record("pod", field::display(pod));
        self.span.record("generation", snapshot.generation);
        if let Some(node) = node {
            self.span.record("node", node);
        }
    }

    /// The nodes were filtered.
    pub(super) fn filtered(
        &self,
        args: &ExtenderArgs<'_>,
        filtered: &Filtered,
        snapshot: &Snapshot,
    ) -> Outcome {
        let decisions = &self.app.metrics.decisions;
        decisions.filter(args.nodes.len());
        for (refusal, nodes) in &filtered.refusals {
            decisions.refused(refusal, *nodes);
        }
        let pod = args.pod.key();
        self.asks(&pod, (args.nodes.len() == 1).then(|| args.nodes.name(0)), snapshot);
        let (nodes, generation) = (args.nodes.len(), snapshot.generation);
        let uid = args.pod.uid();
        let is_news = decisions.news.is_new(if uid.is_empty() { &pod.name } else { &uid }, digest(filtered));
        if filtered.fitting > 0 {
            debug!(%pod, nodes, generation, "Nodes that fit: {}.", filtered.fitting);
            return Outcome::Done;
        }
        if is_news {
            info!(%pod, nodes, generation, "No node fits: {}.", Why(&filtered.refusals));
        } else {
            debug!(%pod, nodes, generation, "No node fits, as before: {}.", Why(&filtered.refusals));
        }
        Outcome::Refused
    }

    /// Victims were sought, and found on so many nodes.
    pub(super) fn preempted(&self, pod: &PodKey, nodes: usize, snapshot: &Snapshot) -> Outcome {
        self.asks(pod, None, snapshot);
        let generation = snapshot.generation;
        debug!(%pod, generation, "Room could be made on {nodes} nodes.");
        if nodes > 0 { Outcome::Done } else { Outcome::Refused }
    }

    /// A bind has ended, as the model now is; why it failed, for kube-scheduler.
    pub(super) fn bound(
        &self,
        args: &BindingArgs,
        outcome: cache::Outcome,
        snapshot: &Snapshot,
    ) -> Result<(), String> {
        let (node, generation) = (args.node.as_str(), snapshot.generation);
        let pod = format!("{}/{}", args.pod_namespace, args.pod_name);
        self.asks(&pod, Some(node), snapshot);
        match outcome {
            cache::Outcome::NotBound(error) => {
                info!(pod, node, generation, "Not bound: {error}.");
                Err(error.to_string())
            }
            cache::Outcome::Bound(placement) => {
                info!(pod, node, generation, "Bound{}.", Where(&placement));
                Ok(())
            }
            cache::Outcome::Changed | cache::Outcome::Unchanged | cache::Outcome::Underway(_) => Ok(()),
        }
    }

    /// The answer is made.
    pub(super) fn end(self, outcome: Outcome) {
        self.span.record("outcome", outcome.name());
        self.running.end(outcome);
    }
}

/// A number that tells answers apart by what they say, in whatever order nodes were asked, and not by how many nodes
/// say it: that changes all the time.
fn digest(filtered: &Filtered) -> u64 {
    let refusals = filtered.refusals.iter();
    let mut said: Vec<String> = refusals.map(|(refusal, _)| refusal.to_string()).collect();
    said.sort_unstable();
    BuildHasherDefault::<DefaultHasher>::default().hash_one((filtered.fitting > 0, said))
}

/// Refusals in words, the most frequent first.
struct Why<'a>(&'a [(Refusal, usize)]);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&(Refusal, usize)> = self.0.iter().collect();
        sorted.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        for (position, (refusal, nodes)) in sorted.iter().take(REASONS_SAID).enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
            write!(f, "{refusal} ({nodes} {})", if *nodes == 1 { "node" } else { "nodes" })?;
        }
        if sorted.is_empty() {
            f.write_str("none was asked about")?;
        }
        Ok(())
    }
}

/// The GPU instances of a pod in words.
struct Where<'a>(&'a Placement);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, device) in self.0.devices.iter().enumerate() {
            f.write_str(if position == 0 { ": " } else { ", " })?;
            write!(f, "{} at {} of GPU {}", device.profile, device.start, device.gpu)?;
        }
        Ok(())
    }
}
