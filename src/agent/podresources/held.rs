//! What a device plugin's name of a device means: pure.

use std::sync::Arc;

use crate::agent::device::DeviceId;

/// What a container holds by holding a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// A GPU instance of Tangram's, by its place.
    Place(DeviceId),
    /// A GPU, or a share of it.
    Gpu {
        /// UUID of the GPU: `GPU-…`.
        uuid: Arc<str>,
        /// Which share (time-slicing, MPS), from 0.
        replica: Option<u32>,
    },
    /// A MIG device of a static partition, or a share of it.
    Mig {
        /// UUID of the device: `MIG-…`.
        uuid: Arc<str>,
        /// Which share, from 0.
        replica: Option<u32>,
    },
    /// Something that the name does not tell, such as another vendor's device.
    Unknown(Arc<str>),
}

/// Reads the name of a device as Tangram's plugin and NVIDIA's give it: `GPU-…/1g.10gb/2`; `GPU-…` and `MIG-…`,
/// with `::<n>` behind it for the n-th share (`AnnotatedID` in NVIDIA's plugin).
pub fn held(id: &str) -> Held {
    if let Ok(place) = id.parse() {
        return Held::Place(place);
    }
    let (uuid, replica) = match id.rsplit_once("::") {
        None => (id, None),
        Some((uuid, number)) => match number.parse() {
            Ok(replica) => (uuid, Some(replica)),
            Err(_) => return Held::Unknown(id.into()),
        },
    };
    let has = |prefix: &str| uuid.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    if has("MIG-") {
        Held::Mig { uuid: uuid.into(), replica }
    } else if has("GPU-") && !uuid.contains('/') {
        Held::Gpu { uuid: uuid.into(), replica }
    } else {
        Held::Unknown(id.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::ProfileName;

    #[test]
    fn names_of_both_plugins_are_read() {
        let gpu = |uuid: &str, replica| Held::Gpu { uuid: uuid.into(), replica };
        let mig = |uuid: &str, replica| Held::Mig { uuid: uuid.into(), replica };
        let profile = ProfileName::parse("1g.10gb+me").unwrap();
        let place = Held::Place(DeviceId { gpu: "GPU-1".into(), profile, start: 2 });
        let cases = [
            ("GPU-1/1g.10gb+me/2", place),
            ("GPU-1", gpu("GPU-1", None)),
            ("GPU-1::0", gpu("GPU-1", Some(0))),
            ("GPU-1::12", gpu("GPU-1", Some(12))),
            ("MIG-1", mig("MIG-1", None)),
            ("MIG-1::3", mig("MIG-1", Some(3))),
            // As drivers before R470 name them.
            ("MIG-GPU-1/3/0", mig("MIG-GPU-1/3/0", None)),
        ];
        for (id, meaning) in cases {
            assert_eq!(held(id), meaning, "{id}");
        }
    }

    #[test]
    fn other_names_are_kept_as_they_are() {
        for id in ["", "tegra", "0", "GPU-", "MIG-::0", "GPU-1::x", "GPU-1::-1", "GPU-1/huge/2", "::0"] {
            assert_eq!(held(id), Held::Unknown(id.into()), "{id:?}");
        }
    }
}
