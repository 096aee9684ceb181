//! A cluster file: Nodes, Pods and GpuNodes as events for the owner of the model.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use serde::Deserialize;

use super::document::{DocumentError, Head, read_objects};
use super::{
    BUDGET_KIND, Dialect, NodeObject, ObjectError, PodObject, Texts, budget, gpu_report, node_facts, pod,
};
use crate::cache::Event;
use crate::repack::Budget;

/// What a cluster file held.
#[derive(Debug, Default)]
pub struct Contents {
    /// Nodes read.
    pub nodes: usize,
    /// Pods read, those that have ended left out.
    pub pods: usize,
    /// `GpuNode` reports read.
    pub reports: usize,
    /// `PodDisruptionBudget`s: what may be moved, for a repack; nothing else asks for them.
    pub budgets: Vec<Budget>,
    /// Objects of other kinds, which mean nothing here, by kind.
    pub others: BTreeMap<String, usize>,
    /// Objects that could not be read; everything else was.
    pub errors: Vec<ObjectError>,
    /// Objects beyond those in `errors` that could not be read.
    pub more_errors: usize,
}

/// Errors that are kept with their texts; a file of a million broken objects is told in one screen.
const ERRORS_MAX: usize = 20;

/// Reads a cluster file and hands one event per object to `sink`.
pub fn cluster_events(
    reader: impl Read,
    dialect: &Dialect,
    mut sink: impl FnMut(Event),
) -> Result<Contents, DocumentError> {
    let mut contents = Contents::default();
    let mut texts = Texts::default();
    read_objects(reader, |head, text| match event(head, text, dialect, &mut texts) {
        Ok(None) if head.kind == BUDGET_KIND => match object(head, text).and_then(|read| budget(&read)) {
            Ok(found) => contents.budgets.extend(found),
            Err(error) if contents.errors.len() < ERRORS_MAX => contents.errors.push(error),
            Err(_) => contents.more_errors += 1,
        },
        Ok(Some(event)) => {
            match &event {
                Event::NodeApplied(_) => contents.nodes += 1,
                Event::Report(..) => contents.reports += 1,
                _ => contents.pods += 1,
            }
            sink(event);
        }
        Ok(None) => {
            if !matches!(head.kind.as_str(), "Pod") {
                let is_known = contents.others.contains_key(&head.kind) || contents.others.len() < ERRORS_MAX;
                let kind = if is_known { format!("{:.63}", head.kind) } else { "others".to_owned() };
                *contents.others.entry(kind).or_default() += 1;
            }
        }
        Err(_) if contents.errors.len() >= ERRORS_MAX => contents.more_errors += 1,
        Err(error) => contents.errors.push(error),
    })?;
    Ok(contents)
}

fn event(
    head: &Head,
    text: &str,
    dialect: &Dialect,
    texts: &mut Texts,
) -> Result<Option<Event>, ObjectError> {
    Ok(match head.kind.as_str() {
        "Node" => {
            let object: NodeObject = object(head, text)?;
            Some(Event::NodeApplied(Arc::new(node_facts(&object, dialect, texts)?)))
        }
        "Pod" => {
            let object: PodObject = object(head, text)?;
            if object.has_ended() { None } else { Some(Event::PodApplied(Arc::new(pod(&object, dialect)?))) }
        }
        "GpuNode" => {
            let (name, report) = gpu_report(object(head, text)?)?;
            Some(Event::Report(name.into(), Some(Arc::new(report))))
        }
        _ => None,
    })
}

fn object<'a, T: Deserialize<'a>>(head: &Head, text: &'a str) -> Result<T, ObjectError> {
    serde_json::from_str(text).map_err(|error| {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            metadata: serde_json::Value,
        }
        // The whole did not parse; its name may.
        let named: Named = serde_json::from_str(text).unwrap_or_default();
        let part =
            |key: &str| named.metadata.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let separator = if part("namespace").is_empty() { "" } else { "/" };
        let name = if part("name").is_empty() { "without a readable name" } else { part("name") };
        let object = format!("{} {:.253}{separator}{:.253}", head.kind, part("namespace"), name);
        ObjectError::new(object, "document", error.to_string())
    })
}
