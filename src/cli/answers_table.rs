//! Explanations and hypothetical changes as tables for people, within 80 columns where names allow it.

use std::fmt::Write as _;

use super::table::{columns, dryrun_table};
use crate::wire::dryrun::DryRun;
use crate::wire::explain::{ExplainView, PendingView, PlacedView};
use crate::wire::repack::SpotView;
use crate::wire::whatif::{CapacityView, DisplacedView};

/// Lines of changes of one kind that are printed.
const CHANGES_MAX: usize = 20;

/// Why a pod is where it is, or waits.
pub(super) fn explain_table(answer: &ExplainView) -> String {
    let ExplainView { namespace, name, request, summary, .. } = answer;
    let mut text = format!("{namespace}/{name} asks for {request}.\n{summary}\n");
    if let Some(placed) = &answer.placed {
        text.push_str(&placed_table(placed));
    }
    if let Some(pending) = &answer.pending {
        text.push_str(&pending_table(pending));
    }
    text
}

fn placed_table(placed: &PlacedView) -> String {
    let mib = |kib: i64| format!("{} MiB", kib.div_euclid(1024));
    let own = placed.cost_kib.map_or_else(|| placed.refusal.clone().unwrap_or_default(), mib);
    let first = ["it is".to_owned(), placed.at.node.clone(), devices(&placed.at), own];
    let others = placed.alternatives.iter().map(|other| {
        vec!["it could be".to_owned(), other.at.node.clone(), devices(&other.at), mib(other.cost_kib)]
    });
    format!(
        "\n{}",
        columns(&["", "NODE", "DEVICES", "COST NOW"], std::iter::once(first.to_vec()).chain(others))
    )
}

fn pending_table(pending: &PendingView) -> String {
    let mut text = String::new();
    for refusal in &pending.refusals {
        let noun = if refusal.count == 1 { "node: " } else { "nodes:" };
        writeln!(text, "  {:>5} {noun} {}", refusal.count, refusal.reason).expect("writing to a text");
    }
    if !pending.nearest.is_empty() {
        let rows = pending.nearest.iter().map(|near| vec![near.node.clone(), near.reason.clone()]);
        write!(text, "\n{}", columns(&["NEAREST NODES", "WHY NOT"], rows)).expect("writing to a text");
    }
    if !pending.changes.is_empty() {
        let rows = pending.changes.iter().take(CHANGES_MAX);
        let rows = rows.map(|change| vec![change.text.clone(), change.place.node.clone()]);
        write!(text, "\n{}", columns(&["ANY OF THESE WOULD DO", "IT WOULD RUN ON"], rows))
            .expect("writing to a text");
    }
    for (kinds, words) in [
        (&pending.no_such_change, "No such change"),
        (&pending.not_searched_out, "Not found within the bounds"),
    ] {
        if !kinds.is_empty() {
            writeln!(text, "\n{words}: {}.", kinds.join(", ")).expect("writing to a text");
        }
    }
    text
}

/// What changes would do.
pub(super) fn what_if_table(answer: &DryRun) -> String {
    let mut text = String::new();
    if !answer.added_nodes.is_empty() {
        writeln!(text, "Added: {}\n", answer.added_nodes.join(", ")).expect("writing to a text");
    }
    if !answer.displaced.is_empty() {
        let rows = answer.displaced.iter().map(displaced);
        writeln!(text, "{}", columns(&["POD", "FROM", "", "TO, OR WHY NOT"], rows))
            .expect("writing to a text");
    }
    if let Some(batch) = &answer.batch {
        let (fits, proved) = (
            if batch.fits { "fits" } else { "does not fit" },
            if batch.proved { "proved" } else { "not proved" },
        );
        writeln!(text, "As a batch it {fits} ({}, {proved}).", batch.method).expect("writing to a text");
    }
    if !answer.pods.is_empty() {
        writeln!(text, "{}", dryrun_table(answer)).expect("writing to a text");
    }
    if let Some(change) = &answer.fragmentation {
        let row = |name: &str, of: &CapacityView| {
            let slices = [of.free_memory_slices, of.stranded_memory_slices].map(|count| count.to_string());
            let [free, stranded] = slices;
            vec![
                name.to_owned(),
                of.free_gpus.to_string(),
                free,
                stranded,
                format!("{:.1}", of.fragmentation_cost),
            ]
        };
        let rows = [("now", &change.before), ("changed", &change.changed), ("with the pods", &change.after)];
        let rows = rows.map(|(name, of)| row(name, of));
        let header = ["", "FREE GPUS", "FREE SLICES", "STRANDED", "FRAGMENTATION"];
        text.push_str(&columns(&header, rows.into_iter()));
    }
    text
}

fn displaced(one: &DisplacedView) -> Vec<String> {
    let to = one.pod.node.clone().or_else(|| one.reason.clone());
    let to = to.or_else(|| one.pod.refusals.first().map(|refusal| refusal.reason.clone()));
    vec![
        format!("{}/{}", one.pod.namespace, one.pod.name),
        one.from.clone(),
        one.fate.clone(),
        to.unwrap_or_default(),
    ]
}

fn devices(spot: &SpotView) -> String {
    let words = spot
        .devices
        .iter()
        .map(|device| format!("gpu {}: {} at {}", device.gpu, device.profile, device.start));
    let words: Vec<String> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}
