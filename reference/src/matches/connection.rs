//! conntrack and connmark.

use super::is_marked;
use crate::Walk;
use crate::state::{Address, State};
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{Conntrack, MarkTest};
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
    let (sport, dport) = match packet.ports {
        Some((source, destination)) => (Some(source), Some(destination)),
        None => (None, None),
    };
    let protocol = conntrack
        .protocol
        .is_none_or(|(number, inverted)| (number == packet.protocol) != inverted);
    let original = protocol
        && address(conntrack.original_source, packet.source)
        && address(conntrack.original_destination, packet.destination)
        && port(conntrack.original_source_port, sport)
        && port(conntrack.original_destination_port, dport)
        && conntrack.original_direction != Some(false);
    let rest = conntrack
        .rest
        .map_or(Truth::True, |_| Truth::Unknown(Fact::Conntrack));
    ctstate.and(Truth::of(original)).and(rest)
}

fn address(option: Option<(Prefix, bool)>, original: IpAddr) -> bool {
    option.is_none_or(|(prefix, inverted)| prefix.contains(original) != inverted)
}

/// A packet without ports has none to match, inverted or not.
fn port(option: Option<(PortRange, bool)>, original: Option<u16>) -> bool {
    option.is_none_or(|(range, inverted)| {
        original.is_some_and(|port| range.contains(port) != inverted)
    })
}

/// `--ctstate`: the state's bit, DNAT, SNAT.
fn states_of(walk: &Walk<'_>, state: &State<'_>, states: CtStates) -> Truth {
    if states.contains(state.ctstate) {
        return Truth::True;
    }
    if !state.has_connection() {
        return Truth::False;
    }
    if states.intersects(CtStates::SNAT) && state.snat.is_some() {
        return Truth::True;
    }
    if states.intersects(CtStates::DNAT) {
        is_redirected(walk, state)
    } else {
        Truth::False
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
