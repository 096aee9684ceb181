//! `tangram scheduler-config`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{live_model, load_cluster};
use crate::config::Config;
use crate::wire::scheduler_config::{Shape, resource_names, scheduler_config, unmanaged};

/// Print a KubeSchedulerConfiguration with every resource name that a cluster needs
///
/// kube-scheduler asks Tangram only about pods that ask for a name in managedResources, exactly as it stands
/// there. The names follow from the nodes: what they offer, and every profile of their GPU models.
///
/// With --check: exit code 0 when the file names everything, 1 when something is missing.
#[derive(Debug, clap::Args)]
pub(super) struct SchedulerConfig {
    /// What the configuration is for
    #[arg(long, value_enum, default_value_t)]
    shape: ShapeName,
    /// Nodes from this cluster file [default: the built-in example]
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    cluster: Option<PathBuf>,
    /// Nodes of the cluster that this kubeconfig file names
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where kube-scheduler reaches Tangram, for example `https://10.96.0.7:7240`
    #[arg(long)]
    url: Option<String>,
    /// Say which names this configuration lacks, instead of printing one
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    check: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum ShapeName {
    /// A scheduler of its own for pods with `schedulerName: tangram`, Tangram beside it
    #[default]
    Secondary,
    /// The cluster's own scheduler, Tangram behind a Service
    Extender,
    /// As secondary, for clusters whose nodes come and go
    Autoscaler,
}

impl SchedulerConfig {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let cache = if let Some(path) = &self.kubeconfig {
            live_model(config, Some(path), None)?
        } else {
            load_cluster(config, self.cluster.as_deref())?
        };
        let names = resource_names(cache.cluster());
        let mut out = std::io::stdout().lock();
        let Some(path) = &self.check else {
            let shape = match self.shape {
                ShapeName::Secondary => Shape::Secondary,
                ShapeName::Extender => Shape::Extender,
                ShapeName::Autoscaler => Shape::Autoscaler,
            };
            out.write_all(scheduler_config(shape, &names, self.url.as_deref()).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let missing =
            unmanaged(&text, &names).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        if missing.is_empty() {
            writeln!(out, "{} names all {} resources of the cluster", path.display(), names.len())?;
            return Ok(ExitCode::SUCCESS);
        }
        for name in missing {
            writeln!(out, "{}: managedResources lacks {name}", path.display())?;
        }
        Ok(ExitCode::from(1))
    }
}
