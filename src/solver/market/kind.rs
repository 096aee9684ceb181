//! Kinds of request for counted devices.

use std::sync::Arc;

use crate::model::{Expression, MODEL_LABELS, Pod, mib};
use crate::solver::intree::holds;
use crate::solver::share::{Ask, Models, WHOLE};

/// What one pod asks of the nodes' counted devices, CPU and memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The resource; `None` for a pod that asks for no device and takes CPU and memory from those that do.
    pub resource: Option<Arc<str>>,
    /// Units of the resource.
    pub units: u32,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Which GPU models will do.
    pub choice: Choice,
}

impl Kind {
    /// The kinds of a pod: one per counted resource, or one without any; none for a pod of GPU instances alone.
    pub fn of(pod: &Pod) -> impl Iterator<Item = Self> {
        let resources = pod.demand.resources;
        let choice = Choice::of(pod);
        let kind = move |resource: Option<&Arc<str>>, units| Self {
            resource: resource.cloned(),
            units,
            cpu_milli: u64::try_from(resources.cpu_milli).unwrap_or(0),
            memory_mib: mib(resources.memory_bytes),
            choice: choice.clone(),
        };
        let alone = pod.request.is_empty().then(|| kind(None, 0));
        pod.request.counted.iter().map(move |(resource, units)| kind(Some(resource), *units)).chain(alone)
    }

    /// As the prices see it; a unit is a whole device to them.
    pub(super) fn ask(&self, models: Models) -> Ask {
        let milli = if self.units > 0 { WHOLE } else { 0 };
        Ask { gpus: self.units, milli, cpu_milli: self.cpu_milli, memory_mib: self.memory_mib, models }
    }
}

/// The part of a pod's node selector and required affinity that is about [`MODEL_LABELS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    selector: Vec<(Arc<str>, Arc<str>)>,
    terms: Option<Vec<Vec<Expression>>>,
}

impl Choice {
    fn of(pod: &Pod) -> Self {
        let is_of_model = |key: &str| MODEL_LABELS.contains(&key);
        let selector = pod.demand.node_selector.iter().filter(|(key, _)| is_of_model(key)).cloned().collect();
        let expressions = |term: &Vec<Expression>| {
            let of_model = |expression: &&Expression| expression.key.as_deref().is_some_and(is_of_model);
            term.iter().filter(of_model).cloned().collect::<Vec<Expression>>()
        };
        // What a term says of other labels some node of each model may have; an empty term holds nowhere.
        let terms =
            pod.demand.affinity.as_ref().map(|terms| {
                terms.iter().filter(|term| !term.is_empty()).map(expressions).collect::<Vec<_>>()
            });
        let terms = terms.filter(|terms| terms.iter().all(|term| !term.is_empty()));
        Self { selector, terms }
    }

    /// Whether nodes with these labels will do.
    pub fn accepts(&self, labels: &[(Arc<str>, Arc<str>)]) -> bool {
        let value = |key: &str| labels.iter().find(|(known, _)| **known == *key).map(|(_, value)| value);
        let is_selected = self.selector.iter().all(|(key, wanted)| value(key) == Some(wanted));
        let term_holds = |term: &Vec<Expression>| {
            term.iter().all(|expression| holds(expression, expression.key.as_deref().and_then(value)))
        };
        is_selected && self.terms.as_ref().is_none_or(|terms| terms.iter().any(term_holds))
    }
}
