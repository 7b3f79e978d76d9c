//! The flat way, in batches: all packets of a batch find their bucket, then their member, then all are counted. Between these, memory that all of
//! them are about to read is read in one short loop: what one waits for, the others wait for at the same time. (Nothing but loads stands in
//! such a loop, so that as many of them are under way as the core can have; without it, four were.)

use super::batch::Batch;
use super::{Scene, Seen};
use crate::counts::{FamilyCounts, Tally};
use kpclass_compiler::program::lookup::{Address, Lookup, Member, Taker, Tuple};
use kpclass_compiler::{ClassId, Program};
use std::hint::black_box;

/// A member of the program with what this worker counted of it, in one half of a cache line (IPv4).
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Record<A> {
    /// The source that is asked of it alone.
    own: A,
    /// Its leaves.
    row: u32,
    tally: Tally,
}

const _: () = assert!(size_of::<Record<u32>>() == 32);

/// One family's flat way.
#[derive(Debug)]
pub(super) struct Flat<'r, A: Address> {
    program: &'r Program,
    lookup: &'r Lookup<A>,
    batch: Batch<A>,
    records: Vec<Record<A>>,
    /// The class of every other key.
    other: ClassId,
    seed: u64,
}

impl<'r, A: Address> Flat<'r, A> {
    pub(super) fn new(program: &'r Program, lookup: &'r Lookup<A>, seed: u64) -> Self {
        let record = |member: &Member<A>| Record {
            own: member.own,
            row: member.row,
            tally: Tally::default(),
        };
        Self {
            program,
            lookup,
            batch: Batch::new(),
            records: lookup.members().iter().map(record).collect(),
            other: program.other(),
            seed,
        }
    }

    /// Whether an ordinary address is the node's.
    #[inline(always)]
    pub(super) fn is_local(&self, address: A) -> bool {
        self.lookup.is_local(self.program, address)
    }

    /// Has the packet of a block's frame wait.
    #[inline(always)]
    pub(super) fn push(&mut self, tuple: Tuple<A>, frame: usize, is_sent: bool) {
        let bucket = self.lookup.bucket(tuple.key);
        let number = A::draw(&tuple, self.seed);
        self.batch.push(tuple, frame, is_sent, bucket, number);
    }

    /// Counts the packets of these frames that wait.
    #[inline(never)]
    pub(super) fn settle(
        &mut self,
        scene: &Scene<'_, '_>,
        frames: &[Seen<'_>],
        counts: &mut FamilyCounts,
    ) {
        self.batch.touch_buckets(self.lookup);
        self.draw_members();
        for at in 0..self.batch.len() {
            let frame = &frames[self.batch.frame(at)];
            if self.count(at, scene, frame, counts).is_none() {
                scene.slow(counts, frame);
            }
        }
        self.batch.clear();
    }

    #[inline(always)]
    fn draw_members(&mut self) {
        let Self { lookup, batch, .. } = self;
        for at in 0..batch.len() {
            let Tuple { key, source, .. } = *batch.tuple(at);
            let place = lookup.place(key, batch.bucket(at));
            let drawn = lookup.draw(place, batch.number(at), source, batch.is_sent(at));
            batch.set_drawn(at, drawn);
        }
        let mut read = 0;
        for at in 0..batch.len() {
            let member = batch.drawn(at).member as usize;
            read ^= self.records.get(member).map_or(0, |record| record.row);
        }
        black_box(read);
    }

    #[inline(always)]
    fn count(
        &mut self,
        at: usize,
        scene: &Scene<'_, '_>,
        frame: &Seen<'_>,
        counts: &mut FamilyCounts,
    ) -> Option<()> {
        let (member, answers) = match self.batch.drawn(at).settled() {
            Some(settled) => settled,
            None => self.ask_more(at, scene, frame)?,
        };
        let (tuple, bytes) = (self.batch.tuple(at), frame.original_len);
        let record = &mut self.records[member as usize];
        let is_own = record.own == tuple.source;
        let leaf = self.lookup.leaf(record.row, answers, is_own);
        if leaf.is_slow() {
            return None;
        }
        let (end, masqueraded) = (leaf.end(), leaf.is_masqueraded());
        counts.end(end);
        if leaf.is_taken() {
            record.tally.add(bytes, masqueraded);
        } else {
            counts.keep(self.class(member, tuple), end, bytes, masqueraded);
        }
        Some(())
    }

    #[inline(never)]
    fn ask_more(&self, at: usize, scene: &Scene<'_, '_>, frame: &Seen<'_>) -> Option<(u32, u32)> {
        let (drawn, tuple) = (self.batch.drawn(at), self.batch.tuple(at));
        let context = || scene.context(frame, self.batch.is_sent(at));
        let number = || self.batch.number(at);
        self.lookup
            .ask_more(self.program, drawn, tuple, context, number)
    }

    #[inline(always)]
    fn class(&self, member: u32, tuple: &Tuple<A>) -> ClassId {
        if self.lookup.is_other(member) {
            self.other
        } else {
            self.program.class_of(tuple)
        }
    }

    /// Adds what the members counted.
    pub(super) fn finish(self, counts: &mut FamilyCounts) {
        for (record, taker) in self.records.iter().zip(self.lookup.takers()) {
            if record.tally.packets == 0 {
                continue;
            }
            match *taker {
                Taker::Dnat(act) => counts.merge_act(act, &record.tally),
                Taker::End(class, end) => counts.merge_kept(class, end, &record.tally),
                Taker::Nobody => {}
            }
        }
    }
}
