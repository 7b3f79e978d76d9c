//! WALK.md 3.6: chains that the dump lacks.

use crate::support::{ask, assumptions, nobody, read_rules, rules};
use kpclass_ruleset::node::{MissingChains, NodeFacts};

const PACKET: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";

#[test]
fn kube_mark_masq_and_postrouting_have_their_bodies() {
    let rules = rules(
        "*nat\n-A PREROUTING -p tcp -j KUBE-MARK-MASQ\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n-A POSTROUTING -j KUBE-POSTROUTING",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward dnat=10.1.1.1:80 masquerade marked-by PREROUTING 1"
    );
    assert_eq!(
        ask(&rules, &nobody(), "udp 10.0.0.1:1 > 10.0.0.2:80"),
        "forward dnat=10.1.1.1:80"
    );
    let said = assumptions(&rules, &nobody(), PACKET);
    assert!(
        said.contains(&"KUBE-MARK-MASQ is not in the dump; taken to set mark 0x4000".to_string()),
        "{said:?}"
    );
}

#[test]
fn kube_mark_drop_sets_its_mark() {
    let rules = rules(
        "*nat\n-A PREROUTING -j KUBE-MARK-DROP\n-A POSTROUTING -j RETURN\n-A PREROUTING -j DNAT --to-destination 10.1.1.1",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward dnat=10.1.1.1:80 mark=0x8000 marked-by PREROUTING 1"
    );
}

#[test]
fn a_postrouting_that_was_cut_away_masquerades_what_was_marked() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j KUBE-MARK-MASQ\nCOMMIT\n";
    let rules = read_rules(text);
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward masquerade marked-by PREROUTING 1"
    );
    let said = assumptions(&rules, &nobody(), PACKET);
    let sentence =
        "nat POSTROUTING is not in the dump; taken to masquerade what KUBE-MARK-MASQ marked";
    assert!(said.contains(&sentence.to_string()), "{said:?}");
    let marked = "udp 10.0.0.1:1 > 10.0.0.2:80 mark=0x4000";
    assert_eq!(
        ask(&rules, &nobody(), marked),
        "forward mark=0x4000",
        "no rule marked it"
    );
}

#[test]
fn another_kube_chain_is_unknown() {
    let rules = rules(
        "*nat\n-A PREROUTING -p tcp -j KUBE-SVC-AAAA\n-A PREROUTING -j DNAT --to-destination 10.1.1.1",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "unknown at PREROUTING 1: chain KUBE-SVC-AAAA is not in the dump"
    );
    assert_eq!(
        ask(&rules, &nobody(), "udp 10.0.0.1:1 > 10.0.0.2:80"),
        "forward dnat=10.1.1.1:80"
    );
}

#[test]
fn any_other_chain_returns_unless_told_otherwise() {
    let text =
        "*filter\n:a -\n-A FORWARD -j a\n-A FORWARD -j DROP\n-A a -g cali-FORWARD\n-A a -j ACCEPT";
    let rules = rules(text);
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "drop by FORWARD 2",
        "a goto ends its chain"
    );
    let said = assumptions(&rules, &nobody(), PACKET);
    assert!(
        said.contains(&"chain cali-FORWARD is not in the dump; taken to return".to_string()),
        "{said:?}"
    );
    let strict = NodeFacts {
        missing_chains: MissingChains::Unknown,
        ..NodeFacts::default()
    };
    assert_eq!(
        ask(&rules, &strict, PACKET),
        "unknown at a 1: chain cali-FORWARD is not in the dump"
    );
}
