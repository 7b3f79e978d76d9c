//! A packet as conntrack looks at it.

use super::tuple::{Tuple, Width, has_ports};
use crate::extract::OfConnection;
use kpclass_compiler::Context;
use kpclass_compiler::header::{Header, known};
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{self, Datagram};
use kpclass_ruleset::value::protocol;

/// A packet with what only conntrack reads of it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// As rules see it.
    pub header: Header,
    /// Where it starts; its ctstate is not looked at.
    pub context: Context,
    /// The id of an ICMP query.
    pub icmp_id: Option<u16>,
    /// The tuple of the packet that an ICMP error carries.
    pub carried: Option<conntrack::Tuple>,
    /// The types of an SCTP packet's chunks.
    pub chunks: Option<Vec<u8>>,
    /// Whether a checksum, or a length of the transport header, is known to be wrong.
    pub is_broken: bool,
    /// What nat and forwarding leave as it is.
    pub sign: Option<u64>,
    /// The same of UDP, see [`OfConnection::datagram`].
    pub(crate) datagram: Option<u64>,
    /// Of a SYN, and of the SYN+ACK that answers it: the SYN's sequence number.
    pub syn: Option<u32>,
    /// It was met behind nat only, and stands here as it came.
    pub is_rewritten: bool,
}

impl From<&Datagram> for Packet {
    fn from(datagram: &Datagram) -> Self {
        Self {
            header: Header::from(&datagram.packet),
            context: Context {
                is_joined: datagram.is_joined,
                ..Context::from(&datagram.packet)
            },
            icmp_id: datagram.icmp_id,
            carried: datagram.carried,
            chunks: datagram.chunks.clone(),
            is_broken: datagram.is_broken,
            sign: None,
            datagram: None,
            syn: None,
            is_rewritten: false,
        }
    }
}

impl Packet {
    /// As it was read.
    pub(crate) fn new(read: OfConnection, context: Context) -> Self {
        let OfConnection {
            header,
            icmp_id,
            carried,
            chunks,
            is_broken,
            is_joined,
            sign,
            datagram,
            syn,
        } = read;
        Self {
            header,
            context: Context {
                is_joined,
                ..context
            },
            icmp_id,
            carried,
            chunks,
            is_broken,
            sign,
            datagram,
            syn,
            is_rewritten: false,
        }
    }

    fn has(&self, bit: u16) -> bool {
        self.header.known & bit != 0
    }

    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        let h = &self.header;
        self.has(known::PORTS)
            .then_some((h.source_port, h.destination_port))
    }

    pub(super) fn arrives(&self) -> bool {
        self.context.hook != Hook::Output
    }

    pub(super) fn tcp_flags(&self) -> Option<u8> {
        self.has(known::TCP_FLAGS).then_some(self.header.tcp_flags)
    }

    /// The type of an ICMP packet of this protocol.
    fn kind(&self, number: u8) -> Option<u8> {
        let is_one = self.header.protocol == number && self.has(known::ICMP);
        is_one.then_some(self.header.icmp_type)
    }

    /// It tells of another packet (CONNTRACK.md 6).
    pub(super) fn is_error(&self) -> bool {
        matches!(self.kind(protocol::ICMP), Some(3 | 4 | 5 | 11 | 12))
            || self.kind(protocol::ICMPV6).is_some_and(|kind| kind < 128)
    }

    /// conntrack leaves it alone: neighbours, routers, groups.
    pub(super) fn is_left_alone(&self) -> bool {
        matches!(self.kind(protocol::ICMPV6), Some(130..=136 | 143))
    }

    /// ICMP of a type that nobody knows.
    pub(super) fn is_unknown_icmp(&self) -> bool {
        self.kind(protocol::ICMP).is_some_and(|kind| kind > 18)
    }

    /// An ICMP packet that can begin a connection.
    pub(super) fn is_query(&self) -> bool {
        matches!(self.kind(protocol::ICMP), Some(8 | 13 | 15 | 17))
            || matches!(self.kind(protocol::ICMPV6), Some(128 | 139))
    }

    /// `None`: a fragment without ports, a query without its id.
    pub(super) fn tuple<A: Width>(&self) -> Option<Tuple<A>> {
        let h = &self.header;
        let parts = match h.protocol {
            _ if self.has(known::FRAGMENT) => return None,
            number if has_ports(number) => match self.has(known::PORTS) {
                true => (h.source_port, h.destination_port),
                false => return None,
            },
            protocol::ICMP | protocol::ICMPV6 => match self.has(known::ICMP) {
                true => (
                    self.icmp_id?,
                    u16::from_be_bytes([h.icmp_type, h.icmp_code]),
                ),
                false => return None,
            },
            _ => (0, 0),
        };
        Some(Tuple::new(
            h.protocol,
            (A::of(h.source), parts.0),
            (A::of(h.destination), parts.1),
        ))
    }
}
