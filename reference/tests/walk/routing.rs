//! WALK.md 2: where an arriving packet is routed.

use crate::support::{ask, assumptions, nobody, node, rules};
use kpclass_ruleset::node::NodeFacts;

fn empty() -> kpclass_ruleset::Ruleset {
    rules("*filter")
}

fn empty6() -> kpclass_ruleset::Ruleset {
    rules("*filter\n-A INPUT -s fd00::1/128 -j ACCEPT")
}

fn route(spec: &str) -> String {
    ask(&empty(), &node(&["192.168.0.2"]), spec)
}

fn route6(spec: &str) -> String {
    ask(&empty6(), &node(&["fd00:2::2"]), spec)
}

#[test]
fn martian_sources_are_dropped() {
    for source in [
        "224.0.0.5",
        "239.1.1.1",
        "255.255.255.255",
        "0.0.0.0",
        "0.1.2.3",
    ] {
        assert_eq!(
            route(&format!("udp {source}:1 > 10.0.0.2:2")),
            "drop",
            "{source}"
        );
    }
    assert_eq!(route("udp 240.0.0.1:1 > 10.0.0.2:2"), "forward");
    assert_eq!(
        route("udp 192.168.0.2:1 > 10.0.0.2:2 hook=prerouting"),
        "drop",
        "the node's own, from outside"
    );
    assert_eq!(
        route("udp 192.168.0.2:1 > 10.0.0.2:2 hook=prerouting in=lo"),
        "forward"
    );
}

#[test]
fn destinations() {
    assert_eq!(route("udp 10.0.0.1:1 > 240.0.0.1:2"), "forward");
    assert_eq!(route("udp 10.0.0.1:1 > 255.255.255.255:2"), "local");
    assert_eq!(route("udp 0.0.0.0:68 > 255.255.255.255:67"), "local");
    assert_eq!(route("udp 0.0.0.0:1 > 0.0.0.0:2"), "local");
    assert_eq!(route("udp 10.0.0.1:1 > 0.0.0.1:2"), "drop");
    assert_eq!(route("udp 10.0.0.1:1 > 192.168.0.2:2"), "local");
    assert_eq!(route("udp 10.0.0.1:1 > 192.168.0.3:2"), "forward");
}

#[test]
fn multicast_is_local_where_every_node_listens_and_else_unknown() {
    assert_eq!(route("udp 10.0.0.1:1 > 224.0.0.1:2"), "local");
    let unknown = "unknown at routing: whether this node listens to the multicast group";
    assert_eq!(route("udp 10.0.0.1:1 > 224.0.0.251:2"), unknown);
    assert_eq!(
        route("udp 0.0.0.0:1 > 224.0.0.251:2"),
        unknown,
        "link-local groups take any source"
    );
    assert_eq!(route("2 0.0.0.0 > 239.1.1.1"), unknown, "IGMP too");
    assert_eq!(route("udp 0.0.0.0:1 > 239.1.1.1:2"), "drop");
    let member = node(&["192.168.0.2", "224.0.0.251"]);
    assert_eq!(
        ask(&empty(), &member, "udp 10.0.0.1:1 > 224.0.0.251:2"),
        "local"
    );
}

#[test]
fn loopback_crosses_a_device_only_with_route_localnet() {
    let with = |route_localnet| NodeFacts {
        route_localnet,
        ..node(&["192.168.0.2"])
    };
    for spec in [
        "tcp 10.0.0.1:1 > 127.0.0.1:2",
        "tcp 127.0.0.1:1 > 192.168.0.2:2 hook=prerouting",
    ] {
        assert_eq!(ask(&empty(), &with(Some(false)), spec), "drop");
        assert_eq!(ask(&empty(), &with(Some(true)), spec), "local");
        assert_eq!(
            ask(&empty(), &with(None), spec),
            "unknown at routing: sysctl route_localnet"
        );
    }
    assert_eq!(
        ask(
            &empty(),
            &with(Some(false)),
            "tcp 10.0.0.1:1 > 127.0.0.1:2 in=lo"
        ),
        "local"
    );
}

#[test]
fn without_addresses_only_loopback_is_local() {
    let spec = "tcp 10.0.0.1:1 > 192.168.0.2:2";
    assert_eq!(ask(&empty(), &nobody(), spec), "forward");
    let said = "without --local-addrs, routing takes no address but loopback as this node's";
    assert_eq!(assumptions(&empty(), &nobody(), spec), [said]);
    assert_eq!(assumptions(&empty(), &node(&[]), spec), [""; 0]);
    assert_eq!(
        ask(
            &empty(),
            &nobody(),
            "tcp 10.0.0.1:1 > 192.168.0.2:2 hook=output"
        ),
        "out"
    );
    assert_eq!(
        ask(
            &empty(),
            &nobody(),
            "tcp 10.0.0.1:1 > 127.0.0.5:2 hook=output"
        ),
        "local"
    );
}

#[test]
fn a_sent_multicast_or_broadcast_goes_out() {
    let everything = node(&["192.168.0.2", "224.0.0.251", "255.255.255.255"]);
    assert_eq!(
        ask(&empty(), &everything, "udp 192.168.0.2:1 > 224.0.0.251:2"),
        "out"
    );
    assert_eq!(
        ask(
            &empty(),
            &everything,
            "udp 192.168.0.2:1 > 255.255.255.255:2"
        ),
        "out"
    );
}

#[test]
fn ipv6_is_checked_before_any_table() {
    let rules = rules(
        "*raw\n-A PREROUTING -s fd00::1/128 -j ACCEPT\n-A PREROUTING -j MARK --set-xmark 0x1/0xffffffff",
    );
    let node = node(&["fd00:2::2"]);
    for spec in [
        "udp [ff02::5]:1 > [fd00::2]:2",
        "udp [::1]:1 > [fd00::2]:2 hook=prerouting",
        "udp [fd00::1]:1 > [::1]:2",
        "udp [fd00::1]:1 > [ff01::1]:2",
        "udp [fd00::1]:1 > [ff10::1]:2",
    ] {
        assert_eq!(ask(&rules, &node, spec), "drop", "{spec}");
    }
    assert_eq!(
        ask(&rules, &node, "udp [fd00::9]:1 > [ff01::1]:2 in=lo"),
        "local mark=0x1 marked-by PREROUTING 2"
    );
}

#[test]
fn ipv6_takes_a_source_of_its_own_from_outside() {
    let spec = |to: &str| format!("udp [fd00:2::2]:1 > [{to}]:2 hook=prerouting");
    assert_eq!(route6(&spec("fd00:7::1")), "forward");
    assert_eq!(route6(&spec("fd00:2::2")), "local");
}

#[test]
fn ipv6_destinations() {
    assert_eq!(route6("udp [fd00::9]:1 > [fd00:2::2]:2"), "local");
    assert_eq!(route6("udp [fd00::9]:1 > [fd00:2::3]:2"), "forward");
    assert_eq!(route6("udp [fd00::9]:1 > [ff02::1]:2"), "local");
    assert_eq!(
        route6("udp [fd00::9]:1 > [ff02::fb]:2"),
        "unknown at routing: whether this node listens to the multicast group"
    );
}

#[test]
fn ipv6_loopback_has_no_route_from_another_device() {
    let rules = rules("*nat\n-A PREROUTING -p udp -j DNAT --to-destination ::1");
    let node = node(&["fd00:2::2"]);
    assert_eq!(
        ask(&rules, &node, "udp [fd00::9]:1 > [fd00:7::1]:2"),
        "drop dnat=[::1]:2"
    );
    assert_eq!(
        ask(&rules, &node, "udp [fd00::9]:1 > [fd00:7::1]:2 in=lo"),
        "local dnat=[::1]:2"
    );
}
