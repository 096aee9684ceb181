//! Prints what the openb protocol gives on every trace of `data/traces/openb`, beside the published figures of FGD.
//!
//! `cargo run --release --example openb [SEEDS [TRACE]]`

#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "it says how fast it is")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use tangram::sim::openb::{
    Cluster, Figures, Knowledge, Policy, Setting, Ties, parse_nodes, parse_pods, parse_published, run,
};
use tangram::solver::share::Ask;

/// First seed; those of the protocol.
const SEED: u64 = 42;
const THREADS: usize = 2;
const TRACES: [&str; 9] = [
    "default",
    "cpu100",
    "cpu250",
    "gpushare60",
    "gpushare100",
    "gpuspec10",
    "gpuspec33",
    "multigpu20",
    "multigpu50",
];

/// Name and setting of each column.
fn columns() -> Vec<(String, Setting)> {
    let setting = |policy, ties, through_extender, knowledge| Setting {
        policy,
        ties,
        through_extender,
        knowledge,
        seed: SEED,
    };
    let by_name =
        |policy: Policy| (format!("{policy}"), setting(policy, Ties::Name, false, Knowledge::Histogram));
    let regret = |name: &str, ties, levels, knowledge| {
        (name.to_owned(), setting(Policy::Regret, ties, levels, knowledge))
    };
    let ours = [
        regret("random ties", Ties::Random, false, Knowledge::Histogram),
        regret("levels", Ties::Random, true, Knowledge::Histogram),
        regret("learnt", Ties::Random, true, Knowledge::Learnt),
    ];
    let fgd =
        ("fgd, random ties".to_owned(), setting(Policy::Fgd, Ties::Random, false, Knowledge::Histogram));
    let others = Policy::all().filter(|policy| *policy != Policy::Regret).map(by_name);
    [by_name(Policy::Regret)].into_iter().chain(ours).chain(others).chain([fgd]).collect()
}

/// Means over the seeds, and the decisions that a core takes in a second.
fn measure(cluster: &Cluster, pods: &[Ask], setting: &Setting, seeds: u64) -> (f64, f64, f64) {
    let all: Vec<u64> = (setting.seed..setting.seed + seeds).collect();
    let one = |&seed: &u64| {
        let start = Instant::now();
        let figures = run(cluster, pods, &Setting { seed, ..*setting });
        (figures, start.elapsed().as_secs_f64())
    };
    let runs: Vec<(Figures, f64)> = thread::scope(|scope| {
        let chunk_size = all.len().div_ceil(THREADS).max(1);
        let start = |chunk| scope.spawn(move || <[u64]>::iter(chunk).map(one).collect::<Vec<_>>());
        let handles: Vec<_> = all.chunks(chunk_size).map(start).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("no run panics")).collect()
    });
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let (count, asked) = (runs.len() as f64, runs.iter().map(|(run, _)| run.asked).sum::<u64>() as f64);
    let mean = |part: fn(&Figures) -> f64| runs.iter().map(|(run, _)| part(run)).sum::<f64>() / count;
    let seconds: f64 = runs.iter().map(|(_, seconds)| seconds).sum();
    (mean(|run| run.at_100), mean(|run| run.at_130), asked / seconds)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds = arguments.first().map_or(Ok(10), |text| text.parse()).context("the number of seeds")?;
    let read = |name: String| {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/traces/openb").join(name);
        fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let cluster = parse_nodes(&read("openb_node_list_gpu_node.csv".to_owned())?)?;
    let published = parse_published(&read("published_fgd.csv".to_owned())?)?;
    println!("allocated GPU % when 100 % / 130 % of capacity has been asked for, {seeds} seeds");
    for trace in TRACES.iter().filter(|trace| arguments.get(1).is_none_or(|only| only == *trace)) {
        let pods = parse_pods(&read(format!("openb_pod_list_{trace}.csv"))?, &cluster)?;
        let fgd = &published[*trace];
        println!("{trace}: FGD published {:.2} / {:.2}", fgd.at_100, fgd.at_130);
        for (name, setting) in columns() {
            let (at_100, at_130, speed) = measure(&cluster, &pods, &setting, seeds);
            println!("  {name:16} {at_100:.2} / {at_130:.2}   {speed:.0} decisions/s");
        }
    }
    Ok(())
}
