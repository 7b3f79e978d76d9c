//! Entries of which nobody knows what became of them (CONNTRACK.md 3.8): the oldest of a protocol, and of a source, found at once.

use super::entry::Entry;
use super::tuple::Width;
use ahash::AHashMap;
use kpclass_ruleset::decision::Unknown;
use std::collections::VecDeque;

/// What is kept of one.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    order: u64,
    deadline: u64,
    unknown: Unknown,
}

/// In the order in which they became so; those that are gone are met, and left out, later.
type Queue = VecDeque<(u32, u64)>;

/// So many that are gone may wait.
const FEW: usize = 64;

/// All of them.
#[derive(Debug)]
pub(super) struct Vague<A> {
    doubts: AHashMap<u32, Doubt>,
    by_protocol: AHashMap<u8, Queue>,
    by_source: AHashMap<(u8, A), Queue>,
    next: u64,
    /// In the queues at most.
    queued: usize,
}

impl<A> Default for Vague<A> {
    fn default() -> Self {
        Self {
            doubts: AHashMap::new(),
            by_protocol: AHashMap::new(),
            by_source: AHashMap::new(),
            next: 0,
            queued: 0,
        }
    }
}

impl<A: Width> Vague<A> {
    pub(super) fn is_empty(&self) -> bool {
        self.doubts.is_empty()
    }

    /// What nobody knows of an entry.
    pub(super) fn of(&self, id: u32) -> Option<Unknown> {
        if self.doubts.is_empty() {
            return None;
        }
        self.doubts.get(&id).map(|doubt| doubt.unknown)
    }

    pub(super) fn insert(&mut self, id: u32, entry: &Entry<A>, unknown: Unknown) {
        let order = self.next;
        self.next += 1;
        let doubt = Doubt {
            order,
            deadline: entry.deadline,
            unknown,
        };
        self.doubts.insert(id, doubt);
        let (protocol, source) = (entry.original.protocol, entry.original.source);
        let by_protocol = self.by_protocol.entry(protocol).or_default();
        by_protocol.push_back((id, order));
        let by_source = self.by_source.entry((protocol, source)).or_default();
        by_source.push_back((id, order));
        self.queued += 1;
        // Those that are gone must not be more than those that are there.
        if self.queued > 2 * self.doubts.len() + FEW {
            self.tidy();
        }
    }

    /// Which rules made them so: they were replaced.
    pub(super) fn forget_rules(&mut self) {
        let doubts = self.doubts.values_mut();
        doubts.for_each(|doubt| doubt.unknown.rule = None);
    }

    pub(super) fn remove(&mut self, id: u32) {
        if !self.doubts.is_empty() {
            self.doubts.remove(&id);
        }
    }

    /// Forgets those that are gone.
    fn tidy(&mut self) {
        let doubts = &self.doubts;
        let is_there = |(id, order): &(u32, u64)| doubts.get(id).is_some_and(|d| d.order == *order);
        for queue in self.by_protocol.values_mut() {
            queue.retain(is_there);
        }
        self.by_source.retain(|_, queue| {
            queue.retain(is_there);
            !queue.is_empty()
        });
        self.queued = self.doubts.len();
    }

    /// The oldest live one of a protocol.
    pub(super) fn of_protocol(&mut self, protocol: u8, now: u64) -> Option<Unknown> {
        let queue = self.by_protocol.get_mut(&protocol)?;
        oldest(&self.doubts, queue, now)
    }

    /// The oldest live one of a protocol whose first packet had this source address.
    pub(super) fn of_source(&mut self, protocol: u8, source: A, now: u64) -> Option<Unknown> {
        let queue = self.by_source.get_mut(&(protocol, source))?;
        oldest(&self.doubts, queue, now)
    }
}

fn oldest(doubts: &AHashMap<u32, Doubt>, queue: &mut Queue, now: u64) -> Option<Unknown> {
    while let Some((id, order)) = queue.front() {
        let doubt = doubts.get(id).filter(|doubt| doubt.order == *order);
        match doubt.filter(|doubt| doubt.deadline > now) {
            Some(doubt) => return Some(doubt.unknown),
            None => queue.pop_front(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tuple::Tuple;
    use super::*;
    use kpclass_ruleset::decision::Fact;

    fn entry(source: u32) -> Entry<u32> {
        let original = Tuple::new(17, (source, 1), (2, 53));
        let inverse = Tuple::new(17, (2, 53), (source, 1));
        let mut entry = Entry::new(original, inverse, 0);
        entry.deadline = 10;
        entry
    }

    fn unknown(fact: Fact) -> Unknown {
        Unknown { rule: None, fact }
    }

    #[test]
    fn the_oldest_live_one_is_found_by_protocol_and_by_source() {
        let mut vague = Vague::default();
        vague.insert(1, &entry(7), unknown(Fact::Length));
        vague.insert(2, &entry(8), unknown(Fact::Ttl));
        assert_eq!(vague.of_protocol(17, 9), Some(unknown(Fact::Length)));
        assert_eq!(vague.of_protocol(6, 9), None);
        assert_eq!(vague.of_source(17, 8, 9), Some(unknown(Fact::Ttl)));
        vague.remove(1);
        assert_eq!(vague.of_protocol(17, 9), Some(unknown(Fact::Ttl)));
        assert_eq!(vague.of_source(17, 7, 9), None);
        assert_eq!(vague.of_protocol(17, 10), None, "all are over");
    }

    #[test]
    fn those_that_are_gone_take_no_room() {
        let mut vague = Vague::default();
        vague.insert(0, &entry(7), unknown(Fact::Length));
        for _ in 0..10_000 {
            vague.insert(1, &entry(8), unknown(Fact::Ttl));
            vague.remove(1);
        }
        let waiting = |queue: Option<&Queue>| queue.map_or(0, VecDeque::len);
        assert!(waiting(vague.by_protocol.get(&17)) <= 2 * FEW);
        assert!(waiting(vague.by_source.get(&(17, 8))) <= 2 * FEW);
        assert_eq!(vague.of_protocol(17, 9), Some(unknown(Fact::Length)));
    }
}
