//! What rules remember from packet to packet: the `recent` lists (CONNTRACK.md 11). Where each packet is asked alone, they are empty at first.

use kpclass_ruleset::StrId;
use kpclass_ruleset::decision::Fact;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A list holds at most so many addresses (`ip_list_tot`).
const MOST_ADDRESSES: usize = 100;

/// Of so many addresses it is kept that nothing is known; with more, nothing is known of any list.
const MOST_DOUBTS: usize = 1 << 16;

/// The least ring of an address' times.
const LEAST_RING: usize = 32;

/// All lists, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) now: Duration,
    lists: BTreeMap<StrId, List>,
    /// The lists of which it is not known what they hold.
    unknown: Vec<StrId>,
    /// Addresses of which no list is known to hold them or not, and why.
    doubtful: BTreeMap<IpAddr, Fact>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    ring: usize,
    /// The one whose last time is the oldest first.
    entries: Vec<Remembered>,
}

/// An address that a list remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    address: IpAddr,
    ttl: Option<u8>,
    /// The last ones, the oldest first; never empty.
    times: Vec<Duration>,
}

impl Memory {
    /// Whether it is not known what the list says of a masked address, and why; of all addresses that `mask` makes this one, the first.
    pub(crate) fn doubt(
        &self,
        list: StrId,
        address: IpAddr,
        mask: impl Fn(IpAddr) -> IpAddr,
    ) -> Option<Fact> {
        if self.unknown.contains(&list) {
            return Some(Fact::LocalAddresses);
        }
        let mut doubtful = self.doubtful.iter();
        let found = doubtful.find(|(doubtful, _)| mask(**doubtful) == address);
        found.map(|(_, fact)| *fact)
    }

    /// Nothing is known of the list from now on.
    pub(crate) fn forget_what(&mut self, list: StrId) {
        if !self.unknown.contains(&list) {
            self.unknown.push(list);
        }
    }

    /// Nothing is known of the address from now on, in any list.
    pub(crate) fn doubt_address(&mut self, address: IpAddr, fact: Fact) {
        if self.doubtful.len() >= MOST_DOUBTS {
            self.unknown = self.lists.keys().copied().collect();
        } else if !self.lists.is_empty() {
            self.doubtful.entry(address).or_insert(fact);
        }
    }

    /// Whether the list holds any address, as far as known.
    pub(crate) fn is_empty(&self, list: StrId) -> bool {
        !self.unknown.contains(&list) && self.lists.get(&list).is_none_or(|l| l.entries.is_empty())
    }

    pub(crate) fn find(&self, list: StrId, address: IpAddr) -> Option<&Remembered> {
        let list = self.lists.get(&list)?;
        list.entries.iter().find(|e| e.address == address)
    }

    /// `--hitcount` of a rule of the list, which tells how many times its addresses keep.
    pub(crate) fn make_room(&mut self, list: StrId, hitcount: u32) {
        let list = self.lists.entry(list).or_default();
        let ring = (hitcount as usize).next_power_of_two().max(LEAST_RING);
        list.ring = list.ring.max(ring);
    }

    /// Enters the address, or the time once more.
    pub(crate) fn enter(&mut self, list: StrId, address: IpAddr, ttl: Option<u8>) {
        let now = self.now;
        let list = self.lists.entry(list).or_default();
        let at = list.entries.iter().position(|e| e.address == address);
        let mut entry = match at {
            Some(at) => list.entries.remove(at),
            None => Remembered {
                address,
                ttl,
                times: Vec::new(),
            },
        };
        if at.is_none() && list.entries.len() >= MOST_ADDRESSES {
            list.entries.remove(0);
        }
        entry.ttl = ttl;
        entry.times.push(now);
        if entry.times.len() > list.ring.max(LEAST_RING) {
            entry.times.remove(0);
        }
        list.entries.push(entry);
    }

    pub(crate) fn remove(&mut self, list: StrId, address: IpAddr) {
        if let Some(list) = self.lists.get_mut(&list) {
            list.entries.retain(|e| e.address != address);
        }
    }

    /// `--reap`: the address with the oldest last time goes if that is more than `seconds` ago, unless it is `kept`.
    pub(crate) fn reap(&mut self, list: StrId, seconds: u32, kept: Option<IpAddr>) {
        let now = self.now;
        let Some(list) = self.lists.get_mut(&list) else {
            return;
        };
        let is_old = |e: &Remembered| e.hits(now, seconds) == 0 && Some(e.address) != kept;
        if list.entries.first().is_some_and(is_old) {
            list.entries.remove(0);
        }
    }

    /// The same for other rules, whose lists have the names that `rename` gives; those without one are gone.
    #[must_use]
    pub(crate) fn renamed(self, rename: &dyn Fn(StrId) -> Option<StrId>) -> Self {
        let lists = self.lists.into_iter();
        let unknown = self.unknown.into_iter();
        Self {
            lists: lists
                .filter_map(|(name, list)| Some((rename(name)?, list)))
                .collect(),
            unknown: unknown.filter_map(rename).collect(),
            ..self
        }
    }

    /// The lists' rings, as rules with these hitcounts have them; a list whose ring grows is emptied (CONNTRACK.md 7).
    pub(crate) fn grow(&mut self, hitcounts: &BTreeMap<StrId, u32>) {
        for (list, hitcount) in hitcounts {
            let had = self.lists.get(list).map(|list| list.ring);
            self.make_room(*list, *hitcount);
            if let (Some(had), Some(list)) = (had, self.lists.get_mut(list))
                && list.ring > had.max(LEAST_RING)
            {
                list.entries.clear();
            }
        }
    }
}

impl Remembered {
    /// How many of its times are not older than `seconds`; 0 seconds: all.
    pub(crate) fn hits(&self, now: Duration, seconds: u32) -> usize {
        let oldest = now.checked_sub(Duration::from_secs(seconds.into()));
        let counts =
            |time: &&Duration| seconds == 0 || oldest.is_none_or(|oldest| **time >= oldest);
        self.times.iter().filter(counts).count()
    }

    /// Its TTL, where it was known.
    pub(crate) fn ttl(&self) -> Option<u8> {
        self.ttl
    }
}
