//! Answers on standard output, for people and for programs.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

/// Form of an answer.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Table,
    /// As the server's API answers
    Json,
    /// The same as YAML
    Yaml,
}

impl Output {
    /// Prints an answer.
    pub(super) fn print<T: Serialize>(self, answer: &T, table: impl Fn(&T) -> String) -> anyhow::Result<()> {
        let text = match self {
            Self::Table => table(answer),
            Self::Json => serde_json::to_string_pretty(answer)? + "\n",
            Self::Yaml => serde_saphyr::to_string(answer)?,
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read the answer has seen enough of it.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed.context("standard output"),
        }
    }
}
