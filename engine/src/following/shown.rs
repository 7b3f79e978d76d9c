//! What the frames of a block show of nat: handshakes, datagrams and the like at once; segments of connections that are there already once somebody asks.

use super::ahead::{Showing, Sighted};
use super::endpoints::Endpoints;
use super::reader::{Block, What};
use crate::connections::{Packet, Width};
use crate::extract::Plain;
use kpclass_compiler::header::known;
use kpclass_ruleset::packet::tcp_flag::SYN;
use kpclass_ruleset::value::protocol;
use std::cell::OnceCell;

/// Whether a packet is a segment of TCP that begins nothing. What it shows is asked for by such segments alone: where a connection is picked up in the middle. One
/// that begins is shown by its own handshake.
#[inline(always)]
pub(super) fn is_middle(protocol: u8, tcp_flags: u8) -> bool {
    protocol == protocol::TCP && tcp_flags & SYN == 0
}

/// The same of any packet.
pub(super) fn is_in_the_middle(packet: &Packet) -> bool {
    let h = &packet.header;
    h.known & known::TCP_FLAGS != 0 && is_middle(h.protocol, h.tcp_flags)
}

/// What the frames of a block show of one family's packets.
#[derive(Debug)]
pub(super) struct Shown<A> {
    pub(super) at_once: Sighted<A>,
    middle: OnceCell<Sighted<A>>,
}

impl<A> Default for Shown<A> {
    fn default() -> Self {
        Self {
            at_once: Sighted::default(),
            middle: OnceCell::new(),
        }
    }
}

impl<A: Width> Shown<A> {
    pub(super) fn clear(&mut self) {
        self.at_once.clear();
        self.middle.take();
    }
}

/// A family's part of a block.
pub(super) trait InBlock: Width {
    /// What the block's frames show of it.
    fn shown(block: &Block) -> &Shown<Self>;
    /// What a plain packet may show, if it is of this family.
    fn of_plain(plain: &Plain) -> Option<Showing<Self>>;

    /// What the segments in the middle of connections show.
    fn middle<'b>(block: &'b Block, endpoints: &Endpoints<Self>) -> &'b Sighted<Self> {
        Self::shown(block).middle.get_or_init(|| {
            let mut sighted = Sighted::default();
            for arrived in &block.arrived {
                match &arrived.what {
                    What::Plain(plain) if is_middle(plain.protocol, plain.tcp_flags) => {
                        if let Some(showing) = Self::of_plain(plain) {
                            endpoints.note(&showing, endpoints.ends(&showing.tuple), &mut sighted);
                        }
                    }
                    What::Packet(family, at) if *family == Self::FAMILY => {
                        let packet = &block.packets[*at as usize];
                        if is_in_the_middle(packet) {
                            endpoints.note_any(packet, &mut sighted);
                        }
                    }
                    _ => {}
                }
            }
            sighted
        })
    }
}

impl InBlock for u32 {
    fn shown(block: &Block) -> &Shown<Self> {
        &block.v4
    }

    fn of_plain(plain: &Plain) -> Option<Showing<Self>> {
        Some(Showing::of_plain(plain))
    }
}

impl InBlock for u128 {
    fn shown(block: &Block) -> &Shown<Self> {
        &block.v6
    }

    fn of_plain(_: &Plain) -> Option<Showing<Self>> {
        None
    }
}
