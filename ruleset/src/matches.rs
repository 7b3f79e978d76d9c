//! The matches of a rule. Each type holds what the kernel's match module holds, and its documentation says
//! exactly when it matches: the reference walk and the compiler are both written from these sentences,
//! independently of one another.
//!
//! A rule's matches stand in `iptables-save`'s order: `-s`, `-d`, `-i`, `-o`, `-p`, `-f`, then the modules as
//! written. A rule matches if all of them do.

use crate::ids::StrId;
use crate::value::{CtStates, InterfacePattern, PortRange, Prefix};
use std::net::IpAddr;

/// One condition. `inverted` is the `!` in front of the whole condition; conditions with several options that
/// are inverted one by one (tcp, conntrack, …) carry those flags inside and leave this one false.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// Whether a `!` precedes it.
    pub inverted: bool,
    /// The condition.
    pub kind: MatchKind,
}

/// What a condition asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// `-s`: the packet's present source address is inside.
    Source(Prefix),
    /// `-d`: the packet's present destination address is inside.
    Destination(Prefix),
    /// `-i`: by the device it arrived on; on the OUTPUT path that is no device (an empty name), so `-i x` does
    /// not match there and `! -i x` does.
    InInterface(InterfacePattern),
    /// `-o`: by the device it will leave by; no device in PREROUTING and INPUT.
    OutInterface(InterfacePattern),
    /// `-p`: by protocol number. (`-p all` is no condition at all.)
    Protocol(u8),
    /// `-f`: a fragment other than the first. Never true while conntrack is on, which joins fragments.
    Fragment,
    /// `-m comment`: always true.
    Comment(StrId),
    /// `-m tcp` with its options; false for a fragment other than the first.
    Tcp(TcpMatch),
    /// `-m udp`.
    Udp(Ports),
    /// `-m sctp` with ports only. (`--chunk-types` reads as [`MatchKind::Undecided`].)
    Sctp(Ports),
    /// `-m dccp` with ports only.
    Dccp(Ports),
    /// `-m icmp`: `--icmp-type T[/C]`; `any` is type 255. False if the packet is not ICMP.
    Icmp(IcmpType),
    /// `-m icmp6`: `--icmpv6-type T[/C]`. False if the packet is not ICMPv6.
    Icmpv6(IcmpType),
    /// `-m multiport`.
    Multiport(Box<Multiport>),
    /// `-m iprange`; each end is included.
    Iprange(Box<Iprange>),
    /// `-m mark`: `packet mark & mask == value`.
    Mark(MarkTest),
    /// `-m connmark`: the connection's mark, 0 on a first packet until a rule sets it.
    Connmark(MarkTest),
    /// `-m conntrack` with all options.
    Conntrack(Box<Conntrack>),
    /// `-m state --state`.
    State(CtStates),
    /// `-m addrtype`.
    Addrtype(Addrtype),
    /// `-m statistic`.
    Statistic(Statistic),
    /// `-m recent`.
    Recent(Box<Recent>),
    /// `-m set --match-set`.
    Set(SetMatch),
    /// `-m mac --mac-source`. Unknown where the packet's link header was not seen; false on OUTPUT.
    Mac([u8; 6]),
    /// `-m length`: the IP datagram's total length (IPv6: payload length + 40), ends included.
    Length(PortRange),
    /// `-m ttl` (IPv4) or `-m hl` (IPv6).
    Ttl(TtlTest),
    /// `-m dscp`: the six upper bits of the traffic class.
    Dscp(u8),
    /// A match that a single packet cannot decide, or that is not modelled: always unknown.
    Undecided(Undecided),
    /// `-m nfacct`: counts, and is always true.
    Nfacct(StrId),
}

/// Ports of udp, sctp and dccp, each side with its own `!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// `--sport`; [`PortRange::ANY`] if absent.
    pub source: PortRange,
    /// `! --sport`.
    pub source_inverted: bool,
    /// `--dport`; [`PortRange::ANY`] if absent.
    pub destination: PortRange,
    /// `! --dport`.
    pub destination_inverted: bool,
}

impl Ports {
    /// No condition on ports: a bare `-m udp`.
    pub const ANY: Self = Self {
        source: PortRange::ANY,
        source_inverted: false,
        destination: PortRange::ANY,
        destination_inverted: false,
    };
}

/// `-m tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpMatch {
    /// `--sport`, `--dport`.
    pub ports: Ports,
    /// `--tcp-flags MASK COMP`: `flags & mask == comp`; mask 0 if absent. `--syn` is
    /// `FIN,SYN,RST,ACK SYN`. Bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
    pub flags_mask: u8,
    /// What the masked flags must be.
    pub flags_value: u8,
    /// `! --tcp-flags`.
    pub flags_inverted: bool,
    /// `--tcp-option N`: unknown, as options are not read; 0 if absent.
    pub option: u8,
    /// `! --tcp-option`.
    pub option_inverted: bool,
}

impl TcpMatch {
    /// A bare `-m tcp`.
    pub const ANY: Self = Self {
        ports: Ports::ANY,
        flags_mask: 0,
        flags_value: 0,
        flags_inverted: false,
        option: 0,
        option_inverted: false,
    };
}

/// An ICMP type with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpType {
    /// The type; for ICMPv4, 255 means any type and any code.
    pub kind: u8,
    /// Lowest code.
    pub code_first: u8,
    /// Highest code, included; 255 with `code_first` 0 means any.
    pub code_last: u8,
}

/// Which side `-m multiport` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortSide {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: either side in the list.
    Either,
}

/// `-m multiport`; false for a packet without ports (fragments other than the first), inverted or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Multiport {
    /// The side.
    pub side: PortSide,
    /// The list; one in it suffices.
    pub ports: Vec<PortRange>,
}

/// `-m iprange`: both sides must hold, each with its own `!`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Iprange {
    /// `--src-range A-B`, inverted?
    pub source: Option<(IpAddr, IpAddr, bool)>,
    /// `--dst-range A-B`, inverted?
    pub destination: Option<(IpAddr, IpAddr, bool)>,
}

/// Value under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkTest {
    /// What the masked mark must be; bits outside the mask make it false always.
    pub value: u32,
    /// The mask, all ones if not written.
    pub mask: u32,
}

/// `-m conntrack`: every option given must hold. False (whatever its inversions) for a packet without a
/// connection, but for `--ctstate INVALID` and `UNTRACKED`.
///
/// `--ctstate`: the packet's state is in the set, or the set holds `DNAT`/`SNAT` and the connection's
/// destination/source was rewritten to something else than it was. Other options than ctstate, ctproto, ctorigsrc,
/// ctorigdst, ctorigsrcport, ctorigdstport and ctdir are kept as text in `rest` and are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conntrack {
    /// `--ctstate`, inverted?
    pub state: Option<(CtStates, bool)>,
    /// `--ctproto`, inverted?
    pub protocol: Option<(u8, bool)>,
    /// `--ctorigsrc`: the connection's source before any rewriting.
    pub original_source: Option<(Prefix, bool)>,
    /// `--ctorigdst`: its destination before any rewriting.
    pub original_destination: Option<(Prefix, bool)>,
    /// `--ctorigsrcport`.
    pub original_source_port: Option<(PortRange, bool)>,
    /// `--ctorigdstport`.
    pub original_destination_port: Option<(PortRange, bool)>,
    /// `--ctdir ORIGINAL` is true here, `REPLY` false. A first packet goes in the original direction.
    pub original_direction: Option<bool>,
    /// Options that are not modelled, as canonical text; the match is unknown if it is not false already.
    pub rest: Option<StrId>,
}

/// `-m addrtype`: each side's type is in the set (with its own `!`). LOCAL is an address of this node, or
/// 127.0.0.0/8 or ::1. See [`AddressTypes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addrtype {
    /// `--src-type`, inverted?
    pub source: Option<(AddressTypes, bool)>,
    /// `--dst-type`, inverted?
    pub destination: Option<(AddressTypes, bool)>,
    /// `--limit-iface-in`: LOCAL means an address of the arrival device. Unknown unless loopback.
    pub limit_in: bool,
    /// `--limit-iface-out`. Unknown.
    pub limit_out: bool,
}

/// A set of address types (`RTN_*`). For IPv4: MULTICAST is 224.0.0.0/4; BROADCAST is 255.255.255.255 and the
/// node's subnets' (not known here: any other address is taken not to be one, unless it is local); UNSPEC is
/// never; LOCAL as above; every other unicast address is UNICAST; ANYCAST, BLACKHOLE, UNREACHABLE, PROHIBIT, THROW, NAT and
/// XRESOLVE depend on routes and are unknown for a unicast address that is not local, false for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressTypes(pub u16);

impl AddressTypes {
    /// Names with their bits (bit n is `RTN_*` n, `include/uapi/linux/rtnetlink.h`).
    pub const NAMES: [(&'static str, u16); 12] = [
        ("UNSPEC", 1 << 0),
        ("UNICAST", 1 << 1),
        ("LOCAL", 1 << 2),
        ("BROADCAST", 1 << 3),
        ("ANYCAST", 1 << 4),
        ("MULTICAST", 1 << 5),
        ("BLACKHOLE", 1 << 6),
        ("UNREACHABLE", 1 << 7),
        ("PROHIBIT", 1 << 8),
        ("THROW", 1 << 9),
        ("NAT", 1 << 10),
        ("XRESOLVE", 1 << 11),
    ];
    /// LOCAL alone.
    pub const LOCAL: Self = Self(1 << 2);
    /// UNICAST alone.
    pub const UNICAST: Self = Self(1 << 1);
    /// BROADCAST alone.
    pub const BROADCAST: Self = Self(1 << 3);
    /// MULTICAST alone.
    pub const MULTICAST: Self = Self(1 << 5);

    /// Whether any of `other` is in the set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// `-m statistic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// `--mode random`: true with probability `threshold / 2^31`, independently each time. `threshold` is
    /// round(p·2^31), 0..=2^31.
    Random {
        /// The kernel's threshold.
        threshold: u32,
    },
    /// `--mode nth`: true once in `every` packets that reach the rule. Where the counter stands is not known, so
    /// it is a draw of probability 1/`every` (and an assumption of the outcome).
    Nth {
        /// At least 1.
        every: u32,
        /// Which packet of the round, 0..every.
        packet: u32,
    },
}

/// What `-m recent` does with its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecentOperation {
    /// `--set`: remember the address (again); true.
    Set,
    /// `--rcheck`: is it remembered?
    Check,
    /// `--update`: is it remembered? If so, remember it again.
    Update,
    /// `--remove`: true if it was remembered; it no longer is.
    Remove,
}

/// `-m recent`. Lists are taken as empty when a packet starts (an assumption of the outcome, where a check of an
/// empty list was met); what the packet's own walk has put there counts. `inverted` (of [`Match`]) flips the result; `--update` remembers
/// again only if the result, inversion included, is true. An entry put there by this packet is 0 seconds old.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recent {
    /// The list.
    pub name: StrId,
    /// What to do.
    pub operation: RecentOperation,
    /// By source (`--rsource`, the default) or destination address.
    pub by_destination: bool,
    /// Bits of the address that count.
    pub mask: IpAddr,
    /// `--seconds`; 0 if absent.
    pub seconds: u32,
    /// `--reap`.
    pub reap: bool,
    /// `--hitcount`: at least so many remembered times; 0 if absent.
    pub hitcount: u32,
    /// `--rttl`: the TTL must be the remembered packet's (it is, within one walk).
    pub rttl: bool,
}

/// `-m set --match-set NAME DIRECTIONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetMatch {
    /// The set.
    pub name: StrId,
    /// How many of `destination` count, 1 to 6.
    pub dimensions: u8,
    /// For each dimension: destination (`dst`) or source (`src`)?
    pub destination: [bool; 6],
    /// Other options (`--return-nomatch`, `--packets-gt`, …) as text: unknown.
    pub rest: Option<StrId>,
}

/// How `-m ttl`/`-m hl` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TtlTest {
    /// `--ttl-eq N`.
    Equal(u8),
    /// `--ttl-lt N`: less than N.
    Less(u8),
    /// `--ttl-gt N`: more than N.
    Greater(u8),
}

/// A match kept by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Undecided {
    /// The module: `limit`, `owner`, `physdev`, …
    pub module: StrId,
    /// Its options as canonical text, inversions included.
    pub options: StrId,
}
