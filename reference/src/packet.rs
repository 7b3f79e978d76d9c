//! Frames read into packets, with etherparse: the reference's own reader, which judges the engine's.
//!
//! What it makes of a frame: link header (Ethernet II with any number of VLAN tags, Linux cooked v1 and v2, raw IP, BSD loopback), IPv4
//! or IPv6 header, IPv6 extension headers as `ipv6_find_hdr` goes through them, and of the transport header what rules can ask. A header has
//! to be there in full as far as the kernel's matches read it (TCP 20 bytes, UDP, UDP-Lite, ICMP and ICMPv6 8, SCTP and DCCP 12), inside the datagram's own length; else the frame
//! is skipped. Bytes behind the datagram are padding.

use etherparse::{
    Ethernet2HeaderSlice, IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice,
};
use kpclass_ruleset::Hook;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtState, Interface, protocol};
use std::fmt;
use std::net::IpAddr;

mod datagram;
mod fragment;

pub use datagram::{FrameDatagram, read_datagram};
pub(crate) use fragment::whole;
pub use fragment::{Fragment, read_fragment};

/// A link type as capture files number them (`LINKTYPE_…`).
pub type LinkType = u32;

/// Link types that are read.
pub mod link_type {
    use super::LinkType;

    /// BSD loopback: an address family of 4 bytes, in the byte order of who captured.
    pub const NULL: LinkType = 0;
    /// Ethernet.
    pub const ETHERNET: LinkType = 1;
    /// Raw IP, as some systems number it.
    pub const RAW_BSD: [LinkType; 2] = [12, 14];
    /// Raw IP.
    pub const RAW: LinkType = 101;
    /// OpenBSD loopback: as [`NULL`], in network byte order.
    pub const LOOP: LinkType = 108;
    /// Linux cooked.
    pub const LINUX_SLL: LinkType = 113;
    /// Raw IPv4.
    pub const IPV4: LinkType = 228;
    /// Raw IPv6.
    pub const IPV6: LinkType = 229;
    /// Linux cooked v2.
    pub const LINUX_SLL2: LinkType = 276;
}

/// Why a frame holds no packet to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// The link type is not read.
    LinkType(LinkType),
    /// Not IP: ARP, say.
    NotIp,
    /// The link header is cut off.
    CutLink,
    /// The IP header, or an extension header, is cut off.
    CutNetwork,
    /// The IP header contradicts itself: a wrong version or impossible lengths.
    MalformedNetwork,
    /// The transport header is cut off.
    CutTransport,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkType(number) => return write!(f, "link type {number} is not read"),
            Self::NotIp => "not IP",
            Self::CutLink => "the link header is cut off",
            Self::CutNetwork => "the IP header is cut off",
            Self::MalformedNetwork => "the IP header contradicts itself",
            Self::CutTransport => "the transport header is cut off",
        })
    }
}

/// What a frame says of its packet; where it starts is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number, after extension headers.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// TCP flags, CWR and ECE included.
    pub tcp_flags: Option<u8>,
    /// ICMP or ICMPv6 type and code.
    pub icmp: Option<(u8, u8)>,
    /// Whether it is a fragment other than the first.
    pub fragment: bool,
    /// Total length of the datagram; `None`: the header leaves it open (segmentation offload).
    pub length: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// Source address of an Ethernet header (or of Linux cooked, where the device is an Ethernet).
    pub source_mac: Option<[u8; 6]>,
}

impl FramePacket {
    /// The packet at its first hook, NEW and without a mark.
    pub fn at(&self, hook: Hook, in_interface: Option<Interface>) -> Packet {
        Packet {
            hook,
            in_interface,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            ports: self.ports,
            tcp_flags: self.tcp_flags,
            icmp: self.icmp,
            fragment: self.fragment,
            mark: 0,
            ctstate: CtState::New,
            length: self.length,
            ttl: Some(self.ttl),
            dscp: Some(self.dscp),
            source_mac: self.source_mac,
        }
    }
}

/// Reads the captured bytes of a frame.
///
/// # Errors
/// Why there is no packet in them.
pub fn read_frame(link: LinkType, bytes: &[u8]) -> Result<FramePacket, SkipReason> {
    read_upper(link, bytes).map(|(packet, _)| packet)
}

/// The upper layer's bytes, as far as they were captured, and how many there are by the datagram's own length; `None`: that is left open.
type Upper<'a> = (&'a [u8], Option<usize>);

fn read_upper(link: LinkType, bytes: &[u8]) -> Result<(FramePacket, Upper<'_>), SkipReason> {
    let (network, source_mac) = read_link(link, bytes)?;
    let (mut packet, upper) = match network {
        Network::V4(bytes) => read_ipv4(bytes)?,
        Network::V6(bytes) => read_ipv6(bytes)?,
    };
    packet.source_mac = source_mac;
    Ok((packet, upper))
}

/// The bytes of a datagram.
enum Network<'a> {
    V4(&'a [u8]),
    V6(&'a [u8]),
}

type Linked<'a> = (Network<'a>, Option<[u8; 6]>);

fn read_link(link: LinkType, bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    use link_type::{ETHERNET, IPV4, IPV6, LINUX_SLL, LINUX_SLL2, LOOP, NULL, RAW, RAW_BSD};
    match link {
        ETHERNET => read_ethernet(bytes),
        LINUX_SLL => read_cooked(bytes),
        LINUX_SLL2 => read_cooked_v2(bytes),
        NULL | LOOP => read_loopback(bytes),
        IPV4 => Ok((Network::V4(bytes), None)),
        IPV6 => Ok((Network::V6(bytes), None)),
        RAW => read_raw(bytes),
        _ if RAW_BSD.contains(&link) => read_raw(bytes),
        _ => Err(SkipReason::LinkType(link)),
    }
}

fn read_ethernet(bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    let header = Ethernet2HeaderSlice::from_slice(bytes).map_err(|_| SkipReason::CutLink)?;
    let payload = &bytes[header.slice().len()..];
    Ok((
        behind_tags(header.ether_type().0, payload)?,
        Some(header.source()),
    ))
}

/// Linux cooked: packet type, device type, address length (2 bytes each), address (8), ether type.
fn read_cooked(bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    let (header, payload) = bytes.split_at_checked(16).ok_or(SkipReason::CutLink)?;
    let mac = cooked_mac(word(header, 2), word(header, 4), &header[6..14]);
    Ok((behind_tags(word(header, 14), payload)?, mac))
}

/// Linux cooked v2: ether type, reserved (2 bytes each), device index (4), device type (2), packet type, address length (1 each), address (8).
fn read_cooked_v2(bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    let (header, payload) = bytes.split_at_checked(20).ok_or(SkipReason::CutLink)?;
    let mac = cooked_mac(word(header, 8), u16::from(header[11]), &header[12..20]);
    Ok((behind_tags(word(header, 0), payload)?, mac))
}

/// The sender's address, on an Ethernet (`ARPHRD_ETHER` is 1).
fn cooked_mac(device_type: u16, len: u16, address: &[u8]) -> Option<[u8; 6]> {
    (device_type == 1 && len == 6)
        .then(|| address.first_chunk().copied())
        .flatten()
}

fn read_loopback(bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    let (family, payload) = bytes.split_first_chunk().ok_or(SkipReason::CutLink)?;
    let big = u32::from_be_bytes(*family);
    // Families are small: the byte order of the header is the one in which it is one.
    let family = if big > 0xffff { big.swap_bytes() } else { big };
    match family {
        2 => Ok((Network::V4(payload), None)),
        // Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 23 | 24 | 28 | 30 => Ok((Network::V6(payload), None)),
        _ => Err(SkipReason::NotIp),
    }
}

fn read_raw(bytes: &[u8]) -> Result<Linked<'_>, SkipReason> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => Ok((Network::V4(bytes), None)),
        Some(6) => Ok((Network::V6(bytes), None)),
        Some(_) => Err(SkipReason::NotIp),
        None => Err(SkipReason::CutNetwork),
    }
}

/// Goes behind VLAN tags (802.1Q, 802.1ad, and the older 0x9100) to the datagram.
fn behind_tags(mut ether_type: u16, mut bytes: &[u8]) -> Result<Network<'_>, SkipReason> {
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        let tag = SingleVlanHeaderSlice::from_slice(bytes).map_err(|_| SkipReason::CutLink)?;
        ether_type = tag.ether_type().0;
        bytes = &bytes[tag.slice().len()..];
    }
    match ether_type {
        0x0800 => Ok(Network::V4(bytes)),
        0x86dd => Ok(Network::V6(bytes)),
        _ => Err(SkipReason::NotIp),
    }
}

/// A header of its own with what follows it; nothing of the upper layer is read yet.
type Header<'a, H, U> = Result<(FramePacket, H, U), SkipReason>;

fn read_ipv4(bytes: &[u8]) -> Result<(FramePacket, Upper<'_>), SkipReason> {
    let (mut packet, header, upper) = ipv4_header(bytes)?;
    packet.fragment = header.fragments_offset().value() > 0;
    packet.read_transport(upper.0)?;
    Ok((packet, upper))
}

fn ipv4_header(bytes: &[u8]) -> Header<'_, Ipv4HeaderSlice<'_>, Upper<'_>> {
    use etherparse::err::ipv4::HeaderSliceError::{Content, Len};
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|error| match error {
        Len(_) => SkipReason::CutNetwork,
        Content(_) => SkipReason::MalformedNetwork,
    })?;
    let (header_len, total) = (header.slice().len(), usize::from(header.total_len()));
    let datagram = match total {
        // Segmentation offload leaves the length to the device.
        0 => bytes,
        _ if total < header_len => return Err(SkipReason::MalformedNetwork),
        _ => &bytes[..total.min(bytes.len())],
    };
    let packet = FramePacket {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        ports: None,
        tcp_flags: None,
        icmp: None,
        fragment: false,
        length: (total > 0).then_some(header.total_len()),
        ttl: header.ttl(),
        dscp: header.dcp().value(),
        source_mac: None,
    };
    let upper = &datagram[header_len..];
    Ok((packet, header, (upper, total.checked_sub(header_len))))
}

/// The next header of a packet that ends there.
const NO_NEXT_HEADER: u8 = 59;

fn read_ipv6(bytes: &[u8]) -> Result<(FramePacket, Upper<'_>), SkipReason> {
    let (mut packet, header, payload) = ipv6_header(bytes)?;
    let (number, fragment, transport) = behind_extensions(packet.protocol, payload)?;
    (packet.protocol, packet.fragment) = (number, fragment);
    packet.read_transport(transport)?;
    let extensions = payload.len() - transport.len();
    let whole = usize::from(header.payload_length()).checked_sub(extensions);
    let is_open = packet.length.is_none();
    Ok((packet, (transport, whole.filter(|_| !is_open))))
}

/// The header, with the payload as far as it was captured.
fn ipv6_header(bytes: &[u8]) -> Header<'_, Ipv6HeaderSlice<'_>, &[u8]> {
    use etherparse::err::ipv6::HeaderSliceError::{Content, Len};
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|error| match error {
        Len(_) => SkipReason::CutNetwork,
        Content(_) => SkipReason::MalformedNetwork,
    })?;
    let behind = &bytes[header.slice().len()..];
    // A jumbogram, or segmentation offload (unless it says that nothing follows).
    let is_open = header.payload_length() == 0 && header.next_header().0 != NO_NEXT_HEADER;
    let payload = match usize::from(header.payload_length()) {
        0 => behind,
        len => &behind[..len.min(behind.len())],
    };
    let packet = FramePacket {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.next_header().0,
        ports: None,
        tcp_flags: None,
        icmp: None,
        fragment: false,
        length: (!is_open).then(|| header.payload_length().saturating_add(40)),
        ttl: header.hop_limit(),
        dscp: header.traffic_class() >> 2,
        source_mac: None,
    };
    Ok((packet, header, payload))
}

/// Goes through extension headers as `ipv6_find_hdr` does: hop-by-hop, routing, destination options, authentication, fragment; a fragment other
/// than the first ends it.
fn behind_extensions(mut number: u8, mut bytes: &[u8]) -> Result<(u8, bool, &[u8]), SkipReason> {
    const FRAGMENT: u8 = 44;
    loop {
        let (next, len) = match extension(number, bytes) {
            Some(read) => read?,
            None if number != FRAGMENT => return Ok((number, false, bytes)),
            None => {
                let header = Ipv6FragmentHeaderSlice::from_slice(bytes)
                    .map_err(|_| SkipReason::CutNetwork)?;
                let (number, len) = (header.next_header().0, header.slice().len());
                if header.fragment_offset().value() > 0 {
                    return Ok((number, true, &bytes[len..]));
                }
                (number, len)
            }
        };
        (number, bytes) = (next, &bytes[len..]);
    }
}

/// The number of the header behind an extension header, and how long it is; `None`: it is none of those that have a length.
fn extension(number: u8, bytes: &[u8]) -> Option<Result<(u8, usize), SkipReason>> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let read = match number {
        HOP_BY_HOP | ROUTING | DESTINATION => Ipv6RawExtHeaderSlice::from_slice(bytes)
            .map(|header| (header.next_header().0, header.slice().len()))
            .map_err(|_| SkipReason::CutNetwork),
        protocol::AH => IpAuthHeaderSlice::from_slice(bytes)
            .map(|header| (header.next_header().0, header.slice().len()))
            .map_err(|_| SkipReason::CutNetwork),
        _ => return None,
    };
    Some(read)
}

impl FramePacket {
    /// Ports, flags, types: what rules ask.
    fn read_transport(&mut self, bytes: &[u8]) -> Result<(), SkipReason> {
        use protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
        if self.fragment {
            return Ok(());
        }
        let len = match self.protocol {
            TCP => 20,
            SCTP | DCCP => 12,
            UDP | UDPLITE | ICMP | ICMPV6 => 8,
            _ => return Ok(()),
        };
        let header = bytes.get(..len).ok_or(SkipReason::CutTransport)?;
        match self.protocol {
            ICMP | ICMPV6 => self.icmp = Some((header[0], header[1])),
            _ => self.ports = Some((word(header, 0), word(header, 2))),
        }
        if self.protocol == TCP {
            self.tcp_flags = Some(header[13]);
        }
        Ok(())
    }
}

/// Two bytes in network order; `at + 2` is inside by the caller's check.
fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
