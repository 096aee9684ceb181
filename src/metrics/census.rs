//! The cluster counted, as gauges: made when a scrape comes, once per generation of the model.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::census::{Bounds, Census, Group, Mode, Place, Slices};
use crate::model::Problem;

/// The last census.
#[derive(Debug, Clone)]
pub struct Counted {
    bounds: Arc<Bounds>,
    last: Arc<ArcSwapOption<(u64, Census)>>,
}

impl Counted {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds: Arc::new(bounds), last: Arc::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// How many entries a census may have.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether the last census is of this generation of the model.
    pub fn is_of(&self, generation: u64) -> bool {
        self.last.load().as_ref().is_some_and(|last| last.0 == generation)
    }

    /// Nothing is known any more.
    pub fn clear(&self) {
        self.last.store(None);
    }

    /// The cluster of a generation, counted. An older one than the last is late, and left out.
    pub fn set(&self, generation: u64, census: Census) {
        if self.last.load().as_ref().is_none_or(|last| last.0 <= generation) {
            self.last.store(Some(Arc::new((generation, census))));
        }
    }
}

/// A state with the number of those that are in it.
type State<T> = (&'static str, fn(&T) -> u32);

/// The states of GPUs that Tangram partitions.
const GPUS: [State<Group>; 2] =
    [("open", |group| group.dynamic_gpus - group.closed_gpus), ("closed", |group| group.closed_gpus)];

/// The states of memory slices.
const SLICES: [State<Slices>; 4] = [
    ("used", |slices| slices.used),
    ("usable", |slices| slices.usable),
    ("stranded", |slices| slices.stranded),
    ("closed", |slices| slices.closed),
];

/// One figure of each group.
struct Figure {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    of: fn(&Group) -> f64,
}

const FIGURES: [Figure; 3] = [
    Figure {
        name: "lost_memory_slices",
        help: "Free memory slices that a request drawn from the demand is expected not to be able to use",
        unit: None,
        of: |group| group.lost_slices,
    },
    Figure {
        name: "stranded_memory",
        help: "GPU memory of stranded slices, so that models compare",
        unit: Some(Unit::Bytes),
        of: stranded_bytes,
    },
    Figure {
        name: "lost_gpus",
        help: "Free whole GPUs that a multi-GPU job drawn from the demand is expected not to be able to use",
        unit: None,
        of: |group| group.lost_gpus,
    },
];

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn stranded_bytes(group: &Group) -> f64 {
    group.stranded_mib as f64 * 1_048_576.0
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let last = self.last.load();
        let empty = Census::default();
        let census = last.as_ref().map_or(&empty, |last| &last.1);
        let mut gauges = Gauges { encoder: &mut encoder, is_counted: last.is_some() };
        capacity(census, &mut gauges)?;
        pending(census, &mut gauges)?;
        let problems = Problem::NAMES
            .map(|kind| ([("kind", kind)], census.problems.get(kind).map_or(0.0, |count| f64::from(*count))));
        gauges.of(
            "node_problems",
            "Contradictions between what labels, pods, agents and the kubelet say",
            problems,
        )?;
        let gpus = census.gpus.iter().map(|gpu| {
            let index = gpu.index.to_string();
            ([("UUID", gpu.uuid.to_string()), ("node", gpu.node.to_string()), ("gpu", index)], gpu.held)
        });
        gauges.of("gpu_held_ratio", "Share of a GPU's memory slices that pods hold", gpus)?;
        gauges.one(
            "gpus_left_out",
            "GPUs without a series in tangram_gpu_held_ratio (metrics.gpus)",
            f64::from(census.gpus_left_out),
        )
    }
}

fn capacity(census: &Census, gauges: &mut Gauges<'_, '_>) -> fmt::Result {
    let groups = || census.groups.iter();
    let gpus = groups().flat_map(|(place, group)| {
        GPUS.map(|(state, figure)| (of(place, [("state", state)]), f64::from(figure(group))))
    });
    gauges.of("dynamic_gpus", "GPUs that Tangram partitions; closed ones take nothing more", gpus)?;
    let slices = groups().flat_map(|(place, group)| {
        let modes = group.slices.iter();
        modes.flat_map(move |(mode, slices)| {
            SLICES.map(|(state, figure)| {
                (of(place, [("mode", mode.name()), ("state", state)]), f64::from(figure(slices)))
            })
        })
    });
    gauges.of(
        "memory_slices",
        "Memory slices of GPUs in MIG mode, by who partitions them and what they are good for",
        slices,
    )?;
    for figure in FIGURES {
        let series = groups().map(|(place, group)| (of(place, []), (figure.of)(group)));
        gauges.with_unit(figure.name, figure.help, figure.unit.as_ref(), series)?;
    }
    let room = groups().flat_map(|(place, group)| {
        group.room.iter().map(move |((profile, mode), room)| {
            (of(place, [("profile", profile), ("mode", mode.name())]), f64::from(*room))
        })
    });
    gauges.of(
        "free_instances",
        "MIG devices that could start now if all room went to this profile; they are not to be added up",
        room,
    )?;
    let devices = groups().flat_map(|(place, group)| {
        group.devices.iter().flat_map(move |(resource, devices)| {
            [("used", devices.used), ("free", devices.free)].map(|(state, count)| {
                (of(place, [("resource", resource), ("state", state)]), f64::from(count))
            })
        })
    });
    gauges.of("devices", "Counted devices, by resource name", devices)
}

fn pending(census: &Census, gauges: &mut Gauges<'_, '_>) -> fmt::Result {
    let namespaces = || census.pending.0.iter().map(|(namespace, asked)| (&**namespace, asked));
    let pods = namespaces().map(|(namespace, asked)| ([("namespace", namespace)], f64::from(asked.pods)));
    gauges.of("pending_pods", "Pods that ask for devices and have no node", pods)?;
    let instances = namespaces().flat_map(|(namespace, asked)| {
        asked.instances.iter().map(move |((profile, mode), count)| {
            let labels = [("namespace", namespace), ("profile", &**profile), ("mode", Mode::name(*mode))];
            (labels, f64::from(*count))
        })
    });
    gauges.of("pending_instances", "MIG devices that pods without a node ask for", instances)?;
    let devices = namespaces().flat_map(|(namespace, asked)| {
        let devices = asked.devices.iter();
        devices.map(move |(resource, count)| {
            ([("namespace", namespace), ("resource", &**resource)], f64::from(*count))
        })
    });
    gauges.of("pending_devices", "Counted devices that pods without a node ask for", devices)?;
    let states = [("bound", census.pods_bound), ("pending", census.pending.pods())];
    let states = states.map(|(state, pods)| ([("state", state)], f64::from(pods)));
    gauges.of(
        "device_pods",
        "Pods that ask for devices, with a node (bound) or without (pending)",
        states,
    )?;
    let help = "Of the pods that ask for devices, the share that has a node; 1 where nobody asks";
    gauges.one("acceptance_ratio", help, census.acceptance())
}

/// Labels of a group, and more.
fn of<'a, const N: usize>(
    place: &'a Place,
    more: [(&'static str, &'a str); N],
) -> Vec<(&'static str, &'a str)> {
    [("model", &*place.model), ("node_pool", &*place.node_pool)].into_iter().chain(more).collect()
}

/// Writes gauges; without a census their descriptions alone.
struct Gauges<'e, 'w> {
    encoder: &'e mut DescriptorEncoder<'w>,
    is_counted: bool,
}

impl Gauges<'_, '_> {
    fn with_unit<S: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (S, f64)>,
    ) -> fmt::Result {
        let help = format!("{help}.");
        let mut metric = self.encoder.encode_descriptor(name, &help, unit, MetricType::Gauge)?;
        for (labels, value) in series.into_iter().filter(|_| self.is_counted) {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of<S: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (S, f64)>,
    ) -> fmt::Result {
        self.with_unit(name, help, None, series)
    }

    fn one(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let metric = self.encoder.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)?;
        if self.is_counted { ConstGauge::new(value).encode(metric) } else { Ok(()) }
    }
}
