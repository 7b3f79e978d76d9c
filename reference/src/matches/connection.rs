//! conntrack and connmark.

use super::is_marked;
use crate::Walk;
use crate::state::{Address, State};
use crate::truth::Truth;
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::matches::{Conntrack, MarkTest};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtStates, PortRange, Prefix};
use std::net::IpAddr;

/// `-m connmark`.
pub(super) fn connmark(state: &State<'_>, test: MarkTest) -> Truth {
    if state.has_connection() {
        Truth::of(is_marked(state.connmark, test))
    } else {
        Truth::Void
    }
}

/// `-m conntrack`, in `conntrack_mt`'s order.
pub(super) fn conntrack(walk: &Walk<'_>, state: &State<'_>, conntrack: &Conntrack) -> Truth {
    let ctstate = match conntrack.state {
        Some((states, inverted)) => states_of(walk, state, states).inverted(inverted),
        None if state.has_connection() => Truth::True,
        None => Truth::Void,
    };
    if !state.has_connection() {
        return ctstate;
    }
    let packet = state.packet;
    let (sport, dport) = original_ports(packet);
    let protocol = conntrack
        .protocol
        .is_none_or(|(number, inverted)| (number == packet.protocol) != inverted);
    let original = protocol
        && address(conntrack.original_source, packet.source)
        && address(conntrack.original_destination, packet.destination)
        && conntrack.original_direction != Some(false);
    let ports = port(conntrack.original_source_port, sport)
        .and(port(conntrack.original_destination_port, dport));
    let rest = conntrack
        .rest
        .map_or(Truth::True, |_| Truth::Unknown(Fact::Conntrack));
    ctstate.and(Truth::of(original)).and(ports).and(rest)
}

fn address(option: Option<(Prefix, bool)>, original: IpAddr) -> bool {
    option.is_none_or(|(prefix, inverted)| prefix.contains(original) != inverted)
}

/// What a connection's tuple holds in the place of ports (`nf_ct_get_tuple`): of ICMP the id, which is not known, and type and code; of
/// protocols without ports 0.
fn original_ports(packet: &Packet) -> (Option<u16>, Option<u16>) {
    match (packet.ports, packet.icmp) {
        (Some((source, destination)), _) => (Some(source), Some(destination)),
        (None, Some((kind, code))) => (None, Some(u16::from_be_bytes([kind, code]))),
        (None, None) => (Some(0), Some(0)),
    }
}

fn port(option: Option<(PortRange, bool)>, original: Option<u16>) -> Truth {
    match (option, original) {
        (None, _) => Truth::True,
        (Some(_), None) => Truth::Unknown(Fact::Conntrack),
        (Some((range, inverted)), Some(port)) => Truth::of(range.contains(port) != inverted),
    }
}

/// `--ctstate`: the state's bit, DNAT, SNAT.
fn states_of(walk: &Walk<'_>, state: &State<'_>, states: CtStates) -> Truth {
    if states.contains(state.ctstate()) {
        return Truth::True;
    }
    if !state.has_connection() {
        return Truth::False;
    }
    let snat = if states.intersects(CtStates::SNAT) {
        has_other_source(walk, state)
    } else {
        Truth::False
    };
    let dnat = if states.intersects(CtStates::DNAT) {
        is_redirected(walk, state)
    } else {
        Truth::False
    };
    match (snat, dnat) {
        (Truth::True, _) | (_, Truth::True) => Truth::True,
        (Truth::Unknown(_), _) => snat,
        _ => dnat,
    }
}

/// Whether nat gave it another source than it had: only then is the connection's status SNAT (`nf_nat_setup_info`).
fn has_other_source(walk: &Walk<'_>, state: &State<'_>) -> Truth {
    let Some((snat, _)) = state.snat else {
        return Truth::False;
    };
    let (first, port) = (state.packet.source, state.packet.ports.map(|p| p.0));
    match snat {
        // By lo it takes an address of another device, which 127.0.0.0/8 is not.
        Snat::Masquerade if first.is_loopback() || walk.node.is_local(first) == Some(false) => {
            Truth::True
        }
        Snat::Masquerade => Truth::Unknown(Fact::LocalAddresses),
        Snat::Netmap(address) => Truth::of(address != first),
        Snat::To { addresses, ports } => {
            let keeps_port =
                ports.is_none_or(|(low, high)| port.is_none_or(|p| (low..=high).contains(&p)));
            match addresses {
                _ if !keeps_port => Truth::True,
                None => Truth::False,
                Some((low, high)) if low == high => Truth::of(low != first),
                Some((low, high)) if (low..=high).contains(&first) => {
                    Truth::Unknown(Fact::NatAddress)
                }
                Some(_) => Truth::True,
            }
        }
    }
}

/// Whether nat gave it another destination than it had, corpus `dnat-to-itself-is-not-ctstate-dnat`.
fn is_redirected(walk: &Walk<'_>, state: &State<'_>) -> Truth {
    let first = state.packet.destination;
    let other_port = state.ports.map(|p| p.1) != state.packet.ports.map(|p| p.1);
    match state.destination {
        Address::Known(present) => Truth::of(other_port || present != first),
        Address::ThisNode if other_port || walk.node.is_local(first) == Some(false) => Truth::True,
        Address::ThisNode => Truth::Unknown(Fact::LocalAddresses),
    }
}
