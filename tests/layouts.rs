//! Every layout of every GPU model: what the rules of the JSON allow, listed by a recursion of this file,
//! against what Tangram's geometry lets one reach instance by instance; and the published counts of both.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "only the table is needed here; rules and builders serve other tests")]
mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Model, model, table};
use tangram::mig::{Catalog, Geometry, PlacementId, StateId};

/// Sorted (profile, start).
type Layout = Vec<(usize, u8)>;

/// Which rules an enumeration keeps beside "no memory slice twice, listed starts only".
#[derive(Clone, Copy)]
struct Rules {
    engines: bool,
    /// Drivers before R510 refuse 4g and 3g on one GPU.
    halves_together: bool,
}

const ALL_RULES: Rules = Rules { engines: true, halves_together: true };

/// All legal layouts of the profiles that `keeps` names, the empty one included: each placement is taken or
/// left, in order.
fn enumerate(model: &Model, rules: Rules, keeps: impl Fn(usize) -> bool) -> BTreeSet<Layout> {
    let placements: Vec<(usize, u8)> =
        model.placements().into_iter().filter(|&(profile, _)| keeps(profile)).collect();
    let mut found = BTreeSet::new();
    take_or_leave(model, rules, &placements, &mut Vec::new(), &mut found);
    found
}

fn take_or_leave(
    model: &Model,
    rules: Rules,
    left: &[(usize, u8)],
    taken: &mut Layout,
    found: &mut BTreeSet<Layout>,
) {
    let Some((&placement, left)) = left.split_first() else {
        let mut layout = taken.clone();
        layout.sort_unstable();
        found.insert(layout);
        return;
    };
    take_or_leave(model, rules, left, taken, found);
    taken.push(placement);
    if is_legal(model, rules, taken) {
        take_or_leave(model, rules, left, taken, found);
    }
    taken.pop();
}

fn is_legal(model: &Model, rules: Rules, layout: &[(usize, u8)]) -> bool {
    let profiles = || layout.iter().map(|&(profile, _)| &model.profiles[profile]);
    let overlaps = |slice: u8| {
        let holders = layout.iter().filter(|&&(profile, start)| {
            (start..start + model.profiles[profile].memory_slices).contains(&slice)
        });
        holders.count() > 1
    };
    let of = |id: usize| layout.iter().filter(|&&(profile, _)| profile == id).count();
    let is_overworked = |engine: usize| {
        profiles().map(|profile| u32::from(profile.engines[engine])).sum::<u32>()
            > u32::from(model.engines[engine])
    };
    let has = |compute_slices: u8| profiles().any(|profile| profile.compute_slices == compute_slices);
    !(0..model.memory_slices).any(overlaps)
        && (0..model.profiles.len()).all(|id| of(id) <= usize::from(model.profiles[id].max))
        && !(rules.engines && (0..5).any(is_overworked))
        && (rules.halves_together || !(has(4) && has(3)))
}

fn maximal(layouts: &BTreeSet<Layout>, model: &Model) -> BTreeSet<Layout> {
    let extends = |layout: &Layout, placement: (usize, u8)| layouts.contains(&with(layout, placement));
    let is_maximal =
        |layout: &&Layout| !model.placements().into_iter().any(|placement| extends(layout, placement));
    layouts.iter().filter(is_maximal).cloned().collect()
}

fn with(layout: &[(usize, u8)], placement: (usize, u8)) -> Layout {
    let mut layout = [layout, &[placement]].concat();
    layout.sort_unstable();
    layout
}

/// Memory slices in use, in NVML's unit, bit 0 = slice 0.
fn slices(model: &Model, layout: &Layout) -> u32 {
    layout.iter().map(|&(profile, start)| model.profiles[profile].mask(start)).sum()
}

fn masks(model: &Model, layouts: &BTreeSet<Layout>) -> usize {
    layouts.iter().map(|layout| slices(model, layout)).collect::<BTreeSet<_>>().len()
}

/// The same as profile counts, without starts.
fn multisets(layouts: &BTreeSet<Layout>) -> usize {
    let profiles = |layout: &Layout| -> Vec<usize> { layout.iter().map(|&(profile, _)| profile).collect() };
    layouts.iter().map(profiles).collect::<BTreeSet<_>>().len()
}

fn geometry(model: &Model) -> &'static Geometry {
    Catalog::get().geometry(model.id())
}

/// Every layout that the geometry lets one reach from the empty GPU with profiles that `keeps` names, with
/// the state it leads to. Fails when two orders of the same placements lead to different states.
fn walk(model: &Model, keeps: impl Fn(usize) -> bool) -> BTreeMap<Layout, StateId> {
    let geometry = geometry(model);
    let mut reached = BTreeMap::from([(Vec::new(), 0)]);
    let mut open: Vec<Layout> = vec![Vec::new()];
    while let Some(layout) = open.pop() {
        assert!(layout.len() <= usize::from(model.memory_slices), "{}: {layout:?} overlaps", model.key);
        let state = reached[&layout];
        for (placement, id) in placements(model, geometry) {
            let Some(after) = geometry.after(state, id).filter(|_| keeps(placement.0)) else { continue };
            let next = with(&layout, placement);
            if let Some(&known) = reached.get(&next) {
                assert_eq!(known, after, "{}: the order matters for {next:?}", model.key);
            } else {
                reached.insert(next.clone(), after);
                open.push(next);
            }
        }
    }
    reached
}

/// The geometry's placements as (profile of the JSON, start), with their indices.
fn placements(model: &Model, geometry: &Geometry) -> Vec<((usize, u8), PlacementId)> {
    let of = |placement: &tangram::mig::Placement| {
        let name = &geometry.profiles()[usize::from(placement.profile)].name;
        (model.profile(name.as_str()).expect("the JSON has it"), placement.start)
    };
    geometry.placements().iter().map(of).zip(0..).collect()
}

fn is_base(model: &Model) -> impl Fn(usize) -> bool {
    let classes: Vec<(u8, u8)> = match model.memory_slices {
        8 => vec![(1, 1), (2, 2), (3, 4), (4, 4), (7, 8)],
        _ => vec![(1, 1), (2, 2), (4, 4)],
    };
    let base = model.profiles.iter().map(|profile| {
        profile.is_plain() && classes.contains(&(profile.compute_slices, profile.memory_slices))
    });
    let base: Vec<bool> = base.collect();
    move |profile| base[profile]
}

fn seven_slice_models() -> Vec<&'static Model> {
    let models: Vec<&Model> = table().iter().filter(|model| model.compute_slices == 7).collect();
    assert_eq!(models.len(), 15);
    models
}

#[test]
fn the_geometry_reaches_every_legal_layout_and_no_other() {
    for model in table() {
        let reached: BTreeSet<Layout> = walk(model, |_| true).into_keys().collect();
        let legal = enumerate(model, ALL_RULES, |_| true);
        let illegal: Vec<&Layout> = reached.difference(&legal).take(3).collect();
        let missed: Vec<&Layout> = legal.difference(&reached).take(3).collect();
        assert!(
            illegal.is_empty() && missed.is_empty(),
            "{}: illegal {illegal:?}, missed {missed:?}",
            model.key
        );
    }
}

#[test]
fn a_profile_may_start_exactly_where_the_layout_stays_legal() {
    for model in table() {
        let geometry = geometry(model);
        let legal = enumerate(model, ALL_RULES, |_| true);
        for (layout, state) in walk(model, |_| true) {
            for (id, profile) in (0..).zip(geometry.profiles()) {
                let position = model.profile(profile.name.as_str()).unwrap();
                let starts = model.profiles[position].starts.iter().copied();
                let expected: BTreeSet<u8> =
                    starts.filter(|&start| legal.contains(&with(&layout, (position, start)))).collect();
                let listed: Vec<u8> = geometry
                    .legal(state, id)
                    .map(|(placement, after)| {
                        assert_eq!(geometry.after(state, placement), Some(after));
                        assert_eq!(geometry.placements()[usize::from(placement)].profile, id);
                        geometry.placements()[usize::from(placement)].start
                    })
                    .collect();
                assert_eq!(
                    listed.iter().copied().collect::<BTreeSet<_>>(),
                    expected,
                    "{} {layout:?} {}",
                    model.key,
                    profile.name
                );
                assert_eq!(listed.len(), expected.len(), "{} {layout:?}: a start is listed twice", model.key);
            }
        }
    }
}

#[test]
fn a_state_knows_which_memory_slices_are_free() {
    for model in table() {
        let geometry = geometry(model);
        let unit = model.unit();
        assert_eq!(geometry.unit(), unit, "{}", model.key);
        assert_eq!(geometry.axis() * unit, model.memory_slices, "{}", model.key);
        for (layout, state) in walk(model, |_| true) {
            let used = slices(model, &layout);
            let normalised = (0..geometry.axis()).filter(|slice| used & 1 << (slice * unit) != 0);
            let mask: u16 = normalised.map(|slice| 1 << slice).sum();
            assert_eq!(geometry.mask(state), mask, "{} {layout:?}", model.key);
            let used = u8::try_from(used.count_ones()).unwrap();
            assert_eq!(geometry.free(state) * unit, model.memory_slices - used, "{} {layout:?}", model.key);
        }
    }
}

#[test]
fn every_state_is_some_layout_and_states_that_allow_the_same_are_few() {
    for model in table() {
        let reached: BTreeSet<StateId> = walk(model, |_| true).into_values().collect();
        assert_eq!(reached.len(), usize::from(geometry(model).states()), "{}", model.key);
        assert_eq!(reached.last().map(|&state| state + 1), Some(geometry(model).states()), "{}", model.key);
    }
    for model in seven_slice_models() {
        assert_eq!(geometry(model).states(), 382, "{}", model.key);
    }
    // The published count of the RTX PRO 6000 tells apart engines and instances that forbid the same; a
    // geometry need not.
    let model = model("rtx-pro-6000-blackwell-96gb");
    let layouts = enumerate(model, ALL_RULES, |_| true);
    let used = |layout: &Layout| -> Vec<u8> {
        let profiles = || layout.iter().map(|&(profile, _)| &model.profiles[profile]);
        let engines = (0..5).map(|engine| profiles().map(|profile| profile.engines[engine]).sum());
        let limited = model.profiles.iter().filter(|profile| profile.max == 1 && profile.memory_slices < 12);
        let limited =
            limited.map(|limited| profiles().map(|profile| u8::from(profile.name == limited.name)).sum());
        engines.chain(limited).collect()
    };
    let told_apart: BTreeSet<(u32, Vec<u8>)> =
        layouts.iter().map(|layout| (slices(model, layout), used(layout))).collect();
    assert_eq!(told_apart.len(), 103);
    assert!(geometry(model).states() <= 103, "{}", geometry(model).states());
}

#[test]
fn a_placement_is_found_by_its_profile_and_start_and_only_where_nvml_lists_it() {
    for model in table() {
        let geometry = geometry(model);
        for (id, profile) in (0..).zip(geometry.profiles()) {
            let position = model.profile(profile.name.as_str()).unwrap();
            assert_eq!(geometry.profile(&profile.name), Some(id));
            for start in 0..=u8::MAX {
                let found = geometry
                    .placement(id, start)
                    .map(|placement| geometry.placements()[usize::from(placement)]);
                let found = found.map(|placement| (placement.profile, placement.start));
                let is_listed = model.profiles[position].starts.contains(&start);
                assert_eq!(found, is_listed.then_some((id, start)), "{} {}", model.key, profile.name);
            }
        }
        assert_eq!(geometry.placements().len(), model.placements().len());
    }
}

#[test]
fn base_profiles_of_seven_slice_gpus_have_298_layouts_19_of_them_maximal() {
    for model in seven_slice_models() {
        let layouts: BTreeSet<Layout> = walk(model, is_base(model)).into_keys().collect();
        assert_eq!(layouts, enumerate(model, ALL_RULES, is_base(model)), "{}", model.key);
        assert_eq!(layouts.len(), 298, "{}", model.key);
        let base = |layout: &Layout| layout.iter().all(|&(profile, _)| is_base(model)(profile));
        assert!(layouts.iter().all(base));
        let maximal = maximal(&layouts, model);
        assert_eq!((maximal.len(), multisets(&maximal)), (19, 14), "{}", model.key);
        assert_eq!(masks(model, &layouts), 144, "{}", model.key);
    }
}

#[test]
fn drivers_that_refuse_4g_beside_3g_leave_18_maximal_layouts() {
    let model = model("a100-40gb");
    let old = Rules { halves_together: false, ..ALL_RULES };
    let all = maximal(&enumerate(model, ALL_RULES, is_base(model)), model);
    let layouts = enumerate(model, old, is_base(model));
    // Of the 19 exactly 4g+3g goes; what is left of it, 4g or 3g alone, is part of another.
    let without = maximal(&layouts, model);
    assert_eq!(without.len(), 18);
    assert!(without.is_subset(&all));
}

#[test]
fn all_profiles_of_seven_slice_gpus_have_2319_layouts_239_of_them_maximal() {
    for model in seven_slice_models() {
        let layouts: BTreeSet<Layout> = walk(model, |_| true).into_keys().collect();
        assert_eq!(layouts.len(), 2319, "{}", model.key);
        assert_eq!(maximal(&layouts, model).len(), 239, "{}", model.key);
        assert_eq!(masks(model, &layouts), 192, "{}", model.key);
        // No engine binds there: the rules R1 and R2 alone say the same.
        let without_engines = enumerate(model, Rules { engines: false, ..ALL_RULES }, |_| true);
        assert_eq!(layouts, without_engines, "{}", model.key);
    }
}

#[test]
fn the_a30_has_26_base_layouts_and_76_in_all_because_its_one_jpeg_engine_binds() {
    let model = model("a30-24gb");
    let base: BTreeSet<Layout> = walk(model, is_base(model)).into_keys().collect();
    assert_eq!((base.len(), maximal(&base, model).len(), masks(model, &base)), (26, 5, 16));
    assert_eq!(walk(model, |_| true).len(), 76);
    assert_eq!(enumerate(model, Rules { engines: false, ..ALL_RULES }, |_| true).len(), 84);
}

#[test]
fn the_rtx_pro_6000_has_717_layouts_of_1249_because_its_engines_bind() {
    let model = model("rtx-pro-6000-blackwell-96gb");
    assert_eq!(walk(model, |_| true).len(), 717);
    assert_eq!(enumerate(model, Rules { engines: false, ..ALL_RULES }, |_| true).len(), 1249);
}
