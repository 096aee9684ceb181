//! Lists and watches of a replica, as `src/k8s/watch.rs` does them.

use std::collections::BTreeSet;

use tangram::cache::Event;
use tangram::model::PodKey;

use crate::replica::Then;
use crate::server::{Call, KINDS};
use crate::world::{Local, World, trace};

impl World {
    pub(crate) fn list(&mut self, replica: usize, kind: usize) {
        let number = self.replicas[replica].wanted;
        let stream = &mut self.replicas[replica].streams[kind];
        (stream.is_listing, stream.is_idle) = (true, false);
        stream.epoch += 1;
        let then = Then::Listed { kind, epoch: stream.epoch, number };
        self.request(replica, Call::List(KINDS[kind]), then);
    }

    pub(crate) fn listed(
        &mut self,
        replica: usize,
        kind: usize,
        items: Vec<Event>,
        live: BTreeSet<PodKey>,
        revision: u64,
        number: u64,
    ) {
        for item in items {
            self.apply(replica, item);
        }
        self.apply(replica, Event::Reset { kind: KINDS[kind], live, revision });
        let cursor = self.server.history(KINDS[kind]).partition_point(|change| change.revision <= revision);
        let wanted = self.replicas[replica].wanted;
        let stream = &mut self.replicas[replica].streams[kind];
        (stream.listed, stream.first, stream.cursor) = (number, cursor, cursor);
        (stream.is_listing, stream.is_idle) = (false, true);
        self.all_listed(replica);
        if wanted > number {
            self.list(replica, kind);
        }
    }

    /// A watch tells what is new; it may break, and be resumed or begun again by a list.
    pub(crate) fn watch(&mut self, replica: usize, kind: usize, epoch: u32) {
        let stream = &self.replicas[replica].streams[kind];
        if stream.epoch != epoch || stream.is_listing {
            return;
        }
        let from = stream.cursor;
        if !self.is_calm && self.chance(self.faults.lost.div_ceil(3)) {
            if self.chance(25) {
                trace!(self, "the version of a watch of {replica} is too old");
                return self.list(replica, kind);
            }
            let back =
                from.saturating_sub(self.random.below(4)).max(self.replicas[replica].streams[kind].first);
            self.replicas[replica].streams[kind].cursor = back;
            let pause = self.between(50, 800);
            return self.local(pause, replica, Local::Watch(kind, epoch));
        }
        let news = self.server.history(KINDS[kind]).len() - from;
        let count = if self.chance(50) { news } else { 1 };
        for position in from..from + count {
            let event = self.server.history(KINDS[kind])[position].event.clone();
            if self.chance(2) {
                self.apply(replica, event.clone());
            }
            self.apply(replica, event);
        }
        self.replicas[replica].streams[kind].cursor = from + count;
        if count < news {
            let delay = self.delay();
            self.local(delay, replica, Local::Watch(kind, epoch));
        } else {
            self.replicas[replica].streams[kind].is_idle = true;
        }
    }
}
