//! Simulated workloads: the production solver fills a fleet, and what comes of it agrees with a cluster's dry run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use smallvec::SmallVec;
use tangram::mig::{Catalog, ModelId};
use tangram::model::Policy;
use tangram::sim::{Figures, Fleet, Lifetime, Mix, Setting, Workload, fill, reference, replay};
use tangram::solver::{Demand, Scores};

fn a100() -> ModelId {
    Catalog::get().by_product("NVIDIA-A100-SXM4-80GB").unwrap()
}

fn setting(scores: &Scores, policy: Policy, gpus: usize, moves_max: usize) -> Setting<'_> {
    Setting { model: a100(), gpus, scores, policy, moves_max, from: 2.0, to: 6.0, step: 1.0 }
}

fn work(mix: &str, gpus: usize, load: f64, seed: u64) -> Workload {
    let geometry = Catalog::get().geometry(a100());
    let shares = Mix::parse(mix).unwrap().on(geometry).unwrap();
    Workload::new(geometry, &shares, gpus, load, Lifetime::Exponential, seed)
}

#[test]
fn packing_by_prices_refuses_less_than_the_others_and_moves_less_still() {
    let scores = Scores::prior();
    let run = |policy, moves_max| {
        let of = |seed| replay(&setting(&scores, policy, 64, moves_max), work("uniform", 64, 0.95, seed));
        let all: Vec<Figures> = (0..4).map(of).collect();
        let sum = |part: fn(&Figures) -> u64| all.iter().map(part).sum::<u64>();
        assert_eq!(all[0].series.len(), 6, "one sample per unit of time");
        (sum(|it| it.rejected_slices), sum(|it| it.slices), sum(|it| it.moves))
    };
    let (pack, asked, none) = run(Policy::Pack, 0);
    assert_eq!(none, 0);
    for policy in [Policy::BestFit, Policy::FirstFit, Policy::Mfi, Policy::Spread, Policy::Random(1)] {
        let (other, same, _) = run(policy, 0);
        assert_eq!(same, asked, "the workload does not depend on the policy");
        assert!(pack < other, "{policy}: {pack} against {other}");
    }
    let (moving, _, moves) = run(Policy::Pack, 2);
    assert!(moves > 0 && moving < pack, "{moving} with {moves} moves, {pack} without");
    let bound = |seed| reference(&setting(&scores, Policy::Pack, 64, 0), work("uniform", 64, 0.95, seed));
    let least: u64 = (0..4).map(bound).map(|it| it.rejected_slices).sum();
    assert!(least < moving, "{least} if everything may move");
}

#[test]
fn an_empty_fleet_is_filled_nearly_to_the_brim() {
    let scores = Scores::prior();
    let used = |policy| fill(&setting(&scores, policy, 200, 0), work("uniform", 200, 1.0, 1));
    let (pack, spread) = (used(Policy::Pack), used(Policy::Spread));
    assert!(pack > 97.0, "{pack}");
    assert!(spread < 60.0, "{spread}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let scores = Scores::prior();
    for policy in [Policy::Pack, Policy::Random(3)] {
        let run = || replay(&setting(&scores, policy, 16, 1), work("bimodal", 16, 1.05, 9));
        assert_eq!(run(), run());
    }
    let other = replay(&setting(&scores, Policy::Random(4), 16, 1), work("bimodal", 16, 1.05, 9));
    assert_ne!(other, replay(&setting(&scores, Policy::Random(3), 16, 1), work("bimodal", 16, 1.05, 9)));
}

#[test]
fn what_is_moved_was_free_to_go_and_nothing_is_lost() {
    let scores = Scores::prior();
    let geometry = Catalog::get().geometry(a100());
    let mut made = 0;
    for seed in 0..40 {
        let mut fleet = Fleet::new(&scores, Policy::Random(seed), a100(), 6);
        for arrival in work("uniform", 6, 1.0, seed).take(60) {
            if fleet.place(arrival.profile).is_some() {
                continue;
            }
            let Some(room) = fleet.room(arrival.profile, 3) else { continue };
            assert!((1..=3).contains(&room.moves.len()));
            let before: usize = fleet.instances().iter().map(SmallVec::len).sum();
            // Each step is legal when its turn comes: `put` panics where it is not.
            for step in &room.moves {
                let profile = |place: u8| geometry.placements()[usize::from(place)].profile;
                assert_eq!(profile(step.from.1), profile(step.to.1));
                fleet.put(step.to);
                fleet.remove(step.from);
            }
            fleet.put(room.place);
            let after: usize = fleet.instances().iter().map(SmallVec::len).sum();
            assert_eq!(after, before + 1);
            made += 1;
        }
    }
    assert!(made > 20, "{made} rooms were made");
}

#[test]
fn learnt_prices_of_a_demand_differ_where_the_demand_is_lopsided() {
    let geometry = Catalog::get().geometry(a100());
    let mix = Mix::parse("openb").unwrap();
    let kinds = mix.shares.iter().map(|(name, share)| (tangram::model::Want::Profile(name.clone()), *share));
    let learnt = Scores::new(Demand::new(kinds));
    assert_eq!(learnt.demand().of_model(a100()).len(), geometry.profiles().len());
    let prior = Scores::prior();
    let refused = |scores: &Scores| {
        let of = |seed| {
            replay(&setting(scores, Policy::Pack, 64, 0), work("openb", 64, 0.95, seed)).rejected_slices
        };
        (0..6).map(of).sum::<u64>()
    };
    let (learnt, prior) = (refused(&learnt), refused(&prior));
    assert!(learnt * 20 <= prior * 21, "{learnt} learnt, {prior} by the prior");
}
