//! Work that takes a while: off the threads that answer kube-scheduler, and only so much of it at once.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;

/// How much work a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Milliseconds.
    Light,
    /// Programs and searches: seconds.
    Heavy,
}

/// Questions of each kind that are worked on at once. Of the heavy ones few, whatever the machine has, so that
/// kube-scheduler's questions always find a core.
static LIGHT: Semaphore = Semaphore::const_new(8);
static HEAVY: Semaphore = Semaphore::const_new(2);

/// How long a question waits for its turn: longer than a heavy one takes unless more time was asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does the work when its turn comes.
pub(super) async fn solve<T: Send + 'static>(
    work: Work,
    job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turns = match work {
        Work::Light => &LIGHT,
        Work::Heavy => &HEAVY,
    };
    let busy = "as many questions as the server takes are worked on: ask again later";
    let turn = timeout(PATIENCE, turns.acquire()).await;
    let turn = turn.ok().and_then(Result::ok);
    let turn = turn.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy))?;
    let done = tokio::task::spawn_blocking(move || {
        let done = job();
        drop(turn); // not before the work is done, also where whoever asked is gone
        done
    });
    done.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error))?
}
