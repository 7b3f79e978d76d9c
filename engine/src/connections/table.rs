//! conntrack's table.

use super::entry::{Client, Entry, Place};
use super::tuple::{End, Tuple, Width};
use super::vague::Vague;
use crate::index::{Hash, Hasher, Index};
use crate::near;
use ahash::AHashMap;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::Direction;
use kpclass_ruleset::decision::Unknown;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{Prefix, address_number, number_address};

/// An entry, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// As a position.
    pub(super) fn position(self) -> usize {
        self.0 as usize
    }
}

const NONE: u32 = u32::MAX;

/// So many that are over may stand among open sources.
const FEW: u32 = 16;

/// What a lookup finds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// This entry, by the tuple of this direction.
    One(Id, Direction),
    /// By a source that it left open: it fits, and no other does.
    Fits(Id),
    /// More than one entry may be meant.
    Several,
    /// A vague entry may be meant.
    Vague(Unknown),
    /// None.
    Nothing,
}

/// The sources that rules rewrite to.
#[derive(Clone, Debug)]
pub(super) struct Sources<A> {
    ranges: Vec<(A, A)>,
    networks: Vec<Prefix>,
}

impl<A: Width> Sources<A> {
    /// Those of further rules.
    pub(super) fn add(&mut self, ruleset: &Ruleset) {
        let number = |address| A::of(address_number(address));
        for (_, rule) in ruleset.rules() {
            match &rule.target {
                Target::Snat(range) => {
                    let addresses = range.addresses.map(|(a, b)| (number(a), number(b)));
                    self.ranges.extend(addresses);
                }
                Target::Netmap(to) if !self.networks.contains(to) => self.networks.push(*to),
                _ => {}
            }
        }
        self.ranges.sort_unstable();
        self.ranges.dedup();
    }

    fn hold(&self, address: A) -> bool {
        let inside = |(first, last): &(A, A)| (first..=last).contains(&&address);
        let as_address = number_address(A::FAMILY, address.number());
        self.ranges.iter().any(inside) || self.networks.iter().any(|n| n.contains(as_address))
    }
}

/// Protocol, server side, and the port that nat has kept.
type OpenKey<A> = (u8, End<A>, Option<u16>);

/// A protocol and one side of a tuple.
type Side<A> = (u8, End<A>);

/// A place for an entry.
#[derive(Debug)]
struct Slot<A> {
    /// `None`: free.
    entry: Option<Entry<A>>,
    /// The next entry with the same original source, made before; of a free slot the next free one.
    next: u32,
}

/// The entries, found by their tuples.
#[derive(Debug)]
pub(super) struct Table<A> {
    slots: Vec<Slot<A>>,
    free: u32,
    len: usize,
    hasher: Hasher,
    /// The slot, and in the lowest bit the direction.
    by_tuple: Index,
    /// By the original tuple's source: the newest.
    by_source: Index,
    /// Those with an open source.
    open: AHashMap<OpenKey<A>, Vec<u32>>,
    /// Some source was left open that is none of this node's addresses.
    has_ranges: bool,
    vague: Vague<A>,
    /// Nothing is over before then.
    earliest: u64,
    pub(super) sources: Sources<A>,
}

impl<A: Width> Table<A> {
    /// Without entries, for these rules.
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        let mut sources = Sources {
            ranges: Vec::new(),
            networks: Vec::new(),
        };
        sources.add(ruleset);
        Self {
            slots: Vec::new(),
            free: NONE,
            len: 0,
            hasher: Hasher::new(),
            by_tuple: Index::new(),
            by_source: Index::new(),
            open: AHashMap::new(),
            has_ranges: false,
            vague: Vague::default(),
            earliest: u64::MAX,
            sources,
        }
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry<A>> {
        self.slots.get(id.0 as usize)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry<A>> {
        self.slots.get_mut(id.0 as usize)?.entry.as_mut()
    }

    /// Rules were replaced: what is known of the old ones says nothing.
    pub(super) fn forget_rules(&mut self) {
        let entries = self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut());
        for entry in entries {
            entry.rules = (None, None);
            entry.places = [Place::NONE; 2];
        }
        self.vague.forget_rules();
    }

    /// Those that are over but were not asked for since included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// An entry's deadline was set.
    #[inline(always)]
    pub(super) fn lives_until(&mut self, deadline: u64) {
        self.earliest = self.earliest.min(deadline);
    }

    /// Puts an entry back that was taken out to be changed, but for its tuples.
    pub(super) fn put_back(&mut self, id: Id, entry: Entry<A>) {
        self.lives_until(entry.deadline);
        if let Some(slot) = self.slots.get_mut(id.0 as usize)
            && slot.entry.is_some()
        {
            slot.entry = Some(entry);
        }
    }

    /// Nobody knows what became of it.
    pub(super) fn doubt(&mut self, id: Id, unknown: Unknown) {
        if let Some(entry) = self.get(id).copied() {
            self.vague.insert(id.0, &entry, unknown);
        }
    }

    /// Puts in a new one, whose tuples must not be there.
    pub(super) fn insert(&mut self, entry: Entry<A>) -> Id {
        self.lives_until(entry.deadline);
        let id = match self.free {
            NONE => {
                self.slots.push(Slot {
                    entry: None,
                    next: NONE,
                });
                self.slots.len() as u32 - 1
            }
            free => {
                self.free = self.slots[free as usize].next;
                free
            }
        };
        let side = (entry.original.protocol, entry.original.from());
        let (hash, before) = (self.hash_side(side), self.newest(side));
        match before {
            Some(before) => self.by_source.replace(hash, before, id),
            None => self.by_source.insert(hash, id),
        }
        self.slots[id as usize] = Slot {
            entry: Some(entry),
            next: before.unwrap_or(NONE),
        };
        self.by_tuple
            .insert(entry.original.hash(&self.hasher), id << 1);
        self.hold_reply(id, &entry);
        if let Some(key) = open_key(&entry) {
            self.has_ranges |=
                matches!(entry.client, Client::Open(open) if open.addresses.is_some());
            self.open.entry(key).or_default().push(id);
        }
        self.len += 1;
        Id(id)
    }

    /// Has an entry be found by its reply tuple, unless another is.
    fn hold_reply(&mut self, id: u32, entry: &Entry<A>) {
        let Some(reply) = entry.reply() else {
            return;
        };
        let hash = reply.hash(&self.hasher);
        match self.holder(hash, &reply) {
            None => self.by_tuple.insert(hash, id << 1 | 1),
            // Both are one, and conntrack meets the reply tuple first.
            Some(own) if own == id << 1 => self.by_tuple.replace(hash, own, id << 1 | 1),
            Some(_) => {}
        }
    }

    fn hash_side(&self, (protocol, (address, part)): Side<A>) -> Hash {
        let rest = u64::from(protocol) << 16 | u64::from(part);
        self.hasher.hash(address.number(), 0, rest)
    }

    /// The newest entry with this source.
    fn newest(&self, side: Side<A>) -> Option<u32> {
        let hash = self.hash_side(side);
        self.by_source.find(hash, |id| {
            let of = self.get(Id(id)).map(|entry| &entry.original);
            of.is_some_and(|of| (of.protocol, of.from()) == side)
        })
    }

    /// The slot and direction that a tuple is found by.
    #[inline(always)]
    fn holder(&self, hash: Hash, tuple: &Tuple<A>) -> Option<u32> {
        self.by_tuple.find(hash, |value| {
            let entry = self.get(Id(value >> 1));
            entry.is_some_and(|entry| match value & 1 {
                0 => entry.original == *tuple,
                _ => entry.is_reply(tuple),
            })
        })
    }

    pub(super) fn remove(&mut self, Id(id): Id) {
        let Some(entry) = self.get(Id(id)).copied() else {
            return;
        };
        self.len -= 1;
        self.vague.remove(id);
        let tuples = [(Some(entry.original), 0), (entry.reply(), 1)];
        for (tuple, direction) in tuples {
            if let Some(tuple) = tuple {
                let hash = tuple.hash(&self.hasher);
                self.by_tuple.remove(hash, id << 1 | direction);
            }
        }
        self.forget_source(&entry, id);
        self.forget_open(&entry, id);
        self.slots[id as usize] = Slot {
            entry: None,
            next: self.free,
        };
        self.free = id;
    }

    /// Takes it out of the list of those with its source.
    fn forget_source(&mut self, entry: &Entry<A>, id: u32) {
        let side = (entry.original.protocol, entry.original.from());
        let behind = self.slots[id as usize].next;
        let Some(first) = self.newest(side) else {
            return;
        };
        if first == id {
            let hash = self.hash_side(side);
            match behind {
                NONE => self.by_source.remove(hash, id),
                behind => self.by_source.replace(hash, id, behind),
            }
            return;
        }
        let mut at = first;
        while at != NONE {
            let next = self.slots[at as usize].next;
            if next == id {
                self.slots[at as usize].next = behind;
                return;
            }
            at = next;
        }
    }

    fn forget_open(&mut self, entry: &Entry<A>, id: u32) {
        let Some(key) = open_key(entry) else {
            return;
        };
        if let Some(ids) = self.open.get_mut(&key) {
            ids.retain(|of| *of != id);
            if ids.is_empty() {
                self.open.remove(&key);
            }
        }
    }

    /// Closes an open source.
    pub(super) fn close(&mut self, id: Id, (address, part): End<A>) {
        let Some(entry) = self.get(id).copied() else {
            return;
        };
        self.forget_open(&entry, id.0);
        if let Some(entry) = self.get_mut(id) {
            entry.client = Client::Known(address, part);
            entry.places = [Place::NONE; 2];
            let closed = *entry;
            self.hold_reply(id.0, &closed);
        }
    }

    /// Removes what is over.
    pub(super) fn expire(&mut self, now: u64) {
        if now < self.earliest {
            return;
        }
        let mut earliest = u64::MAX;
        for id in 0..self.slots.len() as u32 {
            match self.get(Id(id)).map(|entry| entry.deadline) {
                Some(deadline) if deadline <= now => self.remove(Id(id)),
                Some(deadline) => earliest = earliest.min(deadline),
                None => {}
            }
        }
        self.earliest = earliest;
        self.vague.tidy();
    }

    /// The live entry that holds a tuple.
    pub(super) fn by_tuple(&mut self, tuple: &Tuple<A>, now: u64) -> Option<(Id, Direction)> {
        let (id, direction) = self.held_by(tuple.hash(&self.hasher), tuple)?;
        if self.get(id).is_some_and(|entry| entry.deadline > now) {
            return Some((id, direction));
        }
        self.remove(id);
        None
    }

    pub(super) fn hasher(&self) -> Hasher {
        self.hasher
    }

    /// What will be read comes nearer: of a hash its cell, and, once that `is_near`, the entry.
    #[inline(always)]
    pub(super) fn come_nearer(&self, hash: Hash, is_near: bool) {
        if !is_near {
            self.by_tuple.come_nearer(hash);
            return;
        }
        let position = self.by_tuple.find(hash, |_| true);
        if let Some(slot) = position.and_then(|at| self.slots.get(at as usize >> 1)) {
            near::ask_for(slot);
            near::ask_for(&slot.next);
        }
    }

    /// The entry that holds a tuple of this hash, over or not.
    #[inline(always)]
    pub(super) fn held_by(&self, hash: Hash, tuple: &Tuple<A>) -> Option<(Id, Direction)> {
        let found = self.holder(hash, tuple)?;
        let direction = match found & 1 {
            0 => Direction::Original,
            _ => Direction::Reply,
        };
        Some((Id(found >> 1), direction))
    }

    /// The live entries whose original tuple has this source, the newest first.
    pub(super) fn with_source(&self, side: Side<A>, now: u64) -> impl Iterator<Item = &Entry<A>> {
        let mut at = self.newest(side).unwrap_or(NONE);
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.next;
            Some(slot.entry.as_ref())
        })
        .flatten()
        .filter(move |entry| entry.deadline > now)
    }

    /// Whose packet it is (CONNTRACK.md 2.5, 3.6 and 3.8). `arrives`: only what arrives may be a first reply to an open source.
    pub(super) fn find(
        &mut self,
        tuple: &Tuple<A>,
        arrives: bool,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> Found {
        if let Some((id, direction)) = self.by_tuple(tuple, now) {
            return match self.vague.of(id.0) {
                Some(unknown) => Found::Vague(unknown),
                None => Found::One(id, direction),
            };
        }
        match self.meant(tuple, arrives, &is_local, now)[..] {
            [] => self.vague_one(tuple, is_local, now),
            [id] => Found::Fits(id),
            _ => Found::Several,
        }
    }

    /// The live entries whose open source a packet's destination fits; of more than two, two.
    fn meant(
        &mut self,
        tuple: &Tuple<A>,
        arrives: bool,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> Vec<Id> {
        let mut meant = Vec::new();
        let client = tuple.to();
        if !arrives || !self.has_ranges && is_local(client.0) == Some(false) {
            return meant;
        }
        for part in [Some(client.1), None] {
            let key = (tuple.protocol, tuple.from(), part);
            let ids = self.open.get(&key).map_or(&[][..], |ids| ids);
            let mut over = 0;
            for id in ids {
                match self.get(Id(*id)) {
                    Some(entry) if entry.deadline > now => {
                        let is_it = matches!(entry.client, Client::Open(open) if open.fits(client, &is_local));
                        meant.extend(is_it.then_some(Id(*id)));
                    }
                    _ => over += 1,
                }
                if meant.len() > 1 {
                    break;
                }
            }
            if over > FEW {
                self.forget_those_over(&key, now);
            }
        }
        meant
    }

    /// Takes those that are over out of a list of open sources.
    fn forget_those_over(&mut self, key: &OpenKey<A>, now: u64) {
        let slots = &self.slots;
        if let Some(ids) = self.open.get_mut(key) {
            ids.retain(|id| {
                let entry = slots[*id as usize].entry.as_ref();
                entry.is_some_and(|entry| entry.deadline > now)
            });
        }
    }

    /// Whether a tuple is what a live entry whose source is open may have sent on.
    pub(super) fn may_have_sent(
        &self,
        tuple: &Tuple<A>,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> bool {
        if !self.has_ranges && is_local(tuple.source) == Some(false) {
            return false;
        }
        let keys = [Some(tuple.source_part), None].map(|part| (tuple.protocol, tuple.to(), part));
        let ids = keys.iter().filter_map(|key| self.open.get(key)).flatten();
        let mut entries = ids.filter_map(|id| self.get(Id(*id)));
        entries.any(|entry| {
            let fits =
                matches!(entry.client, Client::Open(open) if open.fits(tuple.from(), &is_local));
            fits && entry.deadline > now
        })
    }

    /// Whether an entry is vague.
    #[inline(always)]
    pub(super) fn is_vague(&self, Id(id): Id) -> bool {
        self.vague.of(id).is_some()
    }

    /// Whether a vague entry of the protocol may have taken any tuple.
    pub(super) fn has_vague(&mut self, protocol: u8, now: u64) -> bool {
        self.vague.of_protocol(protocol, now).is_some()
    }

    /// CONNTRACK.md 3.8: the vague one's source is what it was, or some address of this node, or one that a rule rewrites to.
    fn vague_one(
        &mut self,
        tuple: &Tuple<A>,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> Found {
        if self.vague.is_empty() {
            return Found::Nothing;
        }
        let to = tuple.destination;
        let is_rewritten = is_local(to) != Some(false) || self.sources.hold(to);
        let found = match is_rewritten {
            true => self.vague.of_protocol(tuple.protocol, now),
            false => self.vague.of_source(tuple.protocol, to, now),
        };
        found.map_or(Found::Nothing, Found::Vague)
    }
}

fn open_key<A: Width>(entry: &Entry<A>) -> Option<OpenKey<A>> {
    match entry.client {
        Client::Open(open) => Some((entry.original.protocol, entry.server, open.part)),
        Client::Known(..) => None,
    }
}

// Many lie in memory at a time.
const _: () = assert!(size_of::<Slot<u32>>() <= 112);
