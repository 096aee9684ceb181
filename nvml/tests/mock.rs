//! What is read of GPUs, and done to them, through a real shared object.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use nvml_mock::{Board, Fabric as Domain, Level, Scene, models};
use tangram_nvml::facts::{Ailment, Ancestor, Fabric, Gpu, Inventory};
use tangram_nvml::{Code, Event, Library, watch};
use tempfile::TempDir;

fn scene(gpus: &[&str]) -> (TempDir, Scene) {
    let folder = TempDir::with_prefix("tangram-nvml-").unwrap();
    let board = |name: &&str| {
        if Board::keys().contains(name) { Board::of(name).mig() } else { Board::plain(name, 23_034) }
    };
    let scene = Scene::create(folder.path().join("state.json"), gpus.iter().map(board).collect());
    (folder, scene)
}

fn open(scene: &Scene) -> Library {
    Library::open(Some(&scene.library())).unwrap()
}

fn read(library: &mut Library) -> Inventory {
    library.read().unwrap()
}

fn places(gpu: &Gpu) -> Vec<(&str, u32)> {
    let instances = gpu.mig.iter().flat_map(|mig| &mig.instances);
    instances.map(|instance| (instance.profile.as_str(), instance.start)).collect()
}

fn create(library: &mut Library, gpu: usize, profile: &str, start: u32) -> Result<(), Code> {
    let inventory = read(library);
    let gpu = &inventory.gpus[gpu];
    let profiles = &gpu.mig.as_ref().unwrap().profiles;
    let profile = profiles.iter().find(|known| known.name == profile).unwrap();
    library.create(&gpu.uuid, profile, start).map_err(|error| error.code)
}

#[test]
fn every_model_of_the_table_reads_back_as_the_table_has_it() {
    for model in models() {
        let (_folder, scene) = scene(&[&model.key]);
        let inventory = read(&mut open(&scene));
        let gpu = &inventory.gpus[0];
        assert_eq!(gpu.model, model.names[0]);
        let mig = gpu.mig.as_ref().unwrap();
        assert!(mig.is_enabled, "{}", model.key);
        assert_eq!(mig.profiles.len(), model.profiles.len(), "{}", model.key);
        for row in &model.profiles {
            let profile = mig.profiles.iter().find(|profile| profile.name == row.name).unwrap();
            assert_eq!(
                (profile.id, profile.compute_slices, profile.instances_max, &profile.starts),
                (row.id, row.compute_slices, row.instances_max, &row.starts),
                "{} {}",
                model.key,
                row.name
            );
            assert_eq!((profile.memory_slices, profile.memory_mib), (row.memory_slices, row.memory_mib));
        }
    }
}

#[test]
fn a_gpu_without_mig_is_read_without_it() {
    let (_folder, scene) = scene(&["NVIDIA L4"]);
    let inventory = read(&mut open(&scene));
    let gpu = &inventory.gpus[0];
    assert_eq!((gpu.model.as_str(), gpu.mig.as_ref(), gpu.memory_mib), ("NVIDIA L4", None, 23_034));
    assert_eq!(gpu.utilisation_percent, Some(0));
    assert_eq!((inventory.driver_version.as_str(), inventory.cuda_version.as_str()), ("580.95.05", "13.0"));
}

#[test]
fn instances_are_made_exactly_where_they_are_wanted() {
    let (_folder, scene) = scene(&["h100-80gb-sxm"]);
    let mut library = open(&scene);
    assert_eq!(create(&mut library, 0, "1g.10gb", 6), Ok(()));
    assert_eq!(create(&mut library, 0, "3g.40gb", 0), Ok(()));
    assert_eq!(create(&mut library, 0, "2g.20gb", 4), Ok(()));
    let inventory = read(&mut library);
    assert_eq!(places(&inventory.gpus[0]), [("3g.40gb", 0), ("2g.20gb", 4), ("1g.10gb", 6)]);
    for instance in &inventory.gpus[0].mig.as_ref().unwrap().instances {
        assert!(instance.uuid().is_some_and(|uuid| uuid.starts_with("MIG-")), "{instance:?}");
    }
    assert_eq!(inventory.gpus[0].utilisation_percent, None, "NVML does not tell under MIG");
}

#[test]
fn what_the_hardware_refuses_is_refused_with_its_code() {
    let (_folder, scene) = scene(&["h100-80gb-sxm", "a30-24gb", "h100-80gb-sxm"]);
    let mut library = open(&scene);
    assert_eq!(create(&mut library, 0, "1g.10gb", 1), Ok(()));
    assert_eq!(create(&mut library, 0, "3g.40gb", 0), Err(Code::InsufficientResources), "overlaps");
    assert_eq!(create(&mut library, 0, "3g.40gb", 2), Err(Code::InsufficientResources), "never starts there");
    assert_eq!(create(&mut library, 0, "1g.10gb+me", 2), Ok(()));
    assert_eq!(create(&mut library, 0, "1g.10gb+me", 3), Err(Code::InsufficientResources), "there is one");
    assert_eq!(create(&mut library, 1, "1g.6gb+me", 0), Ok(()));
    assert_eq!(create(&mut library, 1, "2g.12gb+me", 2), Err(Code::InsufficientResources), "one JPEG engine");
    scene.set_mig(2, false).unwrap();
    assert_eq!(create(&mut library, 2, "1g.10gb", 0), Err(Code::NotSupported), "MIG mode is off");
    scene.set_mig(2, true).unwrap();
    scene.run(4711, &scene.uuid(2), 512).unwrap();
    assert_eq!(create(&mut library, 2, "1g.10gb", 0), Err(Code::InUse), "the first needs an idle GPU");
}

#[test]
fn an_instance_is_removed_with_its_compute_instance_and_never_another_of_its_id() {
    let (_folder, scene) = scene(&["a100-40gb"]);
    let mut library = open(&scene);
    create(&mut library, 0, "2g.10gb", 2).unwrap();
    let first = read(&mut library);
    let (gpu, old) = (&first.gpus[0], first.gpus[0].mig.as_ref().unwrap().instances[0].clone());
    scene.remove(0, old.id).unwrap();
    scene.make_foreign(0, "2g.10gb", 2).unwrap();
    let second = read(&mut library);
    let new = second.gpus[0].mig.as_ref().unwrap().instances[0].clone();
    assert_eq!((old.id, old.start), (new.id, new.start), "ids are given again");
    assert_ne!(old.uuid(), new.uuid(), "UUIDs are not");
    assert_eq!(library.destroy(&gpu.uuid, &old).map_err(|error| error.code), Err(Code::NotFound));
    assert_eq!(places(&read(&mut library).gpus[0]), [("2g.10gb", 2)]);
    scene.run(4711, new.uuid().unwrap(), 512).unwrap();
    assert_eq!(library.destroy(&gpu.uuid, &new).map_err(|error| error.code), Err(Code::InUse));
    scene.kill(4711);
    assert_eq!(library.destroy(&gpu.uuid, &new), Ok(()));
    assert!(places(&read(&mut library).gpus[0]).is_empty());
}

#[test]
fn a_gpu_instance_without_its_compute_instance_is_not_left_behind() {
    let (_folder, scene) = scene(&["h100-80gb-sxm"]);
    let mut library = open(&scene);
    scene.fail("nvmlGpuInstanceCreateComputeInstance", nvml_mock::Code::UNKNOWN, 1, None);
    assert_eq!(create(&mut library, 0, "1g.10gb", 0), Err(Code::Unknown));
    assert!(places(&read(&mut library).gpus[0]).is_empty());
    // And should that fail too, what is left can be removed.
    scene.fail("nvmlGpuInstanceCreateComputeInstance", nvml_mock::Code::UNKNOWN, 1, None);
    scene.fail("nvmlGpuInstanceDestroy", nvml_mock::Code::TIMEOUT, 1, None);
    assert_eq!(create(&mut library, 0, "1g.10gb", 0), Err(Code::Unknown));
    let inventory = read(&mut library);
    let left = &inventory.gpus[0].mig.as_ref().unwrap().instances[0];
    assert_eq!((left.uuid(), left.compute.len()), (None, 0));
    assert_eq!(library.destroy(&inventory.gpus[0].uuid, left), Ok(()));
}

#[test]
fn mig_mode_is_turned_on_where_nothing_runs() {
    let (_folder, scene) = scene(&["a100-40gb", "h100-80gb-sxm", "NVIDIA L4", "a100-40gb"]);
    scene.change(|state| {
        for mig in state.gpus.iter_mut().filter_map(|gpu| gpu.mig.as_mut()) {
            (mig.current, mig.pending) = (false, false);
        }
        state.gpus[3].mig.as_mut().unwrap().is_passed_through = true;
    });
    let mut library = open(&scene);
    let uuids: Vec<String> = read(&mut library).gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    scene.run(4711, &scene.uuid(0), 512).unwrap();
    let enable = |library: &Library, gpu: usize| library.enable_mig(&uuids[gpu]).map_err(|error| error.code);
    assert_eq!(enable(&library, 0), Err(Code::InUse));
    let mig = read(&mut library).gpus[0].mig.clone().unwrap();
    assert_eq!((mig.is_enabled, mig.is_pending), (false, true));
    scene.kill(4711);
    assert_eq!(enable(&library, 0), Ok(()));
    assert_eq!(enable(&library, 1), Ok(()));
    assert_eq!(enable(&library, 2), Err(Code::NotSupported));
    assert_eq!(enable(&library, 3), Err(Code::ResetRequired));
    let is_on = |gpu: &Gpu| gpu.mig.as_ref().is_some_and(|mig| mig.is_enabled);
    let modes: Vec<bool> = read(&mut library).gpus.iter().map(is_on).collect();
    assert_eq!(modes, [true, true, false, false]);
}

#[test]
fn health_and_processes_are_read() {
    let (_folder, scene) = scene(&["h100-80gb-sxm", "a100-40gb"]);
    let device = scene.make_foreign(0, "1g.10gb", 3).unwrap().compute[0].uuid.clone();
    scene.run(4711, &device, 512).unwrap();
    scene.ecc(0, 7, 3);
    scene.remap(1, true, true);
    scene.retire(1, Some(true));
    scene.run(4712, &scene.uuid(1), 300).unwrap();
    let inventory = read(&mut open(&scene));
    let [first, second] = &inventory.gpus[..] else { unreachable!("there are two") };
    assert_eq!(first.ailments, [Ailment::Ecc(3)]);
    assert_eq!(second.ailments, [Ailment::RemapFailed, Ailment::RemapPending, Ailment::RetirementPending]);
    assert!(second.memory_used_mib >= 300, "{}", second.memory_used_mib);
    let process = &first.processes[0];
    let instance = &first.mig.as_ref().unwrap().instances[0];
    assert_eq!((process.pid, process.memory_mib, process.instance), (4711, Some(512), Some(instance.id)));
}

#[test]
fn links_are_read() {
    let (_folder, scene) = scene(&["h100-80gb-sxm", "h100-80gb-sxm", "h100-80gb-sxm"]);
    scene.link(0, 1, 2);
    scene.link_to_switch(0, "00000000:C3:00.0", 4);
    scene.connect(0, 1, Level::Multiple);
    scene.connect(0, 2, Level::System);
    scene.fabric(0, Some(Domain { cluster_uuid: [0xab; 16], clique: 7, state: 3, health_mask: 0 }));
    scene.numa(0, Some(1));
    scene.numa(1, None);
    let inventory = read(&mut open(&scene));
    let links = inventory.gpus[0].links.clone();
    assert_eq!((links.nvlinks, links.nvlink_peers, links.numa_node), (6, vec![1], Some(1)));
    assert_eq!(inventory.gpus[1].links.numa_node, None);
    assert_eq!(links.pcie, [(1, Ancestor::Switches), (2, Ancestor::System)]);
    let cluster_uuid = "abababab-abab-abab-abab-abababababab".to_owned();
    assert_eq!(links.fabric, Some(Fabric { cluster_uuid, clique: 7 }));
}

#[test]
fn a_gpu_that_falls_off_the_bus_keeps_its_name_and_the_others_stay() {
    let (_folder, scene) = scene(&["h100-80gb-sxm", "h100-80gb-sxm"]);
    let mut library = open(&scene);
    let before = read(&mut library);
    scene.lose(0);
    let after = read(&mut library);
    assert_eq!(after.gpus[0].uuid, before.gpus[0].uuid);
    assert_eq!(after.gpus[0].ailments, [Ailment::Lost]);
    assert_eq!(after.gpus[1], before.gpus[1]);
    // One that was never seen has no name to be reported by.
    let fresh = read(&mut open(&scene));
    assert_eq!(fresh.gpus.len(), 1);
    let (index, why) = &fresh.unreadable[0];
    assert_eq!(*index, 0);
    assert!(why.contains("GPU_IS_LOST") && why.contains("drain the node"), "{why}");
}

#[test]
fn a_driver_that_is_restarted_wants_nvml_opened_again() {
    let (_folder, scene) = scene(&["a100-40gb"]);
    let mut library = open(&scene);
    read(&mut library);
    scene.stop_driver();
    let error = library.read().unwrap_err();
    assert!(error.code.is_stale(), "{error}");
    let error = Library::open(Some(&scene.library())).unwrap_err();
    assert_eq!(error.code, Code::DriverNotLoaded);
    scene.start_driver();
    assert_eq!(library.read().unwrap_err().code, Code::Uninitialized, "its handles are of before");
    assert_eq!(read(&mut open(&scene)).gpus.len(), 1);
}

#[test]
fn xids_and_changes_are_told_as_they_happen() {
    let (_folder, scene) = scene(&["h100-80gb-sxm", "h100-80gb-sxm"]);
    let (tell, told) = std::sync::mpsc::channel();
    let path = scene.library();
    let watching = std::thread::spawn(move || {
        watch(Some(&path), |event| match tell.send(event) {
            Ok(()) => std::ops::ControlFlow::Continue(()),
            Err(_) => std::ops::ControlFlow::Break(()),
        })
    });
    // A second each at most: one that is not told within twenty is not told at all.
    let next = || {
        let events = told.iter().take(20);
        events.into_iter().find(|event| *event != Event::Quiet)
    };
    assert_eq!(told.iter().next(), Some(Event::Quiet));
    scene.xid(1, 79, None);
    let uuid = scene.uuid(1);
    assert_eq!(next(), Some(Event::Xid(uuid, 79)));
    scene.make_foreign(0, "1g.10gb", 0).unwrap();
    assert_eq!(next(), Some(Event::Changed));
    drop(told);
    assert_eq!(watching.join().unwrap(), Ok(()));
}

/// Each code that NVML has, from each of the calls that make and remove: none is taken for success, and each
/// says what to do.
#[test]
fn every_code_of_nvml_comes_out_with_its_name_and_advice() {
    let (_folder, scene) = scene(&["h100-80gb-sxm"]);
    let mut library = open(&scene);
    create(&mut library, 0, "1g.10gb", 6).unwrap();
    let inventory = read(&mut library);
    let (gpu, instance) = (&inventory.gpus[0], &inventory.gpus[0].mig.as_ref().unwrap().instances[0]);
    let profile = &gpu.mig.as_ref().unwrap().profiles[0];
    for code in Code::ALL {
        assert!(code.advice().len() > 15, "{code:?}");
        assert_eq!(Code::of(code.number()), *code);
        let refused = |function: &str, call: &dyn Fn() -> Result<(), tangram_nvml::Error>| {
            scene.fail(function, nvml_mock::Code(code.number()), 1, None);
            let error = call().unwrap_err();
            assert_eq!((error.call, error.code), (function, *code));
            let text = error.to_string();
            assert!(text.contains(code.name()) && text.contains(code.advice()), "{text}");
        };
        refused("nvmlDeviceCreateGpuInstanceWithPlacement", &|| library.create(&gpu.uuid, profile, 0));
        refused("nvmlGpuInstanceCreateComputeInstance", &|| library.create(&gpu.uuid, profile, 0));
        refused("nvmlComputeInstanceDestroy", &|| library.destroy(&gpu.uuid, instance));
        refused("nvmlDeviceSetMigMode", &|| library.enable_mig(&gpu.uuid));
        refused("nvmlDeviceGetHandleByUUID", &|| library.enable_mig(&gpu.uuid));
    }
    assert_eq!(Code::of(12_345), Code::Other(12_345));
    assert_eq!(places(&read(&mut library).gpus[0]), [("1g.10gb", 6)], "nothing was made or removed");
}

#[test]
fn without_the_library_the_error_says_where_to_get_it() {
    let error = Library::open(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).unwrap_err();
    assert_eq!(error.code, Code::LibraryNotFound);
    let text = error.to_string();
    assert!(text.contains("--nvml") && text.contains("/nowhere/libnvidia-ml.so.1"), "{text}");
}
