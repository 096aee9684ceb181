//! `tangram top`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;

use super::read::{NodeList, read};
use super::{Look, View, fitted, listed, nodes};
use crate::cli::target::Connection;
use crate::config::Config;

/// Show who holds most: namespaces, or pods, by memory slices and by counted devices
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Top {
    /// By pod rather than by namespace
    #[arg(long)]
    pods: bool,
    /// Lines at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    lines: usize,
    #[command(flatten)]
    look: Look,
}

/// What somebody holds.
#[derive(Debug, Default)]
struct Share {
    slices: u32,
    devices: BTreeMap<String, u32>,
    pods: std::collections::BTreeSet<String>,
}

impl Top {
    pub(in crate::cli) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        self.look.run(config, self)
    }

    fn name<'a>(&self, pod: &'a str) -> &'a str {
        if self.pods { pod } else { pod.split('/').next().unwrap_or(pod) }
    }
}

impl View for Top {
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value> {
        nodes::fetch(connection, None)
    }

    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String> {
        let NodeList { nodes } = read(answer)?;
        let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
        for instance in nodes.iter().flat_map(|node| &node.gpus).flat_map(|gpu| &gpu.instances) {
            let Some(pod) = &instance.pod else { continue };
            let share = shares.entry(self.name(pod)).or_default();
            share.slices += instance.size;
            share.pods.insert(pod.clone());
        }
        for pool in nodes.iter().flat_map(|node| &node.pools) {
            for holding in &pool.holdings {
                let share = shares.entry(self.name(&holding.pod)).or_default();
                *share.devices.entry(pool.resource.clone()).or_default() += holding.count;
                share.pods.insert(holding.pod.clone());
            }
        }
        let held = |share: &Share| (share.devices.values().sum::<u32>(), share.slices);
        let mut sorted: Vec<(&str, Share)> = shares.into_iter().collect();
        sorted.sort_by(|(a, of_a), (b, of_b)| held(of_b).cmp(&held(of_a)).then_with(|| a.cmp(b)));
        let rows = sorted.iter().take(self.lines).map(|(name, share)| {
            let devices: Vec<String> =
                share.devices.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let held = listed(&devices, if is_wide { usize::MAX } else { 24 });
            vec![(*name).to_owned(), share.pods.len().to_string(), share.slices.to_string(), held]
        });
        let who = if self.pods { "POD" } else { "NAMESPACE" };
        Ok(fitted(&[who, "PODS", "SLICES", "DEVICES"], rows.collect(), &[3, 0], is_wide))
    }
}
