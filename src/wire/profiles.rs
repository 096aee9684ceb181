//! `GET /v1/profiles`: the MIG table as people and tools read it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::mig::{Catalog, ModelRow};

/// A GPU model that can be partitioned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuModelView)]
#[serde(rename_all = "camelCase")]
pub struct ModelView {
    /// The model, as the GPUs of `GET /v1/cluster` name it.
    model: &'static str,
    /// Memory of a GPU.
    memory_mib: u32,
    /// NVML memory slices of a GPU.
    memory_slices: u8,
    profiles: Vec<ProfileView>,
}

/// A MIG profile of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GpuProfileView)]
#[serde(rename_all = "camelCase")]
struct ProfileView {
    /// The name, as `nvidia-smi` prints it.
    profile: &'static str,
    memory_mib: u32,
    memory_slices: u8,
    compute_slices: u8,
    /// First memory slices at which an instance may start.
    starts: &'static [u8],
}

impl ModelView {
    /// All models of the table.
    pub fn all() -> Vec<Self> {
        let catalog = Catalog::get();
        catalog.models().map(|model| Self::new(catalog.row(model))).collect()
    }

    fn new(row: &'static ModelRow) -> Self {
        let profile = |profile: &'static crate::mig::ProfileRow| ProfileView {
            profile: profile.name,
            memory_mib: row.profile_memory_mib(profile),
            memory_slices: profile.memory_slices,
            compute_slices: profile.compute_slices,
            starts: profile.starts,
        };
        Self {
            model: row.key,
            memory_mib: row.memory_mib(),
            memory_slices: row.memory_slices,
            profiles: row.profiles.iter().map(profile).collect(),
        }
    }
}
