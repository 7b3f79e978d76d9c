//! The lowered ruleset: every match split into conditions that ask one thing each, every target an operation.

use crate::program::test::PortRewrite;
use kpclass_ruleset::conntrack::LaterOption;
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::target::{ConnmarkOp, MarkSet, NatRange, RejectWith};
use kpclass_ruleset::value::{
    CtStates, Family, InterfacePattern, PortRange, Prefix, address_number,
};
use kpclass_ruleset::{Hook, Policy, RuleId, StrId, TableId};
use std::ops::Range;

/// An address under a mask, as numbers. (Packed: there are millions in a large ruleset's conditions.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
pub struct MaskedAddress {
    /// The masked address.
    pub address: u128,
    /// The mask; for IPv4 in the low 32 bits.
    pub mask: u128,
}

impl MaskedAddress {
    /// Of a prefix.
    pub fn new(prefix: Prefix) -> Self {
        Self {
            address: address_number(prefix.address()),
            mask: address_number(prefix.mask()),
        }
    }

    /// Whether `address` is inside.
    pub fn contains(self, address: u128) -> bool {
        address & self.mask == self.address
    }

    /// The one address it holds, if it is a host's.
    pub fn host(self, family: Family) -> Option<u128> {
        let all = match family {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        (self.mask == all).then_some(self.address)
    }
}

/// Addresses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(Rust, packed(4))]
pub struct AddressRange {
    /// The first.
    pub first: u128,
    /// The last.
    pub last: u128,
}

/// One thing asked of a packet. Addresses and ports are the present ones, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Always true.
    True,
    /// Never true.
    False,
    /// Never known.
    Unknown(Fact),
    /// `-s`.
    Source(MaskedAddress),
    /// `-d`.
    Destination(MaskedAddress),
    /// `--src-range`.
    SourceRange(AddressRange),
    /// `--dst-range`.
    DestinationRange(AddressRange),
    /// `-i`.
    InInterface(InterfacePattern),
    /// `-o`.
    OutInterface(InterfacePattern),
    /// `-p`.
    Protocol(u8),
    /// TCP, UDP, UDP-Lite, SCTP or DCCP.
    PortProtocol,
    /// `-f`.
    Fragment,
    /// It has ports.
    HasPorts,
    /// `--sport`.
    SourcePort(PortRange),
    /// `--dport`.
    DestinationPort(PortRange),
    /// `multiport`, by list.
    PortList(PortSide, ListId),
    /// `--tcp-flags`: mask, value.
    TcpFlags(u8, u8),
    /// It has an ICMP type and code.
    HasIcmp,
    /// `--icmp-type`: IPv6?, type, first and last code; IPv4's type 255 is any.
    Icmp(bool, u8, u8, u8),
    /// `mark`: mask, value.
    Mark(u32, u32),
    /// `connmark`: mask, value.
    Connmark(u32, u32),
    /// `ctstate`.
    CtState(CtStates),
    /// It has a connection: neither INVALID nor UNTRACKED.
    HasConnection,
    /// `--ctorigsrc`.
    OriginalSource(MaskedAddress),
    /// `--ctorigdst`.
    OriginalDestination(MaskedAddress),
    /// `--ctdir`: ORIGINAL, or else REPLY.
    Direction(bool),
    /// Options that need more than one packet, by position in [`Graph::later_options`].
    Later(u32),
    /// `--ctorigsrcport`.
    OriginalSourcePort(PortRange),
    /// `--ctorigdstport`.
    OriginalDestinationPort(PortRange),
    /// `--src-type`: the types, `--limit-iface-in`, `--limit-iface-out`.
    SourceType(AddressTypes, bool, bool),
    /// `--dst-type`.
    DestinationType(AddressTypes, bool, bool),
    /// A draw of probability n/d.
    Chance(u32, u32),
    /// `recent`, by position in [`Graph::recents`].
    Recent(u32),
    /// `set`, by position in [`Graph::sets`].
    Set(u32),
    /// It came by a device other than `lo`.
    FromDevice,
    /// `mac`.
    Mac([u8; 6]),
    /// `length`.
    Length(PortRange),
    /// `ttl`: lowest and highest.
    Ttl(u8, u8),
    /// `dscp`.
    Dscp(u8),
}

/// A position in [`Graph::port_lists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListId(pub u32);

/// An [`Ask`], perhaps inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// `!`.
    pub inverted: bool,
    /// Asked of the connection: holds, inverted or not, for a packet without one.
    pub of_connection: bool,
    /// What is asked.
    pub ask: Ask,
}

const _: () = assert!(size_of::<Condition>() == 40);

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// On to the next rule.
    Next,
    /// This table's walk ends, the packet goes on.
    Accept,
    /// It ends.
    Drop,
    /// It ends, the sender is told.
    Reject(RejectWith),
    /// Back to the caller.
    Return,
    /// Into a chain.
    Jump(u32),
    /// Into a chain, leaving no way back here.
    Goto(u32),
    /// The mark changes.
    Mark(MarkSet),
    /// The connection's mark, or from it.
    Connmark(ConnmarkOp),
    /// The destination is rewritten.
    Dnat(NatRange),
    /// The destination becomes this node's.
    Redirect(NatRange),
    /// The network part is rewritten: the destination's or the source's, by the hook.
    Netmap(MaskedAddress),
    /// The source is rewritten.
    Snat(Snat, PortRewrite),
    /// ctstate UNTRACKED.
    Notrack,
    /// Later matches on the field are unknown.
    RewriteTtl,
    /// The same for dscp.
    RewriteDscp,
    /// The same for sets.
    ChangeSets,
    /// The decision is unknown.
    Unknown(Fact),
    /// `KUBE-MARK-MASQ` or `KUBE-MARK-DROP`, not in the dump: this bit of the mark is set.
    SetMarkBit(u32),
    /// `KUBE-POSTROUTING`, not in the dump: its well-known body.
    KubePostrouting,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct LoweredRule {
    /// Where it comes from.
    pub id: RuleId,
    /// All of them must hold.
    pub conditions: Range<u32>,
    /// What happens then.
    pub op: Op,
}

/// A chain: its rules are `rules[first..end]` of the graph.
#[derive(Clone, Debug)]
pub struct LoweredChain {
    /// Its rules.
    pub rules: Range<u32>,
    /// The policy, if it is built-in.
    pub policy: Policy,
    /// Whether a `MARK` in it is credited to the rule that jumped there.
    pub is_mark_chain: bool,
    /// Its table.
    pub table: TableId,
    /// Whether it is asked elsewhere than in nat PREROUTING and OUTPUT.
    pub is_late: bool,
}

/// A `recent` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentAsk {
    /// The list.
    pub list: StrId,
    /// See [`kpclass_ruleset::matches::Recent`].
    pub operation: kpclass_ruleset::matches::RecentOperation,
    /// By destination?
    pub by_destination: bool,
    /// Bits that count.
    pub mask: u128,
    /// At least so many times; 0: any.
    pub hitcount: u32,
    /// Only times not older than this; 0: all.
    pub seconds: u32,
    /// The list's oldest address goes, if it is older than that.
    pub reap: bool,
    /// The TTL must be the remembered packet's.
    pub same_ttl: bool,
}

/// The lowered rules of a family, with what the whole of them asks for.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The family.
    pub family: Family,
    /// Rules in the ruleset's order; those that cannot matter are left out.
    pub rules: Vec<LoweredRule>,
    /// Conditions of all rules.
    pub conditions: Vec<Condition>,
    /// Chains, by `ChainId`.
    pub chains: Vec<LoweredChain>,
    /// Built-in chains by table and hook.
    pub entries: [[Option<u32>; 5]; 5],
    /// `multiport` lists.
    pub port_lists: Vec<Vec<PortRange>>,
    /// `recent` conditions.
    pub recents: Vec<RecentAsk>,
    /// `set` conditions.
    pub sets: Vec<kpclass_ruleset::matches::SetMatch>,
    /// The names of their sets.
    pub set_names: Vec<String>,
    /// Options of `conntrack` that need more than one packet; `None`: none that are known.
    pub later_options: Vec<Option<Vec<LaterOption>>>,
    /// Whether some rule turns connection tracking on.
    pub conntrack_on: bool,
    /// Whether nat POSTROUTING is missing and gets `KUBE-POSTROUTING`'s body.
    pub implied_masquerade: bool,
    /// What conditions after nat can ask about.
    pub asked: Asked,
}

/// What some rule asks about; what none asks can be left out of keys and states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A ctstate of SNAT.
    pub snat_state: bool,
    /// A draw outside nat PREROUTING and OUTPUT.
    pub late_draw: bool,
    /// The connection's original addresses or ports.
    pub original: bool,
    /// What only who follows connections can answer: an ICMP id, `--ctstatus` and its like.
    pub connection: bool,
    /// Sets, or `recent` by destination, outside nat PREROUTING and OUTPUT.
    pub late_sets: bool,
    /// Any `recent` check outside nat PREROUTING and OUTPUT.
    pub late_recent: bool,
    /// Not asked, but done: some rule changes the mark of connections.
    pub sets_connmarks: bool,
    /// Some rule keeps packets from being tracked.
    pub notracks: bool,
    /// Source ports.
    pub source_port: bool,
    /// Source ports, or sets, outside nat PREROUTING and OUTPUT.
    pub late_source_port: bool,
    /// TCP flags.
    pub tcp_flags: bool,
    /// ICMP type or code.
    pub icmp: bool,
    /// Length.
    pub length: bool,
    /// TTL.
    pub ttl: bool,
    /// DSCP.
    pub dscp: bool,
    /// MAC.
    pub mac: bool,
    /// Fragment.
    pub fragment: bool,
    /// In-interface.
    pub in_interface: bool,
}

impl Graph {
    /// The conditions of a rule.
    pub fn conditions(&self, rule: &LoweredRule) -> &[Condition] {
        &self.conditions[rule.conditions.start as usize..rule.conditions.end as usize]
    }

    /// A source as the NETMAP of a rule (by position) rewrites it.
    pub fn mapped(&self, rule: u32, source: u128) -> u128 {
        match self.rules[rule as usize].op {
            Op::Netmap(to) => to.address | source & !to.mask,
            _ => source,
        }
    }

    /// A built-in chain.
    pub fn entry(&self, table: TableId, hook: Hook) -> Option<u32> {
        self.entries[table as usize][hook as usize]
    }
}
