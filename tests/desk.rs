//! The agent's desk, case by case: what it does next, offers, and says is not as wanted.
//! `common/desk_world.rs` plays a whole node at random.

#[path = "common/desk_board.rs"]
mod board;
#[path = "common/desk.rs"]
mod common;
#[path = "common/desk_world.rs"]
mod world;

use std::collections::BTreeSet;

use common::{
    desk, error, gpu, held, id, ledger, offers, running, sight, steps, unsettled, uuid, wanted, with,
};
use tangram::agent::desk::{Claim, Desk, Sight, Step, Turn};
use tangram::agent::ledger::Ledger;
use tangram_nvml::Code;
use tangram_nvml::facts::{Ailment, Gpu, Mig};

const H100: &str = "h100-80gb-sxm";
const SMALL: &str = "1g.10gb";
const GI: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";

fn h100() -> Gpu {
    gpu(0, H100)
}

/// An H100 with one instance, `1g.10gb` at 3.
fn with_small(uuid: &str) -> Gpu {
    with(h100(), 9, SMALL, 3, Some(uuid))
}

/// A desk that made it.
fn made_small() -> Desk {
    desk(&[(id(0, SMALL, 3), "MIG-a")])
}

fn without_mig_mode(is_pending: bool) -> Gpu {
    let mut gpu = h100();
    gpu.mig = gpu.mig.map(|mig| Mig { is_enabled: false, is_pending, ..mig });
    gpu
}

/// A turn with a step that fails.
fn fails(desk: &mut Desk, sight: &Sight, now_ms: u64, call: &'static str, code: Code) {
    let [step] = &desk.turn(sight, now_ms).steps[..] else { unreachable!("one step") };
    desk.ordered(std::slice::from_ref(step));
    desk.done(step, Err(error(call, code)), now_ms);
}

fn message(turn: &Turn) -> &str {
    &turn.unsettled[0].message
}

#[test]
fn what_is_wanted_is_made_and_what_is_there_is_left() {
    let mut desk = Desk::default();
    let empty = sight(vec![h100(), gpu(1, H100)], &[wanted(1, "2g.20gb", 4), wanted(0, SMALL, 3)]);
    let turn = desk.turn(&empty, 0);
    assert_eq!(steps(&turn), ["make GPU-0/1g.10gb/3", "make GPU-1/2g.20gb/4"]);
    assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3", "GPU-1/2g.20gb/4"], "on disk before they are made");
    assert_eq!((offers(&turn), unsettled(&turn)), (Some(vec![]), vec![]));
    desk.ordered(&turn.steps);
    for step in &turn.steps {
        desk.done(step, Ok(()), 0);
    }

    let gpus = vec![with_small("MIG-a"), with(gpu(1, H100), 3, "2g.20gb", 4, Some("MIG-b"))];
    let there = Sight { inventory: sight(gpus, &[]).inventory, ..empty };
    let turn = desk.turn(&there, 1);
    assert_eq!((steps(&turn), unsettled(&turn)), (vec![], vec![]));
    let healthy = ["GPU-0/1g.10gb/3 MIG-a healthy", "GPU-1/2g.20gb/4 MIG-b healthy"];
    assert_eq!(offers(&turn).expect("all is known"), healthy);
    let offer = &turn.offers.expect("all is known")[1];
    assert_eq!((offer.numa_node, offer.minor, offer.instance), (Some(1), 5, (3, 0)));
    assert_eq!(turn.wake_ms, None);
}

#[test]
fn what_keeps_an_instance_from_being_made_is_said() {
    let want = [wanted(0, SMALL, 3)];
    let all = |gpu| sight(vec![gpu], &want);
    let no_mig = Gpu { mig: None, ..h100() };
    let ailing = |ailment| Gpu { ailments: vec![ailment], ..h100() };
    let cases: [(Sight, &[&str], &str); 12] = [
        (
            all(with(h100(), 5, "3g.40gb", 0, Some("MIG-x"))),
            &["0 1g.10gb@3 OccupiedByOthers"],
            "3g.40gb at 0 is in its way, which Tangram did not make",
        ),
        // Also where it is just what is wanted.
        (
            all(with_small("MIG-x")),
            &["0 1g.10gb@3 OccupiedByOthers"],
            "1g.10gb at 3 is in its way, which Tangram did not make",
        ),
        (
            all(ailing(Ailment::Lost)),
            &["0 1g.10gb@3 GpuLost"],
            "fell off the bus: drain the node, then reset the GPU or reboot",
        ),
        (
            all(ailing(Ailment::ResetRequired)),
            &["0 1g.10gb@3 GpuLost"],
            "wants a reset: drain the node, then reset the GPU or reboot",
        ),
        (all(no_mig), &["0 1g.10gb@3 MigNotSupported"], "NVIDIA H100 80GB HBM3 has no MIG"),
        (
            Sight { claim: Claim::Nothing, ..all(h100()) },
            &["0 1g.10gb@3 NotDynamic"],
            "the labels tangram.gpu/mig and tangram.gpu/mig-gpus do not give this GPU to Tangram",
        ),
        (
            Sight { claim: Claim::Gpus(BTreeSet::from([1])), ..all(h100()) },
            &["0 1g.10gb@3 NotDynamic"],
            "the labels tangram.gpu/mig and tangram.gpu/mig-gpus do not give this GPU to Tangram",
        ),
        (
            sight(vec![h100()], &[wanted(2, SMALL, 3)]),
            &["2 1g.10gb@3 NoSuchGpu"],
            "NVML knows no GPU 2: see `nvidia-smi -L` on the node",
        ),
        (
            sight(vec![h100()], &[wanted(0, "1g.20gb", 3)]),
            &["0 1g.20gb@3 NoSuchPlacement"],
            "NVML lets 1g.20gb start at [0, 2, 4, 6]",
        ),
        (
            sight(vec![gpu(0, "a30-24gb")], &want),
            &["0 1g.10gb@3 NoSuchPlacement"],
            "NVML lists 1g.6gb, 1g.6gb+me, 2g.12gb, 2g.12gb+me, 4g.24gb",
        ),
        (
            Sight { may_enable: false, ..all(without_mig_mode(false)) },
            &["0 all MigDisabled", "0 1g.10gb@3 MigDisabled"],
            "MIG mode is off and the agent may not turn it on: `nvidia-smi -i N -mig 1`",
        ),
        (
            Sight { held: held(0, &[("GPU-0", "old")]), ..all(without_mig_mode(false)) },
            &["0 all HeldByContainer", "0 1g.10gb@3 MigDisabled"],
            "MIG mode is off; pod test/old holds the whole GPU",
        ),
    ];
    for (sight, expected, text) in cases {
        let mut desk = Desk::default();
        let turn = desk.turn(&sight, 5);
        assert_eq!(
            (unsettled(&turn), steps(&turn)),
            (expected.iter().map(ToString::to_string).collect(), vec![])
        );
        assert_eq!(message(&turn), text);
        assert!(offers(&turn).expect("all is known").is_empty());
        assert_eq!(ledger(&desk), Vec::<String>::new(), "nothing is intended");
    }
}

#[test]
fn what_the_driver_refuses_is_said_in_its_words() {
    for (code, reason) in [
        (Code::InUse, "InUse"),
        (Code::InsufficientResources, "InsufficientResources"),
        (Code::GpuIsLost, "GpuLost"),
        (Code::ResetRequired, "ResetRequired"),
        (Code::NoPermission, "DriverError"),
        (Code::Other(4711), "DriverError"),
    ] {
        let mut desk = Desk::default();
        let want = sight(vec![h100()], &[wanted(0, SMALL, 3)]);
        fails(&mut desk, &want, 0, GI, code);
        let turn = desk.turn(&want, 1);
        assert_eq!((unsettled(&turn), steps(&turn)), (vec![format!("0 1g.10gb@3 {reason}")], vec![]));
        assert_eq!(message(&turn), error(GI, code).to_string());
    }
}

#[test]
fn every_try_that_fails_doubles_the_pause_up_to_thirty_seconds() {
    let mut desk = Desk::default();
    let want = sight(vec![h100()], &[wanted(0, SMALL, 3)]);
    let mut now_ms = 1000;
    for pause_ms in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        fails(&mut desk, &want, now_ms, GI, Code::InUse);
        assert_eq!(desk.turn(&want, now_ms).wake_ms, Some(now_ms + pause_ms));
        assert_eq!(steps(&desk.turn(&want, now_ms + pause_ms - 1)), [""; 0]);
        now_ms += pause_ms;
    }
    // Success: the next failure is the first again.
    let turn = desk.turn(&want, now_ms);
    assert_eq!((steps(&turn), turn.wake_ms), (vec!["make GPU-0/1g.10gb/3".to_owned()], None));
    desk.done(&turn.steps[0], Ok(()), now_ms);
    fails(&mut desk, &want, now_ms, GI, Code::InUse);
    assert_eq!(desk.turn(&want, now_ms).wake_ms, Some(now_ms + 250));
}

#[test]
fn a_failure_is_forgotten_when_nobody_wants_the_instance_any_more() {
    let both = |places: &[tangram::agent::desk::Wanted]| sight(vec![h100(), gpu(1, H100)], places);
    let mut desk = Desk::default();
    let want = both(&[wanted(0, SMALL, 3)]);
    for now_ms in [0, 250] {
        fails(&mut desk, &want, now_ms, GI, Code::InUse);
    }
    assert_eq!(desk.turn(&want, 260).wake_ms, Some(750));
    // The same place of the other GPU is another subject.
    let other = Sight {
        inventory: sight(vec![h100(), with(gpu(1, H100), 1, SMALL, 3, Some("MIG-x"))], &[]).inventory,
        ..both(&[wanted(1, SMALL, 3)])
    };
    let turn = desk.turn(&other, 300);
    assert_eq!((unsettled(&turn), turn.wake_ms), (vec!["1 1g.10gb@3 OccupiedByOthers".to_owned()], None));
    fails(&mut desk, &want, 300, GI, Code::InUse);
    assert_eq!(desk.turn(&want, 300).wake_ms, Some(550), "it is the first again");
}

#[test]
fn what_nobody_wants_is_removed_once_a_younger_record_shows_it_free() {
    let mut desk = made_small();
    let unwanted = |held| Sight { held, ..sight(vec![with_small("MIG-a")], &[]) };
    let waits = ["0 1g.10gb@3 leaving HeldByContainer"];
    // Withdrawn at 100: no record yet, older ones, and one of the same moment do not show what happened since.
    for (record, now_ms) in [(None, 100), (held(50, &[]), 110), (held(100, &[]), 120)] {
        let turn = desk.turn(&unwanted(record), now_ms);
        assert_eq!(
            (unsettled(&turn), steps(&turn), turn.needs_held),
            (waits.map(str::to_owned).to_vec(), vec![], true)
        );
        assert_eq!(message(&turn), "the kubelet may just have given it to a container");
        assert_eq!(offers(&turn).expect("what is wanted is known"), [""; 0]);
    }
    let turn = desk.turn(&unwanted(held(101, &[])), 130);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);
    assert!(!turn.needs_held);
    assert_eq!(unsettled(&turn), [""; 0]);
    assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3"], "until it is gone");
    let turn = desk.turn(&Sight { held: held(101, &[]), ..sight(vec![h100()], &[]) }, 140);
    assert_eq!((steps(&turn), ledger(&desk)), (vec![], vec![]));
}

#[test]
fn what_is_wanted_again_meanwhile_waits_anew_when_it_is_unwanted_again() {
    let mut desk = made_small();
    let there = || vec![with_small("MIG-a")];
    desk.turn(&Sight { held: held(50, &[]), ..sight(there(), &[]) }, 100);
    let turn = desk.turn(&Sight { held: held(150, &[]), ..sight(there(), &[wanted(0, SMALL, 3)]) }, 200);
    assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/3 MIG-a healthy"]);
    let turn = desk.turn(&Sight { held: held(150, &[]), ..sight(there(), &[]) }, 300);
    assert_eq!(steps(&turn), [""; 0], "the record is from before it was withdrawn");
    let turn = desk.turn(&Sight { held: held(301, &[]), ..sight(there(), &[]) }, 310);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);
}

#[test]
fn what_is_in_use_stays() {
    let device = "GPU-0/1g.10gb/3";
    // Held by a container: it is still offered, as one that must not be handed out again.
    let mut desk = made_small();
    let unwanted = |gpu, held| Sight { held, ..sight(vec![gpu], &[]) };
    desk.turn(&unwanted(with_small("MIG-a"), None), 0);
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(50, &[(device, "p")])), 100);
    assert_eq!(
        (unsettled(&turn), steps(&turn)),
        (vec!["0 1g.10gb@3 leaving HeldByContainer".to_owned()], vec![])
    );
    assert_eq!(message(&turn), "pod test/p still holds it");
    assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/3 MIG-a unhealthy"]);

    // Used by a process in it; one in another instance does not count.
    let turn = desk.turn(&unwanted(running(with_small("MIG-a"), 77, Some(9)), held(50, &[])), 100);
    assert_eq!((unsettled(&turn), steps(&turn)), (vec!["0 1g.10gb@3 leaving InUse".to_owned()], vec![]));
    assert_eq!(message(&turn), "process 77 still uses it");
    let turn = desk.turn(&unwanted(running(with_small("MIG-a"), 77, Some(8)), held(50, &[])), 100);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);

    // Handed out a moment ago: as if held, for ten seconds, whatever the record says.
    let mut desk = made_small();
    desk.granted([id(0, SMALL, 3)], 1000);
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(900, &[])), 1000);
    assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/3 MIG-a unhealthy"]);
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(10_998, &[])), 10_999);
    assert_eq!((steps(&turn), turn.needs_held), (vec![], true));
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(10_998, &[])), 11_000);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);

    // The kubelet turned the pod away after all: what was wanted for it ends, and a younger record does not name it.
    let mut desk = made_small();
    let for_it = sight(vec![with_small("MIG-a")], &[wanted(0, SMALL, 3)]);
    desk.granted([id(0, SMALL, 3)], 1000);
    let turn = desk.turn(&Sight { held: held(900, &[]), ..for_it.clone() }, 1000);
    assert_eq!((turn.needs_held, turn.wake_ms), (false, Some(11_000)));
    for (asked_ms, now_ms) in [(990, 1100), (1100, 1101), (2000, 2001)] {
        let turn = desk.turn(&unwanted(with_small("MIG-a"), held(asked_ms, &[])), now_ms);
        assert_eq!((steps(&turn), turn.needs_held), (vec![], true), "{asked_ms}");
    }
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(2001, &[])), 2002);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);
    // One whose pod is still expected is not given up so early, and one that is recorded stays.
    let mut desk = made_small();
    desk.granted([id(0, SMALL, 3)], 1000);
    desk.turn(&Sight { held: held(2001, &[]), ..for_it }, 2002);
    let turn = desk.turn(&unwanted(with_small("MIG-a"), held(2001, &[])), 2003);
    assert_eq!((steps(&turn), turn.needs_held), (vec![], true));
    let recorded = unwanted(with_small("MIG-a"), held(2004, &[("GPU-0/1g.10gb/3", "p")]));
    let turn = desk.turn(&recorded, 2005);
    assert_eq!(message(&turn), "pod test/p still holds it");

    // The driver says that something uses it.
    let free = unwanted(with_small("MIG-a"), held(10_998, &[]));
    fails(&mut desk, &free, 11_000, "nvmlGpuInstanceDestroy", Code::InUse);
    let turn = desk.turn(&free, 11_001);
    assert_eq!(
        (unsettled(&turn), turn.wake_ms),
        (vec!["0 1g.10gb@3 leaving InUse".to_owned()], Some(11_250))
    );
}

#[test]
fn an_own_instance_in_the_way_goes_first() {
    let mut desk = made_small();
    let want = |held| Sight { held, ..sight(vec![with_small("MIG-a")], &[wanted(0, "3g.40gb", 0)]) };
    let turn = desk.turn(&want(held(0, &[])), 10);
    assert_eq!(unsettled(&turn), ["0 1g.10gb@3 leaving HeldByContainer", "0 3g.40gb@0 MakingRoom"]);
    let turn = desk.turn(&want(held(11, &[])), 20);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);
    assert_eq!(unsettled(&turn), ["0 3g.40gb@0 MakingRoom"]);
    assert_eq!(message(&turn), "1g.10gb at 3 is in its way, which leaves first");
    // Where it is not in the way, both happen in one turn, the room first.
    let mut desk = made_small();
    let want = |held| Sight { held, ..sight(vec![with_small("MIG-a")], &[wanted(0, "3g.40gb", 4)]) };
    desk.turn(&want(None), 10);
    let turn = desk.turn(&want(held(11, &[])), 20);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a", "make GPU-0/3g.40gb/4"]);
}

#[test]
fn an_instance_without_its_compute_instance_is_made_anew() {
    let mut desk = made_small();
    let half = with(h100(), 9, SMALL, 3, None);
    let want = |held| Sight { held, ..sight(vec![half.clone()], &[wanted(0, SMALL, 3)]) };
    let turn = desk.turn(&want(held(0, &[])), 10);
    assert_eq!(unsettled(&turn), ["0 1g.10gb@3 leaving HeldByContainer", "0 1g.10gb@3 MakingRoom"]);
    assert_eq!(offers(&turn).expect("known"), [""; 0], "nobody could use it");
    assert_eq!(steps(&desk.turn(&want(held(11, &[])), 20)), ["remove GPU-0/1g.10gb/3 -"]);
    // What comes to its place with a compute instance is another one.
    let turn = desk.turn(&sight(vec![with_small("MIG-x")], &[]), 30);
    assert_eq!((turn.own.len(), steps(&turn)), (0, vec![]));
}

#[test]
fn nothing_is_offered_before_anything_is_known_and_then_only_what_is_held() {
    let there = || vec![with(with_small("MIG-a"), 2, SMALL, 0, Some("MIG-b"))];
    let made = || desk(&[(id(0, SMALL, 3), "MIG-a"), (id(0, SMALL, 0), "MIG-b")]);
    let nobody = Sight { wanted: None, held: None, ..sight(there(), &[]) };
    assert_eq!(offers(&made().turn(&nobody, 0)), None);
    // The kubelet has spoken, the API server has not: what a container holds stays as it was.
    let held_one = || held(5, &[("GPU-0/1g.10gb/3", "p")]);
    let kubelet = Sight { held: held_one(), ..nobody.clone() };
    let only_held = Some(vec!["GPU-0/1g.10gb/3 MIG-a healthy".to_owned()]);
    let turn = made().turn(&kubelet, 0);
    assert_eq!((offers(&turn), steps(&turn), unsettled(&turn)), (only_held.clone(), vec![], vec![]));
    // Nor does it say anything before the node's labels are read, whatever the GpuNode wants.
    for wants in [&[][..], &[wanted(0, SMALL, 0)]] {
        let unclaimed = Sight { claim: Claim::Unknown, held: held_one(), ..sight(there(), wants) };
        let turn = made().turn(&unclaimed, 0);
        assert_eq!((offers(&turn), steps(&turn), unsettled(&turn)), (only_held.clone(), vec![], vec![]));
        let mute = Sight { held: None, ..unclaimed };
        assert_eq!(offers(&made().turn(&mute, 0)), None);
    }
    // The API server has spoken, the kubelet has not.
    let api = Sight { held: None, ..sight(there(), &[wanted(0, SMALL, 0)]) };
    let turn = made().turn(&api, 0);
    assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/0 MIG-b healthy"]);
    assert!(turn.needs_held);
}

#[test]
fn a_gpu_that_is_ill_offers_nothing_healthy_and_loses_nothing() {
    let want = [wanted(0, SMALL, 3)];
    let steps_of = |ailments: Vec<Ailment>, wants: &[_], mut desk: Desk| {
        let ill = Gpu { ailments, ..with_small("MIG-a") };
        let turn = desk.turn(&sight(vec![ill], wants), 1);
        assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3"]);
        (offers(&turn).expect("known"), steps(&turn), unsettled(&turn))
    };
    let sick = vec!["GPU-0/1g.10gb/3 MIG-a unhealthy".to_owned()];
    assert_eq!(steps_of(vec![Ailment::Xid(79)], &want, made_small()), (sick.clone(), vec![], vec![]));
    let lost = vec!["0 1g.10gb@3 GpuLost".to_owned()];
    for ailment in [Ailment::Lost, Ailment::ResetRequired] {
        assert_eq!(
            steps_of(vec![ailment.clone()], &want, made_small()),
            (sick.clone(), vec![], lost.clone())
        );
        assert_eq!(steps_of(vec![ailment.clone()], &[], made_small()), (vec![], vec![], vec![]));
        // While nothing can be read, what is not on the last sight is not gone.
        let mut desk = made_small();
        desk.turn(&sight(vec![Gpu { ailments: vec![ailment], ..h100() }], &want), 1);
        assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3"]);
        // Nor when the GPU is not there at all.
        desk.turn(&sight(vec![gpu(1, H100)], &want), 2);
        assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3"]);
        let turn = desk.turn(&sight(vec![with_small("MIG-a")], &want), 3);
        assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/3 MIG-a healthy"]);
    }
}

#[test]
fn an_instance_of_somebody_else_is_not_touched_or_offered() {
    for wants in [&[][..], &[wanted(0, SMALL, 3)], &[wanted(0, "7g.80gb", 0)]] {
        // None of Tangram's was ever there; or one was, of another UUID.
        for mut desk in [Desk::default(), made_small()] {
            let turn = desk.turn(&Sight { held: held(9, &[]), ..sight(vec![with_small("MIG-x")], wants) }, 1);
            let turn = desk.turn(
                &Sight { held: held(9, &[]), ..sight(vec![with_small("MIG-x")], wants) },
                turn.wake_ms.unwrap_or(10),
            );
            assert_eq!((steps(&turn), offers(&turn), turn.own.len()), (vec![], Some(vec![]), 0));
            assert!(unsettled(&turn).iter().all(|open| open.ends_with("OccupiedByOthers")), "{turn:?}");
            assert_eq!(turn.unsettled.len(), wants.len());
        }
    }
    // The device plugin's own name of it does not make it Tangram's.
    let theirs = Sight {
        held: held(9, &[("MIG-x", "p"), ("GPU-0/1g.10gb/2", "q")]),
        ..sight(vec![with_small("MIG-x")], &[])
    };
    let turn = Desk::default().turn(&theirs, 10);
    assert_eq!((steps(&turn), offers(&turn), turn.own.len()), (vec![], Some(vec![]), 0));
}

#[test]
fn without_its_ledger_the_agent_knows_its_own_by_the_kubelets_record() {
    let recorded = || held(9, &[("GPU-0/1g.10gb/3", "p")]);
    let mut desk = Desk::default();
    let turn = desk.turn(&Sight { held: recorded(), ..sight(vec![with_small("MIG-a")], &[]) }, 1);
    assert_eq!((ledger(&desk), steps(&turn)), (vec!["GPU-0/1g.10gb/3".to_owned()], vec![]));
    assert_eq!(offers(&turn).expect("known"), ["GPU-0/1g.10gb/3 MIG-a unhealthy"]);
    let turn = desk.turn(&Sight { held: held(12, &[]), ..sight(vec![with_small("MIG-a")], &[]) }, 20);
    assert_eq!(steps(&turn), ["remove GPU-0/1g.10gb/3 MIG-a"]);
    // So does one that it hands out itself.
    let mut desk = Desk::default();
    desk.granted([id(0, SMALL, 3)], 1);
    assert_eq!(desk.turn(&sight(vec![with_small("MIG-a")], &[]), 1).own.len(), 1);
}

#[test]
fn mig_mode_is_turned_on_only_where_that_is_allowed_and_disturbs_nobody() {
    let off = || without_mig_mode(false);
    let wants = [wanted(0, SMALL, 3)];
    let turn = |sight: &Sight| Desk::default().turn(sight, 0);
    let on = turn(&sight(vec![off()], &wants));
    assert_eq!(steps(&on), ["enable GPU-0"]);
    assert_eq!(unsettled(&on), ["0 all MigDisabled", "0 1g.10gb@3 MigDisabled"]);
    assert_eq!(message(&on), "MIG mode is being turned on");
    assert_eq!(steps(&turn(&sight(vec![off()], &[]))), ["enable GPU-0"], "whether anything is wanted or not");
    let pending = turn(&sight(vec![without_mig_mode(true)], &wants));
    assert_eq!(
        (steps(&pending), &unsettled(&pending)[0][..]),
        (vec!["enable GPU-0".to_owned()], "0 all ResetRequired")
    );

    let busy = sight(vec![running(off(), 42, None)], &wants);
    let all = || sight(vec![off()], &wants);
    let cases = [
        (busy, "InUse", "MIG mode is off; process 42 uses the GPU, which must be idle"),
        (
            Sight { held: None, ..all() },
            "MigDisabled",
            "MIG mode is off; the kubelet has not said whether a container holds the GPU",
        ),
        (
            Sight { held: held(0, &[("GPU-0", "p")]), ..all() },
            "HeldByContainer",
            "MIG mode is off; pod test/p holds the whole GPU",
        ),
        // A share of it, as the device plugin names replicas.
        (
            Sight { held: held(0, &[("GPU-0::3", "p")]), ..all() },
            "HeldByContainer",
            "MIG mode is off; pod test/p holds the whole GPU",
        ),
        (
            Sight { may_enable: false, ..all() },
            "MigDisabled",
            "MIG mode is off and the agent may not turn it on: `nvidia-smi -i N -mig 1`",
        ),
    ];
    for (sight, reason, text) in cases {
        let off = turn(&sight);
        assert_eq!((steps(&off), &unsettled(&off)[0]), (vec![], &format!("0 all {reason}")));
        assert_eq!(message(&off), text);
    }
    let other = Sight { held: held(0, &[("GPU-1", "p")]), ..all() };
    assert_eq!(steps(&turn(&other)), ["enable GPU-0"]);
    for claim in [Claim::Nothing, Claim::Unknown, Claim::Gpus(BTreeSet::from([3]))] {
        assert_eq!(steps(&turn(&Sight { claim, ..all() })), [""; 0]);
    }
    let ill = Gpu { ailments: vec![Ailment::Lost], ..off() };
    assert_eq!(steps(&turn(&sight(vec![ill], &wants))), [""; 0]);

    // It failed: tried again after a pause, with the driver's words meanwhile; forgotten when the mode is on.
    let mut desk = Desk::default();
    fails(&mut desk, &all(), 0, "nvmlDeviceSetMigMode", Code::ResetRequired);
    let later = desk.turn(&all(), 249);
    assert_eq!(
        (steps(&later), &unsettled(&later)[0][..], later.wake_ms),
        (vec![], "0 all ResetRequired", Some(250))
    );
    assert_eq!(steps(&desk.turn(&all(), 250)), ["enable GPU-0"]);
    desk.turn(&sight(vec![h100()], &[]), 251);
    fails(&mut desk, &all(), 300, "nvmlDeviceSetMigMode", Code::InUse);
    assert_eq!(desk.turn(&all(), 300).wake_ms, Some(550));
}

#[test]
fn a_step_under_way_is_not_taken_again_and_what_it_changes_is_not_lost() {
    // One in the making that nobody wants any more: it is still Tangram's when it comes.
    let mut desk = Desk::default();
    let turn = desk.turn(&sight(vec![h100()], &[wanted(0, SMALL, 3)]), 0);
    desk.ordered(&turn.steps);
    assert_eq!(steps(&desk.turn(&sight(vec![h100()], &[wanted(0, SMALL, 3)]), 1)), [""; 0]);
    desk.turn(&sight(vec![h100()], &[]), 2);
    assert_eq!(ledger(&desk), ["GPU-0/1g.10gb/3"]);
    desk.done(&turn.steps[0], Ok(()), 3);
    let there = |held| Sight { held, ..sight(vec![with_small("MIG-a")], &[]) };
    assert_eq!(desk.turn(&there(held(0, &[])), 3).own.len(), 1);
    let gone = desk.turn(&there(held(4, &[])), 5);
    assert_eq!(steps(&gone), ["remove GPU-0/1g.10gb/3 MIG-a"]);

    // One that goes and is wanted again: not offered until it is known whether it is still there.
    desk.ordered(&gone.steps);
    let again = Sight { held: held(4, &[]), ..sight(vec![with_small("MIG-a")], &[wanted(0, SMALL, 3)]) };
    let turn = desk.turn(&again, 6);
    assert_eq!((steps(&turn), offers(&turn).expect("known")), (vec![], vec![]));
    assert_eq!(unsettled(&turn), ["0 1g.10gb@3 MakingRoom"]);
    let mut failed = made_small();
    failed.ordered(&gone.steps);
    failed.done(&gone.steps[0], Err(error("nvmlGpuInstanceDestroy", Code::InUse)), 7);
    assert_eq!(offers(&failed.turn(&again, 7)).expect("known"), ["GPU-0/1g.10gb/3 MIG-a healthy"]);
    desk.done(&gone.steps[0], Ok(()), 7);
    let empty = Sight { held: held(4, &[]), ..sight(vec![h100()], &[wanted(0, SMALL, 3)]) };
    assert_eq!(steps(&desk.turn(&empty, 7)), ["make GPU-0/1g.10gb/3"]);
}

#[test]
fn who_was_quicker_at_the_same_place_keeps_it() {
    let want = || sight(vec![h100()], &[wanted(0, SMALL, 3)]);
    let theirs = || sight(vec![with_small("MIG-x")], &[]);
    // Where the driver may have made it after all, what is there is Tangram's.
    let half = "nvmlGpuInstanceCreateComputeInstance";
    for (call, code, own) in [
        (GI, Code::InsufficientResources, 0),
        (GI, Code::InUse, 0),
        (GI, Code::Timeout, 1),
        (half, Code::InsufficientResources, 1),
    ] {
        let mut desk = Desk::default();
        fails(&mut desk, &want(), 0, call, code);
        assert_eq!(desk.turn(&theirs(), 1).own.len(), own, "{call} {code:?}");
    }
    // A step that was never taken made nothing.
    let mut desk = Desk::default();
    desk.turn(&want(), 0);
    assert_eq!(desk.turn(&theirs(), 1).own.len(), 0);
}

#[test]
fn an_agent_that_was_killed_between_intent_and_uuid_finds_its_own() {
    let mut first = Desk::default();
    first.turn(&sight(vec![h100()], &[wanted(0, SMALL, 3)]), 0);
    let disk = first.ledger().clone();
    // It was made, and nobody wants it any more.
    let mut second = Desk::new(disk.clone());
    let unwanted = |held| Sight { held, ..sight(vec![with_small("MIG-a")], &[]) };
    second.turn(&unwanted(held(0, &[])), 0);
    assert_eq!(steps(&second.turn(&unwanted(held(1, &[])), 2)), ["remove GPU-0/1g.10gb/3 MIG-a"]);
    // It learned the UUID: one that somebody else makes there later is not taken for it.
    let mut third = Desk::new(second.ledger().clone());
    assert_eq!(third.turn(&sight(vec![with_small("MIG-x")], &[]), 0).own.len(), 0);
    // It was not made: made now, or forgotten.
    let mut second = Desk::new(disk.clone());
    assert_eq!(
        steps(&second.turn(&sight(vec![h100()], &[wanted(0, SMALL, 3)]), 0)),
        ["make GPU-0/1g.10gb/3"]
    );
    let mut second = Desk::new(disk);
    second.turn(&sight(vec![h100()], &[]), 0);
    assert_eq!(ledger(&second), [""; 0]);
}

#[test]
fn the_ledger_on_disk_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let path = folder.path().join("state").join("instances.json");
    assert_eq!(Ledger::read(&path).expect("there is none yet"), Ledger::default());
    let mut desk = made_small();
    desk.ledger().write(&path).expect("the folder is made");
    assert_eq!(&Ledger::read(&path).expect("it was written"), desk.ledger());
    let text = r#"[{"gpu":"GPU-0","profile":"1g.10gb","start":3,"uuid":"MIG-a"}]"#;
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);

    // Torn: whatever was written beside it, the old one stands; the next write replaces both.
    let old = Ledger::read(&path).expect("it was written");
    for torn in ["", "[", &text[..40], text] {
        std::fs::write(path.with_extension("next"), torn).expect("it is written");
        assert_eq!(Ledger::read(&path).expect("the old one"), old);
    }
    desk.turn(&sight(vec![with_small("MIG-a")], &[wanted(0, SMALL, 0)]), 0);
    desk.ledger().write(&path).expect("it is written");
    let new = Ledger::read(&path).expect("it was written");
    assert_eq!(&new, desk.ledger());
    assert!(new.has(&id(0, SMALL, 0)) && new.has(&id(0, SMALL, 3)));
    assert!(!path.with_extension("next").exists());

    for (bad, why) in [
        ("", "is no ledger: EOF while parsing a value at line 1 column 0"),
        ("{}", "is no ledger: invalid type: map, expected a sequence at line 1 column 0"),
        (&text[..40], "is no ledger: EOF while parsing a string at line 1 column 40"),
        (r#"[{"gpu":"GPU-0","profile":"huge","start":3}]"#, "\"huge\" is no MIG profile"),
        (r#"[{"gpu":"GPU-0","profile":"1g.10gb","start":3,"more":1}]"#, "unknown field `more`"),
    ] {
        std::fs::write(&path, bad).expect("it is written");
        let error = format!("{:#}", Ledger::read(&path).expect_err("it is none"));
        assert!(error.contains(&*path.to_string_lossy()) && error.contains(why), "{error}");
    }
    let folder = Ledger::read(folder.path()).expect_err("it is a folder");
    assert!(format!("{folder:#}").starts_with("reading "), "{folder:#}");
}

#[test]
fn the_step_names_the_very_instance_that_was_seen() {
    let mut desk = made_small();
    desk.turn(&sight(vec![with_small("MIG-a")], &[]), 10);
    let turn = desk.turn(&Sight { held: held(11, &[]), ..sight(vec![with_small("MIG-a")], &[]) }, 12);
    let [Step::Destroy(device, instance)] = &turn.steps[..] else { unreachable!("one") };
    assert_eq!((device, instance.id, instance.start), (&id(0, SMALL, 3), 9, 3));
    assert_eq!(instance.uuid().map(uuid), Some(uuid("MIG-a")));
}

#[test]
fn whatever_happens_on_the_node_nobody_loses_an_instance_and_none_is_left_over() {
    for seed in 0..world::SEEDS {
        world::World::new(seed).run();
    }
}
