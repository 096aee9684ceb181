//! The table of C functions, by name, with nvml.h's arguments and who answers.
#![expect(unsafe_code, reason = "symbols of C have their names, and arguments that C passes")]

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_ulonglong};

use nvml_wrapper_sys::bindings as sys;

use super::argument::Argument;
use super::call::{enter, number};
use super::{
    compute_instance, device, events, gpm, gpu_instance, health, links, mig, process, session, system,
};
use crate::code::Code;

/// Exports functions that work on an open session.
macro_rules! exports {
    ($($name:ident($($argument:ident: $type:ty),*) => $answer:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> sys::nvmlReturn_t {
                enter(stringify!($name), |call| {
                    // SAFETY: the caller keeps to nvml.h, as the safety section of `Argument::of` wants.
                    unsafe { $answer(call, $(Argument::of($argument)),*) }
                })
            }
        )*
    };
}

/// Exports those of the version of nvml.h that `nvml-wrapper-sys` was made of: with another signature than
/// there they do not compile.
macro_rules! symbols {
    ($($name:ident($($argument:ident: $type:ty),*) => $answer:expr;)*) => {
        exports! { $($name($($argument: $type),*) => $answer;)* }

        const _: fn(&mut sys::NvmlLib) = |library| {
            library.nvmlInit_v2 = Ok(nvmlInit_v2);
            library.nvmlInitWithFlags = Ok(nvmlInitWithFlags);
            library.nvmlShutdown = Ok(nvmlShutdown);
            library.nvmlErrorString = Ok(nvmlErrorString);
            $(library.$name = Ok($name);)*
        };
    };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInit_v2() -> sys::nvmlReturn_t {
    number(session::open("nvmlInit_v2"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInit() -> sys::nvmlReturn_t {
    number(session::open("nvmlInit"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> sys::nvmlReturn_t {
    number(session::open("nvmlInitWithFlags"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlShutdown() -> sys::nvmlReturn_t {
    number(session::close())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlErrorString(result: sys::nvmlReturn_t) -> *const c_char {
    Code(result).text().as_ptr()
}

symbols! {
    nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) => system::driver_version;
    nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) => system::nvml_version;
    nvmlSystemGetCudaDriverVersion(version: *mut c_int) => system::cuda_version;
    nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) => system::cuda_version;
    nvmlDeviceGetCount_v2(count: *mut c_uint) => system::count;
    nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut sys::nvmlDevice_t) => system::by_index;
    nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut sys::nvmlDevice_t) => system::by_uuid;
    nvmlDeviceGetHandleByPciBusId_v2(address: *const c_char, device: *mut sys::nvmlDevice_t) => system::by_pci;

    nvmlDeviceGetUUID(device: sys::nvmlDevice_t, uuid: *mut c_char, length: c_uint) => device::uuid;
    nvmlDeviceGetName(device: sys::nvmlDevice_t, name: *mut c_char, length: c_uint) => device::name;
    nvmlDeviceGetIndex(device: sys::nvmlDevice_t, index: *mut c_uint) => device::index;
    nvmlDeviceGetMinorNumber(device: sys::nvmlDevice_t, minor: *mut c_uint) => device::minor;
    nvmlDeviceGetPciInfo_v3(device: sys::nvmlDevice_t, pci: *mut sys::nvmlPciInfo_t) => device::pci;
    nvmlDeviceGetArchitecture(device: sys::nvmlDevice_t, architecture: *mut c_uint) => device::architecture;
    nvmlDeviceGetBrand(device: sys::nvmlDevice_t, brand: *mut c_uint) => device::brand;
    nvmlDeviceGetCudaComputeCapability(device: sys::nvmlDevice_t, major: *mut c_int, minor: *mut c_int)
        => device::capability;
    nvmlDeviceGetMemoryInfo(device: sys::nvmlDevice_t, memory: *mut sys::nvmlMemory_t) => device::memory;
    nvmlDeviceGetMemoryInfo_v2(device: sys::nvmlDevice_t, memory: *mut sys::nvmlMemory_v2_t)
        => device::memory_v2;
    nvmlDeviceGetUtilizationRates(device: sys::nvmlDevice_t, rates: *mut sys::nvmlUtilization_t)
        => device::utilisation;

    nvmlDeviceGetMigMode(device: sys::nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) => mig::mode;
    nvmlDeviceSetMigMode(device: sys::nvmlDevice_t, mode: c_uint, status: *mut sys::nvmlReturn_t)
        => mig::set_mode;
    nvmlDeviceGetMaxMigDeviceCount(device: sys::nvmlDevice_t, count: *mut c_uint) => mig::device_count;
    nvmlDeviceGetMigDeviceHandleByIndex(
        device: sys::nvmlDevice_t, index: c_uint, mig_device: *mut sys::nvmlDevice_t
    ) => mig::by_index;
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig_device: sys::nvmlDevice_t, device: *mut sys::nvmlDevice_t)
        => mig::parent;
    nvmlDeviceIsMigDeviceHandle(device: sys::nvmlDevice_t, is_mig_device: *mut c_uint) => mig::is_device;
    nvmlDeviceGetGpuInstanceId(device: sys::nvmlDevice_t, id: *mut c_uint) => mig::gpu_instance_id;
    nvmlDeviceGetComputeInstanceId(device: sys::nvmlDevice_t, id: *mut c_uint) => mig::compute_instance_id;
    nvmlDeviceGetAttributes_v2(device: sys::nvmlDevice_t, attributes: *mut sys::nvmlDeviceAttributes_t)
        => mig::attributes;

    nvmlDeviceGetGpuInstanceProfileInfo(
        device: sys::nvmlDevice_t, profile: c_uint, info: *mut sys::nvmlGpuInstanceProfileInfo_t
    ) => gpu_instance::profile;
    nvmlDeviceGetGpuInstanceProfileInfoV(
        device: sys::nvmlDevice_t, profile: c_uint, info: *mut sys::nvmlGpuInstanceProfileInfo_v2_t
    ) => gpu_instance::profile_v;
    nvmlDeviceGetGpuInstanceProfileInfoByIdV(
        device: sys::nvmlDevice_t, profile_id: c_uint, info: *mut sys::nvmlGpuInstanceProfileInfo_v2_t
    ) => gpu_instance::profile_by_id;
    nvmlDeviceGetGpuInstancePossiblePlacements_v2(
        device: sys::nvmlDevice_t,
        profile_id: c_uint,
        placements: *mut sys::nvmlGpuInstancePlacement_t,
        count: *mut c_uint
    ) => gpu_instance::placements;
    nvmlDeviceGetGpuInstanceRemainingCapacity(
        device: sys::nvmlDevice_t, profile_id: c_uint, count: *mut c_uint
    ) => gpu_instance::capacity;
    nvmlDeviceCreateGpuInstance(
        device: sys::nvmlDevice_t, profile_id: c_uint, instance: *mut sys::nvmlGpuInstance_t
    ) => gpu_instance::create;
    nvmlDeviceCreateGpuInstanceWithPlacement(
        device: sys::nvmlDevice_t,
        profile_id: c_uint,
        placement: *const sys::nvmlGpuInstancePlacement_t,
        instance: *mut sys::nvmlGpuInstance_t
    ) => gpu_instance::create_with_placement;
    nvmlGpuInstanceDestroy(instance: sys::nvmlGpuInstance_t) => gpu_instance::destroy;
    nvmlDeviceGetGpuInstances(
        device: sys::nvmlDevice_t,
        profile_id: c_uint,
        instances: *mut sys::nvmlGpuInstance_t,
        count: *mut c_uint
    ) => gpu_instance::all;
    nvmlDeviceGetGpuInstanceById(
        device: sys::nvmlDevice_t, id: c_uint, instance: *mut sys::nvmlGpuInstance_t
    ) => gpu_instance::by_id;
    nvmlGpuInstanceGetInfo(instance: sys::nvmlGpuInstance_t, info: *mut sys::nvmlGpuInstanceInfo_t)
        => gpu_instance::info;

    nvmlGpuInstanceGetComputeInstanceProfileInfo(
        instance: sys::nvmlGpuInstance_t,
        profile: c_uint,
        engines: c_uint,
        info: *mut sys::nvmlComputeInstanceProfileInfo_t
    ) => compute_instance::profile;
    nvmlGpuInstanceGetComputeInstanceProfileInfoV(
        instance: sys::nvmlGpuInstance_t,
        profile: c_uint,
        engines: c_uint,
        info: *mut sys::nvmlComputeInstanceProfileInfo_v2_t
    ) => compute_instance::profile_v;
    nvmlGpuInstanceGetComputeInstancePossiblePlacements(
        instance: sys::nvmlGpuInstance_t,
        profile_id: c_uint,
        placements: *mut sys::nvmlComputeInstancePlacement_t,
        count: *mut c_uint
    ) => compute_instance::placements;
    nvmlGpuInstanceGetComputeInstanceRemainingCapacity(
        instance: sys::nvmlGpuInstance_t, profile_id: c_uint, count: *mut c_uint
    ) => compute_instance::capacity;
    nvmlGpuInstanceCreateComputeInstance(
        instance: sys::nvmlGpuInstance_t, profile_id: c_uint, compute: *mut sys::nvmlComputeInstance_t
    ) => compute_instance::create;
    nvmlGpuInstanceCreateComputeInstanceWithPlacement(
        instance: sys::nvmlGpuInstance_t,
        profile_id: c_uint,
        placement: *const sys::nvmlComputeInstancePlacement_t,
        compute: *mut sys::nvmlComputeInstance_t
    ) => compute_instance::create_with_placement;
    nvmlComputeInstanceDestroy(compute: sys::nvmlComputeInstance_t) => compute_instance::destroy;
    nvmlGpuInstanceGetComputeInstances(
        instance: sys::nvmlGpuInstance_t,
        profile_id: c_uint,
        computes: *mut sys::nvmlComputeInstance_t,
        count: *mut c_uint
    ) => compute_instance::all;
    nvmlGpuInstanceGetComputeInstanceById(
        instance: sys::nvmlGpuInstance_t, id: c_uint, compute: *mut sys::nvmlComputeInstance_t
    ) => compute_instance::by_id;
    nvmlComputeInstanceGetInfo_v2(
        compute: sys::nvmlComputeInstance_t, info: *mut sys::nvmlComputeInstanceInfo_t
    ) => compute_instance::info;

    nvmlDeviceGetComputeRunningProcesses_v3(
        device: sys::nvmlDevice_t, count: *mut c_uint, infos: *mut sys::nvmlProcessInfo_t
    ) => process::compute;
    nvmlDeviceGetGraphicsRunningProcesses_v3(
        device: sys::nvmlDevice_t, count: *mut c_uint, infos: *mut sys::nvmlProcessInfo_t
    ) => process::graphics;
    nvmlDeviceGetMPSComputeRunningProcesses_v3(
        device: sys::nvmlDevice_t, count: *mut c_uint, infos: *mut sys::nvmlProcessInfo_t
    ) => process::mps;

    nvmlEventSetCreate(set: *mut sys::nvmlEventSet_t) => events::create;
    nvmlDeviceGetSupportedEventTypes(device: sys::nvmlDevice_t, types: *mut c_ulonglong) => events::types;
    nvmlDeviceRegisterEvents(device: sys::nvmlDevice_t, types: c_ulonglong, set: sys::nvmlEventSet_t)
        => events::register;
    nvmlEventSetWait_v2(set: sys::nvmlEventSet_t, data: *mut sys::nvmlEventData_t, timeout_ms: c_uint)
        => events::wait;
    nvmlEventSetFree(set: sys::nvmlEventSet_t) => events::free;

    nvmlDeviceGetNvLinkState(device: sys::nvmlDevice_t, link: c_uint, active: *mut c_uint)
        => links::nvlink_state;
    nvmlDeviceGetNvLinkRemotePciInfo_v2(device: sys::nvmlDevice_t, link: c_uint, pci: *mut sys::nvmlPciInfo_t)
        => links::nvlink_remote;
    nvmlDeviceGetNvLinkRemoteDeviceType(device: sys::nvmlDevice_t, link: c_uint, kind: *mut c_uint)
        => links::nvlink_remote_type;
    nvmlDeviceGetNvLinkCapability(
        device: sys::nvmlDevice_t, link: c_uint, capability: c_uint, has: *mut c_uint
    ) => links::nvlink_capability;
    nvmlDeviceGetNvLinkVersion(device: sys::nvmlDevice_t, link: c_uint, version: *mut c_uint)
        => links::nvlink_version;
    nvmlDeviceGetTopologyCommonAncestor(one: sys::nvmlDevice_t, other: sys::nvmlDevice_t, path: *mut c_uint)
        => links::ancestor;
    nvmlDeviceGetTopologyNearestGpus(
        device: sys::nvmlDevice_t, level: c_uint, count: *mut c_uint, devices: *mut sys::nvmlDevice_t
    ) => links::nearest;
    nvmlDeviceGetNumaNodeId(device: sys::nvmlDevice_t, node: *mut c_uint) => links::numa_node;
    nvmlDeviceGetMemoryAffinity(
        device: sys::nvmlDevice_t, words: c_uint, nodes: *mut c_ulong, scope: c_uint
    ) => links::memory_affinity;
    nvmlDeviceGetGpuFabricInfo(device: sys::nvmlDevice_t, info: *mut sys::nvmlGpuFabricInfo_t)
        => links::fabric;
    nvmlDeviceGetGpuFabricInfoV(device: sys::nvmlDevice_t, info: *mut sys::nvmlGpuFabricInfoV_t)
        => links::fabric_v;

    nvmlDeviceGetEccMode(device: sys::nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint)
        => health::ecc_mode;
    nvmlDeviceGetTotalEccErrors(
        device: sys::nvmlDevice_t, kind: c_uint, counter: c_uint, count: *mut c_ulonglong
    ) => health::ecc_errors;
    nvmlDeviceGetMemoryErrorCounter(
        device: sys::nvmlDevice_t, kind: c_uint, counter: c_uint, location: c_uint, count: *mut c_ulonglong
    ) => health::ecc_counter;
    nvmlDeviceGetRemappedRows(
        device: sys::nvmlDevice_t,
        corrected: *mut c_uint,
        uncorrected: *mut c_uint,
        pending: *mut c_uint,
        failed: *mut c_uint
    ) => health::remapped_rows;
    nvmlDeviceGetRetiredPagesPendingStatus(device: sys::nvmlDevice_t, pending: *mut c_uint)
        => health::retirement;
    nvmlDeviceGetFieldValues(device: sys::nvmlDevice_t, count: c_int, values: *mut sys::nvmlFieldValue_t)
        => health::fields;

    nvmlGpmQueryDeviceSupport(device: sys::nvmlDevice_t, support: *mut sys::nvmlGpmSupport_t) => gpm::query;
    nvmlGpmSampleAlloc(sample: *mut sys::nvmlGpmSample_t) => gpm::sample_alloc;
    nvmlGpmSampleFree(sample: sys::nvmlGpmSample_t) => gpm::sample_free;
    nvmlGpmSampleGet(device: sys::nvmlDevice_t, sample: sys::nvmlGpmSample_t) => gpm::sample_get;
    nvmlGpmMigSampleGet(device: sys::nvmlDevice_t, gpu_instance: c_uint, sample: sys::nvmlGpmSample_t)
        => gpm::mig_sample_get;
    nvmlGpmMetricsGet(metrics: *mut sys::nvmlGpmMetricsGet_t) => gpm::metrics_get;
}

// Older versions, which nvml-wrapper-sys leaves out: older clients call them.
exports! {
    nvmlEventSetWait(set: sys::nvmlEventSet_t, data: *mut events::EventDataV1, timeout_ms: c_uint)
        => events::wait_v1;
}
