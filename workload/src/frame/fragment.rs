//! Frames cut into fragments, as a router or a host would, or as nobody would.

use super::{Link, put, short};
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::ipv6::MutableIpv6Packet;

const IPV4: usize = 20;
const IPV6: usize = 40;
const FRAGMENT: usize = 8;
const FRAGMENT_HEADER: u8 = 44;

/// One fragment of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The identification.
    pub id: u16,
    /// Where it begins behind the IP header: a multiple of 8.
    pub from: usize,
    /// Where it ends; behind the packet's own end follow zeros.
    pub to: usize,
    /// Others follow, as it says.
    pub more: bool,
    /// The two bits of ECN.
    pub ecn: u8,
}

impl Piece {
    /// The pieces of `len` bytes, each of `size` at most (a multiple of 8), in order.
    pub fn all(id: u16, len: usize, size: usize) -> Vec<Self> {
        let size = size.max(8);
        let piece = |from: usize| Self {
            id,
            from,
            to: len.min(from + size),
            more: from + size < len,
            ecn: 0,
        };
        (0..len.max(1)).step_by(size).map(piece).collect()
    }

    /// The fragment of a whole frame whose packet has no options or extension headers.
    pub fn cut(&self, link: Link, frame: &[u8]) -> Vec<u8> {
        let (link, packet) = frame.split_at(link.header().min(frame.len()));
        let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let len = if is_v4 { IPV4 } else { IPV6 };
        let (header, body) = packet.split_at(len.min(packet.len()));
        let mut header = header.to_vec();
        let mut part = vec![0; self.to.saturating_sub(self.from)];
        let there = body.len().min(self.to).saturating_sub(self.from);
        part[..there].copy_from_slice(&body[self.from.min(body.len())..][..there]);
        match is_v4 {
            true => self.mark_v4(&mut header, part.len()),
            false => self.mark_v6(&mut header, part.len()),
        }
        [link, &header, &part].concat()
    }

    fn mark_v4(&self, bytes: &mut [u8], payload: usize) {
        let Some(mut header) = MutableIpv4Packet::new(bytes) else {
            return;
        };
        header.set_ecn(self.ecn);
        header.set_total_length(short(IPV4 + payload));
        header.set_identification(self.id);
        header.set_flags(match self.more {
            true => ipv4::Ipv4Flags::MoreFragments,
            false => 0,
        });
        header.set_fragment_offset(short(self.from / 8));
        header.set_checksum(ipv4::checksum(&header.to_immutable()));
    }

    fn mark_v6(&self, bytes: &mut Vec<u8>, payload: usize) {
        let Some(mut header) = MutableIpv6Packet::new(bytes) else {
            return;
        };
        let next = header.get_next_header().0;
        header.set_traffic_class(header.get_traffic_class() | self.ecn);
        header.set_payload_length(short(FRAGMENT + payload));
        header.set_next_header(pnet_packet::ip::IpNextHeaderProtocol(FRAGMENT_HEADER));
        bytes.resize(IPV6 + FRAGMENT, 0);
        put(bytes, IPV6, &[next]);
        let offset = short(self.from) & !7 | u16::from(self.more);
        put(bytes, IPV6 + 2, &offset.to_be_bytes());
        put(bytes, IPV6 + 4, &u32::from(self.id).to_be_bytes());
    }
}
