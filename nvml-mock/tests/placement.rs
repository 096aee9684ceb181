//! Where GPU instances may be.

mod common;

use common::{Client, Device, Machine};
use nvml_mock::{Board, Code};

/// Makes instances in this order, and tells how the last one went.
fn lay(client: &Client, device: Device, layout: &[(&str, u32)]) -> Result<(), Code> {
    layout.iter().try_for_each(|(profile, start)| client.create(device, profile, *start).map(drop))
}

fn h100() -> Machine {
    Machine::new(vec![Board::of("h100-80gb-sxm").mig()])
}

#[test]
fn full_layouts_are_placed_and_leave_no_room() {
    let layouts: &[&[(&str, u32)]] = &[
        &[("7g.80gb", 0)],
        &[("3g.40gb", 0), ("3g.40gb", 4)],
        &[("4g.40gb", 0), ("3g.40gb", 4)],
        &[("1g.20gb", 0), ("1g.20gb", 2), ("1g.20gb", 4), ("1g.20gb", 6)],
        &[("2g.20gb", 0), ("2g.20gb", 2), ("2g.20gb", 4), ("1g.20gb", 6)],
        &[("1g.10gb", 6), ("3g.40gb", 0), ("2g.20gb", 4)],
    ];
    for layout in layouts {
        let machine = h100();
        let client = machine.client();
        let device = client.device(0).unwrap();
        assert_eq!(lay(&client, device, layout), Ok(()), "{layout:?}");
        let profile = client.profile(device, "2g.20gb").id;
        assert_eq!(client.capacity(device, profile), Ok(0), "{layout:?}");
    }
}

#[test]
fn seven_smallest_ones_fit_and_an_eighth_does_not() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let id = client.profile(device, "1g.10gb").id;
    for start in 0..7 {
        assert_eq!(client.capacity(device, id), Ok(7 - start));
        client.create(device, "1g.10gb", start).unwrap();
    }
    assert_eq!(client.capacity(device, id), Ok(0));
    assert_eq!(client.create(device, "1g.10gb", 7).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    assert_eq!(client.create_anywhere(device, id).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
}

#[test]
fn what_cannot_be_is_refused_with_nvmls_code() {
    let machine = h100();
    let client = machine.client();
    let device = client.device(0).unwrap();
    let refused = |profile, start| client.create(device, profile, start).map(drop);
    assert_eq!(refused("3g.40gb", 2), Err(Code::INSUFFICIENT_RESOURCES), "not a start");
    client.create(device, "2g.20gb", 2).unwrap();
    assert_eq!(refused("2g.20gb", 2), Err(Code::INSUFFICIENT_RESOURCES), "taken");
    assert_eq!(refused("3g.40gb", 0), Err(Code::INSUFFICIENT_RESOURCES), "overlaps");
    assert_eq!(refused("7g.80gb", 0), Err(Code::INSUFFICIENT_RESOURCES), "overlaps");
    assert_eq!(client.create_with(device, 19, 0, 2).map(drop), Err(Code::INVALID_ARGUMENT), "size");
    assert_eq!(client.create_with(device, 77, 0, 1).map(drop), Err(Code::INVALID_ARGUMENT), "profile");
    // A place would be free: the profile's maximum refuses the second.
    assert_eq!(client.create(device, "1g.10gb+me", 0).map(drop), Ok(()));
    assert_eq!(refused("1g.10gb+me", 6), Err(Code::INSUFFICIENT_RESOURCES), "once");
    assert_eq!(client.capacity(device, client.profile(device, "1g.10gb+me").id), Ok(0));
    assert_eq!(machine.scene.state().gpus[0].mig.as_ref().unwrap().instances.len(), 2);
}

#[test]
fn without_mig_mode_nothing_is_made() {
    let machine = Machine::new(vec![Board::of("h100-80gb-sxm")]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    assert_eq!(client.create(device, "1g.10gb", 0).map(drop), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.capacity(device, 19), Err(Code::NOT_SUPPORTED));
}

#[test]
fn engines_bind_where_places_do_not() {
    // The A30's JPEG and OFA engines are one each.
    let machine =
        Machine::new(vec![Board::of("a30-24gb").mig(), Board::of("rtx-pro-6000-blackwell-96gb").mig()]);
    let client = machine.client();
    let a30 = client.device(0).unwrap();
    client.create(a30, "1g.6gb+me", 0).unwrap();
    assert_eq!(client.create(a30, "2g.12gb+me", 2).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    assert_eq!(client.create(a30, "2g.12gb", 2).map(drop), Ok(()));
    // nvml.h: ALL_ME prevents all profiles but the NO_ME ones.
    let rtx = client.device(1).unwrap();
    client.create(rtx, "1g.24gb+me.all", 0).unwrap();
    assert_eq!(client.create(rtx, "1g.24gb", 3).map(drop), Err(Code::INSUFFICIENT_RESOURCES));
    assert_eq!(client.create(rtx, "1g.24gb-me", 3).map(drop), Ok(()));
    assert_eq!(client.create(rtx, "2g.48gb-me", 6).map(drop), Ok(()));
}

#[test]
fn the_drivers_own_choice_fragments_as_the_mig_guide_shows() {
    let order = |ids: &[u32]| {
        let machine = Machine::new(vec![Board::of("a100-40gb").mig()]);
        let client = machine.client();
        let device = client.device(0).unwrap();
        ids.iter().try_for_each(|&id| client.create_anywhere(device, id).map(drop))
    };
    assert_eq!(order(&[19, 19, 14, 9]), Err(Code::INSUFFICIENT_RESOURCES));
    assert_eq!(order(&[9, 19, 14, 19]), Ok(()));
}

#[test]
fn ids_are_codes_of_places() {
    let cases = [
        ("h100-80gb-sxm", "7g.80gb", 0, 0),
        ("h100-80gb-sxm", "3g.40gb", 0, 1),
        ("h100-80gb-sxm", "3g.40gb", 4, 2),
        ("h100-80gb-sxm", "4g.40gb", 0, 1),
        ("h100-80gb-sxm", "2g.20gb", 4, 5),
        ("h100-80gb-sxm", "1g.20gb", 6, 6),
        ("h100-80gb-sxm", "1g.10gb", 0, 7),
        ("h100-80gb-sxm", "1g.10gb", 6, 13),
        ("a30-24gb", "4g.24gb", 0, 0),
        ("a30-24gb", "2g.12gb", 2, 2),
        ("a30-24gb", "1g.6gb", 3, 6),
        ("rtx-pro-6000-blackwell-96gb", "2g.48gb", 6, 2),
        ("rtx-pro-6000-blackwell-96gb", "1g.24gb", 9, 6),
        ("rtx-pro-5000-blackwell-48gb", "1g.24gb", 1, 2),
    ];
    for (model, profile, start, id) in cases {
        let machine = Machine::new(vec![Board::of(model).mig()]);
        let client = machine.client();
        let made = client.create(client.device(0).unwrap(), profile, start).unwrap();
        let info = client.info(made).unwrap();
        assert_eq!((info.id, info.placement.start), (id, start), "{model} {profile}@{start}");
    }
}
