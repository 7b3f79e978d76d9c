//! The transport header, and the body that its protocol asks for.

mod icmp;
mod sctp;

use super::{Tag, put, short};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;
use pnet_packet::tcp::{self, MutableTcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket};
use std::net::IpAddr;

/// Bytes of a header before any payload; `whole`: with the body that the protocol asks for.
pub(super) fn length(packet: &Packet, tag: &Tag, whole: bool) -> usize {
    let body = |bare: usize, body: usize| if whole { body } else { bare };
    match packet.protocol {
        _ if packet.fragment => body(0, 8),
        protocol::TCP => 20,
        protocol::UDP | protocol::UDPLITE => 8,
        protocol::ICMP | protocol::ICMPV6 => body(8, icmp::length(packet)),
        protocol::SCTP => body(sctp::HEADER, sctp::HEADER + sctp::length(tag)),
        protocol::DCCP => body(12, DCCP_REQUEST),
        protocol::GRE => body(0, GRE),
        protocol::AH => body(0, AH),
        // ESP's own header is as long.
        _ => body(0, 8),
    }
}

/// Fills `bytes`, which are at least [`length`] many. The setters cannot fail: each header has its bytes.
pub(super) fn write(bytes: &mut [u8], packet: &Packet, tag: &Tag, whole: bool) {
    let ports = packet.ports.unwrap_or_default();
    match packet.protocol {
        protocol::TCP => write_tcp(bytes, packet, ports, tag, whole),
        protocol::UDP => write_udp(bytes, packet, ports),
        protocol::SCTP => sctp::write(bytes, ports, tag, whole),
        protocol::ICMP | protocol::ICMPV6 => icmp::write(bytes, packet, tag, whole),
        protocol::UDPLITE => write_udplite(bytes, packet, ports, whole),
        protocol::DCCP => write_dccp(bytes, packet, ports, whole),
        protocol::GRE if whole => write_gre(bytes),
        protocol::ESP if whole => write_esp(bytes),
        protocol::AH if whole => write_ah(bytes),
        _ => {}
    }
}

fn write_tcp(
    bytes: &mut [u8],
    packet: &Packet,
    (source, destination): (u16, u16),
    tag: &Tag,
    whole: bool,
) {
    let Some(mut header) = MutableTcpPacket::new(bytes) else {
        return;
    };
    header.set_source(source);
    header.set_destination(destination);
    header.set_sequence(tag.sequence);
    let acknowledgment = tag.acknowledgment.or(whole.then_some(tag.sequence));
    header.set_acknowledgement(acknowledgment.unwrap_or_default());
    header.set_data_offset(5);
    header.set_flags(packet.tcp_flags.unwrap_or(0));
    header.set_window(64_240);
    let checksum = match (packet.source, packet.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tcp::ipv4_checksum(&header.to_immutable(), &from, &to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            tcp::ipv6_checksum(&header.to_immutable(), &from, &to)
        }
        _ => 0,
    };
    header.set_checksum(checksum);
}

fn write_udp(bytes: &mut [u8], packet: &Packet, (source, destination): (u16, u16)) {
    let length = short(bytes.len());
    let Some(mut header) = MutableUdpPacket::new(bytes) else {
        return;
    };
    header.set_source(source);
    header.set_destination(destination);
    header.set_length(length);
    let checksum = match (packet.source, packet.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            udp::ipv4_checksum(&header.to_immutable(), &from, &to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp::ipv6_checksum(&header.to_immutable(), &from, &to)
        }
        _ => 0,
    };
    header.set_checksum(never_zero(checksum));
}

/// A checksum of 0 means none; its other form in one's complement is written (RFC 768).
fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { u16::MAX } else { checksum }
}

fn write_ports(bytes: &mut [u8], (source, destination): (u16, u16)) {
    put(bytes, 0, &source.to_be_bytes());
    put(bytes, 2, &destination.to_be_bytes());
}

/// Its checksum covers all of it (RFC 3828).
fn write_udplite(bytes: &mut [u8], packet: &Packet, ports: (u16, u16), whole: bool) {
    write_ports(bytes, ports);
    if whole {
        let checksum = never_zero(internet_checksum(bytes, packet));
        put(bytes, 6, &checksum.to_be_bytes());
    }
}

const DCCP_REQUEST: usize = 20;

/// A Request with a long sequence number and a service code (RFC 4340, 5.1 and 5.3).
fn write_dccp(bytes: &mut [u8], packet: &Packet, ports: (u16, u16), whole: bool) {
    /// Extended sequence numbers; the type in front, 0, is Request.
    const EXTENDED: u8 = 1;
    write_ports(bytes, ports);
    if whole {
        put(bytes, 4, &[(DCCP_REQUEST / 4) as u8]);
        put(bytes, 8, &[EXTENDED]);
        put(bytes, 15, &[1]);
        let checksum = internet_checksum(bytes, packet);
        put(bytes, 6, &checksum.to_be_bytes());
    }
}

const GRE: usize = 8;

/// Version 0 without options, carrying IPv4 (RFC 2784); its payload is no packet.
fn write_gre(bytes: &mut [u8]) {
    put(bytes, 2, &0x0800u16.to_be_bytes());
}

/// SPI and sequence number (RFC 4303).
fn write_esp(bytes: &mut [u8]) {
    put(bytes, 0, &0x100u32.to_be_bytes());
    put(bytes, 4, &1u32.to_be_bytes());
}

const AH: usize = 24;

/// An authentication header in front of nothing, with a check value of 12 bytes (RFC 4302).
fn write_ah(bytes: &mut [u8]) {
    /// "No next header", and the header's length in words less two.
    const START: [u8; 2] = [59, 4];
    put(bytes, 0, &START);
    put(bytes, 4, &0x100u32.to_be_bytes());
    put(bytes, 8, &1u32.to_be_bytes());
}

/// The checksum of a transport protocol whose own checksum field is 0 so far, with its pseudo header.
fn internet_checksum(bytes: &[u8], packet: &Packet) -> u16 {
    let (from, to) = (octets(packet.source), octets(packet.destination));
    let mut sum = u64::from(packet.protocol) + bytes.len() as u64;
    for part in [from.as_slice(), &to, bytes] {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}
