//! What only conntrack reads of a frame (CONNTRACK.md 1 and 2), with etherparse. Checksums are taken to be right.

use super::{FramePacket, LinkType, SkipReason, Upper, behind_extensions, read_upper, word};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use kpclass_ruleset::conntrack::{Datagram, Tuple};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;
use std::net::IpAddr;

/// A frame's packet with what only conntrack reads of it: see [`Datagram`], whose fields these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameDatagram {
    /// As rules see it.
    pub packet: FramePacket,
    /// The id of an ICMP packet.
    pub icmp_id: Option<u16>,
    /// The tuple of the packet that an ICMP error carries.
    pub carried: Option<Tuple>,
    /// The types of an SCTP packet's chunks, none if one has no length; `None`: not all were captured.
    pub chunks: Option<Vec<u8>>,
    /// A length in the transport header does not fit.
    pub is_broken: bool,
    /// It was joined of several fragments.
    pub is_joined: bool,
}

impl FrameDatagram {
    /// The datagram where a packet like it starts: with its hook, device and mark.
    pub fn at(&self, like: &Packet) -> Datagram {
        Datagram {
            packet: Packet {
                mark: like.mark,
                ..self.packet.at(like.hook, like.in_interface)
            },
            icmp_id: self.icmp_id,
            carried: self.carried,
            chunks: self.chunks.clone(),
            is_broken: self.is_broken,
            is_joined: self.is_joined,
        }
    }
}

/// Reads the captured bytes of a frame of `original_len`.
///
/// # Errors
/// Why there is no packet in them.
pub fn read_datagram(
    link: LinkType,
    bytes: &[u8],
    original_len: u32,
) -> Result<FrameDatagram, SkipReason> {
    let (packet, upper) = read_upper(link, bytes)?;
    // What a header leaves open reaches to the frame's end.
    let missing = (original_len as usize).saturating_sub(bytes.len());
    let (upper, whole): Upper<'_> = upper;
    let whole = whole.unwrap_or(upper.len() + missing);
    Ok(with_upper(packet, upper, whole))
}

/// The packet with what its upper layer says, of which `upper` was captured and `whole` bytes are there.
pub(super) fn with_upper(packet: FramePacket, upper: &[u8], whole: usize) -> FrameDatagram {
    let mut datagram = FrameDatagram {
        icmp_id: None,
        carried: None,
        chunks: None,
        is_broken: false,
        is_joined: false,
        packet,
    };
    if datagram.packet.fragment {
        return datagram;
    }
    match datagram.packet.protocol {
        protocol::TCP => {
            let header_len = usize::from(upper[12] >> 4) * 4;
            datagram.is_broken = header_len < 20 || header_len > whole;
        }
        protocol::UDP => {
            let given = usize::from(word(upper, 4));
            datagram.is_broken = given < 8 || given > whole;
        }
        protocol::SCTP => datagram.chunks = chunks(upper, whole),
        protocol::ICMP => {
            datagram.icmp_id = Some(word(upper, 4));
            datagram.carried = carried_v4(&upper[8..]);
        }
        protocol::ICMPV6 => {
            datagram.icmp_id = Some(word(upper, 4));
            datagram.carried = carried_v6(&upper[8..]);
        }
        _ => {}
    }
    datagram
}

fn chunks(upper: &[u8], whole: usize) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    let mut at = 12;
    while whole >= at + 4 {
        let chunk = upper.get(at..at + 4)?;
        let len = usize::from(word(chunk, 2));
        if len == 0 {
            return Some(Vec::new());
        }
        kinds.push(chunk[0]);
        at += len.div_ceil(4) * 4;
    }
    Some(kinds)
}

fn carried_v4(bytes: &[u8]) -> Option<Tuple> {
    let ip = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    if ip.fragments_offset().value() > 0 {
        return None;
    }
    let upper = &bytes[ip.slice().len()..];
    let sides = (ip.source_addr().into(), ip.destination_addr().into());
    tuple(ip.protocol().0, sides, upper)
}

fn carried_v6(bytes: &[u8]) -> Option<Tuple> {
    let ip = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let behind = &bytes[ip.slice().len()..];
    let (number, is_fragment, upper) = behind_extensions(ip.next_header().0, behind).ok()?;
    let sides = (ip.source_addr().into(), ip.destination_addr().into());
    match is_fragment {
        true => None,
        false => tuple(number, sides, upper),
    }
}

fn tuple(number: u8, (source, destination): (IpAddr, IpAddr), upper: &[u8]) -> Option<Tuple> {
    let parts = match number {
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP => {
            let ports = upper.get(..4)?;
            (word(ports, 0), word(ports, 2))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let header = upper.get(..8)?;
            (word(header, 4), word(header, 0))
        }
        _ => (0, 0),
    };
    Some(Tuple {
        protocol: number,
        source: (source, parts.0),
        destination: (destination, parts.1),
    })
}
