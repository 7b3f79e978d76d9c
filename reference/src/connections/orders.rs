//! Entries in the orders in which they are asked for: as they are over, as they may be evicted, as they became vague.

use super::entry::Entry;
use super::table::{Id, forget};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// When an entry became vague among the others.
type Since = u64;

/// Of all entries of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    by_deadline: BTreeSet<(Duration, Id)>,
    /// Those that the kernel may evict where its table is full, and of which something is known.
    evictable: BTreeSet<Id>,
    /// Those of which nobody knows what became of them.
    vague: BTreeMap<Id, Since>,
    vague_of_protocol: HashMap<u8, BTreeSet<(Since, Id)>>,
    /// By the source of the original tuple, too.
    vague_of_source: HashMap<(u8, IpAddr), BTreeSet<(Since, Id)>>,
    next: Since,
}

impl Orders {
    pub(super) fn add(&mut self, id: Id, entry: &Entry) {
        self.by_deadline.insert((entry.deadline, id));
        if entry.vague.is_none() && entry.is_evictable() {
            self.evictable.insert(id);
        }
        if entry.vague.is_some() {
            let since = *self.vague.entry(id).or_insert(self.next);
            self.next += 1;
            let (protocol, (source, _)) = (entry.original.protocol, entry.original.source);
            let of_protocol = self.vague_of_protocol.entry(protocol).or_default();
            of_protocol.insert((since, id));
            let of_source = self.vague_of_source.entry((protocol, source)).or_default();
            of_source.insert((since, id));
        }
    }

    /// Takes an entry out, as it was when it was added. When it became vague is not forgotten, so that it can be added again.
    fn take_out(&mut self, id: Id, entry: &Entry) {
        self.by_deadline.remove(&(entry.deadline, id));
        self.evictable.remove(&id);
        if let Some(since) = self.vague.get(&id) {
            let (protocol, (source, _)) = (entry.original.protocol, entry.original.source);
            let place = (*since, id);
            forget(&mut self.vague_of_protocol, &protocol, place);
            forget(&mut self.vague_of_source, &(protocol, source), place);
        }
    }

    /// An entry has changed, but for its tuples.
    pub(super) fn change(&mut self, id: Id, old: &Entry, new: &Entry) {
        self.take_out(id, old);
        self.add(id, new);
    }

    pub(super) fn remove(&mut self, id: Id, entry: &Entry) {
        self.take_out(id, entry);
        self.vague.remove(&id);
    }

    /// Those that are over.
    pub(super) fn over(&self, now: Duration) -> Vec<Id> {
        let over = self.by_deadline.range(..=(now, Id::MAX));
        over.map(|(_, id)| *id).collect()
    }

    pub(super) fn evictable(&self) -> Vec<Id> {
        self.evictable.iter().copied().collect()
    }

    /// Vague ones of a protocol, in the order in which they became so.
    pub(super) fn vague_of(&self, protocol: u8) -> impl Iterator<Item = Id> {
        let found = self.vague_of_protocol.get(&protocol);
        found.into_iter().flatten().map(|(_, id)| *id)
    }

    /// The same of those whose original tuple has this source.
    pub(super) fn vague_from(&self, protocol: u8, source: IpAddr) -> impl Iterator<Item = Id> {
        let found = self.vague_of_source.get(&(protocol, source));
        found.into_iter().flatten().map(|(_, id)| *id)
    }
}
