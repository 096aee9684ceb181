//! MIG mode.

use super::MIG_CONFIG_CHANGE;
use crate::code::{Answer, Code};
use crate::history::What;
use crate::state::State;

impl State {
    /// `nvmlDeviceSetMigMode`: the activation status is the inner result.
    ///
    /// Ampere GPUs take the new mode by a reset. While that cannot be, the mode stays pending: something holds
    /// the GPU (`IN_USE`), or the machine cannot reset it (`RESET_REQUIRED`). Newer GPUs take it at once or
    /// not at all.
    pub(crate) fn set_mig_mode(&mut self, gpu: usize, enable: bool) -> Answer<Answer<()>> {
        let board = &mut self.gpus[gpu];
        let is_held = !board.processes.is_empty() || !board.holds.is_empty();
        let needs_reset = board.needs_reset_for_mig();
        let mig = board.mig.as_mut().ok_or(Code::NOT_SUPPORTED)?;
        let was = (mig.current, mig.pending);
        let status = if mig.current == enable {
            Ok(())
        } else if is_held || !mig.instances.is_empty() {
            Err(Code::IN_USE)
        } else if needs_reset && mig.is_passed_through {
            Err(Code::RESET_REQUIRED)
        } else {
            Ok(())
        };
        if status.is_ok() {
            mig.current = enable;
        }
        if status.is_ok() || needs_reset {
            mig.pending = enable;
        }
        let now = (mig.current, mig.pending);
        self.mode_changed(gpu, was, now);
        Ok(status)
    }

    pub(super) fn mode_changed(&mut self, gpu: usize, was: (bool, bool), now: (bool, bool)) {
        if was != now {
            self.happened(Some(gpu), What::MigMode { current: now.0, pending: now.1 });
        }
        if was.0 != now.0 {
            self.tell(gpu, MIG_CONFIG_CHANGE, 0, None);
        }
    }
}
