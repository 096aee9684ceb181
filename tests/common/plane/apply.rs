//! Objects of any kind, from the text that a person would give to `kubectl`.

use std::fmt::Debug;

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Plane, START, wait_until};

/// How many objects are on their way to the API server at once.
const IN_FLIGHT: usize = 16;

impl Plane {
    /// Creates the objects of a YAML text with any number of documents, or
    /// makes those that exist like them. A document may be a `List`. One that
    /// names no namespace goes to `default`, as with `kubectl`.
    ///
    /// Objects go in the order of the text; a `CustomResourceDefinition` is
    /// waited for, so that objects of its kind may follow it.
    pub(crate) async fn apply_yaml(&self, text: &str) {
        self.try_apply_yaml(text).await.expect("the objects are applied");
    }

    async fn try_apply_yaml(&self, text: &str) -> Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("reading the objects")?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let items = match document.get("items") {
                Some(Value::Array(items)) => items.clone(),
                _ => vec![document],
            };
            for item in items {
                self.apply_object(item).await?;
            }
        }
        Ok(())
    }

    async fn apply_object(&self, value: Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(value).context("an object is none")?;
        let types = object.types.as_ref().context("an object has no kind")?;
        let kind = types.kind.clone();
        let gvk = GroupVersionKind::try_from(types)?;
        let name = object.name_any();
        let api = self.api_of(&gvk, object.namespace().as_deref()).await?;
        let parameters = PatchParams::apply("tangram-tests").force();
        let patch = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
        patch.with_context(|| format!("applying {kind} {name}"))?;
        if kind == "CustomResourceDefinition" {
            self.established(&api, &name).await;
        }
        Ok(())
    }

    /// The objects of a kind that only the API server knows.
    pub(crate) async fn api_of(
        &self,
        gvk: &GroupVersionKind,
        namespace: Option<&str>,
    ) -> Result<Api<DynamicObject>> {
        let found: Result<(ApiResource, _), _> = pinned_kind(&self.client, gvk).await;
        let (resource, capabilities) = found.with_context(|| format!("no server knows {gvk:?}"))?;
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client(), &resource),
            Scope::Namespaced => {
                Api::namespaced_with(self.client(), namespace.unwrap_or("default"), &resource)
            }
        })
    }

    /// Waits until objects of a defined kind can be written: the definition says
    /// so, and discovery lists it, which is a moment later.
    async fn established(&self, definitions: &Api<DynamicObject>, name: &str) {
        let served = async || {
            let definition = definitions.get(name).await.ok()?;
            let conditions = definition.data["status"]["conditions"].as_array()?;
            let is_true =
                |condition: &&Value| condition["type"] == "Established" && condition["status"] == "True";
            conditions.iter().find(is_true)?;
            let spec = &definition.data["spec"];
            for version in spec["versions"].as_array()? {
                let kind = spec["names"]["kind"].as_str()?;
                let gvk = GroupVersionKind::gvk(spec["group"].as_str()?, version["name"].as_str()?, kind);
                pinned_kind(&self.client, &gvk).await.ok()?;
            }
            Some(())
        };
        wait_until(&format!("{name} is established"), START, served).await;
    }
}

/// Creates many objects of one kind, some at once, in no particular order.
pub(crate) async fn create_all<K>(api: &Api<K>, objects: &[K])
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let parameters = PostParams::default();
    let requests = stream::iter(objects).map(|object| api.create(&parameters, object));
    let created: Result<Vec<K>, _> = requests.buffer_unordered(IN_FLIGHT).try_collect().await;
    let created = created.expect("all objects are created");
    assert_eq!(created.len(), objects.len());
}

/// Creates an object that may be there already, as it is then.
pub(super) async fn unless_there<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) => {
            ensure!(status.is_already_exists(), "creating {}: {status}", object.name_any());
            Ok(())
        }
        created => created.map(drop).context("creating an object"),
    }
}

/// A client's view of all objects of a kind, by its name: for agents and tests
/// that know a kind without asking the API server.
pub(crate) fn known(client: Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    Api::all_with(client, &ApiResource::from_gvk(&gvk))
}
