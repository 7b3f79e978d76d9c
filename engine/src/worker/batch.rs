//! The packets of one batch, field by field: each loop over a batch reads what it needs and no more.

use super::Seen;
use kpclass_compiler::program::lookup::{Address, Drawn, Lookup, Tuple};
use std::hint::black_box;

/// Packets of a batch.
const BATCH: usize = 64;

/// Packets that wait for their verdicts. A position is below [`Self::len`].
#[derive(Debug)]
pub(super) struct Batch<'f, A> {
    len: usize,
    tuples: [Tuple<A>; BATCH],
    seen: [Seen<'f>; BATCH],
    is_sent: [bool; BATCH],
    buckets: [u32; BATCH],
    drawn: [Drawn; BATCH],
}

impl<'f, A: Address> Batch<'f, A> {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            tuples: [Tuple::default(); BATCH],
            seen: [Seen::NOTHING; BATCH],
            is_sent: [false; BATCH],
            buckets: [0; BATCH],
            drawn: [Drawn::NOTHING; BATCH],
        }
    }

    /// Takes a packet in; whether there is room for another one.
    #[inline(always)]
    pub(super) fn push(&mut self, tuple: Tuple<A>, seen: Seen<'f>, is_sent: bool) -> bool {
        let at = self.len % BATCH;
        self.tuples[at] = tuple;
        self.seen[at] = seen;
        self.is_sent[at] = is_sent;
        self.len = at + 1;
        self.len < BATCH
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.min(BATCH)
    }

    #[inline(always)]
    pub(super) fn tuple(&self, at: usize) -> &Tuple<A> {
        &self.tuples[at]
    }

    #[inline(always)]
    pub(super) fn seen(&self, at: usize) -> &Seen<'f> {
        &self.seen[at]
    }

    /// Whether this node sends it.
    #[inline(always)]
    pub(super) fn is_sent(&self, at: usize) -> bool {
        self.is_sent[at]
    }

    #[inline(always)]
    pub(super) fn bucket(&self, at: usize) -> usize {
        self.buckets[at] as usize
    }

    #[inline(always)]
    pub(super) fn drawn(&self, at: usize) -> Drawn {
        self.drawn[at]
    }

    #[inline(always)]
    pub(super) fn set_drawn(&mut self, at: usize, drawn: Drawn) {
        self.drawn[at] = drawn;
    }

    /// Finds all buckets, and has them come nearer.
    #[inline(always)]
    pub(super) fn find_buckets(&mut self, lookup: &Lookup<A>) {
        let len = self.len();
        for (tuple, bucket) in self.tuples[..len].iter().zip(&mut self.buckets) {
            *bucket = lookup.bucket(tuple.key()) as u32;
        }
        let mut read = 0;
        for bucket in &self.buckets[..len] {
            read ^= lookup.touch(*bucket as usize);
        }
        black_box(read);
    }
}
