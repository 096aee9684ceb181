//! The compiled table of GPU models is the JSON file with its sources, row by row, and products and
//! resource names lead to the rows they mean.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "only the table is needed here; rules and builders serve other tests")]
mod cluster;

use std::collections::BTreeSet;

use cluster::{Profile, json, table};
use tangram::mig::{Catalog, MODELS, ModelRow, ProfileName, ProfileRow};

fn profile_differences(row: &ProfileRow, profile: &Profile) -> Vec<String> {
    let fields = [
        ("name", row.name == profile.name),
        ("compute slices", row.compute_slices == profile.compute_slices),
        ("memory slices", row.memory_slices == profile.memory_slices),
        ("starts", row.starts == profile.starts),
        ("max", row.max == profile.max),
        ("memory", row.memory_mib == profile.memory_mib),
        ("engines", row.engines == profile.engines),
    ];
    let differing = fields.into_iter().filter(|(_, is_equal)| !is_equal);
    differing.map(|(field, _)| format!("{field}: {row:?} is not {profile:?}")).collect()
}

#[test]
fn every_row_of_the_compiled_table_is_the_row_of_the_json() {
    let mut differences = Vec::new();
    for model in table() {
        let rows: Vec<&ModelRow> = MODELS.iter().filter(|row| row.key == model.key).collect();
        let [row] = rows[..] else {
            differences.push(format!("{}: {} rows", model.key, rows.len()));
            continue;
        };
        let fields = [
            ("names", row.names == model.names),
            ("compute slices", row.compute_slices == model.compute_slices),
            ("memory slices", row.memory_slices == model.memory_slices),
            ("memory", row.memory_mib == model.memory_mib),
            ("engines", row.engines == model.engines),
            ("number of profiles", row.profiles.len() == model.profiles.len()),
        ];
        let differing = fields.into_iter().filter(|(_, is_equal)| !is_equal);
        differences.extend(differing.map(|(field, _)| format!("{}: {field} differ", model.key)));
        // The same order too: a profile's position is its index everywhere else.
        for (row, profile) in row.profiles.iter().zip(&model.profiles) {
            let differing = profile_differences(row, profile);
            differences
                .extend(differing.into_iter().map(|difference| format!("{}: {difference}", model.key)));
        }
    }
    assert_eq!(differences, [] as [String; 0]);
}

#[test]
fn the_compiled_table_has_no_model_that_the_json_does_not_support() {
    let supported: BTreeSet<&str> = table().iter().map(|model| model.key.as_str()).collect();
    let compiled: Vec<&str> = MODELS.iter().map(|row| row.key).collect();
    assert_eq!(compiled.iter().copied().collect::<BTreeSet<_>>(), supported);
    assert_eq!(compiled.len(), supported.len(), "a key stands there twice");
    assert!(compiled.is_sorted(), "{compiled:?}");
    assert_eq!(supported.len(), 19);
    assert_eq!(table().iter().map(|model| model.profiles.len()).sum::<usize>(), 134);
}

#[test]
fn a_gpu_with_unified_memory_is_left_out() {
    let all = json()["models"].as_array().unwrap();
    let left_out: Vec<&str> = all
        .iter()
        .filter(|model| model["solver_supported"] == false)
        .map(|model| model["key"].as_str().unwrap())
        .collect();
    assert_eq!(left_out, ["thor-igpu"]);
    assert!(MODELS.iter().all(|row| row.key != "thor-igpu"));
    for name in ["NVIDIA Thor", "NVIDIA-Thor"] {
        assert_eq!(Catalog::get().by_product(name), None, "{name}");
    }
    assert_eq!(Catalog::get().offers(&ProfileName::parse("1g.0gb").unwrap()), []);
}

#[test]
fn a_product_label_or_nvml_name_leads_to_its_model_and_to_no_other() {
    let catalog = Catalog::get();
    let mut seen = BTreeSet::new();
    for model in table() {
        assert_eq!(model.names.len(), model.labels.len());
        for product in model.names.iter().chain(&model.labels) {
            let id = catalog.by_product(product).unwrap_or_else(|| panic!("{product} leads nowhere"));
            assert_eq!(catalog.row(id).key, model.key, "{product}");
        }
        for label in &model.labels {
            assert!(seen.insert(label), "{label} means two models");
        }
    }
    assert_eq!(catalog.models().count(), table().len());
}

#[test]
fn a_product_that_only_begins_like_a_model_leads_nowhere() {
    for product in [
        "NVIDIA-A100",
        "NVIDIA-A100-SXM4-80GB-SHARED",
        "NVIDIA-H100-80GB",
        "NVIDIA-A30-MIG-1g.6gb",
        "",
        "A30",
    ] {
        assert_eq!(Catalog::get().by_product(product), None, "{product}");
    }
}

#[test]
fn the_resource_name_of_every_profile_reads_as_the_profile() {
    for model in table() {
        for profile in &model.profiles {
            let word = profile.resource.strip_prefix("nvidia.com/mig-").expect(&profile.resource);
            let name = ProfileName::parse(word).unwrap_or_else(|| panic!("{word} does not parse"));
            assert_eq!(name.as_str(), profile.name);
            assert_eq!(name.resource(), word);
            assert_eq!(name.has_attribute(), !profile.is_plain(), "{name}");
        }
    }
}

#[test]
fn every_profile_is_found_in_each_model_that_offers_it_and_in_no_other() {
    let catalog = Catalog::get();
    for name in catalog.profiles() {
        let mut offered: Vec<(&str, usize)> = Vec::new();
        for model in table() {
            offered.extend(model.profile(name.as_str()).map(|position| (model.key.as_str(), position)));
        }
        offered.sort_unstable();
        let found = catalog
            .offers(name)
            .iter()
            .map(|&(model, profile)| (catalog.row(model).key, usize::from(profile)));
        assert_eq!(found.collect::<Vec<_>>(), offered, "{name}");
    }
    let names: BTreeSet<&str> =
        table().iter().flat_map(|model| &model.profiles).map(|profile| profile.name.as_str()).collect();
    assert_eq!(catalog.profiles().map(ProfileName::as_str).collect::<BTreeSet<_>>(), names);
}

#[test]
fn memory_that_no_source_tells_is_taken_from_the_name_and_never_above_the_share() {
    for model in table() {
        let row = Catalog::get().row(model.id());
        assert_eq!(row.memory_mib(), model.total_mib(), "{}", model.key);
        for (position, profile) in row.profiles.iter().enumerate() {
            let memory = row.profile_memory_mib(profile);
            assert_eq!(memory, model.instance_mib(position), "{} {}", model.key, profile.name);
            let share = u64::from(model.total_mib()) * u64::from(profile.memory_slices);
            // An instance never has more than its memory slices hold.
            assert!(
                u64::from(memory) * u64::from(model.memory_slices) <= share,
                "{} {}",
                model.key,
                profile.name
            );
        }
    }
    let b300 = Catalog::get().row(cluster::model("b300-269gb").id());
    assert_eq!(b300.memory_mib(), 269 * 1024);
    assert_eq!(b300.profile_memory_mib(&b300.profiles[0]), 30_988); // 269 * 1024 / 8 * 0.9 = 30,988.8
}
