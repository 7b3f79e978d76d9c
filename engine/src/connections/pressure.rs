//! A full table (CONNTRACK.md 3.9): which entries the kernel evicts hangs on a secret hash and on when its collector runs, so nobody knows of those that it may.

use super::table::{Found, Id};
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

/// So many that changed several times may be told of.
const FEW: usize = 64;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Until then the collector may evict; `None`: it does not.
    until: Option<u64>,
    /// While it may: entries that came to be such as it may evict, or are changed, since those that there were are doubted.
    changed: Vec<Id>,
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

    /// Whether the collector is done by then, which is to be noted.
    #[inline(always)]
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// This entry may be one that may be evicted, and of which something is known; so many have a place.
    #[inline]
    pub(super) fn entry_changed(&mut self, id: Id, places: usize) {
        if !self.is_on() {
            return;
        }
        self.changed.push(id);
        if self.changed.len() > 2 * places + FEW {
            self.changed.sort_unstable();
            self.changed.dedup();
        }
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
        self.doubt_evictable();
        let window = protocol::nanos(Settings::EVICTION);
        let pressure = &mut self.table.pressure;
        pressure.until = Some(self.now.saturating_add(window));
    }

    /// The collector is done, if so long ago the table was full.
    pub(super) fn release(&mut self) {
        if self.table.pressure.is_over(self.now) {
            self.doubt_evictable();
            self.table.pressure.until = None;
        }
    }

    /// Nobody knows of any entry that may be evicted. While the collector is about, that is so already but for those that changed.
    fn doubt_evictable(&mut self) {
        match self.table.pressure.is_on() {
            true => {
                let mut changed = std::mem::take(&mut self.table.pressure.changed);
                changed.drain(..).for_each(|id| self.doubt_if_evictable(id));
                self.table.pressure.changed = changed;
            }
            false => self.table.ids().for_each(|id| self.doubt_if_evictable(id)),
        }
    }

    fn doubt_if_evictable(&mut self, id: Id) {
        if self.table.is_evictable_at(id, self.now) {
            self.evict(id);
        }
    }

    /// Nobody knows of an entry any more.
    fn evict(&mut self, id: Id) {
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
