//! Answers of the extender protocol, written straight into bytes where they name thousands of nodes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::extender::Nodes;

/// Answer to preempt: always the meta form. Nodes left out are no candidates.
#[derive(Debug, Serialize)]
pub struct PreemptionResult {
    /// By node name.
    #[serde(rename = "NodeNameToMetaVictims")]
    pub victims: BTreeMap<String, MetaVictims>,
}

/// Victims as UIDs.
#[derive(Debug, Serialize)]
pub struct MetaVictims {
    /// The pods.
    #[serde(rename = "Pods")]
    pub pods: Vec<MetaPod>,
    /// How many of them violate a PodDisruptionBudget.
    #[serde(rename = "NumPDBViolations")]
    pub pdb_violations: i64,
}

/// A pod by its UID.
#[derive(Debug, Serialize)]
pub struct MetaPod {
    /// The UID.
    #[serde(rename = "UID")]
    pub uid: String,
}

/// Answer to bind: empty when the pod is bound.
#[derive(Debug, Serialize)]
pub struct BindingResult {
    /// Why not.
    #[serde(rename = "Error")]
    pub error: String,
}

/// What filter says of the node at one position of the request.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// Position in the request.
    pub position: usize,
    /// Index of the reason why not; `None` where the pod fits.
    pub reason: Option<usize>,
}

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The words.
    pub text: String,
    /// Whether no eviction can help.
    pub is_final: bool,
}

/// Body of a filter answer.
pub fn filter_result(nodes: &Nodes<'_>, verdicts: &[Verdict], reasons: &[Reason]) -> Vec<u8> {
    let mut body = Vec::with_capacity(nodes.len() * 32 + 128);
    let fitting = || verdicts.iter().filter(|verdict| verdict.reason.is_none());
    match nodes {
        Nodes::Names(_) => {
            body.extend(br#"{"NodeNames":["#);
            separated(&mut body, fitting(), |body, verdict| string(body, nodes.name(verdict.position)));
            body.extend(br#"],"Nodes":null"#);
        }
        Nodes::Objects(items) => {
            body.extend(br#"{"NodeNames":null,"Nodes":{"metadata":{},"items":["#);
            separated(&mut body, fitting(), |body, verdict| {
                body.extend(items[verdict.position].json.get().as_bytes());
            });
            body.extend(b"]}");
        }
    }
    for (key, is_final) in [("FailedNodes", false), ("FailedAndUnresolvableNodes", true)] {
        let refused =
            verdicts.iter().filter_map(|verdict| Some((verdict.position, &reasons[verdict.reason?])));
        body.extend(b",\"");
        body.extend(key.as_bytes());
        body.extend(b"\":{");
        separated(
            &mut body,
            refused.filter(|(_, reason)| reason.is_final == is_final),
            |body, (position, reason)| {
                string(body, nodes.name(position));
                body.push(b':');
                string(body, &reason.text);
            },
        );
        body.push(b'}');
    }
    body.extend(br#","Error":""}"#);
    body
}

/// Body of a filter answer that only says what is wrong with the request.
pub fn filter_error(error: &str) -> Vec<u8> {
    let mut body =
        br#"{"NodeNames":null,"Nodes":null,"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":"#
            .to_vec();
    string(&mut body, error);
    body.push(b'}');
    body
}

/// Body of a prioritize answer: positions of the request with their levels.
pub fn host_priorities(nodes: &Nodes<'_>, levels: impl Iterator<Item = (usize, u8)>) -> Vec<u8> {
    let mut body = Vec::with_capacity(nodes.len() * 40 + 2);
    body.push(b'[');
    separated(&mut body, levels, |body, (position, level)| {
        body.extend(br#"{"Host":"#);
        string(body, nodes.name(position));
        body.extend(br#","Score":"#);
        if level >= 10 {
            body.push(b'0' + level.div_euclid(10));
        }
        body.push(b'0' + level.rem_euclid(10));
        body.push(b'}');
    });
    body.push(b']');
    body
}

fn separated<T>(body: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (position, item) in items.enumerate() {
        if position > 0 {
            body.push(b',');
        }
        write(body, item);
    }
}

/// Writes a JSON string; names of nodes hold nothing that needs an escape.
fn string(body: &mut Vec<u8>, text: &str) {
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if is_plain {
        body.push(b'"');
        body.extend(text.as_bytes());
        body.push(b'"');
    } else {
        serde_json::to_writer(body, text).expect("writing to memory does not fail");
    }
}
