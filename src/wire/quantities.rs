//! Amounts of containers, and their totals over a pod.
//!
//! Kubernetes' rule (`PodRequests` in component-helpers): the larger of the sum over the containers and
//! restartable init containers, and the largest init container together with the restartable ones that
//! started before it.

use super::ObjectError;
use super::object::{Amount, Container, PodSpec};
use crate::units::{Quantity, QuantityError};

impl Amount {
    pub(super) fn quantity(&self) -> Result<Quantity, QuantityError> {
        match self {
            Self::Text(text) => Quantity::parse(text),
            Self::Number(number) => Quantity::parse(&number.to_string()),
        }
    }

    /// The amount for an error message: never more than a line of it.
    pub(super) fn shown(&self) -> String {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        if text.chars().count() > 40 { text.chars().take(40).chain("…".chars()).collect() } else { text }
    }
}

impl Container {
    pub(super) fn is_restartable(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// What the container asks of a resource; a limit without a request is the request.
    pub(super) fn asks(&self, resource: &str) -> Option<&Amount> {
        self.resources.requests.get(resource).or_else(|| self.resources.limits.get(resource))
    }

    /// Every resource name of the container.
    pub(super) fn resource_names(&self) -> impl Iterator<Item = &String> {
        self.resources.requests.keys().chain(self.resources.limits.keys())
    }
}

/// Position of a container in its pod, for error messages and totals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) container: &'a Container,
    pub(super) position: usize,
    pub(super) is_init: bool,
}

impl Slot<'_> {
    pub(super) fn field(&self, resource: &str) -> String {
        let list = if self.is_init { "initContainers" } else { "containers" };
        let which = if self.container.asks(resource).is_none()
            || self.container.resources.requests.contains_key(resource)
        {
            "requests"
        } else {
            "limits"
        };
        format!("spec.{list}[{}].resources.{which}[{resource}]", self.position)
    }

    /// Runs as long as the pod: a container proper, or a restartable init container.
    pub(super) fn is_lasting(&self) -> bool {
        !self.is_init || self.container.is_restartable()
    }
}

/// All containers of a pod in the order in which they start.
pub(super) fn slots(spec: &PodSpec) -> impl Iterator<Item = Slot<'_>> + Clone {
    let init = spec.init_containers.iter().enumerate();
    let init = init.map(|(position, container)| Slot { container, position, is_init: true });
    let main = spec.containers.iter().enumerate();
    init.chain(main.map(|(position, container)| Slot { container, position, is_init: false }))
}

/// The pod's total of one resource. `value` reads one container.
pub(super) fn total(
    spec: &PodSpec,
    value: impl Fn(Slot<'_>) -> Result<i64, ObjectError>,
) -> Result<i64, ObjectError> {
    let (mut lasting, mut peak) = (0_i64, 0_i64);
    for slot in slots(spec) {
        let value = value(slot)?;
        if slot.is_lasting() {
            lasting = lasting.saturating_add(value);
        } else {
            peak = peak.max(lasting.saturating_add(value));
        }
    }
    Ok(lasting.max(peak))
}
