//! Builds the bytes of a frame.
//!
//! ```text
//! Packet, Origin, Tag ─► link ─► network ─► transport ─► bytes
//! ```
//!
//! Every field that a rule can ask for is the packet's; what a rule cannot see is the [`Tag`]'s, so that whoever injects a frame can
//! tell it again behind the kernel. All checksums are right.

mod fragment;
mod link;
mod network;
mod transport;

pub use fragment::Piece;

use kpclass_ruleset::conntrack::Tuple;
use kpclass_ruleset::packet::Packet;

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
    /// Bytes of the link header.
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
    fn device(self) -> u32 {
        match self {
            Self::Pod => 3,
            Self::Outside | Self::Node => 2,
        }
    }
}

/// Header fields that no rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The identification of an IPv4 header (in host order, as all numbers here), and of the fragment header of IPv6.
    pub identification: u16,
    /// The flow label of an IPv6 header: its low 20 bits.
    pub flow_label: u32,
    /// The sequence number of TCP; in a whole body the acknowledgment number too.
    pub sequence: u32,
    /// The source of an Ethernet or cooked header, where the packet does not say; `None`: the origin's.
    pub source_mac: Option<[u8; 6]>,
    /// The destination of an Ethernet header; `None`: the node's, or for a packet of the node its router's.
    pub destination_mac: Option<[u8; 6]>,
    /// Where a later fragment begins in its datagram, in units of 8 bytes: 1 to 8191.
    pub fragment_offset: u16,
    /// The acknowledgment number of TCP; `None`: in a whole body the sequence number, else 0.
    pub acknowledgment: Option<u32>,
    /// In a whole body, the id of an ICMP query; `None`: the identification.
    pub icmp_id: Option<u16>,
    /// In a whole body, what an ICMP error carries; `None`: a packet of no connection.
    pub carried: Option<Tuple>,
    /// In a whole body, what an SCTP packet holds; `None`: an INIT.
    pub sctp: Option<Sctp>,
}

/// The inside of an SCTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// The verification tag.
    pub tag: u32,
    /// The tag that an INIT or INIT_ACK gives.
    pub initiate: u32,
    /// The chunks' types; `None` behind the last.
    pub chunks: [Option<u8>; 3],
}

impl Default for Tag {
    fn default() -> Self {
        Self {
            identification: 0,
            flow_label: 0,
            sequence: 1,
            source_mac: None,
            destination_mac: None,
            fragment_offset: 1,
            acknowledgment: None,
            icmp_id: None,
            carried: None,
            sctp: None,
        }
    }
}

/// What follows the fields that a rule can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Zeros.
    Bare,
    /// What the protocol asks for.
    Whole,
}

/// Builds frames, one after the other, in the same buffer.
#[derive(Debug)]
pub struct Framer {
    link: Link,
    size: usize,
    body: Body,
    buffer: Vec<u8>,
}

impl Framer {
    /// Frames of `size` bytes, or of as many as their headers need; behind the headers of TCP, UDP and ICMP, and the ports of the
    /// other protocols, are zeros.
    pub fn new(link: Link, size: usize) -> Self {
        Self {
            link,
            size,
            body: Body::Bare,
            buffer: Vec::new(),
        }
    }

    /// Frames as short as their protocol allows, with the body that it asks for, as a kernel's connection tracking reads it: an SCTP packet
    /// is an INIT, a DCCP packet a Request; an ICMP error holds the header of a packet of no connection; GRE, ESP and AH have their
    /// headers; a protocol without one here has 8 bytes.
    pub fn whole(link: Link) -> Self {
        Self {
            body: Body::Whole,
            ..Self::new(link, 0)
        }
    }

    /// The packet as bytes, its tag being the default one.
    pub fn frame(&mut self, packet: &Packet, origin: Origin) -> &[u8] {
        self.tagged(packet, origin, &Tag::default())
    }

    /// The packet as bytes. Where it knows its total length, zeros fill it up to that (its headers are never cut short); source MAC, TTL,
    /// DSCP and ICMP type are the packet's where it knows them. A later fragment has no transport header; one of IPv6 has its fragment header.
    pub fn tagged(&mut self, packet: &Packet, origin: Origin, tag: &Tag) -> &[u8] {
        let start = self.link.header();
        let network = network::length(packet);
        let transport = transport::length(packet, tag, self.body == Body::Whole);
        let least = match packet.length {
            Some(total) => usize::from(total).max(network + transport),
            None => (network + transport).max(self.size.saturating_sub(start)),
        };
        self.buffer.clear();
        self.buffer.resize(start + least, 0);
        let (link, ip) = self.buffer.split_at_mut(start);
        link::write(self.link, link, packet, origin, tag);
        let (header, rest) = ip.split_at_mut(network);
        network::write(header, packet, rest.len(), tag);
        if !packet.fragment {
            transport::write(rest, packet, tag, self.body == Body::Whole);
        }
        &self.buffer
    }
}

/// The length fields of headers are 16 bits wide; frames are no longer than that.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Writes bytes at an offset, where there is room for them.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = bytes.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}
