//! The model against the API server, now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::access::{Access, Reply};
use super::feed::{Feed, Kind};
use super::watch::{Page, encoded};
use crate::cache::{Cache, Difference, Options};
use crate::metrics::Metrics;
use crate::model::Policy;
use crate::owner::Model;
use crate::solver::Scores;
use crate::wire::Dialect;

/// What is on its way to the model arrives within this time; what differs longer, differs.
const SETTLED: Duration = Duration::from_secs(1);

/// Lists everything again and says where the model differs from it, twice in a row.
pub(super) async fn compare(
    access: &Access,
    model: &Model,
    dialect: &Arc<Dialect>,
) -> Result<Vec<Difference>, String> {
    let first = differences(access, model, dialect).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(SETTLED).await;
    let places = |difference: &Difference| (difference.object.clone(), difference.field);
    let before: BTreeSet<_> = first.iter().map(places).collect();
    let second = differences(access, model, dialect).await?;
    Ok(second.into_iter().filter(|difference| before.contains(&places(difference))).collect())
}

async fn differences(
    access: &Access,
    model: &Model,
    dialect: &Arc<Dialect>,
) -> Result<Vec<Difference>, String> {
    let fresh = fetch(access, dialect).await?;
    let compared = model.inspect(move |cache| cache.differences(&fresh)).await;
    compared.map_err(|stopped| stopped.to_string())
}

/// Lists everything into a model of its own.
pub(super) async fn fetch(access: &Access, dialect: &Arc<Dialect>) -> Result<Cache, String> {
    // Prices and limits of binds do not matter: nothing is placed on this one.
    let empty = Cache::new(Arc::new(Scores::prior()), Policy::default(), usize::MAX);
    let mut fresh = empty.live(Options { instance_timeout_ms: 0 });
    for kind in Kind::COMPARED {
        let mut feed = Feed::new(kind, "", dialect.clone(), Arc::new(Metrics::default()));
        let mut next = String::new();
        loop {
            let body =
                match access.get(&format!("{}?limit=500&continue={}", feed.path(), encoded(&next))).await {
                    Reply::Done(body) => body,
                    Reply::Refused { code, .. } if code == 404 && feed.is_optional() => break,
                    reply => return Err(format!("{} cannot be listed: {reply:?}", kind.name())),
                };
            let page: Page<'_> = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            for item in page.items {
                if let Some(event) = feed.applied(item.get()).1 {
                    fresh.apply(event);
                }
            }
            page.metadata.next.clone_into(&mut next);
            if next.is_empty() {
                break;
            }
        }
    }
    Ok(fresh)
}
