//! Handles: opaque pointers that hold no address but say what they name.
//!
//! They outlive what they name: one of a GPU instance that was destroyed is not that of the next one at the
//! same place, and one from before the driver was restarted is known as such.

use std::marker::PhantomData;
use std::ptr;

use nvml_wrapper_sys::bindings as sys;

use super::argument::Argument;

/// What a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gpu = 1,
    MigDevice = 2,
    GpuInstance = 3,
    ComputeInstance = 4,
    EventSet = 5,
}

/// A handle, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) kind: Kind,
    /// Of the driver, when it was given.
    epoch: u64,
    /// Index of the GPU.
    pub(super) gpu: usize,
    /// Of the instance or event set.
    pub(super) serial: u64,
}

// From the lowest bit: serial, GPU, epoch, kind.
const SERIAL_BITS: u32 = 36;
const GPU_BITS: u32 = 8;
const EPOCH_BITS: u32 = 16;
const KIND_SHIFT: u32 = SERIAL_BITS + GPU_BITS + EPOCH_BITS;

const fn low(number: u64, bits: u32) -> u64 {
    number & ((1 << bits) - 1)
}

impl Handle {
    pub(super) fn new(kind: Kind, epoch: u64, gpu: usize, serial: u64) -> Self {
        Self { kind, epoch: low(epoch, EPOCH_BITS), gpu, serial: low(serial, SERIAL_BITS) }
    }

    pub(super) fn is_of(&self, epoch: u64) -> bool {
        self.epoch == low(epoch, EPOCH_BITS)
    }

    /// As C gets it.
    pub(super) fn pointer<T>(self) -> *mut T {
        let gpu = low(self.gpu as u64, GPU_BITS);
        let bits = (self.kind as u64) << KIND_SHIFT
            | self.epoch << (SERIAL_BITS + GPU_BITS)
            | gpu << SERIAL_BITS
            | self.serial;
        ptr::without_provenance_mut(usize::try_from(bits).expect("the mock is for 64 bits"))
    }

    /// `None` for what was never a handle.
    fn read<T>(pointer: *mut T) -> Option<Self> {
        let bits = pointer.addr() as u64;
        let kinds = [Kind::Gpu, Kind::MigDevice, Kind::GpuInstance, Kind::ComputeInstance, Kind::EventSet];
        Some(Self {
            kind: kinds.into_iter().find(|&kind| kind as u64 == bits >> KIND_SHIFT)?,
            epoch: low(bits >> (SERIAL_BITS + GPU_BITS), EPOCH_BITS),
            gpu: usize::try_from(low(bits >> SERIAL_BITS, GPU_BITS)).ok()?,
            serial: low(bits, SERIAL_BITS),
        })
    }
}

/// A handle as an argument; `None` for what was never one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<T> {
    pub(super) handle: Option<Handle>,
    kind: PhantomData<T>,
}

pub(super) type Device = Named<sys::nvmlDevice_st>;
pub(super) type GpuInstance = Named<sys::nvmlGpuInstance_st>;
pub(super) type ComputeInstance = Named<sys::nvmlComputeInstance_st>;
pub(super) type EventSet = Named<sys::nvmlEventSet_st>;

impl<T> Argument<*mut T> for Named<T> {
    #[expect(unsafe_code, reason = "the trait's promise is not needed: nothing is followed")]
    unsafe fn of(c: *mut T) -> Self {
        Self { handle: Handle::read(c), kind: PhantomData }
    }
}
