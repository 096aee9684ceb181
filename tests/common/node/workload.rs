//! Pods that run on a real node, and what their containers say.

use std::collections::BTreeMap;
use std::fs;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Deserialize;

use super::{IMAGE, RealNode, START, kubelet};
use crate::plane::{self, wait_until};

/// What a container said about itself when it started.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// Its environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// What each path is that it was asked about: `device`, `directory`, `file`,
    /// or nothing.
    pub(crate) paths: BTreeMap<String, Option<String>>,
}

/// A pod with one container, `main`, that asks for `requests`, says what it sees
/// at `paths`, and runs until it is deleted.
pub(crate) fn pod(name: &str, requests: &[(&str, &str)], paths: &[&str]) -> Pod {
    runnable(plane::pod(name, requests), paths)
}

/// Makes a real node able to run a pod: its containers become ones that say what
/// they see at `paths` and run on, its init containers ones that say it and end.
pub(crate) fn runnable(mut pod: Pod, paths: &[&str]) -> Pod {
    let spec = pod.spec.get_or_insert_default();
    // There is no other network.
    spec.host_network = Some(true);
    // They end when they are asked to.
    spec.termination_grace_period_seconds = Some(10);
    let run = |container: &mut Container, options: &[&str]| {
        container.image = Some(IMAGE.to_owned());
        // There is no registry.
        container.image_pull_policy = Some("Never".to_owned());
        container.args = Some([options, paths].concat().into_iter().map(str::to_owned).collect());
    };
    spec.containers.iter_mut().for_each(|container| run(container, &[]));
    spec.init_containers.iter_mut().flatten().for_each(|container| run(container, &["-once"]));
    pod
}

impl RealNode<'_> {
    /// What a container of a pod said, in the order of its starts: one more than
    /// the kubelet started it again. Waits for the first.
    pub(crate) async fn said(&self, pod: &Pod, container: &str) -> Vec<Seen> {
        let what = format!("container {container} says something");
        wait_until(&what, START, async || {
            Some(self.said_so_far(pod, container)).filter(|said| !said.is_empty())
        })
        .await
    }

    fn said_so_far(&self, pod: &Pod, container: &str) -> Vec<Seen> {
        let metadata = &pod.metadata;
        let name = [&metadata.namespace, &metadata.name, &metadata.uid]
            .map(|part| part.as_deref().expect("the pod is as the API server gave it"))
            .join("_");
        let dir = kubelet::logs(self.folder.path()).join(name).join(container);
        // `0.log`, and for each start after the first the next number.
        let logs = (0..).map(|start| dir.join(format!("{start}.log")));
        // A line that is only half written has no end yet.
        logs.map_while(|log| fs::read_to_string(log).ok())
            .flat_map(|log| log.split_inclusive('\n').filter_map(line_of).collect::<Vec<_>>())
            .collect()
    }
}

/// What stands in a line of a log as the CRI has it: the time, the stream,
/// whether the line is whole, and what the container wrote.
fn line_of(line: &str) -> Option<Seen> {
    let mut parts = line.strip_suffix('\n')?.splitn(4, ' ');
    let (stream, text) = (parts.nth(1)?, parts.nth(1)?);
    (stream == "stdout").then(|| serde_json::from_str(text).expect("the workload writes nothing else"))
}
