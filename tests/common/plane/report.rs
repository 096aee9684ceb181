//! What the double of a node agent reports: one node's GPUs, with the instances
//! that Tangram wants on them.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ResourceExt as _};
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::agent::{Manner, gpu_nodes};

/// The GPUs of a node, as its labels say.
#[derive(Debug, Clone)]
pub(super) struct Hardware {
    pub(super) name: String,
    model: String,
    gpus: u16,
}

impl Hardware {
    pub(super) fn of(node: &Node) -> Self {
        let label = |key: &str| node.labels().get(key).cloned().unwrap_or_default();
        let gpus = label("nvidia.com/gpu.count").parse().unwrap_or(1);
        Self { name: node.name_any(), model: label("nvidia.com/gpu.product"), gpus }
    }

    /// The GPUs with the instances that `wanted` has for them.
    async fn report(&self, client: &Client, wanted: &[Value], manner: &Manner) -> Result<Value> {
        let mut gpus = Vec::new();
        for index in 0..self.gpus {
            let mut instances = Vec::new();
            for instance in wanted.iter().filter(|instance| instance["gpu"] == index) {
                instances.push(self.instance(client, instance).await?);
            }
            let sick = manner.sick.get(&index);
            gpus.push(json!({
                "index": index,
                "uuid": format!("GPU-{}-{index}", self.name),
                "model": self.model,
                "migMode": "Enabled",
                "health": if sick.is_some() { "Unhealthy" } else { "Healthy" },
                "healthReason": sick.map_or("", String::as_str),
                "instances": instances,
            }));
        }
        Ok(gpus.into())
    }

    /// One instance, with the pod that holds it: the one it was made for, from
    /// when it is bound here until it has ended.
    async fn instance(&self, client: &Client, wanted: &Value) -> Result<Value> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (profile, start) = (text(&wanted["profile"]), &wanted["start"]);
        let uuid = format!("MIG-{}-{}-{profile}-{start}", self.name, wanted["gpu"]);
        let mut instance =
            json!({ "uuid": uuid, "profile": profile, "start": start, "readyFor": wanted["pod"]["uid"] });
        let (namespace, name) = (text(&wanted["pod"]["namespace"]), text(&wanted["pod"]["name"]));
        if !name.is_empty() {
            let pod = Api::<Pod>::namespaced(client.clone(), &namespace).get_opt(&name).await?;
            if pod.is_some_and(|pod| self.runs(&pod, &text(&wanted["pod"]["uid"]))) {
                instance["pod"] = json!({ "namespace": namespace, "name": name });
            }
        }
        Ok(instance)
    }

    fn runs(&self, pod: &Pod, uid: &str) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_it = uid.is_empty() || pod.metadata.uid.as_deref() == Some(uid);
        is_it && node == Some(&self.name) && !matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// Creates the node's `GpuNode` when there is none, and makes its status what is
/// wanted. `manner` is asked before each step; nothing more is done when it has
/// none.
pub(super) async fn bring_up_to_date(
    client: &Client,
    node: &Hardware,
    manner: impl Fn() -> Option<Manner>,
) -> Result<()> {
    let objects = gpu_nodes(client.clone());
    let Some(first) = manner() else { return Ok(()) };
    let mut object = match objects.get_opt(&node.name).await? {
        Some(object) => object,
        None => objects.create(&PostParams::default(), &empty(&node.name)).await?,
    };
    let reported = &object.data["status"]["gpus"];
    let is_first = reported.is_null();
    let due = node.report(client, &wanted(&object), &first).await?;
    if *reported == due {
        return Ok(());
    }
    // Only instances take time: who holds one, and how a GPU is, is read.
    if !is_first && places(reported) != places(&due) {
        tokio::time::sleep(first.delay).await;
        object = objects.get(&node.name).await?;
    }
    let Some(manner) = manner() else { return Ok(()) };
    let status = json!({
        "sequence": object.data["status"]["sequence"].as_u64().unwrap_or(0) + 1,
        "observedAt": jiff::Timestamp::now().to_string(),
        "driverVersion": "580.95.05",
        "gpus": node.report(client, &wanted(&object), &manner).await?,
    });
    let patch = Patch::Merge(json!({ "status": status }));
    objects.patch_status(&node.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn empty(name: &str) -> DynamicObject {
    let resource = ApiResource {
        group: "tangram.gpu".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "tangram.gpu/v1alpha1".to_owned(),
        kind: "GpuNode".to_owned(),
        plural: "gpunodes".to_owned(),
    };
    DynamicObject::new(name, &resource).data(json!({ "spec": { "instances": [] } }))
}

fn wanted(object: &DynamicObject) -> Vec<Value> {
    object.data["spec"]["instances"].as_array().cloned().unwrap_or_default()
}

/// Which instances a report has, whoever holds them.
fn places(gpus: &Value) -> Vec<&Value> {
    let gpus = gpus.as_array().into_iter().flatten();
    let instances = gpus.filter_map(|gpu| gpu["instances"].as_array()).flatten();
    instances.map(|instance| &instance["uuid"]).collect()
}
