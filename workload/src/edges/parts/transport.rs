//! Parts about protocols, ports, flags and ICMP types.

use super::{Change, Part};
use kpclass_ruleset::matches::{IcmpType, PortSide, Ports, TcpMatch};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::PortRange;

/// A number in a range.
pub(super) fn ports(range: PortRange, present: Option<u16>, change: fn(u16) -> Change) -> Part {
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

/// `--sport` and `--dport`.
pub(super) fn port_parts(of: Ports, packet: &Packet) -> Vec<Part> {
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

pub(super) fn tcp_parts(tcp: &TcpMatch, packet: &Packet) -> Vec<Part> {
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

pub(super) fn icmp_part(icmp: &IcmpType, packet: &Packet) -> Part {
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

pub(super) fn multiport(side: PortSide, list: &[PortRange], packet: &Packet) -> Part {
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

pub(super) fn is_protocol(number: u8, packet: &Packet) -> Part {
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
