//! A real Prometheus scrapes the binary under test: every query that is shipped gives data, and each alert fires when
//! it should and keeps still when it should not.
//!
//! Needs `prometheus` and `promtool` (Debian's package `prometheus`; `.ci/run` installs it).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "monitoring/alerts.rs"]
mod alerts;
#[path = "monitoring/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lab::{Lab, promtool};
use serde_json::{Value, json};

const MONITORING: &str = "deploy/kustomize/components/monitoring";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The groups of rules as Prometheus itself reads them.
fn rules() -> Value {
    let mut object: Value =
        serde_saphyr::from_str(&read(&format!("{MONITORING}/rules.yaml"))).expect("the rules are YAML");
    object["spec"].take()
}

fn alerts() -> Vec<Value> {
    let groups = rules()["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} of {value}"))
}

/// Every query of the dashboard with its panel, its variables filled in as Grafana does.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(&format!("{MONITORING}/dashboard.json"))).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = text(target, "/expr").to_owned();
            for variable in dashboard.pointer("/templating/list").unwrap().as_array().unwrap() {
                let name = format!("${}", text(variable, "/name"));
                query = query.replace(&name, variable["allValue"].as_str().unwrap_or_default());
            }
            let query = query.replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{query} names a variable that the dashboard does not have");
            queries.push((format!("panel {:?}", text(panel, "/title")), query));
        }
    }
    queries
}

/// The queries that documents and examples give.
fn examples() -> Vec<(String, String)> {
    let document = read("docs/metrics.md");
    let blocks = document.split("```promql\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    let mut queries: Vec<_> = blocks.map(|query| ("docs/metrics.md".to_owned(), query.to_owned())).collect();
    assert_eq!(queries.len(), 2);
    let keda = read("deploy/examples/keda-scaledobject.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&keda).unwrap();
    let scaled = text(&objects[0], "/spec/triggers/0/metadata/query").to_owned();
    let stripped = |query: &str| query.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(stripped(&scaled), stripped(&queries[1].1), "the document has another query than the example");
    queries.push(("keda-scaledobject.yaml".to_owned(), scaled));
    queries
}

/// What of a query selects series: names with their matchers.
fn selectors(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["tangram_", "DCGM_"] {
        for (at, _) in query.match_indices(prefix) {
            let rest = &query[at..];
            let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let matchers =
                if rest[name..].starts_with('{') { rest[name..].find('}').unwrap() + 1 } else { 0 };
            found.insert(rest[..name + matchers].to_owned());
        }
    }
    assert!(!found.is_empty(), "{query} selects nothing of ours");
    found
}

#[test]
fn prometheus_reads_the_rules_and_each_names_its_runbook() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, rules().to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    let runbooks = read("docs/alerts.md");
    let headings: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut named = BTreeSet::new();
    let alerts = alerts();
    for alert in &alerts {
        let name = text(alert, "/alert");
        let runbook = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(text(alert, "/annotations/runbook"), runbook);
        assert!(["critical", "warning", "info"].contains(&text(alert, "/labels/severity")), "{name}");
        named.insert(name);
    }
    assert_eq!(named, headings);
}

#[test]
fn each_alert_fires_when_it_should_and_keeps_still_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (rules_file, file) = (folder.path().join("rules.yaml"), folder.path().join("tests.yaml"));
    fs::write(&rules_file, rules().to_string()).unwrap();
    let mut tests = Vec::new();
    let mut tried = BTreeSet::new();
    for alert in alerts() {
        let name = text(&alert, "/alert").to_owned();
        let case = alerts::CASES.iter().find(|case| case.alert == name);
        let case = case.unwrap_or_else(|| panic!("no case of tests/monitoring/alerts.rs is about {name}"));
        tried.insert(case.alert);
        let fires =
            json!([{ "exp_labels": case.labels(&alert), "exp_annotations": case.annotations(&alert) }]);
        for (series, expected) in [(case.fires, fires), (case.still, json!([]))] {
            let series: Vec<Value> =
                series.iter().map(|(series, values)| json!({ "series": series, "values": values })).collect();
            let asked = json!({ "eval_time": "3h", "alertname": name, "exp_alerts": expected });
            tests.push(json!({ "interval": "1m", "input_series": series, "alert_rule_test": [asked] }));
        }
    }
    assert_eq!(tried.len(), alerts::CASES.len(), "a case is about no alert");
    let document = json!({ "rule_files": [rules_file], "evaluation_interval": "1m", "tests": tests });
    fs::write(&file, document.to_string()).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]);
}

#[test]
fn every_query_that_is_shipped_gives_data_on_the_running_server() {
    let lab = Lab::start();
    let dashboard = dashboard();
    assert!(dashboard.len() > 30, "{}", dashboard.len());
    let mut empty = Vec::new();
    for (origin, query) in dashboard.into_iter().chain(examples()) {
        if lab.query(&query).is_empty() {
            empty.push(format!("{origin}: {query}"));
        }
    }
    // An alert gives data only when it fires; what it looks at has to be there.
    for alert in alerts() {
        for selector in selectors(text(&alert, "/expr")) {
            if lab.query(&selector).is_empty() {
                empty.push(format!("{}: {selector}", text(&alert, "/alert")));
            }
        }
    }
    assert!(empty.is_empty(), "no data for {empty:#?}");
    // What joins DCGM's figures joins all of them that are held.
    let held = lab.query("tangram_gpu_held_ratio > 0").len();
    let joined = lab.query("(tangram_gpu_held_ratio > 0) and on (UUID) DCGM_FI_PROF_GR_ENGINE_ACTIVE").len();
    assert!(held > 0 && held == joined, "{joined} of {held}");
    lab.check_metrics();
}

#[test]
fn the_dashboard_is_what_grafana_imports() {
    let dashboard: Value = serde_json::from_str(&read(&format!("{MONITORING}/dashboard.json"))).unwrap();
    assert_eq!((text(&dashboard, "/uid"), text(&dashboard, "/title")), ("tangram", "Tangram"));
    assert!(dashboard["schemaVersion"].as_i64().unwrap() >= 39);
    assert!(dashboard.get("id").is_none(), "an id belongs to one Grafana");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        let of = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(x < 24 && cells.insert((x, y)), "{} covers another", text(panel, "/title"));
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(!text(panel, "/description").is_empty());
        let sources = panel["targets"].as_array().unwrap().iter().chain([panel]);
        for source in sources {
            assert_eq!(text(source, "/datasource/uid"), "${datasource}", "{}", text(panel, "/title"));
        }
    }
}
