//! Series on which each alert fires, and others on which it keeps still, in promtool's notation: `5x200` is 200 minutes
//! of 5, `0+6x200` grows by 6 each minute.

use serde_json::{Value, json};

/// One alert.
pub(crate) struct Case {
    pub(crate) alert: &'static str,
    /// Labels of the alert beside its severity.
    labels: &'static [(&'static str, &'static str)],
    pub(crate) fires: Series,
    pub(crate) still: Series,
}

/// Series with their values.
type Series = &'static [(&'static str, &'static str)];

impl Case {
    pub(crate) fn labels(&self, alert: &Value) -> Value {
        let mut labels = json!({ "severity": alert["labels"]["severity"] });
        for (key, value) in self.labels {
            labels[key] = json!(value);
        }
        labels
    }

    /// The annotations as Prometheus fills them in.
    pub(crate) fn annotations(&self, alert: &Value) -> Value {
        let filled = |value: &Value| {
            let text = value.as_str().unwrap().to_owned();
            let text = self
                .labels
                .iter()
                .fold(text, |text, (key, value)| text.replace(&format!("{{{{ $labels.{key} }}}}"), value));
            assert!(!text.contains("{{"), "{text}");
            json!(text)
        };
        let annotations = alert["annotations"].as_object().unwrap();
        annotations.iter().map(|(key, value)| (key.clone(), filled(value))).collect()
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        alert: "TangramDown",
        labels: &[],
        fires: &[("tangram_nodes", "1x200")],
        still: &[("tangram_leader", "0x200")],
    },
    Case {
        alert: "TangramNoLeader",
        labels: &[],
        fires: &[("tangram_leader{instance=\"a\"}", "0x200"), ("tangram_leader{instance=\"b\"}", "0x200")],
        still: &[("tangram_leader{instance=\"a\"}", "0x200"), ("tangram_leader{instance=\"b\"}", "1x200")],
    },
    Case {
        alert: "TangramTwoLeaders",
        labels: &[],
        fires: &[("tangram_leader{instance=\"a\"}", "1x200"), ("tangram_leader{instance=\"b\"}", "1x200")],
        still: &[("tangram_leader{instance=\"a\"}", "1x200"), ("tangram_leader{instance=\"b\"}", "0x200")],
    },
    Case {
        alert: "TangramModelOld",
        labels: &[],
        fires: &[
            ("tangram_leader{instance=\"a\"}", "1x200"),
            ("tangram_model_age_seconds{instance=\"a\"}", "0+60x200"),
        ],
        // Another replica's age is no matter.
        still: &[
            ("tangram_leader{instance=\"a\"}", "1x200"),
            ("tangram_model_age_seconds{instance=\"a\"}", "1x200"),
            ("tangram_leader{instance=\"b\"}", "0x200"),
            ("tangram_model_age_seconds{instance=\"b\"}", "0+60x200"),
        ],
    },
    Case {
        alert: "TangramErrors",
        labels: &[("verb", "filter")],
        fires: &[
            ("tangram_decisions_total{verb=\"filter\",outcome=\"error\"}", "0+2x200"),
            ("tangram_decisions_total{verb=\"filter\",outcome=\"done\"}", "0+98x200"),
            ("tangram_decisions_total{verb=\"bind\",outcome=\"done\"}", "0+98x200"),
        ],
        still: &[
            ("tangram_decisions_total{verb=\"filter\",outcome=\"error\"}", "5x200"),
            ("tangram_decisions_total{verb=\"filter\",outcome=\"done\"}", "0+98x200"),
        ],
    },
    Case {
        alert: "TangramFilterSlow",
        labels: &[],
        fires: &[
            ("tangram_decision_duration_seconds_bucket{verb=\"filter\",le=\"0.05\"}", "0+98x200"),
            ("tangram_decision_duration_seconds_bucket{verb=\"filter\",le=\"0.1\"}", "0+100x200"),
            ("tangram_decision_duration_seconds_bucket{verb=\"filter\",le=\"+Inf\"}", "0+100x200"),
        ],
        // A bind may take its time.
        still: &[
            ("tangram_decision_duration_seconds_bucket{verb=\"filter\",le=\"0.05\"}", "0+100x200"),
            ("tangram_decision_duration_seconds_bucket{verb=\"filter\",le=\"+Inf\"}", "0+100x200"),
            ("tangram_decision_duration_seconds_bucket{verb=\"bind\",le=\"0.05\"}", "0+0x200"),
            ("tangram_decision_duration_seconds_bucket{verb=\"bind\",le=\"+Inf\"}", "0+100x200"),
        ],
    },
    Case {
        alert: "TangramBindsFail",
        labels: &[],
        fires: &[
            ("tangram_decisions_total{verb=\"bind\",outcome=\"refused\"}", "0+2x200"),
            ("tangram_decisions_total{verb=\"bind\",outcome=\"done\"}", "0+8x200"),
        ],
        still: &[
            ("tangram_decisions_total{verb=\"filter\",outcome=\"refused\"}", "0+9x200"),
            ("tangram_decisions_total{verb=\"bind\",outcome=\"done\"}", "0+8x200"),
        ],
    },
    Case {
        alert: "TangramNominationsMiss",
        labels: &[],
        fires: &[
            ("tangram_nominated_pods_bound_total{outcome=\"hit\"}", "0+4x200"),
            ("tangram_nominated_pods_bound_total{outcome=\"miss\"}", "0+6x200"),
        ],
        still: &[
            ("tangram_nominated_pods_bound_total{outcome=\"hit\"}", "0+6x200"),
            ("tangram_nominated_pods_bound_total{outcome=\"miss\"}", "0+4x200"),
            ("tangram_nominated_pods_bound_total{outcome=\"none\"}", "0+90x200"),
        ],
    },
    Case {
        alert: "TangramAgentSilent",
        labels: &[],
        fires: &[("tangram_agents{state=\"silent\"}", "1x200")],
        still: &[("tangram_agents{state=\"silent\"}", "0x200"), ("tangram_agents{state=\"alive\"}", "9x200")],
    },
    Case {
        alert: "TangramGpusClosed",
        labels: &[("model", "NVIDIA-H200"), ("node_pool", "a")],
        fires: &[
            ("tangram_dynamic_gpus{model=\"NVIDIA-H200\",node_pool=\"a\",state=\"closed\"}", "1x200"),
            ("tangram_dynamic_gpus{model=\"NVIDIA-H200\",node_pool=\"b\",state=\"closed\"}", "0x200"),
        ],
        still: &[("tangram_dynamic_gpus{model=\"NVIDIA-H200\",node_pool=\"a\",state=\"open\"}", "8x200")],
    },
    Case {
        alert: "TangramPlanDiffers",
        labels: &[("kind", "Exchanged")],
        fires: &[("tangram_node_problems{kind=\"Exchanged\"}", "1x200")],
        // One pod after another that is starting: none for long.
        still: &[
            ("tangram_node_problems{kind=\"Record\"}", "0 1 0 0 1 0x200"),
            ("tangram_node_problems{kind=\"UnknownModel\"}", "4x200"),
        ],
    },
    Case {
        alert: "TangramUnreadableObjects",
        labels: &[("kind", "Pod")],
        fires: &[("tangram_unreadable_objects{kind=\"Pod\"}", "1x200")],
        still: &[("tangram_unreadable_objects{kind=\"Pod\"}", "0x200")],
    },
    Case {
        alert: "TangramUnmanagedResources",
        labels: &[],
        fires: &[("tangram_unmanaged_resources", "1x200")],
        still: &[("tangram_unmanaged_resources", "0x200")],
    },
    Case {
        alert: "TangramNoRoom",
        labels: &[("profile", "3g.40gb")],
        fires: &[
            ("tangram_pending_instances{namespace=\"a\",profile=\"3g.40gb\",mode=\"dynamic\"}", "2x200"),
            ("tangram_free_instances{model=\"m\",profile=\"3g.40gb\",mode=\"dynamic\"}", "0x200"),
            ("tangram_free_instances{model=\"m\",profile=\"1g.10gb\",mode=\"dynamic\"}", "9x200"),
            ("tangram_free_instances{model=\"m\",profile=\"3g.40gb\",mode=\"static\"}", "9x200"),
        ],
        still: &[
            ("tangram_pending_instances{namespace=\"a\",profile=\"3g.40gb\",mode=\"dynamic\"}", "2x200"),
            ("tangram_free_instances{model=\"m\",profile=\"3g.40gb\",mode=\"dynamic\"}", "1x200"),
        ],
    },
    Case {
        alert: "TangramWaitsDespiteRoom",
        labels: &[("profile", "3g.40gb")],
        fires: &[
            ("tangram_pending_instances{namespace=\"a\",profile=\"3g.40gb\",mode=\"dynamic\"}", "2x200"),
            ("tangram_free_instances{model=\"m\",profile=\"3g.40gb\",mode=\"dynamic\"}", "1x200"),
        ],
        still: &[
            ("tangram_pending_instances{namespace=\"a\",profile=\"3g.40gb\",mode=\"dynamic\"}", "2x200"),
            ("tangram_free_instances{model=\"m\",profile=\"3g.40gb\",mode=\"dynamic\"}", "0x200"),
        ],
    },
    Case {
        alert: "TangramFragmented",
        labels: &[("model", "m")],
        fires: &[
            ("tangram_memory_slices{model=\"m\",mode=\"dynamic\",state=\"stranded\"}", "3x200"),
            ("tangram_memory_slices{model=\"m\",mode=\"dynamic\",state=\"usable\"}", "7x200"),
        ],
        // How much is used is no matter; a full model has nothing to lose.
        still: &[
            ("tangram_memory_slices{model=\"m\",mode=\"dynamic\",state=\"stranded\"}", "2x200"),
            ("tangram_memory_slices{model=\"m\",mode=\"dynamic\",state=\"usable\"}", "8x200"),
            ("tangram_memory_slices{model=\"full\",mode=\"dynamic\",state=\"stranded\"}", "0x200"),
            ("tangram_memory_slices{model=\"full\",mode=\"dynamic\",state=\"usable\"}", "0x200"),
        ],
    },
    Case {
        alert: "TangramSeriesLeftOut",
        labels: &[],
        fires: &[("tangram_gpus_left_out", "1x200")],
        still: &[("tangram_gpus_left_out", "0x200")],
    },
];
