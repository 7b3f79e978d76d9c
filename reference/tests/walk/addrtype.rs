//! `-m addrtype` (WALK.md 6).

use crate::support::{ask, nobody, node, rules};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::value::Interface;

fn dropped(rule: &str, node: &NodeFacts, spec: &str) -> String {
    let family = if spec.contains('[') {
        "-s ::/1"
    } else {
        "-s 0.0.0.0/1"
    };
    // A source in the upper half of the addresses meets no rule.
    let rules = rules(&format!(
        "*raw\n-A PREROUTING {family} -m addrtype {rule} -j DROP"
    ));
    let line = ask(&rules, node, spec);
    match line.strip_prefix("unknown at PREROUTING 1: ") {
        Some(fact) => fact.to_string(),
        None => {
            if line.starts_with("drop by") {
                "yes".into()
            } else {
                "no".into()
            }
        }
    }
}

fn to(address: &str) -> String {
    format!("tcp 10.0.0.1:1 > {address}:80")
}

const ADDRESS: &str = "whether the address is one of this node's";
const ROUTES: &str = "the address's type in the routing table";

#[test]
fn local_is_loopback_and_what_was_given() {
    let node = node(&["192.168.0.2"]);
    for (address, expected) in [
        ("127.0.0.1", "yes"),
        ("127.9.9.9", "yes"),
        ("192.168.0.2", "yes"),
        ("192.168.0.3", "no"),
        ("255.255.255.255", "no"),
        ("224.0.0.1", "no"),
    ] {
        assert_eq!(
            dropped("--dst-type LOCAL", &node, &to(address)),
            expected,
            "{address}"
        );
        let inverted = if expected == "yes" { "no" } else { "yes" };
        assert_eq!(
            dropped("! --dst-type LOCAL", &node, &to(address)),
            inverted,
            "! {address}"
        );
    }
}

#[test]
fn without_addresses_it_is_known_where_both_answers_agree() {
    assert_eq!(
        dropped("--dst-type LOCAL", &nobody(), &to("192.168.0.2")),
        ADDRESS
    );
    assert_eq!(
        dropped("--dst-type LOCAL,UNICAST", &nobody(), &to("192.168.0.2")),
        "yes"
    );
    assert_eq!(
        dropped("--dst-type BROADCAST", &nobody(), &to("192.168.0.2")),
        "no"
    );
    assert_eq!(
        dropped("--dst-type LOCAL", &nobody(), &to("127.0.0.1")),
        "yes"
    );
    assert_eq!(
        dropped("--dst-type LOCAL,ANYCAST", &nobody(), &to("192.168.0.2")),
        ADDRESS
    );
}

#[test]
fn other_types() {
    let node = node(&["192.168.0.2"]);
    assert_eq!(
        dropped("--dst-type MULTICAST", &node, &to("239.1.1.1")),
        "yes"
    );
    assert_eq!(
        dropped("--dst-type BROADCAST", &node, &to("255.255.255.255")),
        "yes"
    );
    assert_eq!(
        dropped("--dst-type BROADCAST", &node, &to("0.0.0.7")),
        "yes"
    );
    assert_eq!(
        dropped("--dst-type UNICAST", &node, &to("192.168.0.2")),
        "no"
    );
    assert_eq!(dropped("--dst-type UNICAST", &node, &to("10.0.0.9")), "yes");
    assert_eq!(
        dropped("--dst-type ANYCAST", &node, &to("10.0.0.9")),
        ROUTES
    );
    assert_eq!(
        dropped("--dst-type ANYCAST", &nobody(), &to("10.0.0.9")),
        ROUTES
    );
    assert_eq!(
        dropped("--dst-type BLACKHOLE", &node, &to("192.168.0.2")),
        "no"
    );
}

#[test]
fn false_on_one_side_beats_unknown_on_the_other() {
    let rule = "--src-type LOCAL --dst-type MULTICAST";
    assert_eq!(dropped(rule, &nobody(), &to("10.0.0.9")), "no");
    assert_eq!(dropped(rule, &nobody(), &to("239.1.1.1")), ADDRESS);
}

#[test]
fn limited_to_the_arrival_device() {
    let device = |name| Interface::new(name).unwrap();
    let mut local = LocalAddresses::new([
        "192.168.0.2".parse().unwrap(),
        "192.168.1.2".parse().unwrap(),
    ]);
    local.devices = vec![(device("eth0"), "192.168.0.2".parse().unwrap())];
    let node = NodeFacts {
        local: Some(local),
        ..NodeFacts::default()
    };
    let rule = "--dst-type LOCAL --limit-iface-in";
    let by = |address: &str, device: &str| format!("{} in={device}", to(address));
    assert_eq!(dropped(rule, &node, &by("192.168.0.2", "eth0")), "yes");
    assert_eq!(dropped(rule, &node, &by("192.168.0.2", "eth1")), "no");
    assert_eq!(
        dropped(rule, &node, &by("192.168.1.2", "eth0")),
        ADDRESS,
        "on a device that is not told"
    );
    assert_eq!(dropped(rule, &node, &to("192.168.0.2")), ADDRESS);
    assert_eq!(
        dropped(rule, &node, &by("127.0.0.1", "eth0")),
        "no",
        "lo's alone"
    );
    assert_eq!(
        dropped(
            "--dst-type UNICAST --limit-iface-in",
            &node,
            &by("192.168.0.2", "eth1")
        ),
        "yes"
    );
}

#[test]
fn ipv6_asks_its_types_together() {
    let node = node(&["fd00::2"]);
    let to = |address: &str| format!("tcp [fd00:1::1]:1 > [{address}]:80");
    let dropped = |types: &str, node: &NodeFacts, address: &str| {
        dropped(
            &format!("--dst-type {types}"),
            node,
            &to(address).replace("fd00:1::1", "3d00::1"),
        )
    };
    assert_eq!(dropped("LOCAL", &node, "fd00::2"), "yes");
    assert_eq!(dropped("LOCAL", &node, "fd00::3"), "no");
    assert_eq!(dropped("LOCAL", &nobody(), "fd00::3"), ADDRESS);
    assert_eq!(
        dropped("UNICAST", &node, "fd00::2"),
        "yes",
        "a local address is unicast as well"
    );
    assert_eq!(dropped("UNICAST", &node, "ff02::1"), "no");
    assert_eq!(dropped("LOCAL,UNICAST", &node, "fd00::3"), "no");
    assert_eq!(dropped("MULTICAST", &node, "ff02::1"), "yes");
    assert_eq!(dropped("ANYCAST", &node, "fd00::3"), ROUTES);
    assert_eq!(dropped("ANYCAST", &node, "fd00::2"), "no");
}
