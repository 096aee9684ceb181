//! The annotation `tangram.gpu/placement`: where a pod's GPU instances are.
//!
//! `{"version":1,"devices":[{"container":"main","gpu":3,"profile":"1g.10gb","start":4}]}`
//!
//! Written with the Binding, in the transaction that assigns the node; read back from bound pods only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::mig::ProfileName;
use crate::model::{Device, Placement};

/// Key of the annotation.
pub const PLACEMENT_ANNOTATION: &str = "tangram.gpu/placement";

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Annotation {
    version: u32,
    devices: Vec<DeviceForm>,
}

/// A device of a placement, as the annotation and the API write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceForm {
    /// Container.
    pub container: String,
    /// NVML index of the GPU.
    pub gpu: u16,
    /// Profile, as `nvidia-smi` prints it.
    pub profile: String,
    /// First memory slice, in NVML's unit.
    pub start: u8,
}

impl From<&Device> for DeviceForm {
    fn from(device: &Device) -> Self {
        Self {
            container: device.container.to_string(),
            gpu: device.gpu,
            profile: device.profile.to_string(),
            start: device.start,
        }
    }
}

/// The annotation's value for a placement.
pub fn placement_annotation(placement: &Placement) -> String {
    let devices = placement.devices.iter().map(DeviceForm::from).collect();
    serde_json::to_string(&Annotation { version: VERSION, devices }).expect("numbers and texts only")
}

/// Reads the annotation's value; the error says why it cannot be one.
pub(super) fn parse(value: &str) -> Result<Placement, String> {
    let annotation: Annotation = serde_json::from_str(value).map_err(|error| error.to_string())?;
    if annotation.version != VERSION {
        return Err(format!("version {} is not known, only {VERSION}", annotation.version));
    }
    let devices = annotation.devices.iter().map(device).collect::<Option<_>>();
    let devices = devices.ok_or_else(|| "a device's profile is malformed".to_owned())?;
    Ok(Placement { devices })
}

/// A device; `None` where its profile is malformed.
pub(super) fn device(form: &DeviceForm) -> Option<Device> {
    let profile = ProfileName::parse(&form.profile)?;
    Some(Device { container: form.container.as_str().into(), gpu: form.gpu, profile, start: form.start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_survives_its_annotation() {
        let device = Device {
            container: "main".into(),
            gpu: 3,
            profile: ProfileName::parse("1g.10gb+me").unwrap(),
            start: 4,
        };
        let placement = Placement { devices: vec![device] };
        let text = placement_annotation(&placement);
        assert_eq!(
            text,
            r#"{"version":1,"devices":[{"container":"main","gpu":3,"profile":"1g.10gb+me","start":4}]}"#
        );
        assert_eq!(parse(&text), Ok(placement));
    }

    #[test]
    fn what_is_not_an_annotation_says_why() {
        assert_eq!(parse(r#"{"version":2,"devices":[]}"#), Err("version 2 is not known, only 1".to_owned()));
        let huge = r#"{"version":1,"devices":[{"container":"c","gpu":0,"profile":"big","start":0}]}"#;
        assert_eq!(parse(huge), Err("a device's profile is malformed".to_owned()));
        assert_eq!(
            parse("0"),
            Err("invalid type: integer `0`, expected struct Annotation at line 1 column 1".to_owned())
        );
    }
}
