//! A packet's fields as the program asks for them: plain numbers, filled by the engine from a frame.

use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Family, address_number};

/// Bits of [`Header::known`]: which fields exist, or are known.
pub mod known {
    /// The addresses are IPv6.
    pub const V6: u16 = 1;
    /// It has ports.
    pub const PORTS: u16 = 1 << 1;
    /// It has TCP flags.
    pub const TCP_FLAGS: u16 = 1 << 2;
    /// It has an ICMP type and code.
    pub const ICMP: u16 = 1 << 3;
    /// It is a fragment other than the first.
    pub const FRAGMENT: u16 = 1 << 4;
    /// `length` is known.
    pub const LENGTH: u16 = 1 << 5;
    /// `ttl` is known.
    pub const TTL: u16 = 1 << 6;
    /// `dscp` is known.
    pub const DSCP: u16 = 1 << 7;
    /// `source_mac` is known.
    pub const MAC: u16 = 1 << 8;
}

/// One packet's header fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// Source address; IPv4 in the low 32 bits.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Source port, 0 if none.
    pub source_port: u16,
    /// Destination port, 0 if none.
    pub destination_port: u16,
    /// Total length of the IP datagram.
    pub length: u16,
    /// See [`known`].
    pub known: u16,
    /// Protocol number.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// Source address of the link header.
    pub source_mac: [u8; 6],
}

impl Header {
    /// Its family.
    #[inline]
    pub fn family(&self) -> Family {
        match self.known & known::V6 {
            0 => Family::V4,
            _ => Family::V6,
        }
    }

    /// Whether it comes from 127.0.0.0/8, but for its broadcast address, and its destination is another than this (WALK.md 1.5).
    pub(crate) fn leaves_loopback(&self, to: u128) -> bool {
        const BROADCAST: u128 = 0x7fff_ffff;
        self.source >> 24 == 127 && self.source != BROADCAST && self.destination != to
    }
}

impl From<&Packet> for Header {
    fn from(packet: &Packet) -> Self {
        let (source_port, destination_port) = packet.ports.unwrap_or_default();
        let (icmp_type, icmp_code) = packet.icmp.unwrap_or_default();
        let known = [
            (known::V6, packet.family() == Family::V6),
            (known::PORTS, packet.ports.is_some()),
            (known::TCP_FLAGS, packet.tcp_flags.is_some()),
            (known::ICMP, packet.icmp.is_some()),
            (known::FRAGMENT, packet.fragment),
            (known::LENGTH, packet.length.is_some()),
            (known::TTL, packet.ttl.is_some()),
            (known::DSCP, packet.dscp.is_some()),
            (known::MAC, packet.source_mac.is_some()),
        ];
        Self {
            source: address_number(packet.source),
            destination: address_number(packet.destination),
            source_port,
            destination_port,
            length: packet.length.unwrap_or_default(),
            known: known
                .into_iter()
                .filter_map(|(bit, is)| is.then_some(bit))
                .sum(),
            protocol: packet.protocol,
            tcp_flags: packet.tcp_flags.unwrap_or_default(),
            icmp_type,
            icmp_code,
            ttl: packet.ttl.unwrap_or_default(),
            dscp: packet.dscp.unwrap_or_default(),
            source_mac: packet.source_mac.unwrap_or_default(),
        }
    }
}
