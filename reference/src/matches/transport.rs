//! tcp, udp, sctp, dccp, icmp, icmp6, multiport.

use crate::state::State;
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{IcmpType, Multiport, PortSide, Ports, TcpMatch};
use kpclass_ruleset::value::protocol;

/// The present ports, if the packet is of this protocol and no later fragment.
fn ports_of(state: &State<'_>, number: u8) -> Option<(u16, u16)> {
    state
        .ports
        .filter(|_| state.packet.protocol == number && !state.packet.fragment)
}

fn ports(condition: &Ports, (source, destination): (u16, u16)) -> bool {
    condition.source.contains(source) != condition.source_inverted
        && condition.destination.contains(destination) != condition.destination_inverted
}

/// `-m tcp`.
pub(super) fn tcp(state: &State<'_>, tcp: &TcpMatch) -> Truth {
    let Some(present) = ports_of(state, protocol::TCP) else {
        return Truth::Void;
    };
    let flags = state.packet.tcp_flags.unwrap_or(0) & tcp.flags_mask;
    if !ports(&tcp.ports, present) || (flags == tcp.flags_value) == tcp.flags_inverted {
        return Truth::False;
    }
    if tcp.option == 0 {
        Truth::True
    } else {
        Truth::Unknown(Fact::TcpOption)
    }
}

/// `-m udp`.
pub(super) fn udp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::UDP).map_or(Truth::Void, |p| Truth::of(ports(condition, p)))
}

/// `-m sctp`.
pub(super) fn sctp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::SCTP).map_or(Truth::Void, |p| Truth::of(ports(condition, p)))
}

/// `-m dccp`.
pub(super) fn dccp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::DCCP).map_or(Truth::Void, |p| Truth::of(ports(condition, p)))
}

/// `-m icmp`.
pub(super) fn icmp(state: &State<'_>, icmp: IcmpType) -> Truth {
    if state.packet.protocol != protocol::ICMP || state.packet.fragment {
        return Truth::Void;
    }
    match state.packet.icmp {
        Some(_) if icmp.kind == 255 => Truth::True,
        Some(present) => Truth::of(is_type(icmp, present)),
        None => Truth::Void,
    }
}

/// `-m icmp6`.
pub(super) fn icmpv6(state: &State<'_>, icmp: IcmpType) -> Truth {
    if state.packet.protocol != protocol::ICMPV6 || state.packet.fragment {
        return Truth::Void;
    }
    state
        .packet
        .icmp
        .map_or(Truth::Void, |present| Truth::of(is_type(icmp, present)))
}

fn is_type(icmp: IcmpType, (kind, code): (u8, u8)) -> bool {
    kind == icmp.kind && (icmp.code_first..=icmp.code_last).contains(&code)
}

/// `-m multiport`.
pub(super) fn multiport(state: &State<'_>, multiport: &Multiport) -> Truth {
    use protocol::{DCCP, SCTP, TCP, UDP, UDPLITE};
    let known = matches!(state.packet.protocol, TCP | UDP | UDPLITE | SCTP | DCCP);
    let Some((source, destination)) = state.ports.filter(|_| known && !state.packet.fragment)
    else {
        return Truth::Void;
    };
    let listed = |port| multiport.ports.iter().any(|range| range.contains(port));
    Truth::of(match multiport.side {
        PortSide::Source => listed(source),
        PortSide::Destination => listed(destination),
        PortSide::Either => listed(source) || listed(destination),
    })
}
