//! The flat way, in batches: all packets of a batch find their bucket, then their member, then all are counted. Between these, memory that all of
//! them are about to read is read in one short loop: what one waits for, the others wait for at the same time. (Nothing but loads stands in
//! such a loop, so that as many of them are under way as the core can have; without it, four were.)

use super::Seen;
use super::batch::Batch;
use crate::counts::{FamilyCounts, Tally};
use crate::draw;
use kpclass_compiler::program::lookup::{Address, Drawn, Lookup, Member, Taker, Tuple};
use kpclass_compiler::{ClassId, Context, Program};
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

    /// Counts a batch; those that the nodes tell of go to `slow`.
    pub(super) fn settle<'f>(
        &mut self,
        batch: &mut Batch<'f, A>,
        counts: &mut FamilyCounts,
        context: impl Fn(&Seen<'f>, bool) -> Context,
        slow: impl Fn(&mut FamilyCounts, &Seen<'f>),
    ) {
        batch.find_buckets(self.lookup);
        self.draw_members(batch);
        for at in 0..batch.len() {
            let (seen, is_sent) = (batch.seen(at), batch.is_sent(at));
            let told = self.count(batch, at, counts, || context(seen, is_sent));
            if told.is_none() {
                slow(counts, seen);
            }
        }
        batch.clear();
    }

    #[inline(always)]
    fn draw_members(&self, batch: &mut Batch<'_, A>) {
        for at in 0..batch.len() {
            let tuple = batch.tuple(at);
            let number = draw::of_tuple(tuple, self.seed);
            let (protocol, port) = (tuple.protocol, tuple.destination_port);
            let (source, is_sent) = (tuple.source, batch.is_sent(at));
            let place = self
                .lookup
                .place(tuple.key(), batch.bucket(at), protocol, port);
            let drawn = match place {
                Some(place) => self.lookup.draw(place, number, source, is_sent),
                None => Drawn::NOTHING,
            };
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
        batch: &Batch<'_, A>,
        at: usize,
        counts: &mut FamilyCounts,
        context: impl Fn() -> Context,
    ) -> Option<()> {
        let (drawn, tuple) = (batch.drawn(at), batch.tuple(at));
        let number = || draw::of_tuple(tuple, self.seed);
        let ask_more = || {
            self.lookup
                .ask_more(self.program, drawn, tuple, context, number)
        };
        let (member, answers) = drawn.settled().or_else(ask_more)?;
        let record = &mut self.records[member as usize];
        let is_own = record.own == tuple.source;
        let leaf = self.lookup.leaf(record.row, answers, is_own);
        if leaf.is_slow() {
            return None;
        }
        let (bytes, masqueraded) = (batch.seen(at).original_len, leaf.is_masqueraded());
        counts.end(leaf.end(), bytes, masqueraded);
        if leaf.is_taken() {
            record.tally.add(bytes, masqueraded);
        } else {
            counts.keep(self.class(member, tuple), leaf.end(), bytes, masqueraded);
        }
        Some(())
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
