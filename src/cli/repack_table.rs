//! A repack as tables for people, in 80 columns.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::wire::repack::{FiguresView, RepackView, SpotView};

/// Columns of a terminal.
const WIDTH: u16 = 80;

/// The steps; what they buy; what they cost; who stays and why.
pub(super) fn repack_table(answer: &RepackView) -> String {
    let mut text = plan_table(answer);
    line(&mut text, "This is a plan: nothing was changed.");
    text
}

/// The same of a plan that is carried out.
pub(super) fn steps_table(answer: &RepackView) -> String {
    let mut text = plan_table(answer);
    line(&mut text, "It is carried out now; without anybody looking, too.");
    text
}

fn plan_table(answer: &RepackView) -> String {
    let mut text = String::new();
    if !answer.steps.is_empty() {
        let rows = answer.steps.iter().enumerate().map(|(number, step)| {
            let to = format!("{}{}", spot(&step.to), if step.detour { " (makes way)" } else { "" });
            let pod = format!("{}/{}", step.namespace, step.name);
            vec![(number + 1).to_string(), pod, spot(&step.from), to, memory(step.memory_mib)]
        });
        text += &table(&["STEP", "POD", "FROM NODE/GPU/START", "TO NODE/GPU/START", "MEMORY"], rows);
        text += "\n";
    }
    if !answer.pods.is_empty() {
        let rows = answer.pods.iter().map(|pod| {
            let place = pod.place.as_ref().map_or_else(|| "nowhere".to_owned(), spot);
            vec![format!("{}/{}", pod.namespace, pod.name), pod.request.clone(), place]
        });
        text += &table(&["ROOM FOR", "REQUEST", "NODE/GPU/START"], rows);
        text += "\n";
    }
    text += &figures(&answer.before, &answer.after);
    line(&mut text, &cost(answer));
    if !answer.stays.is_empty() {
        line(&mut text, "Would have helped, but stays:");
        let rows = answer.stays.iter().map(|stay| {
            vec![format!("{}/{}", stay.namespace, stay.name), stay.node.clone(), stay.reason.clone()]
        });
        text += &table(&["POD", "NODE", "WHY"], rows);
    }
    text
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "\n{words}").expect("writing to a text");
}

/// `node/3/4`: GPU and first memory slice of each GPU instance.
fn spot(spot: &SpotView) -> String {
    let devices = spot.devices.iter().map(|device| format!("{}/{}/{}", spot.node, device.gpu, device.start));
    let devices: Vec<String> = devices.collect();
    if devices.is_empty() { spot.node.clone() } else { devices.join(", ") }
}

/// `19.5 GiB`.
fn memory(mib: u64) -> String {
    let tenths = (mib * 10 + 512).div_euclid(1024);
    match (tenths.div_euclid(10), tenths.rem_euclid(10)) {
        (whole, 0) => format!("{whole} GiB"),
        (whole, part) => format!("{whole}.{part} GiB"),
    }
}

fn figures(before: &FiguresView, after: &FiguresView) -> String {
    let row = |name: &str, of: fn(&FiguresView) -> String| vec![name.to_owned(), of(before), of(after)];
    let rows = [
        row("empty GPUs", |figures| format!("{} of {}", figures.empty_gpus, figures.gpus)),
        row("nodes without GPU pods", |figures| format!("{} of {}", figures.empty_nodes, figures.nodes)),
        row("free memory slices", |figures| figures.free_memory_slices.to_string()),
        row("stranded memory slices", |figures| figures.stranded_memory_slices.to_string()),
        row("fragmentation cost", |figures| format!("{:.1}", figures.fragmentation_cost)),
    ];
    table(&["", "BEFORE", "AFTER"], rows.into_iter())
}

/// One sentence: whether the goal is reached, and by how much moved.
fn cost(answer: &RepackView) -> String {
    let moves = match answer.moves {
        0 => "no move helps".to_owned(),
        1 => format!("1 move, {}", memory(answer.moved_mib)),
        moves => format!("{moves} moves, {}", memory(answer.moved_mib)),
    };
    let proof = if answer.bound_mib == answer.moved_mib {
        "the least possible".to_owned()
    } else if answer.bound_mib > 0 {
        format!("at least {} are needed (gap {:.1} %)", memory(answer.bound_mib), answer.gap * 100.0)
    } else {
        "not proved to be the least".to_owned()
    };
    match (answer.reached, answer.impossible) {
        (true, _) if answer.moves == 0 => "Goal reached: no move is needed.".to_owned(),
        (true, _) => format!("Goal reached: {moves}; {proof} ({}).", answer.method),
        (false, true) => format!("Goal not reached, and no moves reach it: {moves}."),
        (false, false) => format!("Goal not reached: {moves}."),
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}
