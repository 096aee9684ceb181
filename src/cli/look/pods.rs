//! `tangram pods`.

use std::process::ExitCode;

use serde_json::Value;

use super::read::{Pod, PodList, read};
use super::{Look, View, fitted, listed, pages};
use crate::cli::target::Connection;
use crate::config::Config;

/// Show the pods that ask for GPUs: where they are, or why they wait
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pods {
    /// Only those of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only those that wait
    #[arg(long)]
    pending: bool,
    #[command(flatten)]
    look: Look,
}

impl Pods {
    pub(in crate::cli) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        self.look.run(config, self)
    }
}

impl View for Pods {
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value> {
        let state = self.pending.then(|| "state=pending".to_owned());
        let namespace = self.namespace.as_ref().map(|name| format!("namespace={name}"));
        let query: Vec<String> = state.into_iter().chain(namespace).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        pages(connection, &format!("/v1/pods{query}"), "pods")
    }

    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String> {
        let PodList { pods } = read(answer)?;
        let rows = pods.iter().map(|pod| {
            let (node, what) = match &pod.node {
                Some(node) => (node.as_str(), listed(&devices(pod), if is_wide { usize::MAX } else { 24 })),
                None => ("-", why(pod)),
            };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let mut row = vec![name, pod.request.clone(), node.to_owned(), what];
            if is_wide {
                row.push(pod.priority.to_string());
            }
            row
        });
        let header = ["POD", "REQUEST", "NODE", "DEVICES, OR WHY IT WAITS", "PRIORITY"];
        Ok(fitted(&header[..if is_wide { 5 } else { 4 }], rows.collect(), &[3, 1, 2, 0], is_wide))
    }
}

fn devices(pod: &Pod) -> Vec<String> {
    pod.devices.iter().map(|it| format!("gpu {}: {} at {}", it.gpu, it.profile, it.start)).collect()
}

/// Why a pod waits, in a line.
pub(super) fn why(pod: &Pod) -> String {
    match (&pod.nominated, &pod.fits) {
        _ if pod.is_gated => "scheduling gates".to_owned(),
        (Some(node), _) => format!("nominated to {node}, about to start"),
        (None, Some(node)) => format!("fits on {node}: kube-scheduler has not asked yet"),
        (None, None) => {
            let refusals = pod.refusals.iter().map(|it| format!("{} x {}", it.count, it.reason));
            refusals.collect::<Vec<_>>().join("; ")
        }
    }
}
