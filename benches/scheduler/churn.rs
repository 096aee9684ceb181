//! Pods that come, are bound and go, for minutes: the time until a nomination, and memory.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::Options;
use crate::figures::{cpu_seconds, megabytes, percentile};
use crate::follow::Sight;
use crate::lab::{Extender, Lab, Setup, create, delete, gpu_pod, metrics};
use crate::plane::Tangram;

/// One pod every so often: 50 per second.
const BETWEEN: Duration = Duration::from_millis(20);
/// How long each pod lives.
const LIFE: usize = 500;
/// How long pods are nominated without a scheduler that takes them away from the nominator.
const ALONE_S: u64 = 20;

/// First without a scheduler, then with one.
pub(crate) async fn churn(options: Options) {
    let lab = Lab::new(options.nodes.unwrap_or(5_000)).await;
    for is_full in [false, true] {
        let extender = Extender::Tangram { is_nominating: true };
        let setup = Setup { name: "tangram", extender, is_full };
        let mut tangram = lab.tangram(&setup).await.expect("the setup has one");
        if !is_full {
            println!("50 pods/s, no scheduler:");
            flow(&lab, &mut tangram, "n", ALONE_S).await;
        }
        let scheduler = lab.scheduler(&setup, Some(&tangram)).await;
        let sampling = if is_full { "100 %" } else { "default sampling" };
        println!("50 pods/s, bound and deleted, {sampling}:");
        let seconds = options.seconds.unwrap_or(600);
        flow(
            &lab,
            &mut tangram,
            if is_full { "f" } else { "s" },
            if is_full { seconds.min(60) } else { seconds },
        )
        .await;
        let histogram: Vec<String> = metrics(&tangram)
            .await
            .lines()
            .filter(|line| line.contains("nomination_delay_seconds_bucket"))
            .map(|line| line.trim_start_matches("tangram_nomination_delay_seconds_bucket").to_owned())
            .collect();
        println!("  delays that Tangram counted: {}", histogram.join(" "));
        drop(scheduler);
        drop(tangram);
        lab.clean().await;
    }
}

/// Creates a pod every [`BETWEEN`] and deletes each [`LIFE`] pods later.
async fn flow(lab: &Lab, tangram: &mut Tangram, prefix: &str, seconds: u64) {
    let client = lab.plane.client();
    let mut ticks = interval(BETWEEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let start = Instant::now();
    let mut reported = 0;
    let mut number = 0;
    while start.elapsed().as_secs() < seconds {
        ticks.tick().await;
        let (creator, new) = (client.clone(), gpu_pod(&format!("{prefix}-{number:06}"), 1));
        tokio::spawn(async move { create(&creator, &new).await });
        if number >= LIFE {
            let (deleter, old) = (client.clone(), format!("{prefix}-{:06}", number - LIFE));
            tokio::spawn(async move { delete(&deleter, &old).await });
        }
        number += 1;
        let minute = start.elapsed().as_secs().div_euclid(60);
        if minute > reported {
            reported = minute;
            let status = tangram.proc_file("status").await;
            println!(
                "  after {minute} min: resident {:.1} MB, CPU {:.1} s",
                megabytes(&status, "VmRSS"),
                cpu_seconds(&tangram.proc_file("stat").await),
            );
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let of = |to: fn(&Sight) -> Option<Instant>| {
        let mut delays: Vec<f64> = lab.follower.look(|sights| {
            let delay = |sight: &Sight| Some((to(sight)? - sight.created).as_secs_f64() * 1e3);
            sights.pods.values().filter_map(delay).collect()
        });
        delays.sort_by(f64::total_cmp);
        delays
    };
    for (what, delays) in [("nominated", of(|sight| sight.nominated)), ("bound", of(|sight| sight.bound))] {
        let at = |percent| percentile(&delays, percent);
        println!(
            "  {what} {} of {number}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms after the client saw them",
            delays.len(),
            at(50),
            at(90),
            at(99),
            at(100),
        );
    }
    println!("  resident {:.1} MB", megabytes(&tangram.proc_file("status").await, "VmRSS"));
    lab.clean().await;
}
