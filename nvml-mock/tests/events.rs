//! Events reach those who registered, and nobody else.

mod common;

use std::ptr::null_mut;
use std::time::{Duration, Instant};

use common::{Answer, Client, Device, Machine, call};
use nvml_mock::{Board, Code, Scene};
use nvml_wrapper_sys::bindings as sys;

const XID: u64 = sys::nvmlEventTypeXidCriticalError as u64;
const SINGLE: u64 = sys::nvmlEventTypeSingleBitEccError as u64;
const DOUBLE: u64 = sys::nvmlEventTypeDoubleBitEccError as u64;
const MIG: u64 = sys::nvmlEventMigConfigChange as u64;
const NONE: u32 = u32::MAX;

fn machine() -> Machine {
    Machine::new(vec![Board::of("h100-80gb-sxm").mig(), Board::plain("NVIDIA L4", 23034)])
}

fn set(client: &Client) -> sys::nvmlEventSet_t {
    let mut set = null_mut();
    call!(client.nvmlEventSetCreate(&raw mut set)).expect("a set");
    set
}

fn register(client: &Client, device: Device, kinds: u64, set: sys::nvmlEventSet_t) -> Answer<()> {
    call!(client.nvmlDeviceRegisterEvents(device, kinds, set))
}

/// The next event as (kind, data, GPU instance, compute instance), and its device's UUID.
fn next(client: &Client, set: sys::nvmlEventSet_t) -> Answer<((u64, u64, u32, u32), String)> {
    let mut data = common::empty::<sys::nvmlEventData_t>();
    call!(client.nvmlEventSetWait_v2(set, &raw mut data, 0))?;
    let about = (data.eventType, data.eventData, data.gpuInstanceId, data.computeInstanceId);
    Ok((about, client.uuid(data.device)?))
}

#[test]
fn events_come_in_order_and_once() {
    let machine = machine();
    let scene = &machine.scene;
    let client = machine.client();
    let (gpu, plain) = (client.device(0).unwrap(), client.device(1).unwrap());
    scene.xid(0, 1, None); // before anybody asked
    let set = set(&client);
    register(&client, gpu, XID | SINGLE | DOUBLE | MIG, set).unwrap();
    register(&client, plain, XID, set).unwrap();
    scene.xid(0, 31, Some(7));
    scene.xid(1, 79, None);
    scene.ecc(1, 5, 0); // not registered for
    scene.ecc(0, 3, 2);
    let made = scene.make_foreign(0, "1g.10gb", 2).unwrap();
    scene.remove(0, made.id).unwrap();
    let (one, other) = (scene.uuid(0), scene.uuid(1));
    let expected = [
        ((XID, 31, 7, NONE), &one),
        ((XID, 79, NONE, NONE), &other),
        ((SINGLE, 0, NONE, NONE), &one),
        ((DOUBLE, 0, NONE, NONE), &one),
        ((MIG, 0, 9, NONE), &one),
        ((MIG, 0, 9, 0), &one),
        ((MIG, 0, 9, 0), &one),
        ((MIG, 0, 9, NONE), &one),
    ];
    for (about, uuid) in expected {
        assert_eq!(next(&client, set), Ok((about, uuid.clone())));
    }
    assert_eq!(next(&client, set), Err(Code::TIMEOUT));
}

#[test]
fn two_sets_hear_the_same() {
    let machine = machine();
    let client = machine.client();
    let gpu = client.device(0).unwrap();
    let (one, other) = (set(&client), set(&client));
    register(&client, gpu, XID, one).unwrap();
    register(&client, gpu, XID, other).unwrap();
    machine.scene.xid(0, 48, None);
    assert_eq!(next(&client, one).map(|(about, _)| about.1), Ok(48));
    assert_eq!(next(&client, other).map(|(about, _)| about.1), Ok(48));
    assert_eq!(next(&client, one), Err(Code::TIMEOUT));
}

#[test]
fn only_kinds_that_the_gpu_has_can_be_registered() {
    let machine = machine();
    let client = machine.client();
    let set = set(&client);
    let types = |device| {
        let mut types = 0;
        call!(client.nvmlDeviceGetSupportedEventTypes(device, &raw mut types)).unwrap();
        types
    };
    let (gpu, plain) = (client.device(0).unwrap(), client.device(1).unwrap());
    assert_eq!(types(gpu) & (XID | SINGLE | DOUBLE | MIG), XID | SINGLE | DOUBLE | MIG);
    assert_eq!(types(plain) & MIG, 0);
    assert_eq!(register(&client, plain, MIG, set), Err(Code::NOT_SUPPORTED));
    assert_eq!(register(&client, gpu, MIG, null_mut()), Err(Code::INVALID_ARGUMENT));
    call!(client.nvmlEventSetFree(set)).unwrap();
    assert_eq!(next(&client, set), Err(Code::INVALID_ARGUMENT), "it was freed");
}

#[test]
fn a_wait_ends_with_the_event_or_with_its_time() {
    let machine = machine();
    let client = machine.client();
    let set = set(&client);
    register(&client, client.device(0).unwrap(), XID, set).unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long it waits is what is tested")]
    let now = Instant::now;
    let wait = |timeout_ms| {
        let mut data = common::empty::<sys::nvmlEventData_t>();
        call!(client.nvmlEventSetWait_v2(set, &raw mut data, timeout_ms)).map(|()| data.eventData)
    };
    let start = now();
    assert_eq!(wait(60), Err(Code::TIMEOUT));
    assert!(now() - start >= Duration::from_millis(60));
    let path = machine.scene.path().to_path_buf();
    let start = now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            Scene::open(path).xid(0, 63, None);
        });
        assert_eq!(wait(20_000), Ok(63));
    });
    assert!(now() - start < Duration::from_secs(10), "it waited on");
}

#[test]
fn a_lost_gpu_is_told_once_each_time() {
    let machine = machine();
    let client = machine.client();
    let set = set(&client);
    register(&client, client.device(0).unwrap(), XID, set).unwrap();
    machine.scene.xid(0, 79, None);
    machine.scene.lose(0);
    let mut data = common::empty::<sys::nvmlEventData_t>();
    let mut wait = || call!(client.nvmlEventSetWait_v2(set, &raw mut data, 0));
    assert_eq!((wait(), wait(), wait()), (Ok(()), Err(Code::GPU_IS_LOST), Err(Code::TIMEOUT)));
    machine.scene.find(0);
    assert_eq!(wait(), Err(Code::TIMEOUT));
    machine.scene.lose(0);
    assert_eq!(wait(), Err(Code::GPU_IS_LOST));
}

#[test]
fn a_restart_of_the_driver_ends_a_wait() {
    let machine = machine();
    let client = machine.client();
    let old = set(&client);
    register(&client, client.device(0).unwrap(), XID, old).unwrap();
    machine.scene.driver_restart();
    assert_eq!(next(&client, old), Err(Code::UNINITIALIZED));
    call!(client.nvmlInit_v2()).unwrap();
    assert_eq!(next(&client, old), Err(Code::UNINITIALIZED), "a set from before");
    let new = set(&client);
    register(&client, client.device(0).unwrap(), XID, new).unwrap();
    machine.scene.xid(0, 13, None);
    assert_eq!(next(&client, new).map(|(about, _)| about.1), Ok(13));
}
