//! What the server knows of the world behind the model: how old the model is, whether to answer at all.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::cache::Difference;
use crate::carry::Objection;
use crate::extender::Claims;
use crate::repack::Budget;
use crate::wire::plans::PlanView;
use crate::wire::repack::StepView;

/// A future that says where the model differs from the world.
pub type Compared<'a> = Pin<Box<dyn Future<Output = Result<Vec<Difference>, String>> + Send + 'a>>;

/// A future that says which `PodDisruptionBudget`s there are.
pub type Budgets<'a> = Pin<Box<dyn Future<Output = Result<Vec<Budget>, String>> + Send + 'a>>;

/// A future that says which plans there are.
pub type Listed<'a> = Pin<Box<dyn Future<Output = Result<Vec<PlanView>, Objection>> + Send + 'a>>;

/// A future that says what became of a wish for, or of, a plan.
pub type Planned<'a> = Pin<Box<dyn Future<Output = Result<PlanView, Objection>> + Send + 'a>>;

/// The world behind the model.
pub trait World: Debug + Send + Sync {
    /// Whether requests may change the model: where somebody else keeps the cluster, only that one may.
    fn is_embedded(&self) -> bool;

    /// Milliseconds since the model was last known to be true; `None` before it ever was.
    fn age_ms(&self) -> Option<u64>;

    /// Why this process does not answer; empty when it does.
    fn reasons_not_ready(&self) -> Vec<String>;

    /// Why no bind is possible just now, although this process answers.
    fn refuses_binds(&self) -> Option<String>;

    /// Rooms that are being made by eviction.
    fn claims(&self) -> Arc<Claims>;

    /// Whether room is made by eviction at all.
    fn evicts(&self) -> bool;

    /// `PodDisruptionBudget`s as they are now.
    fn budgets(&self) -> Budgets<'_>;

    /// Plans that are, or were, carried out, the oldest first.
    fn plans(&self) -> Listed<'_>;

    /// Has moves carried out, each step within so many seconds; answers once that is certain to begin.
    fn start_plan(&self, steps: Vec<StepView>, step_time_limit_seconds: Option<u32>) -> Planned<'_>;

    /// Stops a plan after the effect that is under way.
    fn stop_plan(&self, id: String) -> Planned<'_>;

    /// Where the model differs from the world.
    fn compare(&self) -> Compared<'_>;
}

/// There is no world: the model is all there is.
#[derive(Debug, Clone, Copy)]
pub struct Embedded;

impl World for Embedded {
    fn is_embedded(&self) -> bool {
        true
    }

    fn age_ms(&self) -> Option<u64> {
        Some(0)
    }

    fn reasons_not_ready(&self) -> Vec<String> {
        Vec::new()
    }

    fn refuses_binds(&self) -> Option<String> {
        None
    }

    fn claims(&self) -> Arc<Claims> {
        Arc::default()
    }

    fn evicts(&self) -> bool {
        false
    }

    fn budgets(&self) -> Budgets<'_> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn plans(&self) -> Listed<'_> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn start_plan(&self, _: Vec<StepView>, _: Option<u32>) -> Planned<'_> {
        Box::pin(async { Err(Objection::Embedded) })
    }

    fn stop_plan(&self, id: String) -> Planned<'_> {
        Box::pin(async { Err(Objection::Unknown(id)) })
    }

    fn compare(&self) -> Compared<'_> {
        Box::pin(async { Err("the model is embedded: there is nothing to compare it with".to_owned()) })
    }
}
