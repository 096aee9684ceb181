//! `PodDisruptionBudget`s: how many of some pods may be missing at once.

use std::sync::Arc;

use crate::model::{Expression, Operator, Pod};

/// One budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its namespace, in which alone it means something.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What the labels of its pods are like: all of these; every pod of the namespace where there is none.
    pub selector: Vec<Expression>,
    /// `status.disruptionsAllowed`: how many of its pods may be evicted now.
    pub allowed: u32,
}

impl Budget {
    /// Whether it is about this pod.
    pub fn covers(&self, pod: &Pod) -> bool {
        let labels = &pod.mobility.labels;
        let holds = |expression: &Expression| {
            let label = expression.key.as_ref().and_then(|key| labels.get(key));
            let is_listed = label.is_some_and(|label| expression.values.contains(label));
            match expression.operator {
                Operator::In => is_listed,
                Operator::NotIn => !is_listed,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
                Operator::Gt | Operator::Lt => false, // selectors of labels have neither
            }
        };
        self.namespace == pod.key.namespace && self.selector.iter().all(holds)
    }
}
