//! pcapng: sections of blocks.
//!
//! ```text
//! section header (byte order) { interface description | packet | anything else, skipped by its length }
//! ```
//! Crate pcap-file reads pcapng, too, and the tests hold this reader against it. It cannot serve here: it
//! ends a capture for a comment that is not UTF-8 or a reserved field that is not 0, allocates for every option of
//! every packet, and stops at what a cut leaves without saying where.

mod block;
mod clock;
mod packet;

use super::chunk::Frame;
use super::error::{CutCause, Kind};
use super::interfaces::{Description, InterfaceIndex, Interfaces};
use super::scan::Stop;
use super::source::Window;
use crate::link::LinkType;
use block::{Block, Order, kind};
pub(super) use clock::Clock;
use kpclass_ruleset::value::Interface;
use std::ops::Range;
use std::sync::Arc;

/// Whether a capture beginning with `bytes` is a pcapng.
pub(super) fn is_pcapng(bytes: &[u8]) -> bool {
    bytes.starts_with(&kind::SECTION_HEADER.to_be_bytes())
}

/// What must be known to read the packets of a section, up to its next interface description.
#[derive(Clone)]
pub(super) struct Section {
    order: Order,
    interfaces: Arc<Interfaces>,
    /// Where its interfaces begin in `interfaces`.
    first_interface: u32,
    /// How many it has described.
    interface_count: u32,
}

impl Section {
    /// Reads the section header that the capture begins with.
    pub(super) fn first(window: &mut Window, interfaces: &Arc<Interfaces>) -> Result<Self, Kind> {
        let interfaces = Arc::clone(interfaces);
        let order = Order::default();
        let mut section = Self {
            order,
            interfaces,
            first_interface: 0,
            interface_count: 0,
        };
        match Block::read(order, window.bytes()) {
            Ok(_) => section.read_state(window).map_err(Kind::Section)?,
            Err(Stop::Short(needed)) if needed > window.bytes().len() => {
                return Err(Kind::HeaderCut {
                    needed,
                    available: window.bytes().len(),
                });
            }
            Err(Stop::Corrupt(cause)) => return Err(Kind::Section(cause)),
            Err(_) => return Err(Kind::Section(CutCause::Block("it is empty".into()))),
        }
        Ok(section)
    }

    /// The frame in `block`, if it holds one.
    #[inline]
    fn frame<'a>(&self, block: &Block<'a>, number: u64) -> Result<Option<Frame<'a>>, &'static str> {
        packet::read(self, block, number)
    }

    /// The description of the section's own interface `id`, and its index in the capture.
    #[inline(always)]
    fn interface(&self, id: u32) -> Option<(u32, &Description)> {
        if id >= self.interface_count {
            return None;
        }
        let index = self.first_interface + id;
        Some((index, self.interfaces.description(index)?))
    }

    /// Reads the section header or interface description where `window` stands, and goes behind it.
    pub(super) fn read_state(&mut self, window: &mut Window) -> Result<(), CutCause> {
        let block = match Block::read(self.order, &window.bytes()[window.at()..]) {
            Ok(block) => block,
            Err(Stop::Corrupt(cause)) => return Err(cause),
            Err(_) => return Err(CutCause::Block("it changed while it was read".into())),
        };
        if block.kind == kind::SECTION_HEADER {
            block::check_version(&block)?;
            self.order = block.order;
            self.first_interface += self.interface_count;
            self.interface_count = 0;
        } else {
            self.describe(&block)?;
        }
        let end = window.at() + block.len;
        window.advance(end);
        Ok(())
    }

    fn describe(&mut self, block: &Block<'_>) -> Result<(), CutCause> {
        let reason = || CutCause::Block("an interface description of less than 8 bytes".into());
        let (link, snaplen) = block.u16(0).zip(block.u32(4)).ok_or_else(reason)?;
        let options = block.options(8);
        let description = Description {
            link: LinkType(link.into()),
            name: options.name.and_then(Interface::new),
            snaplen,
            clock: Clock::new(options.resolution, options.offset),
        };
        let index = self.first_interface + self.interface_count;
        if !self.interfaces.describe(index, description) {
            return Err(CutCause::Block(format!(
                "more than {} interfaces",
                Interfaces::MAX
            )));
        }
        self.interface_count += 1;
        Ok(())
    }
}

fn corrupt(reason: String) -> Stop {
    Stop::Corrupt(CutCause::Block(reason))
}

/// The frames of whole blocks from some place on, up to a block that changes how later ones are read.
#[derive(Clone)]
pub struct PcapngFrames<'a> {
    bytes: &'a [u8],
    at: usize,
    target: usize,
    section: &'a Section,
    number: u64,
}

impl<'a> PcapngFrames<'a> {
    /// Of the blocks in `bytes` that begin in `range`; its beginning is a block's.
    pub(super) fn new(
        bytes: &'a [u8],
        range: Range<usize>,
        section: &'a Section,
        first_frame: u64,
    ) -> Self {
        Self {
            bytes,
            at: range.start,
            target: range.end,
            section,
            number: first_frame,
        }
    }

    /// The frame that `rest` begins with, and the length of its block, if that is a whole enhanced packet block of a little-endian
    /// section: most are. Everything is read from one place, and what [`Block`] would hold is not made.
    #[inline(always)]
    fn usual(&self, rest: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let header: &[u8; packet::ENHANCED_HEADER] = rest.first_chunk()?;
        let word = |at: usize| {
            let word = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            Order::Little.u32(word)
        };
        if self.section.order != Order::Little || word(0) != kind::ENHANCED_PACKET {
            return None;
        }
        let (index, interface) = self.section.interface(word(8))?;
        let len = block::whole_len(Order::Little, word(4), rest)?;
        let captured = rest
            .get(packet::ENHANCED_HEADER..len - block::TRAILER)?
            .get(..word(20) as usize)?;
        let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
        let frame = Frame {
            number: self.number,
            link: interface.link,
            interface: InterfaceIndex(index),
            timestamp_ns: interface.clock.nanoseconds(ticks),
            captured,
            original_len: word(24),
        };
        Some((frame, len))
    }

    /// The next frame, of any kind of block.
    #[inline(never)]
    fn any(&mut self) -> Option<Frame<'a>> {
        while self.at < self.target {
            let block = Block::whole(self.section.order, self.bytes.get(self.at..)?)?;
            if block.is_state() {
                return None;
            }
            let frame = self.section.frame(&block, self.number).ok()?;
            self.at += block.len;
            if frame.is_some() {
                self.number += 1;
                return frame;
            }
        }
        None
    }

    /// Where the next block begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next frame's number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Why there is no further frame.
    #[cold]
    pub(super) fn stop(&self) -> Stop {
        if self.at >= self.target {
            return Stop::Full;
        }
        match Block::read(self.section.order, &self.bytes[self.at..]) {
            Err(stop) => stop,
            Ok(block) if block.is_state() => Stop::State,
            Ok(block) => match self.section.frame(&block, 0) {
                Err(reason) => corrupt(reason.to_owned()),
                Ok(_) => Stop::Full, // the file was written to meanwhile
            },
        }
    }
}

impl<'a> Iterator for PcapngFrames<'a> {
    type Item = Frame<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Frame<'a>> {
        if self.at < self.target
            && let Some((frame, len)) = self.bytes.get(self.at..).and_then(|rest| self.usual(rest))
        {
            self.at += len;
            self.number += 1;
            return Some(frame);
        }
        self.any()
    }
}
