//! What holds once faults have stopped and everything has come to rest.

use tangram::cache::Event;
use tangram::model::PodKey;

use crate::rules;
use crate::server::{Call, KINDS, Reply};
use crate::world::{World, new_cache};

impl World {
    /// Rule 3: at rest, everyone knows what is, nothing is under way, whatever fits is bound.
    pub(crate) fn rest(&mut self) -> Result<(), String> {
        let mut truth = new_cache();
        for kind in KINDS {
            let Reply::List { items, live, revision } = self.server.serve(&Call::List(kind)) else {
                continue;
            };
            for item in items {
                truth.apply(item);
            }
            truth.apply(Event::Reset { kind, live, revision });
        }
        let leaders =
            self.replicas.iter().filter(|replica| replica.is_ready && replica.until_ms > self.now).count();
        if leaders != 1 {
            return Err(format!("rule 3: {leaders} replicas lead"));
        }
        for (number, replica) in self.replicas.iter().enumerate() {
            let differences = replica.cache.differences(&truth);
            let problems = replica.cache.check();
            if !differences.is_empty() || !problems.is_empty() {
                return Err(format!("rule 3: replica {number}: {problems:?} {differences:#?}"));
            }
            if !replica.binding.is_empty() {
                return Err(format!("rule 3: replica {number} binds for ever: {:?}", replica.binding));
            }
            let pending: Vec<&PodKey> =
                replica.cache.pods().filter(|pod| pod.node.is_none()).map(|pod| &pod.key).collect();
            if !replica.waiting.iter().eq(pending.iter().copied()) {
                return Err(format!("rule 3: replica {number} said {:?} wait", replica.waiting));
            }
        }
        for ((name, hardware), agent) in self.hardware.iter().zip(&self.agents) {
            rules::node(&self.server, hardware, name)?;
            rules::wants_its_pods(&self.server, &agent.held, name)?;
        }
        self.nobody_is_stuck(&truth)
    }
}
