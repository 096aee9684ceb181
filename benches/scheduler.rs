//! A real kube-scheduler with thousands of nodes: alone, with an extender that does nothing, with Tangram.
//!
//! `cargo bench --bench scheduler -- backlog|burst|sampled|churn|start [--nodes N] [--pods N] [--runs N]
//! [--seconds N]`; see `benches/README.md` for what each measures.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

#[path = "scheduler/churn.rs"]
mod churn;
#[path = "common/figures.rs"]
mod figures;
#[path = "scheduler/follow.rs"]
mod follow;
#[path = "scheduler/lab.rs"]
mod lab;
#[path = "common/noop.rs"]
mod noop;
#[path = "scheduler/packing.rs"]
mod packing;
#[path = "../tests/common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the harness is that of the tests; each uses what it needs")]
mod plane;
#[path = "scheduler/rates.rs"]
mod rates;
#[path = "scheduler/start.rs"]
mod start;

/// What the command line says, and what each bench takes where it says nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Options {
    nodes: Option<usize>,
    pods: Option<usize>,
    runs: Option<usize>,
    seconds: Option<u64>,
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let bench = words.next().unwrap_or_default();
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let number = words.next().and_then(|number| number.parse::<usize>().ok());
        match word.as_str() {
            "--nodes" => options.nodes = number,
            "--pods" => options.pods = number,
            "--runs" => options.runs = number,
            "--seconds" => options.seconds = number.map(|seconds| seconds.try_into().expect("fits")),
            _ => return println!("{word} is not known"),
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        match bench.as_str() {
            "backlog" => rates::backlog(options).await,
            "burst" => rates::burst(options).await,
            "sampled" => rates::sampled(options).await,
            "churn" => churn::churn(options).await,
            "start" => start::start(options).await,
            _ => println!("which: backlog, burst, sampled, churn or start"),
        }
    });
}
