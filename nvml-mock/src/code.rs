//! `nvmlReturn_t`.

use std::ffi::CStr;
use std::fmt;

use nvml_wrapper_sys::bindings as sys;
use serde::{Deserialize, Serialize};

/// What a C function of NVML answers when it does not do what it was asked; any number is allowed, so that a
/// test can plant a code that no driver knows.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u32);

/// What a rule of the mock answers.
pub type Answer<T> = Result<T, Code>;

/// Makes the constants of [`Code`] and both its texts from one table: constant, NVML's number, text.
macro_rules! codes {
    ($($name:ident = $number:ident, $text:literal;)*) => {
        #[expect(missing_docs, reason = "nvml.h has the documentation of each")]
        impl Code {
            $(pub const $name: Self = Self(sys::$number);)*

            /// Every code that nvml.h names.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// NVML's name without the prefix `NVML_ERROR_`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(sys::$number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What `nvmlErrorString` says.
            pub(crate) const fn text(self) -> &'static CStr {
                match self.0 {
                    sys::nvmlReturn_enum_NVML_SUCCESS => c"Success",
                    $(sys::$number => $text,)*
                    _ => c"Unknown Error",
                }
            }
        }
    };
}

codes! {
    UNINITIALIZED = nvmlReturn_enum_NVML_ERROR_UNINITIALIZED, c"Uninitialized";
    INVALID_ARGUMENT = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT, c"Invalid Argument";
    NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED, c"Not Supported";
    NO_PERMISSION = nvmlReturn_enum_NVML_ERROR_NO_PERMISSION, c"Insufficient Permissions";
    ALREADY_INITIALIZED = nvmlReturn_enum_NVML_ERROR_ALREADY_INITIALIZED, c"Already Initialized";
    NOT_FOUND = nvmlReturn_enum_NVML_ERROR_NOT_FOUND, c"Not Found";
    INSUFFICIENT_SIZE = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE, c"Insufficient Size";
    INSUFFICIENT_POWER = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_POWER, c"Insufficient External Power";
    DRIVER_NOT_LOADED = nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED, c"Driver Not Loaded";
    TIMEOUT = nvmlReturn_enum_NVML_ERROR_TIMEOUT, c"Timeout";
    IRQ_ISSUE = nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE, c"Interrupt Request Issue";
    LIBRARY_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_LIBRARY_NOT_FOUND, c"NVML Shared Library Not Found";
    FUNCTION_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND, c"Function Not Found";
    CORRUPTED_INFOROM = nvmlReturn_enum_NVML_ERROR_CORRUPTED_INFOROM, c"Corrupted infoROM";
    GPU_IS_LOST = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST, c"GPU is lost";
    RESET_REQUIRED = nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED, c"GPU requires restart";
    OPERATING_SYSTEM = nvmlReturn_enum_NVML_ERROR_OPERATING_SYSTEM, c"GPU access blocked by the operating system";
    LIB_RM_VERSION_MISMATCH =
        nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH, c"Driver/library version mismatch";
    IN_USE = nvmlReturn_enum_NVML_ERROR_IN_USE, c"In use by another client";
    MEMORY = nvmlReturn_enum_NVML_ERROR_MEMORY, c"Insufficient Memory";
    NO_DATA = nvmlReturn_enum_NVML_ERROR_NO_DATA, c"No data";
    VGPU_ECC_NOT_SUPPORTED =
        nvmlReturn_enum_NVML_ERROR_VGPU_ECC_NOT_SUPPORTED, c"vGPU not supported on GPU with ECC Enabled";
    INSUFFICIENT_RESOURCES = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_RESOURCES, c"Insufficient Resources";
    FREQ_NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_FREQ_NOT_SUPPORTED, c"Frequency not supported";
    ARGUMENT_VERSION_MISMATCH =
        nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH, c"Argument version mismatch";
    DEPRECATED = nvmlReturn_enum_NVML_ERROR_DEPRECATED, c"Deprecated";
    NOT_READY = nvmlReturn_enum_NVML_ERROR_NOT_READY, c"Not ready";
    GPU_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_GPU_NOT_FOUND, c"No GPUs were found";
    INVALID_STATE = nvmlReturn_enum_NVML_ERROR_INVALID_STATE, c"Invalid state";
    RESET_TYPE_NOT_SUPPORTED =
        nvmlReturn_enum_NVML_ERROR_RESET_TYPE_NOT_SUPPORTED, c"Reset type not supported";
    UNKNOWN = nvmlReturn_enum_NVML_ERROR_UNKNOWN, c"Unknown Error";
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Code({})", self.0),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Code {}
