//! What users apply before Tangram runs: `deploy/` without the pods.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ask::call;
use super::users::{BoundTo, User};
use super::{Plane, START, wait_until};

/// Namespace of everything that is Tangram's.
pub(crate) const NAMESPACE: &str = "tangram-system";

/// How Tangram is installed, as far as rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It asks for a Lease of its own.
    Own,
    /// It follows the Lease of a kube-scheduler, whose rights its account has too.
    Scheduler,
}

impl Plane {
    /// Applies the definition of `GpuNode`, the rights of a shape and the admission policies, in the order of
    /// the manifests, and waits until they hold.
    pub(crate) async fn install(&self, shape: Shape) {
        self.apply_yaml(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))
            .await;
        self.define_gpunodes().await;
        let rights: &[&str] = match shape {
            Shape::Own => &["rbac/own/lease.yaml"],
            Shape::Scheduler => &["rbac/scheduler/follow.yaml", "rbac/scheduler/kube-scheduler.yaml"],
        };
        for file in
            ["rbac/base/serve.yaml", "rbac/base/agent.yaml", "rbac/base/users.yaml"].iter().chain(rights)
        {
            self.apply_file(file).await;
        }
        for file in ["pod-annotations", "gpunodes", "leases"] {
            self.apply_file(&format!("policies/{file}.yaml")).await;
        }
        // Policies work some time after they were written, all that were written before the last one with it.
        let agent = self.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Nothing).await;
        let held = async || {
            let why = call(&agent, "POST", &format!("{LEASES}?dryRun=All"), &lease("probe")).await.err()?;
            why.contains("an agent writes only the Lease").then_some(())
        };
        wait_until("the policies hold", START, held).await;
    }

    async fn apply_file(&self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
        self.apply_yaml(&fs::read_to_string(&path).expect("a manifest is there")).await;
    }

    /// Tangram as it runs in a pod.
    pub(crate) async fn tangram_account(&self) -> User {
        self.service_account_token(NAMESPACE, "tangram", BoundTo::Nothing).await
    }
}

/// Leases of that namespace.
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/tangram-system/leases";

/// A Lease that nobody holds.
pub(crate) fn lease(name: &str) -> Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name } })
}
