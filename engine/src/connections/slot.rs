//! Where entries lie: one in a cache line (IPv4), and never moved.
//!
//! What few entries have lies elsewhere (`table.rs`), and a bit here says that it does: a source that is open, a mark, where it stands among those of one source.

use super::entry::{Client, Entry, Open, Place, Remembered};
use super::tuple::{Tuple, Width};
use crate::near;
use kpclass_ruleset::RuleId;
use kpclass_ruleset::conntrack::CtStatus;

/// Of [`Slot::has`].
pub(super) mod bit {
    pub(crate) const LIVE: u8 = 1;
    pub(crate) const MEETS_REPLIES: u8 = 1 << 1;
    /// Its client's side of the reply tuple is not known.
    pub(crate) const OPEN: u8 = 1 << 2;
    pub(crate) const MARKED: u8 = 1 << 3;
    /// It is among those by source.
    pub(crate) const LISTED: u8 = 1 << 4;
}

const NONE: u32 = u32::MAX;

/// A place for an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<A: Width> {
    _line: [A::Line; 0],
    pub(super) deadline: u64,
    /// By its protocol.
    memory: u64,
    source: A,
    destination: A,
    server: A,
    client: A,
    /// [`NONE`]: none.
    rules: [u32; 2],
    /// Of a free slot the first is the next free one.
    notes: [u32; 2],
    verdicts: [u16; 2],
    source_part: u16,
    destination_part: u16,
    server_part: u16,
    client_part: u16,
    protocol: u8,
    status: u8,
    bits: u8,
}

// Many lie in memory at a time.
const _: () = assert!(size_of::<Slot<u32>>() == 64 && align_of::<Slot<u32>>() == 64);
const _: () = assert!(size_of::<Slot<u128>>() == 112);

impl<A: Width> Slot<A> {
    /// A free one, before another.
    fn free(next: u32) -> Self {
        let none = A::of(0);
        Self {
            _line: [],
            deadline: 0,
            memory: 0,
            source: none,
            destination: none,
            server: none,
            client: none,
            rules: [NONE; 2],
            notes: [next, NONE],
            verdicts: [u16::MAX; 2],
            source_part: 0,
            destination_part: 0,
            server_part: 0,
            client_part: 0,
            protocol: 0,
            status: 0,
            bits: 0,
        }
    }

    /// Holds an entry's tuples; the rest is [`Self::change`]'s. Of an open source [`bit::OPEN`] alone is held.
    pub(super) fn holding(entry: &Entry<A>) -> Self {
        let original = &entry.original;
        let mut slot = Self {
            source: original.source,
            destination: original.destination,
            source_part: original.source_part,
            destination_part: original.destination_part,
            server: entry.server.0,
            server_part: entry.server.1,
            protocol: original.protocol,
            bits: bit::LIVE | bit::OPEN,
            ..Self::free(NONE)
        };
        if let Client::Known(address, part) = entry.client {
            slot.close((address, part));
        }
        slot.change(entry);
        slot
    }

    /// Takes over what of an entry changes: not its tuples, nor its mark.
    pub(super) fn change(&mut self, entry: &Entry<A>) {
        let number = |rule: Option<RuleId>| rule.map_or(NONE, |rule| rule.0);
        self.rules = [number(entry.rules.0), number(entry.rules.1)];
        self.deadline = entry.deadline;
        self.remember(entry.remembered, entry.status);
        self.set(bit::MEETS_REPLIES, entry.meets_replies);
        for (at, place) in entry.places.iter().enumerate() {
            self.set_place(at, *place);
        }
    }

    pub(super) fn close(&mut self, (address, part): (A, u16)) {
        (self.client, self.client_part) = (address, part);
        self.set(bit::OPEN, false);
    }

    /// The entry. What lies elsewhere: its source, if that is open, and its mark.
    pub(super) fn entry(&self, open: Option<Open<A>>, mark: u32) -> Entry<A> {
        let rule = |number: u32| (number != NONE).then_some(RuleId(number));
        Entry {
            original: self.original(),
            server: (self.server, self.server_part),
            client: match open {
                Some(open) => Client::Open(open),
                None => Client::Known(self.client, self.client_part),
            },
            status: self.status(),
            mark,
            remembered: self.remembered(),
            deadline: self.deadline,
            rules: (rule(self.rules[0]), rule(self.rules[1])),
            meets_replies: self.meets_replies(),
            places: [self.place(0), self.place(1)],
        }
    }

    pub(super) fn original(&self) -> Tuple<A> {
        let from = (self.source, self.source_part);
        let to = (self.destination, self.destination_part);
        Tuple::new(self.protocol, from, to)
    }

    /// Whether it is the original tuple.
    #[inline(always)]
    pub(super) fn is_original(&self, tuple: &Tuple<A>) -> bool {
        self.has(bit::LIVE) && self.original() == *tuple
    }

    /// Whether it is the reply tuple.
    #[inline(always)]
    pub(super) fn is_reply(&self, tuple: &Tuple<A>) -> bool {
        self.bits & (bit::LIVE | bit::OPEN) == bit::LIVE
            && tuple.to() == (self.client, self.client_part)
            && tuple.from() == (self.server, self.server_part)
            && tuple.protocol == self.protocol
    }

    /// All of it will be read.
    #[inline(always)]
    pub(super) fn come_nearer(&self) {
        near::ask_for(self);
        if size_of::<Self>() > 64 {
            near::ask_for(&self.bits);
        }
    }

    #[inline(always)]
    pub(super) fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    pub(super) fn set(&mut self, bit: u8, on: bool) {
        self.bits = if on {
            self.bits | bit
        } else {
            self.bits & !bit
        };
    }

    #[inline(always)]
    pub(super) fn meets_replies(&self) -> bool {
        self.has(bit::MEETS_REPLIES)
    }

    #[inline(always)]
    pub(super) fn status(&self) -> CtStatus {
        CtStatus::from_kernel(self.status.into())
    }

    /// Whether the kernel may evict it where its table is full (`early_drop`, `gc_worker_can_early_drop`).
    pub(super) fn is_evictable(&self) -> bool {
        may_be_evicted(self.status(), self.remembered())
    }

    #[inline(always)]
    pub(super) fn remembered(&self) -> Remembered {
        Remembered::of_word(self.protocol, self.memory)
    }

    #[inline(always)]
    pub(super) fn remember(&mut self, remembered: Remembered, status: CtStatus) {
        (self.memory, self.status) = (remembered.word(), status.bits() as u8);
    }

    #[inline(always)]
    pub(super) fn place(&self, at: usize) -> Place {
        Place {
            verdict: self.verdicts[at],
            note: self.notes[at],
        }
    }

    pub(super) fn set_place(&mut self, at: usize, place: Place) {
        (self.verdicts[at], self.notes[at]) = (place.verdict, place.note);
    }

    pub(super) fn note(&mut self, at: usize, note: u32) {
        self.notes[at] = note;
    }

    /// What is known of rules that were replaced says nothing.
    pub(super) fn forget_rules(&mut self) {
        self.rules = [NONE; 2];
        self.forget_places();
    }

    pub(super) fn forget_places(&mut self) {
        (0..2).for_each(|at| self.set_place(at, Place::NONE));
    }
}

/// The same of an entry that is like this.
#[inline(always)]
pub(super) fn may_be_evicted(status: CtStatus, remembered: Remembered) -> bool {
    !status.intersects(CtStatus::ASSURED) || remembered.is_closing()
}

/// Slots that are allocated at once.
const CHUNK: usize = 1024;

/// All slots, by position.
#[derive(Debug)]
pub(super) struct Slots<A: Width> {
    chunks: Vec<Box<[Slot<A>]>>,
    /// The first free one that was used before, or [`NONE`].
    free: u32,
    /// None from here on was used.
    used: u32,
    /// Those that hold an entry.
    live: usize,
}

impl<A: Width> Slots<A> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            used: 0,
            live: 0,
        }
    }

    /// Those that hold an entry.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The position behind the last that was used.
    pub(super) fn end(&self) -> u32 {
        self.used
    }

    /// Bytes that they take.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| size_of_val(&**chunk));
        chunks.sum::<usize>() + self.chunks.capacity() * size_of::<Box<[Slot<A>]>>()
    }

    /// Any one; nothing is read of it.
    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> Option<&Slot<A>> {
        self.chunks
            .get(id as usize / CHUNK)?
            .get(id as usize % CHUNK)
    }

    #[inline(always)]
    fn at_mut(&mut self, id: u32) -> Option<&mut Slot<A>> {
        self.chunks
            .get_mut(id as usize / CHUNK)?
            .get_mut(id as usize % CHUNK)
    }

    /// One that holds an entry.
    #[inline(always)]
    pub(super) fn get(&self, id: u32) -> Option<&Slot<A>> {
        self.at(id).filter(|slot| slot.has(bit::LIVE))
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Slot<A>> {
        self.at_mut(id).filter(|slot| slot.has(bit::LIVE))
    }

    /// Those that hold an entry.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<A>> {
        let slots = self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut());
        slots.filter(|slot| slot.has(bit::LIVE))
    }

    /// Puts one in, and says where.
    pub(super) fn insert(&mut self, slot: Slot<A>) -> u32 {
        self.live += 1;
        let id = self.take_free();
        if let Some(place) = self.at_mut(id) {
            *place = slot;
        }
        id
    }

    fn take_free(&mut self) -> u32 {
        let free = self.free;
        if let Some(slot) = self.at(free) {
            self.free = slot.notes[0];
            return free;
        }
        if self.used as usize == self.chunks.len() * CHUNK {
            let chunk = vec![Slot::free(NONE); CHUNK];
            self.chunks.push(chunk.into_boxed_slice());
        }
        self.used += 1;
        self.used - 1
    }

    pub(super) fn remove(&mut self, id: u32) {
        let free = self.free;
        if let Some(slot) = self.get_mut(id) {
            *slot = Slot::free(free);
            self.free = id;
            self.live -= 1;
        }
    }
}
