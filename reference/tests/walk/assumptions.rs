//! What an answer rests on beside the rules is named with it, and only where it does.

use crate::support::{all_outcomes, assumptions, nobody, node, rules};

const PACKET: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";

const NO_ADDRESSES: &str =
    "without --local-addrs, routing takes no address but loopback as this node's";

/// The assumptions of a packet on a node whose addresses are known.
fn said(text: &str, spec: &str) -> Vec<String> {
    assumptions(&rules(text), &node(&["192.168.0.2"]), spec)
}

#[test]
fn each_is_named_where_it_is_made() {
    let recent = "-m recent --rcheck --name L --mask 255.255.255.255 --rsource";
    for (text, sentence) in [
        (
            "*nat\n-A PREROUTING -j KUBE-MARK-MASQ\n-A POSTROUTING -j MASQUERADE",
            "KUBE-MARK-MASQ is not in the dump; taken to set mark 0x4000",
        ),
        (
            "*nat\n-A PREROUTING -j KUBE-MARK-DROP\n-A POSTROUTING -j MASQUERADE",
            "KUBE-MARK-DROP is not in the dump; taken to set mark 0x8000",
        ),
        (
            "*mangle\n-A PREROUTING -j MARK --set-xmark 0x4000/0x4000\n*nat\n-A POSTROUTING -j KUBE-POSTROUTING",
            "KUBE-POSTROUTING is not in the dump; taken to masquerade what KUBE-MARK-MASQ marked",
        ),
        (
            "*filter\n-A FORWARD -j cali-FORWARD",
            "chain cali-FORWARD is not in the dump; taken to return",
        ),
        (
            "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1-10.1.1.2",
            "the address of a nat range is taken as equally likely",
        ),
        (
            "*filter\n-A FORWARD -m statistic --mode nth --every 3 --packet 0 -j DROP",
            "where the counter of a statistic --mode nth stands is taken as equally likely",
        ),
        (
            &format!("*filter\n-A FORWARD {recent} -j DROP"),
            "recent lists are taken as empty at first",
        ),
    ] {
        assert_eq!(said(text, PACKET), [sentence], "{text}");
        let not_met = text.replace("-j", "-p sctp -j");
        assert_eq!(said(&not_met, PACKET), [""; 0], "{not_met}");
    }
}

#[test]
fn a_postrouting_that_was_cut_away_is_named_with_the_mark_that_it_masquerades() {
    let text = "*nat\n-A PREROUTING -p tcp -j KUBE-MARK-MASQ";
    let sentences = [
        "KUBE-MARK-MASQ is not in the dump; taken to set mark 0x4000",
        "nat POSTROUTING is not in the dump; taken to masquerade what KUBE-MARK-MASQ marked",
    ];
    assert_eq!(said(text, PACKET), sentences);
    assert_eq!(said(text, "udp 10.0.0.1:1 > 10.0.0.2:80"), [""; 0]);
}

#[test]
fn without_addresses_routing_says_so() {
    let empty = rules("*filter");
    assert_eq!(assumptions(&empty, &nobody(), PACKET), [NO_ADDRESSES]);
    assert_eq!(assumptions(&empty, &node(&[]), PACKET), [""; 0]);
    let to_loopback = "tcp 127.0.0.1:1 > 127.0.0.5:2";
    assert_eq!(assumptions(&empty, &nobody(), to_loopback), [""; 0]);
}

#[test]
fn what_meets_its_entry_or_makes_it_rests_on_no_empty_list() {
    let list = "--name L --mask 255.255.255.255 --rsource";
    for (again, sentences) in [("--rcheck", 0), ("--set", 0), ("--rcheck --rdest", 1)] {
        let text = format!(
            "*filter\n-A FORWARD -m recent --set {list}\n-A FORWARD -m recent {again} --name L --mask 255.255.255.255 -j DROP"
        );
        assert_eq!(said(&text, PACKET).len(), sentences, "{text}");
    }
}

#[test]
fn one_address_is_no_range() {
    let text = "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1-10.1.1.1";
    assert_eq!(said(text, PACKET), [""; 0]);
}

#[test]
fn an_unknown_rule_rests_on_what_both_ways_rest_on() {
    let missing = "is not in the dump; taken to return";
    let text = "*filter\n:a -\n-A FORWARD -j cali-0\n-A FORWARD -i eth0 -j a\n-A FORWARD -j cali-2\n-A a -j cali-1\n-A a -j RETURN";
    let sentences = ["cali-0", "cali-1", "cali-2"].map(|chain| format!("chain {chain} {missing}"));
    assert_eq!(said(text, PACKET), sentences);
    let passed = "*filter\n-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -j cali-1";
    assert_eq!(said(passed, PACKET), [format!("chain cali-1 {missing}")]);
}

#[test]
fn an_outcome_rests_on_what_all_its_ways_rest_on() {
    let half = "-m statistic --mode random --probability 0.5";
    let text =
        format!("*filter\n-A FORWARD -j cali-0\n-A FORWARD {half} -j ACCEPT\n-A FORWARD -j cali-1");
    let outcomes = all_outcomes(&rules(&text), &node(&["192.168.0.2"]), PACKET);
    assert_eq!(outcomes.len(), 1);
    let said = outcomes[0].assumptions.iter().map(ToString::to_string);
    let sentences = ["cali-0", "cali-1"]
        .map(|chain| format!("chain {chain} is not in the dump; taken to return"));
    assert_eq!(said.collect::<Vec<_>>(), sentences);
}
