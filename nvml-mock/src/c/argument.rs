//! Arguments of C functions, as safe functions can use them.
#![expect(unsafe_code, reason = "NVML's callers pass pointers; here is where they are followed")]

use std::ffi::{CStr, c_char};

use crate::code::{Answer, Code};

/// An argument made of what C passes.
pub(super) trait Argument<C> {
    /// Takes it from the caller.
    ///
    /// # Safety
    /// A pointer must be null or what nvml.h wants of the function's caller: valid for reading and writing for as
    /// long as the call lasts, and for as many elements as the function is told.
    unsafe fn of(c: C) -> Self;
}

macro_rules! plain {
    ($($number:ty),*) => {
        $(impl Argument<$number> for $number {
            unsafe fn of(c: $number) -> Self {
                c
            }
        })*
    };
}

plain!(i32, u32, u64);

/// Where the function is to write, and in some cases to read first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out<T>(*mut T);

impl<T> Argument<*mut T> for Out<T> {
    unsafe fn of(c: *mut T) -> Self {
        Self(c)
    }
}

/// What the function is to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct In<T>(*const T);

impl<T> Argument<*const T> for In<T> {
    unsafe fn of(c: *const T) -> Self {
        Self(c)
    }
}

impl<T: Copy> Out<T> {
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// What the caller left there.
    pub(super) fn get(self) -> Answer<T> {
        if self.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller lets it be read; NVML's types are plain data.
        Ok(unsafe { self.0.read() })
    }

    /// Writes one value.
    pub(super) fn set(self, value: T) -> Answer<()> {
        self.fill(&[value])
    }

    /// Writes several; the caller has room for them, as the function's other arguments or nvml.h say.
    pub(super) fn fill(self, values: &[T]) -> Answer<()> {
        if self.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller lets it be written, and has nothing of ours there.
        unsafe { self.0.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Ok(())
    }

    /// Changes each of several values.
    pub(super) fn each(self, count: u32, mut change: impl FnMut(&mut T)) -> Answer<()> {
        if self.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        for number in 0..count as usize {
            // SAFETY: the caller has so many there.
            change(unsafe { &mut *self.0.add(number) });
        }
        Ok(())
    }

    /// The same place as another version of the struct, which its first word tells.
    pub(super) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }
}

impl Out<c_char> {
    /// Writes a text and a zero, if there is room for both.
    pub(super) fn text(self, length: u32, text: &str) -> Answer<()> {
        if self.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        if text.len() >= length as usize {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        let characters: Vec<c_char> = text.bytes().chain([0]).map(|it| c_char::from_ne_bytes([it])).collect();
        self.fill(&characters)
    }
}

impl<T: Copy> In<T> {
    /// What the caller put there.
    pub(super) fn get(self) -> Answer<T> {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller lets it be read; NVML's types are plain data.
        Ok(unsafe { self.0.read() })
    }
}

impl In<c_char> {
    /// A text that ends with a zero.
    pub(super) fn text(self) -> Answer<String> {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: not null, so the caller has a string there.
        let text = unsafe { CStr::from_ptr(self.0) };
        Ok(text.to_str().map_err(|_| Code::INVALID_ARGUMENT)?.to_owned())
    }
}

/// A text in an array of C, cut to fit with a zero at its end.
pub(super) fn characters<const N: usize>(text: &str) -> [c_char; N] {
    let mut characters = [0; N];
    for (to, from) in characters.iter_mut().zip(text.bytes()).take(N - 1) {
        *to = c_char::from_ne_bytes([from]);
    }
    characters
}

/// `version` of version `number` of a struct: `NVML_STRUCT_VERSION`.
pub(super) const fn version<T>(number: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "structs of nvml.h are small")]
    let size = size_of::<T>() as u32;
    size | number << 24
}

/// Writes a list into a buffer whose length the caller tells and is told: where it is too short, or null, only
/// the length is told, as `nvmlDeviceGetComputeRunningProcesses` does it.
pub(super) fn list<T: Copy>(count: Out<u32>, buffer: Out<T>, values: &[T]) -> Answer<()> {
    let room = count.get()?;
    let needed = u32::try_from(values.len()).expect("lists of a GPU are short");
    count.set(needed)?;
    if needed > room || needed > 0 && buffer.is_null() {
        return Err(Code::INSUFFICIENT_SIZE);
    }
    if needed > 0 { buffer.fill(values) } else { Ok(()) }
}

/// Writes a list into a buffer of which nvml.h says that it is large enough, or null to be told the length.
pub(super) fn listed<T: Copy>(count: Out<u32>, buffer: Out<T>, values: &[T]) -> Answer<()> {
    count.set(u32::try_from(values.len()).expect("lists of a GPU are short"))?;
    if buffer.is_null() || values.is_empty() { Ok(()) } else { buffer.fill(values) }
}
