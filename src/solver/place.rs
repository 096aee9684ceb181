//! The exact GPUs and starts of one pod on one node.

use super::pack::pack;
use super::{Query, Refusal, fits};
use crate::mig::Catalog;
use crate::model::{Cluster, Device, Gpu, Node, Placement, Request};

/// Chooses the places of a pod's GPU instances on a node, in the order of its asks.
///
/// The choice is the one that [`evaluate()`](super::evaluate()) priced. A pod that asks for counted devices only gets an empty
/// placement: the kubelet chooses its devices.
pub fn place(
    cluster: &Cluster,
    node: &Node,
    request: &Request,
    query: &Query<'_>,
) -> Result<Placement, Refusal> {
    let columns = cluster.columns(node);
    fits(columns.row(), query)?;
    if request.slices.is_empty() {
        return Ok(Placement::default());
    }
    let count = request.slices.len();
    let packed = pack(columns.row().occupancies, query).map_err(|unpacked| unpacked.refusal(count))?;
    let gpus: Vec<&Gpu> = node.dynamic_gpus().collect();
    let mut devices: Vec<Option<Device>> = vec![None; count];
    let mut open: Vec<_> = query.slices.iter().map(|slices| slices.asks.iter()).collect();
    for packing in packed.devices {
        let ask = *open[packing.kind].next().expect("as many places as asks");
        devices[ask] = Some(device(gpus[packing.gpu], packing.placement, request, ask));
    }
    let devices = devices.into_iter().map(|device| device.expect("every ask was packed")).collect();
    Ok(Placement { devices })
}

fn device(gpu: &Gpu, placement: crate::mig::PlacementId, request: &Request, ask: usize) -> Device {
    let model = gpu.model.expect("only GPUs of known models have room");
    let geometry = Catalog::get().geometry(model);
    let placement = geometry.placements()[usize::from(placement)];
    Device {
        container: request.slices[ask].container.clone(),
        gpu: gpu.index,
        profile: geometry.profiles()[usize::from(placement.profile)].name.clone(),
        start: placement.start,
    }
}
