//! `tangram repack --apply`: follows a plan that the server carries out.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::output::Output;
use super::repack_table::steps_table;
use super::target::Connection;
use crate::wire::plans::{MoveState, MoveView, PlanState, PlanView, Replacement};
use crate::wire::repack::RepackView;

/// Between two looks; a step takes seconds to minutes.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row without an answer: another replica may have to take over first.
const MISSES_MAX: u32 = 60;

/// Has a plan carried out, says each step, and what came of it. A form for programs is printed once, at the end.
pub(super) fn apply(
    connection: &Connection,
    planned: &RepackView,
    step_time_limit: Option<u32>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let is_table = matches!(output, Output::Table);
    if is_table {
        say(&steps_table(planned));
    }
    let limit = step_time_limit.map(|seconds| format!("?stepTimeLimit={seconds}")).unwrap_or_default();
    let mut plan: PlanView = connection.post(&format!("/v1/plans{limit}"), serde_json::to_vec(planned)?)?;
    let mut said = String::new();
    let mut misses = 0;
    loop {
        if is_table {
            let text = progress(&plan);
            say(text.strip_prefix(&*said).unwrap_or(&text));
            said = text;
        }
        if plan.state != PlanState::Running {
            break;
        }
        std::thread::sleep(LOOK);
        match connection.get(&format!("/v1/plans/{}", plan.id)) {
            Ok(now) => (plan, misses) = (now, 0),
            Err(error) if misses == MISSES_MAX => {
                return Err(error.context(format!("{} goes on without anybody looking", plan.id)));
            }
            Err(_) => misses += 1,
        }
    }
    if is_table {
        say(&summary(&plan));
    } else {
        output.print(&plan, |_| String::new())?;
    }
    Ok(if plan.state == PlanState::Done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One line for each thing that has happened.
fn progress(plan: &PlanView) -> String {
    let mut text = format!("{}: {} steps\n", plan.id, plan.steps.len());
    for (number, step) in (1..).zip(&plan.steps) {
        let MoveView { namespace, name, from, to, .. } = step;
        if step.state != MoveState::Waiting {
            line(
                &mut text,
                format_args!("step {number}: {namespace}/{name} leaves {} for {}", from.node, to.node),
            );
        }
        if let Some(replacement) = &step.replacement {
            let Replacement { name, .. } = replacement;
            line(&mut text, format_args!("step {number}: done, {namespace}/{name} runs on {}", to.node));
        }
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("writing to a text");
}

/// What came of it, in one sentence.
fn summary(plan: &PlanView) -> String {
    let done = plan.steps.iter().filter(|step| step.state == MoveState::Done).count();
    match plan.state {
        PlanState::Done if done == 1 => format!("{}: done, 1 pod moved.\n", plan.id),
        PlanState::Done => format!("{}: done, {done} pods moved.\n", plan.id),
        _ => format!("{}: stopped after {done} of {} steps: {}\n", plan.id, plan.steps.len(), plan.note),
    }
}

/// Whoever read this may have seen enough of it: the plan goes on all the same.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::repack::SpotView;

    #[test]
    fn what_was_said_is_the_beginning_of_what_is_said_next() {
        let spot = |node: &str| SpotView { node: node.to_owned(), devices: Vec::new() };
        let step = |name: &str| MoveView {
            namespace: "a".to_owned(),
            name: name.to_owned(),
            uid: String::new(),
            request: String::new(),
            from: spot("n-1"),
            to: spot("n-2"),
            state: MoveState::Waiting,
            started: None,
            hold: None,
            replacement: None,
        };
        let mut plan = PlanView {
            id: "plan-3".to_owned(),
            created: String::new(),
            state: PlanState::Running,
            note: String::new(),
            room: None,
            step_time_limit_seconds: 9,
            steps: vec![step("x"), step("y")],
        };
        let mut said = progress(&plan);
        for at in 0..2 {
            plan.steps[at].state = MoveState::Moving;
            assert!(progress(&plan).starts_with(&said));
            said = progress(&plan);
            plan.steps[at].state = MoveState::Done;
            plan.steps[at].replacement = Some(Replacement { name: format!("new-{at}"), uid: String::new() });
            assert!(progress(&plan).starts_with(&said));
            said = progress(&plan);
        }
        assert!(
            said.ends_with("step 2: a/y leaves n-1 for n-2\nstep 2: done, a/new-1 runs on n-2\n"),
            "{said}"
        );
        plan.state = PlanState::Stopped;
        plan.note = "why".to_owned();
        plan.steps[1].state = MoveState::Moving;
        assert_eq!(summary(&plan), "plan-3: stopped after 1 of 2 steps: why\n");
    }
}
