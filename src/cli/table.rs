//! Answers as tables for people.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::wire::dryrun::{DryRun, PodPlan};

/// A dry run: one line per pod, then what stands in the way of those without a place.
pub(super) fn dryrun_table(answer: &DryRun) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["POD", "REQUEST", "NODE", "DEVICES"]);
    for pod in &answer.pods {
        let node = pod.node.as_deref().unwrap_or("-");
        table.add_row([&pod_name(pod), &pod.request, node, &devices(pod)]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = table.trim_fmt() + "\n";
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
