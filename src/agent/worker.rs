//! The one thread that speaks with NVML: its calls take as long as the driver likes.

use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;

use tangram_nvml::facts::{Inventory, Mig};
use tangram_nvml::{Code, Error, Library};
use tokio::sync::mpsc;

use super::desk::Step;
use super::device::DeviceId;

/// What NVML said.
#[derive(Debug)]
pub(super) struct Answer {
    /// How each step ended that was asked for.
    pub(super) done: Vec<(Step, Result<(), Error>)>,
    /// What is there now.
    pub(super) inventory: Result<Inventory, Error>,
    /// How long the steps took inside NVML.
    pub(super) took: Duration,
}

/// Asks the thread.
#[derive(Debug)]
pub(super) struct Worker {
    orders: blocking::Sender<Vec<Step>>,
    is_busy: bool,
}

impl Worker {
    /// Starts the thread; answers arrive at the receiver, one for each order.
    pub(super) fn start(nvml: Option<PathBuf>) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Answer>)> {
        let (orders, taken) = blocking::channel::<Vec<Step>>();
        let (answer, answers) = mpsc::unbounded_channel();
        let work = move || {
            let mut library = None;
            let mut last = Inventory::default();
            while let Ok(steps) = taken.recv() {
                let answered = serve(nvml.as_deref(), &mut library, &mut last, steps);
                if answer.send(answered).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("nvml".into()).spawn(work)?;
        Ok((Self { orders, is_busy: false }, answers))
    }

    /// Whether an order is not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Takes steps, none for a look alone.
    pub(super) fn order(&mut self, steps: Vec<Step>) {
        self.is_busy = self.orders.send(steps).is_ok();
    }

    /// An answer arrived.
    pub(super) fn answered(&mut self) {
        self.is_busy = false;
    }
}

#[expect(clippy::disallowed_methods, reason = "how long NVML took is measured where it is called")]
fn serve(
    path: Option<&std::path::Path>,
    library: &mut Option<Library>,
    last: &mut Inventory,
    steps: Vec<Step>,
) -> Answer {
    let opened = match library.take() {
        Some(library) => Ok(library),
        None => Library::open(path),
    };
    let mut open = match opened {
        Ok(open) => open,
        Err(error) => {
            let done = steps.into_iter().map(|step| (step, Err(error.clone()))).collect();
            return Answer { done, inventory: Err(error), took: Duration::ZERO };
        }
    };
    let began = std::time::Instant::now();
    let mut done = Vec::new();
    for step in steps {
        let result = take(&open, last, &step);
        done.push((step, result));
    }
    let took = began.elapsed();
    let inventory = open.read();
    match &inventory {
        Ok(inventory) => last.clone_from(inventory),
        Err(error) if error.code.is_stale() => return Answer { done, inventory, took }, // opened again next time
        Err(_) => {}
    }
    *library = Some(open);
    Answer { done, inventory, took }
}

fn take(library: &Library, last: &Inventory, step: &Step) -> Result<(), Error> {
    match step {
        Step::Destroy(id, instance) => library.destroy(&id.gpu, instance),
        Step::EnableMig(gpu) => library.enable_mig(gpu),
        Step::Create(id) => {
            let profile = mig(last, id)
                .and_then(|mig| mig.profiles.iter().find(|profile| profile.name == id.profile.as_str()));
            let profile = profile.ok_or_else(|| Error {
                call: "nvmlDeviceGetGpuInstanceProfileInfoV",
                subject: id.to_string(),
                code: Code::InvalidArgument,
                detail: String::new(),
            })?;
            library.create(&id.gpu, profile, id.start.into())
        }
    }
}

fn mig<'a>(inventory: &'a Inventory, id: &DeviceId) -> Option<&'a Mig> {
    inventory.gpus.iter().find(|gpu| *gpu.uuid == *id.gpu)?.mig.as_ref()
}
