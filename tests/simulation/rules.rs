//! What must hold, said of the API server's own objects and of the raw rows of the MIG table.

use std::collections::BTreeMap;
use std::sync::Arc;

use tangram::cache::Wanted;
use tangram::mig::{MODELS, ModelRow, ProfileRow};
use tangram::model::{Device, Want};

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
        for device in devices {
            if device.gpu >= hardware.gpus {
                return Err(format!("rule 1: {} has GPU {}", pod.key, device.gpu));
            }
            by_gpu.entry(device.gpu).or_default().push((device.profile.as_str(), device.start));
            let report = server.reports.get(name);
            let is_wanted = report.is_some_and(|report| {
                report.wanted.iter().any(|(gpu, wanted)| {
                    *gpu == device.gpu
                        && (&wanted.profile, wanted.start) == (&device.profile, device.start)
                        && wanted.pod.as_ref() == Some(&pod.key)
                })
            });
            if !is_wanted {
                return Err(format!("rule 2: {name} is not to have {device:?} of {} ({})", pod.key, pod.uid));
            }
        }
    }
    if counted > hardware.counted {
        return Err(format!("rule 1: {counted} devices of {} are held on {name}", hardware.counted));
    }
    by_gpu.iter().try_for_each(|(gpu, instances)| {
        hardware.holds(instances).map_err(|why| format!("rule 1: GPU {gpu} of {name}: {why}"))
    })
}

/// Rule 3, as far as it is about objects: a node's `GpuNode` asks for the instances of its pods and no others.
pub(crate) fn wants_its_pods(server: &Server, name: &Arc<str>) -> Result<(), String> {
    let mut expected: Vec<Wanted> = Vec::new();
    for pod in server.holders(name) {
        let devices = pod.placement.iter().flat_map(|placement| &placement.devices);
        expected.extend(devices.map(|device| Wanted {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            device: Device { container: "".into(), ..device.clone() },
        }));
    }
    expected.sort_by_key(|wanted| (wanted.device.gpu, wanted.device.start));
    let Some(report) = server.reports.get(name) else { return Ok(()) };
    let wanted = report.wanted.iter().map(|(gpu, wanted)| Wanted {
        pod: wanted.pod.clone().expect("everything is wanted for a pod"),
        uid: wanted.pod_uid.clone().expect("everything is wanted for a pod"),
        device: Device {
            container: "".into(),
            gpu: *gpu,
            profile: wanted.profile.clone(),
            start: wanted.start,
        },
    });
    let wanted: Vec<Wanted> = wanted.collect();
    if wanted != expected {
        return Err(format!("rule 3: {name} wants {wanted:?} for {expected:?}"));
    }
    let live: usize = report.gpus.iter().map(|gpu| gpu.instances.len()).sum();
    if live != wanted.len() {
        return Err(format!("rule 3: {name} has {live} live instances for {}", wanted.len()));
    }
    Ok(())
}
