//! What the server knows of the world behind the model: how old the model is, whether to answer at all.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::cache::Difference;
use crate::extender::Claims;

/// A future that says where the model differs from the world.
pub type Compared<'a> = Pin<Box<dyn Future<Output = Result<Vec<Difference>, String>> + Send + 'a>>;

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

    fn compare(&self) -> Compared<'_> {
        Box::pin(async { Err("the model is embedded: there is nothing to compare it with".to_owned()) })
    }
}
