//! What there is, for people: `status`, `nodes`, `gpus`, `pods`, `top`.
//!
//! Each asks the placement API and draws the answer as a table; programs get the answer itself.

mod gpus;
mod nodes;
mod pods;
mod read;
mod status;
mod top;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

pub(super) use gpus::Gpus;
pub(super) use nodes::Nodes;
pub(super) use pods::Pods;
pub(super) use status::Status;
pub(super) use top::Top;

use super::output::Output;
use super::table::columns;
use super::target::{Connection, Target};
use crate::config::Config;

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people, 80 columns
    #[default]
    Table,
    /// For people, with everything there is to say
    Wide,
    /// As the server's API answers
    Json,
    /// The same as YAML
    Yaml,
}

/// Flags that all of them take.
#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    target: Target,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Ask again every so many seconds, and show what has changed
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    watch: Option<u32>,
}

/// Something to look at.
pub(super) trait View {
    /// Asks for it.
    fn fetch(&self, connection: &Connection) -> anyhow::Result<Value>;

    /// Draws it.
    fn table(&self, answer: &Value, is_wide: bool) -> anyhow::Result<String>;
}

impl Look {
    fn run(&self, config: &Config, view: &impl View) -> anyhow::Result<ExitCode> {
        let connection = self.target.connect(config)?;
        let Some(pause_s) = self.watch else {
            self.show(view, &view.fetch(&connection)?)?;
            return Ok(ExitCode::SUCCESS);
        };
        let mut last = None;
        loop {
            let answer = view.fetch(&connection)?;
            if last.as_ref() != Some(&answer) {
                if std::io::stdout().is_terminal() {
                    std::io::stdout().write_all(CLEAR.as_bytes())?;
                }
                self.show(view, &answer)?;
                last = Some(answer);
            }
            std::thread::sleep(Duration::from_secs(pause_s.max(1).into()));
        }
    }

    fn show(&self, view: &impl View, answer: &Value) -> anyhow::Result<()> {
        let output = match self.output {
            Form::Table | Form::Wide => Output::Table,
            Form::Json => Output::Json,
            Form::Yaml => Output::Yaml,
        };
        let is_wide = self.output == Form::Wide;
        let text = match output {
            Output::Table => view.table(answer, is_wide)?,
            Output::Json | Output::Yaml => String::new(),
        };
        output.print(answer, |_| text.clone())
    }
}

/// All pages of a list, in one answer.
fn pages(connection: &Connection, path: &str, list: &str) -> anyhow::Result<Value> {
    const LIMIT: u32 = 500;
    let sign = if path.contains('?') { '&' } else { '?' };
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let mut answer: Value = connection.get(&format!("{path}{sign}limit={LIMIT}{after}"))?;
        match answer[list].take() {
            Value::Array(page) => all.extend(page),
            other => anyhow::bail!("{path}: {list} is {other} and no list"),
        }
        let Some(next) = answer["page"]["continue"].as_str() else {
            answer[list] = Value::Array(all);
            answer.as_object_mut().map(|answer| answer.remove("page"));
            return Ok(answer);
        };
        // Names of nodes and pods need no escaping, but for the slash between namespace and name.
        after = format!("&continue={}", next.replace('/', "%2F"));
    }
}

/// Columns of a terminal that shows a table.
const TERMINAL: usize = 80;
/// No column is cut below this.
const COLUMN_MIN: usize = 12;

/// Columns below a header; those that may are cut, one after the other, until they fit a terminal.
fn fitted(header: &[&str], mut rows: Vec<Vec<String>>, may: &[usize], is_wide: bool) -> String {
    let width = |text: &str| text.chars().count();
    let of = |at: usize| rows.iter().map(|row| width(&row[at])).chain([width(header[at])]).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..header.len()).map(of).collect();
    let gaps = 2 * header.len().saturating_sub(1);
    while !is_wide && widths.iter().sum::<usize>() + gaps > TERMINAL {
        let can = |at: &&usize| widths[**at] > width(header[**at]).max(COLUMN_MIN);
        let Some(next) = may.iter().find(can) else { break };
        widths[*next] -= 1;
    }
    for row in &mut rows {
        for (cell, width) in row.iter_mut().zip(&widths) {
            *cell = short(cell, *width);
        }
    }
    columns(header, rows.into_iter())
}

/// A text that is at most so long.
fn short(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// As many of a few texts as fit, and how many more there are.
fn listed(texts: &[String], width: usize) -> String {
    let mut line = String::new();
    for (at, text) in texts.iter().enumerate() {
        let more = texts.len() - at;
        let room = if more > 1 { width.saturating_sub(" +99".len()) } else { width };
        let separator = if at == 0 { "" } else { ", " };
        if at > 0 && line.chars().count() + separator.len() + text.chars().count() > room {
            return format!("{line} +{more}");
        }
        line.push_str(separator);
        line.push_str(&short(text, room));
    }
    if line.is_empty() { "-".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_where_it_may_be_until_it_fits() {
        let row = || vec!["n".repeat(70), "a fact".to_owned(), "w".repeat(30)];
        let fit = |may: &[usize], is_wide| fitted(&["NAME", "FACT", "WHY"], vec![row()], may, is_wide);
        let line = |text: String| text.lines().nth(1).unwrap().to_owned();
        let cut = line(fit(&[2, 0], false));
        assert_eq!(cut.chars().count(), 80);
        assert!(cut.contains("  a fact  ") && cut.ends_with("  wwwwwwwwwww…"), "{cut}");
        assert_eq!(line(fit(&[0, 2], true)).chars().count(), 70 + 6 + 30 + 4);
        assert_eq!(line(fit(&[], false)).chars().count(), 70 + 6 + 30 + 4, "what may not be cut is not");
    }

    #[test]
    fn a_list_is_cut_where_a_line_ends() {
        let texts = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(listed(&texts, 80), "one, two, three");
        assert_eq!(listed(&texts, 12), "one, two +1");
        assert_eq!(listed(&texts, 7), "one +2");
        assert_eq!(listed(&texts[..1], 2), "o…");
        assert_eq!(listed(&[], 7), "-");
        assert_eq!(short("12345", 5), "12345");
    }
}
