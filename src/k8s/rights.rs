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
    right("", "pods/eviction", &["create"], "preemption for MIG devices; repacks that are carried out"),
    right("policy", "poddisruptionbudgets", &["list"], "whom preemption may evict and repack may move"),
    right(
        "tangram.gpu",
        "gpunodes",
        &["get", "list", "patch", "watch"],
        "agents' reports, and the GPU instances wanted",
    ),
    right("events.k8s.io", "events", &["create"], "why a pod waits, why one was evicted"),
    lease(&["list", "watch"], &[], "which agents are alive"),
    right("authentication.k8s.io", "tokenreviews", &["create"], "who asks the placement API"),
    right("authorization.k8s.io", "subjectaccessreviews", &["create"], "what they may ask"),
    // A name cannot be checked before the object exists.
    plans(&["create"], &[], "the record of repacks that are carried out: the first time"),
    plans(&["get", "update"], &["tangram-plans"], "the record of repacks that are carried out"),
];

/// Of the record of plans, in Tangram's own namespace.
const fn plans(
    verbs: &'static [&'static str],
    names: &'static [&'static str],
    reason: &'static str,
) -> Right {
    Right { names, is_cluster_wide: false, ..right("", "configmaps", verbs, reason) }
}

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

/// A rule about paths of the placement API: what people and programs need to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRight {
    /// Paths; one that ends in `*` means all that begin so.
    pub paths: &'static [&'static str],
    /// Methods in lower case, sorted.
    pub verbs: &'static [&'static str],
    /// What for.
    pub reason: &'static str,
}

/// Reading.
const READ: PathRight = PathRight {
    paths: &["/", "/debug/compare", "/docs", "/metrics", "/openapi.json", "/ui/*", "/v1/*"],
    verbs: &["get"],
    reason: "looking",
};

/// Questions that come with a body, and change nothing.
const PLAN: PathRight = PathRight {
    paths: &["/v1/dryrun", "/v1/filter", "/v1/repack"],
    verbs: &["post"],
    reason: "asking what would be",
};

/// Whatever changes something.
const CHANGE: PathRight = PathRight {
    paths: &["/v1/*"],
    verbs: &["delete", "patch", "post", "put"],
    reason: "changing, plans applied above all",
};

/// The `ClusterRole`s for users of the placement API. Nobody is bound to them by the manifests.
pub const USERS: [(&str, &[PathRight]); 3] =
    [("tangram-reader", &[READ]), ("tangram-planner", &[READ, PLAN]), ("tangram-admin", &[READ, CHANGE])];
