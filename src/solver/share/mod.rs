//! Placing shares of a GPU and whole GPUs, where CPU, memory and GPU models bind too.
//!
//! ```text
//! demand    the mix of asks: given, or learnt from what was asked
//! duals     what a share of each size is worth, by the fluid configuration LP
//! prices    all that is computed once from a demand and a capacity
//! scarcity  whole groups of GPUs that the demand is about to run short of
//! state     what of a node the prices look at
//! cost      one node, one ask: what placing it there costs, and on which GPUs
//! board     a cluster's nodes with the costs of each kind of ask kept until a node changes
//! ```
//!
//! Cost is regret: the potential of the node after the placement less that before, in billionths of a GPU.
//! The potential of a node, with L the free thousandths of its GPUs, G their sum, C and M its free CPU and
//! memory, is the sum of
//!
//! * − Σ φ(L): the most the demand would pay for what is left of each GPU (`duals`);
//! * 0.1 · F: free GPU that an ask drawn from the demand cannot use (FGD's measure, ATC 2023);
//! * [G − min(C/c, M/m)]⁺ with c and m the CPU and memory that goes with a GPU in the asks for GPUs: free GPU
//!   that would be left without CPU or memory for it;
//! * 0.2 · the same with c and m over all asks, those without GPU too: if they came here for their part;
//! * − Σ u · size · slots: room for asks of several GPUs, where it runs short (`scarcity`).
//!
//! To it comes 0.7 · σ · GPUs, with σ the demand for the node's GPU model by those that need it, as a part of its
//! capacity: who accepts any model goes where it is in nobody's way.
//!
//! # The weights
//!
//! 1 for φ and the first balance is their unit; u is a probability. The other three were chosen on the nine traces
//! of `data/traces/openb` at seeds other than the protocol's, each inside a range over which the mean over the
//! traces stays within 0.1 point, in brackets: 0.1 (0.05 to 0.2), 0.2 (0.1 to 0.3) and 0.7 (0.3 to 2).
//! None of them is right at 0.
//!
//! Everything is whole numbers but the linear program, whose answer is rounded; equal inputs give equal answers.

mod board;
mod cost;
mod demand;
mod duals;
mod prices;
mod scarcity;
mod state;

pub use board::{Board, Spot};
pub use cost::{Gpus, cost, cost_of_whole};
pub use demand::{Demand, Learner, prior};
pub use prices::{Capacity, Class, Prices};
pub use scarcity::Scarcity;
pub use state::{Free, State};

use smallvec::SmallVec;

/// Thousandths of a GPU in a whole one.
pub const WHOLE: u16 = 1000;

/// GPUs of one node that a placement can name.
pub const GPUS_MAX: usize = 64;

/// GPU models as a bit set; a model is a number below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Models(u64);

impl Models {
    /// Every model.
    pub const ANY: Self = Self(u64::MAX);

    /// The models of a list; numbers above 63 stand for none.
    pub fn of(models: impl IntoIterator<Item = u8>) -> Self {
        Self(models.into_iter().filter(|&model| model < 64).fold(0, |set, model| set | 1 << model))
    }

    /// Whether a model is among them.
    pub fn contains(self, model: u8) -> bool {
        model < 64 && self.0 >> model & 1 == 1
    }
}

/// What one pod asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// GPUs; 0 for a pod that wants CPU and memory only.
    pub gpus: u32,
    /// Thousandths of each of these GPUs, 1 to [`WHOLE`].
    pub milli: u16,
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPU models that will do.
    pub models: Models,
}

impl Ask {
    /// Thousandths of a GPU over all GPUs.
    pub fn total_milli(&self) -> u64 {
        u64::from(self.gpus) * u64::from(self.milli)
    }

    /// Whether the ask is for GPUs at all.
    pub fn wants_gpus(&self) -> bool {
        self.total_milli() > 0
    }
}

/// What is free on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Number of its class in the [`Capacity`].
    pub class: u16,
    /// Free thousandths of each GPU, at most [`GPUS_MAX`] GPUs.
    pub free: SmallVec<[u16; 8]>,
    /// Free thousandths of a CPU.
    pub cpu_milli: u64,
    /// Free memory in MiB.
    pub memory_mib: u64,
}

impl Node {
    /// Free thousandths over all GPUs.
    pub fn free_milli(&self) -> u64 {
        self.state().free_milli()
    }

    /// What the prices look at.
    pub fn state(&self) -> State<'_> {
        let Self { class, ref free, cpu_milli, memory_mib } = *self;
        State { class, free: Free::Parts(free), cpu_milli, memory_mib }
    }

    /// Whether an ask finds room, on a node of that GPU model.
    pub fn fits(&self, ask: &Ask, model: u8) -> bool {
        let gpus = || self.free.iter().filter(|&&free| free >= ask.milli).count();
        self.cpu_milli >= ask.cpu_milli
            && self.memory_mib >= ask.memory_mib
            && ask.models.contains(model)
            && (!ask.wants_gpus() || gpus() >= usize::try_from(ask.gpus).expect("32 bits fit an address"))
    }

    /// Takes an ask's share of CPU, memory and the named GPUs, which were found free.
    pub fn take(&mut self, ask: &Ask, gpus: Gpus) {
        self.cpu_milli -= ask.cpu_milli;
        self.memory_mib -= ask.memory_mib;
        for gpu in gpus.iter() {
            self.free[gpu] -= ask.milli;
        }
    }

    /// Gives back what [`take`](Self::take) took.
    pub fn give(&mut self, ask: &Ask, gpus: Gpus) {
        self.cpu_milli += ask.cpu_milli;
        self.memory_mib += ask.memory_mib;
        for gpu in gpus.iter() {
            self.free[gpu] += ask.milli;
        }
    }
}
