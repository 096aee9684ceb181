//! Whether kube-scheduler asks about everything that the cluster has.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::owner::{Model, Stopped};
use crate::wire::scheduler_config::{resource_names, unmanaged};

/// Between two looks: nodes with new resources come seldom, and nobody waits for the warning.
const LOOK: Duration = Duration::from_secs(10);

/// Warns of every resource name of the cluster that a `KubeSchedulerConfiguration` lacks, once each.
pub(super) async fn watch(file: PathBuf, model: Model, metrics: Arc<Metrics>) -> Result<(), Stopped> {
    let mut warned: BTreeSet<String> = BTreeSet::new();
    let mut last_error = String::new();
    loop {
        let snapshot = model.snapshot();
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let missing = text.and_then(|text| unmanaged(&text, &resource_names(&snapshot.cluster)));
        match missing {
            Ok(missing) => {
                metrics.unmanaged(missing.len());
                for name in missing.iter().filter(|name| !warned.contains(*name)) {
                    warn!(
                        resource = name,
                        file = %file.display(),
                        "kube-scheduler does not ask Tangram about pods that ask for this resource: add it to managedResources (tangram scheduler-config prints the list)."
                    );
                }
                let missing: BTreeSet<String> = missing.into_iter().collect();
                for name in warned.difference(&missing) {
                    info!(resource = name, "The resource is managed now, or gone.");
                }
                warned = missing;
            }
            Err(error) if error != last_error => {
                warn!(file = %file.display(), error, "The scheduler's configuration cannot be read.");
                last_error = error;
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}
