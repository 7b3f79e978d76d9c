//! Frames that are taken together.

use super::Seen;
use crate::capture::InterfaceIndex;
use crate::link::LinkType;
use crate::near;
use std::ops::Range;

/// The last byte of an ordinary frame's ports: Ethernet, IPv4 without options.
const KEY_END: usize = 14 + 20 + 3;

/// Frames of a block.
pub(super) const BLOCK: usize = 128;

/// What frames begin with, and where they were captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) link: LinkType,
    pub(super) interface: InterfaceIndex,
}

impl Origin {
    const NONE: Self = Self {
        link: LinkType(0),
        interface: InterfaceIndex(0),
    };
}

/// Frames that wait to be looked at. Those of one link (`ONE`: of a classic pcap) have one origin.
#[derive(Debug)]
pub(super) struct Block<'f, const ONE: bool> {
    len: usize,
    captured: [&'f [u8]; BLOCK],
    original_lens: [u32; BLOCK],
    /// With `ONE` the first alone counts.
    origins: [Origin; BLOCK],
}

impl<'f, const ONE: bool> Block<'f, ONE> {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            captured: [&[]; BLOCK],
            original_lens: [0; BLOCK],
            origins: [Origin::NONE; BLOCK],
        }
    }

    /// Takes a frame in; whether there is room for another one.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: Seen<'f>) -> bool {
        self.origins[if ONE { 0 } else { self.len % BLOCK }] = frame.origin;
        self.put(frame.captured, frame.original_len);
        self.len < BLOCK
    }

    /// The same of a frame whose origin is known.
    #[inline(always)]
    pub(super) fn put(&mut self, captured: &'f [u8], original_len: u32) {
        let at = self.len % BLOCK;
        // Whoever found the frame has met the cache line in which its record begins.
        if let Some(byte) = captured.get(KEY_END) {
            near::ask_for(byte);
        }
        self.captured[at] = captured;
        self.original_lens[at] = original_len;
        self.len = at + 1;
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    pub(super) fn set_origin(&mut self, origin: Origin) {
        self.origins[0] = origin;
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.min(BLOCK)
    }

    /// What was captured of a frame.
    #[inline(always)]
    pub(super) fn captured(&self, at: usize) -> &'f [u8] {
        self.captured[at]
    }

    /// Bytes of a frame on the wire.
    #[inline(always)]
    pub(super) fn original_len(&self, at: usize) -> u32 {
        self.original_lens[at]
    }

    /// Bytes that were on the wire.
    pub(super) fn bytes(&self) -> u64 {
        let lens = &self.original_lens[..self.len()];
        lens.iter().map(|len| u64::from(*len)).sum()
    }

    #[inline(always)]
    pub(super) fn origin(&self, at: usize) -> Origin {
        self.origins[if ONE { 0 } else { at }]
    }

    /// The frame at a position.
    pub(super) fn frame(&self, at: usize) -> Seen<'f> {
        Seen {
            captured: self.captured[at],
            original_len: self.original_lens[at],
            origin: self.origin(at),
        }
    }
}

/// Some of a block's frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    len: usize,
    at: [u8; BLOCK],
}

const _: () = assert!(BLOCK <= 1 << 7);

impl Positions {
    pub(super) const NONE: Self = Self {
        len: 0,
        at: [0; BLOCK],
    };

    pub(super) fn of(frames: Range<usize>) -> Self {
        let mut positions = Self::NONE;
        frames.for_each(|at| positions.push(at));
        positions
    }

    #[inline(always)]
    pub(super) fn push(&mut self, at: usize) {
        self.at[self.len % BLOCK] = at as u8;
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let at = &self.at[..self.len.min(BLOCK)];
        at.iter().map(|at| usize::from(*at) % BLOCK)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
