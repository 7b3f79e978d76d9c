//! Text as what users type or paste beside the rules: a packet's SPEC, the node's addresses, its ipsets. What is read is printed, and that reads back
//! equal.

use kpclass_ruleset::node::ipset::{Dimension, Entry, IpSet, Value, parse_ipsets};
use kpclass_ruleset::node::{NodeFacts, parse_addresses};
use kpclass_ruleset::spec::{of_packet, parse, parse_file};
use kpclass_ruleset::value::{Family, Interface};
use std::fmt::Write;

/// Holds the bytes to what the module says, as each kind of text.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let one = parse(&text).into_iter();
    let many = parse_file(&text)
        .into_iter()
        .flatten()
        .map(|(_, spec)| spec);
    for spec in one.chain(many) {
        let printed = spec.to_string();
        assert_eq!(parse(&printed).as_ref(), Ok(&spec), "{printed}");
        packet_round_trip(&spec.packet(&NodeFacts::default()));
    }
    addresses(&text);
    ipsets(&text);
}

/// The packet as a SPEC that means it. A device without a name is none.
fn packet_round_trip(packet: &kpclass_ruleset::packet::Packet) {
    let printed = of_packet(packet);
    let mut again = match parse(&printed) {
        Ok(spec) => spec.packet(&NodeFacts::default()),
        Err(error) => panic!("{printed}: {error}"),
    };
    if packet.in_interface == Some(Interface::none()) {
        again.in_interface = packet.in_interface;
    }
    assert_eq!(again, *packet, "{printed}");
}

/// The addresses as a list, and each device's as `ip -br addr` prints them.
fn addresses(text: &str) {
    let Ok(found) = parse_addresses(text) else {
        return;
    };
    let list: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
    let list = list.join(",");
    match parse_addresses(&list) {
        Ok(again) => assert_eq!(again.addresses, found.addresses, "{list}"),
        Err(error) => panic!("{list}: {error}"),
    }
    for (device, address) in &found.devices {
        assert!(
            found.addresses.contains(address),
            "{address} is of {device:?} alone"
        );
        assert!(!device.name().is_empty());
    }
}

/// The sets as `ipset save` prints such sets.
fn ipsets(text: &str) {
    let Ok(saved) = parse_ipsets(text) else {
        return;
    };
    for (name, _, _) in &saved.left_out {
        assert!(
            !saved.sets.contains_key(name),
            "{name} is left out and there"
        );
    }
    let mut printed = String::new();
    for (name, set) in &saved.sets {
        for member in &set.members {
            let list = saved
                .sets
                .get(member)
                .is_some_and(|set| !set.members.is_empty());
            assert!(!list, "{name} holds the list {member}");
        }
        print_set(name, set, &mut printed);
    }
    match parse_ipsets(&printed) {
        Ok(again) => assert_eq!(again.sets, saved.sets, "{printed}"),
        Err(error) => panic!("{error}\n{printed}"),
    }
}

fn print_set(name: &str, set: &IpSet, printed: &mut String) {
    let mut print = |line: String| {
        let _ = writeln!(printed, "{line}");
    };
    print(format!("create {} {}", word(name), kind(set)));
    for member in &set.members {
        print(format!("add {} {}", word(name), word(member)));
    }
    for Entry { values, nomatch } in &set.entries {
        assert_eq!(values.len(), set.dimensions.len());
        let values: Vec<String> = values.iter().map(value).collect();
        let nomatch = if *nomatch { " nomatch" } else { "" };
        print(format!(
            "add {} {}{nomatch}",
            word(name),
            word(&values.join(","))
        ));
    }
}

/// A word that a quoted one can have been.
fn word(text: &str) -> String {
    let plain =
        !text.is_empty() && !text.contains(char::is_whitespace) && !text.starts_with(['#', '"']);
    if plain {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    }
}

/// The set's type and family.
fn kind(set: &IpSet) -> String {
    if set.dimensions.is_empty() {
        return "list:set".into();
    }
    let without_protocol = |entry: &Entry| matches!(entry.values[..], [Value::Port(None, ..)]);
    if set.dimensions == [Dimension::Port] && set.entries.iter().all(without_protocol) {
        return "bitmap:port range 0-65535".into();
    }
    let names: Vec<&str> = set.dimensions.iter().map(|d| dimension(*d)).collect();
    let values = set.entries.iter().flat_map(|entry| &entry.values);
    let v6 = |value: &Value| matches!(value, Value::Addresses(first, _) if Family::of(*first) == Family::V6);
    let family = if values.clone().any(v6) {
        "inet6"
    } else {
        "inet"
    };
    format!("hash:{} family {family}", names.join(","))
}

fn dimension(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Ip => "ip",
        Dimension::Net => "net",
        Dimension::Port => "port",
        Dimension::Mac => "mac",
        Dimension::Iface => "iface",
        Dimension::Mark => "mark",
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Addresses(first, last) => format!("{first}-{last}"),
        Value::Port(Some(protocol), first, last) => format!("{protocol}:{first}-{last}"),
        Value::Port(None, first, last) => format!("{first}-{last}"),
        Value::Mac([a, b, c, d, e, f]) => {
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        }
        Value::Iface(name) => name.clone(),
        Value::Mark(mark) => format!("{mark:#x}"),
    }
}
