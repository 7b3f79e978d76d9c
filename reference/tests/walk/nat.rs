//! What nat targets do (WALK.md 6).

use crate::support::{ask, nobody, node, rules};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::value::Interface;

const PACKET: &str = "tcp 10.0.0.1:4000 > 10.0.0.2:80";

fn prerouting(target: &str, spec: &str) -> String {
    ask(
        &rules(&format!(
            "*nat\n-A PREROUTING -p tcp -j {target}\n-A PREROUTING -j {target}"
        )),
        &nobody(),
        spec,
    )
}

#[test]
fn dnat_keeps_what_it_does_not_name() {
    assert_eq!(
        prerouting("DNAT --to-destination 10.1.1.1:8080", PACKET),
        "forward dnat=10.1.1.1:8080"
    );
    assert_eq!(
        prerouting("DNAT --to-destination 10.1.1.1", PACKET),
        "forward dnat=10.1.1.1:80"
    );
    assert_eq!(
        prerouting("DNAT --to-destination :99", PACKET),
        "forward dnat=10.0.0.2:99"
    );
}

#[test]
fn ports_of_a_range_are_kept_inside_and_else_the_first() {
    let range = "DNAT --to-destination 10.1.1.1:5000-5009";
    assert_eq!(
        prerouting(range, "tcp 10.0.0.1:4000 > 10.0.0.2:5004"),
        "forward dnat=10.1.1.1:5004"
    );
    assert_eq!(
        prerouting(range, "tcp 10.0.0.1:4000 > 10.0.0.2:5010"),
        "forward dnat=10.1.1.1:5000"
    );
    let random = "DNAT --to-destination 10.1.1.1:5000-5009 --random";
    assert_eq!(
        prerouting(random, PACKET),
        "unknown at PREROUTING 1: which address nat chooses"
    );
    assert_eq!(
        prerouting("DNAT --to-destination 10.1.1.1:5000 --random", PACKET),
        "forward dnat=10.1.1.1:5000"
    );
}

#[test]
fn ports_of_a_shifted_range_wrap_round() {
    let shifted = "DNAT --to-destination 10.1.1.1:5000-5009/6000";
    assert_eq!(
        prerouting(shifted, "tcp 10.0.0.1:4000 > 10.0.0.2:6004"),
        "forward dnat=10.1.1.1:5004"
    );
    assert_eq!(
        prerouting(shifted, "tcp 10.0.0.1:4000 > 10.0.0.2:6013"),
        "forward dnat=10.1.1.1:5003"
    );
    assert_eq!(
        prerouting(shifted, "tcp 10.0.0.1:4000 > 10.0.0.2:5999"),
        "forward dnat=10.1.1.1:5005"
    );
}

#[test]
fn a_packet_without_ports_has_none_afterwards() {
    assert_eq!(
        prerouting("DNAT --to-destination 10.1.1.1", "icmp 10.0.0.1 > 10.0.0.2"),
        "forward dnat=10.1.1.1"
    );
    assert_eq!(
        prerouting("DNAT --to-destination 10.1.1.1", "gre 10.0.0.1 > 10.0.0.2"),
        "forward dnat=10.1.1.1"
    );
}

#[test]
fn later_chains_see_the_new_destination() {
    let rules = rules(
        "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n-A POSTROUTING -d 10.1.1.1/32 -j MASQUERADE\n*filter\n-A FORWARD -d 10.0.0.2/32 -j DROP",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward dnat=10.1.1.1:80 masquerade"
    );
}

#[test]
fn redirect_goes_to_loopback_on_output() {
    let rules = rules("*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001");
    assert_eq!(
        ask(
            &rules,
            &node(&["192.168.0.2"]),
            "tcp 192.168.0.2:1 > 10.0.0.9:80"
        ),
        "local dnat=127.0.0.1:15001"
    );
}

#[test]
fn redirect_goes_to_the_arrival_devices_first_address() {
    let rules = rules("*nat\n-A PREROUTING -p tcp -j REDIRECT");
    let eth0 = Interface::new("eth0").unwrap();
    let mut local = LocalAddresses::new([
        "192.168.0.2".parse().unwrap(),
        "192.168.0.3".parse().unwrap(),
    ]);
    local.devices = vec![
        (eth0, "192.168.0.2".parse().unwrap()),
        (eth0, "192.168.0.3".parse().unwrap()),
    ];
    let node = NodeFacts {
        local: Some(local),
        ..NodeFacts::default()
    };
    assert_eq!(
        ask(&rules, &node, "tcp 10.0.0.1:1 > 10.0.0.9:80 in=eth0"),
        "local dnat=192.168.0.2:80"
    );
    assert_eq!(
        ask(&rules, &node, "tcp 10.0.0.1:1 > 10.0.0.9:80"),
        "local dnat=this-node:80"
    );
}

#[test]
fn an_unknown_address_of_this_node_is_local_and_else_unknown() {
    let with = |rule: &str| {
        rules(&format!(
            "*nat\n-A PREROUTING -p tcp -j REDIRECT\n*filter\n{rule}"
        ))
    };
    let ask = |rule: &str| {
        ask(
            &with(rule),
            &node(&["192.168.0.2"]),
            "tcp 10.0.0.1:1 > 10.0.0.9:80",
        )
    };
    let unknown = "unknown at INPUT 1: whether the address is one of this node's";
    assert_eq!(ask("-A INPUT -d 192.168.0.2/32 -j DROP"), unknown);
    assert_eq!(
        ask("-A INPUT -m iprange --dst-range 192.168.0.1-192.168.0.9 -j DROP"),
        unknown
    );
    assert_eq!(
        ask("-A INPUT -m addrtype --dst-type LOCAL -j DROP"),
        "drop by INPUT 1 dnat=this-node:80"
    );
    assert_eq!(
        ask("-A INPUT -m conntrack --ctstate DNAT -j DROP"),
        "drop by INPUT 1 dnat=this-node:80"
    );
}

#[test]
fn netmap_keeps_the_host_part() {
    assert_eq!(
        prerouting("NETMAP --to 10.9.0.0/16", "tcp 10.0.0.1:1 > 10.0.3.4:80"),
        "forward dnat=10.9.3.4:80"
    );
    let source = rules("*nat\n-A POSTROUTING -j NETMAP --to 10.9.0.0/16");
    assert_eq!(
        ask(&source, &nobody(), "tcp 10.0.7.1:1 > 10.0.3.4:80"),
        "forward netmap=10.9.7.1"
    );
}

#[test]
fn the_lo_leg_sees_the_rewritten_source() {
    let with = |target: &str, rule: &str| {
        rules(&format!(
            "*nat\n-A POSTROUTING -j {target}\n*filter\n-A INPUT {rule} -j DROP"
        ))
    };
    let ask = |target: &str, rule: &str| {
        ask(
            &with(target, rule),
            &node(&["192.168.0.2"]),
            "tcp 192.168.0.2:1 > 192.168.0.2:80",
        )
    };
    let snat = "SNAT --to-source 10.3.3.3";
    assert!(ask(snat, "-s 10.3.3.3/32").starts_with("drop by INPUT 1"));
    assert!(ask(snat, "-s 192.168.0.2/32").starts_with("local"));
    assert!(ask(snat, "-m conntrack --ctstate SNAT").starts_with("drop"));
    assert!(
        ask("MASQUERADE", "-s 192.168.0.2/32")
            .starts_with("unknown at INPUT 1: whether the address")
    );
    assert!(ask("MASQUERADE", "-m addrtype --src-type LOCAL").starts_with("drop"));
}
