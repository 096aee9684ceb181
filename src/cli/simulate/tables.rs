//! Simulations as tables for people and for spreadsheets.

use std::fmt::Write as _;

use crate::cli::table::columns;
use crate::wire::simulation::{Claim, Goal, MigReport, OpenbRow, Spread};
use crate::wire::trace::{ReasonCount, TraceReport};

/// Characters of a mix's name in a table of 80 columns.
const NAME_MAX: usize = 14;

/// Generated workloads.
pub(super) fn mig(report: &MigReport) -> String {
    let mut text = format!(
        "{} GPUs {}, {} lifetimes\nmeasured from {} to {}, {} seeds: mean ± deviation\n\n",
        report.gpus,
        report.model,
        report.lifetime,
        report.from,
        report.to,
        report.seeds.len()
    );
    let rows = report.rows.iter().map(|row| {
        let moves = if row.moves == 0 { String::new() } else { format!(" +{}", row.moves) };
        vec![
            name(&row.mix),
            row.load.to_string(),
            format!("{}{moves}", row.policy),
            spread(row.rejected_slices_percent),
            spread(row.rejected_requests_percent),
            format!("{:5.2}", row.moves_per_100.mean),
            format!("{:5.1}", row.active_gpus_percent.mean),
        ]
    });
    text += &columns(&["MIX", "LOAD", "POLICY", "REFUSED %", "REQUESTS %", "MOVED", "ACTIVE"], rows);
    text += "\n\
        REFUSED: memory slices, of those asked for. REQUESTS: requests refused.\n\
        MOVED: instances moved per 100 accepted requests. ACTIVE: GPUs in use, %.\n";
    if !report.fills.is_empty() {
        let rows = report.fills.iter();
        let rows = rows.map(|row| vec![name(&row.mix), row.policy.clone(), spread(row.memory_percent)]);
        text += "\nArrivals only, until the first refusal: memory in use then\n\n";
        text += &columns(&["MIX", "POLICY", "FILL %"], rows);
    }
    text
}

/// The same for a spreadsheet.
pub(super) fn mig_csv(report: &MigReport) -> String {
    let mut text = "mix,load,policy,moves,rejected_slices_percent,rejected_slices_percent_deviation,\
         rejected_requests_percent,rejected_requests_percent_deviation,moves_per_100,active_gpus_percent,\
         fill_percent,fill_percent_deviation\n"
        .to_owned();
    for row in &report.rows {
        let fill = report.fills.iter().find(|fill| fill.mix == row.mix && fill.policy == row.policy);
        let fill = fill.map_or_else(|| ",".to_owned(), |fill| pair(fill.memory_percent));
        let (slices, requests) = (pair(row.rejected_slices_percent), pair(row.rejected_requests_percent));
        let (rate, active) = (row.moves_per_100.mean, row.active_gpus_percent.mean);
        let (mix, load, policy, moves) = (quoted(&row.mix), row.load, &row.policy, row.moves);
        writeln!(text, "{mix},{load},{policy},{moves},{slices},{requests},{rate},{active},{fill}")
            .expect("writing to a text");
    }
    text
}

/// The openb protocol.
pub(super) fn openb(rows: &[OpenbRow]) -> String {
    let cells = rows.iter().map(|row| {
        let published = row.published_at_100.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
        vec![name(&row.trace), row.policy.clone(), spread(row.at_100), spread(row.at_130), published]
    });
    let table = columns(&["TRACE", "POLICY", "AT 100 %", "AT 130 %", "FGD PUBLISHED"], cells);
    table + "\nAllocated GPU % when 100 % and 130 % of capacity has been asked for; published: at 100 %.\n"
}

/// The same for a spreadsheet.
pub(super) fn openb_csv(rows: &[OpenbRow]) -> String {
    let mut text =
        "trace,policy,at_100,at_100_deviation,at_130,at_130_deviation,published_at_100\n".to_owned();
    for row in rows {
        let published = row.published_at_100.map_or_else(String::new, |figure| figure.to_string());
        let (early, late) = (pair(row.at_100), pair(row.at_130));
        writeln!(text, "{},{},{early},{late},{published}", quoted(&row.trace), row.policy)
            .expect("writing to a text");
    }
    text
}

/// What is claimed, and what is reached.
pub(super) fn claims(claims: &[Claim]) -> String {
    let cells = claims.iter().map(|claim| {
        vec![
            claim.what.clone(),
            number(claim.baseline),
            claim.goal.map_or_else(|| "-".to_owned(), goal),
            number(Some(claim.reached)),
            number(claim.reference),
            claim.is_met.map_or("-", |is_met| if is_met { "yes" } else { "NO" }).to_owned(),
        ]
    });
    let mut text = columns(&["WHAT", "BASELINE", "GOAL", "REACHED", "REFERENCE", "MET"], cells);
    let goals = claims.iter().filter(|claim| claim.is_met.is_some()).count();
    let missed = claims.iter().filter(|claim| claim.is_met == Some(false)).count();
    match missed {
        _ if goals == 0 => writeln!(text, "\nNo goal is judged."),
        0 => writeln!(text, "\nAll {goals} goals are reached."),
        missed => writeln!(text, "\n{missed} of {goals} goals are missed."),
    }
    .expect("writing to a text");
    text
}

/// The same for a spreadsheet.
pub(super) fn claims_csv(claims: &[Claim]) -> String {
    let mut text = "what,baseline,goal,reached,reference,met\n".to_owned();
    let cell = |figure: Option<f64>| figure.map_or_else(String::new, |figure| figure.to_string());
    for claim in claims {
        let goal = claim.goal.map(goal).unwrap_or_default();
        let met = claim.is_met.map_or_else(String::new, |is_met| is_met.to_string());
        let (baseline, reference) = (cell(claim.baseline), cell(claim.reference));
        writeln!(text, "{},{baseline},{goal},{},{reference},{met}", quoted(&claim.what), claim.reached)
            .expect("writing to a text");
    }
    text
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::AtMost(bound) => format!("<= {bound}"),
        Goal::AtLeast(bound) => format!(">= {bound}"),
        Goal::Below(bound) => format!("< {bound:.2}"),
        Goal::Above(bound) => format!("> {bound:.2}"),
    }
}

/// What became of a trace. `all` are the memory slices of the GPUs that Tangram partitions, at the end.
pub(super) fn trace(report: &TraceReport, all: crate::solver::Fragmentation) -> String {
    let pods = &report.pods;
    let mut text = format!("{} steps in {:.0} s of the trace's time\n\n", report.steps, report.seconds);
    for (what, count) in [
        ("pods came", pods.came),
        ("  with a node already", pods.came_bound),
        ("  accepted at once", pods.accepted),
        ("  refused", pods.refused),
        ("    accepted later", pods.accepted_later),
        ("    deleted while they waited", pods.gave_up),
        ("    still waiting", pods.waiting),
        ("pods that went with their node", pods.lost),
    ] {
        writeln!(text, "{what:<32} {count:>9}").expect("writing to a text");
    }
    if pods.accepted_later > 0 {
        let (mean, max) = (pods.waited_seconds_mean, pods.waited_seconds_max);
        writeln!(text, "Those accepted later waited {mean:.0} s in the mean, {max:.0} s at most.")
            .expect("writing to a text");
    }
    if !report.reasons.is_empty() {
        text += "\nWhy pods did not fit when they came\n\n";
        let rows = report.reasons.iter();
        let rows = rows.map(|row| vec![row.pods.to_string(), row.nodes.to_string(), row.reason.clone()]);
        text += &columns(&["PODS", "NODES", "REASON"], rows);
    }
    let noun = if report.nodes == 1 { "node" } else { "nodes" };
    writeln!(text, "\nMemory slices of dynamic GPUs at the end, on {} {noun}\n", report.nodes)
        .expect("writing to a text");
    let cost = format!("{:.1}", all.cost);
    let row = [all.total, all.used, all.free, all.stranded].map(|slices| slices.to_string());
    let row = row.into_iter().chain([cost]).collect();
    text += &columns(&["ALL", "USED", "FREE", "STRANDED", "LOST TO THE DEMAND"], std::iter::once(row));
    text
}

/// Why pods did not fit, for a spreadsheet.
pub(super) fn trace_csv(report: &TraceReport) -> String {
    let row = |row: &ReasonCount| format!("{},{},{}\n", row.pods, row.nodes, quoted(&row.reason));
    "pods,nodes,reason\n".to_owned() + &report.reasons.iter().map(row).collect::<String>()
}

fn spread(Spread { mean, deviation }: Spread) -> String {
    format!("{mean:5.2} ± {deviation:.2}")
}

fn pair(Spread { mean, deviation }: Spread) -> String {
    format!("{mean},{deviation}")
}

fn number(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
}

fn name(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
