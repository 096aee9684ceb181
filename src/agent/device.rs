//! Names of devices and resources, as the kubelet keeps them.
//!
//! A device's name is its placement, so that the kubelet's choice, its checkpoint and its pod-resources
//! interface all say which GPU instance is meant. Names of resources are read by
//! [`resource_kind`](crate::model::resource_kind); here they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::mig::ProfileName;

/// The longest name of a device that the device plugin interface allows, in bytes.
pub const DEVICE_ID_MAX: usize = 63;

/// A GPU instance by its place: `GPU-8a5c…/1g.10gb/2`, ordered by GPU, profile and start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// UUID of the GPU as NVML prints it, with its prefix `GPU-`.
    pub gpu: Arc<str>,
    /// Profile as `nvidia-smi` prints it.
    pub profile: ProfileName,
    /// First memory slice.
    pub start: u8,
}

/// Why a text does not name a device of Tangram's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceIdError {
    /// There are not three parts.
    #[error("{text:?} is not of the form GPU-<uuid>/<profile>/<start>")]
    Form {
        /// What was read.
        text: String,
    },
    /// The first part is no UUID of a GPU.
    #[error("{text:?}: {gpu:?} is not a GPU's UUID, which begins with GPU-")]
    Gpu {
        /// What was read.
        text: String,
        /// Its first part.
        gpu: String,
    },
    /// The second part is no MIG profile.
    #[error("{text:?}: {profile:?} is not a MIG profile such as 1g.10gb")]
    Profile {
        /// What was read.
        text: String,
        /// Its second part.
        profile: String,
    },
    /// The third part is no number from 0 to 255 in its shortest form.
    #[error("{text:?}: {start:?} is not the number of a memory slice")]
    Start {
        /// What was read.
        text: String,
        /// Its third part.
        start: String,
    },
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.gpu, self.profile, self.start)
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    /// Reads exactly what `Display` writes, so that equal devices have equal names.
    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        let owned = |part: &str| part.to_owned();
        let mut parts = text.split('/');
        let (Some(gpu), Some(profile), Some(start), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(DeviceIdError::Form { text: owned(text) });
        };
        if gpu.strip_prefix("GPU-").is_none_or(str::is_empty) {
            return Err(DeviceIdError::Gpu { text: owned(text), gpu: owned(gpu) });
        }
        let name = ProfileName::parse(profile).filter(|name| name.as_str() == profile);
        let slice = start.parse::<u8>().ok().filter(|slice| slice.to_string() == start);
        Ok(Self {
            gpu: gpu.into(),
            profile: name
                .ok_or_else(|| DeviceIdError::Profile { text: owned(text), profile: owned(profile) })?,
            start: slice.ok_or_else(|| DeviceIdError::Start { text: owned(text), start: owned(start) })?,
        })
    }
}

/// The resource that counts instances of a profile: `tangram.gpu/mig-1g.10gb.me` for `1g.10gb+me`.
pub fn resource_name(profile: &ProfileName) -> Arc<str> {
    format!("tangram.gpu/mig-{}", profile.resource()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mig::MODELS;
    use crate::model::{ResourceKind, resource_kind};

    const GPU: &str = "GPU-8a5cd8d1-5a3e-4f3c-9c1e-0123456789ab";

    fn profile(name: &str) -> ProfileName {
        ProfileName::parse(name).expect(name)
    }

    #[test]
    fn every_placement_of_the_table_survives_its_name_and_fits_the_interface() {
        for row in MODELS.iter().flat_map(|model| model.profiles) {
            for &start in row.starts {
                let id = DeviceId { gpu: GPU.into(), profile: profile(row.name), start };
                let text = id.to_string();
                assert_eq!(text, format!("{GPU}/{}/{start}", row.name));
                assert!(text.len() <= DEVICE_ID_MAX, "{text}");
                assert_eq!(text.parse(), Ok(id));
            }
        }
    }

    #[test]
    fn what_is_not_a_device_is_refused_with_the_part_that_is_wrong() {
        let cases = [
            ("GPU-1", "\"GPU-1\" is not of the form GPU-<uuid>/<profile>/<start>"),
            ("GPU-1/1g.10gb", "\"GPU-1/1g.10gb\" is not of the form GPU-<uuid>/<profile>/<start>"),
            ("GPU-1/1g.10gb/2/", "\"GPU-1/1g.10gb/2/\" is not of the form GPU-<uuid>/<profile>/<start>"),
            ("MIG-1/1g.10gb/2", "\"MIG-1/1g.10gb/2\": \"MIG-1\" is not a GPU's UUID, which begins with GPU-"),
            ("GPU-/1g.10gb/2", "\"GPU-/1g.10gb/2\": \"GPU-\" is not a GPU's UUID, which begins with GPU-"),
            ("GPU-1/huge/2", "\"GPU-1/huge/2\": \"huge\" is not a MIG profile such as 1g.10gb"),
            // The other spelling of 1g.10gb+me would be a second name of the same device.
            (
                "GPU-1/1g.10gb.me/2",
                "\"GPU-1/1g.10gb.me/2\": \"1g.10gb.me\" is not a MIG profile such as 1g.10gb",
            ),
            ("GPU-1/1g.10gb/256", "\"GPU-1/1g.10gb/256\": \"256\" is not the number of a memory slice"),
            ("GPU-1/1g.10gb/02", "\"GPU-1/1g.10gb/02\": \"02\" is not the number of a memory slice"),
            ("GPU-1/1g.10gb/", "\"GPU-1/1g.10gb/\": \"\" is not the number of a memory slice"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<DeviceId>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn devices_are_in_the_order_of_gpu_and_start() {
        let id = |gpu: &str, start| DeviceId { gpu: gpu.into(), profile: profile("1g.24gb"), start };
        let mut ids = vec![id("GPU-b", 0), id("GPU-a", 10), id("GPU-a", 2)];
        ids.sort();
        assert_eq!(ids, [id("GPU-a", 2), id("GPU-a", 10), id("GPU-b", 0)]);
    }

    #[test]
    fn a_resource_is_named_as_the_model_reads_it() {
        assert_eq!(&*resource_name(&profile("1g.10gb")), "tangram.gpu/mig-1g.10gb");
        assert_eq!(&*resource_name(&profile("1g.10gb+me")), "tangram.gpu/mig-1g.10gb.me");
        for row in MODELS.iter().flat_map(|model| model.profiles) {
            let name = resource_name(&profile(row.name));
            let kind = resource_kind(&name, &BTreeSet::new());
            assert_eq!(kind, Some(ResourceKind::Slice(profile(row.name))), "{name}");
        }
    }
}
