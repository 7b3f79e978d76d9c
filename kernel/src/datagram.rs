//! A packet as the bytes of its datagram: with right checksums, since conntrack calls others INVALID, and with the judge's number of the
//! packet where rules and nat leave it alone (IPv4's identification, IPv6's flow label; TCP's sequence numbers, which a reset carries on).

use etherparse::{
    IpDscp, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader,
};
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::value::protocol;
use std::net::IpAddr;

/// Offset of a later fragment, in units of 8 bytes.
const LATER: u16 = 185;

/// Writes a packet's datagram, as long as the packet says, or as its headers need.
pub(crate) fn write(datagram: &mut Vec<u8>, packet: &Packet, number: u16) {
    datagram.clear();
    let network = if packet.source.is_ipv4() { 20 } else { 40 };
    let extension = if packet.fragment && network == 40 {
        8
    } else {
        0
    };
    let least = least_body(packet);
    let body = packet
        .length
        .map_or(least, |length| {
            usize::from(length).saturating_sub(network + extension)
        })
        .max(least);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Header {
                total_len: short(network + body),
                identification: number,
                dscp: IpDscp::try_new(packet.dscp.unwrap_or(0)).unwrap_or_default(),
                time_to_live: packet.ttl.unwrap_or(64),
                protocol: IpNumber(packet.protocol),
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4Header::default()
            };
            header.dont_fragment = false;
            if packet.fragment {
                header.fragment_offset = IpFragOffset::try_new(LATER).unwrap_or_default();
            }
            header.header_checksum = header.calc_header_checksum();
            datagram.extend(header.to_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                traffic_class: packet.dscp.unwrap_or(0) << 2,
                flow_label: Ipv6FlowLabel::try_new(number.into()).unwrap_or_default(),
                payload_length: short(extension + body),
                next_header: IpNumber(if packet.fragment { 44 } else { packet.protocol }),
                hop_limit: packet.ttl.unwrap_or(64),
                source: source.octets(),
                destination: destination.octets(),
            };
            datagram.extend(header.to_bytes());
            if packet.fragment {
                let [high, low] = (LATER << 3).to_be_bytes();
                let [first, second] = number.to_be_bytes();
                datagram.extend([packet.protocol, 0, high, low, 0, 0, first, second]);
            }
        }
        _ => return,
    }
    let start = datagram.len();
    datagram.resize(start + body, 0);
    if !packet.fragment {
        write_transport(&mut datagram[start..], packet, number);
    }
}

/// The length fields of headers are 16 bits wide.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn least_body(packet: &Packet) -> usize {
    match packet.protocol {
        _ if packet.fragment => 8,
        protocol::TCP => 20,
        protocol::SCTP => 12 + 20,
        protocol::DCCP => 16,
        _ => 8,
    }
}

fn write_transport(body: &mut [u8], packet: &Packet, number: u16) {
    let ports = packet.ports.unwrap_or_default();
    match packet.protocol {
        protocol::TCP => write_tcp(body, packet, ports, number),
        protocol::UDP => write_udp(body, packet, ports),
        protocol::UDPLITE => write_udplite(body, packet, ports),
        protocol::SCTP => write_sctp(body, ports),
        protocol::DCCP => write_dccp(body, packet, ports),
        protocol::ICMP | protocol::ICMPV6 => write_icmp(body, packet),
        _ => {}
    }
}

fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = body.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn put_ports(body: &mut [u8], (source, destination): (u16, u16)) {
    put(body, 0, &source.to_be_bytes());
    put(body, 2, &destination.to_be_bytes());
}

fn write_tcp(body: &mut [u8], packet: &Packet, (source, destination): (u16, u16), number: u16) {
    let flags = packet.tcp_flags.unwrap_or_default();
    let has = |flag: u8| flags & flag != 0;
    let mut header = TcpHeader::new(source, destination, u32::from(number) << 16, 64_240);
    // A reset to a packet with ACK goes on from its acknowledgment number, one to another from its sequence number.
    header.acknowledgment_number = u32::from(number) << 16;
    header.fin = has(tcp_flag::FIN);
    header.syn = has(tcp_flag::SYN);
    header.rst = has(tcp_flag::RST);
    header.psh = has(tcp_flag::PSH);
    header.ack = has(tcp_flag::ACK);
    header.urg = has(tcp_flag::URG);
    header.ece = has(tcp_flag::ECE);
    header.cwr = has(tcp_flag::CWR);
    put(body, 0, &header.to_bytes());
    let sum = checksum(body, packet, protocol::TCP);
    put(body, 16, &sum);
}

fn write_udp(body: &mut [u8], packet: &Packet, (source, destination): (u16, u16)) {
    let header = UdpHeader {
        source_port: source,
        destination_port: destination,
        length: short(body.len()),
        checksum: 0,
    };
    put(body, 0, &header.to_bytes());
    let sum = checksum(body, packet, protocol::UDP);
    // 0 would mean that there is none (RFC 768).
    put(body, 6, if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
}

fn write_udplite(body: &mut [u8], packet: &Packet, ports: (u16, u16)) {
    put_ports(body, ports);
    // Coverage 0: all of it (RFC 3828). conntrack takes UDP's number for UDP-Lite's in the pseudo-header (`udplite_error`), so that it
    // finds a right checksum wrong, unless a device has verified it. This one it finds right.
    let sum = checksum(body, packet, protocol::UDP);
    put(body, 6, if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
}

/// An INIT, which begins an association; the checksum is a CRC-32C (RFC 9260, 6.8), the rest of the body part of the chunk.
fn write_sctp(body: &mut [u8], ports: (u16, u16)) {
    put_ports(body, ports);
    let chunk = short(body.len() - 12);
    put(body, 12, &[1, 0]);
    put(body, 14, &chunk.to_be_bytes());
    // Initiate tag, window, streams out and in: none may be 0.
    put(body, 16, &[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1]);
    let crc = crc32c(body).to_le_bytes();
    put(body, 8, &crc);
}

/// A Request (RFC 4340).
fn write_dccp(body: &mut [u8], packet: &Packet, ports: (u16, u16)) {
    put_ports(body, ports);
    put(body, 4, &[4, 0]);
    let sum = checksum(body, packet, protocol::DCCP);
    put(body, 6, &sum);
}

fn write_icmp(body: &mut [u8], packet: &Packet) {
    let (kind, code) = packet.icmp.unwrap_or_default();
    put(body, 0, &[kind, code]);
    let sum = checksum(body, packet, packet.protocol);
    put(body, 2, &sum);
}

/// The Internet checksum of a body whose checksum field is zero, with the pseudo-header but for ICMP.
fn checksum(body: &[u8], packet: &Packet, number: u8) -> [u8; 2] {
    let mut sum = etherparse::checksum::Sum16BitWords::new();
    if number != protocol::ICMP {
        sum = match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => sum
                .add_4bytes(source.octets())
                .add_4bytes(destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => sum
                .add_16bytes(source.octets())
                .add_16bytes(destination.octets()),
            _ => sum,
        };
        sum = sum
            .add_2bytes([0, number])
            .add_2bytes(short(body.len()).to_be_bytes());
    }
    sum.add_slice(body).ones_complement().to_ne_bytes()
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
