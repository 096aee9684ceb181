use super::*;

const RESOURCE: &str = "tangram.gpu/mig-1g.10gb";

fn entry(gpu: &str, start: u8) -> Entry {
    let id = format!("GPU-{gpu}/1g.10gb/{start}").parse().unwrap();
    let uuid = format!("MIG-{gpu}{start}").into();
    let instance = cdi::Instance { gpu_minor: 0, gpu_instance: 7, compute_instance: 0 };
    Entry {
        offer: Offer { id, uuid, is_healthy: true, is_awaited: false, numa_node: None, instance },
        cdi: Ok(()),
    }
}

fn entries(all: impl IntoIterator<Item = Entry>) -> Entries {
    all.into_iter().map(|entry| (entry.offer.id.clone(), entry)).collect()
}

fn strategies(text: &str) -> Strategies {
    text.parse().unwrap()
}

fn ids(all: &[&str]) -> Vec<String> {
    all.iter().map(|id| format!("GPU-{id}")).collect()
}

#[test]
fn the_list_is_in_the_order_of_gpu_and_start_with_health_and_numa_node() {
    let mut sick = entry("a", 10);
    sick.offer.is_healthy = false;
    let mut near = entry("a", 2);
    near.offer.numa_node = Some(1);
    let mut unknown = entry("b", 0);
    unknown.cdi = Err("no file".into());
    let entries = entries([unknown, sick, near]);
    let list = |text| {
        let devices = devices(&entries, &strategies(text));
        let node = |device: &Device| device.topology.as_ref().map(|topology| topology.nodes[0].id);
        let row = |device: Device| (device.id.clone(), device.health.clone(), node(&device));
        devices.into_iter().map(row).collect::<Vec<_>>()
    };
    let row = |id: &str, health: &str, node| (format!("GPU-{id}"), health.to_owned(), node);
    let first = row("a/1g.10gb/2", "Healthy", Some(1));
    let second = row("a/1g.10gb/10", "Unhealthy", None);
    let third = |health| row("b/1g.10gb/0", health, None);
    assert_eq!(list("envvar,cdi-cri"), [first.clone(), second.clone(), third("Healthy")]);
    assert_eq!(list("cdi-cri"), [first, second, third("Unhealthy")], "nothing else could give it");
}

#[test]
fn what_must_be_there_comes_first_then_gpu_and_start() {
    let known = entries([entry("a", 10), entry("a", 2), entry("b", 0)]);
    let preferred = |available: &[&str], must: &[&str], size| {
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: ids(available),
            must_include_device_i_ds: ids(must),
            allocation_size: size,
        };
        preferred(&known, &request)
    };
    let available = ["b/1g.10gb/0", "a/1g.10gb/10", "a/1g.10gb/2", "odd"];
    assert_eq!(preferred(&available, &[], 2), ids(&["a/1g.10gb/2", "a/1g.10gb/10"]));
    assert_eq!(preferred(&available, &["b/1g.10gb/0"], 2), ids(&["b/1g.10gb/0", "a/1g.10gb/2"]));
    assert_eq!(
        preferred(&available, &[], 9),
        ids(&["a/1g.10gb/2", "a/1g.10gb/10", "b/1g.10gb/0", "odd"]),
        "what cannot be read comes last, and there is no more than there is"
    );
    assert_eq!(preferred(&available, &["b/1g.10gb/0", "a/1g.10gb/2"], 1).len(), 2);
    assert_eq!(preferred(&available, &[], -1), [""; 0]);
}

#[test]
fn what_waits_for_its_pod_goes_before_what_a_pod_has_just_given_back() {
    let mut awaited = entry("b", 0);
    awaited.offer.is_awaited = true;
    let request = ContainerPreferredAllocationRequest {
        available_device_i_ds: ids(&["a/1g.10gb/2", "b/1g.10gb/0"]),
        must_include_device_i_ds: Vec::new(),
        allocation_size: 1,
    };
    assert_eq!(preferred(&entries([entry("a", 2), awaited]), &request), ids(&["b/1g.10gb/0"]));
}

#[test]
fn a_container_gets_its_instances_in_the_way_that_is_configured() {
    let entries = entries([entry("a", 10), entry("a", 2), entry("b", 0)]);
    let ids = ids(&["b/1g.10gb/0", "a/1g.10gb/10", "a/1g.10gb/2"]);
    let cases = [
        ("envvar", "MIG-a2,MIG-a10,MIG-b0", false, false),
        ("cdi-cri", "void", true, false),
        ("volume-mounts", "/var/run/nvidia-container-devices", false, true),
        ("envvar,cdi-cri", "MIG-a2,MIG-a10,MIG-b0", true, false),
        ("cdi-cri,volume-mounts", "/var/run/nvidia-container-devices", true, true),
    ];
    for (text, visible, has_cdi, has_mounts) in cases {
        let answer = allocate(RESOURCE, &entries, &strategies(text), &ids).expect(text);
        let list = "MIG-a2,MIG-a10,MIG-b0".to_owned();
        let envs = [(VISIBLE.to_owned(), visible.to_owned()), ("TANGRAM_MIG_1G_10GB".to_owned(), list)];
        assert_eq!(answer.envs, envs.into(), "{text}");
        let cdi: Vec<&str> = answer.cdi_devices.iter().map(|device| &*device.name).collect();
        let all = ["tangram.gpu/mig=MIG-a2", "tangram.gpu/mig=MIG-a10", "tangram.gpu/mig=MIG-b0"];
        assert_eq!(cdi, if has_cdi { &all[..] } else { &[] }, "{text}");
        let mounts = ["MIG-a2", "MIG-a10", "MIG-b0"].map(|uuid| Mount {
            container_path: format!("/var/run/nvidia-container-devices/{uuid}"),
            host_path: "/dev/null".to_owned(),
            read_only: true,
        });
        assert_eq!(answer.mounts, if has_mounts { &mounts[..] } else { &[] }, "{text}");
        assert_eq!((answer.devices.len(), answer.annotations.len()), (0, 0), "{text}");
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let mut sick = entry("a", 2);
    sick.offer.is_healthy = false;
    let mut unknown = entry("a", 3);
    unknown.cdi = Err("nvidia0 does not exist".into());
    let entries = entries([sick, unknown, entry("a", 0)]);
    let refused = |text, id: &str| {
        let ids = [ids(&["a/1g.10gb/0"]), ids(&[id])].concat();
        allocate(RESOURCE, &entries, &strategies(text), &ids).map_err(|refusal| refusal.to_string())
    };
    let wrong = |text: &str| Err(text.to_owned());
    assert_eq!(refused("envvar", "b/1g.10gb/0"), wrong("GPU-b/1g.10gb/0 is not wanted here any more"));
    assert_eq!(refused("envvar", "a/2g.20gb/0"), wrong("GPU-a/2g.20gb/0 is not wanted here any more"));
    assert_eq!(refused("envvar", "odd"), wrong("GPU-odd is not wanted here any more"));
    assert_eq!(refused("envvar", "a/1g.10gb/2"), wrong("GPU-a/1g.10gb/2 is not live"));
    assert_eq!(
        refused("cdi-cri", "a/1g.10gb/3"),
        wrong("GPU-a/1g.10gb/3 has no CDI device: nvidia0 does not exist")
    );
    let answer = refused("envvar,cdi-cri", "a/1g.10gb/3").expect("the variable gives it");
    assert_eq!(answer.envs[VISIBLE], "MIG-a0,MIG-a3");
    assert_eq!(answer.cdi_devices, [CdiDevice { name: "tangram.gpu/mig=MIG-a0".to_owned() }]);
}

#[test]
fn each_resource_has_a_variable_of_its_own() {
    use crate::agent::device::resource_name;
    use crate::mig::{MODELS, ProfileName};
    let names: BTreeSet<&str> =
        MODELS.iter().flat_map(|model| model.profiles).map(|profile| profile.name).collect();
    let name = |name: &&str| variable(&resource_name(&ProfileName::parse(name).expect("the table's")));
    let variables: BTreeSet<String> = names.iter().map(name).collect();
    assert_eq!(variables.len(), names.len());
    assert_eq!(variable("tangram.gpu/mig-1g.24gb.me.all"), "TANGRAM_MIG_1G_24GB_ME_ALL");
    assert_eq!(variable("tangram.gpu/mig-1g.24gb-me"), "TANGRAM_MIG_1G_24GB_NO_ME");
}
