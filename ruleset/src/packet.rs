//! A packet as rules see it: the fields that a match can ask for, and which of them are known.

use crate::ruleset::Hook;
use crate::value::{CtState, Family, Interface, protocol};
use std::net::IpAddr;

/// TCP flag bits.
pub mod tcp_flag {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;
    /// URG.
    pub const URG: u8 = 32;
    /// ECE.
    pub const ECE: u8 = 64;
    /// CWR.
    pub const CWR: u8 = 128;
}

/// One packet at the hook where it starts. Fields that are `None` are not known (or do not exist, as said).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// [`Hook::Prerouting`] (it arrives) or [`Hook::Output`] (this node sends it).
    pub hook: Hook,
    /// The device it arrives on; not looked at on OUTPUT, where there is none. While it is not known, an arriving
    /// packet is at least known not to come by `lo`.
    pub in_interface: Option<Interface>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol number (IPv6: of the upper layer, after extension headers).
    pub protocol: u8,
    /// Source and destination port of TCP, UDP, SCTP, DCCP, UDP-Lite; `None`: it has none.
    pub ports: Option<(u16, u16)>,
    /// TCP flags; `None`: not TCP.
    pub tcp_flags: Option<u8>,
    /// ICMP or ICMPv6 type and code; `None`: neither.
    pub icmp: Option<(u8, u8)>,
    /// Whether it is a fragment other than the first (it then has no ports, flags or ICMP type).
    pub fragment: bool,
    /// The mark it arrives with.
    pub mark: u32,
    /// How conntrack sees it (when some rule turns conntrack on).
    pub ctstate: CtState,
    /// Total length of the IP datagram; not known if `None`.
    pub length: Option<u16>,
    /// TTL or hop limit; not known if `None`.
    pub ttl: Option<u8>,
    /// DSCP; not known if `None`.
    pub dscp: Option<u8>,
    /// Source address of the link header; not known if `None`.
    pub source_mac: Option<[u8; 6]>,
}

impl Packet {
    /// A NEW packet without any further facts. For TCP it is a SYN; for ICMP an echo request.
    pub fn new(
        hook: Hook,
        protocol: u8,
        source: IpAddr,
        destination: IpAddr,
        ports: Option<(u16, u16)>,
    ) -> Self {
        let icmp = match protocol {
            protocol::ICMP => Some((8, 0)),
            protocol::ICMPV6 => Some((128, 0)),
            _ => None,
        };
        Self {
            hook,
            in_interface: None,
            source,
            destination,
            protocol,
            ports,
            tcp_flags: (protocol == protocol::TCP).then_some(tcp_flag::SYN),
            icmp,
            fragment: false,
            mark: 0,
            ctstate: CtState::New,
            length: None,
            ttl: None,
            dscp: None,
            source_mac: None,
        }
    }

    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// How conntrack sees this packet if it is the first of its connection (`nf_conntrack_proto_tcp.c`:
    /// `tcp_valid_flags`, `tcp_conntracks[ORIGINAL][*][NONE]` with `tcp_loose=1`; `nf_conntrack_proto_icmp.c`,
    /// `nf_conntrack_proto_icmpv6.c`: `valid_new`, `noct_valid_new`). Checksums are taken to be right.
    pub fn first_ctstate(&self) -> CtState {
        use tcp_flag::{ACK, CWR, ECE, PSH, SYN, URG};
        match (self.protocol, self.tcp_flags, self.icmp) {
            (protocol::TCP, Some(flags), _) => match flags & !(ECE | CWR | PSH) {
                f if f == SYN || f == SYN | URG || f == ACK || f == ACK | URG => CtState::New,
                _ => CtState::Invalid,
            },
            (protocol::ICMP, _, Some((kind, _))) => match kind {
                8 | 13 | 15 | 17 => CtState::New,
                _ => CtState::Invalid,
            },
            (protocol::ICMPV6, _, Some((kind, _))) => match kind {
                128 | 139 => CtState::New,
                130..=136 | 143 => CtState::Untracked,
                _ => CtState::Invalid,
            },
            _ => CtState::New,
        }
    }
}
