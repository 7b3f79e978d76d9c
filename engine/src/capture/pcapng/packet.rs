//! The three kinds of block that hold a packet.
//!
//! ```text
//! enhanced  interface:4          ticks:4+4 (high, low) captured:4 original:4 bytes…
//! packet    interface:2 drops:2  ticks:4+4 (high, low) captured:4 original:4 bytes…
//! simple                                                        original:4 bytes…
//! ```

use super::Section;
use super::block::{Block, kind};
use crate::capture::chunk::Frame;
use crate::capture::interfaces::InterfaceIndex;

/// An enhanced packet block up to the packet's bytes.
pub(super) const ENHANCED_HEADER: usize = 28;

/// Its body up to them.
const PACKET_HEADER: usize = 20;
const SIMPLE_HEADER: usize = 4;

/// The frame in `block`, if it is of such a kind.
#[inline]
pub(super) fn read<'a>(
    section: &Section,
    block: &Block<'a>,
    number: u64,
) -> Result<Option<Frame<'a>>, &'static str> {
    match block.kind {
        kind::ENHANCED_PACKET => full(section, block, block.u32(0), number).map(Some),
        kind::PACKET => full(section, block, block.u16(0).map(u32::from), number).map(Some),
        kind::SIMPLE_PACKET => simple(section, block, number).map(Some),
        _ => Ok(None),
    }
}

#[inline]
fn full<'a>(
    section: &Section,
    block: &Block<'a>,
    interface: Option<u32>,
    number: u64,
) -> Result<Frame<'a>, &'static str> {
    let (Some(id), Some(bytes)) = (interface, block.body.get(PACKET_HEADER..)) else {
        return Err("a packet block without its header");
    };
    let word = |at| block.u32(at).unwrap_or(0); // there: the header is
    let (index, interface) = section
        .interface(id)
        .ok_or("a packet of an interface that no block described")?;
    let captured = bytes
        .get(..word(12) as usize)
        .ok_or("a packet block shorter than its packet")?;
    let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
    Ok(Frame {
        number,
        link: interface.link,
        interface: InterfaceIndex(index),
        timestamp_ns: interface.clock.nanoseconds(ticks),
        captured,
        original_len: word(16),
    })
}

/// A simple packet is of the section's first interface, whose snapshot length tells how much of it was captured.
fn simple<'a>(
    section: &Section,
    block: &Block<'a>,
    number: u64,
) -> Result<Frame<'a>, &'static str> {
    let (Some(original_len), Some(bytes)) = (block.u32(0), block.body.get(SIMPLE_HEADER..)) else {
        return Err("a simple packet block without its header");
    };
    let (index, interface) = section
        .interface(0)
        .ok_or("a simple packet, but no interface was described")?;
    let snaplen = if interface.snaplen == 0 {
        u32::MAX
    } else {
        interface.snaplen
    };
    let captured = &bytes[..bytes.len().min(original_len.min(snaplen) as usize)];
    Ok(Frame {
        number,
        link: interface.link,
        interface: InterfaceIndex(index),
        timestamp_ns: 0,
        captured,
        original_len,
    })
}
