//! ICMP and ICMPv6.

use super::{Tag, internet_checksum, octets, put};
use kpclass_ruleset::conntrack::Tuple;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;
use pnet_packet::icmp::{self, MutableIcmpPacket};
use std::net::IpAddr;

const HEADER: usize = 8;
/// What an error holds behind its own header: an IP header and 8 bytes.
const IPV4_PACKET: usize = 28;
const IPV6_PACKET: usize = 48;
/// An experimental protocol (RFC 3692), so that the packet that an error is about is of no connection.
const EXPERIMENTAL: u8 = 253;

fn is_error(packet: &Packet) -> bool {
    match (packet.protocol, packet.icmp) {
        (protocol::ICMP, Some((kind, _))) => matches!(kind, 3..=5 | 11 | 12),
        (protocol::ICMPV6, Some((kind, _))) => kind < 128,
        _ => false,
    }
}

/// Bytes of the header and of what an error is about.
pub(super) fn length(packet: &Packet) -> usize {
    match (is_error(packet), packet.source.is_ipv4()) {
        (false, _) => HEADER,
        (true, true) => HEADER + IPV4_PACKET,
        (true, false) => HEADER + IPV6_PACKET,
    }
}

/// Fills `bytes`; `whole`: an error holds a packet of the one it goes to, any other message has the tag as its identifier.
pub(super) fn write(bytes: &mut [u8], packet: &Packet, tag: &Tag, whole: bool) {
    let usual = if packet.protocol == protocol::ICMP {
        (8, 0)
    } else {
        (128, 0)
    };
    let (kind, code) = packet.icmp.unwrap_or(usual);
    put(bytes, 0, &[kind, code]);
    if whole && is_error(packet) {
        let about = bytes.get_mut(HEADER..).unwrap_or_default();
        write_returned(about, packet, tag.carried);
    } else if whole {
        let id = tag.icmp_id.unwrap_or(tag.identification);
        put(bytes, 4, &id.to_be_bytes());
        put(bytes, 6, &1u16.to_be_bytes());
    }
    let checksum = match (packet.protocol, packet.source) {
        (protocol::ICMP, _) => match MutableIcmpPacket::new(bytes) {
            Some(header) => icmp::checksum(&header.to_immutable()),
            None => 0,
        },
        _ => internet_checksum(bytes, packet),
    };
    put(bytes, 2, &checksum.to_be_bytes());
}

/// The packet that an error is about: as given, or one of no connection that its receiver sent.
fn write_returned(bytes: &mut [u8], packet: &Packet, carried: Option<Tuple>) {
    let about = carried.unwrap_or(Tuple {
        protocol: EXPERIMENTAL,
        source: (packet.destination, 0),
        destination: (packet.source, 0),
    });
    let (from, to) = (octets(about.source.0), octets(about.destination.0));
    let header = match packet.source {
        IpAddr::V4(_) => {
            put(bytes, 0, &[0x45, 0, 0, IPV4_PACKET as u8, 0, 0, 0, 0]);
            put(bytes, 8, &[64, about.protocol]);
            put(bytes, 12, &from);
            put(bytes, 16, &to);
            let checksum = header_checksum(bytes.get(..20).unwrap_or_default());
            put(bytes, 10, &checksum.to_be_bytes());
            IPV4_PACKET - 8
        }
        IpAddr::V6(_) => {
            put(bytes, 0, &[0x60, 0, 0, 0, 0, 8, about.protocol, 64]);
            put(bytes, 8, &from);
            put(bytes, 24, &to);
            IPV6_PACKET - 8
        }
    };
    if about.has_ports() {
        put(bytes, header, &about.source.1.to_be_bytes());
        put(bytes, header + 2, &about.destination.1.to_be_bytes());
    } else if about.is_icmp() {
        put(bytes, header, &about.destination.1.to_be_bytes());
        put(bytes, header + 4, &about.source.1.to_be_bytes());
    }
}

fn header_checksum(header: &[u8]) -> u16 {
    pnet_packet::util::checksum(header, 5)
}
