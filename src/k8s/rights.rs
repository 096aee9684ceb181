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
    Right { group, resource, verbs, is_cluster_wide: true, reason }
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
];

/// Of `tangram serve` with a Lease of its own, beside [`SERVE`].
pub const LEASE: &[Right] = &[
    Right {
        is_cluster_wide: false,
        ..right("coordination.k8s.io", "leases", &["create"], "leader election: the first time")
    },
    Right {
        is_cluster_wide: false,
        ..right("coordination.k8s.io", "leases", &["get", "update"], "leader election: its own Lease by name")
    },
];

/// Of `tangram serve` beside a kube-scheduler whose Lease it follows, beside [`SERVE`].
pub const FOLLOW: &[Right] = &[Right {
    is_cluster_wide: false,
    ..right("coordination.k8s.io", "leases", &["get"], "whether the kube-scheduler beside it leads")
}];
