//! The flat way, in batches: first all packets of a batch are hashed, then all draw their members, then all are counted. What one waits for in
//! memory, the others of its batch wait for at the same time.

use crate::capture::Frame;
use crate::counts::{FamilyCounts, Tally};
use crate::draw;
use kpclass_compiler::program::lookup::{Address, Lookup, Member, Place, Taker, Tuple};
use kpclass_compiler::{ClassId, Context, Program};

/// Packets of a batch.
pub(super) const BATCH: usize = 64;

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
    /// The node's addresses: a set that holds more than these.
    locals: Filter,
    seed: u64,
}

/// A packet in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting<'f, A> {
    pub(super) tuple: Tuple<A>,
    pub(super) frame: Frame<'f>,
    /// Whether this node sends it.
    is_sent: bool,
    bucket: u32,
    draw: u64,
    /// Where it was drawn to; `None`: the nodes tell.
    drawn: Option<(Place, u32)>,
    /// Only read to have memory come nearer.
    touched: u32,
}

/// A set of addresses by 6 bits of their hashes; it may hold others, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter(u64);

impl Filter {
    fn bit<A: Address>(address: A) -> u64 {
        let number = address.number();
        let folded = number as u64 ^ (number >> 64) as u64;
        1 << (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }
}

impl<'r, A: Address> Flat<'r, A> {
    pub(super) fn new(program: &'r Program, lookup: &'r Lookup<A>, seed: u64) -> Self {
        let record = |member: &Member<A>| Record {
            own: member.own,
            row: member.row,
            tally: Tally::default(),
        };
        let locals = program.local_addresses().iter();
        Self {
            program,
            lookup,
            records: lookup.members().iter().map(record).collect(),
            other: program.other(),
            locals: Filter(locals.fold(0, |set, address| set | Filter::bit(A::new(*address)))),
            seed,
        }
    }

    /// Whether an ordinary address is the node's.
    #[inline(always)]
    pub(super) fn is_local(&self, address: A) -> bool {
        self.locals.0 & Filter::bit(address) != 0 && self.program.is_local(address.number())
    }

    /// A packet for the next batch. Its source must be an ordinary one.
    #[inline(always)]
    pub(super) fn waiting<'f>(
        &self,
        tuple: Tuple<A>,
        frame: Frame<'f>,
        is_sent: bool,
    ) -> Waiting<'f, A> {
        let bucket = self.lookup.bucket(tuple.key());
        Waiting {
            tuple,
            frame,
            is_sent,
            bucket: bucket as u32,
            draw: draw::of_tuple(&tuple, self.seed),
            drawn: None,
            touched: self.lookup.touch(bucket),
        }
    }

    /// Counts a batch; those that the nodes tell of go to `slow`.
    pub(super) fn settle<'f>(
        &mut self,
        batch: &mut Vec<Waiting<'f, A>>,
        counts: &mut FamilyCounts,
        context: impl Fn(&Frame<'f>, bool) -> Context,
        slow: impl Fn(&mut FamilyCounts, &Frame<'f>),
    ) {
        for waiting in &mut *batch {
            let Tuple {
                protocol,
                destination_port,
                ..
            } = waiting.tuple;
            let (key, bucket) = (waiting.tuple.key(), waiting.bucket as usize);
            let place = self.lookup.place(key, bucket, protocol, destination_port);
            waiting.drawn = place.map(|place| {
                let member = self.lookup.member(place, waiting.draw);
                waiting.touched = self.records[member].row;
                (place, member as u32)
            });
        }
        for waiting in &*batch {
            let told = self.count(waiting, counts, || context(&waiting.frame, waiting.is_sent));
            if told.is_none() {
                slow(counts, &waiting.frame);
            }
        }
        batch.clear();
    }

    #[inline(always)]
    fn count(
        &mut self,
        waiting: &Waiting<'_, A>,
        counts: &mut FamilyCounts,
        context: impl Fn() -> Context,
    ) -> Option<()> {
        let (place, member) = waiting.drawn?;
        let (tuple, sent) = (&waiting.tuple, waiting.is_sent);
        let answers = self
            .lookup
            .answers(self.program, place, tuple, sent, context)?;
        let record = &mut self.records[member as usize];
        let leaf = self
            .lookup
            .leaf(record.row, answers, record.own == tuple.source);
        if leaf.is_slow() {
            return None;
        }
        let bytes = waiting.frame.original_len;
        counts.end(leaf.end(), bytes, leaf.is_masqueraded());
        if leaf.is_taken() {
            record.tally.add(bytes, leaf.is_masqueraded());
        } else {
            let class = if self.lookup.is_other(place) {
                self.other
            } else {
                self.program.class_of(tuple)
            };
            counts.keep(class, leaf.end(), bytes, leaf.is_masqueraded());
        }
        Some(())
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
