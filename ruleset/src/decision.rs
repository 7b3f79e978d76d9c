//! The answer's words: what netfilter does with a packet.

use crate::ids::{ChainId, RuleId, StrId};
use crate::ruleset::Ruleset;
use crate::target::RejectWith;
use std::net::IpAddr;

/// What netfilter does with one packet, for one number drawn. Where the disposition is unknown, all other fields are
/// as [`Decision::unknown`] leaves them, so that equal unknowns are equal decisions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Where it ends.
    pub disposition: Disposition,
    /// The rule (or `None`: a chain's policy, or routing) that dropped or rejected it; `None` for the other dispositions.
    pub decided_by: Option<RuleId>,
    /// How its destination was rewritten, and by which rule.
    pub dnat: Option<(Nat, RuleId)>,
    /// How its source was rewritten, and by which rule.
    pub snat: Option<(Snat, RuleId)>,
    /// The rule that set the mark last: of the `MARK` rules that the packet met whose target sets bits (`value & mask != 0`),
    /// the last. Where that rule stands in a chain named `KUBE-MARK-MASQ` or `KUBE-MARK-DROP` (missing or not), the rule that
    /// jumped there. (`CONNMARK` does not count.)
    pub marked_by: Option<RuleId>,
    /// The final mark.
    pub mark: u32,
}

impl Decision {
    /// An unknown.
    pub fn unknown(unknown: Unknown) -> Self {
        Self {
            disposition: Disposition::Unknown(unknown),
            decided_by: None,
            dnat: None,
            snat: None,
            marked_by: None,
            mark: 0,
        }
    }

    /// Whether more facts are missing than are followed up, so that it says nothing.
    pub fn gave_up(&self) -> bool {
        matches!(
            self.disposition,
            Disposition::Unknown(Unknown {
                fact: Fact::TooMany,
                ..
            })
        )
    }

    /// Whether it is unknown.
    pub fn is_unknown(&self) -> bool {
        matches!(self.disposition, Disposition::Unknown(_))
    }
}

/// Where a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    /// It goes on to another host.
    Forward,
    /// It is delivered to this node.
    Local,
    /// This node sends it to another host.
    Out,
    /// It ends silently.
    Drop,
    /// It ends, and the sender is told.
    Reject(RejectWith),
    /// It depends on something that is not known.
    Unknown(Unknown),
}

impl Disposition {
    /// The word in JSON: `forward local out drop reject unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Local => "local",
            Self::Out => "out",
            Self::Drop => "drop",
            Self::Reject(_) => "reject",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What is missing, and where it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unknown {
    /// The rule that asked; `None`: routing did.
    pub rule: Option<RuleId>,
    /// The fact.
    pub fact: Fact,
}

/// A fact that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// The device the packet arrived on.
    InInterface,
    /// The device it will leave by.
    OutInterface,
    /// Whether an address is this node's.
    LocalAddresses,
    /// What an ipset holds.
    IpSet(StrId),
    /// What a chain that the dump lacks holds.
    Chain(ChainId),
    /// A match that one packet cannot decide, by its module's name.
    Match(StrId),
    /// A target that is not modelled, by name.
    Target(StrId),
    /// What a nat target does at a hook where the kernel refuses it.
    NatHook,
    /// What a type of address (`addrtype`) other than LOCAL, UNICAST, BROADCAST, MULTICAST is.
    AddressType,
    /// An option of `-m conntrack` that is not modelled, or what conntrack makes of such a packet.
    Conntrack,
    /// Which connections the kernel evicts because its table is full.
    ConntrackFull,
    /// TCP options.
    TcpOption,
    /// The packet's length.
    Length,
    /// Its TTL or hop limit.
    Ttl,
    /// Its DSCP.
    Dscp,
    /// Its source MAC.
    Mac,
    /// Which address of a range nat chooses, or to which one a redirect goes.
    NatAddress,
    /// Which port nat draws.
    NatPort,
    /// Whether 127.0.0.0/8 may cross a real device (`route_localnet`).
    RouteLocalnet,
    /// Whether this node listens to a multicast group.
    MulticastGroup,
    /// What rules make of the fragments in which a packet comes back by `lo`.
    Fragments,
    /// More missing facts on one way than are followed up ([`MAX_FORKS`]).
    TooMany,
}

/// On one packet's way, unknown conditions are followed both ways up to this many deep; the one after it makes the decision
/// unknown with [`Fact::TooMany`].
pub const MAX_FORKS: u32 = 10;

/// Up to this many addresses a nat range's choice is a uniform draw, beyond it is [`Fact::NatAddress`].
pub const MAX_NAT_CHOICES: u128 = 16;

impl Fact {
    /// What is missing, in words.
    pub fn describe(self, ruleset: &Ruleset) -> String {
        match self {
            Self::InInterface => "the interface that the packet arrived on".into(),
            Self::OutInterface => "the interface that the packet leaves by".into(),
            Self::LocalAddresses => "whether the address is one of this node's".into(),
            Self::IpSet(name) => format!("the members of ipset {}", ruleset.text(name)),
            Self::Chain(chain) => {
                format!("chain {} is not in the dump", ruleset.chain_name(chain))
            }
            Self::Match(module) => format!(
                "match {} is not decided by one packet",
                ruleset.text(module)
            ),
            Self::Target(name) => format!("target {} is not modelled", ruleset.text(name)),
            Self::NatHook => "a nat target at a hook where the kernel refuses it".into(),
            Self::AddressType => "the address's type in the routing table".into(),
            Self::Conntrack => "a conntrack option beyond those modelled".into(),
            Self::ConntrackFull => {
                "which connections are evicted while conntrack's table is full".into()
            }
            Self::TcpOption => "the packet's TCP options".into(),
            Self::Length => "the packet's length".into(),
            Self::Ttl => "the packet's TTL or hop limit".into(),
            Self::Dscp => "the packet's DSCP".into(),
            Self::Mac => "the packet's source MAC address".into(),
            Self::NatAddress => "which address nat chooses".into(),
            Self::NatPort => "which port nat draws".into(),
            Self::RouteLocalnet => "sysctl route_localnet".into(),
            Self::MulticastGroup => "whether this node listens to the multicast group".into(),
            Self::Fragments => {
                "what rules make of its fragments, which come back by lo one by one".into()
            }
            Self::TooMany => "too many facts are missing on this packet's way".into(),
        }
    }

    /// The option of `kpclass` that would supply it, if one does.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Self::InInterface => Some("--in-interface"),
            Self::LocalAddresses | Self::NatAddress | Self::MulticastGroup => Some("--local-addrs"),
            Self::IpSet(_) => Some("--ipset"),
            Self::Chain(_) => Some("--rules"),
            Self::RouteLocalnet => Some("--sysctl"),
            Self::ConntrackFull => Some("--max-connections"),
            Self::Length | Self::Ttl | Self::Dscp | Self::Mac => Some("--frame"),
            _ => None,
        }
    }
}

/// A rewritten destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nat {
    /// The new address; `None`: some address of this node, not known which (a `REDIRECT` of an arriving packet).
    pub address: Option<IpAddr>,
    /// The port it has afterwards; `None` for a protocol without ports.
    pub port: Option<u16>,
}

/// A rewritten source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Snat {
    /// To an address of the device it leaves by.
    Masquerade,
    /// `SNAT --to-source`: first and last address (`None`: kept) and, if given, ports.
    To {
        /// Addresses.
        addresses: Option<(IpAddr, IpAddr)>,
        /// Ports, first and last.
        ports: Option<(u16, u16)>,
    },
    /// `NETMAP` of the source.
    Netmap(IpAddr),
}
