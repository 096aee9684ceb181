//! What watches Tangram, and the examples beside it: the same objects by kustomize and Helm, ports and labels that
//! exist, nodes that Tangram understands.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tangram::config::Config;
use tangram::plan::plan;
use tangram::serve::load;
use tangram::wire::dryrun::dryrun_pods;

use super::agent::own_overlay;
use super::{NAMESPACE, SHAPES, compared, documents, helm, kustomize, of_kind, read};

/// The objects that the component adds to an overlay.
fn component() -> Vec<Value> {
    own_overlay(|deploy| format!("components: [{deploy}/components/monitoring]\n"))
}

#[test]
fn kustomize_and_helm_watch_with_the_same_objects() {
    let added = compared(component());
    let names: Vec<&str> = added.keys().map(String::as_str).collect();
    let wanted = [
        format!("ConfigMap {NAMESPACE}/tangram-dashboard"),
        format!("PrometheusRule {NAMESPACE}/tangram"),
        format!("Service {NAMESPACE}/tangram-metrics"),
        format!("ServiceMonitor {NAMESPACE}/tangram"),
    ];
    assert_eq!(names, wanted);
    for (_, values) in SHAPES {
        let without = compared(helm(NAMESPACE, values).unwrap());
        let mut with = compared(helm(NAMESPACE, &[values, &["monitoring.enabled=true"]].concat()).unwrap());
        with.retain(|name, object| without.get(name) != Some(object));
        assert_eq!(with, added);
    }
}

#[test]
fn the_chart_labels_what_prometheus_selects_by_labels_and_names_its_own_namespace() {
    let objects = helm("gpu", &["monitoring.enabled=true", "monitoring.labels.release=stack"]).unwrap();
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        let found = of_kind(&objects, kind);
        assert_eq!(found.len(), 1, "{kind}");
        assert_eq!(found[0]["metadata"]["labels"], json!({ "release": "stack" }), "{kind}");
        assert_eq!(found[0]["metadata"]["namespace"], "gpu", "{kind}");
    }
    assert!(objects.iter().all(|object| !object.to_string().contains(NAMESPACE)));
}

#[test]
fn labels_that_an_overlay_adds_reach_the_monitor_and_no_selector() {
    let objects = own_overlay(|deploy| {
        format!("components: [{deploy}/components/monitoring]\nlabels:\n- pairs: {{release: stack}}\n")
    });
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert_eq!(of_kind(&objects, kind)[0]["metadata"]["labels"], json!({ "release": "stack" }), "{kind}");
    }
    let [labelled, plain] = [objects, component()];
    for (kind, selector) in [("Service", "/spec/selector"), ("ServiceMonitor", "/spec/selector/matchLabels")]
    {
        let of = |objects: &[Value]| of_kind(objects, kind)[0].pointer(selector).cloned().unwrap();
        assert_eq!(of(&labelled), of(&plain), "{kind}");
    }
}

#[test]
fn the_monitor_finds_the_service_the_service_the_pods_and_their_port() {
    let added = component();
    let (service, monitor) = (of_kind(&added, "Service")[0], of_kind(&added, "ServiceMonitor")[0]);
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    let port = &service["spec"]["ports"][0];
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
        assert_eq!(service["spec"]["selector"], template["metadata"]["labels"], "{overlay}");
        // Another Service of the shape is none of the monitor's.
        for other in of_kind(&objects, "Service") {
            assert_ne!(other["metadata"]["labels"], service["metadata"]["labels"], "{overlay}");
        }
        let containers = template["spec"]["containers"].as_array().unwrap();
        let mut ports = containers.iter().flat_map(|container| container["ports"].as_array().unwrap());
        let found = ports.find(|open| open["name"] == port["targetPort"]).unwrap();
        assert_eq!(found["containerPort"], port["port"], "{overlay}");
    }
}

/// The node that Karpenter makes of the pool, with what GPU feature discovery adds, placed on by a pod that asks for
/// what the ScaledObject is about.
#[test]
fn a_node_of_the_example_pool_takes_the_pods_that_the_example_scales_for() {
    let pool = &documents(&read("deploy/examples/karpenter-nodepool.yaml"))[0];
    let template = &pool["spec"]["template"];
    let mut labels = template["metadata"]["labels"].clone();
    labels["karpenter.sh/nodepool"] = pool["metadata"]["name"].clone();
    labels["nvidia.com/gpu.product"] = json!("NVIDIA-A100-SXM4-80GB");
    labels["nvidia.com/gpu.count"] = json!("8");
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "new", "labels": labels },
        "spec": { "taints": template["spec"]["taints"] },
        "status": { "allocatable": { "cpu": "96", "memory": "1100Gi", "pods": "250" } },
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [node] });
    let config = Config::default();
    let (cache, contents) = load(&config, list.to_string().as_bytes()).unwrap();
    assert_eq!(contents.errors, []);
    assert_eq!(cache.cluster().get("new").unwrap().problems, []);

    let keda = documents(&read("deploy/examples/keda-scaledobject.yaml"));
    let [scaled, holder] = &keda[..] else { panic!("a ScaledObject and what it scales") };
    let trigger = &scaled["spec"]["triggers"][0]["metadata"];
    let query = trigger["query"].as_str().unwrap();
    let profiles: BTreeSet<&str> =
        query.split("profile=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(profiles, BTreeSet::from(["3g.40gb"]));
    let per_node: usize = trigger["threshold"].as_str().unwrap().parse().unwrap();
    let pod = |number: usize, tolerates: bool| {
        let resources = json!({ "limits": { "tangram.gpu/mig-3g.40gb": "1" } });
        let toleration = json!([{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }]);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": "team", "name": format!("p{number}") },
            "spec": {
                "containers": [{ "name": "main", "image": "x", "resources": resources }],
                "tolerations": if tolerates { toleration } else { json!([]) },
            },
        })
    };
    let placed = |pods: Vec<Value>| {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods });
        let pods = dryrun_pods(list.to_string().as_bytes(), &config.dialect()).unwrap();
        let (planned, _) = plan(cache.cluster().clone(), cache.scores(), config.policy, pods);
        planned.iter().filter(|planned| planned.outcome.is_ok()).count()
    };
    // As many as the ScaledObject counts for a node, and not one more; and none that does not tolerate the taint.
    assert_eq!(placed((0..=per_node).map(|number| pod(number, true)).collect()), per_node);
    assert_eq!(placed(vec![pod(0, false)]), 0);

    let reference = &scaled["spec"]["scaleTargetRef"]["name"];
    assert_eq!(&holder["metadata"]["name"], reference);
    let spec = &holder["spec"]["template"]["spec"];
    assert_eq!(spec["nodeSelector"]["karpenter.sh/nodepool"], pool["metadata"]["name"]);
    assert_eq!(spec["tolerations"][0]["key"], template["spec"]["taints"][0]["key"]);
}
