//! One pod's request made ready for scanning a cluster.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::market::Stall;
use super::pack::Unpacked;
use super::score::{Column, Scores};
use crate::mig::{Catalog, Occupancy};
use crate::model::{Cluster, Pod, Policy, Request, ResourceId, Resources, Want, mib};

/// A request with its names looked up once, so that a scan compares numbers only.
#[derive(Debug)]
pub struct Query<'a> {
    pub(super) scores: &'a Scores,
    pub(super) policy: Policy,
    pub(super) counted: SmallVec<[Counted<'a>; 1]>,
    pub(super) slices: SmallVec<[Slices<'a>; 1]>,
    pub(super) unpacked: RefCell<BTreeMap<Vec<Occupancy>, Unpacked>>, // what exact searches found without room
}

/// So many units of one counted resource.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    pub(super) name: Arc<str>,
    pub(super) id: Option<ResourceId>, // None: no node ever offered it
    pub(super) count: u32,
    pub(super) stall: Option<Stall<'a>>, // None: no node ever offered it, or the policy asks no prices
}

/// So many GPU instances of one kind.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    pub(super) want: Want,
    pub(super) text: Arc<str>,                  // the want in words, for refusals
    pub(super) column: Option<Cow<'a, Column>>, // None: no model serves it
    pub(super) asks: SmallVec<[usize; 1]>,      // positions in Request::slices
}

impl<'a> Query<'a> {
    /// For a request of GPU instances only, which needs no cluster's names.
    pub fn alone(scores: &'a Scores, request: &Request, policy: Policy) -> Self {
        Self::of(&Cluster::default(), scores, request, Resources::default(), policy)
    }

    /// Looks up what `pod` asks for. `default` is the policy where it has none of its own.
    pub fn new(cluster: &Cluster, scores: &'a Scores, pod: &Pod, default: Policy) -> Self {
        Self::of(cluster, scores, &pod.request, pod.demand.resources, default)
    }

    /// The same for a request with the CPU and memory that are asked for beside it.
    pub fn of(
        cluster: &Cluster,
        scores: &'a Scores,
        request: &Request,
        resources: Resources,
        default: Policy,
    ) -> Self {
        let policy = request.policy.unwrap_or(default);
        let is_priced = matches!(policy, Policy::Pack | Policy::Spread);
        let beside = (u64::try_from(resources.cpu_milli).unwrap_or(0), mib(resources.memory_bytes));
        let counted = request.counted.iter().map(|(name, count)| Counted {
            name: name.clone(),
            id: cluster.resource(name),
            count: *count,
            stall: if is_priced { Stall::new(scores.markets(), cluster, name, *count, beside) } else { None },
        });
        let mut slices: SmallVec<[Slices<'a>; 1]> = SmallVec::new();
        for (position, ask) in request.slices.iter().enumerate() {
            match slices.iter_mut().find(|slices| slices.want == ask.want) {
                Some(same) => same.asks.push(position),
                None => slices.push(Slices {
                    want: ask.want.clone(),
                    text: ask.want.to_string().into(),
                    column: scores.column(&ask.want, policy),
                    asks: SmallVec::from_elem(position, 1),
                }),
            }
        }
        slices.sort_by_key(|slices| std::cmp::Reverse(memory_mib(&slices.want)));
        Self { scores, policy, counted: counted.collect(), slices, unpacked: RefCell::default() }
    }
}

/// Memory of the smallest instance that serves a want, over all models: large ones are placed first.
fn memory_mib(want: &Want) -> u32 {
    let catalog = Catalog::get();
    let served = catalog.models().filter_map(|model| {
        let profile = want.cheapest(catalog, model)?;
        Some(catalog.geometry(model).profiles()[usize::from(profile)].memory_mib)
    });
    served.min().unwrap_or(0)
}
