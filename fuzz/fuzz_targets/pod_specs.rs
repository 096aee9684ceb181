//! Bodies of the dry run, planned on the example cluster.
//!
//! Checked, beside the absence of panics:
//!
//! - each pod gets one answer; where it has none, every node says why, once;
//! - each place is one that the independent checker and kube-scheduler's modelled filters accept on the node
//!   as the pods before it leave it; pods of equal names are different pods there;
//! - the answer survives its JSON.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tangram::model::{Pod, PodKey, Policy};
use tangram::plan::plan;
use tangram::solver::{intree_refusal, verify};
use tangram::wire::dryrun::{DryRun, dryrun_pods};
use tangram::wire::{Dialect, Limits};
use tangram_fuzz::{Example, SCORES, check_node, check_refused};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { dryrun_pods: 50, mig_devices_per_pod: 16, ..Limits::default() };
    let dialect = Dialect { limits, ..Dialect::default() };
    let pods = match dryrun_pods(data, &dialect) {
        Ok(pods) => pods,
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without an error");
            return;
        }
    };
    assert!(pods.len() <= limits.dryrun_pods);
    let mut cluster = Example::get().cluster.clone();
    let (planned, _) = plan(cluster.clone(), &SCORES, Policy::Pack, pods.iter().cloned());
    assert_eq!(planned.len(), pods.len(), "pods and answers");
    for (number, (pod, planned)) in pods.iter().zip(&planned).enumerate() {
        match &planned.outcome {
            Ok(place) => {
                let node = cluster.get(&place.node).expect("a place is on a node");
                assert_eq!(
                    verify(node, &pod.request, &place.placement),
                    Ok(()),
                    "{} on {}",
                    pod.key,
                    place.node
                );
                assert_eq!(intree_refusal(pod, node), None, "{} on {}", pod.key, place.node);
                let name = format!("{}/{number}", pod.key.name).into();
                let key = PodKey { namespace: pod.key.namespace.clone(), name };
                let bound = Pod { key, ..pod.bound_to(place.node.clone(), place.placement.clone()) };
                let node = node.with(&Arc::new(bound));
                check_node(&node);
                cluster.put(Arc::new(node));
            }
            Err(refused) => check_refused(refused, &cluster),
        }
    }
    let answer = DryRun::new(&planned);
    assert_eq!(answer.fit, answer.pods.iter().filter(|pod| pod.node.is_some()).count());
    let text = serde_json::to_vec(&answer).expect("texts and numbers only");
    assert_eq!(serde_json::from_slice::<DryRun>(&text).expect("it was just written"), answer);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    tangram_fuzz::mutate(data, size, max_size, seed, 0)
});
