//! Classic pcap: a file header of 24 bytes, then records of a header and the captured bytes.
//!
//! ```text
//! file    magic:4 major:2 minor:2 zone:4 accuracy:4 snaplen:4 link:4
//! record  seconds:4 fraction:4 captured:4 original:4 [modified format: device:4 protocol:2 kind:1 pad:1]
//! ```
//! The magic tells the byte order, and whether fractions are micro- or nanoseconds.

use super::MAX_RECORD;
use super::chunk::Frame;
use super::error::{CutCause, Kind};
use super::interfaces::{Description, InterfaceIndex, Interfaces};
use super::pcapng::Clock;
use super::scan::Stop;
use super::source::Window;
use crate::link::LinkType;
use std::ops::Range;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// The record header of Kuznetzov's patched libpcap, which names the device by number, too.
const MODIFIED_RECORD_HEADER: usize = 24;

mod magic {
    pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
    pub(super) const NANOSECONDS: u32 = 0xa1b2_3c4d;
    pub(super) const MODIFIED: u32 = 0xa1b2_cd34;
}

/// The bits of the link field that hold the link type; those above tell whether frames end with a checksum.
const LINK_MASK: u32 = 0x03ff_ffff;

/// What the file header says about the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    swapped: bool,
    fraction_ns: u32,
    record_header: usize,
    lengths: Lengths,
    snaplen: u32,
    link: LinkType,
}

/// A record's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) seconds: u32,
    fraction: u32,
    /// Bytes that were captured.
    pub(super) captured_len: u32,
    /// Bytes there were on the wire.
    pub(super) original_len: u32,
    /// Length of the record, with its header.
    pub(super) len: usize,
}

/// The order of a record's two lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// Captured, then original.
    Usual,
    /// The other way round: version 2.2 and before, and 543 (a DG/UX).
    Reversed,
    /// Either: version 2.3. The smaller one is what was captured.
    Either,
}

impl Lengths {
    fn of_version(major: u16, minor: u16) -> Self {
        match (major, minor) {
            (2, 0..3) | (543, _) => Self::Reversed,
            (2, 3) => Self::Either,
            _ => Self::Usual,
        }
    }
}

/// Formats that are recognised in order to say so.
const OTHER_FORMATS: [(&[u8], &str); 6] = [
    (b"snoop\0\0\0", "a snoop capture"),
    (b"GMBU", "a Network Monitor capture"),
    (b"RTSS", "a Network Monitor 1 capture"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"PK\x03\x04", "a zip file"),
];

impl Layout {
    /// Reads the file header at the beginning of `window`, and describes the capture's one interface.
    pub(super) fn read(window: &mut Window, interfaces: &Interfaces) -> Result<Self, Kind> {
        let bytes = window.bytes();
        let Some((swapped, magic)) = bytes.first_chunk().and_then(|m| order(*m)) else {
            return Err(unknown(window));
        };
        let Some(header) = bytes.first_chunk::<FILE_HEADER>() else {
            return Err(Kind::HeaderCut {
                needed: FILE_HEADER,
                available: bytes.len(),
            });
        };
        let number = |at: usize| {
            let word = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            if swapped {
                u32::from_ne_bytes(word).swap_bytes()
            } else {
                u32::from_ne_bytes(word)
            }
        };
        let short = |at: usize| {
            let word = u16::from_ne_bytes([header[at], header[at + 1]]);
            if swapped { word.swap_bytes() } else { word }
        };
        let (major, minor) = (short(4), short(6));
        if !matches!((major, minor), (2, ..=4) | (543, 0)) {
            let supported = "2.0 to 2.4, and 543.0";
            return Err(Kind::Version {
                format: "pcap",
                major,
                minor,
                supported,
            });
        }
        let layout = Self {
            swapped,
            fraction_ns: if magic == magic::NANOSECONDS { 1 } else { 1000 },
            record_header: if magic == magic::MODIFIED {
                MODIFIED_RECORD_HEADER
            } else {
                RECORD_HEADER
            },
            lengths: Lengths::of_version(major, minor),
            snaplen: number(16),
            link: LinkType(number(20) & LINK_MASK),
        };
        let clock = Clock::NANOSECONDS;
        let description = Description {
            link: layout.link,
            name: None,
            snaplen: layout.snaplen,
            clock,
        };
        interfaces.describe(0, description);
        window.advance(FILE_HEADER);
        Ok(layout)
    }

    /// What a frame begins with.
    pub(super) fn link(self) -> LinkType {
        self.link
    }

    /// The same if records are as nearly all captures have them, in words that a loop over them need not ask again.
    #[inline(always)]
    pub(super) fn as_usual(self) -> Option<Self> {
        let is_usual = self.record_header == RECORD_HEADER && self.lengths == Lengths::Usual;
        is_usual.then_some(Self {
            record_header: RECORD_HEADER,
            lengths: Lengths::Usual,
            ..self
        })
    }

    /// The record at a place, if it is a whole one, and what it captured.
    #[inline(always)]
    fn whole<const SWAPPED: bool>(self, bytes: &[u8], at: usize) -> Option<(Record, &[u8])> {
        let rest = bytes.get(at..)?;
        let record = self.record::<SWAPPED>(rest)?;
        if record.captured_len as usize > MAX_RECORD {
            return None;
        }
        let captured = rest.get(self.record_header..record.len)?;
        Some((record, captured))
    }

    /// Whether numbers are in the other byte order than this machine's.
    pub(super) fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// The most bytes of a packet that were captured, as the file says; 0: no limit.
    pub(super) fn snaplen(&self) -> u32 {
        self.snaplen
    }

    /// Whether `record` names a part of a second.
    pub(super) fn is_within_second(self, record: &Record) -> bool {
        record.fraction < 1_000_000_000 / self.fraction_ns
    }

    /// The header that `bytes` begin with; `None` if they are too few.
    #[inline(always)]
    pub(super) fn record<const SWAPPED: bool>(self, bytes: &[u8]) -> Option<Record> {
        let header = bytes.first_chunk::<RECORD_HEADER>()?;
        let (first, second) = (word::<SWAPPED>(header, 8), word::<SWAPPED>(header, 12));
        let (captured_len, original_len) = match self.lengths {
            Lengths::Usual => (first, second),
            Lengths::Reversed => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        };
        Some(Record {
            seconds: word::<SWAPPED>(header, 0),
            fraction: word::<SWAPPED>(header, 4),
            captured_len,
            original_len,
            len: self.record_header + captured_len as usize,
        })
    }
}

/// Byte order and magic; `None` if it is no pcap.
fn order(first: [u8; 4]) -> Option<(bool, u32)> {
    let native = u32::from_ne_bytes(first);
    [(false, native), (true, native.swap_bytes())]
        .into_iter()
        .find(|(_, number)| {
            matches!(
                *number,
                magic::MICROSECONDS | magic::NANOSECONDS | magic::MODIFIED
            )
        })
}

fn unknown(window: &Window) -> Kind {
    let bytes = window.bytes();
    let start = bytes[..bytes.len().min(16)].to_vec();
    let other = OTHER_FORMATS
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic));
    match (other, window.packed()) {
        (_, Some(packed)) => Kind::PackedOther { packed, start },
        (Some((_, format)), None) => Kind::OtherFormat(format),
        (None, None) => Kind::NotACapture(start),
    }
}

#[inline(always)]
fn word<const SWAPPED: bool>(header: &[u8; RECORD_HEADER], at: usize) -> u32 {
    let word = [header[at], header[at + 1], header[at + 2], header[at + 3]];
    if SWAPPED {
        u32::from_ne_bytes(word).swap_bytes()
    } else {
        u32::from_ne_bytes(word)
    }
}

/// The frames of whole records from some place on, each found by the header of the one before.
#[derive(Clone)]
pub struct PcapFrames<'a, const SWAPPED: bool> {
    bytes: &'a [u8],
    at: usize,
    target: usize,
    layout: Layout,
    number: u64,
}

impl<'a, const SWAPPED: bool> PcapFrames<'a, SWAPPED> {
    /// Where all frames were captured.
    pub(super) const INTERFACE: InterfaceIndex = InterfaceIndex(0);

    /// Of the records in `bytes` that begin in `range`; its beginning is a record's.
    pub(super) fn new(
        bytes: &'a [u8],
        range: Range<usize>,
        layout: Layout,
        first_frame: u64,
    ) -> Self {
        Self {
            bytes,
            at: range.start,
            target: range.end,
            layout,
            number: first_frame,
        }
    }

    /// Where the next record begins.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next frame's number.
    #[inline(always)]
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What the file header says.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Why there is no further frame.
    #[cold]
    pub(super) fn stop(&self) -> Stop {
        if self.at >= self.target {
            return Stop::Full;
        }
        let rest = &self.bytes[self.at..];
        match self.layout.record::<SWAPPED>(rest) {
            None => Stop::Short(self.layout.record_header),
            Some(record) if record.captured_len as usize > MAX_RECORD => {
                Stop::Corrupt(CutCause::TooLong(record.captured_len.into()))
            }
            Some(record) if record.len > rest.len() => Stop::Short(record.len),
            Some(_) => Stop::Full, // the file was written to meanwhile
        }
    }
}

impl<'a, const SWAPPED: bool> Iterator for PcapFrames<'a, SWAPPED> {
    type Item = Frame<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Frame<'a>> {
        let number = self.number;
        if self.at >= self.target {
            return None;
        }
        let (record, captured) = self.layout.whole::<SWAPPED>(self.bytes, self.at)?;
        self.at += record.len;
        self.number += 1;
        let fraction = u64::from(record.fraction) * u64::from(self.layout.fraction_ns);
        Some(Frame {
            number,
            link: self.layout.link,
            interface: Self::INTERFACE,
            timestamp_ns: u64::from(record.seconds) * 1_000_000_000 + fraction,
            captured,
            original_len: record.original_len,
        })
    }
}

/// Takes what was captured of the next frames of some walks of one capture and how long they were, in turn, so many from each, if it has as many.
/// The walks' layout is `layout`.
#[inline(always)]
pub(super) fn step_all<'a, const N: usize, const SWAPPED: bool>(
    walks: &mut [PcapFrames<'a, SWAPPED>; N],
    layout: Layout,
    rounds: usize,
    mut take: impl FnMut(&'a [u8], u32),
) {
    let bytes = walks[0].bytes;
    let mut at = walks.each_ref().map(|walk| walk.at);
    let mut left = [rounds; N];
    for _ in 0..rounds {
        for (walk, (at, left)) in walks.iter().zip(at.iter_mut().zip(&mut left)) {
            if *at >= walk.target {
                continue;
            }
            if let Some((record, captured)) = layout.whole::<SWAPPED>(bytes, *at) {
                *at += record.len;
                *left -= 1;
                take(captured, record.original_len);
            }
        }
    }
    for (walk, (at, left)) in walks.iter_mut().zip(at.into_iter().zip(left)) {
        walk.at = at;
        walk.number += (rounds - left) as u64;
    }
}
