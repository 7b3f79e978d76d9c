//! The words of connection tracking that the trackers share (CONNTRACK.md): tuples, directions, statuses, settings, and what conntrack reads of a packet
//! that no single-packet rule asks for. Nothing here tracks anything.

mod fragments;
mod options;
mod settings;
mod tuple;

#[cfg(test)]
mod tests;

pub use fragments::Unjoined;
pub use options::{LaterOption, LaterTest, later_options};
pub use settings::{Settings, SettingsError};
pub use tuple::Tuple;

use crate::packet::Packet;
use std::fmt;

/// Which of a connection's tuples a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// That of its first packet.
    Original,
    /// The other.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// A connection's status bits, as the kernel numbers them (`enum ip_conntrack_status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CtStatus(u32);

impl CtStatus {
    /// A helper expected it.
    pub const EXPECTED: Self = Self(1);
    /// A packet went in the reply direction.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// It is never evicted early.
    pub const ASSURED: Self = Self(1 << 2);
    /// Its first packet has left the node, or was delivered.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// nat gave it another source.
    pub const SNAT: Self = Self(1 << 4);
    /// nat gave it another destination.
    pub const DNAT: Self = Self(1 << 5);

    /// Each bit with its name in `--ctstatus`, or of `--ctstate`.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::EXPECTED, "EXPECTED"),
        (Self::SEEN_REPLY, "SEEN_REPLY"),
        (Self::ASSURED, "ASSURED"),
        (Self::CONFIRMED, "CONFIRMED"),
        (Self::SNAT, "SNAT"),
        (Self::DNAT, "DNAT"),
    ];

    /// Those of the kernel's bits that have a name here.
    pub fn from_kernel(bits: u32) -> Self {
        Self(bits & 0x3f)
    }

    /// The bits, as the kernel numbers them.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it has any of `other`'s.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// `SEEN_REPLY,ASSURED`; `NONE`.
impl fmt::Display for CtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES
            .iter()
            .filter(|(bit, _)| self.intersects(*bit))
            .map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("NONE"))?;
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}

/// A packet with what only conntrack reads of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// As rules see it. (Its `ctstate` is not looked at: the tracker finds it.)
    pub packet: Packet,
    /// The id of an ICMP or ICMPv6 query.
    pub icmp_id: Option<u16>,
    /// The tuple of the packet that an ICMP error carries; `None`: too little of it is there, or it is none of an address family's.
    pub carried: Option<Tuple>,
    /// The types of an SCTP packet's chunks, in order; `None`: not known.
    pub chunks: Option<Vec<u8>>,
    /// Whether a checksum is known to be wrong, or a length field of the transport header.
    pub is_broken: bool,
    /// Whether it was joined of several fragments.
    pub is_joined: bool,
}

impl Datagram {
    /// Without more than the packet tells: an SCTP packet is an INIT, an ICMP query has id 0.
    pub fn new(packet: Packet) -> Self {
        use crate::value::protocol;
        /// `SCTP_CID_INIT`.
        const INIT: u8 = 1;
        let chunks = (packet.protocol == protocol::SCTP).then(|| vec![INIT]);
        Self {
            icmp_id: packet.icmp.map(|_| 0),
            carried: None,
            chunks,
            is_broken: false,
            is_joined: false,
            packet,
        }
    }
}
