//! Runs of whole frames.

use super::bytes::Bytes;
use super::interfaces::InterfaceIndex;
use super::pcap::{Layout, PcapFrames};
use super::pcapng::{PcapngFrames, Section};
use super::scan::Stop;
use crate::link::LinkType;
use std::ops::Range;

/// A run of whole frames. It owns its bytes (shared with its neighbours) and can be walked anywhere, any number of times.
#[derive(Clone)]
pub struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) range: Range<usize>,
    pub(super) format: Format,
    pub(super) index: u64,
    pub(super) first_frame: u64,
    pub(super) frame_count: u64,
}

/// How a chunk's frames are walked.
#[derive(Clone)]
pub(super) enum Format {
    Pcap(Layout),
    Pcapng(Section),
}

impl Chunk {
    /// Its place among the capture's chunks, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Number of its first frame.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// How many frames it holds; at least one.
    pub fn frame_count(&self) -> u64 {
        self.frame_count
    }

    /// Its frames, in order. Prefer `for_each` or `fold`: they choose the format's loop once, and not for each frame.
    pub fn frames(&self) -> Frames<'_> {
        let (bytes, range) = (self.bytes.as_slice(), self.range.clone());
        match &self.format {
            Format::Pcap(layout) => Frames::pcap(bytes, range, *layout, self.first_frame),
            Format::Pcapng(section) => {
                Frames::Pcapng(PcapngFrames::new(bytes, range, section, self.first_frame))
            }
        }
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Chunk {}: {} frames from {}",
            self.index, self.frame_count, self.first_frame
        )
    }
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number in the capture, from 1, as Wireshark counts.
    pub number: u64,
    /// What it begins with.
    pub link: LinkType,
    /// Where it was captured.
    pub interface: InterfaceIndex,
    /// When: nanoseconds since 1970; 0 where the capture does not say.
    pub timestamp_ns: u64,
    /// The bytes that were captured.
    pub captured: &'a [u8],
    /// How many there were on the wire.
    pub original_len: u32,
}

/// Frames one behind the other, up to what is no whole record.
#[derive(Clone)]
pub enum Frames<'a> {
    /// Of a classic pcap in this machine's byte order.
    Pcap(PcapFrames<'a, false>),
    /// Of a classic pcap in the other byte order.
    Swapped(PcapFrames<'a, true>),
    /// Of a pcapng.
    Pcapng(PcapngFrames<'a>),
}

impl<'a> Frames<'a> {
    /// Of the records of a classic pcap that begin in `range`.
    pub(super) fn pcap(
        bytes: &'a [u8],
        range: Range<usize>,
        layout: Layout,
        first_frame: u64,
    ) -> Self {
        if layout.is_swapped() {
            Self::Swapped(PcapFrames::new(bytes, range, layout, first_frame))
        } else {
            Self::Pcap(PcapFrames::new(bytes, range, layout, first_frame))
        }
    }

    /// Walks to the end.
    pub(super) fn skip_all(&mut self) {
        match self {
            Self::Pcap(frames) => frames.for_each(drop),
            Self::Swapped(frames) => frames.for_each(drop),
            Self::Pcapng(frames) => frames.for_each(drop),
        }
    }

    /// Where the walk stands: behind the last record that was walked.
    pub(super) fn at(&self) -> usize {
        match self {
            Self::Pcap(frames) => frames.at(),
            Self::Swapped(frames) => frames.at(),
            Self::Pcapng(frames) => frames.at(),
        }
    }

    /// The next frame's number.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Pcap(frames) => frames.number(),
            Self::Swapped(frames) => frames.number(),
            Self::Pcapng(frames) => frames.number(),
        }
    }

    /// Why there is no further frame.
    pub(super) fn stop(&self) -> Stop {
        match self {
            Self::Pcap(frames) => frames.stop(),
            Self::Swapped(frames) => frames.stop(),
            Self::Pcapng(frames) => frames.stop(),
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        match self {
            Self::Pcap(frames) => frames.next(),
            Self::Swapped(frames) => frames.next(),
            Self::Pcapng(frames) => frames.next(),
        }
    }

    #[inline]
    fn fold<B, F>(self, init: B, f: F) -> B
    where
        F: FnMut(B, Frame<'a>) -> B,
    {
        match self {
            Self::Pcap(frames) => frames.fold(init, f),
            Self::Swapped(frames) => frames.fold(init, f),
            Self::Pcapng(frames) => frames.fold(init, f),
        }
    }
}
