//! Builds the bytes of a frame.

use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;
use pnet_packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet_packet::icmp::{self, IcmpCode, IcmpType, MutableIcmpPacket};
use pnet_packet::icmpv6::{self, Icmpv6Code, Icmpv6Type, MutableIcmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::ipv6::MutableIpv6Packet;
use pnet_packet::sll2::MutableSLL2Packet;
use pnet_packet::tcp::{self, MutableTcpPacket};
use pnet_packet::udp::{self, MutableUdpPacket};
use std::net::IpAddr;

/// What stands in front of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// Linux cooked v2, as `tcpdump -i any` writes it.
    Sll2,
    /// Nothing.
    Raw,
}

impl Link {
    fn header(self) -> usize {
        match self {
            Self::Ethernet => 14,
            Self::Sll2 => 20,
            Self::Raw => 0,
        }
    }
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this node: it arrives.
    Pod,
    /// Another host: it arrives.
    Outside,
    /// The node itself.
    Node,
}

impl Origin {
    /// The device, by its index.
    pub fn device(self) -> u32 {
        match self {
            Self::Pod => 3,
            Self::Outside | Self::Node => 2,
        }
    }

    fn source_mac(self) -> [u8; 6] {
        match self {
            Self::Pod => [2, 0, 0, 0, 1, 1],
            Self::Outside => ROUTER_MAC,
            Self::Node => NODE_MAC,
        }
    }
}

const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// Bytes of a header, before any payload.
fn transport_header(packet: &Packet) -> usize {
    match packet.protocol {
        _ if packet.fragment => 0,
        protocol::TCP => 20,
        protocol::UDP | protocol::UDPLITE | protocol::ICMP | protocol::ICMPV6 => 8,
        protocol::SCTP | protocol::DCCP => 12,
        _ => 0,
    }
}

/// Builds frames, one after the other, in the same buffer.
#[derive(Debug)]
pub struct Framer {
    link: Link,
    size: usize,
    buffer: Vec<u8>,
}

impl Framer {
    /// Frames of `size` bytes, or of as many as their headers need.
    pub fn new(link: Link, size: usize) -> Self {
        Self {
            link,
            size,
            buffer: Vec::new(),
        }
    }

    /// The packet as bytes. Its payload is zeros; its checksums are right. A later fragment begins at byte 8 of its datagram (IPv4; an
    /// IPv6 packet is written without its fragment header).
    pub fn frame(&mut self, packet: &Packet, origin: Origin) -> &[u8] {
        let network = if packet.source.is_ipv4() { 20 } else { 40 };
        let start = self.link.header();
        let least = start + network + transport_header(packet);
        self.buffer.clear();
        self.buffer.resize(self.size.max(least), 0);
        let (link, ip) = self.buffer.split_at_mut(start);
        write_link(self.link, link, packet, origin);
        let (header, rest) = ip.split_at_mut(network);
        write_network(header, packet, rest.len());
        write_transport(rest, packet);
        &self.buffer
    }
}

/// The length fields of headers are 16 bits wide; frames are no longer than that.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

// The setters below cannot fail: `frame` gives each header its bytes.

fn write_link(link: Link, bytes: &mut [u8], packet: &Packet, origin: Origin) {
    let kind = if packet.source.is_ipv4() {
        EtherTypes::Ipv4
    } else {
        EtherTypes::Ipv6
    };
    match link {
        Link::Ethernet => {
            let sent = origin == Origin::Node;
            let addresses = [
                if sent { ROUTER_MAC } else { NODE_MAC },
                origin.source_mac(),
            ];
            for (field, address) in bytes.chunks_exact_mut(6).zip(addresses) {
                field.copy_from_slice(&address);
            }
            let Some(mut header) = MutableEthernetPacket::new(bytes) else {
                return;
            };
            header.set_ethertype(kind);
        }
        Link::Sll2 => write_sll2(bytes, kind, origin),
        Link::Raw => {}
    }
}

fn write_sll2(bytes: &mut [u8], kind: EtherType, origin: Origin) {
    /// `PACKET_HOST` and `PACKET_OUTGOING`, `ARPHRD_ETHER`.
    const TO_US: u8 = 0;
    const FROM_US: u8 = 4;
    const ETHER: u16 = 1;
    let Some(mut header) = MutableSLL2Packet::new(bytes) else {
        return;
    };
    header.set_protocol_type(kind);
    header.set_interface_index(origin.device());
    header.set_arphrd_type(ETHER);
    header.set_packet_type(if origin == Origin::Node {
        FROM_US
    } else {
        TO_US
    });
    header.set_link_layer_address_length(6);
    let [a, b, c, d, e, f] = origin.source_mac();
    header.set_link_layer_address(&[a, b, c, d, e, f, 0, 0]);
}

fn write_network(bytes: &mut [u8], packet: &Packet, payload: usize) {
    let length = bytes.len() + payload;
    let next = IpNextHeaderProtocol(packet.protocol);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let Some(mut header) = MutableIpv4Packet::new(bytes) else {
                return;
            };
            header.set_version(4);
            header.set_header_length(5);
            header.set_dscp(packet.dscp.unwrap_or(0));
            header.set_total_length(short(length));
            header.set_flags(if packet.fragment {
                0
            } else {
                ipv4::Ipv4Flags::DontFragment
            });
            header.set_fragment_offset(u16::from(packet.fragment));
            header.set_ttl(packet.ttl.unwrap_or(64));
            header.set_next_level_protocol(next);
            header.set_source(source);
            header.set_destination(destination);
            header.set_checksum(ipv4::checksum(&header.to_immutable()));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let Some(mut header) = MutableIpv6Packet::new(bytes) else {
                return;
            };
            header.set_version(6);
            header.set_traffic_class(packet.dscp.unwrap_or(0) << 2);
            header.set_payload_length(short(payload));
            header.set_next_header(next);
            header.set_hop_limit(packet.ttl.unwrap_or(64));
            header.set_source(source);
            header.set_destination(destination);
        }
        _ => {}
    }
}

fn write_transport(bytes: &mut [u8], packet: &Packet) {
    let ports = packet.ports.unwrap_or_default();
    match packet.protocol {
        _ if packet.fragment => {}
        protocol::TCP => write_tcp(bytes, packet, ports),
        protocol::UDP => write_udp(bytes, packet, ports),
        protocol::SCTP => write_sctp(bytes, ports),
        protocol::ICMP => write_icmp(bytes, packet),
        protocol::ICMPV6 => write_icmpv6(bytes, packet),
        protocol::DCCP | protocol::UDPLITE => write_ports(bytes, ports),
        _ => {}
    }
}

fn write_tcp(bytes: &mut [u8], packet: &Packet, (source, destination): (u16, u16)) {
    let Some(mut header) = MutableTcpPacket::new(bytes) else {
        return;
    };
    header.set_source(source);
    header.set_destination(destination);
    header.set_sequence(1);
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
    header.set_checksum(checksum);
}

fn write_ports(bytes: &mut [u8], (source, destination): (u16, u16)) {
    for (at, port) in [(0, source), (2, destination)] {
        if let Some(field) = bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&port.to_be_bytes());
        }
    }
}

/// The common header of SCTP, for which pnet has no type; its checksum is a CRC-32C, little-endian (RFC 9260, 6.8).
fn write_sctp(bytes: &mut [u8], ports: (u16, u16)) {
    write_ports(bytes, ports);
    let crc = crc32c(bytes).to_le_bytes();
    if let Some(field) = bytes.get_mut(8..12) {
        field.copy_from_slice(&crc);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (REVERSED_POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn write_icmp(bytes: &mut [u8], packet: &Packet) {
    let Some(mut header) = MutableIcmpPacket::new(bytes) else {
        return;
    };
    let (kind, code) = packet.icmp.unwrap_or((8, 0));
    header.set_icmp_type(IcmpType(kind));
    header.set_icmp_code(IcmpCode(code));
    header.set_checksum(icmp::checksum(&header.to_immutable()));
}

fn write_icmpv6(bytes: &mut [u8], packet: &Packet) {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (packet.source, packet.destination) else {
        return;
    };
    let Some(mut header) = MutableIcmpv6Packet::new(bytes) else {
        return;
    };
    let (kind, code) = packet.icmp.unwrap_or((128, 0));
    header.set_icmpv6_type(Icmpv6Type(kind));
    header.set_icmpv6_code(Icmpv6Code(code));
    header.set_checksum(icmpv6::checksum(&header.to_immutable(), &from, &to));
}
