//! `KubeSchedulerConfiguration`: the shipped files with the resource names that one cluster needs.
//!
//! kube-scheduler asks an extender only about pods that ask for a name in `managedResources`, and knows no
//! wildcard there: a name that is missing means pods that are placed without Tangram.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::mig::{Catalog, ModelId};
use crate::model::{Cluster, NodeFacts, PoolKind};

/// A use of kube-scheduler; each has a file in `scheduler-config/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A scheduler of its own for pods that name it, Tangram beside it.
    Secondary,
    /// The cluster's scheduler, Tangram behind a Service.
    Extender,
    /// As `Secondary`, for clusters whose nodes come and go.
    Autoscaler,
}

impl Shape {
    fn template(self) -> &'static str {
        match self {
            Self::Secondary => include_str!("../../scheduler-config/secondary.yaml"),
            Self::Extender => include_str!("../../scheduler-config/extender.yaml"),
            Self::Autoscaler => include_str!("../../scheduler-config/autoscaler.yaml"),
        }
    }
}

/// Resource names with whether kube-scheduler has to ignore them, since no device plugin counts them.
pub type Names = BTreeMap<String, bool>;

/// Every resource name that pods of this cluster may ask for.
///
/// What nodes offer; for GPUs that have MIG each profile of their model, as Tangram would cut it, and where
/// the device plugin hands profiles out by name, as it would name it.
pub fn resource_names(cluster: &Cluster) -> Names {
    let catalog = Catalog::get();
    let mut names = Names::from([("nvidia.com/gpu".to_owned(), false)]);
    for index in cluster.indices() {
        let facts = &cluster.node(index).facts;
        names.extend(facts.pools.iter().map(|pool| (pool.resource.to_string(), false)));
        let Some(model) = model(facts, catalog) else { continue };
        let is_mixed =
            facts.labels.get("nvidia.com/mig.strategy").is_some_and(|strategy| &**strategy == "mixed")
                || facts.pools.iter().any(|pool| {
                    matches!(pool.kind, PoolKind::Partition(_))
                        && pool.resource.starts_with("nvidia.com/mig-")
                });
        names.extend(["mem", "compute-slices"].map(|own| (format!("tangram.gpu/{own}"), true)));
        for profile in catalog.geometry(model).profiles() {
            let profile = profile.name.resource();
            names.insert(format!("tangram.gpu/mig-{profile}"), true);
            if is_mixed {
                names.insert(format!("nvidia.com/mig-{profile}"), false);
            }
        }
    }
    names
}

fn model(facts: &NodeFacts, catalog: &Catalog) -> Option<ModelId> {
    facts.dynamic.as_ref().and_then(|dynamic| dynamic.model).or_else(|| catalog.by_product(&facts.product))
}

/// The shipped file of a shape with these names, and with this address in place of its own.
pub fn scheduler_config(shape: Shape, names: &Names, url: Option<&str>) -> String {
    let mut text = String::new();
    for line in shape.template().lines() {
        match (line.strip_prefix("- urlPrefix: "), url) {
            (Some(_), Some(url)) => {
                let url = url.trim_end_matches('/');
                let url = url.strip_suffix("/scheduler").unwrap_or(url);
                writeln!(text, "- urlPrefix: {url}/scheduler").expect("writing to memory");
            }
            _ => writeln!(text, "{line}").expect("writing to memory"),
        }
        if line == "  managedResources:" {
            break; // the list is the end of every shipped file; a test holds that
        }
    }
    for (name, is_ignored) in names {
        writeln!(text, "  - name: {name}").expect("writing to memory");
        if *is_ignored && shape != Shape::Autoscaler {
            text.push_str("    ignoredByScheduler: true\n");
        }
    }
    text
}

/// Which of these names a configuration does not manage. An extender that manages all pods lacks none.
pub fn unmanaged(configuration: &str, names: &Names) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    #[derive(Default)]
    struct Configuration {
        kind: String,
        extenders: Vec<Extender>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Extender {
        #[serde(default)]
        filter_verb: String,
        #[serde(default)]
        managed_resources: Vec<Managed>,
    }
    #[derive(Deserialize)]
    struct Managed {
        name: String,
    }
    let configuration: Configuration =
        serde_saphyr::from_str(configuration).map_err(|error| error.to_string())?;
    if configuration.kind != "KubeSchedulerConfiguration" {
        return Err(format!("kind is {:?}, not KubeSchedulerConfiguration", configuration.kind));
    }
    let mut extenders =
        configuration.extenders.iter().filter(|extender| !extender.filter_verb.is_empty()).peekable();
    if extenders.peek().is_none() {
        return Err("extenders: none with a filterVerb".to_owned());
    }
    let extenders: Vec<&Extender> = extenders.collect();
    let is_managed = |name: &str| {
        extenders.iter().any(|extender| {
            extender.managed_resources.is_empty()
                || extender.managed_resources.iter().any(|managed| managed.name == name)
        })
    };
    Ok(names.keys().filter(|name| !is_managed(name)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_ends_with_its_list() {
        for shape in [Shape::Secondary, Shape::Extender, Shape::Autoscaler] {
            let (_, list) = shape.template().split_once("\n  managedResources:\n").unwrap();
            let is_of_list = |line: &str| {
                ["  - name: ", "    ignoredByScheduler: true", "  # "]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            assert_eq!(list.lines().find(|line| !is_of_list(line)), None, "{shape:?}");
        }
    }

    #[test]
    fn a_printed_configuration_manages_what_it_was_printed_for() {
        let names = Names::from([("nvidia.com/gpu".to_owned(), false), ("tangram.gpu/mem".to_owned(), true)]);
        let text = scheduler_config(Shape::Extender, &names, Some("https://10.0.0.1:7240/"));
        assert!(text.contains("\n- urlPrefix: https://10.0.0.1:7240/scheduler\n"), "{text}");
        assert!(text.ends_with(
            "  - name: nvidia.com/gpu\n  - name: tangram.gpu/mem\n    ignoredByScheduler: true\n"
        ));
        assert_eq!(unmanaged(&text, &names), Ok(vec![]));
        let more = Names::from([("amd.com/gpu".to_owned(), false)]);
        assert_eq!(unmanaged(&text, &more), Ok(vec!["amd.com/gpu".to_owned()]));
        assert_eq!(
            unmanaged("kind: Pod", &more),
            Err("kind is \"Pod\", not KubeSchedulerConfiguration".to_owned())
        );
    }
}
