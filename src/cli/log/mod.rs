//! Where log lines and spans go: lines to standard error; spans, in a build with the feature `otlp`, to a collector.

#[cfg(feature = "otlp")]
mod otlp;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Config, LogFormat};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// What has to live as long as anything is said.
#[derive(Debug)]
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    _export: Option<otlp::Export>,
}

/// Starts the log, and the export of spans where a server runs and the environment asks for it.
#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "there is no export"))]
pub(super) fn start(config: &Config, serves: bool) -> anyhow::Result<Log> {
    // The library takes any other word for the name of a module, and would log nothing.
    let is_level = |part: &str| part.contains('=') || LEVELS.contains(&part.to_ascii_lowercase().as_str());
    let level = &config.log.level;
    anyhow::ensure!(
        level.split(',').all(is_level),
        "log level {level:?}: {}, or MODULE=LEVEL",
        LEVELS.join(", ")
    );
    // Its errors are told by whoever asked, with what was asked; and a picture may have a line without length.
    let directives = format!("kube_client=off,usvg=off,tiny_skia=off,{level}");
    let filter =
        EnvFilter::try_new(&directives).with_context(|| format!("log level {:?}", config.log.level))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    let (registry, log) = {
        let (layer, export) = if serves { otlp::start()?.unzip() } else { (None, None) };
        (registry.with(layer), Log { _export: export })
    };
    #[cfg(not(feature = "otlp"))]
    let log = Log {};
    registry.try_init().map_err(|error| anyhow::anyhow!("the log cannot start: {error}"))?;
    Ok(log)
}
