//! A client of the shared object: as thin as C allows, so that tests see codes and buffers as they are.
#![expect(unsafe_code, reason = "NVML is a C library; every call here passes pointers to locals")]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses some of it"
)]

use std::ffi::{CString, c_char};
use std::mem::zeroed;
use std::ptr::null_mut;

use nvml_mock::{Board, Code, Scene};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;
use tempfile::TempDir;

/// Calls a function: `call!(client.nvmlDeviceGetCount_v2(&raw mut count))`.
macro_rules! call {
    ($client:ident.$name:ident($($argument:expr),*)) => {{
        let symbol = $client.0.$name.as_ref().expect("the library has the function");
        // SAFETY: the signature is nvml-wrapper-sys's; pointers are null or to locals with room.
        #[expect(unsafe_code, reason = "NVML is a C library")]
        let code = unsafe { symbol($($argument),*) };
        if code == 0 { Ok(()) } else { Err(nvml_mock::Code(code)) }
    }};
}

pub(crate) use call;

/// A scene of its own, with a copy of the library that knows it.
pub struct Machine {
    pub scene: Scene,
    _folder: TempDir,
}

impl Machine {
    pub fn new(boards: Vec<Board>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { scene: Scene::create(folder.path().join("state.json"), boards), _folder: folder }
    }

    /// With NVML initialised.
    pub fn client(&self) -> Client {
        let client = self.loaded();
        call!(client.nvmlInit_v2()).expect("it initialises");
        client
    }

    /// Loaded only.
    pub fn loaded(&self) -> Client {
        // SAFETY: the mock's initialisers do nothing.
        Client(unsafe { sys::NvmlLib::new(self.scene.library()) }.expect("the library loads"))
    }
}

/// The functions of the library.
pub struct Client(pub sys::NvmlLib);

pub type Answer<T> = Result<T, Code>;
pub type Device = sys::nvmlDevice_t;

/// What nvml-wrapper answers, with NVML's code.
pub fn coded<T>(answer: Result<T, NvmlError>) -> Answer<T> {
    answer.map_err(|error| Code(sys::nvmlReturn_t::from(error)))
}

/// A struct of plain C data.
pub fn empty<T: Copy>() -> T {
    // SAFETY: used for NVML's structs of numbers, arrays and pointers.
    unsafe { zeroed() }
}

/// `NVML_STRUCT_VERSION`.
pub fn version<T>(number: u32) -> u32 {
    u32::try_from(size_of::<T>()).expect("small") | number << 24
}

pub fn text(characters: &[c_char]) -> String {
    let bytes = characters.iter().map(|it| it.cast_unsigned()).take_while(|&byte| byte != 0);
    String::from_utf8(bytes.collect()).expect("UTF-8")
}

impl Client {
    pub fn device(&self, index: u32) -> Answer<Device> {
        let client = self;
        let mut device = null_mut();
        call!(client.nvmlDeviceGetHandleByIndex_v2(index, &raw mut device)).map(|()| device)
    }

    pub fn by_uuid(&self, uuid: &str) -> Answer<Device> {
        let client = self;
        let uuid = CString::new(uuid).expect("no zeros");
        let mut device = null_mut();
        call!(client.nvmlDeviceGetHandleByUUID(uuid.as_ptr(), &raw mut device)).map(|()| device)
    }

    pub fn uuid(&self, device: Device) -> Answer<String> {
        let client = self;
        let mut uuid = [0; 96];
        call!(client.nvmlDeviceGetUUID(device, uuid.as_mut_ptr(), 96)).map(|()| text(&uuid))
    }

    pub fn mig_mode(&self, device: Device) -> Answer<(u32, u32)> {
        let client = self;
        let (mut current, mut pending) = (9, 9);
        call!(client.nvmlDeviceGetMigMode(device, &raw mut current, &raw mut pending))
            .map(|()| (current, pending))
    }

    /// The answer and the activation status.
    pub fn set_mig_mode(&self, device: Device, mode: u32) -> Answer<Answer<()>> {
        let client = self;
        let mut status = 0;
        call!(client.nvmlDeviceSetMigMode(device, mode, &raw mut status))?;
        Ok(if status == 0 { Ok(()) } else { Err(Code(status)) })
    }

    /// The profile with this name.
    pub fn profile(&self, device: Device, name: &str) -> sys::nvmlGpuInstanceProfileInfo_v2_t {
        let mut all =
            (0..sys::NVML_GPU_INSTANCE_PROFILE_COUNT).filter_map(|it| self.profile_at(device, it).ok());
        all.find(|info| text(&info.name) == format!("MIG {name}")).expect("the GPU has the profile")
    }

    pub fn profile_at(&self, device: Device, index: u32) -> Answer<sys::nvmlGpuInstanceProfileInfo_v2_t> {
        let client = self;
        let mut info: sys::nvmlGpuInstanceProfileInfo_v2_t = empty();
        info.version = version::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2);
        call!(client.nvmlDeviceGetGpuInstanceProfileInfoV(device, index, &raw mut info)).map(|()| info)
    }

    pub fn placements(&self, device: Device, profile: u32) -> Answer<Vec<(u32, u32)>> {
        let client = self;
        let mut count = 0;
        call!(client.nvmlDeviceGetGpuInstancePossiblePlacements_v2(
            device,
            profile,
            null_mut(),
            &raw mut count
        ))?;
        let mut all = vec![empty::<sys::nvmlGpuInstancePlacement_t>(); count as usize];
        let buffer = all.as_mut_ptr();
        call!(client.nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, profile, buffer, &raw mut count))?;
        Ok(all.iter().map(|placement| (placement.start, placement.size)).collect())
    }

    pub fn capacity(&self, device: Device, profile: u32) -> Answer<u32> {
        let client = self;
        let mut count = 99;
        call!(client.nvmlDeviceGetGpuInstanceRemainingCapacity(device, profile, &raw mut count))
            .map(|()| count)
    }

    /// Makes a GPU instance at a start.
    pub fn create(&self, device: Device, profile: &str, start: u32) -> Answer<sys::nvmlGpuInstance_t> {
        let info = self.profile(device, profile);
        let size = self.placements(device, info.id)?[0].1;
        self.create_with(device, info.id, start, size)
    }

    pub fn create_with(
        &self,
        device: Device,
        profile: u32,
        start: u32,
        size: u32,
    ) -> Answer<sys::nvmlGpuInstance_t> {
        let client = self;
        let placement = sys::nvmlGpuInstancePlacement_t { start, size };
        let mut made = null_mut();
        call!(client.nvmlDeviceCreateGpuInstanceWithPlacement(
            device,
            profile,
            &raw const placement,
            &raw mut made
        ))
        .map(|()| made)
    }

    /// Makes a GPU instance where the driver likes.
    pub fn create_anywhere(&self, device: Device, profile: u32) -> Answer<sys::nvmlGpuInstance_t> {
        let client = self;
        let mut made = null_mut();
        call!(client.nvmlDeviceCreateGpuInstance(device, profile, &raw mut made)).map(|()| made)
    }

    pub fn destroy(&self, instance: sys::nvmlGpuInstance_t) -> Answer<()> {
        let client = self;
        call!(client.nvmlGpuInstanceDestroy(instance))
    }

    pub fn info(&self, instance: sys::nvmlGpuInstance_t) -> Answer<sys::nvmlGpuInstanceInfo_t> {
        let client = self;
        let mut info = empty();
        call!(client.nvmlGpuInstanceGetInfo(instance, &raw mut info)).map(|()| info)
    }

    /// Index 0 to 7: compute slices of nvml.h's compute instance profiles.
    pub fn compute_profile(
        &self,
        instance: sys::nvmlGpuInstance_t,
        index: u32,
    ) -> Answer<sys::nvmlComputeInstanceProfileInfo_t> {
        let client = self;
        let mut info = empty();
        call!(client.nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, index, 0, &raw mut info))
            .map(|()| info)
    }

    pub fn create_compute(
        &self,
        instance: sys::nvmlGpuInstance_t,
        profile: u32,
    ) -> Answer<sys::nvmlComputeInstance_t> {
        let client = self;
        let mut made = null_mut();
        call!(client.nvmlGpuInstanceCreateComputeInstance(instance, profile, &raw mut made)).map(|()| made)
    }

    /// The compute instance that takes all of a GPU instance.
    pub fn create_whole(&self, instance: sys::nvmlGpuInstance_t) -> Answer<sys::nvmlComputeInstance_t> {
        let profiles = (0..8).filter_map(|index| self.compute_profile(instance, index).ok());
        let whole = profiles.max_by_key(|info| info.sliceCount).expect("there is one");
        self.create_compute(instance, whole.id)
    }

    pub fn destroy_compute(&self, compute: sys::nvmlComputeInstance_t) -> Answer<()> {
        let client = self;
        call!(client.nvmlComputeInstanceDestroy(compute))
    }

    pub fn compute_info(
        &self,
        compute: sys::nvmlComputeInstance_t,
    ) -> Answer<sys::nvmlComputeInstanceInfo_t> {
        let client = self;
        let mut info = empty();
        call!(client.nvmlComputeInstanceGetInfo_v2(compute, &raw mut info)).map(|()| info)
    }

    /// MIG device at an index.
    pub fn mig_device(&self, device: Device, index: u32) -> Answer<Device> {
        let client = self;
        let mut mig = null_mut();
        call!(client.nvmlDeviceGetMigDeviceHandleByIndex(device, index, &raw mut mig)).map(|()| mig)
    }

    /// Processes as (pid, MiB, GPU instance, compute instance).
    pub fn processes(&self, device: Device) -> Answer<Vec<(u32, u64, u32, u32)>> {
        let client = self;
        let mut count = 0;
        match call!(client.nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, null_mut())) {
            Err(Code::INSUFFICIENT_SIZE) => {}
            answer => return answer.map(|()| Vec::new()),
        }
        let mut all = vec![empty::<sys::nvmlProcessInfo_t>(); count as usize];
        call!(client.nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, all.as_mut_ptr()))?;
        let info = |it: &sys::nvmlProcessInfo_t| {
            (it.pid, it.usedGpuMemory >> 20, it.gpuInstanceId, it.computeInstanceId)
        };
        Ok(all.iter().map(info).collect())
    }
}
