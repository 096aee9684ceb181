//! The node agent beside a real kubelet: what it costs, and how long what it does takes.
//!
//! `cargo bench --bench agent -- idle|report|bind|churn|size`, several or none for all; see `benches/README.md` for
//! what each measures.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

#[path = "common/figures.rs"]
mod figures;
#[path = "../tests/common/gpus.rs"]
#[expect(dead_code, reason = "the harness is that of the tests; each uses what it needs")]
mod gpus;
#[path = "agent/measure.rs"]
mod measure;
#[path = "../tests/common/node/mod.rs"]
#[expect(dead_code, reason = "the harness is that of the tests; each uses what it needs")]
mod node;
#[path = "../tests/common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the harness is that of the tests; each uses what it needs")]
mod plane;
#[path = "../tests/common/stage.rs"]
#[expect(dead_code, reason = "the harness is that of the tests; each uses what it needs")]
mod stage;

use std::process::ExitCode;

use clap::ValueEnum as _;
use measure::Figure;
use plane::Plane;
use stage::Stage;

const MODELS: [&str; 8] = ["h100-80gb-sxm"; 8];

/// What can be measured.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Bench {
    Idle,
    Report,
    Bind,
    Churn,
    Size,
}

fn main() -> ExitCode {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let named: Result<Vec<Bench>, String> =
        words.map(|word| Bench::from_str(&word, false).map_err(|_| word)).collect();
    let benches = match named {
        Ok(named) if named.is_empty() => Bench::value_variants().to_vec(),
        Ok(named) => named,
        Err(word) => {
            println!("{word} is not known; which: idle, report, bind, churn or size");
            return ExitCode::FAILURE;
        }
    };
    tokio::runtime::Runtime::new().expect("threads").block_on(run(&benches));
    ExitCode::SUCCESS
}

async fn run(benches: &[Bench]) {
    let plane = Plane::start().await;
    let mut stage = Stage::set(&plane, &MODELS).await;
    println!("{:58} {:>24}   bound", "", "measured");
    for bench in benches {
        let figures = match bench {
            Bench::Idle => measure::idle(&mut stage).await,
            Bench::Report => measure::report(&stage).await,
            Bench::Bind => measure::bind(&stage).await,
            Bench::Churn => measure::churn(&mut stage).await,
            Bench::Size => measure::size(&stage).await,
        };
        for Figure { what, measured, bound } in figures {
            println!("{what:58} {measured:>24}   {bound}");
        }
    }
}
