//! One run of the protocol.

use super::policies::Policy;
use super::trace::Cluster;
use crate::sim::Random;
use crate::solver::share::{Ask, Board, Demand, Learner, Prices, Spot, prior};
use crate::solver::{Cost, levels};

/// Which of equal nodes is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// The first by name.
    Name,
    /// Any, as kube-scheduler does.
    Random,
}

/// Where the prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// The trace's own histogram.
    Histogram,
    /// Learnt from the asks as they come, starting from a prior that knows the cluster only.
    Learnt,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// How nodes are chosen.
    pub policy: Policy,
    /// Among equals.
    pub ties: Ties,
    /// Whether costs pass through the eleven levels of the extender protocol first.
    pub through_extender: bool,
    /// What prices are made of.
    pub knowledge: Knowledge,
    /// Seed of the order of pods and of random choices.
    pub seed: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Allocated % of all GPUs when 100 % of them has been asked for.
    pub at_100: f64,
    /// The same for 130 %.
    pub at_130: f64,
    /// Pods that were asked for.
    pub asked: u64,
    /// Pods that found no room.
    pub refused: u64,
}

/// Asks that the prior counts as much as.
const PRIOR_STRENGTH: u64 = 16;
/// Asks after which what was learnt counts half.
const HALF_LIFE: u64 = 4096;
/// Prices are made anew after this many asks, twice as many and so on, at least every [`REPRICE_MAX`].
const REPRICE_MIN: u64 = 16;
const REPRICE_MAX: u64 = 2048;

/// The pods of a trace, more of them drawn at random until they ask for 130 % of `milli`, in random order.
pub fn stream(pods: &[Ask], milli: u64, seed: u64) -> Vec<Ask> {
    let mut random = Random::new(seed);
    let mut drawn = pods.to_vec();
    shuffle(&mut drawn, &mut random);
    let wanted = (milli * 13).div_ceil(10);
    let mut asks = Vec::new();
    let mut asked = 0;
    let is_drawable = pods.iter().any(Ask::wants_gpus);
    let mut drawn = drawn.into_iter();
    while asked < wanted {
        let ask = match drawn.next() {
            Some(ask) => ask,
            None if is_drawable => pods[random.below(pods.len())],
            None => break,
        };
        asked += ask.total_milli();
        asks.push(ask);
    }
    shuffle(&mut asks, &mut random);
    asks
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// Runs the protocol with the pods of a trace.
pub fn run(cluster: &Cluster, pods: &[Ask], setting: &Setting) -> Figures {
    let milli = cluster.milli();
    let mut random = Random::new(!setting.seed);
    let mut learner = Learner::new(&prior(&cluster.capacity, 1), PRIOR_STRENGTH, HALF_LIFE);
    let demand = match setting.knowledge {
        Knowledge::Histogram => Demand::of(pods),
        Knowledge::Learnt => learner.demand().clone(),
    };
    let mut next_reprice = REPRICE_MIN;
    let mut board = Board::new(cluster.nodes.clone(), Prices::new(&demand, &cluster.capacity));
    let (mut asked, mut allocated, mut at_100) = (0, 0, None);
    let mut figures = Figures::default();
    for ask in stream(pods, milli, setting.seed) {
        asked += ask.total_milli();
        if asked > milli {
            at_100.get_or_insert(allocated);
        }
        if setting.knowledge == Knowledge::Learnt {
            learner.see(ask);
            if learner.seen() == next_reprice {
                next_reprice += next_reprice.min(REPRICE_MAX);
                board.reprice(Prices::new(learner.demand(), &cluster.capacity));
            }
        }
        figures.asked += 1;
        match choose(&mut board, cluster, &ask, setting, &mut random) {
            Some(spot) => {
                board.take(spot, &ask);
                allocated += ask.total_milli();
            }
            None => figures.refused += 1,
        }
    }
    figures.at_100 = percent(at_100.unwrap_or(allocated), milli);
    figures.at_130 = percent(allocated, milli);
    figures
}

fn choose(
    board: &mut Board,
    cluster: &Cluster,
    ask: &Ask,
    setting: &Setting,
    random: &mut Random,
) -> Option<Spot> {
    if setting.policy == Policy::Regret && setting.ties == Ties::Name && !setting.through_extender {
        return board.best(ask);
    }
    let mut spots = setting.policy.spots(board, cluster.capacity.classes(), ask);
    if setting.policy == Policy::Random {
        return (!spots.is_empty()).then(|| spots[random.below(spots.len())]);
    }
    if setting.through_extender {
        let costs: Vec<Cost> = spots.iter().map(|spot| spot.cost).collect();
        for (spot, level) in spots.iter_mut().zip(levels(&costs, |a, b| a < b)) {
            spot.cost = -Cost::from(level);
        }
    }
    let least = spots.iter().map(|spot| spot.cost).min()?;
    spots.retain(|spot| spot.cost == least);
    match setting.ties {
        Ties::Name => spots.first().copied(),
        Ties::Random => Some(spots[random.below(spots.len())]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of the GPUs of a cluster, far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
