//! One pod's request made ready for scanning a cluster.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::pack::Unpacked;
use super::score::{Column, Scores};
use crate::mig::{Catalog, Occupancy};
use crate::model::{Cluster, Policy, Request, ResourceId, Want};

/// A request with its names looked up once, so that a scan compares numbers only.
#[derive(Debug)]
pub struct Query<'a> {
    pub(super) scores: &'a Scores,
    pub(super) policy: Policy,
    pub(super) counted: SmallVec<[Counted; 2]>,
    pub(super) slices: SmallVec<[Slices<'a>; 1]>,
    pub(super) unpacked: RefCell<BTreeMap<Vec<Occupancy>, Unpacked>>, // what exact searches found without room
}

/// So many units of one counted resource.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) name: Arc<str>,
    pub(super) id: Option<ResourceId>, // None: no node ever offered it
    pub(super) count: u32,
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
        Self::new(&Cluster::default(), scores, request, policy)
    }

    /// Looks up what `request` names. `default` is the policy where the pod has none of its own.
    pub fn new(cluster: &Cluster, scores: &'a Scores, request: &Request, default: Policy) -> Self {
        let counted = request.counted.iter().map(|(name, count)| Counted {
            name: name.clone(),
            id: cluster.resource(name),
            count: *count,
        });
        let policy = request.policy.unwrap_or(default);
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
