//! The `recent` lists that packets fill one after another (CONNTRACK.md 11), where they are followed.

use crate::graph::{Graph, RecentAsk};
use ahash::AHashMap;
use kpclass_ruleset::StrId;
use kpclass_ruleset::decision::Fact;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A list holds at most so many addresses (`ip_list_tot`).
const MOST_ADDRESSES: usize = 100;

/// The least ring of an address' times.
const LEAST_RING: usize = 32;

/// Of so many addresses it is kept that nothing is known; with more, nothing is known of any list.
const MOST_DOUBTS: usize = 1 << 16;

/// All lists of one family, at one moment. What a packet changes can be taken back.
#[derive(Debug, Default)]
pub struct Lists {
    lists: AHashMap<StrId, Rc<List>>,
    /// Addresses of which no list is known to hold them or not, and why.
    doubtful: BTreeMap<u128, Fact>,
    /// What lists were before they were changed, in order, since the packet began.
    before: Vec<(StrId, Rc<List>)>,
    pub(super) now: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    ring: usize,
    /// Nobody knows what it holds.
    unknown: bool,
    /// The one whose last time is the oldest first.
    entries: Vec<Entry>,
}

/// An address that a list remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    address: u128,
    pub(super) ttl: Option<u8>,
    /// The last ones, the oldest first; never empty.
    times: Vec<Duration>,
}

/// Lists that were changed, as they are now.
pub(crate) type Changes = Vec<(StrId, Rc<List>)>;

impl Lists {
    /// The lists that a ruleset names, empty.
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut lists: AHashMap<StrId, List> = AHashMap::new();
        for recent in &graph.recents {
            let list = lists.entry(recent.list).or_default();
            let ring = (recent.hitcount as usize)
                .next_power_of_two()
                .max(LEAST_RING);
            list.ring = list.ring.max(ring);
        }
        Self {
            lists: lists.into_iter().map(|(id, l)| (id, Rc::new(l))).collect(),
            ..Self::default()
        }
    }

    /// The same for other rules, whose lists have the names that `rename` gives; one whose ring must grow is emptied (CONNTRACK.md 7).
    pub(crate) fn replace(&mut self, graph: &Graph, rename: impl Fn(StrId) -> Option<StrId>) {
        let mut new = Self::new(graph);
        for (name, old) in self.lists.drain() {
            let held = rename(name).and_then(|name| new.lists.get_mut(&name));
            let Some(held) = held.map(Rc::make_mut) else {
                continue;
            };
            held.unknown = old.unknown;
            if held.ring <= old.ring {
                held.ring = old.ring;
                held.entries.clone_from(&old.entries);
            }
        }
        self.lists = new.lists;
        self.before.clear();
    }

    /// A packet begins: what was changed before it stays.
    pub fn begin(&mut self, now: Duration) {
        self.before.clear();
        self.now = now;
    }

    /// Where [`Self::take_back`] goes back to.
    pub(crate) fn position(&self) -> usize {
        self.before.len()
    }

    /// Undoes what was changed since the position, and says what that was.
    pub(crate) fn take_back(&mut self, position: usize) -> Changes {
        let changes = self.changes(position);
        while self.before.len() > position {
            if let Some((id, list)) = self.before.pop() {
                self.lists.insert(id, list);
            }
        }
        changes
    }

    /// What is not as it was at the position.
    pub(crate) fn changes(&self, position: usize) -> Changes {
        let mut before: Vec<&(StrId, Rc<List>)> = self.before[position..].iter().collect();
        // Of each list the first.
        before.sort_by_key(|(id, _)| *id);
        before.dedup_by_key(|(id, _)| *id);
        let now = before
            .into_iter()
            .map(|(id, old)| (*id, old, &self.lists[id]));
        now.filter(|(_, old, list)| *old != *list)
            .map(|(id, _, list)| (id, Rc::clone(list)))
            .collect()
    }

    /// Takes back all that the packet has changed.
    pub fn undo(&mut self) {
        self.take_back(0);
    }

    /// Nothing is known of the address from now on, in any list.
    pub fn doubt_address(&mut self, address: u128, fact: Fact) {
        if self.doubtful.len() >= MOST_DOUBTS {
            let lists = self.lists.values_mut();
            lists.for_each(|list| Rc::make_mut(list).unknown = true);
        } else if !self.lists.is_empty() {
            self.doubtful.entry(address).or_insert(fact);
        }
    }

    /// Whether it is not known what the list says of a masked address, and why.
    pub(super) fn doubt(&self, list: StrId, address: u128, mask: u128) -> Option<Fact> {
        if self.lists.get(&list).is_some_and(|list| list.unknown) {
            return Some(Fact::LocalAddresses);
        }
        let mut inside = self.doubtful.range(address..=address | !mask);
        let found = inside.find(|(doubtful, _)| **doubtful & mask == address);
        found.map(|(_, fact)| *fact)
    }

    pub(super) fn is_empty(&self, list: StrId) -> bool {
        let list = self.lists.get(&list);
        list.is_none_or(|list| !list.unknown && list.entries.is_empty())
    }

    pub(super) fn find(&self, list: StrId, address: u128) -> Option<&Entry> {
        let list = self.lists.get(&list)?;
        list.entries.iter().find(|e| e.address == address)
    }

    fn change(&mut self, list: StrId) -> &mut List {
        let held = self.lists.entry(list).or_default();
        self.before.push((list, Rc::clone(held)));
        Rc::make_mut(held)
    }

    pub(super) fn forget_what(&mut self, list: StrId) {
        self.change(list).unknown = true;
    }

    /// Enters the address, or the time once more.
    pub(super) fn enter(&mut self, list: StrId, address: u128, ttl: Option<u8>) {
        let now = self.now;
        let list = self.change(list);
        let at = list.entries.iter().position(|e| e.address == address);
        let mut entry = match at {
            Some(at) => list.entries.remove(at),
            None => Entry {
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

    pub(super) fn remove(&mut self, list: StrId, address: u128) {
        self.change(list).entries.retain(|e| e.address != address);
    }

    /// `--reap`: the address with the oldest last time goes if that is more than `seconds` ago, unless it is `kept`.
    pub(super) fn reap(&mut self, ask: RecentAsk, kept: Option<u128>) {
        let now = self.now;
        let Some(list) = self.lists.get(&ask.list) else {
            return;
        };
        let is_old = |e: &Entry| e.hits(now, ask.seconds) == 0 && Some(e.address) != kept;
        if list.entries.first().is_some_and(is_old) {
            self.change(ask.list).entries.remove(0);
        }
    }
}

impl Entry {
    /// How many of its times are not older than `seconds`; 0 seconds: all.
    pub(super) fn hits(&self, now: Duration, seconds: u32) -> usize {
        let oldest = now.checked_sub(Duration::from_secs(seconds.into()));
        let counts =
            |time: &&Duration| seconds == 0 || oldest.is_none_or(|oldest| **time >= oldest);
        self.times.iter().filter(counts).count()
    }
}
