//! What the documents say is what the program does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use http::Server;
use tangram::agent::desk::Reason;
use tangram::census::Bounds;
use tangram::config::{Api, Config, Election, Kubernetes, Repack};
use tangram::serve::EXAMPLE;

const README: &str = include_str!("../README.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const METRICS: &str = include_str!("../docs/metrics.md");
const AGENT: &str = include_str!("../deploy/agent.md");
const CONTRIBUTING: &str = include_str!("../CONTRIBUTING.md");

/// Every document that people read.
const DOCUMENTS: [&str; 15] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/alerts.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/layouts.md",
    "docs/metrics.md",
    "docs/questions.md",
    "docs/page.md",
    "deploy/README.md",
    "deploy/agent.md",
    "deploy/policies/README.md",
    "benches/README.md",
    "fuzz/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The section of a document below a heading, without what follows the next one of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.split_once(' ').unwrap().0;
    let after = text.split_once(&format!("\n{heading}\n")).unwrap().1;
    after.split_once(&format!("\n{level} ")).map_or(after, |(section, _)| section)
}

/// The first cells of a table's rows that are code.
fn keys(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect()
}

/// The fenced block of a language that follows `heading`.
fn block<'a>(text: &'a str, heading: &str, language: &str) -> &'a str {
    let after = text.split_once(heading).unwrap().1;
    let block = after.split_once(&format!("```{language}\n")).unwrap().1;
    block.split_once("\n```").unwrap().0
}

#[tokio::test]
async fn the_readme_shows_a_request_with_the_answer_it_gets() {
    let request = block(README, "Ask it what kube-scheduler would ask:", "sh");
    let body = request.split_once("-d '").unwrap().1.strip_suffix('\'').unwrap();
    let answer = block(README, "Ask it what kube-scheduler would ask:", "json");
    let (_, given) = Server::new(EXAMPLE).send("POST", "/scheduler/filter", body.to_owned()).await;
    assert_eq!(String::from_utf8(given).unwrap(), answer);
}

#[test]
fn the_stanza_of_the_readme_is_part_of_the_configuration_that_the_tests_run() {
    let shipped = include_str!("../scheduler-config/secondary.yaml");
    let stanza = block(README, "The stanza:", "yaml");
    let mut lines = shipped.lines();
    for line in stanza.lines() {
        assert!(
            lines.any(|shipped| shipped == line),
            "{line:?} is not in secondary.yaml, or in another order"
        );
    }
}

#[test]
fn every_key_of_the_configuration_is_documented_with_its_default() {
    let config = Config::default();
    let limits = serde_json::to_value(config.limits).unwrap();
    let mut rows: Vec<(String, String)> = vec![
        ("listen".to_owned(), format!("`{}`", config.listen)),
        ("policy".to_owned(), "`pack`".to_owned()),
        ("demand.halfLifeHours".to_owned(), format!("`{}`", config.demand.half_life_hours)),
        ("deviceResources".to_owned(), "`[]`".to_owned()),
        ("log.format".to_owned(), "`text`".to_owned()),
        ("log.level".to_owned(), format!("`{}`", config.log.level)),
    ];
    let Bounds { namespaces, groups, gpus, pool_labels } = config.metrics;
    for (key, bound) in [("namespaces", namespaces), ("groups", groups), ("gpus", gpus)] {
        rows.push((format!("metrics.{key}"), bound.to_string()));
    }
    rows.push(("metrics.poolLabels".to_owned(), format!("`[{}]`", pool_labels.join(", "))));
    let none = "none".to_owned();
    for key in ["tls.certFile", "tls.keyFile", "tls.clientCaFile", "probeListen"] {
        rows.push((key.to_owned(), none.clone()));
    }
    let Api { listen, authentication, audiences, requests_per_second, concurrent_requests } = config.api;
    assert_eq!((listen, authentication, audiences), (None, None, Vec::new()));
    for (key, value) in [
        ("listen", none.clone()),
        ("authentication", none.clone()),
        ("audiences", "`[]`".to_owned()),
        ("requestsPerSecond", requests_per_second.to_string()),
        ("concurrentRequests", concurrent_requests.to_string()),
    ] {
        rows.push((format!("api.{key}"), value));
    }
    let Repack { apply, step_time_limit_seconds, on_demand } = config.repack;
    let repack = [
        ("apply.enabled", apply.enabled.to_string()),
        ("stepTimeLimitSeconds", step_time_limit_seconds.to_string()),
        ("onDemand.enabled", on_demand.enabled.to_string()),
        ("onDemand.movesPerHour", on_demand.moves_per_hour.to_string()),
        ("onDemand.movesPerPod", on_demand.moves_per_pod.to_string()),
    ];
    rows.extend(repack.map(|(key, value)| (format!("repack.{key}"), value)));
    let Kubernetes {
        schedulers,
        model_age_max_seconds,
        instance_timeout_seconds,
        agent_lease_namespace,
        request_timeout_seconds,
        leader_election,
        nominator,
        preemption,
        events,
        scheduler_config_file,
    } = config.kubernetes;
    assert_eq!((leader_election.mode, scheduler_config_file), (Election::Own, None));
    let kubernetes = [
        ("schedulers", format!("`[{}]`", schedulers.join(", "))),
        ("modelAgeMaxSeconds", model_age_max_seconds.to_string()),
        ("instanceTimeoutSeconds", instance_timeout_seconds.to_string()),
        ("agentLeaseNamespace", agent_lease_namespace.unwrap_or(none.clone())),
        ("requestTimeoutSeconds", request_timeout_seconds.to_string()),
        ("leaderElection.mode", "`own`".to_owned()),
        ("leaderElection.leaseName", format!("`{}`", leader_election.lease_name)),
        ("leaderElection.leaseNamespace", leader_election.lease_namespace.unwrap_or(none.clone())),
        ("leaderElection.leaseDurationSeconds", leader_election.lease_duration_seconds.to_string()),
        ("leaderElection.identity", leader_election.identity.unwrap_or(none.clone())),
        ("nominator.enabled", nominator.enabled.to_string()),
        ("preemption.enabled", preemption.enabled.to_string()),
        ("preemption.evictionsPerMinute", preemption.evictions_per_minute.to_string()),
        ("events.enabled", events.enabled.to_string()),
        ("schedulerConfigFile", none),
    ];
    rows.extend(kubernetes.map(|(key, value)| (format!("kubernetes.{key}"), value)));
    rows.extend(
        limits.as_object().unwrap().iter().map(|(key, value)| (format!("limits.{key}"), value.to_string())),
    );
    for (key, value) in &rows {
        assert!(CONFIGURATION.contains(&format!("\n| `{key}` | {value} |")), "{key} with default {value}");
    }
    assert_eq!(CONFIGURATION.matches("\n| `").count(), rows.len(), "a key that does not exist is documented");
}

#[tokio::test]
async fn every_metric_is_documented_with_its_type_and_labels_and_no_other_is() {
    let (_, text) = Server::new(EXAMPLE).send("GET", "/metrics", "").await;
    let text = String::from_utf8(text).unwrap();
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name, (kind, BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (sample, labels) = series.split_once('{').unwrap_or((series, ""));
        let stems = ["_bucket", "_sum", "_count"].map(|end| sample.strip_suffix(end).unwrap_or(sample));
        let name = stems.into_iter().find(|name| found.contains_key(name)).unwrap_or(sample);
        let known = &mut found.get_mut(name).unwrap().1;
        // No value of a label of the example has a comma in it.
        let keys = labels.split(',').filter_map(|label| label.split_once('=')).map(|(key, _)| key);
        known.extend(keys.filter(|key| *key != "le"));
    }
    let mut documented = BTreeMap::new();
    for row in METRICS.lines().filter(|line| line.starts_with("| `tangram_")) {
        let [name, kind, labels] = row.split('|').skip(1).take(3).collect::<Vec<_>>().try_into().unwrap();
        let labels = labels.split('`').map(str::trim).filter(|word| !word.is_empty() && *word != ",");
        documented.insert(name.trim().trim_matches('`'), (kind.trim(), labels.collect::<BTreeSet<_>>()));
    }
    assert_eq!(documented, found);
}

#[test]
fn every_reason_and_every_kind_of_a_metric_is_explained() {
    let explained = |heading: &str, header: &str| -> Vec<String> {
        let table = section(METRICS, heading).split_once(header).unwrap().1;
        table
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
            .collect()
    };
    assert_eq!(explained("## Reasons", "| reason |"), tangram::solver::Refusal::NAMES);
    assert_eq!(explained("## Kinds", "| kind |"), tangram::model::Problem::NAMES);
}

#[test]
fn the_example_configuration_can_be_read() {
    let config = Config::parse(block(CONFIGURATION, "# Configuration", "yaml")).unwrap();
    assert_eq!(config.limits.node_names, 5000);
    assert_eq!(config.device_resources.len(), 1);
}

#[test]
fn every_reason_of_the_agent_is_documented_with_what_to_do() {
    // A reason that is new has to come in here, and so into the document.
    fn next(reason: Option<Reason>) -> Option<Reason> {
        Some(match reason {
            None => Reason::InUse,
            Some(Reason::InUse) => Reason::InsufficientResources,
            Some(Reason::InsufficientResources) => Reason::OccupiedByOthers,
            Some(Reason::OccupiedByOthers) => Reason::MakingRoom,
            Some(Reason::MakingRoom) => Reason::HeldByContainer,
            Some(Reason::HeldByContainer) => Reason::GpuLost,
            Some(Reason::GpuLost) => Reason::MigDisabled,
            Some(Reason::MigDisabled) => Reason::MigNotSupported,
            Some(Reason::MigNotSupported) => Reason::ResetRequired,
            Some(Reason::ResetRequired) => Reason::NotDynamic,
            Some(Reason::NotDynamic) => Reason::NoSuchGpu,
            Some(Reason::NoSuchGpu) => Reason::NoSuchPlacement,
            Some(Reason::NoSuchPlacement) => Reason::DriverError,
            Some(Reason::DriverError) => return None,
        })
    }
    let all = std::iter::successors(next(None), |reason| next(Some(*reason)));
    let names: BTreeSet<String> = all.map(|reason| reason.to_string()).collect();
    let reports = section(AGENT, "## What it reports").split_once("\n### ").unwrap().0;
    let mut documented = keys(reports);
    for condition in ["NVMLReady", "KubeletReady", "InstancesReady"] {
        assert!(documented.remove(condition), "{condition}");
    }
    assert_eq!(documented, names.iter().map(String::as_str).collect());
}

#[test]
fn the_xids_that_are_called_harmless_are_those_that_the_agent_takes_for_such() {
    let row = AGENT.lines().find(|line| line.contains("the program's own fault (")).unwrap();
    let numbers = row.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let documented: Vec<u64> = numbers.split(", ").map(|number| number.parse().unwrap()).collect();
    let harmless: Vec<u64> = (0..1000).filter(|xid| !tangram_nvml::is_of_gpu(*xid)).collect();
    assert_eq!(documented, harmless);
}

#[test]
fn flags_of_the_agent_that_documents_name_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_tangram")).args(["agent", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let known: BTreeSet<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    let mut named = 0;
    for line in AGENT.lines().filter(|line| line.contains("tangram agent ")) {
        let after = line.split_once("tangram agent ").unwrap().1;
        for flag in after.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(known.contains(flag), "{line}");
            named += 1;
        }
    }
    assert_eq!(named, 2);
    for flag in ["--keep-mig-mode", "--namespace"] {
        let documents = [AGENT, include_str!("../deploy/README.md")].concat();
        assert!(known.contains(flag) && documents.contains(flag), "{flag}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) =
                link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let folder = root().join(document).parent().unwrap().to_owned();
            let target = if path.is_empty() { root().join(document) } else { folder.join(path) };
            assert!(target.exists(), "{document}: {link}");
            if let Some(anchor) = anchor {
                assert!(anchors(&target).contains(anchor), "{document}: {link}");
            }
        }
    }
}

/// Headings as links name them.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_test_file_stands_in_the_table_of_tests_and_no_other() {
    let is_rust = |name: &str| Path::new(name).extension().is_some_and(|end| end == "rs");
    let table = section(CONTRIBUTING, "## Tests");
    let mut named: BTreeSet<&str> = table.split('`').filter(|word| is_rust(word)).collect();
    let mut there = BTreeSet::new();
    for folder in ["tests", "nvml/tests"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if is_rust(&name) {
                there.insert(format!("{folder}/{name}"));
            }
        }
    }
    named.retain(|name| name.contains("tests/"));
    assert_eq!(named, there.iter().map(String::as_str).collect());
}

#[test]
fn the_crates_of_the_workspace_stand_in_the_map_of_the_code() {
    let manifest = include_str!("../Cargo.toml");
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let map = section(CONTRIBUTING, "## Where things are");
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        assert!(map.contains(&format!("`{member}/`")), "{member}");
    }
}
