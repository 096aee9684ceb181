//! Several processes at once, killed at any moment.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use common::call;
use nvml_mock::{Board, STATE_VARIABLE, Scene, State, What};
use nvml_wrapper_sys::bindings as sys;

/// Set for a child: index of the GPU that it works on.
const CHILD: &str = "NVML_MOCK_TEST_GPU";
const KILLS: u32 = 60;

/// Not a test but the child of the others: it makes and removes instances until it is killed.
#[test]
fn child() {
    let Some(gpu) = std::env::var_os(CHILD) else { return };
    let gpu: u32 = gpu.to_str().unwrap().parse().unwrap();
    // SAFETY: the mock's initialisers do nothing.
    #[expect(unsafe_code, reason = "a C library")]
    let client = common::Client(unsafe { sys::NvmlLib::new(nvml_mock::library()) }.unwrap());
    call!(client.nvmlInit_v2()).unwrap();
    let device = client.device(gpu).unwrap();
    clear(&client, device);
    loop {
        for start in 0..7 {
            let instance = client.create(device, "1g.10gb", start).unwrap();
            let compute = client.create_whole(instance).unwrap();
            if start % 2 == 0 {
                client.destroy_compute(compute).unwrap();
                client.destroy(instance).unwrap();
            }
        }
        clear(&client, device);
    }
}

/// Removes what is on a GPU, as an agent does after it was killed.
fn clear(client: &common::Client, device: common::Device) {
    let (mut count, mut found) = (7, [std::ptr::null_mut(); 7]);
    let buffer = found.as_mut_ptr();
    call!(client.nvmlDeviceGetGpuInstances(device, 19, buffer, &raw mut count)).expect("a list");
    for &instance in &found[..count as usize] {
        let mut compute = std::ptr::null_mut();
        if call!(client.nvmlGpuInstanceGetComputeInstanceById(instance, 0, &raw mut compute)).is_ok() {
            client.destroy_compute(compute).expect("nobody uses it");
        }
        client.destroy(instance).expect("nobody uses it");
    }
}

/// A child, ended with the test however that ends.
struct Worker(Child);

impl Worker {
    fn start(scene: &Path, gpu: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a program knows its path"));
        command.args(["--exact", "child", "--nocapture", "--quiet"]).env(STATE_VARIABLE, scene);
        command.env(CHILD, OsStr::new(&gpu.to_string())).stdout(std::process::Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SIGKILL.
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it was running");
    }
}

/// What exists is what was made and not removed, nothing was made twice, and nothing overlaps.
fn check(state: &State, scene: &Scene) {
    for gpu in &state.gpus {
        let (mut instances, mut devices, mut uuids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for happening in scene.history().into_iter().filter(|it| it.gpu.as_ref() == Some(&gpu.uuid)) {
            match happening.what {
                What::GpuInstanceCreated { start, id, .. } => {
                    assert!(instances.insert((id, start)), "made twice: {id} at {start}");
                }
                What::GpuInstanceDestroyed { start, id, .. } => {
                    assert!(instances.remove(&(id, start)), "removed twice: {id} at {start}");
                }
                What::ComputeInstanceCreated { gpu_instance, id, uuid } => {
                    assert!(uuids.insert(uuid.clone()), "given twice: {uuid}");
                    assert!(devices.insert((gpu_instance, id, uuid)));
                }
                What::ComputeInstanceDestroyed { gpu_instance, id, uuid } => {
                    assert!(devices.remove(&(gpu_instance, id, uuid)));
                }
                _ => {}
            }
        }
        let live = &gpu.mig.as_ref().expect("it has MIG").instances;
        assert_eq!(live.iter().map(|it| (it.id, it.start)).collect::<BTreeSet<_>>(), instances);
        let made = live.iter().flat_map(|it| it.compute.iter().map(|ci| (it.id, ci.id, ci.uuid.clone())));
        assert_eq!(made.collect::<BTreeSet<_>>(), devices);
    }
}

#[test]
fn a_process_killed_between_any_two_instructions_leaves_a_whole_scene() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.json");
    let scene = Scene::create(&path, vec![Board::of("h100-80gb-sxm").mig()]);
    let mut seen = 0;
    for number in 0..KILLS {
        let worker = Worker::start(&path, 0);
        while scene.history().len() <= seen {
            std::thread::sleep(Duration::from_micros(200));
        }
        // Another moment each time, within what a few instances take.
        std::thread::sleep(Duration::from_micros(u64::from(number * 7919 % 5000)));
        drop(worker);
        check(&scene.state(), &scene);
        seen = scene.history().len();
    }
    assert!(seen > KILLS as usize, "the children did nothing");
}

#[test]
fn processes_at_work_at_once_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.json");
    let scene = Scene::create(&path, vec![Board::of("h100-80gb-sxm").mig(); 3]);
    let workers: Vec<_> = (0..3).map(|gpu| Worker::start(&path, gpu)).collect();
    let busy = |gpu: usize| scene.history().iter().filter(|it| it.gpu == Some(scene.uuid(gpu))).count() > 100;
    while !(0..3).all(busy) {
        scene.xid(0, 13, None); // a fourth one that writes
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(workers);
    check(&scene.state(), &scene);
    let pids: BTreeSet<_> = scene.history().iter().map(|it| it.by).collect();
    assert_eq!(pids.len(), 3, "each is told by its process: {pids:?}");
}
