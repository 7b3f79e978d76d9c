//! What a match asks, part by part, each with values at its edges: the last inside, and the first outside.

mod addresses;
mod sets;
mod transport;

use addresses::{address_type, prefix, span};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::matches::{Addrtype, Conntrack, Iprange, MarkTest, Match, MatchKind, TtlTest};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Interface, InterfacePattern};
use sets::set_part;
use std::net::IpAddr;
use transport::{icmp_part, is_protocol, multiport, port_parts, ports, tcp_parts};

/// One field set to one value, or several fields.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Source(IpAddr),
    Destination(IpAddr),
    SourcePort(u16),
    DestinationPort(u16),
    Protocol(u8),
    Flags(u8),
    Icmp(u8, u8),
    Device(Option<Interface>),
    Mark(u32),
    Length(u16),
    Ttl(u8),
    Dscp(u8),
    Mac([u8; 6]),
    Fragment(bool),
    All(Vec<Change>),
}

impl Change {
    pub(super) fn apply(&self, packet: &mut Packet) {
        match self {
            Self::Source(address) => packet.source = *address,
            Self::Destination(address) => packet.destination = *address,
            Self::SourcePort(port) => {
                packet.ports = Some((*port, packet.ports.map_or(80, |p| p.1)));
            }
            Self::DestinationPort(port) => {
                packet.ports = Some((packet.ports.map_or(40_000, |p| p.0), *port));
            }
            Self::Protocol(number) => packet.protocol = *number,
            Self::Flags(flags) => packet.tcp_flags = Some(*flags),
            Self::Icmp(kind, code) => packet.icmp = Some((*kind, *code)),
            Self::Device(device) => packet.in_interface = *device,
            Self::Mark(mark) => packet.mark = *mark,
            Self::Length(length) => packet.length = Some(*length),
            Self::Ttl(ttl) => packet.ttl = Some(*ttl),
            Self::Dscp(dscp) => packet.dscp = Some(*dscp),
            Self::Mac(mac) => packet.source_mac = Some(*mac),
            Self::Fragment(fragment) => packet.fragment = *fragment,
            Self::All(changes) => changes.iter().for_each(|change| change.apply(packet)),
        }
    }
}

/// A part of a match: one option of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// Whether the present packet fulfils it, its `!` aside, as far as this tells.
    pub(super) holds: bool,
    /// Whether a `!` precedes it.
    pub(super) inverted: bool,
    /// Changes that fulfil it.
    pub(super) inside: Vec<Change>,
    /// Changes that just miss it.
    pub(super) outside: Vec<Change>,
}

impl Part {
    fn with_not(self, inverted: bool) -> Self {
        Self { inverted, ..self }
    }

    /// Of a field that either has the value or has not.
    fn of(holds: bool, inside: Change, outside: Change) -> Self {
        Self {
            holds,
            inverted: false,
            inside: vec![inside],
            outside: vec![outside],
        }
    }
}

/// The parts of a match; none of one that no field of a packet decides.
pub(super) fn parts(
    m: &Match,
    packet: &Packet,
    ruleset: &Ruleset,
    node: Option<&NodeFacts>,
) -> Vec<Part> {
    let one = |part: Part| vec![part.with_not(m.inverted)];
    match &m.kind {
        MatchKind::Source(p) => one(prefix(p, packet.source, Change::Source)),
        MatchKind::Destination(p) => one(prefix(p, packet.destination, Change::Destination)),
        MatchKind::InInterface(pattern) => one(device(pattern, packet)),
        MatchKind::Protocol(number) => one(is_protocol(*number, packet)),
        MatchKind::Fragment => one(Part::of(
            packet.fragment,
            Change::Fragment(true),
            Change::Fragment(false),
        )),
        MatchKind::Tcp(tcp) => tcp_parts(tcp, packet),
        MatchKind::Udp(p) | MatchKind::Sctp(p) | MatchKind::Dccp(p) => port_parts(*p, packet),
        MatchKind::Icmp(icmp) | MatchKind::Icmpv6(icmp) => one(icmp_part(icmp, packet)),
        MatchKind::Multiport(list) => one(multiport(list.side, &list.ports, packet)),
        MatchKind::Iprange(range) => iprange(range, packet),
        MatchKind::Mark(test) => one(mark(test, packet)),
        MatchKind::Conntrack(ct) => conntrack(ct, packet),
        MatchKind::Addrtype(types) => addrtype(types, packet, node),
        MatchKind::Set(set) => one(set_part(set, ruleset, node)),
        MatchKind::Mac(mac) => one(Part::of(
            packet.source_mac == Some(*mac),
            Change::Mac(*mac),
            Change::Mac(OTHER_MAC),
        )),
        MatchKind::Length(range) => one(ports(*range, packet.length, Change::Length)),
        MatchKind::Ttl(test) => one(ttl(*test, packet)),
        MatchKind::Dscp(dscp) => one(Part::of(
            packet.dscp == Some(*dscp),
            Change::Dscp(*dscp),
            Change::Dscp(*dscp ^ 1),
        )),
        _ => Vec::new(),
    }
}

/// A link address that no rule asks for.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

fn iprange(range: &Iprange, packet: &Packet) -> Vec<Part> {
    let source = range.source.map(|(first, last, inverted)| {
        span(first, last, packet.source, Change::Source).with_not(inverted)
    });
    let destination = range.destination.map(|(first, last, inverted)| {
        span(first, last, packet.destination, Change::Destination).with_not(inverted)
    });
    source.into_iter().chain(destination).collect()
}

fn conntrack(ct: &Conntrack, packet: &Packet) -> Vec<Part> {
    let (source, destination) = packet.ports.unzip();
    let parts = [
        ct.original_source
            .map(|(p, not)| prefix(&p, packet.source, Change::Source).with_not(not)),
        ct.original_destination
            .map(|(p, not)| prefix(&p, packet.destination, Change::Destination).with_not(not)),
        ct.original_source_port
            .map(|(range, not)| ports(range, source, Change::SourcePort).with_not(not)),
        ct.original_destination_port
            .map(|(range, not)| ports(range, destination, Change::DestinationPort).with_not(not)),
        ct.protocol
            .map(|(number, not)| is_protocol(number, packet).with_not(not)),
    ];
    parts.into_iter().flatten().collect()
}

fn addrtype(types: &Addrtype, packet: &Packet, node: Option<&NodeFacts>) -> Vec<Part> {
    let source = types
        .source
        .map(|(set, not)| address_type(set, packet.source, node, Change::Source).with_not(not));
    let destination = types.destination.map(|(set, not)| {
        address_type(set, packet.destination, node, Change::Destination).with_not(not)
    });
    source.into_iter().chain(destination).collect()
}

fn device(pattern: &InterfacePattern, packet: &Packet) -> Part {
    let other = Interface::new("other0");
    let longer = Interface::new(&format!("{}9", pattern.name.name()));
    let (mut inside, mut outside) = (vec![Some(pattern.name)], vec![other, None]);
    if pattern.prefix {
        inside.push(longer);
    } else {
        outside.push(longer);
    }
    Part {
        holds: packet.in_interface.is_some_and(|d| pattern.matches(d)),
        inverted: false,
        inside: inside.into_iter().map(Change::Device).collect(),
        outside: outside.into_iter().map(Change::Device).collect(),
    }
}

fn mark(test: &MarkTest, packet: &Packet) -> Part {
    let rest = packet.mark & !test.mask;
    Part {
        holds: packet.mark & test.mask == test.value,
        inverted: false,
        inside: vec![Change::Mark(rest | test.value)],
        outside: vec![
            Change::Mark(rest | (test.value ^ test.mask)),
            Change::Mark(!test.value),
        ],
    }
}

fn ttl(test: TtlTest, packet: &Packet) -> Part {
    let (inside, outside, holds): (u8, u8, fn(u8, u8) -> bool) = match test {
        TtlTest::Equal(n) => (n, n.wrapping_add(1), |ttl, n| ttl == n),
        TtlTest::Less(n) => (n.saturating_sub(1), n, |ttl, n| ttl < n),
        TtlTest::Greater(n) => (n.saturating_add(1), n, |ttl, n| ttl > n),
    };
    let (TtlTest::Equal(n) | TtlTest::Less(n) | TtlTest::Greater(n)) = test;
    Part {
        holds: packet.ttl.is_some_and(|ttl| holds(ttl, n)),
        inverted: false,
        // Where the packet was forwarded before, it is one less by then.
        inside: vec![Change::Ttl(inside), Change::Ttl(inside.saturating_add(1))],
        outside: vec![Change::Ttl(outside), Change::Ttl(outside.saturating_add(1))],
    }
}
