//! conntrack's table.

use super::by_source::{self, BySource, Side};
use super::deadlines::Deadlines;
use super::entry::{Client, Entry, Open};
use super::opens::Opens;
use super::pressure::Pressure;
use super::slot::{Slot, Slots, bit};
use super::sources::Sources;
use super::tuple::{End, Tuple, Width};
use super::vague::Vague;
use crate::index::{Guess, Hash, Hasher, Index};
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

/// The entries, found by their tuples.
#[derive(Debug)]
pub(super) struct Table<A: Width> {
    slots: Slots<A>,
    /// Those with an open source.
    opens: Opens<A>,
    /// Marks that are not 0.
    marks: AHashMap<u32, u32>,
    hasher: Hasher,
    /// The slot, and in the lowest bit the direction.
    by_tuple: Index,
    by_source: BySource<A>,
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
            opens: Opens::default(),
            marks: AHashMap::new(),
            hasher: Hasher::new(),
            by_tuple: Index::new(),
            by_source: BySource::default(),
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
            true => self.opens.get(id),
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
        self.opens.len() + self.marks.len() + self.by_source.len()
    }

    /// Bytes that it takes, but for what it keeps of vague entries.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let rare = self.opens.allocated() + self.by_source.allocated() + of_map(&self.marks);
        self.slots.allocated() + self.by_tuple.allocated() + rare
    }

    /// Those that are over but were not asked for since included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// An entry's deadline was set. That it is later than before is found out when it would have been over.
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
        if by_source::is_translated(&entry) {
            self.by_source.insert(id, &entry);
            self.set(id, bit::LISTED, true);
        }
        self.by_tuple
            .insert(entry.original.hash(&self.hasher), id << 1);
        self.hold_reply(id, &entry);
        if let Client::Open(open) = entry.client {
            self.opens.insert(id, &entry, open);
        }
        Id(id)
    }

    fn set(&mut self, id: u32, bit: u8, on: bool) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.set(bit, on);
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

    /// The slot and direction that a tuple is found by.
    #[inline(always)]
    fn holder(&self, hash: Hash, tuple: &Tuple<A>) -> Option<u32> {
        self.by_tuple.find(hash, |found| self.holds(found, tuple))
    }

    #[inline(always)]
    fn holds(&self, found: u32, tuple: &Tuple<A>) -> bool {
        let slot = self.slots.get(found >> 1);
        slot.is_some_and(|slot| match found & 1 {
            0 => slot.is_original(tuple),
            _ => slot.is_reply(tuple),
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
        if self.slots.get(id).is_some_and(|slot| slot.has(bit::LISTED)) {
            self.by_source.remove(id, &entry);
        }
        if let Client::Open(_) = entry.client {
            self.opens.remove(id, &entry);
        }
        self.mark(id, 0);
        self.slots.remove(id);
    }

    /// Closes an open source.
    pub(super) fn close(&mut self, id: Id, client: End<A>) {
        let Some(entry) = self.get(id) else {
            return;
        };
        self.opens.remove(id.0, &entry);
        if let Some(slot) = self.slots.get_mut(id.0) {
            slot.close(client);
            slot.forget_places();
        }
        let client = Client::Known(client.0, client.1);
        let closed = Entry { client, ..entry };
        self.by_source.settle(&entry, &closed);
        self.hold_reply(id.0, &closed);
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

    /// What a lookup of a hash will read first comes nearer.
    #[inline(always)]
    pub(super) fn come_nearer(&self, hash: Hash) {
        self.by_tuple.come_nearer(hash);
    }

    /// The entry that it will probably find, and the direction, which comes nearer.
    #[inline(always)]
    pub(super) fn guess(&self, hash: Hash) -> Guess {
        let guess = self.by_tuple.guess(hash);
        if let Some(slot) = guess.value().and_then(|at| self.slots.at(at >> 1)) {
            slot.come_nearer();
        }
        guess
    }

    /// What is noted of the way of its packets.
    #[inline(always)]
    pub(super) fn note_of(&self, guess: Guess) -> Option<u32> {
        let value = guess.value()?;
        let slot = self.slots.at(value >> 1)?;
        Some(slot.place(value as usize & 1).note)
    }

    /// The entry that holds a tuple of this hash, over or not.
    #[inline(always)]
    pub(super) fn held_by(&self, hash: Hash, tuple: &Tuple<A>) -> Option<(Id, Direction)> {
        self.holder(hash, tuple).map(id_and_direction)
    }

    /// The same, where that was guessed before.
    #[inline(always)]
    pub(super) fn held_by_guess(
        &self,
        guess: Guess,
        hash: Hash,
        tuple: &Tuple<A>,
    ) -> Option<(Id, Direction)> {
        let found = self.by_tuple.found(guess);
        match found.filter(|found| self.holds(*found, tuple)) {
            Some(found) => Some(id_and_direction(found)),
            None => self.held_by(hash, tuple),
        }
    }

    /// The live entries whose original tuple has this source, and of whose source nat may have made another: the newest first.
    pub(super) fn with_source(&self, side: &Side<A>, now: u64) -> impl Iterator<Item = Entry<A>> {
        let all = self.by_source.of_source(side);
        let live = all.filter(move |id| self.is_live(*id, now));
        live.filter_map(|id| self.get(Id(id)))
    }

    /// Whether one of them got another port, or may have.
    pub(super) fn has_moved(&self, side: &Side<A>, now: u64) -> bool {
        let mut all = self.with_source(side, now);
        self.by_source.has_moved(side) && all.any(|entry| by_source::is_moved(&entry))
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
        match self.meant(tuple, arrives, &is_local, now) {
            [None, _] => self.vague_one(tuple, is_local, now),
            [Some(id), None] => Found::Fits(Id(id)),
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
    ) -> [Option<u32>; 2] {
        match arrives {
            true => self.fitting(tuple.protocol, tuple.from(), tuple.to(), is_local, now),
            false => [None; 2],
        }
    }

    /// Live entries of a server whose source may be this one.
    fn fitting(
        &mut self,
        protocol: u8,
        server: End<A>,
        source: End<A>,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> [Option<u32>; 2] {
        let Self { slots, opens, .. } = self;
        if !opens.may_have(source.0, &is_local) {
            return [None; 2];
        }
        let is_live = |id| slots.get(id).is_some_and(|slot| slot.deadline > now);
        opens.fitting(protocol, server, source, is_local, is_live)
    }

    /// Whether a tuple is what a live entry whose source is open may have sent on.
    pub(super) fn may_have_sent(
        &mut self,
        tuple: &Tuple<A>,
        is_local: impl Fn(A) -> Option<bool>,
        now: u64,
    ) -> bool {
        let fitting = self.fitting(tuple.protocol, tuple.to(), tuple.from(), is_local, now);
        fitting[0].is_some()
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

/// What a value of the index of tuples says.
#[inline(always)]
fn id_and_direction(value: u32) -> (Id, Direction) {
    let direction = match value & 1 {
        0 => Direction::Original,
        _ => Direction::Reply,
    };
    (Id(value >> 1), direction)
}

/// Bytes that a map takes.
#[cfg(test)]
pub(super) fn of_map<K, V>(map: &AHashMap<K, V>) -> usize {
    map.capacity() * 8 / 7 * (size_of::<(K, V)>() + 1)
}
