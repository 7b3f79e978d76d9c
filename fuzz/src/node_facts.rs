//! Facts of a node grown from choices: addresses, devices, ipsets, settings, each known or not.

use super::choices::Choices;
use super::rule_lines::{address, port};
use kpclass_ruleset::node::ipset::{Dimension, Entry, IpSet, IpSets, Value};
use kpclass_ruleset::node::{LocalAddresses, MissingChains, NodeFacts};
use kpclass_ruleset::value::{Family, Interface, address_number};

/// The facts.
pub fn grow(choices: &mut Choices<'_>, family: Family) -> NodeFacts {
    NodeFacts {
        local: choices.once_in(2).then(|| local(choices, family)),
        ipsets: choices.once_in(2).then(|| ipsets(choices, family)),
        route_localnet: choices.one(&[None, Some(false), Some(true)]),
        missing_chains: choices.one(&[MissingChains::Return, MissingChains::Unknown]),
    }
}

fn local(choices: &mut Choices<'_>, family: Family) -> LocalAddresses {
    let addresses: Vec<_> = (0..1 + choices.below(3))
        .map(|_| address(choices, family))
        .collect();
    let mut local = LocalAddresses::new(addresses.iter().copied());
    let device = |name| Interface::new(name).map(|device| (device, addresses[0]));
    if choices.once_in(2) {
        local.devices.extend(device("eth0"));
    }
    local
}

/// The sets that rules ask.
fn ipsets(choices: &mut Choices<'_>, family: Family) -> IpSets {
    let mut sets = IpSets::default();
    for (name, dimensions) in [
        ("ips", vec![Dimension::Ip]),
        ("ports", vec![Dimension::Ip, Dimension::Port]),
        (
            "nets",
            vec![Dimension::Net, Dimension::Port, Dimension::Net],
        ),
        ("devices", vec![Dimension::Net, Dimension::Iface]),
        ("macs", vec![Dimension::Ip, Dimension::Mac]),
        ("marks", vec![Dimension::Ip, Dimension::Mark]),
    ] {
        if choices.once_in(4) {
            continue;
        }
        let entry = |choices: &mut Choices<'_>| Entry {
            values: dimensions
                .iter()
                .map(|d| value(choices, *d, family))
                .collect(),
            nomatch: choices.once_in(4),
        };
        let entries = (0..choices.below(4)).map(|_| entry(choices)).collect();
        let set = IpSet {
            dimensions,
            entries,
            members: Vec::new(),
        };
        sets.insert(name.to_owned(), set);
    }
    let members = ["ips", "devices", "absent"].map(str::to_owned);
    let list = IpSet {
        dimensions: Vec::new(),
        entries: Vec::new(),
        members: members[choices.below(3)..].to_vec(),
    };
    sets.insert("list".to_owned(), list);
    sets
}

fn value(choices: &mut Choices<'_>, dimension: Dimension, family: Family) -> Value {
    let (a, b) = (address(choices, family), address(choices, family));
    let (first, last) = if address_number(a) <= address_number(b) {
        (a, b)
    } else {
        (b, a)
    };
    match dimension {
        Dimension::Port => {
            let (a, b) = (port(choices), port(choices));
            Value::Port(
                choices.one(&[Some(6), Some(17), Some(1), Some(33), None]),
                a.min(b),
                a.max(b),
            )
        }
        Dimension::Iface => Value::Iface(choices.one(&["eth0", "lo", "eth1"]).to_owned()),
        Dimension::Mac => Value::Mac([2, 0, 0, 0, 0, choices.one(&[0, 1, 3])]),
        Dimension::Mark => Value::Mark(choices.one(&[0, 0x4000])),
        _ if choices.once_in(2) => Value::Addresses(first, last),
        _ => Value::Addresses(a, a),
    }
}
