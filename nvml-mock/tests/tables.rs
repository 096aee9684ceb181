//! Every model of the table, read back through C, equals the JSON; where that has `null` anything goes.

mod common;

use common::{Machine, call, empty, text, version};
use nvml_mock::{Board, Code};
use nvml_wrapper_sys::bindings as sys;
use serde_json::Value;

fn models() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../data/mig/mig-profiles.json")).expect("JSON");
    file["models"].as_array().expect("a list").clone()
}

/// Where the JSON has a number, it is this one.
#[track_caller]
fn same(expected: &Value, seen: u64, what: &str) {
    if !expected.is_null() {
        assert_eq!(expected.as_u64(), Some(seen), "{what}");
    }
}

#[test]
fn every_model_with_placements_can_be_ordered() {
    let models = models();
    let placed = models.iter().filter(|model| {
        model["profiles"].as_array().unwrap().iter().all(|profile| !profile["placements"].is_null())
    });
    let placed: Vec<&str> = placed.map(|model| model["key"].as_str().unwrap()).collect();
    assert_eq!(Board::keys(), placed);
    assert_eq!(placed.len(), models.len() - 1, "only Thor's are unpublished");
}

#[test]
#[should_panic(expected = "no GPU model \"thor-igpu\" with published placements")]
fn a_model_without_placements_is_refused() {
    drop(Board::of("thor-igpu"));
}

#[test]
fn every_profile_and_placement_of_every_model_reads_back_as_the_json_has_it() {
    for model in models() {
        let key = model["key"].as_str().unwrap();
        if !Board::keys().contains(&key) {
            continue;
        }
        let machine = Machine::new(vec![Board::of(key)]); // MIG off: newer drivers tell nevertheless
        let client = machine.client();
        let device = client.device(0).unwrap();
        let mut seen = 0;
        for index in 0..sys::NVML_GPU_INSTANCE_PROFILE_COUNT {
            let expected = model["profiles"].as_array().unwrap().iter();
            let expected = expected.into_iter().find(|it| it["nvml_profile_index"] == index);
            let Some(expected) = expected else {
                assert_eq!(
                    client.profile_at(device, index).map(drop),
                    Err(Code::NOT_SUPPORTED),
                    "{key} {index}"
                );
                continue;
            };
            seen += 1;
            let info = client.profile_at(device, index).unwrap();
            let name = expected["name"].as_str().unwrap();
            let what = format!("{key} {name}");
            assert_eq!(text(&info.name), format!("MIG {name}"));
            same(&expected["nvidia_smi_id"], info.id.into(), &what);
            same(&expected["compute_slices"], info.sliceCount.into(), &what);
            same(&expected["max_instances"], info.instanceCount.into(), &what);
            same(&expected["sm"], info.multiprocessorCount.into(), &what);
            same(&expected["memory_mib"], info.memorySizeMB, &what);
            let engines = &expected["engines"];
            same(&engines["copy"], info.copyEngineCount.into(), &what);
            same(&engines["dec"], info.decoderCount.into(), &what);
            same(&engines["enc"], info.encoderCount.into(), &what);
            same(&engines["jpeg"], info.jpegCount.into(), &what);
            same(&engines["ofa"], info.ofaCount.into(), &what);
            let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
            let places = expected["placements"].as_array().unwrap().iter();
            let places: Vec<_> = places.map(|it| (number(&it["start"]), number(&it["size"]))).collect();
            assert_eq!(client.placements(device, info.id).unwrap(), places, "{what}");
        }
        assert_eq!(seen, model["profiles"].as_array().unwrap().len(), "{key}");
    }
}

#[test]
fn the_three_forms_of_profile_info_agree() {
    let machine = Machine::new(vec![Board::of("rtx-pro-6000-blackwell-96gb")]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    let by_index = client.profile(device, "1g.24gb+gfx");
    let mut first = empty::<sys::nvmlGpuInstanceProfileInfo_t>();
    let index = sys::NVML_GPU_INSTANCE_PROFILE_1_SLICE_GFX;
    call!(client.nvmlDeviceGetGpuInstanceProfileInfo(device, index, &raw mut first)).unwrap();
    assert_eq!((first.id, first.memorySizeMB), (47, by_index.memorySizeMB));
    let mut third = sys::nvmlGpuInstanceProfileInfo_v3_t {
        version: version::<sys::nvmlGpuInstanceProfileInfo_v3_t>(3),
        ..empty()
    };
    let info = (&raw mut third).cast();
    call!(client.nvmlDeviceGetGpuInstanceProfileInfoByIdV(device, 47, info)).unwrap();
    assert_eq!((third.id, text(&third.name)), (47, "MIG 1g.24gb+gfx".to_owned()));
    assert_eq!(third.capabilities, sys::NVML_GPU_INSTANCE_PROFILE_CAPS_GFX);
    third.version = 7;
    let info = (&raw mut third).cast();
    let answer = call!(client.nvmlDeviceGetGpuInstanceProfileInfoByIdV(device, 47, info));
    assert_eq!(answer, Err(Code::ARGUMENT_VERSION_MISMATCH));
}

#[test]
fn an_older_driver_tells_profiles_in_mig_mode_only() {
    let machine = Machine::new(vec![Board::of("h100-80gb-sxm").tells_profiles_in_mig_mode_only()]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    assert_eq!(client.profile_at(device, 0).map(drop), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.placements(device, 19), Err(Code::NOT_SUPPORTED));
    machine.scene.set_mig(0, true).unwrap();
    assert_eq!(client.profile_at(device, 0).map(|info| info.id), Ok(19));
    assert_eq!(client.placements(device, 19).map(|places| places.len()), Ok(7));
}

#[test]
fn a_gpu_without_mig_supports_none_of_it() {
    let machine = Machine::new(vec![Board::plain("NVIDIA L4", 23034)]);
    let client = machine.client();
    let device = client.device(0).unwrap();
    assert_eq!(client.mig_mode(device), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.set_mig_mode(device, 1), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.profile_at(device, 0).map(drop), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.placements(device, 19), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.capacity(device, 19), Err(Code::NOT_SUPPORTED));
    assert_eq!(client.create_anywhere(device, 19).map(drop), Err(Code::NOT_SUPPORTED));
}
