//! The targets of a rule, what each does, and where the walk goes on.

use crate::ids::{ChainId, StrId};
use crate::value::{PortRange, Prefix};
use std::net::IpAddr;

/// What `-j` or `-g` names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// No target: the rule only counts; the walk goes on.
    None,
    /// This table's walk at this hook ends; the packet goes on.
    Accept,
    /// The packet ends here.
    Drop,
    /// `REJECT`: the packet ends here and the sender is told.
    Reject(RejectWith),
    /// Back to the calling chain; in a built-in chain, its policy.
    Return,
    /// `-j CHAIN`.
    Jump(ChainId),
    /// `-g CHAIN`: as a jump, but the chain's end returns to *this* chain's caller.
    Goto(ChainId),
    /// `MARK`: mark = (mark & !mask) ^ value. Goes on.
    Mark(MarkSet),
    /// `CONNMARK`. Goes on.
    Connmark(ConnmarkOp),
    /// `DNAT`. Ends nat at this hook.
    Dnat(NatRange),
    /// `SNAT`. Ends nat at this hook.
    Snat(NatRange),
    /// `MASQUERADE`. Ends nat at this hook.
    Masquerade(NatRange),
    /// `REDIRECT`: DNAT to the arrival device's first address; 127.0.0.1 or ::1 on OUTPUT. Ends nat at this hook.
    Redirect(NatRange),
    /// `NETMAP --to`: the network part of the destination (PREROUTING, OUTPUT) or source (POSTROUTING, INPUT).
    Netmap(Prefix),
    /// `NOTRACK` and `CT --notrack`: ctstate UNTRACKED, nat is not asked. Without effect if the packet already
    /// has a connection (on the lo leg). Goes on.
    Notrack,
    /// Changes nothing that a rule or a decision can see, or only what is said: `LOG`, `NFLOG`, `ULOG`, `TRACE`, `AUDIT`,
    /// `CHECKSUM`, `TCPMSS`, `TCPOPTSTRIP`, `CLASSIFY`, `TEE`, `SECMARK`, `CONNSECMARK`, `IDLETIMER`, `RATEEST`, `LED`, `CT` with a helper or
    /// zone. Goes on.
    Transparent(Extension),
    /// `TTL`, `HL`, `DSCP`, `TOS`, `ECN`: rewrites a header field. A later match on ttl/hl (after `TTL`, `HL`) or dscp (after the
    /// others) is unknown. Goes on.
    Rewrite(Extension),
    /// `SET --add-set/--del-set/--map-set`: changes a set; a later match on any set is unknown. Goes on.
    SetChange(Extension),
    /// A target whose effect is not modelled (`TPROXY`, `NFQUEUE`, `QUEUE`, `SYNPROXY`, `TARPIT`, …): unknown if reached.
    Undecided(Extension),
}

/// A target kept by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extension {
    /// `LOG`, `TCPMSS`, …
    pub name: StrId,
    /// Options as canonical text.
    pub options: StrId,
}

/// How a `REJECT` answers (`--reject-with`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectWith {
    /// `icmp-net-unreachable`.
    IcmpNetUnreachable,
    /// `icmp-host-unreachable`.
    IcmpHostUnreachable,
    /// `icmp-port-unreachable`, IPv4's default.
    IcmpPortUnreachable,
    /// `icmp-proto-unreachable`.
    IcmpProtoUnreachable,
    /// `icmp-net-prohibited`.
    IcmpNetProhibited,
    /// `icmp-host-prohibited`.
    IcmpHostProhibited,
    /// `icmp-admin-prohibited`.
    IcmpAdminProhibited,
    /// `tcp-reset`.
    TcpReset,
    /// `icmp6-no-route`.
    Icmp6NoRoute,
    /// `icmp6-adm-prohibited`.
    Icmp6AdmProhibited,
    /// `icmp6-addr-unreachable`.
    Icmp6AddrUnreachable,
    /// `icmp6-port-unreachable`, IPv6's default.
    Icmp6PortUnreachable,
    /// `icmp6-policy-fail`.
    Icmp6PolicyFail,
    /// `icmp6-reject-route`.
    Icmp6RejectRoute,
}

impl RejectWith {
    /// Every kind with the name that `iptables-save` prints.
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::IcmpNetUnreachable, "icmp-net-unreachable"),
        (Self::IcmpHostUnreachable, "icmp-host-unreachable"),
        (Self::IcmpPortUnreachable, "icmp-port-unreachable"),
        (Self::IcmpProtoUnreachable, "icmp-proto-unreachable"),
        (Self::IcmpNetProhibited, "icmp-net-prohibited"),
        (Self::IcmpHostProhibited, "icmp-host-prohibited"),
        (Self::IcmpAdminProhibited, "icmp-admin-prohibited"),
        (Self::TcpReset, "tcp-reset"),
        (Self::Icmp6NoRoute, "icmp6-no-route"),
        (Self::Icmp6AdmProhibited, "icmp6-adm-prohibited"),
        (Self::Icmp6AddrUnreachable, "icmp6-addr-unreachable"),
        (Self::Icmp6PortUnreachable, "icmp6-port-unreachable"),
        (Self::Icmp6PolicyFail, "icmp6-policy-fail"),
        (Self::Icmp6RejectRoute, "icmp6-reject-route"),
    ];

    /// The name in a rule.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }
}

/// The arithmetic of `MARK`: `(mark & !mask) ^ value`. `--set-mark v/m` is `(v, v|m)`, `--or-mark v` is `(v, v)`,
/// `--and-mark v` is `(0, !v)`, `--xor-mark v` is `(v, 0)`, `--set-xmark v/m` is `(v, m)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkSet {
    /// Bits to flip afterwards.
    pub value: u32,
    /// Bits to clear first.
    pub mask: u32,
}

impl MarkSet {
    /// The new mark.
    pub fn apply(self, mark: u32) -> u32 {
        (mark & !self.mask) ^ self.value
    }
}

/// What `CONNMARK` does (`net/netfilter/xt_connmark.c`, without bit shifts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnmarkOp {
    /// `--set-xmark` and its spellings: connmark = (connmark & !mask) ^ value.
    Set(MarkSet),
    /// `--save-mark`: connmark = (connmark & !ctmask) ^ (mark & nfmask).
    Save {
        /// Bits of the packet's mark that are copied.
        nfmask: u32,
        /// Bits of the connection's mark that are cleared.
        ctmask: u32,
    },
    /// `--restore-mark`: mark = (mark & !nfmask) ^ (connmark & ctmask).
    Restore {
        /// Bits of the packet's mark that are cleared.
        nfmask: u32,
        /// Bits of the connection's mark that are copied.
        ctmask: u32,
    },
}

/// What an address is rewritten to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatRange {
    /// First and last address; `None` keeps the address (`--to-destination :99`).
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port; `None` keeps the port. A DNAT port range keeps a port already inside it, else takes
    /// its first.
    pub ports: Option<PortRange>,
    /// The base of a shifted DNAT port range (`5000-5009/6000`): port = first + (dport - base), in the range's size.
    pub base_port: Option<u16>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub random_fully: bool,
    /// `--persistent`.
    pub persistent: bool,
}
