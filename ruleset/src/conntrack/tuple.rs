//! What a connection is found by (CONNTRACK.md 1).

use super::Datagram;
use crate::value::protocol;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Protocol, and for each side an address and a part: a port; for ICMP the id, and `type * 256 + code`; 0 for other protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Protocol number.
    pub protocol: u8,
    /// Source address and part.
    pub source: (IpAddr, u16),
    /// Destination address and part.
    pub destination: (IpAddr, u16),
}

/// The queries that have a reply, with it (`invmap` of `nf_conntrack_proto_icmp.c` and `…_icmpv6.c`).
const ICMP: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
const ICMPV6: [(u8, u8); 2] = [(128, 129), (139, 140)];

impl Tuple {
    /// A packet's; `None`: a fragment without ports, a query without its id.
    pub fn of(datagram: &Datagram) -> Option<Self> {
        let packet = &datagram.packet;
        let parts = match packet.protocol {
            _ if packet.fragment => return None,
            protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP => packet.ports?,
            protocol::ICMP | protocol::ICMPV6 => {
                let (kind, code) = packet.icmp?;
                (datagram.icmp_id?, u16::from_be_bytes([kind, code]))
            }
            _ => (0, 0),
        };
        Some(Self {
            protocol: packet.protocol,
            source: (packet.source, parts.0),
            destination: (packet.destination, parts.1),
        })
    }

    /// Whether its parts are ports.
    pub fn has_ports(&self) -> bool {
        matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP
        )
    }

    /// Whether it is of a protocol whose destination part is a type and a code.
    pub fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    /// That of an answer; `None`: an ICMP type that nothing answers, or that is no answer.
    pub fn inverse(&self) -> Option<Self> {
        let (to_source, to_destination) = if self.is_icmp() {
            let [kind, code] = self.destination.1.to_be_bytes();
            let other = counterpart(self.protocol, kind)?;
            (self.source.1, u16::from_be_bytes([other, code]))
        } else {
            (self.destination.1, self.source.1)
        };
        Some(Self {
            protocol: self.protocol,
            source: (self.destination.0, to_source),
            destination: (self.source.0, to_destination),
        })
    }
}

fn counterpart(number: u8, kind: u8) -> Option<u8> {
    let pairs: &[(u8, u8)] = if number == protocol::ICMP {
        &ICMP
    } else {
        &ICMPV6
    };
    pairs.iter().find_map(|(query, reply)| match kind {
        k if k == *query => Some(*reply),
        k if k == *reply => Some(*query),
        _ => None,
    })
}

/// `tcp 10.0.0.1:4000 > 10.0.0.2:80`.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol::name(self.protocol) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", self.protocol)?,
        }
        let side = |(address, part): (IpAddr, u16)| SocketAddr::new(address, part);
        write!(f, " {} > {}", side(self.source), side(self.destination))
    }
}
