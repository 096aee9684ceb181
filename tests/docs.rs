//! What the documents say is what the program does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;

use http::Server;
use tangram::config::{Config, Election, Kubernetes};
use tangram::serve::EXAMPLE;

const README: &str = include_str!("../README.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");

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
        ("deviceResources".to_owned(), "`[]`".to_owned()),
        ("log.format".to_owned(), "`text`".to_owned()),
        ("log.level".to_owned(), format!("`{}`", config.log.level)),
    ];
    let none = "none".to_owned();
    for key in ["tls.certFile", "tls.keyFile", "tls.clientCaFile", "probeListen"] {
        rows.push((key.to_owned(), none.clone()));
    }
    let Kubernetes {
        schedulers,
        model_age_max_seconds,
        instance_timeout_seconds,
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

#[test]
fn the_example_configuration_can_be_read() {
    let config = Config::parse(block(CONFIGURATION, "# Configuration", "yaml")).unwrap();
    assert_eq!(config.limits.node_names, 5000);
    assert_eq!(config.device_resources.len(), 1);
}
