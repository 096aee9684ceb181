//! The image: what is in it is enough for the agent, and it is built from all that there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nvml_mock::{Board, Scene};
use tempfile::TempDir;

use super::agent::{container, variable};
use super::{files, kustomize, read};

/// The step of the Dockerfile that puts the image together, for a program elsewhere.
fn assemble(program: &Path, image: &Path) {
    let dockerfile = read("Dockerfile");
    let step = dockerfile.split_once("\nRUN mkdir /image ").unwrap().1.split_once("\n\n").unwrap().0;
    let step = format!("mkdir /image {step}").replace("\\\n", " ");
    let step = step.replace("/image", image.to_str().unwrap()).replace("/tangram", program.to_str().unwrap());
    let output = Command::new("sh").args(["-euc", &step]).output().unwrap();
    assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_agent_loads_the_nodes_library_in_the_image_that_the_dockerfile_makes() {
    let folder = TempDir::new().unwrap();
    let (image, program) = (folder.path().join("root"), folder.path().join("tangram"));
    fs::copy(env!("CARGO_BIN_EXE_tangram"), &program).unwrap();
    assemble(&program, &image);
    let inside = files_below(&image);
    assert!(inside.len() <= 9, "the program, its libraries and a version, nothing else: {inside:?}");

    // The node's libraries are mounted, with a C library that is not the image's.
    let host = image.join("host/usr/lib64");
    fs::create_dir_all(&host).unwrap();
    let scene = Scene::create(host.join("state.json"), vec![Board::of("h100-80gb-sxm").mig()]);
    assert_eq!(scene.library(), host.join("libnvidia-ml.so.1"), "under its usual name");
    fs::write(host.join("libc.so.6"), "another C library").unwrap();
    let objects = kustomize("secondary");
    let path = variable(container(&objects), "LD_LIBRARY_PATH")["value"].as_str().unwrap();
    let mut once = Command::new("chroot");
    once.arg(&image).arg(&program).args(["agent", "--once"]).env("LD_LIBRARY_PATH", path);
    // Where its GPUs are the mock would read from /proc, which the image has only when it runs.
    once.env(nvml_mock::STATE_VARIABLE, "/host/usr/lib64/state.json");
    let output = once.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(out.contains("NVIDIA H100 80GB HBM3"), "{out}{err}");
}

/// Every file below a folder anywhere.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_image_is_built_from_every_crate_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let ignored = read(".dockerignore");
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        assert!(ignored.contains(&format!("\n!{member}\n")), "{member} is not copied into the build");
        assert!(!files(member).is_empty());
    }
}
