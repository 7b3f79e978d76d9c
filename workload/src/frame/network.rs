//! The IP header, and IPv6's fragment header.

use super::{Tag, put, short};
use kpclass_ruleset::packet::Packet;
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::ipv6::MutableIpv6Packet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: usize = 20;
const IPV6: usize = 40;
const FRAGMENT: usize = 8;
/// The next header's number of a fragment header.
const FRAGMENT_HEADER: u8 = 44;

/// Bytes in front of the transport header.
pub(super) fn length(packet: &Packet) -> usize {
    match (packet.source.is_ipv4(), packet.fragment) {
        (true, _) => IPV4,
        (false, false) => IPV6,
        (false, true) => IPV6 + FRAGMENT,
    }
}

/// Fills `bytes`, which are [`length`] many; `payload` bytes follow.
pub(super) fn write(bytes: &mut [u8], packet: &Packet, payload: usize, tag: &Tag) {
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            write_ipv4(bytes, packet, (source, destination), payload, tag);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            write_ipv6(bytes, packet, (source, destination), payload, tag);
        }
        _ => {}
    }
}

fn write_ipv4(
    bytes: &mut [u8],
    packet: &Packet,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    payload: usize,
    tag: &Tag,
) {
    let length = bytes.len() + payload;
    let Some(mut header) = MutableIpv4Packet::new(bytes) else {
        return;
    };
    header.set_version(4);
    header.set_header_length(5);
    header.set_dscp(packet.dscp.unwrap_or(0));
    header.set_total_length(short(length));
    header.set_identification(tag.identification);
    if packet.fragment {
        header.set_fragment_offset(tag.fragment_offset);
    } else {
        header.set_flags(ipv4::Ipv4Flags::DontFragment);
    }
    header.set_ttl(packet.ttl.unwrap_or(64));
    header.set_next_level_protocol(IpNextHeaderProtocol(packet.protocol));
    header.set_source(source);
    header.set_destination(destination);
    header.set_checksum(ipv4::checksum(&header.to_immutable()));
}

fn write_ipv6(
    bytes: &mut [u8],
    packet: &Packet,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    payload: usize,
    tag: &Tag,
) {
    let extensions = bytes.len() - IPV6;
    if packet.fragment {
        put(bytes, IPV6, &[packet.protocol]);
        put(bytes, IPV6 + 2, &(tag.fragment_offset << 3).to_be_bytes());
        let identification = u32::from(tag.identification).to_be_bytes();
        put(bytes, IPV6 + 4, &identification);
    }
    let Some(mut header) = MutableIpv6Packet::new(bytes) else {
        return;
    };
    header.set_version(6);
    header.set_traffic_class(packet.dscp.unwrap_or(0) << 2);
    header.set_flow_label(tag.flow_label & 0xf_ffff);
    header.set_payload_length(short(extensions + payload));
    header.set_next_header(IpNextHeaderProtocol(if packet.fragment {
        FRAGMENT_HEADER
    } else {
        packet.protocol
    }));
    header.set_hop_limit(packet.ttl.unwrap_or(64));
    header.set_source(source);
    header.set_destination(destination);
}
