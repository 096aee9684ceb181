//! The `tangram` binary: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match tangram::cli::run(tangram::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write as _;
            // Nobody is left to tell when standard error is gone.
            writeln!(std::io::stderr(), "tangram: {error:#}").ok();
            ExitCode::from(2)
        }
    }
}
