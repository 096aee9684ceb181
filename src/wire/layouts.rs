//! `GET /v1/layouts` and what `tangram layouts` prints: static layouts for the demand.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::layouts::{Asked, Counts, Entry, Layout, Layouts, StaticNode, Wanted, entries};
use crate::mig::{Catalog, ProfileName};

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayoutsView {
    /// The nodes that mig-manager partitions, by name.
    pub nodes: Vec<NodeView>,
    /// What it buys, by profile.
    pub profiles: Vec<ProfileView>,
    /// GPUs that change.
    pub changed_gpus: usize,
    /// What more is served than without any change, in GPUs as the demand prices them, less the cost of changes.
    pub gain: f64,
    /// No plan gains more.
    pub gain_bound: f64,
    /// Part of that bound that is not proved to be reached, 0 to 1.
    pub gap: f64,
}

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LayoutsNodeView)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Model of its GPUs.
    pub model: String,
    /// Number of its GPUs.
    pub gpus: usize,
    /// The label `nvidia.com/mig.config` now.
    pub config: String,
    /// How its GPUs are cut now; empty where nobody knows.
    pub now: Vec<CutView>,
    /// The name of its new layout, where it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_config: Option<String>,
    /// How its GPUs are cut then, where it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<CutView>,
    /// Why it cannot change, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

/// GPUs of a node that are cut alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CutView {
    /// Indices; absent for all GPUs of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<u16>>,
    /// Whether MIG mode is on.
    pub mig: bool,
    /// MIG devices of each GPU, by profile.
    pub devices: BTreeMap<String, u32>,
}

/// What a plan buys in devices of one profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileView {
    /// The profile.
    pub profile: String,
    /// Devices that pods wait for.
    pub waiting: u32,
    /// Devices expected beside them.
    pub expected: u32,
    /// Devices that could be started now.
    pub before: u32,
    /// Devices that can be started then.
    pub after: u32,
}

impl LayoutsView {
    /// A plan for a demand.
    pub fn new(plan: &Layouts, wanted: &Wanted) -> Self {
        let all = [&wanted.waiting, &wanted.expected, &plan.before, &plan.after];
        let names: BTreeSet<&ProfileName> = all.iter().flat_map(|counts| counts.keys()).collect();
        let profile = |name: &ProfileName| {
            let [waiting, expected, before, after] =
                all.map(|counts: &Counts| counts.get(name).copied().unwrap_or(0));
            ProfileView { profile: name.to_string(), waiting, expected, before, after }
        };
        Self {
            nodes: (0..plan.nodes.len()).map(|node| NodeView::new(plan, node)).collect(),
            profiles: names.into_iter().map(profile).collect(),
            changed_gpus: plan.changes.values().map(|change| change.gpus).sum(),
            gain: rounded(plan.gain),
            gain_bound: rounded(plan.gain_bound),
            gap: rounded(plan.gap()),
        }
    }
}

impl NodeView {
    fn new(plan: &Layouts, at: usize) -> Self {
        let node: &StaticNode = &plan.nodes[at];
        let cuts = |layouts: &[Layout]| entries(node, layouts).into_iter().map(CutView::new).collect();
        let change = plan.changes.get(&at);
        Self {
            name: node.name.to_string(),
            model: Catalog::get().row(node.model).key.to_owned(),
            gpus: node.gpus.len(),
            config: node.config.to_string(),
            now: cut_views(node),
            new_config: change.map(|change| change.config.clone()),
            then: change.map_or_else(Vec::new, |change| cuts(&change.layouts)),
            fixed: node.fixed.as_ref().map(ToString::to_string),
        }
    }
}

/// How the GPUs of a node are cut now; empty where nobody knows.
pub fn cut_views(node: &StaticNode) -> Vec<CutView> {
    let now: Option<Vec<Layout>> = node.gpus.iter().map(|gpu| gpu.layout.clone()).collect();
    now.map_or_else(Vec::new, |now| entries(node, &now).into_iter().map(CutView::new).collect())
}

impl CutView {
    /// Whether it says the same as a layout.
    pub fn is(&self, layout: &Layout) -> bool {
        let counts = layout.counts();
        let named = counts.iter().map(|(profile, count)| (profile.to_string(), *count));
        self.mig == (*layout != Layout::Whole) && named.eq(self.devices.clone())
    }

    fn new(entry: Entry) -> Self {
        let counts = entry.layout.counts();
        Self {
            gpus: entry.gpus,
            mig: entry.layout != Layout::Whole,
            devices: counts.into_iter().map(|(profile, count)| (profile.to_string(), count)).collect(),
        }
    }
}

/// Four digits are enough for people, and hide a solver's arithmetic.
fn rounded(number: f64) -> f64 {
    const DIGITS: f64 = 1e4;
    (number * DIGITS).round() / DIGITS + 0.0
}

/// Reads a demand: `1g.10gb=30,3g.40gb=4` are devices that shall be startable, `1g.10gb=70%,3g.40gb=30%` a mix.
///
/// # Errors
/// What is wrong with which part.
pub fn parse_demand(text: &str) -> Result<Asked, String> {
    let mut counts = Counts::new();
    let mut shares = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let (name, amount) = part
            .split_once('=')
            .ok_or_else(|| format!("demand {part:?}: expected PROFILE=COUNT or PROFILE=SHARE%"))?;
        let profile = ProfileName::parse(name).filter(|profile| !Catalog::get().offers(profile).is_empty());
        let profile =
            profile.ok_or_else(|| format!("demand {part:?}: no GPU model has a profile {name:?}"))?;
        let is_new = if let Some(share) = amount.strip_suffix('%') {
            let share = share.parse::<f64>().ok().filter(|share| share.is_finite() && *share > 0.0);
            let share = share.ok_or_else(|| format!("demand {part:?}: {amount:?} is no share above 0 %"))?;
            shares.insert(profile, share).is_none()
        } else {
            const MOST: u32 = 1_000_000;
            let count = amount.parse::<u32>().ok().filter(|count| (1..=MOST).contains(count));
            let count =
                count.ok_or_else(|| format!("demand {part:?}: {amount:?} is no number from 1 to {MOST}"))?;
            counts.insert(profile, count).is_none()
        };
        if !is_new {
            return Err(format!("demand {part:?}: {name} stands there twice"));
        }
    }
    match (counts.is_empty(), shares.is_empty()) {
        (false, false) => Err(format!("demand {text:?}: counts or shares, not both")),
        (false, true) => Ok(Asked::Counts(counts)),
        (true, _) => Ok(Asked::Shares(shares)),
    }
}
