//! `What the Linux kernel does`: each observed fact that a single first packet shows, named by its number there.

use crate::support::{ask, nobody, node, outcomes, rules};
use kpclass_ruleset::node::NodeFacts;

const PACKET: &str = "tcp 10.0.0.1:4000 > 10.0.0.2:80";

fn with_localnet(route_localnet: bool) -> NodeFacts {
    NodeFacts {
        route_localnet: Some(route_localnet),
        ..node(&["192.168.0.2"])
    }
}

#[test]
fn fact_1_nat_is_asked_only_if_conntrack_is_on() {
    let only_mark = "*nat\n-A PREROUTING -j MARK --set-xmark 0x5/0xffffffff";
    assert_eq!(ask(&rules(only_mark), &nobody(), PACKET), "forward");
    let marked = "forward mark=0x5 marked-by PREROUTING 1";
    for elsewhere in [
        "-A OUTPUT -d 1.2.3.4/32 -j DNAT --to-destination 5.6.7.8",
        ":unreachable -\n-A unreachable -j MASQUERADE",
        "*filter\n-A INPUT -m conntrack --ctstate NEW -j ACCEPT",
        "*filter\n-A INPUT -m state --state NEW -j ACCEPT",
        "*filter\n-A INPUT -m connmark --mark 0x1 -j ACCEPT",
        "*filter\n-A INPUT -p tcp -m connlimit --connlimit-above 9 -j DROP",
    ] {
        let on = rules(&format!("{only_mark}\n{elsewhere}"));
        assert_eq!(ask(&on, &nobody(), PACKET), marked, "{elsewhere}");
    }
    let notrack = rules(&format!("{only_mark}\n*raw\n-A OUTPUT -j CT --notrack"));
    assert_eq!(
        ask(&notrack, &nobody(), PACKET),
        "forward",
        "NOTRACK does not turn it on"
    );
}

#[test]
fn fact_2_invalid_packets_skip_nat_and_meet_filter() {
    let rules = rules(
        "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n*filter\n-A FORWARD -d 10.0.0.2/32 -m conntrack --ctstate INVALID -j DROP",
    );
    for flags in ["SA", "R", "RA", "F", "FA", "SF", "none", "FPU"] {
        assert_eq!(
            ask(&rules, &nobody(), &format!("{PACKET} flags={flags}")),
            "drop by FORWARD 1",
            "{flags}"
        );
    }
    for flags in ["S", "A", "SP", "SU"] {
        assert_eq!(
            ask(&rules, &nobody(), &format!("{PACKET} flags={flags}")),
            "forward dnat=10.1.1.1:80",
            "{flags}"
        );
    }
    assert_eq!(
        ask(&rules, &nobody(), "icmp 10.0.0.1 > 10.0.0.2 type=0"),
        "drop by FORWARD 1",
        "unsolicited echo reply"
    );
}

#[test]
fn fact_4_from_this_node_to_this_node_comes_back_on_lo() {
    let rules = rules(
        "*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n*mangle\n-A OUTPUT -j MARK --set-xmark 0x5/0xffffffff\n*filter\n-A INPUT -i lo -m mark --mark 0x5 -m conntrack --ctstate NEW -j REJECT --reject-with icmp-port-unreachable",
    );
    assert_eq!(
        ask(
            &rules,
            &node(&["192.168.0.2"]),
            "tcp 192.168.0.2:1 > 192.168.0.2:80"
        ),
        "reject icmp-port-unreachable by INPUT 1 mark=0x5 marked-by OUTPUT 1"
    );
}

#[test]
fn fact_5_dnat_to_a_local_address_from_outside_never_meets_postrouting() {
    let text = |hook: &str| {
        format!(
            "*nat\n-A {hook} -d 10.9.9.9/32 -j MARK --set-xmark 0x4000/0x4000\n-A {hook} -d 10.9.9.9/32 -j DNAT --to-destination 192.168.0.2\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE"
        )
    };
    assert_eq!(
        ask(
            &rules(&text("PREROUTING")),
            &node(&["192.168.0.2"]),
            "tcp 10.0.0.1:1 > 10.9.9.9:80"
        ),
        "local dnat=192.168.0.2:80 mark=0x4000 marked-by PREROUTING 1"
    );
    assert_eq!(
        ask(
            &rules(&text("OUTPUT")),
            &node(&["192.168.0.2"]),
            "tcp 192.168.0.2:1 > 10.9.9.9:80"
        ),
        "local dnat=192.168.0.2:80 masquerade mark=0x4000 marked-by OUTPUT 1"
    );
}

#[test]
fn fact_6_dnat_in_output_reroutes() {
    let to = |address: &str| {
        rules(&format!(
            "*nat\n-A OUTPUT -d 10.9.9.9/32 -j DNAT --to-destination {address}"
        ))
    };
    let spec = "tcp 127.0.0.1:1 > 10.9.9.9:80";
    let node = node(&["192.168.0.2"]);
    assert_eq!(ask(&to("10.1.1.1"), &node, spec), "out dnat=10.1.1.1:80");
    assert_eq!(
        ask(&to("127.0.0.1"), &node, spec),
        "local dnat=127.0.0.1:80"
    );
    assert_eq!(
        ask(&to("192.168.0.2"), &node, spec),
        "local dnat=192.168.0.2:80"
    );
}

#[test]
fn fact_8_dnat_to_itself_is_not_ctstate_dnat() {
    let to = |target: &str| {
        rules(&format!(
            "*nat\n-A PREROUTING -p tcp -j DNAT --to-destination {target}\n*filter\n-A FORWARD -m conntrack --ctstate DNAT -j DROP"
        ))
    };
    assert_eq!(
        ask(&to("10.0.0.2:80"), &nobody(), PACKET),
        "forward dnat=10.0.0.2:80"
    );
    assert_eq!(
        ask(&to("10.0.0.2:81"), &nobody(), PACKET),
        "drop by FORWARD 1 dnat=10.0.0.2:81"
    );
    assert_eq!(
        ask(&to("10.0.0.3:80"), &nobody(), PACKET),
        "drop by FORWARD 1 dnat=10.0.0.3:80"
    );
    let original = rules(
        "*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.1.1.1:99\n*filter\n-A FORWARD -m conntrack --ctorigdst 10.0.0.2/32 --ctorigdstport 80 -j DROP",
    );
    assert_eq!(
        ask(&original, &nobody(), PACKET),
        "drop by FORWARD 1 dnat=10.1.1.1:99"
    );
}

#[test]
fn fact_10_a_rule_without_protocol_takes_any() {
    let tcp = rules("*nat\n-A PREROUTING -d 10.0.0.2/32 -p tcp -j DNAT --to-destination 10.1.1.1");
    assert_eq!(ask(&tcp, &nobody(), "icmp 10.0.0.1 > 10.0.0.2"), "forward");
    let any = rules("*nat\n-A PREROUTING -d 10.0.0.2/32 -j DNAT --to-destination 10.1.1.1");
    assert_eq!(
        ask(&any, &nobody(), "icmp 10.0.0.1 > 10.0.0.2"),
        "forward dnat=10.1.1.1"
    );
    assert_eq!(
        ask(&any, &nobody(), "gre 10.0.0.1 > 10.0.0.2"),
        "forward dnat=10.1.1.1"
    );
}

#[test]
fn fact_11_fragments_are_joined_while_conntrack_is_on() {
    let fragment = "udp 10.0.0.1 > 10.0.0.2 fragment-offset=185";
    let off = rules("*filter\n-A FORWARD -f -j DROP");
    assert_eq!(ask(&off, &nobody(), fragment), "drop by FORWARD 1");
    let on = rules("*filter\n-A FORWARD -f -j DROP\n-A INPUT -m state --state NEW -j ACCEPT");
    assert_eq!(ask(&on, &nobody(), fragment), "forward");
}

#[test]
fn fact_13_loopback_from_outside_is_dropped_behind_nat() {
    let rules = rules("*nat\n-A PREROUTING -d 10.0.0.2/32 -j DNAT --to-destination 127.0.0.1");
    assert_eq!(
        ask(&rules, &with_localnet(false), PACKET),
        "drop dnat=127.0.0.1:80"
    );
    assert_eq!(
        ask(&rules, &with_localnet(true), PACKET),
        "local dnat=127.0.0.1:80"
    );
}

#[test]
fn fact_14_filter_sees_the_address_after_dnat_and_rejects_by_port_unreachable() {
    let rules = rules(
        "*nat\n-A PREROUTING -d 10.0.0.2/32 -j DNAT --to-destination 10.1.1.1\n*filter\n-A FORWARD -d 10.1.1.1/32 -p tcp -j REJECT",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "reject icmp-port-unreachable by FORWARD 1 dnat=10.1.1.1:80"
    );
}

#[test]
fn fact_15_dnat_in_a_user_chain_ends_the_hook() {
    let rules = rules(
        "*nat\n:svc -\n-A PREROUTING -j svc\n-A PREROUTING -j DNAT --to-destination 10.2.2.2\n-A svc -j DNAT --to-destination 10.1.1.1\n-A POSTROUTING -d 10.1.1.1/32 -j MASQUERADE",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward dnat=10.1.1.1:80 masquerade"
    );
}

#[test]
fn fact_16_port_0_is_ordinary() {
    let rules =
        rules("*nat\n-A PREROUTING -p tcp -m tcp --dport 0:100 -j DNAT --to-destination 10.1.1.1");
    assert_eq!(
        ask(&rules, &nobody(), "tcp 10.0.0.1:4000 > 10.0.0.2:0"),
        "forward dnat=10.1.1.1:0"
    );
}

#[test]
fn fact_17_mark_arithmetic() {
    let mark = |text: &str, spec: &str| {
        ask(
            &rules(&format!("*mangle\n-A PREROUTING -j MARK {text}")),
            &nobody(),
            spec,
        )
    };
    let marked = format!("{PACKET} mark=0x21");
    assert_eq!(
        mark("--set-xmark 0x4000/0x4000", &marked),
        "forward mark=0x4021 marked-by PREROUTING 1"
    );
    assert_eq!(
        mark("--set-xmark 0x5/0xffffffff", &marked),
        "forward mark=0x5 marked-by PREROUTING 1"
    );
    assert_eq!(
        mark("--set-xmark 0x4000/0x0", &marked),
        "forward mark=0x4021"
    );
    assert_eq!(
        mark("--set-xmark 0x4000/0x0", &format!("{PACKET} mark=0x4000")),
        "forward"
    );
}

#[test]
fn the_rule_that_asked_for_the_mark_is_named() {
    let rules = rules(
        "*nat\n:KUBE-MARK-MASQ -\n:marks -\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n-A marks -j MARK --set-xmark 0x8/0x8\n-A PREROUTING -p tcp -j KUBE-MARK-MASQ\n-A PREROUTING -p udp -j marks\n-A PREROUTING -p icmp -g KUBE-MARK-MASQ\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n-A POSTROUTING -j RETURN",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "forward dnat=10.1.1.1:80 mark=0x4000 marked-by PREROUTING 1"
    );
    let udp = ask(&rules, &nobody(), "udp 10.0.0.1:1 > 10.0.0.2:2");
    assert_eq!(
        udp, "forward dnat=10.1.1.1:2 mark=0x8 marked-by marks 1",
        "of another chain, the rule itself"
    );
    assert_eq!(
        ask(&rules, &nobody(), "icmp 10.0.0.1 > 10.0.0.2"),
        "forward mark=0x4000 marked-by PREROUTING 3"
    );
}

#[test]
fn fact_19_recent_ignores_ports_and_destination() {
    let rules = rules(
        "*nat\n-A PREROUTING -m recent --set --name S --mask 255.255.255.255 --rsource\n-A PREROUTING -d 10.0.0.2/32 -m recent --rcheck --seconds 10 --name S --mask 255.255.255.255 --rsource -j DNAT --to-destination 10.1.1.1",
    );
    assert_eq!(ask(&rules, &nobody(), PACKET), "forward dnat=10.1.1.1:80");
}

#[test]
fn fact_20_notrack_skips_nat() {
    let rules = rules(
        "*raw\n-A PREROUTING -p tcp -j CT --notrack\n*nat\n-A PREROUTING -j DNAT --to-destination 10.1.1.1\n*filter\n-A FORWARD -m conntrack --ctstate NEW,INVALID -j DROP\n-A FORWARD -m conntrack --ctstate UNTRACKED -j REJECT --reject-with icmp-port-unreachable",
    );
    assert_eq!(
        ask(&rules, &nobody(), PACKET),
        "reject icmp-port-unreachable by FORWARD 2"
    );
    assert_eq!(
        ask(&rules, &nobody(), "udp 10.0.0.1:1 > 10.0.0.2:80"),
        "drop by FORWARD 1 dnat=10.1.1.1:80"
    );
}

#[test]
fn fact_21_an_inverted_interface_matches_on_output() {
    let rules = rules(
        "*nat\n-A OUTPUT ! -i cni0 -j MARK --set-xmark 0x4000/0x4000\n-A OUTPUT -i cni0 -j MARK --set-xmark 0x1/0x1\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
    );
    assert_eq!(
        ask(
            &rules,
            &node(&["192.168.0.2"]),
            "tcp 192.168.0.2:1 > 10.0.0.2:80"
        ),
        "out masquerade mark=0x4000 marked-by OUTPUT 1"
    );
}

#[test]
fn without_a_connection_only_ctstate_is_asked() {
    let holds = |options: &str, spec: &str| {
        let rules = rules(&format!(
            "*filter\n-A FORWARD -m conntrack {options} -j DROP"
        ));
        ask(&rules, &nobody(), spec).starts_with("drop")
    };
    let invalid = format!("{PACKET} flags=SA");
    assert!(
        holds("--ctstate INVALID --ctproto 17", &invalid),
        "the other options are not looked at"
    );
    assert!(!holds("--ctproto 6", &invalid));
    assert!(!holds("! --ctproto 17", &invalid));
    assert!(holds("! --ctstate NEW", &invalid));
    assert!(!holds("--ctstate NEW --ctproto 17", PACKET));
    assert!(holds("--ctstate NEW --ctproto 6", PACKET));
}

#[test]
fn probabilities_of_fact_9() {
    let rules = rules(
        "*filter\n-A FORWARD -m statistic --mode random ! --probability 0.25000000000 -j DROP",
    );
    assert_eq!(
        outcomes(&rules, &nobody(), PACKET)[0],
        ("3/4".to_string(), "drop by FORWARD 1".to_string())
    );
}
