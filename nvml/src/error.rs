//! What NVML answers when it does not do what it was asked, and what to do about it.

use std::fmt;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

/// A call that failed: which, about what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The C function, for example `nvmlDeviceGetMigMode`.
    pub call: &'static str,
    /// What it was about, for example `GPU 3`; empty for the library as a whole.
    pub subject: String,
    /// How it failed.
    pub code: Code,
    /// What the system said beside the code, where it said something.
    pub detail: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, subject, code, detail } = self;
        if !subject.is_empty() {
            write!(f, "{subject}: ")?;
        }
        write!(f, "{call}: {} ({})", code.name(), code.advice())?;
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn new(call: &'static str, subject: impl fmt::Display, error: NvmlError) -> Self {
        let detail = match &error {
            NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => error.to_string(),
            _ => String::new(),
        };
        let code = match error {
            NvmlError::LibloadingError(_) => Code::LibraryNotFound,
            NvmlError::FailedToLoadSymbol(_) => Code::FunctionNotFound,
            other => Code::of(sys::nvmlReturn_t::from(other)),
        };
        Self { call, subject: subject.to_string(), code, detail }
    }
}

/// Makes [`Code`] from one table: variant, NVML's constant, name, what to do.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $constant:ident, $name:literal, $advice:literal;)*) => {
        /// `nvmlReturn_t`, without `NVML_SUCCESS`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
            /// A code that NVML did not have when this was written.
            Other(u32),
        }

        impl Code {
            /// Every code of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// From NVML's number.
            pub const fn of(number: u32) -> Self {
                match number {
                    $(sys::$constant => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// NVML's number.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => sys::$constant,)*
                    Self::Other(number) => number,
                }
            }

            /// NVML's name without the prefix `NVML_ERROR_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(_) => "an unknown NVML error",
                }
            }

            /// What it means here and what to do about it.
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice,)*
                    Self::Other(_) => "newer than this agent knows: see nvml.h of the driver",
                }
            }
        }
    };
}

codes! {
    /// Not initialised, or the driver was restarted since.
    Uninitialized = nvmlReturn_enum_NVML_ERROR_UNINITIALIZED, "UNINITIALIZED",
        "the driver was restarted: the agent opens NVML again";
    /// An argument is not one for this GPU.
    InvalidArgument = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT, "INVALID_ARGUMENT",
        "the GPU has no such profile, placement or instance: compare `nvidia-smi mig -lgipp`";
    /// The GPU, or its mode, does not do this.
    NotSupported = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED, "NOT_SUPPORTED",
        "this GPU or driver cannot do it, or MIG mode is off";
    /// Not root, or the capability is missing.
    NoPermission = nvmlReturn_enum_NVML_ERROR_NO_PERMISSION, "NO_PERMISSION",
        "run the agent as root with access to /proc/driver/nvidia/capabilities/mig/config";
    /// Obsolete.
    AlreadyInitialized = nvmlReturn_enum_NVML_ERROR_ALREADY_INITIALIZED, "ALREADY_INITIALIZED",
        "harmless: NVML was open already";
    /// No such object.
    NotFound = nvmlReturn_enum_NVML_ERROR_NOT_FOUND, "NOT_FOUND",
        "it was there a moment ago: somebody else removed it";
    /// A buffer is too small.
    InsufficientSize = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE, "INSUFFICIENT_SIZE",
        "there is more of it than a moment ago: it is read again";
    /// Power cables.
    InsufficientPower = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_POWER, "INSUFFICIENT_POWER",
        "check the GPU's external power cables";
    /// No driver.
    DriverNotLoaded = nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED, "DRIVER_NOT_LOADED",
        "load the NVIDIA driver, or wait for the GPU Operator's driver container";
    /// Took too long.
    Timeout = nvmlReturn_enum_NVML_ERROR_TIMEOUT, "TIMEOUT",
        "the driver is busy: it is tried again";
    /// Interrupts.
    IrqIssue = nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE, "IRQ_ISSUE",
        "the kernel has a problem with the GPU's interrupts: see dmesg";
    /// No shared library.
    LibraryNotFound = nvmlReturn_enum_NVML_ERROR_LIBRARY_NOT_FOUND, "LIBRARY_NOT_FOUND",
        "libnvidia-ml.so.1 is not here: mount the driver's root, or name the file with --nvml";
    /// An older library.
    FunctionNotFound = nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND, "FUNCTION_NOT_FOUND",
        "this driver is older than the function: dynamic MIG needs R525 or newer";
    /// infoROM.
    CorruptedInfoRom = nvmlReturn_enum_NVML_ERROR_CORRUPTED_INFOROM, "CORRUPTED_INFOROM",
        "the GPU's infoROM is corrupt: have the board looked at";
    /// Off the bus.
    GpuIsLost = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST, "GPU_IS_LOST",
        "it fell off the bus or cannot be reached: drain the node and reboot it";
    /// Wants a reset.
    ResetRequired = nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED, "RESET_REQUIRED",
        "reset it (`nvidia-smi --gpu-reset -i N`) or reboot the machine";
    /// cgroups.
    OperatingSystem = nvmlReturn_enum_NVML_ERROR_OPERATING_SYSTEM, "OPERATING_SYSTEM",
        "the operating system blocks it: the agent's container needs the GPU's device nodes";
    /// Driver and library differ.
    LibRmVersionMismatch = nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH, "LIB_RM_VERSION_MISMATCH",
        "library and kernel module differ: the driver was updated and not reloaded";
    /// In use.
    InUse = nvmlReturn_enum_NVML_ERROR_IN_USE, "IN_USE",
        "a process or monitoring (DCGM, nvidia-persistenced) holds it: see `nvidia-smi` and `fuser -v /dev/nvidia*`";
    /// Out of memory.
    Memory = nvmlReturn_enum_NVML_ERROR_MEMORY, "MEMORY",
        "the system is out of memory";
    /// Nothing to tell.
    NoData = nvmlReturn_enum_NVML_ERROR_NO_DATA, "NO_DATA",
        "the driver has nothing to tell about it yet";
    /// vGPU.
    VgpuEccNotSupported = nvmlReturn_enum_NVML_ERROR_VGPU_ECC_NOT_SUPPORTED, "VGPU_ECC_NOT_SUPPORTED",
        "vGPU with ECC is not supported here: turn ECC off";
    /// No room, or the place is taken.
    InsufficientResources = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_RESOURCES, "INSUFFICIENT_RESOURCES",
        "no room for it: its place or its engines are taken, see `nvidia-smi mig -lgi`";
    /// Clock.
    FreqNotSupported = nvmlReturn_enum_NVML_ERROR_FREQ_NOT_SUPPORTED, "FREQ_NOT_SUPPORTED",
        "the clock does not support this";
    /// Another version of a struct.
    ArgumentVersionMismatch =
        nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "ARGUMENT_VERSION_MISMATCH",
        "the driver is older than this call's form: R525 or newer is needed";
    /// Gone from NVML.
    Deprecated = nvmlReturn_enum_NVML_ERROR_DEPRECATED, "DEPRECATED",
        "this driver has dropped the function: update the agent";
    /// Not yet.
    NotReady = nvmlReturn_enum_NVML_ERROR_NOT_READY, "NOT_READY",
        "the GPU is starting: it is tried again";
    /// No GPU.
    GpuNotFound = nvmlReturn_enum_NVML_ERROR_GPU_NOT_FOUND, "GPU_NOT_FOUND",
        "the machine has no such GPU (`lspci -d 10de:`)";
    /// State.
    InvalidState = nvmlReturn_enum_NVML_ERROR_INVALID_STATE, "INVALID_STATE",
        "the GPU is not in a state for it: it may be resetting or draining";
    /// Reset type.
    ResetTypeNotSupported =
        nvmlReturn_enum_NVML_ERROR_RESET_TYPE_NOT_SUPPORTED, "RESET_TYPE_NOT_SUPPORTED",
        "this GPU cannot be reset like that: reboot the machine";
    /// Something else.
    Unknown = nvmlReturn_enum_NVML_ERROR_UNKNOWN, "UNKNOWN",
        "an internal driver error: see dmesg for NVRM lines";
}

impl Code {
    /// Whether the handle that was used says nothing any more: NVML has to be opened again.
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Uninitialized | Self::DriverNotLoaded | Self::LibRmVersionMismatch)
    }
}
