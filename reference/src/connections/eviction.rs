//! A full table (CONNTRACK.md 3.9): which entries the kernel evicts hangs on a secret hash and on when its collector runs, so nobody knows of those that it may.

use super::Tracker;
use super::table::Id;
use kpclass_ruleset::conntrack::Settings;
use kpclass_ruleset::decision::{Fact, Unknown};

impl Tracker<'_> {
    /// A first packet met a full table.
    pub(super) fn begin_eviction(&mut self) {
        self.evict_all();
        self.table.evicts_until = Some(self.now + Settings::EVICTION);
    }

    /// The collector is done, if so long ago the table was full.
    pub(super) fn end_eviction(&mut self) {
        if self
            .table
            .evicts_until
            .is_some_and(|until| until <= self.now)
        {
            self.evict_all();
            self.table.evicts_until = None;
        }
    }

    fn evict_all(&mut self) {
        for id in self.table.evictable(self.now) {
            self.evict(id);
        }
    }

    pub(super) fn is_evictable(&self, id: Id) -> bool {
        self.table.get(id).is_some_and(|entry| entry.is_evictable())
    }

    /// It may be gone: nobody knows.
    pub(super) fn evict(&mut self, id: Id) {
        if let Some(mut entry) = self.table.get(id).cloned() {
            entry.deadline = self.now + self.settings.longest(entry.original.protocol);
            entry.vague = Some(Unknown {
                rule: None,
                fact: Fact::ConntrackFull,
            });
            self.table.put_back(id, entry);
        }
    }
}
