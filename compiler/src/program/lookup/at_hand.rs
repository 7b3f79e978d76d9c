//! What loops over packets read of a lookup, held in values of their own: nothing that such a loop writes could be taken for it.

use super::locals::Slots;
use super::table::{Bucket, Hashing};
use super::{Address, Brief, Drawn, Leaf, Lookup, Place, Tuple, Value};
use crate::program::Program;

impl<A: Address> Lookup<A> {
    /// What finding and drawing read.
    #[inline(always)]
    pub fn at_hand(&self) -> AtHand<'_, A> {
        AtHand {
            lookup: self,
            buckets: self.exact.buckets(),
            none: if self.known_ports.is_empty() {
                self.other
            } else {
                Place::NONE
            },
            briefs: &self.briefs,
            leaves: &self.leaves,
        }
    }

    /// What sorting packets reads.
    #[inline(always)]
    pub fn sorter(&self) -> Sorter<'_, A> {
        Sorter {
            locals: self.locals.slots(),
            exact: self.exact.hashing(),
            buckets: self.exact.buckets(),
        }
    }
}

/// What of a lookup a loop over packets reads, so that it need not be asked for again.
#[derive(Clone, Copy, Debug)]
pub struct AtHand<'l, A: Address> {
    lookup: &'l Lookup<A>,
    buckets: &'l [Bucket<A::Key, Place>],
    /// The class of a key that is not in the table, if that is all that counts.
    none: Place,
    briefs: &'l [Brief<A>],
    leaves: &'l [Leaf],
}

impl<A: Address> AtHand<'_, A> {
    /// The class of a key.
    #[inline(always)]
    pub fn place(&self, key: A::Key, bucket: usize) -> Place {
        let place = self.buckets[bucket].find(key, self.none);
        if place == Place::NONE {
            return self.lookup.place_elsewhere(key, bucket);
        }
        place
    }

    /// The member that a number draws, and the answers that the addresses give.
    #[inline(always)]
    pub fn draw(&self, place: Place, draw: u64, tuple: &Tuple<A>, is_sent: bool) -> Drawn {
        let brief = &self.briefs[place.plan() as usize];
        let is_in = tuple.source.is_in(brief.mask, brief.value);
        let drawn = Drawn {
            member: place
                .first()
                .wrapping_add(self.lookup.drawn(&brief.set, draw)),
            answers: u32::from(is_sent) << 1 | u32::from(is_in) << 2 | brief.more,
        };
        self.lookup.settle(drawn, tuple, draw)
    }

    /// The leaf of a row for answers.
    #[inline(always)]
    pub fn leaf(&self, row: u32, answers: u32, is_own: bool) -> Leaf {
        self.leaves[leaf_at(row, answers, is_own)]
    }
}

/// Where among all leaves that of a row for answers is.
#[inline(always)]
pub fn leaf_at(row: u32, answers: u32, is_own: bool) -> usize {
    (row + (answers | u32::from(is_own))) as usize
}

/// What of a lookup is asked of a packet before its batch is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Sorter<'l, A: Address> {
    locals: Slots<'l, A>,
    exact: Hashing,
    buckets: &'l [Bucket<A::Key, Place>],
}

impl<A: Address> Sorter<'_, A> {
    /// Whether an ordinary address is the node's.
    #[inline(always)]
    pub fn is_local(&self, program: &Program, address: A) -> bool {
        if self.locals.is_crowded() {
            return is_local(program, address);
        }
        self.locals.hold(address)
    }

    /// Which bucket a packet's key belongs into, and the bucket.
    #[inline(always)]
    pub fn bucket(&self, key: A::Key) -> (usize, Option<&Bucket<A::Key, Place>>) {
        let bucket = self.exact.bucket(key);
        (bucket, self.buckets.get(bucket))
    }
}

#[cold]
fn is_local<A: Address>(program: &Program, address: A) -> bool {
    program.is_local(address.number())
}
