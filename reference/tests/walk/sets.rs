//! `-m set` (WALK.md 6).

use crate::support::{ask, nobody, node, rules};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::node::ipset::parse_ipsets;

const PACKET: &str = "tcp 10.0.0.1:4000 > 10.0.0.2:80";

fn with(sets: &str) -> NodeFacts {
    NodeFacts {
        ipsets: Some(parse_ipsets(sets).unwrap().sets),
        ..node(&["192.168.0.2"])
    }
}

/// `yes`, `no`, or what is missing.
fn member(sets: &str, condition: &str, spec: &str) -> String {
    let rules = rules(&format!(
        "*filter\n-A FORWARD -m set --match-set {condition} -j DROP"
    ));
    let line = ask(&rules, &with(sets), spec);
    match line.strip_prefix("unknown at FORWARD 1: ") {
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

#[test]
fn a_set_that_was_not_given_is_unknown() {
    let rules = rules("*filter\n-A FORWARD -m set --match-set BLOCKED src -j DROP");
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "unknown at FORWARD 1: the members of ipset BLOCKED"
    );
    assert_eq!(
        member("create OTHER hash:ip\n", "BLOCKED src", PACKET),
        "the members of ipset BLOCKED"
    );
}

#[test]
fn addresses_networks_and_ports() {
    let ips = "create S hash:ip\nadd S 10.0.0.1\n";
    assert_eq!(member(ips, "S src", PACKET), "yes");
    assert_eq!(member(ips, "S dst", PACKET), "no");
    let nets = "create S hash:net\nadd S 10.0.0.0/24\nadd S 10.0.0.2 nomatch\n";
    assert_eq!(member(nets, "S src", PACKET), "yes");
    assert_eq!(
        member(nets, "S dst", PACKET),
        "no",
        "the more specific nomatch wins"
    );
    let ports = "create S hash:ip,port\nadd S 10.0.0.2,tcp:80\nadd S 10.0.0.3,udp:53\n";
    assert_eq!(member(ports, "S dst,dst", PACKET), "yes");
    assert_eq!(member(ports, "S dst,src", PACKET), "no");
    assert_eq!(
        member(ports, "S dst,dst", "udp 10.0.0.1:1 > 10.0.0.2:80"),
        "no",
        "another protocol"
    );
    let bitmap = "create S bitmap:port range 0-1000\nadd S 80\n";
    assert_eq!(member(bitmap, "S dst", PACKET), "yes");
    assert_eq!(
        member(bitmap, "S dst", "sctp 10.0.0.1:1 > 10.0.0.2:80"),
        "no",
        "TCP and UDP only"
    );
}

#[test]
fn dimensions_of_the_rule_beyond_the_sets_do_not_count() {
    let ips = "create S hash:ip\nadd S 10.0.0.1\n";
    assert_eq!(member(ips, "S src,dst", PACKET), "yes");
    let ports = "create S hash:ip,port\nadd S 10.0.0.2,tcp:80\n";
    assert_eq!(member(ports, "S dst", PACKET), "no", "too few");
}

#[test]
fn an_interface_that_is_not_known_matters_where_the_answer_depends_on_it() {
    let sets = "create S hash:net,iface\nadd S 10.0.0.0/24,eth0\n";
    assert_eq!(
        member(sets, "S src,src", &format!("{PACKET} in=eth0")),
        "yes"
    );
    assert_eq!(
        member(sets, "S src,src", &format!("{PACKET} in=eth1")),
        "no"
    );
    assert_eq!(
        member(sets, "S src,src", PACKET),
        "the interface that the packet arrived on"
    );
    assert_eq!(
        member(sets, "S src,src", "tcp 10.9.0.1:1 > 10.0.0.2:80"),
        "no"
    );
}

#[test]
fn a_list_holds_what_its_members_hold() {
    let sets = "create A hash:ip\nadd A 10.9.9.9\ncreate B hash:ip\nadd B 10.0.0.1\ncreate L list:set\nadd L A\nadd L B\n";
    assert_eq!(member(sets, "L src", PACKET), "yes");
    assert_eq!(member(sets, "L dst", PACKET), "no");
}
