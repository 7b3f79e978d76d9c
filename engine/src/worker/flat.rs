//! The flat way, in batches: all packets of a batch have their bucket asked for, then all find their member, whose record is asked for, then all are
//! counted. What one waits for in memory, the others wait for at the same time.

use super::batch::Batch;
use super::block::{BLOCK, Block, Positions};
use super::{Scene, Seen};
use crate::counts::{Counts, FamilyCounts, Tally};
use crate::near;
use kpclass_compiler::program::lookup::{
    Address, Drawn, Leaf, Lookup, Member, Taker, Tuple, leaf_at,
};
use kpclass_compiler::{ClassId, Program};

/// A member of the program with what this worker counted of it, in one half of a cache line (IPv4).
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Record<A> {
    /// The source that is asked of it alone.
    own: A,
    /// Its leaves.
    row: u32,
    bytes: u64,
    /// Packets whose source stays, and those that are masqueraded.
    packets: [u64; 2],
}

const _: () = assert!(size_of::<Record<u32>>() == 32);

impl<A: Address> Record<A> {
    fn new(member: &Member<A>) -> Self {
        Self {
            own: member.own,
            row: member.row,
            bytes: 0,
            packets: [0; 2],
        }
    }

    /// Where among all leaves this packet ends.
    #[inline(always)]
    fn leaf_at(&self, answers: u32, tuple: &Tuple<A>) -> usize {
        leaf_at(self.row, answers, self.own == tuple.source)
    }

    #[inline(always)]
    fn add(&mut self, bytes: u32, masqueraded: bool) {
        self.bytes += u64::from(bytes);
        self.packets[usize::from(masqueraded)] += 1;
    }

    fn tally(&self) -> Tally {
        let [stayed, masqueraded] = self.packets;
        Tally {
            packets: stayed + masqueraded,
            bytes: self.bytes,
            masqueraded,
        }
    }
}

/// A leaf of the program with the packets that this worker saw there.
#[derive(Clone, Copy, Debug)]
struct Reached {
    leaf: Leaf,
    packets: u64,
}

/// One family's flat way.
#[derive(Debug)]
pub(super) struct Flat<'r, A: Address> {
    program: &'r Program,
    lookup: &'r Lookup<A>,
    batch: Batch<A>,
    records: Vec<Record<A>>,
    reached: Vec<Reached>,
    /// The class of every other key.
    other: ClassId,
    seed: u64,
}

impl<'r, A: Address> Flat<'r, A> {
    pub(super) fn new(program: &'r Program, lookup: &'r Lookup<A>, seed: u64) -> Self {
        let reached = |leaf: &Leaf| Reached {
            leaf: *leaf,
            packets: 0,
        };
        Self {
            program,
            lookup,
            batch: Batch::new(),
            records: lookup.members().iter().map(Record::new).collect(),
            reached: lookup.leaves().iter().map(reached).collect(),
            other: program.other(),
            seed,
        }
    }

    /// Has those of a block's frames wait that `read` gives a tuple of; the others are left.
    #[inline(never)]
    pub(super) fn take<const ONE: bool>(
        &mut self,
        scene: &Scene<'_, '_>,
        (block, frames): (&Block<'_, ONE>, impl Iterator<Item = usize>),
        read: impl Fn(&[u8]) -> Option<Tuple<A>>,
        counts: &mut Counts,
    ) -> Positions {
        let sorter = self.lookup.sorter();
        let senders = scene.senders;
        let mut left = Positions::NONE;
        let mut waiting = self.batch.len();
        let one = scene.arrival(block.origin(0));
        for at in frames {
            let (is_ethernet, is_lo) = match ONE {
                true => one,
                false => scene.arrival(block.origin(at)),
            };
            let tuple = if is_ethernet {
                read(block.captured(at))
            } else {
                None
            };
            let Some(tuple) = tuple else {
                left.push(at);
                continue;
            };
            let is_local = sorter.is_local(self.program, tuple.source);
            let Some(is_sent) = senders.is_sent(tuple.source, is_local, is_lo) else {
                scene.slow_at(at, block, counts.family_mut(A::FAMILY));
                continue;
            };
            let (bucket, line) = sorter.bucket(tuple.key);
            if let Some(line) = line {
                near::ask_for(line);
            }
            let frame = (at, block.original_len(at));
            self.batch.put(waiting, tuple, frame, is_sent, bucket);
            waiting += 1;
        }
        self.batch.set_len(waiting);
        left
    }

    /// Whether an ordinary address is the node's.
    pub(super) fn is_local(&self, address: A) -> bool {
        self.lookup.sorter().is_local(self.program, address)
    }

    /// Has the packet of a block's frame wait.
    pub(super) fn push(&mut self, tuple: Tuple<A>, frame: (usize, u32), is_sent: bool) {
        let (waiting, bucket) = (self.batch.len(), self.lookup.bucket(tuple.key));
        self.batch.put(waiting, tuple, frame, is_sent, bucket);
        self.batch.set_len(waiting + 1);
    }

    /// Counts the packets of this block that wait.
    #[inline(never)]
    pub(super) fn settle<const ONE: bool>(
        &mut self,
        scene: &Scene<'_, '_>,
        block: &Block<'_, ONE>,
        counts: &mut FamilyCounts,
    ) {
        let mut drawn = [Drawn::default(); BLOCK];
        self.draw(&mut drawn);
        #[expect(
            clippy::needless_range_loop,
            reason = "one bound for all that is read at a position: four instructions fewer"
        )]
        for at in 0..self.batch.len() {
            if !self.count_taken(at, drawn[at]) {
                self.count_other(at, drawn[at], scene, block, counts);
            }
        }
        self.batch.set_len(0);
    }

    /// What each packet draws, whose record comes nearer.
    #[inline(always)]
    fn draw(&self, drawn: &mut [Drawn; BLOCK]) {
        let (batch, at_hand, seed) = (&self.batch, self.lookup.at_hand(), self.seed);
        for (at, drawn) in drawn[..batch.len()].iter_mut().enumerate() {
            let tuple = batch.tuple(at);
            let number = A::draw(tuple, seed);
            let place = at_hand.place(tuple.key, batch.bucket(at));
            *drawn = at_hand.draw(place, number, tuple, batch.is_sent(at));
            if let Some(record) = self.records.get(drawn.member as usize) {
                near::ask_for(record);
            }
        }
    }

    /// Counts a packet if nothing more is to be asked and its member took it; whether that is so.
    #[inline(always)]
    fn count_taken(&mut self, at: usize, drawn: Drawn) -> bool {
        let Some((member, answers)) = drawn.settled() else {
            return false;
        };
        let record = &mut self.records[member as usize];
        let reached = &mut self.reached[record.leaf_at(answers, self.batch.tuple(at))];
        let is_taken = reached.leaf.is_taken();
        if is_taken {
            reached.packets += 1;
            record.add(self.batch.original_len(at), reached.leaf.is_masqueraded());
        }
        is_taken
    }

    /// Counts any other.
    #[inline(never)]
    fn count_other<const ONE: bool>(
        &mut self,
        at: usize,
        drawn: Drawn,
        scene: &Scene<'_, '_>,
        block: &Block<'_, ONE>,
        counts: &mut FamilyCounts,
    ) {
        let frame = block.frame(self.batch.frame(at));
        if self.count_asked(at, drawn, scene, &frame, counts).is_none() {
            scene.slow(counts, &frame);
        }
    }

    /// Asks what is to be asked of a packet, and counts it; `None`: the nodes tell.
    #[inline(always)]
    fn count_asked(
        &mut self,
        at: usize,
        drawn: Drawn,
        scene: &Scene<'_, '_>,
        frame: &Seen<'_>,
        counts: &mut FamilyCounts,
    ) -> Option<()> {
        let tuple = self.batch.tuple(at);
        let (member, answers) = match drawn.settled() {
            Some(settled) => settled,
            None => {
                let context = scene.context(frame, self.batch.is_sent(at));
                let number = A::draw(tuple, self.seed);
                self.lookup
                    .ask_more(self.program, drawn, tuple, &context, number)?
            }
        };
        let record = &mut self.records[member as usize];
        let reached = &mut self.reached[record.leaf_at(answers, tuple)];
        let leaf = reached.leaf;
        if leaf.is_slow() {
            return None;
        }
        let (bytes, masqueraded) = (frame.original_len, leaf.is_masqueraded());
        reached.packets += 1;
        if leaf.is_taken() {
            record.add(bytes, masqueraded);
        } else {
            let class = self.class(member, tuple);
            counts.keep(class, leaf.end(), bytes, masqueraded);
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

    /// Adds what the members and leaves counted.
    pub(super) fn finish(self, counts: &mut FamilyCounts) {
        for reached in self.reached.iter().filter(|reached| reached.packets > 0) {
            counts.end(reached.leaf.end(), reached.packets);
        }
        for (record, taker) in self.records.iter().zip(self.lookup.takers()) {
            let tally = record.tally();
            if tally.packets == 0 {
                continue;
            }
            match *taker {
                Taker::Dnat(act) => counts.merge_act(act, &tally),
                Taker::End(class, end) => counts.merge_kept(class, end, &tally),
                Taker::Nobody => {}
            }
        }
    }
}
