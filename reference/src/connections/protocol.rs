//! What each protocol says of a packet of an entry (CONNTRACK.md 4).

use super::entry::Entry;
use super::sctp::Sctp;
use super::tcp::Tcp;
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Direction, Settings};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;
use std::time::Duration;

/// What a protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The packet belongs to the entry, which lives so long from now on; `None`: as long as before.
    Valid(Option<Duration>),
    /// It belongs to it, and the entry is gone behind it.
    Gone,
    /// It belongs to nothing.
    Invalid,
    /// The entry is gone, and the packet is the first of another.
    BeginsAnew,
    /// What it is depends on what is not known of it.
    Unknown,
}

/// What an entry remembers of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    Tcp(Tcp),
    Sctp(Sctp),
    Nothing,
}

impl Remembered {
    pub(super) fn new(number: u8) -> Self {
        match number {
            protocol::TCP => Self::Tcp(Tcp::default()),
            protocol::SCTP => Self::Sctp(Sctp::default()),
            _ => Self::Nothing,
        }
    }
}

impl Remembered {
    /// Whether the kernel may evict it though it is ASSURED (`tcp_can_early_drop`, `sctp_can_early_drop`).
    pub(super) fn is_closing(&self) -> bool {
        use super::sctp::SctpState::{ShutdownAckSent, ShutdownRecd, ShutdownSent};
        use super::tcp::TcpState::{Close, CloseWait, FinWait, LastAck, TimeWait};
        match self {
            Self::Tcp(tcp) => {
                matches!(tcp.state, FinWait | CloseWait | LastAck | TimeWait | Close)
            }
            Self::Sctp(sctp) => {
                matches!(sctp.state, ShutdownSent | ShutdownRecd | ShutdownAckSent)
            }
            Self::Nothing => false,
        }
    }

    /// Whether the last segment of TCP was let through without being looked at.
    pub(super) fn has_ignored(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp.is_last_ignored)
    }
}

/// UDP is a stream from so long behind its first packet on.
const STREAM: Duration = Duration::from_secs(2);

/// Asks the protocol of a packet, and lets the entry remember it. `is_first`: it is not confirmed yet.
pub(super) fn ask(
    entry: &mut Entry,
    datagram: &Datagram,
    direction: Direction,
    is_first: bool,
    now: Duration,
    settings: &Settings,
) -> Said {
    let packet = &datagram.packet;
    let has_reply = entry.status.intersects(CtStatus::SEEN_REPLY);
    let both_ways = |entry: &mut Entry, alone: Duration, replied: Duration| {
        if !has_reply {
            return Said::Valid(Some(alone));
        }
        entry.status = entry.status.with(CtStatus::ASSURED);
        Said::Valid(Some(replied))
    };
    match packet.protocol {
        protocol::TCP => match (&mut entry.remembered, packet.tcp_flags) {
            (Remembered::Tcp(tcp), Some(flags)) => {
                tcp.segment(flags, direction, &mut entry.status, settings)
            }
            _ => Said::Unknown,
        },
        protocol::SCTP => match (&mut entry.remembered, &datagram.chunks) {
            (Remembered::Sctp(sctp), Some(chunks)) => {
                sctp.packet(chunks, direction, is_first, &mut entry.status, settings)
            }
            _ => Said::Unknown,
        },
        // Corpus `udp-is-assured-once-it-has-lasted-two-seconds`.
        protocol::UDP if has_reply && now <= entry.first + STREAM => {
            Said::Valid(Some(settings.udp))
        }
        protocol::UDP => both_ways(entry, settings.udp, settings.udp_stream),
        protocol::UDPLITE => both_ways(entry, settings.udp, settings.udp_stream),
        protocol::GRE => both_ways(entry, settings.gre, settings.gre_stream),
        protocol::ICMP if is_first && !is_query(packet) => Said::Invalid,
        protocol::ICMPV6 if is_first && !is_query(packet) => Said::Invalid,
        protocol::ICMP => Said::Valid(Some(settings.icmp)),
        protocol::ICMPV6 => Said::Valid(Some(settings.icmpv6)),
        _ => Said::Valid(Some(settings.generic)),
    }
}

/// Whether an ICMP packet can begin a connection (`valid_new`).
fn is_query(packet: &Packet) -> bool {
    match (packet.protocol, packet.icmp) {
        (protocol::ICMP, Some((kind, _))) => matches!(kind, 8 | 13 | 15 | 17),
        (protocol::ICMPV6, Some((kind, _))) => matches!(kind, 128 | 139),
        _ => false,
    }
}

/// ICMP that tells of another packet: of IPv4 `icmp_is_err`, of IPv6 whatever is below 128.
pub(super) fn is_error(packet: &Packet) -> bool {
    match (packet.protocol, packet.icmp) {
        (protocol::ICMP, Some((kind, _))) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (protocol::ICMPV6, Some((kind, _))) => kind < 128,
        _ => false,
    }
}

/// ICMPv6 that conntrack does not look at: neighbours, routers, groups (`noct_valid_new`).
pub(super) fn is_left_alone(packet: &Packet) -> bool {
    packet.protocol == protocol::ICMPV6
        && packet
            .icmp
            .is_some_and(|(kind, _)| matches!(kind, 130..=136 | 143))
}
