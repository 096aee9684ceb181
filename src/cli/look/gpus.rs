//! `tangram gpus`.

use std::process::ExitCode;

use serde_json::Value;

use super::read::{Gpu, NodeList, read};
use super::{Look, View, fitted, listed, nodes};
use crate::cli::target::Connection;
use crate::config::Config;

/// Show each GPU that is known by itself: its memory slices, and who holds them
///
/// SLICES has one character per memory slice, as NVML counts them: a digit where an instance with so many compute
/// slices lies, a dot where nothing does. GPUs that a device plugin counts and nobody reports are in `nodes`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Gpus {
    /// Only those of this node
    node: Option<String>,
    /// Only those with stranded slices
    #[arg(long)]
    stranded: bool,
    #[command(flatten)]
    look: Look,
}

impl Gpus {
    pub(in crate::cli) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        self.look.run(config, self)
    }
}

impl View for Gpus {
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value> {
        nodes::fetch(connection, self.node.as_deref())
    }

    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String> {
        let NodeList { nodes } = read(answer)?;
        let all = nodes.iter().flat_map(|node| node.gpus.iter().map(|gpu| (node.name.as_str(), gpu)));
        let shown = all.filter(|(_, gpu)| !self.stranded || gpu.free.stranded > 0);
        let rows = shown.map(|(node, gpu)| {
            let mut row = row(node, gpu, is_wide);
            if is_wide {
                row.push(gpu.uuid.clone());
            }
            row
        });
        let header = ["NODE", "GPU", "MODEL", "SLICES", "FREE", "STRANDED", "HELD BY", "UUID"];
        Ok(fitted(&header[..if is_wide { 8 } else { 7 }], rows.collect(), &[6, 2, 0], is_wide))
    }
}

fn row(node: &str, gpu: &Gpu, is_wide: bool) -> Vec<String> {
    let instances = gpu.instances.iter().map(|it| match (&it.pod, is_wide) {
        (Some(pod), true) => format!("{} at {}: {pod}", it.profile, it.start),
        (Some(pod), false) => pod.rsplit('/').next().unwrap_or(pod).to_owned(),
        (None, _) => format!("{} at {}: nobody", it.profile, it.start),
    });
    let whole = gpu.pods.iter().map(|holder| holder.pod.clone());
    let holders: Vec<String> = instances.chain(whole).collect();
    let is_open = gpu.free.total > 0 && !gpu.is_closed;
    let figure = |figure: u32| if is_open { figure.to_string() } else { "-".to_owned() };
    vec![
        node.to_owned(),
        gpu.index.to_string(),
        if gpu.model.is_empty() { "-".to_owned() } else { gpu.model.clone() },
        gpu.slices.clone(),
        figure(gpu.free.left),
        figure(gpu.free.stranded),
        if gpu.is_dynamic && gpu.is_closed {
            "closed".to_owned()
        } else {
            listed(&holders, if is_wide { usize::MAX } else { 20 })
        },
    ]
}
