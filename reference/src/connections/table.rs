//! The entries, found by their tuples.

use super::entry::{Client, Entry};
use super::orders::Orders;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::{Direction, Tuple};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Prefix;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// An entry's number: the later made, the higher.
pub(super) type Id = u64;

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This entry, by the tuple of this direction.
    One(Id, Direction),
    /// By a source that it left open: it fits, and no other does.
    Fits(Id),
    /// More than one entry may be meant.
    Several,
    /// This vague entry may be meant.
    Vague(Id),
    /// One that there was no room for may be meant.
    Lost,
    /// None.
    Nothing,
}

/// The sources that rules have rewritten to.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    ranges: BTreeSet<(IpAddr, IpAddr)>,
    networks: Vec<Prefix>,
}

impl Sources {
    /// Those of further rules.
    pub(super) fn add(&mut self, ruleset: &Ruleset) {
        for (_, rule) in ruleset.rules() {
            match &rule.target {
                Target::Snat(range) => self.ranges.extend(range.addresses),
                Target::Netmap(to) if !self.networks.contains(to) => self.networks.push(*to),
                _ => {}
            }
        }
    }

    fn hold(&self, address: IpAddr) -> bool {
        let inside = |(first, last): &(IpAddr, IpAddr)| (first..=last).contains(&&address);
        self.ranges.iter().any(inside) || self.networks.iter().any(|n| n.contains(address))
    }
}

/// A protocol and one side of a tuple.
type Side = (u8, (IpAddr, u16));

/// conntrack's table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Id, Entry>,
    by_tuple: HashMap<Tuple, (Id, Direction)>,
    /// By the original tuple's source, in the order in which they were made.
    by_source: HashMap<Side, BTreeSet<Id>>,
    /// Those of them that have got another port, or may have.
    moved: HashMap<Side, BTreeSet<Id>>,
    /// Those with an open source, by their server side and the port that they keep.
    open: HashMap<(Side, Option<u16>), BTreeSet<Id>>,
    orders: Orders,
    /// The one that the packet in question ends: while nat chooses for that packet it is there no more.
    pub(super) ended: Option<Id>,
    /// The table was full, and until then the kernel's collector may evict (CONNTRACK.md 3.9).
    pub(super) evicts_until: Option<Duration>,
    /// By protocol: until then a packet may belong to a connection that there was no room for.
    pub(super) not_kept: BTreeMap<u8, Duration>,
    next: Id,
}

impl Table {
    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Puts an entry back that was taken out to be changed, but for its tuples.
    pub(super) fn put_back(&mut self, id: Id, entry: Entry) {
        if let Some(old) = self.entries.get_mut(&id) {
            self.orders.change(id, old, &entry);
            *old = entry;
        }
    }

    /// The rules are others now, and what is known of the old ones says nothing.
    pub(super) fn forget_rules(&mut self) {
        for entry in self.entries.values_mut() {
            entry.rules = (None, None);
            if let Some(vague) = &mut entry.vague {
                vague.rule = None;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts in a new one, whose tuples must not be there.
    pub(super) fn insert(&mut self, entry: Entry) -> Id {
        let id = self.next;
        self.next += 1;
        let protocol = entry.original.protocol;
        self.by_tuple
            .insert(entry.original, (id, Direction::Original));
        match entry.reply() {
            // Both stand in one place, the reply tuple first.
            Some(reply) if reply == entry.original => {
                self.by_tuple.insert(reply, (id, Direction::Reply));
            }
            Some(reply) => {
                self.by_tuple.entry(reply).or_insert((id, Direction::Reply));
            }
            None => {}
        }
        if let Client::Open(open) = entry.client {
            let key = ((protocol, entry.server), open.part);
            self.open.entry(key).or_default().insert(id);
        }
        self.orders.add(id, &entry);
        let side = (protocol, entry.original.source);
        self.by_source.entry(side).or_default().insert(id);
        if entry.has_moved() {
            self.moved.entry(side).or_default().insert(id);
        }
        self.entries.insert(id, entry);
        id
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.orders.remove(id, &entry);
        let protocol = entry.original.protocol;
        for tuple in [Some(entry.original), entry.reply()].into_iter().flatten() {
            if self.by_tuple.get(&tuple).is_some_and(|(of, _)| *of == id) {
                self.by_tuple.remove(&tuple);
            }
        }
        let side = (protocol, entry.original.source);
        forget(&mut self.by_source, &side, id);
        forget(&mut self.moved, &side, id);
        if let Client::Open(open) = entry.client {
            forget(&mut self.open, &((protocol, entry.server), open.part), id);
        }
    }

    /// Closes an open source. One that is over holds no tuple against it.
    pub(super) fn close(&mut self, id: Id, (address, part): (IpAddr, u16), now: Duration) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let protocol = entry.original.protocol;
        if let Client::Open(open) = entry.client {
            forget(&mut self.open, &((protocol, entry.server), open.part), id);
        }
        entry.client = Client::Known(address, part);
        if !entry.has_moved() {
            forget(&mut self.moved, &(protocol, entry.original.source), id);
        }
        let reply = entry.reply();
        if let Some(reply) = reply
            && self.by_tuple(&reply, now).is_none()
        {
            self.by_tuple.insert(reply, (id, Direction::Reply));
        }
    }

    /// Live entries that the kernel may evict where its table is full, and of which something is known.
    pub(super) fn evictable(&self, now: Duration) -> Vec<Id> {
        let mut evictable = self.orders.evictable();
        evictable.retain(|id| self.is_live(*id, now));
        evictable
    }

    fn is_live(&self, id: Id, now: Duration) -> bool {
        self.get(id).is_some_and(|entry| entry.deadline > now)
    }

    /// Whether a connection of the protocol may be there that there was no room for.
    pub(super) fn has_lost(&self, protocol: u8, now: Duration) -> bool {
        self.not_kept
            .get(&protocol)
            .is_some_and(|until| *until > now)
    }

    /// Removes what is over.
    pub(super) fn expire(&mut self, now: Duration) {
        let over = self.orders.over(now);
        over.into_iter().for_each(|id| self.remove(id));
    }

    /// The live entry that holds a tuple.
    pub(super) fn by_tuple(&mut self, tuple: &Tuple, now: Duration) -> Option<(Id, Direction)> {
        let (id, direction) = *self.by_tuple.get(tuple)?;
        if self.ended == Some(id) {
            return None;
        }
        if self.is_live(id, now) {
            return Some((id, direction));
        }
        self.remove(id);
        None
    }

    /// The live entries whose original tuple has this source, the newest first.
    pub(super) fn with_source(&self, side: Side, now: Duration) -> impl Iterator<Item = &Entry> {
        let ids = self.by_source.get(&side).into_iter().flatten().rev();
        ids.filter(move |id| self.is_there(**id, now))
            .filter_map(|id| self.get(*id))
    }

    /// Whether one of them has got another port, or may have.
    pub(super) fn has_moved(&self, side: Side, now: Duration) -> bool {
        let mut ids = self.moved.get(&side).into_iter().flatten();
        ids.any(|id| self.is_there(*id, now))
    }

    /// Whether it is live, and not the one that the packet in question ends.
    fn is_there(&self, id: Id, now: Duration) -> bool {
        self.ended != Some(id) && self.is_live(id, now)
    }

    /// Whose packet it is (CONNTRACK.md 2.5, 3.6 and 3.8). `arrives`: only what arrives may be a first reply to an open source.
    pub(super) fn find(
        &mut self,
        tuple: &Tuple,
        arrives: bool,
        node: &NodeFacts,
        sources: &Sources,
        now: Duration,
    ) -> Found {
        if let Some((id, direction)) = self.by_tuple(tuple, now) {
            return match self.get(id) {
                Some(entry) if entry.vague.is_some() => Found::Vague(id),
                _ => Found::One(id, direction),
            };
        }
        let meant: Vec<Id> = match arrives {
            true => self.two_of(tuple, node, now),
            false => Vec::new(),
        };
        match meant[..] {
            [] => self.vague_one(tuple, node, sources, now),
            [id] => Found::Fits(id),
            _ => Found::Several,
        }
    }

    /// The live entries whose open source an answer's destination fits; of more than two, two.
    fn two_of(&self, answer: &Tuple, node: &NodeFacts, now: Duration) -> Vec<Id> {
        let (server, client) = ((answer.protocol, answer.source), answer.destination);
        let fits = |id: &Id| {
            self.get(*id).is_some_and(|entry| {
                let fits = matches!(entry.client, Client::Open(open) if open.fits(client, node));
                fits && entry.deadline > now
            })
        };
        let keys = [Some(client.1), None].map(|part| (server, part));
        let ids = keys.iter().filter_map(|key| self.open.get(key)).flatten();
        ids.copied().filter(fits).take(2).collect()
    }

    /// Whether a vague entry of the protocol may have taken any tuple.
    pub(super) fn has_vague(&self, protocol: u8, now: Duration) -> bool {
        let mut vague = self.orders.vague_of(protocol);
        vague.any(|id| self.is_live(id, now)) || self.has_lost(protocol, now)
    }

    /// CONNTRACK.md 3.8: the vague one's source is what it was, or some address of this node, or one that a rule rewrites to.
    fn vague_one(
        &self,
        tuple: &Tuple,
        node: &NodeFacts,
        sources: &Sources,
        now: Duration,
    ) -> Found {
        let to = tuple.destination.0;
        let is_rewritten = node.is_local(to) != Some(false) || sources.hold(to);
        let is_live = |id: &Id| self.is_live(*id, now);
        let found = match is_rewritten {
            true => self.orders.vague_of(tuple.protocol).find(is_live),
            false => self.orders.vague_from(tuple.protocol, to).find(is_live),
        };
        match found {
            Some(id) => Found::Vague(id),
            None if self.has_lost(tuple.protocol, now) => Found::Lost,
            None => Found::Nothing,
        }
    }
}

/// Takes one out of the set of a key.
pub(super) fn forget<K: Hash + Eq, T: Ord>(index: &mut HashMap<K, BTreeSet<T>>, key: &K, one: T) {
    if let Some(set) = index.get_mut(key) {
        set.remove(&one);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
