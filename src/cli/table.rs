//! Answers as tables for people.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::wire::dryrun::{DryRun, PodPlan};

/// A dry run: one line per pod, then what stands in the way of those without a place.
pub(super) fn dryrun_table(answer: &DryRun) -> String {
    let rows = answer.pods.iter().map(|pod| {
        let node = pod.node.clone().unwrap_or_else(|| "-".to_owned());
        vec![pod_name(pod), pod.request.clone(), node, devices(pod)]
    });
    let mut text = columns(&["POD", "REQUEST", "NODE", "DEVICES"], rows);
    for pod in answer.pods.iter().filter(|pod| pod.node.is_none()) {
        writeln!(text, "\n{} ({}) fits nowhere:", pod_name(pod), pod.request).expect("writing to a text");
        for refusal in &pod.refusals {
            let noun = if refusal.count == 1 { "node: " } else { "nodes:" };
            writeln!(text, "  {:>5} {noun} {}", refusal.count, refusal.reason).expect("writing to a text");
        }
        for detail in &pod.details {
            writeln!(text, "  {detail}").expect("writing to a text");
        }
    }
    writeln!(text, "\n{} of {} pods fit.", answer.fit, answer.pods.len()).expect("writing to a text");
    text
}

/// Columns below a header, two spaces apart.
pub(super) fn columns(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

fn pod_name(pod: &PodPlan) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// `gpu 3: 1g.10gb at 4`.
fn devices(pod: &PodPlan) -> String {
    let words = pod
        .devices
        .iter()
        .map(|device| format!("gpu {}: {} at {}", device.gpu, device.profile, device.start));
    words.collect::<Vec<_>>().join(", ")
}
