//! Errors, losses, restarts.

use nvml_wrapper_sys::bindings as sys;

use super::Scene;
use crate::code::Code;
use crate::state::Fault;

impl Scene {
    /// The next calls of a C function answer with a code and do nothing. With a GPU only those that ask about
    /// it; those that name no GPU yet fail only without.
    pub fn fail(&self, function: &str, code: Code, times: u32, gpu: Option<usize>) {
        let function = function.to_owned();
        self.change(|state| state.faults.push(Fault { function, code, times, gpu }));
    }

    /// A C function takes so long before it does anything; 0 ends that. Other calls go on meanwhile.
    pub fn slow(&self, function: &str, milliseconds: u64) {
        self.change(|state| match milliseconds {
            0 => state.delays_ms.remove(function),
            _ => state.delays_ms.insert(function.to_owned(), milliseconds),
        });
    }

    /// No call fails or waits any more.
    pub fn heal(&self) {
        self.change(|state| {
            state.faults.clear();
            state.delays_ms.clear();
        });
    }

    /// Whether callers may do what NVML lets only root do.
    pub fn privileged(&self, is_privileged: bool) {
        self.change(|state| state.is_privileged = is_privileged);
    }

    /// The GPU falls off the bus: every call about it answers [`Code::GPU_IS_LOST`]. It still counts.
    pub fn lose(&self, gpu: usize) {
        self.change(|state| state.gpus[gpu].is_lost = true);
    }

    /// The lost GPU is back as it was.
    pub fn find(&self, gpu: usize) {
        self.change(|state| state.gpus[gpu].is_lost = false);
    }

    /// The GPU is reset: a pending MIG mode and remapping come true, a lost one is back, nothing runs on it and
    /// it has no instances.
    pub fn reset(&self, gpu: usize) {
        self.change(|state| state.reset(gpu));
    }

    /// The machine starts again: no processes, no instances; MIG mode stays up to Ampere, is off on newer ones;
    /// what programs opened before is dead.
    pub fn reboot(&self) {
        self.change(crate::State::reboot);
    }

    /// The driver is unloaded: nothing can be opened until it is loaded again, what was opened before answers
    /// [`crate::Driver::stale`] for ever, instances and processes are gone.
    pub fn stop_driver(&self) {
        self.change(crate::State::stop_driver);
    }

    /// The driver is loaded.
    pub fn start_driver(&self) {
        self.change(crate::State::start_driver);
    }

    /// The driver is unloaded and loaded.
    pub fn driver_restart(&self) {
        self.stop_driver();
        self.start_driver();
    }

    /// The driver reports an XID on a GPU, or in one of its GPU instances.
    pub fn xid(&self, gpu: usize, xid: u64, gpu_instance: Option<u32>) {
        let instance = gpu_instance.map(|id| (id, None));
        self.change(|state| state.tell(gpu, u64::from(sys::nvmlEventTypeXidCriticalError), xid, instance));
    }

    /// Memory errors: counted, since the driver was loaded and ever, and told as an event.
    pub fn ecc(&self, gpu: usize, corrected: u64, uncorrected: u64) {
        self.change(|state| {
            let health = &mut state.gpus[gpu].health;
            for errors in [&mut health.volatile, &mut health.aggregate] {
                errors.corrected += corrected;
                errors.uncorrected += uncorrected;
            }
            if corrected > 0 {
                state.tell(gpu, u64::from(sys::nvmlEventTypeSingleBitEccError), 0, None);
            }
            if uncorrected > 0 {
                state.tell(gpu, u64::from(sys::nvmlEventTypeDoubleBitEccError), 0, None);
            }
        });
    }

    /// Rows of the memory are to be remapped at the next reset, or could not be.
    pub fn remap(&self, gpu: usize, is_pending: bool, has_failed: bool) {
        self.change(|state| {
            let health = &mut state.gpus[gpu].health;
            health.remapped_uncorrected += u32::from(is_pending);
            (health.remapping_pending, health.remapping_failed) = (is_pending, has_failed);
        });
    }

    /// Whether the retirement of a page waits for a restart of the driver; `None` where rows are remapped.
    pub fn retire(&self, gpu: usize, is_pending: Option<bool>) {
        self.change(|state| state.gpus[gpu].health.retirement_pending = is_pending);
    }
}
