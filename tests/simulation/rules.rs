//! What must hold, said of the API server's own objects and of the raw rows of the MIG table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram::mig::{MODELS, ModelRow, ProfileName, ProfileRow};
use tangram::model::{Device, Want};

use crate::actors::Book;
use crate::server::Server;

/// What a node is made of; nobody can change it.
#[derive(Debug, Clone)]
pub(crate) struct Hardware {
    pub(crate) model: &'static str,
    pub(crate) gpus: u16,
    pub(crate) counted: u32,
}

impl Hardware {
    pub(crate) fn row(&self) -> &'static ModelRow {
        MODELS.iter().find(|row| row.key == self.model).expect("a model of the table")
    }

    /// Whether these (profile, start) can be on one GPU together.
    pub(crate) fn holds(&self, instances: &[(&str, u8)]) -> Result<(), String> {
        let row = self.row();
        let mut taken = vec![false; usize::from(row.memory_slices)];
        let mut all: Vec<&ProfileRow> = Vec::new();
        for (name, start) in instances {
            let profile = row.profiles.iter().find(|profile| profile.name == *name);
            let profile = profile.filter(|profile| profile.starts.contains(start));
            let profile = profile.ok_or_else(|| format!("{} has no {name} at {start}", row.key))?;
            all.push(profile);
            for slice in *start..start + profile.memory_slices {
                if std::mem::replace(&mut taken[usize::from(slice)], true) {
                    return Err(format!("slice {slice} is held twice: {instances:?}"));
                }
            }
        }
        for profile in &all {
            let count = all.iter().filter(|other| other.name == profile.name).count();
            if count > usize::from(profile.max) {
                return Err(format!("{count} of {}", profile.name));
            }
        }
        for engine in 0..row.engines.len() {
            let used: u32 = all.iter().map(|profile| u32::from(profile.engines[engine])).sum();
            if used > u32::from(row.engines[engine]) {
                return Err(format!("engine {engine} is used {used} times"));
            }
        }
        Ok(())
    }
}

/// Rules 1 and 2 for one node: nothing held twice, nothing beyond what there is, no placement lost.
pub(crate) fn node(server: &Server, hardware: &Hardware, name: &Arc<str>) -> Result<(), String> {
    let mut by_gpu: BTreeMap<u16, Vec<(&str, u8)>> = BTreeMap::new();
    let mut counted = 0;
    for pod in server.holders(name) {
        let counts = pod.request.counted.iter();
        counted += counts.map(|(_, count)| *count).sum::<u32>();
        let devices: &[Device] = pod.placement.as_ref().map_or(&[], |placement| &placement.devices);
        let asked: Vec<&Want> = pod.request.slices.iter().map(|ask| &ask.want).collect();
        let given: Vec<Want> = devices.iter().map(|device| Want::Profile(device.profile.clone())).collect();
        if asked != given.iter().collect::<Vec<_>>() {
            return Err(format!("rule 1: {} asked for {asked:?} and has {given:?}", pod.key));
        }
        let bound = &server.bound[&pod.uid];
        if bound.0 != *name || bound.1.devices != devices {
            return Err(format!("rule 2: {} was bound as {bound:?} and has {devices:?}", pod.key));
        }
        // The kubelet may have dealt the places out otherwise: as many of each profile as it was bound with.
        let report = server.reports.get(name);
        let wanted = report.iter().flat_map(|report| &report.wanted);
        let own = wanted.filter(|(_, wanted)| wanted.pod_uid.as_ref() == Some(&pod.uid));
        let mut own: Vec<&ProfileName> = own.map(|(_, wanted)| &wanted.profile).collect();
        let mut bound: Vec<&ProfileName> = devices.iter().map(|device| &device.profile).collect();
        own.sort();
        bound.sort();
        if own != bound {
            return Err(format!("rule 2: {name} is not to have {bound:?} of {} ({})", pod.key, pod.uid));
        }
    }
    for (gpu, wanted) in server.reports.get(name).iter().flat_map(|report| &report.wanted) {
        if *gpu >= hardware.gpus {
            return Err(format!("rule 1: {name} is to have GPU {gpu}"));
        }
        by_gpu.entry(*gpu).or_default().push((wanted.profile.as_str(), wanted.start));
    }
    if counted > hardware.counted {
        return Err(format!("rule 1: {counted} devices of {} are held on {name}", hardware.counted));
    }
    by_gpu.iter().try_for_each(|(gpu, instances)| {
        hardware.holds(instances).map_err(|why| format!("rule 1: GPU {gpu} of {name}: {why}"))
    })
}

/// Rule 3, as far as it is about objects: a node's `GpuNode` asks for the instances of its pods and no others, where
/// they are held.
pub(crate) fn wants_its_pods(server: &Server, held: &Book, name: &Arc<str>) -> Result<(), String> {
    let Some(report) = server.reports.get(name) else { return Ok(()) };
    let pods: BTreeSet<&Arc<str>> = server.holders(name).map(|pod| &pod.uid).collect();
    let holders: BTreeSet<&Arc<str>> = held.values().map(|(uid, _)| uid).collect();
    let with_slices = server.holders(name).filter(|pod| !pod.request.slices.is_empty());
    if let Some(pod) = with_slices.into_iter().find(|pod| !holders.contains(&pod.uid)) {
        return Err(format!("rule 3: {} on {name} never got its devices", pod.key));
    }
    for (gpu, wanted) in &report.wanted {
        let uid = wanted.pod_uid.as_ref().expect("everything is wanted for a pod");
        if !pods.contains(uid) {
            return Err(format!("rule 3: {name} wants {wanted:?} for nobody"));
        }
        if let Some((holder, _)) = held.get(&(*gpu, wanted.start)).filter(|(holder, _)| holder != uid) {
            return Err(format!("rule 3: {name} wants {wanted:?} for another than its holder {holder}"));
        }
    }
    let is_wanted =
        |gpu: u16, start: u8| report.wanted.iter().any(|(of, it)| (*of, it.start) == (gpu, start));
    for gpu in &report.gpus {
        let of_nobody = gpu
            .instances
            .iter()
            .find(|live| !is_wanted(gpu.index, live.start) && !held.contains_key(&(gpu.index, live.start)));
        if let Some(live) = of_nobody {
            return Err(format!("rule 3: {name} has {live:?} for nobody"));
        }
    }
    Ok(())
}
