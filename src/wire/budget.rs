//! `PodDisruptionBudget` (policy/v1) -> `repack::Budget`.

use serde::Deserialize;

use super::ObjectError;
use super::object::{Metadata, or_default};
use crate::model::{Expression, Operator};
use crate::repack::Budget;

/// A `PodDisruptionBudget` as Tangram reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BudgetObject {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<Selector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    disruptions_allowed: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    #[serde(deserialize_with = "or_default")]
    match_labels: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(deserialize_with = "or_default")]
    values: Vec<String>,
}

/// Reads a budget; `None` where it selects nothing. One without a status, which its controller has not seen,
/// allows no eviction, as the API server has it.
pub fn budget(object: &BudgetObject) -> Result<Option<Budget>, ObjectError> {
    let namespace = match object.metadata.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let Some(selector) = &object.spec.selector else { return Ok(None) };
    let labels = selector.match_labels.iter().map(|(key, value)| Expression {
        key: Some(key.as_str().into()),
        operator: Operator::In,
        values: vec![value.as_str().into()],
    });
    let mut expressions: Vec<Expression> = labels.collect();
    for requirement in &selector.match_expressions {
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let object = format!("PodDisruptionBudget {namespace}/{}", object.metadata.name);
                let message = format!("{other:?} is not known (In, NotIn, Exists, DoesNotExist)");
                return Err(ObjectError::new(object, "spec.selector.matchExpressions[].operator", message));
            }
        };
        let values = requirement.values.iter().map(|value| value.as_str().into()).collect();
        expressions.push(Expression { key: Some(requirement.key.as_str().into()), operator, values });
    }
    Ok(Some(Budget {
        namespace: namespace.into(),
        name: object.metadata.name.as_str().into(),
        selector: expressions,
        allowed: u32::try_from(object.status.disruptions_allowed).unwrap_or(0),
    }))
}
