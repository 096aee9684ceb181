//! Instances come and go: identities, handles, who holds what.

mod common;

use std::ptr::null_mut;

use common::{Machine, call};
use nvml_mock::{Board, Code, Kind, What};
use nvml_wrapper_sys::bindings as sys;

fn h100() -> Machine {
    Machine::new(vec![Board::of("h100-80gb-sxm").mig()])
}

#[test]
fn a_place_gives_its_id_again_and_a_new_uuid() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let mut uuids = Vec::new();
    for _ in 0..3 {
        let instance = client.create(device, "1g.10gb", 3).unwrap();
        let compute = client.create_whole(instance).unwrap();
        assert_eq!(client.info(instance).unwrap().id, 10);
        assert_eq!(client.compute_info(compute).unwrap().id, 0);
        uuids.push(client.uuid(client.mig_device(device, 0).unwrap()).unwrap());
        client.destroy_compute(compute).unwrap();
        client.destroy(instance).unwrap();
    }
    assert!(uuids.iter().all(|uuid| uuid.starts_with("MIG-") && uuid.len() == 40), "{uuids:?}");
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 3);
}

#[test]
fn a_handle_of_what_is_gone_names_nothing_though_the_place_is_taken_again() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let old = client.create(device, "1g.10gb", 3).unwrap();
    let old_compute = client.create_whole(old).unwrap();
    let old_device = client.mig_device(device, 0).unwrap();
    client.destroy_compute(old_compute).unwrap();
    client.destroy(old).unwrap();
    let new = client.create(device, "1g.10gb", 3).unwrap();
    client.create_whole(new).unwrap();
    assert_eq!(client.info(old).map(drop), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.destroy(old), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.destroy_compute(old_compute), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.uuid(old_device), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.info(null_mut()).map(drop), Err(Code::INVALID_ARGUMENT));
    // Handles of the wrong kind are none.
    assert_eq!(client.info(device.cast()).map(drop), Err(Code::INVALID_ARGUMENT));
    assert_eq!(client.mig_mode(client.mig_device(device, 0).unwrap()), Err(Code::INVALID_ARGUMENT));
}

#[test]
fn an_instance_with_compute_instances_or_processes_is_in_use() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let instance = client.create(device, "2g.20gb", 0).unwrap();
    let compute = client.create_whole(instance).unwrap();
    assert_eq!(client.destroy(instance), Err(Code::IN_USE));
    let uuid = client.uuid(client.mig_device(device, 0).unwrap()).unwrap();
    machine.scene.run(4711, &uuid, 300).unwrap();
    assert_eq!(client.destroy_compute(compute), Err(Code::IN_USE));
    machine.scene.kill(4711);
    assert_eq!(client.destroy_compute(compute), Ok(()));
    // A client that stands in no list.
    let id = client.info(instance).unwrap().id;
    machine.scene.hold("dcgm", 0, Some(id));
    assert_eq!(client.processes(device), Ok(vec![]));
    assert_eq!(client.destroy(instance), Err(Code::IN_USE));
    machine.scene.release("dcgm");
    assert_eq!(client.destroy(instance), Ok(()));
}

#[test]
fn the_first_instance_wants_an_idle_gpu_and_later_ones_do_not() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    machine.scene.hold("dcgm", 0, None);
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Err(Code::IN_USE));
    machine.scene.release("dcgm");
    machine.scene.run(1, &machine.scene.uuid(0), 10).unwrap();
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Err(Code::IN_USE));
    machine.scene.kill(1);
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Ok(()));
    machine.scene.hold("dcgm", 0, None);
    assert_eq!(client.create(device, "1g.10gb", 1).map(drop), Ok(()));
}

#[test]
fn a_gpu_instance_is_divided_into_compute_instances() {
    let machine = Machine::new(vec![Board::of("a100-40gb").mig()]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    let instance = client.create(device, "4g.20gb", 0).unwrap();
    // Index, slices, how many, where: as `nvidia-smi mig -lcip` has them; a 3c does not exist in a 4g.
    let mut seen = Vec::new();
    for index in 0..8 {
        if let Ok(info) = client.compute_profile(instance, index) {
            let (mut count, mut places) = (8, [common::empty::<sys::nvmlComputeInstancePlacement_t>(); 8]);
            let buffer = places.as_mut_ptr();
            call!(client.nvmlGpuInstanceGetComputeInstancePossiblePlacements(
                instance,
                info.id,
                buffer,
                &raw mut count
            ))
            .unwrap();
            let starts: Vec<u32> = places[..count as usize].iter().map(|place| place.start).collect();
            seen.push((index, info.sliceCount, info.instanceCount, info.multiprocessorCount, starts));
        }
    }
    let expected = [(0, 1, 4, 14, vec![0, 1, 2, 3]), (1, 2, 2, 28, vec![0, 2]), (3, 4, 1, 56, vec![0])];
    assert_eq!(seen, expected);
    assert_eq!(client.compute_profile(instance, 2).map(drop), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.compute_profile(instance, 8).map(drop), Err(Code::INVALID_ARGUMENT));
    let half = client.create_compute(instance, 1).unwrap();
    client.create_compute(instance, 0).unwrap();
    let mut left = 0;
    call!(client.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, 0, &raw mut left)).unwrap();
    assert_eq!(left, 1);
    assert_eq!(client.create_compute(instance, 3).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    let info = client.compute_info(half).unwrap();
    assert_eq!((info.profileId, info.placement.start, info.placement.size), (1, 0, 2));
    assert_eq!(info.gpuInstance, instance);
    // Both are MIG devices of one GPU instance.
    let ids = |index| {
        let device = client.mig_device(device, index).unwrap();
        let (mut gpu, mut compute) = (9, 9);
        call!(client.nvmlDeviceGetGpuInstanceId(device, &raw mut gpu)).unwrap();
        call!(client.nvmlDeviceGetComputeInstanceId(device, &raw mut compute)).unwrap();
        (gpu, compute)
    };
    assert_eq!((ids(0), ids(1)), ((1, 0), (1, 1)));
}

#[test]
fn instances_are_listed_by_profile_and_found_by_id() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let one = client.create(device, "1g.10gb", 0).unwrap();
    let other = client.create(device, "1g.10gb", 1).unwrap();
    client.create(device, "2g.20gb", 2).unwrap();
    let (mut count, mut found) = (7, [null_mut(); 7]);
    let buffer = found.as_mut_ptr();
    call!(client.nvmlDeviceGetGpuInstances(device, 19, buffer, &raw mut count)).unwrap();
    assert_eq!(found[..count as usize], [one, other]);
    let mut by_id = null_mut();
    call!(client.nvmlDeviceGetGpuInstanceById(device, 8, &raw mut by_id)).unwrap();
    assert_eq!(by_id, other);
    let missing = call!(client.nvmlDeviceGetGpuInstanceById(device, 13, &raw mut by_id));
    assert_eq!(missing, Err(Code::NOT_FOUND));
    let unknown = call!(client.nvmlDeviceGetGpuInstances(device, 77, buffer, &raw mut count));
    assert_eq!(unknown, Err(Code::INVALID_ARGUMENT));
    let compute = client.create_whole(one).unwrap();
    let (mut count, mut computes) = (7, [null_mut(); 7]);
    let buffer = computes.as_mut_ptr();
    call!(client.nvmlGpuInstanceGetComputeInstances(one, 0, buffer, &raw mut count)).unwrap();
    assert_eq!(computes[..count as usize], [compute]);
    let mut by_id = null_mut();
    call!(client.nvmlGpuInstanceGetComputeInstanceById(one, 0, &raw mut by_id)).unwrap();
    assert_eq!(by_id, compute);
    let missing = call!(client.nvmlGpuInstanceGetComputeInstanceById(one, 3, &raw mut by_id));
    assert_eq!(missing, Err(Code::NOT_FOUND));
}

#[test]
fn processes_are_listed_on_the_gpu_with_their_instance_and_on_the_mig_device() {
    let machine = h100();
    let scene = &machine.scene;
    let client = machine.client();
    let device = client.device(0).unwrap();
    let one = scene.make_foreign(0, "1g.10gb", 0).unwrap();
    let other = scene.make_foreign(0, "3g.40gb", 4).unwrap();
    scene.run(100, &one.compute[0].uuid, 1000).unwrap();
    scene.run(200, &other.compute[0].uuid, 2000).unwrap();
    scene.run_as(Kind::Graphics, 300, &other.compute[0].uuid, 1).unwrap();
    assert_eq!(scene.run(1, "MIG-none", 1), Err(Code::NOT_FOUND));
    assert_eq!(client.processes(device), Ok(vec![(100, 1000, 7, 0), (200, 2000, 2, 0)]));
    let mig = client.by_uuid(&other.compute[0].uuid).unwrap();
    assert_eq!(client.processes(mig), Ok(vec![(200, 2000, 2, 0)]));
    let memory = |device| {
        let mut memory = common::empty::<sys::nvmlMemory_t>();
        call!(client.nvmlDeviceGetMemoryInfo(device, &raw mut memory)).unwrap();
        (memory.used >> 20, memory.total >> 20)
    };
    assert_eq!((memory(device), memory(mig)), ((3001, 81559), (2001, 40448)));
    scene.kill(200);
    assert_eq!(client.processes(mig), Ok(vec![]));
}

#[test]
fn the_history_tells_who_made_what() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let foreign = machine.scene.make_foreign(0, "1g.10gb", 6).unwrap();
    let instance = client.create(device, "1g.10gb", 0).unwrap();
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    client.destroy(instance).unwrap();
    machine.scene.remove(0, foreign.id).unwrap();
    let history = machine.scene.history();
    let profile = "1g.10gb".to_owned();
    let uuid = foreign.compute[0].uuid.clone();
    let me = Some(std::process::id());
    let expected = [
        (None, What::GpuInstanceCreated { profile: profile.clone(), start: 6, id: 13 }),
        (None, What::ComputeInstanceCreated { gpu_instance: 13, id: 0, uuid: uuid.clone() }),
        (me, What::GpuInstanceCreated { profile: profile.clone(), start: 0, id: 7 }),
        (me, What::GpuInstanceDestroyed { profile: profile.clone(), start: 0, id: 7 }),
        (None, What::ComputeInstanceDestroyed { gpu_instance: 13, id: 0, uuid }),
        (None, What::GpuInstanceDestroyed { profile, start: 6, id: 13 }),
    ];
    let seen: Vec<_> = history.iter().map(|it| (it.by, it.what.clone())).collect();
    assert_eq!(seen, expected);
    assert!(history.iter().all(|it| it.gpu.as_deref() == Some(machine.scene.uuid(0).as_str())));
    assert!(history.is_sorted_by_key(|it| it.at_us));
}
