//! What a node asks of a packet while the program runs.

use crate::graph::{ListId, MaskedAddress};
use kpclass_ruleset::decision::Fact;
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
    /// Its source with this network part.
    Mapped(MaskedAddress),
}

/// A device of the packet, as far as its way tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// That of its arrival, as the packet says itself.
    Arrival,
    /// That of its arrival, which is this one; [`Interface::none`] where there is none.
    ArrivedBy(Interface),
    /// That by which this node sends it where it first was to go: `lo`, or one that is not known.
    Departure,
    /// That of its departure, which is this one, or not known.
    LeavesBy(Option<Interface>),
}

impl Device {
    /// What is missing where it is not known and `addrtype` asks.
    pub fn fact(self) -> Fact {
        match self {
            Self::Arrival | Self::ArrivedBy(_) => Fact::LocalAddresses,
            Self::Departure | Self::LeavesBy(_) => Fact::OutInterface,
        }
    }
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
    /// The source with this network part is from first to last.
    MappedRange(MaskedAddress, u128, u128),
    /// Two addresses, each under a mask, are one.
    SameAddress((AddressOf, u128), (AddressOf, u128)),
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
    /// It has ports, and the destination port is inside.
    DestinationPort(PortRange),
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
    /// `addrtype` of an address, perhaps of this device's alone.
    AddressType(AddressOf, AddressTypes, Option<Device>),
    /// The destination is known to be this node's, and no group's.
    DestinationLocal,
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
            | Self::Set(_) => true,
            Self::AddressType(_, types, limit) => {
                !local_known || limit.is_some() || types.0 & !0b10_1110 != 0
            }
            _ => false,
        }
    }
}
