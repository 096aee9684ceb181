//! What wipes a GPU: resets, reboots, restarts of the driver.

use crate::health::Errors;
use crate::history::What;
use crate::state::State;

impl State {
    /// Resets a GPU: pending things come true, a lost one is back, nothing runs on it any more.
    pub(crate) fn reset(&mut self, gpu: usize) {
        self.wipe(gpu);
        self.gpus[gpu].is_lost = false;
        let pending = self.gpus[gpu].mig.as_ref().is_some_and(|mig| mig.pending);
        self.take_mode(gpu, pending);
        self.happened(Some(gpu), What::Reset);
    }

    /// Starts the machine again: MIG mode survives where it needs a reset to change, which is up to Ampere.
    pub(crate) fn reboot(&mut self) {
        self.happened(None, What::Reboot);
        self.unload();
        for gpu in &mut self.gpus {
            gpu.is_lost = false;
        }
        self.events.clear();
        self.driver.is_loaded = true;
    }

    /// Unloads the driver: everything that was opened is dead.
    pub(crate) fn stop_driver(&mut self) {
        self.happened(None, What::DriverStopped);
        self.unload();
        self.driver.is_loaded = false;
    }

    /// Loads the driver.
    pub(crate) fn start_driver(&mut self) {
        self.happened(None, What::DriverStarted);
        self.driver.is_loaded = true;
    }

    fn unload(&mut self) {
        self.driver.epoch += 1;
        for gpu in 0..self.gpus.len() {
            self.wipe(gpu);
            let pending = self.gpus[gpu].mig.as_ref().is_some_and(|mig| mig.pending);
            let keeps = self.gpus[gpu].needs_reset_for_mig();
            self.take_mode(gpu, pending && keeps);
        }
    }

    fn take_mode(&mut self, gpu: usize, is_enabled: bool) {
        let Some(mig) = &mut self.gpus[gpu].mig else { return };
        let was = (mig.current, mig.pending);
        (mig.current, mig.pending) = (is_enabled, is_enabled);
        self.mode_changed(gpu, was, (is_enabled, is_enabled));
    }

    /// Instances, processes, holds and what the driver counted vanish.
    fn wipe(&mut self, gpu: usize) {
        let board = &mut self.gpus[gpu];
        board.processes.clear();
        board.holds.clear();
        board.health.volatile = Errors::default();
        board.health.remapping_pending = false;
        let instances = board.mig.as_ref().map(|mig| mig.instances.clone()).unwrap_or_default();
        for instance in instances {
            for compute in &instance.compute {
                self.drop_compute_instance(gpu, compute.serial).expect("it was there a moment ago");
            }
            self.drop_gpu_instance(gpu, instance.serial).expect("it was there a moment ago");
        }
    }
}
