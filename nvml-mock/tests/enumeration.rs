//! What a client finds: devices by every way to find them, and what they say of themselves.

mod common;

use std::ffi::OsStr;

use common::{Machine, call, coded};
use nvml_mock::{Architecture, Board, Code};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::Brand;
use nvml_wrapper::enums::device::DeviceArchitecture;

fn boards() -> Vec<Board> {
    vec![
        Board::of("h100-80gb-sxm").mig(),
        Board::of("a100-40gb").named("NVIDIA A100-PCIE-40GB"),
        Board::plain("NVIDIA L4", 23034),
        Board::plain("NVIDIA Prototype 1", 1000).architecture(Architecture::Blackwell, (13, 7)),
    ]
}

#[test]
fn nvml_wrapper_finds_every_gpu_with_its_facts() {
    let machine = Machine::new(boards());
    let library = machine.scene.library();
    let nvml = Nvml::builder().lib_path(OsStr::new(&library)).init().unwrap();
    assert_eq!(nvml.sys_driver_version().unwrap(), "580.95.05");
    assert_eq!(nvml.sys_nvml_version().unwrap(), "13.580.95.05");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13000);
    assert_eq!(nvml.device_count().unwrap(), 4);
    let mut seen = Vec::new();
    for index in 0..4 {
        let device = nvml.device_by_index(index).unwrap();
        let uuid = device.uuid().unwrap();
        assert_eq!(uuid, machine.scene.uuid(index as usize));
        assert_eq!(nvml.device_by_uuid(uuid.as_str()).unwrap().index().unwrap(), index);
        let pci = device.pci_info().unwrap();
        assert_eq!(nvml.device_by_pci_bus_id(pci.bus_id.as_str()).unwrap().index().unwrap(), index);
        assert_eq!(device.minor_number().unwrap(), index);
        let capability = device.cuda_compute_capability().unwrap();
        let memory = device.memory_info().unwrap();
        assert_eq!((memory.used, memory.free), (0, memory.total));
        seen.push((
            device.name().unwrap(),
            pci.bus_id,
            pci.pci_device_id,
            memory.total >> 20,
            (capability.major, capability.minor),
            device.architecture().unwrap(),
        ));
        assert_eq!(device.brand().unwrap(), Brand::Nvidia);
    }
    let row = |name: &str, pci: &str, id, mib, capability, architecture| {
        (name.to_owned(), pci.to_owned(), id, mib, capability, architecture)
    };
    let expected = [
        row(
            "NVIDIA H100 80GB HBM3",
            "00000000:10:00.0",
            0x2330_10DE,
            81559,
            (9, 0),
            DeviceArchitecture::Hopper,
        ),
        row(
            "NVIDIA A100-PCIE-40GB",
            "00000000:18:00.0",
            0x20B0_10DE,
            40960,
            (8, 0),
            DeviceArchitecture::Ampere,
        ),
        row("NVIDIA L4", "00000000:20:00.0", 0x27B8_10DE, 23034, (8, 9), DeviceArchitecture::Ada),
        row(
            "NVIDIA Prototype 1",
            "00000000:28:00.0",
            0x27B8_10DE,
            1000,
            (13, 7),
            DeviceArchitecture::Blackwell,
        ),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_does_not_exist_is_not_found() {
    let machine = Machine::new(boards());
    let nvml = Nvml::builder().lib_path(OsStr::new(&machine.scene.library())).init().unwrap();
    assert_eq!(coded(nvml.device_by_index(4)).map(drop), Err(Code::INVALID_ARGUMENT));
    assert_eq!(coded(nvml.device_by_uuid("GPU-0")).map(drop), Err(Code::NOT_FOUND));
    assert_eq!(coded(nvml.device_by_pci_bus_id("0000:99:00.0")).map(drop), Err(Code::NOT_FOUND));
    assert_eq!(coded(nvml.device_by_pci_bus_id("elsewhere")).map(drop), Err(Code::INVALID_ARGUMENT));
    assert_eq!(nvml.device_by_pci_bus_id("10:00.0").unwrap().index().unwrap(), 0);
}

#[test]
fn a_mig_device_is_found_by_uuid_and_knows_its_place() {
    let machine = Machine::new(boards());
    let made = machine.scene.make_foreign(0, "2g.20gb", 4).unwrap();
    let nvml = Nvml::builder().lib_path(OsStr::new(&machine.scene.library())).init().unwrap();
    let mig = nvml.device_by_uuid(made.compute[0].uuid.as_str()).unwrap();
    assert_eq!(coded(mig.mig_is_mig_device_handle()), Ok(true));
    assert_eq!(mig.name().unwrap(), "NVIDIA H100 80GB HBM3 MIG 2g.20gb");
    assert_eq!(mig.memory_info().unwrap().total >> 20, 20096);
    let parent = mig.mig_parent_device().unwrap();
    assert_eq!(coded(parent.index()), Ok(0));
    assert_eq!(coded(parent.mig_is_mig_device_handle()), Ok(false));
    assert_eq!(coded(parent.mig_device_count()), Ok(7));
    assert_eq!(parent.mig_device_by_index(0).unwrap().uuid().unwrap(), made.compute[0].uuid);
    assert_eq!(coded(parent.mig_device_by_index(1)).map(drop), Err(Code::NOT_FOUND));
    assert_eq!(coded(parent.mig_device_by_index(7)).map(drop), Err(Code::INVALID_ARGUMENT));
    let attributes = mig.attributes().unwrap();
    assert_eq!((attributes.gpu_instance_slice_count, attributes.compute_instance_slice_count), (2, 2));
    assert_eq!((attributes.multiprocessor_count, attributes.memory_size_mb), (32, 20096));
    // A GPU has neither of a MIG device's ids; one without MIG has no MIG devices at all.
    let client = machine.client();
    let device = client.device(0).unwrap();
    let mut id = 0;
    assert_eq!(call!(client.nvmlDeviceGetGpuInstanceId(device, &raw mut id)), Err(Code::NOT_SUPPORTED));
    assert_eq!(coded(nvml.device_by_index(2).unwrap().mig_device_count()), Ok(0));
    assert_eq!(
        coded(nvml.device_by_index(2).unwrap().mig_device_by_index(0)).map(drop),
        Err(Code::NOT_SUPPORTED)
    );
}

#[test]
fn machines_elsewhere_have_other_gpus() {
    let (one, other) = (Machine::new(boards()), Machine::new(boards()));
    assert_ne!(one.scene.uuid(0), other.scene.uuid(0));
    // Both are open in this process at once, each through its own copy of the library.
    let (first, second) = (one.client(), other.client());
    assert_eq!(first.uuid(first.device(0).unwrap()).unwrap(), one.scene.uuid(0));
    assert_eq!(second.uuid(second.device(0).unwrap()).unwrap(), other.scene.uuid(0));
}
