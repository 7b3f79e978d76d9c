//! What a match asks, part by part, each with values at its edges: the last inside, and the first outside.

use kpclass_ruleset::Ruleset;
use kpclass_ruleset::matches::{
    AddressTypes, IcmpType, MarkTest, Match, MatchKind, PortSide, Ports, SetMatch, TcpMatch,
    TtlTest,
};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::node::ipset::{Entry, IpSet, Value};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{
    Family, Interface, InterfacePattern, PortRange, Prefix, address_number, number_address,
    protocol,
};
use std::net::IpAddr;

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

/// The parts of a match.
pub(super) fn parts(
    m: &Match,
    packet: &Packet,
    ruleset: &Ruleset,
    node: Option<&NodeFacts>,
) -> Vec<Part> {
    let one = |part: Part| {
        vec![Part {
            inverted: m.inverted,
            ..part
        }]
    };
    match &m.kind {
        MatchKind::Source(p) => one(prefix(p, packet.source, Change::Source)),
        MatchKind::Destination(p) => one(prefix(p, packet.destination, Change::Destination)),
        MatchKind::InInterface(pattern) => one(device(pattern, packet)),
        MatchKind::Protocol(number) => one(is_protocol(*number, packet)),
        MatchKind::Fragment => one(Part {
            holds: packet.fragment,
            inside: vec![Change::Fragment(true)],
            outside: vec![Change::Fragment(false)],
            ..Part::default()
        }),
        MatchKind::Tcp(tcp) => tcp_parts(tcp, packet),
        MatchKind::Udp(p) => port_parts(*p, packet),
        MatchKind::Sctp(p) => port_parts(*p, packet),
        MatchKind::Dccp(p) => port_parts(*p, packet),
        MatchKind::Icmp(icmp) | MatchKind::Icmpv6(icmp) => one(icmp_part(icmp, packet)),
        MatchKind::Multiport(list) => one(multiport(list.side, &list.ports, packet)),
        MatchKind::Iprange(range) => [
            range
                .source
                .map(|(a, b, not)| (a, b, not, packet.source, Change::Source as fn(_) -> _)),
            range
                .destination
                .map(|(a, b, not)| (a, b, not, packet.destination, Change::Destination as _)),
        ]
        .into_iter()
        .flatten()
        .map(|(first, last, inverted, present, change)| Part {
            inverted,
            ..addresses(first, last, present, change)
        })
        .collect(),
        MatchKind::Mark(test) => one(mark(test, packet)),
        MatchKind::Conntrack(ct) => {
            let mut parts = Vec::new();
            if let Some((p, inverted)) = ct.original_source {
                let part = prefix(&p, packet.source, Change::Source);
                parts.push(Part { inverted, ..part });
            }
            if let Some((p, inverted)) = ct.original_destination {
                let part = prefix(&p, packet.destination, Change::Destination);
                parts.push(Part { inverted, ..part });
            }
            if let Some((range, inverted)) = ct.original_source_port {
                let present = packet.ports.map(|p| p.0);
                parts.push(Part {
                    inverted,
                    ..ports(range, present, Change::SourcePort)
                });
            }
            if let Some((range, inverted)) = ct.original_destination_port {
                let present = packet.ports.map(|p| p.1);
                parts.push(Part {
                    inverted,
                    ..ports(range, present, Change::DestinationPort)
                });
            }
            if let Some((number, inverted)) = ct.protocol {
                parts.push(Part {
                    inverted,
                    ..is_protocol(number, packet)
                });
            }
            parts
        }
        MatchKind::Addrtype(types) => {
            let mut parts = Vec::new();
            if let Some((set, inverted)) = types.source {
                parts.push(Part {
                    inverted,
                    ..address_type(set, packet.source, node, Change::Source)
                });
            }
            if let Some((set, inverted)) = types.destination {
                let part = address_type(set, packet.destination, node, Change::Destination);
                parts.push(Part { inverted, ..part });
            }
            parts
        }
        MatchKind::Set(set) => one(set_part(set, ruleset, node)),
        MatchKind::Mac(mac) => one(Part {
            holds: packet.source_mac == Some(*mac),
            inside: vec![Change::Mac(*mac)],
            outside: vec![Change::Mac([2, 0, 0, 0, 0, 0x77])],
            ..Part::default()
        }),
        MatchKind::Length(range) => one(ports(*range, packet.length, Change::Length)),
        MatchKind::Ttl(test) => one(ttl(*test, packet)),
        MatchKind::Dscp(dscp) => one(Part {
            holds: packet.dscp == Some(*dscp),
            inside: vec![Change::Dscp(*dscp)],
            outside: vec![Change::Dscp(*dscp ^ 1)],
            ..Part::default()
        }),
        _ => Vec::new(),
    }
}

fn prefix(prefix: &Prefix, present: IpAddr, change: fn(IpAddr) -> Change) -> Part {
    let first = prefix.address();
    let part = addresses(first, last(*prefix), present, change);
    Part {
        holds: prefix.contains(present),
        // With a hole in the mask a neighbour may be inside; it is an edge all the same.
        ..part
    }
}

fn last(prefix: Prefix) -> IpAddr {
    let hosts = !address_number(prefix.mask());
    let all = match prefix.family() {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    number_address(
        prefix.family(),
        address_number(prefix.address()) | hosts & all,
    )
}

fn stepped(address: IpAddr, step: i8) -> IpAddr {
    let number = address_number(address).wrapping_add_signed(i128::from(step));
    number_address(Family::of(address), number)
}

fn addresses(first: IpAddr, last: IpAddr, present: IpAddr, change: fn(IpAddr) -> Change) -> Part {
    Part {
        holds: first <= present && present <= last,
        inverted: false,
        inside: vec![change(first), change(last)],
        outside: vec![change(stepped(last, 1)), change(stepped(first, -1))],
    }
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

fn is_protocol(number: u8, packet: &Packet) -> Part {
    let others = [6, 17, 132, 1, 47, 58, 136]
        .into_iter()
        .filter(|n| *n != number);
    Part {
        holds: packet.protocol == number,
        inverted: false,
        inside: vec![Change::Protocol(number)],
        outside: others.map(Change::Protocol).collect(),
    }
}

fn ports(range: PortRange, present: Option<u16>, change: fn(u16) -> Change) -> Part {
    Part {
        holds: present.is_some_and(|port| range.contains(port)),
        inverted: false,
        inside: vec![change(range.first), change(range.last)],
        outside: vec![
            change(range.last.wrapping_add(1)),
            change(range.first.wrapping_sub(1)),
        ],
    }
}

fn port_parts(of: Ports, packet: &Packet) -> Vec<Part> {
    let sides = [
        (
            of.source,
            of.source_inverted,
            packet.ports.map(|p| p.0),
            Change::SourcePort as fn(_) -> _,
        ),
        (
            of.destination,
            of.destination_inverted,
            packet.ports.map(|p| p.1),
            Change::DestinationPort as _,
        ),
    ];
    sides
        .into_iter()
        .filter(|(range, ..)| !range.is_any())
        .map(|(range, inverted, present, change)| Part {
            inverted,
            ..ports(range, present, change)
        })
        .collect()
}

fn tcp_parts(tcp: &TcpMatch, packet: &Packet) -> Vec<Part> {
    let mut parts = port_parts(tcp.ports, packet);
    if tcp.flags_mask != 0 {
        let present = packet.tcp_flags.unwrap_or(2);
        let (mask, value) = (tcp.flags_mask, tcp.flags_value);
        let kept = present & !mask;
        let lowest = mask & mask.wrapping_neg();
        parts.push(Part {
            holds: present & mask == value,
            inverted: tcp.flags_inverted,
            inside: vec![Change::Flags(kept | value)],
            outside: vec![
                Change::Flags(kept | (value ^ lowest)),
                Change::Flags(kept | (!value & mask)),
            ],
        });
    }
    parts
}

fn icmp_part(icmp: &IcmpType, packet: &Packet) -> Part {
    let kind = if icmp.kind == 255 { 8 } else { icmp.kind };
    let (first, last) = (icmp.code_first, icmp.code_last);
    Part {
        holds: packet
            .icmp
            .is_some_and(|(k, code)| k == kind && first <= code && code <= last),
        inverted: false,
        inside: vec![Change::Icmp(kind, first)],
        outside: vec![
            Change::Icmp(kind, last.wrapping_add(1)),
            Change::Icmp(kind ^ 1, first),
        ],
    }
}

fn multiport(side: PortSide, list: &[PortRange], packet: &Packet) -> Part {
    let change = match side {
        PortSide::Source => Change::SourcePort as fn(_) -> _,
        PortSide::Destination | PortSide::Either => Change::DestinationPort as _,
    };
    let holds = packet.ports.is_some_and(|(source, destination)| {
        let one = |port: u16| list.iter().any(|range| range.contains(port));
        match side {
            PortSide::Source => one(source),
            PortSide::Destination => one(destination),
            PortSide::Either => one(source) || one(destination),
        }
    });
    let all = list.iter().map(|range| ports(*range, None, change));
    let mut part = all.fold(Part::default(), |mut all, part| {
        all.inside.extend(part.inside);
        all.outside.extend(part.outside);
        all
    });
    if side == PortSide::Either {
        let other = list.iter().map(|range| Change::SourcePort(range.first));
        part.inside.extend(other);
    }
    Part { holds, ..part }
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

/// Addresses of each type that is told apart here.
fn address_type(
    set: AddressTypes,
    present: IpAddr,
    node: Option<&NodeFacts>,
    change: fn(IpAddr) -> Change,
) -> Part {
    let family = Family::of(present);
    let local = node.and_then(|node| node.local.as_ref()).and_then(|local| {
        local
            .devices
            .iter()
            .map(|(_, a)| *a)
            .find(|a| Family::of(*a) == family)
    });
    let of = |v4: [u8; 4], v6: [u16; 8]| match family {
        Family::V4 => IpAddr::from(v4),
        Family::V6 => IpAddr::from(v6),
    };
    let mut part = Part::default();
    let known = [
        (
            AddressTypes::LOCAL,
            local.unwrap_or(of([127, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1])),
        ),
        (
            AddressTypes::UNICAST,
            of([203, 0, 113, 77], [0x2001, 0xdb8, 7, 0, 0, 0, 0, 7]),
        ),
        (
            AddressTypes::MULTICAST,
            of([224, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1]),
        ),
        (
            AddressTypes::BROADCAST,
            of([255; 4], [0x2001, 0xdb8, 7, 0, 0, 0, 0, 8]),
        ),
    ];
    for (types, address) in known {
        if types == AddressTypes::BROADCAST && family == Family::V6 {
            continue;
        }
        let to = if set.intersects(types) {
            &mut part.inside
        } else {
            &mut part.outside
        };
        to.push(change(address));
    }
    part
}

/// Packets that are entries of the set.
fn set_part(set: &SetMatch, ruleset: &Ruleset, node: Option<&NodeFacts>) -> Part {
    let sets = node.and_then(|node| node.ipsets.as_ref());
    let named = sets.and_then(|sets| sets.get(ruleset.text(set.name)));
    let Some((sets, named)) = sets.zip(named) else {
        return Part::default();
    };
    let members = named.members.iter().filter_map(|name| sets.get(name));
    let all: Vec<&IpSet> = std::iter::once(named).chain(members).collect();
    let mut part = Part::default();
    for entry in all.iter().flat_map(|set| &set.entries) {
        let changes = entry_changes(entry, set);
        // The address behind the entry's, its other parts being the same.
        let mut missed = changes.clone();
        for change in missed.iter_mut().take(1) {
            if let Change::Source(address) | Change::Destination(address) = change {
                *address = stepped(*address, 1);
            }
        }
        part.outside.push(Change::All(missed));
        let to = if entry.nomatch {
            &mut part.outside
        } else {
            &mut part.inside
        };
        to.push(Change::All(changes));
    }
    part
}

fn entry_changes(entry: &Entry, set: &SetMatch) -> Vec<Change> {
    let mut changes = Vec::new();
    for (value, destination) in entry.values.iter().zip(set.destination) {
        match value {
            Value::Addresses(_, last) if destination => changes.push(Change::Destination(*last)),
            Value::Addresses(_, last) => changes.push(Change::Source(*last)),
            Value::Port(number, first, _) => {
                let number = number.unwrap_or(protocol::TCP);
                changes.push(Change::Protocol(number));
                changes.push(match (number, destination) {
                    (protocol::ICMP | protocol::ICMPV6, _) => {
                        Change::Icmp((first >> 8) as u8, *first as u8)
                    }
                    (_, true) => Change::DestinationPort(*first),
                    (_, false) => Change::SourcePort(*first),
                });
            }
            Value::Mac(mac) => changes.push(Change::Mac(*mac)),
            Value::Iface(name) => changes.push(Change::Device(Interface::new(name))),
            Value::Mark(mark) => changes.push(Change::Mark(*mark)),
        }
    }
    changes
}
