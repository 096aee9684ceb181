//! What a pod asks of kube-scheduler's own filters.

use super::ObjectError;
use super::object::{Port, Requirement, TolerationObject};
use super::pod::Reader;
use super::quantities::{Slot, slots, total};
use crate::model::{Affinity, Demand, Expression, HostPort, Operator, Resources, TaintEffect, Toleration};
use crate::units::Quantity;

impl Reader<'_> {
    fn amount(&self, slot: Slot<'_>, resource: &str, unit: fn(Quantity) -> i64) -> Result<i64, ObjectError> {
        let Some(amount) = slot.container.asks(resource) else { return Ok(0) };
        amount
            .quantity()
            .map(unit)
            .map_err(|why| self.error(slot.field(resource), format!("{:?} is {why}", amount.shown())))
    }

    pub(super) fn demand(&self) -> Result<Demand, ObjectError> {
        let spec = &self.object.spec;
        let of = |resource: &'static str, unit: fn(Quantity) -> i64| -> Result<i64, ObjectError> {
            let sum = total(spec, |slot| self.amount(slot, resource, unit))?;
            let overhead = spec.overhead.get(resource).map_or(Ok(0), |amount| amount.quantity().map(unit));
            let overhead =
                overhead.map_err(|why| self.error(format!("spec.overhead[{resource}]"), why.to_string()))?;
            Ok(sum.saturating_add(overhead))
        };
        let resources = Resources {
            cpu_milli: of("cpu", Quantity::milli)?,
            memory_bytes: of("memory", Quantity::units_rounded_up)?,
            ephemeral_bytes: of("ephemeral-storage", Quantity::units_rounded_up)?,
            pods: 1,
        };
        let has_volume = spec
            .volumes
            .iter()
            .any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
        let has_pod_affinity =
            spec.affinity.pod_affinity.is_some() || spec.affinity.pod_anti_affinity.is_some();
        let has_unmodelled = has_volume || has_pod_affinity || !spec.topology_spread_constraints.is_empty();
        let host_ports = self.host_ports();
        let node_selector =
            spec.node_selector.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        let chosen = self.affinity().and_then(|affinity| Ok((affinity, self.tolerations()?)));
        let ((affinity, tolerations), is_readable) = match chosen {
            Ok(chosen) => (chosen, true),
            // A bound pod has passed those filters, perhaps under rules newer than these; it is not to be moved by them.
            Err(_) if !spec.node_name.is_empty() => (Default::default(), false),
            Err(error) => return Err(error),
        };
        Ok(Demand {
            resources,
            node_selector: node_selector.collect(),
            affinity,
            tolerations,
            host_ports,
            has_unmodelled: has_unmodelled || !is_readable,
        })
    }

    fn tolerations(&self) -> Result<Vec<Toleration>, ObjectError> {
        self.object.spec.tolerations.iter().map(|toleration| self.toleration(toleration)).collect()
    }

    /// The ports of containers and of restartable init containers, as kube-scheduler's `NodePorts` counts
    /// them; with the host's network every port of a container is one of the host's.
    fn host_ports(&self) -> Vec<HostPort> {
        let spec = &self.object.spec;
        let is_on_host = spec.host_network == Some(true);
        let ports = slots(spec).filter(Slot::is_lasting).flat_map(|slot| &slot.container.ports);
        let host_port = |port: &Port| {
            let number = port.host_port.filter(|&port| port > 0);
            Some(HostPort {
                protocol: port.protocol.as_deref().filter(|text| !text.is_empty()).unwrap_or("TCP").into(),
                ip: port.host_ip.as_deref().filter(|ip| *ip != "0.0.0.0").unwrap_or_default().into(),
                port: number.or(port.container_port.filter(|_| is_on_host))?,
            })
        };
        ports.filter_map(host_port).collect()
    }

    fn affinity(&self) -> Result<Affinity, ObjectError> {
        let required =
            &self.object.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution;
        let Some(selector) = required else { return Ok(None) };
        let terms = selector.node_selector_terms.iter().map(|term| {
            let labels = term.match_expressions.iter().map(|requirement| self.expression(requirement, false));
            let fields = term.match_fields.iter().map(|requirement| self.expression(requirement, true));
            labels.chain(fields).collect()
        });
        terms.collect::<Result<_, _>>().map(Some)
    }

    fn expression(&self, requirement: &Requirement, is_field: bool) -> Result<Expression, ObjectError> {
        const FIELD: &str = "spec.affinity.nodeAffinity";
        if is_field && requirement.key != "metadata.name" {
            return Err(
                self.error(FIELD, format!("matchFields knows metadata.name only, not {:?}", requirement.key))
            );
        }
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            other => return Err(self.error(FIELD, format!("operator {other:?} is not known"))),
        };
        Ok(Expression {
            key: (!is_field).then(|| requirement.key.as_str().into()),
            operator,
            values: requirement.values.iter().map(|value| value.as_str().into()).collect(),
        })
    }

    fn toleration(&self, toleration: &TolerationObject) -> Result<Toleration, ObjectError> {
        let effect = match toleration.effect.as_deref().unwrap_or_default() {
            "" => None,
            "NoSchedule" => Some(TaintEffect::NoSchedule),
            "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
            "NoExecute" => Some(TaintEffect::NoExecute),
            other => return Err(self.error("spec.tolerations", format!("effect {other:?} is not known"))),
        };
        let is_exists = toleration.operator.as_deref() == Some("Exists");
        let value =
            if is_exists { None } else { Some(toleration.value.as_deref().unwrap_or_default().into()) };
        let key = toleration.key.as_deref().filter(|key| !key.is_empty()).map(Into::into);
        Ok(Toleration { key, value, effect })
    }
}
