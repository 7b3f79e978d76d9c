//! What only conntrack reads of a frame (CONNTRACK.md 1 and 2): the id of an ICMP query, the packet that an ICMP error carries, SCTP's chunks, lengths that
//! do not fit. Checksums are taken to be right: captures are full of packets whose card was to fill them in.

use super::{Network, Rest, Skip};
use crate::link::LinkType;
use crate::wire::{Extension, Icmp, Ipv4, Ipv6, Ports, Tcp};
use kpclass_compiler::header::{Header, known};
use kpclass_ruleset::conntrack::Tuple;
use kpclass_ruleset::packet::tcp_flag;
use kpclass_ruleset::value::{Family, number_address, protocol};

/// A frame's packet as conntrack reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfConnection {
    /// As rules see it.
    pub header: Header,
    /// The id of an ICMP packet.
    pub icmp_id: Option<u16>,
    /// The tuple of the packet that an ICMP error carries; `None`: too little of it is there.
    pub carried: Option<Tuple>,
    /// The types of an SCTP packet's chunks, none if one has no length; `None`: not all of them were captured.
    pub chunks: Option<Vec<u8>>,
    /// A length in the transport header does not fit.
    pub is_broken: bool,
    /// It was joined of several fragments.
    pub is_joined: bool,
    /// What nat and forwarding leave as it is: by it a packet is known again behind them. `None`: nothing is there that tells packets apart.
    pub sign: Option<u64>,
    /// Of UDP over IPv4 with an identification: that, length and beginning, which nat and forwarding leave as they are, too. By it alone no packet is
    /// known again: its port and its hop limit must fit.
    pub datagram: Option<u64>,
    /// Of a SYN, and of the SYN+ACK that answers it: the SYN's sequence number.
    pub syn: Option<u32>,
}

/// Reads a frame of which `captured` was kept out of `original_len` bytes.
///
/// # Errors
/// The reason for which it holds no packet, as [`extract`](super::extract).
pub fn of_connection(
    link: LinkType,
    captured: &[u8],
    original_len: u32,
) -> Result<OfConnection, Skip> {
    super::network(link, captured, original_len)?.of_connection()
}

impl OfConnection {
    /// Where nothing more is known of it.
    #[inline]
    pub(crate) fn of_header(header: Header) -> Self {
        Self {
            header,
            icmp_id: None,
            carried: None,
            chunks: None,
            is_broken: false,
            is_joined: false,
            sign: None,
            datagram: None,
            syn: None,
        }
    }
}

impl Network<'_> {
    /// Reads the packet as conntrack does.
    ///
    /// # Errors
    /// The reason for which there is none.
    #[inline]
    pub fn of_connection(self) -> Result<OfConnection, Skip> {
        let (header, rest) = self.read()?;
        Ok(with_upper(header, rest))
    }
}

/// A header with what its upper layer says.
#[inline]
pub(super) fn with_upper(header: Header, rest: Rest<'_>) -> OfConnection {
    let mut read = OfConnection::of_header(header);
    if header.known & known::FRAGMENT != 0 {
        return read;
    }
    match header.protocol {
        protocol::TCP => {
            read.is_broken = is_broken_tcp(rest);
            read.sign = sign(&header, rest);
            read.syn = syn(&header, rest);
        }
        protocol::UDP => {
            read.is_broken = is_broken_udp(rest);
            read.datagram = datagram(&header, rest);
        }
        protocol::SCTP => read.chunks = chunks(rest),
        protocol::ICMP | protocol::ICMPV6 => {
            read.icmp_id = word(rest.captured, 4);
            let inner = rest.skip(Icmp::LEN).map(|inner| inner.captured);
            read.carried = match header.protocol {
                protocol::ICMP => inner.ok().and_then(carried_v4),
                _ => inner.ok().and_then(carried_v6),
            };
        }
        _ => {}
    }
    read
}

/// Sequence number, flags and length of a segment.
fn sign(header: &Header, rest: Rest<'_>) -> Option<u64> {
    let sequence = double_word(rest.captured, 4)?;
    signed(sequence, header.length, header.tcp_flags)
}

/// Packets that were made by hand mostly have the number 0: that tells none from another.
pub(super) fn signed(sequence: u32, length: u16, tcp_flags: u8) -> Option<u64> {
    let rest = u64::from(length) << 8 | u64::from(tcp_flags);
    (sequence != 0).then_some(u64::from(sequence) << 24 | rest)
}

fn datagram(header: &Header, rest: Rest<'_>) -> Option<u64> {
    if header.known & known::V6 != 0 {
        return None;
    }
    let word = |number: usize| match UDP_LEN + 4 * number {
        at if at + 4 > rest.wire_len => Some(0),
        at => double_word(rest.captured, at),
    };
    let beginning = [word(0)?, word(1)?, word(2)?];
    printed(rest.identification, header.length, folded(beginning))
}

/// The first twelve bytes of what a datagram holds, 0 for what it has not.
#[inline(always)]
pub(super) fn folded([a, b, c]: [u32; 3]) -> u32 {
    let mixed =
        u64::from(a ^ b.rotate_left(11) ^ c.rotate_left(22)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

pub(super) fn printed(identification: u16, length: u16, beginning: u32) -> Option<u64> {
    let rest = u64::from(length) << 32 | u64::from(beginning);
    (identification != 0).then(|| u64::from(identification) << 48 | rest)
}

fn syn(header: &Header, rest: Rest<'_>) -> Option<u32> {
    let (sequence, acknowledged) = (
        double_word(rest.captured, 4)?,
        double_word(rest.captured, 8)?,
    );
    opening(header.tcp_flags, sequence, acknowledged)
}

/// The sequence number of the SYN that a segment is, or answers, if it tells one from another.
pub(super) fn opening(tcp_flags: u8, sequence: u32, acknowledged: u32) -> Option<u32> {
    let number = match tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) {
        tcp_flag::SYN => sequence,
        flags if flags & tcp_flag::SYN != 0 => acknowledged.wrapping_sub(1),
        _ => return None,
    };
    (number != 0).then_some(number)
}

fn double_word(bytes: &[u8], at: usize) -> Option<u32> {
    let (high, low) = (word(bytes, at)?, word(bytes, at + 2)?);
    Some(u32::from(high) << 16 | u32::from(low))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// `tcp_error`: the header is longer than the packet, or too short.
fn is_broken_tcp(rest: Rest<'_>) -> bool {
    let offset = rest.captured.get(12).map(|byte| usize::from(byte >> 4) * 4);
    offset.is_some_and(|len| len < Tcp::LEN || len > rest.wire_len)
}

/// `udp_error`: the length is below the header's, or beyond the packet.
fn is_broken_udp(rest: Rest<'_>) -> bool {
    let given = word(rest.captured, 4).map(usize::from);
    given.is_some_and(|given| given < UDP_LEN || given > rest.wire_len)
}

/// Bytes of UDP's header.
const UDP_LEN: usize = 8;

/// Bytes of SCTP's own header, and of a chunk's.
const SCTP_LEN: usize = 12;
const CHUNK_LEN: usize = 4;

fn chunks(rest: Rest<'_>) -> Option<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut at = SCTP_LEN;
    while at + CHUNK_LEN <= rest.wire_len {
        let kind = *rest.captured.get(at)?;
        let len = word(rest.captured, at + 2)?;
        if len == 0 {
            return Some(Vec::new());
        }
        chunks.push(kind);
        at += usize::from(len).next_multiple_of(CHUNK_LEN);
    }
    Some(chunks)
}

/// The packet in an ICMP error; a later fragment has no tuple (`nf_ct_get_tuplepr`).
fn carried_v4(bytes: &[u8]) -> Option<Tuple> {
    let ip = Ipv4::read(bytes)?;
    if ip.version() != 4 || ip.header_len() < Ipv4::LEN || ip.is_later_fragment() {
        return None;
    }
    let upper = bytes.get(ip.header_len()..)?;
    tuple(
        Family::V4,
        ip.protocol(),
        (ip.source().into(), ip.destination().into()),
        upper,
    )
}

fn carried_v6(bytes: &[u8]) -> Option<Tuple> {
    let ip = Ipv6::read(bytes)?;
    if ip.version() != 6 {
        return None;
    }
    let (mut number, mut upper) = (ip.next_header(), bytes.get(Ipv6::LEN..)?);
    while Extension::is_extension(number) {
        let extension = Extension::read(number, upper)?;
        if !extension.is_sound() || extension.is_later_fragment() {
            return None;
        }
        upper = upper.get(extension.header_len()..)?;
        number = extension.next_header();
    }
    tuple(Family::V6, number, (ip.source(), ip.destination()), upper)
}

fn tuple(family: Family, number: u8, sides: (u128, u128), upper: &[u8]) -> Option<Tuple> {
    use protocol::{ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    let parts = match number {
        TCP | UDP | UDPLITE | SCTP => {
            let ports = Ports::read(upper)?;
            (ports.source(), ports.destination())
        }
        ICMP | ICMPV6 => {
            let icmp = Icmp::read(upper)?;
            let kind = u16::from_be_bytes([icmp.kind(), icmp.code()]);
            (word(upper, 4)?, kind)
        }
        _ => (0, 0),
    };
    Some(Tuple {
        protocol: number,
        source: (number_address(family, sides.0), parts.0),
        destination: (number_address(family, sides.1), parts.1),
    })
}
