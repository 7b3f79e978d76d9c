//! A full table (CONNTRACK.md 3.9): which entries the kernel evicts hangs on a secret hash and on when its collector runs, so nobody knows of those that it may.

use super::table::Found;
use super::tuple::{Tuple, Width};
use super::{Tracker, protocol};
use ahash::AHashMap;
use kpclass_ruleset::conntrack::Settings;
use kpclass_ruleset::decision::{Fact, Unknown};

/// Nobody knows what becomes of it because the table is full.
pub(super) const FULL: Unknown = Unknown {
    rule: None,
    fact: Fact::ConntrackFull,
};

/// What a full table did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Full {
    /// Packets of which nothing is known because it was full.
    pub packets: u64,
    /// Connections that the kernel may have evicted.
    pub evictable: u64,
    /// Connections of such first packets that are not kept, not even as ones of which nobody knows.
    pub not_kept: u64,
}

impl Full {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.evictable += other.evictable;
        self.not_kept += other.not_kept;
    }
}

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Until then the collector may evict; `None`: it does not.
    until: Option<u64>,
    /// Of what it may evict, nobody knows already.
    is_doubted: bool,
    /// By protocol: until then a packet may belong to a connection that is not kept.
    not_kept: AHashMap<u8, u64>,
    counts: Full,
}

impl Pressure {
    /// Whether the collector may evict.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// There may be an entry that may be evicted, and of which something is known.
    pub(super) fn entry_changed(&mut self) {
        self.is_doubted = false;
    }

    /// Whether a connection of the protocol that is not kept may be there.
    pub(super) fn has_lost(&self, protocol: u8, now: u64) -> bool {
        !self.not_kept.is_empty()
            && self
                .not_kept
                .get(&protocol)
                .is_some_and(|until| *until > now)
    }

    /// Nothing is known of a packet.
    pub(super) fn count(&mut self, unknown: Unknown) {
        self.counts.packets += u64::from(unknown == FULL);
    }

    pub(super) fn lose(&mut self, protocol: u8, until: u64) {
        self.counts.not_kept += 1;
        self.not_kept.insert(protocol, until);
    }
}

impl<A: Width> Tracker<'_, A> {
    /// What a full table did so far.
    pub fn full(&self) -> Full {
        self.table.pressure.counts
    }

    /// A first packet met a full table.
    pub(super) fn press(&mut self) {
        if !self.table.pressure.is_doubted {
            self.doubt_evictable();
        }
        let window = protocol::nanos(Settings::EVICTION);
        let pressure = &mut self.table.pressure;
        pressure.until = Some(self.now.saturating_add(window));
    }

    /// The collector is done, if so long ago the table was full.
    pub(super) fn release(&mut self) {
        if let Some(until) = self.table.pressure.until
            && until <= self.now
        {
            self.doubt_evictable();
            self.table.pressure.until = None;
        }
    }

    fn doubt_evictable(&mut self) {
        for id in self.table.evictable(self.now) {
            self.evict(id);
        }
        self.table.pressure.is_doubted = true;
    }

    /// Nobody knows of an entry any more.
    fn evict(&mut self, id: super::table::Id) {
        if let Some(entry) = self.table.get(id) {
            let longest = self.timeouts.longest(entry.original.protocol);
            let deadline = self.now.saturating_add(longest);
            self.table.doubt_until(id, FULL, deadline);
            self.table.pressure.counts.evictable += 1;
        }
    }

    /// Whose packet it is.
    pub(super) fn find(&mut self, tuple: &Tuple<A>, arrives: bool) -> Found {
        let is_local = self.is_local();
        let found = self.table.find(tuple, arrives, is_local, self.now);
        let pressure = &self.table.pressure;
        match found {
            Found::One(id, _) | Found::Fits(id)
                if pressure.is_on() && self.table.is_evictable(id) =>
            {
                self.evict(id);
                Found::Vague(FULL)
            }
            Found::Nothing if pressure.has_lost(tuple.protocol, self.now) => Found::Vague(FULL),
            found => found,
        }
    }
}
