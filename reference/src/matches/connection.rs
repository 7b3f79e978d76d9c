//! conntrack and connmark.

use super::is_marked;
use crate::Walk;
use crate::state::{Address, Connection, State};
use crate::truth::Truth;
use kpclass_ruleset::conntrack::{CtStatus, Direction, LaterOption, LaterTest, later_options};
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
    let first = Original::of(state);
    let protocol = conntrack
        .protocol
        .is_none_or(|(number, inverted)| (number == first.protocol) != inverted);
    let goes_original = first.direction == Direction::Original;
    let original = protocol
        && address(conntrack.original_source, first.source)
        && address(conntrack.original_destination, first.destination)
        && conntrack
            .original_direction
            .is_none_or(|o| o == goes_original);
    let ports = port(conntrack.original_source_port, first.parts.0)
        .and(port(conntrack.original_destination_port, first.parts.1));
    let rest = conntrack
        .rest
        .map_or(Truth::True, |text| later(walk, state, text));
    ctstate.and(Truth::of(original)).and(ports).and(rest)
}

/// The original tuple, as far as known, and the packet's direction.
struct Original {
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    parts: (Option<u16>, Option<u16>),
    direction: Direction,
}

impl Original {
    fn of(state: &State<'_>) -> Self {
        let packet = state.packet;
        match state.connection() {
            None => Self {
                protocol: packet.protocol,
                source: packet.source,
                destination: packet.destination,
                parts: original_ports(packet),
                direction: Direction::Original,
            },
            Some(connection) => {
                let tuple = connection.original;
                Self {
                    protocol: tuple.protocol,
                    source: tuple.source.0,
                    destination: tuple.destination.0,
                    parts: (Some(tuple.source.1), Some(tuple.destination.1)),
                    direction: connection.direction,
                }
            }
        }
    }
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

/// The options that need more than one packet (CONNTRACK.md 5.4).
fn later(walk: &Walk<'_>, state: &State<'_>, text: kpclass_ruleset::StrId) -> Truth {
    let ruleset = walk.ruleset;
    let options = later_options(ruleset.text(text), ruleset.family());
    let (Some(connection), Some(options)) = (state.connection(), options) else {
        return Truth::Unknown(Fact::Conntrack);
    };
    options.iter().fold(Truth::True, |truth, option| {
        truth.and(asked(state, connection, option))
    })
}

fn asked(state: &State<'_>, connection: &Connection, option: &LaterOption) -> Truth {
    let reply = Reply::of(state, connection);
    let inside = |address: Address, prefix: Prefix| match address {
        Address::Known(a) => Truth::of(prefix.contains(a)),
        Address::ThisNode => Truth::Unknown(Fact::LocalAddresses),
    };
    let part = |part: Option<u16>, range: PortRange| match part {
        Some(part) => Truth::of(range.contains(part)),
        None => Truth::Unknown(Fact::NatAddress),
    };
    let is_confirmed = connection.later.is_some() || state.lo_leg;
    let truth = match option.test {
        LaterTest::ReplySource(prefix) => inside(reply.source.0, prefix),
        LaterTest::ReplyDestination(prefix) => inside(reply.destination.0, prefix),
        LaterTest::ReplySourcePort(range) => part(reply.source.1, range),
        LaterTest::ReplyDestinationPort(range) => part(reply.destination.1, range),
        LaterTest::Status(status) => {
            let confirmed = if state.lo_leg {
                CtStatus::CONFIRMED
            } else {
                CtStatus::default()
            };
            Truth::of(connection.status.with(confirmed).intersects(status))
        }
        LaterTest::Expires(..) if !is_confirmed => Truth::Unknown(Fact::Conntrack),
        LaterTest::Expires(first, last) => {
            let seconds = u64::from(first)..=u64::from(last);
            Truth::of(seconds.contains(&connection.left.as_secs()))
        }
    };
    truth.inverted(option.inverted)
}

/// The reply tuple, as translated so far.
struct Reply {
    source: (Address, Option<u16>),
    destination: (Address, Option<u16>),
}

impl Reply {
    fn of(state: &State<'_>, connection: &Connection) -> Self {
        let (source, destination) = match (&connection.later, state.ports) {
            (Some(later), _) => {
                let (address, part) = later.server;
                ((Address::Known(address), Some(part)), later.client)
            }
            (None, Some((from, to))) => (
                (state.destination, Some(to)),
                (state.source, Some(from).filter(|_| state.snat.is_none())),
            ),
            (None, None) => {
                let inverse = connection.original.inverse();
                let parts = inverse.map(|t| (t.source.1, t.destination.1)).unzip();
                ((state.destination, parts.0), (state.source, parts.1))
            }
        };
        Self {
            source,
            destination,
        }
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
    if let Some(connection) = state.connection().filter(|c| c.later.is_some()) {
        let bit = |flag, bit| states.intersects(flag) && connection.status.intersects(bit);
        return Truth::of(
            bit(CtStates::SNAT, CtStatus::SNAT) || bit(CtStates::DNAT, CtStatus::DNAT),
        );
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
    let first = state.packet.source;
    let address = match snat {
        // By lo it takes an address of another device, which 127.0.0.0/8 is not.
        Snat::Masquerade if first.is_loopback() || walk.node.is_local(first) == Some(false) => {
            Truth::True
        }
        Snat::Masquerade => Truth::Unknown(Fact::LocalAddresses),
        Snat::Netmap(address) => Truth::of(address != first),
        Snat::To { addresses, .. } => match addresses {
            None => Truth::False,
            Some((low, high)) if low == high => Truth::of(low != first),
            Some((low, high)) if (low..=high).contains(&first) => Truth::Unknown(Fact::NatAddress),
            Some(_) => Truth::True,
        },
    };
    match (address, keeps_port(state)) {
        (Truth::True, _) | (_, Truth::False) => Truth::True,
        (Truth::Unknown(_), _) | (_, Truth::True) => address,
        (_, doubt) => doubt,
    }
}

/// Whether the source port is still the packet's own.
fn keeps_port(state: &State<'_>) -> Truth {
    let first = state.packet.ports.map(|ports| PortRange::single(ports.0));
    match first.map(|first| state.source_port_is_in(&[first])) {
        Some(answer) => answer,
        None => Truth::True,
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
