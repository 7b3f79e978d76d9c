//! What rules remember from packet to packet: the `recent` lists (CONNTRACK.md 11). Where each packet is asked alone, they are empty at first.

use kpclass_ruleset::StrId;
use kpclass_ruleset::decision::Fact;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A list holds at most so many addresses (`ip_list_tot`).
const MOST_ADDRESSES: usize = 100;

/// Of so many addresses it is kept that nothing is known; with more, nothing is known of any list.
const MOST_DOUBTS: usize = 1 << 16;

/// The least ring of an address' times.
const LEAST_RING: usize = 32;

/// All lists, at one moment. Each way of a walk has its own, and nearly all of them share what none of them changes: a copy is made by whoever changes something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) now: Duration,
    lists: Arc<BTreeMap<StrId, Arc<List>>>,
    /// The lists of which it is not known what they hold.
    unknown: Vec<StrId>,
    /// Addresses of which no list is known to hold them or not, and why.
    doubtful: Arc<BTreeMap<IpAddr, Fact>>,
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
            Arc::make_mut(&mut self.doubtful)
                .entry(address)
                .or_insert(fact);
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

    /// A list that is about to change.
    fn list_mut(&mut self, list: StrId) -> &mut List {
        let lists = Arc::make_mut(&mut self.lists);
        Arc::make_mut(lists.entry(list).or_default())
    }

    /// `--hitcount` of a rule of the list, which tells how many times its addresses keep.
    pub(crate) fn make_room(&mut self, list: StrId, hitcount: u32) {
        let ring = (hitcount as usize).next_power_of_two().max(LEAST_RING);
        if self.lists.get(&list).is_none_or(|list| list.ring < ring) {
            self.list_mut(list).ring = ring;
        }
    }

    /// Enters the address, or the time once more.
    pub(crate) fn enter(&mut self, list: StrId, address: IpAddr, ttl: Option<u8>) {
        let now = self.now;
        let list = self.list_mut(list);
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
        if self.lists.contains_key(&list) {
            let entries = &mut self.list_mut(list).entries;
            entries.retain(|e| e.address != address);
        }
    }

    /// `--reap`: the address with the oldest last time goes if that is more than `seconds` ago, unless it is `kept`.
    pub(crate) fn reap(&mut self, list: StrId, seconds: u32, kept: Option<IpAddr>) {
        let is_old = |e: &Remembered| e.hits(self.now, seconds) == 0 && Some(e.address) != kept;
        let oldest = self.lists.get(&list).and_then(|l| l.entries.first());
        if oldest.is_some_and(is_old) {
            self.list_mut(list).entries.remove(0);
        }
    }

    /// The same for other rules, whose lists have the names that `rename` gives; those without one are gone.
    #[must_use]
    pub(crate) fn renamed(self, rename: &dyn Fn(StrId) -> Option<StrId>) -> Self {
        let lists = self.lists.iter();
        let unknown = self.unknown.into_iter();
        Self {
            lists: lists
                .filter_map(|(name, list)| Some((rename(*name)?, Arc::clone(list))))
                .collect::<BTreeMap<_, _>>()
                .into(),
            unknown: unknown.filter_map(rename).collect(),
            ..self
        }
    }

    /// The lists' rings, as rules with these hitcounts have them; a list whose ring grows is emptied (CONNTRACK.md 7).
    pub(crate) fn grow(&mut self, hitcounts: &BTreeMap<StrId, u32>) {
        for (list, hitcount) in hitcounts {
            let had = self.lists.get(list).map(|list| list.ring);
            self.make_room(*list, *hitcount);
            let list = self.list_mut(*list);
            if had.is_some_and(|had| list.ring > had.max(LEAST_RING)) {
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
