//! Fragments as defragmentation reads them (CONNTRACK.md 9), with etherparse, and the datagram that they make.

use super::datagram::{FrameDatagram, with_upper};
use super::{
    FramePacket, LinkType, Network, SkipReason, behind_extensions, extension, ipv4_header,
    ipv6_header, read_link,
};
use etherparse::Ipv6FragmentHeaderSlice;
use kpclass_ruleset::value::protocol;

/// A fragment.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// What its own IP header says. Its protocol is what the fragments make together, of IPv6 what follows the fragment header.
    pub(crate) packet: FramePacket,
    /// The identification.
    pub(crate) id: u32,
    /// Where what it brings begins in its datagram, and ends.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// It is not the last.
    pub(crate) more: bool,
    /// As much of what it brings as was captured.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the headers in front of what is fragmented, without the fragment header.
    pub(crate) headers: usize,
    /// The two bits of ECN.
    pub(crate) ecn: u8,
    /// IPv6: it is a first fragment that ends before the upper layer's header does (RFC 8200, 4.5).
    pub(crate) lacks_headers: bool,
}

/// Reads the captured bytes of a frame of `original_len`; `None`: it is no fragment.
///
/// # Errors
/// Why there is no packet in them.
pub fn read_fragment(
    link: LinkType,
    bytes: &[u8],
    original_len: u32,
) -> Result<Option<Fragment>, SkipReason> {
    let missing = (original_len as usize).saturating_sub(bytes.len());
    let (network, source_mac) = read_link(link, bytes)?;
    let mut fragment = match network {
        Network::V4(bytes) => fragment_v4(bytes, missing)?,
        Network::V6(bytes) => fragment_v6(bytes)?,
    };
    if let Some(fragment) = &mut fragment {
        fragment.packet.source_mac = source_mac;
    }
    Ok(fragment)
}

/// `ip_is_fragment`.
fn fragment_v4(bytes: &[u8], missing: usize) -> Result<Option<Fragment>, SkipReason> {
    let (packet, header, (upper, whole)) = ipv4_header(bytes)?;
    let from = usize::from(header.fragments_offset().value()) * 8;
    let more = header.more_fragments();
    if from == 0 && !more {
        return Ok(None);
    }
    Ok(Some(Fragment {
        packet,
        id: header.identification().into(),
        from,
        to: from + whole.unwrap_or(upper.len() + missing),
        more,
        bytes: upper.to_vec(),
        headers: header.slice().len(),
        ecn: header.ecn().value(),
        lacks_headers: false,
    }))
}

/// `nf_ct_frag6_gather`, up to the queue. Without a length (a jumbo payload) nothing is looked for.
fn fragment_v6(bytes: &[u8]) -> Result<Option<Fragment>, SkipReason> {
    const FRAGMENT: u8 = 44;
    let (packet, header, payload) = ipv6_header(bytes)?;
    let payload_len = usize::from(header.payload_length());
    if payload_len == 0 {
        return Ok(None);
    }
    let (mut number, mut at) = (header.next_header().0, 0);
    while number != FRAGMENT {
        match extension(number, &payload[at..]) {
            Some(Ok((next, len))) => (number, at) = (next, at + len),
            // No extension header, or one that is cut.
            _ => return Ok(None),
        }
    }
    let Ok(slice) = Ipv6FragmentHeaderSlice::from_slice(&payload[at..]) else {
        return Ok(None);
    };
    let behind = at + slice.slice().len();
    let from = usize::from(slice.fragment_offset().value()) * 8;
    let (upper, len) = (&payload[behind..], payload_len - behind);
    let number = slice.next_header().0;
    Ok(Some(Fragment {
        packet: FramePacket {
            protocol: number,
            ..packet
        },
        id: slice.identification(),
        from,
        to: from + len,
        more: slice.more_fragments(),
        bytes: upper.to_vec(),
        headers: header.slice().len() + at,
        ecn: header.traffic_class() & 3,
        lacks_headers: from == 0 && lacks_headers(number, upper, len),
    }))
}

/// `ipv6frag_thdr_truncated`, as far as the bytes were captured: what is behind them is taken to be there.
fn lacks_headers(mut number: u8, upper: &[u8], len: usize) -> bool {
    const FRAGMENT: u8 = 44;
    const NONE: u8 = 59;
    const AUTHENTICATION: u8 = 51;
    let mut at = 0;
    while matches!(number, 0 | 43 | FRAGMENT | AUTHENTICATION | NONE | 60) {
        let asked = if number == FRAGMENT { 4 } else { 2 };
        let header = upper.get(at..at + asked);
        let Some(header) = header.filter(|_| number != NONE) else {
            return false;
        };
        let units = usize::from(header[1]);
        let header_len = match number {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if number == FRAGMENT && u16::from_be_bytes([header[2], header[3]]) >= 8 {
            return false;
        }
        (number, at) = (header[0], at + header_len);
    }
    let least = match number {
        protocol::TCP => 20,
        protocol::UDP | protocol::ICMPV6 => 8,
        _ => 1,
    };
    at + least > len
}

/// The datagram whose first fragment had this header: `len` bytes behind the headers, of which the first were captured.
///
/// # Errors
/// Why there is no packet in it.
pub(crate) fn whole(
    first: &FramePacket,
    headers: usize,
    (captured, len): (&[u8], usize),
) -> Result<FrameDatagram, SkipReason> {
    let mut packet = first.clone();
    // A payload of IPv6 is as long as a length field can say, but the packet's length is its header's more.
    packet.length = Some(u16::try_from(headers + len).unwrap_or(u16::MAX));
    if packet.source.is_ipv4() {
        packet.read_transport(captured)?;
        return Ok(with_upper(packet, captured, len));
    }
    let (number, fragment, upper) = behind_extensions(packet.protocol, captured)?;
    (packet.protocol, packet.fragment) = (number, fragment);
    packet.read_transport(upper)?;
    Ok(with_upper(
        packet,
        upper,
        len - (captured.len() - upper.len()),
    ))
}
