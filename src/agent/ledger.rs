//! Which GPU instances Tangram made: all others are somebody else's, and not touched.
//!
//! An entry is on disk before the instance is made, and learns the UUID afterwards. So an agent that was killed
//! in between finds its own again; and since a UUID is never given twice, an instance that somebody else made at
//! the same place later is not taken for it. NVML has no place to write an owner into.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tangram_nvml::facts::{Ailment, Gpu, Instance, Inventory};

use super::device::DeviceId;
use crate::mig::ProfileName;

/// The instances that Tangram made or is about to make, each with its MIG UUID once that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<DeviceId, Option<Arc<str>>>);

impl Ledger {
    /// Whether Tangram made what is at this place.
    pub fn has(&self, id: &DeviceId) -> bool {
        self.0.contains_key(id)
    }

    /// The places.
    pub fn ids(&self) -> impl Iterator<Item = &DeviceId> {
        self.0.keys()
    }

    /// Tangram is about to make this one.
    pub fn intend(&mut self, id: DeviceId) {
        self.0.entry(id).or_default();
    }

    /// This one was removed, or not made after all: what is at its place is somebody else's.
    pub fn forget(&mut self, id: &DeviceId) {
        self.0.remove(id);
    }

    /// Compares with what is there: learns UUIDs, and forgets what is gone or somebody else's by now.
    ///
    /// One that `is_coming` is being made at this moment: that it is not there says nothing. `is_handed_out` says
    /// whether the kubelet's record names a device of this ID: then it is Tangram's, also when the ledger was lost.
    pub fn settle(
        &mut self,
        inventory: &Inventory,
        is_coming: impl Fn(&DeviceId) -> bool,
        is_handed_out: impl Fn(&DeviceId) -> bool,
    ) {
        for gpu in &inventory.gpus {
            // What was there can no longer be read, which does not say that it is gone.
            let is_unread = |ailment: &Ailment| matches!(ailment, Ailment::Lost | Ailment::ResetRequired);
            if gpu.ailments.iter().any(is_unread) {
                continue;
            }
            let there: BTreeMap<DeviceId, Option<Arc<str>>> = gpu
                .mig
                .iter()
                .flat_map(|mig| &mig.instances)
                .filter_map(|instance| Some((device_id(gpu, instance)?, instance.uuid().map(Arc::from))))
                .collect();
            self.0.retain(|id, uuid| {
                let now = there.get(id);
                *id.gpu != *gpu.uuid
                    || now.is_some_and(|now| is_same(uuid.as_ref(), now.as_ref()))
                    || now.is_none() && is_coming(id)
            });
            for (id, uuid) in there {
                if let Some(known) = self.0.get_mut(&id) {
                    *known = uuid.or(known.take()); // without it, whatever comes to this place would be taken for it
                } else if is_handed_out(&id) {
                    self.0.insert(id, uuid);
                }
            }
        }
    }

    /// Reads what [`Ledger::write`] wrote; empty where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or is none of an agent's.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let entries: Vec<Entry> =
            serde_json::from_slice(&text).with_context(|| format!("{} is no ledger", path.display()))?;
        let read = |entry: Entry| {
            let profile = ProfileName::parse(&entry.profile)
                .with_context(|| format!("{}: {:?} is no MIG profile", path.display(), entry.profile))?;
            Ok((DeviceId { gpu: entry.gpu, profile, start: entry.start }, entry.uuid))
        };
        Ok(Self(entries.into_iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// Writes it so that a crash at any point leaves the old one or the new one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let entry = |(id, uuid): (&DeviceId, &Option<Arc<str>>)| Entry {
            gpu: id.gpu.clone(),
            profile: id.profile.as_str().to_owned(),
            start: id.start,
            uuid: uuid.clone(),
        };
        let entries: Vec<Entry> = self.0.iter().map(entry).collect();
        let text = serde_json::to_vec(&entries).context("the ledger has no form")?;
        let folder = path.parent().with_context(|| format!("{} is in no folder", path.display()))?;
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let next = path.with_extension("next");
            let mut file = File::create(&next)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&next, path)?;
            File::open(folder)?.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

/// An intended instance has no UUID yet: what is at its place now is it. One whose compute instance was lost shows
/// none any more.
fn is_same(known: Option<&Arc<str>>, now: Option<&Arc<str>>) -> bool {
    known.is_none() || now.is_none() || known == now
}

/// What the kubelet calls an instance; `None` for one that cannot be one of Tangram's.
pub(super) fn device_id(gpu: &Gpu, instance: &Instance) -> Option<DeviceId> {
    let profile = ProfileName::parse(&instance.profile)?;
    let start = u8::try_from(instance.start).ok()?;
    Some(DeviceId { gpu: gpu.uuid.as_str().into(), profile, start })
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    gpu: Arc<str>,
    profile: String,
    start: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<Arc<str>>,
}
