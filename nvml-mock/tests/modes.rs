//! MIG mode, and what resets, reboots and restarts leave.

mod common;

use common::Machine;
use nvml_mock::{Board, Code, What};

const OFF: (u32, u32) = (0, 0);
const ON: (u32, u32) = (1, 1);

#[test]
fn hopper_changes_at_once_and_forgets_at_a_reboot() {
    let machine = Machine::new(vec![Board::of("h100-80gb-sxm")]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    assert_eq!(client.mig_mode(device), Ok(OFF));
    assert_eq!(client.set_mig_mode(device, 1), Ok(Ok(())));
    assert_eq!(client.mig_mode(device), Ok(ON));
    assert_eq!(client.set_mig_mode(device, 1), Ok(Ok(())), "once more changes nothing");
    assert_eq!(client.set_mig_mode(device, 2), Err(Code::INVALID_ARGUMENT));
    let modes = machine.scene.history().into_iter().map(|it| it.what);
    assert_eq!(modes.collect::<Vec<_>>(), [What::MigMode { current: true, pending: true }]);
    machine.scene.reboot();
    let client = machine.client();
    assert_eq!(client.mig_mode(client.device(0).unwrap()), Ok(OFF));
}

#[test]
fn ampere_keeps_its_mode_through_a_reboot() {
    let machine = Machine::new(vec![Board::of("a100-80gb")]);
    let client = machine.client();
    assert_eq!(client.set_mig_mode(client.device(0).unwrap(), 1), Ok(Ok(())));
    machine.scene.make_foreign(0, "3g.40gb", 0).unwrap();
    machine.scene.reboot();
    let client = machine.client();
    assert_eq!(client.mig_mode(client.device(0).unwrap()), Ok(ON));
    assert_eq!(machine.scene.state().gpus[0].mig.as_ref().unwrap().instances, []);
}

#[test]
fn ampere_in_use_stays_pending_until_a_reset() {
    let machine = Machine::new(vec![Board::of("a100-80gb")]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    machine.scene.run(1, &machine.scene.uuid(0), 10).unwrap();
    assert_eq!(client.set_mig_mode(device, 1), Ok(Err(Code::IN_USE)));
    assert_eq!(client.mig_mode(device), Ok((0, 1)));
    machine.scene.kill(1);
    assert_eq!(client.mig_mode(device), Ok((0, 1)), "idle alone resets nothing");
    machine.scene.reset(0);
    assert_eq!(client.mig_mode(device), Ok(ON));
}

#[test]
fn a_passed_through_ampere_wants_a_reset_from_outside() {
    let machine = Machine::new(vec![Board::of("a100-80gb").passthrough()]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    assert_eq!(client.set_mig_mode(device, 1), Ok(Err(Code::RESET_REQUIRED)));
    assert_eq!(client.mig_mode(device), Ok((0, 1)));
    machine.scene.reboot();
    let client = machine.client();
    assert_eq!(client.mig_mode(client.device(0).unwrap()), Ok(ON));
}

#[test]
fn a_held_hopper_refuses_and_nothing_is_pending() {
    let machine = Machine::new(vec![Board::of("h100-80gb-sxm")]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    machine.scene.hold("dcgm", 0, None);
    assert_eq!(client.set_mig_mode(device, 1), Ok(Err(Code::IN_USE)));
    assert_eq!(client.mig_mode(device), Ok(OFF));
}

#[test]
fn the_mode_does_not_end_while_there_are_instances() {
    let machine = Machine::new(vec![Board::of("h100-80gb-sxm").mig(), Board::of("a30-24gb").mig()]);
    let client = machine.client();
    let (hopper, ampere) = (client.device(0).unwrap(), client.device(1).unwrap());
    let made = machine.scene.make_foreign(0, "1g.10gb", 0).unwrap();
    machine.scene.make_foreign(1, "1g.6gb", 0).unwrap();
    assert_eq!(client.set_mig_mode(hopper, 0), Ok(Err(Code::IN_USE)));
    assert_eq!(client.mig_mode(hopper), Ok(ON));
    assert_eq!(client.set_mig_mode(ampere, 0), Ok(Err(Code::IN_USE)));
    assert_eq!(client.mig_mode(ampere), Ok((1, 0)));
    machine.scene.remove(0, made.id).unwrap();
    assert_eq!(client.set_mig_mode(hopper, 0), Ok(Ok(())));
    assert_eq!(client.mig_mode(hopper), Ok(OFF));
}

#[test]
fn a_reboot_leaves_no_instances_processes_or_open_libraries() {
    let machine = Machine::new(vec![Board::of("a100-40gb").mig()]);
    let scene = &machine.scene;
    let client = machine.client();
    let device = client.device(0).unwrap();
    let made = scene.make_foreign(0, "2g.10gb", 2).unwrap();
    scene.run(5, &made.compute[0].uuid, 100).unwrap();
    scene.hold("dcgm", 0, None);
    scene.lose(0);
    scene.reboot();
    let gpu = &scene.state().gpus[0];
    assert_eq!((gpu.processes.len(), gpu.holds.len(), gpu.is_lost), (0, 0, false));
    assert_eq!(gpu.mig.as_ref().unwrap().instances, []);
    assert_eq!(client.uuid(device), Err(Code::UNINITIALIZED));
    // What was wiped stands in the history as destroyed, so that it adds up.
    let destroyed = |what: &What| matches!(what, What::GpuInstanceDestroyed { start: 2, .. });
    assert!(scene.history().iter().any(|it| destroyed(&it.what)));
}
