//! Static layouts as tables for people.

use std::fmt::Write as _;

use super::table::columns;
use crate::wire::layouts::{CutView, LayoutsView, NodeView};

/// A plan: one line per node, what it buys, and how good it is.
pub(super) fn layouts_table(plan: &LayoutsView) -> String {
    if plan.nodes.is_empty() {
        return "No node has the label nvidia.com/mig.config with the strategy mixed or single.\n".to_owned();
    }
    let nodes = plan.nodes.iter().map(|node| {
        let then = node.new_config.as_ref().map(|_| cuts(&node.then));
        let why = node.fixed.as_deref().unwrap_or(if then.is_some() { "" } else { "nothing better" });
        let then = then.unwrap_or_else(|| "-".to_owned());
        vec![node.name.clone(), format!("{} {}", node.gpus, node.model), now(node), then, why.to_owned()]
    });
    let mut text = columns(&["NODE", "GPUS", "LAYOUT NOW", "LAYOUT THEN", "UNCHANGED BECAUSE"], nodes);
    let profiles = plan.profiles.iter().map(|profile| {
        let counts = [profile.waiting, profile.expected, profile.before, profile.after];
        let [waiting, expected, before, after] = counts.map(|count| count.to_string());
        vec![profile.profile.clone(), waiting, expected, before, after]
    });
    text += "\n";
    text += &columns(&["PROFILE", "PODS WAIT FOR", "EXPECTED", "STARTABLE NOW", "STARTABLE THEN"], profiles);
    let changed = plan.nodes.iter().filter(|node| node.new_config.is_some()).count();
    let (gpus, gain) = (plan.changed_gpus, plan.gain);
    let proof = if plan.gap > 0.0 {
        format!("at most {:.2} is possible: a gap of {:.2} %", plan.gain_bound, plan.gap * 100.0)
    } else {
        "no plan gains more".to_owned()
    };
    writeln!(
        text,
        "\n{changed} of {} nodes change, {gpus} GPUs; that serves {gain:.2} GPUs more, changes paid; {proof}.",
        plan.nodes.len()
    )
    .expect("writing to a text");
    text
}

fn now(node: &NodeView) -> String {
    if node.now.is_empty() { format!("unknown ({})", node.config) } else { cuts(&node.now) }
}

/// `2x1g.10gb 3g.40gb`, or `0-3: 7x1g.10gb; 4: 7g.80gb`.
fn cuts(cuts: &[CutView]) -> String {
    let words = cuts.iter().map(|cut| match &cut.gpus {
        None => devices(cut),
        Some(gpus) => format!("{}: {}", indices(gpus), devices(cut)),
    });
    words.collect::<Vec<_>>().join("; ")
}

fn devices(cut: &CutView) -> String {
    if !cut.mig {
        return "whole".to_owned();
    }
    let words = cut.devices.iter().map(|(profile, count)| match count {
        1 => profile.clone(),
        count => format!("{count}x{profile}"),
    });
    let words = words.collect::<Vec<_>>().join(" ");
    if words.is_empty() { "empty".to_owned() } else { words }
}

/// `0-3,6`.
fn indices(gpus: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &gpu in gpus {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(gpu) => *last = gpu,
            _ => ranges.push((gpu, gpu)),
        }
    }
    let words = ranges.into_iter().map(|(first, last)| match last {
        last if last == first => first.to_string(),
        last => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}
