//! What RBAC has to allow: one table, with which the manifests are compared.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with subresource.
    pub resource: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// The objects' names; empty for all.
    pub names: &'static [&'static str],
    /// Whether in every namespace, or in Tangram's own alone.
    pub is_cluster_wide: bool,
    /// What for.
    pub reason: &'static str,
}

const fn right(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    reason: &'static str,
) -> Right {
    Right { group, resource, verbs, names: &[], is_cluster_wide: true, reason }
}

/// Of `tangram serve`.
pub const SERVE: &[Right] = &[
    right("", "nodes", &["list", "watch"], "the model"),
    right(
        "",
        "pods",
        &["get", "list", "patch", "watch"],
        "the model; reading a pod whose Binding has no answer; the fence annotation",
    ),
    right("", "pods/status", &["patch"], "nominations and the condition tangram.gpu/Nominated"),
    right("", "pods/binding", &["create"], "binding"),
    right("", "pods/eviction", &["create"], "preemption for MIG devices"),
    right("policy", "poddisruptionbudgets", &["list"], "whom preemption may evict"),
    right(
        "tangram.gpu",
        "gpunodes",
        &["get", "list", "patch", "watch"],
        "agents' reports, and the GPU instances wanted",
    ),
    right("events.k8s.io", "events", &["create"], "why a pod waits, why one was evicted"),
    lease(&["list", "watch"], &[], "which agents are alive"),
];

/// Of Leases, in Tangram's own namespace.
const fn lease(
    verbs: &'static [&'static str],
    names: &'static [&'static str],
    reason: &'static str,
) -> Right {
    Right { names, is_cluster_wide: false, ..right("coordination.k8s.io", "leases", verbs, reason) }
}

/// Of `tangram serve` with a Lease of its own, beside [`SERVE`].
pub const LEASE: &[Right] = &[
    // A name cannot be checked before the object exists.
    lease(&["create"], &[], "leader election: the first time"),
    lease(&["get", "update"], &["tangram"], "leader election"),
];

/// Of `tangram serve` beside a kube-scheduler whose Lease it follows, beside [`SERVE`].
pub const FOLLOW: &[Right] =
    &[lease(&["get"], &["tangram-scheduler"], "whether the kube-scheduler beside it leads")];

/// Of that kube-scheduler, beside the roles that Kubernetes has for it: these name another Lease.
pub const SCHEDULER: &[Right] = &[
    lease(&["create"], &[], "its leader election: the first time"),
    lease(&["get", "update"], &["tangram-scheduler"], "its leader election"),
];

/// Of the agent on a node. `deploy/policies` narrows them to the objects of its own node.
pub const AGENT: &[Right] = &[
    right(
        "",
        "nodes",
        &["get", "list", "watch"],
        "labels that say which GPUs are Tangram's; the owner of what it writes",
    ),
    right(
        "tangram.gpu",
        "gpunodes",
        &["create", "get", "list", "watch"],
        "the instances wanted; it knows first that a node has GPUs",
    ),
    right("tangram.gpu", "gpunodes/status", &["patch", "update"], "its report"),
    lease(&["create", "get", "update"], &[], "its sign of life"),
];
