//! What each protocol says of a packet of an entry (CONNTRACK.md 4).

use super::entry::{Entry, Remembered};
use super::packet::Packet;
use super::tcp;
use super::tuple::Width;
use kpclass_ruleset::conntrack::{CtStatus, Direction, Settings};
use kpclass_ruleset::value::protocol;
use std::time::Duration;

/// What a protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The packet belongs to the entry, which lives so many nanoseconds from now on; `None`: as long as before.
    Valid(Option<u64>),
    /// It belongs to it, and the entry is gone behind it.
    Gone,
    /// It belongs to nothing.
    Invalid,
    /// The entry is gone, and the packet is the first of another.
    BeginsAnew,
    /// What it is depends on what is not known of it.
    Unknown,
}

/// Valid, and the entry lives so long.
pub(super) fn seconds(timeout: Duration) -> Said {
    Said::Valid(Some(nanos(timeout)))
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long entries live.
#[derive(Clone, Debug)]
pub(super) struct Timeouts {
    pub(super) settings: Settings,
    tcp: tcp::Timeouts,
    udp: u64,
    udp_stream: u64,
    /// The longest of TCP, and of UDP.
    longest: [u64; 2],
}

impl Timeouts {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            tcp: tcp::Timeouts::new(&settings),
            udp: nanos(settings.udp),
            udp_stream: nanos(settings.udp_stream),
            longest: [protocol::TCP, protocol::UDP].map(|of| nanos(settings.longest(of))),
            settings,
        }
    }

    /// The longest that an entry of a protocol may live without a packet.
    pub(super) fn longest(&self, number: u8) -> u64 {
        match number {
            protocol::TCP => self.longest[0],
            protocol::UDP => self.longest[1],
            _ => nanos(self.settings.longest(number)),
        }
    }
}

/// UDP is a stream from so many nanoseconds behind its first packet on.
const STREAM: u64 = 2_000_000_000;

/// Asks the protocol of a packet, and lets the entry remember it. `is_first`: it is not confirmed yet.
pub(super) fn ask<A: Width>(
    entry: &mut Entry<A>,
    packet: &Packet,
    direction: Direction,
    is_first: bool,
    now: u64,
    timeouts: &Timeouts,
) -> Said {
    let number = packet.header.protocol;
    if matches!(number, protocol::TCP | protocol::UDP) {
        return ask_of_ports(
            (&mut entry.remembered, &mut entry.status),
            (number, packet.tcp_flags()),
            direction,
            now,
            timeouts,
        );
    }
    let settings = &timeouts.settings;
    match (number, &mut entry.remembered) {
        (protocol::SCTP, Remembered::Sctp(sctp)) => match &packet.chunks {
            Some(chunks) => sctp.packet(chunks, direction, is_first, &mut entry.status, settings),
            None => Said::Unknown,
        },
        (protocol::SCTP, _) => Said::Unknown,
        (protocol::UDPLITE, _) => {
            both_ways(&mut entry.status, false, timeouts.udp, timeouts.udp_stream)
        }
        (protocol::GRE, _) => {
            let (alone, replied) = (nanos(settings.gre), nanos(settings.gre_stream));
            both_ways(&mut entry.status, false, alone, replied)
        }
        (protocol::ICMP | protocol::ICMPV6, _) if is_first && !packet.is_query() => Said::Invalid,
        (protocol::ICMP, _) => seconds(settings.icmp),
        (protocol::ICMPV6, _) => seconds(settings.icmpv6),
        _ => seconds(settings.generic),
    }
}

/// The same of TCP and UDP, which most packets are.
#[inline(always)]
pub(super) fn ask_of_ports(
    (remembered, status): (&mut Remembered, &mut CtStatus),
    (number, tcp_flags): (u8, Option<u8>),
    direction: Direction,
    now: u64,
    timeouts: &Timeouts,
) -> Said {
    match (number, remembered, tcp_flags) {
        (protocol::TCP, Remembered::Tcp(tcp), Some(flags)) => {
            tcp.segment(flags, direction, status, &timeouts.tcp)
        }
        (protocol::UDP, Remembered::Since(first), _) => {
            let is_young = now <= first.saturating_add(STREAM);
            both_ways(status, is_young, timeouts.udp, timeouts.udp_stream)
        }
        _ => Said::Unknown,
    }
}

/// Of a protocol whose connections last longer once they are replied to.
fn both_ways(status: &mut CtStatus, is_young: bool, alone: u64, replied: u64) -> Said {
    if is_young || !status.intersects(CtStatus::SEEN_REPLY) {
        return Said::Valid(Some(alone));
    }
    *status = status.with(CtStatus::ASSURED);
    Said::Valid(Some(replied))
}
