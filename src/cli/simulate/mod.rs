//! `tangram simulate`: what the production solver makes of workloads, without a cluster.

mod grid;
mod mig;
mod mixed;
mod openb;
mod options;
mod parallel;
mod pictures;
mod reproduce;
mod tables;
mod trace;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::config::Config;

/// Play workloads through the production solver, without a cluster, and see what fits
///
/// The code that chooses places here is the one that answers kube-scheduler. Equal arguments give equal figures,
/// whatever the number of threads.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Simulate {
    #[command(subcommand)]
    what: What,
}

const AFTER_HELP: &str = "\
Examples:
  tangram simulate reproduce --quick               what is promised, and whether it holds: in a minute
  tangram simulate mig --load 0.85,0.95,1.05 --bound --plots pictures
                                                   policies under three loads, with pictures
  tangram simulate mig --gpus 64 --mix 1g.10gb=3,7g.80gb=1 --moves 0,1 --fill
                                                   your own GPUs and mix of requests
  tangram simulate openb --pods default --policy regret,fgd --ties random
                                                   shares of GPUs: a trace of a production cluster
  tangram simulate trace examples/trace.jsonl --empty
                                                   pods and nodes that come and go; --cluster FILE: on yours";

#[derive(Debug, Subcommand)]
enum What {
    Mig(Box<mig::Mig>),
    Openb(openb::Openb),
    Trace(trace::Trace),
    Reproduce(reproduce::Reproduce),
}

impl Simulate {
    pub(super) fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let text = match self.what {
            What::Mig(mig) => mig.run()?,
            What::Openb(openb) => openb.run()?,
            What::Trace(trace) => trace.run(config)?,
            What::Reproduce(reproduce) => reproduce.run()?,
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read the answer has seen enough of it.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            printed => printed.context("standard output")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A form as JSON for people who look.
fn json(form: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(form).expect("numbers and texts only") + "\n"
}
