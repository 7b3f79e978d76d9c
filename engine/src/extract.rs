//! Frame → [`Header`]: the fields of the packet that a frame carries, as the kernel's IP stack would see them.
//!
//! What the kernel drops before netfilter sees it (a wrong version, lengths that lie) is [`Skip::Malformed`]; what a
//! capture's snapshot length cut away is [`Skip::Truncated`]. The tests by which they are told apart: a packet is cut if
//! its frame says that more bytes were on the wire than were captured.

mod connection;
mod fragment;
pub mod ordinary;
mod plain;

pub use connection::{OfConnection, of_connection};
pub use fragment::{Fragment, joined};
pub use plain::{Plain, plain};

use crate::link::LinkType;
use crate::wire::{
    Ethernet, Extension, Icmp, Ipv4, Ipv6, LOOPBACK_LEN, Ports, Sll, Sll2, Tcp, Vlan, arphrd,
    ethertype, family_of, next_header,
};
use kpclass_compiler::header::{Header, known};
use kpclass_ruleset::value::{Family, protocol};

/// Tags that are walked over in front of a packet.
pub const MAX_TAGS: usize = 8;

/// Extension headers that are walked over in one IPv6 packet.
pub const MAX_EXTENSIONS: usize = 16;

/// Why a frame has no [`Header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Skip {
    /// ARP.
    Arp,
    /// Some other protocol than IP.
    NotIp,
    /// Its link type is not read.
    LinkType,
    /// The capture holds too little of it.
    Truncated,
    /// It contradicts itself, so that the kernel drops it before any rule is asked.
    Malformed,
    /// More than [`MAX_TAGS`] tags or [`MAX_EXTENSIONS`] extension headers.
    TooDeep,
}

impl Skip {
    /// How many reasons there are; `skip as usize` is below.
    pub const COUNT: usize = Self::NAMES.len();

    /// The reasons' names in JSON, in the order of the variants.
    pub const NAMES: [&'static str; 6] = [
        "arp",
        "not-ip",
        "link-type",
        "truncated",
        "malformed",
        "too-deep",
    ];
}

/// Captured bytes from some header on, and how many there were on the wire. `wire_len` is never below what was captured.
#[derive(Clone, Copy)]
struct Rest<'a> {
    captured: &'a [u8],
    wire_len: usize,
    /// The identification of the IPv4 header before it.
    identification: u16,
}

impl<'a> Rest<'a> {
    /// Behind the next `len` bytes.
    fn skip(self, len: usize) -> Result<Self, Skip> {
        let captured = self.captured.get(len..).ok_or_else(|| self.missing(len))?;
        Ok(Self {
            captured,
            wire_len: self.wire_len - len,
            ..self
        })
    }

    /// The first `len` bytes on the wire: what follows them is padding.
    fn limit(self, len: usize) -> Self {
        let captured = &self.captured[..self.captured.len().min(len)];
        Self {
            captured,
            wire_len: self.wire_len.min(len),
            ..self
        }
    }

    /// What it means that `needed` bytes are not there.
    fn missing(self, needed: usize) -> Skip {
        if needed <= self.wire_len {
            Skip::Truncated
        } else {
            Skip::Malformed
        }
    }

    /// The wire holds `needed` bytes, captured or not.
    fn on_wire(self, needed: usize) -> Result<(), Skip> {
        if needed <= self.wire_len {
            Ok(())
        } else {
            Err(Skip::Malformed)
        }
    }

    /// The next `needed` bytes were captured.
    fn require(self, needed: usize) -> Result<(), Skip> {
        if needed <= self.captured.len() {
            Ok(())
        } else {
            Err(self.missing(needed))
        }
    }

    /// A view's `read` here, whose header has `len` bytes.
    fn view<T>(self, read: impl FnOnce(&'a [u8]) -> Option<T>, len: usize) -> Result<T, Skip> {
        read(self.captured).ok_or_else(|| self.missing(len))
    }
}

/// The header of the packet in a frame of which `captured` was kept out of `original_len` bytes.
///
/// # Errors
/// The reason for which the frame has none.
#[inline]
pub fn extract(link: LinkType, captured: &[u8], original_len: u32) -> Result<Header, Skip> {
    packet(link, captured, original_len).map(|(header, _)| header)
}

/// What a frame carries behind its link header: an IP packet.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    family: Family,
    packet: Rest<'a>,
    mac: Option<[u8; 6]>,
}

/// A frame's packet, or the reason for which it has none.
type Linked<'a> = Result<Network<'a>, Skip>;

impl<'a> Network<'a> {
    fn new(family: Family, packet: Rest<'a>, mac: Option<[u8; 6]>) -> Linked<'a> {
        Ok(Self {
            family,
            packet,
            mac,
        })
    }

    /// By which version of IP it goes, as the link header says.
    pub fn family(&self) -> Family {
        self.family
    }

    #[inline]
    fn read(self) -> Read<'a> {
        match self.family {
            Family::V4 => ipv4(self.packet, self.mac),
            Family::V6 => ipv6(self.packet, self.mac),
        }
    }
}

/// A header, with the upper layer's bytes; of a later fragment what is left of them.
type Read<'a> = Result<(Header, Rest<'a>), Skip>;

fn packet(link: LinkType, captured: &[u8], original_len: u32) -> Read<'_> {
    network(link, captured, original_len)?.read()
}

/// What a frame, of which `captured` was kept out of `original_len` bytes, carries behind its link header.
///
/// # Errors
/// The reason for which it carries no IP packet.
#[inline]
pub fn network(link: LinkType, captured: &[u8], original_len: u32) -> Linked<'_> {
    let frame = Rest {
        captured,
        wire_len: captured.len().max(original_len as usize),
        identification: 0,
    };
    match link {
        LinkType::ETHERNET => ethernet(frame),
        LinkType::LINUX_SLL => sll(frame),
        LinkType::LINUX_SLL2 => sll2(frame),
        LinkType::NULL | LinkType::LOOP => loopback(frame),
        LinkType::IPV4 => Network::new(Family::V4, frame, None),
        LinkType::IPV6 => Network::new(Family::V6, frame, None),
        _ if link.is_raw() => raw(frame),
        _ => Err(Skip::LinkType),
    }
}

fn ethernet(frame: Rest<'_>) -> Linked<'_> {
    let header = frame.view(Ethernet::read, Ethernet::LEN)?;
    behind_ethertype(
        header.ethertype(),
        frame.skip(Ethernet::LEN)?,
        Some(header.source()),
    )
}

fn sll(frame: Rest<'_>) -> Linked<'_> {
    let header = frame.view(Sll::read, Sll::LEN)?;
    if !has_ethertype(header.device_type()) {
        return Err(Skip::NotIp);
    }
    behind_ethertype(header.protocol(), frame.skip(Sll::LEN)?, header.source())
}

fn sll2(frame: Rest<'_>) -> Linked<'_> {
    let header = frame.view(Sll2::read, Sll2::LEN)?;
    if !has_ethertype(header.device_type()) {
        return Err(Skip::NotIp);
    }
    behind_ethertype(header.protocol(), frame.skip(Sll2::LEN)?, header.source())
}

/// Whether a cooked header's protocol field is an EtherType on this type of device.
fn has_ethertype(device_type: u16) -> bool {
    !matches!(
        device_type,
        arphrd::FRAD | arphrd::IEEE80211_RADIOTAP | arphrd::NETLINK
    )
}

fn loopback(frame: Rest<'_>) -> Linked<'_> {
    let header = frame.view(|bytes| bytes.first_chunk().copied(), LOOPBACK_LEN)?;
    let packet = frame.skip(LOOPBACK_LEN)?;
    match family_of(header) {
        Some(family) => Network::new(family, packet, None),
        None => Err(Skip::NotIp),
    }
}

fn raw(packet: Rest<'_>) -> Linked<'_> {
    match packet.view(|bytes| bytes.first(), 1)? >> 4 {
        4 => Network::new(Family::V4, packet, None),
        6 => Network::new(Family::V6, packet, None),
        _ => Err(Skip::NotIp),
    }
}

fn behind_ethertype(ethertype: u16, rest: Rest<'_>, mac: Option<[u8; 6]>) -> Linked<'_> {
    let (mut ethertype, mut rest) = (ethertype, rest);
    for _ in 0..=MAX_TAGS {
        match ethertype {
            ethertype::IPV4 => return Network::new(Family::V4, rest, mac),
            ethertype::IPV6 => return Network::new(Family::V6, rest, mac),
            ethertype::ARP => return Err(Skip::Arp),
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD => {
                ethertype = rest.view(Vlan::read, Vlan::LEN)?.ethertype();
                rest = rest.skip(Vlan::LEN)?;
            }
            _ => return Err(Skip::NotIp),
        }
    }
    Err(Skip::TooDeep)
}

/// The fields that every packet has. Its length is not known where its header leaves it open.
fn begin(length: Option<usize>, ttl: u8, dscp: u8, mac: Option<[u8; 6]>) -> Header {
    let known_length = if length.is_some() { known::LENGTH } else { 0 };
    let known_mac = if mac.is_some() { known::MAC } else { 0 };
    Header {
        length: u16::try_from(length.unwrap_or(0)).unwrap_or(u16::MAX),
        ttl,
        dscp,
        source_mac: mac.unwrap_or_default(),
        known: known::TTL | known::DSCP | known_length | known_mac,
        ..Header::default()
    }
}

#[inline]
fn ipv4(packet: Rest<'_>, mac: Option<[u8; 6]>) -> Read<'_> {
    let (header, ip, payload) = ipv4_header(packet, mac)?;
    upper_layer(header, ip.protocol(), payload, ip.is_later_fragment())
}

/// A header of its own, and what is behind it.
type Begun<'a, I> = Result<(Header, I, Rest<'a>), Skip>;

#[inline]
fn ipv4_header(packet: Rest<'_>, mac: Option<[u8; 6]>) -> Begun<'_, Ipv4<'_>> {
    let ip = packet.view(Ipv4::read, Ipv4::LEN)?;
    let given_len = match ip.total_len() {
        0 => None, // segmentation offload: the card fills it in, one segment at a time
        len => Some(usize::from(len)),
    };
    let total_len = given_len.unwrap_or(packet.wire_len);
    let is_sound =
        ip.version() == 4 && ip.header_len() >= Ipv4::LEN && total_len >= ip.header_len();
    if !is_sound {
        return Err(Skip::Malformed);
    }
    packet.on_wire(total_len)?;
    let header = Header {
        source: ip.source().into(),
        destination: ip.destination().into(),
        ..begin(given_len, ip.ttl(), ip.dscp(), mac)
    };
    let payload = Rest {
        identification: ip.identification(),
        ..packet.limit(total_len).skip(ip.header_len())?
    };
    Ok((header, ip, payload))
}

#[inline]
fn ipv6(packet: Rest<'_>, mac: Option<[u8; 6]>) -> Read<'_> {
    let (header, ip, payload) = ipv6_header(packet, mac)?;
    behind_extensions(header, ip.next_header(), payload)
}

#[inline]
fn ipv6_header(packet: Rest<'_>, mac: Option<[u8; 6]>) -> Begun<'_, Ipv6<'_>> {
    let ip = packet.view(Ipv6::read, Ipv6::LEN)?;
    if ip.version() != 6 {
        return Err(Skip::Malformed);
    }
    let given_len = match ip.payload_len() {
        0 if ip.next_header() != next_header::NONE => None, // jumbo payload, or as above
        len => Some(Ipv6::LEN + usize::from(len)),
    };
    let total_len = given_len.unwrap_or(packet.wire_len);
    packet.on_wire(total_len)?;
    let header = Header {
        source: ip.source(),
        destination: ip.destination(),
        ..begin(given_len, ip.hop_limit(), ip.dscp(), mac)
    };
    let header = Header {
        known: header.known | known::V6,
        ..header
    };
    let payload = packet.limit(total_len).skip(Ipv6::LEN)?;
    Ok((header, ip, payload))
}

/// Walks over extension headers up to the upper layer, or up to a fragment header of a later fragment, as the kernel's
/// `ipv6_find_hdr` does for `-p`.
fn behind_extensions(header: Header, next_header: u8, rest: Rest<'_>) -> Read<'_> {
    let (mut number, mut rest) = (next_header, rest);
    for _ in 0..=MAX_EXTENSIONS {
        if !Extension::is_extension(number) {
            return upper_layer(header, number, rest, false);
        }
        let extension = rest.view(|bytes| Extension::read(number, bytes), Extension::LEN)?;
        if !extension.is_sound() {
            return Err(Skip::Malformed);
        }
        rest = rest.skip(extension.header_len())?;
        number = extension.next_header();
        if extension.is_later_fragment() {
            return upper_layer(header, number, rest, true);
        }
    }
    Err(Skip::TooDeep)
}

/// Adds what rules can ask about `protocol`. The kernel's matches read whole headers (without options), and drop the packet
/// if there is less of one.
#[inline]
fn upper_layer(header: Header, protocol: u8, rest: Rest<'_>, is_later_fragment: bool) -> Read<'_> {
    let header = Header { protocol, ..header };
    if is_later_fragment {
        let known = header.known | known::FRAGMENT;
        return Ok((Header { known, ..header }, rest));
    }
    let header = match protocol {
        protocol::TCP => with_tcp(header, rest),
        protocol::UDP | protocol::UDPLITE => with_ports(header, rest, 8),
        protocol::SCTP | protocol::DCCP => with_ports(header, rest, 12),
        // In the wrong family, too: conntrack looks at the protocol alone.
        protocol::ICMP | protocol::ICMPV6 => with_icmp(header, rest),
        _ => Ok(header),
    };
    Ok((header?, rest))
}

fn with_ports(header: Header, rest: Rest<'_>, header_len: usize) -> Result<Header, Skip> {
    rest.require(header_len)?;
    let ports = rest.view(Ports::read, Ports::LEN)?;
    Ok(Header {
        source_port: ports.source(),
        destination_port: ports.destination(),
        known: header.known | known::PORTS,
        ..header
    })
}

fn with_tcp(header: Header, rest: Rest<'_>) -> Result<Header, Skip> {
    let header = with_ports(header, rest, Tcp::LEN)?;
    let tcp_flags = rest.view(Tcp::read, Tcp::LEN)?.flags();
    Ok(Header {
        tcp_flags,
        known: header.known | known::TCP_FLAGS,
        ..header
    })
}

fn with_icmp(header: Header, rest: Rest<'_>) -> Result<Header, Skip> {
    let icmp = rest.view(Icmp::read, Icmp::LEN)?;
    Ok(Header {
        icmp_type: icmp.kind(),
        icmp_code: icmp.code(),
        known: header.known | known::ICMP,
        ..header
    })
}

#[cfg(test)]
mod tests;
