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

fn ports(state: &State<'_>, condition: &Ports, destination: u16) -> Truth {
    let source = state.source_port_is_in(&[condition.source]);
    let destination = Truth::of(condition.destination.contains(destination));
    destination
        .inverted(condition.destination_inverted)
        .and(source.inverted(condition.source_inverted))
}

/// `-m tcp`.
pub(super) fn tcp(state: &State<'_>, tcp: &TcpMatch) -> Truth {
    let Some((_, destination)) = ports_of(state, protocol::TCP) else {
        return Truth::Void;
    };
    let flags = state.packet.tcp_flags.unwrap_or(0) & tcp.flags_mask;
    let flags = Truth::of(flags == tcp.flags_value).inverted(tcp.flags_inverted);
    let option = match tcp.option {
        0 => Truth::True,
        _ => Truth::Unknown(Fact::TcpOption),
    };
    ports(state, &tcp.ports, destination).and(flags).and(option)
}

/// `-m udp`.
pub(super) fn udp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::UDP).map_or(Truth::Void, |p| ports(state, condition, p.1))
}

/// `-m sctp`.
pub(super) fn sctp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::SCTP).map_or(Truth::Void, |p| ports(state, condition, p.1))
}

/// `-m dccp`.
pub(super) fn dccp(state: &State<'_>, condition: &Ports) -> Truth {
    ports_of(state, protocol::DCCP).map_or(Truth::Void, |p| ports(state, condition, p.1))
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
    let Some((_, port)) = state.ports.filter(|_| known && !state.packet.fragment) else {
        return Truth::Void;
    };
    let source = state.source_port_is_in(&multiport.ports);
    let destination = multiport.ports.iter().any(|range| range.contains(port));
    match multiport.side {
        PortSide::Source => source,
        PortSide::Either if !destination => source,
        PortSide::Destination | PortSide::Either => Truth::of(destination),
    }
}
