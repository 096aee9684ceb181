//! A row of alike GPUs with what is on them, filled by the production solver.

use smallvec::SmallVec;

use crate::mig::{Catalog, Geometry, ModelId, Occupancy, PlacementId, ProfileId};
use crate::model::{Policy, Request, SliceAsk, Want};
use crate::solver::{Loaded, Query, Room, Scores, make_room, random_cost, spot};

/// Where an instance is: position of the GPU, and place.
pub type Spot = (usize, PlacementId);

/// GPUs of one model. Ties end at the first GPU, as they end at the first node by name in a cluster.
#[derive(Debug)]
pub struct Fleet<'a> {
    scores: &'a Scores,
    policy: Policy,
    queries: Vec<Query<'a>>, // by profile
    wants: Vec<Want>,        // by profile
    occupancies: Vec<Occupancy>,
    instances: Vec<SmallVec<[PlacementId; 8]>>,
    model: ModelId,
}

impl<'a> Fleet<'a> {
    /// Empty GPUs.
    pub fn new(scores: &'a Scores, policy: Policy, model: ModelId, gpus: usize) -> Self {
        let catalog = Catalog::get();
        let profiles = catalog.geometry(model).profiles();
        let wants: Vec<Want> = profiles.iter().map(|profile| Want::Profile(profile.name.clone())).collect();
        let query = |want: &Want| {
            let slices = vec![SliceAsk { container: "".into(), want: want.clone() }];
            Query::alone(scores, &Request { slices, ..Request::default() }, policy)
        };
        Self {
            scores,
            policy,
            queries: wants.iter().map(query).collect(),
            wants,
            occupancies: vec![catalog.empty(model); gpus],
            instances: vec![SmallVec::new(); gpus],
            model,
        }
    }

    /// The geometry of its GPUs.
    pub fn geometry(&self) -> &'static Geometry {
        Catalog::get().geometry(self.model)
    }

    /// Places an instance where the policy wants it, if it fits.
    pub fn place(&mut self, profile: ProfileId) -> Option<Spot> {
        let query = &self.queries[usize::from(profile)];
        let spot = match self.policy {
            // Each GPU as a node of its own.
            Policy::Random(seed) => {
                let gpus = 0..self.occupancies.len();
                let fits = gpus.filter_map(|gpu| {
                    let (_, place) = spot(&self.occupancies[gpu..=gpu], query)?;
                    Some((random_cost(seed, gpu, self.occupancies[gpu]), gpu, place))
                });
                fits.min().map(|(_, gpu, place)| (gpu, place))?
            }
            _ => spot(&self.occupancies, query)?,
        };
        self.put(spot);
        Some(spot)
    }

    /// The moves that would make room for an instance that fits nowhere.
    pub fn room(&self, profile: ProfileId, moves_max: usize) -> Option<Room> {
        let loaded = |(occupancy, instances): (&Occupancy, &SmallVec<[PlacementId; 8]>)| Loaded {
            occupancy: *occupancy,
            instances: instances.iter().map(|&place| (place, true)).collect(),
        };
        let gpus: Vec<Loaded> = self.occupancies.iter().zip(&self.instances).map(loaded).collect();
        make_room(&gpus, &self.wants[usize::from(profile)], self.scores, moves_max)
    }

    /// Puts an instance onto a place that is free.
    pub fn put(&mut self, (gpu, place): Spot) {
        self.instances[gpu].push(place);
        let after = Catalog::get().after(self.occupancies[gpu], place);
        self.occupancies[gpu] = after.expect("the solver gives places that are free");
    }

    /// Takes an instance away.
    pub fn remove(&mut self, (gpu, place): Spot) {
        let instances = &mut self.instances[gpu];
        let at = instances.iter().position(|&other| other == place).expect("what is removed was placed");
        instances.swap_remove(at);
        let catalog = Catalog::get();
        let empty = catalog.empty(self.model);
        let refill =
            |occupancy, &place: &PlacementId| catalog.after(occupancy, place).expect("part of what fitted");
        self.occupancies[gpu] = instances.iter().fold(empty, refill);
    }

    /// What each GPU holds.
    pub fn occupancies(&self) -> &[Occupancy] {
        &self.occupancies
    }

    /// The places on each GPU that are taken.
    pub fn instances(&self) -> &[SmallVec<[PlacementId; 8]>] {
        &self.instances
    }

    /// The free slots of a GPU that no profile of the demand can use, as a mask.
    pub fn stranded(&self, gpu: usize) -> u16 {
        let Some((_, state)) = Catalog::get().state(self.occupancies[gpu]) else { return 0 };
        let geometry = self.geometry();
        let demand = self.scores.demand().of_model(self.model);
        let demanded = (0..).zip(demand).filter(|(_, share)| *share > 0.0);
        let legal = demanded.flat_map(|(profile, _)| geometry.legal(state, profile));
        let usable =
            legal.fold(0, |usable, (place, _)| usable | geometry.placements()[usize::from(place)].mask);
        let all = u16::MAX >> (16 - u32::from(geometry.axis()));
        all & !geometry.mask(state) & !usable
    }

    /// GPUs with something on them.
    pub fn active(&self) -> usize {
        self.instances.iter().filter(|instances| !instances.is_empty()).count()
    }
}
