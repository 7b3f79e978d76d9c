//! What a node asks of a packet while the program runs.

use crate::graph::{ListId, MaskedAddress};
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::value::{Interface, InterfacePattern, PortRange};

/// Which address a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressOf {
    /// The packet's source.
    Source,
    /// Its destination.
    Destination,
    /// This one, after a rewrite.
    Known(u128),
    /// Its source, as the NETMAP of this rule (a position in the graph's) rewrites it.
    Mapped(u32),
}

/// The device that must hold an address for it to be LOCAL (`addrtype --limit-iface-in`, `-out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Any.
    None,
    /// The one it arrived on.
    Arrival,
    /// This one, or none at all, where the way tells it; whether it is asked about as the one it leaves by.
    Known(Interface, bool),
    /// The one it leaves by: not known, but not `lo`.
    Departure,
    /// The same of a packet that this node sends: `lo` where it comes back.
    Sent,
}

impl Limit {
    /// What is missing where the device is not known, or not what it holds.
    pub(crate) fn fact(self) -> Fact {
        match self {
            Self::None | Self::Arrival | Self::Known(_, false) => Fact::LocalAddresses,
            Self::Known(_, true) | Self::Departure | Self::Sent => Fact::OutInterface,
        }
    }
}

/// What nat makes of a source port (WALK.md 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortRewrite {
    /// It stays.
    Kept,
    /// One of these, unless it is one already.
    Into(PortRange),
    /// One of these, drawn.
    Drawn(PortRange),
    /// Drawn among those of its kind (`nf_nat_l4proto_unique_tuple`).
    DrawnOfItsKind,
}

impl PortRewrite {
    /// Which ports may become of this one.
    pub fn of(self, own: u16) -> PortRange {
        let among = |first, last| PortRange { first, last };
        match self {
            Self::Kept => PortRange::single(own),
            Self::Into(range) if range.contains(own) => PortRange::single(own),
            Self::Into(range) | Self::Drawn(range) => range,
            Self::DrawnOfItsKind => match own {
                0..512 => among(1, 511),
                512..1024 => among(600, 1023),
                1024.. => among(1024, u16::MAX),
            },
        }
    }
}

/// How nat rewrites a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// By `SNAT` or `MASQUERADE`.
    To(Snat, PortRewrite),
    /// By `NETMAP`: the network part.
    Netmap(MaskedAddress),
}

/// A test of the packet as it came; everything that a rule rewrote is folded away before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Never known.
    Unknown(Fact),
    /// The source is inside.
    Source(MaskedAddress),
    /// From first to last.
    SourceRange(u128, u128),
    /// The destination is inside.
    Destination(MaskedAddress),
    /// From first to last.
    DestinationRange(u128, u128),
    /// The destination is this address and port.
    DestinationIs(u128, u16),
    /// `source & .0 == destination & .1`.
    SidesMeet(u128, u128),
    /// The source that the NETMAP of this rule gives is from first to last.
    MappedRange(u32, u128, u128),
    /// The source that the NETMAP of this rule gives, under the first mask, is the packet's own source (or else destination) under the second.
    MappedIs(u32, bool, u128, u128),
    /// The protocol.
    Protocol(u8),
    /// TCP, UDP, UDP-Lite, SCTP or DCCP.
    PortProtocol,
    /// It has ports.
    HasPorts,
    /// A fragment other than the first.
    Fragment,
    /// It has ports, and the source port is inside.
    SourcePort(PortRange),
    /// It has ports, and what nat makes of the source port is inside.
    NewSourcePort(PortRewrite, PortRange),
    /// It has ports, and what nat makes of the source port is in the list, or the destination port is, if that is asked, too.
    NewSourcePortList(PortRewrite, ListId, bool),
    /// It has ports, and the destination port is inside.
    DestinationPort(PortRange),
    /// What its connection's tuple holds in the place of a source port.
    TupleSourcePort(PortRange),
    /// And in that of a destination port.
    TupleDestinationPort(PortRange),
    /// nat, which rewrote the source so, gave it another address or port than it had. The flag: if not, whether the destination was changed decides, and is not
    /// known.
    SourceChanged(Rewrite, bool),
    /// From 127.0.0.0/8, but for its broadcast address, and its first destination is another than this.
    LeavesLoopback(u128),
    /// Its destination is link-local.
    LinkLocalDestination,
    /// The device that it arrived on is known.
    ArrivalKnown,
    /// It has ports, and that side's is in the list.
    PortList(PortSide, ListId),
    /// `flags & .0 == .1`.
    TcpFlags(u8, u8),
    /// It has an ICMP type and code.
    HasIcmp,
    /// Type, first and last code.
    Icmp(u8, u8, u8),
    /// `first mark & .0 == .1`.
    Mark(u32, u32),
    /// The arrival device fits.
    InInterface(InterfacePattern),
    /// The departure device fits; sent by this node?
    OutInterface(InterfacePattern, bool),
    /// `addrtype` of an address.
    AddressType(AddressOf, AddressTypes, Limit),
    /// What this node sends there comes back on `lo`.
    ComesBack,
    /// The destination is known not to be this node's.
    DestinationNotLocal,
    /// IPv6's receive function refuses it before any table (WALK.md 2).
    RefusedOnEntry,
    /// It is known to have arrived by this device.
    ArrivedBy(Interface),
    /// It is not known to have come by `lo`.
    FromDevice,
    /// The link source.
    Mac([u8; 6]),
    /// The length.
    Length(PortRange),
    /// Lowest, highest; of a forwarded packet, whose TTL is one less by then?
    Ttl(u8, u8, bool),
    /// The DSCP.
    Dscp(u8),
    /// A set, by position in the program's set tests.
    Set(u32),
}

impl Test {
    /// Whether the answer can be missing.
    pub fn may_be_unknown(self, local_known: bool) -> bool {
        match self {
            Self::Unknown(_)
            | Self::InInterface(_)
            | Self::OutInterface(..)
            | Self::Mac(_)
            | Self::Length(_)
            | Self::Ttl(..)
            | Self::Dscp(_)
            | Self::TupleSourcePort(_)
            | Self::NewSourcePort(..)
            | Self::NewSourcePortList(..)
            | Self::SourceChanged(..)
            | Self::Set(_) => true,
            Self::AddressType(_, types, limit) => {
                !local_known || limit != Limit::None || types.0 & !0b10_1110 != 0
            }
            _ => false,
        }
    }
}

// Tests lie side by side in memory, and packets wait for them.
const _: () = assert!(size_of::<Test>() <= 64);
