//! Parts about ipsets.

use super::addresses::stepped;
use super::{Change, Part};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::matches::SetMatch;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::node::ipset::{Entry, IpSet, Value};
use kpclass_ruleset::value::{Interface, protocol};

/// Packets that are entries of the set.
pub(super) fn set_part(set: &SetMatch, ruleset: &Ruleset, node: Option<&NodeFacts>) -> Part {
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
