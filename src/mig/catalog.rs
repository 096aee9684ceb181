//! All models in one index: product label to model, profile name to rows, occupancies numbered in one row.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::room::Room;
use super::{Geometry, LayoutId, Layouts, MODELS, ModelRow, PlacementId, ProfileId, ProfileName, StateId};

/// Index of a GPU model in the [`Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelId(u8);

/// What one dynamic-MIG GPU holds: a number that names (model, layout), so that a price per occupancy is
/// one look-up in one flat table. [`Occupancy::CLOSED`] takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occupancy(u16);

impl Occupancy {
    /// A GPU on which nothing may be placed: unhealthy, in conflict, or of a model without a table.
    pub const CLOSED: Self = Self(0);

    /// Position in a table with [`Catalog::occupancies`] entries.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A model with its compiled geometry.
#[derive(Debug)]
struct Model {
    row: &'static ModelRow,
    geometry: Geometry,
    layouts: Arc<Layouts>,
    room: Room,
    first: u16,
}

/// The MIG-capable GPU models.
#[derive(Debug)]
pub struct Catalog {
    models: Vec<Model>,
    by_product: BTreeMap<String, ModelId>,
    by_profile: BTreeMap<ProfileName, Vec<(ModelId, ProfileId)>>,
    owners: Vec<ModelId>, // by occupancy index - 1
}

impl Catalog {
    /// The catalog of the built-in table, compiled on first use in a few milliseconds.
    pub fn get() -> &'static Self {
        static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::new(MODELS));
        &CATALOG
    }

    fn new(rows: &'static [ModelRow]) -> Self {
        let mut catalog = Self {
            models: Vec::new(),
            by_product: BTreeMap::new(),
            by_profile: BTreeMap::new(),
            owners: Vec::new(),
        };
        for (row, id) in rows.iter().zip((0..).map(ModelId)) {
            let geometry = Geometry::new(row);
            for name in row.names {
                catalog.by_product.insert(sanitised(name), id);
            }
            for (profile, index) in geometry.profiles().iter().zip(0..) {
                catalog.by_profile.entry(profile.name.clone()).or_default().push((id, index));
            }
            let first = u16::try_from(catalog.owners.len() + 1).expect("all occupancies fit into 16 bits");
            let alike = catalog.models.iter().find(|model| model.geometry.is_like(&geometry));
            let layouts =
                alike.map_or_else(|| Arc::new(Layouts::new(&geometry)), |model| model.layouts.clone());
            catalog.owners.extend((0..layouts.count()).map(|_| id));
            let room = Room::new(&geometry);
            catalog.models.push(Model { row, geometry, layouts, room, first });
        }
        catalog
    }

    /// The model that `nvidia.com/gpu.product` or an NVML name means; suffixes of shared and partitioned
    /// nodes must be gone already.
    pub fn by_product(&self, product: &str) -> Option<ModelId> {
        self.by_product.get(&sanitised(product)).copied()
    }

    /// All models, in the order of their keys.
    pub fn models(&self) -> impl Iterator<Item = ModelId> {
        (0..self.models.len()).map(|index| ModelId(u8::try_from(index).expect("fewer than 256 models")))
    }

    /// The facts of a model.
    pub fn row(&self, model: ModelId) -> &'static ModelRow {
        self.models[usize::from(model.0)].row
    }

    /// The geometry of a model.
    pub fn geometry(&self, model: ModelId) -> &Geometry {
        &self.models[usize::from(model.0)].geometry
    }

    /// The layouts of a model.
    pub fn layouts(&self, model: ModelId) -> &Layouts {
        &self.models[usize::from(model.0)].layouts
    }

    /// The models that offer `profile`, each with its index there.
    pub fn offers(&self, profile: &ProfileName) -> &[(ModelId, ProfileId)] {
        self.by_profile.get(profile).map_or(&[], Vec::as_slice)
    }

    /// All profile names of all models, sorted.
    pub fn profiles(&self) -> impl Iterator<Item = &ProfileName> {
        self.by_profile.keys()
    }

    /// Length of a table indexed by [`Occupancy::index`].
    pub fn occupancies(&self) -> usize {
        self.owners.len() + 1
    }

    /// The occupancy of an empty GPU.
    pub fn empty(&self, model: ModelId) -> Occupancy {
        self.occupancy(model, 0)
    }

    fn occupancy(&self, model: ModelId, layout: LayoutId) -> Occupancy {
        Occupancy(self.models[usize::from(model.0)].first + layout)
    }

    /// Model and layout of an occupancy; `None` for a closed GPU.
    pub fn layout(&self, occupancy: Occupancy) -> Option<(ModelId, LayoutId)> {
        let model = *self.owners.get(occupancy.index().checked_sub(1)?)?;
        Some((model, occupancy.0 - self.models[usize::from(model.0)].first))
    }

    /// Model and state of an occupancy; `None` for a closed GPU.
    pub fn state(&self, occupancy: Occupancy) -> Option<(ModelId, StateId)> {
        let (model, layout) = self.layout(occupancy)?;
        Some((model, self.layouts(model).state(layout)))
    }

    /// How many instances of `profile` alone a GPU still takes, at its legal starts and within its engines; none
    /// on a closed GPU.
    pub fn room(&self, occupancy: Occupancy, profile: ProfileId) -> u8 {
        let state = self.state(occupancy);
        state.map_or(0, |(model, state)| self.models[usize::from(model.0)].room.most(state, profile))
    }

    /// The occupancy after a placement, or `None` where it is illegal.
    pub fn after(&self, occupancy: Occupancy, placement: PlacementId) -> Option<Occupancy> {
        let (model, layout) = self.layout(occupancy)?;
        Some(self.occupancy(model, self.layouts(model).after(layout, placement)?))
    }
}

/// A product name as GPU feature discovery writes it into a label: characters that a label value cannot
/// hold dropped, spaces as `-`.
fn sanitised(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_. ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
