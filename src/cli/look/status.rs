//! `tangram status`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::pods::why;
use super::read::{Cluster, Devices, Group, Pod, PodList, read};
use super::{Look, View, fitted, pages};
use crate::cli::table::columns;
use crate::cli::target::Connection;
use crate::config::Config;

/// Show how full the cluster is, what could still start, and who waits
///
/// USED, FREE and STRANDED count memory slices of MIG GPUs, as NVML counts them: stranded ones are free, and no
/// profile fits where they lie.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Status {
    #[command(flatten)]
    look: Look,
}

impl Status {
    pub(in crate::cli) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        self.look.run(config, self)
    }
}

impl View for Status {
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value> {
        let mut answer: Value = connection.get("/v1/cluster?summary=true")?;
        let pending = pages(connection, "/v1/pods?state=pending", "pods")?;
        answer["pending"] = pending["pods"].clone();
        Ok(answer)
    }

    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String> {
        let cluster: Cluster = read(answer)?;
        let waiting = PodList { pods: read(&answer["pending"])? };
        let totals = &cluster.totals;
        let mut text = format!(
            "{} nodes, {} pods placed, {} waiting ({:.0} % accepted)\n",
            totals.nodes,
            totals.placed_pods,
            totals.pending_pods,
            totals.acceptance * 100.0
        );
        for (kind, count) in &totals.problems {
            writeln!(text, "{count} x problem: {kind}")?;
        }
        let sliced = || cluster.groups.iter().filter(|group| !group.slices.is_empty());
        if sliced().next().is_some() {
            text += "\n";
            let header = ["MODEL", "POOL", "BY", "USED", "FREE", "STRANDED", "CLOSED"];
            text += &fitted(&header, sliced().flat_map(slices).collect(), &[1, 0], is_wide);
        }
        let mut devices: BTreeMap<&str, Devices> = BTreeMap::new();
        for (name, units) in cluster.groups.iter().flat_map(|group| &group.devices) {
            let sum = devices.entry(name).or_default();
            (sum.used, sum.free) = (sum.used + units.used, sum.free + units.free);
        }
        if !devices.is_empty() {
            let row = |(name, units): (&str, Devices)| {
                vec![name.to_owned(), units.used.to_string(), units.free.to_string()]
            };
            text += "\n";
            text += &columns(&["DEVICES", "USED", "FREE"], devices.into_iter().map(row));
        }
        let room: Vec<String> = room(&cluster.groups);
        if !room.is_empty() {
            writeln!(text, "\nCould start now, each if all room went to it:")?;
            for line in room.chunks(4) {
                writeln!(text, "  {}", line.join("   "))?;
            }
        }
        if !waiting.pods.is_empty() {
            let row = |pod: &Pod| vec![format!("{}/{}", pod.namespace, pod.name), why(pod)];
            text += "\n";
            text += &fitted(&["WAITS", "BECAUSE"], waiting.pods.iter().map(row).collect(), &[1, 0], is_wide);
        }
        Ok(text)
    }
}

fn slices(group: &Group) -> Vec<Vec<String>> {
    let row = |(mode, slices): (&String, &super::read::Slices)| {
        let pool = if group.node_pool.is_empty() { "-" } else { group.node_pool.as_str() };
        vec![
            group.model.clone(),
            pool.to_owned(),
            mode.clone(),
            slices.used.to_string(),
            (slices.usable + slices.stranded).to_string(),
            slices.stranded.to_string(),
            slices.closed.to_string(),
        ]
    };
    group.slices.iter().map(row).collect()
}

/// `12 x 3g.40gb`, over all groups, largest profile last as in the API.
fn room(groups: &[Group]) -> Vec<String> {
    let mut sums: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for room in groups.iter().flat_map(|group| &group.free) {
        *sums.entry((&room.profile, &room.mode)).or_default() += room.count;
    }
    let text = |((profile, mode), count): ((&str, &str), u32)| match mode {
        "static" => format!("{count} x {profile} (static)"),
        _ => format!("{count} x {profile}"),
    };
    sums.into_iter().filter(|(_, count)| *count > 0).map(text).collect()
}
