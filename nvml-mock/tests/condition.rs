//! Connections and health.

mod common;

use common::{Answer, Client, Device, Machine, call, version};
use nvml_mock::{Board, Code, Fabric, Level};
use nvml_wrapper_sys::bindings as sys;

fn four() -> Machine {
    Machine::new(vec![
        Board::of("h100-80gb-sxm"),
        Board::of("h100-80gb-sxm"),
        Board::of("a100-40gb"),
        Board::plain("Tesla T4", 15360).architecture(nvml_mock::Architecture::Turing, (7, 5)),
    ])
}

fn field(client: &Client, device: Device, id: u32) -> Answer<u32> {
    let mut values = [sys::nvmlFieldValue_t { fieldId: id, ..common::empty() }];
    call!(client.nvmlDeviceGetFieldValues(device, 1, values.as_mut_ptr()))?;
    if values[0].nvmlReturn != 0 {
        return Err(Code(values[0].nvmlReturn));
    }
    assert_eq!(values[0].valueType, sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT);
    #[expect(unsafe_code, reason = "a union of C")]
    // SAFETY: its type is the one that was asserted.
    Ok(unsafe { values[0].value.uiVal })
}

#[test]
fn links_lead_to_the_other_gpu_or_a_switch() {
    let machine = four();
    machine.scene.link(0, 1, 2);
    machine.scene.link_to_switch(0, "00000000:C1:00.0", 1);
    let client = machine.client();
    let device = client.device(0).unwrap();
    let active = |device, link| {
        let mut active = 9;
        call!(client.nvmlDeviceGetNvLinkState(device, link, &raw mut active)).map(|()| active)
    };
    assert_eq!((0..3).map(|link| active(device, link)).collect::<Vec<_>>(), [Ok(1); 3]);
    assert_eq!(active(device, 3), Err(Code::INVALID_ARGUMENT));
    assert_eq!(active(client.device(2).unwrap(), 0), Err(Code::NOT_SUPPORTED));
    let remote = |link| {
        let (mut pci, mut kind) = (common::empty::<sys::nvmlPciInfo_t>(), 9);
        call!(client.nvmlDeviceGetNvLinkRemotePciInfo_v2(device, link, &raw mut pci)).unwrap();
        call!(client.nvmlDeviceGetNvLinkRemoteDeviceType(device, link, &raw mut kind)).unwrap();
        (common::text(&pci.busId), kind)
    };
    assert_eq!(remote(0), (machine.scene.state().gpus[1].pci_address.clone(), 0));
    assert_eq!(remote(2), ("00000000:C1:00.0".to_owned(), 2));
    let (mut number, mut has) = (0, 9);
    call!(client.nvmlDeviceGetNvLinkVersion(device, 0, &raw mut number)).unwrap();
    call!(client.nvmlDeviceGetNvLinkCapability(device, 0, 0, &raw mut has)).unwrap();
    assert_eq!((number, has), (4, 1));
    machine.scene.change(|state| state.gpus[0].nvlinks[1].is_active = false);
    assert_eq!((active(device, 0), active(device, 1)), (Ok(1), Ok(0)));
}

#[test]
fn pairs_share_what_the_scene_says_and_else_their_numa_node() {
    let machine = four();
    for (gpu, node) in [(0, 0), (1, 0), (2, 1), (3, 65)] {
        machine.scene.numa(gpu, Some(node));
    }
    machine.scene.connect(1, 0, Level::Single);
    let client = machine.client();
    let device = |index| client.device(index).unwrap();
    let level = |one, other| {
        let mut level = 99;
        call!(client.nvmlDeviceGetTopologyCommonAncestor(device(one), device(other), &raw mut level))
            .map(|()| level)
    };
    assert_eq!((level(0, 1), level(1, 0), level(0, 2), level(2, 2)), (Ok(10), Ok(10), Ok(50), Ok(0)));
    let (mut count, mut found) = (0, [std::ptr::null_mut(); 4]);
    call!(client.nvmlDeviceGetTopologyNearestGpus(device(0), 50, &raw mut count, found.as_mut_ptr()))
        .unwrap();
    assert_eq!(count, 2, "zero asks how many");
    call!(client.nvmlDeviceGetTopologyNearestGpus(device(0), 50, &raw mut count, found.as_mut_ptr()))
        .unwrap();
    assert_eq!(found[..2], [device(2), device(3)]);
    let affinity = |index, words: u32| {
        let mut nodes = [9; 4];
        call!(client.nvmlDeviceGetMemoryAffinity(device(index), words, nodes.as_mut_ptr(), 0))
            .map(|()| nodes[..words as usize].to_vec())
    };
    assert_eq!(affinity(2, 1), Ok(vec![2]));
    assert_eq!(affinity(3, 2), Ok(vec![0, 2]));
    assert_eq!(affinity(3, 1), Err(Code::INVALID_ARGUMENT), "no room for node 65");
}

#[test]
fn a_numa_node_of_its_own_has_only_a_gpu_that_is_one() {
    let machine = four();
    machine.scene.numa(0, Some(0));
    machine.scene.memory_node(1, Some(9));
    let client = machine.client();
    let node = |index| {
        let (device, mut node) = (client.device(index).unwrap(), 99);
        call!(client.nvmlDeviceGetNumaNodeId(device, &raw mut node)).map(|()| node)
    };
    assert_eq!((node(0), node(1)), (Err(Code::NOT_SUPPORTED), Ok(9)));
}

#[test]
fn the_fabric_is_told_in_every_version() {
    let machine = four();
    let fabric = Fabric { cluster_uuid: [7; 16], clique: 3, state: 3, health_mask: 2 };
    machine.scene.fabric(0, Some(fabric));
    let client = machine.client();
    let device = |index| client.device(index).unwrap();
    let first = |index| {
        let mut info = common::empty::<sys::nvmlGpuFabricInfo_t>();
        call!(client.nvmlDeviceGetGpuFabricInfo(device(index), &raw mut info))
            .map(|()| (info.clusterUuid, info.cliqueId, info.state, info.status))
    };
    assert_eq!(first(0), Ok(([7; 16], 3, 3, 0)));
    assert_eq!(first(1), Ok(([0; 16], 0, 0, 0)), "a Hopper without one");
    assert_eq!(first(2), Err(Code::NOT_SUPPORTED));
    let mut second = common::empty::<sys::nvmlGpuFabricInfo_v2_t>();
    second.version = version::<sys::nvmlGpuFabricInfo_v2_t>(2);
    call!(client.nvmlDeviceGetGpuFabricInfoV(device(0), (&raw mut second).cast())).unwrap();
    assert_eq!((second.cliqueId, second.healthMask), (3, 2));
    let mut third = common::empty::<sys::nvmlGpuFabricInfo_v3_t>();
    let answer = call!(client.nvmlDeviceGetGpuFabricInfoV(device(0), &raw mut third));
    assert_eq!(answer, Err(Code::ARGUMENT_VERSION_MISMATCH));
    third.version = version::<sys::nvmlGpuFabricInfo_v3_t>(3);
    call!(client.nvmlDeviceGetGpuFabricInfoV(device(0), &raw mut third)).unwrap();
    assert_eq!((third.clusterUuid, third.state), ([7; 16], 3));
}

#[test]
fn ecc_errors_are_counted_until_the_driver_is_reloaded_and_for_ever() {
    let machine = four();
    machine.scene.ecc(0, 5, 2);
    let total = |client: &Client, kind, counter| {
        let (device, mut count) = (client.device(0).unwrap(), 99);
        call!(client.nvmlDeviceGetTotalEccErrors(device, kind, counter, &raw mut count)).map(|()| count)
    };
    let client = machine.client();
    assert_eq!((total(&client, 0, 0), total(&client, 1, 0)), (Ok(5), Ok(2)));
    assert_eq!(total(&client, 2, 0), Err(Code::INVALID_ARGUMENT));
    let located = |location| {
        let (device, mut count) = (client.device(0).unwrap(), 99);
        call!(client.nvmlDeviceGetMemoryErrorCounter(device, 1, 0, location, &raw mut count)).map(|()| count)
    };
    assert_eq!((located(2), located(1), located(8)), (Ok(2), Ok(0), Err(Code::INVALID_ARGUMENT)));
    machine.scene.driver_restart();
    let client = machine.client();
    assert_eq!((total(&client, 1, 0), total(&client, 1, 1)), (Ok(0), Ok(2)));
    machine.scene.change(|state| state.gpus[0].health.is_ecc_enabled = false);
    assert_eq!(total(&client, 1, 0), Err(Code::NOT_SUPPORTED));
}

#[test]
fn rows_wait_for_a_reset_and_are_not_told_while_there_are_instances() {
    let machine = four();
    machine.scene.set_mig(0, true).unwrap();
    machine.scene.remap(0, true, false);
    let client = machine.client();
    let rows = |index| {
        let (mut corrected, mut uncorrected, mut pending, mut failed) = (9, 9, 9, 9);
        let device = client.device(index).unwrap();
        call!(client.nvmlDeviceGetRemappedRows(
            device,
            &raw mut corrected,
            &raw mut uncorrected,
            &raw mut pending,
            &raw mut failed
        ))
        .map(|()| (corrected, uncorrected, pending, failed))
    };
    assert_eq!(rows(0), Ok((0, 1, 1, 0)));
    assert_eq!(rows(3), Err(Code::NOT_SUPPORTED), "Turing retires pages");
    machine.scene.make_foreign(0, "1g.10gb", 0).unwrap();
    assert_eq!(rows(0), Err(Code::NOT_SUPPORTED));
    assert_eq!(field(&client, client.device(0).unwrap(), 144), Ok(1), "the field still tells");
    machine.scene.reset(0);
    assert_eq!(rows(0), Ok((0, 1, 0, 0)));
    let retired = |index| {
        let (device, mut pending) = (client.device(index).unwrap(), 9);
        call!(client.nvmlDeviceGetRetiredPagesPendingStatus(device, &raw mut pending)).map(|()| pending)
    };
    machine.scene.retire(3, Some(true));
    assert_eq!((retired(0), retired(3)), (Err(Code::NOT_SUPPORTED), Ok(1)));
}

#[test]
fn fields_have_a_code_each() {
    let machine = four();
    let client = machine.client();
    let device = |index| client.device(index).unwrap();
    let of = |id| (0..4).map(|index| field(&client, device(index), id).unwrap()).collect::<Vec<_>>();
    assert_eq!(of(184), [1, 1, 0, 0], "MIG without a reset");
    assert_eq!(of(199), [1, 1, 1, 0], "profiles told while MIG is off");
    assert_eq!(field(&client, device(0), 82), Err(Code::NOT_SUPPORTED));
    let mut none = common::empty::<sys::nvmlFieldValue_t>();
    let answer = call!(client.nvmlDeviceGetFieldValues(device(0), -1, &raw mut none));
    assert_eq!(answer, Err(Code::INVALID_ARGUMENT));
}

#[test]
fn utilisation_is_told_without_mig_only() {
    let machine = four();
    machine.scene.utilisation(0, 87, 41);
    let client = machine.client();
    let rates = || {
        let (device, mut rates) = (client.device(0).unwrap(), common::empty::<sys::nvmlUtilization_t>());
        call!(client.nvmlDeviceGetUtilizationRates(device, &raw mut rates))
            .map(|()| (rates.gpu, rates.memory))
    };
    assert_eq!(rates(), Ok((87, 41)));
    machine.scene.set_mig(0, true).unwrap();
    assert_eq!(rates(), Err(Code::NOT_SUPPORTED));
    let mut support = common::empty::<sys::nvmlGpmSupport_t>();
    let device = client.device(0).unwrap();
    let answer = call!(client.nvmlGpmQueryDeviceSupport(device, &raw mut support));
    assert_eq!(answer, Err(Code::NOT_SUPPORTED));
}
