//! conntrack's table.

use super::deadlines::Deadlines;
use super::entry::{Client, Entry, Open};
use super::pressure::Pressure;
use super::slot::{Slot, Slots, bit};
use super::sources::Sources;
use super::tuple::{End, Tuple, Width};
use super::vague::Vague;
use crate::index::{Hash, Hasher, Index};
use ahash::AHashMap;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::Direction;
use kpclass_ruleset::decision::Unknown;

/// An entry, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// As a position.
    pub(super) fn position(self) -> usize {
        self.0 as usize
    }
}

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

/// Protocol, server side, and the port that nat has kept.
type OpenKey<A> = (u8, End<A>, Option<u16>);

/// A protocol and one side of a tuple.
type Side<A> = (u8, End<A>);

/// The entries, found by their tuples.
#[derive(Debug)]
pub(super) struct Table<A: Width> {
    slots: Slots<A>,
    /// Of those with an open source, what is known of it.
    opens: AHashMap<u32, Open<A>>,
    /// Marks that are not 0.
    marks: AHashMap<u32, u32>,
    /// The next entry with the same original source, made before.
    older: AHashMap<u32, u32>,
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
    deadlines: Deadlines,
    pub(super) pressure: Pressure,
    pub(super) sources: Sources<A>,
}

impl<A: Width> Table<A> {
    /// Without entries, for these rules.
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        Self {
            slots: Slots::new(),
            opens: AHashMap::new(),
            marks: AHashMap::new(),
            older: AHashMap::new(),
            hasher: Hasher::new(),
            by_tuple: Index::new(),
            by_source: Index::new(),
            open: AHashMap::new(),
            has_ranges: false,
            vague: Vague::default(),
            deadlines: Deadlines::default(),
            pressure: Pressure::default(),
            sources: Sources::new(ruleset),
        }
    }

    /// An entry.
    pub(super) fn get(&self, Id(id): Id) -> Option<Entry<A>> {
        self.slots.get(id).map(|slot| self.entry(id, slot))
    }

    /// The entry that lies in a slot, with what lies elsewhere of it.
    fn entry(&self, id: u32, slot: &Slot<A>) -> Entry<A> {
        let mark = slot.has(bit::MARKED).then(|| self.marks.get(&id).copied());
        slot.entry(self.open_of(id, slot), mark.flatten().unwrap_or(0))
    }

    fn open_of(&self, id: u32, slot: &Slot<A>) -> Option<Open<A>> {
        match slot.has(bit::OPEN) {
            true => self.opens.get(&id).copied(),
            false => None,
        }
    }

    /// Where an entry lies.
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, Id(id): Id) -> Option<&mut Slot<A>> {
        self.slots.get_mut(id)
    }

    fn is_live(&self, id: u32, now: u64) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.deadline > now)
    }

    /// Rules were replaced: what is known of the old ones says nothing.
    pub(super) fn forget_rules(&mut self) {
        self.slots.iter_mut().for_each(Slot::forget_rules);
        self.vague.forget_rules();
    }

    /// What lies outside the slots, of how many entries.
    #[cfg(test)]
    pub(super) fn elsewhere(&self) -> usize {
        self.opens.len() + self.marks.len() + self.older.len() + self.open.len()
    }

    /// Bytes that it takes, but for what it keeps of vague entries.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        fn of_map<K, V>(map: &AHashMap<K, V>) -> usize {
            map.capacity() * 8 / 7 * (size_of::<(K, V)>() + 1)
        }
        let indexes = self.by_tuple.allocated() + self.by_source.allocated();
        let lists = self
            .open
            .values()
            .map(|ids| ids.capacity() * size_of::<u32>());
        let rare = of_map(&self.opens) + of_map(&self.marks) + of_map(&self.older);
        self.slots.allocated() + indexes + rare + of_map(&self.open) + lists.sum::<usize>()
    }

    /// Those that are over but were not asked for since included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// An entry's deadline was set; whether it is later than before does not matter.
    #[inline(always)]
    pub(super) fn lives_until(&mut self, Id(id): Id, before: u64, deadline: u64) {
        if deadline < before {
            self.deadlines.add(id, deadline);
        }
    }

    /// An entry may have become one that the kernel may evict.
    pub(super) fn entry_changed(&mut self, id: Id) {
        self.pressure.entry_changed(id, self.slots.end() as usize);
    }

    /// Puts an entry back that was taken out to be changed, but for its tuples.
    pub(super) fn put_back(&mut self, Id(id): Id, entry: Entry<A>) {
        if let Some(slot) = self.slots.get_mut(id) {
            let before = slot.deadline;
            slot.change(&entry);
            if slot.is_evictable() {
                self.entry_changed(Id(id));
            }
            self.lives_until(Id(id), before, entry.deadline);
            self.mark(id, entry.mark);
        }
    }

    fn mark(&mut self, id: u32, mark: u32) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if mark != 0 {
            self.marks.insert(id, mark);
        } else if slot.has(bit::MARKED) {
            self.marks.remove(&id);
        }
        slot.set(bit::MARKED, mark != 0);
    }

    /// Nobody knows what became of it.
    pub(super) fn doubt(&mut self, id: Id, unknown: Unknown) {
        if let Some(entry) = self.get(id) {
            self.vague.insert(id.0, &entry, unknown);
        }
    }

    /// The same, and it is found until then.
    pub(super) fn doubt_until(&mut self, id: Id, unknown: Unknown, deadline: u64) {
        if let Some(slot) = self.slots.get_mut(id.0) {
            let before = std::mem::replace(&mut slot.deadline, deadline);
            self.lives_until(id, before, deadline);
            self.doubt(id, unknown);
        }
    }

    /// Whether the kernel may evict it where its table is full.
    pub(super) fn is_evictable(&self, Id(id): Id) -> bool {
        self.slots.get(id).is_some_and(Slot::is_evictable)
    }

    /// All places where an entry may be.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<A> {
        (0..self.slots.end()).map(Id)
    }

    /// Whether a live entry is, and something is known of it.
    pub(super) fn is_evictable_at(&self, id: Id, now: u64) -> bool {
        self.is_live(id.0, now) && self.is_evictable(id) && !self.is_vague(id)
    }

    /// Puts in a new one, whose tuples must not be there.
    pub(super) fn insert(&mut self, entry: Entry<A>) -> Id {
        let id = self.slots.insert(Slot::holding(&entry));
        self.lives_until(Id(id), u64::MAX, entry.deadline);
        self.entry_changed(Id(id));
        self.mark(id, entry.mark);
        self.hold_source(id, (entry.original.protocol, entry.original.from()));
        self.by_tuple
            .insert(entry.original.hash(&self.hasher), id << 1);
        self.hold_reply(id, &entry);
        if let Client::Open(open) = entry.client {
            self.has_ranges |= open.addresses.is_some();
            self.opens.insert(id, open);
            let key = open_key(&entry, &open);
            self.open.entry(key).or_default().push(id);
        }
        Id(id)
    }

    /// Has it be found by its original source, before those that have it, too.
    fn hold_source(&mut self, id: u32, side: Side<A>) {
        let hash = self.hash_side(side);
        let Some(before) = self.newest(side) else {
            self.by_source.insert(hash, id);
            return;
        };
        self.by_source.replace(hash, before, id);
        self.set_older(id, Some(before));
    }

    fn set_older(&mut self, id: u32, older: Option<u32>) {
        match older {
            Some(older) => self.older.insert(id, older),
            None => self.older.remove(&id),
        };
        if let Some(slot) = self.slots.get_mut(id) {
            slot.set(bit::HAS_OLDER, older.is_some());
        }
    }

    /// The one made before it with the same original source.
    fn older_than(&self, id: u32) -> Option<u32> {
        let slot = self.slots.get(id)?;
        match slot.has(bit::HAS_OLDER) {
            true => self.older.get(&id).copied(),
            false => None,
        }
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
            let of = self.slots.get(id).map(Slot::original);
            of.is_some_and(|of| (of.protocol, of.from()) == side)
        })
    }

    /// The slot and direction that a tuple is found by.
    #[inline(always)]
    fn holder(&self, hash: Hash, tuple: &Tuple<A>) -> Option<u32> {
        self.by_tuple.find(hash, |value| {
            let slot = self.slots.get(value >> 1);
            slot.is_some_and(|slot| match value & 1 {
                0 => slot.is_original(tuple),
                _ => slot.is_reply(tuple),
            })
        })
    }

    pub(super) fn remove(&mut self, Id(id): Id) {
        let Some(entry) = self.get(Id(id)) else {
            return;
        };
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
        self.mark(id, 0);
        self.slots.remove(id);
    }

    /// Takes it out of the list of those with its source.
    fn forget_source(&mut self, entry: &Entry<A>, id: u32) {
        let side = (entry.original.protocol, entry.original.from());
        let behind = self.older_than(id);
        let Some(mut at) = self.newest(side) else {
            return;
        };
        if at == id {
            let hash = self.hash_side(side);
            match behind {
                None => self.by_source.remove(hash, id),
                Some(behind) => self.by_source.replace(hash, id, behind),
            }
        } else {
            while let Some(next) = self.older_than(at).filter(|next| *next != id) {
                at = next;
            }
            self.set_older(at, behind);
        }
        if behind.is_some() {
            self.set_older(id, None);
        }
    }

    fn forget_open(&mut self, entry: &Entry<A>, id: u32) {
        let Client::Open(open) = entry.client else {
            return;
        };
        self.opens.remove(&id);
        let key = open_key(entry, &open);
        if let Some(ids) = self.open.get_mut(&key) {
            ids.retain(|of| *of != id);
            if ids.is_empty() {
                self.open.remove(&key);
            }
        }
    }

    /// Closes an open source.
    pub(super) fn close(&mut self, id: Id, client: End<A>) {
        let Some(entry) = self.get(id) else {
            return;
        };
        self.forget_open(&entry, id.0);
        if let Some(slot) = self.slots.get_mut(id.0) {
            slot.close(client);
            slot.forget_places();
        }
        let client = Client::Known(client.0, client.1);
        self.hold_reply(id.0, &Entry { client, ..entry });
    }

    /// Removes what is over.
    pub(super) fn expire(&mut self, now: u64) {
        if self.deadlines.is_to_be_filled(self.slots.len()) {
            let slots = &self.slots;
            let deadline = |id| Some((id, slots.get(id)?.deadline));
            self.deadlines.fill((0..slots.end()).filter_map(deadline));
        }
        while let Some(id) = self.deadlines.next(now) {
            match self.slots.get(id).map(|slot| slot.deadline) {
                Some(deadline) if deadline > now => self.deadlines.add(id, deadline),
                Some(_) => self.remove(Id(id)),
                None => {}
            }
        }
    }

    /// The live entry that holds a tuple.
    pub(super) fn by_tuple(&mut self, tuple: &Tuple<A>, now: u64) -> Option<(Id, Direction)> {
        let (id, direction) = self.held_by(tuple.hash(&self.hasher), tuple)?;
        if self.is_live(id.0, now) {
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
        if let Some(slot) = position.and_then(|at| self.slots.at(at >> 1)) {
            slot.come_nearer();
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
    pub(super) fn with_source(&self, side: Side<A>, now: u64) -> impl Iterator<Item = Entry<A>> {
        let all = std::iter::successors(self.newest(side), |id| self.older_than(*id));
        let live = all.filter(move |id| self.is_live(*id, now));
        live.filter_map(|id| self.get(Id(id)))
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
                match self.opens.get(id) {
                    Some(open) if self.is_live(*id, now) => {
                        let is_it = open.fits(client, &is_local);
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
            ids.retain(|id| slots.get(*id).is_some_and(|slot| slot.deadline > now));
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
        let mut live = ids.filter(|id| self.is_live(**id, now));
        live.any(|id| {
            let open = self.opens.get(id);
            open.is_some_and(|open| open.fits(tuple.from(), &is_local))
        })
    }

    /// Whether an entry is vague.
    #[inline(always)]
    pub(super) fn is_vague(&self, Id(id): Id) -> bool {
        self.vague.of(id).is_some()
    }

    /// Whether a vague entry of the protocol may have taken any tuple.
    pub(super) fn has_vague(&mut self, protocol: u8, now: u64) -> bool {
        self.vague.of_protocol(protocol, now).is_some() || self.pressure.has_lost(protocol, now)
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

fn open_key<A: Width>(entry: &Entry<A>, open: &Open<A>) -> OpenKey<A> {
    (entry.original.protocol, entry.server, open.part)
}
