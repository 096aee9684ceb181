//! Exact packing: patterns, prices, the fewest GPUs and the fewest moves, against counting, brute force and
//! each other, with every backend that is compiled in.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tangram::mig::{Catalog, Geometry, ProfileId, ProfileName};
use tangram::solver::exact::{
    Backend, Effort, Fewest, Fillings, SevenSlices, fewest, fewest_above, first_fit, lower_bound, prices,
};

#[path = "common/plane/dice.rs"]
mod dice;
use dice::Dice;

/// The table's models, each with its name.
fn models() -> impl Iterator<Item = (&'static str, &'static Geometry)> {
    let catalog = Catalog::get();
    catalog.models().map(|model| (catalog.row(model).key, catalog.geometry(model)))
}

fn geometry(key: &str) -> &'static Geometry {
    models().find(|(name, _)| *name == key).unwrap().1
}

/// Counts by profile from names and counts.
fn counts<T: Copy + Default>(geometry: &Geometry, named: &[(&str, T)]) -> Vec<T> {
    let mut counts = vec![T::default(); geometry.profiles().len()];
    for (name, count) in named {
        let id = geometry.profile(&ProfileName::parse(name).unwrap()).expect(name);
        counts[usize::from(id)] = *count;
    }
    counts
}

fn efforts() -> impl Iterator<Item = Effort> {
    Backend::all().iter().map(|&backend| Effort { backend, seconds: 3.0, gap: 0.0 })
}

mod patterns {
    use super::*;

    #[test]
    fn the_seven_slice_geometry_has_28_patterns() {
        for key in ["a100-40gb", "a100-80gb", "h100-80gb-sxm", "h200-141gb", "b200-180gb"] {
            assert_eq!(Fillings::plain(geometry(key)).patterns().len(), 28, "{key}");
        }
    }

    #[test]
    fn patterns_of_other_geometries() {
        let names = |key: &str| {
            let geometry = geometry(key);
            let plain = Fillings::plain(geometry);
            let name = |filling: &tangram::solver::exact::Filling| {
                let each = geometry.profiles().iter().zip(&filling.counts).filter(|(_, count)| **count > 0);
                each.map(|(profile, count)| format!("{count}x{}", profile.name)).collect::<Vec<_>>().join(" ")
            };
            let mut names: Vec<String> = plain.patterns().iter().map(name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("a30-24gb"), ["1x4g.24gb", "2x1g.6gb 1x2g.12gb", "2x2g.12gb", "4x1g.6gb"]);
    }

    #[test]
    fn every_filling_is_legal_counts_right_and_is_in_no_other() {
        for (key, geometry) in models() {
            let fillings = Fillings::new(geometry, |_| true);
            for state in 0..geometry.states() {
                let here = fillings.of(state);
                for filling in here {
                    let mut end = state;
                    let mut held = vec![0; fillings.width()];
                    for &placement in &filling.layout {
                        end = geometry.after(end, placement).expect(key);
                        held[usize::from(geometry.placements()[usize::from(placement)].profile)] += 1;
                    }
                    assert_eq!(held, filling.counts, "{key}");
                    assert!(
                        (0..geometry.placements().len())
                            .all(|id| { geometry.after(end, u8::try_from(id).unwrap()).is_none() }),
                        "{key}: something more fits"
                    );
                    let outer = |other: &&tangram::solver::exact::Filling| {
                        other.counts.iter().zip(&filling.counts).all(|(other, own)| other >= own)
                    };
                    assert_eq!(here.iter().filter(outer).count(), 1, "{key}");
                }
            }
        }
    }

    #[test]
    fn attributes_are_left_out_until_asked_for() {
        let geometry = geometry("a100-80gb");
        let media: ProfileId = geometry.profile(&ProfileName::parse("1g.10gb+me").unwrap()).unwrap();
        let has_media = |fillings: Fillings| {
            fillings.patterns().iter().any(|pattern| pattern.counts[usize::from(media)] > 0)
        };
        assert!(!has_media(Fillings::plain(geometry)));
        assert!(has_media(Fillings::new(geometry, |_| true)));
    }
}

mod fluid {
    use super::*;

    const A100: &str = "a100-80gb";

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    fn named(mix: [f64; 6]) -> [(&'static str, f64); 6] {
        let names = ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];
        std::array::from_fn(|index| (names[index], mix[index]))
    }

    #[test]
    fn where_memory_packs_perfectly_each_profile_is_worth_its_share_of_it() {
        let geometry = geometry(A100);
        let fillings = Fillings::plain(geometry);
        for mix in [
            [1.0 / 6.0; 6],
            [0.30, 0.25, 0.20, 0.10, 0.10, 0.05],
            [0.05, 0.10, 0.10, 0.20, 0.25, 0.30],
            [0.30, 0.15, 0.10, 0.05, 0.10, 0.30],
        ] {
            let paid = prices(&fillings, &counts(geometry, &named(mix)));
            let memory = counts(geometry, &named([0.125, 0.25, 0.25, 0.5, 0.5, 1.0]));
            assert_eq!(paid.per_profile, memory, "{mix:?}");
            let worth: f64 =
                mix.iter().zip([1.0, 2.0, 2.0, 4.0, 4.0, 8.0]).map(|(d, size)| d * size / 8.0).sum();
            assert!(close(paid.gpus, worth));
        }
    }

    #[test]
    fn a_demand_that_full_gpus_serve_is_paid_by_memory_however_it_is_composed() {
        let mut dice = Dice::new(31);
        for (key, geometry) in models() {
            let fillings = Fillings::plain(geometry);
            let size = |id: usize| u32::from(geometry.profiles()[id].size);
            let slices =
                |counts: &[u32]| counts.iter().enumerate().map(|(id, count)| size(id) * count).sum::<u32>();
            let full: Vec<_> = fillings
                .patterns()
                .iter()
                .filter(|pattern| slices(&pattern.counts) == u32::from(geometry.axis()))
                .collect();
            for _ in 0..40 {
                let mut demand = vec![0.0; fillings.width()];
                for pattern in &full {
                    let gpus = if dice.hits(60) { 0.0 } else { f64::from(dice.roll(1000)) / 7.0 };
                    for (demand, &count) in demand.iter_mut().zip(&pattern.counts) {
                        *demand += gpus * f64::from(count);
                    }
                }
                let paid = prices(&fillings, &demand);
                for &id in fillings.profiles() {
                    let share = f64::from(size(usize::from(id))) / f64::from(geometry.axis());
                    assert!(close(paid.per_profile[usize::from(id)], share), "{key} {demand:?} {paid:?}");
                }
            }
        }
    }

    #[test]
    fn where_left_halves_run_short_they_alone_are_paid_for() {
        let geometry = geometry(A100);
        let mix = [0.15, 0.15, 0.1, 0.1, 0.4, 0.1];
        let paid = prices(&Fillings::plain(geometry), &counts(geometry, &named(mix)));
        assert_eq!(paid.per_profile, counts(geometry, &named([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])));
        assert!(close(paid.gpus, 0.5));
    }

    #[test]
    fn slots_that_only_some_can_use_have_no_price_while_others_run_short() {
        // Seven 1g leave slice 7 of every GPU to nobody.
        let geometry = geometry(A100);
        let paid = prices(&Fillings::plain(geometry), &counts(geometry, &[("1g.10gb", 7.0)]));
        assert!(close(paid.gpus, 1.0));
        let single = geometry.profile(&ProfileName::parse("1g.10gb").unwrap()).unwrap();
        assert!(close(paid.per_profile[usize::from(single)], 1.0 / 7.0));
    }

    #[test]
    fn without_demand_memory_is_the_price() {
        for (key, geometry) in models() {
            let fillings = Fillings::plain(geometry);
            let none = prices(&fillings, &[]);
            assert!(close(none.gpus, 0.0), "{key}");
            for &id in fillings.profiles() {
                let size = geometry.profiles()[usize::from(id)].size;
                let share = f64::from(size) / f64::from(geometry.axis());
                assert!(close(none.per_profile[usize::from(id)], share), "{key}");
            }
        }
    }

    #[test]
    fn what_is_no_demand_counts_as_none() {
        let geometry = geometry(A100);
        let fillings = Fillings::plain(geometry);
        let odd = [("1g.10gb", f64::NAN), ("3g.40gb", -4.0), ("4g.40gb", f64::INFINITY), ("7g.80gb", 2.0)];
        let even = [("7g.80gb", 2.0)];
        assert_eq!(prices(&fillings, &counts(geometry, &odd)), prices(&fillings, &counts(geometry, &even)));
    }

    /// Strong duality: the prices' worth is a packing's size, and no pattern is worth more than a GPU.
    #[test]
    fn prices_are_feasible_and_reach_what_packing_needs() {
        let mut dice = Dice::new(7);
        for (key, geometry) in models() {
            let fillings = Fillings::plain(geometry);
            for _ in 0..12 {
                let mut demand = vec![0_u32; fillings.width()];
                for &id in fillings.profiles() {
                    demand[usize::from(id)] = if dice.hits(33) { 0 } else { dice.roll(50_000) };
                }
                let wanted: Vec<f64> = demand.iter().copied().map(f64::from).collect();
                let paid = prices(&fillings, &wanted);
                for pattern in fillings.patterns() {
                    let value: f64 =
                        pattern.counts.iter().zip(&paid.per_profile).map(|(n, v)| f64::from(*n) * v).sum();
                    assert!(value <= 1.0 + 1e-12, "{key} {demand:?} {value}");
                }
                let worth: f64 = wanted.iter().zip(&paid.per_profile).map(|(d, v)| d * v).sum();
                assert!((worth - paid.gpus).abs() <= 2e-5 * paid.gpus, "{key} {demand:?} {worth} {paid:?}");
                let packed =
                    fewest(geometry, &fillings, &demand, Effort { gap: 1e-3, ..Effort::seconds(5.0) });
                #[expect(clippy::cast_precision_loss, reason = "GPUs")]
                let gpus = packed.proof.cost as f64;
                // A basic solution has one pattern in part per profile at most.
                assert!(
                    paid.gpus <= gpus + 1e-3 && gpus * 0.999 - 8.0 <= paid.gpus,
                    "{key} {demand:?} {packed:?} {paid:?}"
                );
            }
        }
    }

    #[test]
    fn prices_follow_the_mix_alone() {
        let geometry = geometry(A100);
        let fillings = Fillings::plain(geometry);
        let mix = counts(geometry, &named([0.3, 0.1, 0.1, 0.1, 0.2, 0.2]));
        let scaled: Vec<f64> = mix.iter().map(|share| share * 4096.0).collect();
        assert_eq!(prices(&fillings, &mix), prices(&Fillings::plain(geometry), &mix));
        assert_eq!(prices(&fillings, &mix).per_profile, prices(&fillings, &scaled).per_profile);
    }
}

mod fewest_gpus {
    use super::*;

    fn random_counts(dice: &mut Dice, fillings: &Fillings, below: u32) -> Vec<u32> {
        let mut counts = vec![0; fillings.width()];
        for &id in fillings.profiles() {
            counts[usize::from(id)] = if dice.hits(25) { 0 } else { dice.roll(below) };
        }
        counts
    }

    #[test]
    fn counting_and_the_pattern_program_agree() {
        for key in ["a100-80gb", "h100-80gb-sxm", "b200-180gb"] {
            let geometry = geometry(key);
            let (fillings, counted) = (Fillings::plain(geometry), SevenSlices::of(geometry).unwrap());
            let mut dice = Dice::new(11);
            for _ in 0..120 {
                let below = dice.pick(&[6, 40, 3000]);
                let counts = random_counts(&mut dice, &fillings, below);
                for effort in efforts() {
                    let packed = fewest_above(0, geometry, &fillings, &counts, effort);
                    let expected = counted.fewest(&counts);
                    assert!(packed.proof.bound <= expected && expected <= packed.proof.cost, "{counts:?}");
                    if packed.proof.is_optimal() {
                        assert_eq!(packed.proof.cost, expected, "{counts:?}");
                    }
                    assert!(packed.proof.gap() < 0.01, "{counts:?} {:?} {effort:?}", packed.proof);
                    assert!(lower_bound(geometry, &fillings, &counts) <= expected);
                }
            }
        }
    }

    #[test]
    fn the_kinds_are_those_of_the_seven_slice_models_only() {
        for (key, geometry) in models() {
            let is_seven = geometry.axis() == 8;
            assert_eq!(SevenSlices::of(geometry).is_some(), is_seven, "{key}");
        }
    }

    /// Whether the counts fit onto so many GPUs, by trying everything.
    fn fits(geometry: &Geometry, counts: &mut [u32], state: u16, gpus: u32) -> bool {
        if counts.iter().all(|&count| count == 0) {
            return true;
        }
        if gpus == 0 {
            return false;
        }
        for (id, placement) in (0..).zip(geometry.placements()) {
            let profile = usize::from(placement.profile);
            let Some(after) = geometry.after(state, id).filter(|_| counts[profile] > 0) else { continue };
            counts[profile] -= 1;
            let is_fit = fits(geometry, counts, after, gpus);
            counts[profile] += 1;
            if is_fit {
                return true;
            }
        }
        fits(geometry, counts, 0, gpus - 1)
    }

    #[test]
    fn small_cases_equal_trying_everything() {
        let mut dice = Dice::new(3);
        for (key, geometry) in models() {
            let fillings = Fillings::plain(geometry);
            for _ in 0..6 {
                let counts = random_counts(&mut dice, &fillings, 3);
                for effort in efforts() {
                    let Fewest { proof, packing } = fewest(geometry, &fillings, &counts, effort);
                    assert!(proof.is_optimal(), "{key} {counts:?}");
                    assert_eq!(packing.iter().map(|(_, gpus)| gpus).sum::<u64>(), proof.cost);
                    let gpus = u32::try_from(proof.cost).unwrap();
                    if gpus <= 3 {
                        assert!(fits(geometry, &mut counts.clone(), 0, gpus), "{key} {counts:?} {gpus}");
                        assert!(
                            gpus == 0 || !fits(geometry, &mut counts.clone(), 0, gpus - 1),
                            "{key} {counts:?} {gpus}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_packing_holds_what_was_asked_and_is_legal() {
        let mut dice = Dice::new(5);
        for (key, geometry) in models() {
            let fillings = Fillings::plain(geometry);
            for _ in 0..10 {
                let counts = random_counts(&mut dice, &fillings, 500);
                for packed in [
                    first_fit(geometry, &fillings, &counts),
                    fewest(geometry, &fillings, &counts, Effort::seconds(5.0)),
                ] {
                    let mut held = vec![0_u64; counts.len()];
                    for (filling, gpus) in &packed.packing {
                        let mut state = 0;
                        for &placement in &filling.layout {
                            state = geometry.after(state, placement).expect(key);
                            held[usize::from(geometry.placements()[usize::from(placement)].profile)] += gpus;
                        }
                    }
                    assert!(
                        held.iter().zip(&counts).all(|(held, asked)| *held >= u64::from(*asked)),
                        "{key}"
                    );
                    assert!(packed.proof.bound <= packed.proof.cost);
                }
            }
        }
    }

    #[test]
    fn a_hundred_thousand_requests_are_packed_at_once() {
        let geometry = geometry("a100-80gb");
        let fillings = Fillings::plain(geometry);
        let mut counts = vec![0; fillings.width()];
        for &id in fillings.profiles() {
            counts[usize::from(id)] = 16_667;
        }
        let packed = fewest(geometry, &fillings, &counts, Effort::seconds(20.0));
        let expected = SevenSlices::of(geometry).unwrap().fewest(&counts);
        assert_eq!((packed.proof.bound, packed.proof.cost), (expected, expected));
    }

    #[test]
    fn a_limit_of_no_time_still_gives_a_packing() {
        let geometry = geometry("a100-80gb");
        let fillings = Fillings::plain(geometry);
        let counts = vec![37; fillings.width()];
        for effort in efforts() {
            let hurried = fewest(geometry, &fillings, &counts, Effort { seconds: 0.0, ..effort });
            let counted = SevenSlices::of(geometry).unwrap().fewest(&counts);
            assert!(hurried.proof.bound <= counted && counted <= hurried.proof.cost);
        }
    }
}

mod moves {
    use super::*;
    use std::collections::BTreeMap;
    use tangram::mig::{PlacementId, StateId};
    use tangram::solver::exact::{Class, Goal, Group, Repack, Unreachable, repack, repack_greedily};

    /// GPUs filled by chance: each gets some instances at random legal starts, some of them fixed.
    fn cluster(dice: &mut Dice, geometry: &Geometry, gpus: u32, fixed: u32) -> Vec<Class> {
        let plain = Fillings::plain(geometry);
        let mut classes: BTreeMap<Class, u32> = BTreeMap::new();
        for _ in 0..gpus {
            let mut class = Class { fixed: Vec::new(), movable: Vec::new(), gpus: 0, drain: false };
            let mut state: StateId = 0;
            for _ in 0..dice.roll(5) {
                let profile = dice.pick(plain.profiles());
                let legal: Vec<_> = geometry.legal(state, profile).collect();
                if legal.is_empty() {
                    continue;
                }
                let (placement, after) = dice.pick(&legal);
                state = after;
                if dice.hits(fixed) { class.fixed.push(placement) } else { class.movable.push(placement) }
            }
            class.fixed.sort_unstable();
            class.movable.sort_unstable();
            *classes.entry(class).or_insert(0) += 1;
        }
        classes.into_iter().map(|(class, gpus)| Class { gpus, ..class }).collect()
    }

    fn profile(geometry: &Geometry, placement: PlacementId) -> usize {
        usize::from(geometry.placements()[usize::from(placement)].profile)
    }

    /// Checks an answer by rules alone; gives its cost.
    fn checked(geometry: &Geometry, classes: &[Class], goal: &Goal, found: &Repack) -> u64 {
        let mut gpus = vec![0; classes.len()];
        let mut balance: Vec<i64> = goal.room.iter().map(|&room| -i64::from(room)).collect();
        balance.resize(geometry.profiles().len(), 0);
        let (mut empty, mut moved, mut evictions) = (0, 0_u64, 0_u64);
        for Group { class, kept, added, gpus: count } in &found.groups {
            gpus[*class] += count;
            let class = &classes[*class];
            let mut state = 0;
            for &placement in class.fixed.iter().chain(kept).chain(added) {
                state = geometry.after(state, placement).expect("a legal layout");
            }
            assert!(!class.drain || state == 0, "a drained GPU takes nothing");
            empty += if state == 0 && !class.drain { *count } else { 0 };
            assert!(kept.iter().all(|placement| class.movable.contains(placement)));
            for &placement in class.movable.iter().filter(|placement| !kept.contains(placement)) {
                let profile = profile(geometry, placement);
                balance[profile] -= i64::from(*count);
                moved += u64::from(geometry.profiles()[profile].size) * u64::from(*count);
                evictions += u64::from(*count);
            }
            for &placement in added {
                balance[profile(geometry, placement)] += i64::from(*count);
            }
        }
        assert_eq!(gpus, classes.iter().map(|class| class.gpus).collect::<Vec<_>>(), "every GPU once");
        assert!(balance.iter().all(|&balance| balance == 0), "an instance was lost or made: {balance:?}");
        assert!(empty >= goal.empty);
        assert_eq!((found.moved, found.evictions), (moved, evictions));
        assert_eq!(found.proof.cost, moved + evictions * u64::from(goal.per_eviction));
        assert!(found.proof.bound <= found.proof.cost);
        found.proof.cost
    }

    /// The least cost by trying every subset of evictions and every way to place what waits.
    fn by_trying(geometry: &Geometry, classes: &[Class], goal: &Goal) -> Option<u64> {
        let gpus: Vec<&Class> =
            classes.iter().flat_map(|class| (0..class.gpus).map(move |_| class)).collect();
        let movable: Vec<(usize, PlacementId)> = gpus
            .iter()
            .enumerate()
            .flat_map(|(gpu, class)| class.movable.iter().map(move |&placement| (gpu, placement)))
            .collect();
        let mut best: Option<u64> = None;
        for subset in 0..1_u32 << movable.len() {
            let mut states = vec![0; gpus.len()];
            for (gpu, class) in gpus.iter().enumerate() {
                for &placement in &class.fixed {
                    states[gpu] = geometry.after(states[gpu], placement).unwrap();
                }
            }
            let mut waiting = goal.room.clone();
            waiting.resize(geometry.profiles().len(), 0);
            let mut cost = 0;
            for (bit, &(gpu, placement)) in movable.iter().enumerate() {
                if subset >> bit & 1 == 1 {
                    let profile = profile(geometry, placement);
                    waiting[profile] += 1;
                    cost += u64::from(geometry.profiles()[profile].size) + u64::from(goal.per_eviction);
                } else {
                    states[gpu] = geometry.after(states[gpu], placement).unwrap();
                }
            }
            if best.is_some_and(|best| best <= cost) {
                continue;
            }
            let places = |gpu: usize| !gpus[gpu].drain;
            let drained = (0..gpus.len()).all(|gpu| places(gpu) || states[gpu] == 0);
            if drained && place_all(geometry, &mut states, &mut waiting, &places, goal.empty) {
                best = Some(cost);
            }
        }
        best
    }

    fn place_all(
        geometry: &Geometry,
        states: &mut [StateId],
        waiting: &mut [u32],
        places: &impl Fn(usize) -> bool,
        empty: u32,
    ) -> bool {
        let left = (0..states.len()).filter(|&gpu| places(gpu) && states[gpu] == 0).count();
        if left < usize::try_from(empty).unwrap() {
            return false;
        }
        // The largest first: fewer dead ends, and no order of placing matters.
        let largest = (0..waiting.len())
            .filter(|&profile| waiting[profile] > 0)
            .max_by_key(|&profile| geometry.profiles()[profile].size);
        let Some(next) = largest else { return true };
        waiting[next] -= 1;
        let mut is_placed = false;
        for gpu in (0..states.len()).filter(|&gpu| places(gpu)) {
            let before = states[gpu];
            for (_, after) in geometry.legal(before, ProfileId::try_from(next).unwrap()) {
                states[gpu] = after;
                is_placed = is_placed || place_all(geometry, states, waiting, places, empty);
            }
            states[gpu] = before;
        }
        waiting[next] += 1;
        is_placed
    }

    #[test]
    fn small_clusters_equal_trying_everything() {
        let mut dice = Dice::new(17);
        let (mut reached, mut impossible) = (0, 0);
        for key in ["a100-80gb", "a30-24gb", "rtx-pro-6000-blackwell-96gb", "b200-180gb"] {
            let geometry = geometry(key);
            let plain = Fillings::plain(geometry);
            for _ in 0..60 {
                let gpus = 1 + dice.roll(3);
                let mut classes = cluster(&mut dice, geometry, gpus, 25);
                for class in &mut classes {
                    class.drain = dice.hits(10);
                }
                let mut room = vec![0; plain.width()];
                room[usize::from(dice.pick(plain.profiles()))] = dice.roll(3);
                let goal = Goal { empty: dice.roll(2), room, per_eviction: dice.roll(3) };
                let movable: u32 =
                    classes.iter().map(|c| c.gpus * u32::try_from(c.movable.len()).unwrap()).sum();
                if movable > 8 {
                    continue;
                }
                let expected = by_trying(geometry, &classes, &goal);
                for effort in efforts() {
                    match repack(geometry, &classes, &goal, effort) {
                        Ok(found) => {
                            let cost = checked(geometry, &classes, &goal, &found);
                            assert_eq!(Some(cost), expected, "{key} {classes:?} {goal:?} {effort:?}");
                            assert!(found.proof.is_optimal());
                            reached += 1;
                        }
                        Err(why) => {
                            let impossible_too = (Unreachable::Impossible, None);
                            assert_eq!((why, expected), impossible_too, "{key} {classes:?} {goal:?}");
                            impossible += 1;
                        }
                    }
                }
                if let Some(quick) = repack_greedily(geometry, &classes, &goal) {
                    assert!(Some(checked(geometry, &classes, &goal, &quick)) >= expected);
                }
            }
        }
        assert!(reached > 30 && impossible > 10, "both kinds are asked: {reached}, {impossible}");
    }

    #[test]
    fn a_goal_that_holds_already_moves_nothing() {
        let mut dice = Dice::new(23);
        let geometry = geometry("a100-80gb");
        let classes = cluster(&mut dice, geometry, 40, 0);
        let goal = Goal { empty: 1, ..Goal::default() };
        let found = repack(geometry, &classes, &goal, Effort::seconds(5.0)).unwrap();
        assert_eq!((found.proof.cost, found.proof.is_optimal()), (0, true));
        assert!(found.groups.iter().all(|group| group.added.is_empty()));
    }

    #[test]
    fn what_no_gpu_can_hold_is_no_cluster() {
        let geometry = geometry("a100-80gb");
        let twice = Class { fixed: vec![0], movable: vec![0; 40], gpus: 1, drain: false };
        let found = repack(geometry, &[twice], &Goal::default(), Effort::seconds(1.0));
        assert_eq!(found, Err(Unreachable::Impossible));
    }

    #[test]
    fn equal_questions_get_equal_answers() {
        let mut dice = Dice::new(41);
        let geometry = geometry("h200-141gb");
        let classes = cluster(&mut dice, geometry, 80, 15);
        let goal = Goal { empty: 12, room: vec![3, 0, 2], per_eviction: 1 };
        for effort in efforts() {
            let ask = || repack(geometry, &classes, &goal, effort).unwrap();
            let (first, second) = (ask(), ask());
            assert!(first.proof.is_optimal());
            assert_eq!(first, second);
        }
    }

    #[test]
    fn what_is_fixed_on_a_drained_gpu_makes_the_goal_impossible() {
        let geometry = geometry("a100-80gb");
        let class = Class { fixed: vec![0], movable: Vec::new(), gpus: 1, drain: true };
        let goal = Goal::default();
        assert_eq!(repack(geometry, &[class], &goal, Effort::seconds(5.0)), Err(Unreachable::Impossible));
    }

    #[test]
    fn one_small_instance_moves_aside_for_a_whole_gpu() {
        let geometry = geometry("a100-80gb");
        let place = |name: &str, start: u8| {
            let id = geometry.profile(&ProfileName::parse(name).unwrap()).unwrap();
            geometry.placement(id, start).unwrap()
        };
        let holding = |movable: Vec<PlacementId>| Class { fixed: Vec::new(), movable, gpus: 1, drain: false };
        let classes = [
            holding(vec![place("1g.10gb", 0)]),
            holding(vec![place("3g.40gb", 4)]),
            holding(vec![place("4g.40gb", 0), place("2g.20gb", 4)]),
        ];
        let goal = Goal { room: counts(geometry, &[("7g.80gb", 1)]), ..Goal::default() };
        for effort in efforts() {
            let found = repack(geometry, &classes, &goal, effort).unwrap();
            assert_eq!(checked(geometry, &classes, &goal, &found), 1);
            assert_eq!((found.moved, found.evictions, found.proof.is_optimal()), (1, 1, true));
        }
    }

    #[test]
    fn a_cluster_is_repacked_and_no_limit_leaves_it_without_an_answer() {
        let mut dice = Dice::new(29);
        let geometry = geometry("a100-80gb");
        let classes = cluster(&mut dice, geometry, 60, 10);
        let empty = classes.iter().filter(|class| class.fixed.is_empty() && class.movable.is_empty());
        let goal = Goal { empty: empty.map(|class| class.gpus).sum::<u32>() + 5, ..Goal::default() };
        let quick = repack_greedily(geometry, &classes, &goal).unwrap();
        for effort in efforts() {
            for seconds in [0.0, 2.0, f64::NAN, -1.0, f64::INFINITY] {
                let found = repack(geometry, &classes, &goal, Effort { seconds, ..effort }).unwrap();
                let cost = checked(geometry, &classes, &goal, &found);
                assert!(cost <= checked(geometry, &classes, &goal, &quick));
            }
        }
    }
}
