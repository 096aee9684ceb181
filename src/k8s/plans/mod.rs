//! Plans that are carried out: one at a time, one step at a time, by the replica that leads.
//!
//! | file | |
//! |---|---|
//! | `store` | the record of plans, in the cluster |
//! | `carrier` | the task that does what `crate::carry` says |
//! | `on_demand` | moves for a pod that fits nowhere |

mod carrier;
pub(super) mod on_demand;
mod store;

use tokio::sync::{mpsc, oneshot};

pub(super) use carrier::Carrier;
pub(super) use store::{Kept, Store, Trouble};

use crate::carry::Objection;
use crate::wire::plans::{PlanView, RoomFor};
use crate::wire::repack::StepView;

/// What somebody wants of the carrier.
#[derive(Debug)]
pub(super) enum Ask {
    /// Which plans there are, the oldest first.
    List(oneshot::Sender<Result<Vec<PlanView>, Objection>>),
    /// A plan is to be carried out.
    Start(Wish, oneshot::Sender<Result<PlanView, Objection>>),
    /// A plan is to end after the effect that is under way.
    Stop(String, oneshot::Sender<Result<PlanView, Objection>>),
}

/// A plan that somebody wants.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) steps: Vec<StepView>,
    /// `None`: as configured.
    pub(super) step_time_limit_seconds: Option<u32>,
    pub(super) room: Option<RoomFor>,
}

/// Access to plans for everyone but the carrier.
#[derive(Debug, Clone)]
pub(super) struct Plans {
    asks: mpsc::Sender<Ask>,
}

impl Plans {
    /// The plans that are, or were, carried out, the oldest first.
    pub(super) async fn list(&self) -> Result<Vec<PlanView>, Objection> {
        self.ask(Ask::List).await
    }

    /// Has a plan carried out; answers once it is recorded.
    pub(super) async fn start(&self, wish: Wish) -> Result<PlanView, Objection> {
        self.ask(|answer| Ask::Start(wish, answer)).await
    }

    /// Stops a plan; answers once that is recorded.
    pub(super) async fn stop(&self, id: String) -> Result<PlanView, Objection> {
        self.ask(|answer| Ask::Stop(id, answer)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Objection>>) -> Ask,
    ) -> Result<T, Objection> {
        let stops = || Objection::NotLeading("the process stops".to_owned());
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| stops())?;
        answered.await.map_err(|_| stops())?
    }
}
