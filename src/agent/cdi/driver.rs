//! What NVIDIA's container toolkit says every GPU container needs: libraries, programs, hooks.
//!
//! The toolkit writes it as the spec-level edits of its own CDI specs. Tangram's spec takes it over, so that a
//! container gets a working driver from a runtime that knows CDI and nothing of NVIDIA. Where there is no such
//! spec, NVIDIA's runtime has to bring the driver, as it does for its own plugin.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracing::debug;

use super::spec::Version;

/// Kinds of specs that describe the driver: of `nvidia-ctk cdi generate`, of NVIDIA's device plugin, of the GPU
/// Operator. The first one found counts.
const KINDS: [&str; 3] = ["nvidia.com/gpu", "k8s.device-plugin.nvidia.com/gpu", "management.nvidia.com/gpu"];

/// Nodes that belong to the driver and to no GPU. Others in edits for all devices would open GPUs that the
/// container was not given.
const CONTROL: [&str; 4] =
    ["/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];

/// `NVIDIA_VISIBLE_DEVICES=void` there keeps NVIDIA's hook away; here the plugin decides what it says.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES=";

/// The largest spec that is read, in bytes; one of eight GPUs has some 30 thousand.
const SPEC_BYTES_MAX: u64 = 4 << 20;

/// Edits for every container, and the version of CDI that they are written in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Driver {
    pub(super) version: Version,
    pub(super) edits: Value,
}

/// Takes the edits out of a spec that describes the driver, with the rank of its kind (lower is better).
pub(super) fn take_over(mut spec: Value) -> Option<(usize, Driver)> {
    let rank = KINDS.iter().position(|kind| spec["kind"] == **kind)?;
    let version = Version::parse(spec["cdiVersion"].as_str()?)?;
    let mut edits = spec.get_mut("containerEdits")?.take();
    let fields = edits.as_object_mut()?;
    keep(fields, "env", |entry| !entry.as_str().is_some_and(|entry| entry.starts_with(VISIBLE)));
    keep(fields, "deviceNodes", |node| node["path"].as_str().is_some_and(|path| CONTROL.contains(&path)));
    (!fields.is_empty()).then_some((rank, Driver { version, edits }))
}

/// Leaves of a list what `is_kept`, and no empty list.
fn keep(fields: &mut serde_json::Map<String, Value>, name: &str, is_kept: impl Fn(&Value) -> bool) {
    if let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut) {
        list.retain(is_kept);
        if list.is_empty() {
            fields.remove(name);
        }
    }
}

/// Looks through the directories of CDI specs, later ones first, as runtimes do.
pub(super) fn find(directories: &[PathBuf]) -> Option<Driver> {
    let mut best: Option<(usize, Driver)> = None;
    for path in directories.iter().rev().flat_map(|directory| specs(directory)) {
        let found = match read(&path) {
            Ok(spec) => take_over(spec),
            Err(error) => {
                debug!(file = %path.display(), error, "A CDI spec cannot be read.");
                None
            }
        };
        if let Some(found) = found
            && best.as_ref().is_none_or(|best| found.0 < best.0)
        {
            best = Some(found);
        }
    }
    best.map(|(_, driver)| driver)
}

/// Files that runtimes take for specs, by name.
fn specs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_spec = |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_spec).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Value, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > SPEC_BYTES_MAX {
        return Err(format!("{size} bytes are more than {SPEC_BYTES_MAX}"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if path.extension().is_some_and(|end| end == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_edits_come_without_what_names_devices() {
        let spec = json!({
            "cdiVersion": "0.6.0",
            "kind": "nvidia.com/gpu",
            "devices": [{ "name": "0", "containerEdits": { "deviceNodes": [{ "path": "/dev/nvidia0" }] } }],
            "containerEdits": {
                "env": ["NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_CTK_LIBCUDA_DIR=/usr/lib"],
                "deviceNodes": [{ "path": "/dev/nvidia-modeset" }, { "path": "/dev/nvidia0" },
                                { "path": "/dev/nvidia-caps/nvidia-cap1" }],
                "mounts": [{ "hostPath": "/a", "containerPath": "/a", "options": ["ro"] }],
            },
        });
        let edits = json!({
            "env": ["NVIDIA_CTK_LIBCUDA_DIR=/usr/lib"],
            "deviceNodes": [{ "path": "/dev/nvidia-modeset" }],
            "mounts": [{ "hostPath": "/a", "containerPath": "/a", "options": ["ro"] }],
        });
        assert_eq!(take_over(spec), Some((0, Driver { version: Version([0, 6, 0]), edits })));
    }

    #[test]
    fn a_spec_that_says_nothing_of_the_driver_is_left_alone() {
        let specs = [
            json!({ "cdiVersion": "0.6.0", "kind": "tangram.gpu/mig", "containerEdits": { "env": ["A=b"] } }),
            json!({ "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [] }),
            json!({ "kind": "nvidia.com/gpu", "containerEdits": { "env": ["A=b"] } }),
            json!({ "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
                    "containerEdits": { "env": ["NVIDIA_VISIBLE_DEVICES=void"] } }),
            json!([1]),
        ];
        for spec in specs {
            assert_eq!(take_over(spec.clone()), None, "{spec}");
        }
    }

    #[test]
    fn the_toolkits_own_spec_comes_before_the_operators_and_a_later_directory_before_an_earlier_one() {
        let root = tempfile::tempdir().unwrap();
        let [etc, run] = ["etc", "run"].map(|name| root.path().join(name));
        let spec = |kind: &str, env: &str| {
            format!("cdiVersion: 0.5.0\nkind: {kind}\ncontainerEdits:\n  env: [{env}]\n")
        };
        for (directory, file, text) in [
            (&etc, "nvidia.yaml", spec("nvidia.com/gpu", "FROM=etc")),
            (&etc, "broken.json", "{".to_owned()),
            (&run, "a.yaml", spec("management.nvidia.com/gpu", "FROM=management")),
            (
                &run,
                "b.json",
                r#"{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","containerEdits":{"env":["FROM=run"]}}"#
                    .to_owned(),
            ),
            (&run, "c.txt", spec("nvidia.com/gpu", "FROM=nowhere")),
        ] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join(file), text).unwrap();
        }
        let directories = [etc.clone(), root.path().join("missing"), run.clone()];
        let from = || find(&directories).map(|driver| driver.edits["env"][0].clone());
        assert_eq!(from(), Some(json!("FROM=run")));
        fs::remove_file(run.join("b.json")).unwrap();
        assert_eq!(from(), Some(json!("FROM=etc")));
        fs::remove_file(etc.join("nvidia.yaml")).unwrap();
        assert_eq!(from(), Some(json!("FROM=management")));
        fs::remove_file(run.join("a.yaml")).unwrap();
        assert_eq!(from(), None);
    }
}
