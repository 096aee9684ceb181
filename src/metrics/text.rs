//! The two forms of the text: OpenMetrics, and the older one of Prometheus for whoever does not ask for the newer.

/// A form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Prometheus,
}

impl Form {
    /// The form that an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        let asks_for_it =
            accept.split(',').any(|media| media.trim().starts_with("application/openmetrics-text"));
        if asks_for_it { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text of OpenMetrics in this form. The older one names a counter by its samples, `_total` included, and
    /// knows neither units nor an end.
    pub(super) fn of(self, text: String) -> String {
        if self == Self::OpenMetrics {
            return text;
        }
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
            let counter = line.strip_prefix("# TYPE ").and_then(|line| line.strip_suffix(" counter"));
            if let (Some(name), Some(help)) = (counter, lines.last_mut()) {
                *help = help.replacen(&format!("# HELP {name} "), &format!("# HELP {name}_total "), 1);
                lines.push(format!("# TYPE {name}_total counter"));
            } else {
                lines.push(line.to_owned());
            }
        }
        lines.join("\n") + "\n"
    }
}
