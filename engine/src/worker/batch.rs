//! The packets of one batch, field by field: each loop over a batch reads what it needs and no more.

use super::block::BLOCK;
use kpclass_compiler::program::lookup::{Address, Tuple};

/// Packets of a block that wait for their verdicts. A position is below [`Self::len`].
#[derive(Debug)]
pub(super) struct Batch<A: Address> {
    len: usize,
    tuples: [Tuple<A>; BLOCK],
    buckets: [u32; BLOCK],
    original_lens: [u32; BLOCK],
    frames: [u8; BLOCK],
    is_sent: [bool; BLOCK],
}

const _: () = assert!(BLOCK <= 1 << u8::BITS);

impl<A: Address> Batch<A> {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            tuples: [Tuple::default(); BLOCK],
            buckets: [0; BLOCK],
            original_lens: [0; BLOCK],
            frames: [0; BLOCK],
            is_sent: [false; BLOCK],
        }
    }

    /// Puts the packet of the block's frame at `frame` at a position, with the bucket of its key.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        at: usize,
        tuple: Tuple<A>,
        (frame, original_len): (usize, u32),
        is_sent: bool,
        bucket: usize,
    ) {
        let at = at % BLOCK;
        self.tuples[at] = tuple;
        self.buckets[at] = bucket as u32;
        self.original_lens[at] = original_len;
        self.frames[at] = frame as u8;
        self.is_sent[at] = is_sent;
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.min(BLOCK)
    }

    #[inline(always)]
    pub(super) fn tuple(&self, at: usize) -> &Tuple<A> {
        &self.tuples[at]
    }

    /// Bytes of its frame on the wire.
    #[inline(always)]
    pub(super) fn original_len(&self, at: usize) -> u32 {
        self.original_lens[at]
    }

    /// Its frame's position in the block.
    #[inline(always)]
    pub(super) fn frame(&self, at: usize) -> usize {
        self.frames[at].into()
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
}
