//! Pods bound per second: of a backlog, of a burst, and with sampling alone.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;

use crate::Options;
use crate::figures::{cpu_seconds, megabytes};
use crate::lab::{Extender, Lab, QUIET, Setup, gpu_pod, metric, metrics};
use crate::packing;

const NONE: Setup = Setup { name: "no extender", extender: Extender::None, is_full: false };
const NOOP: Setup = Setup { name: "no-op", extender: Extender::Noop, is_full: false };
const NOOP_FULL: Setup = Setup { name: "no-op, 100 %", extender: Extender::Noop, is_full: true };
const TANGRAM: Setup =
    Setup { name: "tangram", extender: Extender::Tangram { is_nominating: true }, is_full: false };
const TANGRAM_FULL: Setup =
    Setup { name: "tangram, 100 %", extender: Extender::Tangram { is_nominating: true }, is_full: true };
const TANGRAM_SAMPLED: Setup = Setup {
    name: "tangram, no nominator",
    extender: Extender::Tangram { is_nominating: false },
    is_full: false,
};

/// How long a nominator has for a backlog before the scheduler starts; everybody waits as long.
const SETTLE: Duration = Duration::from_secs(3);

/// What one trial gave.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rate {
    created: f64,
    bound: f64,
    second_half: f64,
    pods: usize,
}

/// Pods that wait when the scheduler starts.
pub(crate) async fn backlog(options: Options) {
    compare(options, 1_000, false, &[NONE, NOOP, TANGRAM]).await;
}

/// Pods that come all at once.
pub(crate) async fn burst(options: Options) {
    compare(options, 1_500, true, &[NONE, NOOP, NOOP_FULL, TANGRAM_FULL]).await;
}

/// The cost of the two verbs alone.
pub(crate) async fn sampled(options: Options) {
    compare(options, 1_000, false, &[NOOP, TANGRAM_SAMPLED]).await;
}

async fn compare(options: Options, pods: usize, is_live: bool, setups: &[Setup]) {
    let lab = Lab::new(options.nodes.unwrap_or(5_000)).await;
    let setups: Vec<&Setup> = setups.iter().filter(|setup| lab.has(setup)).collect();
    let pods: Vec<Pod> =
        (0..options.pods.unwrap_or(pods)).map(|number| gpu_pod(&format!("p-{number:05}"), 1)).collect();
    let mut rates = vec![Vec::new(); setups.len()];
    for run in 0..options.runs.unwrap_or(3) {
        println!("run {}", run + 1);
        for (setup, rates) in setups.iter().zip(&mut rates) {
            rates.push(trial(&lab, setup, &pods, is_live).await.bound);
        }
    }
    println!("median pods/s, and as a multiple of each other setup:");
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    for (setup, rate) in setups.iter().zip(&medians) {
        let ratios = setups.iter().zip(&medians).filter(|(other, _)| other.name != setup.name);
        let ratios: Vec<String> =
            ratios.map(|(other, other_rate)| format!("{:.2}x {}", rate / other_rate, other.name)).collect();
        println!("{:22} {rate:7.0}   {}", setup.name, ratios.join(", "));
    }
    let last = setups.last().expect("there are setups");
    packing::compare(&lab, last, is_live).await;
}

/// One setup with these pods, on a cluster without any before and after.
pub(crate) async fn trial(lab: &Lab, setup: &Setup, pods: &[Pod], is_live: bool) -> Rate {
    let mut tangram = lab.tangram(setup).await;
    let (created_s, scheduler) = if is_live {
        let scheduler = lab.scheduler(setup, tangram.as_ref()).await;
        tokio::time::sleep(SETTLE).await;
        (lab.create(pods).await, scheduler)
    } else {
        let created_s = lab.create(pods).await;
        tokio::time::sleep(SETTLE).await;
        (created_s, lab.scheduler(setup, tangram.as_ref()).await)
    };
    let start = Instant::now();
    lab.follower.until(QUIET, |sights| sights.bound == pods.len()).await;
    let mut bound: Vec<Instant> =
        lab.follower.look(|sights| sights.pods.values().filter_map(|sight| sight.bound).collect());
    bound.sort_unstable();
    let rate = rate(&bound, seconds(pods.len()) / created_s);
    print!(
        "  {:22} {:5.0} pods/s (second half {:5.0}), {} of {} bound, created at {:.0}/s",
        setup.name,
        rate.bound,
        rate.second_half,
        rate.pods,
        pods.len(),
        rate.created,
    );
    let breaks = lab.follower.look(|sights| sights.breaks);
    if breaks > 0 {
        print!(", watch broke {breaks}x");
    }
    if let Some(tangram) = &mut tangram {
        let text = metrics(tangram).await;
        let of = |name: &str, label: &str| metric(&text, &format!("tangram_{name}_total{{{label}}}"));
        print!(
            "\n      asked about one {:.0}, more {:.0}; nominations done {:.0} again {:.0}; bindings done {:.0} conflict {:.0}; {:.0} MB; CPU {:.1} s in {:.1} s",
            of("filters", "names=\"one\""),
            of("filters", "names=\"more\""),
            of("nominations", "outcome=\"done\""),
            of("nominations", "outcome=\"again\""),
            of("bindings", "outcome=\"done\""),
            of("bindings", "outcome=\"conflict\""),
            megabytes(&tangram.proc_file("status").await, "VmHWM"),
            cpu_seconds(&tangram.proc_file("stat").await),
            start.elapsed().as_secs_f64(),
        );
    }
    println!();
    drop(scheduler);
    drop(tangram);
    lab.clean().await;
    rate
}

fn rate(bound: &[Instant], created: f64) -> Rate {
    let between = |first: usize| {
        let (Some(first), Some(last)) = (bound.get(first), bound.last()) else { return 0.0 };
        (*last - *first).as_secs_f64()
    };
    let half = bound.len().div_euclid(2);
    Rate {
        created,
        bound: seconds(bound.len()) / between(0).max(0.001),
        second_half: seconds(bound.len() - half) / between(half).max(0.001),
        pods: bound.len(),
    }
}

/// A count, to be divided.
pub(crate) fn seconds(count: usize) -> f64 {
    u32::try_from(count).expect("a small count").into()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().div_euclid(2)).copied().unwrap_or(0.0)
}
