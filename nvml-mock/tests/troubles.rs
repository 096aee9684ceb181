//! What goes wrong: on demand, and for good.

mod common;

use std::ptr::null_mut;
use std::time::{Duration, Instant};

use common::{Machine, call};
use nvml_mock::{Board, Code};

fn two() -> Machine {
    Machine::new(vec![Board::of("h100-80gb-sxm").mig(), Board::of("h100-80gb-sxm").mig()])
}

#[test]
fn a_planted_fault_fails_so_many_calls_and_does_nothing() {
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap();
    machine.scene.fail("nvmlDeviceCreateGpuInstanceWithPlacement", Code::INSUFFICIENT_RESOURCES, 2, None);
    for _ in 0..2 {
        assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    }
    assert_eq!(machine.scene.history(), []);
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Ok(()));
    assert_eq!(machine.scene.state().faults, []);
}

#[test]
fn a_fault_of_one_gpu_spares_the_other() {
    let machine = two();
    let client = machine.client();
    machine.scene.fail("nvmlDeviceGetMigMode", Code(4242), 1, Some(1));
    assert_eq!(client.mig_mode(client.device(0).unwrap()), Ok((1, 1)));
    assert_eq!(client.mig_mode(client.device(1).unwrap()), Err(Code(4242)), "a code of no driver");
    assert_eq!(client.mig_mode(client.device(1).unwrap()), Ok((1, 1)));
}

#[test]
fn every_code_of_nvml_can_be_planted_in_any_call() {
    let machine = two();
    let client = machine.client();
    for &code in Code::ALL {
        machine.scene.fail("nvmlDeviceGetCount_v2", code, 1, None);
        let mut count = 0;
        assert_eq!(call!(client.nvmlDeviceGetCount_v2(&raw mut count)), Err(code));
        machine.scene.fail("nvmlInit_v2", code, 1, None);
        assert_eq!(call!(client.nvmlInit_v2()), Err(code));
    }
    assert_eq!(Code::ALL.len(), 31);
}

#[test]
fn a_slow_call_waits_before_it_acts_and_others_go_on() {
    const DELAY: Duration = Duration::from_millis(300);
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap().addr();
    machine.scene.slow("nvmlDeviceCreateGpuInstanceWithPlacement", 300);
    let profile = client.profile(client.device(0).unwrap(), "1g.10gb").id;
    #[expect(clippy::disallowed_methods, reason = "the delay is what is tested")]
    let now = Instant::now;
    let start = now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let device = std::ptr::without_provenance_mut(device);
            client.create_with(device, profile, 0, 1).map(drop)
        });
        assert_eq!(client.device(1).map(drop), Ok(()));
        assert!(now() - start < DELAY, "another call waited");
        assert_eq!(machine.scene.state().gpus[0].mig.as_ref().unwrap().instances, []);
        assert_eq!(slow.join().unwrap(), Ok(()));
        assert!(now() - start >= DELAY);
    });
    machine.scene.heal();
    assert!(machine.scene.state().delays_ms.is_empty());
}

#[test]
fn a_lost_gpu_answers_nothing_else_and_still_counts() {
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let instance = client.create(device, "1g.10gb", 0).unwrap();
    machine.scene.lose(0);
    assert_eq!(client.device(0).map(drop), Err(Code::GPU_IS_LOST));
    assert_eq!(client.uuid(device), Err(Code::GPU_IS_LOST));
    assert_eq!(client.by_uuid(&machine.scene.uuid(0)).map(drop), Err(Code::GPU_IS_LOST));
    assert_eq!(client.mig_mode(device), Err(Code::GPU_IS_LOST));
    assert_eq!(client.create_with(device, 19, 1, 1).map(drop), Err(Code::GPU_IS_LOST));
    assert_eq!(client.destroy(instance), Err(Code::GPU_IS_LOST));
    assert_eq!(client.device(1).map(drop), Ok(()));
    let mut count = 0;
    call!(client.nvmlDeviceGetCount_v2(&raw mut count)).unwrap();
    assert_eq!(count, 2);
    machine.scene.find(0);
    assert_eq!(client.destroy(instance), Ok(()));
}

#[test]
fn without_root_only_looking_is_allowed() {
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let instance = client.create(device, "1g.10gb", 0).unwrap();
    machine.scene.privileged(false);
    assert_eq!(client.create_with(device, 19, 1, 1).map(drop), Err(Code::NO_PERMISSION));
    assert_eq!(client.create_compute(instance, 0).map(drop), Err(Code::NO_PERMISSION));
    assert_eq!(client.destroy(instance), Err(Code::NO_PERMISSION));
    assert_eq!(client.set_mig_mode(device, 0), Err(Code::NO_PERMISSION));
    assert_eq!(client.placements(device, 19), Err(Code::NO_PERMISSION));
    assert_eq!(client.processes(device), Err(Code::NO_PERMISSION), "of all instances");
    assert_eq!(client.mig_mode(device), Ok((1, 1)));
    assert_eq!(client.profile_at(device, 0).map(|info| info.id), Ok(19));
    assert_eq!(machine.scene.state().gpus[0].mig.as_ref().unwrap().instances.len(), 1);
}

#[test]
fn a_stopped_driver_cannot_be_opened_and_what_was_open_is_dead_for_good() {
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let instance = client.create(device, "1g.10gb", 0).unwrap();
    machine.scene.stop_driver();
    assert_eq!(client.uuid(device), Err(Code::UNINITIALIZED));
    assert_eq!(call!(client.nvmlInit_v2()), Err(Code::DRIVER_NOT_LOADED));
    machine.scene.start_driver();
    assert_eq!(client.uuid(device), Err(Code::UNINITIALIZED), "opened before");
    assert_eq!(call!(client.nvmlInit_v2()), Ok(()));
    assert_eq!(client.uuid(device), Err(Code::UNINITIALIZED), "a handle from before");
    assert_eq!(client.info(instance).map(drop), Err(Code::UNINITIALIZED));
    assert_eq!(client.uuid(client.device(0).unwrap()), Ok(machine.scene.uuid(0)));
    assert_eq!(client.mig_mode(client.device(0).unwrap()), Ok((0, 0)), "Hopper forgets with the module");
    assert_eq!(machine.scene.state().gpus[0].mig.as_ref().unwrap().instances, []);
    // What stale things answer is the scene's choice.
    machine.scene.change(|state| state.driver.stale = Code::GPU_IS_LOST);
    assert_eq!(client.uuid(device), Err(Code::GPU_IS_LOST));
}

#[test]
fn the_library_counts_how_often_it_was_opened() {
    let machine = two();
    let client = machine.loaded();
    assert_eq!(client.device(0).map(drop), Err(Code::UNINITIALIZED));
    assert_eq!(call!(client.nvmlShutdown()), Err(Code::UNINITIALIZED));
    call!(client.nvmlInit_v2()).unwrap();
    call!(client.nvmlInitWithFlags(1)).unwrap();
    call!(client.nvmlShutdown()).unwrap();
    assert_eq!(client.device(0).map(drop), Ok(()));
    call!(client.nvmlShutdown()).unwrap();
    assert_eq!(client.device(0).map(drop), Err(Code::UNINITIALIZED));
}

#[test]
fn without_a_scene_there_is_no_driver_and_a_broken_one_is_an_unknown_error() {
    let machine = two();
    let client = machine.loaded();
    std::fs::write(machine.scene.path(), "{").unwrap();
    assert_eq!(call!(client.nvmlInit_v2()), Err(Code::UNKNOWN));
    std::fs::remove_file(machine.scene.path()).unwrap();
    assert_eq!(call!(client.nvmlInit_v2()), Err(Code::DRIVER_NOT_LOADED));
}

#[test]
fn buffers_versions_and_null_are_minded() {
    let machine = two();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let mut text = [0; 96];
    let short = call!(client.nvmlDeviceGetUUID(device, text.as_mut_ptr(), 40));
    assert_eq!(short, Err(Code::INSUFFICIENT_SIZE), "40 characters and a zero need 41");
    assert_eq!(call!(client.nvmlDeviceGetUUID(device, text.as_mut_ptr(), 41)), Ok(()));
    assert_eq!(call!(client.nvmlDeviceGetUUID(device, null_mut(), 96)), Err(Code::INVALID_ARGUMENT));
    assert_eq!(call!(client.nvmlDeviceGetCount_v2(null_mut())), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.uuid(null_mut()), Err(Code::INVALID_ARGUMENT));
    let mut memory = common::empty::<nvml_wrapper_sys::bindings::nvmlMemory_v2_t>();
    let answer = call!(client.nvmlDeviceGetMemoryInfo_v2(device, &raw mut memory));
    assert_eq!(answer, Err(Code::ARGUMENT_VERSION_MISMATCH));
    // Placements: null tells how many, too few is too few.
    let (mut count, mut places) =
        (3, [common::empty::<nvml_wrapper_sys::bindings::nvmlGpuInstancePlacement_t>(); 3]);
    let buffer = places.as_mut_ptr();
    let answer =
        call!(client.nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, 19, buffer, &raw mut count));
    assert_eq!((answer, count), (Err(Code::INSUFFICIENT_SIZE), 7));
    // A handle that cannot be written is no reason to make what nobody can name.
    let answer = call!(client.nvmlDeviceCreateGpuInstance(device, 19, null_mut()));
    assert_eq!((answer, machine.scene.history()), (Err(Code::INVALID_ARGUMENT), vec![]));
    // Processes: null tells how many.
    machine.scene.make_foreign(0, "1g.10gb", 0).unwrap();
    let uuid = client.uuid(client.mig_device(device, 0).unwrap()).unwrap();
    machine.scene.run(1, &uuid, 1).unwrap();
    machine.scene.run(2, &uuid, 1).unwrap();
    let mut count = 1;
    let mut infos = [common::empty::<nvml_wrapper_sys::bindings::nvmlProcessInfo_t>(); 1];
    let buffer = infos.as_mut_ptr();
    let answer = call!(client.nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, buffer));
    assert_eq!((answer, count), (Err(Code::INSUFFICIENT_SIZE), 2));
}

#[test]
fn codes_have_nvmls_texts() {
    let machine = two();
    let client = machine.loaded();
    let text = |code: u32| {
        let function = client.0.nvmlErrorString.as_ref().unwrap();
        #[expect(unsafe_code, reason = "NVML is a C library")]
        // SAFETY: the function takes a number and answers with a text that stays.
        let text = unsafe { std::ffi::CStr::from_ptr(function(code)) };
        text.to_str().unwrap()
    };
    assert_eq!(text(0), "Success");
    assert_eq!(text(19), "In use by another client");
    assert_eq!(text(23), "Insufficient Resources");
    assert_eq!(text(4242), "Unknown Error");
}
