//! `tangram simulate` as its users start it: figures, pictures, traces, and what is said about mistakes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/command.rs"]
mod command;

use std::fs;

use command::{tangram, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a command that must succeed prints.
fn printed(arguments: &[&str]) -> String {
    let output = tangram(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn parsed(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(arguments)).unwrap()
}

fn write(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A pod that asks for one device of a resource.
fn pod(name: &str, resource: &str) -> Value {
    let limits = json!({ resource: "1", "cpu": "1" });
    let tolerations = json!([{"operator": "Exists"}]);
    let containers = json!([{"name": "main", "resources": {"limits": limits, "requests": limits}}]);
    let metadata = json!({"name": name, "namespace": "a"});
    json!({"kind": "Pod", "metadata": metadata, "spec": {"containers": containers, "tolerations": tolerations}})
}

fn node(name: &str, gpus: u32) -> Value {
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.count": gpus.to_string(), "tangram.gpu/mig": "dynamic"});
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"cpu": "64", "pods": "110"}}})
}

fn lines(steps: &[Value]) -> String {
    steps.iter().flat_map(|step| [step.to_string(), "\n".to_owned()]).collect()
}

const SMALL: [&str; 12] = [
    "simulate",
    "mig",
    "--gpus",
    "16",
    "--mix",
    "uniform,skew-big",
    "--seeds",
    "3",
    "--from",
    "1",
    "--to",
    "5",
];

#[test]
fn equal_seeds_give_equal_figures_on_any_number_of_threads() {
    let more = ["--policy", "pack,spread,random(7)", "--moves", "0,1", "--bound", "--fill", "-o", "json"];
    let run = |threads| printed(&[&SMALL, &more[..], &["--threads", threads]].concat());
    let (one, three) = (run("1"), run("3"));
    assert_eq!(one, three);
    let report: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(report["model"], "a100-80gb");
    assert_eq!(report["seeds"], json!([1, 2, 3]));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        3 * (3 * 2 + 1),
        "two mixes and their mean, three policies with two budgets, the reference"
    );
    let refused = |mix: &str, policy: &str, moves: u64| {
        let is_it = |row: &&Value| row["mix"] == mix && row["policy"] == policy && row["moves"] == moves;
        rows.iter().find(is_it).unwrap()["rejectedSlicesPercent"]["mean"].as_f64().unwrap()
    };
    for mix in ["uniform", "skew-big", "mean of 2"] {
        let (pack, spread) = (refused(mix, "pack", 0), refused(mix, "spread", 0));
        assert!(refused(mix, "reference", 0) <= refused(mix, "pack", 1), "{mix}");
        assert!(refused(mix, "pack", 1) < pack && pack < spread && spread < 100.0, "{mix}: {pack} {spread}");
    }
    let mean = f64::midpoint(refused("uniform", "pack", 0), refused("skew-big", "pack", 0));
    assert!((refused("mean of 2", "pack", 0) - mean).abs() < 1e-9);
    let fills = report["fills"].as_array().unwrap();
    assert_eq!(fills.len(), 3 * 4, "moves play no part in how full the GPUs are");
    let other = SMALL.map(|argument| if argument == "3" { "4-6" } else { argument });
    let other = printed(&[&other, &more[..]].concat());
    assert_ne!(one, other);
}

#[test]
fn prices_that_know_the_mix_are_others_than_those_of_the_prior() {
    let run = |demand| {
        let mix = ["--mix", "openb", "--policy", "pack", "-o", "json", "--demand", demand];
        parsed(
            &[&["simulate", "mig", "--gpus", "24", "--seeds", "2", "--from", "2", "--to", "6"], &mix[..]]
                .concat(),
        )
    };
    assert_ne!(run("prior")["rows"], run("mix")["rows"]);
}

#[test]
fn tables_fit_a_terminal_and_spreadsheets_get_a_line_per_row() {
    let policies = ["--policy", "pack,first-fit", "--moves", "0,2", "--bound", "--fill"];
    let output = tangram(&[&SMALL, &policies[..]].concat());
    let table = text(&output.stdout);
    let head = table.lines().find(|line| line.starts_with("MIX ")).unwrap();
    let columns: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(columns, ["MIX", "LOAD", "POLICY", "REFUSED", "%", "REQUESTS", "%", "MOVED", "ACTIVE"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("MIX        POLICY     FILL %"), "{table}");
    assert!(text(&output.stderr).contains(" decisions in "), "{}", text(&output.stderr));
    let csv = printed(&[&SMALL, &policies[..], &["-o", "csv", "--mix", "1g.10gb=3,7g.80gb=1"]].concat());
    let head = "mix,load,policy,moves,rejected_slices_percent,rejected_slices_percent_deviation,";
    assert!(csv.starts_with(head), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 4 * 5, "{csv}");
    assert!(csv.contains("\n\"1g.10gb=3,7g.80gb=1\",0.95,pack,0,"), "{csv}");
}

#[test]
fn a_mistake_in_an_option_is_named_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "file", "");
    for (arguments, words) in [
        (
            vec!["mig", "--model", "a101"],
            "no MIG-capable GPU model is called \"a101\"; known are a100-40gb, ",
        ),
        (vec!["mig", "--gpus", "0"], "\"0\" is no number from 1 to 1000000"),
        (vec!["mig", "--mix", "unform"], "is none of uniform, skew-small, skew-big, bimodal, openb"),
        (vec!["mig", "--mix", "1g.10gb=-1"], "mix: the share of 1g.10gb is not above 0"),
        (vec!["mig", "--mix", "1g.6gb=1"], "the GPU model has no profile 1g.6gb, but 1g.10gb"),
        (vec!["mig", "--load", "0"], "0 is not above 0 and at most 10: 1 fills all GPUs"),
        (vec!["mig", "--load", "high"], "\"high\" is no number"),
        (vec!["mig", "--policy", "packed"], "policy \"packed\" is not known (pack, spread, best-fit"),
        (vec!["mig", "--moves", "0,8"], "\"8\" is no number from 0 to 7"),
        (vec!["mig", "--seeds", "5-4"], "5-4: expected 1 to 10000 seeds"),
        (vec!["mig", "--lifetime", "normal"], "\"normal\" is neither exponential nor lognormal(SIGMA)"),
        (vec!["mig", "--lifetime", "lognormal(9)"], "sigma 9 is not above 0 and at most 4"),
        (
            vec!["mig", "--from", "9", "--to", "9"],
            "--from 9: measuring has to begin before the run ends, --to 9",
        ),
        (vec!["mig", "--to", "inf"], "inf is not above 0 and at most 100000"),
        (vec!["mig", "--threads", "0"], "--threads"),
        (vec!["mig", "--demand", "known"], "[possible values: prior, mix]"),
        (
            vec!["mig", "--model", "a30-24gb", "--mix", "1g.6gb=1", "--bound"],
            "counted on 7-slice models only",
        ),
        (vec!["mig", "--plots", &file], "--plots"),
        (
            vec!["openb", "--data", "/no/such"],
            "/no/such/openb_node_list_gpu_node.csv: the traces are in data/traces/openb",
        ),
        (vec!["openb", "--pods", "defualt"], "defualt: the traces are in data/traces/openb"),
        (vec!["openb", "--policy", "pack"], "no policy \"pack\"; known are regret, fgd"),
        (vec!["reproduce", "everything"], "[possible values: mig, openb, mixed, all]"),
        (vec!["trace", "/no/such"], "/no/such: No such file or directory"),
        (vec!["trace", "x", "--empty", "--cluster", "y"], "cannot be used with"),
    ] {
        let output = tangram(&[&["simulate"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn pictures_are_drawn_as_svg_and_as_png_of_twice_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("new/pictures");
    let plots =
        ["--policy", "pack,mfi", "--load", "0.9,1.1", "--bound", "--plots", pictures.to_str().unwrap()];
    let output = tangram(&[&SMALL, &plots[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("WARN"), "{}", text(&output.stderr));
    let mut expected = 0;
    for mix in ["uniform", "skew-big"] {
        for (name, words) in [
            ("allocation", vec!["Allocation against demand", "memory in use, % of all", "pack", "mfi"]),
            ("rejected", vec!["Refused demand against load", "memory slices refused, %", "mfi", "reference"]),
            ("fragmentation", vec!["Stranded memory slices over time", "time, mean lifetimes", "load 1.1"]),
            (
                "map",
                vec!["Memory slices at the end: pack", "16 GPUs a100-80gb", "7g.80gb", "GPU 0", "stranded"],
            ),
        ] {
            let stem = if name == "map" { format!("map-{mix}-pack") } else { format!("{name}-{mix}") };
            let svg = fs::read_to_string(pictures.join(format!("{stem}.svg"))).unwrap();
            for words in words.into_iter().chain([mix]) {
                assert!(svg.contains(words), "{stem}: {words}");
            }
            let png = fs::read(pictures.join(format!("{stem}.png"))).unwrap();
            assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
            let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
            let drawn = |side: u32, name: &str| svg.contains(&format!("{name}=\"{}\"", side.div_euclid(2)));
            assert!(drawn(side(16), "width") && drawn(side(20), "height"), "{stem}");
            assert!(png.len() > 5_000, "{stem}: {} bytes are no picture", png.len());
            expected += 2;
        }
        expected += 2; // the map of mfi
    }
    assert_eq!(fs::read_dir(&pictures).unwrap().count(), expected);
}

#[test]
fn the_example_trace_gives_what_its_pods_need_as_soon_as_it_is_free() {
    let report = parsed(&["simulate", "trace", "examples/trace.jsonl", "--empty", "-o", "json"]);
    let pods = &report["pods"];
    let count = |name: &str| pods[name].as_u64().unwrap();
    assert_eq!((count("came"), count("accepted"), count("refused")), (8, 4, 4));
    assert_eq!((count("acceptedLater"), count("waiting"), count("lost"), count("gaveUp")), (3, 1, 1, 0));
    // serve-b after 260 s, serve-c after 840 s, train-b after 1,750 s.
    assert!((pods["waitedSecondsMean"].as_f64().unwrap() - 950.0).abs() < 1e-9);
    assert!((pods["waitedSecondsMax"].as_f64().unwrap() - 1750.0).abs() < 1e-9);
    assert_eq!(report["reasons"][0]["reason"], "free memory slices for 2g.20gb, but no legal placement");
    assert_eq!(report["fragmentation"]["all"]["dynamic"]["usedMemorySlices"], 13);
    let table = printed(&["simulate", "trace", "examples/trace.jsonl", "--empty"]);
    assert!(table.contains("\n    still waiting                        1\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn a_trace_puts_pods_where_plan_does() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = ["mig-1g.10gb", "mig-3g.40gb", "mig-2g.20gb", "mig-7g.80gb", "mig-1g.20gb", "mig-9g.99gb"];
    let resource = |number: usize| match number % 7 {
        6 => "nvidia.com/gpu".to_owned(),
        kind => format!("tangram.gpu/{}", profiles[kind]),
    };
    let pods: Vec<Value> = (0..280).map(|number| pod(&format!("p{number}"), &resource(number))).collect();
    // Within a second, for prices are looked at anew once in each.
    let steps: Vec<Value> = pods.iter().map(|pod| json!({"at": 0, "pod": pod})).collect();
    let trace = write(&folder, "trace.jsonl", &lines(&steps));
    let list = write(&folder, "pods.json", &json!({"kind": "List", "items": pods}).to_string());
    let decisions = folder.path().join("decisions.jsonl");
    for policy in ["pack", "spread", "mfi"] {
        let plan = tangram(&["plan", "-f", &list, "-o", "json", "--policy", policy]);
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let file = decisions.to_str().unwrap();
        printed(&["simulate", "trace", &trace, "--policy", policy, "--decisions", file]);
        let taken = fs::read_to_string(&decisions).unwrap();
        let planned = plan["pods"].as_array().unwrap();
        assert_eq!(taken.lines().count(), planned.len());
        let mut refused = 0;
        for (line, planned) in taken.lines().zip(planned) {
            let taken: Value = serde_json::from_str(line).unwrap();
            assert_eq!(taken["pod"], format!("a/{}", planned["name"].as_str().unwrap()));
            assert_eq!(taken["node"], planned["node"], "{policy}: {line}");
            assert_eq!(taken["devices"], planned["devices"], "{policy}: {line}");
            refused += u32::from(taken["node"].is_null());
        }
        assert!((40..200).contains(&refused), "{policy}: {refused} of 280 found no place");
    }
}

#[test]
fn waiting_pods_are_tried_by_priority_and_then_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let urgent = |name: &str, priority: i32| {
        let mut pod = pod(name, "tangram.gpu/mig-7g.80gb");
        pod["spec"]["priority"] = json!(priority);
        pod
    };
    let steps = [
        json!({"at": 0, "node": node("n", 1)}),
        json!({"at": 1, "pod": urgent("first", 0)}),
        json!({"at": 2, "pod": urgent("old", 0)}),
        json!({"at": 3, "pod": urgent("urgent", 9)}),
        json!({"at": 4, "pod": urgent("young", 0)}),
        json!({"at": 5, "pod": urgent("given-up", 99)}),
        json!({"at": 6, "delete": "a/given-up"}),
        json!({"at": 7, "delete": "a/first"}),
        json!({"at": 8, "delete": "a/urgent"}),
        json!({"at": 9, "delete": "a/old"}),
    ];
    let trace = write(&folder, "trace.jsonl", &lines(&steps));
    let decisions = folder.path().join("decisions.jsonl");
    let file = decisions.to_str().unwrap();
    let report = parsed(&["simulate", "trace", &trace, "--empty", "--decisions", file, "-o", "json"]);
    assert_eq!((&report["pods"]["acceptedLater"], &report["pods"]["gaveUp"]), (&json!(3), &json!(1)));
    let taken: Vec<Value> = fs::read_to_string(decisions)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|taken| !taken["node"].is_null())
        .collect();
    let taken: Vec<(f64, &str)> =
        taken.iter().map(|it| (it["at"].as_f64().unwrap(), it["pod"].as_str().unwrap())).collect();
    assert_eq!(taken, [(1.0, "a/first"), (7.0, "a/urgent"), (8.0, "a/old"), (9.0, "a/young")]);
}

#[test]
fn a_line_that_cannot_be_read_or_be_true_is_named_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let fine = json!({"at": 5, "pod": pod("p", "nvidia.com/gpu")});
    let mut bound = pod("q", "nvidia.com/gpu");
    bound["status"] = json!({"phase": "Succeeded"});
    let mut odd = pod("q", "nvidia.com/gpu");
    for part in ["limits", "requests"] {
        odd["spec"]["containers"][0]["resources"][part]["nvidia.com/gpu"] = json!("1.5");
    }
    for (second, words) in [
        ("{\"at\": 6".to_owned(), "line 2: line: EOF while parsing an object (column 8)"),
        ("{}".to_owned(), "line 2: line: missing field `at`"),
        (
            "{\"at\": 6}".to_owned(),
            "line 2: line: it has to have exactly one of pod, delete, node and deleteNode",
        ),
        (
            json!({"at": 6, "delete": "a/p", "deleteNode": "n"}).to_string(),
            "line 2: line: it has to have exactly",
        ),
        (json!({"at": 6, "dlete": "a/p"}).to_string(), "line 2: line: unknown field `dlete`"),
        (json!({"at": "6", "delete": "a/p"}).to_string(), "line 2: line: invalid type: string"),
        (
            json!({"at": 4, "delete": "a/p"}).to_string(),
            "line 2: at: 4 comes before the line above, which is at 5",
        ),
        (json!({"at": 6, "delete": "p"}).to_string(), "line 2: delete: \"p\" is not NAMESPACE/NAME"),
        (json!({"at": 6, "delete": "a/q"}).to_string(), "line 2: delete: there is no pod a/q"),
        (json!({"at": 6, "deleteNode": "q"}).to_string(), "line 2: deleteNode: there is no node q"),
        (
            json!({"at": 6, "pod": pod("p", "nvidia.com/gpu")}).to_string(),
            "line 2: pod: metadata.name: pod a/p is there already",
        ),
        (json!({"at": 6, "pod": {"kind": "Job"}}).to_string(), "line 2: pod: kind: \"Job\" is not Pod"),
        (json!({"at": 6, "pod": {"kind": "Pod"}}).to_string(), "line 2: pod: metadata.name: is missing"),
        (
            json!({"at": 6, "pod": bound}).to_string(),
            "line 2: pod: status.phase: the pod has ended before it comes",
        ),
        (json!({"at": 6, "pod": odd}).to_string(), "line 2: pod: Pod a/q: spec.containers[0].resources."),
        (
            json!({"at": 6, "node": {"metadata": {"name": 7}}}).to_string(),
            "line 2: node: invalid type: integer",
        ),
    ] {
        let trace = write(&folder, "trace.jsonl", &format!("{fine}\n{second}\n"));
        let output = tangram(&["simulate", "trace", &trace]);
        assert_eq!(output.status.code(), Some(2), "{second}");
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("tangram: trace {trace}: line 2: ")), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_trace_in_the_openb_format_is_packed_until_nothing_more_fits() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,T4\nn2,96000,262144,8,V100\n";
    let nodes = write(&folder, "nodes.csv", nodes);
    let row = |number: u32| format!("p{number},4000,8192,1,{},", 250 * (number % 4 + 1));
    let pods = (0..40).map(row).collect::<Vec<_>>().join("\n");
    let pods = format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n{pods}");
    let pods = write(&folder, "pods.csv", &pods);
    let run = |more: &[&str]| {
        let all = ["simulate", "openb", "--nodes", &nodes, "--pods", &pods, "--seeds", "2", "-o", "json"];
        parsed(&[&all, more].concat())
    };
    let rows = run(&["--policy", "regret,least-allocated", "--ties", "random", "--through-extender"]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let at_130 = |row: usize| rows[row]["at130"]["mean"].as_f64().unwrap();
    assert!(at_130(0) > 90.0 && at_130(0) >= at_130(1), "{rows}");
    assert_eq!(run(&["--threads", "1"]), run(&["--threads", "2"]));
    let broken = write(&folder, "broken.csv", "sn,cpu_milli,memory_mib,gpu,model\nn1,many,1,1,T4\n");
    let said = text(&tangram(&["simulate", "openb", "--nodes", &broken, "--pods", &pods]).stderr);
    assert!(said.contains("broken.csv: line 2, column \"cpu_milli\": \"many\" is not"), "{said}");
}

#[test]
fn what_is_promised_is_printed_beside_what_others_reach() {
    let claims = parsed(&["simulate", "reproduce", "mig", "--quick", "-o", "json"]);
    let claims = claims.as_array().unwrap();
    assert_eq!(claims.len(), 13);
    let figure = |claim: &Value, name: &str| claim[name].as_f64().unwrap();
    for claim in claims.iter().filter(|claim| claim["what"].as_str().unwrap().contains("refused")) {
        assert!(figure(claim, "reached") < figure(claim, "baseline"), "{claim}");
        assert!(figure(claim, "reference") <= figure(claim, "reached"), "{claim}");
    }
    let judged: Vec<&Value> = claims.iter().filter(|claim| !claim["isMet"].is_null()).collect();
    assert_eq!(judged.len(), 3, "few GPUs are judged by what is measured beside them alone");
    assert!(judged.iter().all(|claim| claim["isMet"] == true && claim["goal"]["is"] == "below"));
}

#[test]
fn help_teaches_by_example() {
    let help = printed(&["simulate", "--help"]);
    for words in ["tangram simulate reproduce --quick", "--plots pictures", "examples/trace.jsonl --empty"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    let mig = printed(&["simulate", "mig", "--help"]);
    for words in ["A load of 1 means", "lognormal(SIGMA)", "PROFILE=SHARE", "[default: 800]"] {
        assert!(mig.contains(words), "{words}: {mig}");
    }
}
