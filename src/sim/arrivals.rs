//! Requests that only ever arrive: how full GPUs become.

use super::fleet::Fleet;
use super::replay::{Setting, needed, percent, sizes};
use super::workload::Workload;
use crate::mig::Catalog;

/// Until the first that fits nowhere: memory in use then, in percent.
pub fn fill(setting: &Setting<'_>, work: Workload) -> f64 {
    let mut fleet = fleet(setting);
    let sizes = sizes(setting.model);
    let mut used = 0;
    for arrival in work {
        if fleet.place(arrival.profile).is_none() {
            break;
        }
        used += sizes[usize::from(arrival.profile)];
    }
    percent(used, capacity(setting))
}

/// The same where everything may be moved at any time: what no placement can beat.
pub fn fill_reference(setting: &Setting<'_>, work: Workload) -> f64 {
    let sizes = sizes(setting.model);
    let needed = needed(setting.model);
    let gpus = u64::try_from(setting.gpus).expect("fewer than 2^64 GPUs");
    let (mut counts, mut used) = (vec![0; sizes.len()], 0);
    for arrival in work {
        counts[usize::from(arrival.profile)] += 1;
        if needed(&counts) > gpus {
            break;
        }
        used += sizes[usize::from(arrival.profile)];
    }
    percent(used, capacity(setting))
}

/// Memory asked for, and in use when so much has been asked for; both in percent of all, one pair per percent up
/// to `most`. What fits nowhere is skipped.
pub fn uptake(setting: &Setting<'_>, work: Workload, most: u32) -> Vec<(f64, f64)> {
    let mut fleet = fleet(setting);
    let sizes = sizes(setting.model);
    let all = capacity(setting);
    let (mut asked, mut used) = (0, 0);
    let mut course = vec![(0.0, 0.0)];
    let mut steps = 1..=most;
    let mut next = steps.next();
    for arrival in work {
        let Some(step) = next else { break };
        let size = sizes[usize::from(arrival.profile)];
        asked += size;
        used += if fleet.place(arrival.profile).is_some() { size } else { 0 };
        if asked * 100 >= all * u64::from(step) {
            course.push((percent(asked, all), percent(used, all)));
            next = steps.find(|step| asked * 100 < all * u64::from(*step));
        }
    }
    course
}

fn fleet<'a>(setting: &Setting<'a>) -> Fleet<'a> {
    Fleet::new(setting.scores, setting.policy, setting.model, setting.gpus)
}

/// Memory slices of all GPUs.
fn capacity(setting: &Setting<'_>) -> u64 {
    let per_gpu = Catalog::get().row(setting.model).memory_slices;
    u64::from(per_gpu) * u64::try_from(setting.gpus).expect("fewer than 2^64 GPUs")
}
