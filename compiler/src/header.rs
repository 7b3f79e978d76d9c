//! A packet's fields as the program asks for them: plain numbers, filled by the engine from a frame.

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
