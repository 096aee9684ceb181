//! `tangram nodes`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::read::{Gpu, Node, NodeList, read};
use super::{Look, View, fitted, listed, pages};
use crate::cli::target::Connection;
use crate::config::Config;

/// Show the nodes: GPUs, memory slices in use, counted devices, problems
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Nodes {
    /// Only this node
    name: Option<String>,
    #[command(flatten)]
    look: Look,
}

impl Nodes {
    pub(in crate::cli) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        self.look.run(config, self)
    }
}

impl View for Nodes {
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value> {
        fetch(connection, self.name.as_deref())
    }

    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String> {
        let NodeList { nodes } = read(answer)?;
        let header = ["NODE", "GPU", "SLICES", "STRANDED", "DEVICES", "PODS", "STATE"];
        let mut text =
            fitted(&header, nodes.iter().map(|node| row(node, is_wide)).collect(), &[1, 4, 6, 0], is_wide);
        for node in &nodes {
            for problem in &node.problems {
                writeln!(text, "{}: {problem}", node.name)?;
            }
        }
        Ok(text)
    }
}

/// All nodes, or one, as a list.
pub(super) fn fetch(connection: &Connection, name: Option<&str>) -> anyhow::Result<Value> {
    match name {
        None => pages(connection, "/v1/nodes", "nodes"),
        Some(name) => Ok(json!({ "nodes": [connection.get::<Value>(&format!("/v1/nodes/{name}"))?] })),
    }
}

fn row(node: &Node, is_wide: bool) -> Vec<String> {
    let sum = |of: fn(&Gpu) -> u32| node.gpus.iter().map(of).sum::<u32>();
    let total = sum(|gpu| gpu.free.total);
    let used = sum(|gpu| gpu.free.used);
    let product = node.product.trim_start_matches("NVIDIA-");
    let gpus = match node.gpus.len() {
        _ if product.is_empty() => "-".to_owned(),
        0 => product.to_owned(),
        count => format!("{count} x {product}"),
    };
    let devices: Vec<String> = node
        .pools
        .iter()
        .map(|pool| {
            let name = if is_wide { &pool.resource } else { pool.resource.trim_start_matches("nvidia.com/") };
            format!("{name} {}/{}", pool.used, pool.capacity)
        })
        .collect();
    vec![
        node.name.clone(),
        gpus,
        if total == 0 { "-".to_owned() } else { format!("{used}/{total}") },
        if total == 0 { "-".to_owned() } else { sum(|gpu| gpu.free.stranded).to_string() },
        listed(&devices, if is_wide { usize::MAX } else { 14 }),
        node.pods.len().to_string(),
        state(node, if is_wide { usize::MAX } else { 12 }),
    ]
}

fn state(node: &Node, width: usize) -> String {
    let closed = node.gpus.iter().filter(|gpu| gpu.is_dynamic && gpu.is_closed).count();
    let words = [
        (node.is_unschedulable, "cordoned".to_owned()),
        (closed > 0, format!("{closed} closed")),
        (!node.problems.is_empty(), format!("{} problems", node.problems.len())),
        (node.gpus.iter().any(|gpu| gpu.is_dynamic) && node.source != "agent", "no agent".to_owned()),
    ];
    let said: Vec<String> = words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect();
    if said.is_empty() { "ok".to_owned() } else { listed(&said, width) }
}
