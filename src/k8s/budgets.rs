//! `PodDisruptionBudget`s of the cluster, read when a plan is made: rarely, and what they allow changes all the time.

use serde::Deserialize;

use super::access::{Access, Reply};
use crate::repack::Budget;
use crate::wire::{BudgetObject, budget};

const PATH: &str = "/apis/policy/v1/poddisruptionbudgets";

#[derive(Deserialize)]
struct Budgets {
    items: Vec<BudgetObject>,
}

/// All budgets as they are now.
///
/// # Errors
/// They cannot be read, and who may be moved is not known.
pub(super) async fn budgets(access: &Access) -> Result<Vec<Budget>, String> {
    let body = match access.get(PATH).await {
        Reply::Done(body) => body,
        Reply::Refused { code, message } => {
            return Err(format!("PodDisruptionBudgets cannot be listed: {code}: {message}"));
        }
        Reply::Unknown(error) => return Err(format!("PodDisruptionBudgets cannot be listed: {error}")),
    };
    let list: Budgets =
        serde_json::from_slice(&body).map_err(|error| format!("PodDisruptionBudgets: {error}"))?;
    let read = list.items.iter().map(budget).collect::<Result<Vec<_>, _>>();
    Ok(read.map_err(|error| error.to_string())?.into_iter().flatten().collect())
}
