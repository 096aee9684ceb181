//! `tangram completion`: what a shell completes.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

/// Print the completion script of a shell
///
/// For bash: `source <(tangram completion bash)`; for the others see where their scripts belong.
#[derive(Debug, clap::Args)]
pub(super) struct Completion {
    /// Which shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self) -> ExitCode {
        generate(self.shell, &mut super::Cli::command(), "tangram", &mut std::io::stdout());
        ExitCode::SUCCESS
    }
}
