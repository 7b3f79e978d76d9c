//! Which source a new connection gets (CONNTRACK.md 3.5).

use super::entry::{Client, Entry, Open};
use super::table::Table;
use kpclass_ruleset::conntrack::{CtStatus, Tuple};
use kpclass_ruleset::decision::Snat;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::target::NatRange;
use std::net::IpAddr;
use std::time::Duration;

/// What a rule asks of the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// As the decision has it; `None`: no rule rewrites it.
    pub(super) snat: Option<Snat>,
    /// The rule's range.
    pub(super) range: NatRange,
}

/// The source of the entry's reply tuple: chosen, or left open; the status SNAT where it is another one. `false`: it is an ICMP id that nat would
/// choose at random.
pub(super) fn choose(
    table: &mut Table,
    entry: &mut Entry,
    wanted: &Wanted,
    node: &NodeFacts,
    now: Duration,
) -> bool {
    let (address, part) = entry.original.source;
    let chosen = choice(table, entry, wanted, node, now);
    let is_same = chosen == Client::Known(address, part);
    entry.client = match (chosen, icmp_answer(entry)) {
        (client, None) => client,
        (Client::Known(to, id), Some(answer)) if id == part => Client::Known(to, answer),
        (Client::Open(open), Some(answer)) if open.part.is_some() => Client::Open(Open {
            part: Some(answer),
            ..open
        }),
        _ => return false,
    };
    if !is_same {
        entry.status = entry.status.with(CtStatus::SNAT);
    }
    true
}

/// The destination part of the answers to an ICMP query: type and code.
fn icmp_answer(entry: &Entry) -> Option<u16> {
    let inverse = entry.original.inverse()?;
    entry.original.is_icmp().then_some(inverse.destination.1)
}

fn choice(
    table: &mut Table,
    entry: &Entry,
    wanted: &Wanted,
    node: &NodeFacts,
    now: Duration,
) -> Client {
    let (address, part) = entry.original.source;
    let (addresses, ports) = match wanted.snat {
        None => (Some((address, address)), None),
        Some(Snat::Netmap(to)) => (Some((to, to)), None),
        Some(Snat::Masquerade) => (None, wanted.range.ports.map(|p| (p.first, p.last))),
        Some(Snat::To { addresses, ports }) => (addresses.or(Some((address, address))), ports),
    };
    let ports = ports.map(|(a, b)| (a.min(b), a.max(b)));
    let is_random = wanted.range.random || wanted.range.random_fully;
    let in_ports = |part: u16| ports.is_none_or(|(first, last)| (first..=last).contains(&part));
    let is_doubtful = wanted.snat.is_some() && table.has_vague(entry.original.protocol, now);
    if is_doubtful && has_choice(entry) {
        return Client::Open(Open {
            addresses,
            part: None,
        });
    }
    let Some((first, last)) = addresses else {
        let keeps = !is_random && in_ports(part) && keeps_port_on_any(table, entry, node, now);
        return Client::Open(Open {
            addresses,
            part: (keeps || !has_choice(entry)).then_some(part),
        });
    };
    let in_range = |(a, p): (IpAddr, u16)| (first..=last).contains(&a) && in_ports(p);
    let original_in_range = in_range((address, part));
    if !is_random {
        if original_in_range {
            if !is_taken(table, entry, (address, part), now) {
                return Client::Known(address, part);
            }
        } else if let Some(same) = mapped_before(table, entry, &in_range, now) {
            return Client::Known(same.0, same.1);
        }
    }
    let keeps_port = !is_random && in_ports(part);
    if first != last {
        return Client::Open(Open {
            addresses,
            part: (keeps_port || !has_choice(entry)).then_some(part),
        });
    }
    let single = ports.filter(|(a, b)| a == b).map(|(a, _)| a);
    let is_free = keeps_port && !is_taken(table, entry, (first, part), now);
    match single {
        _ if is_free || !has_choice(entry) => Client::Known(first, part),
        Some(port) => Client::Known(first, port),
        None => Client::Open(Open {
            addresses,
            part: None,
        }),
    }
}

/// Whether MASQUERADE keeps the port whichever of the node's addresses it takes: it is free on all of them, and the socket has no other one already.
fn keeps_port_on_any(table: &mut Table, entry: &Entry, node: &NodeFacts, now: Duration) -> bool {
    let part = entry.original.source.1;
    let side = (entry.original.protocol, entry.original.source);
    if table.has_moved(side, now) {
        return false;
    }
    let local = node.local.iter().flat_map(|local| &local.addresses);
    local
        .copied()
        .all(|address| !is_taken(table, entry, (address, part), now))
}

/// Whether nat can give it another port or id (`nf_nat_l4proto_unique_tuple`).
fn has_choice(entry: &Entry) -> bool {
    entry.original.has_ports() || entry.original.is_icmp()
}

/// The source of the newest live connection of the same socket, if it lies in the range and is free here, too (`find_appropriate_src`).
fn mapped_before(
    table: &mut Table,
    entry: &Entry,
    in_range: &dyn Fn((IpAddr, u16)) -> bool,
    now: Duration,
) -> Option<(IpAddr, u16)> {
    let side = (entry.original.protocol, entry.original.source);
    let before = table.with_source(side, now);
    let id = entry.original.is_icmp().then_some(entry.original.source.1);
    let source = before
        .filter_map(|other| match other.client {
            Client::Known(address, part) => Some((address, id.unwrap_or(part))),
            Client::Open(_) => None,
        })
        .find(|source| *source != entry.original.source && in_range(*source))?;
    (!is_taken(table, entry, source, now)).then_some(source)
}

/// Whether another live entry has the tuple of the answers that would come to this source (`nf_nat_used_tuple`).
pub(super) fn is_taken(
    table: &mut Table,
    entry: &Entry,
    source: (IpAddr, u16),
    now: Duration,
) -> bool {
    let reply = Tuple {
        protocol: entry.original.protocol,
        source: entry.server,
        destination: (source.0, icmp_answer(entry).unwrap_or(source.1)),
    };
    match table.by_tuple(&reply, now) {
        Some((id, _)) => table
            .get(id)
            .is_some_and(|other| other.original != entry.original),
        None => false,
    }
}
