//! ipset membership, by a linear scan.

use super::{is_between, out_device};
use crate::Walk;
use crate::state::{Address, Device, State};
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::SetMatch;
use kpclass_ruleset::node::ipset::{Dimension, Entry, IpSet, IpSets, Value};
use kpclass_ruleset::value::{PortRange, address_number, protocol};

/// `-m set`, corpus `memory.toml`.
pub(super) fn set(walk: &Walk<'_>, state: &mut State<'_>, condition: &SetMatch) -> Truth {
    let unknown = Truth::Unknown(Fact::IpSet(condition.name));
    let name = walk.ruleset.text(condition.name);
    let Some(sets) = walk.node.ipsets.as_ref() else {
        return unknown;
    };
    let Some(set) = sets
        .get(name)
        .filter(|_| condition.rest.is_none() && !state.sets_changed)
    else {
        return unknown;
    };
    let out = out_device(walk, state);
    if set.members.is_empty() {
        return holds(set, state, out, condition);
    }
    member_of_any(sets, set, state, out, condition)
}

/// A list of sets: any of them. A member that is itself a list is refused by the kernel and holds nothing.
fn member_of_any(
    sets: &IpSets,
    list: &IpSet,
    state: &State<'_>,
    out: Device,
    condition: &SetMatch,
) -> Truth {
    let mut answer = Truth::False;
    for name in &list.members {
        let truth = match sets.get(name) {
            Some(member) => holds(member, state, out, condition),
            None => Truth::Unknown(Fact::IpSet(condition.name)),
        };
        match (truth, answer) {
            (Truth::True, _) => return truth,
            (Truth::Unknown(_), Truth::False) => answer = truth,
            _ => {}
        }
    }
    answer
}

/// Whether a set holds the packet: the most specific entry that does decides.
fn holds(set: &IpSet, state: &State<'_>, out: Device, condition: &SetMatch) -> Truth {
    if set.dimensions.is_empty() || usize::from(condition.dimensions) < set.dimensions.len() {
        return Truth::False;
    }
    let mut met: Vec<(&Entry, Truth)> = Vec::new();
    let narrowest = narrowest_net(set, state, condition);
    for entry in &set.entries {
        if narrowest.is_some_and(|narrowest| breadths(entry)[0] != narrowest) {
            continue;
        }
        let truth = is_entry(set, entry, state, out, condition);
        if !matches!(truth, Truth::False | Truth::Void) {
            met.push((entry, truth));
        }
    }
    let first_fact = met
        .iter()
        .map(|(_, truth)| *truth)
        .find(|truth| *truth != Truth::True);
    met.sort_by_key(|(entry, _)| breadths(entry));
    let certain = met.iter().position(|(_, truth)| *truth == Truth::True);
    let ends = certain.is_some_and(|at| !met[at].0.nomatch);
    let possible = &met[..certain.unwrap_or(met.len())];
    match first_fact {
        Some(unknown) if possible.iter().any(|(entry, _)| entry.nomatch == ends) => unknown,
        _ => Truth::of(ends),
    }
}

/// In a `hash:net,iface` the narrowest network that holds the address decides alone, whichever devices it is there with
/// (`IP_SET_HASH_WITH_MULTI`): its breadth; `None` for another set, an address that is not known, or none that holds it.
fn narrowest_net(set: &IpSet, state: &State<'_>, condition: &SetMatch) -> Option<u128> {
    if set.dimensions != [Dimension::Net, Dimension::Iface] {
        return None;
    }
    let destination = condition.destination[0];
    let holding = set.entries.iter().filter(|entry| {
        let net = entry.values.first();
        net.is_some_and(|net| {
            let out = Device::NotLo;
            is_part(Dimension::Net, net, destination, state, out) == Truth::True
        })
    });
    holding.map(|entry| breadths(entry)[0]).min()
}

/// How many addresses an entry's dimensions hold, less one: the smaller, the more specific.
fn breadths(entry: &Entry) -> Vec<u128> {
    let breadth = |value: &Value| match value {
        Value::Addresses(first, last) => {
            address_number(*last).saturating_sub(address_number(*first))
        }
        _ => 0,
    };
    entry.values.iter().map(breadth).collect()
}

fn is_entry(
    set: &IpSet,
    entry: &Entry,
    state: &State<'_>,
    out: Device,
    condition: &SetMatch,
) -> Truth {
    let parts = set
        .dimensions
        .iter()
        .zip(&entry.values)
        .zip(condition.destination);
    parts.fold(Truth::True, |truth, ((dimension, value), destination)| {
        truth.and(is_part(*dimension, value, destination, state, out))
    })
}

fn is_part(
    dimension: Dimension,
    value: &Value,
    destination: bool,
    state: &State<'_>,
    out: Device,
) -> Truth {
    match (dimension, value) {
        (Dimension::Ip | Dimension::Net, Value::Addresses(first, last)) => {
            match if destination {
                state.destination
            } else {
                state.source
            } {
                Address::Known(a) => Truth::of(is_between(a, *first, *last)),
                Address::ThisNode => Truth::Unknown(Fact::LocalAddresses),
            }
        }
        (Dimension::Port, Value::Port(protocol, first, last)) => is_port(
            state,
            destination,
            *protocol,
            PortRange {
                first: *first,
                last: *last,
            },
        ),
        (Dimension::Mac, Value::Mac(mac)) => match state.packet.source_mac.filter(|_| !destination)
        {
            Some(source) => Truth::of(source == *mac),
            None => Truth::Unknown(Fact::Mac),
        },
        (Dimension::Iface, Value::Iface(name)) => match (destination, state.arrival, out) {
            (false, Device::Known(interface), _) | (true, _, Device::Known(interface)) => {
                Truth::of(interface.name() == name)
            }
            (false, Device::NotLo, _) | (true, _, Device::NotLo) if name == "lo" => Truth::False,
            (false, ..) => Truth::Unknown(Fact::InInterface),
            (true, ..) => Truth::Unknown(Fact::OutInterface),
        },
        (Dimension::Mark, Value::Mark(mark)) => Truth::of(state.mark == *mark),
        _ => Truth::False,
    }
}

fn is_port(state: &State<'_>, destination: bool, of: Option<u8>, range: PortRange) -> Truth {
    use protocol::{ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    let packet = state.packet;
    let is_protocol = match of {
        Some(number) => packet.protocol == number,
        None => matches!(packet.protocol, TCP | UDP),
    };
    let port = match (packet.protocol, state.ports, packet.icmp) {
        (TCP | UDP | SCTP | UDPLITE, Some((_, port)), _) if destination => {
            Truth::of(range.contains(port))
        }
        (TCP | UDP | SCTP | UDPLITE, Some(_), _) => state.source_port_is_in(&[range]),
        (ICMP | ICMPV6, _, Some((kind, code))) => {
            Truth::of(range.contains(u16::from_be_bytes([kind, code])))
        }
        (TCP | UDP | SCTP | UDPLITE | ICMP | ICMPV6, ..) => Truth::False,
        // DCCP's ports are not read (`get_port`); nor has any other protocol some.
        _ => Truth::of(range.contains(0)),
    };
    Truth::of(is_protocol).and(port)
}
