//! The node that rulesets are made for: the same in all of them.

use kpclass_ruleset::node::ipset::parse_ipsets;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::value::{Family, Interface};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Devices with their IPv4 and IPv6 addresses, each device's first one first. The first is the node's address in a generated cluster.
const ADDRESSES: [(&str, Ipv4Addr, Ipv6Addr); 4] = [
    (
        "eth0",
        Ipv4Addr::new(192, 168, 10, 2),
        Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 2),
    ),
    (
        "eth0",
        Ipv4Addr::new(192, 168, 10, 3),
        Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 3),
    ),
    (
        "eth1",
        Ipv4Addr::new(172, 18, 0, 2),
        Ipv6Addr::new(0xfd00, 0xb, 0, 0, 0, 0, 0, 2),
    ),
    (
        "cni0",
        Ipv4Addr::new(10, 127, 255, 1),
        Ipv6Addr::new(0xfd01, 0, 0, 0, 0xffff, 0, 0, 1),
    ),
];

/// The names of the devices that packets arrive on.
pub(super) const DEVICES: [&str; 3] = ["eth0", "eth1", "cni0"];

/// The node's own addresses of a family.
pub(super) fn addresses(family: Family) -> [IpAddr; 4] {
    ADDRESSES.map(|(_, v4, v6)| match family {
        Family::V4 => IpAddr::V4(v4),
        Family::V6 => IpAddr::V6(v6),
    })
}

/// The devices that packets arrive on.
pub(super) fn devices() -> Vec<Interface> {
    DEVICES.iter().filter_map(|n| Interface::new(n)).collect()
}

/// What a matcher may know of the node.
pub(super) fn facts(family: Family, route_localnet: bool, ipsets: Option<&str>) -> NodeFacts {
    let mut local = LocalAddresses::new(addresses(family));
    let own = ADDRESSES.iter().zip(addresses(family));
    local.devices = own
        .filter_map(|((name, ..), address)| Some((Interface::new(name)?, address)))
        .collect();
    let sets = ipsets.map(|text| parse_ipsets(text).expect("generated sets read").sets);
    NodeFacts {
        local: Some(local),
        ipsets: sets,
        route_localnet: Some(route_localnet),
        ..NodeFacts::default()
    }
}
