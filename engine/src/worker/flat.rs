//! The flat way, in batches: all packets of a batch find their bucket, then their member, then all are counted. Between these, memory that all of
//! them are about to read is read in one short loop: what one waits for, the others wait for at the same time. (Nothing but loads stands in
//! such a loop, so that as many of them are under way as the core can have; without it, four were.)

use super::batch::Batch;
use super::block::{BLOCK, Block};
use super::{Scene, Seen};
use crate::counts::{FamilyCounts, Tally};
use kpclass_compiler::program::lookup::{
    Address, AtHand, Drawn, Leaf, Lookup, Member, Taker, Tuple,
};
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
    pub(super) fn push(&mut self, tuple: Tuple<A>, frame: (usize, u32), is_sent: bool) {
        let bucket = self.lookup.bucket(tuple.key);
        self.batch.push(tuple, frame, is_sent, bucket);
    }

    /// Counts the packets of this block that wait.
    #[inline(never)]
    pub(super) fn settle<const ONE: bool>(
        &mut self,
        scene: &Scene<'_, '_>,
        block: &Block<'_, ONE>,
        counts: &mut FamilyCounts,
    ) {
        self.batch.touch_buckets(self.lookup);
        let drawn = self.draw();
        self.touch_records(&drawn);
        let at_hand = self.lookup.at_hand();
        for at in 0..self.batch.len() {
            let frame = || block.frame(self.batch.frame(at));
            let settled = match drawn[at].settled() {
                Some(settled) => Some(settled),
                None => self.ask_more(at, drawn[at], scene, frame),
            };
            let counted = settled.and_then(|drawn| self.count(at, drawn, &at_hand, counts));
            if counted.is_none() {
                scene.slow(counts, &block.frame(self.batch.frame(at)));
            }
        }
        self.batch.clear();
    }

    /// What each packet draws.
    #[inline(always)]
    fn draw(&self) -> [Drawn; BLOCK] {
        let (batch, at_hand) = (&self.batch, self.lookup.at_hand());
        let mut drawn = [Drawn::default(); BLOCK];
        for (at, drawn) in drawn[..batch.len()].iter_mut().enumerate() {
            let tuple = batch.tuple(at);
            let number = A::draw(tuple, self.seed);
            let place = at_hand.place(tuple.key, batch.bucket(at));
            *drawn = at_hand.draw(place, number, tuple.source, batch.is_sent(at));
        }
        drawn
    }

    /// Has the records of what was drawn come nearer.
    #[inline(always)]
    fn touch_records(&self, drawn: &[Drawn; BLOCK]) {
        let mut read = 0;
        for drawn in &drawn[..self.batch.len()] {
            let record = self.records.get(drawn.member as usize);
            read ^= record.map_or(0, |record| record.row);
        }
        black_box(read);
    }

    #[inline(always)]
    fn count(
        &mut self,
        at: usize,
        (member, answers): (u32, u32),
        at_hand: &AtHand<'_, A>,
        counts: &mut FamilyCounts,
    ) -> Option<()> {
        let (tuple, bytes) = (self.batch.tuple(at), self.batch.original_len(at));
        let record = &mut self.records[member as usize];
        let is_own = record.own == tuple.source;
        let leaf = at_hand.leaf(record.row, answers, is_own);
        if leaf.is_taken() {
            record.tally.add(bytes, leaf.is_masqueraded());
            return Some(());
        }
        self.count_apart(at, member, leaf, counts)
    }

    /// Counts what the member did not take, or not to its own end.
    fn count_apart(
        &self,
        at: usize,
        member: u32,
        leaf: Leaf,
        counts: &mut FamilyCounts,
    ) -> Option<()> {
        if leaf.is_slow() {
            return None;
        }
        let (end, bytes) = (leaf.end(), self.batch.original_len(at));
        counts.end(end);
        match self.lookup.dnat(member, leaf) {
            Some(act) => counts.rewritten(act, bytes, leaf.is_masqueraded()),
            None => {
                let class = self.class(member, self.batch.tuple(at));
                counts.keep(class, end, bytes, leaf.is_masqueraded());
            }
        }
        Some(())
    }

    #[inline(never)]
    fn ask_more<'f>(
        &self,
        at: usize,
        drawn: Drawn,
        scene: &Scene<'_, '_>,
        frame: impl Fn() -> Seen<'f>,
    ) -> Option<(u32, u32)> {
        let tuple = self.batch.tuple(at);
        let context = || scene.context(&frame(), self.batch.is_sent(at));
        let number = || A::draw(tuple, self.seed);
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
                Taker::Dnat(act, end) => counts.merge_act(act, end, &record.tally),
                Taker::End(class, end) => counts.merge_kept(class, end, &record.tally),
                Taker::Nobody => {}
            }
        }
    }
}
